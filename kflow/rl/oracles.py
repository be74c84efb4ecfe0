"""The best that can be done in the made-up markets, worked out exactly, and a way to play it through the kernel.

Optima are of one order of a fixed size in each decision, with the position limited, no latency, and cash enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.market.events import Side
from kflow.market.fees import FeeSchedule
from kflow.replay.tapes import fees_of
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts
from kflow.sim.fills import NO_LATENCY, Assumptions
from kflow.sim.tape import Tape
from kflow.units import CONTRACT, DOLLAR, Money, Price, Size

F64 = NDArray[np.float64]

ORDERS: Final = 8  # that may be open at once
_FIVE: Final = Size(5 * CONTRACT)
_TWENTY: Final = Size(20 * CONTRACT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Under which a world is played. Raises UsageError where the position is no multiple of the order."""

    order: Size = _FIVE
    max_position: Size = _TWENTY  # of either side
    step_us: int = 250_000  # between decisions; the first is at the market's first event
    seconds: int = 900

    def __post_init__(self) -> None:
        if self.order <= 0 or self.max_position < self.order or self.max_position % self.order:
            raise UsageError(
                f"a position of {self.max_position / CONTRACT:g} is no multiple of orders of {self.order / CONTRACT:g}",
                hint="name a multiple: orders of 5, a position of 20",
            )
        if self.step_us <= 0 or self.seconds <= 0:
            raise UsageError("an episode lasts some seconds, and so does a step")

    @property
    def steps(self) -> int:
        """Decisions of an episode."""
        return self.seconds * 1_000_000 // self.step_us

    @property
    def units(self) -> int:
        """Orders that the largest position is made of."""
        return self.max_position // self.order

    def within(self, position: Size, world: str) -> None:
        """Raises UsageError for a larger position than the world's depth lets be exact."""
        if self.max_position > position:
            raise UsageError(
                f"the optimum of {world} is known for positions of up to {position / CONTRACT:g} contracts",
                hint="name a smaller position",
            )


class Sight(NamedTuple):
    """What a policy of these worlds sees at a decision. Prices are of YES; 0 and $1 where nobody quotes."""

    step: int
    bid: Price
    ask: Price
    position: Size  # YES positive, NO negative
    bids: int  # own orders that rest, buying YES
    asks: int  # and buying NO


class Order(NamedTuple):
    """Of the size of the terms: at once at the far touch (kernel.CROSS), or resting a tick ahead (kernel.IMPROVE)."""

    side: Side
    rule: int


Policy = Callable[[Sight], Order | None]


class Solution(NamedTuple):
    """`optimum`: expected profit of an episode, 1e-6 dollar, when `policy` is played."""

    optimum: Money
    policy: Policy


def play(tape: Tape, policy: Policy, terms: Terms, assumptions: Assumptions | None = None) -> Money:
    """Profit of a policy in one market, settled by its result. Without assumptions: no latency, its own fees."""
    assumptions = assumptions or Assumptions(latency=NO_LATENCY, fees=fees_of(tape)[0])
    market, rules = market_of(tape), assumptions.rules()
    limits = Limits(max_position=terms.max_position, max_order=terms.order, orders=ORDERS)
    state = new_accounts(1, tape.columns, limits, log=1)
    account, orders = state.account[0], state.orders[0]
    prices = [0, *tape.arrays.price.tolist(), int(DOLLAR)]
    start_us = tape.span_us(0)[0]
    kernel.seat(state, market, 0, 0, start_us)
    for step in range(terms.steps):
        kernel.run(state, market, rules, 0, start_us + step * terms.step_us)
        bid, ask = int(account[kernel.BID]), int(account[kernel.ASK])
        own = orders[orders[:, kernel.STATUS] == kernel.RESTS, kernel.SIDE] if account[kernel.RESTING] else ()
        asks = int(np.sum(own))
        seen = Sight(
            step, Price(prices[bid + 1]), Price(prices[ask + 1]), Size(int(account[kernel.POSITION])),
            len(own) - asks, asks,
        )  # fmt: skip
        order = policy(seen)
        if order is not None:
            side = int(order.side)
            column = kernel.price_column(state, 0, side, order.rule, 0)
            flags = kernel.IOC if order.rule == kernel.CROSS else 0
            kernel.place(state, market, rules, 0, side, column, int(terms.order), flags, 0)
    kernel.run(state, market, rules, 0, tape.span_us(0)[1])
    kernel.settle(state, 0, int(tape.facts["settlement_value_e4"]))
    return Money(int(account[kernel.CASH]) - limits.cash)


def nothing(_: Sight) -> Order | None:
    """Where nothing can be won."""
    return None


def take_fee(price: int, size: Size) -> Money:
    """What the venue charges a taker for an order that one fill ends."""
    return FeeSchedule.parse("quadratic", 1).order().fill(Price(price), size, buy=True, taker=True).total


def jumps(transitions: F64, expected: float) -> F64:
    """Chances of a chain from one decision to the next, where it makes a Poisson number of `expected` moves."""
    total, power = np.zeros_like(transitions), np.eye(len(transitions))
    for count in range(int(expected + 12 * math.sqrt(expected) + 20)):
        total += math.exp(-expected + (count * math.log(expected)) - math.lgamma(count + 1)) * power
        power = power @ transitions
    return total


