"""Money is neither made nor lost in the environment: a ledger kept beside it, to the micro-dollar.

That nobody gains on a frozen book, and that the sides mirror each other: tests/properties/test_environment.py.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kflow.market.fees import FeeSchedule
from kflow.policy.actions import action_set
from kflow.rl.batch import Batch, Setup
from kflow.rl.dataset import build
from kflow.rl.episodes import Drawn, Episode, Listed
from kflow.sim import kernel as k
from kflow.sim.accounts import Limits
from kflow.sim.fills import HOME, MODELS, NO_LATENCY, Assumptions
from kflow.sim.tape import Tape
from kflow.testing.reference import FEES, SETS, permitted
from kflow.testing.tapes import COARSE, Shape, frozen, random_tape
from kflow.units import CONTRACT, DOLLAR, Money, Size

SIZES = tuple(Size(size) for size in (1, 33, 500, 2_000, 10_000))  # 0.01 to 100 contracts
PURSE = Limits(cash=Money(300_000_000), max_position=Size(500 * CONTRACT), max_order=Size(100 * CONTRACT), orders=4)
quick = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


def seated(tape: Tape, actions: str, fees: FeeSchedule, model: str = "queue", late: bool = False) -> Batch:
    """One account at the first decision of a tape, with a decision each second."""
    dataset = build(
        [tape],
        lambda _: Assumptions(model=MODELS[model], latency=HOME if late else NO_LATENCY, fees=fees),
        every_us=1_000_000,
    )
    setup = Setup(actions=action_set(actions, SIZES), limits=PURSE, ruin=0.0)
    batch = Batch(dataset, setup, Listed([Episode(0, 0, dataset.spans[0].rows - 1)]), 1, again=False)
    batch.reset()
    return batch


def act(batch: Batch, name: str) -> None:
    [number] = [n for n, action in enumerate(batch.setup.actions.actions) if action.name == name]
    batch.step([number])
    assert batch.refusal(0) == ""


class Ledger:
    """What all orders of accounts bought, paid and were charged, read off order by order."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.orders: dict[tuple[int, int, int], tuple[int, int, int, int]] = {}

    def look(self) -> None:
        state = self.batch.state
        for account in range(self.batch.count):
            played = self.batch.played(account)
            for order in state.orders[account].tolist():
                if order[k.STATUS] != k.FREE:
                    bought = order[k.SIZE] - order[k.LEFT]
                    self.orders[account, played, order[k.ID]] = (
                        order[k.SIDE], bought if order[k.NOTIONAL] else 0, order[k.NOTIONAL], order[k.FEE],
                    )  # fmt: skip

    def holds(self, account: int) -> bool:
        """Cash, position and fees are what the orders say: of each pair of YES and NO a dollar came back."""
        row = self.batch.state.account[account]
        mine = [
            facts
            for (who, played, _), facts in self.orders.items()
            if who == account and played == self.batch.played(account)
        ]
        yes, no = (sum(bought for side, bought, _, _ in mine if side == which) for which in (0, 1))
        paid, fees = sum(facts[2] for facts in mine), sum(facts[3] for facts in mine)
        cash = PURSE.cash - paid - fees + DOLLAR * min(yes, no)
        return bool(row[k.POSITION] == yes - no and row[k.FEES] == fees and row[k.CASH] == cash)


@quick
@given(
    seed=st.integers(0, 10**6),
    actions=st.sampled_from(SETS),
    fees=st.sampled_from(sorted(FEES)),
    model=st.sampled_from(sorted(MODELS)),
    late=st.booleans(),
)
def test_the_books_balance_and_nothing_owed_is_uncovered(
    seed: int, actions: str, fees: str, model: str, late: bool
) -> None:
    """At every step: cash covers what is held back, and what is held back is never less than nothing."""
    tape = random_tape(np.random.default_rng(seed), shape=Shape(moments=120, gaps_us=(400_000, 1_000_000)))
    assume = Assumptions(model=MODELS[model], latency=HOME if late else NO_LATENCY, fees=FEES[fees])
    dataset = build([tape], lambda _: assume, every_us=1_000_000)
    setup = Setup(actions=action_set(actions, SIZES), limits=PURSE, ruin=0.0)
    batch = Batch(dataset, setup, Drawn(dataset, 60), 8, seed=seed)
    batch.reset()
    ledger, rng = Ledger(batch), np.random.default_rng(seed)
    for _ in range(50):
        finished = batch.step(permitted(rng, batch.masks()))[2]
        for done in finished:
            assert 0 <= done.equity <= done.cash + DOLLAR * PURSE.max_position
        ledger.look()
        for account in range(batch.count):
            row = batch.state.account[account]
            assert ledger.holds(account)
            # Whatever the result and whatever is filled: no loss beyond the cash.
            assert row[k.CASH] >= row[k.RESERVED] >= 0
            assert abs(row[k.POSITION]) <= PURSE.max_position


