"""A backup taken under a recorder: whole by itself, nothing lost for the recorder, and what comes back goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kflow.clock import SystemClock
from kflow.record.session import recover
from kflow.replay.backup import backup, read_session
from kflow.replay.restore import restore
from kflow.replay.verify import verify
from kflow.store import sessions
from kflow.testing.postgres import Database

from .conftest import Report
from .rig import repeatable, rigged


def test_a_backup_under_a_recorder(
    tmp_path: Path, database: Database, new_database: Callable[[str], Database], seed: int, report: Report
) -> None:
    out, new = tmp_path / "backups", tmp_path / "new"
    with repeatable("backup", seed), rigged(tmp_path, rate=1_000, seed=seed, dsn=database.dsn) as rig:
        process = rig.start()
        rig.until_grown(400_000)
        with database.connect(autocommit=True) as conn:
            taken = backup(conn, rig.data, out)
        rig.until_grown(200_000)
        rig.end(process)
        found = rig.judge()
        assert found.sound, found
        with database.connect(autocommit=True) as conn:
            whole = verify(conn, 1)
    kept = read_session(taken.folder, 1)
    assert kept.state == "open"
    place = new_database("template0")
    with place.connect(autocommit=True) as other:
        restore(other, new, out)
        before = verify(other, 1)
        assert (before.equal, before.digest_tables) == (True, kept.digest)
        assert 0 < before.messages < whole.messages
        [done] = recover(
            new / "journal", lambda: Database(other.info.dsn).connect(autocommit=True), clock=SystemClock()
        )
        assert done.number == 1
        after = verify(other, 1)
        assert after.equal
        assert before.messages <= after.messages < whole.messages, "the journal is ahead of the tables"
        [session] = sessions.read_sessions(other)
        assert session.state == "recovered"
    report("backup while recording", backed_up=before.messages, recorded=whole.messages, **found.figures())
