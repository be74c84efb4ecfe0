"""The HTTP service of a recording session: its routes, and nothing that changes state but one guarded POST."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from kflow.clock import NS_PER_S
from kflow.errors import KflowError
from kflow.web import metrics
from kflow.web.broadcast import Broadcast, Pace, Spoken
from kflow.web.files import Files
from kflow.web.guard import HEADERS, Guard
from kflow.web.halt import halt
from kflow.web.health import HEALTHY, health_json, message_age_s, unready
from kflow.web.orderbook import orderbook_json
from kflow.web.pulse import Pulse
from kflow.web.service import Service
from kflow.web.state import State
from kflow.web.status import SCHEMA_VERSION, status_json

# WebSocket close codes (RFC 6455 and IANA): the client sent something; the client does not read.
UNSUPPORTED: Final = 1003
TRY_AGAIN: Final = 1013
# What a stream may have beside books, with ?with=.
_PARTS: Final = frozenset({"trades", "state"})
_HINTS: Final = {
    404: "there are /, /rl/health, /rl/status, /rl/orderbook/snapshot, /rl/ws, /rl/kill, /metrics, /livez and /readyz",
    405: "only /rl/kill and /rl/admin/stop take a POST, everything else a GET",
}


def build_app(service: Service, *, pace: Pace | None = None) -> Starlette:
    """The service's ASGI application. `pace` sets the limits of the stream."""
    web, page = _Web(service, pace), Files()
    app = Starlette(
        routes=[
            Route("/", page.index),
            Route("/page/{name:path}", page.named),
            Route("/rl/health", web.health),
            Route("/rl/status", web.status),
            Route("/rl/orderbook/snapshot", web.snapshot),
            WebSocketRoute("/rl/ws", web.stream),
            Route("/rl/kill", web.kill, methods=["POST"]),
            Route("/rl/admin/stop", web.stop, methods=["POST"]),
            Route("/metrics", web.metrics),
            Route("/livez", web.alive),
            Route("/readyz", web.ready),
        ],
        middleware=[Middleware(Guard, access=service.access)],
        exception_handlers={HTTPException: _http_error, Exception: _failure},
        lifespan=web.lifespan,
    )
    app.state.access = service.access
    return app


