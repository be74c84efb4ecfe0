"""A session's events become gap-free stretches: where one begins and ends, and how its trades are known."""

from __future__ import annotations

import numpy as np
import pytest

from kflow.errors import DataError, UsageError
from kflow.market.events import BookDelta, BookSnapshot, FeedEvent, GapKind, SnapshotReason, Ticker, Trade
from kflow.market.grid import Grid
from kflow.replay.load import GapMark, Moment
from kflow.replay.stretches import (
    CHANNEL,
    CLOSED,
    INFERRED,
    LABELLED,
    LAST,
    UNKNOWN,
    RawStretch,
    build_tape,
    feed_lags,
    read_stretches,
    wanted,
)
from kflow.sim.tape import ADD, CANCEL, PRINT, TRADE, Tape
from kflow.units import Price, Size

YES, NO = 0, 1
A, B = "KXT-A", "KXT-B"
T_MS = 1_700_000_000_000
Levels = list[tuple[int, int]]
BIDS: Levels = [(3_900, 300), (4_000, 500)]
OFFERS: Levels = [(5_500, 800)]


def at(event: FeedEvent | GapMark, us: int | None = None, connection: int = 1) -> Moment:
    """An event of a µs after T, received 5 ms later."""
    venue = None if us is None else T_MS * 1000 + us
    return Moment(connection, (T_MS * 1000 + (us or 0) + 5_000) * 1000, venue, event)


def snapshot(yes: Levels = BIDS, no: Levels = OFFERS, market: str = A, sid: int = 1) -> BookSnapshot:
    sides = (tuple((Price(p), Size(s)) for p, s in levels) for levels in (yes, no))
    return BookSnapshot(market, None, sid, 1, *sides, SnapshotReason.SUBSCRIBE, None)


def delta(change: int, side: int = YES, price: int = 4_000, market: str = A, size: int | None = 1) -> BookDelta:
    after = None if size is None else Size(size)
    return BookDelta(market, 1, 2, side, Price(price), Size(change), after, None, None)


def trade(size: int, taker: int | None = NO, yes_price: int = 4_000, market: str = A, *, block: bool = False) -> Trade:
    return Trade(market, 2, None, None, Price(yes_price), Size(size), taker, block, None)


def ticker(volume: int | None, market: str = A, last: int | None = None) -> Ticker:
    price = None if last is None else Price(last)
    after = None if volume is None else Size(volume)
    return Ticker(market, 3, None, price, None, None, None, None, after, None, None)


def gap(kind: GapKind, market: str | None = None, sid: int | None = None) -> GapMark:
    return GapMark(kind.value, market, sid, None, None, None, "")


def stretches_of(*moments: Moment, market: str = A) -> list[RawStretch]:
    return read_stretches(moments)[0].get(market, [])


def told(stretch: RawStretch) -> tuple[list[tuple[int, int, int]], str]:
    """(µs after T, side, change) of its deltas, and why it ends."""
    return [(us - T_MS * 1000, side, change) for us, side, _, change in stretch.deltas], stretch.ends


def tape_of(*moments: Moment, market: str = A) -> Tape:
    stretches, how = read_stretches(moments)
    return build_tape(market, stretches[market], how, None, {})


def kinds(tape: Tape) -> list[tuple[int, int, int]]:
    """(kind, side, size) of each event."""
    code = tape.arrays.code
    return list(zip((code & 3).tolist(), (code >> 2 & 1).tolist(), tape.arrays.size.tolist(), strict=True))


# Where a stretch begins and ends.


def test_a_stretch_begins_with_a_snapshot_and_lasts_to_the_end() -> None:
    [found] = stretches_of(at(delta(7)), at(snapshot()), at(delta(100), 1), at(delta(-50, NO, 5_500), 4))
    assert found.start == (tuple(BIDS), tuple(OFFERS))
    assert told(found) == ([(1, YES, 100), (4, NO, -50)], LAST)


