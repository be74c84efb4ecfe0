"""From simulated to live, one assumption after the other: what each is worth, order by order, in micro-dollars.

P&L of a fill is its size times (what a contract of its side is worth - its price), less its fee; that of a run is the
sum of its fills, so each order has its part. Worth is the same on both sides: what the market paid, else the last mid
of the recording (`worths`). The sequence, each step with what the one before left as it was:

  simulated   orders as sent, with the assumed latency, queues and fees, in the market without us
  + latency   the same at the moments at which orders and cancellations really reached the venue
  + queue     with the fills that orders really had, of those that both sides took (or both refused)
  + refusals  likewise of those that one side took and the other did not
  + fees      with the fees that were charged instead of the schedule's
  + gaps      with the fills that the recording does not cover: another market, a gap, behind its end
  = what the log says was earned; and what the venue's own cash and positions say beyond that is the residual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from kflow.errors import UsageError
from kflow.evaluate.parity.log import AccountLog, Fill, Holding, Order
from kflow.evaluate.parity.merge import checked
from kflow.evaluate.parity.play import Chapter, Playing, Simulated, assumed_times, real_times
from kflow.evaluate.parity.unseen import Unseen
from kflow.market.fees import FeeSchedule
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape
from kflow.units import DOLLAR, Money, Price, Size, format_money, format_size

TERMS: Final = ("simulated", "latency", "queue", "refusals", "fees", "gaps")
# Where nothing tells what a contract is worth: in the middle.
_EVEN: Final = DOLLAR // 2


@dataclass(frozen=True, slots=True)
class Parity:
    """One order: what it really earned, and how that comes about from what the simulator says. Money 1e-6 dollar."""

    order: Order
    why_not: str | None  # why it could not be simulated; None: it was
    simulated: int
    latency: int
    queue: int
    refusals: int
    fees: int
    gaps: int
    assumed: Simulated | None  # with the assumed latency
    timed: Simulated | None  # at its real moments
    within: tuple[Fill, ...]  # real fills that the recording covers
    tick: int = 0  # from its price to the next; 0 where it was not simulated

    @property
    def live(self) -> int:
        return self.simulated + self.latency + self.queue + self.refusals + self.fees + self.gaps

    @property
    def alike(self) -> bool | None:
        """Whether both sides took it, or neither; None where it was not simulated."""
        return None if self.timed is None else taken_alike(self.order, self.timed)


class Worth(NamedTuple):
    """What a YES contract is worth, 1e-4 dollar, and by what."""

    value: int
    by: str


@dataclass(frozen=True, slots=True)
class Bridge:
    """A run."""

    orders: list[Parity]
    worths: dict[str, Worth]
    live: int  # by the venue's cash and positions
    seen: tuple[int, int]  # orders that a book that held us would show, and those of them that were found there
    in_book: bool
    untold: int  # orders whose moment of sending is not told
    disagreements: list[str]  # where log and venue do not agree, in words

    def sum(self, term: str) -> int:
        return sum(getattr(order, term) for order in self.orders)

    @property
    def residual(self) -> int:
        """What no order accounts for."""
        return self.live - sum(order.live for order in self.orders)


def taken_alike(order: Order, answer: Simulated) -> bool:
    """Left with nothing at once is alike whatever it is called: refused, killed, or immediate and nothing there."""
    kept_out = order.refused is not None or (order.dead_on_arrival and not order.immediate)
    if kept_out == answer.refused:
        return True
    return order.dead_on_arrival and not answer.fills and not answer.rested


def bridge(tapes: Sequence[Tape], log: AccountLog, assume: Callable[[Tape], Assumptions], *, seed: int = 0) -> Bridge:
    """Play a log on the recording of its window. Raises UsageError for one that does not say what the account had."""
    if log.before is None or log.after is None:
        side = "before" if log.before is None else "after"
        hint = "--before FILE of kflow parity --save, or --cash" if log.before is None else "ask the venue: --exchange"
        raise UsageError(f"nothing says what the account had {side} the run", hint=hint)
    chapters, why_not = _chapters(tapes, log)
    expected, found = (sum(getattr(c.unseen, name) for c in chapters) for name in ("expected", "found"))
    in_book = 2 * found >= expected and expected > 0
    if not in_book:
        for chapter in chapters:
            chapter.unseen.untouched()
    inside = {number: order for chapter in chapters for number, order in chapter.orders.items()}
    ways = [
        {n: assumed_times(o, assume(_tape_of(chapters, n)).latency, seed, n) for n, o in inside.items()},
        {n: real_times(o) for n, o in inside.items()},
    ]
    assumed, timed = (Playing(chapters, times, assume, log.before).play() for times in ways)
    worths = _worths(tapes, log)
    ends = {number: chapter.unseen.last for chapter in chapters for number in chapter.orders}
    orders = []
    for number, order in enumerate(log.orders):
        worth = worths[order.market].value
        if number not in inside:
            orders.append(_not_covered(order, worth, why_not[number]))
            continue
        tape = _tape_of(chapters, number)
        one = _compared(inside[number], worth, assume(tape).fees, assumed[number], timed[number], ends[number])
        orders.append(replace(one, tick=_tick(tape, order.yes)))
    live = _live(log.before, log.after, worths)
    untold = sum(order.sent_us is None for order in inside.values())
    return Bridge(orders, worths, live, (expected, found), in_book, untold, _disagreements(log))


# The recording.


def _tape_of(chapters: Iterable[Chapter], number: int) -> Tape:
    return next(chapter.unseen.tape for chapter in chapters if number in chapter.orders)


def _chapters(tapes: Sequence[Tape], log: AccountLog) -> tuple[list[Chapter], dict[int, str]]:
    """Stretches with the orders that reached the venue within them, and why others did not."""
    assert log.before is not None
    why_not: dict[int, str] = {}
    found: dict[tuple[int, int], dict[int, Order]] = {}
    spans = {(t, s): tape.span_us(s) for t, tape in enumerate(tapes) for s in range(tape.stretches)}
    columns = [set(tape.arrays.price.tolist()) for tape in tapes]
    for number, order in enumerate(log.orders):
        mine = [(t, s) for t, s in spans if tapes[t].market == order.market]
        covering = [key for key in mine if spans[key][0] <= order.us < spans[key][1]]
        if not mine:
            why_not[number] = "its market is not recorded"
        elif not covering:
            why_not[number] = "its market was not recorded when it arrived"
        elif order.us <= log.before.us:
            why_not[number] = "it was there before the run"
        elif order.yes not in columns[covering[0][0]]:
            why_not[number] = "its price is not on the recording's grid"
        else:
            found.setdefault(covering[0], {})[number] = _when_refused(order, tapes[covering[0][0]])
    chapters = []
    for key in sorted(found, key=lambda key: spans[key]):
        tape = tapes[key[0]]
        mine_all = [order for order in log.orders if order.market == tape.market]
        chapters.append(Chapter(Unseen(tape, key[1], mine_all), found[key]))
    return chapters, why_not


def _when_refused(order: Order, tape: Tape) -> Order:
    """A post-only order that was refused crossed then: of the moments it may have arrived at, the nearest that fits."""
    if order.refused is None or not (order.guessed and order.post_only) or order.sent_us is None:
        return order
    top, us = tape.arrays.top, tape.arrays.us
    # Clocks are known to half a round trip.
    answered_us = max(order.answered_us or order.us, order.sent_us)
    unsure = (answered_us - order.sent_us) // 2
    first = max(int(np.searchsorted(us, order.sent_us - unsure, side="right")) - 1, 0)
    behind = int(np.searchsorted(us, answered_us + unsure, side="right"))
    col = int(np.searchsorted(tape.arrays.price, order.yes))
    near = top[first:behind, 0] >= col if order.side else top[first:behind, 1] <= col
    moments = np.maximum(us[first:behind][near], order.sent_us - unsure)
    if not len(moments):
        return order
    return replace(order, us=int(moments[np.argmin(np.abs(moments - order.us))]))


def _tick(tape: Tape, yes: int) -> int:
    prices = tape.arrays.price.tolist()
    place = prices.index(yes)
    return int(prices[place + 1] - yes) if place + 1 < len(prices) else int(yes - prices[place - 1])


def _worths(tapes: Sequence[Tape], log: AccountLog) -> dict[str, Worth]:
    """What the contracts of each market are worth, on both sides alike."""
    assert log.before is not None
    assert log.after is not None
    markets = {order.market for order in log.orders} | log.before.positions.keys() | log.after.positions.keys()
    found = {}
    for market in sorted(markets):
        mine = [tape for tape in tapes if tape.market == market]
        recorded = [int(v) for tape in mine if (v := tape.facts.get("settlement_value_e4")) is not None]
        fills = [
            (fill.us, order.side, fill.price) for order in log.orders if order.market == market for fill in order.fills
        ]
        mid = _last_mid(mine, log.after.us)
        if market in log.settled:
            found[market] = Worth(log.settled[market], "what it paid")
        elif recorded:
            found[market] = Worth(recorded[-1], "what it paid")
        elif mid is not None:
            found[market] = Worth(mid, "the last mid of the recording")
        elif fills:
            _, side, price = max(fills)
            found[market] = Worth(DOLLAR - price if side else price, "the last own fill")
        else:
            found[market] = Worth(_EVEN, "nothing tells, so $0.50")
    return found


def _last_mid(tapes: Iterable[Tape], until_us: int) -> int | None:
    """The middle of the last two-sided touch up to a moment, rounded down."""
    last: tuple[int, int] | None = None
    for tape in tapes:
        top, us = tape.arrays.top, tape.arrays.us
        both = np.flatnonzero((top[:, 0] >= 0) & (top[:, 1] < tape.columns) & (us <= until_us))
        if len(both):
            event = int(both[-1])
            bid, ask = (int(tape.arrays.price[column]) for column in top[event])
            last = max(last or (0, 0), (int(us[event]), (bid + ask) // 2))
    return None if last is None else last[1]


# Money.


def earned(fills: Iterable[Fill], side: int, worth: int) -> int:
    """P&L of fills of one side: what they are worth, less what they cost, fees too."""
    own = DOLLAR - worth if side else worth
    return sum(fill.size * (own - fill.price) - fill.fee for fill in fills)


def by_schedule(fills: Sequence[Fill], side: int, schedule: FeeSchedule) -> tuple[Fill, ...]:
    """The same fills with the fees that a schedule asks for them, one after the other."""
    fees = schedule.order()
    charged = []
    for fill in fills:
        yes = Price(DOLLAR - fill.price if side else fill.price)
        fee = fees.fill(yes, Size(fill.size), buy=side == 0, taker=fill.taker).total
        charged.append(fill._replace(fee=fee))
    return tuple(charged)


def _not_covered(order: Order, worth: int, why: str) -> Parity:
    return Parity(order, why, 0, 0, 0, 0, 0, earned(order.fills, order.side, worth), None, None, ())


def _compared(
    order: Order, worth: int, schedule: FeeSchedule, assumed: Simulated, timed: Simulated, ends_us: int
) -> Parity:
    """The parts of one order's P&L. They telescope: whatever the steps are, their sum is what it really earned."""
    within = tuple(fill for fill in order.fills if fill.us <= ends_us)
    simulated = earned(assumed.fills, order.side, worth)
    at_real_times = earned(timed.fills, order.side, worth)
    really_filled = earned(by_schedule(within, order.side, schedule), order.side, worth)
    charged = earned(within, order.side, worth)
    whole = earned(order.fills, order.side, worth)
    alike = taken_alike(order, timed)
    return Parity(
        order,
        None,
        simulated=simulated,
        latency=at_real_times - simulated,
        queue=really_filled - at_real_times if alike else 0,
        refusals=0 if alike else really_filled - at_real_times,
        fees=charged - really_filled,
        gaps=whole - charged,
        assumed=assumed,
        timed=timed,
        within=within,
    )


