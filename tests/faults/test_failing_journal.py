"""A journal that cannot be written: nothing counts as received, and the rows say so."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from kflow.testing.postgres import Database

from .conftest import Report
from .disks import fill, small_disk
from .rig import parents, repeatable, rigged, wait_for


def gaps(database: Database) -> list[tuple[object, ...]]:
    with psycopg.connect(database.dsn) as conn:
        return conn.execute("SELECT kind, recv_ns, ended_ns FROM rl_gaps ORDER BY recv_ns").fetchall()


def test_a_full_journal_disk(tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    with (
        repeatable("full_journal", seed),
        rigged(tmp_path, rate=2_500, seed=seed, dsn=database.dsn) as rig,
        small_disk(rig.journals, 64),
    ):
        process = rig.start()
        rig.until_grown(200_000)
        ballast = fill(rig.journals)
        wait_for("the recorder to run out of room", lambda: "No space left" in rig.log() or stalled(rig.journalled))
        time.sleep(0.5)
        ballast.unlink()
        resumed_s = rig.until_grown(200_000)
        said, _ = rig.end(process)
        assert said["stored"]
        found = rig.judge()
    kinds = [row[0] for row in gaps(database)]
    assert "downtime" in kinds
    assert found.sound, found
    assert found.unheard > 0
    report("journal disk full", resumed_s=round(resumed_s, 2), gaps=len(kinds), **found.figures())


def stalled(size: object) -> bool:
    before = size()  # type: ignore[operator]
    time.sleep(0.3)
    return bool(size() == before)  # type: ignore[operator]


def traceable() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("fault", ["fsync:error=EIO:when=9"])
@pytest.mark.skipif(not traceable(), reason="strace is missing or may not trace")
def test_a_disk_that_fails_to_sync(fault: str, tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    """What it says afterwards is not believed: a new segment, and a gap that tells."""
    trace = ("strace", "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, "-e", "trace=fsync", "-e", f"inject={fault}")
    with repeatable("fails_to_sync", seed), rigged(tmp_path, rate=1_000, seed=seed, dsn=database.dsn) as rig:
        process = rig.start(prefix=trace)
        rig.until_grown(100_000)
        wait_for("a new segment", lambda: len(list(rig.journals.glob("*/*.kfj"))) > 1)
        rig.until_grown(100_000)
        [recorder] = [child for child, parent in parents().items() if parent == process.pid]
        os.kill(recorder, signal.SIGTERM)
        process.wait(timeout=30)
        rig.recover()
        found = rig.judge()
    assert [row[0] for row in gaps(database)][:1] == ["downtime"]
    assert found.sound, found
    report(f"journal {fault}", **found.figures())
