"""Small data sets that are soon played through, and random play on them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kflow.policy.actions import action_set
from kflow.replay.tapes import fees_of
from kflow.rl.batch import Batch, Setup
from kflow.rl.dataset import Dataset, build
from kflow.rl.episodes import Drawn
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import HOME, Assumptions
from kflow.sim.tape import Tape

SECONDS = 30
WIDE = Setup(actions=action_set("wide"))


@cache
def made(world: str = "reverting", markets: int = 3, seconds: int = SECONDS) -> Dataset:
    """Of a world, with latency, a decision every 250 ms."""
    return packed(tuple(make_tapes(world, markets, seed=7, seconds=seconds)))


def packed(tapes: tuple[Tape, ...]) -> Dataset:
    return build(tapes, lambda tape: Assumptions(latency=HOME, fees=fees_of(tape)[0]))


def without_result(tape: Tape) -> Tape:
    """The same market, of which nobody recorded how it ended."""
    return replace(tape, facts={**tape.facts, "result": None, "settlement_value_e4": None})


def batch(count: int, rows: int = 20, setup: Setup = WIDE, **options: Any) -> Batch:
    return Batch(made(), setup, Drawn(made(), rows), count, **options)


def random_actions(steps: int, count: int, seed: int = 3) -> NDArray[np.int64]:
    """[steps, count] of the wide set, half of them hold."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(WIDE.actions.actions), (steps, count))
    return np.where(rng.random((steps, count)) < 0.5, 0, chosen)


def action(setup: Setup, name: str) -> int:
    return [known.name for known in setup.actions.actions].index(name)
