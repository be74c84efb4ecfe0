"""A session from its beginning to its end, and the recovery of one that had none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from kflow.clock import ManualClock
from kflow.errors import DatabaseError, InstanceLocked, JournalError
from kflow.kalshi.feed import STOPPED
from kflow.record.handoff import BatchLimits
from kflow.record.recorder import Plan
from kflow.record.session import (
    CARD,
    RecordingOptions,
    RecordingSession,
    Recovered,
    new_card,
    read_card,
    recover,
    write_card,
)
from kflow.session.chunks import MarketFacts
from kflow.store.journal import HEADER_SIZE, DirectoryLock, segment_paths
from kflow.store.postgres import Connection
from kflow.testing.frames import CENTS, MARKET, Frames
from kflow.testing.postgres import Database

from .conftest import YES, stored


class Run:
    """A session whose venue is ours."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root, self.clock, self.frames = root, ManualClock(), Frames()
        card = new_card(
            environment="local", use_yes_price=False, sample_rate=1, selection={}, clock=self.clock, journal_root=root
        )
        options = RecordingOptions(batch=BatchLimits(rows=1, age_s=0.01), segment_bytes=5_000, sync_interval_s=60)
        plan = Plan(markets=(MarketFacts(MARKET, CENTS),))
        self.session = RecordingSession(
            root, plan, lambda: database.connect(autocommit=True), card=card, clock=self.clock, options=options
        )

    @property
    def directory(self) -> Path:
        return self.session.directory

    def record(self, deltas: int) -> None:
        """A connection and so many frames, in chunks of one."""
        self.session.recorder.opened("ws://venue")
        self.frames = Frames()
        self.take(self.frames.snapshot(MARKET, YES))
        for n in range(deltas):
            self.take(self.frames.delta(4000, 1 + n))

    def take(self, raw: bytes) -> None:
        self.clock.advance(0.001)
        self.session.recorder.received([raw], self.clock.wall_ns(), self.clock.mono_ns())

    def die(self) -> None:
        """As SIGKILL: what the kernel has stays, nothing else is done."""
        os.close(self.session.journal._fd)
        self.session.journal._fd = -1
        self.session._lock.release()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def run(root: Path, database: Database) -> Run:
    return Run(root, database)


@pytest.fixture
def recovered(root: Path, database: Database) -> Callable[[], list[Recovered]]:
    clock = ManualClock(wall_ns=1_800_000_000 * 10**9)
    return lambda: list(recover(root, lambda: database.connect(autocommit=True), clock=clock))


def states(conn: Connection) -> list[object]:
    return [state for (state,) in conn.execute("SELECT state FROM rl_sessions ORDER BY id")]


def gaps(conn: Connection) -> list[tuple[object, ...]]:
    return conn.execute("SELECT kind, detail FROM rl_gaps ORDER BY recv_ns, kind").fetchall()


async def test_a_session_that_ends_in_order(
    run: Run, conn: Connection, recovered: Callable[[], list[Recovered]]
) -> None:
    assert run.session.begin() == 1
    run.record(50)
    run.session.recorder.closed(STOPPED)
    assert await run.session.end()
    assert states(conn) == ["closed"]
    assert stored(conn) == list(range(2, 52))
    assert recovered() == []
    assert gaps(conn) == []


async def test_an_end_without_a_database_is_made_up_for(
    run: Run, conn: Connection, recovered: Callable[[], list[Recovered]]
) -> None:
    def unreachable() -> psycopg.Connection[tuple[object, ...]]:
        raise DatabaseError("away")

    run.session.begin()
    assert run.session.writer is not None
    run.session.writer._connect = run.session._connect = unreachable
    run.session.writer._handoff.restart(lambda: 0)
    run.record(20)
    run.session.recorder.closed(STOPPED)
    await run.session.end(0.5)
    [done] = recovered()
    assert (done.number, done.damaged_bytes) == (1, 0)
    assert states(conn) == ["recovered"]
    assert stored(conn) == list(range(2, 22))
    assert gaps(conn) == [], "it ended in order: nobody was away"


def test_a_killed_session_is_completed_once(
    run: Run, conn: Connection, recovered: Callable[[], list[Recovered]]
) -> None:
    run.record(100)
    run.die()
    [done] = recovered()
    assert done.loaded_bytes > 0
    assert stored(conn) == list(range(2, 102))
    assert gaps(conn) == [("downtime", "kflow was not running")]
    [(started, ended)] = conn.execute("SELECT recv_ns, ended_ns FROM rl_gaps").fetchall()
    assert (started, ended) == (run.clock.wall_ns(), 1_800_000_000 * 10**9)
    assert recovered() == []


