"""Each fault, as a raw client sees it; all of them counted."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from kflow.clock import ManualClock
from kflow.errors import ConfigError
from kflow.exchange.faults import Fault, Kind, load_script
from kflow.exchange.server import ExchangeOptions
from kflow.store.journal import RecordKind
from kflow.store.journal_reader import JournalReader
from kflow.testing.client import RawClient, client, signed
from kflow.testing.venue import MARKET, LocalVenue

ADD = (0, 4400, 100)


def injected(venue: LocalVenue) -> dict[str, int]:
    return dict(venue.injected)


async def started(raw: RawClient) -> None:
    """Subscribe and take the ack and the snapshot: the next seq is 2."""
    await raw.subscribe(MARKET)
    assert [f["type"] for f in await raw.frames(2)] == ["subscribed", "orderbook_snapshot"]


async def seqs(raw: RawClient, count: int) -> list[int | None]:
    return [frame.get("seq") for frame in await raw.frames(count)]


async def test_drop_leaves_a_hole_and_the_truth_knows_it(tmp_path: Path) -> None:
    options = ExchangeOptions(truth=tmp_path / "truth")
    fault = Fault(kind=Kind.DROP, after_frames=3, count=2)
    async with LocalVenue(options=options, faults=[fault]) as venue, client(venue) as raw:
        await started(raw)
        venue.send_each([ADD] * 8)
        assert await seqs(raw, 6) == [2, 3, 4, 7, 8, 9]
        assert injected(venue) == {"drop": 1}
        assert venue.exchange.injector.frames_dropped == 2
    faults = [
        msgspec.json.decode(record.payload)
        for record in JournalReader(tmp_path / "truth").records()
        if record.kind == RecordKind.FAULT
    ]
    assert [(fault["fault"], fault["number"], fault["seq"]) for fault in faults] == [("drop", 1, 5), ("drop", 1, 6)]
    assert json.loads(faults[0]["frame"])["seq"] == 5


async def test_every_and_times() -> None:
    fault = Fault(kind=Kind.DROP, after_frames=1, every=3, times=2)
    async with LocalVenue(faults=[fault]) as venue, client(venue) as raw:
        await started(raw)
        venue.send_each([ADD] * 9)
        assert await seqs(raw, 7) == [2, 4, 5, 7, 8, 9, 10]
        assert injected(venue) == {"drop": 2}


async def test_faults_wait_for_their_time() -> None:
    clock = ManualClock(wall_ns=time.time_ns())
    fault = Fault(kind=Kind.DROP, at_s=60)
    async with LocalVenue(options=ExchangeOptions(clock=clock), faults=[fault]) as venue, client(venue) as raw:
        await started(raw)
        venue.send_deltas([ADD])
        clock.advance(61)
        venue.send_each([ADD] * 2)
        assert await seqs(raw, 2) == [2, 4]


async def test_duplicate() -> None:
    async with LocalVenue(faults=[Fault(kind=Kind.DUPLICATE, after_frames=1)]) as venue, client(venue) as raw:
        await started(raw)
        venue.send_each([ADD] * 3)
        assert await seqs(raw, 4) == [2, 3, 3, 4]


@pytest.mark.parametrize(("window", "order"), [(2, [2, 4, 3, 5, 6]), (4, [2, 6, 5, 4, 3])])
async def test_reorder(window: int, order: list[int]) -> None:
    fault = Fault(kind=Kind.REORDER, after_frames=1, count=window)
    async with LocalVenue(faults=[fault]) as venue, client(venue) as raw:
        await started(raw)
        venue.send_each([ADD] * 5)
        assert await seqs(raw, 5) == order
        assert injected(venue) == {"reorder": 1}


async def test_cut_is_a_reset() -> None:
    async with LocalVenue(faults=[Fault(kind=Kind.CUT, after_frames=1)]) as venue, client(venue) as raw:
        await started(raw)
        venue.send_each([ADD] * 2)
        with pytest.raises(ConnectionClosed) as closed:
            await raw.frames(3)
        assert closed.value.rcvd is None  # no close frame came
        async with client(venue) as again:  # and it happens once
            await started(again)
            venue.send_deltas([ADD])
            assert await seqs(again, 1) == [2]


async def test_clean_close() -> None:
    async with LocalVenue(faults=[Fault(kind=Kind.CLOSE, code=1011)]) as venue, client(venue) as raw:
        await started(raw)
        venue.send_deltas([ADD])
        with pytest.raises(ConnectionClosed) as closed:
            await raw.frame()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011


async def test_black_hole_neither_reads_nor_writes() -> None:
    clock = ManualClock(wall_ns=time.time_ns())
    fault = Fault(kind=Kind.BLACK_HOLE, seconds=30)
    async with LocalVenue(options=ExchangeOptions(clock=clock), faults=[fault]) as venue, client(venue) as raw:
        await started(raw)
        venue.send_each([ADD] * 2)
        pong = await raw.socket.ping()
        done, _ = await asyncio.wait([pong], timeout=0.05)
        assert not done
        clock.advance(31)
        with pytest.raises(ConnectionClosed):
            await raw.frame()


async def test_silent_feed_answers_pings_only() -> None:
    clock = ManualClock(wall_ns=time.time_ns())
    fault = Fault(kind=Kind.SILENT, seconds=30)
    async with LocalVenue(options=ExchangeOptions(clock=clock), faults=[fault]) as venue, client(venue) as raw:
        await started(raw)
        venue.send_each([ADD] * 3)
        await raw.send("list_subscriptions")
        await asyncio.wait_for(await raw.socket.ping(), 5)
        clock.advance(31)
        venue.send_deltas([ADD])
        assert await seqs(raw, 1) == [5]  # 2 to 4 were withheld


@pytest.mark.parametrize("variant", ["bad_json", "truncated", "invalid_utf8", "deep_nesting"])
async def test_malformed_frames_take_their_seq(variant: str) -> None:
    fault = Fault(kind=Kind.MALFORMED, after_frames=1, variant=variant)
    async with LocalVenue(faults=[fault]) as venue, client(venue) as raw:
        await started(raw)
        venue.send_each([ADD] * 3)
        assert await seqs(raw, 1) == [2]
        damaged = await raw.socket.recv(decode=False)
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
            msgspec.json.decode(damaged)
        assert await seqs(raw, 1) == [4]


async def test_wrong_types_and_other_json() -> None:
    faults = [
        Fault(kind=Kind.MALFORMED, variant="wrong_types"),
        Fault(kind=Kind.MALFORMED, after_frames=1, variant="not_an_object"),
    ]
    async with LocalVenue(faults=faults) as venue, client(venue) as raw:
        await started(raw)
        venue.send_each([ADD] * 3)
        wrong = await raw.frame()
        assert (wrong["seq"], wrong["msg"]["market_ticker"]) == (2, 17)
        assert json.loads(await raw.raw()) == ["orderbook_delta", 1, 2]
        assert await seqs(raw, 1) == [4]
        assert injected(venue) == {"malformed": 2}


async def test_oversized_frame() -> None:
    fault = Fault(kind=Kind.OVERSIZED, size_mib=1.5)
    async with LocalVenue(faults=[fault]) as venue, client(venue, max_size=2**20) as raw:
        await started(raw)
        venue.send_deltas([ADD])
        with pytest.raises(ConnectionClosed) as closed:
            await raw.frame()
    assert closed.value.sent is not None
    assert closed.value.sent.code == 1009


async def test_unknown_type_takes_a_seq_and_loses_nothing() -> None:
    async with LocalVenue(faults=[Fault(kind=Kind.UNKNOWN_TYPE)]) as venue, client(venue) as raw:
        await started(raw)
        venue.send_deltas([ADD])
        strange, delta = await raw.frames(2)
    assert (strange["type"], strange["seq"]) == ("market_weather", 2)
    assert (delta["type"], delta["seq"]) == ("orderbook_delta", 3)


async def test_deltas_that_cannot_be() -> None:
    faults = [Fault(kind=kind, after_frames=i) for i, kind in enumerate((Kind.NEGATIVE, Kind.CROSSED, Kind.OFF_GRID))]
    async with LocalVenue(faults=faults) as venue, client(venue) as raw:
        await started(raw)
        venue.send_each([ADD] * 3)
        frames = await raw.frames(6)
        assert [f["seq"] for f in frames] == list(range(2, 8))
        negative, crossed, off_grid = frames[0]["msg"], frames[2]["msg"], frames[4]["msg"]
        assert float(negative["delta_fp"]) < -1e6
        assert (crossed["side"], crossed["price_dollars"]) == ("yes", "0.9900")
        assert float(off_grid["price_dollars"]) * 100 % 1 != 0
        assert frames[1]["msg"]["delta_fp"] == "1.00"  # what follows is real
        assert injected(venue) == {"negative": 1, "crossed": 1, "off_grid": 1}
        await raw.send("update_subscription", sid=1, action="get_snapshot", market_tickers=[MARKET])
        snapshot = await raw.frame()
        assert snapshot["msg"]["yes_dollars_fp"][-1] == ["0.4400", "103.00"]  # the venue's book never believed them


async def test_delta_before_snapshot() -> None:
    async with LocalVenue(faults=[Fault(kind=Kind.DELTA_BEFORE_SNAPSHOT)]) as venue, client(venue) as raw:
        await raw.subscribe(MARKET)
        assert (await raw.frame())["type"] == "subscribed"
        await venue.subscribed()
        venue.send_deltas([ADD])
        frame = await raw.frame()
        assert (frame["type"], frame["seq"]) == ("orderbook_delta", 1)
        await raw.send("update_subscription", sid=1, action="get_snapshot", market_tickers=[MARKET])
        assert (await raw.frame())["type"] == "orderbook_snapshot"
        assert injected(venue) == {"delta_before_snapshot": 1}


@pytest.mark.parametrize("code", [25, 10])
async def test_terminal_errors(code: int) -> None:
    async with LocalVenue(faults=[Fault(kind=Kind.ERROR, code=code, after_frames=1)]) as venue, client(venue) as raw:
        await started(raw)
        venue.send_each([ADD] * 3)
        _, error = await raw.frames(2)
        assert (error["sid"], error["seq"], error["msg"]["code"]) == (1, 3, code)
        await raw.subscribe(MARKET)
        assert (await raw.frame())["msg"]["sid"] == 2


async def test_unanswered_command() -> None:
    async with LocalVenue(faults=[Fault(kind=Kind.UNANSWERED)]) as venue, client(venue) as raw:
        await raw.subscribe(MARKET)
        await raw.send("list_subscriptions")
        assert (await raw.frame())["msg"] == []  # the subscribe had no effect
        await raw.subscribe(MARKET)
        assert (await raw.frame())["type"] == "subscribed"
        assert injected(venue) == {"unanswered": 1}


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_refused_upgrade(status: int) -> None:
    fault = Fault(kind=Kind.REFUSE_UPGRADE, status=status)
    async with LocalVenue(faults=[fault]) as venue:
        with pytest.raises(InvalidStatus) as refused:
            async with client(venue):
                pass
        assert refused.value.response.status_code == status
        async with client(venue) as raw:
            await started(raw)


async def test_slow_upgrade() -> None:
    clock = ManualClock(wall_ns=time.time_ns())
    fault = Fault(kind=Kind.SLOW_UPGRADE, seconds=4)
    async with LocalVenue(options=ExchangeOptions(clock=clock), faults=[fault]) as venue:
        waiting = asyncio.ensure_future(connect(venue.ws, additional_headers=signed(venue)).__aenter__())
        while not venue.injected:  # noqa: ASYNC110 - the handshake has no event of its own
            await asyncio.sleep(0)
        assert not waiting.done()
        clock.advance(4)
        socket = await asyncio.wait_for(waiting, 5)
        await socket.close()


async def test_fault_of_another_connection_or_market_stays_away() -> None:
    faults = [Fault(kind=Kind.DROP, connection=2), Fault(kind=Kind.DROP, market="OTHER")]
    async with LocalVenue(faults=faults) as venue, client(venue) as raw:
        await started(raw)
        venue.send_deltas([ADD])
        assert await seqs(raw, 1) == [2]
        async with client(venue) as second:
            await started(second)
            venue.send_each([ADD] * 2)
            assert await seqs(second, 1) == [3]
            assert await seqs(raw, 2) == [3, 4]


async def test_armed_while_running() -> None:
    async with LocalVenue() as venue, client(venue) as raw:
        await started(raw)
        venue.inject(Fault(kind=Kind.DROP))
        venue.send_each([ADD] * 2)
        assert await seqs(raw, 1) == [3]


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "faults.toml"
    path.write_text(text, "utf-8")
    return path


def test_script(tmp_path: Path) -> None:
    path = script(tmp_path, '[[fault]]\nkind = "drop"\nafter_frames = 5\ncount = 2\n[[fault]]\nkind="error"\ncode=25\n')
    assert load_script(path) == (
        Fault(kind=Kind.DROP, after_frames=5, count=2),
        Fault(kind=Kind.ERROR, code=25),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[fault]", "is not a fault script"),
        ('[[fault]]\nkind = "vanish"', "is not a fault script"),
        ('[[fault]]\nkind = "drop"\ntypo = 1', "typo"),
        ('[[fault]]\nkind = "error"\ncode = 7', "code must be 10 or 25"),
        ('[[fault]]\nkind = "refuse_upgrade"\nstatus = 200', "status must be 401, 429 or 503"),
        ('[[fault]]\nkind = "malformed"\nvariant = "x"', "variant must be one of"),
    ],
)
def test_wrong_scripts_are_refused_with_a_reason(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_script(script(tmp_path, text))


def test_missing_script(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the fault script"):
        load_script(tmp_path / "none.toml")


def _kinds() -> list[Any]:
    return sorted(Kind)


@pytest.mark.parametrize("kind", _kinds())
def test_every_kind_can_be_scripted(tmp_path: Path, kind: Kind) -> None:
    code = "\ncode = 25" if kind is Kind.ERROR else ""
    (fault,) = load_script(script(tmp_path, f'[[fault]]\nkind = "{kind.value}"{code}'))
    assert fault.kind is kind