class _Web:
    """The endpoints, and what they share."""

    def __init__(self, service: Service, pace: Pace | None) -> None:
        self._service = service
        self._pulse = Pulse(service)
        self._broadcast = Broadcast(service.books, service.trades, pace)
        self._state = State(service, self._pulse)

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(self._pulse.run(), name="kflow-web-pulse")
        try:
            yield
        finally:
            looking.cancel()

    async def health(self, _request: Request) -> Response:
        self._pulse.look()
        body = health_json(self._service, self._pulse)
        return _json(body, 200 if body["status"] == HEALTHY else 503)

    async def status(self, _request: Request) -> Response:
        self._pulse.look()
        body = status_json(self._service, self._pulse)
        body["stream"] = {"clients": self._broadcast.clients, "dropped": self._broadcast.dropped}
        return _json(body)

    async def alive(self, _request: Request) -> Response:
        """503 only where nothing but a new start helps."""
        self._pulse.look()
        moves = self._pulse.feed_moves
        return _json(
            {"status": "alive" if moves else "stuck: the feed no longer tries to connect"}, 200 if moves else 503
        )

    async def ready(self, _request: Request) -> Response:
        self._pulse.look()
        why = unready(self._service, self._pulse)
        return _json({"status": "not ready" if why else "ready", "problems": why}, 503 if why else 200)

    async def metrics(self, _request: Request) -> Response:
        sources = metrics.Sources(self._service, self._broadcast, self._service.writer())
        return Response(metrics.render(sources), headers={"content-type": metrics.CONTENT_TYPE})

    async def snapshot(self, request: Request) -> Response:
        known = self._service.known()
        asked = request.query_params.get("market") or next(iter(known), None)
        if asked is None:
            return _no_book("no book has come yet", known, 503)
        view = self._service.books.view(asked)
        if view is not None:
            return _json({**orderbook_json(view), "markets": known})
        if asked in known:
            return _no_book(f"the book of {asked} has not come yet", known, 503)
        return _no_book(f"{asked[:100]} is not recorded here", known, 404)

    async def stop(self, _request: Request) -> Response:
        self._service.stop()
        return _json({"status": "draining"}, 202)

    async def kill(self, request: Request) -> Response:
        """Write down that no order may leave; the answer comes when that is done. The body, if any, is the reason."""
        said = (await request.body()).decode(errors="replace")
        try:
            body = halt(self._service, said)
        except KflowError as error:
            return _json({"error": str(error), "hint": error.hint or "kflow kill"}, 500)
        return _json(body, 202)

    async def stream(self, socket: WebSocket) -> None:
        known, asked = self._service.known(), socket.query_params.getlist("market")
        unknown = [market for market in asked if market not in known]
        if unknown:
            await socket.send_denial_response(_no_book(f"{unknown[0][:100]} is not recorded here", known, 404))
            return
        parts = set(socket.query_params.getlist("with"))
        if not parts <= _PARTS:
            await socket.send_denial_response(_no_part(min(parts - _PARTS)))
            return
        if self._broadcast.full:
            body = {"error": f"{self._broadcast.clients} clients are connected already", "hint": "close one of them"}
            await socket.send_denial_response(_json(body, 503))
            return
        client = self._broadcast.join(
            frozenset(asked) if asked else None, trades="trades" in parts, state="state" in parts
        )
        try:
            await socket.accept()
            await socket.send_text(self._hello(asked or known, known))
            spoken = Spoken(self._heartbeat, self._state.text)
            await self._converse(socket, asyncio.create_task(self._broadcast.feed(client, socket.send_text, spoken)))
        except WebSocketDisconnect:
            pass  # the client left
        finally:
            self._broadcast.leave(client)

    async def _converse(self, socket: WebSocket, feeding: asyncio.Task[None]) -> None:
        """Until the client leaves, speaks (it must not) or fails to read."""
        hearing = asyncio.create_task(socket.receive())
        try:
            await asyncio.wait({feeding, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if feeding.done():
                if isinstance(feeding.exception(), TimeoutError):
                    self._broadcast.dropped += 1
                    return  # closing politely would wait for the reader that does not read
                feeding.result()
            elif hearing.result()["type"] == "websocket.receive":
                await socket.close(UNSUPPORTED, "this stream takes no messages")
        finally:
            feeding.cancel()
            hearing.cancel()

    def _hello(self, markets: list[str], recorded: list[str]) -> str:
        hello = {
            "type": "hello",
            "schema_version": SCHEMA_VERSION,
            "session": self._service.recorder.session,
            "markets": markets,
            "recorded": recorded,
        }
        return msgspec.json.encode(hello).decode()

    def _heartbeat(self) -> str:
        service = self._service
        beat = {
            "type": "heartbeat",
            "at_ms": service.clock.wall_ns() * 1000 // NS_PER_S,
            "connected": service.feed.connected,
            "last_message_age_s": message_age_s(service),
            "messages": service.recorder.total_messages,
        }
        return msgspec.json.encode(beat).decode()


def _json(body: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # Settings hold paths, which JSON has no type for.
    return Response(msgspec.json.encode(body, enc_hook=str), status, headers, "application/json")


def _no_book(error: str, known: list[str], status: int) -> Response:
    hint = "its first snapshot is on its way: ask again" if status == 503 else "choose one of `markets` with ?market="
    return _json({"error": error, "hint": hint, "markets": known}, status)


def _no_part(name: str) -> Response:
    hint = "there are with=trades and with=state"
    return _json({"error": f"the stream has no part {name[:100]}", "hint": hint}, 400)


async def _http_error(_connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _json({"error": error.detail, "hint": _HINTS.get(error.status_code, "")}, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _failure(_connection: HTTPConnection, _error: Exception) -> Response:
    """What went wrong is for the log; an answer could carry a secret to whoever asked. Made outside of the guard."""
    return _json({"error": "this was not expected", "hint": "the log of kflow ingest says more"}, 500, HEADERS)
