"""SIGKILL between any two steps: done again, it comes to the same, and no digest is another."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kflow.replay.archive import verify_archived
from kflow.replay.backup import newest
from kflow.replay.verify import Verdict, verify
from kflow.store import ledger, whole
from kflow.store.postgres import Connection
from kflow.testing.postgres import Database

from .conftest import T0_NS
from .keeping import Store, script, small, stream_of

NewDatabase = Callable[[str], Database]
SCRIPT = Path(__file__).with_name("killable.py")


class Work:
    """Runs one piece of work in a process of its own, over and over."""

    def __init__(self, what: str, dsn: str, data: Path, folder: Path) -> None:
        self._arguments = [what, dsn, str(data), str(folder)]

    def run(self, at: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), *self._arguments, str(at)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def killed(self, at: int) -> bool:
        """Whether it was, at that step; else it had ended before."""
        done = self.run(at)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode != 0

    def ended(self) -> int:
        """To its end; how many steps that took."""
        done = self.run()
        assert done.returncode == 0, done.stderr
        return int(done.stdout)


class Scene:
    """Two sessions of different days, and what is true of them."""

    def __init__(self, conn: Connection, database: Database, store: Store, folder: Path) -> None:
        self.conn, self.dsn, self.folder = conn, database.dsn, folder
        self.data, self.archive = folder / "data", folder / "archive"
        store(script(), segment_bytes=20_000, name="first")
        store(small(start_ns=T0_NS + 86_400 * 10**9), name="second")
        self.verdicts = [self.verdict(number) for number in (1, 2)]

    def verdict(self, number: int) -> Verdict:
        found = verify(self.conn, number)
        assert found.equal
        return found

    def work(self, what: str, *, data: Path | None = None, folder: Path | None = None) -> Work:
        return Work(what, self.dsn, data or self.data, folder or self.archive)

    def is_removed(self) -> None:
        for number in (1, 2):
            assert not any(stream_of(self.conn, number).values())
            assert ledger.standing(self.conn, number).steps[-1].step == "pruned"
        assert not (self.folder / "first").exists()
        assert not (self.folder / "second").exists()
        assert [verify(self.conn, number) for number in (1, 2)] == self.verdicts, "out of the archive"


@pytest.fixture
def scene(conn: Connection, database: Database, store: Store, tmp_path: Path) -> Scene:
    return Scene(conn, database, store, tmp_path)


def at_all(steps: int, chosen: int) -> list[int]:
    """Some of the steps, the first and the last among them."""
    between = random.Random(8).sample(range(2, steps), min(chosen, steps - 2)) if steps > 2 else []
    return sorted({1, steps, *between})


def test_a_prune_that_is_killed_is_ended_by_the_next(scene: Scene) -> None:
    scene.work("archive").ended()
    assert scene.work("prune").killed(9)
    assert [ledger.standing(scene.conn, number).half_removed for number in (1, 2)] == [True, True]
    scene.work("prune").ended()
    scene.is_removed()


@pytest.mark.slow
@pytest.mark.faults
def test_every_step_of_archive_prune_and_restore(scene: Scene) -> None:
    """One after the other: the world after one kill is the world before the next."""
    archiving, pruning = scene.work("archive"), scene.work("prune")
    kills = 0
    for at in at_all(40, 8):
        kills += archiving.killed(at)
    archiving.ended()
    assert [verify_archived(scene.archive / name) for name in ("0001", "0002")] == scene.verdicts
    at = 1
    while pruning.killed(at):
        at += 3
        kills += 1
    scene.is_removed()
    bringing = scene.work("restore_session")
    at = 1
    while ledger.standing(scene.conn, 1).removed:
        kills += bringing.killed(at)
        at += 5
    assert verify(scene.conn, 1) == scene.verdicts[0]
    assert kills > 15


@pytest.mark.slow
@pytest.mark.faults
def test_every_step_of_backup_and_restore(scene: Scene, new_database: NewDatabase) -> None:
    out = scene.folder / "backups"
    saving = scene.work("backup", folder=out)
    for at in at_all(60, 8):
        if not saving.killed(at):
            break
        assert newest(out) is None, "what is not whole has no name"
    if newest(out) is None:
        saving.ended()
    other = new_database("template0")
    new = scene.folder / "new"
    bringing, at = Work("restore", other.dsn, new, out), 1
    with other.connect(autocommit=True) as conn:
        while whole.is_empty(conn):
            bringing.killed(at)
            at += 4
        assert [verify(conn, number) for number in (1, 2)] == scene.verdicts
        assert {path.name for path in new.iterdir()} <= {"journal", ".restoring"}
    assert at > 20
