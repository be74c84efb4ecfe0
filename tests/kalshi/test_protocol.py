"""One connection's state: what is wrong is told on the very frame, and no book is live while it may be wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kflow.clock import NS_PER_S
from kflow.kalshi import checkpoint
from kflow.kalshi.protocol import FeedProtocol
from kflow.market.events import BookDelta, BookSnapshot, FeedEvent, Gap, GapKind, Other, Side, SnapshotReason, Trade
from kflow.testing.frames import CENTS, MARKET, OTHER, Frames

YES, NO = [(4000, 500), (4100, 300)], [(5000, 200), (5500, 100)]


class Connection:
    """A protocol with two live books, and the venue's frames for it."""

    def __init__(self, *, grids: bool = True) -> None:
        self.protocol = FeedProtocol()
        if grids:
            self.protocol.set_grids({MARKET: CENTS, OTHER: CENTS})
        self.frames = Frames()
        self.protocol.subscriptions.subscribe("orderbook_delta", [MARKET, OTHER])
        self.asked()
        self.take(self.frames.subscribed(1, "orderbook_delta", 1))
        for market in (MARKET, OTHER):
            self.take(self.frames.snapshot(market, YES, NO))
        assert self.gaps() == []

    def take(self, raw: bytes) -> FeedEvent:
        return self.protocol.receive(raw)

    def gaps(self) -> list[tuple[GapKind, int | None, str | None]]:
        gaps, self.protocol.gaps = self.protocol.gaps, []
        return [(gap.kind, gap.sid, gap.market) for gap in gaps]

    def asked(self) -> list[dict[str, Any]]:
        """Commands that wait to be sent, which are sent now."""
        commands = [msgspec.to_builtins(command) for command in self.protocol.subscriptions.outbox]
        self.protocol.subscriptions.outbox.clear()
        return commands

    def live(self, market: str = MARKET) -> bool:
        view = self.protocol.view(market)
        return view is not None and view.live

    def resync(self) -> None:
        """The venue answers every get_snapshot."""
        self.protocol.subscriptions.tick(self.protocol.now_ns + NS_PER_S, self.protocol.frames)
        for command in self.asked():
            assert command["params"]["action"] == "get_snapshot"
            for market in command["params"]["market_tickers"]:
                event = self.take(self.frames.snapshot(market, YES, NO, ident=command["id"]))
                assert isinstance(event, BookSnapshot)
                assert event.reason is SnapshotReason.RESYNC
        assert self.live(MARKET)
        assert self.live(OTHER)


@pytest.fixture
def on() -> Connection:
    return Connection()


def test_snapshots_and_deltas_make_books(on: Connection) -> None:
    event = on.take(on.frames.delta(4100, -300))
    assert isinstance(event, BookDelta)
    assert (event.price, event.change, event.size, event.seq) == (4100, -300, 0, 3)
    on.take(on.frames.delta(4200, 700))
    view = on.protocol.view(MARKET)
    assert view is not None
    assert view.live
    assert view.yes == ((4000, 500),), "the newest group is not over yet"
    on.protocol.settle()
    view = on.protocol.view(MARKET)
    assert view is not None
    assert view.yes == ((4000, 500), (4200, 700))


def test_a_book_is_seen_only_at_the_end_of_its_group(on: Connection) -> None:
    """Deltas that share the venue's microsecond are one change: a book may cross within it."""
    on.take(on.frames.delta(5100, 100))  # best NO bid is 55: crossed, until
    on.take(on.frames.delta(5500, -100, side="no", same=True))
    on.take(on.frames.delta(5000, -200, side="no", same=True))
    assert on.live()
    view = on.protocol.view(MARKET)
    assert view is not None
    assert view.yes == tuple(YES)
    on.take(on.frames.delta(4000, 1))
    view = on.protocol.view(MARKET)
    assert view is not None
    assert (view.live, view.best_yes_bid, view.no) == (True, (5100, 100), ())
    assert on.gaps() == []


