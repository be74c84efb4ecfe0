// Depth over time on a canvas. A new column costs one copy of the canvas onto itself and the levels of one book; all of
// it is drawn again only where the view changes: another size, other prices, other colours.

import { DOLLAR, top } from './book.js';
import { colours, el, write, $ } from './dom.js';
import { cents, contracts, count } from './format.js';
import { COLUMN_MS } from './history.js';

const RIGHT = 52; // room for prices, px
const BELOW = 20; // room for times
const SPANS = [500, 1000, 2000, 4000, DOLLAR]; // how much of a dollar is in view, 1e-4 dollar
const ROWS = [10, 20, 50, 100, 200, 500]; // how much of a dollar one row of colour may stand for
const ROW_PX = 5; // the least height of a row that is told from its neighbours
const STEPS = 8; // of colour; each is about three times the size of the one before
const STEP_SIZES = [1, 3]; // 1, 3, 10, 30, …

const short = (n) => (n < 1000 ? count(n) : `${count(n / 1000)}k`);
const threshold = (step) => STEP_SIZES[step & 1] * 10 ** (step >> 1) * 100;

export class Heat {
  #history;
  #drawn = null; // number of the last column on the canvas
  #dots = 0; // trades of the history that are on the canvas
  #all = true;
  #span = 2;
  #centre = DOLLAR / 2;
  #tick = 100;
  #row = 100; // what one row of colour stands for
  #highest = STEPS - 1; // the colour scale's last step
  #told = null;

