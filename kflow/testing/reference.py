"""Batches of the kernel and the plain environment side by side, decision by decision: what differs, field by field."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid
from kflow.policy.actions import ORDER, REASONS, ActionSet, action_set
from kflow.replay.stretches import CLOSED
from kflow.rl import stepping
from kflow.rl.batch import Batch, Finished, Setup
from kflow.rl.dataset import build
from kflow.rl.episodes import Drawn, Episode
from kflow.rl.worlds import make_tapes
from kflow.sim import kernel as k
from kflow.sim.accounts import Limits
from kflow.sim.fills import HOME, MODELS, NO_LATENCY, Assumptions, FillModel, Latency
from kflow.sim.tape import Tape
from kflow.testing.plain_env import PlainEnv, spans_of
from kflow.testing.tapes import Shape, random_tape
from kflow.units import CONTRACT, DOLLAR_MONEY, Money, Size

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
# Chooses actions [N] by what is allowed [N, A].
Chooser = Callable[[np.random.Generator, Bools], Ints]

FEES: Final[Mapping[str, FeeSchedule]] = {
    "fees": FeeSchedule.parse("quadratic", 1),
    "maker fees": FeeSchedule.parse("quadratic_with_maker_fees", 1),
    "none": FeeSchedule.parse("quadratic", 0),
}
# The last leaves orders and cancellations under way for more than a decision.
LATENCIES: Final[Mapping[str, Latency]] = {"none": NO_LATENCY, "home": HOME, "slow": Latency.constant(400, 300, 20)}
SETS: Final = ("default", "wide", "maker")
HANDS: Final = ("uniform", "permitted", "patient")
TAPES: Final = ("random", "fair", "reverting", "maker", "dollar")
PURSES: Final = tuple(
    Limits(
        cash=Money(dollars * DOLLAR_MONEY),
        max_position=Size(position * CONTRACT),
        max_order=Size(100 * CONTRACT),
        orders=orders,
    )
    for dollars, position, orders in ((1_000, 500, 4), (60, 120, 3))
)


def tapes_named(name: str, *, seed: int, seconds: int) -> list[Tape]:
    """Markets of a world; or random ones on two grids, whose books empty and cross, some of them with a result."""
    if name != "random":
        return make_tapes(name, 2, seed=seed, seconds=seconds)
    rng = np.random.default_rng([seed, 5])
    shape = Shape(moments=max(seconds, 20))
    made = [random_tape(rng, shape=shape, stretches=2), random_tape(rng, shape=shape)]
    made.append(random_tape(rng, grid=Grid.named("tapered_deci_cent"), shape=replace(shape, crossing=0.0)))
    made[0].facts.update(ends=[CLOSED] * made[0].stretches, settlement_value_e4=6_300)
    made[2].facts.update(ends=[CLOSED], result="no", close_us=made[2].span_us(0)[1])
    return made


def uniform(rng: np.random.Generator, allowed: Bools) -> Ints:
    """Any action, denied or not."""
    return rng.integers(0, allowed.shape[1], len(allowed))


def permitted(rng: np.random.Generator, allowed: Bools) -> Ints:
    """Any action that is allowed."""
    chosen: Ints = np.where(allowed, rng.random(allowed.shape), -1.0).argmax(axis=1)
    return chosen


def patient(actions: ActionSet) -> Chooser:
    """Rather lets orders rest: mostly holds still, then sends what rests; now and then it does anything."""
    rests = np.array([action.op == ORDER and action.rest_us > 0 for action in actions.actions])

    def choose(rng: np.random.Generator, allowed: Bools) -> Ints:
        resting = allowed & rests
        sends = rng.random(len(allowed)) < 0.3
        wanted = np.where(resting.any(axis=1) & sends, permitted(rng, resting), 0)
        return np.where(rng.random(len(allowed)) < 0.1, uniform(rng, allowed), wanted)

    return choose


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A case: on what, by which rules, and by whose hand."""

    tapes: str = "random"
    model: FillModel = MODELS["queue"]
    latency: str = "none"
    fees: str = "fees"
    actions: str = "default"
    hand: str = "uniform"
    purse: int = 0
    every_us: int = 250_000
    seconds: int = 60
    seed: int = 0

    @property
    def chooser(self) -> Chooser:
        """Who chooses."""
        named = {"uniform": uniform, "permitted": permitted}
        return named.get(self.hand) or patient(action_set(self.actions))

    def assumptions(self, _: Tape) -> Assumptions:
        """The same for all tapes."""
        return Assumptions(model=self.model, latency=LATENCIES[self.latency], fees=FEES[self.fees])