def test_no_levels_arrive_as_yes_prices_where_it_was_asked_so() -> None:
    protocol, frames = FeedProtocol(use_yes_price=True), Frames()
    protocol.receive(frames.snapshot(MARKET, [(4000, 100)], [(4500, 200), (4700, 100)]))
    event = protocol.receive(frames.delta(4600, 300, side="no"))
    assert isinstance(event, BookDelta)
    assert event.price == 5400
    protocol.settle()
    view = protocol.view(MARKET)
    assert view is not None
    assert view.no == ((5300, 100), (5400, 300), (5500, 200))


# --- what goes wrong


@pytest.mark.parametrize("lost", [1, 10])
def test_a_gap_makes_every_book_of_the_subscription_stale_at_once(on: Connection, lost: int) -> None:
    on.frames.skip(lost)
    event = on.take(on.frames.delta(4000, 100))
    assert isinstance(event, BookDelta)
    assert event.size is None
    assert on.gaps() == [(GapKind.SEQUENCE, 1, None)]
    assert not on.live(MARKET)
    assert not on.live(OTHER)
    on.resync()
    assert on.gaps() == []


def test_a_snapshot_that_is_lost_leaves_its_book_unknown() -> None:
    on, frames = FeedProtocol(), Frames()
    frames.skip()
    event = on.receive(frames.delta(4000, 100))
    assert isinstance(event, BookDelta)
    assert event.size is None
    assert [gap.kind for gap in on.gaps] == [GapKind.SEQUENCE, GapKind.NO_SNAPSHOT]
    assert on.view(MARKET) is None


def test_a_repeated_frame_changes_nothing(on: Connection) -> None:
    frame = on.frames.delta(4000, 100)
    on.take(frame)
    event = on.take(frame)
    assert isinstance(event, Other)
    assert event.kind == "ignored"
    assert on.gaps() == [(GapKind.DUPLICATE, 1, None)]
    assert on.protocol.books[MARKET].size_at(Side.YES, 4000) == 600  # type: ignore[arg-type]
    assert on.live()


def test_swapped_frames_are_a_gap_and_a_late_one(on: Connection) -> None:
    first, second = on.frames.delta(4000, 100), on.frames.delta(4100, 100)
    on.take(second)
    assert on.gaps() == [(GapKind.SEQUENCE, 1, None)]
    event = on.take(first)
    assert isinstance(event, Other)
    assert on.gaps() == [(GapKind.REORDERED, 1, None)]
    assert not on.live()
    on.resync()


def test_a_counter_that_begins_anew_is_followed_from_there(on: Connection) -> None:
    for _ in range(100):
        on.take(on.frames.delta(4000, 1))
    on.gaps()
    on.frames.seq[1] = 0
    for _ in range(16):
        on.take(on.frames.delta(4000, 1))
    assert on.gaps()[-1][0] is GapKind.RESET
    assert not on.live()
    on.resync()
    on.take(on.frames.delta(4000, 1))
    assert on.gaps() == []


