"""Play a policy by its chances through the kernel, and keep the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kflow.evaluate.offpolicy.log import Decisions
from kflow.evaluate.offpolicy.log import Episodes as Columns
from kflow.evaluate.offpolicy.soft import Soft, draw
from kflow.rl import stepping
from kflow.rl.batch import Batch, Setup
from kflow.rl.dataset import Dataset
from kflow.rl.episodes import Episode, Listed

# Accounts that play at once.
TOGETHER = 256
# Beside a seed, so that no two kinds of draws are the same.
_ACTIONS = 1


class _Played:
    """A few episodes, one account each, decision by decision."""

    def __init__(self, policy: Soft, batch: Batch, uniform: NDArray[np.float64]) -> None:
        self.random = batch.state.random.copy()
        self.who: list[NDArray[np.int64]] = []
        self.rows: list[Decisions] = []
        self.ending = np.zeros(batch.count, np.int64)
        batch.reset()
        step = 0
        while batch.running.any():
            self._decide(policy, batch, uniform[:, step])
            step += 1

    def _decide(self, policy: Soft, batch: Batch, uniform: NDArray[np.float64]) -> None:
        who = np.flatnonzero(batch.running)
        seen, masks = batch.observations[who].copy(), batch.masks()[who]
        chances = policy.chances_one_by_one(seen, masks)
        chosen = np.zeros(batch.count, np.int64)
        chosen[who] = draw(chances, uniform[who])
        before = batch.desk.seat[:, stepping.EQUITY].copy()
        for finished in batch.step(chosen)[2]:
            self.ending[finished.account] = stepping.ENDINGS.index(finished.ending)
        gained = batch.desk.seat[who, stepping.EQUITY] - before[who]
        self.who.append(who)
        self.rows.append(Decisions(seen, masks, chosen[who], chances, gained))


def record(
    policy: Soft,
    dataset: Dataset,
    setup: Setup,
    episodes: Sequence[Episode],
    markets: Sequence[int],
    *,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[Decisions, Columns]:
    """Each episode once. markets: of each span of the data set the row of its market in the card.

    Episode n draws by (seed, n), the kernel's own draws too. Rewards are changes of equity, unshaped.
    """
    rows: list[Decisions] = []
    random, steps, ending = [], [], []
    longest = max(episode.last - episode.first for episode in episodes)
    for at in range(0, len(episodes), TOGETHER):
        part = episodes[at : at + TOGETHER]
        batch = Batch(dataset, setup, Listed(part), len(part), seed=seed, first=at, again=False)
        uniform = np.array([np.random.default_rng([seed, _ACTIONS, at + n]).random(longest) for n in range(len(part))])
        played = _Played(policy, batch, uniform)
        who = np.concatenate(played.who)
        order = np.argsort(who, kind="stable")
        rows.append(_joined(played.rows, order))
        random.append(played.random)
        steps.append(np.bincount(who, minlength=len(part)))
        ending.append(played.ending)
        progress(len(who))
    spans = [dataset.spans[episode.span] for episode in episodes]
    columns = Columns(
        steps=np.concatenate(steps).astype(np.int64),
        market=np.array([markets[episode.span] for episode in episodes], np.int64),
        start_us=np.array([span.start_us for span in spans], np.int64),
        first=np.array([episode.first for episode in episodes], np.int64),
        last=np.array([episode.last for episode in episodes], np.int64),
        ending=np.concatenate(ending),
        random=np.concatenate(random),
    )
    return _joined(rows), columns


def _joined(rows: Sequence[Decisions], order: NDArray[np.int64] | None = None) -> Decisions:
    """One behind the other, then in another order."""
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    return Decisions(*(columns if order is None else [column[order] for column in columns]))