def swing(bids: NDArray[np.int64], transitions: F64, initial: F64, moves_per_s: float, terms: Terms) -> Solution:
    """The best of takers where the best bid is a Markov chain on `bids` (1e-4 dollar) and the ask a cent above it.

    A Markov decision problem on (bid, position) with an order or none in each decision, solved backwards from the
    close, where a position is worth the middle. Its policy sees the present only, so it can be had; orders that rest
    pay no fee and could earn more.
    """
    size, units, step_s = int(terms.order), terms.units, terms.step_us / 1e6
    chances = jumps(transitions, moves_per_s * step_s)
    asks = bids + 100
    buys = np.array([ask * size + take_fee(int(ask), terms.order) for ask in asks], float)[:, None]
    sells = np.array([bid * size - take_fee(int(bid), terms.order) for bid in bids], float)[:, None]
    value = (bids + 50.0)[:, None] * size * np.arange(-units, units + 1)
    plan = np.zeros((terms.steps, *value.shape), np.int8)
    never = np.full((len(bids), 1), -np.inf)
    # What is left at the end of the last whole step is no decision any more.
    rest = terms.seconds - terms.steps * step_s
    value = jumps(transitions, moves_per_s * rest) @ value if rest > 1e-9 else value
    for step in range(terms.steps - 1, -1, -1):
        after = chances @ value
        options = np.stack([
            after, np.hstack([after[:, 1:] - buys, never]), np.hstack([never, after[:, :-1] + sells])
        ])  # fmt: skip
        plan[step] = options.argmax(axis=0)
        value = options.max(axis=0)
    place = {int(bid): row for row, bid in enumerate(bids)}
    moves = (None, Order(Side.YES, kernel.CROSS), Order(Side.NO, kernel.CROSS))

    def policy(seen: Sight) -> Order | None:
        return moves[plan[seen.step, place[seen.bid], seen.position // size + units]]

    return Solution(Money(round(float(initial @ value[:, units]))), policy)


def improve(edge: int, takers_per_s: float, terms: Terms) -> Solution:
    """The best of makers who rest a tick ahead of a wide spread, `edge` (1e-4 dollar) from a value that does not move.

    Takers of each side come at a rate and fill all that rests there. A Markov decision problem on (own bids, own asks,
    position), with one order more or none in each decision, solved backwards from the close. Several orders may rest
    on a side, as far as the position allows.
    """
    units, span = terms.units, 2 * terms.units + 1
    gain = edge * int(terms.order)
    bids, asks, held = (part.reshape(-1) for part in np.indices((span, span, span)))

    def index(bids: NDArray[np.int64], asks: NDArray[np.int64], held: NDArray[np.int64]) -> NDArray[np.int64]:
        return (np.minimum(bids, span - 1) * span + np.minimum(asks, span - 1)) * span + np.clip(held, 0, span - 1)

    same = index(bids, asks, held)
    filled = [index(0 * bids, asks, held + bids), index(bids, 0 * asks, held - asks)]
    filled.append(index(0 * bids, 0 * asks, held + bids - asks))
    room = bids + asks < ORDERS
    more = [
        np.where(room & (bids + held < 2 * units), index(bids + 1, asks, held), same),
        np.where(room & (asks - held < 0), index(bids, asks + 1, held), same),
    ]
    hit = 1 - math.exp(-takers_per_s * terms.step_us / 1e6)
    won = hit * gain * (bids + asks)
    value = np.zeros(span**3)
    plan = np.zeros((terms.steps, span**3), np.int8)
    for step in range(terms.steps - 1, -1, -1):
        one = hit * (1 - hit) * (value[filled[0]] + value[filled[1]])
        after = won + (1 - hit) ** 2 * value + one + hit**2 * value[filled[2]]
        options = np.stack([after, after[more[0]], after[more[1]]])
        plan[step] = options.argmax(axis=0)
        value = options.max(axis=0)
    moves = (None, Order(Side.YES, kernel.IMPROVE), Order(Side.NO, kernel.IMPROVE))

    def policy(seen: Sight) -> Order | None:
        at = (seen.bids * span + seen.asks) * span + seen.position // int(terms.order) + units
        return moves[plan[seen.step, at]]

    return Solution(Money(round(float(value[units]))), policy)


def pairs(discount: int, price: int, offered: int, window_us: int, windows: int, terms: Terms) -> Solution:
    """The best of takers where now and then both sides are offered at `price`, `discount` below what they are worth.

    In closed form: each decision in a window buys once, in turn YES and NO, until what is `offered` of both is gone.
    Both are 1e-4 dollar, `offered` is contracts of each side. A window begins at any moment with equal chances.
    """
    each = discount * int(terms.order) - take_fee(price, terms.order)
    most = 2 * (offered * int(CONTRACT) // int(terms.order))
    fewest, part = divmod(window_us, terms.step_us)
    orders = min(fewest, most) + (part / terms.step_us if fewest < most else 0.0)

    def policy(seen: Sight) -> Order | None:
        if seen.bid <= seen.ask:
            return None
        return Order(Side.NO if seen.position > 0 else Side.YES, kernel.CROSS)

    return Solution(Money(round(windows * orders * max(each, 0))), policy)