  constructor(history) {
    this.#history = history;
    this.box = $('heat');
    this.plot = $('heat-plot').getContext('2d', { alpha: false });
    this.frame = $('heat-frame').getContext('2d');
    new ResizeObserver(() => this.#fit()).observe(this.box);
    $('heat-in').onclick = () => this.zoom(-1);
    $('heat-out').onclick = () => this.zoom(1);
    this.plot.canvas.onpointermove = (event) => this.#read(event);
    this.plot.canvas.onpointerleave = () => this.#unit();
  }

  zoom(by) {
    this.#span = Math.min(Math.max(this.#span + by, 0), SPANS.length - 1);
    $('heat-in').disabled = this.#span === 0;
    $('heat-out').disabled = this.#span === SPANS.length - 1;
    this.#all = true;
  }

  recolour() {
    this.colours = null;
    this.#all = true;
  }

  clear() {
    this.#drawn = null;
    this.#all = true;
  }

  // `offset`: the recorder's clock less performance.now(), ms; null while it is not known.
  paint(offset) {
    if (this.width === undefined) return;
    const last = this.#history.last;
    if (this.#drawn === null && last !== null) this.#all = true;
    const fresh = last - this.#drawn;
    if (!this.#all && fresh === 0) return;
    this.offset = offset;
    this.#look();
    if (this.#all || fresh * this.pixel > this.width / 2) this.#drawAll();
    else this.#scroll(fresh);
    this.#describe();
  }

  #fit() {
    const { width, height } = this.box.getBoundingClientRect();
    const ratio = devicePixelRatio;
    this.pixel = Math.max(1, Math.round(ratio));
    this.width = Math.max(1, Math.floor((width - RIGHT) * ratio));
    this.height = Math.max(1, Math.floor((height - BELOW) * ratio));
    this.ratio = ratio;
    Object.assign(this.plot.canvas, { width: this.width, height: this.height });
    Object.assign(this.plot.canvas.style, { width: `${this.width / ratio}px`, height: `${this.height / ratio}px` });
    Object.assign(this.frame.canvas, { width: Math.floor(width * ratio), height: Math.floor(height * ratio) });
    this.#all = true;
  }

  // Whether prices, steps and colours in view still fit the newest book.
  #look() {
    const book = this.#history.at(this.#history.last);
    if (!book) return;
    const span = SPANS[this.#span];
    const { bid, ask } = top(book);
    const middle = bid === null ? ask : ask === null ? bid : (bid + ask) / 2;
    // Redrawing all is dear and unquiet: the view follows only a market that leaves its middle.
    if (middle !== null && (this.#drawn === null || Math.abs(middle - this.#centre) > span * 0.3)) {
      this.#move(Math.round(middle / 100) * 100);
    }
    if (this.#grid(book, this.#tick) < this.#tick) this.#all = true;
    if (this.#step(this.#largest(book)) > STEPS - 1) this.#all = true;
  }

  // The step of the prices in view, or `tick` where that is finer: at its ends a market may have finer steps.
  #grid(book, tick) {
    const reach = SPANS[this.#span] / 2;
    for (const [levels, centre] of [[book.yes, this.#centre], [book.no, DOLLAR - this.#centre]]) {
      for (const [price] of levels) {
        while (price % tick && Math.abs(price - centre) <= reach) tick = tick === 100 ? 10 : 1;
      }
    }
    return tick;
  }

  #move(centre) {
    const span = SPANS[this.#span];
    const to = Math.min(Math.max(centre, span / 2), DOLLAR - span / 2);
    this.#all ||= to !== this.#centre;
    this.#centre = to;
  }

  #largest(book) {
    const reach = SPANS[this.#span] / 2;
    let most = 0;
    for (const asks of [false, true]) {
      for (const [low, high, size] of this.#rows(book, asks)) {
        if (high > this.#centre - reach && low < this.#centre + reach && size > most) most = size;
      }
    }
    return most;
  }

  // One side of a book as rows of colour: [from, to, size of all levels in it], in prices of yes. A row ends at the touch.
  #rows(book, asks) {
    const [tick, row] = [this.#tick, this.#row];
    const levels = asks ? book.no : book.yes;
    const touch = asks ? top(book).ask : top(book).bid;
    const half = row === tick ? row / 2 : 0;
    const rows = [];
    let last = null;
    for (const [level, size] of levels) {
      const price = asks ? DOLLAR - level : level;
      const k = asks && half === 0 ? Math.ceil(price / row) - 1 : Math.floor(price / row);
      if (last !== null && last[3] === k) last[2] += size;
      else {
        const low = k * row - half;
        const high = low + row;
        last = [asks ? Math.max(low, touch - tick / 2) : low, asks ? high : Math.min(high, touch + tick / 2), size, k];
        rows.push(last);
      }
    }
    return rows;
  }

  #shades() {
    const named = colours(['paper', 'ink', 'soft', 'wash', 'rule', 'gap', 'bid', 'ask']);
    const numbers = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number);
    const paper = numbers(named.paper);
    const ramp = (colour) =>
      Array.from({ length: STEPS }, (_, i) => {
        // Slowly at first, so that what is large stands out.
        const share = 0.07 + 0.93 * (i / (STEPS - 1)) ** 1.5;
        return `rgb(${numbers(colour).map((c, k) => Math.round(paper[k] + (c - paper[k]) * share))})`;
      });
    this.colours = { ...named, bids: ramp(named.bid), asks: ramp(named.ask) };
  }

  #drawAll() {
    if (!this.colours) this.#shades();
    this.#move(this.#centre);
    this.#all = false;
    this.#scale();
    const { plot, width, height } = this;
    plot.fillStyle = this.colours.wash;
    plot.fillRect(0, 0, width, height);
    const last = this.#history.last;
    this.#drawn = last;
    this.#dots = 0;
    if (last !== null) {
      const many = Math.ceil(width / this.pixel);
      for (let n = last - many + 1; n <= last; n++) this.#column(n);
      this.#trades();
    }
    this.#drawFrame();
    this.#legend();
  }

  // Rows that are high enough, and colours up to the largest size in view.
  #scale() {
    const { last } = this.#history;
    const books = new Set();
    for (let n = last; n !== null && n > last - this.width / this.pixel; n--) books.add(this.#history.at(n));
    this.#tick = 100;
    for (const book of books) if (book) this.#tick = this.#grid(book, this.#tick);
    const least = (ROW_PX * this.ratio * SPANS[this.#span]) / this.height;
    this.#row = ROWS.find((row) => row >= least && row >= this.#tick) ?? ROWS.at(-1);
    let most = 0;
    for (const book of books) if (book) most = Math.max(most, this.#largest(book));
    this.#highest = STEPS - 1;
    while (most >= threshold(this.#highest + 1)) this.#highest++;
  }

  #scroll(fresh) {
    const { plot, width, height } = this;
    const by = fresh * this.pixel;
    plot.drawImage(plot.canvas, by, 0, width - by, height, 0, 0, width - by, height);
    const before = this.#drawn;
    this.#drawn = this.#history.last;
    for (let n = before + 1; n <= this.#drawn; n++) this.#column(n);
    this.#trades();
  }

  #x(n) {
    return this.width - (this.#drawn - n + 1) * this.pixel;
  }

  #y(price) {
    const span = SPANS[this.#span];
    return ((this.#centre + span / 2 - price) / span) * this.height;
  }

  #column(n) {
    const book = this.#history.at(n);
    const x = this.#x(n);
    if (book === undefined) return;
    if (book === null) {
      this.#hatch(n, x);
      return;
    }
    this.plot.fillStyle = this.colours.paper;
    this.plot.fillRect(x, 0, this.pixel, this.height);
    this.#levels(x, this.#rows(book, false), this.colours.bids);
    this.#levels(x, this.#rows(book, true), this.colours.asks);
    const before = this.#history.at(n - 1);
    const was = before ? top(before) : {};
    const is = top(book);
    this.#touch(x, is.bid, was.bid);
    this.#touch(x, is.ask, was.ask);
  }

  #levels(x, rows, ramp) {
    const { plot, height, pixel } = this;
    for (const [low, high, size] of rows) {
      const from = Math.round(this.#y(high));
      const to = Math.round(this.#y(low));
      if (to < 0 || from > height) continue;
      plot.fillStyle = ramp[Math.min(this.#step(size), STEPS - 1)];
      plot.fillRect(x, from, pixel, Math.max(1, to - from));
    }
  }

  // Of a size, its step of colour; STEPS where the scale ends below it.
  #step(size) {
    let step = 0;
    while (step < STEPS && size >= threshold(this.#highest - STEPS + 2 + step)) step++;
    return step;
  }

  // Best price as a line, joined to the column before.
  #touch(x, price, before) {
    if (price === null) return;
    const line = Math.max(1, Math.round(1.25 * this.ratio));
    const y = this.#y(price);
    const from = before === null || before === undefined ? y : this.#y(before);
    this.plot.fillStyle = this.colours.ink;
    this.plot.fillRect(x, Math.round(Math.min(y, from) - line / 2), this.pixel, Math.round(Math.abs(y - from)) + line);
  }

  // Stripes that run on from column to column, for what is not known.
  #hatch(n, x) {
    const { plot, height, pixel } = this;
    plot.fillStyle = this.colours.wash;
    plot.fillRect(x, 0, pixel, height);
    plot.fillStyle = this.colours.gap;
    const apart = 8 * pixel;
    for (let y = -((n * pixel) % apart); y < height; y += apart) plot.fillRect(x, y, pixel, 1.5 * pixel);
  }

  // A dot is drawn when there is room for all of it: a later column would cut it.
  #trades() {
    if (this.offset === null) return;
    const { trades } = this.#history;
    if (this.#dots > trades.length) this.#dots = 0;
    for (; this.#dots < trades.length; this.#dots++) {
      const [at, price, size, side] = trades[this.#dots];
      // Its area is as the size, within what can be seen.
      const radius = Math.min(Math.max(Math.sqrt(size / 100) * 0.22, 1), 5) * this.ratio;
      const x = this.#x((at - this.offset) / COLUMN_MS);
      if (x > this.width - radius - this.ratio) break;
      if (x > -radius) this.#dot(x, this.#y(price), radius, side);
    }
  }

  #dot(x, y, radius, side) {
    const { plot } = this;
    const { ink, paper, soft } = this.colours;
    const [fill, stroke] = { yes: [ink, paper], no: [paper, ink] }[side] ?? [soft, paper];
    plot.beginPath();
    plot.arc(x, y, radius, 0, 2 * Math.PI);
    plot.fillStyle = fill;
    plot.strokeStyle = stroke;
    plot.lineWidth = this.ratio * 0.75;
    plot.fill();
    plot.stroke();
  }

  #drawFrame() {
    const { frame, ratio } = this;
    const { width, height } = frame.canvas;
    frame.setTransform(1, 0, 0, 1, 0, 0);
    frame.clearRect(0, 0, width, height);
    frame.setTransform(ratio, 0, 0, ratio, 0, 0);
    frame.fillStyle = this.colours.soft;
    frame.font = getComputedStyle(this.box).font;
    frame.textBaseline = 'middle';
    const span = SPANS[this.#span];
    const every = span / (span === DOLLAR ? 10 : 5);
    const [right, below] = [this.width / ratio, this.height / ratio];
    for (let price = Math.ceil((this.#centre - span / 2) / every) * every; price <= this.#centre + span / 2; price += every) {
      const y = Math.min(Math.max(this.#y(price) / ratio, 7), below - 6);
      frame.fillText(cents(price), right + 8, y);
    }
    frame.textBaseline = 'alphabetic';
    frame.textAlign = 'right';
    frame.fillText('now', right, below + 15);
    frame.textAlign = 'center';
    const minute = (60_000 / COLUMN_MS) * (this.pixel / ratio);
    for (let k = 0.5; right - k * minute > 24; k += 0.5) {
      frame.fillText(k < 1 ? '−30 s' : `−${k} min`, right - k * minute, below + 15);
    }
    frame.textAlign = 'left';
  }

  #legend() {
    const key = `${this.#highest} ${this.#row} ${this.colours.bids}`;
    if (this.#told === key) return;
    this.#told = key;
    const swatches = (ramp) =>
      ramp.map((colour) => {
        const swatch = el('i');
        swatch.style.background = colour;
        return swatch;
      });
    $('heat-bids').replaceChildren(...swatches(this.colours.bids));
    $('heat-asks').replaceChildren(...swatches(this.colours.asks));
    // From the second step on: the first holds everything smaller.
    const from = this.#highest - STEPS + 2;
    const labels = Array.from({ length: STEPS }, (_, i) => el('i', {}, i & 1 ? short(threshold(from + i - 1) / 100) : ''));
    $('heat-sizes').replaceChildren(...labels);
    this.#unit();
  }

  // What a colour counts, where nobody points at one.
  #unit() {
    write($('heat-read'), `contracts within ${cents(this.#row)}¢`);
  }

  #read({ offsetX, offsetY }) {
    if (this.#drawn === null) return;
    const n = this.#drawn - Math.floor((this.width - offsetX * this.ratio) / this.pixel);
    const ago = Math.round(((this.#drawn - n) * COLUMN_MS) / 1000);
    const book = this.#history.at(n);
    const price = this.#centre + SPANS[this.#span] * (0.5 - (offsetY * this.ratio) / this.height);
    write($('heat-read'), `${ago} s ago, ${cents(Math.round(price / this.#tick) * this.#tick)}¢: ${this.#said(book, price)}`);
  }

  #said(book, price) {
    if (!book) return book === null ? 'not known' : 'before this page looked';
    for (const asks of [false, true]) {
      const row = this.#rows(book, asks).find(([low, high]) => price > low && price <= high);
      if (row) return `${contracts(row[2])} ${asks ? 'asked' : 'bid'}`;
    }
    return 'nothing';
  }

  #describe() {
    const book = this.#history.at(this.#history.last);
    const words = book ? `best bid ${cents(top(book).bid)} cents, best ask ${cents(top(book).ask)} cents` : 'the book is not known now';
    const label = `Depth over the last minutes: ${words}`;
    if (label !== this.label) this.plot.canvas.setAttribute('aria-label', (this.label = label));
  }
}
