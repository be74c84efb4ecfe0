"""The wire, as a plain WebSocket and HTTP client see it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from kflow.clock import ManualClock
from kflow.exchange.messages import Style
from kflow.exchange.server import ExchangeOptions
from kflow.exchange.synthetic import SyntheticOptions
from kflow.kalshi.auth import ApiKey, write_new_key
from kflow.market.events import Side
from kflow.store.journal import RecordKind
from kflow.store.journal_reader import JournalReader
from kflow.testing.client import client, signed
from kflow.testing.venue import MARKET, LocalVenue

OTHER = "INXD-25JAN03-T5975"


async def refusal(venue: LocalVenue, headers: Any) -> tuple[int, Any]:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(venue.ws, additional_headers=headers):
            pass
    response = caught.value.response
    return response.status_code, json.loads(response.body or b"")


async def get(venue: LocalVenue, path: str, **params: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(venue.rest + path, params=params)


# The handshake.


async def test_unsigned_handshake_is_refused() -> None:
    async with LocalVenue() as venue:
        status, body = await refusal(venue, {})
    assert (status, body["error"]["code"]) == (401, "signature_is_missing_from_headers")


async def test_unknown_key_and_wrong_signature_are_told_apart(tmp_path: Path) -> None:
    async with LocalVenue() as venue:
        good = signed(venue)
        stranger = {**good, "KALSHI-ACCESS-KEY": "00000000-0000-4000-8000-000000000000"}
        assert await refusal(venue, stranger) == (
            401,
            {"error": {"code": "authentication_error", "message": "authentication_error", "details": "NOT_FOUND"}},
        )
        write_new_key(tmp_path / "other.pem")
        other = ApiKey.load(venue.key_id, tmp_path / "other.pem")
        status, body = await refusal(venue, other.headers("GET", venue.ws, time.time_ns()))
    assert (status, body["error"]["details"]) == (401, "INCORRECT_API_KEY_SIGNATURE")


@pytest.mark.parametrize(("late_s", "accepted"), [(-40, True), (-50, False), (10, True), (20, False)])
async def test_signature_window(late_s: float, accepted: bool) -> None:
    async with LocalVenue() as venue:
        if accepted:
            async with connect(venue.ws, additional_headers=signed(venue, late_s=late_s)):
                return
        status, body = await refusal(venue, signed(venue, late_s=late_s))
    assert (status, body["error"]["code"]) == (401, "header_timestamp_expired")


@pytest.mark.parametrize("rsa", [False, True])
async def test_both_kinds_of_keys_are_let_in(tmp_path: Path, rsa: bool) -> None:
    async with LocalVenue() as venue:
        venue.exchange.access.register("mine", write_new_key(tmp_path / "key.pem", rsa=rsa))
        key = ApiKey.load("mine", tmp_path / "key.pem")
        async with connect(venue.ws, additional_headers=key.headers("GET", venue.ws, time.time_ns())):
            pass


async def test_of_a_header_that_comes_twice_the_first_counts() -> None:
    async with LocalVenue() as venue:
        headers = [*signed(venue).items(), ("Kalshi-Access-Key", "nobody")]
        async with connect(venue.ws, additional_headers=headers, open_timeout=5):
            pass
        status, body = await refusal(venue, headers[::-1])
        assert (status, body["error"]["details"]) == (401, "NOT_FOUND")


async def test_another_path_is_not_found() -> None:
    async with LocalVenue() as venue:
        with pytest.raises(InvalidStatus, match="404"):
            async with connect(venue.ws + "/margin", additional_headers=signed(venue)):
                pass


# Frames.


async def test_commands_in_text_and_binary_frames() -> None:
    async with LocalVenue() as venue, client(venue) as raw:
        await raw.send("subscribe", channels=["orderbook_delta"], market_tickers=[MARKET])
        assert [f["type"] for f in await raw.frames(2)] == ["subscribed", "orderbook_snapshot"]
        await raw.send("list_subscriptions", binary=True)
        assert (await raw.frame())["msg"] == [{"channel": "orderbook_delta", "sid": 1}]


async def test_command_in_pieces() -> None:
    async with LocalVenue() as venue, client(venue) as raw:
        await raw.socket.send(['{"id":1,"cmd":"list_sub', 'scriptions"}'])
        assert await raw.frame() == {"id": 1, "type": "ok", "msg": []}


async def test_deltas_reach_whoever_subscribed_and_nobody_else() -> None:
    async with LocalVenue(markets=[MARKET, OTHER]) as venue, client(venue) as one, client(venue) as two:
        await one.subscribe(MARKET)
        await one.frames(2)
        await two.subscribe(OTHER, MARKET)
        await two.frames(3)
        venue.send_deltas([(0, 4400, -1000), (0, 4300, 1000)], venue_us=1_735_900_001_500_000)
        first, second = await one.frames(2)
        assert [first["seq"], second["seq"]] == [2, 3]
        assert [f["seq"] for f in await two.frames(2)] == [3, 4]
    assert first["msg"]["ts"] == second["msg"]["ts"] == "2025-01-03T10:26:41.5Z"
    assert {k: first["msg"][k] for k in ("price_dollars", "delta_fp", "side", "ts_ms")} == {
        "price_dollars": "0.4400",
        "delta_fp": "-10.00",
        "side": "yes",
        "ts_ms": 1_735_900_001_500,
    }


async def test_trades_and_tickers() -> None:
    async with LocalVenue() as venue, client(venue) as raw:
        await raw.subscribe(channels=("trade", "ticker"))
        await raw.frames(2)
        venue.send_trade(4600, 250, 0)
        venue.send_ticker()
        trade, ticker = await raw.frames(2)
    assert trade["seq"] == 1
    assert (trade["msg"]["yes_price_dollars"], trade["msg"]["count_fp"]) == ("0.4600", "2.50")
    assert (trade["msg"]["taker_outcome_side"], trade["msg"]["taker_book_side"]) == ("yes", "bid")
    assert "seq" not in ticker
    assert ticker["msg"]["volume_fp"] == "5.00"  # both sides count


async def test_empty_snapshot_has_no_sides_or_empty_ones() -> None:
    for empty_side in ("omit", "list"):
        options = ExchangeOptions(style=Style(empty_side=empty_side))
        async with LocalVenue(options=options) as venue, client(venue) as raw:
            await raw.subscribe(MARKET)
            await raw.frames(2)
            venue.send_snapshot([], [])
            frame = await raw.frame()
        assert frame["seq"] == 2
        assert frame["msg"].get("yes_dollars_fp") == (None if empty_side == "omit" else [])
        assert ("no_dollars_fp" in frame["msg"]) == (empty_side == "list")


async def test_legacy_fields_stand_beside_the_strings() -> None:
    options = ExchangeOptions(style=Style(legacy=True))
    async with LocalVenue(options=options) as venue, client(venue) as raw:
        await raw.subscribe(MARKET)
        _, snapshot = await raw.frames(2)
        venue.send_deltas([(1, 5400, -300)])
        delta = await raw.frame()
    assert snapshot["msg"]["yes"][-1] == [44, 100]
    assert (delta["msg"]["price"], delta["msg"]["delta"]) == (54, -3)


async def test_pings_say_heartbeat_and_missing_pongs_end_the_connection() -> None:
    clock = ManualClock(wall_ns=time.time_ns())
    async with LocalVenue(options=ExchangeOptions(clock=clock)) as venue:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(venue.ws.split(":")[2].split("/")[0]))
        headers = "".join(f"{k}: {v}\r\n" for k, v in signed(venue).items())
        writer.write(
            b"GET /trade-api/ws/v2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + headers.encode() + b"\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        await venue.accepted(1)
        for _ in range(2):  # a client that never answers
            await _until_sleeping(clock)
            clock.advance(10)
            assert await reader.readexactly(11) == b"\x89\x09heartbeat"
        await _until_sleeping(clock)
        clock.advance(10)
        assert (await reader.readexactly(4))[:4] == b"\x88\x18\x03\xf3"  # close 1011
        writer.close()


async def _until_sleeping(clock: ManualClock) -> None:
    while not clock._sleepers:  # noqa: ASYNC110 - a clock has no event for it
        await asyncio.sleep(0)


async def test_reader_that_falls_behind_loses_its_subscription() -> None:
    options = ExchangeOptions(overflow_bytes=1000)
    async with LocalVenue(options=options) as venue, client(venue) as raw:
        await raw.subscribe(MARKET)
        await raw.frames(2)
        await venue.subscribed()
        transport_full = 40_000  # more than the kernel takes while nobody reads
        venue.send_deltas([(0, 100, 100)] * transport_full)
        while (frame := await raw.frame())["type"] == "orderbook_delta":
            pass
    assert (frame["sid"], frame["msg"]["code"]) == (1, 25)


async def test_nothing_more_is_written_to_a_client_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    async with LocalVenue() as venue, client(venue) as raw:
        await raw.subscribe(MARKET)
        await raw.frames(2)
        raw.socket.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        venue.send_each([(Side.YES, 4400, 100)] * 20)  # the loop has had no chance yet to notice
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_stopping_closes_sockets_cleanly() -> None:
    async with LocalVenue() as venue, client(venue) as raw:
        await raw.subscribe(MARKET)
        await raw.frames(2)
        await venue.exchange.stop()
        with pytest.raises(ConnectionClosed) as closed:
            await raw.frame()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


async def test_truth_log_holds_every_frame_of_every_socket(tmp_path: Path) -> None:
    options = ExchangeOptions(truth=tmp_path / "truth")
    got: dict[int, list[bytes]] = {1: [], 2: []}
    async with LocalVenue(options=options) as venue:
        for number in (1, 2):
            async with client(venue) as raw:
                await raw.subscribe(MARKET)
                for _ in range(2):
                    got[number].append(str(await raw.raw()).encode())
                venue.send_each([(0, 4400, 100)] * 5)
                for _ in range(5):
                    got[number].append(str(await raw.raw()).encode())
    records = list(JournalReader(tmp_path / "truth").records())
    for number in (1, 2):
        frames = [r.payload for r in records if r.kind == RecordKind.FRAME and r.connection == number]
        assert frames == got[number]
    kinds = [r.kind for r in records if r.connection == 1]
    assert (kinds[0], kinds[1], kinds[-1]) == (RecordKind.CONNECTED, RecordKind.COMMAND, RecordKind.DISCONNECTED)


# REST.


async def test_date_is_the_exchanges_own_clock() -> None:
    options = ExchangeOptions(clock=ManualClock(wall_ns=1_795_361_565 * 10**9))
    async with LocalVenue(options=options) as venue:
        response = await get(venue, "/exchange/status")
    assert response.headers["date"] == "Sun, 22 Nov 2026 15:32:45 GMT"
    assert response.json()["exchange_index_statuses"][0]["exchange_index"] == 0


async def test_the_documented_event_is_listed() -> None:
    async with LocalVenue(synthetic=SyntheticOptions(markets=20, rate=1)) as venue:
        assert (await get(venue, "/markets/INXD-25JAN03")).status_code == 404
        event = (await get(venue, "/events/INXD-25JAN03", with_nested_markets="true")).json()
        tickers = [market["ticker"] for market in event["event"]["markets"]]
        assert "INXD-25JAN03-B5862" in tickers
        assert any(ticker.startswith("INXD-25JAN03-T") for ticker in tickers)
        assert {market["status"] for market in event["event"]["markets"]} == {"active"}
        assert (await get(venue, "/series/INXD")).json()["series"]["fee_type"] == "quadratic"
        old = (await get(venue, "/historical/markets", event_ticker="INXD-24FEB16")).json()["markets"]
        assert [(market["status"], market["result"]) for market in old] == [("finalized", "yes")]
        assert (await get(venue, "/events/INXD-24FEB16", with_nested_markets="true")).json()["event"]["markets"] == []


async def test_pages_cover_everything_once() -> None:
    async with LocalVenue(synthetic=SyntheticOptions(markets=20, rate=1)) as venue:
        seen: list[str] = []
        cursor = ""
        while True:
            page = (await get(venue, "/markets", limit=7, cursor=cursor)).json()
            seen += [market["ticker"] for market in page["markets"]]
            cursor = page["cursor"]
            if not cursor:
                break
        assert sorted(seen) == sorted(venue.exchange.venue.markets.keys() - {"INXD-24FEB16-T4125"})


async def test_pages_of_open_markets_miss_none_when_one_closes() -> None:
    markets = [f"KXTEST-26-{number}" for number in range(4)]
    async with LocalVenue(markets=markets) as venue:
        first = (await get(venue, "/markets", status="open", limit=2)).json()
        venue.exchange.control.deactivate(markets[1])
        rest = (await get(venue, "/markets", status="open", limit=2, cursor=first["cursor"])).json()
    assert [market["ticker"] for market in first["markets"] + rest["markets"]] == markets


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({"event_ticker": "INXD-25JAN03"}, 7),
        ({"series_ticker": "INXD"}, 7),
        ({"tickers": "INXD-25JAN03-B5862,INXD-25JAN03-B5887,NOPE"}, 2),
        ({"status": "open"}, 9),
        ({"status": "settled"}, 0),
        ({"mve_filter": "only"}, 0),
        ({"mve_filter": "exclude"}, 9),
        ({"min_close_ts": 4_000_000_000}, 0),
    ],
)
async def test_market_filters(params: dict[str, Any], count: int) -> None:
    async with LocalVenue(synthetic=SyntheticOptions(markets=9, rate=1)) as venue:
        assert len((await get(venue, "/markets", **params)).json()["markets"]) == count


async def test_error_shapes() -> None:
    async with LocalVenue() as venue:
        over = await get(venue, "/markets", limit=1001)
        wrong = await get(venue, "/markets", status="sleeping")
        missing = await get(venue, "/markets/NOPE")
    assert (over.status_code, set(over.json())) == (400, {"msg"})
    assert (wrong.status_code, set(wrong.json())) == (400, {"code", "message", "details"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


async def test_books_over_rest_are_the_books_of_the_feed() -> None:
    async with LocalVenue(markets=[MARKET, OTHER]) as venue:
        venue.send_deltas([(0, 4450, 50)])
        book = (await get(venue, f"/markets/{MARKET}/orderbook", depth=1)).json()["orderbook_fp"]
        assert book == {"yes_dollars": [["0.4450", "0.50"]], "no_dollars": [["0.5400", "100.00"]]}
        venue.send_snapshot([], [])
        books = (await get(venue, "/markets/orderbooks", tickers=[MARKET, OTHER])).json()["orderbooks"]
        assert books[0] == {"ticker": MARKET, "orderbook_fp": {"yes_dollars": [], "no_dollars": []}}
        assert len(books[1]["orderbook_fp"]["yes_dollars"]) == 5
        market = (await get(venue, f"/markets/{MARKET}")).json()["market"]
    assert (market["yes_bid_dollars"], market["yes_ask_dollars"]) == ("0.0000", "1.0000")
    assert market["price_ranges"] == [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]


async def test_trades_and_candles_over_rest() -> None:
    async with LocalVenue() as venue:
        for price in (4600, 4500):
            venue.send_trade(price, 100, 0)
        trades = (await get(venue, "/markets/trades", ticker=MARKET)).json()["trades"]
        assert [trade["yes_price_dollars"] for trade in trades] == ["0.4500", "0.4600"]
        path = f"/series/INXD/markets/{MARKET}/candlesticks"
        minute = (await get(venue, path, start_ts=0, end_ts=4_000_000_000, period_interval=1)).json()
        day = (await get(venue, path, start_ts=0, end_ts=4_000_000_000, period_interval=1440)).json()
    (candle,) = minute["candlesticks"]
    assert candle["price"]["open_dollars"] == "0.4600"
    assert candle["price"]["close_dollars"] == "0.4500"
    assert candle["volume_fp"] == day["candlesticks"][0]["volume_fp"] == "4.00"
    assert day["candlesticks"][0]["end_period_ts"] % 86_400 == 0
