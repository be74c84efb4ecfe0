"""Training on the made-up markets whose optimum is known: how much of it a policy earns, after how many steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from kflow.rl import heldout
from kflow.rl.batch import Batch, Setup
from kflow.rl.dataset import Dataset, build
from kflow.rl.env import spaces_of
from kflow.rl.episodes import Drawn, cut
from kflow.rl.export import network_of
from kflow.rl.learner import new_model
from kflow.rl.oracles import ORDERS, Terms
from kflow.rl.plan import Plan, Source
from kflow.rl.presets import hyper_of, preset_named
from kflow.rl.vec import KalshiVecEnv
from kflow.rl.worlds import make_tapes, world_named
from kflow.sim.fills import NO_LATENCY
from kflow.testing.plain_env import PlainEnv, spans_of
from kflow.units import Money

# The optima's: orders of 5 contracts, positions of up to 20, a decision every 250 ms for 900 s.
TERMS: Final = Terms()
# Each world with the actions that its optimum is made of.
LESSONS: Final[Mapping[str, str]] = {"dollar": "default", "reverting": "default", "maker": "maker"}
_CASH: Final = Money(10_000 * 1_000_000)
# Trained on a minute at a time, judged on whole markets.
_EPISODE_US: Final = 60_000_000
_TRAIN_SEED, _HELD_SEED = 1, 999
_TRAIN, _HELD = 60, 32


class Point(NamedTuple):
    """`cpu_s`: of training alone. `share`: of the optimum, earned greedily on markets that are not trained on."""

    steps: int
    cpu_s: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A world, an algorithm with a preset's hyper-parameters, and what is changed of them."""

    world: str
    algorithm: str = "ppo"
    envs: int | None = None
    changes: tuple[tuple[str, str], ...] = ()

    def plan(self, seed: int) -> Plan:
        """As `kflow train` has it."""
        return Plan(
            algorithm=self.algorithm,
            hyper=hyper_of(self.algorithm, "kflow", dict(self.changes)),
            envs=self.envs or preset_named(self.algorithm, "kflow").envs,
            seed=seed,
            source=Source(world=self.world),
            actions=LESSONS[self.world],
            sizes=(int(TERMS.order),),
            cash=int(_CASH),
            max_position=int(TERMS.max_position),
            max_order=int(TERMS.order),
            orders=ORDERS,
            episode_us=_EPISODE_US,
            latency=NO_LATENCY,
        )


@cache
def markets(world: str, *, held: bool = False) -> Dataset:
    """To train on, or to be judged on."""
    tapes = make_tapes(world, _HELD if held else _TRAIN, seed=_HELD_SEED if held else _TRAIN_SEED)
    return build(tapes, Lesson(world=world).plan(0).assume)


def share(model: Any, world: str, setup: Setup) -> float:
    """What part of the optimum a model earns on markets that are held out."""
    held = markets(world, held=True)
    done = heldout.play(network_of(model), held, setup, cut(held, TERMS.steps), masked=False)
    return heldout.score(done, held).profit * 1e6 / world_named(world).optimum(TERMS)


class _Judge(BaseCallback):
    """Looks between two rollouts, on time that does not count."""

    def __init__(self, lesson: Lesson, setup: Setup, every: int, enough: float | None) -> None:
        super().__init__()
        self._lesson, self._setup, self._every, self._enough = lesson, setup, every, enough
        self.points: list[Point] = []
        self._spent, self._since = 0.0, time.process_time()

    def look(self) -> None:
        self._spent += time.process_time() - self._since
        found = share(self.model, self._lesson.world, self._setup)
        self.points.append(Point(self.num_timesteps, self._spent, found))
        self._since = time.process_time()

    def _on_rollout_start(self) -> None:
        last = self.points[-1].steps if self.points else 0
        if self.num_timesteps - last >= self._every:
            self.look()

    def _on_step(self) -> bool:
        return not (self._enough and self.points and self.points[-1].share >= self._enough)


def learn(
    lesson: Lesson,
    seed: int,
    steps: int,
    *,
    every: int = 40_000,
    enough: float | None = None,
    make: Callable[[Plan], VecEnv] | None = None,
) -> tuple[list[Point], Any]:
    """Train for so many steps, or until a share is reached that is `enough`, judged every so often; and the model."""
    plan = lesson.plan(seed)
    plan.check()
    markets(lesson.world)
    env = (make or compiled)(plan)
    model = new_model(plan, env)
    judge = _Judge(lesson, plan.setup(), every, enough)
    model.learn(steps, callback=judge, log_interval=10**9)
    if not judge.points or judge.points[-1].steps < model.num_timesteps:
        judge.look()
    return judge.points, model


def reached(points: Sequence[Point], enough: float) -> Point | None:
    """The first point at which a share was reached."""
    return next((point for point in points if point.share >= enough), None)


def compiled(plan: Plan) -> KalshiVecEnv:
    """What `kflow train` trains on."""
    dataset = markets(str(plan.source.world))
    return KalshiVecEnv(Batch(dataset, plan.setup(), Drawn(dataset, plan.rows), plan.envs, seed=plan.seed))


class _Plain(gymnasium.Env[NDArray[np.float32], np.int64]):
    """The plain environment as SB3 takes it: the episodes that account `number` of a batch is given."""

    def __init__(self, plan: Plan, number: int) -> None:
        world = str(plan.source.world)
        dataset = markets(world)
        self._episodes, self._draw = Drawn(dataset, plan.rows), np.random.default_rng([plan.seed, number])
        self._number = number
        spans = spans_of(make_tapes(world, _TRAIN, seed=_TRAIN_SEED), plan.assume, plan.every_us)
        self._env = PlainEnv(spans, plan.setup(), every_us=plan.every_us, seed=plan.seed, number=number)
        one = Batch(dataset, plan.setup(), self._episodes, 1)
        self.observation_space, self.action_space = spaces_of(one)

    def reset(self, **_: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """SB3's seeds are not used: the plan's is."""
        return np.array(self._env.reset(self._episodes.next(self._number, self._draw)), np.float32), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        seen, reward, ending = self._env.step(int(action))
        return np.array(seen, np.float32), reward, ending in ("settled", "ruined"), ending == "cut", {}


def plain(plan: Plan) -> VecEnv:
    """The usual way: environments in plain Python, one after the other."""

    def make(number: int) -> Callable[[], _Plain]:
        return lambda: _Plain(plan, number)

    return DummyVecEnv([make(number) for number in range(plan.envs)])
