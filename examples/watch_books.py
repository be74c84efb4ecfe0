"""Follows books live from a recorder's stream, checks that no change was missed, and prints the best prices.

    kflow ingest --market INXD-25JAN03 --duration 60             # in another terminal
    python examples/watch_books.py [--url ws://127.0.0.1:8001/rl/ws] [--seconds 10]

It needs the package websockets and nothing of kflow's: what the messages mean stands in docs/http.md. Prices 1e-4
dollar, sizes 1e-2 contract; a NO bid at p is a YES ask at $1 - p. A book that is not live may be wrong by now.
"""

import argparse
import asyncio
import json
from typing import Any

from websockets.asyncio.client import connect

Book = dict[str, Any]  # version, live, and a dict of price to size for either side


def apply(books: dict[str, Book], told: dict[str, Any]) -> Book:
    """What a snapshot or a delta makes of its market's book. Raises ValueError where a change was missed."""
    if told["type"] == "snapshot":
        book = books[told["market"]] = {"yes": {}, "no": {}}
    else:
        book = books[told["market"]]
        if told["from_version"] != book["version"]:
            raise ValueError(f"{told['market']}: changes from {book['version']} to {told['from_version']} are missing")
    for side in ("yes", "no"):
        book[side] |= dict(told[side])  # sizes afterwards
        book[side] = {price: size for price, size in book[side].items() if size}
    return book | {"version": told["version"], "live": told["live"]}


async def watch(url: str, seconds: float) -> None:
    books: dict[str, Book] = {}
    async with asyncio.timeout(seconds), connect(url) as socket:
        async for text in socket:
            told = json.loads(text)
            if told["type"] in ("snapshot", "delta"):
                book = books[told["market"]] = apply(books, told)
                bid, ask = max(book["yes"], default=None), 10_000 - max(book["no"], default=0)
                state = "live" if book["live"] else "STALE"
                print(f"{told['market']} version {book['version']}, {state}: {bid} bid, {ask} asked")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:8001/rl/ws", help="with ?market=TICKER: of one market only")
    parser.add_argument("--seconds", type=float, default=10.0)
    chosen = parser.parse_args()
    try:
        asyncio.run(watch(chosen.url, chosen.seconds))
    except TimeoutError:
        print("watched long enough; nothing was missed")


if __name__ == "__main__":
    main()
