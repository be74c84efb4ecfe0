"""What one look cannot tell: since when the feed is away, or books are not live; how fast messages come, how late."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from kflow.clock import NS_PER_S
from kflow.web.service import Service

LOOK_S: Final = 1.0
LOOKS: Final = 6  # rate and lateness are those of the last five seconds
# The feed waits at most 40 s between attempts and 10 s for one (kalshi.backoff): beyond this its task is gone.
ATTEMPT_NS: Final = 120 * NS_PER_S


class _Look(NamedTuple):
    """What was counted so far, and when."""

    mono_ns: int
    messages: int
    age: tuple[int, ...]
    handle: tuple[int, ...]


class Pulse:
    """Looks at a session about once a second. Looking more often, or late, changes no answer."""

    def __init__(self, service: Service) -> None:
        self._service = service
        now_ns = service.clock.mono_ns()
        self._began_ns = self._now_ns = now_ns
        # When a connection was last seen; None before the first.
        self._connected_ns: int | None = None
        # Since when at least one book is not live, as seen; None: all are.
        self._stale_ns: int | None = None
        # When the feed last got anywhere: a connection, or another attempt at one.
        self._progress_ns = now_ns
        self._attempts = service.feed.attempts
        # About a second apart.
        self._looks: deque[_Look] = deque(maxlen=LOOKS)

    async def run(self) -> None:
        """Look for as long as the service runs."""
        while True:
            self.look()
            await self._service.clock.sleep(LOOK_S)

    def look(self) -> None:
        """Take note of what is now."""
        service, now_ns = self._service, self._service.clock.mono_ns()
        self._now_ns = now_ns
        feed = service.feed
        if feed.connected:
            self._connected_ns = now_ns
        if feed.connected or feed.attempts != self._attempts:
            self._progress_ns, self._attempts = now_ns, feed.attempts
        counts = service.books.counts()
        if counts["live"] and not counts["stale"] and not counts["invalid"]:
            self._stale_ns = None
        elif self._stale_ns is None:
            self._stale_ns = now_ns
        if not self._looks or now_ns - self._looks[-1].mono_ns >= 0.9 * LOOK_S * NS_PER_S:
            told = service.recorder
            age, handle = tuple(told.age_s.counts), tuple(told.handle_s.counts)
            self._looks.append(_Look(now_ns, told.total_messages, age, handle))

    @property
    def ever_connected(self) -> bool:
        return self._connected_ns is not None

    @property
    def disconnected_s(self) -> float:
        """Seconds without a connection; 0 while one stands."""
        if self._service.feed.connected:
            return 0.0
        since_ns = self._began_ns if self._connected_ns is None else self._connected_ns
        return (self._now_ns - since_ns) / NS_PER_S

    @property
    def stale_s(self) -> float:
        """Seconds during which not every book was live; 0 while all are."""
        return 0.0 if self._stale_ns is None else (self._now_ns - self._stale_ns) / NS_PER_S

    @property
    def feed_moves(self) -> bool:
        """The feed has a connection, or goes on trying for one. A quiet market is no standstill."""
        return self._now_ns - self._progress_ns < ATTEMPT_NS

    @property
    def rate_per_s(self) -> float | None:
        """Messages per second of the last seconds; None before two looks."""
        if len(self._looks) < 2:
            return None
        then, now = self._looks[0], self._looks[-1]
        return (now.messages - then.messages) * NS_PER_S / (now.mono_ns - then.mono_ns)

    @property
    def age_p99_s(self) -> float | None:
        """How old the messages of the last seconds were when they came; None without any."""
        return self._service.recorder.age_s.quantile_s(0.99, self._looks[0].age) if self._looks else None

    @property
    def handle_p99_s(self) -> float | None:
        """How long handling one of them took; None without any."""
        return self._service.recorder.handle_s.quantile_s(0.99, self._looks[0].handle) if self._looks else None
