"""Tokens, waits and fills by hand."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from kflow.act.limits import Limits
from kflow.act.orders import Intent
from kflow.act.pace import NEVER, Pace, Paced

SECOND = 1_000_000
INTENT = Intent(
    run=uuid.UUID(int=7), number=1, market="M", action="", side=0, price=4_500, size=1_000, immediate=True,
    decided_us=0, version=1, digest="", epoch=1, limits="",
)  # fmt: skip
OTHER = replace(INTENT, market="N")
TWO = Limits(burst=2, orders_per_minute=60)


def test_nothing_happened_yet() -> None:
    assert Pace(TWO).of(INTENT, 0) == Paced(NEVER, NEVER, 2, 0)


def test_an_order_takes_a_token_and_a_second_brings_one() -> None:
    pace = Pace(TWO)
    pace.sent(INTENT, 10 * SECOND)
    assert pace.of(INTENT, 10 * SECOND) == Paced(0, 0, 1, 0)
    pace.sent(OTHER, 10 * SECOND)
    assert pace.of(INTENT, 11 * SECOND - 1) == Paced(SECOND - 1, SECOND - 1, 0, 0)
    assert pace.of(INTENT, 11 * SECOND).tokens == 1
    assert pace.of(INTENT, 13 * SECOND).tokens == 2  # and no more than the burst


def test_what_left_without_asking_is_paid_back() -> None:
    pace = Pace(TWO)
    for _ in range(4):
        pace.sent(INTENT, 0)
    assert [pace.of(INTENT, second * SECOND).tokens for second in range(6)] == [0, 0, 0, 1, 2, 2]


def test_a_duplicate_is_of_the_same_market_side_price_and_size() -> None:
    pace = Pace(TWO)
    pace.sent(INTENT, 0)
    changed: tuple[dict[str, Any], ...] = ({"market": "N"}, {"side": 1}, {"price": 4_600}, {"size": 900})
    for changes in changed:
        assert pace.of(replace(INTENT, **changes), 5).same_us == NEVER
    assert pace.of(replace(INTENT, action="other", number=2), 5).same_us == 5
    assert pace.of(OTHER, 5).waited_us == NEVER


def test_fills_count_for_a_minute() -> None:
    pace = Pace(TWO)
    for second in (0, 1, 1, 30):
        pace.filled(second * SECOND)
    counted = {second: pace.of(INTENT, second * SECOND).fills for second in (30, 59, 60, 61, 89, 90)}
    assert counted == {30: 4, 59: 4, 60: 3, 61: 1, 89: 1, 90: 0}
    pace.filled(91 * SECOND)
    assert pace.of(INTENT, 91 * SECOND).fills == 1


def test_looking_changes_nothing() -> None:
    pace = Pace(TWO)
    pace.sent(INTENT, 0)
    pace.filled(0)
    assert [pace.of(INTENT, us).fills for us in (0, 61 * SECOND, 0)] == [1, 0, 1]
    assert [pace.of(INTENT, us).tokens for us in (0, 61 * SECOND, 0)] == [1, 2, 1]


def test_a_clock_that_steps_back_brings_no_tokens() -> None:
    pace = Pace(TWO)
    pace.sent(INTENT, 10 * SECOND)
    pace.sent(INTENT, 10 * SECOND)
    pace.sent(INTENT, 5 * SECOND)
    assert pace.of(INTENT, 10 * SECOND).tokens == 0
    assert pace.of(INTENT, 4 * SECOND) == Paced(0, 0, 0, 0)


def test_lowered_limits_hold_at_once() -> None:
    pace = Pace(Limits(burst=5, orders_per_minute=600))
    assert pace.of(INTENT, 0).tokens == 5
    pace.limits = Limits(burst=1, orders_per_minute=6)
    assert pace.of(INTENT, 0).tokens == 1
    pace.sent(INTENT, 0)
    assert [pace.of(INTENT, us).tokens for us in (10 * SECOND - 1, 10 * SECOND)] == [0, 1]


def test_the_memory_for_duplicates_is_bounded() -> None:
    pace = Pace(TWO)
    for n in range(12_000):
        pace.sent(replace(INTENT, size=n), n * SECOND)
    assert len(pace._kinds) <= 10_001
    assert pace.of(replace(INTENT, size=11_999), 12_000 * SECOND).same_us == SECOND
    assert pace.of(replace(INTENT, size=8_500), 12_000 * SECOND).same_us == 3_500 * SECOND
