// How the actor is: may it trade, what rests, what it holds, what it earned.

import { $, announce, mark, named, rename, rows, write } from './dom.js';
import { cents, change, contracts, count, dollars, duration, UNKNOWN } from './format.js';
import { problems } from './recorder.js';

const OLD_S = 5; // an actor tells each second
const STANDINGS = {
  active: 'Active: orders may leave',
  reducing: 'Reducing: only what makes a position smaller may leave',
  halted: 'Halted: no order leaves',
};
const STATUSES = { disabled: 'No actor runs on the recorder’s data folder.', not_initialized: 'Starting, or enabled and not running.', unhealthy: 'But it is not well.' };

export class Actor {
  #said = null;

  // `actor`: as in the stream's `state`, null before the first; `told`: it is not just the last that was heard.
  paint(actor, told) {
    const words = told ? sentence(actor) : actor ? 'Not known now. What was told last:' : 'Not known.';
    write($('actor-words'), words);
    mark($('actor-words'), 'data-level', told ? level(actor) : 'unknown');
    if (this.#said !== null && this.#said !== words) announce(`Actor: ${words}`);
    this.#said = words;
    problems($('actor-problems'), actor?.problems ?? []);
    const present = actor !== null && actor.status !== 'disabled';
    $('actor-facts').hidden = $('actor-holds').hidden = !present;
    mark(document.body, 'data-actor', present ? '' : null);
    if (present) this.#fill(actor);
  }

  #fill(actor) {
    write($('actor-profit'), change(actor.profit_e6));
    mark($('actor-profit'), 'data-sign', Math.sign(actor.profit_e6 ?? 0));
    write($('actor-cash'), dollars(actor.cash_e6));
    write($('actor-strategy'), actor.strategy ?? UNKNOWN);
    write($('actor-venue'), actor.venue ?? UNKNOWN);
    write($('actor-run'), actor.run === null ? UNKNOWN : String(actor.run).slice(0, 8));
    mark($('actor-run'), 'title', actor.run);
    write($('actor-age'), actor.age_s === null ? UNKNOWN : `${duration(actor.age_s)} ago`);
    // An actor that gives no sign of life may have other orders and another position by now.
    const old = actor.age_s === null || actor.age_s > OLD_S ? '' : null;
    mark($('actor-holds'), 'data-old', old);
    mark($('ladder'), 'data-own-old', old);
    write($('orders-more'), more(actor));
    write($('orders-none'), actor.orders_under_way === null ? UNKNOWN : 'None rests.');
    write($('positions-none'), actor.cash_e6 === null ? UNKNOWN : 'None.');
    write($('positions-more'), actor.positions_left_out ? `and ${count(actor.positions_left_out)} more` : '');
    this.#orders(actor.orders);
    this.#positions(actor.positions);
  }

  #orders(orders) {
    $('orders-none').hidden = orders.length > 0;
    $('orders-table').hidden = orders.length === 0;
    rows($('orders'), orders, 4, (cells, { market, side, action, price_e4, left_e2, ahead_e2 }) => {
      whose(cells[0], market);
      write(cells[1], `${action === 'buy' ? '' : `${action} `}${side} ${cents(price_e4)}`);
      write(cells[2], contracts(left_e2));
      write(cells[3], contracts(ahead_e2));
    });
  }

  #positions(positions) {
    $('positions-none').hidden = positions.length > 0;
    $('positions-table').hidden = positions.length === 0;
    rows($('positions'), positions, 2, (cells, { market, yes_e2 }) => {
      whose(cells[0], market);
      write(cells[1], yes_e2 === null ? UNKNOWN : `${contracts(Math.abs(yes_e2))} ${yes_e2 < 0 ? 'no' : 'yes'}`);
    });
  }
}

function whose(cell, ticker) {
  if (cell.firstChild === null) cell.append(named(ticker));
  else rename(cell.firstChild, ticker);
  mark(cell, 'title', ticker);
}

function more({ orders_left_out: left, orders_under_way: under }) {
  const parts = [left && `and ${count(left)} more`, under && `${count(under)} under way: nobody knows yet whether they rest`];
  return parts.filter(Boolean).join('; ');
}

function level({ status, standing }) {
  if (status === 'disabled') return 'unknown';
  if (status === 'unhealthy' || standing === 'halted') return 'bad';
  return status === 'healthy' && standing === 'active' ? 'good' : 'warn';
}

function sentence({ status, standing, standing_reason: reason }) {
  const why = standing !== 'active' && reason ? ` (${reason})` : '';
  const mayTrade = STANDINGS[standing] && `${STANDINGS[standing]}${why}.`;
  if (status === 'healthy') return mayTrade ?? 'It runs; its standing is not known.';
  const state = STATUSES[status] ?? 'In a state that this page does not know.';
  if (mayTrade === undefined || status === 'disabled') return state;
  return standing === 'halted' ? mayTrade : `${mayTrade} ${state}`;
}
