"""Many accounts that decide at once, each in its own episode: what every face of the environment is thin over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.policy.actions import REASONS, ActionSet, Table, action_set
from kflow.rl import stepping
from kflow.rl.dataset import Dataset, Group
from kflow.rl.episodes import Episode, Episodes
from kflow.sim import kernel
from kflow.sim.accounts import Limits, new_accounts
from kflow.units import CONTRACT, Money, Size

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

LIMITS: Final = Limits(
    cash=Money(1_000 * 1_000_000), max_position=Size(500 * CONTRACT), max_order=Size(100 * CONTRACT), orders=4
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What an environment is, beside its data.

    ruin: the share of the cash at the start at which an episode ends. scale: of rewards, per dollar. shaping: weight of
    each named term of `stepping.SHAPING`, taken from the reward of every decision.
    """

    actions: ActionSet = field(default_factory=action_set)
    limits: Limits = LIMITS
    ruin: float = 0.1
    scale: float = 1.0
    shaping: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.shaping) - set(stepping.SHAPING)
        if unknown:
            raise UsageError(f"there is no shaping term {min(unknown)}", hint=f"choose {', '.join(stepping.SHAPING)}")
        if self.actions.sizes[-1] > self.limits.max_order:
            raise UsageError(
                f"actions of {self.actions.sizes[-1] / CONTRACT:g} contracts are larger than an order may be",
                hint=f"smaller --sizes, or a larger --max-order than {self.limits.max_order / CONTRACT:g}",
            )
        if not 0 <= self.ruin < 1:
            raise UsageError(f"ruin at {self.ruin:g} of the cash cannot be", hint="--ruin 0.1")


class Finished(NamedTuple):
    """An episode that is over. Money 1e-6 dollar, sizes 1e-2 contract; rewards as the environment gave them."""

    account: int
    number: int  # of the account's episodes, from 0
    episode: Episode
    ending: str  # settled, ruined, cut
    observation: F32  # [F] the last one
    steps: int
    cash: int  # at the start
    equity: int  # at the end
    fees: int
    volume: int
    position: int  # YES positive
    sent: int
    denied: int
    fall: int  # largest loss from a peak
    reward: float  # sum, without shaping
    squares: float
    shaping: dict[str, float]

    @property
    def profit(self) -> int:
        """1e-6 dollar."""
        return self.equity - self.cash

    @property
    def terminated(self) -> bool:
        """Settled or ruined: nothing was to come. Else cut, and what is held counts what it could be sold for."""
        return self.ending != stepping.ENDINGS[stepping.CUT]


