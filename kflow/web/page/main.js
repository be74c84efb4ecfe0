// kflow's dashboard: what the recorder streams, drawn. This file holds what is known and decides what is painted when;
// the others know how.

import { Actor } from './actor.js';
import { next } from './book.js';
import { Charts } from './charts.js';
import { condition, QUIET_MS } from './condition.js';
import { $, announce, mark, rename, write } from './dom.js';
import { cents, duration } from './format.js';
import { Heat } from './heat.js';
import { History } from './history.js';
import { Kill } from './kill.js';
import { Ladder } from './ladder.js';
import { Markets } from './markets.js';
import { Recorder } from './recorder.js';
import { keys, theme } from './settings.js';
import { Stream } from './stream.js';
import { Trades } from './trades.js';

const known = {
  market: null,
  book: null,
  // When the book stopped being live, and whether we saw it happen.
  since: { at: 0, seen: false },
  link: { open: false, why: '', retryAt: 0, heard: null },
  // The recorder's last word of itself and of the actor, and whether it may still be so.
  state: null,
  told: false,
  // The recorder's clock less performance.now(), ms.
  offset: null,
};
// What differs from what is on the screen.
const dirty = { book: false, state: false, condition: false };

const history = new History();
const ladder = new Ladder(() => (dirty.book = true));
const heat = new Heat(history);
const trades = new Trades();
const charts = new Charts();
const recorder = new Recorder();
const actor = new Actor();
const markets = new Markets(choose);
const kill = new Kill();
const stream = new Stream({ opening, hear, lost });

function choose(market) {
  if (market === known.market) return;
  Object.assign(known, { market, book: null });
  history.clear();
  heat.clear();
  trades.clear();
  ladder.clear();
  charts.show(market);
  markets.current(market);
  rename($('market'), market);
  mark($('market'), 'title', market);
  document.title = `${market} · kflow`;
  // The market is in the address, so that it can be kept and shared. Nothing else ever is.
  window.history.replaceState(null, '', `#${encodeURIComponent(market)}`);
  stream.follow(market);
}

function opening() {
  known.link = { ...known.link, open: false };
  known.offset = null;
  dirty.condition = true;
}

function lost(why, retryAt) {
  Object.assign(known.link, { open: false, why, retryAt });
  known.told = false;
  dirty.state = dirty.condition = true;
  charts.add(Date.now(), null);
  if (document.body.dataset.state !== 'lost') lookForRecorder();
}

function hear(message, at) {
  const { link } = known;
  // The book stood as it was until this message, if we were listening all the while.
  const heard = link.open && at - link.heard <= QUIET_MS;
  settle(at, heard);
  dirty.condition ||= !heard;
  link.heard = at;
  switch (message.type) {
    case 'hello':
      Object.assign(known, { book: null, link: { open: true, why: '', retryAt: 0, heard: at } });
      trades.fresh = true;
      if (message.recorded) markets.know(message.recorded);
      markets.current(known.market);
      break;
    case 'snapshot':
    case 'delta':
      follow(next(known.book, message), at);
      break;
    case 'trades':
      if (message.market !== known.market) break;
      history.add(message.trades, trades.fresh);
      trades.add(message.trades, trades.fresh, message.missed);
      trades.fresh = false;
      dirty.book = true;
      break;
    case 'state':
      Object.assign(known, { state: message, told: true });
      // The largest difference is that of the message that travelled least.
      known.offset = Math.max(known.offset ?? -Infinity, message.at_ms - at);
      charts.add(message.at_ms, message);
      dirty.state = true;
      break;
    default: // heartbeats, and what later versions add
  }
}

function follow(book, at) {
  if (book.market !== known.market) return;
  if (!book.live && (known.book === null || known.book.live)) known.since = { at, seen: known.book !== null };
  dirty.condition ||= book.live !== known.book?.live;
  known.book = book;
  dirty.book = true;
}

function settle(at, listening) {
  const { book } = known;
  const live = listening && book?.live;
  // A history begins with a book, not with having none yet.
  if (live || history.last !== null) history.advance(at, live ? book : null);
}

// A socket that does not open says nothing of why. Whether the recorder is there, and still has this market, can be asked.
async function lookForRecorder() {
  try {
    const answer = await fetch('rl/status', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    const { markets: recorded } = await answer.json();
    markets.know(recorded);
    if (known.market !== null && !recorded.includes(known.market)) {
      known.link.why = 'this market is not recorded any more: choose another';
    }
    if (known.market === null && recorded.length) choose(recorded[0]);
  } catch {
    if (known.market === null) {
      known.link = { ...known.link, why: 'the recorder does not answer', retryAt: performance.now() + 2000 };
      setTimeout(lookForRecorder, 2000);
    }
  }
}

function paintCondition(now) {
  const is = condition(now, known.link, known.book, known.since, known.state?.recorder.connected);
  const was = document.body.dataset.state;
  mark(document.body, 'data-state', is.state);
  write($('state-word'), is.word);
  write($('state-words'), is.words);
  write($('book-age'), is.age);
  if (was !== is.state) {
    announce(`${known.market ?? ''} ${is.word}. ${is.words}`);
    if (is.state === 'lost') markets.forget();
    dirty.state = true;
  }
}

function paintState() {
  const { state, told } = known;
  recorder.paint(state?.recorder ?? null, told);
  actor.paint(state?.actor ?? null, told);
  if (state && told) markets.tell(state.markets, state.markets_left_out);
  dirty.book = true;
}

function paintBook(now) {
  const { book } = known;
  trades.paint();
  if (book === null) return;
  ladder.paint(book, known.state?.actor?.orders ?? [], trades.last);
  const { last } = trades;
  const ago = last && known.offset !== null ? `, ${duration((now + known.offset - last.at) / 1000)} ago` : '';
  write($('last'), last ? `${cents(last.price)}¢${ago}` : '–');
}

// Nobody reads faster, and every paint takes time from the recorder beside us.
const BOOK_MS = 45; // every third frame of sixty a second: as often as the stream tells
let painted = 0;
let second = 0;
window.kflowFrames = 0;

function frame() {
  // First: a paint that fails must not be the last one.
  requestAnimationFrame(frame);
  window.kflowFrames++;
  const now = performance.now();
  const tick = Math.floor(now / 250) !== second;
  second = Math.floor(now / 250);
  if (tick) {
    // Silence is not the book's: those columns are of nobody.
    if (!known.link.open || now - known.link.heard > QUIET_MS) settle(now, false);
    heat.paint(known.offset);
  }
  if (dirty.state) {
    dirty.state = false;
    paintState();
    charts.paint();
  }
  // Where the page is about to claim something else, the book that it claims it of comes first.
  if (dirty.book && (dirty.condition || now - painted >= BOOK_MS)) {
    painted = now;
    dirty.book = false;
    paintBook(now);
  }
  if (tick || dirty.condition) {
    dirty.condition = false;
    paintCondition(now);
  }
}

theme(() => {
  heat.recolour();
  charts.recolour();
  dirty.state = true;
});
keys({
  '/': () => $('filter').focus(),
  c: () => ladder.toggleHold(),
  '+': () => heat.zoom(-1),
  '-': () => heat.zoom(1),
  k: () => kill.open(),
});

function begin() {
  let asked = '';
  try {
    asked = decodeURIComponent(location.hash.slice(1));
  } catch {
    /* an address that was cut: begin with the first market */
  }
  if (asked) choose(asked);
  else lookForRecorder();
}

addEventListener('hashchange', begin);
begin();
requestAnimationFrame(frame);
