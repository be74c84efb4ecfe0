"""Chromium, once for all tests of this folder. Without one they are skipped, but never by continuous integration."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from kflow.act.holdings import Holdings, Resting
from kflow.act.pulse import Pulse, read
from kflow.testing.browser import Look, browser, chromium, looking
from kflow.testing.living import Living
from kflow.testing.recording import FIRST, HandDriven

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


@pytest.fixture
def trading(session: Any) -> Any:
    """The service of a recorder of two markets with trades, and of an actor with orders and positions."""
    session.start()
    session.receive(session.trade("0.4600", "3.00"), session.trade("0.4400", "1.50", taker="no"))
    living = Living(session.standing.folder.parent)
    living.work()
    pulse = Pulse(living.vitals(), living.data)
    held = Holdings(
        orders=[Resting("one", FIRST, 0, 4400, 250, 1200), Resting("two", FIRST, 1, 5400, 100, None)],
        positions={FIRST: -300},
        cash=999_000_000,
        profit=-1_250_000,
    )
    pulse.write(msgspec.structs.replace(pulse.look(), holdings=held, problems={"feed": "no connection to the venue"}))
    return session.served(actor=lambda: read(living.data, enabled=True, clock=living.clock))
