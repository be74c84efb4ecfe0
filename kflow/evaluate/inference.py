"""How sure one can be of a mean profit over settlement events, and how easily one is fooled.

The block that is resampled is the event: what happens within one shares its luck. Three things keep an edge from being
told where there is none (docs/evaluation.md has the measured sizes, docs/decisions/0009-evaluation.md the choice):

- the studentised bootstrap (Efron and Tibshirani 1993, chapter 12.5), which sees that many small gains and a rare large
  loss are less sure than a normal curve has it, beside Student's t, which is the safer of the two where most events are
  nothing; the larger p counts;
- what was at stake and never lost: see `unseen_loss`;
- the number of variants that were tried: see `sidak` and `deflated_sharpe`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

# Events from which an interval and a p-value can be told at all; with fewer than ENOUGH only with a caution.
FEWEST: Final = 5
ENOUGH: Final = 30
LEVEL: Final = 0.95  # of intervals
ALPHA: Final = 0.05  # an edge counts as shown at this p, corrected for the variants tried
RESAMPLES: Final = 9_999
# Differences that are nothing beside the spread of the events are rounding.
_ROUNDING: Final = 1e-9
_ROWS: Final = 100  # resamples that are taken at once: a cache holds them
_NORMAL: Final = NormalDist()
# Euler and Mascheroni's, in the expected maximum of normal draws.
_EULER: Final = 0.5772156649015329


class Estimate(NamedTuple):
    """Of the mean per event. `p`: one-sided, of a mean that is not positive. None where the events are too few."""

    events: int
    mean: float
    low: float | None
    high: float | None
    p: float | None


def estimate(values: F64, stakes: F64 | None = None) -> Estimate:
    """Mean of independent events, [N], with its interval at LEVEL and its p. The same values give the same bits.

    stakes: what could have been lost in each event, see `unseen_loss`; None where nothing is known of it. Where every
    value is nothing the interval is nothing, and p is 1. Raises ValueError of no events.
    """
    count = len(values)
    if not count:
        raise ValueError("a mean of no events")
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) if count > 1 else 0.0
    if not np.any(values):
        return Estimate(count, 0.0, 0.0, 0.0, 1.0)
    if count < FEWEST:
        return Estimate(count, mean, None, None, None)
    stake = 0.0 if stakes is None else float(stakes.mean())
    rare_p, rare_low = unseen_loss(values, stake)
    if spread <= _ROUNDING * float(np.abs(values).max()):
        p = max(_least(count), rare_p) if mean > 0 else 1.0
        return Estimate(count, mean, min(mean, rare_low), mean, p)
    error = spread / math.sqrt(count)
    drawn = np.sort(_studentised(values - mean, spread))
    t = mean / error
    above = len(drawn) - int(np.searchsorted(drawn, t - _ROUNDING * max(abs(t), 1.0)))
    p = max((above + 1) / (len(drawn) + 1), student_tail(t, count - 1), rare_p, _least(count))
    tail = (1 - LEVEL) / 2
    cut = round(tail * (len(drawn) + 1)) - 1
    reach = student_quantile(tail, count - 1) * error
    # A resample without the rare values has next to no spread: no mean lies beyond the worst that can happen.
    low = max(mean - drawn[-1 - cut] * error, min(float(values.min()), -stake))
    high = min(mean - drawn[cut] * error, float(values.max()))
    return Estimate(count, mean, float(min(low, mean - reach, rare_low)), float(max(high, mean + reach)), min(p, 1.0))


def paired(values: F64, stakes: F64 | None = None, against: F64 | None = None) -> Estimate:
    """The same of differences between two that met the same events; `p` is two-sided. Stakes: of the one, the other."""
    up, down = estimate(values, stakes), estimate(-values, against)
    low = None if up.low is None else up.low
    high = None if up.high is None or down.low is None else max(up.high, -down.low)
    p = None if up.p is None or down.p is None else min(1.0, 2 * min(up.p, down.p))
    return Estimate(up.events, up.mean, low, high, p)


def unseen_loss(values: F64, stake: float) -> tuple[float, float]:
    """How well a loss that was never seen explains the gains: p, and the lower end of the mean with it.

    Who buys at 95 cents what is worth 95 wins 5 in nineteen events of twenty: twelve gains tell nothing of the loss
    that pays for them, and no resampling of them can. If a loss of `stake` befalls an event with chance q, the mean is
    (1 - q) m - q stake, so that there is no edge from q = m / (m + stake) on; that none was met in N events has the
    chance (1 - q)^N = (1 + m / stake)^-N. It is the exact binomial bound (Clopper and Pearson 1934) of nothing seen in
    N. Where an event lost half of the stake or more, the values tell of it themselves: p is 0, and the end infinite.
    """
    count, mean = len(values), float(values.mean())
    if stake <= 0 or float(values.min()) <= -stake / 2:
        return 0.0, math.inf
    chance = 1 - ((1 - LEVEL) / 2) ** (1 / count)
    p = math.exp(-count * math.log1p(mean / stake)) if mean > 0 else 1.0
    return p, (1 - chance) * mean - chance * stake


def _least(count: int) -> float:
    """Events that all go one way are coins that all fall so: they cannot tell more."""
    return 2.0**-count


@lru_cache(maxsize=4)
def resamples(count: int) -> NDArray[np.uint16]:
    """[RESAMPLES, count] how often each event is drawn when as many are drawn with replacement."""
    rng = np.random.default_rng([count, 9])
    drawn = np.empty((RESAMPLES, count), np.uint16)
    for first in range(0, RESAMPLES, _ROWS):
        rows = min(_ROWS, RESAMPLES - first)
        places = rng.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        drawn[first : first + rows] = np.bincount(places.reshape(-1), minlength=rows * count).reshape(rows, count)
    drawn.flags.writeable = False
    return drawn


def _studentised(away: F64, spread: float) -> F64:
    """[RESAMPLES] means of resampled deviations over their own standard error; infinite where that is nothing."""
    count = len(away)
    both = np.stack([away, away**2], axis=1) / spread ** np.array([1, 2])
    drawn = resamples(count)
    found = np.empty(RESAMPLES)
    for first in range(0, RESAMPLES, _ROWS):
        mean, square = (drawn[first : first + _ROWS].astype(np.float64) @ both / count).T
        variance = (square - mean**2) * count / (count - 1)
        some = variance > _ROUNDING
        error = np.sqrt(np.where(some, variance, 1.0) / count)
        apart = np.where(np.abs(mean) > _ROUNDING, np.copysign(np.inf, mean), 0.0)
        found[first : first + _ROWS] = np.where(some, mean / error, apart)
    return found


def student_tail(t: float, freedom: int) -> float:
    """Chance that Student's t of so many degrees exceeds `t` (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(abs(t) / math.sqrt(freedom))
    square = math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= square * (k - 1) / k
        total += term
    within = math.sin(angle) * total
    if odd:
        within = (within + angle) * 2 / math.pi
    upper = max(0.5 - within / 2, 0.0)
    return upper if t >= 0 else 1 - upper


