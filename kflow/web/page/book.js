// A book as the stream tells it. Books are never changed, only followed by new ones: what was drawn or kept stays true.

export const DOLLAR = 10_000;

// The stream and what we hold do not fit. There is no way to mend that but to ask for the whole book again.
export class Misfit extends Error {}

// The book after `message`, a snapshot or a delta. `before` is the book that we hold of this stream, or null.
export function next(before, message) {
  const { market, version, live } = message;
  if (typeof market !== 'string' || !Number.isSafeInteger(version) || typeof live !== 'boolean') {
    throw new Misfit('a book without its market, version or state');
  }
  if (message.type === 'snapshot') {
    return { market, version, live, yes: merged([], message.yes), no: merged([], message.no) };
  }
  if (before === null || before.market !== market || before.version !== message.from_version) {
    throw new Misfit(`a change from version ${message.from_version}, and we hold ${before?.version ?? 'none'}`);
  }
  return { market, version, live, yes: merged(before.yes, message.yes), no: merged(before.no, message.no) };
}

// Levels ([price, size], ascending) with `changes` (new sizes, ascending, 0 where a level is gone) put in.
export function merged(levels, changes) {
  if (!Array.isArray(changes)) throw new Misfit('a side that is no list');
  if (changes.length === 0) return levels;
  const after = [];
  let at = 0;
  let last = 0;
  for (const change of changes) {
    const [price, size] = change;
    if (!Number.isSafeInteger(price) || !Number.isSafeInteger(size) || size < 0 || price <= last || price >= DOLLAR) {
      throw new Misfit(`a level that cannot be: ${JSON.stringify(change)}`);
    }
    last = price;
    while (at < levels.length && levels[at][0] < price) after.push(levels[at++]);
    if (at < levels.length && levels[at][0] === price) at++;
    if (size > 0) after.push(change);
  }
  while (at < levels.length) after.push(levels[at++]);
  return after;
}

// Best bid of a side, null where there is none.
export const best = (levels) => (levels.length ? levels[levels.length - 1][0] : null);

// Top of book in prices of yes: an ask is what a bid for no leaves of a dollar.
export function top(book) {
  const no = best(book.no);
  return { bid: best(book.yes), ask: no === null ? null : DOLLAR - no };
}

// Where an order of ours rests, as the stream would show it: selling yes is bidding for no, and the other way round.
export function resting(order) {
  if (order.action === 'buy') return { side: order.side, price: order.price_e4 };
  return { side: order.side === 'yes' ? 'no' : 'yes', price: DOLLAR - order.price_e4 };
}
