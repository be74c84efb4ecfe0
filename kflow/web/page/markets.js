// The list of recorded markets: filter, arrows, one button each. Written once a second, and only where it differs.

import { $, el, mark, named, write } from './dom.js';
import { cents, count, rate } from './format.js';

export class Markets {
  #rows = new Map();
  #chosen = null;

  constructor(choose) {
    this.list = $('markets');
    this.filter = $('filter');
    this.choose = choose;
    this.filter.oninput = () => this.#sift();
    this.filter.onkeydown = (event) => {
      if (event.key === 'ArrowDown' || event.key === 'Enter') this.#enter(event);
      if (event.key === 'Escape') {
        this.filter.value = '';
        this.#sift();
      }
    };
    this.list.onkeydown = (event) => this.#walk(event);
    this.list.onclick = (event) => {
      const button = event.target.closest('button');
      if (button) this.choose(button.dataset.ticker);
    };
  }

  // `recorded`: every ticker there is. Values come with the next `tell`.
  know(recorded) {
    for (const ticker of recorded) if (!this.#rows.has(ticker)) this.#add(ticker);
    const still = new Set(recorded);
    for (const [ticker, row] of this.#rows) {
      if (!still.has(ticker)) {
        row.item.remove();
        this.#rows.delete(ticker);
      }
    }
    this.#sift();
  }

  // [ticker, live, bid, ask, last, changes per second] of each market; `tickers` may have come and gone.
  // `leftOut` are not told of.
  tell(markets, leftOut) {
    this.leftOut = leftOut ?? 0;
    const same = markets.length === this.#rows.size && markets.every(([ticker]) => this.#rows.has(ticker));
    if (!same) this.know(markets.map(([ticker]) => ticker));
    for (const [ticker, live, bid, ask, last, changes] of markets) {
      const row = this.#rows.get(ticker);
      mark(row.button, 'data-live', live === null ? 'unknown' : live);
      write(row.mark, live === null ? 'not known' : live ? 'live' : 'stale');
      write(row.bid, cents(bid));
      write(row.ask, cents(ask));
      write(row.last, cents(last));
      write(row.changes, rate(changes));
    }
  }

  // Nobody knows: a list of a lost connection must not look like one of a market.
  forget() {
    for (const { button } of this.#rows.values()) mark(button, 'data-live', 'unknown');
  }

  current(ticker) {
    this.#chosen = ticker;
    for (const [name, { button }] of this.#rows) {
      mark(button, 'aria-current', name === ticker ? 'true' : null);
      button.tabIndex = name === ticker ? 0 : -1;
    }
    // Within the list alone: the page stays where it is.
    const item = this.#rows.get(ticker)?.item;
    if (item) this.list.scrollTop = item.offsetTop - (this.list.clientHeight - item.offsetHeight) / 2;
  }

  has(ticker) {
    return this.#rows.has(ticker);
  }

  first() {
    return this.#rows.keys().next().value ?? null;
  }

  #add(ticker) {
    const figure = (name) => el('span', { class: name });
    const [state, bid, ask, last, changes] = ['hidden', 'bid', 'ask', 'last', 'changes'].map(figure);
    const hint = (text) => el('span', { class: 'hidden' }, text);
    const button = el(
      'button',
      { type: 'button', 'data-ticker': ticker, 'data-live': 'unknown', title: ticker, tabindex: -1 },
      named(ticker),
      state,
      el('span', { class: 'figures' }, hint(', bid '), bid, hint(', ask '), ask, hint(', last '), last, hint(', changes per second '), changes),
    );
    const item = el('li', {}, button);
    this.list.append(item);
    this.#rows.set(ticker, { item, button, mark: state, bid, ask, last, changes });
    if (ticker === this.#chosen) this.current(ticker);
  }

  #sift() {
    const words = this.filter.value.toUpperCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [ticker, { item }] of this.#rows) {
      const fits = words.every((word) => ticker.toUpperCase().includes(word));
      item.hidden = !fits;
      shown += fits;
    }
    const all = count(this.#rows.size + (this.leftOut ?? 0));
    write($('markets-count'), words.length || this.leftOut ? `${count(shown)} of ${all}` : all);
  }

  #visible() {
    return [...this.#rows.values()].filter(({ item }) => !item.hidden).map(({ button }) => button);
  }

  #enter(event) {
    const [first] = this.#visible();
    if (!first) return;
    event.preventDefault();
    if (event.key === 'Enter') this.choose(first.dataset.ticker);
    else first.focus();
  }

  #walk(event) {
    const buttons = this.#visible();
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0) this.filter.focus();
    else buttons[Math.min(to, buttons.length - 1)]?.focus();
  }
}
