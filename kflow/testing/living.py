"""A whole actor at a venue that never answers, to look at."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kflow.act.actor import Actor
from kflow.act.alerts import Alerts
from kflow.act.behind import BehindStatus
from kflow.act.desk import Desk
from kflow.act.limits import Limits
from kflow.act.live import LiveMarket
from kflow.act.orders import Intent, Order
from kflow.act.pulse import Reconciliation, Vitals
from kflow.act.purse import Purse
from kflow.act.records import Run
from kflow.act.seat import Seat
from kflow.act.standing import FOLDER, StandingFile
from kflow.act.strategies import choose
from kflow.act.venue import Ack, Truth, Unclear, VenueOrder
from kflow.clock import ManualClock
from kflow.session.chunks import MarketFacts

RUN = uuid.UUID(int=7)
CENTS = [{"start": "0.0100", "end": "0.9900", "step": "0.0100"}]


class Silent:
    """A venue of which nothing is ever heard."""

    name = "local"

    async def place(self, *_: object, **__: object) -> Ack:
        raise Unclear("no answer")

    async def cancel(self, *_: object, **__: object) -> int:
        raise Unclear("no answer")

    async def renew(self, *_: object, **__: object) -> Ack:
        raise Unclear("no answer")

    async def find(self, *_: object, **__: object) -> VenueOrder | None:
        raise Unclear("no answer")

    async def truth(self, *_: object, **__: object) -> Truth:
        raise Unclear("no answer")

    async def open_group(self, *_: object, **__: object) -> str:
        raise Unclear("no answer")

    async def trigger_group(self, *_: object, **__: object) -> None:
        raise Unclear("no answer")

    async def cancel_all(self) -> None:
        raise Unclear("no answer")


class Forgetful:
    """Records and a diary that keep nothing."""

    def intend(self, *_: object) -> None:
        pass

    update = fill = decided = intend

    def stamped(self, client_order_id: str, **moments: int | None) -> None:
        pass


class Living:
    """An actor that is well: armed, connected, reconciled."""

    def __init__(self, data: Path, markets: Sequence[str] = ("A", "B")) -> None:
        self.data, self.clock = data, ManualClock()
        self.connected, self.lost = True, ""
        self.standing = StandingFile(data / FOLDER)
        self.standing.arm("for a test", self.us)
        chosen = choose("hardcoded:hold", None, contracts=10)
        lives = {name: LiveMarket.of(MarketFacts(name, CENTS, event_ticker="E")) for name in markets}
        purses = {name: Purse(name, chosen.cash, live.fees) for name, live in lives.items()}
        self.desk = Desk(Silent(), Forgetful(), purses, clock=self.clock)
        self.actor = Actor(
            chosen,
            {name: Seat(live, chosen, purses[name]) for name, live in lives.items()},
            self.desk,
            limits=Limits(),
            standing=self.standing,
            epoch=lambda: None if self.lost else 3,
            cash=lambda: None,
            clock=self.clock,
            diary=Forgetful(),
            run=RUN,
        )
        self.reconciliation = Reconciliation()
        self.reconciliation.done(self.us, 0)
        self.records = BehindStatus(connected=True)

    @property
    def us(self) -> int:
        return self.clock.wall_ns() // 1000

    def vitals(self, alerts: Alerts | None = None) -> Vitals:
        return Vitals(
            run=Run(run=RUN, venue="local", epoch=3, strategy="hardcoded:hold", limits="f" * 64),
            actor=self.actor,
            clock=self.clock,
            connected=lambda: self.connected,
            lease_lost=lambda: self.lost,
            reconciliation=self.reconciliation,
            records=self.records,
            alerts=alerts,
        )

    def work(self, seconds: float = 0.0) -> None:
        """Time goes by, and every market is looked at."""
        self.clock.advance(seconds)
        for market in self.actor.seats:
            self.actor.turn(market)

    async def send(self, market: str = "A", number: int = 1) -> Order:
        """An order that nothing is heard of."""
        values: dict[str, Any] = {"action": "BUY_YES", "side": 0, "price": 4500, "size": 100, "immediate": True}
        intent = Intent(
            run=RUN,
            number=number,
            market=market,
            decided_us=self.us,
            version=1,
            digest="d" * 16,
            epoch=3,
            limits="f" * 64,
            **values,
        )
        return await self.desk.submit(intent)


async def settled(rounds: int = 20) -> None:
    """Let every task that can go on do so."""
    for _ in range(rounds):
        await asyncio.sleep(0)
