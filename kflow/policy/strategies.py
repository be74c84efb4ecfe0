"""Hand-written policies, by name: baselines that every result is shown beside, and the first that an actor can run.

They see what a network sees (`features.FEATURES`) and answer with a number of their action set, so that one loop plays
either. All accounts of a call at once: observations [N, F] float32, masks [N, A], draws [N] uniform in (0, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.policy.actions import ActionSet, action_set
from kflow.policy.features import FEATURES

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Decide = Callable[[F32, Booleans, F64], I64]

_AT: Final = {feature.name: column for column, feature in enumerate(FEATURES)}
# Between two actions of those that would else act at every decision: as many as ten seconds have at the usual 250 ms.
_SELDOM: Final = 1 / 40
# A side that is priced at least so high is the favourite.
_FAVOURITE: Final = 0.6
# Share of the largest position from which on the skewed maker only reduces.
_LEANS: Final = 0.2
# An own order is at the touch where it is nearer to it than half of the smallest tick; the feature counts in 5 cents.
_NEAR: Final = 0.01


@dataclass(frozen=True, slots=True)
class Strategy:
    """A policy. `masked`: it asks which actions are allowed; `draws`: it throws dice."""

    name: str
    about: str
    actions: ActionSet
    decide: Decide
    masked: bool = True
    draws: bool = False


def _seen(observations: F32, name: str) -> F32:
    column: F32 = observations[:, _AT[name]]
    return column


def _number(actions: ActionSet, name: str) -> int:
    return [action.name for action in actions.actions].index(name)


def _first_allowed(masks: Booleans, wishes: list[tuple[Booleans, int]]) -> I64:
    """The first wish of each account that it has and that is allowed; else it holds."""
    chosen = np.zeros(len(masks), np.int64)
    for wanted, action in reversed(wishes):
        chosen = np.where(wanted & masks[:, action], action, chosen)
    return chosen


def hold(_size: int) -> Strategy:
    """Never trades, and so never earns nor loses."""
    return Strategy(
        "hold",
        "never trades",
        action_set("default", [_size]),
        lambda observations, _masks, _draws: np.zeros(len(observations), np.int64),
        masked=False,
    )


def random(size: int) -> Strategy:
    """Takes at random."""
    actions = action_set("default", [size])

    def decide(_observations: F32, masks: Booleans, draws: F64) -> I64:
        # One draw serves twice: whether to act, and with what is left of it, as what.
        count = masks[:, 1:].sum(axis=1)
        place = (draws / _SELDOM * count).astype(np.int64)
        order = np.argsort(~masks[:, 1:], axis=1, kind="stable")
        picked = order[np.arange(len(masks)), np.minimum(place, np.maximum(count - 1, 0))] + 1
        return np.where((draws < _SELDOM) & (count > 0), picked, 0)

    return Strategy("random", "takes at random, every 40 decisions in the mean", actions, decide, draws=True)


def cross(size: int) -> Strategy:
    """Crosses the spread in and out again, a side at random."""
    actions = action_set("default", [size])
    buy_yes, sell_yes, buy_no, sell_no = (
        _number(actions, f"{kind} {size / 100:g}") for kind in ("BUY_YES", "SELL_YES", "BUY_NO", "SELL_NO")
    )

    def decide(observations: F32, masks: Booleans, draws: F64) -> I64:
        held = _seen(observations, "position")
        acts = draws < 2 * _SELDOM
        return _first_allowed(
            masks,
            [
                (acts & (held > 0), sell_yes),
                (acts & (held < 0), sell_no),
                (draws < _SELDOM, buy_yes),
                (acts, buy_no),
            ],
        )

    return Strategy("cross", "pays the spread in and out, every 20 decisions in the mean", actions, decide, draws=True)


def _maker(name: str, about: str, size: int, leans: float) -> Strategy:
    actions = action_set("wide", [size])
    buy_yes, buy_no = (_number(actions, f"{kind}_PASSIVE {size / 100:g}") for kind in ("BUY_YES", "BUY_NO"))
    cancel = _number(actions, "CANCEL_ALL")

    def decide(observations: F32, masks: Booleans, _draws: F64) -> I64:
        held = _seen(observations, "position")
        quoted = _seen(observations, "sides") == 0
        yes, no = _seen(observations, "yes_open") > 0, _seen(observations, "no_open") > 0
        left_behind = yes & (np.abs(_seen(observations, "yes_distance")) > _NEAR)
        left_behind |= no & (np.abs(_seen(observations, "no_distance")) > _NEAR)
        wants_yes, wants_no = quoted & (held < leans), quoted & (held > -leans)
        unwanted = (yes & ~wants_yes) | (no & ~wants_no)
        return _first_allowed(
            masks,
            [
                (left_behind | unwanted, cancel),
                (wants_yes & ~yes, buy_yes),
                (wants_no & ~no, buy_no),
            ],
        )

    return Strategy(name, about, actions, decide)


def join(size: int) -> Strategy:
    """Quotes both sides at the touch, and follows it."""
    return _maker("join", "rests at the touch on both sides and follows it", size, leans=2.0)


def skewed(size: int) -> Strategy:
    """The same, but beyond a fifth of the largest position it quotes only what reduces it."""
    return _maker("skewed", "the same, but only reduces beyond a fifth of the largest position", size, leans=_LEANS)


def favourite(size: int) -> Strategy:
    """Buys the side that is priced above 60 ¢, once, and holds it."""
    actions = action_set("default", [size])
    buy_yes, buy_no = (_number(actions, f"{kind} {size / 100:g}") for kind in ("BUY_YES", "BUY_NO"))

    def decide(observations: F32, masks: Booleans, _draws: F64) -> I64:
        mid = _seen(observations, "mid")
        free = (_seen(observations, "position") == 0) & (_seen(observations, "sides") == 0)
        free &= (_seen(observations, "yes_open") == 0) & (_seen(observations, "no_open") == 0)
        return _first_allowed(masks, [(free & (mid >= _FAVOURITE), buy_yes), (free & (mid <= 1 - _FAVOURITE), buy_no)])

    return Strategy("favourite", "buys the side above 60 ¢ once, and holds it", actions, decide)


STRATEGIES: Final[Mapping[str, Callable[[int], Strategy]]] = {
    "hold": hold,
    "random": random,
    "cross": cross,
    "join": join,
    "skewed": skewed,
    "favourite": favourite,
}


def strategy_named(name: str, size: int) -> Strategy:
    """`size`: 1e-2 contract, of every order. Raises UsageError for a name that there is not."""
    if name not in STRATEGIES:
        raise UsageError(f"there is no strategy {name}", hint=f"choose one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name](size)
