// What a person sets about the page itself: its theme, and whether single keys do something. Kept by the browser.

import { $, mark, write } from './dom.js';

const THEMES = ['auto', 'light', 'dark'];

// Storage may be forbidden or full; the page works without.
function kept(name) {
  try {
    return localStorage.getItem(`kflow-${name}`);
  } catch {
    return null;
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(`kflow-${name}`, value);
  } catch {
    /* then it lasts until the page is closed */
  }
}

// `changed` is called when the colours are others.
export function theme(changed) {
  let chosen = THEMES.includes(kept('theme')) ? kept('theme') : 'auto';
  const show = () => {
    mark(document.documentElement, 'data-theme', chosen === 'auto' ? null : chosen);
    write($('theme'), `Theme: ${chosen}`);
    changed();
  };
  $('theme').onclick = () => {
    chosen = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
    keep('theme', chosen);
    show();
  };
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
  show();
}

// Single keys, where nobody is typing. `acts`: what each does.
export function keys(acts) {
  const box = $('keys-on');
  box.checked = kept('keys') !== 'off';
  box.onchange = () => keep('keys', box.checked ? 'on' : 'off');
  const help = $('keys');
  $('keys-open').onclick = () => help.showModal();
  $('keys-close').onclick = () => help.close();
  document.addEventListener('keydown', (event) => {
    if (!box.checked || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest('input, textarea, dialog')) return;
    const act = event.key === '?' ? () => help.showModal() : acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}
