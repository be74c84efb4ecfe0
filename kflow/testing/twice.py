"""The same orders twice: once in a real engine's queues, once simulated on the tape of what everybody else did.

A strategy trades a made-up market alone. What it sends, and when, follows from the crowd's quotes and the time, never
from its own fills: so the simulated orders can be the very same, withdrawn at the same moments, and are judged one by
one. Its latency is none. How much it earned is told at the moment of each fill by the crowd's belief m: a martingale,
so its mean is that of the settlement, without what happens after the fill (`exchange.belief`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kflow.exchange.belief import FAIR, Edge
from kflow.exchange.crowd import Crowd
from kflow.exchange.crowd_market import CrowdMarket
from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Execution, Order, TimeInForce
from kflow.exchange.presets import PRESETS
from kflow.market.events import Side
from kflow.market.fees import FeeSchedule, OrderFees
from kflow.market.times import US_PER_S
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts
from kflow.sim.fills import MODELS, NO_LATENCY, Assumptions, FillModel
from kflow.sim.fitting import Fit, fit
from kflow.sim.tape import Tape, compile_tape
from kflow.testing.enginetape import EngineTape
from kflow.testing.venue import MARKET, START_US, listing
from kflow.units import CONTRACT, DOLLAR, Money, Price, Size

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

LOOK_S: Final = 0.5
FEES: Final = FeeSchedule.parse("quadratic", 1)
_LOTS: Final = (5, 50)  # contracts of a quote, from and to
_EVERY: Final = 20  # looks between two orders of a taker: longer than what it took stays away
_BEYOND: Final = 3  # ticks beyond the touch that a taker would pay
_ENOUGH: Final = Limits(cash=Money(10**15), max_position=Size(2**40), max_order=Size(2**40), orders=8)


class Fills(NamedTuple):
    """What orders got, a row each."""

    order: I64  # row of Played.orders
    us: I64
    price: I64  # YES, 1e-4 dollar
    size: I64
    fee: I64  # 1e-6 dollar


class Played(NamedTuple):
    """One market that one strategy traded."""

    tape: Tape
    orders: I64  # [N, 6] moment, side, column, size, flags, moment of withdrawal
    fills: Fills  # what they really got
    belief_us: I64  # ascending
    belief: F64  # m from then on

    def filled(self, fills: Fills) -> I64:
        """Of each order."""
        return np.bincount(fills.order, fills.size, len(self.orders)).astype(np.int64)

    def profit(self, fills: Fills) -> float:
        """Dollars: what was bought is worth m as it was right after the fill."""
        worth = self.belief[np.searchsorted(self.belief_us, fills.us, side="right") - 1]
        sign = 1 - 2 * self.orders[fills.order, 1]
        return float(np.sum(sign * (worth - fills.price) * fills.size) - np.sum(fills.fee)) / 1e6


class Seat:
    """A strategy's hands, and its eyes for the crowd's quotes."""

    def __init__(self, market: CrowdMarket, tape: EngineTape, rng: random.Random, *, paper: bool) -> None:
        self._market, self._tape, self.random, self._paper = market, tape, rng, paper
        self.now_us = START_US
        self._numbers: dict[Order, int] = {}
        self._rows: list[list[int]] = []

    def touch(self, side: Side) -> int:
        """The side's own best price; 0 where nobody quotes."""
        return self._market.find_touch(side)

    def moved(self, side: Side, own_price: int, ticks: int) -> int:
        return self._market.moved(side, own_price, ticks)

    def rest(self, side: Side, own_price: int) -> Order:
        """Quote a lot."""
        return self._send(side, own_price, self.random.randint(*_LOTS), kernel.POST_ONLY)

    def take(self, side: Side, own_price: int, contracts: int) -> None:
        self._send(side, own_price, contracts, kernel.IOC)

    def _send(self, side: Side, own_price: int, contracts: int, flags: int) -> Order:
        price = Price(DOLLAR - own_price if side else own_price)
        in_force = TimeInForce.IOC if flags & kernel.IOC else TimeInForce.GTC
        post_only = bool(flags & kernel.POST_ONLY)
        size = Size(contracts * CONTRACT)
        order = Order(side, price, size, owner=self, time_in_force=in_force, post_only=post_only)
        us = self._tape.note(Execution(), self.now_us) if self._paper else self._tape.submit(order, self.now_us)
        # What it takes leaves the tape at that moment, and a simulated order comes after what happens at its moment.
        us -= bool(flags & kernel.IOC)
        self._numbers[order] = len(self._rows)
        self._rows.append([us, side, self._market.book.grid.index(price), size, flags, kernel.NEVER])
        return order

    def drop(self, order: Order) -> None:
        """Withdraw, whether it was filled or not: simulated it may still rest."""
        self._rows[self._numbers[order]][-1] = self._tape.cancel(order, self.now_us)

    def orders(self) -> I64:
        return np.array(self._rows, np.int64).reshape(-1, 6)

    def fills(self) -> Fills:
        """With the venue's fees."""
        fees: dict[Order, OrderFees] = {}
        rows = []
        for us, order, price, size, taker in self._tape.fills:
            charge = fees.setdefault(order, FEES.order())
            own_price = Price(DOLLAR - price if order.side else price)
            fee = charge.fill(own_price, size, buy=True, taker=taker).total
            rows.append((self._numbers[order], us, price, size, fee))
        return Fills(*np.array(rows, np.int64).reshape(-1, 5).T.copy())


