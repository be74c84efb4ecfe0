"""Plays a contestant on held-out episodes, each once, and keeps every order and fill of it.

An episode's draws begin from (seed, its number): who plays it beside which others changes nothing, and contestants and
fill models meet the same delays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kflow.evaluate import ledger
from kflow.evaluate.contestants import Contestant
from kflow.evaluate.held import Held
from kflow.evaluate.outcome import MID_BINS, SETTLED, Curve, Episodes, Played
from kflow.policy.features import FEATURES
from kflow.rl import stepping
from kflow.rl.batch import Batch, Finished
from kflow.rl.episodes import Episode
from kflow.sim import kernel
from kflow.sim.accounts import counters
from kflow.sim.fills import FillModel

I64 = NDArray[np.int64]

# Accounts that decide together: the more, the less a decision costs (128: 0.92 µs, 512: 0.76, 1,000: 0.69).
ACCOUNTS: Final = 2048
# Rows of what happens to an account's orders between two decisions; where that is too few, it is played again.
_LOG: Final = 32
# Equity is noted about so often.
_CURVE_US: Final = 10_000_000
# Decisions whose actions are counted together.
_TOGETHER: Final = 64
# Of an episode's draws for the policy, beside those for the venue.
_POLICY: Final = 0x5851F42D
_ENDINGS: Final = {word: code for code, word in enumerate(stepping.ENDINGS)}
_MID, _SIDES = (next(n for n, item in enumerate(FEATURES) if item.name == name) for name in ("mid", "sides"))

Progress = Callable[[int], None]


class _Overflow(Exception):
    """The log was too short for what happened."""


def play(
    contestant: Contestant,
    held: Held,
    model: FillModel,
    *,
    seeds: Sequence[int],
    scale: int = 1,
    progress: Progress = lambda _: None,
) -> list[Played]:
    """Every episode of `held` once with each seed; what came of each seed. `progress` is told of decisions."""
    rows = _LOG
    while True:
        try:
            return _Play(contestant.scaled(scale), held, model, seeds, rows, progress).done(scale)
        except _Overflow:
            rows *= 8


class _Turns:
    """The episodes, as many times over as there are seeds. `at`: the turn that was given out last."""

    def __init__(self, episodes: Sequence[Episode], seeds: int) -> None:
        self._episodes = episodes
        self.count: Final = len(episodes) * seeds
        self.at = -1

    def next(self, _account: int, _draw: np.random.Generator, /) -> Episode | None:
        """The next turn's; None behind the last."""
        self.at += 1
        return self._episodes[self.at % len(self._episodes)] if self.at < self.count else None