@pytest.mark.parametrize(
    "kind", [GapKind.SEQUENCE, GapKind.RESET, GapKind.MALFORMED, GapKind.DISCONNECT, GapKind.NEGATIVE, GapKind.DOWNTIME]
)
def test_a_gap_ends_a_stretch_and_nothing_is_read_until_the_next_snapshot(kind: GapKind) -> None:
    first, second = stretches_of(
        at(snapshot()),
        at(delta(1), 1),
        at(gap(kind)),
        at(delta(2), 2),
        at(trade(9), 2),
        at(snapshot()),
        at(delta(4), 3),
    )
    assert told(first) == ([(1, YES, 1)], f"gap: {kind.value}")
    assert told(second) == ([(3, YES, 4)], LAST)
    assert (first.trades, second.trades) == ([], [])


@pytest.mark.parametrize("kind", [GapKind.DUPLICATE, GapKind.REORDERED])
def test_a_frame_that_was_ignored_ends_nothing(kind: GapKind) -> None:
    [found] = stretches_of(at(snapshot()), at(delta(1), 1), at(gap(kind)), at(delta(2), 2))
    assert told(found) == ([(1, YES, 1), (2, YES, 2)], LAST)


@pytest.mark.parametrize(
    ("mark", "ended"),
    [
        (gap(GapKind.NEGATIVE, market=A), [A]),
        (gap(GapKind.SEQUENCE, sid=1), [A]),
        (gap(GapKind.SEQUENCE, sid=7), [B]),
        (gap(GapKind.SEQUENCE, market=A, sid=7), []),
        (gap(GapKind.DISCONNECT), [A, B]),
    ],
)
def test_a_gap_ends_the_markets_it_concerns(mark: GapMark, ended: list[str]) -> None:
    moments = [at(snapshot()), at(snapshot(market=B, sid=7)), at(mark)]
    found, _ = read_stretches(moments)
    assert [name for name, [stretch] in found.items() if stretch.ends != LAST] == ended


def test_a_new_connection_ends_every_stretch() -> None:
    moments = [at(snapshot()), at(snapshot(market=B)), at(delta(1), 1), at(snapshot(), 2, 2), at(delta(2), 3, 2)]
    found, _ = read_stretches(moments)
    assert [told(stretch) for stretch in found[A]] == [
        ([(1, YES, 1)], "the connection was renewed"),
        ([(3, YES, 2)], LAST),
    ]
    assert [told(stretch) for stretch in found[B]] == [([], "the connection was renewed")]


def test_a_delta_of_a_book_that_is_not_live_ends_a_stretch() -> None:
    first, second = stretches_of(
        at(snapshot()), at(delta(1), 1), at(delta(2, size=None), 2), at(delta(3), 3), at(snapshot()), at(delta(4), 4)
    )
    assert told(first) == ([(1, YES, 1)], "the book was not live")
    assert told(second) == ([(4, YES, 4)], LAST)


def test_a_snapshot_that_empties_the_book_is_the_markets_close() -> None:
    [found] = stretches_of(at(snapshot()), at(delta(1), 1), at(snapshot([], [])), at(delta(2), 2), at(trade(9), 3))
    assert told(found) == ([(1, YES, 1)], CLOSED)


def test_a_market_whose_first_book_is_empty_is_followed_from_there() -> None:
    """As of a market that has just opened."""
    [found] = stretches_of(at(snapshot([], [])), at(delta(100), 1), at(delta(-40), 2))
    assert found.start == ((), ())
    assert told(found) == ([(1, YES, 100), (2, YES, -40)], LAST)


def test_a_snapshot_of_the_book_as_it_is_is_no_news() -> None:
    now = snapshot([(4_000, 600), (3_900, 300)], OFFERS)  # in any order
    [found] = stretches_of(at(snapshot()), at(delta(100), 1), at(now), at(delta(2), 2))
    assert told(found) == ([(1, YES, 100), (2, YES, 2)], LAST)