def cases(seed: int) -> Iterator[Reference]:
    """Each hand on each set, on every kind of tape, by every fill model; the rest turns with them."""
    number = 0
    for tapes in TAPES:
        for model in MODELS.values():
            for actions in SETS:
                number += 1
                turn = np.random.default_rng([seed, number])
                yield Reference(
                    tapes=tapes,
                    model=model,
                    actions=actions,
                    latency=str(turn.choice(list(LATENCIES))),
                    fees=str(turn.choice(list(FEES))),
                    hand=str(turn.choice(HANDS)),
                    purse=int(turn.integers(len(PURSES))),
                    every_us=int(turn.choice([100_000, 250_000, 1_000_000])),
                    seed=seed,
                )


class _Drawn:
    """Remembers who was given which episode."""

    def __init__(self, episodes: Drawn) -> None:
        self._episodes = episodes
        self.given: dict[int, Episode] = {}

    def next(self, account: int, draw: np.random.Generator) -> Episode:
        self.given[account] = self._episodes.next(account, draw)
        return self.given[account]


@dataclass(slots=True)
class Tally:
    """What was compared, and what differed first."""

    steps: int = 0
    kernel_s: float = 0.0  # of CPU time that the batch took for them, its masks too
    plain_s: float = 0.0
    wrong: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)  # decisions by what happened: fills, denials, endings


class Pair:
    """A batch, and as many plain environments."""

    def __init__(self, case: Reference, count: int = 8, *, rows: int = 30, first: int = 0) -> None:
        tapes = tapes_named(case.tapes, seed=case.seed, seconds=case.seconds)
        shaping = {"inventory": 0.01, "turnover": 0.003} if case.purse else {}
        self.setup: Final = Setup(
            actions=action_set(case.actions),
            limits=PURSES[case.purse],
            ruin=0.9 if case.purse else 0.1,
            scale=0.37 if case.purse else 1.0,
            shaping=shaping,
        )
        dataset = build(tapes, case.assumptions, every_us=case.every_us)
        spans = spans_of(tapes, case.assumptions, case.every_us)
        assert [(span.rows, span.value) for span in dataset.spans] == [(span.rows, span.value) for span in spans]
        self._episodes = _Drawn(Drawn(dataset, rows))
        self.batch: Final = Batch(dataset, self.setup, self._episodes, count, seed=case.seed, first=first)
        self.plain: Final = [
            PlainEnv(spans, self.setup, every_us=case.every_us, seed=case.seed, number=first + n) for n in range(count)
        ]
        self._first = first
        self._choose: Final = case.chooser
        self._rng: Final = np.random.default_rng([case.seed, 77])
        self.tally: Final = Tally()
        self.batch.reset()
        for n in range(count):
            self._same(n, "observation", _bytes(self.batch.observations[n]), _bytes(self._begin(n)))

    def _begin(self, n: int) -> list[float]:
        return self.plain[n].reset(self._episodes.given[self._first + n])

    def step(self) -> None:
        """One decision of every account."""
        began = time.process_time()
        masks = self.batch.masks()
        chosen = self._choose(self._rng, masks)
        observations, rewards, finished = self.batch.step(chosen)
        self.tally.kernel_s += time.process_time() - began
        ended = {episode.account: episode for episode in finished}
        for n, env in enumerate(self.plain):
            self.tally.steps += 1
            began, volume = time.process_time(), env.simulator.volume
            mask, step = env.mask(), env.step(int(chosen[n]))
            self.tally.plain_s += time.process_time() - began
            self._same(n, "mask", masks[n].tolist(), mask)
            self.tally.seen["filled"] += env.simulator.volume > volume
            self._same(n, "reward", _bytes(rewards[n]), _bytes(step.reward))
            over = ended.get(n)
            self._same(n, "ending", over.ending if over else "", step.ending)
            self.tally.seen.update([step.ending or "goes on", REASONS.get(env.reason, "allowed")])
            if over is not None and step.ending:
                self._same(n, "last observation", _bytes(over.observation), _bytes(step.observation))
                self._same(n, "episode", _told(over), _told(env))
                self._same(n, "first observation", _bytes(observations[n]), _bytes(self._begin(n)))
            else:
                self._same(n, "observation", _bytes(observations[n]), _bytes(step.observation))
                self._same(n, "account", _account(self.batch, n), _plain_account(env))
                orders, others = _orders(self.batch, n), _plain_orders(env)
                self.tally.seen["resting"] += any(order[1] == k.RESTS for order in others)
                self.tally.seen["under way"] += any(order[1] == k.TRAVELS for order in others)
                self._same(n, "orders", orders, others)

    def _same(self, account: int, what: str, ours: object, plain: object) -> None:
        if ours != plain:
            env = self.plain[account]
            where = f"account {account}, {env.episode}, decision {env.row}, {what}"
            if isinstance(ours, bytes) and isinstance(plain, bytes):
                ours, plain = np.frombuffer(ours, np.float32), np.frombuffer(plain, np.float32)
                differ = np.flatnonzero(ours != plain)
                ours, plain = (
                    dict(zip(differ, ours[differ], strict=True)),
                    dict(zip(differ, plain[differ], strict=True)),
                )
            self.tally.wrong.append(f"{where}: kernel {ours}, plain {plain}")


