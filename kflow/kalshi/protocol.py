"""One connection to the order book channel, without its socket: frames in, events, gaps and commands out.

The same object serves the recorder, the reader of a journal and the check of a truth log, so that all three see the
same books. It knows no clock: whoever feeds it sets `now_ns` (monotonic) before each chunk of frames.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

import msgspec

from kflow.errors import BookError, DataError, MalformedFrame, Unrepresentable
from kflow.kalshi import wire
from kflow.kalshi.livebook import Change, LiveBook, Ranges, valid_prices, view_without
from kflow.kalshi.reports import lifecycle_of, ticker_of, trade_of
from kflow.kalshi.subscriptions import Subscription, Subscriptions, plain
from kflow.market.book import Book, BookView
from kflow.market.events import (
    BookDelta,
    BookSnapshot,
    FeedEvent,
    Gap,
    GapKind,
    Level,
    Other,
    Side,
    SnapshotReason,
)
from kflow.units import DOLLAR, PRICES, SIZES, Price, Size

_SIDES: Final = {"yes": 0, "no": 1}


class FeedProtocol:
    """Books, sequence numbers and subscriptions of one connection.

    After each chunk the caller takes `gaps` and `changed`, and sends `subscriptions.outbox`.
    """

    def __init__(self, *, use_yes_price: bool = False, passive: bool = False) -> None:
        # True: NO levels arrive as YES prices (section 4.2). Part of the recording, so fixed for the connection.
        self.use_yes_price: Final = use_yes_price
        self.subscriptions = Subscriptions(use_yes_price=use_yes_price, passive=passive)
        self.books: dict[str, LiveBook] = {}
        # The venue's `price_ranges` by market; prices of a market that is absent are not checked.
        self.grids: dict[str, Ranges] = {}
        # What went wrong since the caller last looked; cleared by the caller.
        self.gaps: list[Gap] = []
        # Markets whose book may be looked at anew; cleared by the caller.
        self.changed: set[str] = set()
        # The open group (design 1.5): venue stamp of the last delta, and the changes that carried it.
        self._group_ts: str | None = None
        self._group: list[Change] = []
        # Frames received so far.
        self.frames = 0

    @property
    def now_ns(self) -> int:
        return self.subscriptions.now_ns

    @now_ns.setter
    def now_ns(self, mono_ns: int) -> None:
        self.subscriptions.now_ns = mono_ns

    def receive_all(self, frames: list[bytes]) -> list[FeedEvent]:
        """`receive` for each frame, in order.

        Nearly all frames are deltas of live books in their order: those take a short cut that decides the same as
        `receive` does in five calls, in half the time.
        """
        events: list[FeedEvent] = []
        books, sids, decode = self.books, self.subscriptions.by_sid, wire.decode_typed
        for raw in frames:
            try:
                message = decode(raw)
                if type(message) is not wire.Delta:
                    events.append(self.receive(raw))
                    continue
                body = message.msg
                price, change, side = PRICES[body.price_dollars], SIZES[body.delta_fp], _SIDES[body.side]
                sequence, book = sids[message.sid].sequence, books[body.market_ticker]
                if side and self.use_yes_price:
                    price = Price(DOLLAR - price)
                seq, ts = message.seq, body.ts
                if (
                    seq != sequence.next
                    or not book.live
                    or book.sid != message.sid
                    or (book.grid is not None and price not in book.grid)
                ):
                    events.append(self.receive(raw))
                    continue
                if ts != self._group_ts or ts is None:
                    self.end_group()
                    self._group_ts = ts
                    if not book.live:  # the group that ended was crossed
                        events.append(self.receive(raw))
                        continue
                size = book.apply(side, price, change)
            except (*wire.UNDECODABLE, Unrepresentable, KeyError, BookError):
                events.append(self.receive(raw))
                continue
            sequence.next = seq + 1
            self.frames += 1
            self._group.append((book, side, price, change))
            market = body.market_ticker
            events.append(BookDelta(market, message.sid, seq, side, price, change, size, ts, body.ts_ms))
        return events

    def receive(self, raw: bytes) -> FeedEvent:
        """Account for one frame. Never raises: what is wrong with it is told in `gaps`."""
        self.frames += 1
        try:
            message = wire.decode(raw)
        except MalformedFrame as error:
            return self._malformed(raw, str(error))
        kind = type(message)
        try:
            if kind is wire.Delta:
                return self._delta(message, raw)  # type: ignore[arg-type]
            if kind is wire.Snapshot:
                return self._snapshot(message, raw)  # type: ignore[arg-type]
            if kind is wire.TradeMessage:
                return self._trade(message, raw)  # type: ignore[arg-type]
            if kind is wire.TickerMessage:
                return self._ticker(message, raw)  # type: ignore[arg-type]
            return self._control(message, raw)  # type: ignore[arg-type]
        except (DataError, KeyError, ValueError, msgspec.MsgspecError) as error:
            return self._bad_body(message, raw, str(error))

    # --- books

    def _delta(self, message: wire.Delta, raw: bytes) -> FeedEvent:
        body = message.msg
        price = PRICES[body.price_dollars]
        change = SIZES[body.delta_fp]
        side = _SIDES[body.side]
        if side and self.use_yes_price:
            price = Price(DOLLAR - price)
        sid, seq = message.sid, message.seq
        market, ts = body.market_ticker, body.ts
        book = self.books.get(market)
        if book is None and "\0" in market:
            raise Unrepresentable("ticker", market)
        subscription = self.subscriptions.of(sid)
        if not self._in_order(subscription, seq):
            return self._ignored(sid, seq, raw)
        if ts != self._group_ts or ts is None:
            self.end_group()
            self._group_ts = ts
        if book is None or not book.live or book.sid != sid:
            if book is None:
                self._unknown_market(subscription, market)
            return BookDelta(market, sid, seq, side, price, change, None, ts, body.ts_ms)
        size = self._apply(book, side, price, change)
        return BookDelta(market, sid, seq, side, price, change, size, ts, body.ts_ms)

    def _apply(self, book: LiveBook, side: int, price: Price, change: Size) -> Size | None:
        if book.grid is not None and price not in book.grid:
            self._invalidate(book, GapKind.OFF_GRID, f"{price} is not on the market's grid")
            return None
        try:
            size = book.apply(side, price, change)
        except BookError as error:
            self._invalidate(book, GapKind.NEGATIVE, str(error))
            return None
        self._group.append((book, side, price, change))
        return size

    def _snapshot(self, message: wire.Snapshot, raw: bytes) -> FeedEvent:
        body = message.msg
        market, sid, seq = body.market_ticker, message.sid, message.seq
        yes = tuple([(PRICES[p], SIZES[s]) for p, s in body.yes_dollars_fp or ()])
        no = tuple([(PRICES[p], SIZES[s]) for p, s in body.no_dollars_fp or ()])
        if self.use_yes_price:
            no = tuple([(Price(DOLLAR - p), s) for p, s in reversed(no)])
        subscription = self.subscriptions.of(sid)
        if not self._in_order(subscription, seq):
            return self._ignored(sid, seq, raw)
        self.end_group()
        book = self.books.get(market)
        if book is None:
            book = self.books[market] = LiveBook(market, sid, valid_prices(self.grids.get(market)))
        reason = self._reason(book, sid, message.id)
        if not subscription.dead:
            self._adopt(book, sid, yes, no, reason)
        return BookSnapshot(market, body.market_id, sid, seq, yes, no, reason, message.sending_ts_ms)

    def _reason(self, book: LiveBook, sid: int, command: int | None) -> SnapshotReason:
        if self.subscriptions.answered(book.market, command):
            return SnapshotReason.CHECK if book.live else SnapshotReason.RESYNC
        return SnapshotReason.VENUE if book.started and book.sid == sid else SnapshotReason.SUBSCRIBE

    def _adopt(
        self, book: LiveBook, sid: int, yes: tuple[Level, ...], no: tuple[Level, ...], reason: SnapshotReason
    ) -> None:
        if reason is SnapshotReason.CHECK and book.live and not _equal(book, yes, no):
            self.gaps.append(Gap(GapKind.MISMATCH, sid, book.market, None, None, "a check snapshot differs"))
        grid = book.grid
        if grid is not None and any(price not in grid for side in (yes, no) for price, _ in side):
            # A whole book off its grid: the grid is out of date, not the book. The venue is right.
            self.gaps.append(Gap(GapKind.OFF_GRID, sid, book.market, None, None, "a snapshot is off the known grid"))
            book.grid = None
        try:
            book.replace(yes, no)
        except BookError as error:
            self._invalidate(book, GapKind.NEGATIVE, str(error))
            return
        book.sid, book.started = sid, True
        self.subscriptions.of(sid).markets[book.market] = None
        if book.crossed:
            self._invalidate(book, GapKind.CROSSED, "a snapshot is crossed")
            return
        book.live = True
        book.version += 1
        self.changed.add(book.market)

    def end_group(self) -> None:
        """The venue's microsecond is over: its books may be judged and seen."""
        if not self._group:
            return
        judged: LiveBook | None = None
        for change in self._group:
            book = change[0]
            if book is judged or not book.live:
                continue
            judged = book
            if book.crossed:
                self._invalidate(book, GapKind.CROSSED, "best YES bid + best NO bid > $1")
                continue
            book.version += 1
            self.changed.add(book.market)
        self._group.clear()

    @property
    def group_open(self) -> bool:
        """Changes are held back from readers, since more of their microsecond may come."""
        return bool(self._group)

    def settle(self) -> bool:
        """Nothing followed for a while: show the open group, but for crossed books, which no group ends with."""
        whole = {book.market: book for book, *_ in self._group if book.live and not book.crossed}
        for book in whole.values():
            book.version += 1
        self.changed.update(whole)
        self._group = [change for change in self._group if change[0].market not in whole]
        return bool(whole)

    def view(self, market: str) -> BookView | None:
        """The book at the end of its last whole group, or None where there is none."""
        book = self.books.get(market)
        if book is None or not book.started:
            return None
        half = [change for change in self._group if change[0] is book]
        return view_without(book, half) if half else book.view()

    def group_state(self) -> tuple[str | None, list[tuple[str, int, Price, Size]]]:
        """What a checkpoint keeps of the open group."""
        return self._group_ts, [(book.market, side, price, change) for book, side, price, change in self._group]

    def restore_group(self, group_ts: str | None, group: list[tuple[str, int, Price, Size]]) -> None:
        self._group_ts = group_ts
        self._group = [(self.books[market], side, price, change) for market, side, price, change in group]

    # --- what goes wrong

    def _in_order(self, subscription: Subscription, seq: int) -> bool:
        """False where the frame is a repeated or late one, which must not be applied."""
        if seq == subscription.sequence.next:
            subscription.sequence.next = seq + 1
            return True
        expected = subscription.sequence.next
        kind = subscription.sequence.check(seq)
        if kind is None:
            return True
        if kind is GapKind.SEQUENCE and subscription.excuses(expected, seq - expected):
            for other in self.subscriptions.by_sid.values():
                other.excused = 0
            return True  # the malformed frames reported before
        self.gaps.append(Gap(kind, subscription.sid, None, expected, seq, _lost(kind, expected, seq)))
        if kind in (GapKind.SEQUENCE, GapKind.RESET):
            self.end_group()
            self._stale(subscription)
            return True
        return False

    def _stale(self, subscription: Subscription) -> None:
        """The lost frame may belong to any market of the subscription."""
        for market in subscription.markets:
            book = self.books.get(market)
            if book is not None and book.sid == subscription.sid:
                book.live = False
                self.changed.add(market)
        self.subscriptions.resync(subscription)

    def _invalidate(self, book: LiveBook, kind: GapKind, detail: str) -> None:
        book.live = False
        self.changed.add(book.market)
        self.gaps.append(Gap(kind, book.sid, book.market, None, None, detail))
        subscription = self.subscriptions.of(book.sid)
        self.subscriptions.resync(subscription, [book.market])

    def _unknown_market(self, subscription: Subscription, market: str) -> None:
        self.books[market] = LiveBook(market, subscription.sid, valid_prices(self.grids.get(market)))
        subscription.markets[market] = None
        self._invalidate(self.books[market], GapKind.NO_SNAPSHOT, "a delta came before any snapshot")

    def _ignored(self, sid: int, seq: int | None, raw: bytes) -> Other:
        return Other("ignored", None, sid, seq, raw)

    def _malformed(self, raw: bytes, detail: str) -> Other:
        """A frame that cannot be placed: any book of the connection may have missed a change."""
        envelope = wire.envelope_of(raw)
        if envelope is not None and envelope.sid is not None and envelope.seq is not None:
            return self._misplaced(envelope.sid, envelope.seq, raw, detail)
        self.gaps.append(Gap(GapKind.MALFORMED, None, None, None, None, plain(detail)))
        for subscription in self.subscriptions.by_sid.values():
            subscription.excuse()
        self.end_group()
        for subscription in self.subscriptions.sequenced():
            self._stale(subscription)
        return Other("malformed", None, None, None, raw)

    def _bad_body(self, message: wire.Message, raw: bytes, detail: str) -> Other:
        """The frame is a message, but a value in it is not what it should be."""
        if message.sid is not None and message.seq is not None:
            return self._misplaced(message.sid, message.seq, raw, detail)
        self.gaps.append(Gap(GapKind.MALFORMED, message.sid, None, None, None, plain(detail)))
        return Other("malformed", None, message.sid, message.seq, raw)

    def _misplaced(self, sid: int, seq: int, raw: bytes, detail: str) -> Other:
        subscription = self.subscriptions.of(sid)
        if self._in_order(subscription, seq):
            self.gaps.append(Gap(GapKind.MALFORMED, sid, None, seq, seq, plain(detail)))
            self.end_group()
            self._stale(subscription)
        return Other("malformed", None, sid, seq, raw)

    # --- the other channels

    def set_grids(self, grids: Mapping[str, Ranges]) -> None:
        """Check the markets' prices against these grids; not those of a market whose ranges make none."""
        for market, ranges in grids.items():
            with contextlib.suppress(DataError):
                self.set_grid(market, ranges)

    def set_grid(self, market: str, ranges: Ranges) -> None:
        """Check the market's prices against this grid from now on. Raises DataError for a grid that is none."""
        prices = valid_prices(ranges)
        self.grids[market] = ranges
        book = self.books.get(market)
        if book is not None:
            book.grid = prices

    def _trade(self, message: wire.TradeMessage, raw: bytes) -> FeedEvent:
        trade = trade_of(message)
        return trade if self._counted(message.sid, message.seq) else self._ignored(message.sid, message.seq, raw)

    def _ticker(self, message: wire.TickerMessage, raw: bytes) -> FeedEvent:
        ticker = ticker_of(message)
        return ticker if self._counted(message.sid, message.seq) else self._ignored(message.sid, message.seq, raw)

    def _counted(self, sid: int, seq: int | None) -> bool:
        """Account for a frame of a channel that may or may not be sequenced. False: repeated or late."""
        return seq is None or self._in_order(self.subscriptions.of(sid), seq)

    def _control(self, message: wire.Envelope, raw: bytes) -> Other:
        sid, seq = message.sid, message.seq
        # Read before the frame is counted: one that cannot be read is counted as malformed.
        news, answer = lifecycle_of(message), self.subscriptions.read(message)
        if sid is not None and not self._counted(sid, seq):
            return self._ignored(sid, seq, raw)
        if news is not None:
            if news.price_ranges:
                self.set_grid(news.market_ticker, news.price_ranges)
            return Other(message.type, news.market_ticker, sid, seq, raw)
        lost = self.subscriptions.control(message, answer)
        if lost is not None:
            gap, subscription = lost
            self.gaps.append(gap)
            self.end_group()
            self._stale(subscription)
        return Other(message.type, None, sid, seq, raw)


def _equal(book: Book, yes: tuple[Level, ...], no: tuple[Level, ...]) -> bool:
    return book.levels(Side.YES) == tuple(sorted(yes)) and book.levels(Side.NO) == tuple(sorted(no))


def _lost(kind: GapKind, expected: int, seq: int) -> str:
    if kind is GapKind.SEQUENCE:
        return f"{seq - expected} frames are missing"
    return "the venue counts anew" if kind is GapKind.RESET else "not applied"
