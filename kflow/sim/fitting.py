"""Fit the queue's two parameters, omega (ahead) and n (power), to orders whose fate is known.

The model is deterministic: it says for each order whether and when it fills, and is wrong by some loss, such as 1 for a
wrong outcome (their mean is the Brier score). The fit has the least mean loss. What the orders tell of other parameters
is told by pairs, order by order: D, their mean loss more than the best one's, has the standard error s of a mean of
differences, and -(D/s)^2/2 is the logarithm of their likelihood against the best, by the normal limit. Where nothing
differs it is 0. An error rate would be a simpler noise model, and a wrong one: by it a single order more or less
decides, since it takes two models that are wrong about the same orders for two independent ones.

A parameter's profile is the best log-likelihood with it fixed, its interval where that is within 1.92 of the best:
what is not significantly worse, at 95 %. It is identified if the interval takes up less than half of its range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Profile = list[tuple[float, float]]  # (value, log-likelihood against the best), ascending
Point = tuple[float, float]  # ahead, power

AHEAD: Final = (0.0, 0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 1.0)
POWER: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0)
# Of twice the log-likelihood's fall, the 95 % quantile of chi-square with one degree of freedom: 3.84.
FALL: Final = 1.92
# The same with two degrees of freedom: 5.99.
FALL_OF_TWO: Final = 3.0
_PRO_RATA: Final[Point] = (0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The best parameters, and how well the orders tell them from others."""

    ahead: float
    power: float
    loss: float  # mean
    profile_ahead: Profile
    profile_power: Profile
    pro_rata: float  # log-likelihood of pro rata against the best

    @property
    def differs(self) -> bool:
        """Whether the orders tell the best parameters from pro rata, at 95 %: two parameters are free."""
        return self.pro_rata < -FALL_OF_TWO

    @property
    def ahead_interval(self) -> tuple[float, float]:
        return _interval(self.profile_ahead)

    @property
    def power_interval(self) -> tuple[float, float]:
        return _interval(self.profile_power)

    @property
    def ahead_identified(self) -> bool:
        low, high = self.ahead_interval
        return high - low < 0.5

    @property
    def power_identified(self) -> bool:
        """Powers are compared by their ratio."""
        low, high = self.power_interval
        return math.log(high / low) < 0.5 * math.log(POWER[-1] / POWER[0])

    @property
    def identified(self) -> bool:
        return self.ahead_identified and self.power_identified


def fit(losses: Callable[[float, float], F64], *, rounds: int = 4) -> Fit:
    """Search the grid of AHEAD and POWER, then `rounds` times around its best point, each time half as far.

    losses(ahead, power): [N] of each order, in one order always. Orders that share what happens to them are one: hand
    over their sums. Called once for each point, and once for all powers where `ahead` is 0 or 1, since powers mean
    nothing there. Of equally good points the one nearest to pro rata is taken.
    """
    known: dict[Point, F64] = {}

    def look(points: Iterable[Point]) -> None:
        for ahead, power in points:
            asked = (ahead, power if 0 < ahead < 1 else 1.0)
            if asked not in known:
                known[asked] = np.asarray(losses(*asked), np.float64)
            known.setdefault((ahead, power), known[asked])

    look((ahead, power) for ahead in AHEAD for power in POWER)
    for halving in range(1, rounds + 1):
        ahead, power = _best(known)
        look(
            (_beside(AHEAD, ahead, sideways * 0.5**halving), _beside(POWER, power, up * 0.5**halving))
            for sideways in (-1, 0, 1)
            for up in (-1, 0, 1)
        )
    best = _best(known)
    against = {point: _log_likelihood(found - known[best]) for point, found in known.items()}
    return Fit(
        ahead=best[0],
        power=best[1],
        loss=float(known[best].mean()),
        profile_ahead=_profile((point[0], value) for point, value in against.items()),
        profile_power=_profile((point[1], value) for point, value in against.items()),
        pro_rata=against[_PRO_RATA],
    )


def _beside(grid: Sequence[float], value: float, steps: float) -> float:
    """A value so many steps of a grid further, within it; between its points linearly."""
    place = np.interp(value, grid, range(len(grid))) + steps
    return round(float(np.interp(place, range(len(grid)), grid)), 6)


def _best(known: dict[Point, F64]) -> Point:
    def rank(point: Point) -> tuple[float, float]:
        away = abs(point[0] - _PRO_RATA[0]) + abs(math.log(point[1] / _PRO_RATA[1]))
        return round(float(known[point].mean()), 12), away

    return min(known, key=rank)


def _log_likelihood(more: F64) -> float:
    """Of parameters that lose so much more than the best, order by order [N]."""
    mean, deviation = float(more.mean()), float(more.std())
    if mean <= 0:
        return 0.0
    return -(len(more) * (mean / deviation) ** 2) / 2 if deviation else -math.inf


def _profile(points: Iterable[tuple[float, float]]) -> Profile:
    best: dict[float, float] = {}
    for value, found in points:
        best[value] = max(found, best.get(value, -math.inf))
    return sorted(best.items())


def _interval(profile: Profile) -> tuple[float, float]:
    """Where a profile is within FALL of the best: from the outermost such points on, linearly to the next ones."""
    inside = [place for place, (_, score) in enumerate(profile) if score >= -FALL]
    ends = []
    for last, beyond in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        end, score = profile[last]
        if 0 <= beyond < len(profile) and math.isfinite(profile[beyond][1]):
            further, worse = profile[beyond]
            end += (further - end) * (score + FALL) / (score - worse)
        ends.append(end)
    return ends[0], ends[1]
