"""The exchange's sockets: handshake, commands, pings, and frames in batches.

uvicorn hands over each connection that asks for an upgrade. From then on this protocol owns the transport: the
handshake and everything a client sends go through websockets' sans-I/O core, while text frames are built here and
written many at a time, which is what makes 50,000 frames a second possible.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

import msgspec
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Opcode
from websockets.frames import Frame as WireFrame
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from kflow.clock import NS_PER_S
from kflow.exchange.access import Denied
from kflow.exchange.faults import BlackHole, Close, Cut, Fault, Kind, Link, Oversized, Silence, Step
from kflow.exchange.hub import Hub
from kflow.exchange.messages import Message
from kflow.exchange.subscriptions import Frame, Subscriptions

WS_PATH: Final = "/trade-api/ws/v2"
HEARTBEAT: Final = b"heartbeat"
# Pings without an answer before the connection is given up (the venue's number is not published).
PONGS_MISSED: Final = 2
CLOSE_TIMEOUT_S: Final = 5.0
# A command names at most some 100,000 tickers.
MAX_COMMAND: Final = 16 * 2**20
# The transport's own buffer: above it we are told to pause.
WRITE_HIGH: Final = 2**20


class _ServerState(Protocol):
    connections: set[Any]


class StreamProtocol(asyncio.Protocol):
    """One socket."""

    def __init__(self, hub: Hub, *, server_state: _ServerState, **_: object) -> None:
        """Made by uvicorn for each upgrade; what it passes beside its state is of no use here."""
        self._hub = hub
        self._open_connections = server_state.connections
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._ws = ServerProtocol(max_size=MAX_COMMAND)
        self._partial: list[bytes] = []  # of a command sent in pieces
        self._tasks: set[asyncio.Task[None]] = set()
        self._unanswered_pings = 0
        self._dark = False  # a black hole: nothing goes in or out
        self._silent_until_ns = 0
        self._reason = "the client left"
        self.number, self.key_id = 0, ""  # set once the handshake is through
        self.link = Link(0, Subscriptions(hub.venue))
        self.writable = asyncio.Event()
        self.writable.set()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)
        self._open_connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._ws.receive_data(data)
        self._handle_events()

    def eof_received(self) -> None:
        self._ws.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_connections.discard(self)
        self.writable.set()
        for task in self._tasks:
            task.cancel()
        self._hub.left(self, self._reason if exc is None else f"{self._reason}: {exc}")

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def shutdown(self) -> None:
        """The server is stopping (called by uvicorn)."""
        self._reason = "the exchange stopped"
        if self._dark or self._ws.state is not State.OPEN:
            self._transport.abort()
        else:
            self.close(CloseCode.GOING_AWAY)

    # The handshake.

    def _handle_events(self) -> None:
        for event in self._ws.events_received():
            if isinstance(event, Request):
                self._spawn(self._handshake(event))
            elif isinstance(event, WireFrame):
                self._handle_frame(event)
        self._flush()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handshake(self, request: Request) -> None:
        path = request.path.partition("?")[0]
        fault = self._hub.injector.upgrade(self._hub.knock())
        if fault is not None and fault.kind is Kind.SLOW_UPGRADE:
            await self._hub.clock.sleep(fault.seconds or 10.0)
            fault = None
        if fault is not None:
            self._respond(_fault_response(fault))
            return
        if path != WS_PATH:
            self._respond(_json_response(404, {"error": {"code": "not_found", "message": "not found"}}))
            return
        # Of a header that comes twice the first counts, as over REST.
        headers = {name.upper(): value for name, value in reversed(list(request.headers.raw_items()))}
        key_id = self._hub.access.check(headers, "GET", path)
        if isinstance(key_id, Denied):
            self._respond(_json_response(key_id.status, key_id.body))
            return
        response = self._ws.accept(request)
        self._respond(response)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self.number = self._hub.joined(self, key_id)
            self.key_id = key_id
            user_id, own = self._hub.audience(key_id)
            subscriptions = Subscriptions(self._hub.venue, account=user_id, subaccount=own, sids=self._hub.sids)
            self.link = Link(self.number, subscriptions)
            self._spawn(self._keep_alive())
            self._handle_events()

    def _respond(self, response: Response) -> None:
        response.headers["Date"] = formatdate(self._hub.clock.wall_ns() // NS_PER_S, usegmt=True)
        self._ws.send_response(response)
        self._flush()

    # Frames from the client.

    def _handle_frame(self, frame: WireFrame) -> None:
        if frame.opcode is Opcode.PONG:
            self._unanswered_pings = 0
        elif frame.opcode is Opcode.CLOSE:
            self._reason = "the client closed"
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._partial.append(bytes(frame.data))
            if frame.fin:
                raw, self._partial = b"".join(self._partial), []
                self._handle_command(raw)

    def _handle_command(self, raw: bytes) -> None:
        hub = self._hub
        hub.truth.command(self.number, raw)
        if hub.injector.swallows(self.number, raw) or self._is_silent():
            return
        frames = self.link.subscriptions.command(raw, hub.clock.mono_ns() / NS_PER_S)
        if hub.injector.touches_frames or self.link.held:
            frames = hub.injector.first_snapshots(self.link, frames)
            self._take([*hub.mischief.release(self.link), *frames])
        else:
            self.write([frame.text().encode() for frame in frames])
        hub.commanded(self)

    # Frames to the client.

    @property
    def subscribed(self) -> bool:
        """Whether anything that is published may concern this socket."""
        return self._ws.state is State.OPEN and not self._dark and not self._transport.is_closing()

    def publish(self, messages: Sequence[Message], tail: str) -> None:
        """Send what this socket subscribed to. `tail` ends each envelope."""
        if not self.subscribed:
            return
        if self._is_silent():
            self._withhold(messages)
        elif self._hub.injector.touches_frames or self.link.held:
            for message in messages:
                self._take(self._hub.mischief.steps(self.link, message), tail)
        else:
            texts = self.link.subscriptions.texts(messages, tail)
            if texts:
                self.write([text.encode() for text in texts])
        if self._transport.get_write_buffer_size() > self._hub.overflow_bytes:
            self._overflow()

    def _take(self, steps: Sequence[Step], tail: str = "") -> None:
        """Write frames; carry the other steps out."""
        payloads: list[bytes] = []
        for step in steps:
            if not self.subscribed or self._is_silent():
                return
            if isinstance(step, Frame):
                payloads.append(step.text(tail if step.seq is not None else "").encode())
                continue
            if isinstance(step, bytes):
                payloads.append(step)
                continue
            self.write(payloads)
            payloads = []
            self._act(step)
        self.write(payloads)

    def _act(self, step: Cut | Close | BlackHole | Silence | Oversized) -> None:
        if isinstance(step, Cut):
            self.cut()
        elif isinstance(step, Close):
            self._reason = "a fault closed it"
            self.close(step.code)
        elif isinstance(step, BlackHole):
            self._go_dark(step.seconds)
        elif isinstance(step, Silence):
            self._silent_until_ns = self._hub.clock.mono_ns() + round(step.seconds * NS_PER_S)
        elif self.subscribed:
            # Not in the truth as a frame: no client can take it.
            self._transport.write(_header(step.size) + b" " * step.size)

    def write(self, payloads: Sequence[bytes]) -> None:
        """Write text frames and tell the truth log."""
        if not payloads or not self.subscribed:
            return
        parts: list[bytes] = []
        for payload in payloads:
            parts.append(_header(len(payload)))
            parts.append(payload)
        self._hub.truth.frames(self.number, payloads)
        self._transport.write(b"".join(parts))

    def _is_silent(self) -> bool:
        if not self._silent_until_ns:
            return False
        if self._hub.clock.mono_ns() < self._silent_until_ns:
            return True
        self._silent_until_ns = 0
        last = {subscription.sid: subscription.seq for subscription in self.link.subscriptions.all()}
        self._hub.truth.fault(self.number, {"fault": "silent_end", "last_seq": last})
        return False

    def _withhold(self, messages: Sequence[Message]) -> None:
        """What a silent feed does not send takes its seq all the same."""
        self.link.subscriptions.texts(messages)

    def _overflow(self) -> None:
        """The client reads too slowly: its subscriptions end, as the venue does it (error 25)."""
        ended = [self.link.subscriptions.end(s.sid, 25) for s in self.link.subscriptions.all()]
        self.write([frame.text().encode() for frame in ended if frame is not None])

    # Liveness and ends.

    async def _keep_alive(self) -> None:
        while self._ws.state is State.OPEN:
            await self._hub.clock.sleep(self._hub.ping_interval_s)
            if self._dark:
                continue
            if self._unanswered_pings >= PONGS_MISSED:
                self._reason = "pongs were missing"
                self.close(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
                return
            if self._ws.state is State.OPEN:
                self._unanswered_pings += 1
                self._ws.send_ping(HEARTBEAT)
                self._flush()

    def close(self, code: int, reason: str = "") -> None:
        """Close cleanly: after what is buffered, and with a deadline for the client's answer."""
        if self._ws.state is not State.OPEN:
            return
        self._ws.send_close(code, reason)
        self._flush()
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._transport.abort)

    def cut(self) -> None:
        """End the connection with a reset, whatever is buffered."""
        self._reason = "a fault cut it"
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._dark = True
        self._transport.abort()

    def _go_dark(self, seconds: float | None) -> None:
        self._dark = True
        self._reason = "a fault made it a black hole"
        self.writable.set()
        with contextlib.suppress(RuntimeError):
            self._transport.pause_reading()
        if seconds is not None:
            self._spawn(self._end_dark(seconds))

    async def _end_dark(self, seconds: float) -> None:
        await self._hub.clock.sleep(seconds)
        self.cut()

    def _flush(self) -> None:
        if self._dark or self._transport.is_closing():
            return
        for data in self._ws.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()  # sends what is buffered first


def _header(length: int) -> bytes:
    """The head of an unmasked text frame."""
    if length < 126:
        return bytes((0x81, length))
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")


def _json_response(status: int, body: object) -> Response:
    payload = msgspec.json.encode(body)
    headers = Headers(
        [("Content-Type", "application/json"), ("Content-Length", str(len(payload))), ("Connection", "close")]
    )
    return Response(status, HTTPStatus(status).phrase, headers, payload)


def _fault_response(fault: Fault) -> Response:
    if fault.status == HTTPStatus.TOO_MANY_REQUESTS:
        return _json_response(429, {"error": "too many requests"})
    if fault.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return _json_response(503, {"exchange_active": False, "trading_active": False})
    error = {"code": "authentication_error", "message": "authentication_error"}
    return _json_response(401, {"error": {**error, "details": "INCORRECT_API_KEY_SIGNATURE"}})
