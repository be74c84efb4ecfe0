"""What is drawn is the book at that version, look after look, while a live exchange changes it all the time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets
from playwright.async_api import Locator, expect

from kflow.testing.browser import Ladder, Look
from kflow.testing.postgres import Database
from kflow.testing.process import Shell
from kflow.testing.venue import LocalVenueProcess
from tests.cli.conftest import keyed

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOOKS, SHARED = 20, 5  # versions that are looked at in each market; those of which a second client must know
Sides = tuple[dict[int, int], dict[int, int]]


class Versions:
    """Every book of one market that a client was told of, by version: built from messages alone."""

    def __init__(self, market: str) -> None:
        self.market = market
        self.books: dict[int, Sides] = {}
        self._now: Sides = ({}, {})
        self._news = asyncio.Event()

    def take(self, text: str) -> None:
        message = json.loads(text)
        if message["type"] not in ("snapshot", "delta") or message["market"] != self.market:
            return
        if message["type"] == "snapshot":
            self._now = ({}, {})
        for side, changes in zip(self._now, (message["yes"], message["no"]), strict=True):
            side.update({price: size for price, size in changes if size})
            for price, size in changes:
                if not size:
                    del side[price]
        self.books[message["version"]] = (dict(self._now[0]), dict(self._now[1]))
        self._news.set()

    async def reach(self, version: int) -> None:
        """Wait until this client was told of that version, or of a later one."""
        while not self.books or max(self.books) < version:
            self._news.clear()
            await self._news.wait()


@asynccontextmanager
async def second_client(url: str, market: str) -> AsyncIterator[Versions]:
    """Follow a market on a stream of its own."""
    seen = Versions(market)

    async def follow() -> None:
        async with websockets.connect(f"{url.replace('http', 'ws')}/rl/ws?market={market}", proxy=None) as stream:
            async for text in stream:
                seen.take(str(text))

    following = asyncio.create_task(follow())
    try:
        yield seen
    finally:
        following.cancel()


async def compare(look: Look, page: Versions, other: Versions) -> None:
    """Look at the ladder again and again: each look is the book that the page was told of at that version, and where
    the second client was told of that version, too, its book is the same."""
    looked: set[int] = set()
    shared: set[int] = set()
    async with asyncio.timeout(50):
        while len(looked) < LOOKS or len(shared) < SHARED:
            drawn = await look.ladder()
            assert drawn.version is not None
            await page.reach(drawn.version)  # what the browser heard is told to us a moment later
            equal(drawn, page.books[drawn.version])
            looked.add(drawn.version)
            await other.reach(drawn.version)
            # A client that reads more slowly is told fewer, larger differences, and skips versions.
            if drawn.version in other.books:
                equal(drawn, other.books[drawn.version])
                shared.add(drawn.version)


def touch(look: Look, side: str) -> Locator:
    """The row of a side's best bid: asks end at the spread, and bids begin there."""
    rows = look.page.locator(f"#ladder [data-side={side}]")
    return rows.first if side == "yes" else rows.last


def equal(drawn: Ladder, book: Sides) -> None:
    assert (drawn.yes, drawn.no) == book
    assert drawn.misread == []
    assert drawn.shown >= min(10, len(book[0]) + len(book[1]))
    assert drawn.state == "live"


async def test_what_is_drawn_is_the_book_at_that_version(tmp_path: Path, database: Database, look_at: Any) -> None:
    with LocalVenueProcess("--synthetic", "busy", "--markets", "3", "--rate", "200") as venue:
        shell = Shell(tmp_path, {**keyed(venue), "DATABASE_URL": database.dsn, "KFLOW__WEB__PORT": "0"})
        with shell.start("ingest", "--all") as ingest:
            url = ingest.wait_for("look at").split()[-1].rstrip("/")
            heard: list[Callable[[str], None]] = []
            async with look_at(url, heard=lambda text: [take(text) for take in heard]) as look:
                await look.is_("live")
                buttons = look.page.locator("#markets [data-ticker]")
                first, second, _ = await buttons.evaluate_all("all => all.map(one => one.dataset.ticker)")
                for market in (second, first):
                    page = Versions(market)
                    heard.append(page.take)
                    await look.choose(market)
                    async with second_client(url, market) as other:
                        await compare(look, page, other)
                    for side in ("yes", "no"):
                        await expect(touch(look, side)).to_be_in_viewport()
                await look.page.locator("#trades [data-at-ms]").first.wait_for()
                await look.calm()
