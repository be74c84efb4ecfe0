"""The REST client and the local exchange keep the same contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from kflow.clock import ManualClock, SystemClock
from kflow.errors import ClockSkew, UnknownTicker, UsageError, VenueRefused
from kflow.exchange.access import Access, Denied
from kflow.exchange.scene import SyntheticOptions
from kflow.exchange.server import ExchangeOptions
from kflow.exchange.synthetic import SyntheticSource
from kflow.kalshi.auth import ApiKey, write_new_key
from kflow.kalshi.environments import Endpoints, Environment, endpoints
from kflow.kalshi.resolve import Selection, resolve
from kflow.kalshi.rest import RestClient, check_clock
from kflow.testing.venue import LocalVenue, listing, some_levels

MARKETS = ("INXD-25JAN03-B5912", "INXD-25JAN03-B5937", "KXHIGHNY-26NOV23-T4.30")


def _local(venue: LocalVenue) -> Endpoints:
    return endpoints(Environment.LOCAL, exchange=venue.rest)


@pytest.fixture
async def client() -> AsyncIterator[RestClient]:
    settled = replace(listing("KXOLD-24JAN01-B1"), close_us=1_735_900_000_000_001, archived=True, result="yes")
    async with (
        LocalVenue(markets=[*MARKETS, settled]) as venue,
        RestClient(_local(venue), clock=SystemClock(), key=venue.key) as client,
    ):
        yield client


async def test_the_exchange_is_open_and_agrees_on_the_time(client: RestClient) -> None:
    assert (await client.exchange_status()).trading_active
    assert abs(await check_clock(client)) < 1000


async def test_listings_agree_with_each_other(client: RestClient) -> None:
    market = await client.market(MARKETS[0])
    event = await client.event(market.event_ticker)
    series = await client.series(event.series_ticker)
    assert [nested.ticker for nested in event.markets] == list(MARKETS[:2])
    assert (event.ticker, series.ticker, series.fee_type) == ("INXD-25JAN03", "INXD", "quadratic")
    listed = {market.ticker async for market in client.markets(status="open")}
    nested = {market.ticker async for event in client.events(status="open") for market in event.markets}
    assert listed == nested == set(MARKETS)
    assert len(market.grid) == 99


async def test_books_are_those_of_the_exchange(client: RestClient) -> None:
    yes, no = some_levels()
    one = await client.orderbook(MARKETS[2])
    assert (list(one.yes), list(one.no)) == (sorted(yes), sorted(no))
    assert await client.orderbooks(MARKETS) == {ticker: await client.orderbook(ticker) for ticker in MARKETS}


async def test_names_resolve(client: RestClient) -> None:
    event = await resolve(client, Selection(markets=("INXD-25JAN03",)))
    assert {market.ticker for market in event.markets} == set(MARKETS[:2])
    everything = await resolve(client, Selection(all=True))
    assert {market.ticker for market in everything.markets} == set(MARKETS)
    series = await resolve(client, Selection(series=("KXHIGHNY",)))
    assert [market.ticker for market in series.markets] == [MARKETS[2]]


async def test_names_that_do_not_are_refused(client: RestClient) -> None:
    with pytest.raises(UnknownTicker) as unknown:
        await resolve(client, Selection(markets=("HIGHNY-26NOV23",)))
    assert unknown.value.suggestions[0] == "KXHIGHNY-26NOV23 (1 market)"
    with pytest.raises(UsageError, match=r"KXOLD-24JAN01 has nothing to record: .* with result yes"):
        await resolve(client, Selection(markets=("KXOLD-24JAN01",)))
    with pytest.raises(VenueRefused) as refused:
        await client.market("NO-SUCH-MARKET")
    assert (refused.value.status, refused.value.code) == (404, "not_found")


async def test_a_long_list_has_many_pages() -> None:
    source = SyntheticSource(SyntheticOptions(markets=450, rate=1))
    async with (
        LocalVenue(source=source, options=ExchangeOptions(source=source)) as venue,
        RestClient(_local(venue), clock=SystemClock()) as client,
    ):
        found = await resolve(client, Selection(all=True))
        assert len(found.markets) == len({market.ticker async for market in client.markets(status="open")}) == 450
        assert len(await client.orderbooks(market.ticker for market in found.markets)) == 450


async def test_a_clock_that_is_a_minute_off_is_refused() -> None:
    clock = ManualClock(wall_ns=SystemClock().wall_ns())
    async with LocalVenue() as venue, RestClient(_local(venue), clock=clock) as client:
        await check_clock(client)
        clock.step_wall(60)
        with pytest.raises(ClockSkew, match="s ahead of the venue's"):
            await check_clock(client)


@pytest.mark.parametrize("rsa", [False, True], ids=["ed25519", "rsa"])
def test_the_exchange_lets_in_what_the_client_signs(tmp_path: Path, rsa: bool) -> None:
    clock = ManualClock()
    access = Access(clock)
    access.register("my-id", write_new_key(tmp_path / "key.pem", rsa=rsa))
    key = ApiKey.load("my-id", tmp_path / "key.pem")
    headers = key.headers("GET", "http://127.0.0.1:1/trade-api/v2/markets?status=open", clock.wall_ns())
    assert access.check(headers, "GET", "/trade-api/v2/markets") == "my-id"
    clock.step_wall(61)
    assert isinstance(access.check(headers, "GET", "/trade-api/v2/markets"), Denied)
