"""The loop: at each decision of each market the policy is asked, the guard looks, and what passes leaves.

One event loop, one account. Nothing waits for a market whose order is under way but that market.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from kflow.act.denials import Counters, Denial, Reason
from kflow.act.desk import Desk
from kflow.act.guard import Facts, Open, check, check_renewal
from kflow.act.limits import Limits
from kflow.act.orders import Fill, Intent, Order, State
from kflow.act.pace import Pace
from kflow.act.seat import Seat, Seen, Wish
from kflow.act.stakes import Stake
from kflow.act.standing import Standing, StandingFile
from kflow.act.strategies import Chosen
from kflow.clock import NS_PER_S, Clock
from kflow.errors import KflowError
from kflow.policy.actions import CANCEL_ALL, HOLD, Action

_log = logging.getLogger(__name__)
_DAY_US: Final = 86_400_000_000
# Refusals that hold for every market, and those that hold for one: no order leaves for a while.
_PAUSES: Final = frozenset({"trading_paused", "exchange_paused"})
_CLOSED: Final = frozenset({"market_inactive"})
_PAUSE_NS: Final = 5 * NS_PER_S
# After so many decisions in a row that no policy could be asked for, its market is halted.
_PATIENCE: Final = 20


class Decision(NamedTuple):
    """What was decided in a market, and what became of it. `refusal`: why no order left; empty where one did."""

    market: str
    us: int  # the venue's time
    number: int
    action: str
    seen: Seen
    wish: Wish | None
    refusal: str
    order: str | None  # client_order_id
    position: int


class Diary(Protocol):
    """Where decisions are written down. Called from a thread."""

    def decided(self, decision: Decision) -> None:
        """One that was not to hold."""


@dataclass(slots=True)
class Day:
    """Profit of the day (UTC), and how far it is below its best."""

    number: int = -1
    before: int = 0  # of days before
    best: int = 0
    today: int = 0

    def note(self, profit: int, us: int) -> None:
        """All profit since the start, now."""
        if us // _DAY_US != self.number:
            self.number, self.before, self.best = us // _DAY_US, profit if self.number >= 0 else 0, 0
        self.today = profit - self.before
        self.best = max(self.best, self.today)

    @property
    def fall(self) -> int:
        """Below the best."""
        return self.best - self.today


@dataclass(slots=True)
class Tally:
    """What is counted."""

    decisions: int = 0
    holds: int = 0
    waits: int = 0  # no decision, since an order of the market was under way or its book was not whole
    sent: int = 0
    fills: int = 0
    failures: int = 0  # the policy could not be asked
    latency_us: list[int] = field(default_factory=list)  # from looking at the book to the order's sending, stored
    guard: Counters = field(default_factory=Counters)


class Actor:
    """A policy on live books."""

    def __init__(
        self,
        chosen: Chosen,
        seats: Mapping[str, Seat],
        desk: Desk,
        *,
        limits: Limits,
        standing: StandingFile,
        epoch: Callable[[], int | None],
        cash: Callable[[], int | None],
        clock: Clock,
        diary: Diary,
        run: uuid.UUID | None = None,
    ) -> None:
        """`epoch`: of the lease while it is held; `cash`: free at the venue as it was last told, 1e-6 dollar."""
        self.chosen, self.seats, self.desk, self.limits = chosen, seats, desk, limits
        self.standing, self.tally, self.day = standing, Tally(), Day()
        self.run: Final = run or uuid.uuid4()
        self.stakes: dict[str, Stake] = {market: Stake() for market in seats}
        self.pace = Pace(limits)
        self._epoch, self._cash, self._clock, self._diary = epoch, cash, clock, diary
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: dict[str, int] = {}
        self._paused: dict[str, int] = {}  # until when, monotonic
        self._looked: dict[str, int] = {}  # when the book was looked at, of an order that is about to leave

    def may_send(self, market: str) -> bool:
        """The very last look before an order leaves: halted, or the lease lost, by anybody, up to this moment."""
        return self.standing.of(market).standing is not Standing.HALTED and self._epoch() is not None

    def leaving(self, market: str) -> None:
        """An order leaves now: note how old the look at its book is."""
        looked_ns = self._looked.pop(market, None)
        if looked_ns is not None:
            self.tally.latency_us.append((self._clock.mono_ns() - looked_ns) // 1000)
            del self.tally.latency_us[:-10_000]

    def heard(self, order: Order, fill: Fill) -> None:
        """A fill was booked."""
        market = order.intent.market
        self.tally.fills += 1
        self.pace.filled(self._now_us())
        if market not in self.stakes:
            return  # an earlier run's, in a market that this one does not trade
        self.stakes[market] = self.stakes[market].after(order.intent.side, fill.price, fill.size, fill.fee)

    def lower(self, limits: Limits) -> tuple[str, ...]:
        """Take on stricter limits; what was to become looser stays, and is told."""
        lowered = self.limits.lowered(limits)
        self.limits = self.pace.limits = lowered.limits
        return lowered.looser

    # One decision.

    def turn(self, market: str) -> Decision | None:
        """Ask the policy about a market, and start what it wants. None where it holds or has to wait."""
        seat = self.seats[market]
        live, mono_ns = seat.market, self._clock.mono_ns()
        orders = self.desk.open(market)
        if not live.valid or self.desk.busy(market) or mono_ns < self._paused.get(market, 0):
            self.tally.waits += 1
            return None
        seen = seat.look(orders, mono_ns)
        self.tally.decisions += 1
        self._note_profit()
        action = self._choice(seat, seen)
        if action is None:
            return None
        if action.op == HOLD:
            self.tally.holds += 1
            return None
        if action.op == CANCEL_ALL:
            refusal = "" if orders else "no order is open"
            if orders:
                self._start(self.desk.cancel(market))
            return self._decided(seat, seen, action, None, refusal, None)
        return self._order(seat, seen, action, orders, mono_ns)

    def _choice(self, seat: Seat, seen: Seen) -> Action | None:
        """The policy's action; None where it cannot be asked, which many times over halts its market."""
        market = seat.market.facts.ticker
        try:
            if not seen.finite:
                raise ValueError("the observation is not finite")
            action = seat.decide(seen)
        except (ValueError, IndexError, ArithmeticError, TypeError) as error:
            self.tally.failures += 1
            self._failed[market] = self._failed.get(market, 0) + 1
            if self._failed[market] == _PATIENCE:
                self._halt(f"{_PATIENCE} decisions in a row failed: {error}", market)
            return None
        self._failed[market] = 0
        return action

    def _order(self, seat: Seat, seen: Seen, action: Action, orders: Sequence[Order], mono_ns: int) -> Decision:
        wish = seat.wish(action, orders)
        if wish.refusal:
            return self._decided(seat, seen, action, wish, wish.refusal, None)
        intent = self._intent(seat, seen, action, wish)
        # By now: a policy that thought for long decided on what is old.
        denial = check(intent, self._facts(seat, seen, intent, orders, self._clock.mono_ns()), self.limits)
        self.tally.guard.count(denial)
        if denial is not None:
            self._on_denial(denial)
            return self._decided(seat, seen, action, wish, str(denial.reason), None)
        self.pace.sent(intent, self._now_us())
        self.tally.sent += 1
        self._looked[intent.market] = mono_ns
        self._start(self._submit(seat, intent))
        return self._decided(seat, seen, action, wish, "", intent.client_order_id)

    def _intent(self, seat: Seat, seen: Seen, action: Action, wish: Wish) -> Intent:
        seat.numbers += 1
        expires = until = None
        if not wish.immediate:
            until = seen.us + wish.rest_us
            expires = seen.us + min(wish.rest_us, self.limits.order_us)
        return Intent(
            run=self.run,
            number=seat.numbers,
            market=seat.market.facts.ticker,
            action=action.name,
            side=wish.side,
            price=wish.price,
            size=wish.size,
            immediate=wish.immediate,
            reduce_only=wish.reduce_only,
            expires_us=expires,
            until_us=until,
            decided_us=seen.us,
            version=seen.version,
            digest=seen.digest,
            epoch=self._epoch() or 0,
            limits=self.limits.sha256,
        )

    def _facts(self, seat: Seat, seen: Seen, intent: Intent, orders: Sequence[Order], mono_ns: int) -> Facts:
        live, market = seat.market, seat.market.facts.ticker
        view, prices = live.view, live.prices
        event = live.facts.event_ticker
        risks = {name: self._risk(name) for name in self.seats}
        of_event = [name for name, other in self.seats.items() if other.market.facts.event_ticker == event]
        return Facts(
            standing=self.standing.of(market).standing,
            epoch=self._epoch(),
            market_open=live.active,
            frozen=self.desk.busy(market),
            now_us=live.now_us(mono_ns),
            close_us=live.close_us if live.close_us >= 0 else None,
            grid=live.grid,
            fees=live.fees.whole(),
            book_valid=live.valid,
            book_age_us=live.age_us(mono_ns),
            bid=prices[view.bid] if view.bid >= 0 else None,
            ask=prices[view.ask] if view.ask < len(prices) else None,
            last=live.last,
            finite=seen.finite,
            observed_us=max(live.now_us(mono_ns) - seen.us, 0),
            verified=True,
            position=seat.purse.position,
            own=[Open(o.intent.side, o.intent.price, o.left) for o in orders],
            orders=sum(1 for _ in self.desk.live()),
            cash=self._cash(),
            market_risk=risks[market],
            event_risk=sum(risks[name] for name in of_event),
            total_risk=sum(risks.values()),
            today=self.day.today,
            drawdown=self.day.fall,
            pace=self.pace.of(intent, self._now_us()),
        )

    def _risk(self, market: str) -> int:
        own = [Open(o.intent.side, o.intent.price, o.left) for o in self.desk.open(market)]
        return self.stakes[market].at_risk(own, self.seats[market].market.fees.whole())

    def _on_denial(self, denial: Denial) -> None:
        """What was lost today ends the day, until a person arms again."""
        if denial.reason in (Reason.DAILY_LOSS, Reason.DRAWDOWN) and not denial.unknown:
            self._halt(denial.reason.about, None)

    async def _submit(self, seat: Seat, intent: Intent) -> None:
        try:
            order = await self.desk.submit(intent)
        except KflowError as error:
            _log.error("an order was not sent: %s", error)
            self._halt(f"orders cannot be stored: {error}", None)
            return
        if order.state is State.REFUSED:
            closed = self.seats if order.reason in _PAUSES else (intent.market,) if order.reason in _CLOSED else ()
            self._paused |= dict.fromkeys(closed, self._clock.mono_ns() + _PAUSE_NS)
        if order.state is State.RESTING:
            orders = self.desk.open(intent.market)
            seat.joined(order, orders, seat.market.now_us(self._clock.mono_ns()))

    def _decided(
        self, seat: Seat, seen: Seen, action: Action, wish: Wish | None, refusal: str, order: str | None
    ) -> Decision:
        decision = Decision(
            market=seat.market.facts.ticker,
            us=seen.us,
            number=self.tally.decisions,
            action=action.name,
            seen=seen,
            wish=wish,
            refusal=refusal,
            order=order,
            position=seat.purse.position,
        )
        self._start(asyncio.to_thread(self._diary.decided, decision))
        return decision

    # All of them.

    async def decide(self, stop: asyncio.Event) -> None:
        """Every market once in each interval of the policy, until stopped."""
        every_ns = self.chosen.every_us * 1000
        due = self._clock.mono_ns()
        while not stop.is_set():
            for market in self.seats:
                self.turn(market)
            due += every_ns
            late = self._clock.mono_ns() - due
            if late > 0:  # what was missed is not made up for
                due += -(-late // every_ns) * every_ns
            await self._clock.sleep(max(due - self._clock.mono_ns(), 0) / 1e9)

    async def renew(self) -> None:
        """Let orders that are still wanted live on."""
        now_us = self._clock.wall_ns() // 1000
        life_us = self.limits.order_us

        def denied(order: Order) -> bool:
            standing = self.standing.of(order.intent.market).standing
            return (
                check_renewal(
                    order.intent,
                    now_us + life_us,
                    standing=standing,
                    now_us=now_us,
                    epoch=self._epoch(),
                    limits=self.limits,
                )
                is not None
            )

        await self.desk.renew(life_us, denied)

    async def drained(self) -> None:
        """Wait for what is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _note_profit(self) -> None:
        profit = sum(
            seat.purse.equity(seat.market.view, seat.market.prices) - seat.purse.cash_at_start
            for seat in self.seats.values()
        )
        self.day.note(profit, self._now_us())

    def _halt(self, why: str, market: str | None) -> None:
        _log.error("halted%s: %s", f" in {market}" if market else "", why)
        try:
            self.standing.halt(why, self._now_us(), market)
        except KflowError as error:
            _log.error("%s", error)

    def _now_us(self) -> int:
        return self._clock.wall_ns() // 1000

    def _start(self, what: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(what)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a task of the actor failed: %s", error)
            self._halt(f"a part of the actor failed: {error}", None)
