"""Writes over REST against a server that answers what it is told to: sent once, and judged by what is certain."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kflow.clock import ManualClock, SystemClock
from kflow.errors import MalformedFrame, UsageError, VenueRefused
from kflow.exchange.accounts import Ticket
from kflow.kalshi import auth
from kflow.kalshi.auth import ApiKey, write_new_key
from kflow.kalshi.environments import Environment, endpoints
from kflow.kalshi.rest import Retries
from kflow.kalshi.trading import NeverSent, NewOrder, TradingClient, Unsure, Written
from kflow.market.events import Side
from kflow.testing.trader import trading
from kflow.testing.venue import MARKET
from kflow.units import DOLLAR, Price, Size

GOOD = {"order_id": "o-1", "client_order_id": "c-1", "fill_count": "2.50", "remaining_count": "7.50", "ts_ms": 1_700}
ORDER = NewOrder(market=MARKET, client_order_id="c-1", side=0, price=4205, size=1_000)


class Server:
    """Keeps what it was asked, and answers with raw bytes; without any it hangs up, having read the request or not."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.connections = 0
        self.answer: bytes | None = None
        self.reads = True
        self.port = 0
        self.tasks: list[asyncio.Task[Any] | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.current_task())
        self.connections += 1
        try:
            while self.reads:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((lines[0], headers, json.loads(body) if body else None))
                if self.answer is None:
                    break
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def said(status: int, body: object, content_type: str = "application/json") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (
        status, content_type.encode(), len(raw), raw,
    )  # fmt: skip


@asynccontextmanager
async def serving(tmp_path: Path, timeout_s: float = 2) -> AsyncIterator[tuple[Server, TradingClient]]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    write_new_key(tmp_path / "key.pem")
    key = ApiKey.load("a-key", tmp_path / "key.pem", environment=Environment.LOCAL)
    where = endpoints(Environment.LOCAL, exchange=f"http://127.0.0.1:{server.port}")
    async with (
        listening,
        TradingClient(where, clock=ManualClock(), key=key, retries=Retries(attempts=1), timeout_s=timeout_s) as client,
    ):
        yield server, client
        await client.aclose()
        await asyncio.gather(*[task for task in server.tasks if task is not None])


async def test_an_order_on_the_wire(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client):
        server.answer = said(201, GOOD)
        assert await client.create(ORDER) == Written("o-1", 250, 750, 1_700_000)
        full = NewOrder(
            market=MARKET, client_order_id="c-1", side=1, price=305, size=25, immediate=True, reduce_only=True,
            group="g-1", shard=2,
        )  # fmt: skip
        await client.create(full)
        await client.create(NewOrder(**{**_fields(ORDER), "expires_us": 1_800_000_000_999_999}))
    (first, headers, plain), (_, _, taking), (_, _, resting) = server.requests
    assert first == "POST /trade-api/v2/portfolio/events/orders HTTP/1.1"
    always = {
        "ticker": MARKET, "client_order_id": "c-1", "self_trade_prevention_type": "taker_at_cross",
        "cancel_order_on_pause": True,
    }  # fmt: skip
    good_till = {**always, "side": "bid", "price": "0.4205", "count": "10.00", "exchange_index": 0}
    assert plain == {**good_till, "time_in_force": "good_till_canceled"}
    assert taking == {
        **always, "side": "ask", "price": "0.9695", "count": "0.25", "time_in_force": "immediate_or_cancel",
        "reduce_only": True, "order_group_id": "g-1", "exchange_index": 2,
    }  # fmt: skip
    assert resting == {**good_till, "time_in_force": "good_till_canceled", "expiration_time": 1_800_000_000}
    signature = headers["kalshi-access-signature"]
    stamp = int(headers["kalshi-access-timestamp"])
    public = ApiKey.load("a-key", tmp_path / "key.pem").private_key.public_key()
    assert auth.verify(public, signature, stamp, "POST", "/trade-api/v2/portfolio/events/orders")


def _fields(order: NewOrder) -> dict[str, Any]:
    return {name: getattr(order, name) for name in order.__struct_fields__}


