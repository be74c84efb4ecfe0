"""The service's socket: ports, signals, connections that idle, and a quick end."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from kflow.errors import ConfigError, PortTaken
from kflow.testing.recording import TOKEN
from kflow.web import server
from kflow.web.access import Access
from kflow.web.app import build_app
from kflow.web.server import serve


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOK_S", 0.1)


async def test_port_zero_takes_a_free_one(session: Any) -> None:
    async with serve(build_app(session.service()), "127.0.0.1", 0) as served:
        assert served.port > 0
        assert served.url == f"http://127.0.0.1:{served.port}"


async def test_a_taken_port_is_said(session: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port} is already in use"):
            async with serve(build_app(session.service()), "127.0.0.1", port):
                pass


async def test_only_loopback_is_listened_on(session: Any) -> None:
    """By the kernel's own list."""
    async with serve(build_app(session.service()), "localhost", 0) as served:
        assert listening_on(served.port) == {"0100007F"}


def listening_on(port: int) -> set[str]:
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    places = [line.split()[1].partition(":") for line in lines]
    return {address for address, _, number in places if int(number, 16) == port}


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("192.0.2.1", 0, "cannot listen on 192.0.2.1"),
        ("127.0.0.1", 70_000, "70000 is not a port"),
        ("no such host", 0, "cannot listen on no such host"),
    ],
)
async def test_addresses_that_are_not_ours(session: Any, host: str, port: int, words: str) -> None:
    app = build_app(session.service(access=Access.for_host("0.0.0.0", TOKEN)))
    with pytest.raises(ConfigError, match=words):
        async with serve(app, host, port):
            pass


async def test_an_open_app_is_not_served_beyond_loopback(session: Any) -> None:
    with pytest.raises(ConfigError, match="without a token"):
        async with serve(build_app(session.service()), "0.0.0.0", 0):
            pass


async def test_signals_stay_with_the_command(session: Any) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serve(build_app(session.service()), "127.0.0.1", 0):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_the_port_is_free_again_at_once(session: Any) -> None:
    app = build_app(session.service())
    async with serve(app, "127.0.0.1", 0) as served:
        pass
    async with serve(app, "127.0.0.1", served.port) as again:
        assert again.port == served.port


async def test_the_end_waits_for_nobody(session: Any, serving: Any) -> None:
    """Neither for an idle connection, nor for half a request, nor for one that is kept alive."""
    began = time.monotonic()
    async with serving() as http:
        place = (http.base_url.host, http.base_url.port)
        _, idle = await asyncio.open_connection(*place)
        _, half = await asyncio.open_connection(*place)
        half.write(b"POST /rl/admin/stop HTTP/1.1\r\nHost: localhost\r\nAuth")
        await http.get("/livez")
    assert time.monotonic() - began < 3
    idle.close()
    half.close()


@pytest.mark.usefixtures("short_patience")
@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /livez HTTP/1.1\r\nHost: loc", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /li"],
)
async def test_slow_askers_are_cut_off(serving: Any, begun: bytes) -> None:
    async with serving() as http:
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        writer.write(begun)
        async with asyncio.timeout(5):
            try:
                answer = await reader.read()
            except ConnectionResetError:
                answer = b""
        assert answer.count(b"HTTP/1.1 200") == begun.count(b"\r\n\r\n")
        writer.close()


@pytest.mark.usefixtures("short_patience")
async def test_a_stream_outlives_the_patience_with_askers(session: Any, serving: Any) -> None:
    import websockets

    session.start()
    async with serving() as http:
        url = f"ws://{http.base_url.host}:{http.base_url.port}/rl/ws"
        async with websockets.connect(url, proxy=None) as client:
            for _ in range(3):
                await client.recv()
            _, idle = await asyncio.open_connection(http.base_url.host, http.base_url.port)
            reader, other = await asyncio.open_connection(http.base_url.host, http.base_url.port)
            await asyncio.gather(reader.read(), return_exceptions=True)  # cut off, and so would the stream be by now
            session.receive(session.delta("0.4300", "1.00"))
            assert "delta" in str(await client.recv())
            idle.close()
            other.close()


async def test_idle_connections_take_a_bounded_number_of_descriptors(
    session: Any, serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 20)
    session.start()
    async with serving() as http, AsyncExitStack() as stack:
        clients = []
        for _ in range(200):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, (http.base_url.host, http.base_url.port))
            clients.append(client)
        assert await _status(http) == 0  # one too many: refused at once
        session.receive(session.delta("0.4300", "1.00"))  # the recorder does not care
        assert session.books.view("INXD-25JAN03-B5912").version == 2
        assert 0 < sum(not _closed(client) for client in clients) <= 20
        for client in clients:
            client.close()
        async with asyncio.timeout(10):
            while (await _status(http)) != 200:
                pass


def _closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


async def _status(http: httpx.AsyncClient) -> int:
    try:
        return (await http.get("/livez")).status_code
    except httpx.TransportError:
        return 0
