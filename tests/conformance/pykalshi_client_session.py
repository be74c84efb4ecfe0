"""A session of pykalshi-client on the exchange: `… HTTP_BASE WS_BASE KEY_ID KEY_FILE` prints what it saw as JSON.

Run by the interpreter that has pykalshi-client, whose own models read every answer and whose socket ends with an error
at the first gap in a sequence. It only asks and writes down; `test_pykalshi_client.py` judges.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel
from pykalshi import _version
from pykalshi.auth import KalshiCredentials
from pykalshi.config import ClientConfig
from pykalshi.exceptions import KalshiAPIError
from pykalshi.http_client import KalshiHttpClient
from pykalshi.models.core import Market
from pykalshi.ws_client import KalshiWebSocketClient

PUBLIC = ("orderbook_delta", "trade")
PRIVATE = ("fill", "user_orders", "market_positions", "order_group_updates")
ENOUGH = 300  # frames of the books before and after
PATIENCE_S = 30.0
LIMIT: dict[str, Any] = {"time_in_force": "good_till_canceled", "self_trade_prevention_type": "taker_at_cross"}


def plain(model: BaseModel) -> Any:
    return model.model_dump(mode="json", by_alias=True)


async def refusal(call: Awaitable[Any]) -> list[Any]:
    """The status and body of the error that a call ended with."""
    try:
        await call
    except KalshiAPIError as error:
        return [error.status_code, json.loads(error.body)]
    return []


class Stream:
    """Every frame in order, and a way to wait for one."""

    def __init__(self, credentials: KalshiCredentials, config: ClientConfig) -> None:
        self.frames: list[dict[str, Any]] = []
        self._arrived = asyncio.Event()
        self.client = KalshiWebSocketClient(credentials, config, on_message_callback=self._keep)
        self._listener: asyncio.Task[None] | None = None

    async def _keep(self, raw: str) -> None:
        self.frames.append(json.loads(raw))
        self._arrived.set()

    async def open(self) -> None:
        await self.client.connect()
        self._listener = asyncio.create_task(self.client.listener_loop())

    async def until(self, enough: Callable[[dict[str, Any]], bool], *, times: int = 1) -> None:
        """Wait until so many frames are such. A listener that ends, as at a gap, ends this with its error."""
        assert self._listener is not None
        async with asyncio.timeout(PATIENCE_S):
            while sum(map(enough, self.frames)) < times:
                if self._listener.done():
                    self._listener.result()
                self._arrived.clear()
                waiting = asyncio.create_task(self._arrived.wait())
                await asyncio.wait({waiting, self._listener}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()

    async def close(self) -> None:
        assert self._listener is not None
        if self._listener.done():
            self._listener.result()
        await self.client.close()
        self._listener.cancel()


def of_type(*types: str) -> Callable[[dict[str, Any]], bool]:
    return lambda frame: frame["type"] in types


def body(type_: str, **fields: Any) -> Callable[[dict[str, Any]], bool]:
    return lambda frame: frame["type"] == type_ and fields.items() <= frame["msg"].items()


def from_middle(market: Market) -> float:
    """How far a market's mid is from 50 cents."""
    return abs(float(market.yes_bid_dollars) + float(market.yes_ask_dollars) - 1.0)


async def look(http: KalshiHttpClient, markets: list[Market]) -> dict[str, Any]:
    tickers = [market.ticker for market in markets]
    return {
        "status": plain(await http.get_exchange_status()),
        "schedule": plain(await http.get_exchange_schedule()),
        "data_as_of": plain(await http.get_user_data_timestamp()),
        "limits": plain(await http.get_api_limits()),
        "costs": plain(await http.get_endpoint_costs()),
        "tickers": tickers,
        "market": plain(await http.get_market(tickers[0])),
        "book": plain(await http.get_market_orderbook(tickers[0])),
        "books": plain(await http.get_market_orderbooks(tickers)),
        "event": plain(await http.get_event(markets[0].event_ticker)),
        "keys": plain(await http.get_api_keys()),
    }


async def change_orders(http: KalshiHttpClient, market: str) -> dict[str, Any]:
    """Orders that rest far below the market: amended, decreased, canceled, in batches."""
    placed = await http.create_event_order(
        ticker=market, client_order_id="far-1", side="bid", count="10", price="0.02", **LIMIT
    )
    seen = {"placed": plain(placed), "fetched": plain(await http.get_order(placed.order_id))}
    seen["duplicate"] = await refusal(
        http.create_event_order(ticker=market, client_order_id="far-1", side="bid", count="1", price="0.02", **LIMIT)
    )
    amended = await http.amend_event_order(
        placed.order_id, ticker=market, side="bid", price="0.03", count="8.00",
        client_order_id="far-1", updated_client_order_id="far-2",
    )  # fmt: skip
    seen["amended"] = plain(amended)
    seen["decreased"] = plain(await http.decrease_event_order(amended.order_id, reduce_to="5"))
    seen["queue"] = plain(await http.get_order_queue_position(amended.order_id))
    seen["queues"] = plain(await http.get_queue_positions(market_tickers=market))
    seen["resting"] = plain(await http.get_orders(ticker=market, status="resting"))
    seen["canceled"] = plain(await http.cancel_event_order(amended.order_id))
    seen["again"] = await refusal(http.cancel_event_order(amended.order_id))
    batch = [
        {"ticker": market, "client_order_id": f"batch-{i}", "side": side, "count": "1.50", "price": price, **LIMIT}
        for i, (side, price) in enumerate([("bid", "0.02"), ("ask", "0.98"), ("bid", "0.0111")])
    ]
    seen["batch"] = plain(await http.batch_create_event_orders(batch))
    made = [{"order_id": order["order_id"]} for order in seen["batch"]["orders"] if order.get("order_id")]
    seen["batch_canceled"] = plain(await http.batch_cancel_event_orders([*made, {"order_id": placed.order_id}]))
    seen["canceled_orders"] = plain(await http.get_orders(ticker=market, status="canceled"))
    seen["retired"] = await refusal(http.create_order(ticker=market, side="yes", action="buy", count=1, yes_price=2))
    return seen


