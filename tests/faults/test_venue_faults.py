"""Whatever the venue does wrong: found on that very message, on record, never served as live, and recovered from."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from kflow.exchange.faults import VARIANTS, Fault, Kind
from kflow.kalshi.feed import PAUSE_STEP_S
from kflow.testing.postgres import Database
from kflow.testing.venue import MARKET

from .conftest import Report
from .oracle import judge, read_log
from .session import SECOND, Recording, recording

FAULT_RECORD = 7

# Fault, the gaps that each one must leave, and whether the books are stale meanwhile.
FRAMES: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "a lost frame": (Fault(kind=Kind.DROP), ("sequence",)),
    "ten lost frames": (Fault(kind=Kind.DROP, count=10), ("sequence",)),
    "a repeated frame": (Fault(kind=Kind.DUPLICATE), ("duplicate",)),
    "swapped frames": (Fault(kind=Kind.REORDER), ("sequence", "reordered")),
    "a window of five backwards": (Fault(kind=Kind.REORDER, count=5), ("sequence", *["reordered"] * 4)),
    "more than rests": (Fault(kind=Kind.NEGATIVE), ("negative",)),
    "a crossed book": (Fault(kind=Kind.CROSSED), ("crossed",)),
    "a price off the grid": (Fault(kind=Kind.OFF_GRID), ("off_grid",)),
    "an unknown type": (Fault(kind=Kind.UNKNOWN_TYPE), ()),
    "error 25": (Fault(kind=Kind.ERROR, code=25), ("overflow",)),
    "error 10": (Fault(kind=Kind.ERROR, code=10), ("channel",)),
    **{f"malformed: {name}": (Fault(kind=Kind.MALFORMED, variant=name), ("malformed",)) for name in VARIANTS},
}
HARMLESS = ("duplicate", "reordered")


def gaps_of(found: Recording) -> list[tuple[object, ...]]:
    return found.rows("SELECT kind, recv_ns, ended_ns, received FROM rl_gaps ORDER BY recv_ns")


@pytest.mark.parametrize("name", FRAMES)
async def test_a_faulty_frame(name: str, tmp_path: Path, database: Database, report: Report) -> None:
    fault, kinds = FRAMES[name]
    rounds = 3
    async with recording(tmp_path, database) as found:
        for turn in range(1, rounds + 1):
            found.delta()
            found.delta(SECOND)
            found.venue.inject(fault)
            for _ in range(12):
                found.delta()
                found.note()
            for kind, count in Counter(kinds).items():
                await found.gap(kind, turn * count)
            await found.live()
        stale = [live for _, live in found.watch.seen if not live]
        assert sum(found.venue.injected.values()) == rounds
    assert found.watch.wrong == []
    assert bool(stale) is bool(set(kinds) - set(HARMLESS))
    rows = gaps_of(found)
    assert Counter(row[0] for row in rows) == Counter(kinds * rounds)
    assert all(ended is not None and ended >= start for _, start, ended, _ in rows)  # type: ignore[operator]
    # On that very message: the gap carries the receive time of a frame of the journal, and the seq that told.
    stamps = {entry.wall_ns for path in (tmp_path / "data/journal").iterdir() for entry in read_log(path)}
    assert {row[1] for row in rows} <= stamps
    verdict = judge(database.dsn, tmp_path / "data/journal", tmp_path / "truth")
    assert verdict.sound, verdict
    report(f"venue: {name}", injected=rounds, gaps=len(rows), **verdict.figures())


ENDS = {
    "a cut": Fault(kind=Kind.CUT),
    "a clean close, 1000": Fault(kind=Kind.CLOSE, code=1000),
    "a clean close, 1012": Fault(kind=Kind.CLOSE, code=1012),
    "a policy close, 1008": Fault(kind=Kind.CLOSE, code=1008),
    "an oversized frame": Fault(kind=Kind.OVERSIZED, size_mib=64.001),
}


@pytest.mark.parametrize("name", ENDS)
async def test_an_ended_connection(name: str, tmp_path: Path, database: Database, report: Report) -> None:
    kind = "oversized" if "oversized" in name else "disconnect"
    rounds = 3
    async with recording(tmp_path, database) as found:
        for turn in range(1, rounds + 1):
            found.delta()
            found.venue.inject(ENDS[name])
            for _ in range(5):
                found.delta()
            await found.gap(kind, turn)
            await found.live()
            found.delta()
            await found.live()
    assert found.watch.wrong == []
    assert Counter(row[0] for row in gaps_of(found)) == {kind: rounds}
    assert found.rows("SELECT count(*) FROM rl_connections WHERE closed_ns IS NOT NULL") == [(rounds + 1,)]
    verdict = judge(database.dsn, tmp_path / "data/journal", tmp_path / "truth")
    assert verdict.sound, verdict
    report(f"venue: {name}", injected=rounds, gaps=rounds, **verdict.figures())


async def test_a_black_hole_is_found_within_five_seconds(tmp_path: Path, database: Database, report: Report) -> None:
    async with recording(tmp_path, database) as found:
        found.delta()
        await found.live()
        found.venue.inject(Fault(kind=Kind.BLACK_HOLE))
        started = time.monotonic()
        found.delta()
        await found.gap("disconnect")
        took_s = time.monotonic() - started
        await found.live()
    assert took_s < 5.0
    assert found.watch.wrong == []
    [(kind, start, ended, _)] = gaps_of(found)
    assert kind == "disconnect"
    assert 4.0 < (ended - start) / 1e9 < 5.5  # type: ignore[operator]
    verdict = judge(database.dsn, tmp_path / "data/journal", tmp_path / "truth")
    assert verdict.sound, verdict
    report("venue: a black hole", found_s=round(took_s, 2), **verdict.figures())


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_refused_reconnect_waits_and_comes_back(status: int, tmp_path: Path, database: Database) -> None:
    faults = [Fault(kind=Kind.REFUSE_UPGRADE, status=status, after_frames=1, times=2, every=1)]
    async with recording(tmp_path, database, faults=faults) as found:
        found.venue.cut_sockets()
        await found.gap("disconnect")
        await found.live()
        assert found.feed.status.attempts == 4
    paused_s = found.clock.waits_s.count(PAUSE_STEP_S)
    assert paused_s >= 20 if status != 503 else paused_s < 10  # ten seconds and more, after each refusal
    assert found.watch.wrong == []


async def test_a_slow_upgrade_is_waited_for(tmp_path: Path, database: Database) -> None:
    async with recording(tmp_path, database, faults=[Fault(kind=Kind.SLOW_UPGRADE, seconds=0.5)]) as found:
        found.delta()
        await found.live()
        assert found.feed.status.attempts == 1


async def test_an_unanswered_subscription_is_asked_anew(tmp_path: Path, database: Database) -> None:
    faults = [Fault(kind=Kind.UNANSWERED, command="subscribe")]
    async with recording(tmp_path, database, faults=faults) as found:
        assert found.feed.status.attempts == 2
        assert found.feed.status.reconnects == 1
    assert [row[0] for row in gaps_of(found)] == ["disconnect"]


async def test_a_delta_before_its_snapshot(tmp_path: Path, database: Database) -> None:
    faults = [Fault(kind=Kind.DELTA_BEFORE_SNAPSHOT, market=MARKET)]
    async with recording(tmp_path, database, faults=faults, live=False) as found:
        await found.live([SECOND])
        found.delta()
        await found.gap("no_snapshot")
        await found.live()
    assert found.watch.wrong == []
    assert [row[0] for row in gaps_of(found)] == ["no_snapshot"]


async def test_a_lost_snapshot(tmp_path: Path, database: Database, report: Report) -> None:
    """The answer to a resync is lost too: its successor shows it, and it is asked for again."""
    async with recording(tmp_path, database) as found:
        found.delta()
        found.venue.send_snapshot([(4000, 100)], [], market=MARKET)
        found.note()
        await found.live()
        found.venue.send_snapshot([], [], market=MARKET)  # as at a close
        found.note()
        await found.live()
        assert found.levels() == ((), ())
    assert found.watch.wrong == []
    assert gaps_of(found) == []


async def test_many_faults_at_once(tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    """Every fault of a frame, in random order, over one recording."""

    chance = random.Random(seed)
    order = [name for name in FRAMES for _ in range(2)]
    chance.shuffle(order)
    expected: Counter[str] = Counter()
    async with recording(tmp_path, database) as found:
        for name in order:
            fault, kinds = FRAMES[name]
            found.venue.inject(fault)
            for _ in range(chance.randint(12, 20)):
                found.delta(chance.choice([MARKET, MARKET, SECOND]))
            expected.update(kinds)
            for kind, count in expected.items():
                await found.gap(kind, count)
            await found.live()
    assert found.watch.wrong == [], f"KFLOW_FAULT_SEED={seed}"
    assert Counter(row[0] for row in gaps_of(found)) == expected, f"KFLOW_FAULT_SEED={seed}"
    told = [json.loads(e.payload) for e in read_log(tmp_path / "truth") if e.kind == FAULT_RECORD]
    verdict = judge(database.dsn, tmp_path / "data/journal", tmp_path / "truth")
    assert verdict.sound, (verdict, f"KFLOW_FAULT_SEED={seed}")
    assert len({(fact["fault"], fact["number"]) for fact in told}) == len(order)
    report("venue: all of them", injected=len(order), gaps=sum(expected.values()), **verdict.figures())


@pytest.mark.faults
@pytest.mark.slow
async def test_a_silent_feed_is_found_by_its_check(tmp_path: Path, database: Database, report: Report) -> None:
    """Pings are answered, and nothing else comes: only a question shows it."""
    async with recording(tmp_path, database) as found:
        started = time.monotonic()
        found.venue.inject(Fault(kind=Kind.SILENT, seconds=3600))
        found.delta()
        async with asyncio.timeout(60):
            while not found.session.recorder.status.gaps["disconnect"]:
                await found.watch.changed()
        took_s = time.monotonic() - started
        await found.live()
    assert took_s < 40
    report("venue: silent", found_s=round(took_s, 1))
