"""Documents and messages of orders: official fields, directions, amounts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kflow.exchange.accounts import Account, Fill, Ticket, UserOrder
from kflow.exchange.order_documents import (
    averages,
    fill_document,
    order_document,
    position_document,
    settlement_document,
)
from kflow.exchange.orders import Reason, SelfTrade
from kflow.exchange.private import fill_body, group_body, position_body, user_order_body
from kflow.exchange.settlements import Settlement
from kflow.market.events import Side
from kflow.market.fees import FeeSchedule
from kflow.units import Money, Price, Size

from . import official
from .official import faults

NOW_US = 1_735_900_000_120_000
SCHEDULE = FeeSchedule.parse("quadratic", "1")


def order(side: Side = Side.YES, *, price: int = 4200, size: int = 1000, **more: Any) -> UserOrder:
    account = Account("10ca1000-0000-4000-8000-000000000009", 3, {0: Money(10**9)})
    ticket = Ticket(ticker="KXA-26NOV22-B1", side=side, price=Price(price), size=Size(size), **more)
    return UserOrder(account, ticket, SCHEDULE, 0, NOW_US)


def filled(side: Side, price: int, size: int) -> tuple[UserOrder, Fill]:
    """An order that took some of what it asked for."""
    taker = order(side, price=price)
    taker.filled, taker.remaining = Size(size), Size(1000 - size)
    return taker, taker.account.fill(taker, ("t-1", Price(price), Size(size)), taker=True, venue_us=NOW_US)


def message(body: str) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(body)
    return decoded


@pytest.mark.parametrize("side", Side)
def test_every_required_field_is_there_with_its_type(side: Side) -> None:
    taker, fill = filled(side, 4200, 300)
    position = taker.account.position("KXA-26NOV22-B1")
    assert faults(order_document(taker), official.ORDER) == []
    assert faults(fill_document(fill), official.FILL) == []
    counted = position_document("KXA-26NOV22-B1", 0, position) | {"resting_orders_count": 0}
    assert faults(counted, official.MARKET_POSITION) == []
    assert faults(message(fill_body(fill)), official.WS_FILL) == []
    assert faults(message(user_order_body(taker)), official.WS_USER_ORDER) == []
    assert faults(message(position_body("u", "KXA-26NOV22-B1", position)), official.WS_POSITION) == []
    assert faults(message(group_body("reset", "g", None, NOW_US)), official.WS_GROUP) == []


def test_directions() -> None:
    """The retired pair is "sell yes" on an order that asks and "sell no" on its fills."""
    names = ("book_side", "outcome_side", "action", "side")
    for side, on_order, on_fill in (
        (Side.YES, ("bid", "yes", "buy", "yes"), ("bid", "yes", "buy", "yes")),
        (Side.NO, ("ask", "no", "sell", "yes"), ("ask", "no", "sell", "no")),
    ):
        taker, fill = filled(side, 4200, 300)
        assert tuple(order_document(taker)[name] for name in names) == on_order
        assert tuple(fill_document(fill)[name] for name in names) == on_fill
        told = message(fill_body(fill))
        assert (*[told[name] for name in names], told["purchased_side"]) == (*on_fill, on_fill[1])
        assert message(user_order_body(taker))["is_yes"] is (side == Side.YES)


def test_the_price_is_that_of_yes_whatever_the_direction() -> None:
    taker, fill = filled(Side.NO, 4200, 300)
    for document in (order_document(taker), fill_document(fill)):
        assert (document["yes_price_dollars"], document["no_price_dollars"]) == ("0.4200", "0.5800")
    assert message(fill_body(fill))["yes_price_dollars"] == "0.4200"
    assert order_document(taker)["taker_fill_cost_dollars"] == "1.740000"  # 3 x 0.58: what an ask pays


def test_an_order_without_an_id_of_its_clients_has_an_empty_one() -> None:
    """Null or absent breaks strict models."""
    assert order_document(order())["client_order_id"] == ""
    assert message(user_order_body(order()))["client_order_id"] == ""


def test_what_a_client_chose_is_quoted() -> None:
    strange = order(client_order_id='a"b\\', group_id="g")
    told = message(user_order_body(strange))
    assert (told["client_order_id"], told["order_group_id"]) == ('a"b\\', "g")


def test_optional_fields_come_with_what_they_tell() -> None:
    plain = message(user_order_body(order()))
    assert not plain.keys() & {"expiration_time", "expiration_ts_ms", "order_group_id", "last_update_reason"}
    full = order(expires_us=NOW_US + 80_000, self_trade=SelfTrade.MAKER)
    full.reason = Reason.TRADE
    told = message(user_order_body(full))
    assert told["expiration_time"] == "2025-01-03T10:26:40.2Z"
    assert told["expiration_ts_ms"] == 1_735_900_000_200
    assert (told["last_update_reason"], told["self_trade_prevention_type"]) == ("Trade", "maker")
    assert order_document(full)["expiration_time"] == "2025-01-03T10:26:40.2Z"


def test_the_limit_of_a_group_is_told_where_it_changed() -> None:
    assert "contracts_limit_fp" not in message(group_body("triggered", "g", None, NOW_US))
    assert message(group_body("created", "g", Size(15_000), NOW_US)) == {
        "event_type": "created",
        "order_group_id": "g",
        "contracts_limit_fp": "150.00",
        "ts_ms": 1_735_900_000_120,
    }


@pytest.mark.parametrize(
    ("side", "trades", "price", "fee"),
    [
        # 0.07 x 0.42 x 0.58 = 0.017052 a contract; ten of them, and the balance down to a multiple of $0.0001.
        (Side.YES, [(4200, 1000)], "0.4200", "0.017060"),
        (Side.YES, [(4200, 100), (4300, 100)], "0.4250", "0.017150"),
        (Side.NO, [(4200, 100), (4300, 100)], "0.4250", "0.017150"),
    ],
)
def test_averages_are_per_contract_and_of_yes(side: Side, trades: list[tuple[int, int]], price: str, fee: str) -> None:
    taker = order(side)
    for number, (at, size) in enumerate(trades):
        taker.filled = Size(taker.filled + size)
        taker.account.fill(taker, (f"t-{number}", Price(at), Size(size)), taker=True, venue_us=NOW_US)
    assert averages(taker) == {"average_fill_price": price, "average_fee_paid": fee}


def test_an_order_that_has_not_traded_has_no_averages() -> None:
    assert averages(order()) == {}


@pytest.mark.parametrize(
    ("result", "value", "revenue", "shown"),
    [("yes", 10_000, 10_000_000, (1000, 100)), ("no", 0, 0, (0, 0)), ("scalar", 3333, 3_333_000, (333, 33))],
)
def test_a_settlement_counts_in_whole_cents_rounded_down(
    result: str, value: int, revenue: int, shown: tuple[int, int]
) -> None:
    settlement = Settlement(
        ticker="KXA-26NOV22-B1",
        event="KXA-26NOV22",
        shard=0,
        result=result,
        value=Price(value),
        yes_size=Size(1000),
        yes_cost=Money(4_200_000),
        no_size=Size(0),
        no_cost=Money(0),
        fees=Money(170_600),
        revenue=Money(revenue),
        venue_us=NOW_US,
    )
    document = settlement_document(settlement)
    assert faults(document, official.SETTLEMENT) == []
    assert (document["revenue"], document["value"]) == shown
    assert (document["yes_count_fp"], document["yes_total_cost_dollars"]) == ("10.00", "4.200000")
    assert document["fee_cost"] == "0.170600"
