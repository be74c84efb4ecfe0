"""The paper venue: one account at live or replayed books, filled by the simulator's kernel. No order leaves.

It hears the feed that the actor hears, decides by the same code and the same assumptions as `kflow simulate`, and runs
`hold_us` behind (see paper_tape): an answer comes that much later than the simulated travel, and names the moments at
which things happened. Orders begin at the book's time that their sender saw. Own orders never change the book.

Cash is one account over all markets. What is free is free for all of them, what open orders reserve is reserved: the
kernel checks when an order arrives and at every fill, and markets go on in the order of time. A gap in a book ends its
orders, as in a recording. Draws depend on seed and market alone.
"""

from __future__ import annotations

import asyncio
import itertools
from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from kflow.act.orders import Fill, Intent
from kflow.act.paper_feed import PaperFeed
from kflow.act.paper_market import MOST, PaperMarket, Pool
from kflow.act.paper_orders import REFUSALS, Command, PaperOrder, second
from kflow.act.paper_tape import HOLD_US, Event
from kflow.act.venue import Ack, Gone, Refused, Truth, Unclear, VenueFill, VenueOrder
from kflow.clock import Clock
from kflow.exchange.groups import MOST as MOST_OF_GROUP
from kflow.exchange.groups import OrderGroup
from kflow.market.events import FeedEvent
from kflow.market.grid import Grid
from kflow.market.times import US_PER_S
from kflow.sim import kernel
from kflow.sim.fills import Assumptions
from kflow.sim.orders import KINDS, REASONS, Moment
from kflow.units import CONTRACT, Size

# What comes within this long of a cancellation of everything is cancelled, too, as at the venue.
_QUIET_US: Final = 60 * US_PER_S
# How often time is looked at while somebody waits for an answer and the feed is silent.
_LOOK_S: Final = 0.02
# Events of a market without open orders are read by so many: nothing can happen to it.
_IDLE: Final = 256
_RESTS, _TOOK, _MADE, _ENDED = (KINDS[kind] for kind in (kernel.ARRIVED, kernel.TOOK, kernel.MADE, kernel.ENDED))

T = TypeVar("T")


class Terms(NamedTuple):
    """What the paper venue has to know of a market."""

    grid: Grid
    assumptions: Assumptions


Heard = Callable[[Sequence[VenueFill], Sequence[VenueOrder]], None]


