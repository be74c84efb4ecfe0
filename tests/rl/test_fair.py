"""On markets where nobody can win nobody does: the short form of bench/cheat.py, and the fair markets it needs.

A family of tests fails by chance once in a hundred draws of seeds; seeds are fixed.
"""

from __future__ import annotations

import numpy as np
import pytest

from kflow.policy.actions import action_set
from kflow.replay.tapes import fees_of
from kflow.rl.batch import Setup
from kflow.rl.dataset import build
from kflow.rl.worlds import _begin, _martingale, fair, make_tapes
from kflow.sim.fills import NO_LATENCY, Assumptions
from kflow.sim.tape import TRADE
from kflow.testing.arena import ARENAS, Arena, Policy, judge, without_result
from kflow.testing.contest import lower_bound
from kflow.testing.exploits import EXPLOITS, exploit, tools
from kflow.testing.rivals import evolved, network, random_network, uniform

SETS = ("default", "wide", "maker")
MARKETS = 400


def bounds(arena: Arena, rivals: dict[str, tuple[Policy, Setup]], tried: int) -> dict[str, float]:
    """Lower 99 % bounds of mean profit in dollars, corrected for all that are tried."""
    fresh = arena.fresh(MARKETS if arena.settles else MARKETS // 4)  # of five episodes each
    return {
        name: lower_bound(judge(policy, fresh, setup, arena.rows).tolist(), tried) / 1e6
        for name, (policy, setup) in rivals.items()
    }


@pytest.mark.parametrize("name", ARENAS)
def test_no_exploit_and_no_random_policy_wins(name: str) -> None:
    rivals: dict[str, tuple[Policy, Setup]] = {known: (exploit(known), Setup(actions=tools())) for known in EXPLOITS}
    for actions in SETS:
        setup = Setup(actions=action_set(actions))
        count = len(setup.actions.actions)
        rivals[f"any, {actions}"] = uniform(1, count, masked=True), setup
        rivals[f"network, {actions}"] = random_network(9, count), setup
    found = bounds(ARENAS[name], rivals, len(rivals) * len(ARENAS))
    assert max(found.values()) <= 0, max(found.items(), key=lambda pair: pair[1])


@pytest.mark.parametrize("name", ["fair, thin, cut", "null"])
def test_a_search_for_one_that_wins_finds_none(name: str) -> None:
    arena, setup = ARENAS[name], Setup(actions=action_set("wide"))
    weights = evolved(arena.train(100), setup, arena.rows, generations=6, markets=8)
    found = bounds(arena, {"evolved": (network(weights, len(setup.actions.actions)), setup)}, 2)
    assert found["evolved"] <= 0


def test_the_same_search_finds_an_edge_where_there_is_one() -> None:
    """Else it would prove nothing that it finds none."""
    setup = Setup(actions=action_set("default"))
    sets = [
        build(
            [without_result(tape) for tape in make_tapes("dollar", 60, seed=seed, seconds=30)],
            lambda tape: Assumptions(latency=NO_LATENCY, fees=fees_of(tape)[0]),
        )
        for seed in (3, 4)
    ]
    weights = evolved(sets[0], setup, 120, generations=12, markets=8)
    assert lower_bound(judge(network(weights, 21), sets[1], setup, 120).tolist(), 1) > 0


@pytest.mark.parametrize("half_spread", [0, 1, 5])
def test_a_market_that_loses_a_side_stays_fair(half_spread: int) -> None:
    """No quote is better than the value, every trade is at it, and sides go whatever it is."""
    gone = total = 0
    drift: list[float] = []
    for seed in range(150):
        tape = fair(seed, half_spread=half_spread, seconds=60, gone=0.05, depth=(4, 40))
        assert tape.seconds == 60
        rng = _begin("fair" if half_spread else "null", seed, 60)[1]
        value, us = _martingale(rng, max(half_spread, 1), 0.5, 60)
        whole = tape.arrays.code >> 3 == 1
        top = tape.arrays.top[whole].astype(np.int64) + 1
        at = np.searchsorted(us, tape.arrays.us[whole], side="right")
        worth = value[at]
        nobody = (top < 1) | (top > 99)
        assert ((top[:, 0] <= worth) | nobody[:, 0]).all()
        assert ((top[:, 1] >= worth) | nobody[:, 1]).all()
        traded = (tape.arrays.code & 3) == TRADE
        side = "left" if half_spread else "right"
        told = np.searchsorted(us, tape.arrays.us[traded], side=side) + (1 if half_spread else 0)
        assert (tape.arrays.col[traded] + 1 == value[told]).all()
        one = (nobody[:, 0] != nobody[:, 1]) & (worth > 10) & (worth < 90)
        gone, total = gone + int(one.sum()), total + len(one)
        if one.any():
            first = int(np.argmax(one))
            drift.append((tape.facts["settlement_value_e4"] / 100 - worth[first]) * (1 if nobody[first, 0] else -1))
    assert 0.1 < gone / total < 0.4
    assert abs(np.mean(drift)) <= 4 * np.std(drift) / np.sqrt(len(drift))
