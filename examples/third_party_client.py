"""Somebody else's Kalshi client on the local exchange: places an order, sees it, cancels it, and buys at the market.

    .venvs/kalshi-sdk/bin/python examples/third_party_client.py

It needs kalshi-sdk: `pip install kalshi-sdk`, or the environment that `make clients` makes. It starts `kflow exchange
serve` of its own and tells the client that exchange's addresses and key; nothing else is changed. ccxt, kalshi-python
and pykalshi-client work as well (tests/conformance).
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

from kalshi import AsyncKalshiClient, KalshiAuth, KalshiConfig
from kalshi.models.orders import CreateOrderV2Request

KFLOW = shutil.which("kflow") or str(Path(__file__).parents[1] / ".venv" / "bin" / "kflow")


def order(ticker: str, count: int, price: Decimal, time_in_force: str) -> CreateOrderV2Request:
    """A bid for YES; `price` in dollars."""
    return CreateOrderV2Request(
        ticker=ticker,
        side="bid",
        count=Decimal(count),
        price=price,
        time_in_force=time_in_force,
        self_trade_prevention_type="maker",
        client_order_id=str(uuid4()),
    )


async def trade(ready: dict[str, str]) -> None:
    auth = KalshiAuth.from_key_path(ready["key_id"], ready["private_key_path"])
    async with AsyncKalshiClient(
        auth=auth, config=KalshiConfig(base_url=ready["rest"], ws_base_url=ready["ws"])
    ) as client:
        markets = [market async for market in client.markets.list_all(status="open")]
        market = min(markets, key=lambda market: abs(market.yes_bid + market.yes_ask - 1))
        print(f"{len(markets)} markets; {market.ticker}: {market.yes_bid} bid, {market.yes_ask} asked")

        placed = await client.orders.create_v2(request=order(market.ticker, 10, Decimal("0.02"), "good_till_canceled"))
        seen = await client.orders.get(placed.order_id)
        print(f"placed: {seen.status}, {seen.remaining_count} left at {seen.yes_price}")
        await client.orders.cancel_v2(placed.order_id)
        print(f"cancelled: {(await client.orders.get(placed.order_id)).status}")

        bought = await client.orders.create_v2(request=order(market.ticker, 4, Decimal("0.99"), "immediate_or_cancel"))
        print(f"bought {bought.fill_count} at {bought.average_fill_price}")
        print(f"left: {(await client.portfolio.balance()).balance} cents")


def main() -> None:
    with subprocess.Popen([KFLOW, "exchange", "serve", "--seed", "7"], stdout=subprocess.PIPE, text=True) as exchange:
        assert exchange.stdout is not None
        try:
            asyncio.run(trade(json.loads(exchange.stdout.readline())))
        finally:
            exchange.terminate()


if __name__ == "__main__":
    main()
