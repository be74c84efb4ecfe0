"""Orders over REST: bodies, answers, error codes, reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from kflow.clock import ManualClock, SystemClock
from kflow.exchange.matching import OrderBook
from kflow.exchange.terms import Terms
from kflow.testing.trader import Trader, narrowed, ticket, trading
from kflow.testing.venue import MARKET, START_US, LocalVenue, listing

from . import official
from .official import faults

ORDERS = "/portfolio/events/orders"
OTHER = "KXHIGHNY-26NOV23-T4.30"


@pytest.fixture
async def pair() -> AsyncIterator[tuple[LocalVenue, list[Trader]]]:
    """Two users; YES bids of 100 contracts at 40 to 44 cents, asks at 46 to 50, in two markets."""
    async with trading(markets=(MARKET, OTHER)) as both:
        yield both


def code(response: httpx.Response) -> tuple[int, str]:
    """Status and code, of either shape of error."""
    body = response.json()
    error = body.get("error", body)
    assert isinstance(error["message"], str)
    return response.status_code, error["code"]


async def cancel(trader: Trader, order_id: str, **query: Any) -> httpx.Response:
    return await trader.send("DELETE", f"{ORDERS}/{order_id}", **query)


# Creating.


async def test_an_order_that_rests(ann: Trader) -> None:
    response = await ann.create("bid", "0.4200", "10.00", client_order_id="mine")
    answer = response.json()
    assert response.status_code == 201
    assert faults(answer, official.CREATED) == []
    assert (answer["client_order_id"], answer["fill_count"], answer["remaining_count"]) == ("mine", "0.00", "10.00")
    assert not answer.keys() & {"average_fill_price", "average_fee_paid"}


async def test_an_order_that_trades_says_at_what(ann: Trader) -> None:
    answer = await ann.order("bid", "0.4700", "150")
    assert (answer["fill_count"], answer["remaining_count"]) == ("150.00", "0.00")
    assert answer["average_fill_price"] == "0.4633"  # 100 at 46 and 50 at 47 cents
    assert answer["average_fee_paid"] == "0.017405"  # 1.7388 and 0.8719
    assert "client_order_id" not in answer


async def test_short_forms_of_numbers_are_taken(ann: Trader) -> None:
    for price, count, filled in (("0.42", "10", "10.00"), ("0.4400", "5.50", "5.50"), ("0.420", "0.01", "0.01")):
        answer = await ann.order("ask", price, count)
        assert (answer["fill_count"], answer["remaining_count"]) == (filled, "0.00")
    assert (await ann.order("ask", "0.5", "7.5"))["remaining_count"] == "7.50"


async def test_null_counts_as_absent_and_unknown_members_do_not_count(ann: Trader) -> None:
    body = ticket("bid", "0.42", "1") | {
        "client_order_id": None,
        "expiration_time": None,
        "post_only": None,
        "subaccount": None,
        "exchange_index": None,
        "order_group_id": None,
        "buy_max_cost_dollars": "3.00",
        "whatever": {"deep": [1, 2]},
    }
    assert (await ann.send("POST", ORDERS, body)).status_code == 201


MALFORMED: dict[str, dict[str, Any]] = {
    "a count that is a number": {"count": 10},
    "a price that is a number": {"price": 0.42},
    "three decimals of a contract": {"count": "1.001"},
    "five decimals of a price": {"price": "0.42001"},
    "no decimals of a price": {"price": "1"},
    "a signed price": {"price": "-0.42"},
    "an exponent": {"count": "1e3"},
    "no contracts": {"count": "0.00"},
    "a negative count": {"count": "-1"},
    "words": {"price": "cheap"},
    "another side": {"side": "yes"},
    "a side that is a number": {"side": 1},
    "an unknown life": {"time_in_force": "GTT"},
    "an unknown self-trade mode": {"self_trade_prevention_type": "none"},
    "a flag that is a string": {"post_only": "true"},
    "an expiry that is a string": {"expiration_time": "1795361565"},
    "an expiry that is a fraction": {"expiration_time": 1795361565.5},
    "an expiry that is true": {"expiration_time": True},
    "a client id that is a number": {"client_order_id": 7},
    "a client id with a space": {"client_order_id": "a b"},
    "a client id of 65 characters": {"client_order_id": "x" * 65},
    "a subaccount that is a string": {"subaccount": "0"},
    "a negative subaccount": {"subaccount": -1},
    "a shard that is a string": {"exchange_index": "0"},
    "no ticker": {"ticker": None},
    "no side": {"side": None},
    "no price": {"price": None},
    "no count": {"count": None},
    "no life": {"time_in_force": None},
    "no self-trade mode": {"self_trade_prevention_type": None},
}


def changed(change: dict[str, Any]) -> dict[str, Any]:
    """A fine order with other members; a None leaves one out."""
    return {name: value for name, value in {**ticket("bid", "0.42", "10"), **change}.items() if value is not None}


async def test_what_does_not_parse_gets_the_flat_error(ann: Trader) -> None:
    for what, change in MALFORMED.items():
        response = await ann.send("POST", ORDERS, changed(change))
        assert code(response) == (400, "invalid_parameters"), what
        assert response.json().keys() == {"code", "message", "details"}, what
    assert (await ann.get("/portfolio/orders"))["orders"] == []


async def test_a_body_that_is_no_object_gets_the_flat_error(ann: Trader) -> None:
    for body in (b"", b"{", b"[]", b'"text"', b"\xff\xfe", b"null"):
        assert code(await ann.send("POST", ORDERS, body)) == (400, "invalid_parameters"), body


async def test_client_ids_may_have_these_characters(ann: Trader) -> None:
    for name in ("a", "x" * 64, "AZaz09_-:+=/"):
        assert (await ann.order("bid", "0.42", "1", client_order_id=name))["client_order_id"] == name


REFUSED: dict[str, tuple[dict[str, Any], tuple[int, str]]] = {
    "more than there is cash for": ({"count": "30000"}, (400, "insufficient_balance")),
    "a price between two ticks": ({"price": "0.4250"}, (400, "invalid_price")),
    "a price above a dollar": ({"price": "1.01"}, (400, "invalid_price")),
    "a price of nothing": ({"price": "0.00"}, (400, "invalid_price")),
    "a post-only order that crosses": ({"price": "0.46", "post_only": True}, (400, "invalid_order")),
    "an expiry of an immediate order": (
        {"time_in_force": "immediate_or_cancel", "expiration_time": 4_000_000_000},
        (400, "invalid_order"),
    ),
    "an expiry of a fill or kill": (
        {"time_in_force": "fill_or_kill", "expiration_time": 4_000_000_000},
        (400, "invalid_order"),
    ),
    "an expiry that has passed": ({"expiration_time": 1_700_000_000}, (400, "invalid_order")),
    "an expiry in milliseconds": ({"expiration_time": 1_795_361_565_004}, (400, "invalid_order")),
    "reduce-only that may rest": ({"reduce_only": True}, (400, "invalid_order")),
    "an unknown market": ({"ticker": "KXNO-26NOV23-T1"}, (404, "not_found")),
    "an unknown subaccount": ({"subaccount": 9}, (404, "user_not_found")),
    "an unknown order group": ({"order_group_id": "og_1"}, (404, "not_found")),
    "another shard than the market's": ({"exchange_index": 2}, (400, "invalid_order")),
    "a fill or kill that finds too little": (
        {"price": "0.46", "count": "100.01", "time_in_force": "fill_or_kill"},
        (409, "fill_or_kill_insufficient_resting_volume"),
    ),
}


async def test_what_is_refused_and_with_which_code(ann: Trader) -> None:
    for what, (change, expected) in REFUSED.items():
        response = await ann.send("POST", ORDERS, changed(change))
        assert code(response) == expected, what
        assert response.json()["error"].keys() == {"code", "message", "details"}, what
    assert (await ann.get("/portfolio/orders"))["orders"] == []


async def test_a_client_id_works_once(ann: Trader, bob: Trader) -> None:
    await ann.order("bid", "0.42", "1", client_order_id="once")
    assert code(await ann.create("ask", "0.48", "1", client_order_id="once")) == (409, "order_already_exists")
    await bob.order("bid", "0.42", "1", client_order_id="once")


async def test_a_killed_order_uses_its_client_id_up(ann: Trader) -> None:
    killed = {"client_order_id": "again", "time_in_force": "fill_or_kill"}
    assert code(await ann.create("bid", "0.45", "1", **killed))[0] == 409
    assert code(await ann.create("bid", "0.46", "1", **killed)) == (409, "order_already_exists")
    await ann.order("bid", "0.46", "1", **killed | {"client_order_id": "anew"})


async def test_an_immediate_order_without_a_match_is_accepted_and_gone(ann: Trader) -> None:
    answer = await ann.order("bid", "0.45", "10", time_in_force="immediate_or_cancel")
    assert (answer["fill_count"], answer["remaining_count"]) == ("0.00", "0.00")
    shown = (await ann.get(f"/portfolio/orders/{answer['order_id']}"))["order"]
    assert (shown["status"], shown["initial_count_fp"], shown["remaining_count_fp"]) == ("canceled", "10.00", "0.00")


async def test_post_only_that_crosses_may_be_accepted_and_canceled_instead() -> None:
    async with trading(terms=Terms(tier="unlimited", post_only_cross="cancel")) as (_, [ann, _bob]):
        answer = await ann.order("bid", "0.46", "10", post_only=True)
        assert (answer["fill_count"], answer["remaining_count"]) == ("0.00", "0.00")
        assert (await ann.get(f"/portfolio/orders/{answer['order_id']}"))["order"]["status"] == "canceled"


async def test_reduce_only_closes_no_more_than_there_is(ann: Trader) -> None:
    await ann.order("bid", "0.46", "10")
    closing = {"reduce_only": True, "time_in_force": "immediate_or_cancel"}
    assert (await ann.order("ask", "0.40", "25", **closing))["fill_count"] == "10.00"
    assert (await ann.order("ask", "0.40", "25", **closing))["fill_count"] == "0.00"


async def test_an_order_may_expire(ann: Trader) -> None:
    answer = await ann.order("bid", "0.42", "1", expiration_time=4_000_000_000)
    shown = (await ann.get(f"/portfolio/orders/{answer['order_id']}"))["order"]
    assert shown["expiration_time"] == "2096-10-02T07:06:40Z"


async def test_after_its_close_a_market_takes_neither_orders_nor_cancellations(venue: LocalVenue, ann: Trader) -> None:
    resting = await ann.order("bid", "0.42", "1")
    venue.exchange.venue.markets[MARKET].close_us = START_US  # orders are taken out only at the next look
    assert code(await ann.create("bid", "0.42", "1")) == (400, "market_inactive")
    response = await cancel(ann, resting["order_id"])
    assert code(response) in ((400, "market_inactive"), (404, "not_found"))


async def test_a_pause_of_trading_lets_cancellations_through(venue: LocalVenue, ann: Trader) -> None:
    resting = await ann.order("bid", "0.42", "1")
    venue.exchange.control.pause()
    status = (await ann.public("/exchange/status")).json()
    assert (status["exchange_active"], status["trading_active"]) == (True, False)
    assert status["exchange_index_statuses"][0]["trading_active"] is False
    assert (await ann.create("bid", "0.42", "1")).status_code >= 400
    assert (await cancel(ann, resting["order_id"])).status_code == 200
    venue.exchange.control.resume()
    await ann.order("bid", "0.42", "1")


async def test_a_pause_of_the_exchange_lets_nothing_through(venue: LocalVenue, ann: Trader) -> None:
    resting = await ann.order("bid", "0.42", "1")
    venue.exchange.control.pause(exchange=True)
    assert (await cancel(ann, resting["order_id"])).status_code >= 400
    assert (await ann.public("/exchange/status")).json()["exchange_active"] is False


# Canceling.


async def test_a_cancellation_says_what_was_left(ann: Trader) -> None:
    order = await ann.order("ask", "0.44", "150", client_order_id="mine")  # 100 of them trade
    response = await cancel(ann, order["order_id"])
    assert response.status_code == 200
    assert faults(response.json(), official.CANCELED) == []
    assert (response.json()["reduced_by"], response.json()["client_order_id"]) == ("50.00", "mine")


async def test_gone_filled_foreign_and_unknown_orders_are_all_alike(ann: Trader, bob: Trader) -> None:
    gone, filled = await ann.order("bid", "0.42", "1"), await ann.order("bid", "0.46", "1")
    foreign = await bob.order("bid", "0.42", "1")
    await cancel(ann, gone["order_id"])
    for order_id in (gone["order_id"], filled["order_id"], foreign["order_id"], "no-such-order"):
        response = await cancel(ann, order_id)
        assert code(response) == (404, "not_found")
    assert (await cancel(bob, foreign["order_id"])).status_code == 200


async def test_an_order_is_looked_for_where_the_caller_says(ann: Trader) -> None:
    queries: tuple[tuple[dict[str, Any], int], ...] = (
        ({}, 200),
        ({"market_ticker": MARKET}, 200),
        ({"exchange_index": 0}, 200),
        ({"exchange_index": -1}, 200),
        ({"subaccount": 0}, 200),
        ({"market_ticker": OTHER}, 404),
        ({"exchange_index": 1}, 404),
        ({"subaccount": 1}, 404),
    )
    for query, status in queries:
        order = await ann.order("bid", "0.42", "1")
        assert (await cancel(ann, order["order_id"], **query)).status_code == status, query


async def test_a_cancellation_may_have_a_body(ann: Trader) -> None:
    order = await ann.order("bid", "0.42", "1")
    assert (await ann.send("DELETE", f"{ORDERS}/{order['order_id']}", {})).status_code == 200


async def test_cancel_all_has_no_body_and_takes_what_comes_in_the_next_minute() -> None:
    clock = ManualClock(wall_ns=SystemClock().wall_ns())
    async with trading(clock=clock) as (_, [ann, bob]):
        for price in ("0.40", "0.41"):
            await ann.order("bid", price, "1")
        foreign = await bob.order("bid", "0.42", "1")
        response = await ann.send("DELETE", ORDERS)
        assert (response.status_code, response.content) == (204, b"")
        clock.advance(59)
        await ann.order("bid", "0.42", "1")
        statuses = [order["status"] for order in (await ann.get("/portfolio/orders"))["orders"]]
        assert statuses == ["canceled"] * 3
        clock.advance(2)
        late = await ann.order("bid", "0.42", "1")
        assert late["remaining_count"] == "1.00"
        assert (await bob.get(f"/portfolio/orders/{foreign['order_id']}"))["order"]["status"] == "resting"


# Changing.


async def amend(trader: Trader, order_id: str, price: str, count: str, **more: Any) -> httpx.Response:
    body = {"ticker": MARKET, "side": "bid", "price": price, "count": count, **more}
    return await trader.send("POST", f"{ORDERS}/{order_id}/amend", body)


async def ahead(trader: Trader, order_id: str) -> str:
    return str((await trader.get(f"/portfolio/orders/{order_id}/queue_position"))["queue_position_fp"])


async def test_a_smaller_order_keeps_its_place_and_a_larger_one_loses_it(ann: Trader, bob: Trader) -> None:
    first, _ = await ann.order("bid", "0.42", "10"), await bob.order("bid", "0.42", "5")
    assert await ahead(ann, first["order_id"]) == "100.00"
    smaller = await amend(ann, first["order_id"], "0.42", "8")
    assert smaller.status_code == 200
    assert (smaller.json()["fill_count"], smaller.json()["remaining_count"]) == ("0.00", "8.00")
    assert isinstance(smaller.json()["ts_ms"], int)
    assert await ahead(ann, first["order_id"]) == "100.00"
    assert (await amend(ann, first["order_id"], "0.42", "9")).status_code == 200
    assert await ahead(ann, first["order_id"]) == "105.00"


async def test_the_count_of_an_amendment_has_what_was_filled_in_it(ann: Trader) -> None:
    order = await ann.order("bid", "0.46", "150")  # 100 trade, 50 rest
    answer = (await amend(ann, order["order_id"], "0.46", "130")).json()
    assert (answer["fill_count"], answer["remaining_count"]) == ("100.00", "30.00")
    assert answer["average_fill_price"] == "0.4600"
    assert code(await amend(ann, order["order_id"], "0.46", "100")) == (400, "invalid_order")


async def test_an_amendment_may_cross(ann: Trader) -> None:
    order = await ann.order("bid", "0.44", "10")
    answer = (await amend(ann, order["order_id"], "0.46", "10")).json()
    assert (answer["fill_count"], answer["remaining_count"]) == ("10.00", "0.00")


async def test_an_amendment_may_rename_and_change_the_expiry(ann: Trader) -> None:
    order = await ann.order("bid", "0.42", "1", client_order_id="old", expiration_time=4_000_000_000)
    path = f"/portfolio/orders/{order['order_id']}"
    names = {"client_order_id": "old", "updated_client_order_id": "new"}
    assert (await amend(ann, order["order_id"], "0.42", "1", **names)).json()["client_order_id"] == "new"
    kept = (await ann.get(path))["order"]
    assert (kept["client_order_id"], kept["expiration_time"]) == ("new", "2096-10-02T07:06:40Z")
    assert (await amend(ann, order["order_id"], "0.42", "1", expiration_time=0)).status_code == 200
    assert (await ann.get(path))["order"]["expiration_time"] is None
    assert code(await amend(ann, order["order_id"], "0.42", "1", expiration_time=5)) == (400, "invalid_order")


async def test_what_an_amendment_may_not_do(ann: Trader) -> None:
    changes: tuple[tuple[dict[str, Any], tuple[int, str]], ...] = (
        ({"count": 10}, (400, "invalid_parameters")),
        ({"price": None}, (400, "invalid_parameters")),
        ({"price": "0.4250"}, (400, "invalid_price")),
        ({"side": "ask"}, (400, "invalid_order")),
        ({"ticker": OTHER}, (404, "not_found")),
        ({"count": "30000"}, (400, "insufficient_balance")),
    )
    order = await ann.order("bid", "0.42", "1")
    for change, expected in changes:
        assert code(await amend(ann, order["order_id"], **{"price": "0.42", "count": "2", **change})) == expected, (
            change
        )
    assert (await ann.get(f"/portfolio/orders/{order['order_id']}"))["order"]["remaining_count_fp"] == "1.00"


async def decrease(trader: Trader, order_id: str, body: dict[str, Any]) -> httpx.Response:
    return await trader.send("POST", f"{ORDERS}/{order_id}/decrease", body)


async def test_an_order_can_be_decreased(ann: Trader) -> None:
    bodies = ({"reduce_by": "3"}, "7.00"), ({"reduce_to": "3.50"}, "3.50"), ({"reduce_to": "0"}, "0.00")
    for body, left in bodies:
        order = await ann.order("bid", "0.42", "10")
        response = await decrease(ann, order["order_id"], body | {"market_ticker": MARKET})
        assert response.status_code == 200
        assert faults(response.json(), official.DECREASED) == []
        assert response.json()["remaining_count"] == left
    assert (await ann.get(f"/portfolio/orders/{order['order_id']}"))["order"]["status"] == "canceled"


async def test_what_a_decrease_may_not_do(ann: Trader) -> None:
    order = await ann.order("bid", "0.42", "10")
    bodies: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "invalid_order"),
        ({"reduce_by": "1", "reduce_to": "2"}, "invalid_order"),
        ({"reduce_by": 1}, "invalid_parameters"),
        ({"reduce_by": "11"}, "invalid_order"),
        ({"reduce_to": "10"}, "invalid_order"),
    )
    for body, expected in bodies:
        assert code(await decrease(ann, order["order_id"], body)) == (400, expected), body
    assert code(await decrease(ann, order["order_id"], {"reduce_by": "1", "market_ticker": OTHER}))[0] == 404


# Batches.


async def test_each_order_of_a_batch_stands_for_itself(ann: Trader) -> None:
    orders = [
        ticket("bid", "0.42", "1", client_order_id="a"),
        ticket("bid", "0.4250", "1", client_order_id="b"),
        ticket("ask", "0.44", "2", client_order_id="c"),
        ticket("bid", "0.42", "1", client_order_id="a"),
        ticket("bid", "7.77", "1"),
        ticket("bid", "0.42", "1", subaccount=4),
    ]
    response = await ann.send("POST", f"{ORDERS}/batched", {"orders": orders})
    assert response.status_code == 201
    first, second, third, fourth, fifth, sixth = response.json()["orders"]
    for answer in (first, third):
        assert faults(answer, official.CREATED) == []
    assert third["fill_count"] == "2.00"
    assert (second["client_order_id"], second["error"]["code"]) == ("b", "invalid_price")
    assert (fourth["client_order_id"], fourth["error"]["code"]) == ("a", "order_already_exists")
    assert (fifth.keys(), fifth["error"]["code"]) == ({"error"}, "invalid_price")
    assert sixth["error"]["code"] == "user_not_found"


async def test_a_batch_of_which_one_does_not_parse_does_nothing(ann: Trader) -> None:
    orders = [ticket("bid", "0.42", "1"), ticket("bid", "0.42", "1") | {"count": 1}]
    assert code(await ann.send("POST", f"{ORDERS}/batched", {"orders": orders})) == (400, "invalid_parameters")
    assert (await ann.get("/portfolio/orders"))["orders"] == []


async def test_a_batch_is_a_list_of_objects(ann: Trader) -> None:
    bodies: tuple[dict[str, Any], ...] = ({}, {"orders": []}, {"orders": {}}, {"orders": ["x"]})
    for body in bodies:
        for method in ("POST", "DELETE"):
            assert code(await ann.send(method, f"{ORDERS}/batched", body)) == (400, "invalid_parameters")


async def test_orders_are_canceled_in_a_batch_with_a_body(ann: Trader) -> None:
    one, two = await ann.order("bid", "0.42", "3", client_order_id="one"), await ann.order("bid", "0.41", "4")
    items = [
        {"order_id": one["order_id"], "market_ticker": MARKET},
        {"order_id": "gone"},
        {"order_id": two["order_id"], "subaccount": 0, "exchange_index": 0},
    ]
    response = await ann.send("DELETE", f"{ORDERS}/batched", {"orders": items})
    assert response.status_code == 200
    first, second, third = response.json()["orders"]
    assert faults(first, official.CANCELED) == faults(third, official.CANCELED) == []
    assert (first["reduced_by"], first["client_order_id"], third["reduced_by"]) == ("3.00", "one", "4.00")
    assert (second["order_id"], second["reduced_by"], second["error"]["code"]) == ("gone", "0.00", "not_found")


# The retired writes.


async def test_writes_of_version_1_are_gone(ann: Trader) -> None:
    for method in ("POST", "DELETE"):
        for path in ("", "/batched", "/some-order", "/some-order/amend", "/some-order/decrease"):
            response = await ann.send(method, f"/portfolio/orders{path}", {"ids": ["a"], "ticker": MARKET})
            assert code(response) == (410, "deprecated_v1_order_endpoint"), (method, path)


# Reading.


async def test_every_order_has_the_official_fields(ann: Trader, bob: Trader) -> None:
    await ann.order("bid", "0.42", "1")
    await ann.order("ask", "0.44", "150", client_order_id="two")
    await bob.order("bid", "0.42", "1")
    listed = await ann.get("/portfolio/orders")
    assert listed["cursor"] == ""
    assert [faults(order, official.ORDER) for order in listed["orders"]] == [[], []]
    newest, oldest = listed["orders"]
    assert (newest["client_order_id"], oldest["client_order_id"]) == ("two", "")
    assert (newest["book_side"], newest["outcome_side"], newest["side"], newest["action"]) == (
        "ask",
        "no",
        "yes",
        "sell",
    )
    assert (newest["fill_count_fp"], newest["remaining_count_fp"]) == ("100.00", "50.00")
    assert newest == (await ann.get(f"/portfolio/orders/{newest['order_id']}"))["order"]
    assert code(await bob.send("GET", f"/portfolio/orders/{newest['order_id']}")) == (404, "not_found")


async def test_orders_can_be_filtered(ann: Trader) -> None:
    resting = await ann.order("bid", "0.42", "1")
    executed = await ann.order("bid", "0.46", "1")
    elsewhere = await ann.order("bid", "0.42", "1", ticker=OTHER)
    gone = await ann.order("bid", "0.42", "1")
    await cancel(ann, gone["order_id"])
    now_s = SystemClock().wall_ns() // 10**9
    for query, expected in (
        ({}, [gone, elsewhere, executed, resting]),
        ({"status": "resting"}, [elsewhere, resting]),
        ({"status": "executed"}, [executed]),
        ({"status": "canceled"}, [gone]),
        ({"ticker": OTHER}, [elsewhere]),
        ({"event_ticker": "KXHIGHNY-26NOV23"}, [elsewhere]),
        ({"event_ticker": "KXHIGHNY-26NOV23,INXD-25JAN03", "status": "resting"}, [elsewhere, resting]),
        ({"ticker": MARKET, "event_ticker": "KXHIGHNY-26NOV23"}, []),
        ({"min_ts": now_s + 60}, []),
        ({"max_ts": now_s - 60}, []),
        ({"min_ts": now_s - 60, "max_ts": now_s + 60}, [gone, elsewhere, executed, resting]),
        ({"subaccount": 0}, [gone, elsewhere, executed, resting]),
        ({"exchange_index": 0, "status": "executed"}, [executed]),
        ({"exchange_index": 1}, []),
    ):
        shown = (await ann.get("/portfolio/orders", **query))["orders"]
        assert [order["order_id"] for order in shown] == [order["order_id"] for order in expected], query


async def test_a_walk_through_pages_is_not_shifted_by_new_orders(ann: Trader) -> None:
    placed = [(await ann.order("bid", "0.42", "1"))["order_id"] for _ in range(5)]
    seen, cursor = [], ""
    while True:
        shown = await ann.get("/portfolio/orders", limit=2, cursor=cursor)
        seen += [order["order_id"] for order in shown["orders"]]
        cursor = shown["cursor"]
        if not cursor:
            break
        await ann.order("bid", "0.42", "1")
    assert seen == placed[::-1]


async def test_a_walk_over_what_rests_misses_nothing_when_its_last_order_goes(ann: Trader) -> None:
    placed = [(await ann.order("bid", f"0.3{number}", "1"))["order_id"] for number in range(5)]
    first = await ann.get("/portfolio/orders", status="resting", limit=2)
    assert [order["order_id"] for order in first["orders"]] == placed[:2:-1]
    await cancel(ann, placed[3])
    rest = await ann.get("/portfolio/orders", status="resting", limit=3, cursor=first["cursor"])
    assert ([order["order_id"] for order in rest["orders"]], rest["cursor"]) == (placed[2::-1], "")


WRONG_QUERIES: tuple[dict[str, Any], ...] = (
    {"limit": 0},
    {"limit": "many"},
    {"status": "open"},
    {"cursor": "%%%"},
    {"min_ts": "yesterday"},
    {"exchange_index": "first"},
    {"event_ticker": ",".join(f"E{n}" for n in range(11))},
)


async def test_wrong_queries_are_refused(ann: Trader) -> None:
    for query in WRONG_QUERIES:
        assert code(await ann.send("GET", "/portfolio/orders", **query)) == (400, "invalid_parameters"), query
    response = await ann.send("GET", "/portfolio/orders", limit=1001)
    assert (response.status_code, response.json()) == (400, {"msg": "limit must not exceed 1000"})


async def test_places_in_queues(ann: Trader, bob: Trader) -> None:
    await bob.order("bid", "0.42", "7")
    mine, there = await ann.order("bid", "0.42", "1"), await ann.order("ask", "0.46", "1", ticker=OTHER)
    await ann.order("bid", "0.46", "1")
    path = "/portfolio/orders/queue_positions"
    both = (await ann.get(path, market_tickers=f"{MARKET},{OTHER}"))["queue_positions"]
    assert both == [
        {"order_id": mine["order_id"], "market_ticker": MARKET, "queue_position_fp": "107.00"},
        {"order_id": there["order_id"], "market_ticker": OTHER, "queue_position_fp": "100.00"},
    ]
    assert (await ann.get(path, event_ticker="KXHIGHNY-26NOV23"))["queue_positions"] == both[1:]
    assert code(await ann.send("GET", path)) == (400, "invalid_parameters")
    await cancel(ann, mine["order_id"])
    assert code(await ann.send("GET", f"/portfolio/orders/{mine['order_id']}/queue_position")) == (404, "not_found")


async def test_the_queue_is_walked_once_for_all_orders_of_a_level(
    ann: Trader, bob: Trader, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"orders": [ticket("bid", "0.45", "0.5")] * 500}
    for _ in range(4):
        assert (await ann.send("POST", f"{ORDERS}/batched", body)).status_code == 201
        await bob.order("bid", "0.45", "1")
    walks = []
    for name in ("ahead", "orders_at"):
        walk = getattr(OrderBook, name)
        monkeypatch.setattr(OrderBook, name, lambda *which, walk=walk: walks.append(which) or walk(*which))
    listed = (await ann.get("/portfolio/orders/queue_positions", market_tickers=MARKET))["queue_positions"]
    assert len(walks) == 1  # 2,000 walks of 2,000 orders each would stop the exchange for a while
    expected = [f"{number // 2 + number // 500}.{number % 2 * 5}0" for number in range(2000)]
    assert [entry["queue_position_fp"] for entry in listed] == expected


async def test_a_key_for_one_subaccount_touches_no_other(venue: LocalVenue, ann: Trader) -> None:
    assert (await ann.send("POST", "/portfolio/subaccounts")).json() == {"subaccount_number": 1}
    narrow = narrowed(venue.exchange.access, ann, "read", "write", subaccount=1)
    assert code(await narrow.create("bid", "0.42", "1", subaccount=0)) == (403, "forbidden")
    assert code(await narrow.create("bid", "0.42", "1")) == (400, "insufficient_balance")  # its own, which is empty
    mine = await ann.order("bid", "0.42", "1")
    assert (await narrow.get("/portfolio/orders"))["orders"] == []
    assert code(await cancel(narrow, mine["order_id"])) == (404, "not_found")
    assert code(await narrow.send("GET", "/portfolio/orders", subaccount=0)) == (403, "forbidden")


async def test_markets_that_are_not_open_yet_take_no_orders() -> None:
    clock = SystemClock()
    unopened = replace(listing("KXLATER-26NOV23-T1"), open_us=clock.wall_ns() // 1000 + 10**12)
    async with trading(markets=(unopened,)) as (_, [ann, _bob]):
        assert code(await ann.create("bid", "0.42", "1", ticker=unopened.ticker)) == (400, "market_inactive")
