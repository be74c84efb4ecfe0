// What the page may claim about the chosen book, in one word and in a sentence.

import { duration } from './format.js';

// The recorder speaks every second; a little longer than two without a word, and nobody knows what the book is.
export const QUIET_MS = 2500;

// `at`: now, of performance.now(). `link`: {open, why, retryAt, heard}. `book` may be null. `since`: when the book stopped
// being live, and whether that was seen (`seen`) or was so already when we came. `connected`: the recorder to the venue.
export function condition(at, link, book, since, connected) {
  const seconds = (from) => Math.max(0, (at - from) / 1000);
  const silence = link.heard === null ? null : duration(seconds(link.heard));
  if (!link.open && link.why) {
    const wait = Math.ceil(Math.max(0, link.retryAt - at) / 1000);
    const last = silence === null ? 'nothing was heard yet' : `last word ${silence} ago`;
    const words = `${sentence(link.why)} ${sentence(last)} ${wait > 0 ? `Trying again in ${wait} s.` : 'Trying again.'}`;
    return { state: 'lost', word: 'Connection lost.', words, age: silence === null ? '' : `${silence} old` };
  }
  if (book === null) return { state: 'connecting', word: 'Connecting.', words: 'Waiting for the book.', age: '' };
  if (at - link.heard > QUIET_MS) {
    const words = `No word from the recorder for ${silence}. What is shown is not the market now.`;
    return { state: 'stale', word: 'Silent.', words, age: `${silence} old` };
  }
  if (!book.live) {
    const age = `${since.seen ? '' : 'at least '}${duration(seconds(since.at))}`;
    const why = connected === false ? 'the recorder has no connection to the venue' : 'there is a gap, and no new snapshot yet';
    const words = `The last known book, ${age} old, not the market now: ${why}.`;
    return { state: 'stale', word: 'Stale.', words, age: `${age} old` };
  }
  return { state: 'live', word: 'Live.', words: '', age: '' };
}

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}.`;
