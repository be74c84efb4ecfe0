"""A recorded market as columns, ready for the kernel: what happened to each level, in the venue's order, and by whom.

A tape holds one market of one recording in gap-free stretches; nothing is carried over a gap. Prices are columns, one
for each valid price of the market's grid, both sides on the YES axis: a NO bid at p lies in the column of $1 - p.
Removals are told apart: what takers took (TRADE) and what was withdrawn (CANCEL); see `trades`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kflow.errors import DataError
from kflow.market.events import Level
from kflow.market.grid import Grid
from kflow.units import DOLLAR

I8 = NDArray[np.uint8]
I16 = NDArray[np.int16]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

# What an event is; `kernel` has the same numbers.
ADD, CANCEL, TRADE, PRINT = 0, 1, 2, 3
# Events between two books that are kept whole: to begin in the middle costs half of this on average.
KEY_EVERY: Final = 1024
# A level holds less than this, in 1e-2 contracts, so that sums of two fit 32 bits.
LEVEL_LIMIT: Final = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One market without a gap. Arrays run in the venue's order; sizes are 1e-2 contracts, prices 1e-4 dollar.

    `prints`: trades that no removal shows, rows of (delta before which it stands, µs, maker's side, its own price,
    size). They eat queues and change no level.
    """

    start: tuple[Sequence[Level], Sequence[Level]]  # YES and NO bids when it begins
    us: I64  # [E] the venue's time, µs since 1970
    side: NDArray[np.int8]  # [E] 0 YES bids, 1 NO bids
    price: I32  # [E] of its own side
    change: I64  # [E] signed
    traded: I64  # [E] how much of a removal takers took, 0 to -change
    prints: I64  # [P, 5]
    ends: str  # why: a gap, the market's close, the recording's end


class TapeArrays(NamedTuple):
    """What the kernel reads.

    code: kind | side << 2 | last of its exchange µs << 3. Books: [.., 2, C], sizes of YES bids, then of NO bids.
    """

    us: I64  # [E] never falls within a stretch
    code: I8  # [E]
    col: I16  # [E]
    size: I32  # [E] by how much the level changed, or what was printed; positive
    price: I32  # [C] YES price of each column, 1e-4 dollar, ascending
    bounds: I64  # [S, 2] first event and the one behind the last, of each stretch
    keys: I64  # [K] ascending: events before which a book is kept
    books: I32  # [K, 2, C]
    top: I16  # [E, 2] columns of best YES bid and best YES ask after the event; -1 and C where nobody quotes


@dataclass(frozen=True, slots=True)
class Tape:
    """One market of one recording."""

    market: str
    arrays: TapeArrays
    # Grid, fees, source, how trades were known, why stretches end, counts. Plain JSON.
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def events(self) -> int:
        return len(self.arrays.us)

    @property
    def columns(self) -> int:
        return len(self.arrays.price)

    @property
    def stretches(self) -> int:
        return len(self.arrays.bounds)

    def span_us(self, stretch: int) -> tuple[int, int]:
        """Venue's time of a stretch's first and last event."""
        first, behind = self.arrays.bounds[stretch]
        return int(self.arrays.us[first]), int(self.arrays.us[behind - 1])

    @property
    def seconds(self) -> float:
        """How long the stretches last together."""
        spans = [self.span_us(stretch) for stretch in range(self.stretches)]
        return sum(last - first for first, last in spans) / 1e6


