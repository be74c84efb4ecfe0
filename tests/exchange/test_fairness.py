"""Nobody earns from a fair crowd, and a planted edge is found. The long form is bench/fairness.py."""

from __future__ import annotations

import pytest

from kflow.exchange.belief import Edge
from kflow.testing.contest import STRATEGIES, Buyer, lower_bound, profit


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_simple_strategy_earns(name: str) -> None:
    profits = [profit(STRATEGIES[name](), seed, seconds=8) for seed in range(30)]
    assert any(profits), "it traded"
    assert lower_bound(profits, len(STRATEGIES)) <= 0


def test_a_planted_edge_is_found() -> None:
    profits = [profit(Buyer(), seed, seconds=4, edge=Edge(bias=0.35)) for seed in range(100)]
    assert lower_bound(profits, len(STRATEGIES)) > 0
