"""A recorded session comes back over a socket as it came in."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from kflow.clock import ManualClock, SystemClock
from kflow.errors import DataError
from kflow.exchange.recorded import RecordedOptions, RecordedSource
from kflow.exchange.server import ExchangeOptions
from kflow.kalshi.auth import ApiKey
from kflow.kalshi.protocol import FeedProtocol
from kflow.replay.serve import recorded_source, write_frames
from kflow.replay.verify import verify
from kflow.session.chunks import MarketFacts
from kflow.session.digest import BookDigest
from kflow.store import sessions
from kflow.store.postgres import Connection
from kflow.testing.client import RawClient, client
from kflow.testing.frames import MARKET, START_US, Frames
from kflow.testing.postgres import Database
from kflow.testing.trader import Trader, ticket
from kflow.testing.venue import LocalVenue
from kflow.units import Size, format_size, parse_size

from .conftest import MARKETS, Flow, Script, Stored

Store = Callable[..., Stored]


def recording(conn: Connection, stored: Stored, folder: Path) -> tuple[Path, tuple[int, int]]:
    [session] = sessions.read_sessions(conn, [stored.id])
    path = folder / "frames.jsonl.gz"
    return path, write_frames(session, path)


def test_frames_are_written_byte_for_byte(conn: Connection, store: Store, tmp_path: Path) -> None:
    sent = [Flow(1).take(60), Flow(2).take(30)]
    broken = [b"not json", b'{"type":"trade"}\n{}', b'{"a":"\xff"}']
    stored = store(Script([[*sent[0], *broken], sent[1]]))
    path, counts = recording(conn, stored, tmp_path)
    assert counts == (len(sent[0]) + len(sent[1]), 3)
    with gzip.open(path, "rb") as file:
        lines = file.read().splitlines()
    assert [line.split(b'"frame":', 1)[1][:-1] for line in lines] == [*sent[0], *sent[1]]
    assert [json.loads(line)["conn"] for line in lines] == [1] * len(sent[0]) + [2] * len(sent[1])
    stamps = [json.loads(line)["recv_ns"] for line in lines]
    assert stamps == sorted(stamps)


def test_a_session_without_frames_cannot_be_served(conn: Connection, store: Store, tmp_path: Path) -> None:
    stored = store(Script([[]]))
    with pytest.raises(DataError, match="holds no frames"):
        recording(conn, stored, tmp_path)


async def receive(raw: RawClient, count: int) -> list[bytes]:
    await raw.subscribe(*MARKETS, channels=("orderbook_delta", "trade", "ticker"), use_yes_price=False)
    frames: list[bytes] = []
    while len(frames) < count:
        try:
            frame = await raw.raw()
        except ConnectionClosed:
            break
        frames.append(frame.encode() if isinstance(frame, str) else frame)
    return frames


async def test_a_client_sees_the_books_that_were_recorded(conn: Connection, store: Store, tmp_path: Path) -> None:
    """Over as many connections as it took; acknowledgements are those of the client's own commands."""
    stored = store(Script([Flow(1).take(200), Flow(2).take(100)]))
    path, _ = recording(conn, stored, tmp_path)
    wanted = verify(conn, stored.id)
    digest = BookDigest()
    async with LocalVenue(source=RecordedSource(RecordedOptions(path=path, speed=None, grace_s=0.02))) as venue:
        for number, count in enumerate((205, 105), 1):
            async with client(venue) as raw:
                protocol = FeedProtocol(passive=True)
                for frame in await receive(raw, count):
                    digest.add(number, protocol.receive(frame))
                assert protocol.gaps == []
    found: dict[str, Any] = {"deltas": 0, "snapshots": 0}
    assert digest.hexdigest() == wanted.digest_journal
    found |= {"deltas": digest.deltas, "snapshots": digest.snapshots}
    assert found == {kind: wanted.journal[kind] for kind in ("deltas", "snapshots")}


# Orders against what was recorded.


def sold(frames: Frames, price: int, size: int) -> bytes:
    """Somebody sold YES: the trade alone."""
    frames.us += 1_000
    return frames.trade(price, size).replace(b'"taker_outcome_side":"yes"', b'"taker_outcome_side":"no"')


