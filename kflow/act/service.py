"""A run of the actor from start to end: reconciled with the venue first, and again each minute, and stoppable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from kflow.act.actor import Actor
from kflow.act.course import Course, Log, Values, unknown
from kflow.act.desk import Desk
from kflow.act.kill import Groups
from kflow.act.lease import Lease, LeaseLost
from kflow.act.live import LiveBooks
from kflow.act.orders import Account, Fill, Intent, Order
from kflow.act.private import fill_of
from kflow.act.reconcile import Belief, Difference, Kind, Outcome, begin, reconcile
from kflow.act.stakes import Stake
from kflow.act.standing import Standing, StandingFile
from kflow.act.venue import Gone, Refused, Truth, Unclear, Venue, VenueFill, VenueOrder
from kflow.clock import NS_PER_S, Clock
from kflow.errors import KflowError
from kflow.market.events import Other

_log = logging.getLogger(__name__)
# How far back the venue is asked, before the oldest order that is not over.
_BEFORE_US: Final = 60_000_000
# Orders that the log has for open are older than this only where it was never told of their end.
_LONGEST_US: Final = 3_600_000_000
_RECONCILE_S: Final = 60.0
_RENEW_S: Final = 2.0
_LOOK_S: Final = 0.05  # how soon a halt from outside is seen, while nothing is decided
_START_TRIES: Final = 10
# At the end, for as long as an order whose sending brought no answer may be under way.
_END_TRIES: Final = 15
_END_PAUSE_S: Final = 1.0
# How soon what is left is cancelled again, and how soon a group is asked for again.
_SWEEP_NS: Final = NS_PER_S // 5
_REGROUP_NS: Final = NS_PER_S
_GROUP_S: Final = 1.0  # how long is waited for the venue to stop a group, before it is asked again


class Service:
    """The tasks of one actor. `run` returns when it was stopped, and raises LeaseLost where another has its place."""

    def __init__(
        self,
        actor: Actor,
        books: LiveBooks,
        venue: Venue,
        lease: Lease,
        standing: StandingFile,
        groups: Groups,
        log: Log,
        *,
        clock: Clock,
        feed: Callable[[], Awaitable[None]],
        poll_s: float,
        beat: Callable[[], None] = lambda: None,
        values: Values = unknown,
        settle: Callable[[str, int], None] = lambda _market, _value: None,
    ) -> None:
        """`feed` runs for ever; `poll_s`: how often fills are asked for. `beat` is called twenty times a second.

        `values`: what YES was paid in markets that are settled, 1e-4 dollar; `settle` is told of each that is.
        """
        self.actor, self.books, self.venue, self.lease = actor, books, venue, lease
        self.account = Account(0)
        self.group: str | None = None
        self.state = Course()
        self._standing, self._groups, self._log, self._clock = standing, groups, log, clock
        self._feed, self._poll_s, self._beat = feed, poll_s, beat
        self._values, self._settle_at = values, settle
        self._paid: dict[str, int] = {}  # what YES was paid, of settled markets
        self._tick: Callable[[], None] = lambda: None
        self._intents: Mapping[str, Intent] = {}
        self._external: set[str] = set()
        self._began_us = self._floor_us = 0
        self._news: asyncio.Queue[VenueFill | VenueOrder] = asyncio.Queue(10_000)
        self._sweep_ns = self._regroup_ns = 0  # not before: a venue that refuses is not to be overrun

    def watch(self, tick: Callable[[], None]) -> None:
        """Call it once a second from now on."""
        self._tick = tick

    @property
    def desk(self) -> Desk:
        return self.actor.desk

    def cash(self) -> int | None:
        """Free at the venue: what is there, less what open orders could come to cost. None before it is known."""
        if not self.state.ready or self.group is None:
            return None
        seats = self.actor.seats
        held = sum(
            seats[order.intent.market].purse.most(order.intent.price, order.left)
            for order in self.desk.live()
            if order.intent.market in seats
        )
        return self.account.cash - held

    def heard(self, order: Order, fill: Fill) -> None:
        """A fill was booked: the account follows."""
        self.account.apply(order.intent.market, order.intent.side, order.intent.client_order_id, fill)
        self.actor.heard(order, fill)

    def other(self, event: Other) -> None:
        """A frame of a private channel."""
        told = fill_of(event)
        if told is not None and not self._news.full():
            self._news.put_nowait(told)

    def kill(self, reason: str) -> None:
        """Halt all, now and until a person arms again; what rests is cancelled within a moment.

        Raises ConfigError where that could not be written down; it holds in this process all the same.
        """
        self._standing.kill(reason, self._clock.wall_ns() // 1000)

    def told(self, fills: Sequence[VenueFill], ended: Sequence[VenueOrder]) -> None:
        """Fills, and orders that ended, which a venue of this process tells of at once."""
        news: list[VenueFill | VenueOrder] = [*fills, *ended]
        for told in news:
            if not self._news.full():
                self._news.put_nowait(told)

    # The run.

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until the lease is lost. What rests is cancelled at the end."""
        keeping = asyncio.create_task(self.lease.keep(), name="lease")
        try:
            await self._begin()
            await self._until(stop, keeping)
        except LeaseLost as error:
            self._halt(str(error), None)
            raise
        finally:
            self.state.ended = "stopped" if stop.is_set() else "it failed"
            stop.set()
            try:
                await self._end()
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
                self.lease.release()

    async def _until(self, stop: asyncio.Event, keeping: asyncio.Task[None]) -> None:
        """Trade until stopped, or until a part of it fails: raises what it raised."""
        tasks = [
            keeping,
            *(
                asyncio.create_task(job, name=name)
                for name, job in (
                    ("feed", self._feeding()),
                    ("decide", self.actor.decide(stop)),
                    ("fills", self._hearing()),
                    ("poll", self._every(self._poll_s, self._poll)),
                    ("renew", self._every(_RENEW_S, self.actor.renew)),
                    ("look", self._every(1.0, self._look)),
                    ("reconcile", self._every(_RECONCILE_S, self.reconcile)),
                    ("standing", self._every(_LOOK_S, self._sweep)),
                    ("stop", stop.wait()),
                )
            ),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what ended it
        finally:
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks[1:], return_exceptions=True)

    async def _begin(self) -> None:
        """Ask the venue what there is before anything else. Raises Unclear where it would not say."""
        self._began_us = self._now_us()
        known = await asyncio.to_thread(self._log.known, self.venue.name)
        self._intents = {mine: order.intent for mine, order in known.items()}
        open_since = [order.intent.decided_us for order in known.values() if not order.over]
        self._floor_us = max(min([self._began_us, *open_since]), self._began_us - _LONGEST_US) - _BEFORE_US
        truth = await self._truth(self._floor_us)
        self.account = begin(truth, self._intents)
        for market, seat in self.actor.seats.items():
            held = truth.positions.get(market, 0)
            seat.purse.hold(held)
            self.actor.stakes[market] = Stake(held, None if held else 0)
        await self._compare(truth, booked=True)
        await self._open_group()
        self.state.ready = True

    async def _open_group(self) -> None:
        """A new one: what was triggered takes no orders any more."""
        limits = self.actor.limits
        group = await self.venue.open_group(max(limits.fills_per_minute, 1) * limits.order_size)
        self._groups.add(self.venue.name, group, self._now_us())
        self.group = group

    async def _end(self) -> None:
        """Nothing of ours is left to rest, and the next actor need not wait."""
        if not self.state.ready:
            return
        await self._close_group()
        await self.actor.drained()
        await self._settle()
        self._tick()

    async def _settle(self) -> None:
        """Cancel and ask until nothing of ours is open, for as long as an order may be under way."""
        for attempt in range(_END_TRIES):
            if attempt:
                await self._clock.sleep(_END_PAUSE_S)
            try:
                await self.desk.sweep()
                await self.desk.look()
                if self.lease.held:
                    await self.reconcile()
                else:  # another's orders are none of our business
                    await self.desk.hear((await self.venue.truth(self._since_us())).fills)
            except KflowError as error:
                _log.warning("the last look at the venue failed: %s", error)
                continue
            if not any(True for _ in self.desk.live()):
                return
        _log.error("%d orders may still be open at the venue: kflow kill", sum(1 for _ in self.desk.live()))

    async def _feeding(self) -> None:
        await self._feed()

    async def _hearing(self) -> None:
        """What is told before anybody asks, as it comes. What is missed is found by asking."""
        while True:
            told = await self._news.get()
            if isinstance(told, VenueFill):
                await self.desk.hear([told])
            elif told.mine in self.desk.orders:
                await self.desk.adopt(told.mine, told)

    async def _every(self, seconds: float, what: Callable[[], Awaitable[object]]) -> None:
        """Again and again. What fails is told, and tried again."""
        while True:
            await self._clock.sleep(seconds)
            try:
                await what()
            except LeaseLost:
                raise
            except (KflowError, OSError) as error:
                _log.warning("%s", error)

    async def _poll(self) -> None:
        """Ask for fills while any order may have one."""
        if self.desk.strays or any(True for _ in self.desk.unsettled()):
            truth = await self.venue.truth(self._since_us())
            await self.desk.hear(truth.fills)
            if self.desk.strays:  # somebody else trades for this account, or a fill came before its order's answer
                await self._compare(truth)

    async def _look(self) -> None:
        await self.desk.look()
        held, seats = self.account.positions, self.actor.seats
        await self._ask_values([name for name, seat in seats.items() if not seat.market.active and held.get(name)])
        self._tick()

    async def _sweep(self) -> None:
        """Where all is halted, by whomever, what rests is cancelled: once, and again where something is left."""
        self._beat()
        now_ns = self._clock.mono_ns()
        if self._standing.now().overall.standing is not Standing.HALTED:
            self._sweep_ns = 0  # the next halt is not to wait
            if self.group is None and now_ns >= self._regroup_ns:
                self._regroup_ns = now_ns + _REGROUP_NS
                await self._open_group()
        elif now_ns >= self._sweep_ns:
            self._sweep_ns = now_ns + _SWEEP_NS
            await asyncio.gather(self._close_group(), self.desk.sweep())

    async def _close_group(self) -> None:
        """The venue cancels what is in it, and takes nothing that is still under way."""
        if self.group is None:
            return
        try:
            async with asyncio.timeout(_GROUP_S):
                await self.venue.trigger_group(self.group)
        except Refused:
            pass  # what is not there takes no orders
        except (Unclear, TimeoutError) as error:
            _log.warning("the order group could not be stopped: %s", error or "no answer")
            return
        self.group = None

    async def _ask_values(self, markets: Sequence[str]) -> None:
        """What markets paid, where the venue says so by now."""
        asked = [name for name in markets if name not in self._paid]
        if not asked:
            return
        for market, value in (await self._values(asked)).items():
            self._paid[market] = value
            self._settle_at(market, value)

    # The venue's truth.

    async def reconcile(self) -> Sequence[Difference]:
        """Compare all that we believe with what the venue says. What differs."""
        return await self._compare(await self.venue.truth(self._since_us()))

    async def _compare(self, truth: Truth, *, booked: bool = False) -> Sequence[Difference]:
        # Of an order that is not settled, a fill may be as new to us as what was paid for it.
        held = {name for name, size in self.account.positions.items() if size}
        held.update(order.intent.market for order in self.desk.unsettled())
        await self._ask_values([name for name in sorted(held) if not truth.positions.get(name)])
        before = dict(self.desk.orders)
        outcome = self._outcome(before, truth, None)
        if outcome.ask:
            answers = {mine: await self.desk.ask(mine) for mine in outcome.ask}
            found = {mine: order for mine, (answered, order) in answers.items() if answered}
            before = dict(self.desk.orders)
            outcome = self._outcome(before, truth, found)
        # All at one moment: what is heard while this is written down is booked on top of it.
        self.account, self._external = outcome.account, outcome.external
        self.desk.settled(truth.fills)
        await self.desk.believe(outcome.orders, before, booked=booked)
        await asyncio.gather(*map(self._cancel, outcome.cancel))
        for settled in (one.market for one in outcome.differences if one.kind is Kind.SETTLED):
            if settled in self.actor.seats:
                self.actor.seats[settled].purse.settle(self._paid[settled])
                self.actor.stakes[settled] = Stake()
        self._adopt()
        for market, why in outcome.halts.items():
            self._halt(why, market)
        for difference in outcome.differences:
            _log.debug("%s %s: %s", difference.kind, difference.subject, difference.text)
        await asyncio.to_thread(self._log.held, truth.us, truth.cash, truth.positions)
        self.state.reconciled_us = truth.us
        self.state.mismatches += len(outcome.halts)
        self.state.differences = (self.state.differences + outcome.differences)[-1000:]
        return outcome.differences

    def _adopt(self) -> None:
        """What somebody else traded is ours all the same: no policy is to go on with a position that is not there."""
        for market, seat in self.actor.seats.items():
            held = self.account.positions.get(market, 0)
            if seat.purse.position != held:
                seat.purse.adopt(held, seat.market.view, seat.market.prices)
                self.actor.stakes[market] = Stake(held, None if held else 0)

    async def _cancel(self, order: VenueOrder) -> None:
        """One that is not to be there."""
        held = self.desk.orders.get(order.mine)
        if held is not None and held.venue_id == order.venue_id and not held.over:
            await self.desk.withdraw(order.mine)
            return
        try:
            await self.venue.cancel(order.venue_id, order.market)
        except (Gone, Refused, Unclear) as error:
            _log.warning("an order that was left over could not be cancelled: %s", error)

    def _outcome(
        self, orders: Mapping[str, Order], truth: Truth, found: Mapping[str, VenueOrder | None] | None
    ) -> Outcome:
        belief = Belief(
            orders=orders,
            account=self.account,
            epoch=self.lease.epoch,
            intents=self._intents,
            external=frozenset(self._external),
        )
        return reconcile(belief, truth, found=found, settled=self._paid)

    def _since_us(self) -> int:
        """Before the first order that may be filled, and before the last comparison: one that failed leaves no hole."""
        since = [order.intent.decided_us for order in self.desk.unsettled()]
        earliest = min([self._now_us(), self.state.reconciled_us or self._began_us, *since]) - _BEFORE_US
        # What was filled before the first look is in what it found, and not to be booked again.
        return max(earliest, self._floor_us)

    def _now_us(self) -> int:
        return self._clock.wall_ns() // 1000

    async def _truth(self, since_us: int) -> Truth:
        """At the start nothing is believed without it. Raises Unclear."""
        for attempt in range(_START_TRIES):
            try:
                return await self.venue.truth(since_us)
            except Unclear as error:
                if attempt == _START_TRIES - 1:
                    raise
                _log.warning("%s; asking again", error)
                await self._clock.sleep(1.0)
        raise AssertionError("unreachable")

    def _halt(self, why: str, market: str | None) -> None:
        _log.error("halted%s: %s", f" in {market}" if market else "", why)
        try:
            self._standing.halt(why, self._now_us(), market)
        except KflowError as error:
            _log.error("%s", error)
