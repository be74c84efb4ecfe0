"""A recorder driven by hand with the venue's frames, and its HTTP service on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from kflow.testing.recording import HandDriven


@pytest.fixture
def session(tmp_path: Path) -> HandDriven:
    return HandDriven(tmp_path)


Serving = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def serving(session: HandDriven) -> Serving:
    """`async with serving() as http`: the session's service, and a client that asks it."""

    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[httpx.AsyncClient]:
        async with (
            session.served(**options) as served,
            httpx.AsyncClient(base_url=served.url, trust_env=False) as http,
        ):
            yield http

    return start
