"""The way in: keys, scopes, tokens, latency, what goes wrong, and that frames follow answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import httpx
import pytest
from starlette.responses import Response

from kflow.clock import ManualClock, SystemClock
from kflow.exchange.answers import Lost
from kflow.exchange.gate import Call, Proceed
from kflow.exchange.terms import Terms
from kflow.kalshi.auth import ApiKey
from kflow.market.events import Side
from kflow.testing.client import client
from kflow.testing.trader import Trader, narrowed, ticket, trading
from kflow.testing.venue import MARKET, LocalVenue

ORDERS = "/portfolio/events/orders"
UNLIMITED = Terms(tier="unlimited")


@pytest.fixture
async def pair() -> AsyncIterator[tuple[LocalVenue, Trader]]:
    async with trading(users=1) as (venue, [ann]):
        yield venue, ann


def manual() -> ManualClock:
    return ManualClock(wall_ns=SystemClock().wall_ns())


def bids(venue: LocalVenue) -> int:
    """Contracts that the public book shows at 42 cents, in hundredths."""
    return dict(venue.exchange.venue.markets[MARKET].book.levels(Side.YES))[4200]  # type: ignore[index]


# Keys.


async def test_private_endpoints_need_a_signature(pair: tuple[LocalVenue, Trader]) -> None:
    _, ann = pair
    response = await ann.public("/portfolio/balance")
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "signature_is_missing_from_headers"
    stranger = ann.with_key(ApiKey("nobody", ann.key.private_key))
    refused = await stranger.create("bid", "0.42", "1")
    assert (refused.status_code, refused.json()["error"]["details"]) == (401, "NOT_FOUND")


async def test_the_query_is_not_signed_and_the_path_is_signed_as_sent(pair: tuple[LocalVenue, Trader]) -> None:
    _, ann = pair
    assert await ann.get("/portfolio/orders?status=resting&limit=5") == {"orders": [], "cursor": ""}
    response = await ann.send("GET", "/portfolio/orders/a%2Db")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


async def test_a_path_with_a_slash_at_its_end_is_another(pair: tuple[LocalVenue, Trader]) -> None:
    response = await pair[1].send("GET", "/portfolio/balance/")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


async def test_public_endpoints_take_signed_requests_too(pair: tuple[LocalVenue, Trader]) -> None:
    _, ann = pair
    assert (await ann.get("/exchange/status"))["exchange_active"] is True
    assert (await ann.get(f"/markets/{MARKET}"))["market"]["ticker"] == MARKET


async def test_scopes(pair: tuple[LocalVenue, Trader]) -> None:
    venue, ann = pair
    access = venue.exchange.access
    doors = {
        "trade": ("POST", ORDERS, ticket("bid", "0.42", "1")),
        "transfer": ("POST", "/portfolio/subaccounts", {}),
        "keys": ("DELETE", "/api_keys/no-such-key", None),
        "balance": ("GET", "/portfolio/balance", None),
        "orders": ("GET", "/portfolio/orders", None),
    }
    for scopes, opened in (
        (("read",), {"balance", "orders"}),
        (("write::trade",), {"trade"}),
        (("write::transfer",), {"transfer"}),
        (("read::portfolio_balance",), {"balance"}),
        (("read", "write"), set(doors)),
    ):
        narrow = narrowed(access, ann, *scopes)
        answers = {door: await narrow.send(*request) for door, request in doors.items()}
        assert {door for door, answer in answers.items() if answer.status_code != 403} == opened, scopes
        shut = [answer.json()["error"]["code"] for answer in answers.values() if answer.status_code == 403]
        assert set(shut) <= {"forbidden"}


# Tokens.


async def test_a_user_who_asks_too_much_is_told_so_and_nothing_else() -> None:
    clock = manual()
    async with trading(users=2, clock=clock, terms=Terms(tier="basic")) as (_, [ann, bob]):
        for _ in range(10):
            await ann.order("bid", "0.42", "1")
        response = await ann.create("bid", "0.42", "1")
        assert (response.status_code, response.json()) == (429, {"error": "too many requests"})
        assert not {"retry-after", "x-ratelimit-remaining"} & response.headers.keys()
        await bob.order("bid", "0.42", "1")
        assert len((await ann.get("/portfolio/orders"))["orders"]) == 10
        clock.advance(0.1)
        await ann.order("bid", "0.42", "1")
        assert (await ann.create("bid", "0.42", "1")).status_code == 429


async def test_all_keys_of_a_user_share_its_buckets() -> None:
    async with trading(users=1, clock=manual(), terms=Terms(tier="basic")) as (venue, [ann]):
        second = narrowed(venue.exchange.access, ann, "write::trade")
        for _ in range(10):
            await ann.order("bid", "0.42", "1")
        assert (await second.create("bid", "0.42", "1")).status_code == 429


async def test_a_batch_is_charged_by_the_item_and_whole_or_not_at_all() -> None:
    async with trading(users=1, clock=manual(), terms=Terms(tier="basic")) as (_, [ann]):
        eleven = {"orders": [ticket("bid", "0.42", "1")] * 11}
        assert (await ann.send("POST", f"{ORDERS}/batched", eleven)).status_code == 429
        assert (await ann.get("/portfolio/orders"))["orders"] == []
        nine = {"orders": eleven["orders"][:9]}
        placed = (await ann.send("POST", f"{ORDERS}/batched", nine)).json()["orders"]
        six = {"orders": [{"order_id": order["order_id"]} for order in placed[:6]]}
        assert (await ann.send("DELETE", f"{ORDERS}/batched", six)).status_code == 429  # 12 tokens, 10 are left
        six["orders"].pop()
        assert (await ann.send("DELETE", f"{ORDERS}/batched", six)).status_code == 200
        assert (await ann.send("DELETE", f"{ORDERS}/{placed[8]['order_id']}")).status_code == 429


async def test_a_retired_write_costs_a_hundred() -> None:
    async with trading(users=1, clock=manual(), terms=Terms(tier="basic")) as (_, [ann]):
        assert (await ann.send("POST", "/portfolio/orders", {})).status_code == 410
        assert (await ann.send("DELETE", f"{ORDERS}/none")).status_code == 429


async def test_unsigned_public_reads_are_free_and_signed_ones_are_not() -> None:
    async with trading(users=1, clock=manual(), terms=Terms(tier="basic")) as (_, [ann]):
        for _ in range(19):
            assert (await ann.public("/exchange/status")).status_code == 200
            assert (await ann.send("GET", "/account/endpoint_costs")).status_code == 200
        assert (await ann.send("GET", "/exchange/status")).status_code == 200
        assert (await ann.send("GET", "/exchange/status")).status_code == 429
        assert (await ann.send("GET", "/portfolio/balance")).status_code == 429
        assert (await ann.public("/exchange/status")).status_code == 200
        await ann.order("bid", "0.42", "1")


# Time.


async def test_an_order_takes_its_time_and_a_read_does_not() -> None:
    clock = manual()
    async with trading(users=1, clock=clock, terms=Terms(tier="unlimited", order_latency_s=0.022)) as (venue, [ann]):
        came = asyncio.Event()

        async def notice(_: Call, proceed: Proceed) -> Response:
            came.set()
            return await proceed()

        venue.exchange.gate.fault = notice
        placing = asyncio.create_task(ann.order("bid", "0.42", "1"))
        await came.wait()
        venue.exchange.gate.fault = None
        assert (await ann.get("/portfolio/orders"))["orders"] == []
        clock.advance(0.021)
        assert (await ann.get("/portfolio/orders"))["orders"] == []
        clock.advance(0.001)
        order = await placing
        assert [shown["order_id"] for shown in (await ann.get("/portfolio/orders"))["orders"]] == [order["order_id"]]


async def test_reads_lag_writes_and_the_exchange_says_by_how_much() -> None:
    clock = manual()
    async with trading(users=1, clock=clock, terms=Terms(tier="unlimited", read_lag_s=0.36)) as (_, [ann]):
        order = await ann.order("bid", "0.46", "1")
        for path in ("/portfolio/orders", "/portfolio/fills"):
            assert (await ann.get(path))[path.rpartition("/")[2]] == []
        assert (await ann.get("/portfolio/positions"))["market_positions"] == []
        assert (await ann.get("/portfolio/balance"))["balance"] == 1_000_000
        assert (await ann.send("GET", f"/portfolio/orders/{order['order_id']}")).status_code == 404
        before = (await ann.public("/exchange/user_data_timestamp")).json()["as_of_time"]
        clock.advance(0.36)
        after = (await ann.public("/exchange/user_data_timestamp")).json()["as_of_time"]
        shown_s = (await ann.get("/portfolio/balance"))["updated_ts"]
        assert shown_s == int(datetime.fromisoformat(after).timestamp())
        assert before < (await ann.get("/portfolio/fills"))["fills"][0]["created_time"] <= after
        assert (await ann.get(f"/portfolio/orders/{order['order_id']}"))["order"]["status"] == "executed"
        assert (await ann.get("/portfolio/positions"))["market_positions"][0]["position_fp"] == "1.00"
        assert (await ann.get("/portfolio/balance"))["balance"] == 999_952


async def test_what_is_free_and_what_is_held_back_are_of_one_moment() -> None:
    clock = manual()

    async def told() -> tuple[str, int]:
        resting = await ann.get("/portfolio/summary/total_resting_order_value")
        return (await ann.get("/portfolio/balance"))["balance_dollars"], resting["total_resting_order_value"]

    async with trading(users=1, clock=clock, terms=Terms(tier="unlimited", read_lag_s=0.36)) as (_, [ann]):
        await ann.order("bid", "0.40", "10")
        assert await told() == ("10000.000000", 0)
        clock.advance(0.36)
        assert await told() == ("9996.000000", 400)


# What goes wrong.


async def test_frames_follow_the_answer(pair: tuple[LocalVenue, Trader]) -> None:
    venue, ann = pair
    shown: list[int] = []

    async def look(_: Call, proceed: Proceed) -> Response:
        response = await proceed()
        shown.append(bids(venue))  # the order rests, but the public book does not show it yet
        return response

    venue.exchange.gate.fault = look
    async with client(venue) as raw:
        await raw.subscribe(MARKET)
        await raw.subscribe(channels=("user_orders",))
        await raw.frames(3)
        order = await ann.order("bid", "0.42", "1")
        told = {frame["type"]: frame["msg"] for frame in await raw.frames(2)}
    assert shown == [10_000]
    assert bids(venue) == 10_100
    assert told["orderbook_delta"]["delta_fp"] == "1.00"
    assert told["user_order"]["order_id"] == order["order_id"]


async def test_an_answer_can_be_lost_after_the_order_was_accepted(pair: tuple[LocalVenue, Trader]) -> None:
    venue, ann = pair

    async def lose(_: Call, proceed: Proceed) -> Response:
        await proceed()
        return Lost()

    venue.exchange.gate.fault = lose
    async with client(venue) as raw:
        await raw.subscribe(channels=("user_orders",))
        await raw.frame()
        with pytest.raises(httpx.TransportError):
            await ann.create("bid", "0.42", "1", client_order_id="mine")
        assert (await raw.frame())["msg"]["client_order_id"] == "mine"  # frames go out all the same
    venue.exchange.gate.fault = None
    assert [order["client_order_id"] for order in (await ann.get("/portfolio/orders"))["orders"]] == ["mine"]
    assert (await ann.create("bid", "0.42", "1", client_order_id="mine")).status_code == 409


async def test_an_answer_can_be_lost_before(pair: tuple[LocalVenue, Trader]) -> None:
    venue, ann = pair

    async def lose(_: Call, __: Proceed) -> Response:
        return Lost()

    venue.exchange.gate.fault = lose
    with pytest.raises(httpx.TransportError):
        await ann.create("bid", "0.42", "1", client_order_id="mine")
    venue.exchange.gate.fault = None
    assert (await ann.get("/portfolio/orders"))["orders"] == []


async def test_something_else_can_answer(pair: tuple[LocalVenue, Trader]) -> None:
    venue, ann = pair

    async def gateway(call: Call, proceed: Proceed) -> Response:
        return await proceed() if call.request.method == "GET" else Response("<html>", 502, media_type="text/html")

    venue.exchange.gate.fault = gateway
    response = await ann.create("bid", "0.42", "1")
    assert (response.status_code, response.text) == (502, "<html>")
    assert (await ann.get("/portfolio/orders"))["orders"] == []


async def test_what_a_command_left_goes_out_though_the_fault_itself_fails(pair: tuple[LocalVenue, Trader]) -> None:
    venue, ann = pair

    async def fail(_: Call, proceed: Proceed) -> Response:
        await proceed()
        raise ConnectionError

    venue.exchange.gate.fault = fail
    assert (await ann.create("bid", "0.42", "1")).status_code == 500
    assert bids(venue) == 10_100


async def test_whoever_leaves_in_the_middle_of_a_body_is_no_error_of_ours(
    pair: tuple[LocalVenue, Trader], caplog: pytest.LogCaptureFixture
) -> None:
    venue, ann = pair
    url = venue.rest + ORDERS
    signature = ann.key.headers("POST", url, SystemClock().wall_ns())
    lines = [f"POST {httpx.URL(url).path} HTTP/1.1", "Host: here", "Content-Length: 500"]
    lines += [f"{name}: {value}" for name, value in signature.items()]
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
    writer.write(("\r\n".join(lines) + '\r\n\r\n{"ticker":').encode())
    await writer.drain()
    await ann.get("/exchange/status")  # by then the request has begun
    writer.write_eof()
    await reader.read()
    writer.close()
    assert (await ann.get("/portfolio/orders"))["orders"] == []
    assert caplog.records == []
