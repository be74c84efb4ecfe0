"""Where messages and sockets meet: every message changes the venue, then goes to each socket that wants it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from websockets.frames import CloseCode

from kflow.clock import Clock
from kflow.exchange.access import Access
from kflow.exchange.faults import Injector
from kflow.exchange.market import Venue
from kflow.exchange.messages import Message
from kflow.exchange.mischief import Mischief
from kflow.exchange.truth import TruthLog

if TYPE_CHECKING:
    from kflow.exchange.stream import StreamProtocol

# A client that lets this much pile up loses its subscriptions (error 25).
OVERFLOW_BYTES = 64 * 2**20
PING_INTERVAL_S = 10.0


class Hub:
    """The exchange's open sockets and what they share."""

    def __init__(self, *, clock: Clock, venue: Venue, access: Access, truth: TruthLog, injector: Injector) -> None:
        self.clock, self.venue, self.access, self.truth, self.injector = clock, venue, access, truth, injector
        self.mischief = Mischief(injector, venue)
        self.ping_interval_s = PING_INTERVAL_S
        self.overflow_bytes: float = OVERFLOW_BYTES
        # Sids that a recording's channels must get on each socket.
        self.sids: Mapping[str, int] = {}
        # Put a send time into every data envelope, as the venue has done since autumn 2026.
        self.stamps_sending = True
        # Whose private messages a key's sockets get, and of which subaccount; who wants to know what was published.
        self.audience: Callable[[str], tuple[str, int | None]] = lambda key_id: (key_id, None)
        self.observer: Callable[[Sequence[Message]], None] = lambda _: None
        self.handshakes = 0
        self.connections: list[StreamProtocol] = []
        # Told of every socket that came, sent a command or left.
        self._listeners: list[Callable[[], None]] = []
        self._connected = 0

    @contextlib.contextmanager
    def changes(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever a socket comes, sends a command or leaves."""
        changed = asyncio.Event()
        self._listeners.append(changed.set)
        try:
            yield changed
        finally:
            self._listeners.remove(changed.set)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def knock(self) -> int:
        """The number of a handshake; also those that are refused have one."""
        self.handshakes += 1
        return self.handshakes

    def joined(self, connection: StreamProtocol, key_id: str) -> int:
        """A socket came through its handshake. Returns its number."""
        self._connected += 1
        self.connections.append(connection)
        self.truth.connected(self._connected, key_id)
        self._tell()
        return self._connected

    def left(self, connection: StreamProtocol, reason: str) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
            self.truth.disconnected(connection.number, reason)
            self._tell()

    def commanded(self, _: StreamProtocol) -> None:
        self._tell()

    @property
    def accepted(self) -> int:
        """Sockets that came through the handshake since the start."""
        return self._connected

    def publish(self, messages: Sequence[Message]) -> None:
        """Send messages that belong together; never split a group of one exchange µs over two calls."""
        self.venue.apply(messages)
        tail = f',"sending_ts_ms":{self.clock.wall_ns() // 1_000_000}' if self.stamps_sending else ""
        for connection in tuple(self.connections):
            connection.publish(messages, tail)
        self.observer(messages)

    async def drained(self) -> None:
        """Wait until no socket's buffer is full: at full speed the slowest reader sets the pace."""
        while waiting := [c.writable for c in self.connections if c.subscribed and not c.writable.is_set()]:
            await waiting[0].wait()

    async def listened(self) -> None:
        """Wait until an open socket has subscribed to anything."""
        if any(c.subscribed and c.link.subscriptions for c in self.connections):
            return
        with self.changes() as changed:
            while not any(c.subscribed and c.link.subscriptions for c in self.connections):
                changed.clear()
                await changed.wait()

    def wanted(self, channel: str, markets: frozenset[str]) -> bool:
        """Whether an open socket has subscribed to one of these markets on a channel."""
        return any(
            subscription is not None and any(subscription.wants(market) for market in markets)
            for subscription in [c.link.subscriptions.of(channel) for c in self.connections if c.subscribed]
        )

    def dismiss(self, key_id: str) -> None:
        """Close the sockets that came in with a key."""
        for connection in tuple(self.connections):
            if connection.key_id == key_id:
                connection.close(CloseCode.POLICY_VIOLATION, "the key was revoked")

    async def close_all(self, code: int) -> None:
        """Close every socket cleanly and wait until they are gone."""
        for connection in tuple(self.connections):
            connection.close(code)
        with self.changes() as changed:
            while self.connections:
                changed.clear()
                await changed.wait()
