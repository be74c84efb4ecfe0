"""`kill -9` at any moment: what was journalled is loaded by the next run, once; the rest is on record as not heard."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from kflow.testing.postgres import Database

from .conftest import Report
from .rig import repeatable, rigged

RATE = 2_500


def killed(folder: Path, dsn: str, kills: int, seed: int, report: Report) -> None:
    restarts: list[float] = []
    with repeatable("kill_of_the_recorder", seed) as chance, rigged(folder, rate=RATE, seed=seed, dsn=dsn) as rig:
        for _ in range(kills):
            process = rig.start()
            restarts.append(rig.until_grown(20_000))
            time.sleep(chance.uniform(0.0, 1.5))
            rig.kill(process)
        rig.recover()
        found = rig.judge()
        assert found.sessions == kills + 1
        assert found.sound, found
        assert found.journalled > kills * 100
    restarts.sort()
    report("ingest SIGKILL", kills=kills, rate=RATE, restart_s=round(restarts[kills // 2], 2), **found.figures())


def test_kill_of_the_recorder(tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    killed(tmp_path, database.dsn, 3, seed, report)


@pytest.mark.faults
@pytest.mark.slow
def test_kill_of_the_recorder_long(tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    killed(tmp_path, database.dsn, 50, seed, report)


def test_sigterm_drains_in_five_seconds(tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    with repeatable("sigterm", seed), rigged(tmp_path, rate=RATE, seed=seed, dsn=database.dsn) as rig:
        process = rig.start()
        rig.until_grown(1_000_000)
        said, took_s = rig.end(process)
        assert said["stored"]
        assert took_s <= 5.0
        found = rig.judge()
        assert found.sound, found
        assert found.journalled == said["messages"]
    report("SIGTERM", drain_s=round(took_s, 2), **found.figures())


def test_a_second_signal_leaves_at_once(tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    """While the tables are locked nothing can be drained: the second signal does not wait for that."""
    with repeatable("second_signal", seed), rigged(tmp_path, rate=RATE, seed=seed, dsn=database.dsn) as rig:
        process = rig.start()
        rig.until_grown(300_000)
        with database.connect() as conn:
            conn.execute("LOCK TABLE rl_orderbook_deltas IN ACCESS EXCLUSIVE MODE")
            rig.until_grown(300_000)
            process.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
            started = time.monotonic()
            process.terminate()
            assert process.wait(timeout=5) == 0
            took_s = time.monotonic() - started
            conn.rollback()
        assert took_s < 1.0
        rig.recover()
        found = rig.judge()
        assert found.sound, found
    report("second SIGTERM", left_s=round(took_s, 3), **found.figures())


def stopped(folder: Path, dsn: str, seconds: float, seed: int, report: Report) -> None:
    with repeatable("stopped_recorder", seed), rigged(folder, rate=1_000, seed=seed, dsn=dsn) as rig:
        process = rig.start()
        rig.until_grown(300_000)
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)
        resumed = time.monotonic()
        rig.until_grown(round(250_000 * seconds))
        caught_up_s = time.monotonic() - resumed
        said, _ = rig.end(process)
        found = rig.judge()
        assert found.sound, found
        with psycopg.connect(dsn) as conn:
            assert conn.execute("SELECT count(*) FROM rl_connections").fetchone() == (1,), "a false reconnect"
        assert said["gaps"] == 0
    report("SIGSTOP + SIGCONT", stopped_s=seconds, caught_up_s=round(caught_up_s, 2), **found.figures())


def test_a_stopped_recorder_accuses_nobody(tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    stopped(tmp_path, database.dsn, 2.0, seed, report)


@pytest.mark.faults
@pytest.mark.slow
def test_a_stopped_recorder_accuses_nobody_long(tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    stopped(tmp_path, database.dsn, 5.0, seed, report)
