"""From resolved markets to the plan of a recording: what is stored of each market beside its messages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from kflow.errors import VenueRefused
from kflow.kalshi.listings import EventInfo, MarketInfo, SeriesInfo
from kflow.kalshi.rest import RestClient
from kflow.market.times import US_PER_S
from kflow.session.chunks import MarketFacts


async def facts_of(client: RestClient, markets: Iterable[MarketInfo]) -> tuple[MarketFacts, ...]:
    """Look up the series of each market, for its fees. A series or event that is gone leaves them unknown."""
    events: dict[str, EventInfo | None] = {}
    series: dict[str, SeriesInfo | None] = {}
    facts = []
    for market in markets:
        name = market.event_ticker
        if name not in events:
            events[name] = await _event(client, name)
        event = events[name]
        if event is not None and event.series_ticker not in series:
            series[event.series_ticker] = await _series(client, event.series_ticker)
        facts.append(_facts(market, event, series.get(event.series_ticker) if event else None))
    return tuple(facts)


async def _event(client: RestClient, ticker: str) -> EventInfo | None:
    try:
        return await client.event(ticker)
    except VenueRefused as error:
        if error.status == 404:
            return None
        raise


async def _series(client: RestClient, ticker: str) -> SeriesInfo | None:
    try:
        return await client.series(ticker)
    except VenueRefused as error:
        if error.status == 404:
            return None
        raise


def _facts(market: MarketInfo, event: EventInfo | None, series: SeriesInfo | None) -> MarketFacts:
    fee_type = event.fee_type_override if event else None
    multiplier = event.fee_multiplier_override if event else None
    if series is not None:
        fee_type = fee_type or series.fee_type
        multiplier = series.fee_multiplier if multiplier is None else multiplier
    return MarketFacts(
        ticker=market.ticker,
        price_ranges=list(market.price_ranges),
        event_ticker=market.event_ticker,
        series_ticker=None if event is None else event.series_ticker,
        fee_type=fee_type,
        fee_multiplier=None if multiplier is None else str(multiplier),
        status=market.status,
        open_time=_time(market.open_us),
        close_time=_time(market.close_us),
        exchange_index=market.exchange_index,
        info=market.raw,
    )


def _time(us: int) -> datetime:
    return datetime.fromtimestamp(us // US_PER_S, UTC).replace(microsecond=us % US_PER_S)
