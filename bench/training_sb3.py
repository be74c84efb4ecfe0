"""PPO of Stable-Baselines3 on the batch, on an environment of nothing, on plain ones: a part of bench/training.py."""

from __future__ import annotations

import gc
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from measure import repeats
from plain_gym import NullVecEnv, PlainGym
from simulate import Run, timed
from stable_baselines3.common.vec_env import DummyVecEnv

from kflow.policy.actions import action_set
from kflow.replay.tapes import fees_of
from kflow.rl.batch import Batch, Setup
from kflow.rl.dataset import EVERY_US, Dataset
from kflow.rl.episodes import Drawn
from kflow.rl.learner import new_model
from kflow.rl.plan import Plan, Source
from kflow.rl.presets import hyper_of, preset_named
from kflow.rl.vec import KalshiVecEnv
from kflow.sim.fills import HOME, Assumptions
from kflow.sim.tape import Tape

MARKETS, ROWS = 56, 3_600
Rounds = dict[str, list[Run]]


class Ratio(NamedTuple):
    """Of CPU rates, round by round."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.least:.3g} to {self.most:.3g})"


def assume(tape: Tape) -> Assumptions:
    return Assumptions(latency=HOME, fees=fees_of(tape)[0])


def in_turn(cases: Mapping[str, Callable[[], int]], count: int) -> Rounds:
    """Every case once to warm up, then `count` rounds, each beginning with another."""
    names = list(cases)
    for case in cases.values():
        case()
    rounds: Rounds = {name: [] for name in names}
    for turn in range(count):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            rounds[name].append(timed(cases[name]))
    return rounds


def ratio(rounds: Rounds, ours: str, theirs: str) -> Ratio:
    both = zip(rounds[ours], rounds[theirs], strict=True)
    each = [(mine.units / mine.cpu_s) / (other.units / other.cpu_s) for mine, other in both]
    return Ratio(statistics.median(each), min(each), max(each))


def plan(preset: str, envs: int | None = None) -> Plan:
    hyper = hyper_of("ppo", preset)
    count = envs or preset_named("ppo", preset).envs
    rollout = preset_named("ppo", preset).envs * int(hyper["n_steps"])
    return Plan(
        preset=preset, hyper={**hyper, "n_steps": rollout // count}, envs=count, source=Source(world="reverting"),
        sizes=action_set().sizes,
    )  # fmt: skip


def our_env(data: Dataset, envs: int) -> KalshiVecEnv:
    return KalshiVecEnv(Batch(data, Setup(), Drawn(data, ROWS), envs, seed=1))


class Learning:
    """PPO, some rollouts a round."""

    def __init__(self, env: Any, plan: Plan, rollouts: int = 1) -> None:
        self.model = new_model(plan, env)
        self._steps = rollouts * plan.envs * int(plan.hyper["n_steps"])

    def __call__(self) -> int:
        self.model.learn(self._steps, reset_num_timesteps=False)
        return self._steps


def learning(data: Dataset, tapes: list[Tape], options: Namespace) -> tuple[Rounds, dict[str, Any]]:
    """T2, and SB3 with plain environments. `older`: rollouts of 4,096, batches of 256, 10 epochs, 64x64 tanh."""
    older, kflow, eight = plan("older"), plan("kflow"), plan("older", 8)
    actions = len(action_set().actions)

    def plain(number: int) -> Callable[[], Any]:
        return lambda: PlainGym(tapes, assume, Setup(), EVERY_US, number)

    cases: dict[str, Callable[[], int]] = {
        "older": Learning(our_env(data, older.envs), older),
        "older, no env": Learning(NullVecEnv(older.envs, actions), older),
        "older, 8 of ours": Learning(our_env(data, 8), eight),
        "older, 8 plain": Learning(DummyVecEnv([plain(number) for number in range(8)]), eight),
        "kflow": Learning(our_env(data, kflow.envs), kflow),
        "kflow, no env": Learning(NullVecEnv(kflow.envs, actions), kflow),
    }
    rounds = in_turn(cases, max(repeats(options) // 2, 3))
    facts = {
        f"{ours} / {theirs}": ratio(rounds, ours, theirs)
        for ours, theirs in (
            ("older", "older, no env"),
            ("kflow", "kflow, no env"),
            ("older", "older, 8 plain"),
            ("older, 8 of ours", "older, 8 plain"),
        )
    }
    for name, found in facts.items():
        print(f"{name}: {found}")
    return {f"SB3: {case}": runs for case, runs in rounds.items()}, {n: r._asdict() for n, r in facts.items()}


def new_learner(actions: int) -> Any:
    """An untrained policy."""
    return new_model(plan("older"), NullVecEnv(64, actions))


@contextmanager
def watched(owner: Any, name: str, spent: dict[str, float], key: str) -> Iterator[None]:
    """Add up the CPU seconds of a method."""
    method = getattr(owner, name)

    def call(*given: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return method(*given, **named)
        finally:
            spent[key] = spent.get(key, 0.0) + time.process_time() - began

    setattr(owner, name, call)
    try:
        yield
    finally:
        setattr(owner, name, method)


def phases(data: Dataset, options: Namespace) -> dict[str, float]:
    """Shares of CPU time of PPO with the preset `kflow`."""
    made = plan("kflow")
    run = Learning(our_env(data, made.envs), made, 3 if options.quick else 12)
    run()
    model, spent = run.model, dict[str, float]()
    with (
        watched(model.env, "step_wait", spent, "environment"),
        watched(model.policy, "forward", spent, "policy forward"),
        watched(model.rollout_buffer, "add", spent, "rollout buffer"),
        watched(model.rollout_buffer, "compute_returns_and_advantage", spent, "GAE"),
        watched(model, "train", spent, "update"),
    ):
        whole = timed(run)
    spent["rest of collecting"] = whole.cpu_s - sum(spent.values())
    shares = {name: seconds / whole.cpu_s for name, seconds in spent.items()}
    print("PPO, kflow: " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    return shares


def million(data: Dataset) -> dict[str, float]:
    made = plan("kflow")
    model = new_model(made, our_env(data, made.envs))
    model.learn(8_192)
    run = timed(lambda: model.learn(1_000_000) and 1_000_000)
    print(f"a million steps of PPO, kflow: {run.wall_s:.1f} s, {run.cpu_s:.1f} s of CPU")
    return {"wall_s": run.wall_s, "cpu_s": run.cpu_s}
