"""Independent clients, each in an environment of its own: `make clients` installs them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from kflow.testing.venue import LocalVenueProcess

from .install import installed, python_of, unreachable

HERE: Final = Path(__file__).parent
PATIENCE_S: Final = 120.0

RunSession = Callable[..., dict[str, Any]]


def interpreter_of(client: str) -> Path:
    """The interpreter that has it. Skips where no package registry could be reached, and only there."""
    if not installed(client):
        reason = unreachable(client)
        if reason is None:
            pytest.fail(f"{client} is not installed: run make clients")
        pytest.skip(reason)
    return python_of(client)


def plain_environ() -> dict[str, str]:
    """Our environment without what would tell an interpreter where we are, or a client who we are."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("KALSHI_", "PYTHON"))}


@pytest.fixture
def run_session() -> RunSession:
    """Run `<client>_session.py`, or another script, with the client's own interpreter, and return what it saw.

    Skips where the client could not be had because no package registry is in reach, and only there.
    """

    def run(client: str, *arguments: object, script: str = "") -> dict[str, Any]:
        python = interpreter_of(client)
        path = HERE / (script or f"{client.replace('-', '_')}_session.py")
        done = subprocess.run(
            [str(python), str(path), *map(str, arguments)],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=plain_environ(),
        )  # fmt: skip
        assert done.returncode == 0, f"{client} could not finish its session:\n{done.stderr}"
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return seen

    return run


@pytest.fixture
def market_process() -> LocalVenueProcess:
    """An exchange with three markets in which others trade, not yet started."""
    return LocalVenueProcess("--synthetic", "quiet", "--markets", "3", "--rate", "400", "--seed", "7")
