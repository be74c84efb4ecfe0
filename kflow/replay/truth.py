"""A journal held against the exchange's own log of what it sent: is every frame journalled, or its loss recorded?

Connections are matched by what was sent over them, since each side counts its own. What a recorder took of a
connection is the beginning of what the exchange wrote to it; what follows came after the connection was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from kflow.errors import DataError
from kflow.kalshi import wire
from kflow.kalshi.protocol import FeedProtocol
from kflow.session.chunks import MarketFacts, Opened
from kflow.session.digest import BookDigest
from kflow.store.journal import RecordKind
from kflow.store.journal_reader import JournalReader, Record
from kflow.store.sessions import GapRow, Session

T = TypeVar("T")

# Frames that tell one connection from another.
_TELLING = 10_000
# Nothing was received meanwhile.
_ABSENT = frozenset({"disconnect", "downtime", "oversized"})


class TruthVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange's log says of a session."""

    # Connections of the log that belong to this session; those at other times are another session's.
    connections: int
    other_connections: int
    # Frames that were written to those connections; how many of them the journal has.
    frames: int
    journalled: int
    # Frames the journal does not have; those of them for whose loss there is no record.
    lost: int
    lost_outside_gaps: int
    # Frames that the journal has and the exchange did not send.
    unknown: int
    # Of the books in the journalled frames, read from the exchange's log.
    digest: str
    equal: bool
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the tables know of a session: its gaps, and when other sessions connected since it began."""

    session: Session
    gaps: Sequence[GapRow]
    foreign: Sequence[int] = ()


@dataclass(slots=True)
class Socket:
    """One connection of a log, and where its records lie."""

    number: int
    opened_ns: int
    closed_ns: int
    start: int
    end: int
    frames: int = 0
    # Something was recorded behind its last frame: its end, or whatever came after it.
    ended: bool = False
    opened: Opened = field(default_factory=lambda: Opened(""))


@dataclass(slots=True)
class _Matched:
    """What became of the frames of one connection of the exchange."""

    journalled: int = 0
    unknown: int = 0
    lost: int = 0
    unrecorded: int = 0


def compare_truth(reader: JournalReader, directory: Path, recorded: Recorded, *, digest: str) -> TruthVerdict:
    """Hold a session's journal against the truth log in `directory`. `digest` is that of the journal's books.

    Raises JournalError where there is no log.
    """
    truth = JournalReader(directory)
    ours, facts = _sockets(reader)
    theirs, _ = _sockets(truth)
    comparison = _Comparison(reader, truth, recorded, facts)
    for socket in ours:
        if socket.frames:
            comparison.match(socket, theirs)
    comparison.rest(ours, theirs)
    return comparison.verdict(digest)


class _Comparison:
    """Matches the connections of two logs and adds up what is missing."""

    def __init__(
        self,
        reader: JournalReader,
        truth: JournalReader,
        recorded: Recorded,
        facts: Sequence[MarketFacts],
    ) -> None:
        self._reader, self._truth, self._facts = reader, truth, facts
        self._session, self._foreign, gaps = recorded.session, recorded.foreign, recorded.gaps
        self._absent = [(gap.recv_ns, gap.ended_ns) for gap in gaps if gap.kind in _ABSENT]
        # Of each subscription, which seqs are missing: from expected up to but without received.
        self._missing: dict[tuple[int, int | None], list[tuple[int, int]]] = {}
        for gap in gaps:
            if gap.expected is not None and gap.received is not None:
                self._missing.setdefault((gap.connection, gap.sid), []).append((gap.expected, gap.received))
        self._claimed: set[int] = set()
        self._total = _Matched()
        self._sent = self._connections = self._others = 0
        self._digest = BookDigest()
        self._differences: list[str] = []

    def match(self, ours: Socket, theirs: Sequence[Socket]) -> None:
        """Find the connection of the exchange that this one was, and account for its frames."""
        best, longest = None, -1
        free = [socket for socket in theirs if socket.number not in self._claimed and socket.frames]
        for candidate in sorted(free, key=lambda socket: abs(socket.opened_ns - ours.opened_ns)):
            length = self._common(ours, candidate)
            if length > longest:
                best, longest = candidate, length
            if length == min(ours.frames, _TELLING):
                break
        if best is None or longest == 0:
            self._total.unknown += ours.frames
            self._differences.append(f"the exchange's log does not know connection {ours.number} of the journal")
            return
        self._claimed.add(best.number)
        found = self._follow(ours, best)
        self._add(best, found)
        if found.unknown:
            self._differences.append(f"connection {ours.number}: {found.unknown:,} frames were never sent like that")

    def _common(self, ours: Socket, candidate: Socket) -> int:
        """How many frames both begin with alike, as far as that matters."""
        length = 0
        frames = _frames(self._truth, candidate)
        for record in islice(_frames(self._reader, ours), _TELLING):
            sent = next(frames, None)
            if sent is None or sent.payload != record.payload:
                break
            length += 1
        return length

    def _follow(self, ours: Socket, sent: Socket) -> _Matched:
        """Go along both: every frame of the journal must be met, in order, among those that were sent."""
        found = _Matched()
        protocol = FeedProtocol(use_yes_price=ours.opened.use_yes_price, passive=True)
        for facts in self._facts:
            protocol.set_grid(facts.ticker, facts.price_ranges)
        received = _frames(self._reader, ours)
        awaited = next(received, None)
        for record in _frames(self._truth, sent):
            if awaited is not None and record.payload == awaited.payload:
                found.journalled += 1
                self._digest.add(ours.number, protocol.receive(record.payload))
                protocol.gaps.clear()
                awaited = next(received, None)
                continue
            found.lost += 1
            # What follows the last frame of ours came after the loss of the connection, if that is on record.
            if not (awaited is None and ours.ended) and not self._recorded(record, ours.number):
                found.unrecorded += 1
        found.unknown = ours.frames - found.journalled
        self._digest.end_connection(ours.number)
        return found

    def _recorded(self, record: Record, connection: int) -> bool:
        """The frame lies inside a gap row: by its seq, or in a time in which nothing was received."""
        at = record.wall_ns
        if any(start <= at and (end is None or at <= end) for start, end in self._absent):
            return True
        envelope = wire.envelope_of(record.payload)
        if envelope is None or envelope.seq is None:
            return False
        return any(first <= envelope.seq < end for first, end in self._missing.get((connection, envelope.sid), ()))

    def _add(self, sent: Socket, found: _Matched) -> None:
        self._connections += 1
        self._sent += sent.frames
        total = self._total
        total.journalled += found.journalled
        total.lost += found.lost
        total.unrecorded += found.unrecorded
        total.unknown += found.unknown

    def rest(self, ours: Sequence[Socket], theirs: Sequence[Socket]) -> None:
        """Connections of the exchange of which the journal has no frame."""
        started, ended = self._session.started_ns, self._session.ended_ns
        last = max((socket.closed_ns for socket in ours), default=started)
        ended = max(last, ended) if ended is not None else None
        empty = [socket for socket in ours if not socket.frames]
        for socket in theirs:
            if socket.number in self._claimed:
                continue
            elsewhere = any(socket.opened_ns <= opened_ns <= socket.closed_ns for opened_ns in self._foreign)
            if elsewhere or socket.closed_ns < started or (ended is not None and socket.opened_ns > ended):
                self._others += 1
                continue
            found = _Matched(lost=socket.frames)
            silent = any(s.opened_ns <= socket.closed_ns and socket.opened_ns <= s.closed_ns for s in empty)
            if socket.frames and not silent:
                found.unrecorded = sum(not self._recorded(record, 0) for record in _frames(self._truth, socket))
            self._add(socket, found)

    def verdict(self, digest: str) -> TruthVerdict:
        total, differences = self._total, list(self._differences)
        found = self._digest.hexdigest()
        if total.unrecorded:
            differences.append(f"{total.unrecorded:,} frames that were sent are lost, and no gap says so")
        if found != digest:
            differences.append("the books of the exchange's log and of the journal differ")
        return TruthVerdict(
            connections=self._connections,
            other_connections=self._others,
            frames=self._sent,
            journalled=total.journalled,
            lost=total.lost,
            lost_outside_gaps=total.unrecorded,
            unknown=total.unknown,
            digest=found,
            equal=not differences,
            differences=tuple(differences),
        )


def _sockets(reader: JournalReader) -> tuple[list[Socket], list[MarketFacts]]:
    """The connections of a log, in their order, and what it says of the markets."""
    sockets: dict[int, Socket] = {}
    facts: dict[str, MarketFacts] = {}
    for record in reader.records():
        kind, number = record.kind, record.connection
        if kind == RecordKind.MARKETS:
            facts.update({entry.ticker: entry for entry in _decode(record, list[MarketFacts])})
            continue
        socket = sockets.get(number)
        if socket is None:
            if kind not in (RecordKind.CONNECTED, RecordKind.COMMAND, RecordKind.FRAME):
                continue
            if sockets:
                next(reversed(sockets.values())).ended = True
            socket = Socket(number, record.wall_ns, record.wall_ns, record.offset, record.end)
            sockets[number] = socket
        socket.end = record.end
        if kind != RecordKind.GAP:  # which may come much later, from whoever completes the session
            socket.closed_ns = record.wall_ns
        if kind == RecordKind.FRAME:
            socket.frames += 1
            socket.ended = False
        elif kind in (RecordKind.DISCONNECTED, RecordKind.GAP):
            socket.ended = True
        elif kind == RecordKind.CONNECTED and b'"use_yes_price"' in record.payload:
            socket.opened = _decode(record, Opened)
    return list(sockets.values()), list(facts.values())


def _decode(record: Record, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(record.payload, type=kind)
    except msgspec.MsgspecError as error:
        raise DataError(f"the record at {record.offset} cannot be read: {error}") from None


def _frames(reader: JournalReader, socket: Socket) -> Iterator[Record]:
    """The frames of one connection."""
    for record in reader.records(socket.start, socket.end):
        if record.kind == RecordKind.FRAME and record.connection == socket.number:
            yield record
