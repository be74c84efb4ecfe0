// The tape: newest first. Rows are used again, so that a busy market makes no garbage.

import { $, el, mark, write } from './dom.js';
import { cents, clock, columned, count, UNKNOWN } from './format.js';

const SHOWN = 60;

export class Trades {
  #waiting = [];

  constructor() {
    this.body = $('trades');
    this.last = null;
  }

  clear() {
    this.#waiting = [];
    this.last = null;
    this.body.replaceChildren();
  }

  // `whole`: the list with which a stream begins, in place of what is shown. `missed` came before these and are not told.
  add(trades, whole, missed) {
    if (whole) this.clear();
    if (missed) this.#waiting.push([null, null, null, null, missed]);
    this.#waiting.push(...trades);
    if (this.#waiting.length > SHOWN) this.#waiting.splice(0, this.#waiting.length - SHOWN);
    const newest = trades.at(-1);
    if (newest) this.last = { at: newest[0], price: newest[1], side: newest[3] };
  }

  paint() {
    for (const [at, price, size, side, missed] of this.#waiting) {
      const row = this.body.rows.length < SHOWN ? this.#make() : this.body.lastElementChild;
      const [time, priced, sized, taker] = row.cells;
      mark(row, 'data-at-ms', at);
      mark(row, 'data-side', side);
      write(time, clock(at));
      write(priced, cents(price));
      write(sized, columned(size));
      write(taker, missed ? `${count(missed)} more, not told` : (side ? `bought ${side}` : UNKNOWN));
      this.body.prepend(row);
    }
    const any = this.#waiting.length > 0;
    this.#waiting = [];
    return any;
  }

  #make() {
    return el('tr', {}, el('td'), el('td'), el('td'), el('td'));
  }
}
