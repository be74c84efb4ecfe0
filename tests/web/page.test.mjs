// The dashboard's pure parts, in node. Run by test_page.py, which says where the page is.

import assert from 'node:assert/strict';
import { test } from 'node:test';

const page = (name) => import(`${process.env.PAGE}/${name}.js`);

const { Misfit, merged, next, resting, top } = await page('book');
const { bytes, cents, change, clock, contracts, count, delay, dollars, duration, mid, rate } = await page('format');
const { condition, QUIET_MS } = await page('condition');
const { COLUMN_MS, History } = await page('history');

const snapshot = { type: 'snapshot', market: 'M', version: 3, live: true, yes: [[4300, 500], [4400, 125]], no: [[5400, 100]] };
const delta = (changes) => ({ type: 'delta', market: 'M', from_version: 3, version: 5, live: true, yes: [], no: [], ...changes });

test('a delta sets new sizes, adds levels and takes those of size 0 away', () => {
  const book = next(next(null, snapshot), delta({ yes: [[4200, 7], [4300, 0], [4400, 126]] }));
  assert.deepEqual(book, { market: 'M', version: 5, live: true, yes: [[4200, 7], [4400, 126]], no: [[5400, 100]] });
});

test('books are never changed, only followed', () => {
  const before = next(null, snapshot);
  next(before, delta({ no: [[5400, 0]] }));
  assert.deepEqual(before.no, [[5400, 100]]);
});

test('a delta that does not fit is refused, never guessed at', () => {
  const book = next(null, snapshot);
  for (const wrong of [{ from_version: 2 }, { from_version: 4 }, { market: 'N' }]) {
    assert.throws(() => next(book, delta(wrong)), Misfit);
  }
  assert.throws(() => next(null, delta({})), Misfit);
});

test('a level that cannot be is refused', () => {
  for (const changes of [[[0, 1]], [[10000, 1]], [[10, -1]], [[10, 1.5]], [['10', 1]], [[20, 1], [10, 1]], [[10, 1], [10, 1]], null]) {
    assert.throws(() => merged([], changes), Misfit);
  }
});

test('random changes leave what a plain map says', () => {
  let seed = 7;
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
  let levels = [];
  const plain = new Map();
  for (let round = 0; round < 2000; round++) {
    const changes = new Map();
    for (let n = random(6); n >= 0; n--) changes.set(1 + random(40), random(3));
    const sorted = [...changes].sort(([a], [b]) => a - b);
    levels = merged(levels, sorted);
    for (const [price, size] of sorted) size ? plain.set(price, size) : plain.delete(price);
    assert.deepEqual(levels, [...plain].sort(([a], [b]) => a - b));
  }
});

test('an ask is what a bid for no leaves of a dollar; an empty side has no price', () => {
  assert.deepEqual(top(next(null, snapshot)), { bid: 4400, ask: 4600 });
  assert.deepEqual(top({ yes: [], no: [] }), { bid: null, ask: null });
});

test('selling yes rests as a bid for no', () => {
  assert.deepEqual(resting({ side: 'yes', action: 'buy', price_e4: 4400 }), { side: 'yes', price: 4400 });
  assert.deepEqual(resting({ side: 'yes', action: 'sell', price_e4: 4600 }), { side: 'no', price: 5400 });
});

test('figures are exact', () => {
  assert.deepEqual([4400, 4405, 10, 1, 9990].map(cents), ['44.0', '44.05', '0.1', '0.01', '99.9']);
  assert.equal(mid(4400, 4405), '44.025');
  assert.deepEqual([125000, 1250, 1, 100, -250].map(contracts), ['1,250', '12.50', '0.01', '1', '−2.50']);
  assert.deepEqual([0, 1, 1234500000, -15_620_000].map(dollars), ['$0.00', '$0.000001', '$1,234.50', '−$15.62']);
  assert.equal(dollars(9007199254740991), '$9,007,199,254.740991');
  assert.deepEqual([1_230_000, 0, -1].map(change), ['+$1.23', '$0.00', '−$0.000001']);
});

test('what is not known is a dash, never a zero', () => {
  for (const say of [cents, contracts, dollars, change, count, rate, duration, delay, bytes, clock]) {
    for (const unknown of [null, undefined, NaN, '12']) assert.equal(say(unknown), '–');
  }
  assert.equal(dollars(2 ** 53), '–'); // digits may be lost already
  assert.equal(mid(null, 4400), '–');
});

test('time in words', () => {
  assert.deepEqual([0, 59.9, 60, 3700, 200000].map(duration), ['0 s', '59 s', '1 min 0 s', '1 h 1 min', '2 d 7 h']);
  assert.deepEqual([0.00025, 0.05, 1.234, -1].map(delay), ['0.25 ms', '50 ms', '1.23 s', 'off the scale']);
  assert.equal(clock(1795733843315), '22:57:23');
  assert.equal(bytes(456_789_123), '456.8 MB');
});

test('the page claims no more than it knows', () => {
  const link = { open: true, why: '', retryAt: 0, heard: 1000 };
  const since = { at: 500, seen: true };
  const state = (at, changed, book) => condition(at, { ...link, ...changed }, book, since).state;
  assert.equal(state(1100, {}, { live: true }), 'live');
  assert.equal(state(1100, {}, { live: false }), 'stale');
  assert.equal(state(1001 + QUIET_MS, {}, { live: true }), 'stale');
  assert.equal(state(1100, {}, null), 'connecting');
  assert.equal(state(1100, { open: false, why: 'gone' }, { live: true }), 'lost');
  assert.match(condition(65_500, { ...link, heard: 65_400 }, { live: false }, since).age, /^1 min 5 s old$/);
  assert.match(condition(600, { ...link, heard: 600 }, { live: false }, { at: 500, seen: false }).age, /at least/);
});

test('columns are the book as it stood, null where nobody knew it, undefined where nobody looked', () => {
  const history = new History();
  const [first, second] = [{ version: 1 }, { version: 2 }];
  history.advance(10 * COLUMN_MS, first);
  history.advance(12 * COLUMN_MS + 1, first);
  history.advance(14 * COLUMN_MS, null);
  history.advance(15 * COLUMN_MS, second);
  assert.deepEqual([8, 9, 10, 11, 12, 13, 14, 15].map((n) => history.at(n)), [undefined, first, first, first, null, null, second, undefined]);
});

test('trades that a new stream repeats are kept once', () => {
  const history = new History();
  history.add([[1, 10, 1, 'yes'], [2, 10, 1, 'yes']], true);
  history.add([[3, 10, 1, 'no']], false);
  history.add([[2, 10, 1, 'yes'], [3, 10, 1, 'no'], [4, 10, 1, 'no']], true);
  assert.deepEqual(history.trades.map(([at]) => at), [1, 2, 3, 4]);
});