levels = st.dictionaries(st.integers(0, 8), st.integers(1, 30_000), min_size=1, max_size=5)


def book(yes: dict[int, int], no: dict[int, int]) -> Tape:
    """Bids below 50 cents and asks above it, each with some depth."""
    prices = COARSE.prices()
    bids = [(int(prices[c % 4]), 10_000 + size) for c, size in yes.items() if c < 4 or c % 4 not in yes]
    asks = [(int(prices[c % 4]), 10_000 + size) for c, size in no.items() if c < 4 or c % 4 not in no]
    return frozen(list(dict(bids).items()), list(dict(asks).items()), 70, grid=COARSE)


@quick
@given(yes=levels, no=levels, fees=st.sampled_from(sorted(FEES)), size=st.sampled_from(SIZES))
def test_a_pair_of_yes_and_no_is_worth_a_dollar(yes: dict[int, int], no: dict[int, int], fees: str, size: Size) -> None:
    """Bought one after the other in either order: the dollar is back at once, and only spread and fees are gone."""
    worths = []
    for first, second in (("YES", "NO"), ("NO", "YES")):
        batch = seated(book(yes, no), "default", FEES[fees])
        row, market = batch.state.account[0], batch.dataset.groups[0].market
        ask, bid = int(market.price[row[k.ASK]]), int(market.price[row[k.BID]])
        for side in (first, second):
            act(batch, f"BUY_{side} {size / CONTRACT:g}")
        assert row[k.POSITION] == 0
        if size < 2_000:  # at the touch
            assert PURSE.cash - row[k.CASH] == size * (ask - bid) + row[k.FEES]
        worths.append(int(row[k.CASH]))
    assert worths[0] == worths[1]


@quick
@given(
    yes=levels, no=levels, fees=st.sampled_from(sorted(FEES)), side=st.sampled_from(["YES", "NO"]),
    size=st.sampled_from(SIZES),
)  # fmt: skip
def test_to_buy_one_side_is_to_sell_the_other(
    yes: dict[int, int], no: dict[int, int], fees: str, side: str, size: Size
) -> None:
    """BUY_YES(q, p) = SELL_NO(q, 1 - p) for who holds as much of NO, and the other way round: all money, all fields."""
    other = {"YES": "NO", "NO": "YES"}[side]
    ends = []
    for action in (f"BUY_{side}", f"SELL_{other}"):
        batch = seated(book(yes, no), "default", FEES[fees])
        act(batch, f"BUY_{other} 100")
        act(batch, f"{action} {size / CONTRACT:g}")
        ends.append(batch)
    one, same = ends
    for column in (k.CASH, k.POSITION, k.FEES, k.RESERVED, k.VOLUME):
        assert one.state.account[0, column] == same.state.account[0, column]
    assert one.desk.seat[0].tolist() == same.desk.seat[0].tolist()
    assert one.observations.tobytes() == same.observations.tobytes()


@pytest.mark.parametrize(("fees", "size"), list(product(sorted(FEES), SIZES)))
def test_nothing_is_gained_by_slicing_where_nothing_moves(fees: str, size: Size) -> None:
    """Round trips as often as liquidity comes back: each costs the spread, and its fees no less than one order's."""
    prices = COARSE.prices()
    tape = frozen([(int(prices[3]), 2_000_000)], [(DOLLAR - int(prices[5]), 2_000_000)], 70, grid=COARSE)
    batch = seated(tape, "default", FEES[fees])
    row = batch.state.account[0]
    trips = min(30, 50_000 // size)  # that cash lasts for
    for _ in range(trips):
        act(batch, f"BUY_YES {size / CONTRACT:g}")
        act(batch, f"SELL_YES {size / CONTRACT:g}")
    spread = int(prices[5] - prices[3])
    lost = PURSE.cash - int(row[k.CASH])
    assert lost == trips * size * spread + row[k.FEES]
    whole = [FEES[fees].order().fill(prices[c], Size(trips * size), buy=buy, taker=True).total for c, buy in
             ((5, True), (3, False))]  # fmt: skip
    assert row[k.FEES] >= sum(whole)
