"""The `state` messages of /rl/ws: recorder, markets and actor once a second, put together once for all who listen."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from kflow.act.holdings import Holdings
from kflow.act.pulse import Sign
from kflow.clock import NS_PER_S
from kflow.market.book import BookView
from kflow.units import complement
from kflow.web.pulse import Pulse
from kflow.web.service import Service
from kflow.web.status import finite, status_json

# Rows of a message: more would be no list that anybody reads. How many are left out is told.
MARKETS: Final = 1000
# Books looked at between two turns of the event loop, which has a socket to read.
BOOKS_PER_TURN: Final = 20
_SIDES: Final = ("yes", "no")


class State:
    """What is told. One look is shared by all clients of the same tick."""

    def __init__(self, service: Service, pulse: Pulse) -> None:
        self._service, self._pulse = service, pulse
        self._looking = asyncio.Lock()
        self._told: tuple[int, str] = (-1, "")
        # Each book's version at the look before, and when that was.
        self._versions: dict[str, int] = {}
        self._looked_ns: int | None = None

    async def text(self, tick: int) -> str:
        """The message of a tick, a number that rises each second."""
        async with self._looking:
            if self._told[0] != tick:
                self._told = tick, msgspec.json.encode(await self._look()).decode()
            return self._told[1]

    async def _look(self) -> dict[str, Any]:
        service = self._service
        markets = service.known()
        rows = await self._rows(markets[:MARKETS])
        return {
            "type": "state",
            "at_ms": service.clock.wall_ns() * 1000 // NS_PER_S,
            "recorder": _recorder(service, self._pulse),
            "markets": rows,
            "markets_left_out": max(len(markets) - MARKETS, 0),
            "actor": _actor(service, service.actor()),
        }

    async def _rows(self, markets: list[str]) -> list[tuple[object, ...]]:
        now_ns = self._service.clock.mono_ns()
        passed_s = None if self._looked_ns is None else (now_ns - self._looked_ns) / NS_PER_S
        before, self._versions, self._looked_ns = self._versions, {}, now_ns
        rows = []
        for number, market in enumerate(markets):
            if number % BOOKS_PER_TURN == BOOKS_PER_TURN - 1:
                await asyncio.sleep(0)
            rows.append(self._row(market, before.get(market), passed_s))
        return rows

    def _row(self, market: str, before: int | None, passed_s: float | None) -> tuple[object, ...]:
        view, last = self._service.books.view(market), self._service.trades.last(market)
        price = None if last is None else last.price
        if view is None:
            return market, None, None, None, price, None
        self._versions[market] = view.version
        per_s = None
        # Versions begin anew with each connection to the venue.
        if before is not None and before <= view.version and passed_s:
            per_s = round((view.version - before) / passed_s, 1)
        return market, view.live, *_touch(view), price, per_s


def _touch(view: BookView) -> tuple[int | None, int | None]:
    """Best YES bid and ask."""
    return view.yes[-1][0] if view.yes else None, complement(view.no[-1][0]) if view.no else None


def _recorder(service: Service, pulse: Pulse) -> dict[str, Any]:
    """What /rl/status says, without what does not change and what nobody draws."""
    status = status_json(service, pulse)
    feed, journal, database = status["feed"], status["journal"], status["database"]
    return {
        **{key: status[key] for key in ("status", "ready", "problems")},
        "session": {key: status["session"][key] for key in ("number", "uuid", "uptime_s", "draining")},
        **{key: feed[key] for key in ("connected", "reconnects", "last_message_age_s")},
        "messages": status["messages"]["total"],
        "rate_per_s": status["messages"]["rate_per_s"],
        # Of the last seconds: of a whole session, a day in order would hide an hour that is not.
        "handle_p99_s": finite(pulse.handle_p99_s),
        "age_p99_s": finite(pulse.age_p99_s),
        "books": {key: status["books"][key] for key in ("live", "stale", "invalid")},
        "gaps": {key: status["gaps"][key] for key in ("total", "missing_messages", "resyncs")},
        "journal": {key: journal[key] for key in ("bytes", "failed")},
        "database": None if database is None else _database(database),
    }


def _database(database: dict[str, Any]) -> dict[str, Any]:
    kept = {key: database[key] for key in ("connected", "lag_s", "lag_messages", "catching_up", "failed")}
    return kept | {"rows": sum(database["rows"].values())}


def _actor(service: Service, sign: Sign) -> dict[str, Any]:
    """What the data folder tells. Of an actor that died it is the last that was known, as `age_s` says."""
    beat, standing = sign.beat, service.standing
    held = Holdings() if beat is None else beat.holdings
    known = standing.now().overall if standing.armed_before else None
    return {
        "status": sign.status,
        "standing": None if known is None else known.standing.value,
        "standing_reason": None if known is None else known.reason,
        "venue": None if beat is None else beat.venue,
        "run": None if beat is None else beat.run,
        "strategy": None if beat is None else beat.strategy,
        "age_s": None if sign.age_s is None else round(sign.age_s, 1),
        "problems": list(sign.problems),
        "orders": [
            {
                "id": order.id,
                "market": order.market,
                "side": _SIDES[order.side],
                "action": "buy",  # selling YES is buying NO, and that is what rests in the book
                "price_e4": order.price,
                "left_e2": order.left,
                "ahead_e2": order.ahead,
            }
            for order in held.orders
        ],
        "orders_left_out": held.orders_left_out,
        "orders_under_way": None if beat is None else held.under_way,
        "positions": [{"market": market, "yes_e2": size} for market, size in (held.positions or {}).items()],
        "positions_left_out": held.positions_left_out,
        "cash_e6": held.cash,
        "profit_e6": held.profit,
    }