@lru_cache(maxsize=64)
def student_quantile(tail: float, freedom: int) -> float:
    """The t that is exceeded with chance `tail`, which is below a half."""
    low, high = 0.0, 1.0
    while student_tail(high, freedom) > tail:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, freedom) > tail else (low, middle)
    return (low + high) / 2


def sidak(p: float, variants: int) -> float:
    """The p of the best of so many independent variants: 1 - (1 - p)^n (Šidák 1967)."""
    return -math.expm1(variants * math.log1p(-p)) if p < 1 else 1.0


def moments(values: F64) -> tuple[float, float]:
    """Skewness and kurtosis (3 for a normal curve), both as plain moments; NaN without a spread."""
    away = values - values.mean()
    variance = float((away**2).mean())
    if not variance:
        return math.nan, math.nan
    return float((away**3).mean()) / variance**1.5, float((away**4).mean()) / variance**2


def sharpe_error(sharpe: float, values: F64) -> float:
    """Standard error of a Sharpe ratio per event: sqrt((1 - g3 S + (g4 - 1) / 4 S²) / (N - 1)).

    g3 and g4 are skewness and kurtosis (Mertens 2002; Bailey and López de Prado 2012, equation 4).
    """
    skewness, kurtosis = moments(values)
    inside = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2
    return math.sqrt(max(inside, 0.0) / (len(values) - 1))


