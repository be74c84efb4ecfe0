"""What fills claim, held against results; examples worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kflow.evaluate.belief import belief, bins, brier, implied, log_loss, won

from .building import CENTS, CONTRACTS, fills


def test_a_price_and_its_fee_are_the_claim() -> None:
    """62 cents and 1.5 cents of fee for each of ten; never more than certain."""
    made = fills(2, price=np.array([62, 99.5]) * CENTS, fee=int(1.5 * CENTS * 10 * CONTRACTS))
    assert implied(made).tolist() == pytest.approx([0.635, 1.0])


def test_what_a_side_was_paid_is_what_was_won() -> None:
    made = fills(3, price=40 * CENTS, settled=[60, -40, np.nan])
    assert won(made).tolist() == pytest.approx([1.0, 0.0, np.nan], nan_ok=True)


def test_brier_and_log_loss_weigh_contracts() -> None:
    """10 contracts said 0.6 and won, 30 said 0.2 and lost."""
    chance, outcome, weight = np.array([0.6, 0.2]), np.array([1.0, 0.0]), np.array([10.0, 30.0])
    assert brier(chance, outcome, weight) == pytest.approx((10 * 0.16 + 30 * 0.04) / 40)
    assert log_loss(chance, outcome, weight) == pytest.approx(-(10 * math.log(0.6) + 30 * math.log(0.8)) / 40)


def test_what_is_not_known_is_left_out() -> None:
    chance, weight = np.array([0.5, np.nan]), np.ones(2)
    assert brier(chance, np.array([1.0, 1.0]), weight) == 0.25
    assert brier(np.array([np.nan]), np.ones(1), np.ones(1)) is None
    assert log_loss(chance, np.array([np.nan, 1.0]), weight) is None


def test_certainty_that_is_wrong_costs_half_a_tick_and_no_infinity() -> None:
    assert log_loss(np.array([1.0]), np.array([0.0]), np.ones(1)) == pytest.approx(-math.log(0.5 / 10_000))


def test_a_market_that_pays_a_part_is_won_to_that_part() -> None:
    assert brier(np.array([0.25]), np.array([0.25]), np.ones(1)) == 0
    assert log_loss(np.array([0.25]), np.array([0.25]), np.ones(1)) == pytest.approx(
        -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    )


def test_reliability_by_tenths() -> None:
    found = bins(
        np.array([0.41, 0.45, 0.7, 1.0]), np.array([1.0, 0.0, 1.0, 1.0]), np.array([10.0, 30.0, 5.0, 5.0]),
        np.array([0, 0, 1, 2]),
    )  # fmt: skip
    assert [(row["low"], row["won"], row["contracts"], row["events"]) for row in found] == [
        (0.4, 0.25, 40.0, 1), (0.7, 1.0, 5.0, 1), (0.9, 1.0, 5.0, 1),
    ]  # fmt: skip
    assert found[0]["implied"] == pytest.approx(0.44)


def test_the_market_is_scored_on_the_same_fills() -> None:
    """Paid 40 for what won and 40 for what lost, at mids of 41 and 41; a third has no mid."""
    made = fills(3, settled=[60, -40, -40], mid=[4_100, 4_100, np.nan])
    found = belief(made, np.array([0, 1, 2]))
    assert found is not None
    assert (found["fills"], found["contracts"]) == (3, 30.0)
    assert found["brier"] == pytest.approx((0.36 + 0.16) / 2)
    assert found["brier_market"] == pytest.approx((0.59**2 + 0.41**2) / 2)


def test_nothing_is_said_where_nothing_settled() -> None:
    assert belief(fills(3), np.zeros(3, np.int64)) is None
    assert belief(fills(0), np.zeros(0, np.int64)) is None