def error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": code, "details": "because"}}


REFUSED = [
    (400, error("insufficient_balance"), "insufficient_balance"),
    (400, {"code": "invalid_parameters", "message": "no"}, "invalid_parameters"),
    (400, {"msg": "limit must not exceed 1000"}, ""),
    (401, error("authentication_error"), "authentication_error"),
    (403, error("forbidden"), "forbidden"),
    (404, error("user_not_found"), "user_not_found"),
    (409, error("order_already_exists"), "order_already_exists"),
    (410, error("deprecated_v1_order_endpoint"), "deprecated_v1_order_endpoint"),
    (429, {"error": "too many requests"}, "too many requests"),
]
UNSURE: list[bytes] = [
    *[said(status, error("server_error")) for status in (408, 418, 425, 500, 502, 503, 504)],
    *[said(status, b"<html>One moment</html>", "text/html") for status in (200, 201, 400, 403, 404, 429, 502)],
    said(400, error("invalid_order"), "text/plain"),
    said(403, b"", "application/json"),
    said(400, {}),
    said(400, []),
    said(301, {}),
    said(204, b""),
    said(201, GOOD, "text/html; charset=utf-8"),
    said(201, {}),
    said(201, []),
    said(201, b'{"order_id":'),
    said(201, {**GOOD, "order_id": ""}),
    said(201, {**GOOD, "order_id": "a/b"}),
    said(201, {**GOOD, "order_id": 7}),
    said(201, {**GOOD, "client_order_id": "c-2"}),
    said(201, {**GOOD, "fill_count": "a few"}),
    said(201, {**GOOD, "fill_count": 2.5}),
    said(201, {**GOOD, "remaining_count": "-1.00"}),
    said(201, {name: value for name, value in GOOD.items() if name != "ts_ms"}),
    said(201, {"error": {"code": "nothing", "message": "of this happened"}}),
    b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
]


async def test_what_the_venue_refused_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client):
        for sent, (status, body, code) in enumerate(REFUSED, 1):
            server.answer = said(status, body)
            with pytest.raises(VenueRefused) as refused:
                await client.create(ORDER)
            assert (refused.value.status, refused.value.code, len(server.requests)) == (status, code, sent)


async def test_any_other_answer_is_none(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client):
        for sent, answer in enumerate(UNSURE, 1):
            server.answer = answer
            with pytest.raises(Unsure):
                await client.create(ORDER)
            assert len(server.requests) == sent, answer


async def test_an_answer_that_does_not_end_is_none(tmp_path: Path) -> None:
    async with serving(tmp_path, timeout_s=0.1) as (server, client):
        server.answer = b"HTTP/1.1 201 X\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{}"
        with pytest.raises(Unsure, match="no answer"):
            await client.create(ORDER)
        assert len(server.requests) == 1


async def test_a_connection_that_ends_is_unsure_and_nothing_is_sent_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client):
        with pytest.raises(Unsure):
            await client.create(ORDER)
        assert (server.connections, len(server.requests)) == (1, 1)
        server.reads = False  # hangs up on whoever comes
        with pytest.raises(Unsure):
            await client.create(ORDER)
        assert (server.connections, len(server.requests)) == (2, 1)


async def test_a_kept_connection_that_has_died_is_unsure_or_replaced_never_both(tmp_path: Path) -> None:
    """What is sent into a dead connection may have arrived; before anything is sent a new one may be made."""
    async with serving(tmp_path) as (server, client):
        server.answer = said(201, GOOD)
        await client.create(ORDER)
        server.answer = None
        with pytest.raises(Unsure):
            await client.create(ORDER)
        server.answer = said(201, GOOD)
        await client.create(ORDER)
        assert (len(server.requests), server.connections) == (3, 2)


async def test_without_a_connection_nothing_left(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client):
        pass
    write_new_key(tmp_path / "other.pem")
    key = ApiKey.load("a-key", tmp_path / "other.pem")
    where = endpoints(Environment.LOCAL, exchange=f"http://127.0.0.1:{server.port}")
    async with TradingClient(where, clock=ManualClock(), key=key) as client:
        with pytest.raises(NeverSent):
            await client.create(ORDER)
    assert server.connections == 0


