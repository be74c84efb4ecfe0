"""Tapes made by hand or at random, plans to play on them, and both simulators played side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kflow.market.grid import Grid
from kflow.sim.tape import Stretch, Tape, compile_tape
from kflow.units import DOLLAR, Price, Size

CENTS = Grid.named("linear_cent")
# Few prices, so that what is random meets.
COARSE = Grid.parse([{"start": "0.0000", "end": "1.0000", "step": "0.1000"}])

# (µs, side, own price, signed change, of a removal: what was traded)
Change = tuple[int, int, int, int, int]
# (change before which it stands, µs, maker's side, own price, size)
Print = tuple[int, int, int, int, int]


def stretch_of(
    yes: Sequence[tuple[int, int]],
    no: Sequence[tuple[int, int]],
    changes: Sequence[Change],
    prints: Sequence[Print] = (),
) -> Stretch:
    """A stretch from (own price, size) of the bids it begins with, and what happens then."""
    us, side, price, change, traded = np.array(changes, np.int64).reshape(-1, 5).T
    start = tuple([(Price(price), Size(size)) for price, size in levels] for levels in (yes, no))
    return Stretch(
        start=(start[0], start[1]),
        us=us,
        side=side.astype(np.int8),
        price=price.astype(np.int32),
        change=change,
        traded=traded,
        prints=np.array(prints, np.int64).reshape(-1, 5),
        ends="the recording's end",
    )


def tape_of(
    yes: Sequence[tuple[int, int]],
    no: Sequence[tuple[int, int]],
    changes: Sequence[Change],
    prints: Sequence[Print] = (),
    grid: Grid = CENTS,
) -> Tape:
    """A tape of one such stretch."""
    return compile_tape("MADE", [stretch_of(yes, no, changes, prints)], grid, {})


def frozen(
    yes: Sequence[tuple[int, int]], no: Sequence[tuple[int, int]], seconds: int = 60, grid: Grid = CENTS
) -> Tape:
    """A book that stays as it is while time passes: an event that changes nothing, every second from 1 s on."""
    price = int(grid.prices()[0])
    return tape_of(yes, no, [(second * 1_000_000, 0, price, 0, 0) for second in range(1, seconds + 1)], grid=grid)


def mirrored(tape: Tape) -> Tape:
    """YES for NO and NO for YES, on a grid that is its own mirror."""
    arrays, last = tape.arrays, tape.columns - 1
    assert (arrays.price + arrays.price[::-1] == DOLLAR).all()
    turned = arrays._replace(
        code=arrays.code ^ np.uint8(4),
        col=(last - arrays.col).astype(np.int16),
        books=np.ascontiguousarray(arrays.books[:, ::-1, ::-1]),
        top=np.ascontiguousarray(last - arrays.top[:, ::-1]).astype(np.int16),
    )
    return Tape(tape.market, turned, tape.facts)


def first_book(tape: Tape, stretch: int) -> tuple[list[int], list[int]]:
    """Sizes by column, of YES bids and of YES asks, before a stretch's first event."""
    arrays = tape.arrays
    bids, asks = arrays.books[arrays.keys.tolist().index(int(arrays.bounds[stretch, 0]))].tolist()
    return bids, asks


def moments(tape: Tape, stretch: int) -> Iterator[tuple[int, list[tuple[int, int, int, int]]]]:
    """Each µs of the venue with its changes: (kind, side, column, size)."""
    first, behind = tape.arrays.bounds[stretch].tolist()
    columns = [column[first:behind].tolist() for column in tape.arrays[:4]]
    changes: list[tuple[int, int, int, int]] = []
    for us, code, col, size in zip(*columns, strict=True):
        changes.append((code & 3, code >> 2 & 1, col, size))
        if code & 8:
            yield us, changes
            changes = []


