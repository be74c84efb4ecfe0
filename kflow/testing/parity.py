"""A bot that trades on a local exchange as it likes and writes down what it sent, while somebody records the market."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx

from kflow.clock import SystemClock
from kflow.evaluate.parity.log import AccountLog, Amend, Order
from kflow.evaluate.parity.venue import AccountReader
from kflow.exchange.holders import Holder
from kflow.exchange.scene import SyntheticOptions
from kflow.exchange.server import ExchangeOptions
from kflow.exchange.synthetic import SyntheticSource
from kflow.exchange.terms import Terms
from kflow.kalshi.auth import ApiKey
from kflow.kalshi.environments import Environment, endpoints
from kflow.market.times import parse_rfc3339_us
from kflow.testing.client import RawClient, client
from kflow.testing.trader import Trader
from kflow.testing.venue import LocalVenue
from kflow.units import DOLLAR, parse_price, parse_size

_ORDERS: Final = "/portfolio/events/orders"
_CHANNELS: Final = ("orderbook_delta", "trade", "ticker")
# At the own best price, a step behind it, at the other side's; post-only where that crosses; more than cash covers.
_KINDS: Final = ("join", "join", "join", "behind", "cross", "cross", "post", "poor")


def _now_us() -> int:
    return time.time_ns() // 1000


class Bot:
    """Sends random orders to one market and remembers when."""

    def __init__(self, trader: Trader, market: str, seed: int) -> None:
        self._trader, self._market = trader, market
        self._random = random.Random(seed)  # noqa: S311 - a test's dice
        self.sent: list[Order] = []
        self._open: list[int] = []

    async def trade(self, count: int, pause_s: float) -> None:
        """`count` orders and changes, the first of which takes; then everything is withdrawn."""
        clock = SystemClock()
        await self._place("cross")
        for _ in range(count):
            roll = self._random.random()
            if roll < 0.2 and self._open:
                await self._cancel(self._open.pop(self._random.randrange(len(self._open))))
            elif roll < 0.3 and self._open:
                await self._amend(self._random.choice(self._open))
            else:
                await self._place(self._random.choice(_KINDS))
            await clock.sleep(self._random.random() * 2 * pause_s)
        for number in self._open:
            await self._cancel(number)

    async def _touch(self) -> tuple[int, int] | None:
        book = (await self._trader.public(f"/markets/{self._market}/orderbook")).json()["orderbook_fp"]
        yes, no = ([parse_price(level[0]) for level in book[name] or ()] for name in ("yes_dollars", "no_dollars"))
        return (max(yes), DOLLAR - max(no)) if yes and no else None

    async def _place(self, kind: str) -> None:
        touch = await self._touch()
        if touch is None:
            return
        side, dice = self._random.randrange(2), self._random
        bid, ask = touch
        near, far, better = (bid, ask, 1) if side == 0 else (ask, bid, -1)
        step = 100 if 1000 <= near <= 9000 else 10
        price = {"join": near, "behind": near - better * step, "cross": far, "post": far, "poor": near}[kind]
        price = min(max(price, step), DOLLAR - step)
        # The simulator refuses an order whose price meets an own one; nobody who was trained in it sends such.
        if any(self._meets(side, price, self.sent[number]) for number in self._open):
            return
        asked = _now_us()
        size = 50_000_000 if kind == "poor" else dice.choice([100, 250, 500, 1500, 4000])
        order = Order(
            order=f"bot-{len(self.sent)}",
            market=self._market,
            side=side,
            price=DOLLAR - price if side else price,
            size=size,
            us=0,
            sent_us=asked,
            immediate=kind == "cross" and dice.random() < 0.5,
            post_only=kind in ("post", "behind"),
        )
        body: dict[str, Any] = {
            "ticker": self._market,
            "side": "ask" if side else "bid",
            "price": f"{price / DOLLAR:.4f}",
            "count": f"{size / 100:.2f}",
            "time_in_force": "immediate_or_cancel" if order.immediate else "good_till_canceled",
            "self_trade_prevention_type": "maker",
            "post_only": order.post_only,
        }
        answer = await self._trader.send("POST", _ORDERS, body)
        told = answer.json()
        if answer.status_code == 201:
            order = replace(order, order=told["order_id"], us=told["ts_ms"] * 1000, answered_us=_now_us())
            if parse_size(told["remaining_count"]) and not order.immediate:
                self._open.append(len(self.sent))
        else:
            code, heard = told.get("error", told).get("code", "refused"), _now_us()
            order = replace(order, us=(asked + heard) // 2, guessed=True, answered_us=heard, refused=code)
        self.sent.append(order)

    def _meets(self, side: int, yes: int, other: Order) -> bool:
        theirs = other.amends[-1].price if other.amends else other.price
        theirs = DOLLAR - theirs if other.side else theirs
        return side != other.side and (yes >= theirs if side == 0 else yes <= theirs)

    async def _cancel(self, number: int) -> None:
        order, asked = self.sent[number], _now_us()
        answer = await self._trader.send("DELETE", f"{_ORDERS}/{order.order}?market_ticker={self._market}")
        arrived = answer.json()["ts_ms"] * 1000 if answer.status_code == 200 else _now_us()
        self.sent[number] = replace(order, cancel_sent_us=asked, cancelled_us=max(arrived, order.us))

    async def _amend(self, number: int) -> None:
        """To another price, one step away from the market, or to half the size."""
        order, asked, dice = self.sent[number], _now_us(), self._random
        now = (await self._trader.get(f"/portfolio/orders/{order.order}"))["order"]
        left, filled = (int(parse_size(now[name])) for name in ("remaining_count_fp", "fill_count_fp"))
        yes = int(parse_price(now["yes_price_dollars"]))
        if left < 200:
            return
        left, step = left // 2, 100 if dice.random() < 0.5 and 1000 < yes < 9000 else 0
        yes += step if order.side else -step
        body = {
            "ticker": self._market,
            "side": "ask" if order.side else "bid",
            "price": f"{yes / DOLLAR:.4f}",
            "count": f"{(left + filled) / 100:.2f}",
        }
        answer = await self._trader.send("POST", f"{_ORDERS}/{order.order}/amend", body)
        if answer.status_code == 200:
            done = (await self._trader.get(f"/portfolio/orders/{order.order}"))["order"]
            own = DOLLAR - yes if order.side else yes
            # A fill that came since has a later moment; then the answer's millisecond is all that is known.
            alone = parse_size(done["fill_count_fp"]) == parse_size(answer.json()["fill_count"])
            us = parse_rfc3339_us(done["last_update_time"]) if alone else answer.json()["ts_ms"] * 1000
            self.sent[number] = replace(order, amends=(*order.amends, Amend(us, asked, own, left)))


async def record(raw: RawClient, path: Path) -> None:
    """Write every frame that comes, as `kflow exchange serve --from` and `kflow simulate --from` read them."""
    with path.open("w", encoding="utf-8") as file:
        while True:
            frame = await raw.socket.recv()
            text = frame if isinstance(frame, str) else frame.decode()
            line = {"recv_ns": time.time_ns(), "conn": 1, "frame": json.loads(text)}
            file.write(json.dumps(line) + "\n")
            file.flush()


async def read_account(rest: str, key: ApiKey) -> AccountLog:
    """The account of a key at a local exchange, as REST tells it."""
    there = endpoints(Environment.LOCAL, exchange=rest)
    async with AccountReader(there, clock=SystemClock(), key=key) as reader:
        return await reader.read()


async def busiest(rest: str, http: httpx.AsyncClient) -> str:
    """The market with the most contracts at its best prices."""
    markets = (await http.get(f"{rest}/markets", params={"status": "open", "limit": 1000})).json()["markets"]
    sizes = {each["ticker"]: float(each["yes_ask_size_fp"]) + float(each["yes_bid_size_fp"]) for each in markets}
    return str(max(sizes, key=lambda ticker: sizes[ticker]))


async def trade_at(
    rest: str, key: ApiKey, *, seed: int = 7, orders: int = 60, pause_s: float = 0.03, market: str = ""
) -> AccountLog:
    """Trade for a while on an exchange that runs, and say what was sent. `market`: else the busiest."""
    async with httpx.AsyncClient(timeout=10) as http:
        market = market or await busiest(rest, http)
        bot = Bot(Trader(rest, key, http, SystemClock()), market, seed)
        await bot.trade(orders, pause_s)
    return AccountLog(tuple(bot.sent), source="bot")


async def live_run(
    folder: Path, *, seed: int = 7, orders: int = 60, pause_s: float = 0.03, rate: float | None = 400.0
) -> tuple[AccountLog, AccountLog, AccountLog, Path]:
    """Trade for a while on an exchange of our own: what the bot sent, its account before and after, the frames."""
    source = SyntheticSource(SyntheticOptions(preset="busy", markets=2, rate=rate, seed=seed))
    options = ExchangeOptions(source=source, terms=Terms(tier="unlimited"), users=1)
    frames = folder / "frames.jsonl"
    async with LocalVenue(source=source, options=options) as venue, httpx.AsyncClient(timeout=10) as http:
        holder: Holder = venue.exchange.holders[0]
        key = ApiKey.load(holder.key_id, holder.private_key_path)
        before = await read_account(venue.rest, key)
        market = await busiest(venue.rest, http)
        async with client(venue) as raw:
            await raw.subscribe(market, channels=_CHANNELS)
            writing = asyncio.create_task(record(raw, frames))
            await SystemClock().sleep(0.5)
            told = await trade_at(venue.rest, key, seed=seed, orders=orders, pause_s=pause_s, market=market)
            await SystemClock().sleep(0.5)
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
        after = await read_account(venue.rest, key)
    return told, before, after, frames
