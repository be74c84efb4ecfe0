"""The CSV files of tardis.dev, gzipped, per UTC day: incremental_book_L2 and trades.

The YES book: a NO bid at p is an ask at $1 - p. Prices in dollars, amounts in contracts, both exact decimals; an
amount is the level's new size, 0: it is gone. Times in microseconds since 1970. The rows of a snapshot replace the
book; a side or book that a snapshot leaves empty is told by rows of amount 0. Where the book was not known there are
no rows: the manifest lists the gaps.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kflow.errors import DataError
from kflow.market.events import BookDelta, BookSnapshot, Side, Trade
from kflow.replay.formats import Target
from kflow.replay.formats.levels import Change, LevelDigest, LevelFollower
from kflow.replay.load import Moment
from kflow.units import DOLLAR, Price, Size, format_price, format_size, parse_price, parse_size

EXCHANGE: Final = "kalshi"
BOOK_COLUMNS: Final = ("exchange", "symbol", "timestamp", "local_timestamp", "is_snapshot", "side", "price", "amount")
TRADE_COLUMNS: Final = ("exchange", "symbol", "timestamp", "local_timestamp", "id", "side", "price", "amount")
_DAY_NS: Final = 86_400_000_000_000
_BID, _ASK = "bid", "ask"


class _File:
    """One gzipped CSV; the same events make the same bytes."""

    def __init__(self, path: Path, columns: Iterable[str]) -> None:
        self._raw = path.open("wb")
        self._zip = gzip.GzipFile(filename="", fileobj=self._raw, mode="wb", mtime=0, compresslevel=6)
        self._text = io.TextIOWrapper(self._zip, encoding="utf-8", newline="")
        self.rows = csv.writer(self._text, lineterminator="\n")
        self.rows.writerow(columns)

    def close(self) -> None:
        self._text.close()
        self._raw.close()


class Writer:
    """Writes kalshi_incremental_book_L2_<date>_<market>.csv.gz and kalshi_trades_<date>_<market>.csv.gz."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._follower = LevelFollower()
        self._day = -1
        self._book: _File | None = None
        self._trades: _File | None = None
        # Receive time of the last row, if that was of a snapshot: two of one moment could not be told apart.
        self._snapshot_us: int | None = None

    def write(self, moment: Moment) -> None:
        event = moment.event
        if not isinstance(event, BookDelta | BookSnapshot | Trade):
            self._follower.changes(moment)  # a gap ends what is known
            return
        if moment.recv_ns // _DAY_NS > self._day:
            self._turn(moment.recv_ns // _DAY_NS, moment)
        if isinstance(event, Trade):
            self._trade(moment, event)
            return
        if isinstance(event, BookDelta):
            self._rows(moment, self._follower.changes(moment), snapshot=False)
            return
        known = _whole(self._follower.digest.levels)
        changes = self._follower.changes(moment)
        if self._snapshot_us == moment.recv_ns // 1000:
            self._rows(moment, changes, snapshot=False)
            return
        whole = _whole((dict(event.yes), dict(event.no)))
        self._rows(moment, whole or _emptied(known), snapshot=True)

    def _rows(self, moment: Moment, changes: Iterable[Change], *, snapshot: bool) -> None:
        assert self._book is not None
        local_us = moment.recv_ns // 1000
        us = local_us if moment.venue_us is None else moment.venue_us
        for side, price, size in changes:
            shown = format_price(Price(DOLLAR - price if side else price))
            amount = format_size(Size(size))
            mark = "true" if snapshot else "false"
            place = _ASK if side else _BID
            self._book.rows.writerow([EXCHANGE, self._target.market, us, local_us, mark, place, shown, amount])
            self._snapshot_us = local_us if snapshot else None

    def _trade(self, moment: Moment, event: Trade) -> None:
        assert self._trades is not None
        local_us = moment.recv_ns // 1000
        us = local_us if moment.venue_us is None else moment.venue_us
        side = "unknown" if event.taker is None else "sell" if event.taker == Side.NO else "buy"
        price, amount = format_price(event.price), format_size(event.size)
        row = [EXCHANGE, self._target.market, us, local_us, event.trade_id or "", side, price, amount]
        self._trades.rows.writerow(row)

    def _turn(self, day: int, moment: Moment) -> None:
        """Begin the files of a day, with the book as it is known."""
        self._end()
        self._day = day
        date = datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()
        name = f"{date}_{self._target.stem}.csv.gz"
        folder = self._target.directory
        self._book = _File(folder / f"{EXCHANGE}_incremental_book_L2_{name}", BOOK_COLUMNS)
        self._trades = _File(folder / f"{EXCHANGE}_trades_{name}", TRADE_COLUMNS)
        if self._follower.known:
            self._rows(moment, _whole(self._follower.digest.levels), snapshot=True)

    def _end(self) -> None:
        for file in (self._book, self._trades):
            if file is not None:
                file.close()

    def close(self, facts: dict[str, Any]) -> None:  # noqa: ARG002 - the manifest has them
        self._end()


def _whole(book: tuple[dict[int, int], dict[int, int]]) -> list[Change]:
    return [Change(side, price, size) for side in (0, 1) for price, size in sorted(book[side].items())]


def _emptied(known: list[Change]) -> list[Change]:
    """How an empty book is told: every level that was known is gone; with none known, one that never was."""
    return [change._replace(size=0) for change in known] or [Change(0, 100, 0)]


def read_levels(paths: Iterable[Path]) -> LevelDigest:
    """The level changes that the book files tell, by name; others are passed over."""
    digest = LevelDigest()
    pending: tuple[dict[int, int], dict[int, int]] | None = None
    pending_at = ""
    for local, is_snapshot, change in _book_rows(paths):
        if pending is not None and (not is_snapshot or local != pending_at):
            digest.replace(pending[0].items(), pending[1].items())
            pending = None
        if not is_snapshot:
            digest.change(*change)
            continue
        if pending is None:
            pending, pending_at = ({}, {}), local
        if change.size:
            pending[change.side][change.price] = change.size
    if pending is not None:
        digest.replace(pending[0].items(), pending[1].items())
    return digest


def _book_rows(paths: Iterable[Path]) -> Iterator[tuple[str, bool, Change]]:
    for path in paths:
        if "_incremental_book_L2_" not in path.name:
            continue
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if tuple(next(rows, ())) != BOOK_COLUMNS:
                raise DataError(f"{path} has other columns than incremental_book_L2")
            for _, _, _, local, is_snapshot, place, price_text, amount in rows:
                side, price = (1, DOLLAR - parse_price(price_text)) if place == _ASK else (0, parse_price(price_text))
                yield local, is_snapshot == "true", Change(side, price, parse_size(amount))
