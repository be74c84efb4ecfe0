"""Chromium, once for all tests of this folder. Without one they are skipped, but never by continuous integration."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kflow.testing.browser import Look, browser, chromium, looking
from kflow.testing.recording import HandDriven

Looking = Callable[..., AbstractAsyncContextManager[Look]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running() -> AsyncIterator[Any]:
    if chromium() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Chromium here, and the page has to be looked at: apt install chromium")
        pytest.skip("no Chromium on the PATH (Debian: apt install chromium)")
    async with browser() as started:
        yield started


@pytest.fixture
def look_at(running: Any) -> Looking:
    """`async with look_at(url) as look`: the page of a recorder, watched."""
    return partial(looking, running)


@pytest.fixture
def session(tmp_path: Path) -> HandDriven:
    return HandDriven(tmp_path)