def test_a_session_that_was_killed_while_the_venue_was_away(
    run: Run, conn: Connection, recovered: Callable[[], list[Recovered]]
) -> None:
    run.record(10)
    heard_ns = run.clock.wall_ns()
    run.clock.advance(5)
    run.session.recorder.closed("cut")
    run.die()
    recovered()
    assert conn.execute("SELECT kind, recv_ns FROM rl_gaps").fetchall() == [("downtime", heard_ns)]


def test_a_session_under_way_is_left_alone(run: Run, recovered: Callable[[], list[Recovered]]) -> None:
    run.record(5)
    assert recovered() == []
    with pytest.raises(InstanceLocked):
        DirectoryLock(run.directory)


@pytest.mark.parametrize("dies_at", ["header", "gap"])
def test_a_recovery_that_was_killed_is_taken_up(
    dies_at: str, run: Run, conn: Connection, recovered: Callable[[], list[Recovered]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run.record(30)
    run.die()
    if dies_at == "header":
        first, path = segment_paths(run.directory)[-1]
        (run.directory / f"{first + path.stat().st_size:020d}.kfj").touch()
    else:
        with monkeypatch.context() as patch:
            patch.setattr(
                "kflow.record.session.load_journal", lambda *_: (_ for _ in ()).throw(DatabaseError("killed"))
            )
            with pytest.raises(DatabaseError, match="killed"):
                recovered()
    assert len(recovered()) == 1
    assert stored(conn) == list(range(2, 32))
    assert len(gaps(conn)) == 1, "told once"


def test_a_torn_end_is_normal(run: Run, conn: Connection, recovered: Callable[[], list[Recovered]]) -> None:
    run.record(30)
    run.die()
    path = segment_paths(run.directory)[-1][1]
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 5)
    [done] = recovered()
    assert done.damaged_bytes == 0
    assert stored(conn) == list(range(2, 31))
    assert gaps(conn) == [("downtime", "kflow was not running")]


def test_damage_in_the_middle_costs_what_it_hit_and_is_told(
    run: Run, conn: Connection, recovered: Callable[[], list[Recovered]]
) -> None:
    run.record(60)
    run.die()
    path = segment_paths(run.directory)[0][1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    [done] = recovered()
    assert done.damaged_bytes > 0
    rows = stored(conn)
    [lost] = sorted(set(range(2, 62)) - set(rows))
    assert len(rows) == 59
    kinds = [kind for kind, _ in gaps(conn)]
    assert sorted(kinds) == ["downtime", "downtime", "sequence"]
    assert any("damaged" in str(detail) for _, detail in gaps(conn))
    told = conn.execute("SELECT expected FROM rl_gaps WHERE kind = 'sequence'").fetchone()
    assert told == (lost,)


def test_a_missing_segment_costs_what_it_held_and_is_told(
    run: Run, conn: Connection, recovered: Callable[[], list[Recovered]]
) -> None:
    run.record(120)
    run.die()
    segments = segment_paths(run.directory)
    assert len(segments) > 4
    segments[2][1].unlink()
    [done] = recovered()
    assert done.damaged_bytes == segments[3][0] - segments[2][0]
    rows = stored(conn)
    assert 60 < len(rows) < 120
    assert rows == sorted(set(rows))
    assert any("damaged" in str(detail) for _, detail in gaps(conn))


def test_less_journal_than_rows_is_no_reason_to_forget_the_downtime(
    run: Run, conn: Connection, recovered: Callable[[], list[Recovered]]
) -> None:
    """A power cut takes the last 200 ms of the journal; the database had them already."""
    run.session.begin()
    run.record(40)
    run.session.handoff.close()
    assert run.session.writer is not None
    run.session.writer.join(10)
    run.session._syncer.stop()
    run.die()
    path = segment_paths(run.directory)[-1][1]
    with path.open("r+b") as file:
        file.truncate(HEADER_SIZE)
    recovered()
    assert stored(conn) == list(range(2, 42))
    assert ("downtime", "kflow was not running") in gaps(conn)


def test_one_bad_journal_does_not_keep_the_others_waiting(
    root: Path, database: Database, conn: Connection, recovered: Callable[[], list[Recovered]]
) -> None:
    runs = [Run(root, database) for _ in range(3)]
    for run in runs:
        run.record(10)
        run.die()
    bad = min(run.directory for run in runs)
    (bad / CARD).write_bytes(b"{")
    done = []
    clock = ManualClock()
    with pytest.raises(JournalError, match="no session card"):
        done.extend(recover(root, lambda: database.connect(autocommit=True), clock=clock))
    assert states(conn) == ["recovered", "recovered"]


def test_a_card_is_whole_or_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    card = read_card(run.directory)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(JournalError, match="No space left"):
            write_card(run.directory, new_card_like(run))
    assert read_card(run.directory) == card


def new_card_like(run: Run):  # type: ignore[no-untyped-def]
    return new_card(
        environment="demo", use_yes_price=True, sample_rate=2, selection={}, clock=run.clock, journal_root=run.root
    )
