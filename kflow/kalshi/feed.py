"""The venue's stream, kept alive: connect, sign, subscribe, listen, and again. It never gives up."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

import websockets
from websockets.exceptions import InvalidStatus, WebSocketException

from kflow.clock import NS_PER_S, Clock
from kflow.errors import JournalError, KflowError, VenueRefused
from kflow.kalshi import refusals, wire
from kflow.kalshi.auth import ApiKey
from kflow.kalshi.backoff import Backoff
from kflow.kalshi.liveness import Liveness
from kflow.kalshi.protocol import FeedProtocol
from kflow.kalshi.skew import nearest_to_zero, offset_bounds_ms
from kflow.kalshi.transport import FastConnection

LOOK_S: Final = 0.1
PAUSE_STEP_S: Final = 1.0
# Why a connection ended that we ended ourselves.
STOPPED: Final = "kflow stopped"
# A command that the venue refuses within this time of the start was wrong from the start.
SETTLING_NS: Final = 60 * NS_PER_S
_REFUSING: Final = frozenset({401, 403, 429})
_HANDSHAKE: Final = "the WebSocket handshake"


class Ending(StrEnum):
    """What kind of reason a connection ended for."""

    CLOSED = "closed"  # by the venue, or by what lies between
    SILENT = "silent"  # no pong
    OVERSIZED = "oversized"  # a frame over the limit
    SUBSCRIPTION = "subscription"  # a stream could not be had over this connection
    JOURNAL = "journal"  # what came could not be kept
    ERROR = "error"  # anything else


class FeedListener(Protocol):
    """Whoever is told what the feed brings. Everything is called on the loop's thread."""

    def prepare(self) -> None:
        """A connection is about to be made. Raises JournalError where nothing could be kept of it."""

    def opened(self, url: str) -> FeedProtocol:
        """A connection stands. Returns its protocol, with subscriptions in the outbox. Raises JournalError."""

    def commanded(self, raw: bytes) -> None:
        """A command is about to be sent."""

    def received(self, frames: list[bytes], wall_ns: int, mono_ns: int) -> None:
        """One chunk. Raises JournalError where it could not be kept."""

    def idle(self) -> None:
        """Called several times a second."""

    def oversized(self, size: int) -> None:
        """A frame over the limit came; the connection is about to end over it."""

    def closed(self, reason: str) -> None:
        """The connection is gone."""


@dataclass(slots=True)
class FeedStatus:
    """What health and metrics tell of the feed."""

    connected: bool = False
    attempts: int = 0
    reconnects: int = 0
    # The same by what the connection before ended for, a value of Ending.
    reconnects_by: Counter[str] = field(default_factory=Counter)
    # Why the last connection or attempt ended.
    reason: str = ""
    # How often the loop came round: ten times a second while connected, however quiet the market is, and each second
    # of a pause. One that stands still is stuck.
    turns: int = 0


