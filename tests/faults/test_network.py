"""The line between venue and recorder: cut in mid-frame, held, slowed, damaged."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from kflow.testing.postgres import Database
from kflow.testing.proxy import Proxy, corrupt

from .conftest import Report
from .oracle import judge
from .session import SECOND, recording


async def test_a_line_that_is_cut_again_and_again(
    tmp_path: Path, database: Database, seed: int, report: Report
) -> None:
    chance, rounds = random.Random(seed), 10
    back: list[float] = []
    async with recording(tmp_path, database, line=Proxy) as found:
        assert found.proxy is not None
        for turn in range(1, rounds + 1):
            for _ in range(chance.randint(1, 30)):
                found.delta()
                found.delta(SECOND)
            await asyncio.sleep(chance.uniform(0.0, 0.003))  # some of it is under way
            found.proxy.cut()
            started = time.monotonic()
            await found.gap("disconnect", turn)
            await found.live()
            back.append(time.monotonic() - started)
    assert found.watch.wrong == [], f"KFLOW_FAULT_SEED={seed}"
    verdict = judge(database.dsn, tmp_path / "data/journal", tmp_path / "truth")
    assert verdict.sound, (verdict, f"KFLOW_FAULT_SEED={seed}")
    report("network: cuts", cuts=rounds, live_again_s=round(max(back), 3), **verdict.figures())


async def test_a_slow_line_loses_nothing(tmp_path: Path, database: Database, report: Report) -> None:
    async with recording(tmp_path, database, line=Proxy) as found:
        assert found.proxy is not None
        found.proxy.bytes_per_s, found.proxy.delay_s = 100_000, 0.01
        for _ in range(300):
            found.delta()
        await found.live()
    assert found.watch.wrong == []
    assert found.rows("SELECT count(*) FROM rl_gaps") == [(0,)]
    verdict = judge(database.dsn, tmp_path / "data/journal", tmp_path / "truth")
    assert verdict.sound, verdict
    report("network: slow", **verdict.figures())


async def test_a_line_that_goes_dead_is_left_within_five_seconds(
    tmp_path: Path, database: Database, report: Report
) -> None:
    async with recording(tmp_path, database, line=Proxy) as found:
        assert found.proxy is not None
        found.delta()
        await found.live()
        found.proxy.blackhole()
        started = time.monotonic()
        found.delta()
        await found.gap_or_closed()
        took_s = time.monotonic() - started
        found.proxy.restore()
        await found.live()
    assert took_s < 5.0
    assert found.watch.wrong == []
    verdict = judge(database.dsn, tmp_path / "data/journal", tmp_path / "truth")
    assert verdict.sound, verdict
    report("network: black hole", found_s=round(took_s, 2), **verdict.figures())


async def test_damaged_bytes_are_kept_as_they_came(tmp_path: Path, database: Database, report: Report) -> None:
    """What arrives damaged is journalled and stored as it arrived; nothing of ours falls over it."""
    async with recording(tmp_path, database, line=Proxy) as found:
        assert found.proxy is not None
        found.proxy.damage = corrupt(every=1009)
        for _ in range(200):
            found.delta()
        await found.gap_or_closed()
        found.proxy.damage = None
        found.proxy.cut()
        await found.live()
    verdict = judge(database.dsn, tmp_path / "data/journal")
    assert verdict.sound, verdict
    report("network: damage", **verdict.figures())
