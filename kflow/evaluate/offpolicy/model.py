"""What the simulator says is still to come at each decision of a log: of the action that was taken, and of the new
policy. Not learnt: accounts are brought where the log's were, by its actions, and the new policy plays on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.errors import DataError
from kflow.evaluate.offpolicy.log import Log
from kflow.evaluate.offpolicy.soft import Soft, draw
from kflow.rl import stepping
from kflow.rl.batch import Batch, Setup
from kflow.rl.dataset import Dataset
from kflow.rl.episodes import Episode, Listed

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Booleans = NDArray[np.bool_]

# Accounts that play on at once.
_TOGETHER = 512
_ROLLOUTS = 2  # beside a seed, as in `record`


class Values(NamedTuple):
    """[E, T], dollars; 0 behind an episode's end. agreed: share of decisions at which the simulated account saw, and
    was allowed, what the log's was.
    """

    q: F64
    v: F64
    agreed: float


def places(log: Log, dataset: Dataset) -> list[Episode]:
    """The log's episodes in a data set. Raises DataError where a tape is another, or lacks a stretch."""
    known = {(span.digest, span.start_us): number for number, span in enumerate(dataset.spans)}
    found = []
    e = log.episodes
    for market, start, first, last in zip(e.market, e.start_us, e.first, e.last, strict=True):
        traded = log.card.markets[market]
        span = known.get((traded.digest, int(start)))
        if span is None or last >= dataset.spans[span].rows:
            raise DataError(
                f"the tape of {traded.market} is not the one that was traded on",
                hint="name the sessions or files that the log was written of, as its card does",
            )
        found.append(Episode(span, int(first), int(last)))
    return found


