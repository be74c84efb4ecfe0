"""Own orders in the ladder are those that the exchange has, until the page halts the actor: all of it is real."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from kflow.act.standing import Standing
from kflow.market.events import Side
from kflow.testing.actor import Ground, field
from kflow.testing.browser import Look
from kflow.testing.postgres import Database
from kflow.testing.process import Shell

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

LATE_S = 5.0  # the actor writes each second, and the recorder tells each second
Own = dict[tuple[str, int], int]


def resting(ground: Ground, market: str) -> Own:
    """What the exchange has of ours in a market: what is left, by side and price."""
    found: Counter[tuple[str, int]] = Counter()
    for order in ground.account.orders.values():
        if order.resting and order.ticket.ticker == market:
            side = "yes" if order.side is Side.YES else "no"
            found[side, int(order.own_price)] += int(order.remaining)
    return dict(found)


class Truth:
    """What rested at the exchange, by market, as often as can be looked: the crowd goes on trading with what rests."""

    def __init__(self, ground: Ground) -> None:
        self.ground, self.past = ground, deque[tuple[float, dict[str, Own]]]()

    async def look(self) -> None:
        while True:
            now = time.monotonic()
            self.past.append((now, {market: resting(self.ground, market) for market in self.ground.actor.actor.seats}))
            while self.past[0][0] < now - LATE_S:
                self.past.popleft()
            await asyncio.sleep(0.02)

    def lately(self, market: str) -> list[Own]:
        """Each different state of the last seconds."""
        found: list[Own] = []
        for _, one in self.past:
            if not found or one[market] != found[-1]:
                found.append(one[market])
        return found


async def agrees(look: Look, truth: Truth, market: str) -> None:
    """Look until orders are shown, and they are just those that rested a moment ago."""
    await look.choose(market)
    async with asyncio.timeout(30):
        while True:
            ladder = await look.ladder()
            assert ladder.misread == []
            if ladder.own and ladder.own in truth.lately(market):
                return
            await asyncio.sleep(0.1)


async def kill(look: Look, token: str) -> None:
    """As a person does."""
    await look.page.click("#kill-open")
    await look.page.fill("#kill-token", token)
    await look.page.fill("#kill-reason", "a drill")
    await look.page.click("#kill-send")
    await expect(look.page.locator("#kill-result")).to_contain_text("Halted")
    await look.page.keyboard.press("Escape")


async def test_own_orders_are_those_that_the_exchange_has_until_they_are_killed(
    tmp_path: Path, database: Database, look_at: Any
) -> None:
    quoting = {"strategy": "hardcoded:join", "preset": "quiet", "seed": 11}
    async with field(tmp_path, database.dsn, **quoting) as ground:  # type: ignore[arg-type]
        keys = {"KALSHI_API_KEY_ID": ground.exchange.key_id}
        keys["KALSHI_PRIVATE_KEY_PATH"] = str(ground.exchange.private_key_path)
        keys["KFLOW__KALSHI__EXCHANGE"] = ground.exchange.rest.removesuffix("/trade-api/v2")
        shell = Shell(tmp_path, {**keys, "DATABASE_URL": database.dsn, "KFLOW__WEB__PORT": "0"})
        await ground.start()
        truth = Truth(ground)
        watching = asyncio.create_task(truth.look())
        with await asyncio.to_thread(shell.start, "ingest", "--all") as ingest:
            line = await asyncio.to_thread(ingest.wait_for, "look at")
            async with look_at(line.split()[-1].rstrip("/")) as look:
                await look.is_("live")
                for market in ground.actor.actor.seats:
                    await agrees(look, truth, market)
                await kill(look, (tmp_path / "data" / "web-token").read_text().strip())
                assert ground.standing.now().overall.standing is Standing.HALTED
                # The recorder has no key: it is the actor that reads the halt, and cancels.
                await ground.until(lambda: not ground.account.open_count, "nothing of ours to rest", 10)
                await expect(look.page.locator("#orders-none")).to_be_visible()
                assert (await look.ladder()).own == {}
                await look.calm()
        watching.cancel()
        await ground.stop()
