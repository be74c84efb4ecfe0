"""Run the command line inside the test's own process: faster than starting one for each."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kflow.cli.main import run


@dataclass(frozen=True)
class Outcome:
    """How one command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


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
