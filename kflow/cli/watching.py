"""Looking at a running recorder: once, line by line, or on the whole terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from kflow.cli import render
from kflow.cli.console import console, drawable
from kflow.cli.follow import Follower, Source, asked, book_of, first_of
from kflow.cli.keys import HELP, leaving
from kflow.cli.ladder import ladder
from kflow.cli.panels import Glance, ladders_that_fit, line, screen
from kflow.cli.screen import Screen
from kflow.clock import SystemClock
from kflow.web.orderbook import orderbook_json

FRAME_S: Final = 0.25
LINE_S: Final = 1.0
FOOTER: Final = "q quits · ← → market · ? help"
PRINTED_COLUMNS: Final = 100


async def once(source: Source, markets: Sequence[str], *, as_json: bool) -> None:
    """Show what is now. Raises KflowError where no recorder answers, or refuses."""
    async with source.client() as http:
        status = await asked(http, "/rl/status")
        wanted = markets or status["markets"][:1]
        books = [await asked(http, "/rl/orderbook/snapshot", {"market": market}) for market in wanted]
    heard = await first_of(source, wanted, ("state", "trades"))
    trades = tuple(heard.get("trades", {}).get("trades", ()))
    glance = Glance(status=status, books=tuple(map(book_of, books)), state=heard.get("state"), trades=trades)
    if as_json:
        render.record(_plain(glance), form=render.Format.JSON)
        return
    shown = console(sys.stdout)
    # Everything that was asked for is shown, below each other where it is no terminal.
    columns = shown.width if drawable(sys.stdout) else PRINTED_COLUMNS
    for book in glance.books[1:]:
        shown.print(ladder(book))
    shown.print(screen(replace(glance, books=glance.books[:1]), width=columns))


async def watch(source: Source, markets: Sequence[str], *, as_json: bool) -> None:
    """Show what goes on until the person leaves. Raises KflowError where the recorder refuses us."""
    view = View(Follower(source, markets, clock=SystemClock()))
    follower = view.follower
    with leaving(view.pressed) as left:
        drawing = drawable(sys.stdout) and not as_json
        await _first(follower.run(), left.wait(), view.draw() if drawing else _print(follower, as_json=as_json))


async def _first(*works: Coroutine[Any, Any, object]) -> None:
    """Run all until one ends. Raises what that one raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


class View:
    """A follower on a whole terminal, and what its person asked to see."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self._helps = False
        self._news = asyncio.Event()

    def pressed(self, meaning: str) -> None:
        """A key that leaves the view where it is."""
        if meaning == "help":
            self._helps = not self._helps
        else:
            self.follower.turn(1 if meaning == "next" else -1)
        self._news.set()

    async def draw(self) -> None:
        """Draw four times a second, and at once when a key was pressed."""
        with Screen(sys.stdout, whole=True) as shown:
            while True:
                self.follower.show(ladders_that_fit(shown.columns))
                shown.show(self.follower.glance(HELP if self._helps else FOOTER))
                self._news.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), FRAME_S)


async def _print(follower: Follower, *, as_json: bool) -> None:
    await follower.news.wait()
    while True:
        glance = follower.glance()
        if as_json:
            render.record(_plain(glance), form=render.Format.NDJSON)
        else:
            sys.stdout.write(line(glance) + "\n")
        sys.stdout.flush()
        await asyncio.sleep(LINE_S)


def _plain(glance: Glance) -> dict[str, Any]:
    return {
        "status": glance.status,
        "books": [orderbook_json(book) for book in glance.books],
        "age_s": None if glance.age_s is None else round(glance.age_s, 3),
        "actor": None if glance.state is None else glance.state["actor"],
        "trouble": glance.trouble or None,
    }