class Batch:
    """`count` accounts on a data set. Account n of a seed does the same whatever the batch's size.

    `again` False: an account whose episode ended stays where that left it until `begin`. `log`: rows of what happens to
    an account's orders that the kernel keeps; who reads them makes room for more.
    """

    def __init__(
        self,
        dataset: Dataset,
        setup: Setup,
        episodes: Episodes,
        count: int,
        *,
        seed: int = 0,
        first: int = 0,
        again: bool = True,
        log: int = 1,
    ) -> None:
        if count < 1:
            raise UsageError(f"{count} accounts cannot trade", hint="--envs 64")
        self.dataset: Final = dataset
        self.setup: Final = setup
        self.episodes = episodes
        self.count: Final = count
        self.again: Final = again
        self._numbers: Final = np.arange(first, first + count)
        limits = setup.limits
        self.state: Final = new_accounts(count, dataset.price_columns, limits, seed=seed, log=log, first=first)
        self.desk: Final = stepping.new_desk(count, limits.orders)
        self._terms: Final = [self._terms_of(group) for group in dataset.groups]
        self._floor: Final = int(limits.cash * setup.ruin)
        self._seen: Final = np.zeros((2, count, stepping.OBSERVATION), np.float32)
        self._buffer = 0
        self._ended: Final = np.zeros(count, np.int8)
        self._group: Final = np.full(count, -1, np.int64)
        self._now: list[Episode | None] = [None] * count
        self._done: Final = np.zeros(count, np.int64)
        self._seed(seed)

    def _seed(self, seed: int) -> None:
        self._draws = [np.random.default_rng([seed, int(number)]) for number in self._numbers]

    def _terms_of(self, group: Group) -> stepping.Terms:
        limits = self.setup.limits
        columns: list[Any] = [np.array(column, np.int64) for column in self.setup.actions.table]
        return stepping.Terms(
            columns=group.columns,
            table=Table(*columns),
            fees=group.fees,
            bounds=np.array([limits.max_order, limits.max_position, limits.orders], np.int64),
            every_us=self.dataset.every_us,
            scale=self.setup.scale,
            weights=np.array([self.setup.shaping.get(name, 0.0) for name in stepping.SHAPING], np.float64),
        )

    @property
    def observations(self) -> F32:
        """[N, F] as of now. Of two buffers in turn: it stays as it is until the step after the next."""
        seen: F32 = self._seen[self._buffer]
        return seen

    @property
    def running(self) -> NDArray[np.bool_]:
        """[N] accounts that are in an episode."""
        return self._group >= 0

    def episode(self, account: int) -> Episode | None:
        """Which one an account is in, or was in last; None: it had none."""
        return self._now[account]

    def played(self, account: int) -> int:
        """Episodes that an account has ended."""
        return int(self._done[account])

    def reset(self, seed: int | None = None) -> F32:
        """Begin a new episode everywhere; `seed`: draw them anew from there. [N, F]."""
        if seed is not None:
            self._seed(seed)
            fresh = new_accounts(self.count, 1, self.setup.limits, seed=seed, log=1, first=int(self._numbers[0]))
            self.state.random[:] = fresh.random
            self._done[:] = 0
        for account in range(self.count):
            self.begin(account)
        return self.observations

    def begin(self, account: int) -> None:
        """Seat an account in its next episode, where there is one."""
        episode = self.episodes.next(int(self._numbers[account]), self._draws[account])
        self._now[account] = episode
        if episode is None:
            self._group[account] = -1
            self.observations[account] = 0.0
            return
        span = self.dataset.spans[episode.span]
        self._group[account] = span.group
        group = self.dataset.groups[span.group]
        value = span.value if episode.last == span.rows - 1 else -1
        where = np.array([span.stretch, span.start_us, episode.first, episode.last, span.at, value], np.int64)
        stepping.begin(
            self.state,
            self.desk,
            group.market,
            self._terms[span.group],
            account,
            where,
            int(self.setup.limits.cash),
            self._floor,
            self.observations,
        )

    def _parts(self) -> Iterator[tuple[int, I64]]:
        """Each group, and the accounts that sit in it."""
        for group in range(len(self.dataset.groups)):
            who = np.flatnonzero(self._group == group)
            if len(who):
                yield group, who

    def step(self, chosen: Sequence[int] | NDArray[Any]) -> tuple[F32, F32, list[Finished]]:
        """Take actions [N]. Observations [N, F], rewards [N], and episodes that ended.

        Where one ended its account sits in the next already: the observation is that one's first (but see `again`).
        """
        taken = np.asarray(chosen, np.int64)
        if taken.shape != (self.count,) or taken.min() < 0 or taken.max() >= len(self.setup.actions.actions):
            raise UsageError(f"{self.count} actions from 0 to {len(self.setup.actions.actions) - 1} are needed")
        self._buffer ^= 1
        rewards = np.zeros(self.count, np.float32)
        self._ended[:] = stepping.GOES_ON
        for group, who in self._parts():
            part = self.dataset.groups[group]
            stepping.advance(
                self.state,
                self.desk,
                part.market,
                part.rules,
                self._terms[group],
                who,
                taken,
                self.observations,
                rewards,
                self._ended,
            )
        finished = []
        for account in np.flatnonzero(self._ended).tolist():
            finished.append(self._finish(account))
            if self.again:
                self.begin(account)
            else:
                self._group[account] = -1
        return self.observations, rewards, finished

    def _finish(self, account: int) -> Finished:
        seat, sums, row = self.desk.seat[account], self.desk.sums[account], self.state.account[account]
        number = int(self._done[account])
        self._done[account] += 1
        episode = self._now[account]
        assert episode is not None
        return Finished(
            account=account,
            number=number,
            episode=episode,
            ending=stepping.ENDINGS[int(self._ended[account])],
            observation=self.observations[account].copy(),
            steps=int(seat[stepping.STEPS]),
            cash=int(seat[stepping.CASH]),
            equity=int(seat[stepping.EQUITY]),
            fees=int(row[kernel.FEES]),
            volume=int(row[kernel.VOLUME]),
            position=int(row[kernel.POSITION]),
            sent=int(seat[stepping.SENT]),
            denied=int(seat[stepping.DENIED]),
            fall=int(seat[stepping.FALL]),
            reward=float(sums[stepping.REWARD]),
            squares=float(sums[stepping.SQUARES]),
            shaping={name: float(sums[stepping.INVENTORY + n]) for n, name in enumerate(stepping.SHAPING)},
        )

    def masks(self) -> NDArray[np.bool_]:
        """[N, A] which actions are allowed now."""
        allowed = np.zeros((self.count, len(self.setup.actions.actions)), np.bool_)
        allowed[:, 0] = True
        for group, who in self._parts():
            market = self.dataset.groups[group].market
            stepping.masks(self.state, self.desk, market, self._terms[group], who, allowed)
        return allowed

    def refusals(self) -> list[str]:
        """[N] why the last action of each was denied; empty where it was not."""
        return [REASONS.get(reason, "") for reason in self.desk.seat[:, stepping.REASON].tolist()]

    def refusal(self, account: int) -> str:
        """The same of one account."""
        return REASONS.get(int(self.desk.seat[account, stepping.REASON]), "")

    def kept(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """All that `restore` needs to go on to the byte: arrays, and plain JSON."""
        arrays: dict[str, NDArray[Any]] = {f"state.{name}": array for name, array in self.state._asdict().items()}
        arrays |= {"desk.seat": self.desk.seat, "desk.sums": self.desk.sums, "seen": self._seen}
        arrays |= {"group": self._group, "done": self._done}
        now = [None if episode is None else list(episode) for episode in self._now]
        return arrays, {"buffer": self._buffer, "now": now, "draws": [_words(draw) for draw in self._draws]}

    def restore(self, arrays: Mapping[str, NDArray[Any]], rest: Mapping[str, Any]) -> None:
        """Stand where a batch of the same data, setup and size stood. Raises ValueError for one of another shape."""
        mine, _ = self.kept()
        for name, array in mine.items():
            if arrays[name].shape != array.shape:
                raise ValueError(f"{name} has shape {arrays[name].shape}, not {array.shape}")
            array[:] = arrays[name]
        self._buffer = int(rest["buffer"])
        self._now = [None if episode is None else Episode(*episode) for episode in rest["now"]]
        for draw, words in zip(self._draws, rest["draws"], strict=True):
            state, inc, has, half = (int(word) for word in words)
            draw.bit_generator.state = {
                "bit_generator": "PCG64",
                "state": {"state": state, "inc": inc},
                "has_uint32": has,
                "uinteger": half,
            }


def _words(draw: np.random.Generator) -> list[str]:
    """State of a PCG64 as text: its numbers are beyond what readers of JSON take."""
    state = draw.bit_generator.state
    return [str(word) for word in (*state["state"].values(), state["has_uint32"], state["uinteger"])]
