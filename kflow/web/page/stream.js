// One socket to the recorder, opened again for as long as the page is open.
//
// Nothing of the stream is trusted to continue: a socket that is silent, or tells something that does not fit, is given
// up, and the next one begins with whole books.

const FIRST_MS = 500;
const LONGEST_MS = 10_000;
// The recorder speaks every second. After this long without a word the socket is dead, whatever it says itself.
const SILENCE_MS = 10_000;

export class Stream {
  #socket = null;
  #market = null;
  #timer = 0;
  #failures = 0;
  #heard = 0;

  // `hear(message, at)` gets each message, `at` of performance.now(); it throws what ends the socket.
  // `lost(why, retryAt)` is told when there is no socket, and when the next one is tried.
  constructor({ hear, lost, opening }) {
    this.hear = hear;
    this.lost = lost;
    this.opening = opening;
    setInterval(() => this.#watch(), 1000);
    addEventListener('online', () => this.#hurry());
    document.addEventListener('visibilitychange', () => document.hidden || this.#hurry());
  }

  // Stream `market` from now on.
  follow(market) {
    this.#market = market;
    this.#failures = 0;
    this.#open();
  }

  #open() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#drop();
    this.opening();
    const url = new URL('rl/ws', location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    url.hash = '';
    url.search = `?market=${encodeURIComponent(this.#market)}&with=trades&with=state`;
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#heard = performance.now();
    // A socket that was given up may still have messages on their way: they are of a past that was ended.
    const ours = (act) => (event) => socket === this.#socket && act(event);
    socket.onmessage = ours((event) => this.#take(event.data));
    socket.onclose = ours((event) => this.#fail(event.reason || 'the connection to the recorder ended'));
  }

  #take(text) {
    this.#heard = performance.now();
    try {
      const message = JSON.parse(text);
      this.hear(message, this.#heard);
      // Only a whole book shows that the way is clear again.
      if (message.type === 'snapshot') this.#failures = 0;
    } catch (error) {
      console.error(error);
      this.#fail(`the stream did not fit (${error.message})`);
    }
  }

  #watch() {
    if (this.#socket && performance.now() - this.#heard > SILENCE_MS) this.#fail('the recorder fell silent');
  }

  #fail(why) {
    this.#drop();
    const longest = Math.min(FIRST_MS * 2 ** this.#failures++, LONGEST_MS);
    // Jitter, so that many pages do not come back all at once.
    const wait = longest * (0.5 + Math.random() / 2);
    this.#timer = setTimeout(() => this.#open(), wait);
    this.lost(why, performance.now() + wait);
  }

  // Somebody looks, or the network is back: do not let them wait for the timer.
  #hurry() {
    if (this.#timer) this.#open();
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}
