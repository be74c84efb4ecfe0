"""/rl/ws over a real socket: what a client is told, what it must not do, and what it cannot cost."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from kflow.testing.recording import FIRST, SECOND
from kflow.web.broadcast import Pace


@asynccontextmanager
async def stream(http: Any, query: str = "", **options: Any) -> AsyncIterator[ClientConnection]:
    url = f"ws://{http.base_url.host}:{http.base_url.port}/rl/ws{query}"
    async with websockets.connect(url, proxy=None, compression=None, **options) as client:
        yield client


async def heard(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(5):
        message: dict[str, Any] = json.loads(await client.recv())
    return message


async def to_the_end(client: ClientConnection) -> None:
    while True:
        await heard(client)


class Follower:
    """Rebuilds books from messages alone, as docs/http.md says a client should."""

    def __init__(self) -> None:
        self.books: dict[str, dict[str, Any]] = {}

    def take(self, message: dict[str, Any]) -> None:
        market = message.get("market")
        if message["type"] == "snapshot":
            self.books[str(market)] = {
                "yes": dict(map(tuple, message["yes"])),
                "no": dict(map(tuple, message["no"])),
                "version": message["version"],
                "live": message["live"],
            }
        elif message["type"] == "delta":
            book = self.books[str(market)]
            assert message["from_version"] == book["version"]
            for side in ("yes", "no"):
                for price, size in message[side]:
                    book[side][price] = size
                    if not size:
                        del book[side][price]
            book["version"], book["live"] = message["version"], message["live"]


async def test_first_hello_then_a_snapshot_of_each_market(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http, stream(http) as client:
        hello = await heard(client)
        assert hello["type"] == "hello"
        assert hello["markets"] == [FIRST, SECOND]
        assert hello["session"] == "5f0c7a52-7c0f-4f0c-9c3a-6a6f0a3a9d11"
        for market in (FIRST, SECOND):
            assert await heard(client) == {
                "type": "snapshot",
                "market": market,
                "version": 1,
                "live": True,
                "yes": [[4300, 5000], [4400, 1250]],
                "no": [[5400, 10_000]],
            }


async def test_then_differences(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http, stream(http, f"?market={FIRST}") as client:
        await heard(client)
        await heard(client)
        session.receive(session.delta("0.4400", "-12.50"), session.delta("0.4200", "3.00"))
        assert await heard(client) == {
            "type": "delta",
            "market": FIRST,
            "from_version": 1,
            "version": 3,
            "live": True,
            "yes": [[4200, 300], [4400, 0]],
            "no": [],
        }


async def test_markets_can_be_chosen(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http, stream(http, f"?market={SECOND}") as client:
        assert (await heard(client))["markets"] == [SECOND]
        assert (await heard(client))["market"] == SECOND
        session.receive(session.delta("0.4400", "1.00", market=FIRST))
        session.receive(session.delta("0.4400", "1.00", market=SECOND))
        assert (await heard(client))["market"] == SECOND


async def test_an_unknown_market_is_refused_with_what_there_is(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with stream(http, f"?market={FIRST}&market=NOPE"):
                pass
    answer = caught.value.response
    assert answer.status_code == 404
    assert json.loads(answer.body or b"")["markets"] == [FIRST, SECOND]


async def test_a_book_that_comes_later_comes_as_a_snapshot(session: Any, serving: Any) -> None:
    session.connect()
    async with serving() as http, stream(http) as client:
        assert (await heard(client))["markets"] == [FIRST, SECOND]
        session.receive(session.snapshot(FIRST, yes=[("0.4000", "1.00")]))
        assert (await heard(client))["type"] == "snapshot"


async def test_a_gap_is_told_at_once_and_so_is_its_end(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http, stream(http, f"?market={FIRST}") as client:
        follower = Follower()
        for _ in range(2):
            follower.take(await heard(client))
        session.receive(session.delta("0.4300", "1.00", skip=1))
        message = await heard(client)
        assert (message["live"], message["yes"], message["from_version"] == message["version"]) == (False, [], True)
        session.receive(session.snapshot(FIRST, no=[("0.9000", "1.00")]))
        follower.take(message)
        follower.take(await heard(client))
    assert follower.books[FIRST] == {"yes": {}, "no": {9000: 100}, "version": 2, "live": True}


async def test_a_reconnect_is_a_book_that_is_not_live_and_then_a_new_one(session: Any, serving: Any) -> None:
    session.start()
    session.receive(session.delta("0.4300", "1.00"))
    async with serving() as http, stream(http, f"?market={FIRST}") as client:
        await heard(client)
        assert (await heard(client))["version"] == 2
        session.disconnect()
        session.connect()  # its books are empty until their snapshots: the old one must be told stale all the same
        message = await heard(client)
        assert (message["type"], message["live"]) == ("delta", False)
        session.receive(session.snapshot(FIRST, yes=[("0.1000", "1.00")]))
        message = await heard(client)
        assert (message["type"], message["version"], message["live"]) == ("snapshot", 1, True)


async def test_every_client_rebuilds_the_book_that_is(session: Any, serving: Any) -> None:
    """Two clients, one of which joins late, through bursts that are conflated differently for each."""
    session.start()
    async with serving() as http, stream(http) as early:
        first, second = Follower(), Follower()
        for burst in range(20):
            changes = [
                session.delta(f"0.{10 + (burst * 7 + i) % 30}00", "2.00", market=(FIRST, SECOND)[i % 2], side=side)
                for i, side in enumerate(("yes", "no") * 5)
            ]
            session.receive(*changes)
            first.take(await heard(early))
        async with stream(http) as late:
            session.receive(session.delta("0.1000", "5.00"))
            for market in (FIRST, SECOND):
                view = session.books.view(market)
                for client, follower in ((early, first), (late, second)):
                    while follower.books.get(market, {}).get("version") != view.version:
                        follower.take(await heard(client))
                    assert follower.books[market]["yes"] == dict(view.yes)
                    assert follower.books[market]["no"] == dict(view.no)


async def test_silence_has_a_heartbeat(session: Any, serving: Any) -> None:
    session.start()
    session.clock.advance(5)
    async with serving(pace=Pace(heartbeat_s=0.02)) as http, stream(http) as client:
        message = await heard(client)
        while message["type"] != "heartbeat":
            message = await heard(client)
    assert message["connected"] is True
    assert message["last_message_age_s"] == 5
    assert message["messages"] == 2


async def test_clients_have_nothing_to_say(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http, stream(http) as client:
        await client.send('{"cmd":"stop"}')
        with pytest.raises(websockets.ConnectionClosedError) as caught:
            await to_the_end(client)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1003


async def test_large_messages_end_the_connection(session: Any, serving: Any) -> None:
    async with serving() as http, stream(http) as client:
        await client.send("x" * 100_000)
        with pytest.raises(websockets.ConnectionClosedError):
            await to_the_end(client)


async def test_the_number_of_clients_is_bounded(session: Any, serving: Any) -> None:
    async with serving(pace=Pace(clients=2)) as http, stream(http), stream(http) as second:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with stream(http):
                pass
        assert caught.value.response.status_code == 503
        assert (await http.get("/rl/status")).json()["stream"]["clients"] == 2
        await second.close()
        async with stream(http) as third:
            assert (await heard(third))["type"] == "hello"


async def test_books_are_followed_only_while_somebody_looks(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http:
        async with stream(http) as client:
            await heard(client)
            assert len(session.books._subscriptions) == 1
        async with asyncio.timeout(5):
            while (await http.get("/rl/status")).json()["stream"]["clients"]:
                pass
        assert session.books._subscriptions == ()


async def test_a_client_that_does_not_read_is_dropped_and_slows_nobody(session: Any, serving: Any) -> None:
    """Its books change all the time; what is held for it stays small, and the reader beside it misses nothing."""
    session.connect()
    prices, size = [f"0.{cents:02d}00" for cents in range(1, 50)], 1_000_000
    pace = Pace(interval_s=0, patience_s=0.2, heartbeat_s=60)
    async with serving(pace=pace) as http, stream(http, f"?market={FIRST}") as reader:
        deaf = await _deaf_client(http)
        follower = Follower()
        following = asyncio.create_task(_follow(reader, follower))
        async with asyncio.timeout(30):
            while not (await http.get("/rl/status")).json()["stream"]["dropped"]:
                size += 1  # of every level, so that what is sent is large
                levels = [(price, f"{size}.00") for price in prices]
                session.receive(*[session.snapshot(market, yes=levels, no=levels) for market in (FIRST, SECOND)])
            view = session.books.view(FIRST)
            while follower.books[FIRST]["version"] != view.version:
                await http.get("/livez")
        following.cancel()
        assert follower.books[FIRST]["yes"] == dict(view.yes)
        metrics = (await http.get("/metrics")).text
        assert "kflow_web_clients_dropped_total 1\n" in metrics
        assert "kflow_web_clients 1\n" in metrics
        deaf.close()


async def _follow(client: ClientConnection, follower: Follower) -> None:
    while True:
        follower.take(await heard(client))


async def _deaf_client(http: Any) -> socket.socket:
    """Opens a stream and never reads from it; its kernel buffer is as small as can be."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, (http.base_url.host, http.base_url.port))
    request = (
        f"GET /rl/ws HTTP/1.1\r\nHost: {http.base_url.host}:{http.base_url.port}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await loop.sock_sendall(client, request.encode())
    return client