class Feed:
    """One connection to the stream, renewed for as long as `run` runs."""

    def __init__(
        self, url: str, key: ApiKey, listener: FeedListener, *, clock: Clock, backoff: Backoff | None = None
    ) -> None:
        self.url, self._key, self._listener, self._clock = url, key, listener, clock
        self._backoff = backoff or Backoff()
        self.status = FeedStatus()
        # Set by the chunk handler when the connection cannot go on; read by the watch.
        self._broken: KflowError | None = None
        self._ever_connected = False
        # What the last connection ended for.
        self._ending = Ending.ERROR

    async def run(self) -> None:
        """Listen until cancelled.

        Raises VenueRefused where the very first handshake is refused for our key, or a command in the first minute:
        then the settings are wrong. Later refusals do not end a recording that has begun.
        """
        began_ns = self._clock.mono_ns()
        while True:
            refused = False
            try:
                reason = await self._connection()
            except InvalidStatus as error:
                status = error.response.status_code
                reason, refused = f"the venue refused the connection: HTTP {status}", status in _REFUSING
                if status in (401, 403) and not self._ever_connected:
                    raise self._refused(error) from None
            except (OSError, TimeoutError, WebSocketException) as error:
                reason = f"no connection: {type(error).__name__}: {error}"
            except VenueRefused as error:
                if self._clock.mono_ns() - began_ns < SETTLING_NS:
                    raise
                reason, refused = str(error), True
            except KflowError as error:
                reason = str(error)
            self.status.connected = False
            self.status.reason = reason
            await self._pause(self._backoff.next_delay_s(refused=refused))

    async def _pause(self, seconds: float) -> None:
        """Wait, in steps that show that it is waiting."""
        self.status.turns += 1
        for _ in range(int(seconds / PAUSE_STEP_S)):
            await self._clock.sleep(PAUSE_STEP_S)
            self.status.turns += 1
        await self._clock.sleep(seconds % PAUSE_STEP_S)

    async def _connection(self) -> str:
        """One connection from handshake to end. Returns why it ended."""
        self._listener.prepare()
        self.status.attempts += 1
        headers = await asyncio.to_thread(self._key.headers, "GET", self.url, self._clock.wall_ns())
        connect = websockets.connect(
            self.url,
            additional_headers=headers,
            create_connection=FastConnection,
            compression=None,
            ping_interval=None,
            proxy=None,
            open_timeout=10,
            close_timeout=1,
            max_size=None,
        )
        # `async with` would wait for a closing handshake that a dead venue never makes.
        connection = await connect
        assert isinstance(connection, FastConnection)
        try:
            return await self._listen(connection)
        finally:
            connection.transport.abort()
            await connection.wait_closed()

    async def _listen(self, connection: FastConnection) -> str:
        protocol = self._listener.opened(self.url)
        opened_ns = self._clock.mono_ns()
        reason = "the connection failed"
        self._broken = None
        self.status.connected = True
        if self._ever_connected:
            self.status.reconnects += 1
            self.status.reconnects_by[self._ending] += 1
        self._ever_connected, self._ending = True, Ending.ERROR

        def receive(frames: list[bytes], wall_ns: int, mono_ns: int) -> None:
            try:
                self._listener.received(frames, wall_ns, mono_ns)
                if protocol.subscriptions.outbox:
                    self._send_commands(connection, protocol)
            except KflowError as error:
                self._broken = error
                connection.transport.abort()

        try:
            connection.deliver_to(receive, self._clock)
            self._send_commands(connection, protocol)
            reason = await self._watch(connection, protocol)
        except asyncio.CancelledError:
            reason = STOPPED
            raise
        except Exception as error:
            reason = str(error)
            raise
        finally:
            self.status.connected = False
            self._backoff.lived(self._clock.mono_ns() - opened_ns)
            self._listener.closed(reason)
        return reason

    def _send_commands(self, connection: FastConnection, protocol: FeedProtocol) -> None:
        """Journal each command, then send it; never in the other order, or an answer could precede its question."""
        outbox = protocol.subscriptions.outbox
        for command in outbox:
            raw = wire.encode(command)
            self._listener.commanded(raw)
            connection.protocol.send_text(raw)
        outbox.clear()
        connection.send_data()

    async def _watch(self, connection: FastConnection, protocol: FeedProtocol) -> str:
        """Look every 100 ms. Returns why the connection must end or has ended."""
        liveness = Liveness(self._clock.mono_ns())
        while True:
            await asyncio.wait([connection.connection_lost_waiter], timeout=LOOK_S)
            ended = self._ended(connection)
            if ended is not None:
                return ended
            self.status.turns += 1
            heard, connection.heard = connection.heard, False
            now_ns = self._clock.mono_ns()
            if liveness.look(now_ns, heard=heard):
                await connection.ping()
            if liveness.dead:
                self._ending = Ending.SILENT
                return "the venue fell silent: no pong in 3 s"
            self._listener.idle()
            subscriptions = protocol.subscriptions
            subscriptions.tick(now_ns, protocol.frames)
            if subscriptions.outbox:
                self._send_commands(connection, protocol)
            if subscriptions.refusal is not None:
                refusal = subscriptions.refusal
                raise VenueRefused(400, str(refusal.code), f"the venue refused a command: {refusal.message}")
            if subscriptions.failed is not None:
                self._ending = Ending.SUBSCRIPTION
                return subscriptions.failed

    def _ended(self, connection: FastConnection) -> str | None:
        if self._broken is not None:
            if isinstance(self._broken, JournalError):
                self._ending = Ending.JOURNAL
                raise self._broken
            return str(self._broken)
        if connection.oversized is not None:
            self._ending = Ending.OVERSIZED
            self._listener.oversized(connection.oversized)
            return f"oversized frame of {connection.oversized} bytes"
        if connection.connection_lost_waiter.done():
            self._ending = Ending.CLOSED
            code, words = connection.close_code, connection.close_reason
            return f"the venue closed the connection ({code}{f': {words}' if words else ''})"
        return None

    def _refused(self, error: InvalidStatus) -> VenueRefused:
        """What a handshake that was refused for our key means."""
        answer = error.response
        if answer.status_code != 401:
            return refusals.refusal(_HANDSHAKE, answer.status_code, bytes(answer.body))
        bounds = offset_bounds_ms(answer.headers, self._clock.wall_ns(), 0)
        offset_ms = None if bounds is None else nearest_to_zero(bounds)
        body, algorithm = bytes(answer.body), self._key.algorithm
        return refusals.unauthorised(_HANDSHAKE, body, algorithm=algorithm, offset_ms=offset_ms)