def _live(before: Holding, after: Holding, worths: Mapping[str, Worth]) -> int:
    """P&L by the venue's own cash and positions."""
    return after.cash - before.cash + _value(after, worths) - _value(before, worths)


def _value(holding: Holding, worths: Mapping[str, Worth]) -> int:
    return sum(
        size * worths[market].value if size > 0 else -size * (DOLLAR - worths[market].value)
        for market, size in holding.positions.items()
    )


def _disagreements(log: AccountLog) -> list[str]:
    """Where the log contradicts itself, and where fills do not lead from the first positions to the last."""
    assert log.before is not None
    assert log.after is not None
    found = list(checked(log))
    bought: dict[str, int] = {}
    for order in log.orders:
        bought[order.market] = bought.get(order.market, 0) + (-order.got if order.side else order.got)
    for market in sorted({*bought, *log.before.positions, *log.after.positions} - log.settled.keys()):
        begins, ends = log.before.positions.get(market, 0), log.after.positions.get(market, 0)
        if begins + bought.get(market, 0) != ends:
            held, moved = format_size(Size(ends)), format_size(Size(begins + bought.get(market, 0)))
            found.append(f"the venue says that {held} of {market} are held, and the fills come to {moved}")
    return found


def dollars(money: int) -> str:
    """With a sign and all six decimals."""
    return ("+" if money >= 0 else "-") + format_money(Money(abs(money)))
