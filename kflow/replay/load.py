"""Sessions as events: which ones, and their events in the order of receipt, from the tables or from the journal."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from kflow.errors import BookError, DataError, Unrepresentable, UsageError
from kflow.market.book import Book
from kflow.market.events import BookDelta, BookSnapshot, FeedEvent, GapKind, Other, Side, SnapshotReason, Ticker, Trade
from kflow.market.times import US_PER_S, format_rfc3339_us, parse_rfc3339_us, venue_us
from kflow.replay.tables import Run, Tables, open_journal, open_tables
from kflow.session.chunks import Chunk, Hole, read_chunks
from kflow.store import read, sessions
from kflow.store.journal_reader import JournalReader
from kflow.store.postgres import Connection
from kflow.store.read import Slice
from kflow.store.sessions import Session
from kflow.units import Price, Size

Source = Literal["tables", "journal"]

# More numbers than this in one selection are a slip of the finger.
_MOST_SESSIONS: Final = 100_000
_PART: Final = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)
# These leave every book as it was.
_HARMLESS: Final = frozenset({GapKind.DUPLICATE.value, GapKind.REORDERED.value})
# These end a connection: they stand behind its last frame. All others stand before the frame that showed them.
_BEHIND: Final = frozenset({GapKind.DISCONNECT.value, GapKind.DOWNTIME.value, GapKind.OVERSIZED.value})


class GapMark(msgspec.Struct, frozen=True, array_like=True):
    """A row of rl_gaps among events. `market` None: every market of the sid; `sid` None: of the connection."""

    kind: str
    market: str | None
    sid: int | None
    expected: int | None
    received: int | None
    ended_ns: int | None
    detail: str


class Moment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event, and when and over which connection it was received.

    `carried`: a book as it was when the wanted time began; not a frame, its seq is that of the last event before.
    """

    connection: int
    recv_ns: int
    venue_us: int | None
    event: FeedEvent | GapMark
    carried: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """Which events: of these markets, received from start_ns up to but without end_ns; None: all."""

    markets: frozenset[str] | None = None
    start_ns: int | None = None
    end_ns: int | None = None


EVERYTHING: Final = Pick()


def parse_sessions(text: str) -> tuple[int, ...]:
    """Numbers of sessions, as people write them: 3, 1-40 or 1,4,7-9. Raises UsageError."""
    numbers: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 0 < first <= last or last - first >= _MOST_SESSIONS:
            raise UsageError(f"{text!r} does not name sessions", hint="write 3, 1-40 or 1,4,7-9")
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


def recorded_sessions(conn: Connection, text: str) -> tuple[int, ...]:
    """Numbers of the sessions that `text` names. Of a range those that were recorded, for 1-40 means up to 40.

    Raises UsageError where there are none. One that is named by itself is in the answer whether there is one or not.
    """
    numbers, named = parse_sessions(text), {int(part) for part in text.split(",") if part.strip().isdecimal()}
    there = {session.id for session in sessions.read_sessions(conn)}
    found = tuple(number for number in numbers if number in there or number in named)
    if not found:
        raise UsageError(f"no session is recorded in {text}", hint="kflow sessions ls shows those there are")
    return found


def parse_time(text: str) -> int:
    """A moment as people write it, in ns since 1970: a date, or RFC 3339; UTC where no zone is given.

    Raises UsageError.
    """
    try:
        return parse_rfc3339_us(text) * 1000
    except Unrepresentable:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a time", hint="write 2026-05-11 or 2026-05-11T14:30:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole = moment.replace(microsecond=0)
    return (int(whole.timestamp()) * US_PER_S + moment.microsecond) * 1000


