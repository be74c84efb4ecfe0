// The live ladder: asks above, bids below, the spread between them, always in the middle unless somebody holds it.
//
// There is a row for each level, made and taken away with it, and a paint writes only what differs from what stands
// there. Of two hundred levels some twenty are seen: the others are hidden rows that keep their size as data, and a
// spacer on each side that keeps their place. `data-version` is written last: what is drawn is the book at that version.

import { DOLLAR, resting, top } from './book.js';
import { $, announce, el, mark, write } from './dom.js';
import { cents, columned, contracts, mid, UNKNOWN } from './format.js';

const ROW_PX = 22; // as --row in page.css
const BEYOND = 12; // rows that are drawn above and below what is seen, for whoever scrolls
const NEAR = 15; // levels of each side, from the touch on, that the longest bar is made for
const INTENT_MS = 400; // a scroll so soon after a person's hand is that person's

export class Ladder {
  #sides = {
    no: { rows: new Map(), box: $('ladder-asks'), spacer: $('ladder-above').style },
    yes: { rows: new Map(), box: $('ladder-bids'), spacer: $('ladder-below').style },
  };
  #painted = 0;
  #held = false;
  #at = 0; // where the scroller was put, px
  #height = 0; // of what is seen, px
  #touched = -Infinity;

  // `moved` is called when other rows have come into view.
  constructor(moved) {
    this.moved = moved;
    this.root = $('ladder');
    this.scroller = $('ladder-scroll');
    new ResizeObserver(([entry]) => {
      this.#height = entry.contentRect.height;
      moved();
    }).observe(this.scroller);
    for (const act of ['wheel', 'touchmove', 'pointerdown', 'keydown']) {
      this.scroller.addEventListener(act, () => (this.#touched = performance.now()), { passive: true });
    }
    this.scroller.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    $('ladder-hold').onclick = () => this.hold(!this.#held);
  }

  // Held, the ladder stays where it was scrolled to; else the spread stays in the middle.
  hold(held) {
    this.#held = held;
    mark($('ladder-hold'), 'aria-pressed', String(held));
    mark(this.scroller, 'data-held', held ? '' : null);
    this.moved();
  }

  toggleHold() {
    this.hold(!this.#held);
    announce(this.#held ? 'The ladder is held where it is.' : 'The ladder follows the spread.');
  }

  clear() {
    for (const { rows, box, spacer } of Object.values(this.#sides)) {
      rows.clear();
      box.replaceChildren();
      spacer.height = '0';
    }
    mark(this.root, 'data-version', null);
    mark(this.root, 'data-market', null);
    write($('spread'), UNKNOWN);
    write($('middle'), UNKNOWN);
    this.hold(false);
  }

  // `orders`: of the actor, all markets. `last`: {price} of the last trade, or null.
  paint(book, orders, last) {
    this.#painted++;
    const own = ours(book.market, orders);
    const [no, yes] = [withOwn(book.no, own.no), withOwn(book.yes, own.yes)];
    // Rows have one height: where things are is counted, not measured, which would cost a layout in every paint.
    // Beside a short side there is room, so that the spread can be in the middle even at the end of all prices.
    const half = this.#height / 2;
    const room = (levels) => Math.max(0, Math.round(half - (levels.length + 0.5) * ROW_PX));
    const middle = Math.round((no.length + 0.5) * ROW_PX + room(no) - half);
    const first = Math.floor(((this.#held ? this.scroller.scrollTop : middle) - room(no)) / ROW_PX) - BEYOND;
    const end = first + Math.ceil(this.#height / ROW_PX) + 2 * BEYOND;
    const full = nice(Math.max(...[...book.yes.slice(-NEAR), ...book.no.slice(-NEAR)].map(([, size]) => size)));
    const price = last?.price ?? null;
    this.#side('no', no, own.no, { from: no.length - end, to: no.length - first, room: room(no) }, full, price);
    this.#side('yes', yes, own.yes, { from: first - no.length - 1, to: end - no.length - 1, room: room(yes) }, full, price);
    const { bid, ask } = top(book);
    const known = bid !== null && ask !== null;
    write($('spread'), known ? `${cents(ask - bid)}¢` : UNKNOWN);
    write($('middle'), known ? `${mid(bid, ask)}¢` : UNKNOWN);
    mark(this.root, 'data-market', book.market);
    mark(this.root, 'data-version', book.version);
    if (!this.#held && middle !== this.#at) this.scroller.scrollTop = this.#at = middle;
  }

  // `levels` ascend: the touch is at their end. `view`: how many levels from the touch are seen, [from, to), and how much room is left beside them, px.
  #side(side, levels, own, view, full, last) {
    const { rows, spacer } = this.#sides[side];
    let near = null;
    let total = 0;
    for (let n = 0; n < levels.length; n++) {
      const [price, size] = levels[levels.length - 1 - n];
      const row = rows.get(price) ?? this.#add(side, price, near);
      row.painted = this.#painted;
      total += size;
      keep(row, size, own.get(price), n >= view.from && n < view.to);
      if (row.seen) draw(row, size, total, full, row.price === last);
      near = row;
    }
    if (rows.size > levels.length) {
      for (const [price, row] of rows) {
        if (row.painted === this.#painted) continue;
        row.element.remove();
        rows.delete(price);
      }
    }
    const height = `${Math.max(0, levels.length - Math.max(0, view.to)) * ROW_PX + view.room}px`;
    if (spacer.height !== height) spacer.height = height;
  }

  // A new row goes beyond `near`, the next level towards the touch.
  #add(side, price, near) {
    const asks = side === 'no';
    const element = el('div', { role: 'row', 'data-price-e4': price, 'data-side': side, hidden: '' });
    if (near) near.element[asks ? 'before' : 'after'](element);
    else this.#sides[side].box[asks ? 'append' : 'prepend'](element);
    const row = { element, price: asks ? DOLLAR - price : price, seen: false, size: null, left: null, cells: null };
    this.#sides[side].rows.set(price, row);
    return row;
  }

  // Whoever scrolls wants to look at something: hold it for them. The browser scrolls, too, where rows go or the window
  // changes; that is put right.
  #scrolled() {
    if (this.#held) this.moved();
    else if (Math.abs(this.scroller.scrollTop - this.#at) > 1) {
      if (performance.now() - this.#touched < INTENT_MS) this.hold(true);
      else this.#at = this.scroller.scrollTop;
    }
  }
}

// What every row says, seen or not.
function keep(row, size, own, seen) {
  if (row.seen !== seen) {
    row.seen = seen;
    row.element.hidden = !seen;
  }
  if (row.size !== size) {
    row.size = size;
    row.element.setAttribute('data-size-e2', size);
  }
  const left = own?.left ?? 0;
  if (row.left !== left) {
    row.left = left;
    row.element.setAttribute('data-own-e2', left);
  }
  row.own = own ? `${contracts(own.left)} · ${contracts(own.ahead)} ahead` : '';
}

function draw(row, size, total, full, last) {
  row.cells ??= cells(row);
  const { own, figure, sum } = row.cells;
  write(own, row.own);
  if (row.drawn !== size) {
    row.drawn = size;
    write(figure, columned(size));
  }
  if (row.total !== total) {
    row.total = total;
    write(sum, columned(total));
  }
  const share = Math.min(size / full, 1);
  if (row.share !== share) {
    row.share = share;
    figure.style.backgroundSize = `${share * 100}% ${ROW_PX - 4}px`;
    // A bar that should be longer says so.
    mark(row.element, 'data-over', size > full ? '' : null);
  }
  if (row.last !== last) {
    row.last = last;
    mark(row.element, 'data-last', last ? '' : null);
  }
}

function cells(row) {
  const [own, price, figure, sum] = ['own', 'price', 'size', 'sum'].map((name) => el('span', { role: 'cell', class: name }));
  write(price, cents(row.price));
  row.element.append(own, price, figure, sum);
  return { own, figure, sum };
}

// The next of 1, 2, 5, 10, … that is not smaller: bars must not all move because the largest size did.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 100)));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
}

// Own orders of a market by side and price: how much is left, and the least that is ahead of one of them.
function ours(market, orders) {
  const own = { yes: new Map(), no: new Map() };
  for (const order of orders) {
    if (order.market !== market) continue;
    const { side, price } = resting(order);
    const level = own[side].get(price);
    const [left, ahead] = [order.left_e2, order.ahead_e2];
    const least = level && (level.ahead === null || ahead === null ? null : Math.min(level.ahead, ahead));
    own[side].set(price, level ? { left: level.left + left, ahead: least } : { left, ahead });
  }
  return own;
}

// Levels, and prices at which only we rest: an order on paper is in nobody's book.
function withOwn(levels, own) {
  if (own.size === 0) return levels;
  const known = new Set(levels.map(([price]) => price));
  const missing = [...own.keys()].filter((price) => !known.has(price));
  return [...levels, ...missing.map((price) => [price, 0])].sort(([a], [b]) => a - b);
}
