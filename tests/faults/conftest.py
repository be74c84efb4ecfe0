"""Seeds, figures and options of the fault tests."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Report = Callable[..., None]
_FIGURES: list[dict[str, Any]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", metavar="FILE", help="write the figures of the fault tests there, as JSON")


@pytest.fixture
def seed() -> int:
    """KFLOW_FAULT_SEED repeats a run; else every run is another one."""
    given = os.environ.get("KFLOW_FAULT_SEED")
    return int(given) if given else random.SystemRandom().randrange(10**6)


@pytest.fixture
def report(request: pytest.FixtureRequest, seed: int) -> Report:
    """Keep the figures of a test."""

    def keep(fault: str, **figures: Any) -> None:
        row = {"fault": fault, "seed": seed, **figures}
        _FIGURES.append(row)
        print(json.dumps(row))

    return keep


@pytest.fixture(scope="session", autouse=True)
def _write_figures(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    target = request.config.getoption("--figures", default=None)
    if target and _FIGURES:
        Path(target).write_text("[\n" + ",\n".join(map(json.dumps, _FIGURES)) + "\n]\n")
