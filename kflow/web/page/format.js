// Whole numbers as text, exactly: digits are moved, never divided. What is not known is a dash, never a zero.

export const UNKNOWN = '–';
const MINUS = '−';

// `value` counts 10^-places; at least `least` decimals are written, and as many as it takes to be exact.
function decimal(value, places, least) {
  const digits = String(Math.abs(value)).padStart(places + 1, '0');
  const whole = digits.slice(0, digits.length - places).replace(/\B(?=(\d{3})+$)/g, ',');
  const part = digits.slice(digits.length - places).replace(/0+$/, '').padEnd(least, '0');
  return part ? `${whole}.${part}` : whole;
}

// Beyond 2^53 a number from JSON may have lost digits: it is not known either.
const exact = Number.isSafeInteger;
const sign = (value) => (value < 0 ? MINUS : '');

// 1e-4 dollar as cents: 4400 is 44.0, 4405 is 44.05.
export const cents = (e4) => (exact(e4) ? sign(e4) + decimal(e4, 2, 1) : UNKNOWN);

// The price half way between two, in cents.
export const mid = (bid, ask) => (exact(bid) && exact(ask) ? sign(bid + ask) + decimal((bid + ask) * 5, 3, 1) : UNKNOWN);

// 1e-2 contract as contracts: 125000 is 1,250 and 1250 is 12.50.
export const contracts = (e2) => (exact(e2) ? sign(e2) + decimal(e2, 2, e2 % 100 ? 2 : 0) : UNKNOWN);

// The same for columns: without a fraction, room is left for one (a point's and two figures' width), so that the whole
// contracts of all rows stand below each other.
export const columned = (e2) => (exact(e2) && e2 % 100 === 0 ? `${contracts(e2)}\u2008\u2007\u2007` : contracts(e2));

// 1e-6 dollar, in full.
export const dollars = (e6) => (exact(e6) ? `${sign(e6)}$${decimal(e6, 6, 2)}` : UNKNOWN);

export function change(e6) {
  return exact(e6) && e6 > 0 ? `+${dollars(e6)}` : dollars(e6);
}

export const count = (n) => (exact(n) ? sign(n) + decimal(n, 0, 0) : UNKNOWN);

const finite = (x) => typeof x === 'number' && Number.isFinite(x);

export function rate(perSecond) {
  if (!finite(perSecond)) return UNKNOWN;
  return perSecond < 9.95 ? perSecond.toFixed(1) : count(Math.round(perSecond));
}

// How long, in the two largest units that matter.
export function duration(seconds) {
  if (!finite(seconds)) return UNKNOWN;
  const whole = Math.floor(Math.max(seconds, 0));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

// A delay. The recorder says -1 for what lies beyond its largest histogram bucket.
export function delay(seconds) {
  if (!finite(seconds)) return UNKNOWN;
  if (seconds < 0) return 'off the scale';
  if (seconds >= 60) return duration(seconds);
  if (seconds >= 1) return `${Number(seconds.toPrecision(3))} s`;
  return `${Number((seconds * 1000).toPrecision(3))} ms`;
}

export function bytes(n) {
  if (!exact(n) || n < 0) return UNKNOWN;
  if (n < 1000) return `${n} B`;
  const power = Math.min(Math.floor(Math.log10(n) / 3), 4);
  return `${(n / 1000 ** power).toFixed(1)} ${['', 'k', 'M', 'G', 'T'][power]}B`;
}

// Milliseconds since 1970 as the time of day, UTC like every time kflow tells.
export const clock = (ms) => (exact(ms) ? new Date(ms).toISOString().slice(11, 19) : UNKNOWN);