def read_moments(
    conn: Connection, session: Session, pick: Pick = EVERYTHING, *, source: Source = "tables"
) -> Iterator[Moment]:
    """A session's events per connection in the order of receipt; each subscription's in the venue's order.

    Where the pick begins after the session did, each book that is live then comes first, as it is. From the tables,
    frames of one socket chunk on different subscriptions may change places: they share their receive time. Raises
    DataError for a sampled session's tables, JournalError and DatabaseError.
    """
    if source == "journal":
        with open_journal(conn, session) as directory:
            yield from picked(_of_journal(directory), pick)
        return
    if session.sample_rate != 1:
        raise DataError(
            f"the tables keep 1 of {session.sample_rate} deltas of session {session.id}: no book follows from them",
            hint="read its journal, which is whole: --source journal",
        )
    with open_tables(conn, session.id) as tables:
        numbers = None if pick.markets is None else tables.numbers(pick.markets)
        yield from picked(_of_tables(tables, Slice(market_ids=numbers, end_ns=pick.end_ns)), pick)


def session_markets(conn: Connection, session: int) -> tuple[str, ...]:
    """Tickers of the session's markets, in order."""
    return tuple(sorted(market.ticker for market in sessions.read_markets(conn, [session])))


def picked(moments: Iterable[Moment], pick: Pick) -> Iterator[Moment]:
    """Those that are wanted; before the first of them, the books that are live then."""
    begun = pick.start_ns is None
    books = _Following()
    for moment in moments:
        if pick.end_ns is not None and moment.recv_ns >= pick.end_ns:
            continue
        event = moment.event
        if pick.markets is not None and event.market is not None and event.market not in pick.markets:
            continue
        if not begun:
            if pick.start_ns is not None and moment.recv_ns < pick.start_ns:
                books.follow(moment)
                continue
            begun = True
            yield from books.carried(pick.start_ns or 0)
        yield moment
    if not begun:
        yield from books.carried(pick.start_ns or 0)


class _Following:
    """Books of the present connection, up to where the wanted time begins."""

    def __init__(self) -> None:
        self._connection = 0
        self._books: dict[str, tuple[Book, int, int]] = {}  # with the sid and seq of the last event

    def follow(self, moment: Moment) -> None:
        event, connection = moment.event, moment.connection
        if connection != self._connection:
            self._connection = connection
            self._books.clear()
        if isinstance(event, GapMark):
            if event.kind not in _HARMLESS:
                self._stale(event)
        elif type(event) is BookSnapshot:
            book = Book(event.market)
            try:
                book.replace(event.yes, event.no)
            except BookError:
                return
            self._books[event.market] = (book, event.sid, event.seq)
        elif type(event) is BookDelta and event.market in self._books:
            book, _, _ = self._books[event.market]
            if event.size is None:
                del self._books[event.market]
                return
            book.apply(event.side, event.price, event.change)
            self._books[event.market] = (book, event.sid, event.seq)

    def _stale(self, gap: GapMark) -> None:
        for market in list(self._books):
            if gap.market in (None, market) and gap.sid in (None, self._books[market][1]):
                del self._books[market]

    def carried(self, start_ns: int) -> Iterator[Moment]:
        for market, (book, sid, seq) in sorted(self._books.items()):
            yes, no = book.levels(Side.YES), book.levels(Side.NO)
            event = BookSnapshot(market, None, sid, seq, yes, no, SnapshotReason.VENUE, None)
            yield Moment(self._connection, start_ns, None, event, carried=True)


def _of_journal(directory: Path) -> Iterator[Moment]:
    for chunk in read_chunks(JournalReader(directory)):
        yield from moments_of_chunk(chunk)