async def use_group(http: KalshiHttpClient, market: str) -> dict[str, Any]:
    """An order group whose orders fall when it is triggered, and that takes orders again when reset."""
    group = (await http.create_order_group(100)).order_group_id
    order: dict[str, Any] = {"ticker": market, "side": "bid", "count": "1", "price": "0.02", "order_group_id": group}
    placed = await http.create_event_order(client_order_id="group-1", **order, **LIMIT)
    seen = {"id": group, "listed": plain(await http.get_order_groups())}
    seen["filled"] = plain(await http.get_order_group(group))
    await http.trigger_order_group(group)
    seen["triggered"] = plain(await http.get_order_group(group))
    seen["fallen"] = plain(await http.get_order(placed.order_id))
    seen["refused"] = await refusal(http.create_event_order(client_order_id="group-2", **order, **LIMIT))
    await http.reset_order_group(group)
    again = await http.create_event_order(client_order_id="group-3", **order, **LIMIT)
    await http.delete_order_group(group)
    seen["deleted_with"] = plain(await http.get_order(again.order_id))
    seen["left"] = plain(await http.get_order_groups())
    return seen


async def trade(http: KalshiHttpClient, stream: Stream, market: str) -> dict[str, Any]:
    """Buy at any price, hear of it, and sell again."""
    take = {**LIMIT, "time_in_force": "immediate_or_cancel"}
    before = plain(await http.get_balance())
    bought = await http.create_event_order(
        ticker=market, client_order_id="take-1", side="bid", count="5.25", price="0.99", **take
    )
    await stream.until(body("user_order", order_id=bought.order_id, status="executed"))
    await stream.until(body("fill", order_id=bought.order_id))
    await stream.until(body("market_position", market_ticker=market, position_fp="5.25"))
    seen = {
        "before": before,
        "bought": plain(bought),
        "held": plain(await http.get_positions(ticker=market)),
        "after": plain(await http.get_balance()),
    }
    sold = await http.create_event_order(
        ticker=market, client_order_id="take-2", side="ask", count="5.25", price="0.01", **take
    )
    await stream.until(body("market_position", market_ticker=market, position_fp="0.00"))
    seen["killed"] = await refusal(
        http.create_event_order(
            ticker=market, client_order_id="take-3", side="bid", count="20000", price="0.01",
            **{**LIMIT, "time_in_force": "fill_or_kill"},
        )
    )  # fmt: skip
    return seen | {
        "sold": plain(sold),
        "fills": plain(await http.get_fills()),
        "orders": plain(await http.get_orders(status="executed")),
        "flat": plain(await http.get_positions(ticker=market)),
        "last": plain(await http.get_balance()),
        "settlements": plain(await http.get_settlements()),
        "deposits": plain(await http.get_deposits()),
        "withdrawals": plain(await http.get_withdrawals()),
    }


async def main(http_base: str, ws_base: str, key_id: str, key_file: str) -> None:
    config = ClientConfig(http_base_url=http_base, ws_base_url=ws_base)
    credentials = KalshiCredentials.from_key_file(key_id, key_file)
    async with KalshiHttpClient(credentials, config) as http:
        markets = (await http.get_markets(status="open")).markets
        seen: dict[str, Any] = {"version": _version.__version__, "looked": await look(http, markets)}
        tickers: list[str] = seen["looked"]["tickers"]
        stream = Stream(credentials, config)
        await stream.open()
        await stream.client.add_markets(tickers[:1], list(PUBLIC))
        await stream.client.add_markets(tickers, list(PRIVATE))
        await stream.until(of_type("subscribed"), times=len(PUBLIC) + len(PRIVATE))
        await stream.client.add_markets(tickers[1:], list(PUBLIC))  # merges, and takes a number of the sequence
        await stream.until(of_type("orderbook_snapshot"), times=len(tickers))
        market = min(markets, key=from_middle).ticker
        seen["market"] = market
        seen["changed"] = await change_orders(http, market)
        seen["grouped"] = await use_group(http, market)
        seen["traded"] = await trade(http, stream, market)
        await stream.until(of_type("orderbook_delta"), times=ENOUGH)
        await stream.client.request_snapshot(tickers)
        await stream.until(of_type("orderbook_snapshot"), times=2 * len(tickers))
        await stream.client.remove_market(tickers[-1], ["orderbook_delta"])
        so_far = sum(map(of_type("orderbook_delta"), stream.frames))
        await stream.until(of_type("orderbook_delta"), times=so_far + ENOUGH)
        seen["subscriptions"] = {name: state.sid for name, state in stream.client.channels.items()}
        await stream.close()
    print(json.dumps(seen | {"frames": stream.frames}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