class Strategy(Protocol):
    """Looks at the market every half second."""

    def look(self, seat: Seat) -> None: ...


@dataclass(slots=True)
class Quoter:
    """One quote on each of its sides, replaced when it is old or, if it follows, when the touch has moved."""

    sides: tuple[Side, ...] = (Side.YES, Side.NO)
    improves: bool = False  # by a tick, where there is room
    follows: bool = True
    hold_s: float = 1.0
    _quotes: dict[Side, tuple[Order, int]] = field(default_factory=dict, init=False)

    def look(self, seat: Seat) -> None:
        for side in self.sides:
            if side in self._quotes:
                order, since_us = self._quotes[side]
                moved = self.follows and order.own_price != self._target(seat, side)
                if moved or seat.now_us - since_us >= self.hold_s * US_PER_S:
                    seat.drop(order)
                    del self._quotes[side]
        for side in self.sides:
            target = self._target(seat, side)
            if side not in self._quotes and target:
                self._quotes[side] = (seat.rest(side, target), seat.now_us)

    def _target(self, seat: Seat, side: Side) -> int:
        near, far = seat.touch(side), seat.touch(Side(1 - side))
        if not near or not far or not self.improves:
            return near if far else 0
        better = seat.moved(side, near, 1)
        # Where there is room for one, it is for bids.
        room = DOLLAR - far if side == Side.YES else DOLLAR - seat.moved(Side.YES, far, 1)
        return better if better < room else near


@dataclass(slots=True)
class Taker:
    """Buys or sells at once, by the toss of a coin."""

    contracts: int
    _looks: int = field(default=0, init=False)

    def look(self, seat: Seat) -> None:
        self._looks += 1
        if self._looks % _EVERY == 0:
            side = Side.YES if seat.random.random() < 0.5 else Side.NO
            far = seat.touch(Side(1 - side))
            if far and seat.touch(side):
                seat.take(side, seat.moved(side, DOLLAR - far, _BEYOND), self.contracts)


STRATEGIES: Final[Mapping[str, Callable[[], Strategy]]] = {
    "joining maker": Quoter,
    "improving maker": lambda: Quoter(improves=True),
    "patient buyer": lambda: Quoter(sides=(Side.YES,), follows=False, hold_s=10.0),
    "taker of 10": lambda: Taker(10),
    "taker of 100": lambda: Taker(100),
    "taker of 250": lambda: Taker(250),
}
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "makers": ("joining maker", "improving maker"),
    "patient buyers": ("patient buyer",),
    "takers": ("taker of 10", "taker of 100", "taker of 250"),
}


