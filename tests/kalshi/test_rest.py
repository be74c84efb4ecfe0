"""The REST client against a real server on loopback."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from kflow.errors import (
    ClockSkew,
    CredentialError,
    MalformedFrame,
    UsageError,
    VenueRefused,
    VenueUnreachable,
)
from kflow.kalshi.auth import ApiKey, PrivateKey, verify
from kflow.kalshi.environments import Environment, endpoints
from kflow.kalshi.rest import RestClient, Retries, check_clock

OPEN = {"exchange_active": True, "trading_active": False, "exchange_estimated_resume_time": None, "new": 1}
LIMITS = {
    "usage_tier": "basic",
    "read": {"refill_rate": 200, "bucket_capacity": 600},
    "write": {"refill_rate": 100, "bucket_capacity": 300},
    "grants": [],
}
EXPIRED = {"error": {"code": "header_timestamp_expired", "message": "expired"}}


@pytest.fixture
def client(venue: Any, clock: Any) -> RestClient:
    return RestClient(venue.endpoints, clock=clock)


# Listings and books


async def test_a_market_is_asked_for_unsigned(venue: Any, client: RestClient) -> None:
    venue.add_market("KXINX-26NOV23H1600-T4.30")
    async with client:
        market = await client.market("KXINX-26NOV23H1600-T4.30")
    assert market.ticker == "KXINX-26NOV23H1600-T4.30"
    [asked] = venue.asked
    assert (asked.method, asked.path, asked.query) == ("GET", "/markets/KXINX-26NOV23H1600-T4.30", [])
    assert not [name for name in asked.headers if name.startswith("kalshi")]


async def test_an_event_brings_its_markets(venue: Any, client: RestClient) -> None:
    venue.add_market("KXINX-26NOV23-B1")
    venue.add_market("KXINX-26NOV23-B2")
    async with client:
        event = await client.event("KXINX-26NOV23")
    assert [market.ticker for market in event.markets] == ["KXINX-26NOV23-B1", "KXINX-26NOV23-B2"]
    assert venue.asked[0].query == [("with_nested_markets", "true")]


async def test_a_series_brings_its_fees(venue: Any, client: RestClient) -> None:
    venue.add_series("KXINX")
    async with client:
        series = await client.series("KXINX")
    assert (series.fee_type, str(series.fee_multiplier)) == ("quadratic", "0.35")


async def test_lists_are_read_to_their_last_page(venue: Any, client: RestClient) -> None:
    first, second = venue.add_market("A-B-1"), venue.add_market("A-B-2")
    venue.answers["/markets"] = [{"markets": [first], "cursor": "a+b/c=="}, {"markets": [second], "cursor": ""}]
    async with client:
        markets = [market.ticker async for market in client.markets(series_ticker="A", status="open")]
    assert markets == ["A-B-1", "A-B-2"]
    base = [("series_ticker", "A"), ("status", "open"), ("mve_filter", "exclude"), ("limit", "1000")]
    assert [asked.query for asked in venue.asked] == [base, [*base, ("cursor", "a+b/c==")]]
    assert "cursor=a%2Bb%2Fc%3D%3D" in venue.asked[1].target


@pytest.mark.parametrize("last", [{"cursor": None}, {"cursor": ""}, {}])
async def test_every_form_of_a_last_page_ends_a_list(venue: Any, client: RestClient, last: dict[str, Any]) -> None:
    venue.answers["/events"] = {"events": [], **last}
    async with client:
        assert [event async for event in client.events(status="open")] == []
    assert venue.asked[0].query == [("status", "open"), ("with_nested_markets", "true"), ("limit", "200")]


async def test_pages_that_never_end_are_an_error(venue: Any, client: RestClient) -> None:
    venue.answers["/historical/markets"] = {"markets": [], "cursor": "again"}
    async with client:
        with pytest.raises(MalformedFrame, match="pages go round in a circle"):
            await client.historical_markets("A-B")
    assert len(venue.asked) == 2


async def test_tickers_make_one_filter(venue: Any, client: RestClient) -> None:
    venue.answers["/markets"] = {"markets": [], "cursor": ""}
    async with client:
        assert [m async for m in client.markets(tickers=["A-1", "A-2"], event_ticker="A")] == []
    assert ("tickers", "A-1,A-2") in venue.asked[0].query


async def test_books_come_whole_and_by_the_hundred(venue: Any, client: RestClient) -> None:
    book = {"yes_dollars": [["0.4100", "10.00"], ["0.4200", "13.00"]], "no_dollars": [["0.5600", "17.00"]]}
    venue.answers["/markets/A-1/orderbook"] = {"orderbook_fp": book}
    venue.answers["/markets/orderbooks"] = lambda asked: {
        "orderbooks": [{"ticker": t, "orderbook_fp": book} for name, t in asked.query if t != "A-7"]
    }
    async with client:
        one = await client.orderbook("A-1")
        many = await client.orderbooks(f"A-{n}" for n in range(250))
    assert (one.yes, one.no) == (((4100, 1000), (4200, 1300)), ((5600, 1700),))
    assert (many["A-249"].yes, len(many), "A-7" in many) == (one.yes, 249, False)
    assert [len(asked.query) for asked in venue.asked] == [1, 100, 100, 50]
    assert venue.asked[0].query == [("depth", "0")]


@pytest.mark.parametrize("ticker", ["", "..", "../portfolio", "A/B", "A?b", "a-b", "A B", "A\r\nX: y", "Ä", "A" * 129])
async def test_what_is_no_ticker_never_leaves(venue: Any, client: RestClient, ticker: str) -> None:
    async with client:
        for call in (client.market, client.event, client.series, client.orderbook, client.historical_markets):
            with pytest.raises(UsageError, match="is not a ticker"):
                await call(ticker)
    assert venue.asked == []


# Refusals and silence


async def test_a_refusal_carries_status_and_code(venue: Any, client: RestClient) -> None:
    async with client:
        with pytest.raises(VenueRefused, match=r"^GET /markets/NO-SUCH was refused \(HTTP 404\)") as refused:
            await client.market("NO-SUCH")
    assert (refused.value.status, refused.value.code) == (404, "not_found")
    assert len(venue.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b'{"market":{}}', b'{"market":7}', b"{}", b"\xff", b""])
async def test_an_answer_that_is_none_is_an_error(venue: Any, client: RestClient, answer: Any, body: bytes) -> None:
    venue.answers["/markets/A"] = answer(200, body)
    async with client:
        with pytest.raises(MalformedFrame, match="is not what the venue documents"):
            await client.market("A")


async def test_busy_and_broken_answers_are_asked_again(venue: Any, clock: Any, client: RestClient, answer: Any) -> None:
    good = {"market": venue.add_market("A-B-1")}
    venue.answers["/markets/A-B-1"] = [answer(429, {"error": "too many requests"}), answer(502, b"<html>"), good]
    async with client:
        assert (await client.market("A-B-1")).ticker == "A-B-1"
    assert len(venue.asked) == 3
    assert [0 <= slept <= ceiling for slept, ceiling in zip(clock.slept, (0.5, 1), strict=True)] == [True, True]


async def test_patience_ends(venue: Any, clock: Any, answer: Any) -> None:
    venue.answers["/markets/A"] = answer(503, b"down")
    async with RestClient(venue.endpoints, clock=clock, retries=Retries(attempts=3)) as client:
        with pytest.raises(VenueRefused, match="HTTP 503"):
            await client.market("A")
    assert (len(venue.asked), len(clock.slept)) == (3, 2)


async def test_a_closed_exchange_says_so_in_a_503(venue: Any, client: RestClient, answer: Any) -> None:
    venue.answers["/exchange/status"] = [answer(503, OPEN), answer(503, b"<html>"), OPEN]
    async with client:
        status = await client.exchange_status()
        assert (status.exchange_active, status.trading_active) == (True, False)
        with pytest.raises(VenueRefused, match="HTTP 503"):
            await client.exchange_status()
        assert await client.exchange_status() == status


async def test_nobody_there(clock: Any, unused_tcp_port: int) -> None:
    nowhere = endpoints(Environment.LOCAL, exchange=f"http://127.0.0.1:{unused_tcp_port}")
    async with RestClient(nowhere, clock=clock) as client:
        with pytest.raises(VenueUnreachable, match=rf"^no answer from 127\.0\.0\.1:{unused_tcp_port}: ") as lost:
            await client.market("A")
    assert "kflow exchange serve" in lost.value.hint


async def test_a_connection_cut_in_an_answer(clock: Any) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, RestClient(endpoints(Environment.LOCAL, exchange=f"http://127.0.0.1:{port}"), clock=clock) as c:
        with pytest.raises(VenueUnreachable, match="no answer from"):
            await c.market("A")


async def test_an_answer_without_end_is_cut(
    venue: Any, client: RestClient, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kflow.kalshi.rest._BODY_BYTES", 1 << 20)
    venue.answers["/markets/A"] = answer(200, b" " * (3 << 20))
    async with client:
        with pytest.raises(MalformedFrame, match="longer than 1 MiB"):
            await client.market("A")


async def test_a_redirect_is_not_followed(venue: Any, client: RestClient, answer: Any) -> None:
    venue.answers["/markets/A"] = answer(302, {}, {"Location": "http://127.0.0.1:1/elsewhere"})
    async with client:
        with pytest.raises(VenueRefused, match="HTTP 302"):
            await client.market("A")


async def test_a_proxy_of_the_environment_is_not_used(
    venue: Any, clock: Any, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_tcp_port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    venue.answers["/exchange/status"] = OPEN
    async with RestClient(venue.endpoints, clock=clock) as client:
        await client.exchange_status()


# The key


@pytest.mark.parametrize("private", [Ed25519PrivateKey.generate(), generate_private_key(65537, 2048)])
async def test_a_signed_request_is_signed_as_sent(venue: Any, clock: Any, private: PrivateKey) -> None:
    venue.answers["/account/limits"] = LIMITS
    async with RestClient(venue.endpoints, clock=clock, key=ApiKey("my-id", private)) as client:
        limits = await client.account_limits()
    assert (limits.usage_tier, limits.read.bucket_capacity, limits.write.refill_rate) == ("basic", 600, 100)
    headers = venue.asked[0].headers
    stamp, signature = int(headers["kalshi-access-timestamp"]), headers["kalshi-access-signature"]
    assert headers["kalshi-access-key"] == "my-id"
    assert stamp == clock.wall_ns() // 1_000_000
    assert verify(private.public_key(), signature, stamp, "GET", "/trade-api/v2/account/limits")


async def test_a_401_says_what_is_ruled_out(venue: Any, clock: Any, answer: Any) -> None:
    body = {"error": {"code": "authentication_error", "message": "x", "details": "NOT_FOUND"}}
    venue.answers["/account/limits"] = answer(401, body)
    venue.offset_s = 3
    async with RestClient(venue.endpoints, clock=clock, key=ApiKey("my-id", Ed25519PrivateKey.generate())) as client:
        with pytest.raises(VenueRefused, match="does not know this key id") as refused:
            await client.account_limits()
    assert "the clock (2.5 s off)" in refused.value.hint
    assert len(venue.asked) == 1


async def test_a_stale_signature_is_made_anew_once(venue: Any, clock: Any, answer: Any) -> None:
    venue.answers["/exchange/status"] = OPEN
    venue.answers["/account/limits"] = [answer(401, EXPIRED), LIMITS]
    key = ApiKey("my-id", Ed25519PrivateKey.generate())
    async with RestClient(venue.endpoints, clock=clock, key=key) as client:
        assert (await client.account_limits()).usage_tier == "basic"
        assert venue.paths() == ["/account/limits", "/exchange/status", "/account/limits"]
        venue.answers["/account/limits"] = answer(401, EXPIRED)
        with pytest.raises(VenueRefused, match="too far from the venue's"):
            await client.account_limits()
        assert len(venue.asked) == 6


async def test_a_clock_that_makes_every_signature_stale_is_named(venue: Any, clock: Any, answer: Any) -> None:
    venue.answers["/exchange/status"] = OPEN
    venue.answers["/account/limits"] = answer(401, EXPIRED)
    venue.offset_s = 61
    async with RestClient(venue.endpoints, clock=clock, key=ApiKey("i", Ed25519PrivateKey.generate())) as client:
        with pytest.raises(ClockSkew, match="60 s behind the venue's"):
            await client.account_limits()


async def test_a_key_is_needed_and_must_fit(venue: Any, clock: Any, client: RestClient) -> None:
    async with client:
        with pytest.raises(CredentialError, match="asks for a key, and none is set"):
            await client.account_limits()
    demo = ApiKey("i", Ed25519PrivateKey.generate(), Environment.DEMO)
    with pytest.raises(CredentialError, match="made in environment demo"):
        RestClient(endpoints(Environment.PRODUCTION), clock=clock, key=demo)
    assert venue.asked == []


async def test_nothing_secret_is_logged(venue: Any, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    venue.answers["/account/limits"] = LIMITS
    venue.answers["/markets"] = {"markets": []}
    caplog.set_level(logging.DEBUG)
    async with RestClient(
        venue.endpoints, clock=clock, key=ApiKey("canary-id", Ed25519PrivateKey.generate())
    ) as client:
        await client.account_limits()
        assert [m async for m in client.markets(tickers=["CANARY"])] == []
    signature = venue.asked[0].headers["kalshi-access-signature"]
    for secret in ("canary-id", signature, "CANARY", "KALSHI-ACCESS"):
        assert secret not in caplog.text


# The clock


@pytest.mark.parametrize(
    ("offset_s", "verdict"),
    [(0, "fine"), (-1, "fine"), (2, "fine"), (3, "warned"), (-3, "warned"), (7, "refused"), (-7, "refused")],
)
async def test_the_clock_is_judged(
    venue: Any, client: RestClient, caplog: pytest.LogCaptureFixture, offset_s: int, verdict: str
) -> None:
    """Ours reads .5 s, so a Date of whole seconds leaves the offset open by half a second each way."""
    venue.answers["/exchange/status"] = OPEN
    venue.offset_s = offset_s
    async with client:
        if verdict == "refused":
            with pytest.raises(ClockSkew) as skewed:
                await check_clock(client)
            assert (skewed.value.offset_s > 0) == (offset_s > 0)
        else:
            assert await check_clock(client) == offset_s * 1000
    assert ("this machine's clock is 2.5 s" in caplog.text) == (verdict == "warned")
    assert ("behind" in caplog.text) == (verdict == "warned" and offset_s > 0)


async def test_a_slow_answer_is_no_proof_against_the_clock(venue: Any, clock: Any, client: RestClient) -> None:
    def late(_: object) -> dict[str, Any]:
        clock.advance(20)
        return OPEN

    venue.answers["/exchange/status"] = late
    async with client:
        low, high = await client.clock_offset_bounds_ms()
        assert low <= 0 <= high == low + 21_000
        await check_clock(client)


async def test_a_venue_without_a_date_cannot_judge_the_clock(venue: Any, client: RestClient, answer: Any) -> None:
    venue.answers["/exchange/status"] = answer(200, OPEN)
    venue.dated = False
    async with client:
        with pytest.raises(MalformedFrame, match="no Date"):
            await client.clock_offset_ms()
        venue.answers["/exchange/status"] = answer(200, OPEN, {"Date": "tomorrow"})
        with pytest.raises(MalformedFrame, match="no Date"):
            await client.clock_offset_ms()


async def test_signing_leaves_the_loop_free(venue: Any, clock: Any) -> None:
    threads = []

    class Watched(ApiKey):
        def headers(self, method: str, url: str, wall_ns: int) -> dict[str, str]:
            threads.append(threading.get_ident())
            return super().headers(method, url, wall_ns)

    venue.answers["/account/limits"] = LIMITS
    key = Watched("id", generate_private_key(65537, 2048))
    async with RestClient(venue.endpoints, clock=clock, key=key) as client:
        await client.account_limits()
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
