"""What a recorder tells of itself: counters and histograms, read by health and metrics. Rows are the truth of counts;
these are for watching."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from kflow.clock import NS_PER_S

# Upper bounds in seconds: handling takes microseconds, a message's age milliseconds to seconds.
HANDLE_BUCKETS: Final = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 1e-1)
AGE_BUCKETS: Final = (1e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Histogram:
    """Counts by upper bound, as Prometheus wants them."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        # One more than bounds: the last counts what is over all of them.
        self.counts = [0] * (len(bounds_s) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.total_s += seconds

    def quantile_s(self, share: float, since: Sequence[int] = ()) -> float | None:
        """Upper bound of the bucket that holds the quantile; None before anything was counted.

        `since`: `counts` as they were, to look only at what came afterwards.
        """
        counts = [now - then for now, then in zip(self.counts, since, strict=True)] if since else self.counts
        total = sum(counts)
        if not total:
            return None
        seen = 0
        for bound, count in zip((*self.bounds_s, float("inf")), counts, strict=True):
            seen += count
            if seen >= share * total:
                return bound
        return float("inf")


class Least:
    """The least value of the last one to two minutes. Values may be negative."""

    def __init__(self) -> None:
        self._minute = 0
        self._now: float | None = None  # of the present minute
        self._before: float | None = None  # of the one before it

    def add(self, value: float, wall_ns: int) -> None:
        self._turn(wall_ns)
        if self._now is None or value < self._now:
            self._now = value

    def at(self, wall_ns: int) -> float | None:
        """None where nothing was added in that time."""
        self._turn(wall_ns)
        return min((value for value in (self._now, self._before) if value is not None), default=None)

    def _turn(self, wall_ns: int) -> None:
        minute = wall_ns // (60 * NS_PER_S)
        if minute != self._minute:
            self._before = self._now if minute == self._minute + 1 else None
            self._minute, self._now = minute, None


@dataclass(slots=True)
class RecorderStatus:
    """Counters since the session began."""

    session: str
    started_ns: int
    messages: Counter[str] = field(default_factory=Counter)  # by event kind
    gaps: Counter[str] = field(default_factory=Counter)  # by GapKind value
    missing: int = 0  # frames that sequence gaps tell of
    resyncs: int = 0  # snapshots that made a stale book live again
    connections: int = 0
    journal_bytes: int = 0
    journal_errors: int = 0
    # Wall clock of the last frame; None before the first.
    last_message_ns: int | None = None
    # True while frames cannot be journalled: then nothing counts as received.
    journal_failed: bool = False
    handle_s: Histogram = field(default_factory=lambda: Histogram(HANDLE_BUCKETS))
    age_s: Histogram = field(default_factory=lambda: Histogram(AGE_BUCKETS))
    # Our clock less the venue's stamp, of one delta per socket read: below 0 only where clocks differ.
    least_age_s: Least = field(default_factory=Least)

    @property
    def total_messages(self) -> int:
        return self.messages.total()
