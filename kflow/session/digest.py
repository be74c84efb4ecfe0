"""The digest of a session's books: equal digests, equal books, whether read from journal, tables or truth log.

One SHA-256 per subscription (connection, sid) over its book events in the venue's order, then over the last levels of
its markets; the subscriptions' digests in sorted order make the one that is shown. Connections enter as their rank
among those that carried book events, so that two logs that number them differently agree.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from kflow.market.events import BookDelta, BookSnapshot, FeedEvent, Level
from kflow.market.times import parse_rfc3339_us

_TAG: Final = b"kflow book digest 1\n"
# tag, market's number within the stream, seq, change, size, venue µs, price, side. Little-endian, no padding.
_DELTA: Final = struct.Struct("<ciqqqqhb").pack
_SNAPSHOT: Final = struct.Struct("<ciqii").pack  # tag, market, seq, number of YES levels, of NO levels
_NO_SIZE: Final = -1
_NO_TIME: Final = -(2**63)
# Events that are hashed with one call.
_BATCH: Final = 512


# market, seq, side, price, change, size afterwards (None: the book was not live), venue µs (None: unknown)
DeltaRow = tuple[str, int, int, int, int, int | None, int | None]


class StreamSummary(NamedTuple):
    """What one subscription came to."""

    digest: str
    deltas: int
    snapshots: int


class _Market:
    """A market within a stream: its number there, and its levels by price (NO: by ~price, so that one dict serves)."""

    __slots__ = ("levels", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.levels: dict[int, int] = {}


class _Stream:
    """One subscription while it is read."""

    __slots__ = ("deltas", "hash", "last_seq", "markets", "pending", "snapshots")

    def __init__(self) -> None:
        self.hash = hashlib.sha256(_TAG)
        self.pending: list[bytes] = []
        self.markets: dict[str, _Market] = {}
        self.deltas = self.snapshots = 0
        self.last_seq: int | None = None

    def market(self, name: str) -> _Market:
        """The market, told to the hash when it is met first."""
        found = self.markets[name] = _Market(len(self.markets))
        self.pending.append(b"M" + name.encode() + b"\0")
        return found

    def flush(self) -> None:
        self.hash.update(b"".join(self.pending))
        self.pending.clear()


class BookDigest:
    """Takes a session's book events, each stream's in the venue's order; streams may interleave.

    With a `sample_rate` above 1 it is the digest of what a sampled table keeps: every snapshot, and the deltas whose
    seq it divides. Levels cannot be followed then, and do not enter.
    """

    def __init__(self, sample_rate: int = 1) -> None:
        self._sample_rate = sample_rate
        self._open: dict[tuple[int, int], _Stream] = {}
        self._done: dict[tuple[int, int], StreamSummary] = {}
        self._key: tuple[int, int] | None = None
        self._stream = _Stream()
        self.deltas = self.snapshots = 0
        # Events that repeat the seq of the one before them.
        self.repeats = 0
        # Deltas whose size is not what the level's size before it and the change make.
        self.wrong_sizes = 0

    def add(self, connection: int, event: FeedEvent) -> None:
        """Take an event of a connection; those of no book are passed over."""
        if type(event) is BookDelta:
            market, sid, seq, side, price, change, size, ts, ms = msgspec.structs.astuple(event)
            us = parse_rfc3339_us(ts) if ts is not None else None if ms is None else ms * 1000
            self.delta(connection, sid, (market, seq, side, price, change, size, us))
        elif type(event) is BookSnapshot:
            self.snapshot(connection, event)

    def delta(self, connection: int, sid: int, row: DeltaRow) -> None:
        """One level changed."""
        market, seq, side, price, change, size, venue_us = row
        if self._sample_rate != 1 and seq % self._sample_rate:
            return
        stream = self._stream if self._key == (connection, sid) else self._turn(connection, sid)
        known = stream.markets.get(market) or stream.market(market)
        pending = stream.pending
        kept, us = _NO_SIZE if size is None else size, _NO_TIME if venue_us is None else venue_us
        pending.append(_DELTA(b"D", known.number, seq, change, kept, us, price, side))
        if len(pending) >= _BATCH:
            stream.flush()
        stream.deltas += 1
        if seq == stream.last_seq:
            self.repeats += 1
        stream.last_seq = seq
        if size is not None and self._sample_rate == 1:
            levels, place = known.levels, ~price if side else price
            if levels.get(place, 0) + change != size:
                self.wrong_sizes += 1
            if size:
                levels[place] = size
            else:
                levels.pop(place, None)

    def snapshot(self, connection: int, event: BookSnapshot) -> None:
        """A whole book. Its levels enter in ascending order, however they came."""
        market, sid, seq, yes, no = event.market, event.sid, event.seq, event.yes, event.no
        stream = self._stream if self._key == (connection, sid) else self._turn(connection, sid)
        known = stream.markets.get(market) or stream.market(market)
        stream.pending.append(_SNAPSHOT(b"S", known.number, seq, len(yes), len(no)))
        stream.pending.append(_levels(sorted(yes)))
        stream.pending.append(_levels(sorted(no)))
        stream.snapshots += 1
        if seq == stream.last_seq:
            self.repeats += 1
        stream.last_seq = seq
        if _is_book(yes) and _is_book(no):
            known.levels = dict(yes) | {~price: size for price, size in no}

    def _turn(self, connection: int, sid: int) -> _Stream:
        key = (connection, sid)
        stream = self._open.get(key)
        if stream is None:
            if key in self._done:
                raise ValueError(f"connection {connection} was ended, and goes on")
            stream = self._open[key] = _Stream()
        self._key, self._stream = key, stream
        return stream

    def end_connection(self, connection: int) -> None:
        """No more events of this connection: its levels may be forgotten."""
        for key in [key for key in self._open if key[0] == connection]:
            self._done[key] = self._finish(self._open.pop(key))
        self._key = None

    def _finish(self, stream: _Stream) -> StreamSummary:
        self.deltas += stream.deltas
        self.snapshots += stream.snapshots
        if self._sample_rate == 1:
            for name in sorted(stream.markets):
                levels = sorted(stream.markets[name].levels.items())
                stream.pending.append(b"F" + name.encode() + b"\0" + _levels(levels))
        stream.flush()
        return StreamSummary(stream.hash.hexdigest(), stream.deltas, stream.snapshots)

    def streams(self) -> dict[tuple[int, int], StreamSummary]:
        """End every connection; each stream by (rank of its connection, sid)."""
        for connection in {key[0] for key in self._open}:
            self.end_connection(connection)
        ranks = {number: rank for rank, number in enumerate(sorted({key[0] for key in self._done}), start=1)}
        return {(ranks[connection], sid): self._done[connection, sid] for connection, sid in sorted(self._done)}

    def hexdigest(self) -> str:
        """End every connection; the digest of all of them, in hexadecimal."""
        whole = hashlib.sha256(_TAG)
        for (rank, sid), stream in self.streams().items():
            whole.update(f"{rank} {sid} {stream.digest}\n".encode())
        return whole.hexdigest()


def _levels(levels: Sequence[tuple[int, int]]) -> bytes:
    return struct.pack(f"<i{2 * len(levels)}q", len(levels), *[number for level in levels for number in level])


def _is_book(levels: Iterable[Level]) -> bool:
    """What a book takes: no price twice, no size that is not positive (see Book.replace)."""
    prices = set()
    for price, size in levels:
        if size <= 0 or price in prices:
            return False
        prices.add(price)
    return True
