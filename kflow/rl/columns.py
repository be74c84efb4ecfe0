"""The market's features of every decision of a stretch, worked out once: they are the same for all who trade on it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from kflow.policy import features
from kflow.rl.compiled import compiled, inlined
from kflow.sim.kernel import ADD, PRINT, TRADE
from kflow.sim.tape import Tape

F32 = NDArray[np.float32]
MARKET: Final = len(features.MARKET)
_DOLLAR: Final = 10_000


def rows_of(tape: Tape, stretch: int, every_us: int) -> int:
    """Decisions of a stretch: one at its first event, then one every `every_us`, none behind its last event."""
    first, last = tape.span_us(stretch)
    return (last - first) // every_us + 1


def market_columns(tape: Tape, stretch: int, every_us: int, taker_rate: float) -> F32:
    """[T, MARKET] features of each decision; row t knows what happened up to first event + t * every_us."""
    arrays = tape.arrays
    first, behind = (int(event) for event in arrays.bounds[stretch])
    out = np.empty((rows_of(tape, stretch, every_us), MARKET), np.float32)
    close = tape.facts.get("close_us")
    book = arrays.books[int(np.searchsorted(arrays.keys, first))].astype(np.int64)
    memory, found, row = np.zeros(features.MEMORY), np.zeros(6), np.zeros(MARKET)
    scratch = (memory, found, row)
    # Copies: arrays of tapes on disk cannot be written, and numba compiles anew for such.
    events = [column[first:behind].copy() for column in (arrays.us, arrays.code, arrays.col, arrays.size)]
    _fill(
        *events,
        arrays.price.copy(),
        book,
        every_us,
        -1 if close is None else int(close),
        taker_rate,
        scratch,
        out,
    )
    return out


@inlined
def _touch(bids, asks, price, bid, ask):
    """Best bid and its size, best ask and its size; 0 and a dollar, without size, where nobody quotes."""
    low, low_size, high, high_size = 0, 0, _DOLLAR, 0
    if bid >= 0:
        low, low_size = price[bid], bids[bid]
    if ask < len(price):
        high, high_size = price[ask], asks[ask]
    return low, low_size, high, high_size


@compiled
def _fill(us, code, col, size, price, book, every_us, close_us, taker_rate, scratch, out):
    """Follow a book and write what is seen of it, decision by decision."""
    memory, found, row = scratch
    bids, asks = book[0], book[1]
    columns = len(price)
    bid, ask = columns - 1, 0
    while bid >= 0 and bids[bid] == 0:
        bid -= 1
    while ask < columns and asks[ask] == 0:
        ask += 1
    start_us = us[0]
    low, low_size, high, high_size = _touch(bids, asks, price, bid, ask)
    features.begin(memory, start_us, low, low_size, high, high_size)
    event = 0
    for t in range(len(out)):
        until = start_us + t * every_us
        while event < len(us) and us[event] <= until:
            bought, sold, trades = 0, 0, 0
            now = us[event]
            while True:
                kind, side, c, change = code[event] & 3, code[event] >> 2 & 1, col[event], np.int64(size[event])
                if kind >= TRADE:
                    trades += 1
                    if side == 0:
                        sold += change
                    else:
                        bought += change
                if kind != PRINT:
                    book[side, c] += change if kind == ADD else -change
                    if side == 0:
                        bid = max(bid, np.int64(c))
                    else:
                        ask = min(ask, np.int64(c))
                event += 1
                if code[event - 1] & 8:
                    break
            while bid >= 0 and bids[bid] == 0:
                bid -= 1
            while ask < columns and asks[ask] == 0:
                ask += 1
            low, low_size, high, high_size = _touch(bids, asks, price, bid, ask)
            features.observe(memory, now, bought, sold, trades, low, low_size, high, high_size)
        features.encode_market(memory, until, bids, asks, price, bid, ask, close_us, taker_rate, found, row)
        for f in range(len(row)):
            out[t, f] = row[f]