class _Chosen:
    """Which actions were taken at which YES mid. Counted some decisions at a time: each count costs as much as many."""

    def __init__(self, accounts: int, actions: int, episodes: int, seeds: int) -> None:
        self.actions: Final = np.zeros((seeds, actions, MID_BINS + 1), np.int64)
        self._episodes: Final = episodes
        self._turn = np.zeros((_TOGETHER, accounts), np.int64)
        self._action = np.zeros((_TOGETHER, accounts), np.int64)
        self._mid = np.zeros((2, _TOGETHER, accounts), np.float32)
        self._rows = 0

    def add(self, turn: I64, chosen: I64, seen: NDArray[np.float32], running: NDArray[np.bool_]) -> None:
        """One decision of every account that is running."""
        row = self._rows
        self._turn[row] = turn
        self._action[row] = np.where(running, chosen, -1)
        self._mid[0, row], self._mid[1, row] = seen[:, _MID], seen[:, _SIDES]
        self._rows += 1
        if self._rows == _TOGETHER:
            self.count()

    def count(self) -> None:
        """What was added since."""
        taken = self._action[: self._rows] >= 0
        turn, action = self._turn[: self._rows][taken], self._action[: self._rows][taken]
        mid, sides = self._mid[0, : self._rows][taken], self._mid[1, : self._rows][taken]
        column = np.where(sides == 0, np.minimum((mid * MID_BINS).astype(np.int64), MID_BINS - 1), MID_BINS)
        shape = self.actions.shape
        cells = (turn // self._episodes * shape[1] + action) * shape[2] + column
        self.actions[:] += np.bincount(cells, minlength=self.actions.size).reshape(shape)
        self._rows = 0


@dataclass(slots=True)
class _Notes:
    """What is collected while it is played; rows of the log with the turn that each is of."""

    equity: I64  # [turns, P]
    position: I64
    chosen: _Chosen
    finished: list[Finished | None]
    logs: list[I64] = field(default_factory=list)
    of: list[I64] = field(default_factory=list)


class _Play:
    """One pass over the episodes with all seeds."""

    def __init__(
        self, contestant: Contestant, held: Held, model: FillModel, seeds: Sequence[int], rows: int, progress: Progress
    ) -> None:
        self._contestant, self._held, self._model, self._seeds = contestant, held, model, seeds
        self._progress, self._rows = progress, rows
        self._turns = _Turns(held.episodes, len(seeds))
        count = self._turns.count
        self._batch = Batch(
            held.under(model), contestant.setup, self._turns, min(ACCOUNTS, count), again=False, log=rows
        )
        each = np.arange(len(held.episodes))
        self._starts = np.concatenate([counters(seed, each) for seed in seeds])
        self._dice = np.concatenate([counters(seed ^ _POLICY, each) for seed in seeds])
        self._at = np.zeros(self._batch.count, np.int64)  # which turn each account is in
        self._every = max(_CURVE_US // held.dataset.every_us, 1)
        points = max(episode.last - episode.first for episode in held.episodes) // self._every + 2
        self._left = np.zeros(self._batch.count, np.int64)  # decisions until its next point
        self._notes = _Notes(
            equity=np.full((count, points), -1, np.int64),
            position=np.zeros((count, points), np.int64),
            chosen=_Chosen(self._batch.count, len(contestant.setup.actions.actions), len(each), len(seeds)),
            finished=[None] * count,
        )

    def done(self, scale: int) -> list[Played]:
        """Play, and put what happened into columns."""
        self._run()
        log = np.concatenate([np.zeros((0, kernel.LOG), np.int64), *self._notes.logs])
        of = np.concatenate([np.zeros(0, np.int64), *self._notes.of])
        return [self._of_seed(number, seed, scale, log, of) for number, seed in enumerate(self._seeds)]

    def _of_seed(self, number: int, seed: int, scale: int, log: I64, of: I64) -> Played:
        notes, held = self._notes, self._held
        count = len(held.episodes)
        mine = slice(number * count, (number + 1) * count)
        finished = [done for done in notes.finished[mine] if done is not None]
        assert len(finished) == count
        episodes = self._episodes(finished)
        rows = (of >= mine.start) & (of < mine.stop)
        orders, fills = ledger.read(log[rows], of[rows] - mine.start, held, episodes)
        return Played(
            contestant=self._contestant.name,
            fill_model=self._model.name,
            seed=seed,
            scale=scale,
            episodes=episodes,
            orders=orders,
            fills=fills,
            curve=self._curve(finished, notes.equity[mine], notes.position[mine]),
            actions=notes.chosen.actions[number],
        )

    def _run(self) -> None:
        batch, contestant = self._batch, self._contestant
        for account in range(batch.count):
            self._begin(account)
        nothing = np.zeros(0, np.float64)
        masks = np.zeros((batch.count, 0), np.bool_)
        running = batch.running
        while running.any():
            self._note_equity(running)
            seen = batch.observations
            if contestant.masked:
                masks = batch.masks()
            chosen = contestant.decide(seen, masks, self._draws() if contestant.draws else nothing)
            self._notes.chosen.add(self._at, chosen, seen, running)
            _, _, finished = batch.step(chosen)
            self._drain()
            self._left -= 1
            if finished:
                self._progress(sum(done.steps for done in finished))
                for done in finished:
                    self._notes.finished[self._at[done.account]] = done
                    self._begin(done.account)
                running = batch.running
        self._notes.chosen.count()

    def _begin(self, account: int) -> None:
        """The account's next turn, whose draws are its own."""
        self._batch.begin(account)
        turn = self._turns.at
        if turn < self._turns.count:
            self._at[account] = turn
            self._left[account] = 0
            self._batch.state.random[account] = self._starts[turn]

    def _draws(self) -> NDArray[np.float64]:
        """[N] uniform in (0, 1): of each account's episode and decision."""
        steps = self._batch.desk.seat[:, stepping.STEPS].astype(np.uint64)
        with np.errstate(over="ignore"):
            z = self._dice[self._at] + steps * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
        uniform: NDArray[np.float64] = ((z >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
        return uniform

    def _drain(self) -> None:
        """Take what was logged since the last decision."""
        state = self._batch.state
        logged = state.account[:, kernel.LOGGED]
        who = np.flatnonzero(logged)
        if not len(who):
            return
        counts = logged[who]
        most = int(counts.max())
        if most > self._rows:
            raise _Overflow
        kept = np.arange(most) < counts[:, None]
        self._notes.logs.append(state.log[who, :most][kept])
        self._notes.of.append(np.repeat(self._at[who], counts))
        logged[who] = 0

    def _note_equity(self, running: NDArray[np.bool_]) -> None:
        """Equity and position of accounts that have come to a point of the curve."""
        due = np.flatnonzero((self._left == 0) & running)
        if len(due):
            seat = self._batch.desk.seat
            places = self._at[due], seat[due, stepping.STEPS] // self._every
            self._notes.equity[places] = seat[due, stepping.EQUITY]
            self._notes.position[places] = self._batch.state.account[due, kernel.POSITION]
            self._left[due] = self._every

    def _curve(self, finished: Sequence[Finished], equity: I64, position: I64) -> Curve:
        """With what each episode ended with, from its end on. What was settled is held no longer."""
        for row, done in enumerate(finished):
            end = -(-done.steps // self._every)
            equity[row, end:] = done.equity
            position[row, end:] = done.position
        return Curve(self._every * self._held.dataset.every_us, equity, position)

    def _episodes(self, finished: Sequence[Finished]) -> Episodes:
        held = self._held
        every = held.dataset.every_us
        starts = np.array([held.start_us(done.episode) for done in finished], np.int64)
        steps = np.array([done.steps for done in finished], np.int64)
        endings = np.array([_ENDINGS[done.ending] for done in finished], np.int64)
        assert SETTLED == stepping.SETTLED

        def column(name: str) -> I64:
            return np.array([getattr(done, name) for done in finished], np.int64)

        return Episodes(
            market=np.array([held.where[done.episode.span][0] for done in finished], np.int64),
            start_us=starts,
            end_us=starts + steps * every,
            ending=endings,
            steps=steps,
            cash=column("cash"),
            equity=column("equity"),
            fees=column("fees"),
            volume=column("volume"),
            position=column("position"),
            sent=column("sent"),
            denied=column("denied"),
            fall=column("fall"),
        )