def play(
    name: str, seed: int, *, edge: Edge = FAIR, preset: str = "busy", seconds: float = 60.0, paper: bool = False
) -> Played:
    """Let a strategy trade one market; on paper, its orders are noted and never placed."""
    rng = np.random.default_rng((seed, 11))
    entry, crowd, strategy = listing(), Crowd(PRESETS[preset], rng, edge), STRATEGIES[name]()
    book = OrderBook(entry.grid)
    market = crowd.add(entry, float(rng.uniform(0.2, 0.8)), book)
    tape = EngineTape(book, START_US)
    seat = Seat(market, tape, random.Random(seed), paper=paper)  # noqa: S311 - a game
    belief_us, belief = [START_US], [market.belief.value]
    for _ in range(round(seconds / LOOK_S)):
        strategy.look(seat)
        for event in crowd.plan(LOOK_S):
            us = seat.now_us + int(event.at * LOOK_S * US_PER_S)
            moments = [tape.note(execution, us) for execution in crowd.act(event)]
            belief_us.append(max(belief_us[-1], moments[0] if moments else us))
            belief.append(market.belief.value)
        seat.now_us += round(LOOK_S * US_PER_S)
    taped = compile_tape(MARKET, [tape.stretch()], entry.grid, {})
    return Played(taped, seat.orders(), seat.fills(), np.array(belief_us, np.int64), np.array(belief))


def _instructions(orders: I64) -> I64:
    """Placements and withdrawals in order of time, a withdrawal first."""
    what = np.zeros((2, len(orders), kernel.INSTRUCTION), np.int64)
    sent, dropped = what
    sent[:, kernel.I_AT], sent[:, kernel.I_SIDE], sent[:, kernel.I_COL] = orders[:, :3].T
    sent[:, kernel.I_SIZE], sent[:, kernel.I_FLAGS] = orders[:, 3:5].T
    sent[:, kernel.I_OP], sent[:, kernel.I_RULE] = kernel.PLACE, kernel.AT_COLUMN
    dropped[:, kernel.I_AT], dropped[:, kernel.I_OP] = orders[:, 5], kernel.CANCEL_ORDER
    dropped[:, kernel.I_OF] = np.arange(len(orders))
    flat = np.concatenate([dropped[orders[:, 5] < kernel.NEVER], sent])
    return flat[np.argsort(flat[:, kernel.I_AT], kind="stable")]


def simulate(played: Played, model: FillModel, *, seed: int = 0) -> Fills:
    """What the same orders get on the tape."""
    what, market = _instructions(played.orders), market_of(played.tape)
    rules = Assumptions(model=model, latency=NO_LATENCY, fees=FEES).rules()
    start_us, stop_us = played.tape.span_us(0)
    start_us = min(start_us, int(what[0, kernel.I_AT])) - 1
    rows = 16 * len(what)
    while True:
        state = new_accounts(1, played.tape.columns, _ENOUGH, seed=seed, log=rows)
        kernel.seat_all(state, market, np.zeros(1, np.int64), np.array([start_us]))
        kernel.play(state, market, rules, what, np.array([[0, len(what)]]), np.array([stop_us]))
        logged = int(state.account[0, kernel.LOGGED])
        if logged <= rows:
            break
        rows = logged
    log = state.log[0, :logged]
    log = log[(log[:, kernel.KIND] == kernel.TOOK) | (log[:, kernel.KIND] == kernel.MADE)]
    price = played.tape.arrays.price[log[:, kernel.L_COL]].astype(np.int64)
    return Fills(log[:, kernel.OF], log[:, kernel.AT], price, log[:, kernel.L_SIZE], log[:, kernel.L_FEE])


def fitted(markets: Sequence[Sequence[Played]]) -> Fit:
    """The queue's parameters that come nearest to the shares of the orders that were really filled.

    The loss of an order is the squared difference of its shares; what one market saw is one of the fit's cases.
    """

    def losses(ahead: float, power: float) -> F64:
        model = MODELS["queue"].fitted(ahead, power)
        return np.array([sum([_missed(played, model) for played in market]) for market in markets])

    return fit(losses)


def _missed(played: Played, model: FillModel) -> float:
    wrong = played.filled(simulate(played, model)) - played.filled(played.fills)
    return float(np.sum((wrong / played.orders[:, 3]) ** 2))
