"""Policies with chances that nobody trained, on made-up markets: logs of them, and what the kernel itself pays them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from kflow.evaluate.offpolicy.log import Account, Card, Drawn, Log, Traded
from kflow.evaluate.offpolicy.record import record
from kflow.evaluate.offpolicy.soft import Soft
from kflow.policy.actions import action_set
from kflow.policy.bundle import Actions, Features
from kflow.policy.features import FEATURES, SCHEMA
from kflow.policy.network import Layout, Network
from kflow.replay.tapes import fees_of
from kflow.rl.batch import Setup
from kflow.rl.dataset import Dataset, build
from kflow.rl.episodes import Episode, cut
from kflow.sim.accounts import Limits
from kflow.sim.fills import MODELS, NO_LATENCY, Assumptions, FillModel, Latency
from kflow.sim.tape import Tape
from kflow.units import CONTRACT, Money, Size

FIVE: Final = Size(5 * CONTRACT)
LIMITS: Final = Limits(cash=Money(1_000 * 1_000_000), max_position=Size(20 * CONTRACT), max_order=FIVE, orders=4)


@dataclass(frozen=True)
class Ground:
    """Markets cut into short episodes, and how orders are filled there."""

    dataset: Dataset
    episodes: Sequence[Episode]
    setup: Setup
    fills: FillModel
    latency: Latency


def ground(
    tapes: Sequence[Tape],
    *,
    actions: str = "default",
    every_us: int = 1_000_000,
    rows: int = 20,
    fills: str = "queue",
    latency: Latency = NO_LATENCY,
) -> Ground:
    """Tapes in episodes of `rows` decisions, with orders of five contracts."""
    model = MODELS[fills]

    def assume(tape: Tape) -> Assumptions:
        return Assumptions(model=model, latency=latency, fees=fees_of(tape)[0])

    dataset = build(tapes, assume, every_us=every_us)
    setup = Setup(actions=action_set(actions, (FIVE,)), limits=LIMITS)
    return Ground(dataset, cut(dataset, rows), setup, model, latency)


def random_policy(ground: Ground, seed: int, *, hold: float = 0.0, scale: float = 1.0) -> Network:
    """One layer of random weights; `hold` on top of the logit of doing nothing."""
    actions = len(ground.setup.actions.actions)
    layout = Layout(observation=len(FEATURES), actions=actions, policy=(), value=())
    arrays = {name: np.zeros(shape, np.float32) for name, shape in layout.shapes().items()}
    weight = np.random.default_rng(seed).normal(size=(actions, len(FEATURES))) * scale / math.sqrt(len(FEATURES))
    arrays["policy.0.weight"] = weight.astype(np.float32)
    arrays["policy.0.bias"][0] = hold
    return Network(layout, arrays)


def moved(network: Network, other: Network, by: float) -> Network:
    """The same, `by` times the weights of another on top."""
    return Network(
        network.layout,
        {name: (array + by * other.arrays[name]).astype(np.float32) for name, array in network.arrays.items()},
    )


def logged(policy: Soft, ground: Ground, seed: int) -> Log:
    """Each episode once, drawn by `seed`."""
    dataset, setup = ground.dataset, ground.setup
    limits, spans = setup.limits, dataset.spans
    decisions, episodes = record(policy, dataset, setup, ground.episodes, range(len(spans)), seed=seed)
    card = Card(
        kflow_version="0.1.0",
        created=datetime(2026, 1, 2, tzinfo=UTC),
        command=("kflow", "offpolicy", "log"),
        policy=Drawn(model="old:1", sha256="0" * 64, seed=seed, **policy.told()),
        actions=Actions(name=setup.actions.name, sizes_e2=setup.actions.sizes),
        features=Features(schema=SCHEMA, names=tuple(feature.name for feature in FEATURES)),
        every_us=dataset.every_us,
        account=Account(
            cash=limits.cash,
            max_position=limits.max_position,
            max_order=limits.max_order,
            orders=limits.orders,
            ruin=setup.ruin,
        ),
        fills=ground.fills,
        latency=ground.latency,
        markets=tuple(Traded(**{name: getattr(span, name) for name in Traded.__struct_fields__}) for span in spans),
    )
    return Log(card, decisions, episodes)


def on_policy(policy: Soft, ground: Ground, seeds: Sequence[int]) -> float:
    """Dollars per episode that the kernel itself pays the policy, the mean over seeds."""
    return float(np.mean([logged(policy, ground, seed).returns.mean() for seed in seeds]))