def moments_of_chunk(chunk: Chunk) -> Iterator[Moment]:
    """The events and gaps of a chunk, in order."""
    connection, recv_ns = chunk.connection, chunk.wall_ns
    for gap in chunk.gaps:
        mark = GapMark(gap.kind.value, gap.market, gap.sid, gap.expected, gap.received, None, gap.detail)
        yield Moment(connection, recv_ns, None, mark)
    for event in chunk.events:
        if type(event) is BookDelta:
            yield Moment(connection, recv_ns, venue_us(event.venue_ts, event.venue_ms), event)
        elif not isinstance(event, Other):
            yield Moment(connection, recv_ns, venue_us(None, event.venue_ms), event)
    if isinstance(chunk.mark, Hole):
        hole = chunk.mark
        mark = GapMark(hole.kind.value, None, None, None, None, hole.ended_ns, hole.detail)
        yield Moment(connection, hole.started_ns, None, mark)


def _of_tables(tables: Tables, which: Slice) -> Iterator[Moment]:
    streams: Sequence[Iterator[tuple[tuple[int, int, int], Moment]]] = (
        _gaps(tables),
        _keyed(_books(tables, which)),
        _keyed(_trades(tables, which)),
        _keyed(_tickers(tables, which)),
    )
    for _, moment in heapq.merge(*streams, key=lambda item: item[0]):
        yield moment


def _keyed(moments: Iterator[Moment]) -> Iterator[tuple[tuple[int, int, int], Moment]]:
    for moment in moments:
        yield (moment.connection, moment.recv_ns, 1), moment


def _gaps(tables: Tables) -> Iterator[tuple[tuple[int, int, int], Moment]]:
    found = []
    for gap in tables.rows.gaps():
        market = None if gap.market_id is None else tables.tickers[gap.market_id]
        mark = GapMark(gap.kind, market, gap.sid, gap.expected, gap.received, gap.ended_ns, gap.detail)
        place = (gap.connection, gap.recv_ns, 2 if gap.kind in _BEHIND else 0)
        found.append((place, Moment(gap.connection, gap.recv_ns, None, mark)))
    return iter(sorted(found, key=lambda item: item[0]))


def _books(tables: Tables, which: Slice) -> Iterator[Moment]:
    unknown, tickers = read.UNKNOWN, tables.tickers
    for item in tables.books(which):
        if not isinstance(item, Run):
            connection, snapshot, recv_ns = item
            yield Moment(connection, recv_ns, venue_us(None, snapshot.venue_ms), snapshot)
            continue
        stamp: tuple[int | None, str | None, int | None] = (None, None, None)
        for recv_ns, us, seq, change, size, connection, sid, market, price, side, _ in item.rows.tolist():
            if us == unknown:
                stamp = (None, None, None)
            elif us != stamp[0]:
                stamp = (us, format_rfc3339_us(us), us // 1000)
            after = None if size == unknown else Size(size)
            event = BookDelta(tickers[market], sid, seq, side, Price(price), Size(change), after, stamp[1], stamp[2])
            yield Moment(connection, recv_ns, stamp[0], event)


def _trades(tables: Tables, which: Slice) -> Iterator[Moment]:
    for row in tables.rows.trades(which):
        market = tables.tickers[row.market_id]
        price, size = Price(row.price_e4), Size(row.size_e2)
        event = Trade(market, row.sid, row.seq, row.trade_id, price, size, row.taker, row.is_block, row.venue_ms)
        yield Moment(row.connection, row.recv_ns, venue_us(None, row.venue_ms), event)


def _tickers(tables: Tables, which: Slice) -> Iterator[Moment]:
    for row in tables.rows.tickers(which):
        event = Ticker(
            tables.tickers[row.market_id],
            row.sid,
            row.seq,
            _price(row.last_e4),
            _price(row.yes_bid_e4),
            _price(row.yes_ask_e4),
            _size(row.yes_bid_size_e2),
            _size(row.yes_ask_size_e2),
            _size(row.volume_e2),
            _size(row.open_interest_e2),
            row.venue_ms,
        )
        yield Moment(row.connection, row.recv_ns, venue_us(None, row.venue_ms), event)


def _price(number: int | None) -> Price | None:
    return None if number is None else Price(number)


def _size(number: int | None) -> Size | None:
    return None if number is None else Size(number)
