"""Estimates of a new policy's value from what an old one did, in plain arrays.

w[i, t] is the product of new over old chances of episode i's actions up to and including decision t, w[i, -1] = 1;
r its rewards; q[i, t] and v[i, t] what a model says is still to come there, of the action that was taken, and of the
new policy. Nothing is discounted: it is dollars that count.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

NAMES: Final = {
    "is": "per-decision importance sampling",
    "wis": "the same, weights normalised",
    "dr": "doubly robust",
    "wdr": "the same, weights normalised",
    "model": "the simulator alone",
}


class Trajectories(NamedTuple):
    """Episodes of up to T decisions side by side, [E, T]. Behind an episode's end: ratio 1, and 0 everywhere else."""

    ratio: F64  # chance of the action that was taken: new over old
    reward: F64  # dollars
    q: F64  # dollars
    v: F64  # dollars


class Estimate(NamedTuple):
    """Dollars per episode. The mean of `parts` [E] is the value; how they are spread tells its error.

    Where weights are normalised they are the value plus each episode's influence on it (the delta method).
    """

    name: str
    value: float
    parts: F64


def log_weights(ratio: F64) -> F64:
    """[E, T] logarithm of w; -inf where the new policy would not have come there."""
    with np.errstate(divide="ignore"):
        found: F64 = np.log(ratio).cumsum(axis=1)
    return found


def normalised(logs: F64) -> F64:
    """[E, T] w / sum of w over the episodes; NaN where all are 0."""
    with np.errstate(invalid="ignore"):
        found = np.exp(logs - logs.max(axis=0))
        shares: F64 = found / found.sum(axis=0)
    return shares


def effective(shares: F64) -> F64:
    """Kish's effective number (1965) of weights along the first axis, square of the sum / sum of squares; 0 of NaN."""
    with np.errstate(invalid="ignore"):
        whole = shares / shares.max(axis=0)  # so that equal weights are 1, and n of them count n exactly
        found: F64 = np.nan_to_num(whole.sum(axis=0) ** 2 / (whole**2).sum(axis=0), nan=0.0)
    return found


def _before(weights: F64, first: float) -> F64:
    """Of each decision the weight of the one before."""
    return np.concatenate([np.full((len(weights), 1), first), weights[:, :-1]], axis=1)


def importance_sampling(t: Trajectories) -> Estimate:
    """mean_i sum_t w[i, t] r[i, t]: unbiased (Precup, Sutton and Singh 2000: per decision)."""
    parts = (np.exp(log_weights(t.ratio)) * t.reward).sum(axis=1)
    return Estimate("is", float(parts.mean()), parts)


def weighted_importance_sampling(t: Trajectories) -> Estimate:
    """sum_t sum_i w[i, t] r[i, t] / sum_i w[i, t]: biased by 1 / E, never beyond the rewards that there were.

    Thomas 2015 (doctoral thesis: consistent weighted per-decision importance sampling), since the weighted estimate of
    Precup, Sutton and Singh 2000 does not come to the right value however long the log is.
    """
    shares = normalised(log_weights(t.ratio))
    means = (shares * t.reward).sum(axis=0)
    influence = len(shares) * (shares * (t.reward - means)).sum(axis=1)
    value = float(means.sum())
    return Estimate("wis", value, value + influence)


def doubly_robust(t: Trajectories) -> Estimate:
    """mean_i sum_t w[i, t] (r[i, t] - q[i, t]) + w[i, t-1] v[i, t]. Jiang and Li 2016, their recursion unrolled.

    Unbiased for any q and v with v[i, t] = sum_a new(a) q[i, t](a) in expectation, as long as neither looks at the draw
    of action t itself: given all before, w[i, t] q[i, t] then has the mean w[i, t-1] v[i, t], and what is subtracted is
    given back. They may look at what the market did later, which the draw does not know of, and may be sampled.
    """
    weights = np.exp(log_weights(t.ratio))
    parts = (weights * (t.reward - t.q) + _before(weights, 1.0) * t.v).sum(axis=1)
    return Estimate("dr", float(parts.mean()), parts)


def weighted_doubly_robust(t: Trajectories) -> Estimate:
    """The same with w[i, t] / sum_i w[i, t] for w[i, t] / E. Thomas and Brunskill 2016 (WDR)."""
    shares = normalised(log_weights(t.ratio))
    earlier = _before(shares, 1 / len(shares))
    rest = t.reward - t.q
    later_means, earlier_means = (shares * rest).sum(axis=0), (earlier * t.v).sum(axis=0)
    influence = len(shares) * (shares * (rest - later_means) + earlier * (t.v - earlier_means)).sum(axis=1)
    value = float(later_means.sum() + earlier_means.sum())
    return Estimate("wdr", value, value + influence)


def model_alone(t: Trajectories) -> Estimate:
    """mean_i v[i, 0]: what the model says, and the log does not correct."""
    parts = t.v[:, 0].copy()
    return Estimate("model", float(parts.mean()), parts)
