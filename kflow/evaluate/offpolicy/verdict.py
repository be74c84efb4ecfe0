"""The estimate of a new policy from a log, and its refusal where the log does not say enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.errors import DataError
from kflow.evaluate import inference
from kflow.evaluate.offpolicy import estimators, model
from kflow.evaluate.offpolicy.estimators import Estimate, Trajectories
from kflow.evaluate.offpolicy.log import Log
from kflow.evaluate.offpolicy.soft import Soft
from kflow.rl.dataset import Dataset
from kflow.sim.report import clustered

F64 = NDArray[np.float64]

# Episodes that count, at every decision: below that a few carry the estimate, and its error is told by as few.
LEAST_EPISODES: Final = 30
# Events that count: from so many on `clustered` tells an error.
LEAST_EVENTS: Final = 5
# Weights have a mean of 1. Further from it than so many standard errors, what the new policy mostly does is not there.
_MEAN_WITHIN: Final = 4.0
LEVEL: Final = 0.95
_NEGLIGIBLE: Final = 1e-9  # chance of what the old policy never did
_CENTICENT: Final = 1e-4  # dollars; less is no difference
# From so many that count on, it can be told how long a log would do.
_TOLD_FROM: Final = 5.0


class TooFew(DataError):
    """What counts of the log is too little. decision: the first at which it is, from 0; episodes: as many count."""

    def __init__(self, message: str, *, decision: int, episodes: float, hint: str) -> None:
        self.decision, self.episodes = decision, episodes
        super().__init__(message, hint=hint)


class Interval(NamedTuple):
    """Dollars per episode; NaN where too few events tell no error."""

    value: float
    error: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How much of the log counts. episodes [T]: Kish's number at each decision."""

    episodes: F64
    events: float  # Kish's number of events by the weights of whole episodes
    mean: float  # of whole episodes, 1 in expectation
    error: float
    largest: float  # share of the heaviest episode


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the log says of the new policy. intervals, against_old: by estimator."""

    old: Interval  # as it was played
    intervals: dict[str, Interval]
    against_old: dict[str, Interval]
    weights: Weights
    agreed: float | None  # share of decisions at which the simulator stood where the log did; None: not asked
    estimates: dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """A log with the weights that a policy gives it."""

    log: Log
    policy: Soft
    chances: F64  # [N, A] of the policy
    bare: Trajectories  # without a model
    event: NDArray[np.int64]  # [E]
    weights: Weights


def judge(
    log: Log,
    policy: Soft,
    dataset: Dataset | None = None,
    *,
    rollouts: int = 4,
    seed: int = 0,
    least: float = LEAST_EPISODES,
    progress: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """`estimate` of what is `weighed`."""
    return estimate(weighed(log, policy, least), dataset, rollouts=rollouts, seed=seed, progress=progress)


def weighed(log: Log, policy: Soft, least: float | None = LEAST_EPISODES) -> Weighed:
    """How much of the log counts for a policy. least: of episodes; None: it is not asked whether that is enough.

    Raises TooFew where it is not.
    """
    chances = policy.chances_one_by_one(log.decisions.observation, log.decisions.mask)
    check_overlap(log, chances)
    rows = np.arange(len(log.decisions.action))
    ratio = chances[rows, log.decisions.action] / log.decisions.chance[rows, log.decisions.action]
    nothing = np.zeros((2, len(log.episodes.steps), 1))
    bare = Trajectories(log.padded(ratio, 1.0), log.padded(log.decisions.reward / 1e6, 0.0), *nothing)
    event = np.unique(log.events, return_inverse=True)[1]
    weights = weigh(bare.ratio, event)
    if least is not None:
        check_weights(weights, len(bare.ratio), least)
    return Weighed(log=log, policy=policy, chances=chances, bare=bare, event=event, weights=weights)


def estimate(
    found: Weighed,
    dataset: Dataset | None = None,
    *,
    rollouts: int = 4,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """With `dataset` doubly robust too: `rollouts` plays of the new policy from each decision of the log.

    What is estimated is the mean profit of an episode, in dollars, where the log was written: if orders were real, real
    profit. Intervals are for such episodes at large, not for these; episodes of one event count as one draw. Raises
    DataError where the log does not fit the tapes.
    """
    log, bare, agreed = found.log, found.bare, None
    made = [estimators.importance_sampling(bare), estimators.weighted_importance_sampling(bare)]
    if dataset is not None:
        setup = log.card.setup()
        values = model.values(
            log, found.policy, found.chances, dataset, setup, rollouts=rollouts, seed=seed, progress=progress
        )
        whole, agreed = bare._replace(q=values.q, v=values.v), values.agreed
        made += [
            estimators.doubly_robust(whole),
            estimators.weighted_doubly_robust(whole),
            estimators.model_alone(whole),
        ]
    freedom, returns = found.weights.events - 1, bare.reward.sum(axis=1)
    return Verdict(
        old=interval(returns, found.event, int(found.event.max())),
        intervals={one.name: interval(one.parts, found.event, freedom) for one in made},
        against_old={one.name: interval(one.parts - returns, found.event, freedom) for one in made},
        weights=found.weights,
        agreed=agreed,
        estimates={one.name: one for one in made},
    )


def check_overlap(log: Log, chances: F64) -> None:
    """Raises TooFew where the new policy may do what the old one never did, and no weight can make up for."""
    missed = np.where(log.decisions.chance > 0, 0.0, chances).sum(axis=1)
    some = np.flatnonzero(missed > _NEGLIGIBLE)
    if len(some):
        raise TooFew(
            f"at {len(some):,} of {len(missed):,} decisions the new policy takes actions that the old one never took",
            decision=int(some[0]),
            episodes=0.0,
            hint="write the log with --epsilon 0.05, so that any allowed action has a chance",
        )


def weigh(ratio: F64, events: NDArray[np.int64]) -> Weights:
    """Of ratios [E, T] and each episode's event [E]."""
    logs = estimators.log_weights(ratio)
    shares = estimators.normalised(logs)
    last = np.exp(logs[:, -1])
    mean, error = clustered(last, events)
    return Weights(
        episodes=estimators.effective(shares),
        events=float(estimators.effective(np.bincount(events, shares[:, -1]).astype(np.float64))),
        mean=mean,
        error=error,
        largest=float(np.nan_to_num(shares[:, -1].max(), nan=1.0)),
    )