def deflated_sharpe(sharpe: float, values: F64, variants: int, spread: float | None = None) -> float | None:
    """Chance that the true Sharpe ratio exceeds what the best of so many worthless variants would show.

    Bailey and López de Prado 2014, "The Deflated Sharpe Ratio": the expected best of n is
    spread * ((1 - g) Z(1 - 1/n) + g Z(1 - 1/(n e))), with g of Euler and Mascheroni and Z the normal quantile. spread:
    standard deviation of the variants' own ratios; None: not known, and taken as that of worthless ones,
    1 / sqrt(N - 1). None where the error of the ratio is nothing.
    """
    error = sharpe_error(sharpe, values)
    if not error > 0:
        return None
    spread = 1 / math.sqrt(len(values) - 1) if spread is None else spread
    best = 0.0
    if variants > 1:
        usual, late = _NORMAL.inv_cdf(1 - 1 / variants), _NORMAL.inv_cdf(1 - 1 / (variants * math.e))
        best = spread * ((1 - _EULER) * usual + _EULER * late)
    return _NORMAL.cdf((sharpe - best) / error)


def uniform(p_values: F64) -> float:
    """p of the test of Kolmogorov and Smirnov that values are uniform on [0, 1].

    By the limiting distribution, with Stephens's (1970) correction for few values.
    """
    count, ordered = len(p_values), np.sort(p_values)
    steps = np.arange(count + 1) / count
    apart = max(float((steps[1:] - ordered).max()), float((ordered - steps[:-1]).max()))
    x = apart * (math.sqrt(count) + 0.12 + 0.11 / math.sqrt(count))
    terms = ((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))
    return min(max(2 * sum(terms), 0.0), 1.0) if x > 0.2 else 1.0


def verdict(found: Estimate, variants: int) -> dict[str, Any]:
    """Whether an edge is shown, in numbers and in words: the `verdict` of the document."""
    told: dict[str, Any] = {"p": found.p, "p_deflated": None, "variants": variants, "distinguishable": None}
    told |= {"events": found.events, "why": None}
    if found.p is None:
        why = f"{counted(found.events)}; {FEWEST} are needed for an interval or a p-value"
        return told | {"words": f"not distinguishable from hold: {counted(found.events)}", "why": why}
    deflated = sidak(found.p, variants)
    shown = deflated <= ALPHA
    chance = f"p = {rounded(found.p)}"
    if variants > 1:
        chance += f", {rounded(deflated)} for the best of {variants} variants"
    if found.low == found.high == 0:
        words = "not distinguishable from hold: it gained and lost nothing"
    elif shown:
        words = f"gains more than hold over {counted(found.events)} ({chance})"
    else:
        words = f"not distinguishable from hold over {counted(found.events)} ({chance})"
        if found.high is not None and found.high < 0:
            words = f"loses against hold over {counted(found.events)} (p of no edge {rounded(found.p)})"
    few = f"{counted(found.events)} are few: with fewer than {ENOUGH} a rare loss may not have been met"
    return told | {
        "p_deflated": deflated,
        "distinguishable": shown,
        "words": words,
        "why": few if found.events < ENOUGH else None,
    }


def counted(count: int) -> str:
    """12 independent events."""
    return f"{count} independent event{'' if count == 1 else 's'}"


def rounded(p: float) -> str:
    """Two digits."""
    return f"{p:.2g}" if p < 0.1 else f"{p:.2f}"
