"""When the page does not know what the market is, it says so at once, greys what it shows, and comes back by itself."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from kflow.testing.browser import Look
from kflow.testing.postgres import Database
from kflow.testing.process import Shell
from kflow.testing.recording import FIRST
from kflow.testing.venue import LocalVenueProcess
from tests.cli.conftest import keyed

pytestmark = pytest.mark.asyncio(loop_scope="session")

CUT = r"^WebSocket connection to '\S+' failed|ERR_CONNECTION_REFUSED"  # the browser's own words for what we did


async def greyed(look: Look) -> bool:
    """Whether the book looks like one that is not to be relied on, and says how old it is."""
    opacity = await look.page.evaluate("getComputedStyle(document.querySelector('#ladder')).opacity")
    return float(opacity) < 1 and await look.page.locator("#book-age").text_content() not in (None, "")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def test_a_gap_and_a_venue_that_is_gone_make_the_book_stale(session: Any, look_at: Any) -> None:
    session.start()
    async with session.served() as service, look_at(service.url) as look:
        await look.is_("live")
        assert not await greyed(look)
        before = await look.ladder()
        session.receive(session.delta("0.4300", "1.00", skip=1))
        await look.is_("stale")
        assert await greyed(look)
        session.receive(session.snapshot(FIRST, yes=[("0.4300", "1.00")], no=[("0.5000", "2.00")]))
        await look.is_("live")
        session.disconnect()
        await look.is_("stale")
        assert await greyed(look)
        # The last known book is still to be seen, as such.
        drawn = await look.ladder()
        assert (drawn.yes, drawn.no) == ({4300: 100}, {5000: 200}) != (before.yes, before.no)
        session.connect()
        session.receive(session.snapshot(FIRST, yes=[("0.4100", "3.00")]))
        await look.is_("live")
        assert (await look.ladder()).yes == {4100: 300}
        assert not await greyed(look)
        await look.calm()


async def test_a_service_that_ends_is_found_again(session: Any, look_at: Any) -> None:
    session.start()
    port = free_port()
    async with session.served(port=port) as service:
        watching = look_at(service.url)
        look = await watching.__aenter__()
        await look.is_("live")
    try:
        await look.is_("lost")
        assert await greyed(look)
        await expect(look.page.locator("#state-words")).to_contain_text("Trying again")
        session.receive(session.delta("0.4300", "7.00"))  # what happens meanwhile is not missed
        async with session.served(port=port):
            await look.is_("live")
            assert (await look.ladder()).yes[4300] == 5700
            assert not await greyed(look)
            await look.calm(expected=CUT)
    finally:
        await watching.__aexit__(None, None, None)


@pytest.mark.slow
async def test_a_recorder_that_hangs_dies_and_comes_back(tmp_path: Path, database: Database, look_at: Any) -> None:
    """Silence is told within seconds, death at once, and life by itself; then the exchange goes away."""
    port = free_port()
    with LocalVenueProcess("--synthetic", "busy", "--markets", "2", "--rate", "50") as venue:
        shell = Shell(tmp_path, {**keyed(venue), "DATABASE_URL": database.dsn, "KFLOW__WEB__PORT": str(port)})
        with shell.start("ingest", "--all") as ingest:
            url = ingest.wait_for("look at").split()[-1].rstrip("/")
            watching = look_at(url)
            look = await watching.__aenter__()
            await look.is_("live")
            ingest.signal(signal.SIGSTOP)
            await look.is_("stale", within_ms=6_000)
            assert await greyed(look)
            await expect(look.page.locator("#state-words")).to_contain_text("No word from the recorder")
            await look.is_("lost", within_ms=15_000)
            ingest.signal(signal.SIGKILL)
            ingest.signal(signal.SIGCONT)
        try:
            with shell.start("ingest", "--all") as ingest:
                ingest.wait_for("look at")
                await look.is_("live", within_ms=30_000)
                version = (await look.ladder()).version
                async with asyncio.timeout(20):
                    while (await look.ladder()).version == version:  # it is not only the word that is live
                        pass
                venue.process.kill()
                await look.is_("stale")
                assert await greyed(look)
                await look.calm(expected=CUT)
        finally:
            await watching.__aexit__(None, None, None)
