"""The compiled kernel against the plain simulator of the same rules: every field, every log row, to the byte."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from kflow.market.fees import FeeSchedule
from kflow.sim import kernel
from kflow.sim.accounts import Limits
from kflow.sim.fills import HOME, MODELS, NO_LATENCY, Assumptions, FillModel, Latency
from kflow.testing.plain_sim import PlainSimulator
from kflow.testing.tapes import Case, Shape, random_plan, random_tape
from kflow.units import CONTRACT, DOLLAR_MONEY, Money, Size

SCHEDULES = [
    FeeSchedule.parse("quadratic", 1),
    FeeSchedule(Fraction(1, 14), Fraction(1, 56)),
    FeeSchedule(Fraction(1, 7), Fraction(1, 28), balance_precision=Money(10_000), trade_fee_step=Money(100)),
    FeeSchedule.parse("quadratic", 0),
]
LATENCIES = [NO_LATENCY, Latency.constant(20, 10, 5), HOME]
CALIBRATED = MODELS["queue"].fitted(0.3, 1.7)
EVERY_MODEL = [*MODELS.values(), CALIBRATED]
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


def assert_equal(state: kernel.State, plain: PlainSimulator) -> None:
    account, orders = state.account[0], state.orders[0]
    rows = state.log[0, : account[kernel.LOGGED]]
    for row, (compiled, slow) in enumerate(zip(rows.tolist(), plain.log, strict=False)):
        assert tuple(compiled) == slow, f"row {row}"
    assert len(plain.log) == account[kernel.LOGGED]
    money = (kernel.CASH, kernel.POSITION, kernel.FEES, kernel.RESERVED, kernel.VOLUME, kernel.PLACED, kernel.NOW)
    assert account[list(money)].tolist() == [
        plain.cash, plain.position, plain.fees, plain.reserved, plain.volume, plain.placed, plain.now
    ]  # fmt: skip
    for slot, order in enumerate(plain.slots):
        if order is None:
            assert orders[slot, kernel.STATUS] == kernel.FREE
            continue
        told = {
            kernel.ID: order.number, kernel.STATUS: order.status, kernel.SIDE: order.side, kernel.COL: order.col,
            kernel.SIZE: order.size, kernel.LEFT: order.left, kernel.AHEAD: order.ahead, kernel.OPEN: order.opens,
            kernel.RESERVE: order.reserve, kernel.NOTIONAL: order.notional, kernel.FEE: order.fee,
            kernel.CARRIED: order.fees.carried, kernel.FIRST: order.first_us, kernel.LAST: order.last_us,
            kernel.SENT_AT: order.sent_us, kernel.RESTED: order.rested_us, kernel.REASON: order.reason,
            kernel.EXPIRES: order.expires, kernel.CANCELS: order.cancels, kernel.AMENDS: order.amends,
        }  # fmt: skip
        assert {field: int(orders[slot, field]) for field in told} == told
        if order.status == kernel.RESTS:
            assert tuple(state.chance[0, slot]) == (order.lived, order.lives)
    for side in (0, 1):
        assert {c: s for c, s in enumerate(state.depth[0, side].tolist()) if s} == plain.book[side]
    assert state.activity[0] == plain.activity


@pytest.mark.parametrize("model", EVERY_MODEL, ids=lambda model: f"{model.name}-{model.ahead}")
def test_kernel_equals_the_plain_rules(model: FillModel) -> None:
    for seed in range(40):
        case = random_case(seed, model)
        assert_equal(case.compiled(), case.plain())