class Playback:
    """A session that is served a stretch at a time: one for each advance of a second."""

    def __init__(self, venue: LocalVenue, trader: Trader, public: RawClient, clock: ManualClock) -> None:
        self.venue, self.trader, self.public, self._clock = venue, trader, public, clock

    async def play(self, count: int) -> None:
        """The next stretch, of so many frames."""
        self._clock.advance(1.001)
        await self.public.frames(count)
        self._clock.advance(0.05)  # the venue looks at its own time

    def ticket(self, side: str, price: str, count: str, **more: Any) -> dict[str, Any]:
        return ticket(side, price, count, ticker=MARKET, **more)

    async def order(self, side: str, price: str, count: str, **more: Any) -> dict[str, Any]:
        response = await self.trader.send("POST", "/portfolio/events/orders", self.ticket(side, price, count, **more))
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def ahead(self, order: dict[str, Any]) -> str:
        answer = await self.trader.get(f"/portfolio/orders/{order['order_id']}/queue_position")
        return str(answer["queue_position_fp"])


@asynccontextmanager
async def playback(
    conn: Connection,
    store: Store,
    tmp_path: Path,
    stretches: list[list[bytes]],
    facts: Sequence[MarketFacts] = (),
) -> AsyncIterator[Playback]:
    """Serve a session of these stretches; one client has subscribed, and the first stretch is out."""
    flat = [frame for stretch in stretches for frame in stretch]
    lengths = [len(stretch) for stretch in stretches]
    stored = store(Script([flat], chunk=lambda turn: lengths[turn], facts=facts))
    path, _ = recording(conn, stored, tmp_path)
    [session] = sessions.read_sessions(conn, [stored.id])
    clock = ManualClock(wall_ns=time.time_ns())
    source = recorded_source(path, 0.001, session)
    async with (
        LocalVenue(source=source, options=ExchangeOptions(clock=clock)) as venue,
        httpx.AsyncClient(timeout=10) as http,
        client(venue) as public,
    ):
        await public.subscribe(MARKET, channels=tuple(source.sids))
        await public.frames(len(stretches[0]))
        yield Playback(venue, Trader(venue.rest, venue.key, http, clock), public, clock)


def opening(frames: Frames, channels: tuple[str, ...]) -> list[bytes]:
    """A market at 44 to 46 cents with 100 contracts a side."""
    acks = [frames.subscribed(sid, channel, sid) for sid, channel in enumerate(channels, 1)]
    return [*acks, frames.snapshot(yes=[(4300, 50_00), (4400, 100_00)], no=[(5300, 80_00), (5400, 100_00)])]


async def test_orders_are_filled_by_what_the_recording_shows(conn: Connection, store: Store, tmp_path: Path) -> None:
    frames = Frames()
    stretches = [
        opening(frames, ("orderbook_delta", "trade")),
        [sold(frames, 4400, 60_00), frames.delta(4400, -60_00, same=True)],
        [frames.delta(4400, -10_00), sold(frames, 4400, 34_00)],
        [frames.delta(5600, 20_00, side="no")],
        [frames.delta(5600, -20_00, side="no")],
    ]
    async with playback(conn, store, tmp_path, stretches) as play, client(play.venue) as private:
        await private.subscribe(channels=("fill", "user_orders"))
        await private.frames(2)

        bought = await play.order("bid", "0.4700", "130", time_in_force="immediate_or_cancel")
        assert (bought["fill_count"], bought["remaining_count"]) == ("130.00", "0.00")
        told = [frame for frame in await private.frames(3) if frame["type"] == "fill"]
        assert [(f["msg"]["yes_price_dollars"], f["msg"]["count_fp"]) for f in told] == [
            ("0.4600", "100.00"),
            ("0.4700", "30.00"),
        ]

        waiting = await play.order("bid", "0.4400", "10")
        assert (waiting["fill_count"], waiting["remaining_count"]) == ("0.00", "10.00")
        assert (await private.frame())["msg"]["status"] == "resting"
        assert await play.ahead(waiting) == "100.00"
        await play.play(2)
        assert await play.ahead(waiting) == "40.00"
        await play.play(2)  # canceled 10 of those ahead, then 34 traded: 30 of them ahead, 4 ours
        fill, order = await private.frames(2)
        assert (fill["msg"]["count_fp"], fill["msg"]["is_taker"]) == ("4.00", False)
        assert (order["msg"]["remaining_count_fp"], order["msg"]["last_update_reason"]) == ("6.00", "Trade")
        # The recording's time, not ours.
        assert fill["msg"]["ts_ms"] == stamped(stretches[2][1])
        await play.play(1)  # somebody sells 20 at 44 cents: 6 of them to us
        fill, order = await private.frames(2)
        assert (fill["msg"]["count_fp"], fill["msg"]["yes_price_dollars"]) == ("6.00", "0.4400")
        assert order["msg"]["status"] == "executed"
        await play.play(1)

        fills = (await play.trader.get("/portfolio/fills"))["fills"]
        assert [(f["count_fp"], f["yes_price_dollars"], f["is_taker"]) for f in reversed(fills)] == [
            ("100.00", "0.4600", True),
            ("30.00", "0.4700", True),
            ("4.00", "0.4400", False),
            ("6.00", "0.4400", False),
        ]
        [position] = (await play.trader.get("/portfolio/positions"))["market_positions"]
        assert position["position_fp"] == "140.00"
        # The public book and its trades are the recording's alone.
        book = (await play.trader.public(f"/markets/{MARKET}/orderbook")).json()["orderbook_fp"]
        assert book == {
            "yes_dollars": [["0.4300", "50.00"], ["0.4400", "30.00"]],
            "no_dollars": [["0.5300", "80.00"], ["0.5400", "100.00"]],
        }
        assert play.venue.exchange.venue.markets[MARKET].trade_count == 2