@pytest.mark.parametrize("other", [snapshot([(4_000, 601)], OFFERS), snapshot(BIDS, []), snapshot(OFFERS, BIDS)])
def test_a_snapshot_that_differs_ends_a_stretch_and_begins_another(other: BookSnapshot) -> None:
    first, second = stretches_of(at(snapshot()), at(delta(1), 1), at(other), at(delta(2), 2))
    assert told(first) == ([(1, YES, 1)], "a snapshot that differs")
    assert second.start == (other.yes, other.no)
    assert told(second) == ([(2, YES, 2)], LAST)


def test_times_of_the_venue_never_fall_within_a_stretch() -> None:
    [found] = stretches_of(at(snapshot()), at(delta(1), 9), at(delta(2), 4), at(delta(3)), at(delta(4), 11))
    assert [us for us, _, _ in told(found)[0]] == [9, 9, 9, 11]


def test_what_the_feed_took_is_told_over_the_fastest_of_its_stretch() -> None:
    [found] = stretches_of(at(snapshot()), at(delta(1), 1), at(delta(2)), at(delta(3), 4))
    assert found.lags == [5_000, 5_000]  # of the two deltas that were stamped
    slow = RawStretch(((), ()), lags=[70_000 + 1_000 * n for n in range(100)])
    lags = feed_lags([found, slow, RawStretch(((), ()))])
    assert lags is not None
    assert (len(lags), lags[0], lags == sorted(lags)) == (100, 0, True)
    assert 90_000 < lags[-1] < 99_000
    assert feed_lags([RawStretch(((), ()))]) is None


# How trades are known.


def test_a_trade_is_of_the_makers_side_at_its_own_price() -> None:
    """A taker who bought NO sold to the YES bid of 40 cents; one who bought YES at 45 met the NO bid of 55."""
    moments = [at(snapshot()), at(delta(-100), 10), at(trade(100, NO, 4_000), 10), at(trade(70, YES, 4_500), 20)]
    [found] = stretches_of(*moments)
    t = T_MS * 1000
    assert found.trades == [(t + 10, YES, 4_000, 100), (t + 20, NO, 5_500, 70)]
    assert read_stretches(moments)[1] == CHANNEL


def test_a_trade_without_a_stamp_has_the_time_of_its_market() -> None:
    [found] = stretches_of(at(snapshot()), at(delta(-100), 10), at(trade(100)))
    assert found.trades[0][0] == T_MS * 1000 + 10


def test_trades_may_come_before_the_deltas_they_belong_to() -> None:
    tape = tape_of(
        at(snapshot()),
        at(trade(150), 0),
        at(trade(20), 0),
        at(delta(-150), 300),
        at(delta(-50), 700),
        at(delta(5), 900),
    )
    assert kinds(tape) == [(TRADE, YES, 150), (TRADE, YES, 20), (CANCEL, YES, 30), (ADD, YES, 5)]
    assert tape.facts["trades"] == CHANNEL
    assert (tape.facts["trades_laid"], tape.facts["trades_printed"]) == (170, 0)


def test_a_trade_that_no_removal_shows_stands_where_it_was_received() -> None:
    tape = tape_of(at(snapshot()), at(delta(5), 1), at(trade(60), 2_000), at(delta(7), 400_000))
    assert kinds(tape) == [(ADD, YES, 5), (PRINT, YES, 60), (ADD, YES, 7)]
    assert (tape.facts["trades_laid"], tape.facts["trades_printed"]) == (0, 60)


@pytest.mark.parametrize("odd", [trade(50, block=True), trade(50, taker=None), trade(50, market=B)])
def test_a_block_trade_or_one_without_a_taker_or_of_another_market_took_nothing(odd: Trade) -> None:
    tape = tape_of(at(snapshot()), at(odd, 1), at(delta(-50), 1))
    assert kinds(tape) == [(CANCEL, YES, 50)]
    assert tape.facts["trades"] == CHANNEL


def test_without_trades_the_tickers_volume_tells_and_the_tape_says_so() -> None:
    """Stamps of tickers are of the ms, and count all of it: the 70 taken in the last ticker's own ms are theirs."""
    moments = [at(snapshot()), at(ticker(1_000), 1_000), at(delta(-100), 2_000), at(delta(-70), 4_900)]
    tape = tape_of(*moments, at(ticker(1_140), 4_000), at(delta(-9), 5_000))
    assert kinds(tape) == [(CANCEL, YES, 100), (TRADE, YES, 70), (CANCEL, YES, 9)]
    assert tape.facts["trades"] == INFERRED
    assert [tape.facts[f"trades_{name}"] for name in ("laid", "intervals", "exact", "unexplained")] == [70, 1, 1, 0]