def compile_tape(market: str, stretches: Sequence[Stretch], grid: Grid, facts: dict[str, Any]) -> Tape:
    """Put stretches into columns, and check them: prices on the grid, levels never negative nor beyond LEVEL_LIMIT.

    Stretches without an event are left out. Raises DataError for one that contradicts itself.
    """
    column = _columns(grid)
    parts = [_Part(stretch, column) for stretch in stretches if len(stretch.us)]
    if not parts:
        raise DataError(f"{market}: no event of its book is recorded", hint="choose another market or session")
    bounds = np.cumsum([0, *[len(part.us) for part in parts]], dtype=np.int64)
    us = np.concatenate([part.us for part in parts])
    kind = np.concatenate([part.kind for part in parts])
    side = np.concatenate([part.side for part in parts])
    col = np.concatenate([part.col for part in parts])
    size = np.concatenate([part.size for part in parts])
    spans = np.stack([bounds[:-1], bounds[1:]], axis=1)
    keys = np.concatenate([np.arange(first, behind, KEY_EVERY, dtype=np.int64) for first, behind in spans])
    code = np.zeros(len(us), np.uint8)
    books = np.zeros((len(keys), 2, len(grid)), np.int32)
    top = np.zeros((len(us), 2), np.int16)
    starts = np.stack([_book(part.start, column, len(grid)) for part in parts])
    wrong = _replay(us, kind, side, col, size, spans, starts, keys, code, books, top)
    if wrong >= 0:
        raise DataError(
            f"{market}: event {wrong} leaves a level below nothing or beyond {LEVEL_LIMIT // 100:,} contracts",
            hint="messages were lost before it: kflow replay verify",
        )
    price = np.array(grid.prices(), np.int32)
    arrays = TapeArrays(us, code, col, size, price, spans, keys, books, top)
    ends = [part.ends for part in parts]
    return Tape(market, arrays, {**facts, "price_ranges": grid.price_ranges(), "ends": ends})


class _Part:
    """A stretch with a removal that was partly traded split in two, and its prints in their places."""

    def __init__(self, stretch: Stretch, column: I16) -> None:
        removed = np.maximum(-stretch.change, 0)
        if np.any(stretch.traded < 0) or np.any(stretch.traded > removed):
            raise DataError("a trade removed more than its level lost")
        split = (stretch.traded > 0) & (stretch.traded < removed)
        kind = np.where(stretch.change > 0, ADD, np.where(stretch.traded > 0, TRADE, CANCEL))
        size = np.where(stretch.traded > 0, stretch.traded, np.abs(stretch.change))
        rest = np.flatnonzero(split)
        prints = stretch.prints
        # Where each event stands: between the deltas, the rest of a split behind its trade, prints before their delta.
        place = np.concatenate([np.arange(len(kind)) * 4 + 1, rest * 4 + 2, prints[:, 0] * 4])
        order = np.argsort(place, kind="stable")
        cancel, printed = np.full(len(rest), CANCEL), np.full(len(prints), PRINT)
        sides = np.concatenate([stretch.side, stretch.side[rest], prints[:, 2]])[order]
        prices = np.concatenate([stretch.price, stretch.price[rest], prints[:, 3]])[order]
        sizes = np.concatenate([size, (removed - stretch.traded)[rest], prints[:, 4]])[order]
        if np.any(sizes >= LEVEL_LIMIT) or np.any(sizes < 0):
            raise DataError(f"a change of {int(np.max(sizes)) // 100:,} contracts is more than a level may hold")
        self.us = np.maximum.accumulate(np.concatenate([stretch.us, stretch.us[rest], prints[:, 1]])[order])
        self.kind = np.concatenate([kind, cancel, printed])[order].astype(np.int8)
        self.side = sides.astype(np.int8)
        self.size = sizes.astype(np.int32)
        self.col = _placed(column, self.side, prices)
        self.start, self.ends = stretch.start, stretch.ends


def _columns(grid: Grid) -> I16:
    """Column of each YES price, by price; -1 off the grid."""
    column = np.full(DOLLAR + 1, -1, np.int16)
    column[np.array(grid.prices(), np.int64)] = np.arange(len(grid), dtype=np.int16)
    return column


def _placed(column: I16, side: NDArray[np.int8], price: NDArray[Any]) -> I16:
    """Columns of own prices."""
    yes = np.where(side == 0, price, DOLLAR - price)
    if len(yes) and (yes.min() < 0 or yes.max() > DOLLAR):
        raise DataError("a price lies outside $0 to $1")
    placed = column[yes]
    if np.any(placed < 0):
        raise DataError(
            f"a price of {yes[placed < 0][0] / DOLLAR:.4f} is not on the market's grid",
            hint="the market changed its ticks: name the grid it has then",
        )
    return placed


def _book(start: tuple[Sequence[Level], Sequence[Level]], column: I16, columns: int) -> I32:
    book = np.zeros((2, columns), np.int32)
    for side, levels in enumerate(start):
        if not levels:
            continue
        prices, sizes = np.array(levels, np.int64).T
        if np.any(sizes >= LEVEL_LIMIT) or np.any(sizes <= 0):
            raise DataError("a book begins with a level of no size or of too much")
        book[side, _placed(column, np.full(len(prices), side, np.int8), prices)] = sizes
    return book


