"""Whatever becomes of PostgreSQL: the journal goes on, memory stays bounded, each row is stored exactly once."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from kflow.store.cluster import PORT
from kflow.store.embedded import EmbeddedServer
from kflow.testing.postgres import Database
from kflow.testing.proxy import Proxy

from .conftest import Report
from .disks import fill, small_disk
from .rig import Rig, kill_tree, postmaster, repeatable, rigged, wait_for, watermark

RATE = 2_500


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the server's own user can reach, where tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="kflow-faults-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def killed_servers(folder: Path, kills: int, seed: int, report: Report) -> None:
    """Of the embedded server; the recorder starts it again by itself."""
    back: list[float] = []
    with repeatable("kill_of_postgres", seed) as chance, rigged(folder, rate=RATE, seed=seed) as rig:
        process = rig.start()
        rig.until_grown(100_000)
        for _ in range(kills):
            time.sleep(chance.uniform(0.2, 1.2))
            pid = postmaster(rig.data)
            assert pid is not None
            kill_tree(pid)
            back.append(wait_for("another server", lambda dead=pid: postmaster(rig.data) not in (None, dead)))  # type: ignore[misc]
            rig.until_grown(50_000)
        with EmbeddedServer.acquire(rig.data) as server:
            said, took_s = rig.end(process)
            assert said["stored"], rig.log()
            found = rig.judge(server.dsn)
    assert found.sound, found
    report("PostgreSQL SIGKILL", kills=kills, back_s=round(max(back), 2), drain_s=round(took_s, 2), **found.figures())


def test_kill_of_postgres(open_folder: Path, seed: int, report: Report) -> None:
    killed_servers(open_folder, 2, seed, report)


@pytest.mark.faults
@pytest.mark.slow
def test_kill_of_postgres_long(open_folder: Path, seed: int, report: Report) -> None:
    killed_servers(open_folder, 20, seed, report)


@pytest.mark.slow
def test_a_server_that_forgets_what_it_confirmed(open_folder: Path, seed: int, report: Report) -> None:
    """synchronous_commit = off, and a crash: the watermark goes back, and so does the writer."""
    forgotten = 0
    with repeatable("forgets", seed) as chance, rigged(open_folder, rate=RATE, seed=seed) as rig:  # noqa: SIM117
        with EmbeddedServer.acquire(rig.data) as server:
            with psycopg.connect(server.dsn, autocommit=True) as conn:
                conn.execute("ALTER SYSTEM SET synchronous_commit = off")
                conn.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
                conn.execute("SELECT pg_reload_conf()")
            process = rig.start()
            rig.until_grown(100_000)
            for _ in range(4):
                time.sleep(chance.uniform(0.5, 1.5))
                pid, before = postmaster(rig.data), watermark(server.dsn)
                assert pid is not None
                kill_tree(pid)
                server.ensure()
                forgotten += watermark(server.dsn) < before
                rig.until_grown(50_000)
            said, _ = rig.end(process)
            assert said["stored"], rig.log()
            found = rig.judge(server.dsn)
    assert forgotten, "the server remembered everything: nothing was tested"
    assert found.sound, found
    report("synchronous_commit off + crash", crashes=4, went_back=forgotten, **found.figures())


def locked(folder: Path, database: Database, seconds: float, seed: int, report: Report) -> None:
    with repeatable("locked", seed), rigged(folder, rate=RATE, seed=seed, dsn=database.dsn) as rig:
        process = rig.start()
        rig.until_grown(100_000)
        with database.connect() as conn:
            conn.execute("LOCK TABLE rl_orderbook_deltas IN ACCESS EXCLUSIVE MODE")
            time.sleep(seconds)
            behind = rig.journalled() - watermark(database.dsn)
            conn.rollback()
        freed = time.monotonic()
        wait_for("the tables to catch up", lambda: watermark(database.dsn) >= rig.journalled() - 200_000)
        took_s = time.monotonic() - freed
        said, _ = rig.end(process)
        assert said["stored"]
        found = rig.judge()
    assert found.sound, found
    report("tables locked", seconds=seconds, behind_bytes=behind, caught_up_s=round(took_s, 2), **found.figures())


def test_locked_tables(tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    locked(tmp_path, database, 2.0, seed, report)


@pytest.mark.faults
@pytest.mark.slow
def test_locked_tables_long(tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    locked(tmp_path, database, 30.0, seed, report)


# --- the way to the database


def socket_of(database: Database) -> Path:
    return Path(str(conninfo_to_dict(database.dsn)["host"])) / f".s.PGSQL.{PORT}"


def url_of(database: Database, proxy: Proxy) -> str:
    parts = conninfo_to_dict(database.dsn)
    return f"postgresql://{parts['user']}@127.0.0.1:{proxy.port}/{parts['dbname']}?sslmode=disable"


async def cut_commits(folder: Path, database: Database, cuts: int, seed: int, report: Report) -> None:
    async with Proxy(socket_of(database)) as proxy:
        with (
            repeatable("commit", seed) as chance,
            rigged(folder, rate=RATE, seed=seed, dsn=url_of(database, proxy)) as rig,
        ):
            rig.dsn = database.dsn
            process = rig.start()
            await asyncio.to_thread(rig.until_grown, 100_000)
            for number in range(cuts):
                stored = watermark(database.dsn)
                await asyncio.to_thread(wait_for, "more rows", lambda: watermark(database.dsn) > stored)  # noqa: B023
                await asyncio.sleep(chance.uniform(0.0, 0.3))
                (proxy.cut_before if number % 2 else proxy.cut_after)(b"COMMIT")
                await asyncio.to_thread(wait_for, "a COMMIT", lambda: proxy.armed == 0)
            said, _ = await asyncio.to_thread(rig.end, process)
            assert said["stored"], rig.log()
            found = await asyncio.to_thread(rig.judge)
        made = proxy.cuts
    assert made >= cuts
    assert found.sound, found
    report("cuts around COMMIT", cuts=cuts, **found.figures())


async def test_cuts_around_commit(tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    await cut_commits(tmp_path, database, 4, seed, report)


@pytest.mark.faults
@pytest.mark.slow
async def test_cuts_around_commit_long(tmp_path: Path, database: Database, seed: int, report: Report) -> None:
    await cut_commits(tmp_path, database, 20, seed, report)


def resident_bytes(process: subprocess.Popen[str]) -> int:
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def unreachable(folder: Path, database: Database, seconds: float, seed: int, report: Report) -> None:
    """First nothing answers, then nothing listens; memory must not follow the backlog."""
    async with Proxy(socket_of(database)) as proxy:
        with (
            repeatable("unreachable", seed),
            rigged(folder, rate=5_000, seed=seed, dsn=url_of(database, proxy)) as rig,
        ):
            rig.dsn = database.dsn
            process = rig.start(KFLOW__RECORDER__QUEUE_ROWS="1000")
            await asyncio.to_thread(rig.until_grown, 500_000)
            proxy.blackhole()
            await asyncio.sleep(seconds / 2)
            before = resident_bytes(process)
            proxy.refuse()
            await asyncio.sleep(seconds / 2)
            grown, behind = resident_bytes(process) - before, rig.journalled() - watermark(database.dsn)
            proxy.restore()
            said, _ = await asyncio.to_thread(rig.end, process)
            if not said["stored"]:
                await asyncio.to_thread(rig.recover)
            found = await asyncio.to_thread(rig.judge)
    assert found.sound, found
    assert behind > 500_000
    assert grown < 2**25, f"{grown} bytes more for a backlog of {behind}"
    report("database unreachable", seconds=seconds, behind_bytes=behind, grown_bytes=grown, **found.figures())


async def test_memory_is_bounded_without_a_database(
    tmp_path: Path, database: Database, seed: int, report: Report
) -> None:
    await unreachable(tmp_path, database, 4.0, seed, report)


@pytest.mark.faults
@pytest.mark.slow
async def test_memory_is_bounded_without_a_database_long(
    tmp_path: Path, database: Database, seed: int, report: Report
) -> None:
    await unreachable(tmp_path, database, 60.0, seed, report)


# --- its disk


def test_a_full_database_disk(open_folder: Path, seed: int, report: Report) -> None:
    with (
        repeatable("full_database", seed),
        rigged(open_folder, rate=RATE, seed=seed) as rig,
        small_disk(rig.data / "database", 192),
    ):
        process = rig.start()
        rig.until_grown(200_000)
        ballast = fill(rig.data / "database")
        wait_for("the server to run out of room", lambda: "No space left" in server_log(rig))
        rig.until_grown(200_000)
        ballast.unlink()
        freed = time.monotonic()
        rig.until_grown(50_000)
        with EmbeddedServer.acquire(rig.data) as server:
            target = rig.journalled()
            wait_for("the tables to catch up", lambda: watermark(server.dsn) >= target - 50_000)
            took_s = time.monotonic() - freed
            said, _ = rig.end(process)
            assert said["stored"], rig.log()
            found = rig.judge(server.dsn)
    assert found.sound, found
    report("database disk full", caught_up_s=round(took_s, 2), **found.figures())


def server_log(rig: Rig) -> str:
    return "".join(path.read_text(errors="replace") for path in (rig.data / "database").rglob("*log") if path.is_file())
