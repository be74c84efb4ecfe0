"""Run the command line inside the test's own process: faster than starting one for each."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kflow.cli.main import run
from kflow.testing import process
from kflow.testing.postgres import Database
from kflow.testing.process import Outcome, Shell
from kflow.testing.venue import LocalVenue, LocalVenueProcess

CANARY = "cAnArY7"


Kflow = Callable[..., Outcome]


@pytest.fixture
def kflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Kflow]:
    """`kflow("sessions", "ls", DATABASE_URL=…)` in a folder of its own, with no other variable of ours set."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("KFLOW_", "RL_", "KALSHI_", "DATABASE_URL")) and name != "KFLOW_POSTGRES_BIN":
            monkeypatch.delenv(name)
    monkeypatch.setenv("KFLOW_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "120")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def call(*arguments: object, **environ: str) -> Outcome:
        capsys.readouterr()
        with monkeypatch.context() as inner:
            for name, value in environ.items():
                inner.setenv(name, value)
            code = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    yield call
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="module")
def venue() -> Iterator[LocalVenueProcess]:
    with LocalVenueProcess("--synthetic", "busy", "--markets", "3", "--rate", "200") as running:
        yield running


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def recorder(tmp_path: Path, database: Database, venue: LocalVenueProcess) -> Shell:
    """A shell in which `kflow ingest` works: a database, a venue and its key."""
    return Shell(tmp_path, {**keyed(venue), "DATABASE_URL": database.dsn, "KFLOW__WEB__PORT": "0"})


def keyed(venue: LocalVenue | LocalVenueProcess) -> dict[str, str]:
    return {
        "KFLOW__KALSHI__EXCHANGE": venue.rest.removesuffix("/trade-api/v2"),
        "KALSHI_API_KEY_ID": venue.key_id,
        "KALSHI_PRIVATE_KEY_PATH": str(venue.private_key_path),
    }


def refused(done: process.Outcome, code: int, *words: str) -> None:
    """One sentence, one hint, the exit code, and nothing else that would frighten."""
    assert done.code == code, done
    assert done.out == ""
    lines = done.err.splitlines()
    assert [line.partition(":")[0] for line in lines[-2:]] == ["error", "hint"], done.err
    assert lines[-1].removeprefix("hint: ")
    for word in words:
        assert word in done.err, done.err
    assert "Traceback" not in done.err
    assert "not expected" not in done.err
    assert CANARY not in done.err
