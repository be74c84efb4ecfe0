"""A WebSocket server that sends prebuilt order book frames as fast as the reader takes them, or at a given rate.

It answers just enough of the venue's protocol for a recorder to subscribe. Run as a process of its own:
`python bench/blast.py --messages 200000 --rate 0 --markets 200`; it prints its port, serves one client, and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import websockets
from websockets.frames import Frame, Opcode

LEVELS = 25


def framed(text: str) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


def tickers(count: int) -> list[str]:
    return [f"KXBENCH-26NOV22-B{number:05d}" for number in range(count)]


class Feed:
    """Messages of one sid: snapshots, then deltas that never take more than rests. Zipf over markets."""

    def __init__(self, markets: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self._markets = tickers(markets)
        self._sizes = [{(side, price): 50_000 for side in (0, 1) for price in self._prices()} for _ in self._markets]
        self._picks: list[int] = []
        self.seq = 0

    @staticmethod
    def _prices() -> range:
        return range(2_000, 2_000 + 100 * LEVELS, 100)

    def snapshots(self) -> Iterator[str]:
        levels = json.dumps([[f"0.{price:04d}", "500.00"] for price in self._prices()])
        for market in self._markets:
            self.seq += 1
            yield (
                f'{{"type":"orderbook_snapshot","sid":1,"seq":{self.seq},"msg":{{"market_ticker":"{market}",'
                f'"market_id":"9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1","yes_dollars_fp":{levels},"no_dollars_fp":{levels}}}}}'
            )

    def delta(self, now_us: int) -> str:
        if not self._picks:
            weights = [1 / (rank + 1) for rank in range(len(self._markets))]
            self._picks = self._rng.choices(range(len(self._markets)), weights, k=10_000)
        market = self._picks.pop()
        side, price = self._rng.randrange(2), self._rng.choice(self._prices())
        resting = self._sizes[market][side, price]
        change = self._rng.choice((-1, 1)) * self._rng.randrange(100, 20_000)
        change = max(change, 100 - resting)
        self._sizes[market][side, price] = resting + change
        self.seq += 1
        stamp = datetime.fromtimestamp(now_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return (
            f'{{"type":"orderbook_delta","sid":1,"seq":{self.seq},"msg":{{"market_ticker":"{self._markets[market]}",'
            f'"market_id":"9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1","price_dollars":"0.{price:04d}",'
            f'"delta_fp":"{change / 100:.2f}","side":"{"no" if side else "yes"}",'
            f'"ts":"{stamp}.{now_us % 1_000_000:06d}Z","ts_ms":{now_us // 1000}}}}}'
        )


async def serve(messages: int, rate: float, markets: int) -> None:
    feed = Feed(markets, seed=7)
    opening = b"".join(framed(text) for text in feed.snapshots())
    blast: list[bytes] = []
    if not rate:
        begin_us = time.time_ns() // 1000
        frames = [framed(feed.delta(begin_us + 10 * i)) for i in range(messages)]
        blast = [b"".join(frames[i : i + 500]) for i in range(0, messages, 500)]
    over = asyncio.Event()

    async def client(connection: websockets.ServerConnection) -> None:
        """Acknowledge every command; send once order books are asked for."""
        sids = iter(range(2, 100))
        async for raw in connection:
            command = json.loads(raw)
            if command["cmd"] != "subscribe":
                continue
            channel = command["params"]["channels"][0]
            books = channel == "orderbook_delta"
            body = {"channel": channel, "sid": 1 if books else next(sids)}
            await connection.send(json.dumps({"id": command["id"], "type": "subscribed", "msg": body}))
            if books:
                asyncio.get_running_loop().create_task(send(connection))

    async def send(connection: websockets.ServerConnection) -> None:
        transport = connection.transport
        transport.set_write_buffer_limits(high=4 * 2**20)
        transport.write(opening)
        await drained(transport)
        if rate:
            await paced(transport)
        else:
            for piece in blast:
                transport.write(piece)
                await drained(transport)
        while transport.get_write_buffer_size():
            await asyncio.sleep(0.01)
        await connection.wait_closed()
        over.set()

    async def drained(transport: asyncio.Transport) -> None:
        while transport.get_write_buffer_size() > 2 * 2**20:
            await asyncio.sleep(0.001)

    async def paced(transport: asyncio.Transport) -> None:
        """Each message is stamped when it is written, in bursts of what a millisecond is due."""
        begun, sent = time.monotonic(), 0
        while sent < messages:
            due = min(messages, int((time.monotonic() - begun) * rate))
            if due > sent:
                transport.write(b"".join([framed(feed.delta(time.time_ns() // 1000)) for _ in range(due - sent)]))
                sent = due
            await asyncio.sleep(0.001)

    async with websockets.serve(client, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await over.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--markets", type=int, default=200)
    options = parser.parse_args()
    asyncio.run(serve(options.messages, options.rate, options.markets))
