"""An order from the wish to its end: what may become of it, and what an account has by the fills it heard of. Pure.

Money 1e-6 dollar, prices 1e-4 dollar, sizes 1e-2 contract, times µs. Side 0 buys YES, 1 buys NO; a price is of the side
that is bought, since selling YES at p is buying NO at $1 - p, and a pair of both pays a dollar at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from kflow.errors import KflowError
from kflow.units import DOLLAR

# Names every order that ever was: the run, its market, and the number of the decision.
_NAMESPACE: Final = uuid.UUID("6f6d9c1e-7d1e-5a53-9a3c-1f6d2b7f3a10")


class State(StrEnum):
    """Where an order stands. What is `unknown` may rest at the venue or not; its market waits until it is known."""

    STORED = "stored"  # written down, not sent yet
    SENT = "sent"  # on its way: no answer yet
    UNKNOWN = "unknown"  # sent, and no answer says whether it got there
    RESTING = "resting"  # in the venue's book, wholly or what is left of it
    FILLED = "filled"  # wholly
    CANCELLED = "cancelled"  # by us or by the venue, perhaps filled in part
    EXPIRED = "expired"  # its time was over
    REFUSED = "refused"  # the venue did not take it
    ABSENT = "absent"  # the venue says that it never had it


ENDS: Final = frozenset({State.FILLED, State.CANCELLED, State.EXPIRED, State.REFUSED, State.ABSENT})
# What may follow. A fill may be heard of before the answer, and after a cancellation was asked for.
STEPS: Final[Mapping[State, frozenset[State]]] = {
    State.STORED: frozenset({State.SENT, State.REFUSED, State.ABSENT}),
    State.SENT: frozenset({State.UNKNOWN, State.RESTING, *ENDS}),
    State.UNKNOWN: frozenset({State.RESTING, *ENDS}),
    State.RESTING: frozenset({State.FILLED, State.CANCELLED, State.EXPIRED}),
    **{end: frozenset() for end in ENDS},
}


class IllegalStep(KflowError):
    """An order was to become what it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An order as it was decided, before anybody else knows of it. It is stored before it is sent."""

    run: uuid.UUID
    number: int  # of the run's decisions: with the run it makes the order's id
    market: str
    action: str  # the name in the action set
    side: int
    price: int
    size: int
    immediate: bool
    reduce_only: bool = False
    expires_us: int | None = None  # of those that rest: when the venue ends them by itself
    until_us: int | None = None  # and until when they are wanted: up to then they are renewed
    decided_us: int  # the venue's time of the book that it was decided on
    version: int  # of that book
    digest: str  # of the observation
    epoch: int  # of the lease: an older actor's orders are not taken for ours
    limits: str  # hash of the limits file that let it through

    @property
    def client_order_id(self) -> str:
        """The same for the same decision, for ever: sending it twice cannot make two orders of it."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.run}/{self.epoch}/{self.market}/{self.number}"))


@dataclass(frozen=True, slots=True)
class Fill:
    """A part of an order that was filled. `trade` is the venue's, and counts once."""

    trade: str
    us: int
    price: int  # the order's own side's
    size: int
    fee: int
    taker: bool


@dataclass(frozen=True, slots=True)
class Order:
    """An intent and what became of it. Never changes: `step` and `filled_by` give the next one."""

    intent: Intent
    state: State = State.STORED
    venue_id: str | None = None
    reason: str = ""
    fills: Mapping[str, Fill] = field(default_factory=dict)
    updated_us: int = 0

    @property
    def filled(self) -> int:
        """Contracts, 1e-2."""
        return sum(fill.size for fill in self.fills.values())

    @property
    def left(self) -> int:
        """What may still be filled; 0 where it is over."""
        return 0 if self.over else self.intent.size - self.filled

    @property
    def over(self) -> bool:
        """Whether nothing more can become of it."""
        return self.state in ENDS

    def step(self, state: State, us: int, *, venue_id: str | None = None, reason: str = "") -> Order:
        """The order in its next state. The same state again changes nothing; what is over stays over.

        Raises IllegalStep for one that may not follow.
        """
        if state is self.state:
            return self if venue_id in (None, self.venue_id) else replace(self, venue_id=venue_id, updated_us=us)
        if state not in STEPS[self.state]:
            raise IllegalStep(f"an order that is {self.state} cannot become {state}")
        return replace(self, state=state, venue_id=venue_id or self.venue_id, reason=reason, updated_us=us)

    def filled_by(self, fill: Fill) -> Order:
        """With a fill more; one that is known changes nothing. Raises IllegalStep for more than was asked."""
        if fill.trade in self.fills:
            return self
        if self.filled + fill.size > self.intent.size:
            raise IllegalStep(f"{self.intent.client_order_id} is filled by more than its {self.intent.size / 100:g}")
        grown = replace(self, fills={**self.fills, fill.trade: fill}, updated_us=fill.us)
        whole = grown.filled == self.intent.size
        if not whole:
            return grown
        # A fill that comes late wins over what was thought of the order before it.
        return replace(grown, state=State.FILLED, reason="")


@dataclass(slots=True)
class Account:
    """Cash and positions by the fills that were applied, each once; YES positive.

    What was filled before `since_us` is in them from the beginning.
    """

    cash: int
    positions: dict[str, int] = field(default_factory=dict)
    fees: int = 0
    since_us: int = 0
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def apply(self, market: str, side: int, client_order_id: str, fill: Fill) -> bool:
        """Book a fill. False where it was booked before."""
        key = (client_order_id, fill.trade)
        if key in self._seen or fill.us < self.since_us:
            return False
        self._seen.add(key)
        held = self.positions.get(market, 0)
        closing = min(max(-held if side == 0 else held, 0), fill.size)
        self.cash += closing * DOLLAR - fill.price * fill.size - fill.fee
        self.fees += fill.fee
        self.positions[market] = held + (fill.size if side == 0 else -fill.size)
        return True

    def settle(self, market: str, value: int) -> None:
        """Pay out what is held; `value` of a YES contract."""
        held = self.positions.pop(market, 0)
        self.cash += held * value if held > 0 else -held * (DOLLAR - value)