class PaperVenue:
    """A `Venue` that fills by itself. Give it the feed: `events`, and `lost` where a connection ended.

    `heard` is told of fills and of orders that ended, as they become known. All on one event loop.
    """

    name: str = "paper"

    def __init__(
        self,
        markets: Mapping[str, Terms],
        *,
        cash: int,
        clock: Clock,
        seed: int = 0,
        hold_us: int = HOLD_US,
        heard: Heard = lambda _fills, _orders: None,
    ) -> None:
        """cash: 1e-6 dollar. Raises UsageError for fees whose exact arithmetic does not fit."""
        self._pool: Final = Pool(cash)
        self._markets: Final = {
            name: PaperMarket(markets[name].grid, markets[name].assumptions, self._pool, seed=seed, number=number)
            for number, name in enumerate(sorted(markets))
        }
        self._feed: Final = PaperFeed({name: terms.grid for name, terms in markets.items()}, hold_us)
        self._hold_us, self._clock, self._heard = hold_us, clock, heard
        self._orders: Final[dict[str, PaperOrder]] = {}  # by the venue's id, all that ever arrived or travel
        self._by_number: Final[dict[tuple[str, int], PaperOrder]] = {}
        self._mine: Final[dict[str, PaperOrder]] = {}
        self._fills: Final[list[VenueFill]] = []
        self._groups: Final[dict[str, OrderGroup]] = {}
        self._quiet_until_us = 0
        # What members asked for, by the moment at which it is sent, or arrives.
        self._commands: Final[list[Command]] = []
        self._count: Final = itertools.count(1)
        self._now_us = self._heard_ns = 0  # latest word of the feed, and when it came
        self._told_us = 0  # up to where everything is decided
        self._news: tuple[list[VenueFill], list[VenueOrder]] = ([], [])

    # The feed.

    @property
    def late(self) -> int:
        """Changes of books that came after their time was decided; they count as of the present."""
        return self._feed.late

    @property
    def now_us(self) -> int:
        """The venue's time: of its latest word, and what has passed since. 0 before the first."""
        passed_ns = self._clock.mono_ns() - self._heard_ns
        return self._now_us + max(passed_ns, 0) // 1000 if self._now_us else 0

    def events(self, events: Sequence[FeedEvent], mono_ns: int) -> None:
        """What a chunk of the feed brought, in its order; `mono_ns` is when."""
        for event in events:
            name = event.market
            if name is None or name not in self._markets:
                continue
            word = self._feed.take(event, self.now_us or self._clock.wall_ns() // 1000)
            if word.over is not None:
                self._end(name, word.over)
            if word.begins is not None:
                self._told(name, self._markets[name].begin(*word.begins))
            if word.us > self._now_us:
                self._now_us, self._heard_ns = word.us, mono_ns
        self.pass_time()

    def lost(self) -> None:
        """The connection ended: no book is known until its next snapshot."""
        for name in self._markets:
            over = self._feed.end(name)
            if over is not None:
                self._end(name, over)
        self._tell()

    def pass_time(self) -> None:
        """Decide what can be decided by now. To be called now and then where the feed may be silent."""
        now_us = self.now_us
        until_us = (now_us - self._hold_us) // 1000 * 1000 - 1
        if until_us <= self._told_us:
            return
        for name, market in self._markets.items():
            market.give(self._feed.release(name, now_us))
        self._play(until_us, self._markets)
        for name, market in self._markets.items():
            if market.next_us() < kernel.NEVER or market.waiting >= _IDLE:
                self._told(name, market.run(until_us))
        self._told_us = until_us
        self._tell()

    def settle(self, name: str, value: int) -> None:
        """A market is paid out: `value` of a YES contract, 1e-4 dollar. Its open orders end."""
        self._told(name, self._markets[name].settle(value))
        self._tell()

    def _play(self, until_us: int, names: Iterable[str]) -> None:
        """Markets and what was asked of them up to a moment, always with the earliest: books before orders."""
        among = set(names)
        while True:
            us, name = min((self._markets[name].next_us(), name) for name in among)
            command = next((one for one in self._commands if one.market in among), None)
            if us <= until_us and (command is None or us <= command.us):
                self._told(name, self._markets[name].run(us))
            elif command is not None and command.us <= until_us:
                self._commands.remove(command)
                self._told(command.market, self._markets[command.market].run(command.us))
                command.carry_out(max(command.us, self._markets[command.market].now_us))
            else:
                return

    def _end(self, name: str, over: list[Event]) -> None:
        """A book is over: the rest of it is played, then its orders are gone."""
        market = self._markets[name]
        market.give(over)
        last_us = over[-1].us if over else self._told_us
        self._play(last_us, [name])
        self._told(name, market.run(last_us))
        self._told(name, market.end())

    # Orders.

    async def place(self, intent: Intent, group: str | None) -> Ack:
        self._admit(intent, group)
        mine = intent.client_order_id
        expires_us = None if intent.expires_us is None or intent.immediate else second(intent.expires_us)
        answer: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        order = PaperOrder(intent, f"paper-{mine}", group, answer, expires_us=expires_us)
        self._mine[mine] = self._orders[order.venue_id] = order
        self._at(max(intent.decided_us, self.now_us), intent.market, lambda us: self._send(order, us))
        return await self._answered(answer)

    async def cancel(self, venue_id: str, market: str) -> int:
        """Comes back when it is done: with latency, and what the order got until then is among the fills."""
        order = self._orders.get(venue_id)
        if order is None or not order.open or order.intent.market != market:
            raise Gone(f"{venue_id} is not open")
        reason = await self._answered(self._cancelling(order))
        if reason != REASONS[kernel.CANCELLED]:
            raise Gone(f"{venue_id} is over: {reason}")
        return order.us

    async def renew(self, venue_id: str, intent: Intent, filled: int, expires_us: int) -> Ack:
        del filled
        order = self._orders.get(venue_id)
        if order is None or not order.open:
            raise Gone(f"{venue_id} is not open")
        if second(expires_us) <= self.now_us:
            raise Refused("invalid_order", "expiration_time has passed")
        market = self._markets[intent.market]
        answer: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()

        def over() -> None:
            if not answer.done():
                answer.set_exception(Gone(f"{venue_id} is over"))

        def leave(_: int) -> None:
            arrives_us = market.renewal_us(order.number)
            if arrives_us is None:
                over()
            else:
                self._at(arrives_us, intent.market, arrive)

        def arrive(us: int) -> None:
            if not market.expire_at(order.number, second(expires_us)):
                over()
            elif not answer.done():
                order.expires_us = second(expires_us)
                answer.set_result(Ack(venue_id, order.filled, order.left, us))

        self._at(self.now_us, intent.market, leave)
        return await self._answered(answer)

    async def find(self, client_order_id: str, market: str) -> VenueOrder | None:
        order = self._mine.get(client_order_id)
        if order is None or order.state == "travels" or order.intent.market != market:
            return None
        return order.told()

    async def truth(self, since_us: int) -> Truth:
        """As of what is decided, `hold_us` ago."""
        arrived = [order for order in self._orders.values() if order.state != "travels"]
        return Truth(
            us=self._told_us,
            orders=[order.told() for order in arrived if order.open or order.us >= since_us],
            fills=[told for told in self._fills if told.fill.us >= since_us],
            positions={name: market.position for name, market in self._markets.items() if market.position},
            cash=self._pool.cash,
        )

    async def open_group(self, most: int) -> str:
        if not CONTRACT <= most <= MOST_OF_GROUP:
            raise Refused("invalid_order", "an order group's limit lies between 1 and 1,000,000 contracts")
        name = f"paper-group-{len(self._groups) + 1}"
        self._groups[name] = OrderGroup(Size(most), 0)
        return name

    async def trigger_group(self, group: str) -> None:
        if group not in self._groups:
            raise Refused("not_found", f"order group {group}")
        self._groups[group].triggered = True
        await self._cancel_each([order for order in self._open() if order.group == group])

    async def cancel_all(self) -> None:
        self._quiet_until_us = self.now_us + _QUIET_US
        await self._cancel_each(self._open())

    def ahead(self, venue_id: str) -> int | None:
        """Contracts, 1e-2, that trade before a resting order; None where it does not rest."""
        order = self._orders.get(venue_id)
        return None if order is None else self._markets[order.intent.market].ahead(order.number)

    # How.

    def _admit(self, intent: Intent, group: str | None) -> None:
        """What the venue sees without looking at book or cash."""
        market = self._markets.get(intent.market)
        if intent.client_order_id in self._mine:
            raise Unclear(f"{intent.client_order_id} is known already: look it up")
        if market is None:
            raise Refused("not_found", f"market {intent.market}")
        if not market.live:
            raise Refused("no_book", f"the book of {intent.market} is not followed")
        if market.column(intent.side, intent.price) < 0:
            raise Refused("invalid_price", f"{intent.price / 10_000:.4f} is not a price of {intent.market}")
        if not 0 < intent.size <= MOST:
            raise Refused("invalid_order", f"{intent.size / 100:g} contracts")
        if intent.reduce_only and not intent.immediate:
            raise Refused("invalid_order", "reduce_only needs an immediate order")
        expires_us = None if intent.immediate else intent.expires_us
        if expires_us is not None and second(expires_us) <= self.now_us:
            raise Refused("invalid_order", "expiration_time has passed")
        if group is not None and group not in self._groups:
            raise Refused("not_found", f"order group {group}")
        if group is not None and self._groups[group].triggered:
            raise Refused("invalid_order", f"order group {group} was triggered")

    def _at(self, us: int, market: str, carry_out: Callable[[int], object]) -> None:
        insort(self._commands, Command(us, next(self._count), market, carry_out))

    def _send(self, order: PaperOrder, us: int) -> None:
        intent, market = order.intent, self._markets[order.intent.market]
        if not market.live:
            self._refuse(order, "no_book", "its book is not followed")
            return
        order.number = market.place(
            intent.side,
            market.column(intent.side, intent.price),
            intent.size,
            immediate=intent.immediate,
            reduce_only=intent.reduce_only,
            expires_us=order.expires_us or 0,
        )
        self._by_number[intent.market, order.number] = order
        if us < self._quiet_until_us or (order.group is not None and self._groups[order.group].triggered):
            market.withdraw(order.number, us)

    def _refuse(self, order: PaperOrder, code: str, text: str) -> None:
        order.state = "refused"
        del self._mine[order.intent.client_order_id], self._orders[order.venue_id]
        if not order.answer.done():
            order.answer.set_exception(Refused(code, text))

    def _open(self) -> list[PaperOrder]:
        return [order for order in self._orders.values() if order.open]

    def _cancelling(self, order: PaperOrder) -> asyncio.Future[str]:
        """Send a cancellation; why the order is over, once it is."""
        market = self._markets[order.intent.market]
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        order.ended.append(ended)
        self._at(self.now_us, order.intent.market, lambda _: market.cancel(order.number))
        return ended

    async def _cancel_each(self, orders: Sequence[PaperOrder]) -> None:
        endings = [self._cancelling(order) for order in orders]
        if endings:
            await self._answered(asyncio.gather(*endings))

    async def _answered(self, answer: asyncio.Future[T]) -> T:
        """Wait, and let time pass meanwhile where the feed is silent."""
        looking = asyncio.create_task(self._look())
        try:
            both: set[asyncio.Future[Any]] = {answer, looking}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                looking.result()  # it ends by an error only
            return await answer
        finally:
            looking.cancel()

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(_LOOK_S)
            self.pass_time()

    def _told(self, name: str, moments: Iterable[Moment]) -> None:
        for moment in moments:
            order = self._by_number[name, moment.order]
            order.us = moment.us
            if moment.kind in (_TOOK, _MADE):
                self._filled(order, moment)
            elif moment.kind == _RESTS:
                order.state = "resting"
                self._answer(order)
            elif moment.kind == _ENDED:
                self._ended(order, moment.reason)

    def _filled(self, order: PaperOrder, moment: Moment) -> None:
        order.filled += moment.size
        order.parts += 1
        trade = f"{order.venue_id}-{order.parts}"
        fill = Fill(trade, moment.us, moment.price, moment.size, moment.fee, moment.kind == _TOOK)
        told = VenueFill(order.venue_id, order.intent.market, order.intent.side, fill)
        self._fills.append(told)
        self._news[0].append(told)
        if order.group is not None and self._groups[order.group].matched(moment.size, moment.us):
            for other in self._open():
                if other.group == order.group and other.number >= 0:
                    self._markets[other.intent.market].withdraw(other.number, moment.us)

    def _ended(self, order: PaperOrder, reason: str) -> None:
        if order.state == "travels" and not order.filled and reason in REFUSALS:
            self._refuse(order, REFUSALS[reason], reason)
        else:
            order.state = "filled" if order.filled == order.intent.size else "cancelled"
            self._answer(order)
            self._news[1].append(order.told())
        for waiting in order.ended:
            if not waiting.done():
                waiting.set_result(reason)

    @staticmethod
    def _answer(order: PaperOrder) -> None:
        if not order.answer.done():
            order.answer.set_result(Ack(order.venue_id, order.filled, order.left, order.us))

    def _tell(self) -> None:
        fills, orders = self._news
        if fills or orders:
            self._news = ([], [])
            self._heard(fills, orders)
