"""Hand-written policies do what their words say, one account or many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kflow.errors import UsageError
from kflow.policy.features import FEATURES
from kflow.policy.strategies import STRATEGIES, Strategy, strategy_named

TEN = 1_000
NAMES = [feature.name for feature in FEATURES]
NO_ORDERS = {"yes_distance": 1.0, "no_distance": 1.0}


def seen(**values: float) -> np.ndarray:
    """One observation [1, F]: flat, no orders, mid 50 ¢, both sides quote; but for `values`."""
    row = np.zeros((1, len(FEATURES)), np.float32)
    for name, value in {"mid": 0.5, **NO_ORDERS, **values}.items():
        row[0, NAMES.index(name)] = value
    return row


def chosen(strategy: Strategy, observation: np.ndarray, *, denied: tuple[str, ...] = (), draw: float = 0.5) -> str:
    """The name of what it does, where all but `denied` is allowed."""
    names = [action.name for action in strategy.actions.actions]
    mask = np.array([[not any(name.startswith(word) for word in denied) for name in names]])
    return names[int(strategy.decide(observation, mask, np.array([draw]))[0])]


def test_hold_never_does_anything() -> None:
    assert {chosen(strategy_named("hold", TEN), seen(position=p)) for p in (-1, 0, 1)} == {"HOLD"}


def test_random_acts_once_in_forty_decisions_and_as_often_this_as_that() -> None:
    strategy = strategy_named("random", TEN)
    draws = (np.arange(40_000) + 0.5) / 40_000
    masks = np.tile([True, True, True, False, True], (40_000, 1))
    actions = np.bincount(strategy.decide(np.repeat(seen(), 40_000, axis=0), masks, draws), minlength=5)
    assert actions[3] == 0
    assert actions[1:].sum() == 1_000
    assert np.ptp(actions[[1, 2, 4]]) <= 1


def test_random_holds_where_nothing_is_allowed() -> None:
    assert chosen(strategy_named("random", TEN), seen(), denied=("BUY", "SELL"), draw=0.001) == "HOLD"


@pytest.mark.parametrize(
    ("position", "draw", "action"),
    [
        (0.0, 0.01, "BUY_YES 10"),
        (0.0, 0.04, "BUY_NO 10"),
        (0.1, 0.01, "SELL_YES 10"),
        (-0.1, 0.04, "SELL_NO 10"),
        (0.1, 0.06, "HOLD"),
    ],
)
def test_cross_goes_in_and_out_again(position: float, draw: float, action: str) -> None:
    assert chosen(strategy_named("cross", TEN), seen(position=position), draw=draw) == action


@pytest.mark.parametrize("name", ["join", "skewed"])
def test_makers_quote_one_side_then_the_other_then_wait(name: str) -> None:
    maker = strategy_named(name, TEN)
    assert chosen(maker, seen()) == "BUY_YES_PASSIVE 10"
    assert chosen(maker, seen(yes_open=0.1, yes_distance=0.0)) == "BUY_NO_PASSIVE 10"
    both = {"yes_open": 0.1, "yes_distance": 0.0, "no_open": 0.1, "no_distance": 0.0}
    assert chosen(maker, seen(**both)) == "HOLD"


@pytest.mark.parametrize("away", ["yes_distance", "no_distance"])
@pytest.mark.parametrize("cents", [0.1, 1.0])
def test_makers_follow_the_touch(away: str, cents: float) -> None:
    both = {"yes_open": 0.1, "yes_distance": 0.0, "no_open": 0.1, "no_distance": 0.0, away: cents / 5}
    assert chosen(strategy_named("join", TEN), seen(**both)) == "CANCEL_ALL"


def test_makers_do_not_quote_a_one_sided_book() -> None:
    assert chosen(strategy_named("join", TEN), seen(sides=1.0)) == "HOLD"


def test_the_skewed_maker_only_reduces_what_is_large() -> None:
    skewed, join = strategy_named("skewed", TEN), strategy_named("join", TEN)
    assert chosen(skewed, seen(position=0.3)) == "BUY_NO_PASSIVE 10"
    assert chosen(skewed, seen(position=-0.3)) == "BUY_YES_PASSIVE 10"
    assert chosen(skewed, seen(position=0.3, yes_open=0.1, yes_distance=0.0)) == "CANCEL_ALL"
    assert chosen(join, seen(position=0.3)) == "BUY_YES_PASSIVE 10"


def test_the_favourite_is_bought_once() -> None:
    favourite = strategy_named("favourite", TEN)
    assert chosen(favourite, seen(mid=0.7)) == "BUY_YES 10"
    assert chosen(favourite, seen(mid=0.3)) == "BUY_NO 10"
    assert chosen(favourite, seen(mid=0.55)) == "HOLD"
    assert chosen(favourite, seen(mid=0.7, position=0.02)) == "HOLD"
    assert chosen(favourite, seen(mid=0.7, yes_open=0.1)) == "HOLD"


@pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)
def test_an_account_does_the_same_alone_and_among_others(make: Callable[[int], Strategy]) -> None:
    strategy, draw = make(TEN), np.random.default_rng(1)
    many = draw.uniform(-1, 1, (64, len(FEATURES))).astype(np.float32)
    masks = draw.random((64, len(strategy.actions.actions))) < 0.7
    masks[:, 0] = True
    draws = draw.random(64) * 0.1
    together = strategy.decide(many, masks, draws)
    alone = [strategy.decide(many[n : n + 1], masks[n : n + 1], draws[n : n + 1])[0] for n in range(64)]
    assert together.tolist() == alone
    assert masks[np.arange(64), together].all()


def test_a_strategy_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="no strategy clever"):
        strategy_named("clever", TEN)
