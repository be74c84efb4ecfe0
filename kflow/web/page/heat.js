// Depth over time on a canvas. A new column costs one copy of the canvas onto itself and the levels of one book; all of
// it is drawn again only where the view changes: another size, other prices, other colours.

import { DOLLAR, top } from './book.js';
import { colours, el, write, $ } from './dom.js';
import { cents, contracts } from './format.js';
import { COLUMN_MS } from './history.js';

const RIGHT = 52; // room for prices, px
const BELOW = 20; // room for times
const SPANS = [500, 1000, 2000, 4000, DOLLAR]; // how much of a dollar is in view, 1e-4 dollar
const STEPS = 8; // of colour; each is about three times the size of the one before
const STEP_SIZES = [1, 3]; // 1, 3, 10, 30, …

const threshold = (step) => STEP_SIZES[step & 1] * 10 ** (step >> 1) * 100;

export class Heat {
  #history;
  #drawn = null; // number of the last column on the canvas
  #dots = 0; // trades of the history that are on the canvas
  #all = true;
  #span = 2;
  #centre = DOLLAR / 2;
  #tick = 100;
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
    this.plot.canvas.onpointerleave = () => write($('heat-read'), '');
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
    this.#tick = 100;
    this.#highest = STEPS - 1;
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

  // Whether prices, steps or colours in view still fit the newest book.
  #look() {
    const book = this.#history.at(this.#history.last);
    if (!book) return;
    const span = SPANS[this.#span];
    const { bid, ask } = top(book);
    if (bid !== null || ask !== null) {
      const middle = bid === null ? ask : ask === null ? bid : (bid + ask) / 2;
      const centre = Math.min(Math.max(Math.round(middle / 100) * 100, span / 2), DOLLAR - span / 2);
      // Redrawing all is dear and unquiet: the view follows only a market that leaves its middle.
      if (this.#drawn === null || Math.abs(middle - this.#centre) > span * 0.3) {
        this.#all ||= centre !== this.#centre;
        if (this.#all) this.#centre = centre;
      } else if (this.#all) this.#centre = Math.min(Math.max(this.#centre, span / 2), DOLLAR - span / 2);
    }
    for (const levels of [book.yes, book.no]) {
      for (const [price, size] of levels) {
        if (price % this.#tick) this.#adopt(price % 10 ? 1 : 10);
        while (size >= threshold(this.#highest + 1)) {
          this.#highest++;
          this.#all = true;
        }
      }
    }
  }

  #adopt(tick) {
    this.#tick = tick;
    this.#all = true;
  }

  #shades() {
    const named = colours(['paper', 'ink', 'soft', 'wash', 'rule', 'gap', 'bid', 'ask']);
    const numbers = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number);
    const paper = numbers(named.paper);
    const ramp = (colour) =>
      Array.from({ length: STEPS }, (_, i) => {
        const share = 0.1 + (0.9 * (i + 1)) / STEPS;
        return `rgb(${numbers(colour).map((c, k) => Math.round(paper[k] + (c - paper[k]) * share))})`;
      });
    this.colours = { ...named, bids: ramp(named.bid), asks: ramp(named.ask) };
  }

  #drawAll() {
    if (!this.colours) this.#shades();
    this.#all = false;
    const { plot, width, height } = this;
    plot.fillStyle = this.colours.paper;
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

  #scroll(fresh) {
    const { plot, width, height } = this;
    const by = fresh * this.pixel;
    plot.drawImage(plot.canvas, by, 0, width - by, height, 0, 0, width - by, height);
    plot.fillStyle = this.colours.paper;
    plot.fillRect(width - by, 0, by, height);
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
    this.#levels(x, book.yes, this.colours.bids, false);
    this.#levels(x, book.no, this.colours.asks, true);
    const before = this.#history.at(n - 1);
    const was = before ? top(before) : {};
    const is = top(book);
    this.#touch(x, is.bid, was.bid);
    this.#touch(x, is.ask, was.ask);
  }

  #levels(x, levels, ramp, asks) {
    const thick = Math.max(this.ratio, (this.#tick / SPANS[this.#span]) * this.height);
    for (const [price, size] of levels) {
      const y = this.#y(asks ? DOLLAR - price : price);
      if (y < -thick || y > this.height + thick) continue;
      this.plot.fillStyle = ramp[this.#step(size)];
      const from = Math.round(y - thick / 2);
      this.plot.fillRect(x, from, this.pixel, Math.max(1, Math.round(y + thick / 2) - from));
    }
  }

  #step(size) {
    let step = 0;
    while (step < STEPS - 1 && size >= threshold(this.#highest - STEPS + 2 + step)) step++;
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
      const radius = (1.6 + Math.min(2.4, Math.log10(1 + size / 100) * 0.6)) * this.ratio;
      const x = this.#x((at - this.offset) / COLUMN_MS);
      if (x > this.width - radius - this.ratio) break;
      if (x > -radius) this.#dot(x, this.#y(price), radius, side === 'yes');
    }
  }

  #dot(x, y, radius, filled) {
    const { plot } = this;
    plot.beginPath();
    plot.arc(x, y, radius, 0, 2 * Math.PI);
    plot.fillStyle = filled ? this.colours.ink : this.colours.paper;
    plot.strokeStyle = filled ? this.colours.paper : this.colours.ink;
    plot.lineWidth = this.ratio;
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
    const key = `${this.#highest} ${this.colours.bids[0]}`;
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
    const labels = Array.from({ length: STEPS }, (_, i) => el('i', {}, i & 1 ? contracts(threshold(from + i - 1)) : ''));
    $('heat-sizes').replaceChildren(...labels);
  }

  #read({ offsetX, offsetY }) {
    if (this.#drawn === null) return;
    const n = this.#drawn - Math.floor((this.width - offsetX * this.ratio) / this.pixel);
    const ago = Math.round(((this.#drawn - n) * COLUMN_MS) / 1000);
    const book = this.#history.at(n);
    const span = SPANS[this.#span];
    const price = this.#centre + span / 2 - (offsetY * this.ratio * span) / this.height;
    const tick = Math.round(price / this.#tick) * this.#tick;
    write($('heat-read'), `${ago} s ago, ${cents(tick)}¢: ${said(book, tick)}`);
  }

  #describe() {
    const book = this.#history.at(this.#history.last);
    const words = book ? `best bid ${cents(top(book).bid)} cents, best ask ${cents(top(book).ask)} cents` : 'the book is not known now';
    const label = `Depth over the last minutes: ${words}`;
    if (label !== this.label) this.plot.canvas.setAttribute('aria-label', (this.label = label));
  }
}

function said(book, price) {
  if (!book) return book === null ? 'not known' : 'before this page looked';
  const size = (levels, at) => levels.find(([level]) => level === at)?.[1];
  const bid = size(book.yes, price);
  const ask = size(book.no, DOLLAR - price);
  if (bid !== undefined) return `${contracts(bid)} bid`;
  return ask === undefined ? 'nothing' : `${contracts(ask)} asked`;
}
