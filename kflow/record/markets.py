"""The numbers that tables use for markets, learnt as markets appear."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import psycopg

from kflow.market.events import BookSnapshot
from kflow.session.chunks import Chunk, MarketFacts
from kflow.store import sessions
from kflow.store.sessions import Market


class MarketIds:
    """Ticker to number, for one session over one connection."""

    def __init__(self, conn: psycopg.Connection[tuple[object, ...]], session_id: int) -> None:
        self._conn, self._session_id = conn, session_id
        self.ids: dict[str, int] = {}
        # Markets whose UUID at the venue is stored.
        self._with_uuid: set[str] = set()

    def learn(self, chunks: Iterable[Chunk]) -> None:
        """Store every market that the chunks name for the first time, in a transaction of its own."""
        new: dict[str, Market] = {}
        for chunk in chunks:
            if isinstance(chunk.mark, list):
                new.update({facts.ticker: market_of(facts, chunk.wall_ns) for facts in chunk.mark})
            named = {event.market for event in chunk.events}
            named.update([gap.market for gap in chunk.gaps])
            for market in named - self.ids.keys():
                if market is not None and market not in new:
                    new[market] = Market(ticker=market, updated_ns=chunk.wall_ns)
            for event in chunk.events:
                if type(event) is BookSnapshot and event.market not in self._with_uuid:
                    self._with_uuid.add(event.market)
                    known = new.get(event.market) or Market(ticker=event.market, updated_ns=chunk.wall_ns)
                    new[event.market] = replace(known, market_id=_uuid(event.market_id))
        if new:
            with self._conn.transaction():
                learnt = sessions.upsert_markets(self._conn, new.values())
                sessions.link_markets(self._conn, self._session_id, learnt.values())
            self.ids.update(learnt)


def _uuid(text: str | None) -> UUID | None:
    """The venue's id; one that is no UUID is not stored, the journal has it as it came."""
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None


def market_of(facts: MarketFacts, updated_ns: int) -> Market:
    """What REST said of a market, as its row."""
    return Market(
        ticker=facts.ticker,
        updated_ns=updated_ns,
        event_ticker=facts.event_ticker,
        series_ticker=facts.series_ticker,
        price_ranges=facts.price_ranges,
        fee_type=facts.fee_type,
        fee_multiplier=None if facts.fee_multiplier is None else Decimal(facts.fee_multiplier),
        status=facts.status,
        open_time=facts.open_time,
        close_time=facts.close_time,
        exchange_index=facts.exchange_index,
        info=facts.info,
    )
