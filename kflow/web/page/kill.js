// Halting all trading: asked for in a dialog, with a reason and the service's token.
//
// The token is kept in a variable of this page and nowhere else: no storage, no address, no form that a browser sends.

import { $, announce, el, write } from './dom.js';

const PATIENCE_MS = 10_000;

const FAILED = {
  401: 'The token was refused.',
  403: 'The recorder does not take orders from this page’s address.',
  404: 'This recorder cannot halt anything over HTTP.',
  500: 'The recorder could not write the halt.',
};

export class Kill {
  #token = null;
  #busy = false;

  constructor() {
    this.dialog = $('kill');
    this.form = $('kill-form');
    $('kill-open').onclick = () => this.open();
    $('kill-cancel').onclick = () => this.dialog.close();
    $('kill-forget').onclick = () => {
      this.#token = null;
      this.#ask();
      $('kill-token').focus();
    };
    this.form.onsubmit = (event) => {
      event.preventDefault();
      this.#send();
    };
    this.dialog.addEventListener('close', () => {
      $('kill-token').value = '';
    });
  }

  open() {
    if (this.dialog.open) return;
    this.#say('', null);
    this.#ask();
    this.dialog.showModal();
    (this.#token ? $('kill-reason') : $('kill-token')).focus();
  }

  #ask() {
    $('kill-ask').hidden = this.#token !== null;
    $('kill-known').hidden = this.#token === null;
    $('kill-token').required = this.#token === null;
  }

  async #send() {
    if (this.#busy) return;
    const token = this.#token ?? $('kill-token').value.trim();
    const reason = $('kill-reason').value.trim();
    if (!token || !reason) {
      this.#say('It takes the token and a reason.', 'bad');
      return;
    }
    this.#pending(true);
    this.#say('Asking the recorder to write the halt …', null);
    try {
      const answer = await post(token, reason);
      if (answer.status !== 401) this.#token = token;
      const body = await answer.json().catch(() => ({}));
      if (answer.status === 202) this.#done(body);
      else this.#failed(FAILED[answer.status] ?? `The recorder answered ${answer.status}.`, body);
    } catch (error) {
      this.#failed(`No answer came (${error.message}). Nobody knows whether the halt was written.`);
    }
    this.#pending(false);
    this.#ask();
  }

  #done(body) {
    const halted = body.status === 'halted';
    const words = halted ? 'Halted.' : 'The halt was asked for.';
    // Where no actor is known, one that trades from another data folder heard nothing of it.
    const heard = halted && !['disabled', 'not_initialized'].includes(body.actor);
    this.#say(words, heard ? 'good' : 'warn', [text(body.text), text(body.hint)]);
    announce(`${words} ${text(body.text)}`);
    $('kill-cancel').focus();
  }

  #failed(words, { error, hint } = {}) {
    const told = [text(error), text(hint)].filter(Boolean).join(': ');
    const other = 'Do it without this page, now: run the command below on the machine that trades.';
    this.#say(words, 'bad', [told && `The recorder says: ${told}.`, other]);
  }

  #pending(busy) {
    this.#busy = busy;
    $('kill-send').disabled = busy;
  }

  #say(words, level, more = []) {
    const result = $('kill-result');
    result.hidden = words === '';
    result.dataset.level = level ?? 'unknown';
    result.replaceChildren(el('p', {}, words), ...more.filter(Boolean).map((line) => el('p', {}, line)));
    write($('kill-cancel'), level === 'good' || level === 'warn' ? 'Close' : 'Cancel');
  }
}

const text = (value) => (typeof value === 'string' ? value : '');

function post(token, reason) {
  return fetch('rl/kill', {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'text/plain; charset=utf-8' },
    body: reason,
    credentials: 'omit',
    cache: 'no-store',
    referrerPolicy: 'no-referrer',
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
}
