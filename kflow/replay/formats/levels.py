"""The level changes of one market's book: what every format can carry, so what each is held to.

A book is followed while it is known: by deltas whose level size is known, and by snapshots, which count as the changes
that lead from the levels before to theirs (YES then NO, each ascending by price).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from kflow.market.events import BookDelta, BookSnapshot
from kflow.replay.load import GapMark, Moment

_CHANGE: Final = struct.Struct("<bhq").pack
_HARMLESS: Final = frozenset({"duplicate", "reordered"})


class Change(NamedTuple):
    """A level came to a size (1e-2 contract); 0: it is gone. Price of its own side, 1e-4 dollar."""

    side: int
    price: int
    size: int


class LevelDigest:
    """SHA-256 over a market's level changes, and over the levels they end with."""

    def __init__(self) -> None:
        self.levels: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._hash = hashlib.sha256(b"kflow level digest 1\n")
        self.changes = 0

    def change(self, side: int, price: int, size: int) -> None:
        self._hash.update(_CHANGE(side, price, size))
        self.changes += 1
        if size:
            self.levels[side][price] = size
        else:
            self.levels[side].pop(price, None)

    def replace(self, yes: Iterable[tuple[int, int]], no: Iterable[tuple[int, int]]) -> list[Change]:
        """Become a snapshot; the changes that took."""
        changes = list(differences(self.levels, (dict(yes), dict(no))))
        for change in changes:
            self.change(*change)
        return changes

    def hexdigest(self) -> str:
        whole = self._hash.copy()
        for side, levels in enumerate(self.levels):
            for price, size in sorted(levels.items()):
                whole.update(_CHANGE(side, price, size))
        return whole.hexdigest()


def differences(
    before: tuple[dict[int, int], dict[int, int]], after: tuple[dict[int, int], dict[int, int]]
) -> Iterator[Change]:
    """Changes that lead from one book to another."""
    for side in (0, 1):
        for price in sorted(before[side].keys() | after[side].keys()):
            size = after[side].get(price, 0)
            if size != before[side].get(price, 0):
                yield Change(side, price, size)


class LevelFollower:
    """Turns events into level changes, and keeps their digest."""

    def __init__(self) -> None:
        self.digest = LevelDigest()
        # Whether the levels are the present ones: from a snapshot until the next gap.
        self.known = False

    def changes(self, moment: Moment) -> list[Change]:
        """What the event changed; nothing where the book is not known or the event is of no book."""
        event = moment.event
        if breaks(moment):
            self.known = False
        elif type(event) is BookDelta and event.size is not None:
            self.digest.change(event.side, event.price, event.size)
            return [Change(event.side, event.price, event.size)]
        elif type(event) is BookSnapshot:
            self.known = True
            return self.digest.replace(event.yes, event.no)
        return []


def breaks(moment: Moment) -> bool:
    """Whether the event is a gap: from here to the next snapshot the book is not known."""
    return isinstance(moment.event, GapMark) and moment.event.kind not in _HARMLESS


class Clock:
    """The order of events as one rising time, the venue's (µs since 1970)."""

    def __init__(self, began_us: int | None) -> None:
        """`began_us`: the venue's time of the first event that has one, for those before it."""
        self._last_us = began_us or 0

    def at(self, moment: Moment) -> int:
        """Never before the event before (design 1.7). Times of receipt serve only where the venue told none at all."""
        us = moment.venue_us if moment.venue_us is not None or self._last_us else moment.recv_ns // 1000
        self._last_us = max(self._last_us, us or 0)
        return self._last_us