@dataclass(frozen=True, slots=True)
class Shape:
    """Of random tapes."""

    moments: int = 60
    changes: int = 4  # of one µs, at most
    crossing: float = 0.1  # chance of a bid beyond the middle
    gaps_us: tuple[int, ...] = (1, 40_000, 250_000, 1_000_000, 6_000_000)
    prints: float = 0.1
    partly: float = 0.33  # chance that some of a removal was traded and the rest withdrawn


class _Market:
    """A random market as it goes: bids of both sides near a middle that wanders."""

    def __init__(self, rng: np.random.Generator, grid: Grid, shape: Shape) -> None:
        self.rng, self.prices, self.shape = rng, grid.prices(), shape
        self.middle = int(rng.integers(2, len(grid) - 2))
        self.book: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.changes: list[Change] = []
        self.prints: list[Print] = []
        for side in (0, 0, 0, 1, 1, 1):
            self.book[side][self._near(side)] = self._size()
        self.start = [[(self.own(side, c), size) for c, size in self.book[side].items()] for side in (0, 1)]

    def own(self, side: int, col: int) -> int:
        return int(self.prices[col]) if side == 0 else DOLLAR - int(self.prices[col])

    def _size(self) -> int:
        return int(self.rng.choice([100, 700, 1_000, 2_350, 6_000])) + int(self.rng.integers(0, 3))

    def _near(self, side: int) -> int:
        away = int(self.rng.geometric(0.5)) - (2 if self.rng.random() < self.shape.crossing else 0)
        return int(np.clip(self.middle + (-away if side == 0 else away), 0, len(self.prices) - 1))

    def _change(self, us: int, side: int, col: int, change: int, traded: int = 0) -> None:
        left = self.book[side].get(col, 0) + change
        if left:
            self.book[side][col] = left
        else:
            del self.book[side][col]
        self.changes.append((us, side, self.own(side, col), change, traded))

    def _remove(self, us: int, side: int, col: int, size: int) -> None:
        partly = self.rng.random() < self.shape.partly
        traded = int(self.rng.integers(0, size + 1) if partly else self.rng.choice([0, size]))
        self._change(us, side, col, -size, traded)

    def moment(self, us: int) -> None:
        """All that happens in one µs."""
        for _ in range(int(self.rng.integers(1, self.shape.changes + 1))):
            side, roll = int(self.rng.integers(2)), self.rng.random()
            levels = sorted(self.book[side], reverse=side == 0)
            if not levels or roll < 0.4:
                self._change(us, side, self._near(side), self._size())
                continue
            col = levels[min(int(self.rng.geometric(0.6)) - 1, len(levels) - 1)]
            size = int(self.rng.integers(1, self.book[side][col] + 1))
            if roll < 0.4 + self.shape.prints:
                self.prints.append((len(self.changes), us, side, self.own(side, col), size))
            else:
                self._remove(us, side, col, self.book[side][col] if self.rng.random() < 0.4 else size)
        if self.rng.random() < 0.25:
            self.middle = int(np.clip(self.middle + self.rng.choice([-1, 1]), 1, len(self.prices) - 2))
        if self.rng.random() >= self.shape.crossing:
            for side in (0, 1):
                for col in [c for c in self.book[side] if (c >= self.middle if side == 0 else c <= self.middle)]:
                    self._remove(us, side, col, self.book[side][col])


def random_tape(
    rng: np.random.Generator, *, grid: Grid = COARSE, shape: Shape | None = None, stretches: int = 1
) -> Tape:
    """Books that trade, withdraw, empty and cross; each stretch begins an hour after the last one."""
    shape = shape or Shape()
    made = []
    for number in range(stretches):
        market, us = _Market(rng, grid, shape), (number + 1) * 3_600_000_000
        for _ in range(shape.moments):
            us += int(rng.choice(shape.gaps_us))
            market.moment(us)
        if market.changes:
            made.append(stretch_of(market.start[0], market.start[1], market.changes, market.prints))
    return compile_tape("RANDOM", made, grid, {})
