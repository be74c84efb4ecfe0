"""How sure one can be of a mean profit over settlement events, and how easily one is fooled.

The block that is resampled is the event: what happens within one shares its luck. Four things keep an edge from being
told where there is none, and the largest p of them counts (docs/evaluation.md has the measured sizes,
docs/decisions/0009-evaluation.md the choice):

- Student's t, the safest where most events are nothing or few;
- the bootstrap under the null, see `tilted_tail`, which sees that many small gains and a rare large loss are less sure
  than a normal curve has it;
- what was at stake and never lost, see `unseen_loss`;
- that events are no more than coins: with k of them that are not nothing, no p is below 2^-k.

The number of variants that were tried comes on top: see `sidak` and `deflated_sharpe`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
RESAMPLES: Final = 1_000
# Differences that are nothing beside the spread of the events are rounding.
_ROUNDING: Final = 1e-9
# Of a root, beside where it is looked for.
_EXACT: Final = 1e-13
_STEPS: Final = 200
_NORMAL: Final = NormalDist()
# Euler and Mascheroni's, in the expected maximum of normal draws.
_EULER: Final = 0.5772156649015329


class Estimate(NamedTuple):
    """Of the mean per event. `p`: one-sided, of a mean that is not positive. None where the events are too few.

    unseen: a loss that was never met is what keeps p from being small.
    """

    events: int
    mean: float
    low: float | None
    high: float | None
    p: float | None
    unseen: bool = False


def estimate(values: F64, stakes: F64 | None = None, prizes: F64 | None = None) -> Estimate:
    """Mean of independent events, [N], with its interval at LEVEL and its p. The same values give the same bits.

    stakes, prizes: what could have been lost and won in each event, see `unseen_loss`; None where nothing is known of
    it. Where every value is nothing the interval is nothing, and p is 1. Raises ValueError of no events.
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
    rare_p, rare_low = unseen_loss(values, 0.0 if stakes is None else float(stakes.mean()))
    rare_high = -unseen_loss(-values, 0.0 if prizes is None else float(prizes.mean()))[1]
    coins = 0.5 ** int(np.count_nonzero(values))
    if spread <= _ROUNDING * float(np.abs(values).max()):
        p = coins if mean > 0 else 1.0
        return Estimate(count, mean, min(mean, rare_low), max(mean, rare_high), max(p, rare_p), p <= ALPHA < rare_p)
    error, tail = spread / math.sqrt(count), (1 - LEVEL) / 2
    reach = student_quantile(tail, count - 1) * error
    p = max(student_tail(mean / error, count - 1), tilted_tail(values), coins)
    return Estimate(
        events=count,
        mean=mean,
        low=min(mean - reach, tilted_low(values, tail), rare_low),
        high=max(mean + reach, -tilted_low(-values, tail), rare_high),
        p=max(p, rare_p),
        unseen=p <= ALPHA < rare_p,
    )


def paired(values: F64, stakes: F64 | None = None, prizes: F64 | None = None) -> Estimate:
    """The same of differences between two that met the same events; `p` is two-sided.

    stakes: what the one could have lost and the other won; prizes: the other way round.
    """
    up, down = estimate(values, stakes, prizes), estimate(-values, prizes, stakes)
    return up._replace(p=None if up.p is None or down.p is None else min(1.0, 2 * min(up.p, down.p)))


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


def tilted_tail(values: F64) -> float:
    """p of a mean that is not positive, by the bootstrap under the null.

    Resampled are not the values as often as they were seen, but with the weights nearest to that (in Kullback and
    Leibler's sense) under which their mean is nothing: w ~ exp(-l x) (Efron 1981; Davison and Hinkley 1997, chapter
    4.4). What gains 5 and loses 95 cents then loses once in twenty, as seldom as it may have been seen to.
    Not drawn, but worked out: see `_tail_at`. 0 of gains alone, which no weights make nothing; 1 of losses alone.
    """
    if float(values.min()) >= 0:
        return 0.0 if values.any() else 1.0
    if float(values.max()) <= 0:
        return 1.0
    scaled = values / float(np.abs(values).max())
    sign = 1.0 if float(scaled.mean()) > 0 else -1.0
    tilt = _root(lambda at: sign * _weighted(scaled, sign * at)[0])
    return _tail_at(scaled, sign * tilt)