def check_weights(weights: Weights, count: int, needed: float = LEAST_EPISODES) -> None:
    """Of so many episodes. Raises TooFew."""
    few = np.flatnonzero(weights.episodes < needed)
    if len(few):
        at, least = int(few[0]), float(weights.episodes.min())
        ways = "shorter episodes (--episode), or a log of a policy that is more alike"
        if least >= _TOLD_FROM:
            ways = f"a log of some {1.2 * count * needed / least:,.0f} episodes, {ways}"
        raise TooFew(
            f"of {count:,} episodes {weights.episodes[at]:.1f} count at decision {at + 1:,} of "
            f"{len(weights.episodes):,}, and {least:.1f} where it is worst, but {needed:g} are needed: the two "
            "policies differ too much, for too long",
            decision=at,
            episodes=least,
            hint=ways,
        )
    if weights.events < LEAST_EVENTS:
        raise TooFew(
            f"only {weights.events:.1f} events count, where {LEAST_EVENTS} are needed to tell an error",
            decision=len(weights.episodes) - 1,
            episodes=float(weights.episodes[-1]),
            hint="a log of more events",
        )
    if not abs(weights.mean - 1) <= _MEAN_WITHIN * weights.error:
        raise TooFew(
            f"weights have a mean of {weights.mean:.3g} ± {weights.error:.2g} where it has to be 1: what the new "
            "policy does most is not in the log, or its chances are not those by which actions were drawn",
            decision=len(weights.episodes) - 1,
            episodes=float(weights.episodes[-1]),
            hint="a larger log, or one of a policy that is more alike",
        )


def interval(parts: F64, events: NDArray[np.int64], freedom: float) -> Interval:
    """The mean of [E] dollars at LEVEL, by Student's distribution; errors by event (Liang and Zeger 1986)."""
    mean, error = clustered(parts, events)
    whole = math.floor(freedom + 1e-9)
    reach = inference.student_quantile((1 - LEVEL) / 2, whole) * error if whole > 0 else math.nan
    return Interval(mean, error, mean - reach, mean + reach)


def told(log: Log, verdict: Verdict) -> dict[str, Any]:
    """As plain JSON: dollars per episode, unknown is null."""
    weights = verdict.weights
    at = sorted({0, *(round(share * (len(weights.episodes) - 1)) for share in (0.25, 0.5, 0.75, 1.0))})
    return {
        "kind": "off-policy estimate",
        "episodes": len(log.episodes.steps),
        "events": len(set(log.events)),
        "decisions": len(log.decisions.action),
        "old": _plain(verdict.old),
        "estimates": [
            {
                "name": name,
                "about": estimators.NAMES[name],
                **_plain(found),
                "against_old": _plain(verdict.against_old[name]),
            }
            for name, found in verdict.intervals.items()
        ],
        "level": LEVEL,
        "effective": {
            "episodes": [{"decision": n + 1, "episodes": _number(weights.episodes[n])} for n in at],
            "least": _number(weights.episodes.min()),
            "events": _number(weights.events),
            "needed": {"episodes": LEAST_EPISODES, "events": LEAST_EVENTS},
            "mean_weight": _number(weights.mean),
            "mean_weight_error": _number(weights.error),
            "largest_share": _number(weights.largest),
        },
        "simulator_agreed": verdict.agreed,
        "sentence": sentence(verdict),
    }


def sentence(verdict: Verdict) -> str:
    """What it comes to, in words."""
    best = "dr" if "dr" in verdict.intervals else "wis"
    found, difference = verdict.intervals[best], verdict.against_old[best]
    words = (
        f"the new policy earns {_dollars(found.value)} per episode, {LEVEL:.0%} interval {_dollars(found.low)} to "
        f"{_dollars(found.high)}"
    )
    if abs(difference.value) >= _CENTICENT and not difference.low <= 0 <= difference.high:
        return (
            f"{words}: {_dollars(abs(difference.value))} {'more' if difference.value > 0 else 'less'} than the old one"
        )
    return f"{words}: not distinguishable from the old one"


def _dollars(amount: float) -> str:
    return f"{'-' * (amount < 0)}${abs(amount):.3f}"


def _plain(interval: Interval) -> dict[str, float | None]:
    return {name: _number(value) for name, value in interval._asdict().items()}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
