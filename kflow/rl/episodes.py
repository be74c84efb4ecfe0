"""Which stretch an account trades on next, and from where to where. Never over a gap: an episode lies in one span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.rl.dataset import LEAST_ROWS, Dataset


class Episode(NamedTuple):
    """Part of a span: it begins at decision `first`, and ends at decision `last`."""

    span: int
    first: int
    last: int


class Episodes(Protocol):
    """Says what comes next for an account; None: nothing more."""

    def next(self, account: int, draw: np.random.Generator, /) -> Episode | None: ...


class Drawn:
    """Episodes drawn at random: a span by its weight, then where in it they begin.

    Half of those in spans with a recorded result run up to it, so that settlement is met as often as anything else.
    """

    def __init__(self, dataset: Dataset, rows: int, spans: Sequence[int] | None = None) -> None:
        """`rows`: decisions of an episode at most. Raises UsageError where it is too short, and without spans."""
        if rows < 1:
            raise UsageError(f"an episode of {rows} decisions cannot be", hint="--episode 15m")
        self._dataset, self._rows = dataset, rows
        self.choose(range(len(dataset.spans)) if spans is None else spans)

    def choose(self, spans: Sequence[int], *, equally: bool = False) -> None:
        """Draw from these spans from now on, each as often as it is long, or each as often as any other."""
        if not len(spans):
            raise UsageError("there is nothing to draw episodes from", hint="give more sessions")
        lengths = np.array([1 if equally else self._dataset.spans[span].rows for span in spans], np.float64)
        self.spans: tuple[int, ...] = tuple(int(span) for span in spans)
        self._edges: NDArray[np.float64] = np.cumsum(lengths / lengths.sum())

    def next(self, _account: int, draw: np.random.Generator, /) -> Episode:
        """The next episode, whoever it is for."""
        at = min(int(np.searchsorted(self._edges, draw.random(), side="right")), len(self.spans) - 1)
        span = self._dataset.spans[self.spans[at]]
        rows = min(self._rows, span.rows - 1)
        latest = span.rows - 1 - rows
        settles = span.value >= 0 and draw.random() < 0.5
        first = latest if settles else int(draw.integers(0, max(span.rows - LEAST_ROWS, latest) + 1))
        return Episode(self.spans[at], first, min(first + rows, span.rows - 1))


class Listed:
    """Each of a list once: accounts take the next that is left."""

    def __init__(self, episodes: Sequence[Episode]) -> None:
        self._left = list(reversed(episodes))

    def next(self, _account: int, _draw: np.random.Generator, /) -> Episode | None:
        """The next of the list."""
        return self._left.pop() if self._left else None


def cut(dataset: Dataset, rows: int, spans: Sequence[int] | None = None) -> list[Episode]:
    """Every span cut into episodes of `rows` decisions, one behind the other; the last of a span may be shorter."""
    found: list[Episode] = []
    for span in range(len(dataset.spans)) if spans is None else spans:
        last = dataset.spans[span].rows - 1
        found += [
            Episode(span, first, min(first + rows, last))
            for first in range(0, last, rows)
            if last - first >= LEAST_ROWS - 1 or first == 0
        ]
    return found
