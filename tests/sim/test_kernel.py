"""The compiled kernel against the plain simulator of the same rules: every field, every log row, to the byte."""

from __future__ import annotations

from collections import Counter

import pytest

from kflow.sim import kernel
from kflow.sim.accounts import market_of
from kflow.sim.fills import FillModel
from kflow.testing.cases import EVERY_MODEL, Case, random_case
from kflow.testing.plain_sim import PlainSimulator


def assert_equal(state: kernel.State, plain: PlainSimulator) -> None:
    account, orders = state.account[0], state.orders[0]
    rows = [tuple(row) for row in state.log[0, : account[kernel.LOGGED]].tolist()]
    assert rows == plain.log
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


def assert_same(case: Case) -> None:
    state, plain = case.compiled(), case.plain()
    assert_equal(state, plain)
    assert kernel.liquidation(state, market_of(case.tape), case.assumptions.rules(), 0) == plain.liquidation()


MODELS = [pytest.param(model, id=f"{model.name}-{model.ahead}") for model in EVERY_MODEL]


@pytest.mark.parametrize("model", MODELS)
def test_kernel_equals_the_plain_rules(model: FillModel) -> None:
    for seed in range(150):  # 54,000 instructions over all models
        assert_same(random_case(seed, model))


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_kernel_equals_the_plain_rules_at_length(model: FillModel) -> None:
    for seed in range(1_000, 2_500):
        assert_same(random_case(seed, model))


def test_the_cases_reach_what_the_rules_tell_of() -> None:
    """A comparison of accounts to which nothing happens would pass as well."""
    kinds: Counter[int] = Counter()
    reasons: Counter[int] = Counter()
    for seed in range(15):
        for model in EVERY_MODEL:
            for kind, _, _, _, _, size, *_ in random_case(seed, model).plain().log:
                kinds[kind] += 1
                reasons[size] += kind == kernel.ENDED
    assert min(kinds[kind] for kind in range(kernel.SENT, kernel.QUEUE_CANCELLED + 1)) > 20
    assert min(reasons[reason] for reason in range(kernel.FILLED, kernel.SETTLED)) > 20
