// Spread, message rate and lag over the last ten minutes, a point a second, drawn once a second by uPlot.

import { $, colours, write } from './dom.js';
import { cents, delay, rate, UNKNOWN } from './format.js';

const POINTS = 600;
const HEIGHT_PX = 74;
const TIMES_PX = 20; // below the last one
const RIGHT_PX = 52; // as in heat.js, so that all of them end at one line
const uPlot = window.uPlot;

// What is not known is null, and a line never goes across it.
const known = (value) => (typeof value === 'number' && value >= 0 ? value : null);

const KINDS = [
  { id: 'spread', colour: 'own', said: (e4) => (e4 === null ? UNKNOWN : `${cents(e4)}¢`), axis: (e4) => cents(Math.round(e4)) },
  { id: 'rate', colour: 'own', said: (perSecond) => (perSecond === null ? UNKNOWN : `${rate(perSecond)} a second`), axis: rate },
  { id: 'lag', colour: 'own', said: delay, axis: delay },
];

export class Charts {
  #times = [];
  #rates = [];
  #lags = [];
  #spreads = new Map(); // by ticker, each as long as #times
  #plots = null;
  #dirty = true;
  #market = null;

  constructor() {
    this.boxes = Object.fromEntries(KINDS.map(({ id }) => [id, $(`chart-${id}`)]));
    // A chart's width follows its box, and must never hold the box open.
    new ResizeObserver(() => this.#fit()).observe(this.boxes.spread);
  }

  show(market) {
    this.#market = market;
    this.#dirty = true;
  }

  // Once a second, with the recorder's state, or null where the connection was lost: the lines break there.
  add(atMs, state) {
    this.#push(this.#times, atMs / 1000);
    this.#push(this.#rates, known(state?.recorder.rate_per_s));
    this.#push(this.#lags, known(state?.recorder.age_p99_s));
    const told = new Map();
    for (const [ticker, live, bid, ask] of state?.markets ?? []) {
      told.set(ticker, live && bid !== null && ask !== null ? ask - bid : null);
    }
    for (const ticker of told.keys()) {
      if (!this.#spreads.has(ticker)) this.#spreads.set(ticker, new Array(this.#times.length - 1).fill(null));
    }
    for (const [ticker, spreads] of this.#spreads) {
      this.#push(spreads, told.get(ticker) ?? null);
      if (state && !told.has(ticker)) this.#spreads.delete(ticker);
    }
    this.#dirty = true;
  }

  recolour() {
    for (const plot of this.#plots ?? []) plot.destroy();
    this.#plots = null;
    this.#dirty = true;
  }

  paint() {
    if (!this.#dirty) return;
    this.#dirty = false;
    this.#plots ??= this.#make();
    const spreads = this.#spreads.get(this.#market) ?? new Array(this.#times.length).fill(null);
    [spreads, this.#rates, this.#lags].forEach((values, i) => {
      this.#plots[i].setData([this.#times, values]);
      this.#tell(i, values.length - 1);
    });
  }

  #push(list, value) {
    list.push(value);
    if (list.length > POINTS) list.shift();
  }

  #tell(i, at) {
    const value = this.#plots[i].data[1][at];
    write($(`${KINDS[i].id}-now`), value === undefined ? UNKNOWN : KINDS[i].said(value));
  }

  #fit() {
    const width = this.boxes.spread.clientWidth;
    this.#plots?.forEach((plot, i) => plot.setSize({ width, height: height(i) }));
  }

  #make() {
    const shades = colours(['ink', 'soft', 'rule', 'own']);
    const width = this.boxes.spread.clientWidth;
    const font = '11px system-ui, sans-serif';
    const lines = { stroke: shades.soft, font, grid: { stroke: shades.rule, width: 1 }, ticks: { show: false } };
    const sync = uPlot.sync('kflow');
    return KINDS.map((kind, i) => {
      const options = {
        width,
        height: height(i),
        padding: [6, 0, i === KINDS.length - 1 ? 0 : 8, 0],
        legend: { show: false },
        cursor: { y: false, sync: { key: sync.key }, points: { show: false }, drag: { x: false, y: false } },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
        scales: { x: { range: (_, least, most) => [most - POINTS, most] }, y: { range: (_, __, most) => [0, (most || 1) * 1.15] } },
        series: [{}, { stroke: shades[kind.colour], width: 1.5, points: { show: false }, spanGaps: false }],
        axes: [
          { ...lines, show: i === KINDS.length - 1, size: TIMES_PX, gap: 3, space: 70, grid: { show: false }, values: (_, splits) => splits.map(time) },
          { ...lines, side: 1, size: RIGHT_PX, gap: 8, space: 26, values: (_, splits) => splits.map((value) => kind.axis(value)) },
        ],
        hooks: { setCursor: [({ cursor, data }) => this.#plots && this.#tell(i, cursor.idx ?? data[0].length - 1)] },
      };
      return new uPlot(options, [this.#times, []], this.boxes[kind.id]);
    });
  }
}

const height = (i) => HEIGHT_PX + (i === KINDS.length - 1 ? TIMES_PX : 0);
const time = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 16);
