"""Simulated orders earn what the same orders earned in the engine. The long form is bench/overestimation.py."""

from __future__ import annotations

import numpy as np
import pytest

from kflow.exchange.belief import Edge
from kflow.sim import kernel
from kflow.sim.fills import MODELS, FillModel
from kflow.testing.twice import GROUPS, STRATEGIES, Played, fitted, play, simulate

# Its takers know nothing: makers earn.
PLANTED = Edge(uninformed=1.0)


def markets(first: int, count: int) -> list[list[Played]]:
    seeds = range(first, first + count)
    return [[play(name, seed, edge=PLANTED, seconds=30) for name in GROUPS["makers"]] for seed in seeds]


@pytest.fixture(scope="module")
def judged() -> list[list[Played]]:
    return markets(0, 12)


@pytest.fixture(scope="module")
def calibrated() -> FillModel:
    """On markets of its own."""
    fit = fitted(markets(1_000_000, 8))
    return MODELS["queue"].fitted(fit.ahead, fit.power)


def overestimated(judged: list[list[Played]], model: FillModel) -> float:
    """Of the makers' true profit, as a share."""
    played = [one for market in judged for one in market]
    truth = sum([one.profit(one.fills) for one in played])
    assert truth > 0, "makers earn here"
    return sum([one.profit(simulate(one, model)) for one in played]) / truth - 1


def test_the_calibrated_queue_earns_what_makers_earned(judged: list[list[Played]], calibrated: FillModel) -> None:
    assert abs(overestimated(judged, calibrated)) < 0.1


def test_a_fill_at_the_touch_earns_far_more(judged: list[list[Played]], calibrated: FillModel) -> None:
    """Twice what there was to earn, about: queues are long, and trades small."""
    assert overestimated(judged, MODELS["touch"]) > 0.5


def test_the_truth_lies_within_the_band(judged: list[list[Played]]) -> None:
    pessimistic, optimistic = (overestimated(judged, MODELS[f"queue-{end}"]) for end in ("pessimistic", "optimistic"))
    assert pessimistic < 0 < optimistic


@pytest.mark.parametrize("name", STRATEGIES)
def test_orders_are_the_same_whatever_became_of_them(name: str) -> None:
    """Strategies do not look at their fills: else the simulated orders would not be those that they would send."""
    played = play(name, 3, edge=PLANTED, seconds=20)
    assert len(played.orders)
    assert np.all(played.filled(played.fills) <= played.orders[:, 3])
    open_until = np.where(played.orders[:, 4] & kernel.POST_ONLY, played.orders[:, 5], kernel.NEVER)
    assert np.all(played.fills.us <= open_until[played.fills.order])


@pytest.mark.parametrize("contracts", [100, 250])
def test_takers_get_what_they_took(contracts: int) -> None:
    """Larger orders walk, and the book that they meet is the engine's."""
    played = play(f"taker of {contracts}", 5, seconds=60)
    for model in ("queue", "touch"):
        fills = simulate(played, MODELS[model])
        assert played.filled(fills).tolist() == played.filled(played.fills).tolist()
        assert played.profit(fills) == pytest.approx(played.profit(played.fills), abs=0.01)
