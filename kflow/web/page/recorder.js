// How the recorder is, in words and in figures.

import { $, announce, el, mark, write } from './dom.js';
import { bytes, count, delay, duration, rate, UNKNOWN } from './format.js';

const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;

export class Recorder {
  #said = null;

  // `recorder`: as in the stream's `state`, null before the first; `told`: it is not just the last that was heard.
  paint(recorder, told) {
    const words = told ? sentence(recorder) : recorder ? 'Not known now. What it told last:' : 'Not known.';
    write($('recorder-words'), words);
    mark($('recorder-words'), 'data-level', told ? level(recorder) : 'unknown');
    if (this.#said !== null && this.#said !== words) announce(`Recorder: ${words}`);
    this.#said = words;
    problems($('recorder-problems'), recorder?.problems ?? []);
    for (const [id, text] of Object.entries(recorder ? facts(recorder) : {})) write($(id), text);
  }
}

// One line for each problem, told as text.
export function problems(list, texts) {
  const shown = [...list.children].map((item) => item.textContent);
  if (shown.length === texts.length && shown.every((text, i) => text === texts[i])) return;
  list.replaceChildren(...texts.map((text) => el('li', {}, el('bdi', {}, text))));
}

function level({ status, ready, problems: told }) {
  if (status === 'unhealthy') return 'bad';
  return status === 'healthy' && ready && told.length === 0 ? 'good' : 'warn';
}

function sentence({ status, ready, problems: told, session }) {
  if (session?.draining) return 'Ending in order; nothing new is taken.';
  if (status === 'unhealthy') return 'Frames are not being kept.';
  if (status === 'not_initialized') return 'Starting; no connection to the venue yet.';
  if (status !== 'healthy') return UNKNOWN;
  if (told.length > 0 || !ready) return 'Recording; not everything is as it should be.';
  return 'Recording; nothing is amiss.';
}

function facts(recorder) {
  const { session, books, gaps, journal, database } = recorder;
  return {
    'fact-session': session ? `${count(session.number)}, for ${duration(session.uptime_s)}` : UNKNOWN,
    'fact-venue': venue(recorder),
    'fact-messages': `${count(recorder.messages)}, ${rate(recorder.rate_per_s)} a second`,
    'fact-quiet': delay(recorder.last_message_age_s),
    'fact-age': delay(recorder.age_p99_s),
    'fact-handle': delay(recorder.handle_p99_s),
    'fact-books': books ? `${count(books.live)} live, ${count(books.stale)} stale, ${count(books.invalid)} never whole` : UNKNOWN,
    'fact-gaps': gaps ? `${count(gaps.total)}; ${plural(gaps.missing_messages, 'message', 'messages')} missing` : UNKNOWN,
    'fact-journal': journal ? `${bytes(journal.bytes)}${journal.failed ? '; cannot be written' : ''}` : UNKNOWN,
    'fact-database': stored(database),
    'fact-lag': database ? `${delay(database.lag_s)}, ${plural(database.lag_messages, 'message', 'messages')}` : UNKNOWN,
  };
}

function venue({ connected, reconnects }) {
  const now = connected === true ? 'connected' : connected === false ? 'not connected' : UNKNOWN;
  return `${now}; ${plural(reconnects, 'reconnect', 'reconnects')}`;
}

function stored(database) {
  if (database === null || database === undefined) return 'not reached yet';
  if (database.failed) return 'the writer has failed; the journal keeps everything';
  if (!database.connected) return 'away; the journal keeps everything';
  return `${plural(database.rows, 'row', 'rows')}${database.catching_up ? '; catching up' : ''}`;
}
