"""Orders in flight: stored before they are sent, sent once, and never believed gone before the venue says so.

All on one event loop. A market waits while one of its orders is on its way, or while a fill that was told of has not
been heard in full.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from kflow.act.orders import STEPS, Fill, IllegalStep, Intent, Order, State
from kflow.act.purse import Purse
from kflow.act.venue import Gone, Refused, Unclear, Venue, VenueFill, VenueOrder
from kflow.clock import Clock
from kflow.errors import KflowError

_log = logging.getLogger(__name__)
# Of an order that expired by our clock, how long the venue may take to say so.
EXPIRY_GRACE_US: Final = 2_000_000
# What an answer may say of an order that was seen to rest meanwhile.
_DOUBTS: Final = frozenset({State.UNKNOWN, State.REFUSED})
# How long a sweep waits for its cancellations; those that take longer go on by themselves.
_SWEEP_S: Final = 1.0
# Of an order whose cancellation was not clear, how long it is asked after.
DOUBT_US: Final = 5_000_000
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

    def stamped(
        self,
        client_order_id: str,
        *,
        sent_us: int | None = None,
        answered_us: int | None = None,
        reached_us: int | None = None,
        cancel_sent_us: int | None = None,
        cancel_answered_us: int | None = None,
        cancelled_us: int | None = None,
    ) -> None:
        """Moments of an order, of our clock; `reached_us` and `cancelled_us`: the venue's."""


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
        leaving: Callable[[str], None] = lambda _: None,
        heard: Callable[[Order, Fill], None] = lambda _order, _fill: None,
    ) -> None:
        """`group`: of a market the order group at the venue; `may_send` is asked last, right before an order leaves.

        `leaving` is told of each that does, `heard` of each fill, once.
        """
        self.venue: Final = venue
        self.orders: dict[str, Order] = {}
        self.strays: list[VenueFill] = []  # fills of orders that are not ours, or not known yet
        self._records, self._purses, self._clock = records, purses, clock
        self._group, self._may_send, self._leaving, self._heard = group, may_send, leaving, heard
        # Those of `orders` that are not over, by market: a day brings thousands that are.
        self._open: dict[str, dict[str, Order]] = {}
        self._by_venue: dict[str, str] = {}
        self._owed: dict[str, int] = {}  # contracts that an answer told of, and no fill yet
        self._cancelling: dict[str, asyncio.Task[None]] = {}
        self._doubted: dict[str, int] = {}  # orders whose cancellation came to nothing: until when they are asked after
        self._writing = asyncio.Lock()

    # What there is.

    def open(self, market: str) -> list[Order]:
        """Orders of a market that may still be filled, or may be known not to be."""
        return list(self._open.get(market, {}).values())

    def live(self) -> Iterator[Order]:
        """The same of all markets."""
        for orders in list(self._open.values()):
            yield from list(orders.values())

    def busy(self, market: str) -> bool:
        """Whether the market has to wait: what is under way there is not known yet."""
        for order in self.open(market):
            if order.state is not State.RESTING or order.intent.client_order_id in self._cancelling:
                return True
        return any(self.orders[mine].intent.market == market for mine in self._owed)

    def unsettled(self) -> Iterator[Order]:
        """Those of which fills may come: open, or over with fills that were told of and not heard yet."""
        yield from self.live()
        yield from (self.orders[mine] for mine in self._owed if self.orders[mine].over)

    @property
    def unknown(self) -> list[Order]:
        """Orders that may be at the venue or not."""
        return [order for order in self.live() if order.state in (State.SENT, State.UNKNOWN)]

    # What is done.

    async def submit(self, intent: Intent) -> Order:
        """Store and send an order. It is refused here where nothing may be sent any more.

        Raises KflowError where it could not be stored: then it was not sent.
        """
        mine = intent.client_order_id
        self._put(Order(intent, updated_us=intent.decided_us))
        try:
            await self._write(lambda: self._records.intend(intent))
        except KflowError:
            self._put(self.orders[mine].step(State.ABSENT, self._now_us(), reason="it could not be stored"))
            del self.orders[mine]
            raise
        if self._may_send(intent.market):
            await self._step(mine, State.SENT)
        # Again, since writing that down took its time.
        if not self._may_send(intent.market):
            return await self._step(mine, State.REFUSED, reason="halted before it was sent")
        self._leaving(intent.market)
        sent_us = self._now_us()
        try:
            ack = await self.venue.place(intent, self._group(intent.market))
        except Refused as error:
            return await self._step(mine, State.REFUSED, reason=error.code)
        except Unclear as error:
            _log.warning("order %s: %s; its market waits until it is known", mine, error)
            return await self._step(mine, State.UNKNOWN, reason=str(error))
        self._owe(mine, ack.filled)
        answered_us = self._now_us()
        await self._named(mine, ack.venue_id)
        await self._write(
            partial(self._records.stamped, mine, sent_us=sent_us, answered_us=answered_us, reached_us=ack.us)
        )
        state = State.CANCELLED if intent.immediate and ack.left == 0 and ack.filled < intent.size else State.RESTING
        return await self._step(mine, state, venue_id=ack.venue_id)

    async def cancel(self, market: str) -> None:
        """Cancel what rests in a market, all at once. What was filled meanwhile is found by its fills."""
        await asyncio.gather(*[self._cancellation(order) for order in self.open(market) if _rests(order)])

    async def sweep(self) -> None:
        """Cancel what rests anywhere. Where the venue is slow with some, they go on; call it again meanwhile."""
        tasks = [self._cancellation(order) for order in self.live() if _rests(order)]
        if tasks:
            await asyncio.wait(tasks, timeout=_SWEEP_S)

    async def withdraw(self, mine: str) -> None:
        """Cancel one that rests."""
        if _rests(self.orders[mine]):
            await self._cancellation(self.orders[mine])

    def _cancellation(self, order: Order) -> asyncio.Task[None]:
        """The one that is under way, or a new one."""
        mine = order.intent.client_order_id
        if mine not in self._cancelling:
            self._cancelling[mine] = asyncio.ensure_future(self._cancel(order))
            self._cancelling[mine].add_done_callback(lambda _: self._cancelling.pop(mine, None))
        return self._cancelling[mine]

    async def _cancel(self, order: Order) -> None:
        mine = order.intent.client_order_id
        assert order.venue_id is not None
        sent_us = self._now_us()
        try:
            cancelled_us = await self.venue.cancel(order.venue_id, order.intent.market)
        except (Gone, Refused, Unclear) as error:
            if not isinstance(error, Gone):
                _log.warning("cancellation of %s: %s", mine, error)
            # Asked again for a while, since reads lag: it may still be shown as it was.
            self._doubted[mine] = self._now_us() + DOUBT_US
            await self.look_up(mine)
        else:
            moments = {"cancel_sent_us": sent_us, "cancel_answered_us": self._now_us(), "cancelled_us": cancelled_us}
            await self._end(mine, State.CANCELLED, "cancelled")
            await self._write(partial(self._records.stamped, mine, **moments))

    async def renew(self, life_us: int, denied: Callable[[Order], bool] = lambda _: False) -> None:
        """Let what rests live on while we do: an amendment of the expiry alone, which keeps its place."""
        now_us = self._now_us()
        for order in self.live():
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
                await self.look_up(order.intent.client_order_id)
                continue
            renewed = replace(order.intent, expires_us=later)
            mine = order.intent.client_order_id
            self._put(replace(self.orders[mine], intent=renewed, venue_id=ack.venue_id))
            await self._named(mine, ack.venue_id)
            await self._write(partial(self._records.update, self.orders[mine]))

    async def hear(self, heard: Iterable[VenueFill]) -> int:
        """Book fills, each once; how many were new. Those of orders that nobody here knows are kept in `strays`."""
        new = 0
        for told in heard:
            mine = self._by_venue.get(told.venue_id)
            if mine is None:
                if told not in self.strays:
                    self.strays.append(told)
                continue
            grown = self._book(mine, told.fill)
            if grown is not None:
                new += 1
                await self._write(partial(self._records.fill, grown, told.fill))
        return new

    async def look(self) -> None:
        """Ask after orders that nobody knows the fate of, and those whose time is over."""
        now_us = self._now_us()
        self._doubted = {mine: until_us for mine, until_us in self._doubted.items() if now_us < until_us}
        for order in self.live():
            mine, expires = order.intent.client_order_id, order.intent.expires_us
            late = expires is not None and now_us > expires + EXPIRY_GRACE_US and order.state is State.RESTING
            if late or order.state is State.UNKNOWN or now_us < self._doubted.get(mine, 0):
                await self.look_up(mine)

    async def look_up(self, mine: str) -> None:
        """What the venue says of one. No answer is no word: then it is asked again later."""
        order = self.orders[mine]
        try:
            found = await self.venue.find(mine, order.intent.market)
        except (Refused, Unclear) as error:
            _log.info("nothing was heard of order %s: %s", mine, error)
            return
        if found is None:
            if order.state is State.UNKNOWN and self._now_us() > order.updated_us + ABSENT_GRACE_US:
                await self._end(mine, State.ABSENT, "the venue never had it")
            return
        await self.adopt(mine, found)

    async def adopt(self, mine: str, found: VenueOrder) -> None:
        """Believe what the venue says of an order of ours."""
        self._owe(mine, found.filled)
        await self._named(mine, found.venue_id)
        order = self.orders[mine]
        if order.over:
            return
        if found.state == "resting":
            await self._step(mine, State.RESTING, venue_id=found.venue_id)
            return
        if order.state is not State.RESTING:
            await self._step(mine, State.RESTING, venue_id=found.venue_id)
        expires = order.intent.expires_us
        expired = expires is not None and self._now_us() >= expires
        if found.filled < order.intent.size:
            await self._end(mine, State.EXPIRED if expired else State.CANCELLED, "as the venue says")

    async def believe(self, orders: Mapping[str, Order], before: Mapping[str, Order], *, booked: bool = False) -> None:
        """Take on what a comparison with the venue came to: `before` is what we held for true when it began.

        What went on since then stays as it is. `booked`: cash and positions have all of these fills already.
        """
        written: list[Callable[[], None]] = []
        for mine, order in orders.items():
            if order is not before.get(mine):
                written += self._believe(mine, order, booked=booked)
        for write in written:
            await self._write(write)

    def _believe(self, mine: str, order: Order, *, booked: bool) -> list[Callable[[], None]]:
        """At one moment, so that nothing comes between; what is to be written down about it."""
        held = self.orders.get(mine)
        written: list[Callable[[], None]] = []
        if order.venue_id is not None:
            self._by_venue[order.venue_id] = mine
        if held is None:
            self._put(order if booked else replace(order, fills={}, state=_unfilled(order)))
        for fill in order.fills.values():
            if booked:
                written.append(partial(self._records.fill, order, fill))
            elif (grown := self._book(mine, fill)) is not None:
                written.append(partial(self._records.fill, grown, fill))
        now = self.orders[mine]
        if order.state in STEPS[now.state]:
            now = now.step(order.state, order.updated_us, venue_id=order.venue_id, reason=order.reason)
            self._put(now)
        return [*written, partial(self._records.update, now)]

    def settled(self, known: Iterable[VenueFill]) -> None:
        """A comparison has accounted for these fills, whosever they are."""
        accounted = set(known)
        self.strays = [stray for stray in self.strays if stray not in accounted]

    async def ask(self, mine: str) -> tuple[bool, VenueOrder | None]:
        """What the venue says of one of our ids: whether it answered, and what."""
        order = self.orders.get(mine)
        market = "" if order is None else order.intent.market
        try:
            return True, await self.venue.find(mine, market)
        except (Refused, Unclear):
            return False, None

    # How.

    def _put(self, order: Order) -> None:
        mine, market = order.intent.client_order_id, order.intent.market
        self.orders[mine] = order
        if order.over:
            self._open.get(market, {}).pop(mine, None)
        else:
            self._open.setdefault(market, {})[mine] = order

    def _now_us(self) -> int:
        return self._clock.wall_ns() // 1000

    def _owe(self, mine: str, filled: int) -> None:
        owed = filled - self.orders[mine].filled
        if owed > self._owed.get(mine, 0):
            self._owed[mine] = owed

    async def _named(self, mine: str, venue_id: str) -> None:
        """The venue's id of an order is known: so are fills that were told of before."""
        self._by_venue[venue_id] = mine
        order = self.orders[mine]
        if order.venue_id != venue_id:
            self._put(replace(order, venue_id=venue_id))
        early = [stray for stray in self.strays if stray.venue_id == venue_id]
        if early:
            self.strays = [stray for stray in self.strays if stray.venue_id != venue_id]
            await self.hear(early)

    def _book(self, mine: str, fill: Fill) -> Order | None:
        """The order with a fill more; None where it is known."""
        order = self.orders[mine]
        try:
            grown = order.filled_by(fill)
        except IllegalStep as error:
            _log.error("%s", error)  # the next comparison says so, too, and halts the market
            return None
        if grown is order:
            return None
        self._put(grown)
        if mine in self._owed:
            self._owed[mine] -= fill.size
            if self._owed[mine] <= 0:
                del self._owed[mine]
        purse = self._purses.get(order.intent.market)
        if purse is not None:  # else an earlier run's, in a market that this one does not trade
            purse.apply(grown, fill)
        self._heard(grown, fill)
        return grown

    async def _end(self, mine: str, state: State, reason: str) -> None:
        """An order is over, unless a fill has ended it meanwhile."""
        if not self.orders[mine].over:
            await self._step(mine, state, reason=reason)

    async def _step(self, mine: str, state: State, *, venue_id: str | None = None, reason: str = "") -> Order:
        order = self.orders[mine]
        if state is not order.state and (order.over or (order.state is State.RESTING and state in _DOUBTS)):
            return order  # a fill came first, or it was found at the venue: that wins
        stepped = order.step(state, self._now_us(), venue_id=venue_id, reason=reason)
        self._put(stepped)
        await self._write(lambda: self._records.update(stepped))
        return stepped

    async def _write(self, call: Callable[[], None]) -> None:
        async with self._writing:
            await asyncio.to_thread(call)


def _rests(order: Order) -> bool:
    return order.state is State.RESTING and order.venue_id is not None


def _unfilled(order: Order) -> State:
    """What an order is before its fills are booked."""
    return State.RESTING if order.state is State.FILLED else order.state
