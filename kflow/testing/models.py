"""Models that nobody trained, for tests of what carries, keeps and loads them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

import msgspec
import numpy as np

from kflow.policy.bundle import Actions, Facts, Features, Seen
from kflow.policy.network import Layout, Network

LAYOUT: Final = Layout(observation=3, actions=21, policy=(8, 8), value=(8,), activation="relu")
SCHEMA: Final = "abc123"


def untrained(layout: Layout = LAYOUT, seed: int = 0) -> Network:
    """A network with random weights, about as large as those that training begins with."""
    draw = np.random.default_rng(seed)
    arrays = {name: draw.normal(size=shape) / math.sqrt(shape[-1]) for name, shape in layout.shapes().items()}
    return Network(layout, {name: array.astype(np.float32) for name, array in arrays.items()})


def facts(**changes: object) -> Facts:
    """What the card of `untrained()` says; `changes` replace fields."""
    whole = Facts(
        name="ppo-1.5",
        version=1,
        algorithm="ppo",
        kflow_version="0.1.0",
        created=datetime(2026, 1, 2, tzinfo=UTC),
        actions=Actions(name="default", sizes_e2=(500, 1000, 2000, 5000, 10_000)),
        features=Features(schema=SCHEMA, names=("mid", "spread", "time")),
        decision_interval_us=250_000,
        limits={"max_order": 10_000},
        fill_model="queue",
        assumptions={"latency": "measured", "latency_us": 40_000, "share": 0.1, "fees": True},
        trained_on=(
            Seen(market="KXBTC-1", digest="d1", source="session 4", session=4),
            Seen(market="KXBTC-2", digest="d2", source="hour.jsonl"),
        ),
        seeds=(1, 2),
        metrics={"mean_return": 1e-05, "large": 1e23, "steps": 10**6, "note": None},
    )
    return msgspec.structs.replace(whole, **changes)