@njit(cache=True)
def _replay(us, kind, side, col, size, spans, starts, keys, code, books, top):
    """Follow every book: fills code, books and top. The first event that cannot be, or -1."""
    columns = books.shape[2]
    book = np.zeros((2, columns), np.int64)
    key = 0
    for stretch in range(len(spans)):
        first, behind = spans[stretch]
        book[:] = starts[stretch]
        bid, ask = columns - 1, 0
        while bid >= 0 and book[0, bid] == 0:
            bid -= 1
        while ask < columns and book[1, ask] == 0:
            ask += 1
        for event in range(first, behind):
            if key < len(keys) and keys[key] == event:
                books[key] = book
                key += 1
            s, c, k = side[event], col[event], kind[event]
            if k == ADD:
                book[s, c] += size[event]
            elif k != PRINT:
                book[s, c] -= size[event]
            if book[s, c] < 0 or book[s, c] >= LEVEL_LIMIT:
                return event
            if s == 0:
                bid = max(bid, c) if book[s, c] else bid
                while bid >= 0 and book[0, bid] == 0:
                    bid -= 1
            else:
                ask = min(ask, c) if book[s, c] else ask
                while ask < columns and book[1, ask] == 0:
                    ask += 1
            last = event + 1 == behind or us[event + 1] != us[event]
            code[event] = k | s << 2 | (8 if last else 0)
            top[event, 0], top[event, 1] = bid, ask
    return -1


class GridTape(NamedTuple):
    """A stretch in equal steps: the book at each, and what was traded and withdrawn at each price since the last.

    Step t lies at start_us + t * step_us; events up to and including that moment are in it.
    """

    start_us: int
    step_us: int
    # [T, 2, C, 3] size of the level, and what was traded and withdrawn there since step t - 1; 1e-2 contracts.
    rows: I32
    # [T, 2] columns of the best YES bid and ask.
    top: I16
    # [T, 2] column of the worst price traded on each side since step t - 1; -1 where nothing was.
    far: I16
    price: I32  # [C]


def on_grid(tape: Tape, stretch: int, step_us: int) -> GridTape:
    """A stretch on a decision grid, from its first event on; the last step is not after its last event."""
    first, behind = (int(event) for event in tape.arrays.bounds[stretch])
    start_us, last_us = tape.span_us(stretch)
    steps = (last_us - start_us) // step_us + 1
    rows = np.zeros((steps, 2, tape.columns, 3), np.int32)
    top, far = np.zeros((steps, 2), np.int16), np.full((steps, 2), -1, np.int16)
    arrays = tape.arrays
    key = int(np.searchsorted(arrays.keys, first))
    _fill_grid(
        arrays.us, arrays.code, arrays.col, arrays.size, first, behind, arrays.books[key], step_us, rows, top, far
    )
    return GridTape(start_us, step_us, rows, top, far, arrays.price)


@njit(cache=True)
def _fill_grid(us, code, col, size, first, behind, start, step_us, rows, top, far):
    columns = rows.shape[2]
    book = start.copy()
    start_us = us[first]
    event = first
    for step in range(len(rows)):
        until = start_us + step * step_us
        while event < behind and us[event] <= until:
            kind, side, c = code[event] & 3, code[event] >> 2 & 1, col[event]
            if kind >= TRADE:
                rows[step, side, c, 1] += size[event]
                worst = far[step, side]
                if worst < 0 or (c < worst if side == 0 else c > worst):
                    far[step, side] = c
            if kind == ADD:
                book[side, c] += size[event]
            elif kind != PRINT:
                book[side, c] -= size[event]
                if kind == CANCEL:
                    rows[step, side, c, 2] += size[event]
            event += 1
        bid, ask = columns - 1, 0
        while bid >= 0 and book[0, bid] == 0:
            bid -= 1
        while ask < columns and book[1, ask] == 0:
            ask += 1
        top[step, 0], top[step, 1] = bid, ask
        for side in range(2):
            for c in range(columns):
                rows[step, side, c, 0] = book[side, c]
