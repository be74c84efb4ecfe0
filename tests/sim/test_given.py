"""Orders that were really sent: simulated where they were, and held against what became of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kflow.errors import DataError, UsageError
from kflow.replay.own import read_orders, read_samples
from kflow.sim.fills import NO_LATENCY, Assumptions
from kflow.sim.given import Given, compared, simulate_given
from kflow.sim.tape import Tape
from kflow.testing.cases import SCHEDULES
from kflow.testing.tapes import tape_of

SECOND = 1_000_000
ASSUMED = Assumptions(latency=NO_LATENCY, fees=SCHEDULES[0])


def tape() -> Tape:
    """30 contracts bid at 40 cents, 50 asked at 60; at 5 s a taker takes the 30, 5 others come, at 6 s these go too."""
    changes = [(SECOND, 0, 3900, 100, 0), (5 * SECOND, 0, 4000, -3_000, 3_000), (5 * SECOND, 0, 4000, 500, 0)]
    return tape_of(
        [(4000, 3_000)], [(4000, 5_000)], [*changes, (6 * SECOND, 0, 4000, -500, 500), (90 * SECOND, 0, 3900, 1, 0)]
    )


def given(**changes: object) -> Given:
    facts: dict[str, object] = {
        "order": "a",
        "market": tape().market,
        "us": 2 * SECOND,
        "side": 0,
        "price": 4000,
        "size": 300,
    }
    return Given(**{**facts, **changes})  # type: ignore[arg-type]


def simulated(*orders: Given) -> list[tuple[bool, int, int | None]]:
    answers = simulate_given([tape()], orders, lambda _: ASSUMED, horizon_us=60 * SECOND)
    return [(answer.known, answer.filled, answer.full_us) for answer in answers]


def test_each_order_is_alone_and_answered_in_its_place() -> None:
    resting, taking = given(), given(order="b", price=6000)
    assert simulated(taking, resting) == [(True, 300, 0), (True, 300, 4 * SECOND)]


def test_an_order_is_followed_until_it_is_cancelled() -> None:
    assert simulated(given(cancelled_us=4 * SECOND)) == [(True, 0, None)]


def test_no_is_the_other_side() -> None:
    assert simulated(given(side=1, price=6000)) == [(True, 300, 0)]


@pytest.mark.parametrize("changes", [{"market": "X"}, {"us": 500 * SECOND}, {"price": 4050}])
def test_what_the_recording_does_not_hold_is_not_known(changes: dict[str, object]) -> None:
    assert simulated(given(**changes)) == [(False, 0, None)]


def test_truth_and_prediction_are_compared() -> None:
    orders = [
        given(filled=300, filled_us=7 * SECOND),
        given(order="b", cancelled_us=4 * SECOND, filled=300, filled_us=3 * SECOND),
        given(order="c", price=6000, filled=0),
        given(order="d"),
    ]
    sums = compared(orders, simulate_given([tape()], orders, lambda _: ASSUMED, horizon_us=60 * SECOND))
    assert (sums["orders"], sums["known"], sums["told"]) == (4, 4, 3)
    assert sums["brier"] == pytest.approx(2 / 3)
    assert (sums["missed"], sums["invented"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert sums["time_error_s"] == pytest.approx(1.0)


LINE = {"order_id": "a", "market": "M", "us": 5, "side": "no", "price": "0.4500", "size": "10.00"}
SAMPLE = {"order_id": "a", "market": "M", "ts": "1970-01-01T00:00:01Z", "side": "yes", "price": "0.45"}


def test_orders_are_read_from_lines(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text("\n".join(json.dumps({**LINE, **more}) for more in ({}, {"us": 1, "filled": "2.50"})))
    assert [(order.us, order.side, order.price, order.size, order.filled) for order in read_orders(path)] == [
        (1, 1, 4500, 1000, 250),
        (5, 1, 4500, 1000, None),
    ]


def test_samples_are_read_from_lines(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps({**SAMPLE, "remaining": "10.00", "queue_position": "312.50"}))
    [sample] = read_samples(path)["M"]
    assert (sample.us, sample.side, sample.price, sample.remaining, sample.ahead) == (SECOND, 0, 4500, 1000, 31_250)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"us": None}, "neither `us` nor `ts`"),
        ({"price": "0.45001"}, "price"),
        ({"size": "0"}, "more than nothing"),
        ({"side": "up"}, "up"),
    ],
)
def test_a_line_that_says_too_little_is_named(tmp_path: Path, changes: dict[str, object], why: str) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text(json.dumps({**LINE, **changes}))
    with pytest.raises(DataError, match=why) as caught:
        read_orders(path)
    assert "line 1" in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_orders(tmp_path / "none.jsonl")
