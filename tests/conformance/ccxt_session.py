"""A session of ccxt on the exchange: `ccxt_session.py REST KEY_ID KEY_FILE` prints what it saw as one line of JSON.

Run by the interpreter that has ccxt. It only asks and writes down; `test_ccxt.py` judges.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ccxt
from ccxt.prediction import kalshi

FAR = 0.02  # a bid that rests wherever the market is


async def refusal(call: Awaitable[Any]) -> list[str]:
    """The error a call ended with: its class, and the venue's words."""
    try:
        await call
    except ccxt.BaseError as error:
        return [type(error).__name__, str(error)]
    return []


def from_middle(book: Any) -> float:
    """How far a market's mid is from 50 cents."""
    return abs(book["bids"][0][0] + book["asks"][0][0] - 1.0) if book["bids"] and book["asks"] else 1.0


async def look(exchange: kalshi) -> dict[str, Any]:
    await exchange.load_markets()
    tickers = sorted({str(market["id"]) for market in exchange.markets.values()})
    books = {ticker: await exchange.fetch_order_book(ticker) for ticker in tickers}
    market = min(tickers, key=lambda ticker: from_middle(books[ticker]))
    return {
        "tickers": tickers,
        "books": {ticker: [book["bids"], book["asks"]] for ticker, book in books.items()},
        "no_book": (await exchange.fetch_order_book(market + "-NO"))["bids"],
        "status": (await exchange.fetch_status())["status"],
        "ticker": (await exchange.fetch_ticker(market))["info"]["ticker"],
        "market": market,
    }


async def rest_and_cancel(exchange: kalshi, market: str) -> dict[str, Any]:
    placed = await exchange.create_order(market, "limit", "buy", 10, FAR)
    fetched = await exchange.fetch_order(placed["id"])
    still_open = await exchange.fetch_open_orders(market)
    edited = await exchange.edit_order(placed["id"], market, "limit", "buy", 7, FAR + 0.01)
    after_edit = await exchange.fetch_open_orders(market)
    canceled = await exchange.cancel_order(edited["id"])
    return {
        "placed": placed,
        "fetched": fetched,
        "open": still_open,
        "edited": edited,
        "after_edit": after_edit,
        "canceled": canceled,
        "again": await refusal(exchange.cancel_order(edited["id"])),
        "open_at_last": await exchange.fetch_open_orders(market),
    }


async def trade(exchange: kalshi, market: str) -> dict[str, Any]:
    before = await exchange.fetch_balance()
    bought = await exchange.create_order(market, "limit", "buy", 5, 0.99, {"time_in_force": "immediate_or_cancel"})
    fills = await exchange.fetch_my_trades(market)
    position = await exchange.fetch_positions([market])
    after = await exchange.fetch_balance()
    sold = await exchange.create_order(market, "limit", "sell", 5, 0.01, {"timeInForce": "IOC"})
    return {
        "before": before["info"],
        "bought": bought,
        "order": await exchange.fetch_order(bought["id"]),
        "fills": fills,
        "position": position,
        "after": after["info"],
        "sold": sold,
        "flat": await exchange.fetch_positions([market]),
        "last": (await exchange.fetch_balance())["info"],
        "all_fills": await exchange.fetch_my_trades(),
        "closed": await exchange.fetch_closed_orders(market),
        "settlements": await exchange.fetch_settlements(),
    }


async def be_refused(exchange: kalshi, market: str) -> dict[str, Any]:
    whole = {"time_in_force": "fill_or_kill"}
    return {
        "unknown_market": await refusal(exchange.kalshiPublicGetMarketsTicker({"ticker": "KXNONE-26-1"})),
        "off_grid": await refusal(exchange.create_order(market, "limit", "buy", 1, 0.1234)),
        "too_dear": await refusal(exchange.create_order(market, "limit", "buy", 100_000_000, FAR)),
        "killed": await refusal(exchange.create_order(market, "limit", "buy", 20_000, FAR, whole)),
        "unknown_order": await refusal(exchange.fetch_order("00000000-0000-4000-8000-00000000ffff")),
        "retired": await refusal(exchange.kalshiPrivatePostPortfolioOrders({"ticker": market, "count": 1})),
    }


async def cancel_all(exchange: kalshi, market: str) -> dict[str, Any]:
    for price in (FAR, FAR + 0.01):
        await exchange.create_order(market, "limit", "buy", 1, price)
    await exchange.create_order(market + "-NO", "limit", "buy", 1, FAR)
    canceled = await exchange.cancel_all_orders(market)
    return {"canceled": canceled, "left": await exchange.fetch_open_orders()}


async def main(rest: str, key_id: str, private_key: str) -> None:
    exchange = kalshi({"apiKey": key_id, "privateKey": private_key, "enableRateLimit": False})
    # Both, or it speaks to the public host.
    exchange.urls["api"] = {"kalshi": rest, "elections": f"http://{urlsplit(rest).netloc}/v1"}
    try:
        seen: dict[str, Any] = {"version": ccxt.__version__, "looked": await look(exchange)}
        market = seen["looked"]["market"]
        seen["rested"] = await rest_and_cancel(exchange, market)
        seen["traded"] = await trade(exchange, market)
        seen["refused"] = await be_refused(exchange, market)
        seen["swept"] = await cancel_all(exchange, market)
    finally:
        await exchange.close()
    print(json.dumps(seen))


if __name__ == "__main__":
    rest, key_id, key_file = sys.argv[1:]
    asyncio.run(main(rest, key_id, Path(key_file).read_text()))
