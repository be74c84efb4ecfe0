"""Where nobody can win no policy is said to; where one can, it is found: the short form of bench/null.py."""

from __future__ import annotations

import numpy as np
import pytest

from kflow.evaluate.inference import ALPHA, estimate, uniform
from kflow.testing import nulls


def test_random_policies_are_not_told_from_hold() -> None:
    """Twelve policies, twelve markets each, with spread and fees: one rejection in twenty, so fewer than five."""
    found = nulls.p_values(12, 12, nulls.COSTS)
    assert (found <= ALPHA).sum() < 5


def test_a_buyer_who_knows_more_is_found() -> None:
    """Results are YES 30 points more often than the market knows; 60 markets show it, and none are shown without."""
    knows, guesses = (nulls.events(nulls.buyer(), nulls.tapes_of(9, 60, nulls.NULL, bias=bias)) for bias in (0.3, 0.0))
    assert knows.profit.mean() == pytest.approx(15, abs=10)
    assert estimate(knows.profit, knows.stakes).p <= ALPHA  # type: ignore[operator]
    assert estimate(guesses.profit, guesses.stakes).p > ALPHA  # type: ignore[operator]


@pytest.mark.slow
def test_p_values_of_random_policies_are_uniform_on_the_null() -> None:
    """100 policies: 2 to 9.5 % with room for four standard errors of so few."""
    found = nulls.p_values(100, 30, nulls.NULL)
    assert np.mean(found <= ALPHA) <= 0.095 + 4 * np.sqrt(0.05 * 0.95 / 100)
    assert uniform(found) > ALPHA


@pytest.mark.slow
def test_with_costs_nobody_is_said_to_win() -> None:
    found = nulls.p_values(60, 30, nulls.COSTS)
    assert np.mean(found <= ALPHA) <= ALPHA + 4 * np.sqrt(0.05 * 0.95 / 60)
