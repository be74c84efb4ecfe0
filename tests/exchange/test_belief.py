"""What a market is worth keeps its mean, trades are worth their price, and the result says what was believed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.exchange.belief import Belief, Edge, urgency
from kflow.market.events import Side

N = 40_000


def mean_and_error(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    variance = sum([(value - mean) ** 2 for value in values]) / len(values)
    return mean, (variance / len(values)) ** 0.5 + 1e-9


@pytest.mark.parametrize(
    ("value", "bid", "ask", "beyond"),
    [
        (5000.0, 4900, 5100, 50.0),
        (4901.0, 4900, 5100, 500.0),
        (5099.0, 4900, 5100, 0.0),
        (150.0, 100, 300, 1e6),  # further than $0 allows
        (9985.0, 9980, 9990, 40.0),
    ],
)
def test_a_trade_is_worth_its_price_and_belief_keeps_its_mean(value: float, bid: int, ask: int, beyond: float) -> None:
    rng = random.Random(1)
    after: dict[Side, list[float]] = {Side.YES: [], Side.NO: []}
    for _ in range(N):
        belief = Belief(value / 10_000, 10)
        after[belief.trade(bid, ask, beyond, (rng.random(), rng.random()))].append(belief.value)
    for side, price in ((Side.YES, ask), (Side.NO, bid)):
        mean, error = mean_and_error(after[side])
        assert abs(mean - price) < 4.5 * error
    mean, error = mean_and_error(after[Side.YES] + after[Side.NO])
    assert abs(mean - value) < 4.5 * error
    assert len(after[Side.YES]) / N == pytest.approx((value - bid) / (ask - bid), abs=0.012)


@given(value=st.floats(100, 9900), bid=st.integers(10, 9989), width=st.integers(1, 500), u=st.floats(0, 0.999))
def test_prices_beyond_belief_are_taken_and_tell_nothing(value: float, bid: int, width: int, u: float) -> None:
    belief = Belief(value / 10_000, 10)
    before, ask = belief.value, bid + width
    side = belief.trade(bid, ask, 100.0, (u, u))
    if before >= ask or before <= bid:
        assert (side, belief.value) == (Side.YES if before >= ask else Side.NO, before)
    assert 10 <= belief.value <= 9990


def test_news_keeps_the_mean_up_to_the_ends() -> None:
    rng = random.Random(2)
    ends = []
    for _ in range(N // 10):
        belief = Belief(0.02, 10)
        for _ in range(50):
            belief.news(60.0, rng.random())
            assert 10 <= belief.value <= 9990
        ends.append(belief.value)
    mean, error = mean_and_error(ends)
    assert abs(mean - 200) < 4.5 * error


def test_the_result_is_as_likely_as_believed() -> None:
    rng = random.Random(3)
    won = [Belief(0.3, 10).settle(rng.random()) == Side.YES for _ in range(N)]
    assert sum(won) / N == pytest.approx(0.3, abs=0.012)
    biased = [Belief(0.3, 10).settle(rng.random(), 0.1) == Side.YES for _ in range(N)]
    assert sum(biased) / N == pytest.approx(0.4, abs=0.012)


def test_belief_hurries_towards_the_close_as_a_digital_option() -> None:
    assert [urgency(left, 900.0) for left in (1e9, 900.0, 450.0, 225.0, 1.0, 0.0)] == [1, 1, 2, 4, 30, 30]


@pytest.mark.parametrize("probability", [0.0, 0.0009, 0.9991, 1.0])
def test_a_market_starts_undecided(probability: float) -> None:
    with pytest.raises(ValueError, match="starts undecided"):
        Belief(probability, 10)


@pytest.mark.parametrize("edge", [{"uninformed": 1.1}, {"stale_cents": -1.0}, {"bias": 2.0}])
def test_edges_beyond_what_they_can_be_are_refused(edge: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="edges beyond"):
        Edge(**edge)
