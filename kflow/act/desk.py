"""Orders in flight: stored before they are sent, sent once, and never believed gone before the venue says so.

All on one event loop. A market waits while one of its orders is on its way, or while a fill that was told of has not
been heard in full.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from kflow.act.orders import Fill, Intent, Order, State
from kflow.act.purse import Purse
from kflow.act.venue import Gone, Refused, Unclear, Venue, VenueFill, VenueOrder
from kflow.clock import Clock
from kflow.errors import KflowError

_log = logging.getLogger(__name__)
# Of an order that expired by our clock, how long the venue may take to say so.
EXPIRY_GRACE_US: Final = 2_000_000
# Of an order whose sending brought no answer, how long it may still be under way: then "not found" is believed.
ABSENT_GRACE_US: Final = 10_000_000


class Records(Protocol):
    """Where orders are written down. Called from a thread, one call at a time."""

    def intend(self, intent: Intent) -> None:
        """Before it is sent. Raises KflowError where it cannot be stored, or where another actor holds the lease."""

    def update(self, order: Order) -> None:
        """What became of it."""

    def fill(self, order: Order, fill: Fill) -> None:
        """A part of it was filled."""


class Desk:
    """One account's orders at one venue."""

    def __init__(
        self,
        venue: Venue,
        records: Records,
        purses: Mapping[str, Purse],
        *,
        clock: Clock,
        group: Callable[[str], str | None] = lambda _: None,
        may_send: Callable[[str], bool] = lambda _: True,
        heard: Callable[[Order, Fill], None] = lambda _order, _fill: None,
    ) -> None:
        """`group`: of a market the order group at the venue; `may_send` is asked last, right before an order leaves.

        `heard` is told of each fill, once.
        """
        self.venue: Final = venue
        self.orders: dict[str, Order] = {}
        self.strays: list[VenueFill] = []  # fills of orders that are not ours, or not known yet
        self._records, self._purses, self._clock = records, purses, clock
        self._group, self._may_send, self._heard = group, may_send, heard
        self._by_venue: dict[str, str] = {}
        self._owed: dict[str, int] = {}  # contracts that an answer told of, and no fill yet
        self._cancelling: set[str] = set()
        self._writing = asyncio.Lock()

    # What there is.

    def open(self, market: str) -> list[Order]:
        """Orders of a market that may still be filled, or may be known not to be."""
        return [order for order in self.orders.values() if order.intent.market == market and not order.over]

    def busy(self, market: str) -> bool:
        """Whether the market has to wait: what is under way there is not known yet."""
        for order in self.open(market):
            if order.state is not State.RESTING or order.intent.client_order_id in self._cancelling:
                return True
        return any(self.orders[mine].intent.market == market for mine, owed in self._owed.items() if owed > 0)

    @property
    def unknown(self) -> list[Order]:
        """Orders that may be at the venue or not."""
        return [order for order in self.orders.values() if order.state in (State.SENT, State.UNKNOWN)]

    # What is done.

    async def submit(self, intent: Intent) -> Order:
        """Store and send an order. It is refused here where nothing may be sent any more.

        Raises KflowError where it could not be stored: then it was not sent.
        """
        mine = intent.client_order_id
        self.orders[mine] = Order(intent, updated_us=intent.decided_us)
        try:
            await self._write(lambda: self._records.intend(intent))
        except KflowError:
            del self.orders[mine]
            raise
        if not self._may_send(intent.market):
            return await self._step(mine, State.REFUSED, reason="halted before it was sent")
        await self._step(mine, State.SENT)
        try:
            ack = await self.venue.place(intent, self._group(intent.market))
        except Refused as error:
            return await self._step(mine, State.REFUSED, reason=error.code)
        except Unclear as error:
            _log.warning("order %s: %s; its market waits until it is known", mine, error)
            return await self._step(mine, State.UNKNOWN, reason=str(error))
        self._by_venue[ack.venue_id] = mine
        self._owe(mine, ack.filled)
        state = State.CANCELLED if intent.immediate and ack.left == 0 and ack.filled < intent.size else State.RESTING
        return await self._step(mine, state, venue_id=ack.venue_id)

    async def cancel(self, market: str) -> None:
        """Cancel what rests in a market. What was filled meanwhile is found by its fills."""
        for order in self.open(market):
            mine = order.intent.client_order_id
            if order.venue_id is None or order.state is not State.RESTING or mine in self._cancelling:
                continue
            self._cancelling.add(mine)
            try:
                await self.venue.cancel(order.venue_id, market)
            except Gone:
                await self._look_up(mine)
            except (Refused, Unclear) as error:
                _log.warning("cancellation of %s: %s", mine, error)
                await self._look_up(mine)
            else:
                await self._end(mine, State.CANCELLED, "cancelled")
            finally:
                self._cancelling.discard(mine)

    async def renew(self, life_us: int, denied: Callable[[Order], bool] = lambda _: False) -> None:
        """Let what rests live on while we do: an amendment of the expiry alone, which keeps its place."""
        now_us = self._clock.wall_ns() // 1000
        for order in list(self.orders.values()):
            expires, until = order.intent.expires_us, order.intent.until_us
            if order.state is not State.RESTING or expires is None or order.venue_id is None:
                continue
            later = min(now_us + life_us, until or 0)
            if expires - now_us > life_us // 2 or later <= expires or denied(order):
                continue
            try:
                ack = await self.venue.renew(order.venue_id, order.intent, order.filled, later)
            except (Gone, Refused, Unclear) as error:
                _log.info("renewal of %s: %s", order.intent.client_order_id, error)
                await self._look_up(order.intent.client_order_id)
                continue
            renewed = replace(order.intent, expires_us=later)
            mine = order.intent.client_order_id
            self._by_venue[ack.venue_id] = mine
            self.orders[mine] = replace(self.orders[mine], intent=renewed, venue_id=ack.venue_id)

    async def hear(self, heard: Iterable[VenueFill]) -> int:
        """Book fills, each once; how many were new. Those of orders that nobody here knows are kept in `strays`."""
        new = 0
        for told in heard:
            mine = self._by_venue.get(told.venue_id)
            if mine is None:
                if told not in self.strays:
                    self.strays.append(told)
                continue
            new += await self._book(mine, told.fill)
        return new

    async def look(self) -> None:
        """Ask after orders that nobody knows the fate of, and those whose time is over."""
        now_us = self._clock.wall_ns() // 1000
        for mine, order in list(self.orders.items()):
            expires = order.intent.expires_us
            late = expires is not None and now_us > expires + EXPIRY_GRACE_US and order.state is State.RESTING
            if late or order.state is State.UNKNOWN:
                await self._look_up(mine)

    async def _look_up(self, mine: str) -> None:
        """What the venue says of one. No answer is no word: then it is asked again later."""
        order = self.orders[mine]
        try:
            found = await self.venue.find(mine, order.intent.market)
        except (Refused, Unclear) as error:
            _log.info("nothing was heard of order %s: %s", mine, error)
            return
        now_us = self._clock.wall_ns() // 1000
        if found is None:
            if order.state is State.UNKNOWN and now_us > order.updated_us + ABSENT_GRACE_US:
                await self._end(mine, State.ABSENT, "the venue never had it")
            return
        await self.adopt(mine, found)

    async def adopt(self, mine: str, found: VenueOrder) -> None:
        """Believe what the venue says of an order of ours."""
        self._by_venue[found.venue_id] = mine
        order = self.orders[mine]
        self._owe(mine, found.filled)
        if order.over:
            return
        if found.state == "resting":
            await self._step(mine, State.RESTING, venue_id=found.venue_id)
            return
        if order.state is not State.RESTING:
            await self._step(mine, State.RESTING, venue_id=found.venue_id)
        expires = order.intent.expires_us
        expired = expires is not None and self._clock.wall_ns() // 1000 >= expires
        if found.filled < order.intent.size:
            await self._end(mine, State.EXPIRED if expired else State.CANCELLED, "as the venue says")

    async def believe(self, orders: Mapping[str, Order]) -> None:
        """Take on what a comparison with the venue came to: fills that were missed, and orders that went on."""
        for mine, order in orders.items():
            held = self.orders.get(mine)
            if held is order:
                continue
            if order.venue_id is not None:
                self._by_venue[order.venue_id] = mine
            if held is None:
                self.orders[mine] = held = replace(order, fills={})
            for fill in order.fills.values():
                await self._book(mine, fill)
            if not self.orders[mine].over and self.orders[mine].state is not order.state:
                self.orders[mine] = replace(order, fills=self.orders[mine].fills)
                await self._write(lambda known=self.orders[mine]: self._records.update(known))  # type: ignore[misc]

    async def ask(self, mine: str) -> tuple[bool, VenueOrder | None]:
        """What the venue says of one of our ids: whether it answered, and what."""
        order = self.orders.get(mine)
        market = "" if order is None else order.intent.market
        try:
            return True, await self.venue.find(mine, market)
        except (Refused, Unclear):
            return False, None

    # How.

    def _owe(self, mine: str, filled: int) -> None:
        owed = filled - sum(fill.size for fill in self.orders[mine].fills.values())
        self._owed[mine] = max(self._owed.get(mine, 0), owed)

    async def _book(self, mine: str, fill: Fill) -> int:
        order = self.orders[mine]
        grown = order.filled_by(fill)
        if grown is order:
            return 0
        self.orders[mine] = grown
        self._owed[mine] = max(self._owed.get(mine, 0) - fill.size, 0)
        self._purses[order.intent.market].apply(grown, fill)
        self._heard(grown, fill)
        await self._write(lambda: self._records.fill(grown, fill))
        return 1

    async def _end(self, mine: str, state: State, reason: str) -> None:
        """An order is over, unless a fill has ended it meanwhile."""
        if not self.orders[mine].over:
            await self._step(mine, state, reason=reason)

    async def _step(self, mine: str, state: State, *, venue_id: str | None = None, reason: str = "") -> Order:
        order = self.orders[mine]
        if order.over and state is not order.state:
            return order  # a fill came first, and wins
        stepped = order.step(state, self._clock.wall_ns() // 1000, venue_id=venue_id, reason=reason)
        self.orders[mine] = stepped
        await self._write(lambda: self._records.update(stepped))
        return stepped

    async def _write(self, call: Callable[[], None]) -> None:
        async with self._writing:
            await asyncio.to_thread(call)
