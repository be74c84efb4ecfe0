"""What is stored of a market comes from its listing, its event and its series; what is gone is unknown."""

from __future__ import annotations

from kflow.clock import SystemClock
from kflow.kalshi.environments import Environment, endpoints
from kflow.kalshi.rest import RestClient
from kflow.record.plan import facts_of
from kflow.testing.venue import MARKET, LocalVenue


async def test_facts_of_a_market() -> None:
    async with LocalVenue() as venue:
        places = endpoints(Environment.LOCAL, exchange=venue.rest)
        async with RestClient(places, key=None, clock=SystemClock()) as client:
            market = await client.market(MARKET)
            [facts] = await facts_of(client, [market])
            assert facts.ticker == MARKET
            assert facts.price_ranges == list(market.price_ranges)
            assert (facts.event_ticker, facts.series_ticker) == ("INXD-25JAN03", "INXD")
            assert facts.fee_type == "quadratic"
            assert facts.fee_multiplier is not None
            assert facts.open_time is not None
            assert facts.open_time.utcoffset() is not None
            assert facts.info["ticker"] == MARKET
