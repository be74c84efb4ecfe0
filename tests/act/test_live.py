"""A live connection, market by market: whole books are valid, others are not, and what is seen is what training saw."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from kflow.act.live import LiveBooks, LiveMarket
from kflow.clock import ManualClock
from kflow.kalshi.protocol import FeedProtocol
from kflow.market.events import FeedEvent, Other
from kflow.market.times import venue_us
from kflow.policy.features import MARKET as FEATURES
from kflow.replay.load import Moment
from kflow.replay.stretches import CHANNEL, Stretches, build_tape
from kflow.rl.columns import market_columns
from kflow.session.chunks import MarketFacts
from kflow.sim.tape import Tape
from kflow.testing.frames import CENTS, MARKET, OTHER, START_US, Frames

CLOSE = datetime(2026, 1, 1, 1, tzinfo=UTC)


class Connection:
    """A connection driven by hand."""

    def __init__(self, *markets: str) -> None:
        self.clock, self.frames = ManualClock(wall_ns=START_US * 1000), Frames()
        facts = [
            MarketFacts(name, CENTS, fee_type="quadratic", fee_multiplier="1", close_time=CLOSE)
            for name in markets or (MARKET,)
        ]
        self.markets = [LiveMarket.of(each) for each in facts]
        self.changed: list[set[str]] = []
        self.trades: list[tuple[str, int, int, int]] = []
        self.raw: list[Other] = []
        self.events: list[FeedEvent] = []
        self.books = LiveBooks(
            self.markets,
            clock=self.clock,
            changed=self.changed.append,
            other=self.raw.append,
            traded=lambda *told: self.trades.append(told),
            events=lambda events, _mono_ns: self.events.extend(events),
        )
        self.protocol = self.open()

    @property
    def market(self) -> LiveMarket:
        return self.markets[0]

    def open(self) -> FeedProtocol:
        protocol = self.books.opened("ws://127.0.0.1/")
        self.books.received([f'{{"type":"subscribed","id":{n + 1},"msg":{{"channel":"{c}","sid":{n + 1}}}}}'.encode()
                             for n, c in enumerate(("orderbook_delta", "trade"))], 0, self.clock.mono_ns())  # fmt: skip
        return protocol

    def receive(self, *frames: bytes) -> None:
        self.books.received(list(frames), self.clock.wall_ns(), self.clock.mono_ns())

    def tape(self) -> Tape:
        """All that came, as `kflow train` reads it."""
        recorded = Stretches()
        for event in self.events:
            us = venue_us(getattr(event, "venue_ts", None), getattr(event, "venue_ms", None))
            recorded.add(Moment(1, 0 if us is None else us * 1000, us, event))
        facts = {"close_us": self.market.close_us}
        return build_tape(MARKET, recorded.markets[MARKET].stretches, CHANNEL, self.market.grid, facts)

    def settle(self) -> None:
        self.clock.advance(0.01)
        self.books.idle()


@pytest.fixture
def live() -> Connection:
    connection = Connection()
    connection.receive(connection.frames.snapshot(yes=[(4_300, 5_000), (4_400, 1_250)], no=[(5_400, 10_000)]))
    return connection


def test_a_snapshot_makes_a_book_valid(live: Connection) -> None:
    market = live.market
    assert market.valid
    view = market.view
    assert (market.prices[view.bid], market.prices[view.ask]) == (4_400, 4_600)
    assert view.book[0][market.column(4_300)] == 5_000
    assert view.book[1][market.column(4_600)] == 10_000


def test_a_change_is_seen_once_its_moment_is_whole(live: Connection) -> None:
    before = live.market.version
    live.receive(live.frames.delta(4_500, 700))
    live.receive(live.frames.delta(4_400, -1_250, same=True))
    assert live.market.version == before
    live.settle()
    assert live.market.version == before + 1
    assert live.market.prices[live.market.view.bid] == 4_500
    assert live.changed[-1] == {MARKET}
    assert live.market.us == live.frames.us


def test_the_next_moment_ends_the_one_before(live: Connection) -> None:
    before = live.market.version
    live.receive(live.frames.delta(4_500, 700), live.frames.delta(5_300, 200, side="no"))
    assert live.market.version == before + 1


def test_a_gap_makes_every_book_invalid_until_its_next_snapshot(live: Connection) -> None:
    live.frames.seq[1] += 1
    live.receive(live.frames.delta(4_500, 700))
    assert not live.market.valid
    live.receive(live.frames.snapshot(yes=[(4_300, 100)], no=[(5_000, 100)], ident=9))
    assert live.market.view.book[0][live.market.column(4_300)] in (100, 5_000)


def test_a_book_that_empties_at_the_close_is_not_traded_on(live: Connection) -> None:
    live.receive(live.frames.snapshot())
    assert not live.market.valid


def test_a_lost_connection_makes_all_invalid(live: Connection) -> None:
    live.books.closed("gone")
    assert not live.market.valid
    assert not live.books.connected
    assert live.changed[-1] == {MARKET}


def test_other_markets_are_passed_over(live: Connection) -> None:
    live.receive(live.frames.delta(4_500, 700, market=OTHER))
    assert live.market.valid


def test_trades_are_told_and_leave_the_book_to_its_deltas(live: Connection) -> None:
    before = [list(side) for side in live.market.view.book]
    live.receive(live.frames.trade(4_600, 300))
    assert live.trades == [(MARKET, 1, 4_600, 300)]
    assert live.market.last == 4_600
    assert live.market.view.book == before


def test_no_news_is_no_change_while_the_connection_lives(live: Connection) -> None:
    live.clock._mono_ns += 60_000_000_000
    assert live.market.age_us(live.clock.mono_ns()) == 60_000_000
    live.books.idle()
    assert live.market.age_us(live.clock.mono_ns()) == 0
    assert live.market.now_us(live.clock.mono_ns()) == live.market.us + 60_000_000


def test_what_is_seen_live_is_what_training_sees_of_the_recording() -> None:
    """The same frames as a live view, decision by decision, and as a tape: the features are the same to the bit."""
    live, rng = Connection(), np.random.default_rng(3)
    frames = live.frames
    told = [(frames.us, frames.snapshot(yes=[(4_300, 5_000), (4_400, 2_500)], no=[(5_200, 900), (5_400, 10_000)]))]
    for _ in range(600):
        yes = rng.random() < 0.5
        price = (4_000 if yes else 5_000) + 100 * int(rng.integers(0, 5))
        frames.us += int(rng.integers(0, 60_000))
        frame = frames.delta(price, int(rng.integers(1, 900)), side="yes" if yes else "no")
        told.append((frames.us, frame))
        if rng.random() < 0.2:
            size = int(rng.integers(1, 50))
            frame = frames.delta(5_400, -size, side="no")
            told += [(frames.us, frame), (frames.us, frames.trade(4_600, size))]
    first_us = told[1][0]
    seen: list[list[float]] = []
    for us, frame in told:
        while us > (due := first_us + len(seen) * 250_000):
            live.books._end_group()
            row = [0.0] * 64
            live.market.view.encode(due, row)
            seen.append(row[: len(FEATURES)])
        live.receive(frame)
    tape = live.tape()
    columns = market_columns(tape, 0, 250_000, float(live.market.fees.taker_rate))
    assert tape.span_us(0)[0] == first_us
    rows = min(len(seen), len(columns))
    assert rows > 60
    assert tape.facts["trades_laid"] > 0
    assert np.array(seen[:rows], np.float32).tolist() == columns[:rows].tolist()
