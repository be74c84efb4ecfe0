"""A recording session driven by hand: the venue's frames go in as bytes, time moves when told, no socket is opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from kflow.act.standing import FOLDER, StandingFile
from kflow.clock import ManualClock
from kflow.kalshi.feed import Ending, FeedStatus
from kflow.record.books import Books
from kflow.record.handoff import BatchLimits, Handoff
from kflow.record.recorder import Plan, Recorder
from kflow.record.writer import WriterStatus
from kflow.session.chunks import MarketFacts
from kflow.store.journal import JournalWriter
from kflow.web.access import Access
from kflow.web.app import build_app
from kflow.web.broadcast import Pace
from kflow.web.server import Served, serve
from kflow.web.service import Service

UUID_OF_SESSION: Final = UUID("5f0c7a52-7c0f-4f0c-9c3a-6a6f0a3a9d11")
FIRST: Final = "INXD-25JAN03-B5912"
SECOND: Final = "INXD-25JAN03-B5937"
TOKEN: Final = "t0ken-" + "a" * 40
CENTS: Final = [{"start": "0.0100", "end": "0.9900", "step": "0.0100"}]
# Fast enough that nobody waits for it, slow enough to conflate what is done at once.
PACE: Final = Pace(interval_s=0.005, heartbeat_s=60.0)

Levels = Iterable[tuple[str, str]]


class HandDriven:
    """A recording session without a socket: frames go in as bytes, time moves by hand."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.books = Books()
        self.handoff = Handoff(100_000, BatchLimits(rows=1))
        self.writer: WriterStatus | None = WriterStatus(self.handoff, self.clock)
        # Whether the tables follow at once.
        self.storing = True
        self.feed = FeedStatus()
        self.journal = JournalWriter(folder / "journal", UUID_OF_SESSION)
        plan = Plan(markets=tuple(MarketFacts(market, CENTS) for market in (FIRST, SECOND)))
        self.recorder = Recorder(plan, self.journal, self.books, self.handoff, clock=self.clock)
        self.recorder.begin()
        self.standing = StandingFile(folder / FOLDER)
        self.stops = 0
        self.draining = False
        self._seq = 0
        self._trades = 0
        # Stamps differ, so that each delta is a group of its own.
        self._ts = 0

    def connect(self) -> None:
        self.recorder.opened("ws://127.0.0.1:1/trade-api/ws/v2")
        self._seq = 0
        self.feed.attempts += 1
        if self.recorder.status.connections > 1:
            self.feed.reconnects += 1
            self.feed.reconnects_by[Ending.CLOSED] += 1
        self.feed.connected = True

    def disconnect(self, reason: str = "the venue closed the connection (1006)") -> None:
        self.recorder.closed(reason)
        self.feed.connected, self.feed.reason = False, reason

    def receive(self, *frames: bytes) -> None:
        self.recorder.received(list(frames), self.clock.wall_ns(), self.clock.mono_ns())
        protocol = self.recorder.protocol
        assert protocol is not None
        # Nothing follows: the group is whole.
        if protocol.settle():
            changed, protocol.changed = protocol.changed, set()
            self.books.publish(changed)
        if self.storing and self.writer is not None:
            chunk = self.handoff.take()[-1]
            self.writer.messages = self.handoff.messages
            self.writer.watermark, self.writer.stored_ns = chunk.end, chunk.wall_ns

    def snapshot(self, market: str = FIRST, *, yes: Levels = (), no: Levels = ()) -> bytes:
        sides = {name: list(levels) for name, levels in (("yes_dollars_fp", yes), ("no_dollars_fp", no)) if levels}
        return self._frame("orderbook_snapshot", {"market_ticker": market, "market_id": "m", **sides})

    def delta(self, price: str, change: str, *, side: str = "yes", market: str = FIRST, skip: int = 0) -> bytes:
        self._seq += skip
        self._ts += 1
        body = {"market_ticker": market, "price_dollars": price, "delta_fp": change, "side": side}
        stamps = {"ts": f"2025-01-03T15:00:00.{self._ts:06d}Z", "ts_ms": self.clock.wall_ns() // 1_000_000 - 3}
        return self._frame("orderbook_delta", {**body, **stamps})

    def trade(self, price: str, size: str, *, taker: str = "yes", market: str = FIRST) -> bytes:
        """`price`: of YES."""
        self._trades += 1
        body: dict[str, Any] = {
            "market_ticker": market,
            "trade_id": f"trade-{self._trades}",
            "yes_price_dollars": price,
        }
        body |= {"no_price_dollars": f"{1 - float(price):.4f}", "count_fp": size, "taker_side": taker}
        body |= {"ts_ms": self.clock.wall_ns() // 1_000_000 - 3}
        return msgspec.json.encode({"type": "trade", "sid": 2, "seq": self._trades, "msg": body})

    def _frame(self, kind: str, body: dict[str, Any]) -> bytes:
        self._seq += 1
        return msgspec.json.encode({"type": kind, "sid": 1, "seq": self._seq, "msg": body})

    def start(self) -> None:
        """Connected, with both books live: YES 44 and 43 cents, NO 54 cents."""
        self.connect()
        for market in (FIRST, SECOND):
            self.receive(
                self.snapshot(market, yes=[("0.4300", "50.00"), ("0.4400", "12.50")], no=[("0.5400", "100.00")])
            )
        if self.writer is not None:
            self.writer.connected = True

    def stop(self) -> None:
        self.stops += 1
        self.draining = True

    def service(self, **changed: Any) -> Service:
        values: dict[str, Any] = {
            "books": self.books,
            "recorder": self.recorder.status,
            "feed": self.feed,
            "clock": self.clock,
            "trades": self.recorder.trades,
            "access": Access.for_host("127.0.0.1", TOKEN),
            "standing": self.standing,
            "stop": self.stop,
            "draining": lambda: self.draining,
            "writer": lambda: self.writer,
            "session_number": lambda: 7,
            "markets": (FIRST, SECOND),
            "configuration": {"recorder.batch_rows": 100},
            **changed,
        }
        return Service(**values)

    @asynccontextmanager
    async def served(self, *, pace: Pace = PACE, port: int = 0, **changed: Any) -> AsyncIterator[Served]:
        """The session's HTTP service on loopback; `changed` are fields of its Service."""
        async with serve(build_app(self.service(**changed), pace=pace), "127.0.0.1", port) as served:
            yield served
