"""What an environment may be given by its maker, and the accounts that become of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kflow.errors import UsageError
from kflow.policy.actions import SIZES, ActionSet, action_set
from kflow.replay.tapes import Shelf, fees_of
from kflow.rl.batch import LIMITS, Batch, Setup
from kflow.rl.dataset import Dataset, build
from kflow.rl.episodes import Drawn
from kflow.rl.worlds import make_tapes
from kflow.sim.assume import parse_latency
from kflow.sim.fills import Assumptions, model_named
from kflow.sim.tape import Tape
from kflow.store.folders import data_dir
from kflow.units import CONTRACT, Money, Size

_UNITS: Final = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
# Markets of a world that is played where nothing else is given: made within a second.
_MARKETS: Final = 8
_WORLD: Final = "reverting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Keyword arguments of `gymnasium.make("kflow/KalshiMarket-v0", ...)`; all may be left out.

    What is traded on is one of: dataset, packed already; tapes; files, recordings and folders of some; world, a
    made-up market by name (reverting, where none of them is given).
    """

    dataset: Dataset | None = None
    tapes: Sequence[Tape] | None = None
    files: Sequence[str | Path] | None = None
    world: str | None = None
    # Of a world: how many markets of it, and from which seed.
    markets: int = _MARKETS
    world_seed: int = 0
    # Between two decisions, and of an episode at most: "250ms", "15m", or seconds.
    every: str | float = "250ms"
    episode: str | float = "15m"
    # As `kflow simulate` reads --model and --latency. A dataset brings its own, and its own `every`.
    fills: str = "queue"
    latency: str = "home"
    # Either a Setup, or what of it is not as it is by default: dollars, contracts.
    setup: Setup | None = None
    actions: str | ActionSet = "default"
    sizes: Sequence[float] | None = None
    cash: float | None = None
    max_position: float | None = None
    max_order: float | None = None
    orders: int | None = None
    ruin: float | None = None
    scale: float | None = None
    shaping: dict[str, float] | None = None


def open_batch(given: Given, count: int, *, again: bool = False) -> Batch:
    """Accounts on what is given. `again`: they begin the next episode by themselves; else they stay where one ends.

    Raises UsageError, and what reading raises.
    """
    named = [name for name in ("dataset", "tapes", "files", "world") if getattr(given, name) is not None]
    if len(named) > 1:
        raise UsageError(f"{named[0]} and {named[1]} both say what is traded on", hint="give one of them")
    data = given.dataset if given.dataset is not None else _build(given)
    rows = microseconds(given.episode) // data.every_us
    return Batch(data, _setup(given), Drawn(data, rows), count, again=again)


def _build(given: Given) -> Dataset:
    model, latency = model_named(given.fills), parse_latency(given.latency)

    def assume(tape: Tape) -> Assumptions:
        return Assumptions(model=model, latency=latency, fees=fees_of(tape)[0])

    return build(_tapes(given), assume, every_us=microseconds(given.every))


def _tapes(given: Given) -> Sequence[Tape]:
    if given.tapes is not None:
        return given.tapes
    if given.files is not None:
        return Shelf(data_dir() / "tapes").of_files([Path(file) for file in given.files])
    return make_tapes(given.world or _WORLD, given.markets, seed=given.world_seed)


def _setup(given: Given) -> Setup:
    parts = ("sizes", "cash", "max_position", "max_order", "orders", "ruin", "scale", "shaping")
    named = [name for name in parts if getattr(given, name) is not None]
    if given.setup is not None:
        if named:
            raise UsageError(f"a setup says what {named[0]} is already", hint="give one of them")
        return given.setup
    limits: dict[str, Any] = {
        "cash": None if given.cash is None else Money(round(given.cash * 1e6)),
        "max_position": None if given.max_position is None else _contracts(given.max_position),
        "max_order": None if given.max_order is None else _contracts(given.max_order),
        "orders": given.orders,
    }
    rest: dict[str, Any] = {"ruin": given.ruin, "scale": given.scale, "shaping": given.shaping}
    return Setup(actions=_actions(given), limits=replace(LIMITS, **_chosen(limits)), **_chosen(rest))


def _actions(given: Given) -> ActionSet:
    if isinstance(given.actions, ActionSet):
        return given.actions
    sizes = SIZES if given.sizes is None else [_contracts(size) for size in given.sizes]
    return action_set(given.actions, sizes)


def _chosen(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are not left to their defaults."""
    return {name: value for name, value in parts.items() if value is not None}


def _contracts(contracts: float) -> Size:
    return Size(round(contracts * CONTRACT))


def microseconds(duration: str | float) -> int:
    """Of "250ms", "15m", "1.5h", or a number of seconds. Raises UsageError for what is none."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(us|ms|s|m|h)?", str(duration), re.ASCII)
    if found is None:
        raise UsageError(f"{duration!r} is no duration", hint="250ms, 15m, 1.5h, or a number of seconds")
    return round(float(found[1]) * _UNITS[found[2] or "s"])
