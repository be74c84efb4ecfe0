"""Chunks: what one read of the socket brought, decoded. The recorder makes them live, a journal gives them back.

The unit is the socket chunk (design 1.4): its frames share their receive stamps and one write to the journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from kflow.errors import JournalError, Unrepresentable
from kflow.kalshi import checkpoint
from kflow.kalshi.livebook import Ranges
from kflow.kalshi.protocol import FeedProtocol
from kflow.market.events import BookDelta, FeedEvent, Gap, GapKind
from kflow.market.times import venue_us
from kflow.store.journal import RecordKind
from kflow.store.journal_reader import JournalReader, Record


class Opened(msgspec.Struct, frozen=True):
    """A connection was made. Payload of a CONNECTED record."""

    url: str
    use_yes_price: bool = False


class Closed(msgspec.Struct, frozen=True):
    """A connection ended. Payload of a DISCONNECTED record."""

    reason: str


class Hole(msgspec.Struct, frozen=True):
    """A gap that no frame shows. Payload of a GAP record; times are wall clock."""

    kind: GapKind
    started_ns: int
    ended_ns: int | None
    detail: str


class MarketFacts(msgspec.Struct, frozen=True):
    """What REST said of a market when the session began. One entry of a MARKETS record. None is unknown."""

    ticker: str
    price_ranges: Ranges
    event_ticker: str | None = None
    series_ticker: str | None = None
    fee_type: str | None = None
    fee_multiplier: str | None = None  # a decimal, as the venue wrote it
    status: str | None = None
    open_time: datetime | None = None
    close_time: datetime | None = None
    exchange_index: int | None = None
    info: dict[str, Any] = {}  # the venue's own JSON


Mark = Opened | Closed | Hole | list[MarketFacts]

_MARKS: Final[dict[int, msgspec.json.Decoder[Any]]] = {
    RecordKind.CONNECTED: msgspec.json.Decoder(Opened),
    RecordKind.DISCONNECTED: msgspec.json.Decoder(Closed),
    RecordKind.GAP: msgspec.json.Decoder(Hole),
    RecordKind.MARKETS: msgspec.json.Decoder(list[MarketFacts]),
}


class Chunk(msgspec.Struct, gc=False):
    """Events with the receive stamps they share, and the journal offsets they lie between."""

    connection: int
    wall_ns: int
    mono_ns: int
    start: int
    end: int
    events: list[FeedEvent]
    gaps: list[Gap]
    mark: Mark | None = None


def delta_us(delta: BookDelta) -> int | None:
    """The venue's time of a delta, µs since 1970. A stamp that is no time is unknown; the journal has it as it came."""
    try:
        return venue_us(delta.venue_ts, delta.venue_ms)
    except Unrepresentable:
        return venue_us(None, delta.venue_ms)


class JournalDecoder:
    """Turns records into chunks, keeping the protocol of each connection."""

    def __init__(self) -> None:
        self.protocols: dict[int, FeedProtocol] = {}
        self._grids: dict[str, Ranges] = {}

    def mark(self, record: Record) -> Chunk | None:
        """The chunk of a record that is no frame, or None for one that carries no rows (commands, checkpoints)."""
        kind = record.kind
        if kind == RecordKind.COMMAND:
            self._protocol(record.connection).subscriptions.sent(record.payload)
            return None
        if kind == RecordKind.CHECKPOINT:
            self.protocols, self._grids = checkpoint.load(record.payload)
            return None
        decoder = _MARKS.get(kind)
        if decoder is None:
            return None
        try:
            mark = decoder.decode(record.payload)
        except msgspec.MsgspecError as error:
            raise JournalError(f"record at {record.offset} cannot be read: {error}") from None
        self._apply(record.connection, mark)
        return Chunk(record.connection, record.wall_ns, record.mono_ns, record.offset, record.end, [], [], mark)

    def frames(self, records: list[Record]) -> Chunk:
        """The chunk of frames that were received together: same connection, same stamps."""
        first = records[0]
        protocol = self.protocols.get(first.connection) or self._protocol(first.connection)
        protocol.now_ns = first.mono_ns
        events = protocol.receive_all([record.payload for record in records])
        gaps: list[Gap] = []
        if protocol.gaps:
            gaps, protocol.gaps = protocol.gaps, gaps
        return Chunk(first.connection, first.wall_ns, first.mono_ns, first.offset, records[-1].end, events, gaps)

    def _apply(self, connection: int, mark: Mark) -> None:
        if isinstance(mark, Opened):
            self.protocols = {connection: self._new(use_yes_price=mark.use_yes_price)}
        elif isinstance(mark, list):
            self._grids.update({facts.ticker: facts.price_ranges for facts in mark})

    def _protocol(self, connection: int) -> FeedProtocol:
        """A connection whose beginning was not kept begins with its first frame."""
        return self.protocols.setdefault(connection, self._new(use_yes_price=False))

    def _new(self, *, use_yes_price: bool) -> FeedProtocol:
        protocol = FeedProtocol(use_yes_price=use_yes_price, passive=True)
        protocol.set_grids(self._grids)
        return protocol


def read_chunks(
    reader: JournalReader, start: int = 0, end: int | None = None, *, checkpoint: int | None = None
) -> Iterator[Chunk]:
    """Chunks of the records that end behind `start`, up to `end`; cut as the recorder cut them.

    Reading begins at a checkpoint before `start`, so that books and counters are what they were there: at the one whose
    record lies at offset `checkpoint`, where that is given and not behind `start`, else at the one of the segment.
    """
    decoder = JournalDecoder()
    begin = reader.segment_of(start)
    if checkpoint is not None and begin < checkpoint <= start:
        begin = checkpoint
    for chunk in _chunks(decoder, reader.records(begin, end)):
        if chunk.end > start:
            yield chunk


def _chunks(decoder: JournalDecoder, records: Iterator[Record]) -> Iterator[Chunk]:
    together: list[Record] = []
    for record in records:
        is_frame = record.kind == RecordKind.FRAME
        if together and not (is_frame and _received_together(together[-1], record)):
            yield decoder.frames(together)
            together = []
        if is_frame:
            together.append(record)
        elif (chunk := decoder.mark(record)) is not None:
            yield chunk
    if together:
        yield decoder.frames(together)


def _received_together(one: Record, other: Record) -> bool:
    return (one.mono_ns, one.wall_ns, one.connection) == (other.mono_ns, other.wall_ns, other.connection)
