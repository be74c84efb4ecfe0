"""What pages of other origins, rebound names and guessers get from the service: bytes on a real socket."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from kflow.testing.recording import TOKEN
from kflow.web.access import Access
from kflow.web.guard import BODY_BYTES

READS = [
    "/",
    "/page/index.html",
    "/rl/health",
    "/rl/status",
    "/rl/orderbook/snapshot",
    "/metrics",
    "/livez",
    "/readyz",
    "/nothing",
]
WRITES = ["/rl/admin/stop", "/rl/kill"]
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def ask(http: Any, head: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, str]:
    """One request as raw bytes; returns the status and everything that was answered."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    lines = [head, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode("latin-1") + body)
    status = await reader.readline()
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return int(status.split()[1]), answer.decode("latin-1")


def host_of(http: Any) -> str:
    return f"{http.base_url.host}:{http.base_url.port}"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8001", "127.0.0.1.evil.example", "", "192.168.1.7"])
async def test_other_host_names_get_nothing(session: Any, serving: Any, host: str) -> None:
    session.start()
    async with serving() as http:
        for path in READS:
            assert (await ask(http, f"GET {path} HTTP/1.1", {"Host": host}))[0] == 421, path
        token = {"Host": host, "Authorization": f"Bearer {TOKEN}", "Content-Length": "0"}
        for write in WRITES:
            assert (await ask(http, f"POST {write} HTTP/1.1", token))[0] == 421
        assert (await ask(http, "GET /rl/ws HTTP/1.1", {"Host": host, **UPGRADE}))[0] == 421
    assert session.stops == 0


async def test_an_absolute_target_does_not_replace_the_host(serving: Any) -> None:
    async with serving() as http:
        target = f"GET http://{host_of(http)}/rl/health HTTP/1.1"
        assert (await ask(http, target, {"Host": "evil.example"}))[0] in (404, 421)
        assert (await ask(http, "GET /livez HTTP/1.0", {}))[0] == 421


async def test_a_forwarded_host_is_not_believed(serving: Any) -> None:
    async with serving() as http:
        headers = {"Host": "evil.example", "X-Forwarded-Host": "localhost", "X-Forwarded-For": "127.0.0.1"}
        assert (await ask(http, "GET /livez HTTP/1.1", headers))[0] == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
async def test_pages_of_other_origins_may_not_write_or_stream(session: Any, serving: Any, origin: str) -> None:
    session.start()
    async with serving() as http:
        headers = {"Host": host_of(http), "Origin": origin}
        status, answer = await ask(http, "GET /rl/ws HTTP/1.1", {**headers, **UPGRADE})
        assert status == 403
        token = {**headers, "Authorization": f"Bearer {TOKEN}", "Content-Length": "0"}
        for method, path in itertools.product(("POST", "PUT", "DELETE", "OPTIONS"), WRITES):
            status, answer = await ask(http, f"{method} {path} HTTP/1.1", token)
            assert status == 403
            assert "access-control" not in answer
    assert session.stops == 0
    assert not session.standing.armed_before


async def test_our_own_page_and_programs_may_stream(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http:
        headers = {"Host": host_of(http), **UPGRADE}
        assert (await ask(http, "GET /rl/ws HTTP/1.1", headers))[0] == 101
        assert (await ask(http, "GET /rl/ws HTTP/1.1", {**headers, "Origin": f"http://{host_of(http)}"}))[0] == 101


@pytest.mark.parametrize("given", [None, "Bearer wrong", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer"])
async def test_writes_need_the_token(session: Any, serving: Any, given: str | None) -> None:
    async with serving() as http:
        headers = {"Authorization": given} if given else {}
        for path in WRITES:
            answer = await http.post(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            answer = await http.post(path, params={"token": TOKEN})
            assert answer.status_code == 401  # never in the address, which ends up in logs
    assert session.stops == 0
    assert not session.standing.armed_before


async def test_without_a_token_writes_are_refused(session: Any, serving: Any) -> None:
    async with serving(access=Access.for_host("127.0.0.1", None)) as http:
        assert (await http.post("/rl/admin/stop", headers={"Authorization": "Bearer None"})).status_code == 401
        assert (await http.get("/rl/health")).status_code == 503
    assert session.stops == 0


async def test_beyond_loopback_everything_needs_the_token(session: Any, serving: Any) -> None:
    session.start()
    async with serving(access=Access.for_host("0.0.0.0", TOKEN)) as http:
        for path in READS:
            assert (await http.get(path)).status_code == 401, path
        assert (await ask(http, "GET /rl/ws HTTP/1.1", {"Host": host_of(http), **UPGRADE}))[0] == 401
        admitted = {"Authorization": f"Bearer {TOKEN}"}
        assert (await http.get("/rl/health", headers=admitted)).status_code == 200
        assert (await ask(http, "GET /rl/ws HTTP/1.1", {"Host": host_of(http), **admitted, **UPGRADE}))[0] == 101


async def test_large_bodies_are_refused_unread(session: Any, serving: Any) -> None:
    async with serving() as http:
        headers = {"Host": host_of(http), "Authorization": f"Bearer {TOKEN}", "Content-Length": str(10 * 2**20)}
        for path in WRITES:
            assert (await ask(http, f"POST {path} HTTP/1.1", headers, b"x" * 1000))[0] == 413
        headers["Content-Length"] = str(BODY_BYTES)
        assert (await ask(http, "POST /rl/admin/stop HTTP/1.1", headers))[0] == 202


async def test_large_heads_are_refused(serving: Any) -> None:
    async with serving() as http:
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        writer.write(f"GET /livez HTTP/1.1\r\nHost: {host_of(http)}\r\nX-Large: ".encode() + b"x" * 2**20)
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
        b"\x16\x03\x01",
    ],
)
async def test_what_is_not_http_is_refused(serving: Any, raw: bytes) -> None:
    async with serving() as http:
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        writer.write(raw)
        writer.write_eof()
        answer = await reader.read()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        writer.close()
        headers = {"Host": host_of(http)}
        assert (await ask(http, "GET /livez HTTP/1.1", headers))[0] == 200