def test_a_trade_that_was_recorded_outweighs_every_ticker() -> None:
    moments = [at(snapshot()), at(ticker(1_000), 1), at(delta(-100), 10), at(ticker(1_200), 30)]
    assert read_stretches(moments)[1] == INFERRED
    tape = tape_of(*moments, at(trade(40), 10))
    assert (tape.facts["trades"], kinds(tape)) == (CHANNEL, [(TRADE, YES, 40), (CANCEL, YES, 60)])


@pytest.mark.parametrize("quiet", [ticker(None), ticker(500, market=B)])
def test_a_ticker_that_tells_no_volume_of_the_market_explains_nothing(quiet: Ticker) -> None:
    tape = tape_of(at(snapshot()), at(quiet, 1), at(delta(-100), 10), at(quiet, 30))
    assert (kinds(tape), tape.facts["trades"], tape.facts["trades_intervals"]) == ([(CANCEL, YES, 100)], INFERRED, 0)


def test_where_nothing_tells_every_removal_was_withdrawn() -> None:
    tape = tape_of(at(snapshot()), at(delta(-100), 10))
    assert (kinds(tape), tape.facts["trades"]) == ([(CANCEL, YES, 100)], UNKNOWN)


def test_labels_of_the_recording_are_believed_where_it_has_any() -> None:
    raw = RawStretch((((Price(4_000), Size(500)),), ()), [(1, YES, 4_000, -100), (2, YES, 4_000, -50)])
    raw.labels = np.array([False, True])
    tape = build_tape(A, [raw], LABELLED, None, {"source": "x"})
    assert (kinds(tape), tape.facts["trades"], tape.facts["source"]) == (
        [(CANCEL, YES, 100), (TRADE, YES, 50)],
        LABELLED,
        "x",
    )


# Into columns.


def test_a_tape_holds_the_stretches_that_have_events() -> None:
    tape = tape_of(at(snapshot()), at(snapshot([(3_000, 1)], [])), at(delta(1), 1), at(snapshot()), at(delta(2), 2))
    assert (tape.stretches, tape.facts["ends"]) == (2, ["a snapshot that differs", LAST])


def test_without_a_grid_the_coarsest_is_taken_that_holds_every_price() -> None:
    assert tape_of(at(snapshot()), at(delta(1), 1)).columns == 99
    assert tape_of(at(snapshot()), at(delta(1, NO, 9_990), 1)).columns == 279
    assert tape_of(at(snapshot([(4_005, 1)], [])), at(delta(1), 1)).columns == 9_999
    raw = stretches_of(at(snapshot()), at(delta(1), 1))
    assert build_tape(A, raw, UNKNOWN, Grid.named("deci_cent"), {}).columns == 999


@pytest.mark.parametrize("moments", [[], [at(snapshot())], [at(delta(1), 1)]])
def test_a_market_without_an_event_is_no_tape(moments: list[Moment]) -> None:
    with pytest.raises(DataError, match="no event of its book is recorded"):
        build_tape(A, stretches_of(*moments), UNKNOWN, None, {})


def test_markets_that_were_asked_for_are_those_there_are() -> None:
    assert wanted([B, A], None) == [A, B]
    assert wanted(["KXB-2", "KXA-1", "KXA-2"], ["KXA*", "KX?-2"]) == ["KXA-1", "KXA-2", "KXB-2"]
    assert wanted({B: 1, A: 2}, [B]) == [B]
    with pytest.raises(UsageError, match="this recording has no market X, Y") as refused:
        wanted([f"M{n}" for n in range(7)], ["Y", "M1", "X"])
    assert refused.value.hint == "it has M0, M1, M2, M3, M4 and 2 more"
