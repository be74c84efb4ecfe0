"""Markets get their numbers as they appear, with what is known of them."""

from __future__ import annotations

from uuid import UUID

from kflow.kalshi.protocol import FeedProtocol
from kflow.market.events import Gap, GapKind
from kflow.record.markets import MarketIds
from kflow.session.chunks import Chunk, MarketFacts
from kflow.store import sessions
from kflow.store.postgres import Connection
from kflow.testing.frames import CENTS, MARKET, OTHER, Frames


def chunk_of(*raw: bytes, gaps: list[Gap] | None = None) -> Chunk:
    return Chunk(1, 5, 5, 0, 1, FeedProtocol().receive_all(list(raw)), gaps or [])


def test_markets_are_learnt_from_facts_events_and_gaps(conn: Connection, number: int) -> None:
    ids, frames = MarketIds(conn, number), Frames()
    facts = MarketFacts(MARKET, CENTS, series_ticker="KXT", fee_multiplier="0.5", info={"a": 1})
    ids.learn([Chunk(1, 5, 5, 0, 1, [], [], [facts])])
    ids.learn([chunk_of(frames.snapshot(MARKET), frames.delta(100, 1, market=OTHER))])
    ids.learn([chunk_of(gaps=[Gap(GapKind.CROSSED, 1, "KXT-GAP", None, None, "")])])
    assert sorted(ids.ids) == sorted([MARKET, OTHER, "KXT-GAP"])
    stored = {market.ticker: market for market in sessions.read_markets(conn, [number])}
    assert {ticker: market.id for ticker, market in stored.items()} == ids.ids
    assert stored[MARKET].series_ticker == "KXT"
    assert stored[MARKET].price_ranges == CENTS
    assert stored[MARKET].market_id == UUID("9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1")


def test_what_was_learnt_costs_nothing(conn: Connection, number: int) -> None:
    ids, frames = MarketIds(conn, number), Frames()
    ids.learn([chunk_of(frames.snapshot(MARKET))])
    conn.close()  # no question is asked any more
    ids.learn([chunk_of(frames.snapshot(MARKET), frames.delta(100, 1))])


def test_an_id_that_is_no_uuid_is_not_stored(conn: Connection, number: int) -> None:
    ids = MarketIds(conn, number)
    raw = b'{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{"market_ticker":"M","market_id":"m-1"}}'
    ids.learn([chunk_of(raw)])
    [market] = sessions.read_markets(conn, [number])
    assert market.market_id is None
