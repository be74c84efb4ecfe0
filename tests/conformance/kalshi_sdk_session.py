"""A session of kalshi-sdk on the exchange: `kalshi_sdk_session.py REST WS KEY_ID KEY_FILE` prints what it saw as JSON.

Run by the interpreter that has kalshi-sdk, whose models read every frame of the stream: one that lacks a field never
arrives. It only asks and writes down; `test_kalshi_sdk.py` judges.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from importlib.metadata import version
from typing import Any
from uuid import uuid4

from kalshi import AsyncKalshiClient, KalshiAuth, KalshiConfig, KalshiError
from kalshi.models.orders import (
    AmendOrderV2Request,
    BatchCancelOrdersV2Request,
    BatchCancelOrdersV2RequestOrder,
    BatchCreateOrdersV2Request,
    CreateOrderV2Request,
    DecreaseOrderV2Request,
)
from kalshi.ws.models.base import ErrorMessage
from pydantic import BaseModel

PATIENCE_S = 30.0
Messages = dict[str, list[Any]]


class Stream:
    """Messages by channel, as the client's models read them, and a way to wait for more."""

    def __init__(self) -> None:
        self.messages: Messages = {}
        self.errors: list[Any] = []
        self._arrived = asyncio.Event()

    async def keep(self, channel: str, source: AsyncIterator[BaseModel]) -> None:
        async for message in source:
            self.messages.setdefault(channel, []).append(message.model_dump(mode="json"))
            self._arrived.set()

    async def error(self, message: ErrorMessage) -> None:
        self.errors.append(message.model_dump(mode="json"))

    async def until(self, enough: Callable[[Messages], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not enough(self.messages):
                self._arrived.clear()
                await self._arrived.wait()


def at_least(count: int, *channels: str) -> Callable[[Messages], bool]:
    return lambda messages: all(len(messages.get(channel, [])) >= count for channel in channels)


def order(ticker: str, side: str, count: str, price: str, **more: Any) -> CreateOrderV2Request:
    facts = {
        "time_in_force": "good_till_canceled",
        "self_trade_prevention_type": "maker",
        "client_order_id": str(uuid4()),
    }
    return CreateOrderV2Request(
        ticker=ticker, side=side, count=Decimal(count), price=Decimal(price), **{**facts, **more}
    )


async def change_orders(client: AsyncKalshiClient, ticker: str) -> dict[str, Any]:
    orders = client.orders
    placed = await orders.create_v2(request=order(ticker, "bid", "10", "0.02", post_only=True, client_order_id="sdk-1"))
    amended = await orders.amend_v2(
        placed.order_id,
        request=AmendOrderV2Request(ticker=ticker, side="bid", price=Decimal("0.03"), count=Decimal("8.5")),
    )
    decreased = await orders.decrease_v2(amended.order_id, request=DecreaseOrderV2Request(reduce_by=Decimal("2.5")))
    resting = await orders.get(amended.order_id)
    queue = await orders.queue_position(amended.order_id)
    canceled = await orders.cancel_v2(amended.order_id, market_ticker=ticker)
    batch = await orders.batch_create_v2(
        request=BatchCreateOrdersV2Request(
            orders=[order(ticker, "bid", "1", "0.02"), order(ticker, "ask", "1", "0.98")]
        )
    )
    ids = [BatchCancelOrdersV2RequestOrder(order_id=str(made.order_id)) for made in batch.orders]
    swept = await orders.batch_cancel_v2(request=BatchCancelOrdersV2Request(orders=ids))
    try:
        await orders.create_v2(request=order(ticker, "bid", "1", "0.02", client_order_id="sdk-1"))
        duplicate = ""
    except KalshiError as error:
        duplicate = type(error).__name__
    seen = {"placed": placed, "amended": amended, "decreased": decreased, "resting": resting, "canceled": canceled}
    documents = {name: model.model_dump(mode="json") for name, model in seen.items()}
    reduced = [str(made.reduced_by) for made in swept.orders]
    return {**documents, "queue": str(queue), "swept": reduced, "duplicate": duplicate}


async def trade(client: AsyncKalshiClient, stream: Stream, ticker: str) -> dict[str, Any]:
    group = await client.order_groups.create(contracts_limit=50)
    take = {"time_in_force": "immediate_or_cancel", "order_group_id": group.order_group_id}
    bought = await client.orders.create_v2(request=order(ticker, "bid", "4", "0.99", **take))
    await stream.until(lambda got: sum(Decimal(fill["msg"]["count"]) for fill in got.get("fill", [])) >= 4)
    positions = await client.portfolio.positions()
    await client.orders.create_v2(request=order(ticker, "ask", "4", "0.01", **take))
    await stream.until(lambda got: sum(Decimal(fill["msg"]["count"]) for fill in got.get("fill", [])) >= 8)
    await client.order_groups.update_limit(group.order_group_id, contracts_limit=40)
    await client.order_groups.trigger(group.order_group_id)
    await client.order_groups.delete(group.order_group_id)
    await stream.until(at_least(4, "order_group"))
    fills = [fill.model_dump(mode="json") async for fill in client.portfolio.fills_all(ticker=ticker)]
    return {
        "bought": bought.model_dump(mode="json"),
        "positions": positions.model_dump(mode="json"),
        "fills": fills,
        "balance": (await client.portfolio.balance()).model_dump(mode="json"),
        "limits": (await client.account.limits()).model_dump(mode="json"),
    }


async def main(rest: str, ws: str, key_id: str, key_file: str) -> None:
    config, auth = KalshiConfig(base_url=rest, ws_base_url=ws), KalshiAuth.from_key_path(key_id, key_file)
    async with AsyncKalshiClient(auth=auth, config=config) as client:
        markets = [market async for market in client.markets.list_all(status="open")]
        ticker = min(markets, key=lambda market: abs(market.yes_bid + market.yes_ask - 1)).ticker
        tickers = [market.ticker for market in markets]
        stream = Stream()
        async with client.ws.connect() as session:
            session._on_error = stream.error
            sources = {
                "fill": await session.subscribe_fill(),
                "user_orders": await session.subscribe_user_orders(),
                "market_positions": await session.subscribe_market_positions(),
                "order_group": await session.subscribe_order_group(),
                "trade": await session.subscribe_trade(tickers=tickers),
                "ticker": await session.subscribe_ticker(tickers=tickers),
                # Last: while it subscribes to another channel it drops what comes for those before.
                "orderbook": await session.subscribe_orderbook_delta(tickers=tickers),
            }
            tasks = [asyncio.create_task(stream.keep(channel, source)) for channel, source in sources.items()]
            seen = {"changed": await change_orders(client, ticker), "traded": await trade(client, stream, ticker)}
            await stream.until(at_least(200, "orderbook"))
            await stream.until(at_least(1, "ticker", "trade", "market_positions", "user_orders"))
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)
    told = {"version": version("kalshi-sdk"), "market": ticker, "errors": stream.errors, "messages": stream.messages}
    print(json.dumps(seen | told, default=str))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
