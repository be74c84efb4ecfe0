"""Where orders go: what every venue does, whether it fills by itself (paper) or is asked over the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from kflow.act.orders import Fill, Intent
from kflow.errors import KflowError


class Refused(KflowError):
    """The venue said no, for certain: nothing of the request happened. `code` is the venue's word for why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"the venue refused: {text or code}")
        self.code = code


class Unclear(KflowError):
    """Nobody knows whether a request got there: no answer, or one that makes no sense. It is never sent again."""


class Gone(KflowError):
    """The order is not open any more: it may have been filled, so fills have to be looked at."""


class Ack(NamedTuple):
    """The venue has an order. Fills of it come by `fills`, not from here."""

    venue_id: str
    filled: int
    left: int
    us: int


class VenueOrder(NamedTuple):
    """An order as the venue tells of it. state: resting, cancelled, filled; `mine`: our id, empty where it has none."""

    venue_id: str
    mine: str  # client_order_id
    market: str
    side: int
    price: int
    size: int
    filled: int
    state: str
    expires_us: int | None


class VenueFill(NamedTuple):
    """A fill as the venue tells of it; it names the venue's order."""

    venue_id: str
    market: str
    side: int
    fill: Fill


class Truth(NamedTuple):
    """What the venue says there is, at one moment. Orders: all that are open, and those that ended since `since_us`."""

    us: int
    orders: Sequence[VenueOrder]
    fills: Sequence[VenueFill]
    positions: Mapping[str, int]
    cash: int


class Venue(Protocol):
    """One account at one venue. Every call raises Refused, Unclear or Gone, and nothing else that is expected."""

    name: str  # paper, local, demo, production

    async def place(self, intent: Intent, group: str | None) -> Ack:
        """Send an order, once."""

    async def cancel(self, venue_id: str, market: str) -> int:
        """When it was cancelled, µs of the venue. Raises Gone where it is over."""

    async def renew(self, venue_id: str, intent: Intent, filled: int, expires_us: int) -> Ack:
        """Let an order that rests live longer, which keeps its place in the queue. Raises Gone."""

    async def find(self, client_order_id: str, market: str) -> VenueOrder | None:
        """The order of an id of ours, open or over; None where the venue says that it has none."""

    async def truth(self, since_us: int) -> Truth:
        """What there is, and what happened since."""

    async def open_group(self, most: int) -> str:
        """A group whose orders the venue cancels together: by `trigger_group`, or when more is filled in 15 s."""

    async def trigger_group(self, group: str) -> None:
        """Cancel every order of a group, and refuse new ones."""

    async def cancel_all(self) -> None:
        """Cancel every order of the whole account, whoever placed it."""
