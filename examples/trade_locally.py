"""A bot in a hundred lines: trade on a local exchange with nothing of kflow's but the exchange itself.

    python examples/trade_locally.py

It starts `kflow exchange serve`, signs as the venue wants it, buys at the market, quotes one side, listens to its own
fills, and reads what it holds. Point REST and WS at the venue's demo and the same lines trade there.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from websockets.asyncio.client import connect

KFLOW = Path(sysconfig.get_path("scripts")) / "kflow"
ORDERS = "/portfolio/events/orders"


class Bot:
    """One user of a venue."""

    def __init__(self, ready: dict[str, Any]) -> None:
        key = load_pem_private_key(Path(ready["private_key_path"]).read_bytes(), password=None)
        assert isinstance(key, RSAPrivateKey)
        self._key, self._key_id = key, ready["key_id"]
        self.rest, self.ws = ready["rest"], ready["ws"]

    def headers(self, method: str, url: str) -> dict[str, str]:
        """What signs a request: the time, the method, and the path without its query."""
        now_ms = str(time.time_ns() // 1_000_000)
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        signature = self._key.sign(f"{now_ms}{method}{urlsplit(url).path}".encode(), pss, hashes.SHA256())
        return {
            "KALSHI-ACCESS-KEY": self._key_id,
            "KALSHI-ACCESS-TIMESTAMP": now_ms,
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
        }

    async def call(self, client: httpx.AsyncClient, method: str, path: str, **body: Any) -> Any:
        url = self.rest + path
        answer = await client.request(method, url, headers=self.headers(method, url), json=body or None)
        answer.raise_for_status()
        return answer.json()

    async def order(self, client: httpx.AsyncClient, side: str, price: str, **more: Any) -> Any:
        ticket = {"ticker": self.ticker, "side": side, "count": "10", "price": price, **more}
        ticket = {"time_in_force": "good_till_canceled", "self_trade_prevention_type": "taker_at_cross", **ticket}
        return await self.call(client, "POST", ORDERS, **ticket)

    async def trade(self) -> None:
        async with httpx.AsyncClient() as client:
            await self.choose_market(client)
            async with connect(self.ws, additional_headers=self.headers("GET", self.ws)) as socket:
                channels = {"channels": ["fill", "user_orders"], "market_tickers": [self.ticker]}
                await socket.send(json.dumps({"id": 1, "cmd": "subscribe", "params": channels}))
                bought = await self.order(client, "bid", self.ask, time_in_force="immediate_or_cancel")
                print(f"bought {bought['fill_count']} at {bought['average_fill_price']}")
                print(f"fee {bought['average_fee_paid']} a contract")
                quote = await self.order(client, "ask", self.ask, post_only=True)
                await self.listen(socket, quote["order_id"])
            await self.report(client)

    async def choose_market(self, client: httpx.AsyncClient) -> None:
        markets = (await client.get(f"{self.rest}/markets", params={"status": "open"})).json()["markets"]
        market = max(markets, key=lambda entry: float(entry["yes_ask_size_fp"]))
        self.ticker, self.ask = market["ticker"], market["yes_ask_dollars"]
        print(f"{self.ticker}: {market['yes_bid_dollars']} bid, {self.ask} asked")

    async def listen(self, socket: Any, order_id: str) -> None:
        """Show fills until our quote is done, or ten seconds have passed."""
        try:
            async with asyncio.timeout(10):
                async for text in socket:
                    frame = json.loads(text)
                    told = frame.get("msg", {})
                    if frame["type"] == "fill":
                        print(f"fill: {told['book_side']} {told['count_fp']} at {told['yes_price_dollars']}")
                    elif frame["type"] == "user_order" and told["order_id"] == order_id and told["status"] != "resting":
                        return
        except TimeoutError:
            print("our quote is still in its queue")

    async def report(self, client: httpx.AsyncClient) -> None:
        held = await self.call(client, "GET", f"/portfolio/positions?ticker={self.ticker}")
        balance = await self.call(client, "GET", "/portfolio/balance")
        for position in held["market_positions"]:
            print(f"holding {position['position_fp']}, fees so far {position['fees_paid_dollars']}")
        print(f"free: {balance['balance_dollars']} dollars")


def main() -> int:
    with subprocess.Popen([KFLOW, "exchange", "serve", "--seed", "7"], stdout=subprocess.PIPE, text=True) as exchange:
        assert exchange.stdout is not None
        try:
            asyncio.run(Bot(json.loads(exchange.stdout.readline())).trade())
        finally:
            exchange.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
