"""Orders of a log played in the simulator: all markets of the account in one order of time, with one purse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from kflow.evaluate.parity.log import Amend, Fill, Holding, Order
from kflow.evaluate.parity.unseen import Removal, Unseen, over_us
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts
from kflow.sim.fills import NO_LATENCY, Assumptions, Latency
from kflow.sim.tape import Tape
from kflow.units import DOLLAR, Money, Size

# Of several things at one moment the first: what we took goes, then orders arrive, change, leave; the stretch is over.
_GOES, _ARRIVES, _CHANGES, _LEAVES, _OVER = range(5)
_ROWS: Final = 256
_ANY: Final = Size(2**40)
_REFUSALS: Final = (
    kernel.WOULD_CROSS,
    kernel.SELF_TRADE,
    kernel.OVER_SIZE,
    kernel.OVER_POSITION,
    kernel.NO_CASH,
    kernel.NO_PLACE,
)
REFUSALS: Final = frozenset(int(reason) for reason in _REFUSALS)


@dataclass(slots=True)
class Simulated:
    """What the simulator made of an order. `reason`: as of `kernel.FILLED` and so on; 0 where it never arrived."""

    arrives_us: int
    fills: list[Fill] = field(default_factory=list)
    reason: int = 0
    rested: bool = False
    ahead: int = -1  # contracts before it when it came to rest
    ahead_last: int = -1  # and when it was over
    crossed: bool = False  # whether the other side stood at its price or better when it arrived

    @property
    def refused(self) -> bool:
        """It never got in."""
        return not self.fills and not self.rested and (self.reason in REFUSALS or self.reason == 0)

    @property
    def got(self) -> int:
        return sum(fill.size for fill in self.fills)


class Times(NamedTuple):
    """When an order, its changes and its cancellation reach the venue; None: it is not withdrawn."""

    arrives: int
    amends: tuple[int, ...]
    cancel: int | None


def real_times(order: Order) -> Times:
    """As they were. A cancellation whose arrival is not told took as long as the order did."""
    cancel = order.cancelled_us
    if cancel is None and order.cancel_sent_us is not None:
        cancel = order.cancel_sent_us + (0 if order.sent_us is None else order.us - order.sent_us)
    if order.dead_on_arrival:
        cancel = None  # what ended it was the venue's answer, and nobody's wish
    return Times(order.us, tuple(amend.us for amend in order.amends), cancel)


def assumed_times(order: Order, latency: Latency, seed: int, number: int) -> Times:
    """As the simulator would have them, from when things were sent; as they were, where that is not told."""
    draw, real = np.random.default_rng([seed, number]), real_times(order)

    def travels(sent_us: int | None, samples: tuple[int, ...], else_us: int) -> int:
        if sent_us is None:
            return else_us
        return sent_us + int(samples[0] if len(samples) == 1 else samples[int(draw.integers(len(samples)))])

    arrives = travels(order.sent_us, latency.place, real.arrives)
    amends = tuple(travels(amend.sent_us, latency.place, amend.us) for amend in order.amends)
    asked = None if order.ended_by_venue else order.cancel_sent_us
    cancel = None if real.cancel is None else travels(asked, latency.cancel, real.cancel)
    return Times(arrives, amends, cancel)


class Chapter(NamedTuple):
    """A stretch, and the orders that reached the venue within it, by their numbers in the log."""

    unseen: Unseen
    orders: dict[int, Order]


class _Seat:
    """The simulator's account in one stretch."""

    def __init__(self, tape: Tape, assumptions: Assumptions, start_us: int, position: int, most: int) -> None:
        self.market = market_of(tape)
        self.rules = replace(assumptions, latency=NO_LATENCY).rules()
        limits = Limits(cash=Money(0), max_position=_ANY, max_order=_ANY, orders=max(most, 1))
        self.state = new_accounts(1, tape.columns, limits, log=_ROWS)
        kernel.seat(self.state, self.market, 0, 0, start_us)
        self.state.account[0, kernel.POSITION] = position
        self._prices = [int(price) for price in tape.arrays.price]
        self.column = {price: place for place, price in enumerate(self._prices)}
        self._sent: dict[int, tuple[Order, Simulated]] = {}  # by the kernel's number

    def field(self, name: int) -> int:
        return int(self.state.account[0, name])

    def run(self, until_us: int) -> None:
        """Let time pass, and note what happens to orders."""
        while True:
            before = kernel.State._make(array.copy() for array in self.state)
            kernel.run(self.state, self.market, self.rules, 0, until_us)
            logged = self.field(kernel.LOGGED)
            if logged <= self.state.log.shape[1]:
                break
            # More than the log holds: the same again with room for it.
            room = np.zeros((1, 2 * logged, kernel.LOG), np.int64)
            room[:, : before.log.shape[1]] = before.log
            self.state = before._replace(log=room)
        for row in self.state.log[0, :logged].tolist():
            self._note(row)
        self.state.account[0, kernel.LOGGED] = 0

    def _note(self, row: list[int]) -> None:
        order, answer = self._sent[row[kernel.OF]]
        kind = row[kernel.KIND]
        if kind in (kernel.TOOK, kernel.MADE):
            yes = self._prices[row[kernel.L_COL]]
            price = DOLLAR - yes if order.side else yes
            took = kind == kernel.TOOK
            answer.fills.append(Fill("", row[kernel.AT], price, row[kernel.L_SIZE], bool(took), row[kernel.L_FEE]))
        elif kind == kernel.ARRIVED:
            answer.ahead = answer.ahead if answer.rested else row[kernel.L_AHEAD]
            answer.rested = True
        elif kind == kernel.ENDED:
            answer.reason, answer.ahead_last = row[kernel.L_SIZE], row[kernel.L_AHEAD]

    def place(self, order: Order, answer: Simulated) -> None:
        """Send an order that arrives at once."""
        flags = kernel.IOC * order.immediate | kernel.POST_ONLY * order.post_only
        flags |= kernel.REDUCE_ONLY * order.reduce_only
        col, near = self.column[order.yes], self.field(kernel.BID if order.side else kernel.ASK)
        answer.crossed = near >= col if order.side else near <= col
        self._sent[self.field(kernel.PLACED)] = order, answer
        kernel.place(self.state, self.market, self.rules, 0, order.side, col, order.size, flags, 0)

    def open(self) -> list[tuple[int, Order]]:
        """Slots of open orders."""
        orders = self.state.orders[0]
        open_ = (orders[:, kernel.STATUS] == kernel.TRAVELS) | (orders[:, kernel.STATUS] == kernel.RESTS)
        return [(slot, self._sent[int(orders[slot, kernel.ID])][0]) for slot in np.flatnonzero(open_).tolist()]

    def slot(self, order: Order) -> int | None:
        """Where an order is, if it is open."""
        return next((slot for slot, other in self.open() if other is order), None)

    def meets(self, order: Order) -> list[tuple[int, Order]]:
        """Own orders of the other side that an order's price reaches."""
        col, sign = self.column[order.yes], -1 if order.side else 1
        cols = self.state.orders[0, :, kernel.COL]
        return [(s, other) for s, other in self.open() if other.side != order.side and sign * (col - cols[s]) >= 0]

    def give_back(self, level: tuple[int, int], taken: int) -> None:
        """What we took is out of the recorded book now, and must not count as taken on top of that."""
        was = int(self.state.taken[0, *level])
        now = min(taken, int(self.state.depth[0, *level]))
        self.state.taken[0, *level] = now
        self.state.account[0, kernel.TAKEN] += (now > 0) - (was > 0)


