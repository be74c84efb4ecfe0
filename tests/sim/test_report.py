"""What a study says: means with errors that know that neighbours share their luck, quantiles, days."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.sim import kernel
from kflow.sim.report import FEWEST, by_day, clustered, select, summary
from kflow.sim.study import Fills, Orders, Outcome, empty

S = 1_000_000
DAY = 86_400 * S


def orders_of(count: int, **columns: Any) -> Orders:
    """Orders of 10 contracts at 40 cents that got nothing, but for these columns."""
    usual = {
        "sent_us": 0, "left_us": 60 * S, "side": 0, "size": 1_000, "price": 4_000, "ahead": 0, "mid": 8_500,
        "touch": 4_000, "filled": 0, "cost": 0, "fees": 0, "first_us": kernel.NEVER, "full_us": kernel.NEVER,
        "block": 0,
    }  # fmt: skip
    return Orders(
        **{name: np.broadcast_to(np.array(columns.get(name, value)), count).copy() for name, value in usual.items()}
    )


def fills_of(rows: list[tuple[int, int, int, int, bool, tuple[float, float, float]]]) -> Fills:
    order, us, price, size, maker, marks = zip(*rows, strict=True)
    return Fills(*(np.array(column) for column in (order, us, price, size)), np.array(maker), np.array(marks))


def outcome_of(orders: Orders, fills: Fills | None = None) -> Outcome:
    return Outcome(orders, fills or empty().fills, np.zeros(len(orders.size)))


# Errors.


def test_the_error_of_a_mean_is_that_of_its_blocks() -> None:
    """Deviations of the five blocks add up to -.6, .4, .4, -.6 and .4: sqrt(1.2 · 5/4) / 10."""
    values = np.array([1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    assert clustered(values, np.arange(10) // 2) == (0.8, pytest.approx(np.sqrt(1.2 * 5 / 4) / 10))


def test_of_nothing_there_is_no_mean_and_of_few_blocks_no_error() -> None:
    assert np.isnan(clustered(np.zeros(0), np.zeros(0, np.int64))).all()
    for blocks, known in [(1, False), (FEWEST - 1, False), (FEWEST, True)]:
        mean, error = clustered(np.arange(10.0), np.arange(10) % blocks)
        assert (mean, np.isfinite(error)) == (4.5, known)


def test_orders_of_their_own_blocks_have_the_usual_error() -> None:
    values = np.random.default_rng(1).normal(size=50)
    _, error = clustered(values, np.arange(50))
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_orders_that_share_their_luck_are_less_sure_than_they_look() -> None:
    rng = np.random.default_rng(2)
    block = np.repeat(np.arange(40), 300)
    values = rng.normal(size=40)[block] + rng.normal(size=len(block))
    _, error = clustered(values, block)
    naive = values.std(ddof=1) / np.sqrt(len(values))
    assert error > 8 * naive
    # And as sure as the means of their blocks are.
    means = values.reshape(40, 300).mean(axis=1)
    assert error == pytest.approx(means.std(ddof=1) / np.sqrt(40))


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from([0.0, 1.0, -2.5]), st.integers(0, 4)), min_size=1, max_size=30))
def test_the_order_of_orders_and_the_names_of_blocks_do_not_matter(rows: list[tuple[float, int]]) -> None:
    values, block = (np.array(column) for column in zip(*rows, strict=True))
    one, other = clustered(values, block), clustered(values[::-1], 1_000 - 7 * block[::-1])
    assert one == pytest.approx(other, nan_ok=True)


# A summary.


def test_shares_are_of_the_orders_whose_stretch_lasts() -> None:
    orders = orders_of(
        4, left_us=[60 * S, 60 * S, 60 * S, 9 * S],
        full_us=[5 * S, 10 * S, kernel.NEVER, S], first_us=[S, S, 11 * S, S],
        filled=[1_000, 1_000, 250, 1_000],
    )  # fmt: skip
    fills = fills_of([
        (0, S, 4_000, 400, True, (1, 1, 1)), (0, 5 * S, 4_000, 600, True, (1, 1, 1)),
        (1, S, 4_000, 500, True, (1, 1, 1)), (1, 10 * S, 4_000, 500, True, (1, 1, 1)),
        (2, 11 * S, 4_000, 250, True, (1, 1, 1)), (3, S, 4_000, 1_000, True, (1, 1, 1)),
    ])  # fmt: skip
    one, ten = summary(outcome_of(orders, fills), [1, 10])["horizons"]
    assert (one["orders"], one["full"], one["any"], one["share"]) == (4, 0.25, 0.75, pytest.approx(1.9 / 4))
    assert (ten["orders"], ten["full"], ten["any"]) == (
        3,
        pytest.approx(2 / 3, rel=1e-5),
        pytest.approx(2 / 3, rel=1e-5),
    )
    assert ten["share"] == pytest.approx(2 / 3, rel=1e-5)
    assert [horizon["full_error"] for horizon in (one, ten)] == [None, None]  # one block


def test_a_share_has_the_error_of_the_blocks_of_the_orders_that_count() -> None:
    """Of five orders in blocks of their own, one is filled: deviations .8 and four of -.2, sqrt(.8 · 5/4) / 5."""
    orders = orders_of(6, left_us=[*[60 * S] * 5, S], full_us=[S, *[kernel.NEVER] * 5], block=range(6))
    [told] = summary(outcome_of(orders), [10])["horizons"]
    assert (told["orders"], told["full"], told["full_error"]) == (5, 0.2, pytest.approx(0.2, rel=1e-5))


def test_prices_and_slippage_count_each_contract_alike() -> None:
    orders = orders_of(
        3, filled=[1_000, 500, 0], cost=[1_000 * 4_500, 500 * 4_800, 0], touch=4_500, price=[4_500, 4_800, 9_900],
        fees=[100_000, 50_000, 0], block=[0, 1, 2],
    )  # fmt: skip
    fills = fills_of([(0, 0, 4_500, 1_000, False, (0, 0, 0)), (1, 0, 4_800, 500, True, (0, 0, 0))])
    told = summary(outcome_of(orders, fills), [1])
    assert told["vwap_cents"] == 46.0
    assert (told["slippage_cents"], told["slippage_error"]) == (1.0, None)
    assert told["fee_cents"] == 1.0
    assert told["half_spread_cents"] == 2.5  # of every order, from a mid of 42.5 to the touch at 45
    assert told["maker"] == pytest.approx(1 / 3, rel=1e-5)


def test_times_and_queues_are_those_of_orders_that_have_them() -> None:
    orders = orders_of(
        5, first_us=[S, 2 * S, 3 * S, 4 * S, kernel.NEVER], full_us=[4 * S, *[kernel.NEVER] * 4],
        ahead=[-1, 0, 100, 200, -1],
    )  # fmt: skip
    told = summary(outcome_of(orders), [1])
    assert told["time_to_first_fill_s"] == {"p25": 1.75, "p50": 2.5, "p75": 3.25}
    assert told["time_to_full_fill_s"] == {"p25": 4.0, "p50": 4.0, "p75": 4.0}
    assert told["ahead_contracts"] == {"p25": 0.5, "p50": 1.0, "p75": 1.5}


def test_markouts_weigh_contracts_and_tell_makers_from_takers() -> None:
    orders = orders_of(3, block=[0, 1, 2])
    nan = float("nan")
    fills = fills_of([
        (0, 1, 4_000, 3_000, True, (-1, nan, nan)), (1, 1, 4_000, 1_000, True, (2, 1, nan)),
        (2, 1, 4_500, 4_000, False, (3.25, nan, nan)),
    ])  # fmt: skip
    one, ten, sixty = summary(outcome_of(orders, fills), [1])["markouts"]
    assert (one["cents"], one["maker_cents"], one["taker_cents"]) == (1.5, -0.25, 3.25)
    assert (one["fills"], one["maker_fills"], one["taker_fills"]) == (3, 2, 1)
    assert (one["error"], one["maker_error"], one["taker_error"]) == (None, None, None)
    assert (ten["cents"], ten["fills"], ten["taker_cents"], ten["taker_fills"]) == (1.0, 1, None, 0)
    assert (sixty["cents"], sixty["error"], sixty["fills"]) == (None, None, 0)


def test_a_markout_has_the_error_of_its_blocks() -> None:
    """-1 of 30 contracts and 2 of 10, of five blocks: -.25. Sums 30 · -.75 and 4 of 2.5 · 2.25."""
    rows = [(0, 1, 4_000, 3_000, True, (-1.0,) * 3), *[(n, 1, 4_000, 250, True, (2.0,) * 3) for n in range(1, 5)]]
    [one, *_] = summary(outcome_of(orders_of(5, block=range(5)), fills_of(rows)), [1])["markouts"]
    assert one["cents"] == -0.25
    assert one["error"] == pytest.approx(np.sqrt(5 / 4 * (22.5**2 + 4 * 5.625**2)) / 40, rel=1e-5)


@pytest.mark.parametrize("outcome", [empty(), outcome_of(orders_of(2))], ids=["no orders", "no fills"])
def test_what_nothing_tells_is_none(outcome: Outcome) -> None:
    told = summary(outcome, [1, 60])
    assert told["orders"] == len(outcome.orders.size)
    for name in ("vwap_cents", "slippage_cents", "slippage_error", "fee_cents", "half_spread_cents", "maker"):
        assert told[name] is None
    assert told["time_to_first_fill_s"] == {"p25": None, "p50": None, "p75": None}
    assert [mark["cents"] for mark in told["markouts"]] == [None] * 3
    assert [horizon["share"] for horizon in told["horizons"]] == ([None] * 2 if not told["orders"] else [0.0] * 2)


# Parts of a study.


def test_of_some_orders_the_fills_come_along() -> None:
    orders = orders_of(3, size=[100, 200, 300])
    fills = fills_of([(0, 1, 1, 1, True, (0, 0, 0)), (2, 1, 1, 2, True, (0, 0, 0)), (2, 2, 1, 3, True, (0, 0, 0))])
    found = select(Outcome(orders, fills, np.array([1.0, 2.0, 3.0])), np.array([False, True, True]))
    assert (found.orders.size.tolist(), found.drift.tolist()) == ([200, 300], [2.0, 3.0])
    assert (found.fills.order.tolist(), found.fills.size.tolist()) == ([1, 1], [2, 3])
    assert found.filled_by(1).tolist() == [0, 2]


def test_a_day_is_that_on_which_its_orders_were_sent() -> None:
    start = int(np.datetime64("2026-05-11", "D").astype(int)) * DAY
    orders = orders_of(4, sent_us=[start, start + DAY - 1, start + DAY, start + 3 * DAY], size=[1, 2, 3, 4])
    fills = fills_of([(1, 30 * S, 1, 2, True, (0, 0, 0)), (2, 1, 1, 3, True, (0, 0, 0))])
    days = dict(by_day(outcome_of(orders, fills)))
    assert list(days) == ["2026-05-11", "2026-05-12", "2026-05-14"]
    assert [part.orders.size.tolist() for part in days.values()] == [[1, 2], [3], [4]]
    assert [part.filled_by(60 * S).tolist() for part in days.values()] == [[0, 2], [3], [0]]
    assert dict(by_day(empty())) == {}
