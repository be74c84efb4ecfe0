"""What trading cost, order by order, beside examples that are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kflow.evaluate import trading
from kflow.evaluate.outcome import Curve
from kflow.evaluate.series import Books, at_stake, pooled
from kflow.sim import kernel

from .building import CENTS, CONTRACTS, DOLLARS, S, episodes, fills, orders, played


def test_fill_rate_is_of_contracts() -> None:
    sent = orders(3, size=np.array([10, 10, 20]) * CONTRACTS, filled=np.array([10, 0, 5]) * CONTRACTS, ahead=[-1, 0, 7])
    assert trading.fill_rate(sent) == 15 / 40
    assert trading.fill_rate(sent, sent.rested) == 5 / 30
    assert trading.fill_rate(orders(0)) is None


def test_makers_share() -> None:
    assert trading.maker_share(fills(2, size=np.array([30, 10]) * CONTRACTS, maker=[True, False])) == 0.75
    assert trading.maker_share(fills(0)) is None


def test_slippage_is_against_the_touch_aimed_at() -> None:
    """Crossing to 43 where 42 was offered and paying 42.5: half a cent. At rest: none. A better price: below 0."""
    sent = orders(
        4, price=np.array([43, 40, 43, 43]) * CENTS, filled=np.array([10, 30, 10, 0]) * CONTRACTS,
        cost=np.array([42.5 * 10, 40 * 30, 41 * 10, 0]) * CENTS * CONTRACTS,
    )  # fmt: skip
    assert trading.touch(sent).tolist() == [4_200, 4_000, 4_200, 4_200]
    assert trading.slippage(sent).tolist() == pytest.approx([0.5, 0, -1, np.nan], nan_ok=True)
    assert trading.slippage_cents(sent) == pytest.approx((0.5 * 10 - 1 * 10) / 50)
    assert trading.slippage_cents(orders(2)) is None
    histogram = trading.slippage_histogram(sent)
    bars = {
        (low, high): bar
        for low, high, bar in zip(histogram["edges"], histogram["edges"][1:], histogram["contracts"], strict=False)
        if bar
    }
    assert bars == {(-1.25, -0.75): 10, (-0.25, 0.25): 30, (0.25, 0.75): 10}


def test_without_an_offer_an_order_aims_at_its_limit() -> None:
    assert trading.touch(orders(1, price=43 * CENTS, far=-1)).tolist() == [4_300]


def test_shortfall_is_execution_opportunity_and_fees() -> None:
    """Ten asked at a mid of 41: six bought at 42 (+6), four missed while the mid rose to 44 (+12), 3 cents of fees."""
    one = orders(
        1, filled=6 * CONTRACTS, cost=6 * CONTRACTS * 42 * CENTS, ended_mid=44.0 * CENTS, fees=3 * CENTS * CONTRACTS
    )
    found = trading.shortfall(one)
    assert found == pytest.approx((2.1, 0.6, 1.2, 0.3))
    assert found is not None
    assert found.parts() == pytest.approx({"execution": 0.6, "opportunity": 1.2, "fees": 0.3})


def test_shortfall_leaves_out_what_has_no_mid() -> None:
    full = orders(1, filled=10 * CONTRACTS, cost=10 * CONTRACTS * 42 * CENTS, ended_mid=np.nan)
    assert trading.shortfall(full) == pytest.approx((1.0, 1.0, 0.0, 0.0))
    assert trading.shortfall(orders(1, ended_mid=np.nan)) is None
    assert trading.shortfall(orders(1, mid=np.nan)) is None


def test_markouts_weigh_contracts_and_cluster_events() -> None:
    """10 contracts gain 1 cent and 30 lose 1: -0.5 a contract."""
    made = fills(
        2, size=np.array([10, 30]) * CONTRACTS, maker=[True, False], markout=[[1, np.nan, 2], [-1, np.nan, 2]],
        settled=[59.0, np.nan],
    )  # fmt: skip
    one, ten, minute, settled = trading.markouts(made, np.array([0, 1]))
    assert one == {
        "seconds": 1, "fills": 2, "cents": -0.5, "error": None, "maker_cents": 1, "maker_error": None,
        "taker_cents": -1, "taker_error": None,
    }  # fmt: skip
    assert (ten["fills"], ten["cents"]) == (0, None)
    assert (minute["seconds"], minute["cents"]) == (60, 2)
    assert (settled["seconds"], settled["fills"], settled["cents"], settled["taker_cents"]) == ("settled", 1, 59, None)


def test_errors_of_markouts_are_those_of_events() -> None:
    """Six events of 100 fills each that agree within an event: as sure as six values are."""
    of = np.repeat(np.arange(6), 100)
    marks = np.array([1.0, -1.0, 2.0, 0.0, 3.0, 1.0])
    [first, *_] = trading.markouts(fills(600, markout=np.repeat(marks, 100)[:, None] * [1, 1, 1]), of)
    assert first["error"] == pytest.approx(marks.std(ddof=1) / np.sqrt(6))


def test_refusals_are_counted_by_their_words() -> None:
    reasons = [kernel.NO_CASH, kernel.WOULD_CROSS, kernel.NO_CASH, kernel.FILLED, kernel.NO_REST]
    assert trading.refused(orders(5, reason=reasons)) == {
        "cash does not cover it": 2, "post-only, and it would cross": 1
    }  # fmt: skip


def test_fills_by_distance_from_the_own_best_bid() -> None:
    sent = orders(
        4, price=np.array([40, 41, 38.5, 40]) * CENTS, near=np.array([40, 40, 40, -0.01]) * CENTS,
        filled=np.array([0, 10, 5, 10]) * CONTRACTS,
    )  # fmt: skip
    found = {(row["low_cents"], row["high_cents"]): (row["orders"], row["rate"]) for row in trading.by_distance(sent)}
    assert found == {(-1, 0): (1, 1.0), (0, 0): (1, 0.0), (1, 2): (1, 0.5)}


@pytest.mark.parametrize("cents", [-100, -5, -2, -1, -0.5, 0, 0.01, 1, 2, 5, 99])
def test_every_distance_has_one_place(cents: float) -> None:
    rows = trading.by_distance(orders(1, near=50 * CENTS, price=round((50 - cents) * CENTS)))
    assert [row["orders"] for row in rows] == [1]


def test_fills_by_contracts_ahead() -> None:
    sent = orders(
        4, ahead=np.array([0, 40, 4_000, -0.01]) * CONTRACTS, filled=np.array([10, 5, 0, 10]) * CONTRACTS,
        first_us=np.array([2 * S, 5 * S, -1, 1]), sent_us=[S, S, S, 0],
    )  # fmt: skip
    assert trading.by_queue(sent) == [
        {"low": 0, "high": 1, "orders": 1, "rate": 1.0, "seconds_to_fill": 1.0},
        {"low": 10, "high": 50, "orders": 1, "rate": 0.5, "seconds_to_fill": 4.0},
        {"low": 3_000, "high": None, "orders": 1, "rate": 0.0, "seconds_to_fill": None},
    ]


def held_and_sold() -> object:
    """10 YES at 40 cents in second 10 and 10 NO at 55 in second 30, for 2 cents: $0.48 are locked in; then 5 NO."""
    return fills(
        3, us=np.array([10, 30, 50]) * S, side=[0, 1, 1], price=np.array([40, 55, 60]) * CENTS,
        size=np.array([10, 10, 5]) * CONTRACTS, fee=[0, 2 * CENTS * CONTRACTS, 0],
    )  # fmt: skip


def test_books_follow_fills_and_pay_out_pairs() -> None:
    made = held_and_sold()
    books = Books(made, episodes(1))  # type: ignore[arg-type]
    gained, held = books.at(np.zeros(6, np.int64), np.array([0, 10, 29, 30, 49, 50]) * S)
    assert (gained / DOLLARS).tolist() == pytest.approx([0, -4, -4, 0.48, 0.48, -2.52])
    assert (held / CONTRACTS).tolist() == [0, 10, 10, 0, 0, -5]
    assert [int(part[0]) for part in books.end()] == [-2_520_000, -500]


def test_inventory_over_the_moments_of_an_episode() -> None:
    """Marked at 40 cents, ten YES count $4, five NO at 60 $3; each is held at two of the seven moments."""
    cash, end = 1_000 * DOLLARS, 60 * S
    equity = cash + np.array([0, 0, 0, 0.48, 0.48, 0.48, 0.48]) * DOLLARS
    curve = Curve(10 * S, equity[None].astype(np.int64), np.array([[0, 1_000, 1_000, 0, 0, -500, -500]]))
    told = episodes(1, equity=int(equity[-1]), end_us=end)
    found = trading.inventory(played(told, filled=held_and_sold(), curve=curve))  # type: ignore[arg-type]
    assert found == pytest.approx({
        "mean_abs_contracts": 30 / 7, "max_abs_contracts": 10, "time_in_market": 4 / 7, "mean_contracts": 10 / 7,
        "exposure_dollars": (4 + 4 + 3 + 3) / 7,
    })  # fmt: skip


def test_what_lies_behind_an_episodes_end_is_not_counted() -> None:
    curve = Curve(10 * S, np.full((1, 7), 1_000 * DOLLARS), np.full((1, 7), 300))
    told = episodes(1, end_us=20 * S)
    found = trading.inventory(played(told, curve=curve))
    assert (found["time_in_market"], found["mean_contracts"]) == (1.0, 3.0)


# What could have been lost.


@pytest.mark.parametrize(
    ("counted", "stake"),
    [
        (100, 4.0),  # won: the $4 that ten contracts cost were at stake
        (0, 4.0),  # and lost
        (40, 0.0),  # the price has not moved: nothing was decided
        (20, 4 * (1 - 0.16 / 0.24)),  # a third of what was uncertain is so no more
        (55, 0.0),  # less certain than before
    ],
)
def test_the_stake_is_what_was_paid_for_what_was_decided(counted: int, stake: float) -> None:
    told = episodes(1, equity=1_000 * DOLLARS + (counted - 40) * 10 * CENTS * CONTRACTS)
    lost, won = at_stake(played(told, filled=fills(1)))[:, 0]
    assert (lost, won) == (pytest.approx(stake, abs=1e-9), pytest.approx(stake * 60 / 40, abs=1e-9))


def test_nothing_is_at_stake_of_who_holds_nothing_or_a_gain() -> None:
    """Pairs are paid out. Who sold ten of fifteen for $1 more than all cost has five for nothing."""
    flat = fills(2, side=[0, 1], price=np.array([40, 55]) * CENTS)
    gain = fills(2, side=[0, 1], price=np.array([4, 30]) * CENTS, size=np.array([15, 10]) * CONTRACTS)
    for made in (flat, gain, fills(0)):
        assert at_stake(played(episodes(1, equity=1_001 * DOLLARS), filled=made))[0].tolist() == [0.0]


def test_seeds_are_put_behind_each_other() -> None:
    one = played(episodes(2), sent=orders(1, episode=1), filled=fills(1, order=0, episode=1))
    together, sent, filled = pooled([one, one])
    assert len(together.market) == 4
    assert sent.episode.tolist() == [1, 3]
    assert (filled.order.tolist(), filled.episode.tolist()) == ([0, 1], [1, 3])
