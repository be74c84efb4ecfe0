"""Figures of profit and risk over settlement events: each with its formula and where it comes from.

Profits are dollars an event, [N] in the order of time, and add up: nothing is compounded, since each episode begins
with the same cash. A ratio's period is the settlement event; none is made yearly, for markets come at no fixed rate.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.evaluate.inference import ENOUGH, LEVEL, sharpe_error

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

PERIOD: Final = "per settlement event"
# Standard errors that an interval at LEVEL reaches.
_REACH: Final = NormalDist().inv_cdf((1 + LEVEL) / 2)
# Spread that is rounding, beside the mean.
_ROUNDING: Final = 1e-12


class Ratio(NamedTuple):
    """A ratio and its interval, or why there is none."""

    value: float | None
    low: float | None
    high: float | None
    why: str | None


def mean_over_spread(profits: F64) -> float:
    """mean / standard deviation (N - 1) of profits: Sharpe's ratio (1994) with nothing to earn elsewhere.

    NaN of fewer than two, and where there is no spread.
    """
    spread = float(profits.std(ddof=1)) if len(profits) > 1 else 0.0
    mean = float(profits.mean()) if len(profits) else math.nan
    return mean / spread if spread > _ROUNDING * abs(mean) else math.nan


def sharpe(profits: F64) -> Ratio:
    """Sharpe ratio per settlement event, refused with fewer than ENOUGH of them.

    The interval is the ratio and 1.96 of its standard errors either way (Lo 2002, with skewness and kurtosis as in
    Mertens 2002): see `inference.sharpe_error`.
    """
    count = len(profits)
    if count < ENOUGH:
        return Ratio(None, None, None, f"{count} independent settlement{'s' * (count != 1)}; {ENOUGH} are needed")
    ratio = mean_over_spread(profits)
    if math.isnan(ratio):
        return Ratio(None, None, None, "every event earned the same")
    reach = _REACH * sharpe_error(ratio, profits)
    return Ratio(ratio, ratio - reach, ratio + reach, None)


def sortino(profits: F64) -> Ratio:
    """mean / sqrt(mean(min(profit, 0)²)): Sortino and Price (1994), target 0; refused with fewer than ENOUGH events.

    The root is over all events, not only those that lost.
    """
    count = len(profits)
    if count < ENOUGH:
        return Ratio(None, None, None, f"{count} independent settlement{'s' * (count != 1)}; {ENOUGH} are needed")
    risk = downside(profits)
    if not risk:
        return Ratio(None, None, None, "no event lost")
    return Ratio(float(profits.mean()) / risk, None, None, None)


def downside(profits: F64) -> float:
    """sqrt(mean(min(profit, 0)²)), dollars an event."""
    return float(np.sqrt((np.minimum(profits, 0.0) ** 2).mean()))


class Drawdown(NamedTuple):
    """The deepest fall of a curve below its peak. Rows of the curve; `recovered` None: it has not come back yet."""

    dollars: float  # not negative
    peak: int
    trough: int
    recovered: int | None


def drawdowns(equity: F64) -> F64:
    """[N] how far a curve lies below its highest point so far, 0 counted in: min(0, e - max(0, e_1 .. e))."""
    below: F64 = equity - np.maximum(np.maximum.accumulate(equity), 0.0)
    return below


def max_drawdown(equity: F64) -> Drawdown | None:
    """The deepest drawdown of cumulated profits: max over t of (max(0, e_1 .. e_t) - e_t), in dollars.

    Not in per cent of the peak (Magdon-Ismail and Atiya 2004 have both forms): the curve begins at 0.
    peak is -1 where it began at the start. None of a curve that never fell.
    """
    if not len(equity):
        return None
    below = drawdowns(equity)
    trough = int(below.argmin())
    depth = -float(below[trough])
    if depth <= 0:
        return None
    top = float(equity[trough]) + depth
    before = np.flatnonzero(equity[: trough + 1] >= top - _ROUNDING * max(abs(top), 1.0))
    after = np.flatnonzero(equity[trough:] >= top - _ROUNDING * max(abs(top), 1.0))
    return Drawdown(
        dollars=depth,
        peak=int(before[-1]) if len(before) else -1,
        trough=trough,
        recovered=trough + int(after[0]) if len(after) else None,
    )


def hit_rate(profits: F64) -> float | None:
    """Share of events with a profit above 0, of all, also those that were not traded in. None of no events."""
    return float((profits > 0).mean()) if len(profits) else None


def turnover(traded: float, cash: float) -> float | None:
    """Dollars paid for contracts over the cash at the start, both of the same episodes."""
    return traded / cash if cash else None


def queue_luck(calibrated: float, pessimistic: float) -> float | None:
    """Share of the profit under the calibrated queue that is gone when the queue is the worst that may be.

    (calibrated - pessimistic) / calibrated; above 1 it becomes a loss. None where there is no profit to be shared.
    """
    return (calibrated - pessimistic) / calibrated if calibrated > 0 else None


def per_contract_cents(profit: float, contracts: float) -> float | None:
    """Cents that a contract bought or sold earns. None where there was none: by scale, the capacity curve."""
    return 100 * profit / contracts if contracts else None
