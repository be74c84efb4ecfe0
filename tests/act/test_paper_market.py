"""The first start of an actor on a machine: the simulator is not compiled yet, and a lease lives five seconds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kflow.act.lease import TTL_S
from kflow.testing.postgres import Database
from kflow.testing.process import Shell


@pytest.mark.slow
def test_a_machine_that_compiled_nothing_yet_keeps_its_lease(tmp_path: Path, database: Database) -> None:
    shell = Shell(tmp_path, {"DATABASE_URL": database.dsn, "KFLOW__ACTOR__PORT": "0"})
    assert shell.run("actor", "arm", "--yes").code == 0
    words = ("actor", "run", "--enable", "--strategy", "hardcoded:join", "--latency", "none", "--duration", 2 * TTL_S)
    done = subprocess.run(
        shell.command(*words),
        env=shell.variables({"NUMBA_CACHE_DIR": str(tmp_path / "numba")}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "lease" not in done.stderr
    assert list((tmp_path / "numba").rglob("*.nbc"))  # it was compiled here