def compare(case: Reference, decisions: int, count: int = 8) -> Tally:
    """Let a case run for so many decisions of `count` accounts, or until something differs."""
    pair = Pair(case, count)
    for _ in range(decisions):
        pair.step()
        if pair.tally.wrong:
            break
    return pair.tally


def _bytes(values: Any) -> bytes:
    """As float32."""
    return np.asarray(values, np.float32).tobytes()


def _told(episode: Finished | PlainEnv) -> tuple[object, ...]:
    """What an episode came to."""
    if isinstance(episode, Finished):
        money = (episode.equity, episode.fees, episode.volume, episode.fall)
        return (*money, episode.steps, episode.sent, episode.denied, episode.reward)
    money = (episode.equity, episode.simulator.fees, episode.simulator.volume, episode.fall)
    return (*money, episode.steps, episode.sent, episode.denied, episode.rewards)


_MONEY: Final = [k.CASH, k.POSITION, k.FEES, k.RESERVED, k.VOLUME, k.PLACED, k.NOW]
_SEAT: Final = [stepping.EQUITY, stepping.PEAK, stepping.FALL, stepping.STEPS, stepping.SENT, stepping.DENIED]
_ORDER: Final = [
    k.ID, k.STATUS, k.SIDE, k.COL, k.SIZE, k.LEFT, k.AHEAD, k.OPEN, k.RESERVE, k.NOTIONAL, k.FEE, k.CARRIED, k.FIRST,
    k.LAST, k.SENT_AT, k.RESTED, k.REASON, k.EXPIRES, k.CANCELS, k.ARRIVES, k.FLAGS,
]  # fmt: skip


def _account(batch: Batch, n: int) -> list[Any]:
    seat = batch.desk.seat[n]
    return [
        *batch.state.account[n, _MONEY].tolist(),
        *seat[[*_SEAT, stepping.REASON]].tolist(),
        float(batch.state.activity[n]),
    ]


def _plain_account(env: PlainEnv) -> list[Any]:
    plain = env.simulator
    return [
        plain.cash, plain.position, plain.fees, plain.reserved, plain.volume, plain.placed, plain.now,
        env.equity, env.peak, env.fall, env.steps, env.sent, env.denied, env.reason,
        plain.activity,
    ]  # fmt: skip


def _orders(batch: Batch, n: int) -> list[list[Any]]:
    """Of each slot that was ever used."""
    orders = batch.state.orders[n][:, _ORDER].tolist()
    chances = batch.state.chance[n].tolist()
    return [
        [*order, *(chance if order[1] == k.RESTS else (0.0, 0.0))]
        for order, chance in zip(orders, chances, strict=True)
        if order[1] != k.FREE
    ]


def _plain_orders(env: PlainEnv) -> list[list[Any]]:
    return [
        [
            o.number, o.status, o.side, o.col, o.size, o.left, o.ahead, o.opens, o.reserve, o.notional, o.fee,
            o.fees.carried, o.first_us, o.last_us, o.sent_us, o.rested_us, o.reason, o.expires, o.cancels, o.arrives,
            o.flags, *((o.lived, o.lives) if o.status == k.RESTS else (0.0, 0.0)),
        ]
        for o in env.simulator.slots
        if o is not None
    ]  # fmt: skip