BYTES = {
    "no JSON": lambda raw: raw.replace(b":", b";", 1),
    "truncated": lambda raw: raw[: len(raw) // 2],
    "deep": lambda raw: raw.partition(b',"msg":')[0] + b',"msg":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "empty": lambda raw: raw[:0],
    "invalid UTF-8": lambda raw: raw.replace(b"KXT", b"\xff\xfeT"),
}
FIELDS: dict[str, dict[str, Any]] = {
    "no side": {"side": "maybe"},
    "half a cent": {"price_dollars": "0.440001"},
    "NUL": {"market_ticker": "A\0B"},
    "huge": {"delta_fp": "9" * 400},
    "types": {"market_ticker": 17, "price_dollars": [], "delta_fp": {}, "side": None},
}
HARMS = [*BYTES, *FIELDS]


def damaged(raw: bytes, how: str) -> bytes:
    if how in BYTES:
        return BYTES[how](raw)
    message = json.loads(raw)
    message["msg"].update(FIELDS[how])
    return json.dumps(message).encode()


@pytest.mark.parametrize("how", HARMS)
def test_a_malformed_frame_is_told_once_and_distrusts_the_books(on: Connection, how: str) -> None:
    event = on.take(damaged(on.frames.delta(4000, 100), how))
    assert isinstance(event, Other)
    assert event.kind == "malformed"
    assert [kind for kind, *_ in on.gaps()] == [GapKind.MALFORMED]
    assert not on.live()
    on.take(on.frames.delta(4000, 100))
    assert on.gaps() == [], "its seq is not told a second time"
    on.resync()


def test_a_malformed_frame_of_no_subscription_excuses_no_later_loss(on: Connection) -> None:
    """It may have taken a seq; when the next frame shows that it did not, a later jump is a loss."""
    on.take(b"noise")
    assert on.gaps() == [(GapKind.MALFORMED, None, None)]
    on.resync()
    on.frames.skip()
    on.take(on.frames.delta(4000, 100))
    assert on.gaps() == [(GapKind.SEQUENCE, 1, None)]
    assert not on.live()


def test_a_malformed_frame_excuses_one_subscription_only(on: Connection) -> None:
    on.take(on.frames.trade())
    on.take(b"noise")
    on.gaps()
    on.frames.skip()
    on.take(on.frames.delta(4000, 100))
    assert on.gaps() == []
    on.frames.skip(sid=2)
    on.take(on.frames.trade())
    assert on.gaps() == [(GapKind.SEQUENCE, 2, None)]


@pytest.mark.parametrize("body", [{"code": "ten"}, [], {"channel": "orderbook_delta", "sid": -4}, None])
@pytest.mark.parametrize("kind", ["error", "subscribed", "market_lifecycle_v2"])
def test_a_control_frame_that_cannot_be_read_is_malformed_not_repeated(on: Connection, kind: str, body: object) -> None:
    on.take(on.frames.sequenced(kind, body))
    assert [gap[0] for gap in on.gaps()] == [GapKind.MALFORMED]
    on.take(on.frames.delta(4000, 100))
    assert on.gaps() == []


def test_more_than_rests_cannot_leave(on: Connection) -> None:
    event = on.take(on.frames.delta(4000, -501))
    assert isinstance(event, BookDelta)
    assert event.size is None
    assert on.gaps() == [(GapKind.NEGATIVE, 1, MARKET)]
    assert not on.live(MARKET)
    assert on.live(OTHER)
    on.resync()


def test_a_book_that_stays_crossed_is_distrusted_at_the_end_of_its_group(on: Connection) -> None:
    on.take(on.frames.delta(5100, 100))
    assert on.gaps() == []
    on.take(on.frames.delta(4000, 1, market=OTHER))
    assert on.gaps() == [(GapKind.CROSSED, 1, MARKET)]
    assert not on.live(MARKET)
    on.resync()


def test_a_price_off_the_grid_is_refused(on: Connection) -> None:
    event = on.take(on.frames.delta(4050, 100))
    assert isinstance(event, BookDelta)
    assert event.size is None
    assert on.gaps() == [(GapKind.OFF_GRID, 1, MARKET)]
    on.resync()


def test_a_new_grid_is_taken_from_the_lifecycle(on: Connection) -> None:
    finer = [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]
    body = {"market_ticker": MARKET, "event_type": "price_level_structure_updated", "price_ranges": finer}
    event = on.take(on.frames.sequenced("market_lifecycle_v2", body, sid=4))
    assert isinstance(event, Other)
    assert event.market == MARKET
    on.take(on.frames.delta(4050, 100))
    assert on.gaps() == []


def test_a_delta_before_its_snapshot_asks_for_one(on: Connection) -> None:
    event = on.take(on.frames.delta(4000, 100, market="KXT-NEW"))
    assert isinstance(event, BookDelta)
    assert event.size is None
    assert on.gaps() == [(GapKind.NO_SNAPSHOT, 1, "KXT-NEW")]
    assert on.protocol.view("KXT-NEW") is None
    on.resync()
    assert on.live("KXT-NEW")


def test_an_empty_snapshot_in_mid_stream_clears_the_book(on: Connection) -> None:
    event = on.take(on.frames.snapshot(MARKET))
    assert isinstance(event, BookSnapshot)
    assert event.reason is SnapshotReason.VENUE
    view = on.protocol.view(MARKET)
    assert view is not None
    assert (view.live, view.yes, view.no) == (True, (), ())
    assert on.gaps() == []


@pytest.mark.parametrize(
    ("yes", "no", "kind"),
    [
        ([(4000, 0)], [], GapKind.NEGATIVE),
        ([(4000, 1), (4000, 2)], [], GapKind.NEGATIVE),
        ([(6000, 100)], [(5000, 100)], GapKind.CROSSED),
    ],
    ids=["nothing at a price", "a price twice", "crossed"],
)
def test_a_snapshot_that_is_no_book_is_not_served(on: Connection, yes: Any, no: Any, kind: GapKind) -> None:
    on.take(on.frames.snapshot(MARKET, yes, no))
    assert on.gaps() == [(kind, 1, MARKET)]
    assert not on.live()
    on.resync()


def test_a_check_that_differs_is_told_and_believed(on: Connection) -> None:
    on.protocol.subscriptions.tick(1, 3)
    on.protocol.subscriptions.tick(31 * NS_PER_S, 3)
    [command] = on.asked()
    [market] = command["params"]["market_tickers"]
    event = on.take(on.frames.snapshot(market, [(4000, 7)], NO, ident=command["id"]))
    assert isinstance(event, BookSnapshot)
    assert event.reason is SnapshotReason.CHECK
    assert on.gaps() == [(GapKind.MISMATCH, 1, market)]
    view = on.protocol.view(market)
    assert view is not None
    assert (view.live, view.yes) == (True, ((4000, 7),))


@pytest.mark.parametrize(("code", "kind"), [(25, GapKind.OVERFLOW), (10, GapKind.CHANNEL), (99, GapKind.CHANNEL)])
def test_an_ended_subscription_is_asked_for_again(on: Connection, code: int, kind: GapKind) -> None:
    on.take(on.frames.sequenced("error", {"code": code, "msg": "bo\0om" * 400}))
    [gap] = on.protocol.gaps
    assert "\0" not in gap.detail
    assert len(gap.detail) <= 500
    assert on.gaps() == [(kind, 1, None)]
    assert not on.live()
    [command] = on.asked()
    assert (command["cmd"], command["params"]["market_tickers"]) == ("subscribe", [MARKET, OTHER])
    on.take(on.frames.subscribed(command["id"], "orderbook_delta", 9))
    for market in (MARKET, OTHER):
        event = on.take(on.frames.snapshot(market, YES, NO, sid=9))
        assert isinstance(event, BookSnapshot)
        assert event.reason is SnapshotReason.SUBSCRIBE
        assert on.live(market)
    assert on.gaps() == []


def test_what_still_comes_of_an_ended_subscription_is_not_applied(on: Connection) -> None:
    on.take(on.frames.sequenced("error", {"code": 25, "msg": ""}))
    [command] = on.asked()
    on.take(on.frames.subscribed(command["id"], "orderbook_delta", 9))
    on.take(on.frames.snapshot(MARKET, YES, NO, sid=9))
    event = on.take(on.frames.delta(4000, 100, sid=1))
    assert isinstance(event, BookDelta)
    assert event.size is None
    on.take(on.frames.snapshot(MARKET, [(100, 100)], [], sid=1))
    event = on.take(on.frames.delta(4000, 100, sid=9))
    assert isinstance(event, BookDelta)
    assert event.size == 600
    assert on.live()


def test_an_end_that_nobody_asked_for_is_one(on: Connection) -> None:
    on.take(msgspec.json.encode({"type": "unsubscribed", "sid": 1, "seq": 3}))
    assert on.gaps() == [(GapKind.CHANNEL, 1, None)]
    assert not on.live()
    assert [command["cmd"] for command in on.asked()] == ["subscribe"]


def test_unknown_types_are_kept_and_counted(on: Connection) -> None:
    raw = on.frames.sequenced("market_weather", {"sun": 1})
    event = on.take(raw)
    assert event == Other("market_weather", None, 1, 3, raw)
    assert on.gaps() == []
    assert on.live()


def test_a_trade_channel_counts_for_itself(on: Connection) -> None:
    assert isinstance(on.take(on.frames.trade()), Trade)
    on.frames.skip(sid=2)
    on.take(on.frames.trade())
    assert on.gaps() == [(GapKind.SEQUENCE, 2, None)]
    assert on.live()
    assert on.asked() == []


# --- properties


class TrueVenue:
    """Books that are right, and the frames that say so."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.frames = Frames()
        self.books: dict[str, tuple[dict[int, int], dict[int, int]]] = {m: ({}, {}) for m in (MARKET, OTHER)}
        # Levels of both markets after each frame of the subscription.
        self.after: dict[int, dict[str, tuple[dict[int, int], dict[int, int]]]] = {}

    def snapshot(self, market: str, ident: int | None = None) -> bytes:
        yes, no = self.books[market]
        raw = self.frames.snapshot(market, sorted(yes.items()), sorted(no.items()), ident=ident)
        return self._noted(raw)

    def delta(self) -> bytes:
        choose = self.random
        market, side = choose.choice((MARKET, OTHER)), choose.randint(0, 1)
        levels = self.books[market][side]
        price = choose.choice([100, 200, 300])
        before = levels.get(price, 0)
        change = choose.choice([-before, 100, 200]) or 100
        levels[price] = before + change
        if not levels[price]:
            del levels[price]
        same = choose.random() < 0.3
        return self._noted(self.frames.delta(price, change, side=("yes", "no")[side], market=market, same=same))

    def _noted(self, raw: bytes) -> bytes:
        self.after[self.frames.seq[1]] = {m: (dict(y), dict(n)) for m, (y, n) in self.books.items()}
        return raw


FAULTS = ["", "", "", "", "drop", "twice", "swap", "noise", *HARMS]


def hurt(script: list[tuple[str, bytes]]) -> Iterator[bytes]:
    """The frames as a bad line delivers them."""
    held: bytes | None = None
    for fault, raw in script:
        if fault == "swap" and held is None:
            held = raw
            continue
        if fault != "drop":
            yield damaged(raw, fault) if fault in HARMS else raw
        if fault == "twice":
            yield raw
        if fault == "noise":
            yield b"noise"
        if held is not None:
            yield held
            held = None


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.sampled_from(FAULTS), min_size=5, max_size=60))
def test_a_live_book_is_never_wrong(seed: int, faults: list[str]) -> None:
    """Whatever the line does: a book is exactly the venue's at its last frame, or is not live."""
    venue, protocol = TrueVenue(seed), FeedProtocol()
    pending = [("", venue.snapshot(market)) for market in (MARKET, OTHER)]
    for fault in faults:
        pending.append((fault, venue.delta()))
        if len(pending) >= 3:
            deliver(venue, protocol, pending)
            protocol.subscriptions.tick(protocol.now_ns + NS_PER_S, protocol.frames)
            pending = [
                ("", venue.snapshot(market, command.id))
                for command in protocol.subscriptions.outbox
                for market in command.params["market_tickers"]
            ]
            protocol.subscriptions.outbox.clear()
    deliver(venue, protocol, pending)


def deliver(venue: TrueVenue, protocol: FeedProtocol, script: list[tuple[str, bytes]]) -> None:
    for raw in hurt(script):
        protocol.receive(raw)
        subscription = protocol.subscriptions.of(1)
        truth = venue.after.get(subscription.sequence.next - 1)
        for market, book in protocol.books.items():
            if book.live:
                assert truth is not None
                assert (dict(book.levels(Side.YES)), dict(book.levels(Side.NO))) == truth[market]


def told(protocol: FeedProtocol) -> list[Gap]:
    gaps, protocol.gaps = protocol.gaps, []
    return gaps


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.sampled_from(FAULTS), min_size=5, max_size=60),
    st.lists(st.integers(1, 9), min_size=1),
)
def test_chunks_of_frames_are_taken_as_single_ones_are(seed: int, faults: list[str], sizes: list[int]) -> None:
    """The short cut decides as the long way does; a protocol from a checkpoint goes on as the one before it."""
    venue = TrueVenue(seed)
    script = [("", venue.snapshot(MARKET)), ("", venue.snapshot(OTHER))]
    for n, fault in enumerate(faults):
        script.append((fault, venue.delta() if n % 7 else venue.snapshot(MARKET)))
    frames = list(hurt(script))
    single, chunked = FeedProtocol(passive=True), FeedProtocol(passive=True)
    at = turn = 0
    while at < len(frames):
        chunk = frames[at : at + sizes[turn % len(sizes)]]
        assert chunked.receive_all(chunk) == [single.receive(raw) for raw in chunk]
        assert told(chunked) == told(single)
        assert chunked.changed == single.changed
        assert {m: chunked.view(m) for m in chunked.books} == {m: single.view(m) for m in single.books}
        assert chunked.frames == single.frames
        chunked.changed.clear()
        single.changed.clear()
        if turn % 3 == 0:
            loaded, _ = checkpoint.load(checkpoint.save({1: chunked}, {}))
            chunked = loaded[1]
        at, turn = at + len(chunk), turn + 1


