// The live ladder: asks above, bids below, the spread between them, always in the middle unless somebody holds it.
//
// Rows stand for prices and live as long as their level. A paint writes only what differs from what stands there, and
// `data-version` last: what is drawn is the book at that version.

import { DOLLAR, resting, top } from './book.js';
import { $, announce, el, mark, write } from './dom.js';
import { cents, contracts, mid } from './format.js';

const ROW_PX = 22; // as --row in page.css
const INTENT_MS = 400; // a scroll so soon after a person's hand is that person's

// The next of 1, 2, 5, 10, … that is not smaller: bars must not all move because the largest size did.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 100)));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
}

export class Ladder {
  #rows = { yes: new Map(), no: new Map() };
  #painted = 0;
  #held = false;
  #scrolled = 0;
  #height = 0;
  #asks = 0;
  #touched = -Infinity;

  constructor() {
    this.root = $('ladder');
    this.scroller = $('ladder-scroll');
    this.sides = { yes: $('ladder-bids'), no: $('ladder-asks') };
    new ResizeObserver(([entry]) => {
      this.#height = entry.contentRect.height;
      this.#centre();
    }).observe(this.scroller);
    for (const act of ['wheel', 'touchmove', 'pointerdown', 'keydown']) {
      this.scroller.addEventListener(act, () => (this.#touched = performance.now()), { passive: true });
    }
    this.scroller.addEventListener('scroll', () => this.#follow(), { passive: true });
    $('ladder-hold').onclick = () => this.hold(!this.#held);
  }

  // Held, the ladder stays where it was scrolled to; else the spread stays in the middle.
  hold(held) {
    this.#held = held;
    mark($('ladder-hold'), 'aria-pressed', held);
    mark(this.scroller, 'data-held', held ? '' : null);
    this.#centre();
  }

  toggleHold() {
    this.hold(!this.#held);
    announce(this.#held ? 'The ladder is held where it is.' : 'The ladder follows the spread.');
  }

  clear() {
    for (const side of ['yes', 'no']) {
      this.#rows[side].clear();
      this.sides[side].replaceChildren();
    }
    mark(this.root, 'data-version', null);
    mark(this.root, 'data-market', null);
    for (const id of ['spread', 'middle']) write($(id), '–');
    this.hold(false);
  }

  // `orders`: of the actor, all markets. `last`: {price, side} of the last trade, or null.
  paint(book, orders, last) {
    this.#painted++;
    const own = ours(book.market, orders);
    const full = nice(Math.max(100, ...book.yes.map(sized), ...book.no.map(sized)));
    // In the order of the screen: high prices first. The touch is at the end of `no` and at the start of `yes`.
    this.#side('no', withOwn(book.no, own.no), own.no, full, last);
    this.#side('yes', withOwn(book.yes, own.yes).reverse(), own.yes, full, last);
    this.#asks = this.#rows.no.size;
    this.#spread(book);
    mark(this.root, 'data-market', book.market);
    mark(this.root, 'data-version', book.version);
    this.#centre();
  }

  #side(side, levels, own, full, last) {
    const rows = this.#rows[side];
    const asks = side === 'no';
    for (const [price] of levels) {
      const row = rows.get(price) ?? this.#make(side, price);
      row.seen = this.#painted;
    }
    for (const [price, row] of rows) {
      if (row.seen !== this.#painted) {
        row.element.remove();
        rows.delete(price);
      }
    }
    let sum = 0;
    const outward = asks ? [...levels].reverse() : levels;
    for (const [price, size] of outward) {
      const row = rows.get(price);
      sum += size;
      const shown = asks ? DOLLAR - price : price;
      this.#fill(row, size, sum, full, own.get(price), last !== null && last.price === shown ? last.side : null);
    }
    let place = this.sides[side].firstChild;
    for (const [price] of levels) {
      const { element } = rows.get(price);
      if (element === place) place = place.nextSibling;
      else this.sides[side].insertBefore(element, place);
    }
  }

  #make(side, price) {
    const cell = (name) => el('span', { role: 'cell', class: name });
    const [own, priced, size, sum] = ['own', 'price', 'size', 'sum'].map(cell);
    write(priced, cents(side === 'no' ? DOLLAR - price : price));
    const bar = el('i', { class: 'bar' });
    const figure = el('b');
    size.append(bar, figure);
    const element = el('div', { role: 'row', 'data-price-e4': price, 'data-side': side }, own, priced, size, sum);
    const row = { element, own, bar, figure, sum, seen: 0, size: null, total: null, width: null };
    this.#rows[side].set(price, row);
    return row;
  }

  #fill(row, size, total, full, own, last) {
    if (row.size !== size) {
      row.size = size;
      write(row.figure, contracts(size));
      mark(row.element, 'data-size-e2', size);
    }
    if (row.total !== total) {
      row.total = total;
      write(row.sum, contracts(total));
    }
    const width = size / full;
    if (row.width !== width) {
      row.width = width;
      row.bar.style.transform = `scaleX(${width})`;
    }
    mark(row.element, 'data-own-e2', own?.left ?? 0);
    write(row.own, own ? said(own) : '');
    mark(row.element, 'data-last', last);
  }

  #spread(book) {
    const { bid, ask } = top(book);
    const known = bid !== null && ask !== null;
    write($('spread'), known ? `${cents(ask - bid)}¢` : '–');
    write($('middle'), known ? `${mid(bid, ask)}¢` : '–');
  }

  #centre() {
    if (this.#held) return;
    // Rows have one height, so nothing needs to be measured, which would cost a layout in every paint.
    const to = Math.max(0, Math.round((this.#asks + 0.5) * ROW_PX - this.#height / 2));
    if (to === this.#scrolled) return;
    this.#scrolled = to;
    this.scroller.scrollTop = to;
  }

  // Whoever scrolls wants to look at something: hold it for them. The browser scrolls, too, where rows go or the window
  // changes; that is put right.
  #follow() {
    if (this.#held || Math.abs(this.scroller.scrollTop - this.#scrolled) <= 1) return;
    if (performance.now() - this.#touched < INTENT_MS) this.hold(true);
    else this.scroller.scrollTop = this.#scrolled;
  }
}

const sized = ([, size]) => size;

// Own orders of a market by side and price: how much is left, and the least that is ahead of one of them.
function ours(market, orders) {
  const own = { yes: new Map(), no: new Map() };
  for (const order of orders) {
    if (order.market !== market) continue;
    const { side, price } = resting(order);
    const level = own[side]?.get(price);
    const ahead = order.ahead_e2;
    if (level === undefined) own[side]?.set(price, { left: order.left_e2, ahead });
    else {
      level.left += order.left_e2;
      level.ahead = level.ahead === null || ahead === null ? null : Math.min(level.ahead, ahead);
    }
  }
  return own;
}

// Levels, and prices at which only we rest: an order on paper is in nobody's book.
function withOwn(levels, own) {
  const missing = [...own.keys()].filter((price) => !levels.some(([level]) => level === price));
  return [...levels, ...missing.map((price) => [price, 0])].sort(([a], [b]) => a - b);
}

function said({ left, ahead }) {
  return `${contracts(left)} · ${contracts(ahead)} ahead`;
}

