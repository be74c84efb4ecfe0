"""When things happen: arrivals that cluster on several time scales, as Hawkes processes do.

Made from its clusters (Hawkes and Oakes 1974): immigrants come as a Poisson process, each arrival has a Poisson number
of children, each child comes after an exponential delay whose mean is one of several scales. Immigration itself swells
and ebbs slowly (a lognormal factor that reverts to 1), and some immigrants are alarms: they have many children at once.
Vectorised over all markets; what a stretch begets beyond its end is kept for the next, so arrivals do not depend on how
much is asked for at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Batch = tuple[Floats, Ints, Flags]  # ascending seconds, sources, whether an arrival is an alarm

_STRETCH_S: Final = 5.0  # made at once: long enough to be cheap for one market


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustering:
    """How arrivals cluster."""

    branching: float  # mean number of children of each arrival, below 1
    scales: tuple[tuple[float, float], ...]  # share of children, mean delay in seconds
    # The slow factor of immigration: sigma of its logarithm, and the seconds in which it forgets.
    swell_sigma: float
    swell_s: float
    # Alarms: their share of all arrivals, how many children each has, after which mean delay in seconds.
    alarm_share: float = 0.0
    alarm_children: float = 0.0
    alarm_delay_s: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.branching < 1 or not math.isclose(sum([share for share, _ in self.scales]), 1.0):
            raise ValueError(f"clusters that never end, or shares that are not 1 together: {self}")
        if self.others < 0:
            raise ValueError(f"alarms that bring more arrivals than there are: {self}")

    @property
    def others(self) -> float:
        """Immigrants that are no alarms, as a share of all arrivals. What alarms bring is taken from them."""
        return (1 - self.branching) * (1 - self.alarm_share) - self.alarm_share * self.alarm_children


class Arrivals:
    """Arrival times of any number of sources, in seconds of its own clock, which starts at 0."""

    def __init__(self, clustering: Clustering, rng: np.random.Generator) -> None:
        self._clustering, self._rng = clustering, rng
        shares, delays = zip(*clustering.scales, strict=True)
        self._thresholds: Final = np.cumsum(shares)[:-1]
        self._delays: Final = np.array(delays)
        self._swell: Floats = np.zeros(0)
        # Arrivals before `_end_s` are complete; those from it on lack what later stretches add.
        self._times: Floats = np.zeros(0)
        self._sources: Ints = np.zeros(0, dtype=np.int64)
        self._alarms: Flags = np.zeros(0, dtype=np.bool_)
        self._now_s = self._end_s = 0.0

    def add(self, rate: float) -> int:
        """One more source from now on, its rate for what is left of this stretch; its number."""
        source = len(self._swell)
        self._swell = np.append(self._swell, self._rng.normal(0.0, self._clustering.swell_sigma))
        if self._end_s > self._now_s:
            rates = np.zeros(source + 1)
            rates[source] = rate
            self._keep([self._clusters(rates, self._now_s, self._end_s)])
        return source

    def take(self, seconds: float, rates: Floats) -> Batch:
        """Arrivals of the next `seconds`, by seconds from now. `rates`: mean arrivals per second, one per source."""
        until = self._now_s + seconds
        made = []
        while self._end_s < until:
            begin, self._end_s = self._end_s, self._end_s + _STRETCH_S
            self._drift()
            made.append(self._clusters(rates, begin, self._end_s))
        self._keep(made)
        stop = int(np.searchsorted(self._times, until))
        times, sources, alarms = self._times[:stop] - self._now_s, self._sources[:stop], self._alarms[:stop]
        self._times, self._sources, self._alarms = self._times[stop:], self._sources[stop:], self._alarms[stop:]
        self._now_s = until
        return times, sources, alarms

    def _drift(self) -> None:
        clustering = self._clustering
        keep = math.exp(-_STRETCH_S / clustering.swell_s)
        self._swell *= keep
        self._swell += self._rng.normal(0.0, clustering.swell_sigma * math.sqrt(1 - keep**2), len(self._swell))

    def _clusters(self, rates: Floats, begin_s: float, end_s: float) -> Batch:
        """Immigrants of a stretch with all who descend from them."""
        rng, clustering = self._rng, self._clustering
        swell = np.exp(self._swell - clustering.swell_sigma**2 / 2)
        expected = rates * swell * (end_s - begin_s)
        alarms = rng.poisson(expected * clustering.alarm_share)
        others = rng.poisson(expected * clustering.others)
        alarmed = np.repeat(np.arange(len(rates)), alarms)
        sources = np.concatenate([alarmed, np.repeat(np.arange(len(rates)), others)])
        times = begin_s + (end_s - begin_s) * rng.random(len(sources))
        flags = np.arange(len(sources)) < len(alarmed)
        children = rng.poisson(np.where(flags, clustering.alarm_children, clustering.branching))
        all_times, all_sources = [times], [sources]
        delays: Floats | float = np.repeat(np.where(flags, clustering.alarm_delay_s, 0.0), children)
        while len(times):
            times, sources = np.repeat(times, children), np.repeat(sources, children)
            scale = np.searchsorted(self._thresholds, rng.random(len(times)), side="right")
            times = times + rng.exponential(np.where(delays, delays, self._delays[scale]))
            delays = 0.0
            all_times.append(times)
            all_sources.append(sources)
            children = rng.poisson(clustering.branching, len(times))
        every = np.concatenate(all_times)
        return every, np.concatenate(all_sources), np.concatenate([flags, np.zeros(len(every) - len(flags), np.bool_)])

    def _keep(self, made: list[Batch]) -> None:
        if not made:
            return
        kept = (self._times, self._sources, self._alarms)
        times, sources, alarms = (np.concatenate(parts) for parts in zip(kept, *made, strict=True))
        order = np.argsort(times, kind="stable")
        self._times, self._sources, self._alarms = times[order], sources[order], alarms[order]
