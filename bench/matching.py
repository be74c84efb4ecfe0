"""Commands matched per second by the pure engine, one process, against engines that one would write or install.

    python bench/matching.py [--quick] [--profile mixed]

Streams are made beforehand and the same for all. `mixed` has the shares, sizes and distances of a busy market (measured
on 9.8 hours of one: adds 29 %, cancels 22 %, moves 34 %, resizes 9 %, takers 6 %) on a book of 70 levels and 350 orders
a side; `join and leave` is adds and cancels alone; `takers` is three takers, each twice the size, to seven adds; `long
queues` has two prices a side and a thousand orders at each.

`sorted` is an engine of SortedDicts and deques that does the same work: it refuses what is off the grid, keeps owners
from trading with themselves and gives every change of a level. `bare` is the same containers without those duties: it
gives its trades and nothing else. fastlob runs where it is installed (`pip install fastlob`, in an environment of its
own). All but it, whose quantities are decimals of another step, must end with the same book and the same volume. The
JSON's ratio is kflow over `sorted` on `mixed`, by CPU time.
"""

from __future__ import annotations

import cProfile
import importlib
import importlib.util
import pstats
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from measure import Timing, alternate, arguments, repeats, report
from sortedcontainers import SortedDict

from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Execution, Order, Reason, TimeInForce
from kflow.market.events import Side
from kflow.market.grid import Grid
from kflow.units import Price, Size

GRID = Grid.named("tapered_deci_cent")
ALLOWED = frozenset(GRID.prices())
GTC = TimeInForce.GTC
ADD, TAKE, CANCEL, AMEND = range(4)
# Cumulative distances in cents from the own best: 2.6 % better, 23 % at it, 48 % within 1, 79 % within 5.
DISTANCES = ((0.026, -1), (0.256, 0), (0.48, 1), (0.58, 2), (0.66, 3), (0.73, 4), (0.79, 5))
# The rest: anywhere further down, where a tenth of a cent is a tick below 10 cents.
TAIL = [price for price in GRID.prices() if price <= 4_000]


# Kind, name of the order, side, price, size. Plain tuples of integers: the garbage collector does not look at them.
Command = tuple[int, int, int, int, int]


@dataclass
class Mix:
    """Shares of the commands of a stream; what is left over resizes."""

    add: float
    cancel: float
    move: float
    take: float
    sweep: int = 1  # takers are so many times the usual size
    prices: int = 0  # at most so many prices a side; 0: as the market has them


MIXES = {
    "mixed": Mix(0.286, 0.218, 0.339, 0.063),
    "join and leave": Mix(0.5, 0.5, 0.0, 0.0),
    "takers": Mix(0.7, 0.0, 0.0, 0.3, sweep=2),
    "long queues": Mix(0.45, 0.4, 0.1, 0.05, prices=2),
}


