"""Order groups: the venue's own brake. What a group's orders match in any 15 s stays at or under its limit, roughly.

A match that brings the window above the limit stands; all orders of the group are canceled behind it, and new ones are
refused until the group is reset (protocol section 5.7).
"""

from __future__ import annotations

from collections import deque
from typing import Final
from uuid import uuid4

from kflow.market.times import US_PER_S
from kflow.units import CONTRACT, Size

WINDOW_US: Final = 15 * US_PER_S
MOST: Final = Size(1_000_000 * CONTRACT)


class OrderGroup:
    """One group: bound to one shard and one account."""

    __slots__ = ("_matches", "_total", "group_id", "limit", "shard", "triggered")

    def __init__(self, limit: Size, shard: int) -> None:
        self.group_id: Final = str(uuid4())
        self.limit = limit
        self.shard: Final = shard
        self.triggered = False
        self._matches: deque[tuple[int, Size]] = deque()
        self._total = 0

    def matched(self, size: Size, now_us: int) -> bool:
        """Count a match of one of its orders; whether that brought the group to its limit."""
        self._matches.append((now_us, size))
        self._total += size
        return self.check(now_us)

    def check(self, now_us: int) -> bool:
        """Whether the window's matches reach the limit, which triggers the group; False if it was triggered already."""
        if self.triggered or self.in_window(now_us) < self.limit:
            return False
        self.triggered = True
        return True

    def in_window(self, now_us: int) -> Size:
        """Contracts matched in the 15 s up to now."""
        while self._matches and self._matches[0][0] <= now_us - WINDOW_US:
            self._total -= self._matches.popleft()[1]
        return Size(self._total)

    def reset(self) -> None:
        """Let orders in again, with an empty window."""
        self.triggered = False
        self._matches.clear()
        self._total = 0
