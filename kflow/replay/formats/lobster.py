"""LOBSTER: a message file and an order book file per day, row for row, without headers.

The YES book: a NO bid at p is an ask at $1 - p. Prices in dollars x 10,000; sizes in 1/100 contract, since contracts
are fractional. Times in seconds after midnight UTC, of the venue. Order ids are 0: the venue shows levels, not orders.
Types: 1 a level grew, 2 it shrank, 3 it went; 5 a trade, which leaves the book as it is (the rows that shrink it come
beside it, unmarked by the venue); 7 with price -1: the book is not known from here on, 7 with price 1: known again.
A day begins with its book, level by level, as rows of type 1; with the last known one and a row 7 where it is unknown.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from kflow.errors import DataError
from kflow.market.events import BookDelta, BookSnapshot, Trade
from kflow.market.times import US_PER_S
from kflow.replay.formats import Target
from kflow.replay.formats.levels import Change, Clock, LevelDigest, LevelFollower, breaks
from kflow.replay.load import Moment
from kflow.units import DOLLAR

GREW, SHRANK, WENT, TRADED, HALT = 1, 2, 3, 5, 7
STOPPED, RESUMED = -1, 1
_NO_ASK, _NO_BID = 9_999_999_999, -9_999_999_999
_DAY_US: Final = 86_400 * US_PER_S


class Message(NamedTuple):
    """A row of the message file; `us` since midnight. Direction 1: bid, -1: ask; of a trade, the resting order's."""

    us: int
    kind: int
    size: int
    price: int
    direction: int


class Writer:
    """Writes <market>_<date>_message_<levels>.csv and <market>_<date>_orderbook_<levels>.csv."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._follower = LevelFollower()
        self._clock = Clock(target.began_us)
        self._day = -1
        self._messages: TextIO = io.StringIO()
        self._books: TextIO = io.StringIO()
        self._stopped = False

    def write(self, moment: Moment) -> None:
        us = self._clock.at(moment)
        if us // _DAY_US != self._day:
            self._turn(us // _DAY_US)
        at = us % _DAY_US
        if breaks(moment):
            if not self._stopped:
                self._row(Message(at, HALT, 0, STOPPED, 0))
            self._stopped = True
            return
        event = moment.event
        if type(event) is Trade:
            direction = 0 if event.taker is None else 1 if event.taker else -1
            self._row(Message(at, TRADED, event.size, event.price, direction))
            return
        levels = self._follower.digest.levels
        before = (dict(levels[0]), dict(levels[1])) if type(event) is BookSnapshot else None
        size_before = 0
        if type(event) is BookDelta:
            size_before = levels[event.side].get(event.price, 0)
        changes = self._follower.changes(moment)
        if before is not None:
            self._snapshot(at, changes, before)
        else:
            for change in changes:
                self._row(_message(at, change, size_before))

    def _snapshot(self, at: int, changes: list[Change], book: tuple[dict[int, int], dict[int, int]]) -> None:
        """The rows that lead to a snapshot; the book beside each is as of that row."""
        if self._stopped:
            self._row(Message(at, HALT, 0, RESUMED, 0), book)
            self._stopped = False
        for change in changes:
            size_before = book[change.side].get(change.price, 0)
            book[change.side][change.price] = change.size
            if not change.size:
                del book[change.side][change.price]
            self._row(_message(at, change, size_before), book)

    def _turn(self, day: int) -> None:
        self._end()
        self._day = day
        date = datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()
        stem = f"{self._target.stem}_{date}"
        folder, levels = self._target.directory, self._target.levels
        self._messages = (folder / f"{stem}_message_{levels}.csv").open("w", encoding="ascii")
        self._books = (folder / f"{stem}_orderbook_{levels}.csv").open("w", encoding="ascii")
        opening: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for side, known in enumerate(self._follower.digest.levels):
            for price, size in sorted(known.items()):
                opening[side][price] = size
                self._row(_message(0, Change(side, price, size), 0), opening)
        if self._stopped:
            self._row(Message(0, HALT, 0, STOPPED, 0))

    def _row(self, message: Message, book: tuple[dict[int, int], dict[int, int]] | None = None) -> None:
        seconds, rest = divmod(message.us, US_PER_S)
        self._messages.write(
            f"{seconds}.{rest:06d},{message.kind},0,{message.size},{message.price},{message.direction}\n"
        )
        yes, no = book or self._follower.digest.levels
        asks = [(DOLLAR - price, no[price]) for price in sorted(no, reverse=True)[: self._target.levels]]
        bids = [(price, yes[price]) for price in sorted(yes, reverse=True)[: self._target.levels]]
        cells: list[int] = []
        for place in range(self._target.levels):
            cells += asks[place] if place < len(asks) else (_NO_ASK, 0)
            cells += bids[place] if place < len(bids) else (_NO_BID, 0)
        self._books.write(",".join(map(str, cells)) + "\n")

    def _end(self) -> None:
        self._messages.close()
        self._books.close()

    def close(self, facts: dict[str, Any]) -> None:  # noqa: ARG002 - the manifest has them
        self._end()


def _message(at: int, change: Change, size_before: int) -> Message:
    kind = WENT if not change.size else GREW if change.size >= size_before else SHRANK
    price = DOLLAR - change.price if change.side else change.price
    return Message(at, kind, abs(change.size - size_before), price, -1 if change.side else 1)


def read_messages(paths: Iterable[Path]) -> Iterator[Message]:
    """The rows of message files, by name; other files are passed over."""
    for path in paths:
        if "_message_" not in path.name:
            continue
        with path.open(newline="", encoding="ascii") as file:
            for row in csv.reader(file):
                if len(row) != 6:
                    raise DataError(f"{path}: a message has six columns, not {len(row)}")
                seconds, _, fraction = row[0].partition(".")
                us = int(seconds) * US_PER_S + int(fraction.ljust(6, "0")[:6])
                yield Message(us, int(row[1]), int(row[3]), int(row[4]), int(row[5]))


def read_levels(paths: Iterable[Path]) -> LevelDigest:
    """The level changes that message files tell; the opening book of a later day repeats what is known."""
    digest = LevelDigest()
    for number, path in enumerate(path for path in paths if "_message_" in path.name):
        opening = number > 0
        sizes: tuple[dict[int, int], dict[int, int]] = ({}, {})
        awaited = sum(map(len, digest.levels)) if opening else 0
        for message in read_messages([path]):
            if message.kind in (TRADED, HALT):
                continue
            side = 1 if message.direction < 0 else 0
            price = DOLLAR - message.price if side else message.price
            step = message.size if message.kind == GREW else -message.size
            size = sizes[side].get(price, 0) + step
            sizes[side][price] = size
            if awaited:
                awaited -= 1
            else:
                digest.change(side, price, size)
    return digest
