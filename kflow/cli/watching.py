"""Looking at a running recorder: once, line by line, or on the whole terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from kflow.cli import render
from kflow.cli.console import console, drawable
from kflow.cli.follow import Follower, Source, asked, book_of
from kflow.cli.keys import leaving
from kflow.cli.panels import Glance, line, screen
from kflow.cli.screen import Screen
from kflow.clock import SystemClock
from kflow.web.orderbook import orderbook_json

FRAME_S: Final = 0.25
LINE_S: Final = 1.0


async def once(source: Source, markets: Sequence[str], *, as_json: bool) -> None:
    async with source.client() as http:
        status = await asked(http, "/rl/status")
        wanted = markets or status["markets"][:1]
        books = [await asked(http, "/rl/orderbook/snapshot", {"market": market}) for market in wanted]
    glance = Glance(status=status, books=tuple(map(book_of, books)))
    if as_json:
        render.record(_plain(glance), form=render.Format.JSON)
    else:
        console(sys.stdout).print(screen(glance))


async def watch(source: Source, markets: Sequence[str], *, as_json: bool) -> None:
    follower = Follower(source, markets, clock=SystemClock())
    with leaving() as left:
        drawing = drawable(sys.stdout) and not as_json
        await _first(follower.run(), left.wait(), _draw(follower) if drawing else _print(follower, as_json=as_json))


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


async def _draw(follower: Follower) -> None:
    with Screen(sys.stdout, whole=True) as shown:
        while True:
            shown.show(follower.glance("q quits"))
            await asyncio.sleep(FRAME_S)


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
        "trouble": glance.trouble or None,
    }
