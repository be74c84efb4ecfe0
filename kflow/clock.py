"""Time as an argument: services take a `Clock`, the core takes nanoseconds."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol

NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Wall time for stamps, monotonic time for intervals, and sleep."""

    def wall_ns(self) -> int:
        """Unix time, nanoseconds. May step; never subtract two of them."""

    def mono_ns(self) -> int:
        """Nanoseconds since an arbitrary start. Never steps back."""

    async def sleep(self, seconds: float) -> None:
        """Let others run for `seconds`."""


class SystemClock:
    """The machine's clocks."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def mono_ns(self) -> int:
        return time.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves only when a test says so."""

    def __init__(self, wall_ns: int = 1_700_000_000 * NS_PER_S, mono_ns: int = 0) -> None:
        self._wall_ns, self._mono_ns = wall_ns, mono_ns
        # (due_mono_ns, tie-break, future): sleepers, earliest first.
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def wall_ns(self) -> int:
        return self._wall_ns

    def mono_ns(self) -> int:
        return self._mono_ns

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            # Already due: waiting for the next `advance` would hang a test that never calls it.
            await asyncio.sleep(0)
            return
        due = self._mono_ns + round(seconds * NS_PER_S)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (due, next(self._order), future))
        await future

    def advance(self, seconds: float) -> None:
        """Move both clocks forward and wake every sleeper that is due."""
        if seconds < 0:
            raise ValueError("a monotonic clock cannot go back; step_wall moves the wall clock alone")
        step = round(seconds * NS_PER_S)
        self._wall_ns += step
        self._mono_ns += step
        while self._sleepers and self._sleepers[0][0] <= self._mono_ns:
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                future.set_result(None)

    def step_wall(self, seconds: float) -> None:
        """Step the wall clock alone, as an administrator or NTP would."""
        self._wall_ns += round(seconds * NS_PER_S)
