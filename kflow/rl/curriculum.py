"""Which markets are trained on when: from easy to hard as training succeeds, or all of them from the start.

Easy is what is liquid, tight and calm, as measured on each span's own decisions:

spread: mean of ask - bid, dollar; it counts as no more than $0.10, and as that where a side is absent.
depth: median of what is bid and offered within $0.10 of the touch, contracts (the geometric mean of both sides).
volatility: square root of (sum of squared changes of mid / seconds), dollar per square root of a second.

Spans are ranked by each, narrow, deep and calm first, and ordered by the mean of the three ranks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.policy import features
from kflow.rl.batch import Finished
from kflow.rl.dataset import Dataset
from kflow.rl.episodes import Drawn, Episode

KINDS: Final = ("easy-to-hard", "uniform", "all")
STAGES: Final = 4
WINDOW: Final = 100
# Windows of a stage after which it is left although nothing was learnt there.
PATIENCE: Final = 20
# A window is better than the first of its stage by this many standard errors of the difference.
MARGIN: Final = 3.0

_NAMES: Final = [feature.name for feature in features.MARKET]
_MID, _SPREAD = _NAMES.index("mid"), _NAMES.index("spread")
_DEPTHS: Final = [_NAMES.index("bid_depth"), _NAMES.index("ask_depth")]
# How `features` scales them.
_SPREAD_DOLLAR: Final = 0.10
_DEPTH_CONTRACTS: Final = 1_000_000


class Measured(NamedTuple):
    """How hard a span is; see above."""

    spread: float
    depth: float
    volatility: float


class Promotion(NamedTuple):
    """A stage was reached."""

    stage: int  # from 1
    stages: int
    episode: int  # finished by then, of all stages
    step: int  # decisions in them
    mean_profit: float  # of the window that decided, 1e-6 dollar per episode
    reason: str


def measure(dataset: Dataset, span: int) -> Measured:
    """Of one span."""
    found = dataset.spans[span]
    rows = dataset.groups[found.group].columns[found.at : found.at + found.rows].astype(np.float64)
    logs = np.median(rows[:, _DEPTHS].mean(axis=1)) * math.log1p(_DEPTH_CONTRACTS)
    seconds = (found.rows - 1) * dataset.every_us / 1e6
    return Measured(
        spread=float(rows[:, _SPREAD].mean()) * _SPREAD_DOLLAR,
        depth=math.expm1(logs),
        volatility=math.sqrt(float((np.diff(rows[:, _MID]) ** 2).sum()) / seconds),
    )


def mean_ranks(measured: Sequence[Measured]) -> NDArray[np.float64]:
    """[S] from 1, the easiest; equal values share their mean rank."""
    values = np.array(measured) * (1, -1, 1)
    below = (values[None] < values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)
    ranks: NDArray[np.float64] = (below + (equal + 1) / 2).mean(axis=1)
    return ranks


def _taken(counted: Counter[Episode], episode: Episode) -> bool:
    """Whether there was one; it is not counted any more."""
    if not counted[episode]:
        return False
    counted[episode] -= 1
    if not counted[episode]:
        del counted[episode]
    return True


class Curriculum:
    """Draws episodes (`kflow.rl.episodes.Episodes`), and hears how they went.

    easy-to-hard: spans in their order are cut into equal stages; stage n draws from its own spans and all easier ones,
    each as often as it is long, so that nothing is forgotten and the last stage is `all`. A stage is judged after each
    `window` episodes that began in it. It is left where their mean profit is above `promote_at` (1e-6 dollar), or,
    without one, above that of the stage's first window by MARGIN standard errors; and after
    `patience_episodes` in any case. Windows do not overlap, so that each is evidence of its own. There is no way back.

    uniform: each span equally often. all: each as often as it is long. Neither has stages.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: int,
        spans: Sequence[int] | None = None,
        kind: str = "easy-to-hard",
        *,
        stages: int = STAGES,
        window: int = WINDOW,
        promote_at: float | None = None,
        patience_episodes: int | None = None,
    ) -> None:
        """`rows`: decisions of an episode at most; `spans`: default all. Raises UsageError for what cannot be."""
        if kind not in KINDS:
            raise UsageError(f"there is no curriculum {kind}", hint=f"choose {', '.join(KINDS)}")
        if stages < 1 or window < 2:
            raise UsageError("a curriculum has a stage at least, and is judged by two episodes at least")
        chosen = range(len(dataset.spans)) if spans is None else spans
        self._drawn: Final = Drawn(dataset, rows, chosen)
        self._dataset, self.kind, self._window = dataset, kind, window
        self._promote_at = promote_at
        self._patience = PATIENCE * window if patience_episodes is None else patience_episodes
        self._measured: Final = [measure(dataset, span) for span in chosen]
        self._ranks: Final = mean_ranks(self._measured)
        self._order: Final = np.argsort(self._ranks, kind="stable")
        parts = min(stages, len(chosen)) if kind == "easy-to-hard" else 1
        # How many of the order each stage draws from.
        self._ends: Final = np.cumsum([len(part) for part in np.array_split(self._order, parts)])
        self._spans: Final = [int(span) for span in chosen]
        self.episodes = self.steps = 0  # that were heard of
        # Those that began in this stage and are not heard of yet, and those of stages before.
        self._under_way: Counter[Episode] = Counter()
        self._before: Counter[Episode] = Counter()
        self._enter(1)

    @property
    def stages(self) -> int:
        return len(self._ends)

    def _enter(self, stage: int) -> None:
        self.stage = stage  # from 1
        self._before += self._under_way
        self._under_way = Counter()
        self._heard = 0
        self._first: list[int] = []
        self._last: list[int] = []
        part = sorted(self._spans[at] for at in self._order[: self._ends[stage - 1]])
        self._drawn.choose(part, equally=self.kind == "uniform")

    def next(self, account: int, draw: np.random.Generator) -> Episode:
        """An episode of the stage, whoever it is for."""
        episode = self._drawn.next(account, draw)
        self._under_way[episode] += 1
        return episode

    def heard(self, finished: Finished) -> Promotion | None:
        """Take note of an episode. The stage that it led to, if it did."""
        self.episodes += 1
        self.steps += finished.steps
        if _taken(self._before, finished.episode):
            return None
        _taken(self._under_way, finished.episode)
        if self.stage == self.stages:
            return None
        self._heard += 1
        self._last.append(finished.profit)
        mean, reason = float(np.mean(self._last)), self._judge()
        if reason:
            self._enter(self.stage + 1)
            return Promotion(self.stage, self.stages, self.episodes, self.steps, mean, reason)
        if len(self._last) == self._window:
            self._first = self._first or self._last
            self._last = []
        return None

    def _judge(self) -> str:
        """Why the stage is to be left; empty where it is not."""
        if len(self._last) == self._window:
            mean = float(np.mean(self._last))
            if self._promote_at is not None:
                if mean > self._promote_at:
                    return f"above ${self._promote_at / 1e6:,.2f}"
            elif self._first:
                error = math.sqrt((np.var(self._last, ddof=1) + np.var(self._first, ddof=1)) / self._window)
                if mean - float(np.mean(self._first)) > MARGIN * error:
                    return f"better than its first {self._window} episodes"
        return f"after {self._heard} episodes" if self._heard >= self._patience else ""

    def state(self) -> dict[str, Any]:
        """Where it stands, as plain JSON."""
        return {
            "kind": self.kind,
            "stages": self.stages,
            "spans": len(self._spans),
            "stage": self.stage,
            "episodes": self.episodes,
            "steps": self.steps,
            "heard": self._heard,
            "first": list(self._first),
            "last": list(self._last),
            "under_way": [[*episode, count] for episode, count in self._under_way.items()],
            "before": [[*episode, count] for episode, count in self._before.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises UsageError for the state of another curriculum."""
        same = ("kind", "stages", "spans")
        here = self.state()
        if any(state[name] != here[name] for name in same):
            raise UsageError(
                "the run had another curriculum: " + ", ".join(f"{name} {state[name]}" for name in same),
                hint="resume it with the sessions and the curriculum it began with",
            )
        self._enter(state["stage"])
        self._under_way, self._before = (
            Counter({Episode(*episode): count for *episode, count in state[name]}) for name in ("under_way", "before")
        )
        self.episodes, self.steps, self._heard = state["episodes"], state["steps"], state["heard"]
        self._first, self._last = list(state["first"]), list(state["last"])

    def table(self) -> list[dict[str, Any]]:
        """Every span, the easiest first: what was measured, its rank, and the first stage that draws from it."""
        rows = []
        for place, at in enumerate(self._order.tolist()):
            span, measured = self._spans[at], self._measured[at]
            rows.append(
                {
                    "span": span,
                    "market": self._dataset.spans[span].market,
                    "source": self._dataset.spans[span].source,
                    "spread_cents": round(100 * measured.spread, 3),
                    "depth_contracts": round(measured.depth, 1),
                    "volatility_cents": round(100 * measured.volatility, 3),
                    "rank": round(float(self._ranks[at]), 2),
                    "stage": int(np.searchsorted(self._ends, place, side="right")) + 1,
                }
            )
        return rows