def stamped(frame: bytes) -> int:
    stamp = json.loads(frame)["msg"]["ts_ms"]
    assert stamp > START_US // 1000
    return int(stamp)


async def test_a_recording_without_trades_fills_by_crossing_alone(
    conn: Connection, store: Store, tmp_path: Path
) -> None:
    frames = Frames()
    stretches = [
        opening(frames, ("orderbook_delta",)),
        [frames.delta(4400, -70_00)],
        [frames.delta(5600, 3_00, side="no")],
        [frames.delta(4300, -50_00)],
    ]
    async with playback(conn, store, tmp_path, stretches) as play:
        waiting = await play.order("bid", "0.4400", "10")
        await play.play(1)
        assert await play.ahead(waiting) == "30.00"
        await play.play(1)
        order = (await play.trader.get(f"/portfolio/orders/{waiting['order_id']}"))["order"]
        assert (order["fill_count_fp"], order["remaining_count_fp"]) == ("3.00", "7.00")
        canceled = await play.trader.send(
            "DELETE", f"/portfolio/events/orders/{waiting['order_id']}", market_ticker=MARKET
        )
        assert (canceled.status_code, canceled.json()["reduced_by"]) == (200, "7.00")
        await play.play(1)


FACTS = MarketFacts(
    ticker=MARKET,
    price_ranges=[{"start": "0.0000", "end": "1.0000", "step": "0.0010"}],
    event_ticker="KXT-26JAN01",
    series_ticker="KXT",
    fee_type="quadratic",
    fee_multiplier="0",
    open_time=datetime(2025, 12, 31, tzinfo=UTC),
    close_time=datetime(2026, 1, 1, 1, tzinfo=UTC),
    info={"title": "Rain in January?", "price_level_structure": "deci_cent"},
)


def lifecycle(frames: Frames, event_type: str, **news: Any) -> bytes:
    return frames.sequenced("market_lifecycle_v2", {"market_ticker": MARKET, "event_type": event_type, **news}, sid=2)


async def test_what_is_known_of_a_market_holds_for_its_orders(conn: Connection, store: Store, tmp_path: Path) -> None:
    """Its grid, though the frames show whole cents only; its fees; its close, by the recording's time."""
    frames = Frames()
    stretches = [opening(frames, ("orderbook_delta",)), [frames.delta(4400, 100)]]
    frames.us += 3_600_000_000
    stretches.append([frames.delta(4400, 100)])
    async with playback(conn, store, tmp_path, stretches, [FACTS]) as play:
        market = (await play.trader.public(f"/markets/{MARKET}")).json()["market"]
        assert (market["title"], market["close_time"], market["status"]) == (
            "Rain in January?",
            "2026-01-01T01:00:00Z",
            "active",
        )
        waiting = await play.order("bid", "0.4450", "10", post_only=True)
        bought = await play.order("bid", "0.4600", "10", time_in_force="immediate_or_cancel")
        assert (bought["fill_count"], bought["average_fee_paid"]) == ("10.00", "0.000000")
        await play.play(1)
        await play.play(1)
        closed = await play.trader.send("POST", "/portfolio/events/orders", play.ticket("bid", "0.4400", "1"))
        assert closed.json()["error"]["code"] == "market_inactive"
        order = (await play.trader.get(f"/portfolio/orders/{waiting['order_id']}"))["order"]
        assert order["status"] == "canceled"


