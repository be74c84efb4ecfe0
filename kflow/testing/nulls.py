"""Is an edge told where there is none, and found where there is one? Policies and markets of their own to ask that.

Each policy plays tapes that no other sees, so that their p-values are independent. Orders arrive at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.evaluate.contestants import Contestant
from kflow.evaluate.held import hold_out
from kflow.evaluate.inference import Estimate, estimate
from kflow.evaluate.run import play
from kflow.evaluate.series import Events, events_of
from kflow.policy.actions import action_set
from kflow.policy.features import FEATURES
from kflow.replay.tapes import fees_of
from kflow.rl.batch import Setup
from kflow.rl.worlds import fair
from kflow.sim.fills import MODELS, NO_LATENCY, Assumptions
from kflow.sim.tape import Tape
from kflow.units import CONTRACT, DOLLAR

SECONDS: Final = 60
EVERY_US: Final = 500_000
_SETS: Final = ("default", "wide", "maker")
_SCALES: Final = (0.3, 1.0, 3.0, 10.0)
_HIDDEN: Final = 16
# Apart from all others' tapes.
_SEED: Final = 80_000_000

NULL: Final = {"half_spread": 0, "fee_multiplier": 0}
COSTS: Final[dict[str, int]] = {}


def _assume(tape: Tape) -> Assumptions:
    return Assumptions(latency=NO_LATENCY, fees=fees_of(tape)[0])


def random_policy(number: int) -> Contestant:
    """One of a row of networks with a hidden layer: three sets of actions, four scales of weights.

    Every other one draws its actions by their chances, the others take the likeliest.
    """
    rng = np.random.default_rng([80, number])
    actions = action_set(_SETS[number % 3])
    scale = _SCALES[number // 3 % 4]
    one = rng.standard_normal((len(FEATURES) + 1, _HIDDEN)) * scale
    two = rng.standard_normal((_HIDDEN + 1, len(actions.actions))) * scale
    draws = bool(number // 12 % 2)

    def decide(seen: NDArray[np.float32], _: NDArray[np.bool_], dice: NDArray[np.float64]) -> NDArray[np.int64]:
        logits = np.tanh(seen @ one[:-1] + one[-1]) @ two[:-1] + two[-1]
        if not draws:
            likeliest: NDArray[np.int64] = logits.argmax(axis=1)
            return likeliest
        chances = np.cumsum(np.exp(logits - logits.max(axis=1, keepdims=True)), axis=1)
        drawn: NDArray[np.int64] = (chances < dice[:, None] * chances[:, -1:]).sum(axis=1)
        return drawn

    name = f"network {number}"
    return Contestant(
        name=name, kind="baseline", about="random", setup=Setup(actions=actions), decide=decide, draws=draws
    )


def buyer(contracts: int = 50) -> Contestant:
    """Buys YES once and holds it."""
    actions = action_set("default", [contracts * CONTRACT])
    held = [feature.name for feature in FEATURES].index("position")

    def decide(seen: NDArray[np.float32], _: NDArray[np.bool_], __: NDArray[np.float64]) -> NDArray[np.int64]:
        return (seen[:, held] <= 0).astype(np.int64)

    return Contestant(
        name="buyer", kind="baseline", about="buys and holds", setup=Setup(actions=actions), decide=decide
    )


def tapes_of(number: int, count: int, options: dict[str, Any], *, bias: float | None = None) -> list[Tape]:
    """The `number`th policy's own markets of `worlds.fair`.

    bias: results are drawn anew, YES with so much more than the chance that the market knows; None: as they are.
    """
    first = _SEED + number * 10_000
    if bias is None:
        return [fair(first + n, seconds=SECONDS, **options) for n in range(count)]
    rng = np.random.default_rng([81, number])
    tapes = [fair(first + n, seconds=SECONDS, pays_value=True, **options) for n in range(count)]
    return [_drawn(tape, rng.random() < tape.facts["settlement_value_e4"] / DOLLAR + bias) for tape in tapes]


def _drawn(tape: Tape, yes: bool) -> Tape:
    value = int(DOLLAR) if yes else 0
    return replace(tape, facts={**tape.facts, "result": "yes" if yes else "no", "settlement_value_e4": value})


def events(contestant: Contestant, tapes: Sequence[Tape]) -> Events:
    """What it comes to, each tape an event."""
    held = hold_out(tapes, _assume, every_us=EVERY_US)
    held = held.of_events({market.event for market in held.markets}, SECONDS * 1_000_000 // EVERY_US)
    return events_of(play(contestant, held, MODELS["queue"], seeds=[0]), held.markets)


def p_values(count: int, markets: int, options: dict[str, Any], pool: Callable[..., Any] = map) -> NDArray[np.float64]:
    """[count] p of random policies that trade, each on markets of its own, the first of the row; `pool` maps."""
    found: list[float] = []
    number = 0
    while len(found) < count:
        jobs = [(one, markets, options) for one in range(number, number + 2 * (count - len(found)))]
        number += len(jobs)
        found += [one.p for one in pool(judged, jobs) if one.p is not None and one.high != 0]
    return np.array(found[:count])


def judged(job: tuple[int, int, dict[str, Any]]) -> Estimate:
    """One random policy's estimate."""
    number, markets, options = job
    found = events(random_policy(number), tapes_of(number, markets, options))
    return estimate(found.profit, found.stakes, found.prizes)