def values(
    log: Log,
    policy: Soft,
    chances: F64,
    dataset: Dataset,
    setup: Setup,
    *,
    rollouts: int,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Values:
    """The mean of `rollouts` plays at each decision. chances [N, A]: the new policy's of the log's own decisions.

    v[i, t] draws its first action by those chances, from there on by what the simulated account sees; q[i, t] takes the
    log's action and goes on likewise. So v is what the new policy's draw makes of q, whether or not the simulator is
    right, and the doubly robust estimate stays unbiased. Play k of episode i draws decision t by one number, wherever
    it began: where a play does what the log did it is the play of the next decision, and q and v differ by little else
    than the action. Raises DataError where a simulated log's first decisions are not what the simulator shows.
    """
    episodes = places(log, dataset)
    steps = log.episodes.steps
    shape = (len(episodes), int(steps.max()))
    q, v = np.zeros(shape), np.zeros(shape)
    agreed, longest = 0, int((log.episodes.last - log.episodes.first).max())
    size = max(_TOGETHER // rollouts, 1)
    first_row = np.concatenate([[0], log.ends])
    for at in range(0, len(episodes), size):
        who = range(at, min(at + size, len(episodes)))
        part = _Part(log, policy, chances, first_row[at : who.stop], steps[at : who.stop])
        game = _Game(part, dataset, setup, episodes[at : who.stop], log.episodes.random[at : who.stop])
        uniform = np.array([np.random.default_rng([seed, _ROLLOUTS, n]).random((rollouts, longest)) for n in who])
        replay = game.replay()
        _check_beginnings(log, at, replay.same)
        rows = slice(at, who.stop)
        width = replay.rewards.shape[1]
        q[rows, :width], v[rows, :width] = game.values(replay, uniform)
        agreed += int(replay.same[:, :-1][part.inside].sum())
        progress(int(part.steps.sum()))
    return Values(q, v, agreed / len(log.decisions.action))


def _check_beginnings(log: Log, at: int, same: Booleans) -> None:
    """Nothing is held yet: what is seen and allowed there depends on the market and the limits only.

    A real account may have seen the market a moment later; that makes the simulator worse, and no estimate biased.
    """
    if log.card.fills is None or same[:, 0].all():
        return
    market = log.card.markets[int(log.episodes.market[at + int(np.flatnonzero(~same[:, 0])[0])])].market
    raise DataError(
        f"on {market} the log's first decision is not what this kflow would show or allow",
        hint="its limits, its fees or its features are others: write the log again, or take --rollouts 0",
    )


@dataclass(frozen=True)
class _Part:
    """Some of the log's episodes. [e, T] where not said otherwise."""

    log: Log
    policy: Soft
    chances: F64
    begins: I64  # [e] first row in the log
    steps: I64  # [e]

    @property
    def inside(self) -> Booleans:
        """Where there is a decision."""
        return np.arange(int(self.steps.max())) < self.steps[:, None]


class _Replay(NamedTuple):
    """What the simulated accounts did where they took the log's actions."""

    rewards: F64  # [e, T] dollars
    alive: Booleans  # [e, T + 1] in an episode before that decision
    same: Booleans  # [e, T + 1] and it sees and may do what the log's account did


class _Game:
    """Accounts that take the log's actions, and accounts that are put where those are and play on."""

    def __init__(
        self, part: _Part, dataset: Dataset, setup: Setup, episodes: Sequence[Episode], random: NDArray[np.uint64]
    ) -> None:
        self._part, self._dataset, self._setup = part, dataset, setup
        self._episodes, self._random = episodes, random

    def _batch(self, copies: int = 1) -> Batch:
        """One account for each episode, or several, at its beginning."""
        listed = [episode for episode in self._episodes for _ in range(copies)]
        batch = Batch(self._dataset, self._setup, Listed(listed), len(listed), again=False)
        batch.state.random[:] = self._random.repeat(copies)
        batch.reset()
        return batch

    def _take(self, batch: Batch, step: int) -> None:
        """The log's actions, of those whose log goes on; what the others do is not looked at."""
        part = self._part
        chosen = np.zeros(batch.count, np.int64)
        who = np.flatnonzero(part.steps > step)
        chosen[who] = part.log.decisions.action[part.begins[who] + step]
        batch.step(chosen)

    def replay(self) -> _Replay:
        """Once through the log."""
        part, log, batch = self._part, self._part.log.decisions, self._batch()
        width = int(part.steps.max())
        rewards = np.zeros((batch.count, width))
        alive, same = np.zeros((2, batch.count, width + 1), np.bool_)
        for step in range(width + 1):
            goes_on = part.steps > step
            alive[:, step] = batch.running & (part.steps >= step)
            who = np.flatnonzero(alive[:, step] & goes_on)
            at = part.begins[who] + step
            same[who, step] = (batch.observations[who] == log.observation[at]).all(axis=1)
            same[who, step] &= (batch.masks()[who] == log.mask[at]).all(axis=1)
            if step < width:
                before = batch.desk.seat[:, stepping.EQUITY].copy()
                self._take(batch, step)
                gained = (batch.desk.seat[:, stepping.EQUITY] - before) / 1e6
                rewards[:, step] = np.where(alive[:, step] & goes_on, gained, 0.0)
        return _Replay(rewards, alive, same)

    def values(self, replay: _Replay, uniform: F64) -> tuple[F64, F64]:
        """q and v [e, T]; uniform [e, k, T at least]: what each play draws by."""
        part, batch = self._part, self._batch()
        plays = _Plays(part, replay, uniform, batch, self._batch(uniform.shape[1]))
        width = replay.rewards.shape[1]
        for step in range(width + 1):
            plays.play(step)
            if step < width:
                self._take(batch, step)
        q, v = plays.summed_up()
        logged = replay.alive[:, :-1] & part.inside
        return np.where(logged, q, 0.0), np.where(logged, v, 0.0)


class _Plays:
    """The new policy's plays from each decision on: dollars still to come, [e, k, T + 1]."""

    def __init__(self, part: _Part, replay: _Replay, uniform: F64, batch: Batch, players: Batch) -> None:
        self._part, self._replay, self._uniform = part, replay, uniform
        self._players = players
        # Views of what changes: to put an account is to copy its rows.
        self._theirs, self._mine = batch.kept()[0], players.kept()[0]
        self._batch = batch
        shape = (*uniform.shape[:2], replay.rewards.shape[1] + 1)
        # First as the policy acts on what the log saw; and on what is simulated, where that is something else.
        self._logged, self._simulated = np.zeros((2, *shape))
        self._repeats = np.zeros(shape, np.bool_)  # plays that begin as the log goes on

    def play(self, step: int) -> None:
        """All that begin at this decision, where the accounts of the log stand now."""
        part, alive = self._part, self._replay.alive[:, step]
        plays = self._uniform.shape[1]
        who = np.flatnonzero(alive & (part.steps > step))
        if len(who):
            at = part.begins[who] + step
            drawn = draw(part.chances[at].repeat(plays, axis=0), self._uniform[who, :, step].reshape(-1))
            first = drawn.reshape(-1, plays)
            self._repeats[who, :, step] = first == part.log.decisions.action[at, None]
            row, play = np.nonzero(~self._repeats[who, :, step])
            self._logged[who[row], play, step] = self._rolled(who[row], play, step, first[row, play])
        if step:
            others = np.flatnonzero(alive & ~self._replay.same[:, step]).repeat(plays)
            play = np.arange(len(others)) % plays
            self._simulated[others, play, step] = self._rolled(others, play, step, None)

    def summed_up(self) -> tuple[F64, F64]:
        """q and v [e, T]: the mean of the plays."""
        replay, logged = self._replay, self._logged
        q = np.zeros_like(logged[:, :, :-1])
        for step in range(q.shape[2] - 1, -1, -1):
            same = replay.same[:, step + 1, None]
            later = np.where(same, logged[:, :, step + 1], self._simulated[:, :, step + 1])
            q[:, :, step] = replay.rewards[:, step, None] + later
            logged[:, :, step] = np.where(self._repeats[:, :, step], q[:, :, step], logged[:, :, step])
        return q.mean(axis=1), logged[:, :, :-1].mean(axis=1)

    def _rolled(self, who: I64, play: I64, step: int, first: I64 | None) -> F64:
        """Dollars [M] that players come to who are put where accounts `who` are; `first`: actions they begin with."""
        if not len(who):
            return np.zeros(0)
        players, count = self._players, len(who)
        self._put(who)
        equity = players.desk.seat[:count, stepping.EQUITY]
        before = equity.copy()
        while (running := np.flatnonzero(players.running)).size:
            if first is None:
                chances = self._part.policy.chances(players.observations[running], players.masks()[running])
                first = draw(chances, self._uniform[who[running], play[running], step])
            chosen = np.zeros(players.count, np.int64)
            chosen[running] = first
            players.step(chosen)
            first, step = None, step + 1
        found: F64 = (equity - before) / 1e6
        return found

    def _put(self, who: I64) -> None:
        """Players 0 to M stand where accounts `who` do, and nobody else plays."""
        count = len(who)
        for name, array in self._mine.items():
            if name.startswith(("state.", "desk.")):
                array[:count] = self._theirs[name][who]
        self._mine["group"][:] = -1
        self._mine["group"][:count] = self._theirs["group"][who]
        self._players.observations[:count] = self._batch.observations[who]
