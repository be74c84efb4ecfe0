"""What a single order may do: each bound by itself, at its edge and one beyond."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.market import limits
from kflow.market.fees import UNITS_PER_MONEY, FeeSchedule
from kflow.market.limits import ALLOWED, REASONS, OrderLimits, refusal, worst_fee
from kflow.units import Price, Size

BOUNDS = OrderLimits(max_order=1_000, max_position=2_000, max_open=2)


def asked(**changes: Any) -> int:
    """An order for 10 at 40 c with $100 free, and nothing held or open, but for what is said."""
    order = {
        "price": 4_000,
        "size": 1_000,
        "reduce_only": 0,
        "meets_own": 0,
        "held": 0,
        "waiting": 0,
        "free": 100_000_000,
        "fee": 180_000,
        "open_orders": 0,
        **BOUNDS._asdict(),
        **changes,
    }
    return refusal(**order)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ALLOWED),
        ({"size": 0}, limits.SIZE),
        ({"size": -1}, limits.SIZE),
        ({"size": 1_001}, limits.SIZE),
        ({"price": 0}, limits.PRICE),
        ({"price": 10_000}, limits.PRICE),
        ({"price": 9_999}, ALLOWED),
        ({"open_orders": 1}, ALLOWED),
        ({"open_orders": 2}, limits.OPEN_ORDERS),
        ({"reduce_only": 1}, limits.NOTHING_TO_CLOSE),
        ({"reduce_only": 1, "held": 1}, ALLOWED),
        ({"reduce_only": 1, "held": 300, "waiting": 300}, limits.NOTHING_TO_CLOSE),
        ({"meets_own": 1}, limits.OWN_ORDER),
        ({"held": -1_000}, ALLOWED),
        ({"held": -1_001}, limits.POSITION),
        ({"waiting": 1_000}, ALLOWED),
        ({"waiting": 1_001}, limits.POSITION),
        ({"held": 1_000, "waiting": 2_000}, ALLOWED),
        ({"free": 4_180_000}, ALLOWED),
        ({"free": 4_179_999}, limits.CASH),
        ({"free": 180_000, "held": 1_000}, ALLOWED),  # it closes: a dollar comes back for each pair
        ({"free": 180_000, "held": 1_000, "waiting": 1}, limits.CASH),
    ],
)
def test_each_bound_holds_at_its_edge(changes: dict[str, int], reason: int) -> None:
    assert asked(**changes) == reason


def test_every_reason_has_words() -> None:
    assert set(REASONS) == set(range(1, 8))


def test_what_comes_first_is_told_first() -> None:
    assert asked(size=1_001, price=0, open_orders=9, meets_own=1, free=0) == limits.SIZE


@given(
    price=st.integers(1, 9_999),
    size=st.integers(1, 1_000_000),
    kind=st.sampled_from(["quadratic", "quadratic_with_maker_fees"]),
)
def test_a_fill_costs_no_more_than_the_worst_fee(price: int, size: int, kind: str) -> None:
    schedule = FeeSchedule.parse(kind, 1)
    rate = max(schedule.taker_rate, schedule.maker_rate)
    unit = rate.denominator * UNITS_PER_MONEY * int(schedule.trade_fee_step)
    bound = worst_fee(price, size, rate.numerator, unit, int(schedule.trade_fee_step), int(schedule.balance_precision))
    for taker in (True, False):
        assert schedule.order().fill(Price(price), Size(size), buy=True, taker=taker).total <= bound
