"""Chunks to rows: each frame of the journal becomes exactly one row of exactly one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from kflow.market.events import BookDelta, BookSnapshot, FeedEvent, GapKind, Other, SnapshotReason, Ticker, Trade
from kflow.session.chunks import Chunk, Closed, Hole, Opened, delta_us
from kflow.store import copy
from kflow.store.sessions import DAY_NS

# Bits of the `flags` columns.
NOT_LIVE: Final = 1  # the book was not live: the row was not applied, its size is unknown


# These leave every book as it was: over as soon as they are seen.
_HARMLESS: Final = frozenset({GapKind.DUPLICATE, GapKind.REORDERED})
# The venue ended the subscription: over when the next one's books come.
_ENDED: Final = (GapKind.OVERFLOW.value, GapKind.CHANNEL.value)


class Ending(NamedTuple):
    """Gaps that were open at `ended_ns` ended then: of a subscription, or of the connection (`sid` None)."""

    connection: int
    sid: int | None
    ended_ns: int
    kinds: tuple[str, ...] | None = None


class Batch:
    """Packed rows of some chunks, by table, and the statements that go with them."""

    def __init__(self) -> None:
        # (table, number of rows, rows packed)
        self.packed: list[tuple[copy.BinaryTable, int, bytes]] = []
        self.opened: list[tuple[int, int, str]] = []  # (connection, opened_ns, url)
        self.closed: list[tuple[int, int, str]] = []  # (connection, closed_ns, reason)
        self.endings: list[Ending] = []  # in their order; a later one of the same gaps replaces an earlier
        self.gap_since = False  # a gap came since the last of them
        self.days: set[int] = set()  # since 1970, UTC
        self.sampled_out = 0
        self.last_ns = 0

    def count(self) -> Counter[str]:
        """Rows by table."""
        return Counter({table.table: rows for table, rows, _ in self.packed})


class RowPacker:
    """Packs the chunks of one session."""

    def __init__(self, session_id: int, sample_rate: int, ids: Mapping[str, int]) -> None:
        """`ids`: number of each market that the chunks name."""
        self._session_id, self._sample_rate, self._ids = session_id, sample_rate, ids
        # Subscriptions of this batch that lost a frame and have no books, as far as is known: (connection, sid).
        self._lossy: set[tuple[int, int]] = set()

    def pack(self, chunks: Iterable[Chunk]) -> Batch:
        """Raises DataError for a value that a column cannot hold, which the protocol lets through none of."""
        batch = Batch()
        deltas: list[tuple[int | None, ...]] = []
        rows: dict[copy.BinaryTable, list[bytes]] = {table: [] for table in copy.TABLES}
        day = -1
        for chunk in chunks:
            recv_ns = chunk.wall_ns
            if recv_ns // DAY_NS != day:
                day = recv_ns // DAY_NS
                batch.days.add(day)
            known = len(deltas)
            deltas.extend(self._deltas(chunk))
            if len(deltas) - known < len(chunk.events):
                self._others(chunk, batch, rows)
            batch.last_ns = recv_ns
            if chunk.gaps or chunk.mark is not None:
                self._rest(chunk, batch, rows)
        batch.packed = [(table, len(packed), b"".join(packed)) for table, packed in rows.items() if packed]
        if deltas:
            batch.packed.append((copy.DELTAS, len(deltas), copy.DELTAS.pack_rows(deltas)))
        return batch

    def _deltas(self, chunk: Chunk) -> list[tuple[int | None, ...]]:
        recv_ns, connection, session, ids = chunk.wall_ns, chunk.connection, self._session_id, self._ids
        sample_rate = self._sample_rate
        return [
            (
                recv_ns,
                delta_us(event),
                event.seq,
                event.change,
                event.size,
                session,
                connection,
                event.sid,
                ids[event.market],
                event.price,
                event.side,
                NOT_LIVE if event.size is None else 0,
            )
            for event in chunk.events
            if type(event) is BookDelta and not event.seq % sample_rate
        ]

    def _others(self, chunk: Chunk, batch: Batch, rows: dict[copy.BinaryTable, list[bytes]]) -> None:
        for event in chunk.events:
            if type(event) is BookDelta:
                batch.sampled_out += event.seq % self._sample_rate > 0
                continue
            self._event(event, chunk.wall_ns, chunk.connection, rows)
            if type(event) is BookSnapshot:
                self._books_came(event, chunk, batch)
            elif (type(event) is Trade or type(event) is Ticker) and (chunk.connection, event.sid) in self._lossy:
                self._lossy.discard((chunk.connection, event.sid))  # what was lost is lost; no book waits for it
                batch.endings.append(Ending(chunk.connection, event.sid, chunk.wall_ns))

    @staticmethod
    def _books_came(event: BookSnapshot, chunk: Chunk, batch: Batch) -> None:
        if event.reason is SnapshotReason.RESYNC:
            ending = Ending(chunk.connection, event.sid, chunk.wall_ns)
        elif event.reason is SnapshotReason.SUBSCRIBE:
            ending = Ending(chunk.connection, None, chunk.wall_ns, _ENDED)
        else:
            return
        last = batch.endings[-1] if batch.endings else None
        same = last is not None and last._replace(ended_ns=0) == ending._replace(ended_ns=0)
        if same and not (batch.gap_since or chunk.gaps):
            batch.endings.pop()  # the same gaps wait for the last of their markets
        batch.endings.append(ending)
        batch.gap_since = False

    def _event(
        self, event: FeedEvent, recv_ns: int, connection: int, rows: dict[copy.BinaryTable, list[bytes]]
    ) -> None:
        session = self._session_id
        if type(event) is Ticker:
            row = copy.TICKERS.pack(
                recv_ns,
                event.venue_ms,
                event.seq,
                event.yes_bid_size,
                event.yes_ask_size,
                event.volume,
                event.open_interest,
                session,
                connection,
                event.sid,
                self._ids[event.market],
                event.last,
                event.yes_bid,
                event.yes_ask,
            )
            rows[copy.TICKERS].append(row)
        elif type(event) is Trade:
            row = copy.TRADES.pack(
                recv_ns,
                event.venue_ms,
                event.seq,
                event.size,
                session,
                connection,
                event.sid,
                self._ids[event.market],
                event.price,
                event.taker,
                event.is_block,
                event.trade_id,
            )
            rows[copy.TRADES].append(row)
        elif type(event) is BookSnapshot:
            rows[copy.SNAPSHOTS].append(self._snapshot(event, recv_ns, connection))
        elif type(event) is Other:
            row = copy.FRAMES.pack(
                recv_ns, event.seq, session, connection, event.sid, event.kind, event.market, event.raw
            )
            rows[copy.FRAMES].append(row)

    def _snapshot(self, event: BookSnapshot, recv_ns: int, connection: int) -> bytes:
        return copy.SNAPSHOTS.pack(
            recv_ns,
            event.venue_ms,
            event.seq,
            self._session_id,
            connection,
            event.sid,
            self._ids[event.market],
            0,
            event.reason.value,
            [price for price, _ in event.yes],
            [size for _, size in event.yes],
            [price for price, _ in event.no],
            [size for _, size in event.no],
        )

    def _rest(self, chunk: Chunk, batch: Batch, rows: dict[copy.BinaryTable, list[bytes]]) -> None:
        gaps = rows[copy.GAPS]
        session, connection = self._session_id, chunk.connection
        batch.gap_since = batch.gap_since or bool(chunk.gaps)
        for gap in chunk.gaps:
            if gap.sid is not None:
                self._lossy.add((connection, gap.sid))
            market = None if gap.market is None else self._ids[gap.market]
            gaps.append(
                copy.GAPS.pack(
                    chunk.wall_ns,
                    gap.expected,
                    gap.received,
                    chunk.wall_ns if gap.kind in _HARMLESS else None,
                    session,
                    connection,
                    gap.sid,
                    market,
                    gap.kind.value,
                    gap.detail,
                )
            )
        mark = chunk.mark
        if isinstance(mark, Hole):
            row = copy.GAPS.pack(
                mark.started_ns,
                None,
                None,
                mark.ended_ns,
                session,
                connection,
                None,
                None,
                mark.kind.value,
                mark.detail,
            )
            gaps.append(row)
            batch.endings.append(Ending(connection, None, mark.started_ns))
        elif isinstance(mark, Opened):
            batch.opened.append((connection, chunk.wall_ns, mark.url))
        elif isinstance(mark, Closed):
            batch.closed.append((connection, chunk.wall_ns, mark.reason))
            batch.endings.append(Ending(connection, None, chunk.wall_ns))
            self._lossy.clear()