bodies = st.dictionaries(
    st.sampled_from(
        ["market_ticker", "price_dollars", "delta_fp", "side", "ts", "ts_ms", "code", "msg", "channel", "sid"]
    ),
    st.one_of(
        st.integers(), st.text(max_size=5), st.none(), st.sampled_from(["0.4400", "yes", MARKET, "A\0", "\ud800"])
    ),
    max_size=8,
)
KINDS = ["orderbook_delta", "orderbook_snapshot", "trade", "ticker", "subscribed", "ok", "error", "unsubscribed"]
strange = st.fixed_dictionaries(
    {"type": st.sampled_from([*KINDS, "market_lifecycle_v2", "event_lifecycle"])},
    optional={
        "sid": st.integers(-1, 3),
        "seq": st.integers(-1, 9),
        "id": st.integers(-1, 4) | st.none(),
        "msg": bodies,
    },
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), strange.map(lambda m: json.dumps(m).encode())), max_size=25))
@example([b'{"type":"error","sid":1,"msg":{"code":10}}'] * 3)
@example([b'{"type":"ticker","sid":0,"msg":{"market_ticker":""}}'])
def test_arbitrary_frames_never_raise(frames: list[bytes]) -> None:
    """And a text that a table could not hold never leaves the protocol."""
    protocol = FeedProtocol()
    protocol.subscriptions.subscribe("orderbook_delta", [MARKET])
    for raw in frames:
        event = protocol.receive(raw)
        for text in (event.market, getattr(event, "kind", None), *(gap.detail for gap in protocol.gaps)):
            assert text is None or ("\0" not in text and text.encode() is not None)
        protocol.subscriptions.tick(protocol.now_ns + NS_PER_S, protocol.frames)
    checkpoint.load(checkpoint.save({1: protocol}, {}))
