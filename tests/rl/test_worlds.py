"""The made-up markets are what they say: the fair one to the cent at every fill, the others to their optimum.

Seeds are fixed. Where a mean is tested, it is within four standard errors over markets: it would fail by chance once
in 16,000 draws of seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.market.events import Side
from kflow.replay.tapes import fees_of
from kflow.rl.oracles import Order, Policy, Sight, Terms, play, take_fee
from kflow.rl.worlds import WORLDS, _begin, _martingale, fair, make_tapes, world_named
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts, one_order_each
from kflow.sim.cache import digest
from kflow.sim.fills import NO_LATENCY, Assumptions
from kflow.sim.tape import TRADE, Tape
from kflow.units import CONTRACT, Size

SECOND = 1_000_000
CENT = 100
I64 = NDArray[np.int64]


def within(values: Sequence[float] | NDArray[np.float64], expected: float) -> bool:
    """Four standard errors."""
    return bool(abs(np.mean(values) - expected) <= 4 * np.std(values, ddof=1) / np.sqrt(len(values)))


class Truth:
    """What a fair market was worth, and from when on: made again by the draws it begins with."""

    def __init__(self, seed: int, seconds: int, half_spread: int) -> None:
        rng = _begin("fair" if half_spread else "null", seed, seconds)[1]
        self.value, self.us = _martingale(rng, max(half_spread, 1), 0.5, seconds)

    def at(self, us: int | I64) -> I64:
        return self.value[np.searchsorted(self.us, us, side="right")]

    def told_by_trade(self, us: int | I64) -> I64:
        """The value that a trade tells: that of the move it belongs to, which it may run ahead of."""
        return self.value[np.searchsorted(self.us, us, side="left") + 1]


def orders_on(tape: Tape, rng: np.random.Generator, count: int, rules: Sequence[int]) -> kernel.State:
    """One order of each account, at random moments, sides and sizes (below 20 contracts), followed to the close."""
    first, last = tape.span_us(0)
    at = np.sort(rng.integers(first, last - 5 * SECOND, count))
    rule = rng.choice(rules, count)
    flags = np.where(rule == kernel.CROSS, kernel.IOC, 0)
    what, spans = one_order_each(at, rng.integers(0, 2, count), rng.integers(1, 2_000, count), flags=flags)
    what[:, kernel.I_RULE] = rule
    # Away from the touch at random columns too.
    what[:, kernel.I_COL] = rng.integers(0, tape.columns, count)
    state, market = new_accounts(count, tape.columns, Limits()), market_of(tape)
    kernel.seat_all(state, market, np.zeros(count, np.int64), at)
    settings = Assumptions(latency=NO_LATENCY, fees=fees_of(tape)[0]).rules()
    kernel.play(state, market, settings, what, spans, np.full(count, last))
    return state


def profits(state: kernel.State, tape: Tape) -> I64:
    """After settlement, without fees, in 1e-6 dollar."""
    for account in range(len(state.account)):
        kernel.settle(state, account, tape.facts["settlement_value_e4"])
    return state.account[:, kernel.CASH] - Limits().cash + state.account[:, kernel.FEES]


@pytest.mark.parametrize("name", WORLDS)
def test_a_seed_makes_the_same_bytes_and_another_one_others(name: str) -> None:
    tapes = make_tapes(name, 3, seed=5, seconds=60)
    assert [digest(tape) for tape in make_tapes(name, 2, seed=5, seconds=60)] == [digest(t) for t in tapes[:2]]
    assert len({tape.market for tape in tapes}) == 3
    assert len({tape.arrays.size.tobytes() for tape in tapes}) == 3
    assert digest(make_tapes(name, 1, seed=6, seconds=60)[0]) != digest(tapes[0])


@pytest.mark.parametrize("name", WORLDS)
def test_a_market_is_as_a_recorded_one(name: str) -> None:
    tape = WORLDS[name].make(11, seconds=300)
    facts = tape.facts
    assert tape.stretches == 1
    assert tape.seconds == 300
    assert facts["close_us"] == tape.span_us(0)[1]
    assert facts["ends"] == ["the market closed"]
    assert (facts["result"], facts["settlement_value_e4"]) in {("yes", 10_000), ("no", 0)}
    assert fees_of(tape)[1] == f"quadratic x {0 if name == 'null' else 1}: recorded"
    assert 5 <= tape.events / tape.seconds <= 30
    assert set((tape.arrays.code & 3).tolist()) == {0, 1, 2}
    assert len(np.unique(tape.arrays.size)) > 100


def test_what_cannot_be_made_is_refused() -> None:
    for wrong in (
        lambda: world_named("fairy"),
        lambda: fair(1, half_spread=-1),
        lambda: fair(1, moves=5.0),
        lambda: fair(-1),
        lambda: fair(1, seconds=0),
        lambda: Terms(order=Size(300), max_position=Size(1_000)),
        lambda: Terms(step_us=0),
        lambda: WORLDS["maker"].optimum(Terms(order=Size(15_000), max_position=Size(15_000))),
        lambda: WORLDS["reverting"].optimum(Terms(order=Size(15_000), max_position=Size(15_000))),
    ):
        with pytest.raises(UsageError):
            wrong()


# Fair.


@pytest.mark.parametrize("half_spread", [0, 1, 3])
def test_no_bid_is_above_the_value_and_no_ask_below_it_at_any_moment(half_spread: int) -> None:
    edges = 0
    for seed in range(40):
        tape, truth = fair(seed, half_spread=half_spread, moves=0.5), Truth(seed, 900, half_spread)
        whole = tape.arrays.code >> 3 == 1
        top, value = tape.arrays.top[whole].astype(np.int64) + 1, truth.at(tape.arrays.us[whole])
        assert (top[:, 0] <= value).all()
        assert (top[:, 1] >= value).all()
        edges += truth.value[-1] in (0, 100)
    # Some of these markets are decided before they close, or that would not have been tried.
    assert 0 < edges < 40


@pytest.mark.parametrize("half_spread", [1, 3])
def test_a_trade_is_at_what_the_market_is_worth_from_then_on(half_spread: int) -> None:
    for seed in range(20):
        tape, truth = fair(seed, half_spread=half_spread), Truth(seed, 900, half_spread)
        traded = (tape.arrays.code & 3) == TRADE
        assert traded.sum() > 50
        assert (tape.arrays.col[traded] + 1 == truth.told_by_trade(tape.arrays.us[traded])).all()


def test_settlement_is_fair_at_random_times_and_after_trades() -> None:
    """Over 2,000 markets: E[settlement - value] = 0, E[settlement - price | trade] = 0."""
    rng = np.random.default_rng(1)
    ahead, after, by_price = [], [], []
    for tape in make_tapes("fair", 2_000, seed=1, seconds=30):
        settled = tape.facts["settlement_value_e4"] / CENT
        traded = np.flatnonzero((tape.arrays.code & 3) == TRADE)
        top = tape.arrays.top[int(rng.integers(tape.events))] + 1
        ahead.append(settled - top.mean())
        if len(traded):
            price = int(tape.arrays.col[rng.choice(traded)]) + 1
            after.append(settled - price)
            by_price.append((price, settled - price))
    assert len(after) > 1_900
    assert within(ahead, 0)
    assert within(after, 0)
    for low, high in itertools.pairwise((0, 40, 50, 60, 101)):
        assert within([error for price, error in by_price if low <= price < high], 0)


def test_makers_at_the_touch_are_filled_exactly_at_the_value() -> None:
    rng, fills = np.random.default_rng(2), 0
    for seed in range(30):
        tape, truth = fair(seed), Truth(seed, 900, 1)
        orders = orders_on(tape, rng, 64, [kernel.JOIN]).orders[:, 0]
        # Who joined the rest of a taker's order is inside of the spread that follows.
        away = np.abs(orders[:, kernel.COL] + 1 - truth.at(orders[:, kernel.SENT_AT]))
        orders = orders[(orders[:, kernel.FIRST] > 0) & (away > 0)]
        for when in (kernel.FIRST, kernel.LAST):
            assert (orders[:, kernel.COL] + 1 == truth.told_by_trade(orders[:, when])).all()
        fills += len(orders)
    assert fills > 1_000


def test_makers_gain_nothing_and_takers_lose_the_spread() -> None:
    """Over 1,000 markets, without fees: takers lose what they paid above the value.

    Of the makers one in forty joins a taker's rest, and loses up to a cent: far less than this can see.
    """
    rng, making, taking, spread = np.random.default_rng(3), [], [], []
    for seed in range(1_000):
        tape, truth = fair(seed, seconds=60), Truth(seed, 60, 1)
        for rule, means in ((kernel.JOIN, making), (kernel.CROSS, taking)):
            state = orders_on(tape, rng, 32, [rule])
            means.append(profits(state, tape).sum() / max(state.account[:, kernel.VOLUME].sum(), 1) / CENT)
        orders = state.orders[:, 0]
        value = truth.at(orders[:, kernel.SENT_AT])
        paid = np.where(orders[:, kernel.SIDE] == 0, 1, -1) * (orders[:, kernel.COL] + 1 - value)
        assert (paid[orders[:, kernel.FIRST] > 0] >= 0).all()
        spread.append(float(np.average(paid, weights=orders[:, kernel.SIZE] - orders[:, kernel.LEFT])))
    assert 0.9 < np.mean(spread) < 1.1  # cents
    assert within(making, 0)
    assert within(np.array(taking) + np.array(spread), 0)


def test_orders_of_any_kind_never_win_in_the_fair_market() -> None:
    """Each fill is at the value or worse, wherever an order of less than 20 contracts was put."""
    rng, inside = np.random.default_rng(4), 0
    for seed in range(30):
        tape, truth = fair(seed, half_spread=3), Truth(seed, 900, 3)
        state = orders_on(tape, rng, 64, [kernel.AT_COLUMN, kernel.IMPROVE, kernel.CROSS, kernel.JOIN])
        orders = state.orders[:, 0]
        orders = orders[orders[:, kernel.FIRST] > 0]
        sign = np.where(orders[:, kernel.SIDE] == 0, 1, -1)
        # A taker's value is that of its moment, a maker's that of the move that filled it.
        came = orders[:, kernel.FIRST] == orders[:, kernel.SENT_AT]
        moved = np.searchsorted(truth.us, orders[:, kernel.FIRST], side="left")
        told = truth.value[np.minimum(moved + 1, len(truth.value) - 1)]
        value = np.where(came, truth.at(orders[:, kernel.FIRST]), told)
        worse = sign * (orders[:, kernel.COL] + 1 - value)
        assert (worse >= 0).all()
        inside += int((worse[~came] > 0).sum())
    assert inside > 50


def test_the_null_market_fills_everything_at_its_value() -> None:
    rng, taken, rested = np.random.default_rng(5), 0, 0
    for seed in range(30):
        tape, truth = WORLDS["null"].make(seed), Truth(seed, 900, 0)
        state = orders_on(tape, rng, 64, [kernel.AT_COLUMN, kernel.JOIN, kernel.CROSS])
        orders = state.orders[:, 0]
        orders = orders[orders[:, kernel.FIRST] > 0]
        assert (orders[:, kernel.COL] + 1 == truth.at(orders[:, kernel.FIRST])).all()
        assert (orders[:, kernel.COL] + 1 == truth.at(orders[:, kernel.LAST])).all()
        assert not orders[:, kernel.FEE].any()
        came = orders[:, kernel.FIRST] == orders[:, kernel.SENT_AT]
        taken, rested = taken + int(came.sum()), rested + int((~came).sum())
    assert taken > 500
    assert rested > 50


# Planted edges.


def test_the_dollar_pays_what_it_says_to_the_last_micro() -> None:
    """Twelve decisions in a window: a pair of 80 cents and two fees for each two of them, and nothing is left over."""
    terms = Terms(order=Size(500), seconds=300)
    each = 2 * 500 * (5_000 - 4_000) - 2 * take_fee(4_000, Size(500))
    solution = WORLDS["dollar"].solve(terms)
    assert solution.optimum == 30 * 6 * each
    for tape in make_tapes("dollar", 3, seed=7, seconds=300):
        assert play(tape, solution.policy, terms) == solution.optimum
    # 300 contracts of each side are all there is.
    large = Terms(order=Size(100 * CONTRACT), max_position=Size(100 * CONTRACT), seconds=60)
    solution = WORLDS["dollar"].solve(large)
    assert solution.optimum == 6 * 3 * 2 * (10_000 * 1_000 - take_fee(4_000, large.order))
    assert play(make_tapes("dollar", 1, seed=8, seconds=60)[0], solution.policy, large) == solution.optimum


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("dollar", Terms(order=Size(100), max_position=Size(100), step_us=700_000, seconds=200)),
        ("reverting", Terms(order=Size(1_000), max_position=Size(1_000), seconds=200)),
        ("reverting", Terms(order=Size(500), max_position=Size(1_500), step_us=700_000, seconds=200)),
        ("maker", Terms(order=Size(1_000), max_position=Size(1_000), seconds=200)),
        ("maker", Terms(order=Size(500), max_position=Size(1_500), step_us=700_000, seconds=200)),
    ],
)
def test_the_best_policy_earns_its_optimum_through_the_kernel(name: str, terms: Terms) -> None:
    solution = WORLDS[name].solve(terms)
    got = [play(tape, solution.policy, terms) for tape in make_tapes(name, 150, seed=9, seconds=terms.seconds)]
    assert within(got, solution.optimum)
    assert np.mean(got) > 8 * np.std(got) / np.sqrt(len(got))


def threshold(away: int) -> Policy:
    """Buy as far below the middle, sell as far above it."""

    def policy(seen: Sight) -> Order | None:
        if seen.ask <= 5_000 - away:
            return Order(Side.YES, kernel.CROSS)
        return Order(Side.NO, kernel.CROSS) if seen.bid >= 5_000 + away else None

    return policy


def test_no_simple_threshold_beats_the_optimum_of_the_swings() -> None:
    terms = Terms(order=Size(1_000), max_position=Size(1_000), seconds=200)
    best = WORLDS["reverting"].solve(terms).policy
    tapes = make_tapes("reverting", 40, seed=10, seconds=200)
    top = np.array([play(tape, best, terms) for tape in tapes], float)
    for away in (200, 500, 1_000):
        more = top - [play(tape, threshold(away), terms) for tape in tapes]
        assert np.mean(more) > -4 * np.std(more, ddof=1) / np.sqrt(len(more))
    assert play(tapes[0], threshold(5_000), terms) == 0


def test_takers_lose_where_makers_earn() -> None:
    """Each contract taken costs three cents and a fee, whatever the result."""
    rng = np.random.default_rng(11)
    for tape in make_tapes("maker", 20, seed=11, seconds=60):
        value = int(tape.arrays.top[0].sum()) + 2  # twice
        orders = orders_on(tape, rng, 16, [kernel.CROSS]).orders[:, 0]
        assert (orders[:, kernel.FIRST] > 0).all()
        paid = np.where(orders[:, kernel.SIDE] == 0, 1, -1) * (2 * (orders[:, kernel.COL] + 1) - value)
        assert (paid == 6).all()
        assert (orders[:, kernel.FEE] > 0).all()
