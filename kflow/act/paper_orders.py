"""Orders of the paper venue, from their sending on, and what was asked of its markets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kflow.act.orders import Intent
from kflow.act.venue import Ack, VenueOrder
from kflow.market.times import US_PER_S
from kflow.sim import kernel
from kflow.sim.orders import REASONS

# Why an order is refused on arrival, in the venue's words; for other reasons it is accepted, and is over at once.
REFUSALS: Final = {
    REASONS[kernel.NO_CASH]: "insufficient_balance",
    REASONS[kernel.OVER_SIZE]: "invalid_order",
    REASONS[kernel.GONE]: "no_book",
}


class Command(NamedTuple):
    """What was asked of a market, by the moment at which it leaves or arrives; carried out with the moment it is."""

    us: int
    number: int
    market: str
    carry_out: Callable[[int], object]


@dataclass(slots=True, eq=False)
class PaperOrder:
    """An order from its sending on."""

    intent: Intent
    venue_id: str
    group: str | None
    answer: asyncio.Future[Ack]
    number: int = -1  # the kernel's; -1: not sent yet
    state: str = "travels"  # then resting, cancelled, filled
    filled: int = 0
    parts: int = 0  # of which it was filled
    us: int = 0  # of its last change
    expires_us: int | None = None
    # Who waits for its end: the reason.
    ended: list[asyncio.Future[str]] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return self.state in ("travels", "resting")

    @property
    def left(self) -> int:
        return self.intent.size - self.filled if self.open else 0

    def told(self) -> VenueOrder:
        intent = self.intent
        return VenueOrder(
            venue_id=self.venue_id,
            mine=intent.client_order_id,
            market=intent.market,
            side=intent.side,
            price=intent.price,
            size=intent.size,
            filled=self.filled,
            state=self.state,
            expires_us=self.expires_us,
        )


def second(us: int) -> int:
    """Expiries are whole seconds at the venue: the one before."""
    return us // US_PER_S * US_PER_S
