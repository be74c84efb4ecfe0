"""Figures of profit and risk, each beside an example that is worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.evaluate.inference import ENOUGH
from kflow.evaluate.metrics import (
    Drawdown,
    Ratio,
    downside,
    drawdowns,
    hit_rate,
    max_drawdown,
    mean_over_spread,
    per_contract_cents,
    queue_luck,
    sharpe,
    sortino,
    turnover,
)

# 15 times +2 and -1: mean 0.5, squares away from it 30 · 2.25 = 67.5, so a spread of sqrt(67.5 / 29).
THIRTY = np.array([2.0, -1.0] * 15)


def test_sharpe_is_mean_over_spread() -> None:
    """1, 2 and 6: mean 3, squares away from it 4 + 1 + 9 = 14, spread sqrt(14 / 2)."""
    assert mean_over_spread(np.array([1.0, 2.0, 6.0])) == pytest.approx(3 / math.sqrt(7))


def test_sharpe_of_thirty_events_has_an_interval() -> None:
    """A symmetric coin: skewness 0, kurtosis 1, so its error is sqrt((1 + 0) / 29)."""
    found = sharpe(THIRTY)
    ratio = 0.5 / math.sqrt(67.5 / 29)
    reach = 1.959963984540054 / math.sqrt(29)
    assert found == (
        pytest.approx(ratio), pytest.approx(ratio - reach), pytest.approx(ratio + reach), None
    )  # fmt: skip


@pytest.mark.parametrize("ratio", [sharpe, sortino])
def test_ratios_are_refused_under_thirty_settlements(ratio: object) -> None:
    assert callable(ratio)
    refused = ratio(THIRTY[:-1])
    assert refused == Ratio(None, None, None, "29 independent settlements; 30 are needed")
    assert ratio(THIRTY[:1]).why == "1 independent settlement; 30 are needed"
    assert ratio(THIRTY).why is None
    assert ENOUGH == 30


def test_no_ratio_without_risk() -> None:
    assert sharpe(np.full(30, 0.1)) == Ratio(None, None, None, "every event earned the same")
    assert sharpe(np.zeros(30)).value is None
    assert sortino(np.full(30, 0.1)) == Ratio(None, None, None, "no event lost")


def test_sortino_counts_losses_over_all_events() -> None:
    """15 of 30 lost 1: sqrt(15 / 30)."""
    assert downside(THIRTY) == pytest.approx(math.sqrt(0.5))
    assert sortino(THIRTY).value == pytest.approx(0.5 / math.sqrt(0.5))


def test_a_drawdown_has_its_peak_trough_and_recovery() -> None:
    equity = np.array([1.0, 3.0, 2.0, 0.5, 2.5, 3.0, 2.9])
    assert drawdowns(equity).tolist() == pytest.approx([0, 0, -1, -2.5, -0.5, 0, -0.1])
    assert max_drawdown(equity) == Drawdown(2.5, peak=1, trough=3, recovered=5)


def test_a_drawdown_from_the_start_has_no_peak_and_one_that_lasts_no_end() -> None:
    assert max_drawdown(np.array([-1.0, -2.0, 1.0])) == Drawdown(2.0, peak=-1, trough=1, recovered=2)
    assert max_drawdown(np.array([1.0, -2.0, 0.0])) == Drawdown(3.0, peak=0, trough=1, recovered=None)
    assert max_drawdown(np.array([1.0, 1.0, 2.0])) is None
    assert max_drawdown(np.zeros(0)) is None


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30))
def test_no_stretch_loses_more_than_the_largest_drawdown(steps: list[int]) -> None:
    equity = np.concatenate([[0], np.cumsum(steps)]).astype(np.float64)
    worst = max(equity[one] - equity[other] for one in range(len(equity)) for other in range(one, len(equity)))
    found = max_drawdown(equity[1:])
    assert (0.0 if found is None else found.dollars) == worst


def test_shares() -> None:
    assert hit_rate(np.array([1.0, 0.0, -1.0, 2.0])) == 0.5
    assert hit_rate(np.zeros(0)) is None
    assert turnover(250.0, 1_000.0) == 0.25
    assert turnover(1.0, 0.0) is None
    assert queue_luck(2.0, 0.5) == 0.75
    assert queue_luck(2.0, -1.0) == 1.5
    assert queue_luck(0.0, -1.0) is None
    assert per_contract_cents(2.0, 400.0) == 0.5
    assert per_contract_cents(0.0, 0.0) is None
