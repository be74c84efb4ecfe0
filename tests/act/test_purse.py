"""What a policy has in a market is what the simulator would say, fill by fill."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.act.orders import Fill, Intent, Order, State
from kflow.act.purse import Purse
from kflow.market.fees import FeeSchedule
from kflow.policy.view import MarketView
from kflow.units import DOLLAR

PRICES = [100 * cents for cents in range(1, 100)]
FEES = FeeSchedule.parse("quadratic", 1)
CASH = 1_000_000_000


def view(bids: dict[int, int], asks: dict[int, int]) -> MarketView:
    """A book by YES cents."""
    found = MarketView(PRICES, close_us=-1, taker_rate=0.07)
    found.begin(0, [bids.get(cents, 0) for cents in range(1, 100)], [asks.get(cents, 0) for cents in range(1, 100)])
    return found


def order(side: int, price: int, size: int, number: int = 1, state: State = State.RESTING) -> Order:
    intent = Intent(
        run=uuid.UUID(int=1), number=number, market="M", action="", side=side, price=price, size=size, immediate=False,
        decided_us=0, version=0, digest="", epoch=1, limits="",
    )  # fmt: skip
    return Order(intent, state)


def filled(purse: Purse, side: int, price: int, size: int, fee: int = 0, number: int = 1) -> bool:
    fill = Fill(f"t{number}", 0, price, size, fee, taker=True)
    return purse.apply(order(side, price, size, number).filled_by(fill), fill)


def test_a_pair_pays_a_dollar_at_once() -> None:
    purse = Purse("M", CASH, FEES)
    filled(purse, 0, 4_000, 1_000, number=1)
    assert (purse.position, purse.cash) == (1_000, CASH - 4_000_000)
    filled(purse, 1, 5_500, 1_000, number=2)
    assert (purse.position, purse.cash) == (0, CASH - 4_000_000 - 5_500_000 + 10_000_000)


def test_a_fill_counts_once() -> None:
    purse = Purse("M", CASH, FEES)
    assert filled(purse, 0, 4_000, 1_000)
    assert not filled(purse, 0, 4_000, 1_000)
    assert purse.position == 1_000


def test_a_position_is_worth_what_it_brings_level_by_level_after_fees() -> None:
    purse = Purse("M", CASH, FEES)
    filled(purse, 0, 5_000, 3_000)
    book = view({48: 1_000, 47: 5_000}, {52: 1_000})
    sold = [(4_800, 1_000), (4_700, 2_000)]
    worth = sum(price * size - int(FEES.trade_fee(price, size, taker=True)) for price, size in sold)  # type: ignore[arg-type]
    assert purse.equity(book, PRICES) == purse.cash + worth


def test_what_nobody_bids_for_counts_the_last_price_that_was_seen() -> None:
    purse = Purse("M", CASH, FEES)
    filled(purse, 0, 5_000, 100)
    assert purse.equity(view({}, {52: 100}), PRICES) == purse.cash
    purse.look(view({48: 100}, {52: 100}))
    worth = 4_800 * 100 - int(FEES.trade_fee(4_800, 100, taker=True))  # type: ignore[arg-type]
    assert purse.equity(view({}, {52: 100}), PRICES) == purse.cash + worth


def test_what_was_held_before_is_paid_for_at_what_it_brings() -> None:
    purse = Purse("M", CASH, FEES)
    purse.hold(-500)
    book = view({48: 1_000}, {52: 1_000})
    assert purse.equity(book, PRICES) == CASH
    assert purse.position == -500
    assert purse.equity(view({38: 1_000}, {42: 1_000}), PRICES) > CASH  # NO is worth more where YES is worth less


def test_orders_hold_back_what_they_could_cost() -> None:
    purse = Purse("M", CASH, FEES)
    one = order(0, 4_000, 1_000)
    assert purse.free([one]) == CASH - purse.most(4_000, 1_000)
    filled(purse, 1, 5_000, 1_000, number=9)
    before = purse.cash
    purse.rests(one, [one])
    assert purse.free([one]) == before - purse.most(4_000, 1_000) + 4_000 * 1_000  # it closes, so it needs its fee only
    two = order(0, 4_100, 1_000, number=2)
    purse.rests(two, [one, two])
    assert purse.free([one, two]) == purse.free([one]) - purse.most(4_100, 1_000)


fills = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 99), st.integers(1, 500)), max_size=30)


@given(fills, st.integers(0, 10_000))
def test_settlement_is_the_same_whatever_the_order_of_fills(found: list[tuple[int, int, int]], value: int) -> None:
    """All that was bought is paid: pairs at once, the rest at the end."""

    def cash(order_of: list[tuple[int, int, int]]) -> int:
        purse = Purse("M", CASH, FEES)
        for number, (side, cents, size) in enumerate(order_of):
            filled(purse, side, 100 * cents, size, number=number)
        held = purse.position
        return purse.cash + (held * value if held > 0 else -held * (DOLLAR - value))

    bought = sum(size * ((value if side == 0 else DOLLAR - value) - 100 * cents) for side, cents, size in found)
    assert cash(found) == cash(found[::-1]) == CASH + bought


@pytest.mark.parametrize("before", [0, 500, -500])
@pytest.mark.parametrize("after", [0, 200, 900, -300])
def test_what_somebody_else_made_of_the_position_is_no_profit_and_no_loss(before: int, after: int) -> None:
    purse, book = Purse("M", CASH, FEES), view({40: 5_000}, {42: 5_000})
    purse.hold(before)
    assert purse.equity(book, PRICES) == CASH
    purse.adopt(after, book, PRICES)
    assert purse.position == after
    assert purse.equity(book, PRICES) == CASH


def test_what_somebody_else_bought_counts_from_then_on() -> None:
    purse, book = Purse("M", CASH, FEES), view({40: 5_000}, {45: 5_000})
    purse.adopt(300, book, PRICES)
    book.change(0, PRICES.index(4_100), 5_000)  # the best bid is a cent higher
    assert 20_000 < purse.equity(book, PRICES) - CASH <= 30_000  # of three cents what selling dearer costs is gone
