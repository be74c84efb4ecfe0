// The last minutes of one book: one column every quarter of a second, each the book as it stood when the column ended.
// A column in which nobody knows the book (a gap, a lost connection) is null, and stays null.

export const COLUMN_MS = 250;
const COLUMNS = 2400; // ten minutes
const TRADES = 2000;

export class History {
  constructor() {
    this.clear();
  }

  clear() {
    this.columns = new Array(COLUMNS).fill(null);
    this.trades = [];
    // Number of the last column, counted from the page's first moment; null before there is one.
    this.last = null;
    this.first = null;
  }

  // Close every column that ended by `at` (ms of performance.now()) with `book`; null where it is not known.
  advance(at, book) {
    const ended = Math.floor(at / COLUMN_MS) - 1;
    this.last ??= ended - 1;
    this.first ??= ended;
    for (let n = Math.max(this.last + 1, ended - COLUMNS + 1); n <= ended; n++) this.columns[n % COLUMNS] = book;
    this.last = Math.max(this.last, ended);
  }

  // The book of column `n`: null where it was not known, undefined where we did not look.
  at(n) {
    if (this.last === null || n < this.first || n > this.last || n <= this.last - COLUMNS) return undefined;
    return this.columns[n % COLUMNS];
  }

  // Trades of the stream, [at_ms, price, size, side], oldest first. `whole`: the list with which a stream begins, which
  // repeats what we may have.
  add(trades, whole) {
    if (whole && trades.length) this.trades = this.trades.filter(([at]) => at < trades[0][0]);
    this.trades.push(...trades);
    if (this.trades.length > TRADES) this.trades.splice(0, this.trades.length - TRADES);
  }
}