async def test_the_transport_repeats_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        assert client._http._transport._pool._retries == 0  # type: ignore[attr-defined]
        assert not client._http.follow_redirects


async def test_ids_do_not_lead_elsewhere(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client):
        for name in ("", "a/b", "..", "a?b", "a b", "x" * 65):
            with pytest.raises(UsageError):
                await client.cancel(name, MARKET)
        assert server.requests == []


async def test_sides_are_read_from_the_new_names_and_must_agree(tmp_path: Path) -> None:
    order = {
        "order_id": "o", "client_order_id": None, "ticker": MARKET, "side": "yes", "action": "buy",
        "status": "resting", "yes_price_dollars": "0.9695", "fill_count_fp": "0.00", "remaining_count_fp": "0.25",
        "initial_count_fp": "0.25", "created_time": "2026-11-22T00:00:00Z",
    }  # fmt: skip
    async with serving(tmp_path) as (server, client):
        for told in ({"outcome_side": "no"}, {"book_side": "ask"}, {"outcome_side": "no", "book_side": "ask"}):
            server.answer = said(200, {"order": order | told})
            read = await client.order("o")
            assert (read.side, read.price, read.left, read.client_order_id) == (1, 305, 25, "")
        for told in ({}, {"outcome_side": "no", "book_side": "bid"}, {"outcome_side": "maybe"}):
            server.answer = said(200, {"order": order | told})
            with pytest.raises(MalformedFrame, match="no side"):
                await client.order("o")


async def test_pages_are_walked_to_their_end() -> None:
    """More orders than fit a page, and none twice."""
    async with trading(users=1) as (venue, _):
        where = endpoints(Environment.LOCAL, exchange=venue.rest)
        desk = venue.exchange.desk
        account = desk.account(next(iter(desk.members)))
        async with TradingClient(where, clock=SystemClock(), key=venue.key) as client:
            for _ in range(1_203):
                desk.create(account, Ticket(ticker=MARKET, side=Side.YES, price=Price(100), size=Size(100)))
            orders = [order.order_id async for order in client.orders(status="resting", market=MARKET)]
            assert (len(orders), len(set(orders))) == (1_203, 1_203)
            cash = await client.cash()
            assert cash.reserved == sum(order.price * order.remaining for order in account.open_orders())
            assert cash.whole == 10_000 * 1_000_000


async def test_groups_and_settlements() -> None:
    async with trading(users=1) as (venue, [ann]):
        where = endpoints(Environment.LOCAL, exchange=venue.rest)
        async with TradingClient(where, clock=SystemClock(), key=venue.key) as client:
            group = await client.create_group(1_050, 0)
            assert (await ann.get(f"/portfolio/order_groups/{group}"))["contracts_limit_fp"] == "10.50"
            await client.trigger_group(group, 0)
            with pytest.raises(VenueRefused):
                await client.create(NewOrder(**{**_fields(ORDER), "price": 4200, "group": group}))
            await client.reset_group(group, 0)
            written = await client.create(NewOrder(**{**_fields(ORDER), "price": 4200, "group": group}))
            read = await client.order(written.order_id)
            assert (read.group, read.shard, read.status, read.left) == (group, 0, "resting", 1_000)
            await client.delete_group(group, 0)
            assert (await client.order(written.order_id)).status == "canceled"
            with pytest.raises(VenueRefused) as refused:
                await client.delete_group(group, 0)
            assert refused.value.status == 404
            taken = await client.create(NewOrder(**{**_fields(ORDER), "client_order_id": "c-2", "price": 4600}))
            assert (taken.filled, taken.left) == (1_000, 0)
            venue.exchange.control.settle(MARKET, DOLLAR)
            [paid] = [each async for each in client.settlements()]
            assert (paid.market, paid.result, paid.value) == (MARKET, "yes", 10_000)
            assert await client.positions() == {}