class Maker:
    """Makes a stream; knows what rests by carrying every command out."""

    def __init__(self, mix: Mix, seed: int = 41) -> None:
        self.mix, self.rng = mix, random.Random(seed)
        self.book = OrderBook(GRID)
        self.orders: list[Order] = []
        self.names: dict[Order, int] = {}
        self.alive: list[Order] = []
        self.made: list[Command] = []

    def stream(self, count: int) -> list[Command]:
        """Commands that fill a book, then `count` of the mix."""
        if self.mix.prices:
            for place in range(4_000):
                distance = 1 + place % self.mix.prices
                self.submit(ADD, Side(place // 2 % 2), Price(5000 - 100 * distance))
        else:
            for place in range(600):
                self.submit(ADD, Side(place % 2), GRID.prices()[60 + place * 7 % 75])
        full = len(self.made) + count
        while len(self.made) < full:
            self.step()
        return self.made

    def step(self) -> None:
        mix, rng = self.mix, self.rng
        draw = rng.random()
        if draw < mix.add:
            side = Side(rng.randrange(2))
            self.submit(ADD, side, self.price(side))
        elif draw < mix.add + mix.take:
            side = Side(rng.randrange(2))
            self.submit(TAKE, side, Price(9990))
        else:
            order = self.resting()
            if order is None:
                return
            if draw < mix.add + mix.take + mix.cancel:
                self.record(CANCEL, order)
                self.book.cancel(order)
            elif draw < mix.add + mix.take + mix.cancel + mix.move:
                self.amend(order, self.price(order.side), order.remaining)
            else:
                self.amend(order, order.own_price, Size(max(1, order.remaining + rng.choice((-100, 100)))))

    def submit(self, kind: int, side: Side, own_price: Price) -> None:
        size = self.size() * (self.mix.sweep if kind == TAKE else 1)
        price = own_price if side == Side.YES else 10_000 - own_price
        terms = TimeInForce.IOC if kind == TAKE else TimeInForce.GTC
        order = Order(side, Price(price), Size(size), time_in_force=terms)
        self.names[order] = len(self.orders)
        self.orders.append(order)
        self.record(kind, order)
        self.book.submit(order)
        if order.resting:
            self.alive.append(order)

    def amend(self, order: Order, own_price: Price, size: Size) -> None:
        price = Price(own_price if order.side == Side.YES else 10_000 - own_price)
        self.made.append((AMEND, self.names[order], order.side.value, price, size))
        self.book.amend(order, price, size)

    def record(self, kind: int, order: Order) -> None:
        self.made.append((kind, self.names[order], order.side.value, order.price, order.remaining))

    def resting(self) -> Order | None:
        """Any resting order, all alike."""
        alive = self.alive
        while alive:
            place = self.rng.randrange(len(alive))
            alive[place], alive[-1] = alive[-1], alive[place]
            if alive[-1].resting:
                return alive[-1]
            alive.pop()
        return None

    def size(self) -> int:
        """Median 75 contracts, quartiles 13 and 400; hundredths at times."""
        size = max(1, round(self.rng.lognormvariate(4.3, 1.7)))
        return size * 100 if self.rng.random() < 0.9 else size * 100 - self.rng.randrange(100)

    def price(self, side: Side) -> Price:
        """As the side's own price: near its best, and never across the other's."""
        best, other = self.book.best(side), self.book.best(Side(1 - side))
        top = 9_900 - (other if other is not None else 4_900)
        if self.mix.prices:
            return Price(5000 - 100 * self.rng.randint(1, self.mix.prices))
        draw = self.rng.random()
        cents = next((cents for share, cents in DISTANCES if draw < share), None)
        if cents is None:
            return min(self.rng.choice(TAIL), Price(max(1000, top // 100 * 100)))
        wanted = (best if best is not None else top) - 100 * cents
        return Price(max(1000, min(wanted, top) // 100 * 100))


class Outcome(NamedTuple):
    """By which engines are compared."""

    volume: int
    bids: dict[int, int]  # YES price: size
    asks: dict[int, int]


class Ours:
    """kflow: every command gives its Execution, whose matches are read."""

    def __init__(self) -> None:
        self.book = OrderBook(GRID)
        self.volume = 0

    def run(self, stream: list[Command]) -> int:
        submit, cancel, amend = self.book.submit, self.book.cancel, self.book.amend
        orders: dict[int, Order] = {}
        sides, ioc = tuple(Side), TimeInForce.IOC
        volume = 0
        for kind, name, side, price, size in stream:
            if kind == ADD:
                order = orders[name] = Order(sides[side], price, size)
                execution = submit(order)
            elif kind == CANCEL:
                execution = cancel(orders[name])
            elif kind == AMEND:
                execution = amend(orders[name], price, size)
            else:
                execution = submit(Order(sides[side], price, size, time_in_force=ioc))
            for _, _, traded in execution.matches:
                volume += traded
        self.volume = volume
        return len(stream)

    def outcome(self) -> Outcome:
        bids = {int(price): int(size) for price, size in self.book.levels(Side.YES)}
        asks = {10_000 - price: int(size) for price, size in self.book.levels(Side.NO)}
        return Outcome(self.volume, bids, asks)


class Level:
    """One price of `Sorted`."""

    __slots__ = ("queue", "total")

    def __init__(self) -> None:
        self.queue: deque[Order] = deque()
        self.total = 0


class Sorted:
    """A SortedDict of levels a side, each a deque; every command gives its Execution, as kflow's engine does."""

    def __init__(self) -> None:
        self.sides: tuple[SortedDict, SortedDict] = (SortedDict(), SortedDict())
        self.volume = 0

    run = Ours.run

    @property
    def book(self) -> Sorted:
        return self

    def outcome(self) -> Outcome:
        bids, asks = [{int(key): level.total for key, level in side.items()} for side in self.sides]
        return Outcome(self.volume, bids, {10_000 - key: size for key, size in asks.items()})

    def submit(self, order: Order) -> Execution:
        self._check(order.price, order.remaining)
        execution = Execution()
        self._enter(order, execution)
        return execution

    def cancel(self, order: Order) -> Execution:
        execution = Execution()
        size = order.remaining
        self._remove(order, execution)
        execution.ended.append((order, size, Reason.CANCEL))
        return execution

    def amend(self, order: Order, price: Price, size: Size) -> Execution:
        self._check(price, size)
        execution = Execution()
        if price == order.price and size <= order.remaining:
            change = size - order.remaining
            self.sides[order.side][order.own_price].total += change
            order.remaining = size
            execution.changes.append((order.side, order.own_price, change, order))
            return execution
        self._remove(order, execution)
        order.price, order.remaining = price, size
        order.own_price = Price(10_000 - price) if order.side else price
        self._enter(order, execution)
        return execution

    def _check(self, price: Price, size: Size) -> None:
        if price not in ALLOWED or size <= 0:
            raise ValueError(price, size)

    def _enter(self, order: Order, execution: Execution) -> None:
        others = self.sides[1 - order.side]
        while order.remaining and others:
            own_price, level = others.peekitem(-1)
            if own_price + order.own_price < 10_000:
                break
            maker = level.queue[0]
            if maker.owner is not None and maker.owner is order.owner:
                execution.ended.append((order, order.remaining, Reason.SELF_TRADE))
                order.remaining = Size(0)
                return
            size = min(maker.remaining, order.remaining)
            execution.matches.append((maker, maker.price, size))
            for party in (maker, order):
                party.remaining -= size
                party.filled += size
            level.total -= size
            execution.changes.append((maker.side, own_price, -size, maker))
            if not maker.remaining:
                maker.resting = False
                level.queue.popleft()
                if not level.queue:
                    del others[own_price]
        if order.remaining and order.time_in_force is GTC:
            own = self.sides[order.side]
            level = own.get(order.own_price)
            if level is None:
                level = own[order.own_price] = Level()
            level.queue.append(order)
            level.total += order.remaining
            order.resting = True
            execution.changes.append((order.side, order.own_price, order.remaining, order))
        elif order.remaining:
            execution.ended.append((order, order.remaining, Reason.CANCEL))
            order.remaining = Size(0)

    def _remove(self, order: Order, execution: Execution) -> None:
        own = self.sides[order.side]
        level = own[order.own_price]
        level.queue.remove(order)
        level.total -= order.remaining
        execution.changes.append((order.side, order.own_price, -order.remaining, order))
        order.remaining = Size(0)
        order.resting = False
        if not level.queue:
            del own[order.own_price]


class Resting:
    """An order of `Bare`."""

    __slots__ = ("price", "side", "size")

    def __init__(self, side: int, price: int, size: int) -> None:
        self.side, self.price, self.size = side, price, size


class Bare:
    """A SortedDict of deques a side: keys ascend, best first. Gives trades only."""

    def __init__(self) -> None:
        self.sides: tuple[SortedDict, SortedDict] = (SortedDict(), SortedDict())
        self.volume = 0

    def run(self, stream: list[Command]) -> int:
        submit, cancel, amend = self.submit, self.cancel, self.amend
        orders: dict[int, Resting] = {}
        volume = 0
        for kind, name, side, price, size in stream:
            trades: list[tuple[Resting, int, int]] = []
            if kind == ADD:
                order = orders[name] = Resting(side, price, size)
                trades = submit(order, rests=True)
            elif kind == CANCEL:
                cancel(orders[name])
            elif kind == AMEND:
                trades = amend(orders[name], price, size)
            else:
                trades = submit(Resting(side, price, size), rests=False)
            for _, _, traded in trades:
                volume += traded
        self.volume = volume
        return len(stream)

    def outcome(self) -> Outcome:
        bids, asks = [
            {abs(key): sum(order.size for order in level) for key, level in side.items()} for side in self.sides
        ]
        return Outcome(self.volume, bids, asks)

    def submit(self, order: Resting, *, rests: bool) -> list[tuple[Resting, int, int]]:
        trades = []
        side = order.side
        others = self.sides[1 - side]
        while order.size and others:
            key, level = others.peekitem(0)
            if (key > order.price) if side == 0 else (-key < order.price):
                break
            maker = level[0]
            size = min(maker.size, order.size)
            trades.append((maker, maker.price, size))
            maker.size -= size
            order.size -= size
            if not maker.size:
                level.popleft()
                if not level:
                    del others[key]
        if order.size and rests:
            own = self.sides[side]
            key = -order.price if side == 0 else order.price
            level = own.get(key)
            if level is None:
                level = own[key] = deque()
            level.append(order)
        return trades

    def cancel(self, order: Resting) -> None:
        own = self.sides[order.side]
        key = -order.price if order.side == 0 else order.price
        level = own[key]
        level.remove(order)
        if not level:
            del own[key]

    def amend(self, order: Resting, price: int, size: int) -> list[tuple[Resting, int, int]]:
        if price == order.price and size <= order.size:
            order.size = size
            return []
        self.cancel(order)
        order.price, order.size = price, size
        return self.submit(order, rests=True)


class Fastlob:
    """fastlob of the package index. It has no immediate-or-cancel: a taker's rest is canceled."""

    def __init__(self) -> None:
        self.module = importlib.import_module("fastlob")
        self.book = self.module.Orderbook()
        self.volume = 0

    def run(self, stream: list[Command]) -> int:
        sides, params = (self.module.OrderSide.BID, self.module.OrderSide.ASK), self.module.OrderParams
        identity: dict[int, str] = {}
        self.book.start()
        try:
            for kind, name, side, price, size in stream:
                if kind in (CANCEL, AMEND):
                    self.book.cancel(identity[name])
                if kind != CANCEL:
                    result = self.book(params(sides[side], price, size))
                    identity[name] = result.orderid()
                    if kind == TAKE and result.kind() is not self.module.ResultType.MARKET:
                        self.book.cancel(identity[name])
        finally:
            self.book.stop()
        return len(stream)


Engine = Ours | Sorted | Bare | Fastlob
ENGINES: dict[str, Callable[[], Engine]] = {"kflow": Ours, "sorted": Sorted, "bare": Bare}
if importlib.util.find_spec("fastlob"):
    ENGINES["fastlob"] = Fastlob


def run(engine: Callable[[], Engine], stream: list[Command]) -> Callable[[], int]:
    return lambda: engine().run(stream)


def check(stream: list[Command]) -> Outcome:
    """All engines agree on it."""
    outcomes = []
    for make in ENGINES.values():
        engine = make()
        if not isinstance(engine, Fastlob):
            engine.run(stream)
            outcomes.append(engine.outcome())
    if any(outcome != outcomes[0] for outcome in outcomes):
        raise SystemExit("the engines disagree")
    return outcomes[0]


def profile(stream: list[Command]) -> None:
    with cProfile.Profile() as profiler:
        Ours().run(stream)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(14)


def main() -> None:
    parser = arguments("Commands matched per second by the pure engine.", full=9, quick=3)
    parser.add_argument("--profile", choices=MIXES, help="show where the time of one stream goes, and measure nothing")
    options = parser.parse_args()
    count = 50_000 if options.quick else 200_000
    if options.profile:
        profile(Maker(MIXES[options.profile]).stream(count))
        return
    medians: dict[str, Timing] = {}
    facts: dict[str, Any] = {}
    for name, mix in MIXES.items():
        stream = Maker(mix).stream(count)
        outcome = check(stream)
        cases = {f"{name}: {engine}": run(make, stream) for engine, make in ENGINES.items()}
        medians |= alternate(cases, repeats(options), warm_up=False)
        facts[name] = {
            "commands": len(stream),
            "contracts traded": outcome.volume // 100,
            "levels at the end": [len(outcome.bids), len(outcome.asks)],
            "ratio": round(medians[f"{name}: kflow"].per_cpu_s / medians[f"{name}: sorted"].per_cpu_s, 2),
        }
        print(name, facts[name])
    report("matching", medians, facts["mixed"]["ratio"], packages=("sortedcontainers",), streams=facts)


if __name__ == "__main__":
    main()
