"""Cash, positions and collateral, to the micro-dollar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.exchange.accounts import Position
from kflow.exchange.terms import OrderRefused
from kflow.market.events import Side
from kflow.testing.pit import MARKET, Pit
from kflow.units import DOLLAR, Money, Price, Size, parse_money, parse_size

CENTS = Money(10_000)


def test_a_buyer_pays_the_price_and_a_seller_who_holds_none_the_rest_of_the_dollar() -> None:
    pit = Pit()
    maker, taker = pit.account("100"), pit.account("100")
    pit.bid(maker, "0.40", "10")
    pit.ask(taker, "0.40", "10")
    assert maker.cash[0] == parse_money("96")
    fee = taker.position(MARKET).fees
    assert taker.cash[0] == parse_money("94") - fee
    assert (maker.held(MARKET), taker.held(MARKET)) == (1000, -1000)


def test_selling_what_one_holds_needs_no_collateral_and_brings_the_price() -> None:
    pit = Pit()
    holder, other = pit.account("5"), pit.account()
    pit.ask(other, "0.40", "10")
    pit.bid(holder, "0.40", "10")
    left = holder.available(0)
    order = pit.ask(holder, "0.60", "10")
    assert order.resting
    assert holder.available(0) == left
    pit.bid(other, "0.60", "10")
    assert holder.held(MARKET) == 0
    assert holder.cash[0] == left + parse_money("6")
    assert holder.position(MARKET).realized == parse_money("2")


def test_buying_back_a_short_frees_its_dollar() -> None:
    pit = Pit()
    short, other = pit.account("10"), pit.account()
    pit.ask(short, "0.40", "10")
    pit.bid(other, "0.40", "10")
    assert short.cash[0] == parse_money("4")
    pit.bid(short, "0.30", "10")
    pit.ask(other, "0.30", "10")
    assert short.held(MARKET) == 0
    assert short.cash[0] == parse_money("11")
    assert short.position(MARKET).realized == parse_money("1")


def test_resting_orders_hold_cash_back_until_they_go() -> None:
    pit = Pit()
    account = pit.account("10")
    order = pit.bid(account, "0.40", "10")
    assert account.available(0) == parse_money("6")
    pit.ask(account, "0.90", "10", post_only=True)
    assert account.available(0) == parse_money("5")
    pit.desk.cancel(account, order.order_id)
    assert account.available(0) == parse_money("9")
    assert account.cash[0] == parse_money("10")


def test_what_an_account_cannot_pay_for_is_refused_and_changes_nothing() -> None:
    pit = Pit()
    account = pit.account("4")
    with pytest.raises(OrderRefused, match="insufficient_balance"):
        pit.bid(account, "0.41", "10", post_only=True)
    assert account.available(0) == parse_money("4")
    assert not account.orders
    assert not pit.messages
    assert pit.bid(account, "0.40", "10", post_only=True).resting


def test_a_taker_needs_cash_for_its_fee_too() -> None:
    pit = Pit()
    account, other = pit.account("4"), pit.account()
    pit.ask(other, "0.40", "10")
    with pytest.raises(OrderRefused, match="insufficient_balance"):
        pit.bid(account, "0.40", "10")
    assert pit.bid(account, "0.40", "9").status == "executed"


@pytest.mark.parametrize(("value", "paid"), [(10_000, "10"), (0, "0"), (2500, "2.5")])
def test_a_market_pays_what_it_is_worth(value: int, paid: str) -> None:
    pit = Pit()
    long, short = pit.account("100"), pit.account("100")
    pit.bid(long, "0.40", "10")
    pit.ask(short, "0.40", "10")
    before = long.cash[0], short.cash[0]
    pit.settle(Price(value))
    assert long.cash[0] == before[0] + parse_money(paid)
    assert short.cash[0] == before[1] + parse_money("10") - parse_money(paid)
    assert long.held(MARKET) == short.held(MARKET) == 0
    assert pit.wealth() == parse_money("200")


trades = st.lists(
    st.tuples(st.sampled_from(Side), st.integers(1, 9999), st.integers(1, 10**6)), min_size=1, max_size=40
)


@given(trades=trades, value=st.integers(0, 10_000))
def test_a_position_pays_exactly_its_trades_whatever_was_netted_on_the_way(
    trades: list[tuple[Side, int, int]], value: int
) -> None:
    position = Position()
    cash = sum([position.trade(side, Price(price), Size(size)) for side, price, size in trades])
    cash += position.worth(Price(value))
    alone = sum(
        [(value - price) * size if side == Side.YES else (price - value) * size for side, price, size in trades]
    )
    assert cash == alone
    assert position.realized + position.worth(Price(value)) - position.cost == alone


@given(trades=trades)
def test_a_position_never_costs_more_than_its_worst_end(trades: list[tuple[Side, int, int]]) -> None:
    position = Position()
    for side, price, size in trades:
        position.trade(side, Price(price), Size(size))
        assert 0 <= position.cost <= DOLLAR * abs(position.size)
        assert (position.cost == 0) == (position.size == 0) or position.cost == 0
    assert position.volume == sum([size for _, _, size in trades])


def test_collateral_counts_only_what_opens_a_position() -> None:
    pit = Pit()
    account, other = pit.account("100"), pit.account()
    pit.ask(other, "0.50", "10")
    pit.bid(account, "0.50", "10")
    free = account.available(0)
    pit.ask(account, "0.60", "4")
    assert account.available(0) == free
    pit.ask(account, "0.70", "10")  # six close what is left, four are short
    assert account.available(0) == free - 4 * 30 * CENTS
    assert account.reserved(MARKET) == 4 * 30 * CENTS
    assert parse_size("14") == sum([order.remaining for order in account.open_orders(MARKET)])