@pytest.mark.parametrize(("result", "value", "paid"), [("yes", "1.0000", 10_00), ("no", "0.0000", 0)])
async def test_a_recorded_settlement_pays(
    conn: Connection, store: Store, tmp_path: Path, result: str, value: str, paid: int
) -> None:
    frames = Frames()
    ticks = [{"start": "0.0000", "end": "1.0000", "step": "0.0050"}]
    stretches = [
        opening(frames, ("orderbook_delta", "market_lifecycle_v2")),
        [lifecycle(frames, "price_level_structure_updated", price_level_structure="", price_ranges=ticks)],
        [frames.snapshot()],
        [lifecycle(frames, "determined", result=result, settlement_value=value, determination_ts=1_767_229_300)],
        [lifecycle(frames, "settled", settled_ts=1_767_229_400)],
    ]
    async with playback(conn, store, tmp_path, stretches) as play:
        await play.order("bid", "0.4600", "10")
        await play.play(1)
        waiting = await play.order("bid", "0.4450", "10")
        for _ in range(2):
            await play.play(1)
        order = (await play.trader.get(f"/portfolio/orders/{waiting['order_id']}"))["order"]
        assert order["status"] == "canceled"
        before = play.venue.exchange.desk.account(play.venue.exchange.holders[0].user_id).cash[0]
        await play.play(1)
        [settlement] = (await play.trader.get("/portfolio/settlements"))["settlements"]
        assert (settlement["market_result"], settlement["revenue"]) == (result, paid)
        after = play.venue.exchange.desk.account(play.venue.exchange.holders[0].user_id).cash[0]
        assert after - before == paid * 10_000
        assert (await play.trader.get("/portfolio/positions"))["market_positions"] == []


async def test_the_same_session_and_the_same_orders_fill_the_same(
    conn: Connection, store: Store, tmp_path: Path
) -> None:
    """Whatever the wall clock says, and however a recording is cut into chunks."""
    path, _ = recording(conn, store(Script([Flow(4).take(400)])), tmp_path)
    found = []
    for speed in (None, 50.0):
        source = RecordedSource(RecordedOptions(path=path, speed=speed, grace_s=0.02))
        async with LocalVenue(source=source) as venue, httpx.AsyncClient(timeout=10) as http:
            desk = venue.exchange.desk
            account = desk.account(next(iter(desk.members)))
            # Before the first frame: the whole session goes by them.
            for market, side, price in zip(MARKETS, ("bid", "ask"), ("0.6000", "0.4000"), strict=True):
                await trade(venue, http, ticket(side, price, "800", ticker=market))
            async with client(venue) as raw:
                assert len(await receive(raw, 405)) == 405
            found.append(
                [
                    (fill["market_ticker"], fill["yes_price_dollars"], fill["count_fp"], fill["ts"])
                    for fill in desk.reads(account).fills
                ]
            )
    assert found[0] == found[1]
    assert len(found[0]) > 20


@contextmanager
def served(session: int, database: Database, folder: Path) -> Iterator[dict[str, Any]]:
    """The command in a process of its own; what it says when it is ready."""
    environment = {**os.environ, "DATABASE_URL": database.dsn, "KFLOW_DATA_DIR": str(folder)}
    command = [sys.executable, "-m", "kflow", "replay", "serve", "--session", str(session), "--speed", "max"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
        assert process.wait(20) == 0


async def test_the_command_takes_orders_while_it_plays(
    conn: Connection, store: Store, database: Database, tmp_path: Path
) -> None:
    stored = store(Script([Flow(4).take(400)]))
    with served(stored.id, database, tmp_path / "data") as ready:
        key = ApiKey.load(ready["key_id"], Path(ready["private_key_path"]))
        headers = key.headers("GET", ready["ws"], time.time_ns())
        async with (
            httpx.AsyncClient(timeout=10) as http,
            connect(ready["ws"], additional_headers=headers, compression=None) as socket,
        ):
            trader, raw = Trader(ready["rest"], key, http, SystemClock()), RawClient(socket)
            order = await trader.order("bid", "0.6000", "800", ticker=MARKETS[0])
            assert order["fill_count"] == "0.00"  # nothing is shown yet
            await raw.subscribe(channels=("fill",))
            await raw.subscribe(*MARKETS, channels=("orderbook_delta", "trade", "ticker"), use_yes_price=False)
            told: list[dict[str, Any]] = []
            public = 0
            while public < 406:  # another acknowledgement, and all that was recorded
                frame = await raw.frame()
                public += frame["type"] != "fill"
                told += [frame["msg"]] if frame["type"] == "fill" else []
            fills = (await trader.get("/portfolio/fills"))["fills"]
            assert [fill["trade_id"] for fill in told] == [fill["trade_id"] for fill in reversed(fills)][: len(told)]
            shown = (await trader.get(f"/portfolio/orders/{order['order_id']}"))["order"]
            assert shown["fill_count_fp"] == format_size(Size(sum(parse_size(fill["count_fp"]) for fill in fills)))
            assert len(fills) > 20


async def trade(venue: LocalVenue, http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    trader = Trader(venue.rest, venue.key, http, venue.exchange.hub.clock)
    response = await trader.send("POST", "/portfolio/events/orders", body)
    assert response.status_code == 201, response.text
