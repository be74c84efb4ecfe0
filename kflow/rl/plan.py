"""All that decides what a training run comes to, as plain data: kept in its manifest, and enough to run it again."""

from __future__ import annotations

import msgspec

from kflow.errors import UsageError
from kflow.policy.actions import action_set
from kflow.replay.tapes import fees_of
from kflow.rl.batch import LIMITS, Setup
from kflow.rl.curriculum import KINDS
from kflow.rl.dataset import EVERY_US
from kflow.sim.accounts import Limits
from kflow.sim.fills import HOME, MODELS, Assumptions, FillModel, Latency
from kflow.sim.tape import Tape
from kflow.units import Money, Size


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where tapes come from: recorded sessions, files, or a made-up world."""

    sessions: str | None = None  # as typed: 1-40
    files: tuple[str, ...] = ()
    markets: tuple[str, ...] = ()
    read: str = "tables"  # of sessions: tables or journal
    world: str | None = None
    count: int = 0
    seed: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times µs, money 1e-6 dollar, sizes 1e-2 contract. `save_every`, `evaluate_every`: decisions."""

    algorithm: str = "ppo"
    preset: str = "kflow"
    hyper: dict[str, str | int | float | bool]
    envs: int = 64
    steps: int = 1_000_000
    seed: int = 0
    device: str = "cpu"
    source: Source
    held_out: Source | None = None  # None: the last events of `source` in time, `held_share` of them
    held_share: float = 0.2
    actions: str = "default"
    sizes: tuple[int, ...]
    cash: int = int(LIMITS.cash)
    max_position: int = int(LIMITS.max_position)
    max_order: int = int(LIMITS.max_order)
    orders: int = LIMITS.orders
    ruin: float = 0.1
    scale: float = 1.0
    shaping: dict[str, float] = {}
    every_us: int = EVERY_US
    episode_us: int = 900_000_000
    fills: FillModel = MODELS["queue"]
    latency: Latency = HOME
    calibration: str = "none"
    curriculum: str = "all"
    stages: int = 4
    save_every: int = 50_000
    evaluate_every: int = 100_000
    evaluate_episodes: int = 64
    patience: int = 0  # evaluations without a better one after which training ends; 0: never

    def setup(self) -> Setup:
        """The environment's. Raises UsageError for what cannot be."""
        limits = Limits(
            cash=Money(self.cash),
            max_position=Size(self.max_position),
            max_order=Size(self.max_order),
            orders=self.orders,
        )
        return Setup(
            actions=action_set(self.actions, self.sizes),
            limits=limits,
            ruin=self.ruin,
            scale=self.scale,
            shaping=self.shaping,
        )

    def assume(self, tape: Tape) -> Assumptions:
        """What fills on a tape rest on."""
        return Assumptions(model=self.fills, latency=self.latency, fees=fees_of(tape)[0])

    @property
    def rows(self) -> int:
        """Decisions of an episode at most."""
        return max(self.episode_us // self.every_us, 1)

    def check(self) -> None:
        """Raises UsageError for numbers that make no run."""
        if self.curriculum not in KINDS:
            raise UsageError(f"there is no curriculum {self.curriculum}", hint=f"choose {', '.join(KINDS)}")
        least = self.envs * int(self.hyper["n_steps"])
        for name, value in (("--steps", self.steps), ("--save-every", self.save_every)):
            if not 1 <= value <= 10**12:
                raise UsageError(f"{name} {value} is no number of decisions", hint=f"{name} {least}")
        if not 0 <= self.held_share < 1:
            raise UsageError(f"{self.held_share:g} of the events cannot be held out", hint="--holdout 0.2")
        if self.algorithm != "a2c" and least % int(self.hyper["batch_size"]):
            raise UsageError(
                f"a rollout of {least} decisions is no multiple of batches of {self.hyper['batch_size']}",
                hint="--set batch_size=…, --set n_steps=… or --envs",
            )
