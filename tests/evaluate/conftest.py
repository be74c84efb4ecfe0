"""Small made-up markets to be judged on."""

from __future__ import annotations

import pytest

from kflow.evaluate.held import Held, hold_out
from kflow.replay.tapes import fees_of
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import HOME, Assumptions, Latency


def held_of(world: str, markets: int, *, seconds: int = 60, rows: int = 120, latency: Latency = HOME) -> Held:
    """Every episode of so many markets of a world."""
    tapes = make_tapes(world, markets, seed=3, seconds=seconds)
    held = hold_out(tapes, lambda tape: Assumptions(latency=latency, fees=fees_of(tape)[0]), every_us=250_000)
    return held.of_events({span.event for span in held.dataset.spans}, rows)


@pytest.fixture(scope="session")
def fair() -> Held:
    """Six markets of a minute: twelve episodes, of which six end in a settlement."""
    return held_of("fair", 6)
