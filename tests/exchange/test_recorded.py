"""Recordings come back as they are: every frame, in order, with its own numbers."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from kflow.clock import ManualClock
from kflow.errors import ConfigError, DataError
from kflow.exchange.faults import Fault, Kind
from kflow.exchange.recorded import RecordedOptions, RecordedSource
from kflow.exchange.server import ExchangeOptions
from kflow.market.events import Side
from kflow.testing.client import RawClient, client
from kflow.testing.venue import LocalVenue

A, B = "KXTEST-26A-1", "KXTEST-26B-1"
Frames = list[dict[str, Any]]


def ack(channel: str, sid: int) -> dict[str, Any]:
    return {"id": 1, "type": "subscribed", "msg": {"channel": channel, "sid": sid}}


def snapshot(seq: int, market: str, *, empty: bool = False) -> dict[str, Any]:
    sides = {} if empty else {"yes_dollars_fp": [["0.4000", "10.00"]], "no_dollars_fp": [["0.0550", "5.50"]]}
    msg = {"market_ticker": market, "market_id": "m-" + market, **sides}
    return {"type": "orderbook_snapshot", "sid": 2, "seq": seq, "msg": msg}


def delta(seq: int, market: str, change: str = "1.00") -> dict[str, Any]:
    msg = {"market_ticker": market, "price_dollars": "0.4000", "delta_fp": change, "side": "yes",
           "ts": f"2026-05-11T05:31:13.{seq:06d}Z", "ts_ms": 1_778_477_473_000}  # fmt: skip
    return {"type": "orderbook_delta", "sid": 2, "seq": seq, "msg": msg}


def ticker(market: str) -> dict[str, Any]:
    return {"type": "ticker", "sid": 1, "msg": {"market_ticker": market, "volume_fp": "4.00"}}


def start(market: str) -> Frames:
    return [ack("ticker", 1), ack("orderbook_delta", 2), snapshot(1, market)]


def write(path: Path, frames: Frames, *, gap_ns: int = 1_000_000) -> Path:
    with gzip.open(path, "wt") as file:
        for number, frame in enumerate(frames):
            recv_ns = 1_778_477_473_000_000_000 + number * gap_ns
            file.write(json.dumps({"recv_ns": recv_ns, "conn": "same", "frame": frame}) + "\n")
    return path


def source(path: Path, speed: float | None = None) -> RecordedSource:
    return RecordedSource(RecordedOptions(path=path, speed=speed, grace_s=0.02))


async def listen(venue: LocalVenue, markets: Sequence[str], count: int) -> tuple[Frames, int]:
    """Frames until `count` have come, connecting anew as often as needed; and how many connections it took."""
    frames: Frames = []
    connections = 0
    codes: list[int | None] = []
    while len(frames) < count:
        connections += 1
        async with client(venue) as raw:
            await raw.subscribe(*markets, channels=("ticker", "orderbook_delta"), use_yes_price=False)
            try:
                while len(frames) < count:
                    frames.append(await raw.frame())
            except ConnectionClosed as closed:
                codes.append(closed.rcvd.code if closed.rcvd else None)
    assert set(codes) <= {1001}
    return frames, connections


async def test_two_parts_on_two_connections(tmp_path: Path) -> None:
    first = [*start(A), delta(2, A), ticker(A), snapshot(3, A, empty=True)]
    second = [*start(B), delta(2, B), delta(3, B)]
    path = write(tmp_path / "wire.jsonl.gz", first + second)
    async with LocalVenue(source=source(path)) as venue:
        frames, connections = await listen(venue, (A, B), len(first + second))
        await venue.exchange.finished.wait()
    assert (frames, connections) == (first + second, 2)


async def test_a_hole_in_the_recording_stays_a_hole(tmp_path: Path) -> None:
    recorded = [*start(A), delta(2, A), delta(5, A), delta(5, A), delta(6, A)]
    async with LocalVenue(source=source(write(tmp_path / "w.jsonl.gz", recorded))) as venue:
        frames, _ = await listen(venue, (A,), len(recorded))
    assert frames == recorded


async def test_frames_of_unknown_type_come_too(tmp_path: Path) -> None:
    recorded = [*start(A), {"type": "news", "sid": 2, "seq": 2, "msg": {"headline": 1}}, delta(3, A)]
    async with LocalVenue(source=source(write(tmp_path / "w.jsonl.gz", recorded))) as venue:
        frames, _ = await listen(venue, (A,), len(recorded))
    assert frames == recorded


async def test_commands_of_ones_own_are_counted_in(tmp_path: Path) -> None:
    recorded = [*start(A), delta(2, A), delta(3, A)]
    clock = ManualClock(wall_ns=time.time_ns())
    path = write(tmp_path / "w.jsonl.gz", recorded, gap_ns=10**9)
    options = ExchangeOptions(clock=clock)
    async with LocalVenue(source=source(path, 1.0), options=options) as venue, client(venue) as raw:
        await raw.subscribe(A, channels=("ticker", "orderbook_delta"))
        assert len(await raw.frames(3)) == 3
        await raw.send("update_subscription", sid=2, action="get_snapshot", market_tickers=[A])
        assert (await raw.frame())["seq"] == 2
        clock.advance(1)
        assert (await raw.frame())["seq"] == 3  # recorded as 2


async def test_nobody_listening_pauses_the_recording(tmp_path: Path) -> None:
    recorded = [*start(A), *[delta(seq, A) for seq in range(2, 1500)]]
    fault = Fault(kind=Kind.CUT, after_frames=700)
    async with LocalVenue(source=source(write(tmp_path / "w.jsonl.gz", recorded)), faults=[fault]) as venue:
        async with client(venue) as raw:
            await raw.subscribe(A, channels=("ticker", "orderbook_delta"))
            with pytest.raises(ConnectionClosed):
                await raw.frames(len(recorded))
        assert not venue.exchange.finished.is_set()
        async with client(venue) as raw:
            await raw.subscribe(A, channels=("orderbook_delta",))
            book = await _last_size(raw, venue)
        assert book == 1000 + 100 * 1498  # what came while it was cut is in the snapshot


async def _last_size(raw: RawClient, venue: LocalVenue) -> int:
    await raw.frame()
    size = 0
    first = await raw.frame()
    size = round(float(first["msg"]["yes_dollars_fp"][0][1]) * 100)
    while size < 1000 + 100 * 1498:
        frame = await raw.frame()
        size += round(float(frame["msg"]["delta_fp"]) * 100)
    await venue.exchange.finished.wait()
    return size


async def test_a_recording_that_does_not_wait_plays_to_nobody(tmp_path: Path) -> None:
    path = write(tmp_path / "w.jsonl.gz", [*start(A), *[delta(seq, A) for seq in range(2, 50)]])
    options = RecordedOptions(path=path, speed=None, waits=False)
    async with LocalVenue(source=RecordedSource(options)) as venue:
        await asyncio.wait_for(venue.exchange.finished.wait(), 10)
        assert venue.exchange.hub.accepted == 0
        assert venue.exchange.venue.markets[A].book.best(Side.YES) == (4000, 1000 + 48 * 100)


async def test_grid_is_inferred_and_markets_are_open(tmp_path: Path) -> None:
    async with LocalVenue(source=source(write(tmp_path / "w.jsonl.gz", [*start(A), delta(2, A)]))) as venue:
        state = venue.exchange.venue.markets[A]
        assert state.listing.structure == "tapered_deci_cent"
        assert (state.listing.event, state.listing.market_id) == ("KXTEST-26A", "m-" + A)
        assert venue.exchange.venue.status(state) == "active"
        await listen(venue, (A,), 4)
        assert venue.exchange.venue.status(state) == "active"


async def test_use_yes_price_rewrites_what_was_recorded(tmp_path: Path) -> None:
    async with LocalVenue(source=source(write(tmp_path / "w.jsonl.gz", start(A)))) as venue, client(venue) as raw:
        await raw.subscribe(A, use_yes_price=True)
        frames = await raw.frames(2)
    assert frames[1]["msg"]["no_dollars_fp"] == [["0.9450", "5.50"]]


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the recording"):
        source(tmp_path / "none.jsonl.gz")
    plain = tmp_path / "x.jsonl"
    plain.write_text("{}\n")
    with pytest.raises(DataError, match="line 1"):
        source(plain)
    plain.write_text("")
    with pytest.raises(DataError, match="holds no frames"):
        source(plain)
    with pytest.raises(DataError, match="does not begin with"):
        source(write(tmp_path / "late.jsonl.gz", [delta(2, A)]))
    whole = write(tmp_path / "torn.jsonl.gz", [*start(A)] * 50).read_bytes()
    (tmp_path / "torn.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="cannot read the recording"):
        source(tmp_path / "torn.jsonl.gz")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "connections"), [("wire_1s", 1), ("wire_29s", 1), ("wire_15min_close_and_rotation", 2)]
)
async def test_real_files_come_back_whole(realdata: Path, name: str, connections: int) -> None:
    path = realdata / "kalshi-btc15m-2026-05" / f"{name}.jsonl.gz"
    with gzip.open(path) as file:
        recorded = [json.loads(line)["frame"] for line in file]
    async with LocalVenue(source=source(path)) as venue:
        markets = tuple(venue.exchange.venue.markets)
        frames, taken = await listen(venue, markets, len(recorded))
        await venue.exchange.finished.wait()
        assert venue.exchange.venue.contradictions == 0
    assert taken == connections
    assert frames == recorded
