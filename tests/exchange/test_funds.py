"""Whether an order can be paid for, fees included, whatever the public book shows by now."""

from __future__ import annotations

import pytest

from kflow.exchange.accounts import Ticket, UserOrder
from kflow.exchange.desk import Amendment
from kflow.exchange.terms import OrderRefused
from kflow.market.events import Side
from kflow.testing.pit import MARKET, Pit
from kflow.units import Size, parse_money, parse_price, parse_size


@pytest.fixture
def pit() -> Pit:
    return Pit()


def amendment(order: UserOrder, price: str, count: str, **more: object) -> Amendment:
    facts = {"order_id": order.order_id, "ticker": MARKET, "side": order.side, **more}
    return Amendment(price=parse_price(price), count=parse_size(count), **facts)  # type: ignore[arg-type]


def short() -> pytest.RaisesExc[OrderRefused]:
    return pytest.RaisesExc(OrderRefused, check=lambda error: error.code == "insufficient_balance")


def test_an_order_that_comes_to_take_pays_its_fee_from_what_it_frees_or_from_cash(pit: Pit) -> None:
    pit.ask(pit.account(), "0.60", "200")
    account = pit.account("80")
    order = pit.bid(account, "0.40", "200")
    assert account.available(0) == 0
    with short():  # $79.80 at 60 cents, and a fee of $2.24
        pit.desk.amend(account, amendment(order, "0.60", "133"))
    assert (order.price, order.remaining) == (4000, 20_000)
    pit.desk.amend(account, amendment(order, "0.60", "129"))
    assert (order.status, account.available(0) >= 0) == ("executed", True)


def test_a_fee_is_due_also_where_the_book_that_is_crossed_has_not_been_published_yet(pit: Pit) -> None:
    maker, account = pit.account(), pit.account("60")
    pit.desk.create(maker, Ticket(ticker=MARKET, side=Side.NO, price=parse_price("0.60"), size=Size(10_000)))
    with short():
        pit.desk.create(account, Ticket(ticker=MARKET, side=Side.YES, price=parse_price("0.60"), size=Size(10_000)))
    assert account.cash[0] == parse_money("60")


def test_an_account_that_rounding_left_in_debt_may_still_ask_for_less(pit: Pit) -> None:
    account = pit.account("80")
    order = pit.bid(account, "0.40", "200")
    account.cash[0] -= 35  # type: ignore[assignment]
    pit.desk.amend(account, amendment(order, "0.40", "200", expires_us=pit.clearing.time() + 10**9))
    pit.desk.amend(account, amendment(order, "0.40", "199"))
    assert order.remaining == 19_900
    with short():
        pit.desk.amend(account, amendment(order, "0.41", "199"))
