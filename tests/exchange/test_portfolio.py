"""Balance, positions, fills, settlements and transfers over REST."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from kflow.clock import SystemClock
from kflow.testing.trader import Trader, narrowed, trading
from kflow.testing.venue import LocalVenue, listing
from kflow.units import Price

from . import official
from .official import faults

LOW, HIGH = "KXHIGHNY-26NOV23-B40", "KXHIGHNY-26NOV23-B50"
RAIN = "KXRAIN-26NOV23-T1"
SHARD_TRANSFER = "/portfolio/intra_exchange_instance_transfer"


@pytest.fixture
async def pair() -> AsyncIterator[tuple[LocalVenue, list[Trader]]]:
    """Two users; YES bids of 100 contracts at 40 to 44 cents, asks at 46 to 50, in three markets of two events."""
    async with trading(markets=(LOW, HIGH, RAIN)) as both:
        yield both


async def settle(venue: LocalVenue, ticker: str, value: int) -> None:
    venue.exchange.control.determine(ticker, Price(value))
    venue.exchange.control.settle(ticker, Price(value))
    venue.exchange.desk.flush()


# Balance.


async def test_a_balance_is_what_is_free(ann: Trader) -> None:
    start = await ann.get("/portfolio/balance")
    assert faults(start, official.BALANCE) == []
    assert [faults(entry, official.INDEXED_BALANCE) for entry in start["balance_breakdown"]] == [[]]
    assert (start["balance"], start["balance_dollars"], start["portfolio_value"]) == (1_000_000, "10000.000000", 0)
    await ann.order("bid", "0.42", "10", ticker=LOW)  # 4.20
    await ann.order("ask", "0.48", "1.01", ticker=LOW)  # 0.52 x 1.01
    after = await ann.get("/portfolio/balance")
    assert after["balance_dollars"] == "9995.274800"
    assert after["balance"] == 999_527  # whole cents, rounded down
    assert after["balance_breakdown"] == [{"exchange_index": 0, "balance": "9995.274800"}]
    resting = await ann.get("/portfolio/summary/total_resting_order_value")
    assert resting == {
        "total_resting_order_value": 472,
        "resting_order_value_breakdown": [{"exchange_index": 0, "balance": "4.725200"}],
    }


async def test_positions_are_worth_what_they_would_bring(ann: Trader) -> None:
    await ann.order("bid", "0.46", "10", ticker=LOW)  # the best bid is 44 cents
    await ann.order("ask", "0.44", "10", ticker=HIGH)  # the best ask is 46 cents: a NO brings 54
    assert (await ann.get("/portfolio/balance"))["portfolio_value"] == 440 + 540


async def test_balances_are_asked_of_a_subaccount_and_a_shard(ann: Trader) -> None:
    await ann.send("POST", "/portfolio/subaccounts", {"exchange_index": 0})
    assert (await ann.get("/portfolio/balance", subaccount=1))["balance"] == 0
    assert (await ann.get("/portfolio/balance", exchange_index=0))["balance"] == 1_000_000
    elsewhere = await ann.get("/portfolio/balance", exchange_index=3)
    assert (elsewhere["balance"], elsewhere["balance_breakdown"]) == (0, [])
    missing = await ann.send("GET", "/portfolio/balance", subaccount=2)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "user_not_found")


async def test_a_restricted_key_is_not_told_the_breakdown(venue: LocalVenue, ann: Trader) -> None:
    narrow = narrowed(venue.exchange.access, ann, "read", subaccount=0)
    assert "balance_breakdown" not in await narrow.get("/portfolio/balance")


# Positions.


async def test_positions_and_what_events_add_up_to(ann: Trader, bob: Trader) -> None:
    await ann.order("bid", "0.46", "10", ticker=LOW)
    await ann.order("ask", "0.44", "5.50", ticker=HIGH)
    await ann.order("bid", "0.42", "1", ticker=HIGH)
    await bob.order("bid", "0.46", "1", ticker=RAIN)
    shown = await ann.get("/portfolio/positions")
    assert [faults(position, official.MARKET_POSITION) for position in shown["market_positions"]] == [[], []]
    low, high = shown["market_positions"]
    assert (low["ticker"], low["position_fp"], low["market_exposure_dollars"]) == (LOW, "10.00", "4.600000")
    assert (high["ticker"], high["position_fp"], high["market_exposure_dollars"]) == (HIGH, "-5.50", "3.080000")
    assert (low["resting_orders_count"], high["resting_orders_count"]) == (0, 1)
    [event] = shown["event_positions"]
    assert faults(event, official.EVENT_POSITION) == []
    assert event["event_ticker"] == "KXHIGHNY-26NOV23"
    assert event["total_cost_dollars"] == event["event_exposure_dollars"] == "7.680000"
    assert event["total_cost_shares_fp"] == "15.50"


async def test_positions_can_be_filtered(venue: LocalVenue, ann: Trader) -> None:
    await ann.order("bid", "0.46", "10", ticker=LOW)
    await ann.order("bid", "0.46", "10", ticker=HIGH)
    await ann.order("ask", "0.44", "10", ticker=HIGH)  # closed again
    await ann.order("bid", "0.46", "10", ticker=RAIN)
    await settle(venue, RAIN, 10_000)
    for query, expected in (
        ({}, [LOW, HIGH]),
        ({"settlement_status": "unsettled"}, [LOW, HIGH]),
        ({"settlement_status": "settled"}, [RAIN]),
        ({"settlement_status": "all"}, [LOW, HIGH, RAIN]),
        ({"count_filter": "position"}, [LOW]),
        ({"count_filter": "total_traded"}, [LOW, HIGH]),
        ({"count_filter": "position,total_traded", "settlement_status": "all"}, [LOW, HIGH, RAIN]),
        ({"ticker": HIGH}, [HIGH]),
        ({"event_ticker": "KXHIGHNY-26NOV23"}, [LOW, HIGH]),
        ({"event_ticker": "KXRAIN-26NOV23"}, []),
        ({"exchange_index": 0}, [LOW, HIGH]),
        ({"exchange_index": 1}, []),
    ):
        shown = await ann.get("/portfolio/positions", **query)
        assert sorted(position["ticker"] for position in shown["market_positions"]) == sorted(expected), query
        events = {ticker.rpartition("-")[0] for ticker in expected}
        assert {event["event_ticker"] for event in shown["event_positions"]} == events, query


async def test_positions_have_pages(ann: Trader) -> None:
    for ticker in (LOW, HIGH, RAIN):
        await ann.order("bid", "0.46", "1", ticker=ticker)
    first = await ann.get("/portfolio/positions", limit=2)
    second = await ann.get("/portfolio/positions", limit=2, cursor=first["cursor"])
    tickers = [position["ticker"] for part in (first, second) for position in part["market_positions"]]
    assert tickers == sorted([LOW, HIGH, RAIN])
    assert second["cursor"] == ""


async def test_wrong_questions_about_positions_are_refused(ann: Trader) -> None:
    for query in ({"settlement_status": "closed"}, {"count_filter": "volume"}, {"limit": 0}, {"subaccount": "one"}):
        response = await ann.send("GET", "/portfolio/positions", **query)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_parameters"), query


# Fills.


async def test_fills_are_of_one_trade_on_both_sides(ann: Trader, bob: Trader) -> None:
    resting = await bob.order("ask", "0.45", "3", ticker=LOW)
    taking = await ann.order("bid", "0.45", "3", ticker=LOW)
    [taken], [made] = [(await trader.get("/portfolio/fills"))["fills"] for trader in (ann, bob)]
    assert faults(taken, official.FILL) == faults(made, official.FILL) == []
    assert taken["trade_id"] == made["trade_id"]
    assert (taken["order_id"], made["order_id"]) == (taking["order_id"], resting["order_id"])
    assert (taken["is_taker"], made["is_taker"]) == (True, False)
    assert (taken["book_side"], made["book_side"]) == ("bid", "ask")
    assert (taken["side"], made["side"]) == ("yes", "no")
    assert taken["yes_price_dollars"] == made["yes_price_dollars"] == "0.4500"
    assert (taken["fee_cost"], made["fee_cost"]) == ("0.052000", "0.000000")
    assert "client_order_id" not in taken
    trades = (await ann.public(f"/markets/trades?ticker={LOW}")).json()["trades"]
    assert [trade["trade_id"] for trade in trades] == [taken["trade_id"]]


async def test_fills_can_be_filtered_and_paged(ann: Trader) -> None:
    sweep = await ann.order("bid", "0.48", "250", ticker=LOW)  # three makers
    other = await ann.order("ask", "0.44", "1", ticker=RAIN)
    fills = (await ann.get("/portfolio/fills"))["fills"]
    assert [fill["ticker"] for fill in fills] == [RAIN, LOW, LOW, LOW]
    assert [fill["yes_price_dollars"] for fill in fills[1:]] == ["0.4800", "0.4700", "0.4600"]  # newest first
    now_s = SystemClock().wall_ns() // 10**9
    for query, expected in (
        ({"ticker": LOW}, fills[1:]),
        ({"ticker": f"{LOW},{RAIN}"}, fills),
        ({"order_id": other["order_id"]}, fills[:1]),
        ({"order_id": sweep["order_id"], "ticker": RAIN}, []),
        ({"min_ts": now_s + 60}, []),
        ({"min_ts": now_s - 60, "max_ts": now_s + 60}, fills),
        ({"exchange_index": 1}, []),
        ({"subaccount": 0}, fills),
    ):
        assert (await ann.get("/portfolio/fills", **query))["fills"] == expected, query
    walked, cursor = [], ""
    for _ in range(4):
        part = await ann.get("/portfolio/fills", limit=1, cursor=cursor)
        walked, cursor = walked + part["fills"], part["cursor"]
    assert (walked, cursor) == (fills, "")


async def test_fills_between_ones_own_subaccounts_are_both_shown(ann: Trader) -> None:
    await ann.send("POST", "/portfolio/subaccounts")
    await ann.send("POST", "/portfolio/subaccounts/transfer", transfer(0, 1, 1_000))
    await ann.order("bid", "0.46", "1", ticker=LOW)
    await ann.order("ask", "0.45", "3", ticker=LOW, subaccount=1)
    await ann.order("bid", "0.45", "3", ticker=LOW)
    both = await ann.get("/portfolio/fills", limit=2)
    rest = await ann.get("/portfolio/fills", limit=2, cursor=both["cursor"])
    assert {fill["subaccount_number"] for fill in both["fills"]} == {0, 1}
    assert [fill["count_fp"] for fill in rest["fills"]] == ["1.00"]
    [own] = (await ann.get("/portfolio/fills", subaccount=1))["fills"]
    assert (own["subaccount_number"], own["book_side"]) == (1, "ask")


# Settlements.


@pytest.mark.parametrize(
    ("value", "result", "yes_cents", "no_cents"),
    [(10_000, "yes", 1000, 0), (0, "no", 0, 1000), (3_300, "scalar", 330, 670)],
)
async def test_a_settlement_pays_and_says_so(
    venue: LocalVenue, ann: Trader, bob: Trader, value: int, result: str, yes_cents: int, no_cents: int
) -> None:
    await bob.order("ask", "0.45", "10", ticker=LOW)
    await ann.order("bid", "0.45", "10", ticker=LOW)
    before = [(await trader.get("/portfolio/balance"))["balance"] for trader in (ann, bob)]
    await settle(venue, LOW, value)
    after = [(await trader.get("/portfolio/balance"))["balance"] for trader in (ann, bob)]
    assert [new - old for new, old in zip(after, before, strict=True)] == [yes_cents, no_cents]
    for trader, revenue, side in ((ann, yes_cents, "yes"), (bob, no_cents, "no")):
        [settlement] = (await trader.get("/portfolio/settlements"))["settlements"]
        assert faults(settlement, official.SETTLEMENT) == []
        assert (settlement["ticker"], settlement["market_result"]) == (LOW, result)
        assert (settlement["revenue"], settlement["value"]) == (revenue, value // 100)
        assert settlement[f"{side}_count_fp"] == "10.00"
        assert (await trader.get("/portfolio/balance"))["portfolio_value"] == 0


async def test_settlements_can_be_filtered(venue: LocalVenue, ann: Trader) -> None:
    for ticker in (LOW, RAIN):
        await ann.order("bid", "0.46", "1", ticker=ticker)
        await settle(venue, ticker, 0)
    now_s = SystemClock().wall_ns() // 10**9
    for query, expected in (
        ({}, [RAIN, LOW]),
        ({"ticker": LOW}, [LOW]),
        ({"event_ticker": "KXRAIN-26NOV23"}, [RAIN]),
        ({"min_ts": now_s + 60}, []),
        ({"max_ts": now_s + 60, "limit": 1}, [RAIN]),
    ):
        shown = (await ann.get("/portfolio/settlements", **query))["settlements"]
        assert [settlement["ticker"] for settlement in shown] == expected, query


# Lists that are empty here, and what lists refuse.


async def test_nothing_is_as_old_as_the_cutoff_and_no_money_comes_in(ann: Trader) -> None:
    await ann.order("bid", "0.46", "1", ticker=LOW)
    assert await ann.get("/historical/fills", ticker=LOW) == {"fills": [], "cursor": ""}
    assert await ann.get("/historical/orders") == {"orders": [], "cursor": ""}
    assert await ann.get("/historical/positions") == {"market_positions": [], "event_positions": [], "cursor": ""}
    assert await ann.get("/portfolio/deposits") == {"deposits": [], "cursor": ""}
    assert await ann.get("/portfolio/withdrawals") == {"withdrawals": [], "cursor": ""}
    cutoff = (await ann.public("/historical/cutoff")).json()["orders_updated_ts"]
    [fill] = (await ann.get("/portfolio/fills"))["fills"]
    assert fill["created_time"] > cutoff


async def test_no_list_has_longer_pages_than_the_documents_allow(ann: Trader) -> None:
    for path, most in (
        ("fills", 1000),
        ("orders", 1000),
        ("positions", 1000),
        ("settlements", 1000),
        ("deposits", 500),
        ("withdrawals", 500),
        ("subaccounts/transfers", 1000),
        ("intra_exchange_instance_transfers", 500),
    ):
        assert (await ann.send("GET", f"/portfolio/{path}", limit=most)).status_code == 200, path
        response = await ann.send("GET", f"/portfolio/{path}", limit=most + 1)
        assert (response.status_code, response.json()) == (400, {"msg": f"limit must not exceed {most}"}), path


# Subaccounts and shards.


def transfer(source: int, target: int, cents: Any, **more: Any) -> dict[str, Any]:
    names = {"from_subaccount": source, "to_subaccount": target, "amount_cents": cents}
    return {"client_transfer_id": str(uuid4()), **names, **more}


async def test_cash_moves_between_subaccounts_once(ann: Trader) -> None:
    assert (await ann.send("POST", "/portfolio/subaccounts")).json() == {"subaccount_number": 1}
    body = transfer(0, 1, 12_345)
    for _ in range(2):
        response = await ann.send("POST", "/portfolio/subaccounts/transfer", body)
        assert (response.status_code, response.json()) == (200, {})
    balances = (await ann.get("/portfolio/subaccounts/balances"))["subaccount_balances"]
    assert [faults(balance, official.SUBACCOUNT_BALANCE) for balance in balances] == [[], []]
    assert [balance["balance"] for balance in balances] == ["9876.550000", "123.450000"]
    [listed] = (await ann.get("/portfolio/subaccounts/transfers"))["transfers"]
    assert faults(listed, official.SUBACCOUNT_TRANSFER) == []
    assert (listed["from_subaccount"], listed["to_subaccount"], listed["amount_cents"]) == (0, 1, 12_345)


async def test_what_a_transfer_may_not_do(ann: Trader) -> None:
    await ann.send("POST", "/portfolio/subaccounts")
    for body, status, why in (
        (transfer(0, 1, 1_000_001), 400, "less than 10000.010000 is free in subaccount 0"),
        (transfer(1, 0, 1), 400, "less than 0.010000 is free in subaccount 1"),
        (transfer(0, 1, 0), 400, "amount_cents must be positive"),
        (transfer(0, 1, -5), 400, "amount_cents must be positive"),
        (transfer(0, 1, "5"), 400, "amount_cents must be an integer"),
        (transfer(0, 0, 5), 400, "are the same"),
        (transfer(0, 7, 5), 404, "subaccount 7"),
        (transfer(0, 1, 5, client_transfer_id="not a uuid"), 400, "must be a UUID"),
        (transfer(0, 1, 5, exchange_index=4), 400, "is free"),
    ):
        response = await ann.send("POST", "/portfolio/subaccounts/transfer", body)
        assert response.status_code == status, body
        assert why in response.text
    assert (await ann.get("/portfolio/balance"))["balance"] == 1_000_000


async def test_cash_moves_between_shards(ann: Trader) -> None:
    body = {
        "source": "event_contract",
        "destination": "event_contract",
        "amount": 12_345,  # hundredths of a cent
        "source_exchange_shard": 0,
        "destination_exchange_shard": 2,
        "client_transfer_id": str(uuid4()),
    }
    ids = {(await ann.send("POST", SHARD_TRANSFER, body)).json()["transfer_id"] for _ in range(2)}
    assert len(ids) == 1
    breakdown = (await ann.get("/portfolio/balance"))["balance_breakdown"]
    assert breakdown == [
        {"exchange_index": 0, "balance": "9998.765500"},
        {"exchange_index": 2, "balance": "1.234500"},
    ]
    [listed] = (await ann.get(f"{SHARD_TRANSFER}s"))["transfers"]
    assert faults(listed, official.SHARD_TRANSFER) == []
    assert (listed["amount"], listed["destination_exchange_shard"]) == ("1.234500", 2)
    assert (await ann.get(f"{SHARD_TRANSFER}s/{listed['transfer_id']}"))["transfer"] == listed
    assert (await ann.send("GET", f"{SHARD_TRANSFER}s/none")).status_code == 404
    for change in (
        {"destination": "margined"},
        {"amount": "5"},
        {"amount": 10**12},
        {"source": None},
        {"amount": 0},
        {"destination_exchange_shard": 4},
    ):
        anew = {**body, "client_transfer_id": str(uuid4()), **change}
        assert (await ann.send("POST", SHARD_TRANSFER, anew)).status_code == 400, change
    same = {**body, "client_transfer_id": None, "destination_exchange_shard": 0}
    assert (await ann.send("POST", SHARD_TRANSFER, same)).status_code == 400


async def test_positions_are_always_netted(ann: Trader) -> None:
    configs = (await ann.get("/portfolio/subaccounts/netting"))["netting_configs"]
    assert configs == [{"subaccount_number": 0, "enabled": True, "exchange_index": 0}]
    path = "/portfolio/subaccounts/netting"
    assert (await ann.send("PUT", path, {"subaccount_number": 0, "enabled": True})).status_code == 200
    assert (await ann.send("PUT", path, {"subaccount_number": 0, "enabled": False})).status_code == 400
    assert (await ann.send("PUT", path, {"subaccount_number": 5, "enabled": True})).status_code == 404


async def test_cash_stays_where_it_is_put(ann: Trader) -> None:
    path = "/portfolio/target_balance_allocation"
    assert await ann.get(path) == {"allocations": [], "resting_margin_reservation": "sum"}
    halves = [{"exchange_index": 0, "percent": 50}, {"exchange_index": 1, "percent": 50}]
    for body, status in (
        ({"allocations": []}, 200),
        ({"allocations": [{"exchange_index": 0, "percent": 100}], "resting_margin_reservation": "sum"}, 200),
        ({"allocations": halves}, 403),
        ({"allocations": [], "resting_margin_reservation": "max"}, 403),
        ({}, 400),
        ({"allocations": [1]}, 400),
    ):
        assert (await ann.send("POST", path, body)).status_code == status, body


async def test_books_of_several_markets_are_named_in_a_list_or_one_by_one(ann: Trader) -> None:
    repeated = (await ann.public(f"/markets/orderbooks?tickers={LOW}&tickers={RAIN}")).json()
    assert [book["ticker"] for book in repeated["orderbooks"]] == [LOW, RAIN]
    assert (await ann.public(f"/markets/orderbooks?tickers={LOW},{RAIN}")).json() == repeated
    assert (await ann.public("/markets/orderbooks?tickers=,")).status_code == 400


async def test_a_market_that_was_archived_is_in_history() -> None:
    archived = replace(listing("KXOLD-24JAN01-B1"), close_us=1_735_900_000_000_001, archived=True, result="yes")
    async with trading(markets=(LOW, archived)) as (_, [ann, _bob]):
        market = (await ann.public("/historical/markets/KXOLD-24JAN01-B1")).json()["market"]
        assert (market["status"], market["result"]) == ("finalized", "yes")
        assert (await ann.create("bid", "0.42", "1", ticker="KXOLD-24JAN01-B1")).status_code in (400, 404)