def tilted_low(values: F64, tail: float) -> float:
    """The mean that the values were too high for with chance `tail`, below a half, by the same bootstrap."""
    center, scale = float(values.mean()), float(np.abs(values - values.mean()).max())
    scaled = (values - center) / scale
    tilt = _root(lambda at: _tail_at(scaled, at) - tail)
    return center + scale * _weighted(scaled, tilt)[0]


def _root(falls: Callable[[float], float]) -> float:
    """Where a function that falls from above nothing at 0 is nothing: Dowell and Jarratt's (1971) "Illinois" method."""
    low, above = 0.0, falls(0.0)
    high = 1.0
    while (below := falls(high)) > 0:
        low, above, high = high, below, 2 * high
    side = 0
    for _ in range(_STEPS):
        if high - low <= _EXACT * high or not below:
            break
        at = (low * below - high * above) / (below - above)
        value = falls(at)
        if value > 0:
            low, above = at, value
            below = below / 2 if side > 0 else below
            side = 1
        else:
            high, below = at, value
            above = above / 2 if side < 0 else above
            side = -1
    return high


def _weighted(values: F64, tilt: float) -> tuple[float, float]:
    """Mean of values with weights exp(-tilt * value), and the logarithm of those weights' mean."""
    powers = -tilt * values
    most = float(powers.max())
    weights = np.exp(powers - most)
    total = float(weights.sum())
    return float(weights @ values) / total, most + math.log(total / len(values))


def _tail_at(values: F64, tilt: float) -> float:
    """Chance that resamples drawn with weights exp(-tilt * value) have a mean as high as that of the values.

    Lugannani and Rice's (1980) saddlepoint formula, which for resamples needs no search (Davison and Hinkley 1988):
    the values themselves are the weights' own tilt. With K the log of the mean weight, m the mean and v the variance:
    r = sign(tilt) sqrt(2 N (tilt m + K)), u = tilt sqrt(N v), and the tail is 1 - F(r) + f(r) (1/u - 1/r).
    """
    count, mean, spread = len(values), float(values.mean()), float(values.std())
    _, logarithm = _weighted(values, tilt)
    root = math.copysign(math.sqrt(max(2 * count * (tilt * mean + logarithm), 0.0)), tilt)
    if abs(root) < 1e-4:
        return 0.5
    plain = _NORMAL.cdf(-root) + _NORMAL.pdf(root) * (1 / (tilt * spread * math.sqrt(count)) - 1 / root)
    return min(max(plain, 0.0), 1.0)


@lru_cache(maxsize=4)
def resamples(count: int) -> NDArray[np.uint16]:
    """[RESAMPLES, count] how often each event is drawn when as many are drawn with replacement."""
    rng = np.random.default_rng([count, 9])
    places = rng.integers(0, count, (RESAMPLES, count)) + np.arange(RESAMPLES)[:, None] * count
    drawn = np.bincount(places.reshape(-1), minlength=RESAMPLES * count).reshape(RESAMPLES, count).astype(np.uint16)
    drawn.flags.writeable = False
    return drawn


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
    sure = chance(found.p)
    if variants > 1:
        sure += f", {rounded(deflated)} for the best of {variants} variants"
    if found.low == found.high == 0:
        words = "not distinguishable from hold: it gained and lost nothing"
    elif shown:
        words = f"gains more than hold over {counted(found.events)} ({sure})"
    else:
        words = f"not distinguishable from hold over {counted(found.events)} ({sure})"
        if found.high is not None and found.high < 0:
            words = f"loses against hold over {counted(found.events)} (p of no edge {rounded(found.p)})"
    cautions = []
    if found.unseen:
        cautions.append("no event has lost what was at stake, and a loss as rare as that would pay for the gains")
    if found.events < ENOUGH:
        cautions.append(f"{counted(found.events)} are few: with fewer than {ENOUGH} rare losses may not have been met")
    return told | {
        "p_deflated": deflated,
        "distinguishable": shown,
        "words": words,
        "why": "; ".join(cautions) or None,
    }


def counted(count: int) -> str:
    """12 independent events."""
    return f"{count} independent event{'' if count == 1 else 's'}"


def chance(p: float) -> str:
    """p = 0.021, or p < 0.0001."""
    return f"p {'' if p < 1e-4 else '= '}{rounded(p)}"


def rounded(p: float) -> str:
    """Two digits, and none of what is next to nothing."""
    if p < 1e-4:
        return "< 0.0001"
    return f"{p:.2g}" if p < 0.1 else f"{p:.2f}"
