"""Tapes of which a part is not what it was, to find out who reads it: later data as noise, or earlier data cut away."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.replay.stretches import CLOSED
from kflow.sim.tape import ADD, CANCEL, KEY_EVERY, PRINT, TRADE, Tape, TapeArrays
from kflow.units import DOLLAR

# Events of noise, at most.
EVENTS: Final = 64
# What is told of a market before it trades. All else of a tape's facts is known at its end, if ever.
KNOWN_BEFORE: Final = (
    "source",
    "session",
    "trades",
    "price_ranges",
    "fee_type",
    "fee_multiplier",
    "close_us",
)
_MOST: Final = 1_000_000  # 1e-2 contract
_LONGEST_US: Final = 5_000_000


class _Noise(NamedTuple):
    """Events in columns, and the book after each [n, 2, C]."""

    us: NDArray[np.int64]
    kind: NDArray[np.int64]
    side: NDArray[np.int64]
    col: NDArray[np.int64]
    size: NDArray[np.int64]
    books: NDArray[np.int64]


def noised(tape: Tape, stretch: int, at_us: int, least_us: int, rng: np.random.Generator) -> Tape:
    """One stretch: as it was up to and including a moment, and noise behind it, to `least_us` at least.

    Noise are other events at other times, the first as soon as a µs later, another end, and another result.
    Facts are those of KNOWN_BEFORE and what is made up.
    """
    arrays = tape.arrays
    first, behind = (int(event) for event in arrays.bounds[stretch])
    cut = first + int(np.searchsorted(arrays.us[first:behind], at_us, side="right"))
    head = slice(first, cut)
    noise = _noise(book_at(tape, cut), at_us, least_us, rng)
    before = int(np.searchsorted(arrays.keys, first)), int(np.searchsorted(arrays.keys, cut, side="right"))
    keys = np.arange(0, cut - first + len(noise.us), KEY_EVERY, dtype=np.int64)
    inside = noise.books[keys[before[1] - before[0] :] - (cut - first) - 1]
    made = TapeArrays(
        us=np.concatenate([arrays.us[head], noise.us]),
        code=np.concatenate([arrays.code[head], _codes(noise)]),
        col=np.concatenate([arrays.col[head], noise.col.astype(np.int16)]),
        size=np.concatenate([arrays.size[head], noise.size.astype(np.int32)]),
        price=arrays.price,
        bounds=np.array([[0, cut - first + len(noise.us)]], np.int64),
        keys=keys,
        books=np.concatenate([arrays.books[slice(*before)], inside.astype(np.int32)]),
        top=np.concatenate([arrays.top[head], _tops(noise.books)]),
    )
    facts: dict[str, Any] = {name: tape.facts[name] for name in KNOWN_BEFORE if name in tape.facts}
    return Tape(tape.market, made, {**facts, **_results(rng)})


def _results(rng: np.random.Generator) -> dict[str, Any]:
    values: tuple[int | None, ...] = (None, 0, int(DOLLAR), int(rng.integers(0, DOLLAR + 1)))
    return {
        "ends": [(CLOSED, "noise")[int(rng.integers(2))]],
        "result": (None, "yes", "no")[int(rng.integers(3))],
        "settlement_value_e4": values[int(rng.integers(4))],
    }


def book_at(tape: Tape, event: int) -> NDArray[np.int64]:
    """[2, C] sizes of YES bids and asks before an event, of the stretch that it lies in."""
    arrays = tape.arrays
    key = int(np.searchsorted(arrays.keys, event, side="right")) - 1
    book: NDArray[np.int64] = arrays.books[key].astype(np.int64)
    part = slice(int(arrays.keys[key]), event)
    kind, side = arrays.code[part] & 3, arrays.code[part] >> 2 & 1
    change = np.where(kind == ADD, 1, np.where(kind == PRINT, 0, -1)) * arrays.size[part].astype(np.int64)
    np.add.at(book, (side, arrays.col[part]), change)
    return book


def _noise(start: NDArray[np.int64], at_us: int, least_us: int, rng: np.random.Generator) -> _Noise:
    """Random events that a book can hold, behind a moment."""
    count = int(rng.integers(1, EVENTS + 1))
    gaps = np.floor(np.exp(rng.uniform(0.0, np.log(_LONGEST_US), count))).astype(np.int64)
    # Some of one µs, as a venue has them.
    gaps[1:][rng.random(count - 1) < 0.2] = 0
    us = at_us + np.cumsum(gaps)
    us[-1] = max(int(us[-1]), least_us)
    kinds = rng.choice([ADD, ADD, CANCEL, TRADE, PRINT], count)
    sides, cols = rng.integers(0, 2, count), rng.integers(0, start.shape[1], count)
    sizes = np.floor(np.exp(rng.uniform(0.0, np.log(_MOST), count))).astype(np.int64)
    books = np.empty((count, *start.shape), np.int64)
    book = start.copy()
    for event in range(count):
        side, kind = sides[event], kinds[event]
        if kind in (CANCEL, TRADE):
            levels = np.flatnonzero(book[side])
            if len(levels):
                cols[event] = rng.choice(levels)
                sizes[event] = min(sizes[event], book[side, cols[event]])
            else:
                kinds[event] = kind = ADD
        if kind != PRINT:
            book[side, cols[event]] += sizes[event] if kind == ADD else -sizes[event]
        books[event] = book
    return _Noise(us, kinds, sides, cols, sizes, books)


def _codes(noise: _Noise) -> NDArray[np.uint8]:
    last = np.append(noise.us[1:] != noise.us[:-1], True)
    return (noise.kind | noise.side << 2 | last.astype(np.int64) << 3).astype(np.uint8)


def _tops(books: NDArray[np.int64]) -> NDArray[np.int16]:
    """Columns of the touch after each event."""
    columns = books.shape[2]
    bids, asks = books[:, 0] > 0, books[:, 1] > 0
    bid = np.where(bids.any(axis=1), columns - 1 - bids[:, ::-1].argmax(axis=1), -1)
    ask = np.where(asks.any(axis=1), asks.argmax(axis=1), columns)
    return np.stack([bid, ask], axis=1).astype(np.int16)


def without_head(tape: Tape, stretch: int, from_us: int, until_us: int) -> Tape:
    """One stretch from a moment on, up to and including another: it begins with an event that changes nothing."""
    arrays = tape.arrays
    first, behind = (int(event) for event in arrays.bounds[stretch])
    low, high = (first + int(np.searchsorted(arrays.us[first:behind], us, side="right")) for us in (from_us, until_us))
    book = book_at(tape, low)
    part = slice(low, high)
    bounds = np.array([[0, 1 + high - low]], np.int64)
    made = TapeArrays(
        us=np.concatenate([np.array([from_us], np.int64), arrays.us[part]]),
        code=np.concatenate([np.array([ADD | 8], np.uint8), arrays.code[part]]),
        col=np.concatenate([np.zeros(1, np.int16), arrays.col[part]]),
        size=np.concatenate([np.zeros(1, np.int32), arrays.size[part]]),
        price=arrays.price,
        bounds=bounds,
        keys=np.zeros(1, np.int64),
        books=book[None].astype(np.int32),
        top=np.concatenate([_tops(book[None]), arrays.top[part]]),
    )
    return Tape(tape.market, made, {**tape.facts, "ends": ["cut"]})
