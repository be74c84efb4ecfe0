"""Random accounts on random tapes, played by the kernel and by the plain rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from kflow.market.fees import FeeSchedule
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts
from kflow.sim.fills import HOME, MODELS, NO_LATENCY, Assumptions, FillModel, Latency, own_queue
from kflow.sim.tape import Tape
from kflow.testing.plain_sim import PlainSimulator
from kflow.testing.tapes import Shape, random_tape
from kflow.units import CONTRACT, DOLLAR_MONEY, Money, Size

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
        side = int(rng.integers(2))
        near = rng.random() < 0.7  # rather joins a queue than takes
        touch = int(tape.arrays.top[event][side if near else 1 - side])
        col = int(np.clip(touch + rng.integers(-1, 2), 0, tape.columns - 1))
        if what == kernel.PLACE and rng.random() < 0.02:
            col = int(rng.choice([-1, tape.columns]))
        size = int(rng.choice([100, 350, 500, 1_999, 2_000, 2_500, 4_000, 9_999, 0, 1], p=_SIZES))
        flags = int(
            rng.choice([0, kernel.IOC, kernel.POST_ONLY, kernel.REDUCE_ONLY, 5], p=(0.6, 0.12, 0.15, 0.09, 0.04))
        )
        ttl = int(rng.choice([0, 1, 300_000, 5_000_000], p=(0.75, 0.02, 0.08, 0.15)))
        of = max(placed - int(rng.geometric(0.4)), 0)
        plan.append((at, what, of, side, col, size, flags, ttl))
        placed += what == kernel.PLACE
    return plan


_OFTEN = (0.7, 0.12, 0.17, 0.01)
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

    def with_seed(self, seed: int) -> Case:
        return replace(self, seed=seed)


SCHEDULES = [
    FeeSchedule.parse("quadratic", 1),
    FeeSchedule(Fraction(1, 14), Fraction(1, 56)),
    FeeSchedule(Fraction(1, 7), Fraction(1, 28), balance_precision=Money(10_000), trade_fee_step=Money(100)),
    FeeSchedule.parse("quadratic", 0),
]
# The second lets what is sent at an event arrive at the very µs of another: gaps of tapes are 40 and 250 ms.
LATENCIES = [NO_LATENCY, Latency.constant(35, 245, 5), HOME]
CALIBRATED = MODELS["queue"].fitted(0.3, 1.7)
OWN = own_queue("own", lambda ahead: ahead**3 / 2)
EVERY_MODEL = [*MODELS.values(), CALIBRATED, OWN]
PURSES = [
    Limits(orders=6),
    Limits(cash=Money(40 * DOLLAR_MONEY), max_position=Size(60 * CONTRACT), max_order=Size(45 * CONTRACT), orders=4),
    Limits(cash=Money(3 * DOLLAR_MONEY), orders=3),
]


def random_case(seed: int, model: FillModel, *, instructions: int = 60) -> Case:
    """Anything may be combined with anything."""
    rng = np.random.default_rng(seed)
    shape = Shape(crossing=float(rng.choice([0.0, 0.1])), prints=float(rng.choice([0.0, 0.15])))
    tape = random_tape(rng, shape=shape, stretches=int(rng.integers(1, 4)))
    stretch = int(rng.integers(tape.stretches))
    assumptions = Assumptions(
        model=model,
        latency=LATENCIES[rng.integers(len(LATENCIES))],
        fees=SCHEDULES[rng.integers(len(SCHEDULES))],
        walk_from=Size(int(rng.choice([0, 20 * CONTRACT]))),
    )
    limits = PURSES[rng.integers(len(PURSES))]
    plan = random_plan(rng, tape, stretch, instructions)
    return Case(tape, plan, assumptions, limits, stretch, seed % 5, seed % 3, verbose=bool(seed % 2))
