"""Tapes made by hand or at random, plans to play on them, and both simulators played side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kflow.market.grid import Grid
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Stretch, Tape, compile_tape
from kflow.testing.plain_sim import PlainSimulator
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


@dataclass(frozen=True, slots=True)
class Shape:
    """Of random tapes."""

    moments: int = 60
    changes: int = 4  # of one µs, at most
    crossing: float = 0.1  # chance of a bid beyond the middle
    gaps_us: tuple[int, ...] = (1, 40_000, 250_000, 1_000_000, 6_000_000)
    prints: float = 0.1


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
        traded = int(self.rng.choice([0, size, int(self.rng.integers(0, size + 1))]))
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


# (µs, what, order's number, side, column, size, flags, time to live)
Instruction = tuple[int, int, int, int, int, int, int, int]


def random_plan(rng: np.random.Generator, tape: Tape, stretch: int, count: int) -> list[Instruction]:
    """Instructions between the first and the last event, half of them at the very µs of an event."""
    first, behind = tape.arrays.bounds[stretch]
    us = tape.arrays.us[first:behind]
    times = np.where(rng.random(count) < 0.5, rng.choice(us, count), rng.integers(us[0], us[-1] + 1, count))
    plan: list[Instruction] = []
    placed = 0
    for at in np.sort(times).tolist():
        what = int(rng.choice([kernel.PLACE, kernel.CANCEL_ORDER, kernel.AMEND_ORDER, kernel.CANCEL_ALL], p=_OFTEN))
        event = int(np.searchsorted(tape.arrays.us, at, "right")) - 1
        touch = int(rng.choice(tape.arrays.top[event]))
        col = int(np.clip(touch + rng.integers(-2, 3), 0, tape.columns - 1))
        if what == kernel.PLACE and rng.random() < 0.02:
            col = int(rng.choice([-1, tape.columns]))
        size = int(rng.choice([100, 350, 500, 1_999, 2_000, 2_500, 4_000, 9_999, 0, 1], p=_SIZES))
        flags = int(rng.choice([0, kernel.IOC, kernel.POST_ONLY, kernel.REDUCE_ONLY, kernel.IOC | kernel.REDUCE_ONLY]))
        ttl = int(rng.choice([0, 0, 0, 1, 300_000, 5_000_000]))
        of = max(placed - int(rng.geometric(0.4)), 0)
        plan.append((at, what, of, int(rng.integers(2)), col, size, flags, ttl))
        placed += what == kernel.PLACE
    return plan


_OFTEN = (0.62, 0.16, 0.2, 0.02)
_SIZES = (0.18, 0.12, 0.14, 0.1, 0.1, 0.1, 0.14, 0.06, 0.02, 0.04)


def as_array(plan: Sequence[Instruction]) -> kernel.I64:
    """As the kernel reads it."""
    rows = np.zeros((len(plan), kernel.INSTRUCTION), np.int64)
    fields = (
        kernel.I_AT,
        kernel.I_OP,
        kernel.I_OF,
        kernel.I_SIDE,
        kernel.I_COL,
        kernel.I_SIZE,
        kernel.I_FLAGS,
        kernel.I_TTL,
    )
    if plan:
        rows[:, fields] = plan
    return rows


def carry_out(simulator: PlainSimulator, what: Instruction) -> None:
    """One instruction of a plan, at its moment."""
    at, kind, of, side, col, size, flags, ttl = what
    simulator.run(at)
    if kind == kernel.PLACE:
        simulator.place(side, col, size, flags, ttl)
    elif kind == kernel.CANCEL_ORDER:
        simulator.cancel(of)
    elif kind == kernel.AMEND_ORDER:
        simulator.amend(of, col, size)
    else:
        for order in list(simulator.slots):
            if order is not None:
                simulator.cancel(order.number)


@dataclass(frozen=True, slots=True)
class Case:
    """One account's way over one stretch: all that decides it."""

    tape: Tape
    plan: list[Instruction]
    assumptions: Assumptions
    limits: Limits
    stretch: int = 0
    seed: int = 0
    number: int = 0
    verbose: bool = False

    @property
    def start_us(self) -> int:
        return self.tape.span_us(self.stretch)[0]

    @property
    def stop_us(self) -> int:
        return self.tape.span_us(self.stretch)[1]

    def compiled(self) -> kernel.State:
        """By the kernel."""
        log = 64 + 64 * len(self.plan)
        state = new_accounts(1, self.tape.columns, self.limits, seed=self.seed, log=log, first=self.number)
        market = market_of(self.tape)
        rules = self.assumptions.rules(verbose=self.verbose)
        kernel.seat(state, market, 0, self.stretch, self.start_us)
        spans = np.array([[0, len(self.plan)]], np.int64)
        kernel.play(state, market, rules, as_array(self.plan), spans, np.array([self.stop_us], np.int64))
        kernel.run(state, market, rules, 0, self.stop_us)  # a plan ends when no order is open
        return state

    def plain(self) -> PlainSimulator:
        """By the plain simulator."""
        simulator = PlainSimulator(
            self.tape, self.assumptions, self.limits, seed=self.seed, number=self.number, verbose=self.verbose
        )
        simulator.seat(self.stretch, self.start_us)
        for instruction in self.plan:
            carry_out(simulator, instruction)
        simulator.run(self.stop_us)
        return simulator