class Playing:
    """One simulation of a whole log."""

    def __init__(
        self,
        chapters: Iterable[Chapter],
        times: Mapping[int, Times],
        assume: Callable[[Tape], Assumptions],
        holding: Holding,
    ) -> None:
        """`times`: of each order of the chapters, by its number in the log. `holding`: what the account begins with."""
        self._assume = assume
        self._cash, self._position = holding.cash, dict(holding.positions)
        self._seats: dict[int, _Seat] = {}
        self._tapes: dict[int, Tape] = {}
        self._chapters = list(chapters)
        self.answers: dict[int, Simulated] = {}
        self._over = {order.order: over_us(order) for chapter in self._chapters for order in chapter.orders.values()}
        self._actions: list[tuple[int, int, int, Callable[[], None]]] = []
        for place in range(len(self._chapters)):
            self._plan(place, times)

    def play(self) -> dict[int, Simulated]:
        """The answers by the numbers of the orders."""
        for *_, act in sorted(self._actions, key=lambda action: action[:3]):
            act()
        return self.answers

    # What is to be done.

    def _plan(self, place: int, times: Mapping[int, Times]) -> None:
        chapter = self._chapters[place]
        arrivals = {order.order: times[number].arrives for number, order in chapter.orders.items()}
        tape, removals = chapter.unseen.at(arrivals)
        self._tapes[place] = tape
        last_us = tape.span_us(0)[1]
        for us in sorted({gone.us for gone in removals}):
            self._add(us, _GOES, partial(self._remove, place, us, [gone for gone in removals if gone.us == us]))
        for number, order in chapter.orders.items():
            when = times[number]
            at = max(when.arrives, chapter.unseen.begins)
            self.answers[number] = Simulated(at)
            if at > last_us or (order.expires_us is not None and at >= order.expires_us):
                continue  # it never came, or too late
            self._add(at, _ARRIVES, partial(self._arrive, place, at, order, self.answers[number]))
            # What is under way waits until the order is there.
            for amend, us in zip(order.amends, when.amends, strict=True):
                self._add(max(us, at), _CHANGES, partial(self._change, place, max(us, at), order, amend))
            ends = [us for us in (when.cancel, order.expires_us) if us is not None]
            if ends and not order.immediate:
                us = max(min(ends), at)
                self._add(us, _LEAVES, partial(self._leave, place, us, order))
        self._add(last_us + 1, _OVER, partial(self._end, place, last_us + 1))

    def _add(self, us: int, rank: int, act: Callable[[], None]) -> None:
        self._actions.append((us, rank, len(self._actions), act))

    # How it is done.

    def _seat(self, place: int, us: int) -> _Seat:
        seat = self._seats.get(place)
        if seat is None:
            chapter, tape = self._chapters[place], self._tapes[place]
            start = max(chapter.unseen.begins, us - 1)
            held = self._position.get(tape.market, 0)
            seat = self._seats[place] = _Seat(tape, self._assume(tape), start, held, len(chapter.orders))
        return seat

    def _run(self, place: int, us: int) -> _Seat:
        """Let a stretch go on, with all the cash there is but what other markets hold back."""
        seat = self._seat(place, us)
        others = sum(other.field(kernel.RESERVED) for key, other in self._seats.items() if key != place)
        seat.state.account[0, kernel.CASH] = lent = self._cash - others
        seat.run(us)
        self._cash += seat.field(kernel.CASH) - lent
        return seat

    def _arrive(self, place: int, us: int, order: Order, answer: Simulated) -> None:
        self._run(place, us)
        reserved = sum(seat.field(kernel.RESERVED) for seat in self._seats.values())
        if self._cash - reserved < 2 * DOLLAR * order.size:
            # It may matter what other markets did since: fills give back what was held back too much.
            for other in [key for key in self._seats if key != place]:
                self._run(other, us)
        seat = self._seats[place]
        if self._make_way(seat, order):
            self._run(place, us)
        seat.place(order, answer)
        self._run(place, us)

    def _make_way(self, seat: _Seat, order: Order) -> bool:
        """Withdraw what meets an order and was really over before it: nobody would have had both."""
        slots = [slot for slot, other in seat.meets(order) if (self._over[other.order] or order.us + 1) <= order.us]
        for slot in slots:
            kernel.cancel(seat.state, seat.rules, 0, slot)
        return bool(slots)

    def _change(self, place: int, us: int, order: Order, amend: Amend) -> None:
        seat = self._run(place, us)
        slot = seat.slot(order)
        col = seat.column.get(DOLLAR - amend.price if order.side else amend.price)
        if slot is not None and col is not None:
            kernel.amend(seat.state, seat.rules, 0, slot, col, amend.remaining)
            self._run(place, us)

    def _leave(self, place: int, us: int, order: Order) -> None:
        seat = self._run(place, us)
        slot = seat.slot(order)
        if slot is not None:
            kernel.cancel(seat.state, seat.rules, 0, slot)
            self._run(place, us)

    def _remove(self, place: int, us: int, removals: Sequence[Removal]) -> None:
        """Pass a moment at which what we took goes from the book."""
        seat = self._run(place, us - 1)
        levels = {(gone.side, gone.col): 0 for gone in removals}
        for gone in removals:
            levels[gone.side, gone.col] += gone.size
        before = {level: int(seat.state.taken[0, *level]) for level in levels}
        self._run(place, us)
        for level, size in levels.items():
            seat.give_back(level, max(before[level] - size, 0))

    def _end(self, place: int, us: int) -> None:
        """A stretch is over: what is held goes on to the next of its market."""
        if place in self._seats:
            seat = self._run(place, us)
            self._position[self._tapes[place].market] = seat.field(kernel.POSITION)
            del self._seats[place]
