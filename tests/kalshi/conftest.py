"""A venue of a few lines: real HTTP on loopback, serving what a test puts into it and keeping what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from kflow.clock import ManualClock
from kflow.kalshi.environments import Endpoints, Environment, endpoints

START_NS = 1_795_361_565_500_000_000  # 2026-11-22T14:12:45.5Z
PREFIX = "/trade-api/v2"


class EagerClock(ManualClock):
    """A manual clock that moves by itself when somebody sleeps, and remembers for how long."""

    def __init__(self) -> None:
        super().__init__(wall_ns=START_NS)
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)


@dataclass
class Asked:
    """One request as it came over the wire."""

    method: str
    path: str  # below the prefix, without the query
    query: list[tuple[str, str]]
    headers: dict[str, str]  # names in lower case
    target: str


@dataclass
class Answer:
    status: int = 200
    body: Any = None  # JSON, or bytes as they are
    headers: dict[str, str] = field(default_factory=dict)


Teller = Callable[[Asked], Any]


class Venue:
    """Answers by path. A list of answers is used up one by one, its last one for ever; unknown paths are 404."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.offset_s = 0.0  # its clock minus ours
        self.dated = True
        self.asked: list[Asked] = []
        self.answers: dict[str, Any] = {}
        self.endpoints: Endpoints

    def add_market(self, ticker: str, **fields: Any) -> dict[str, Any]:
        """A market and, as far as it is not there yet, its event."""
        market = market_json(ticker, **fields)
        self.answers[f"/markets/{ticker}"] = {"market": market}
        event = market["event_ticker"]
        listed = self.answers.setdefault(f"/events/{event}", {"event": event_json(event), "markets": []})
        listed["event"]["markets"].append(market)
        return market

    def add_series(self, ticker: str, *open_events: str) -> None:
        series = {
            "ticker": ticker,
            "title": "",
            "fee_type": "quadratic",
            "fee_multiplier": 0.35,
            "category": "Financials",
        }
        self.answers[f"/series/{ticker}"] = {"series": {**series, "frequency": "daily"}}
        before = self.answers.get("/events")

        def listed(asked: Asked) -> Any:
            if ("series_ticker", ticker) in asked.query:
                return {"events": [self.answers[f"/events/{event}"]["event"] for event in open_events], "cursor": ""}
            return before(asked) if before else {"events": [], "cursor": ""}

        self.answers["/events"] = listed

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def answer(self, asked: Asked) -> Answer:
        found = self.answers.get(asked.path, Answer(404, {"error": {"code": "not_found", "message": "not found"}}))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if callable(found):
            found = found(asked)
        return found if isinstance(found, Answer) else Answer(body=found)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                answer = self.answer(self.parse(request.decode("ascii")))
                body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                dated = (
                    {"Date": formatdate(self.clock.wall_ns() / 1e9 + self.offset_s, usegmt=True)} if self.dated else {}
                )
                headers = {"Content-Length": str(len(body)), **dated, **answer.headers}
                lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in headers.items())]
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def parse(self, request: str) -> Asked:
        start, *lines = request.split("\r\n")
        method, target, _ = start.split(" ")
        parts = urlsplit(target)
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name}
        asked = Asked(method, parts.path.removeprefix(PREFIX), parse_qsl(parts.query), headers, target)
        self.asked.append(asked)
        return asked


def market_json(ticker: str, **fields: Any) -> dict[str, Any]:
    """A market as the venue writes it, with the fields a test names."""
    return {
        "ticker": ticker,
        "event_ticker": ticker.rpartition("-")[0],
        "market_type": "binary",
        "title": f"Title of {ticker}",
        "yes_sub_title": "6,775 to 6,799.99",
        "created_time": "2026-11-20T15:00:00Z",
        "open_time": "2026-11-20T15:00:00Z",
        "close_time": "2026-11-23T21:00:00.5Z",
        "status": "active",
        "result": "",
        "yes_bid_dollars": "0.4200",
        "volume_fp": "10.50",
        "price_level_structure": "linear_cent",
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
        "strike_type": "between",
        "floor_strike": 6775,
        "cap_strike": 6799.99,
        "exchange_index": 0,
        "a_field_of_the_future": {"nested": [1, 2.5, None]},
        **fields,
    }


def event_json(ticker: str, **fields: Any) -> dict[str, Any]:
    return {
        "event_ticker": ticker,
        "series_ticker": ticker.partition("-")[0],
        "title": f"Event {ticker}",
        "sub_title": "",
        "mutually_exclusive": True,
        "collateral_return_type": "MECNET",
        "markets": [],
        **fields,
    }


@pytest.fixture
def clock() -> EagerClock:
    return EagerClock()


@pytest.fixture
async def venue(clock: EagerClock) -> AsyncIterator[Venue]:
    venue = Venue(clock)
    server = await asyncio.start_server(venue.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    venue.endpoints = endpoints(Environment.LOCAL, exchange=f"http://127.0.0.1:{port}")
    async with server:
        yield venue


@pytest.fixture
def answer() -> type[Answer]:
    return Answer
