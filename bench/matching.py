"""Commands matched per second by the pure engine, one process, against engines that one would write or install.

    python bench/matching.py [--quick] [--profile mixed]

Streams are made beforehand and the same for all. `mixed` has the shares, sizes and distances of a busy market (measured
on 9.8 hours of one: adds 29 %, cancels 22 %, moves 34 %, resizes 9 %, takers 6 %) on a book of 60 levels and 350 orders
a side; `join and leave` is adds and cancels alone; `takers` is three takers, of twice the size, to seven adds; `long
queues` has two prices a side and a thousand orders at each.

`sorted` is an engine of SortedDicts and deques that does the same work: it refuses what is off the grid, keeps owners
from trading with themselves and gives every change of a level. `bare` is the same containers without those duties: it
gives its trades and nothing else. fastlob runs where it is found (`pip install --target DIR fastlob`, PYTHONPATH=DIR).
It cannot amend, and leaves out the streams that do. All must end with the same book and the same volume. The JSON's
ratio is kflow over `sorted` on `mixed`, by CPU time.
"""

from __future__ import annotations

import cProfile
import math
import pstats
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engines import ADD, AMEND, CANCEL, ENGINES, GRID, TAKE, Command, Engine, Fastlob, Ours, Outcome
from measure import Timing, alternate, arguments, repeats, report

from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Order, TimeInForce
from kflow.market.events import Side
from kflow.units import Price, Size

# Cumulative distances in cents from the own best: 2.6 % better, 23 % at it, 48 % within 1, 79 % within 5.
DISTANCES = ((0.026, -1), (0.256, 0), (0.48, 1), (0.58, 2), (0.66, 3), (0.73, 4), (0.79, 5))
# The rest: anywhere further down, where a tenth of a cent is a tick below 10 cents.
TAIL = [price for price in GRID.prices() if price <= 4_000]


@dataclass
class Mix:
    """Shares of the commands of a stream; what is left over resizes."""

    add: float
    cancel: float
    move: float
    take: float
    taker: int = 21  # contracts, median
    prices: int = 0  # at most so many prices a side; 0: as the market has them
    most: int = 700  # orders; where more rest, the next that would join cancels another one instead


MIXES = {
    "mixed": Mix(0.286, 0.218, 0.339, 0.063),
    "join and leave": Mix(0.52, 0.48, 0.0, 0.0),
    "takers": Mix(0.7, 0.0, 0.0, 0.3, taker=150),
    "long queues": Mix(0.45, 0.4, 0.1, 0.05, prices=2, most=4_000),
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
            self.alive = [order for order in self.alive if order.resting]
            crowded = len(self.alive) > self.mix.most
            for _ in range(100):
                self.step(crowded=crowded)
        return self.made

    def step(self, *, crowded: bool) -> None:
        mix, rng = self.mix, self.rng
        draw = rng.random()
        if draw < mix.add and not crowded:
            side = Side(rng.randrange(2))
            self.submit(ADD, side, self.price(side))
        elif mix.add <= draw < mix.add + mix.take:
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
        size = self.size(self.mix.taker if kind == TAKE else 75)
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

    def size(self, median: int) -> int:
        """Quartiles a quarter and four times the median; hundredths at times."""
        size = max(1, round(self.rng.lognormvariate(math.log(median), 2.0)))
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


def run(engine: Callable[[], Engine], stream: list[Command]) -> Callable[[], int]:
    return lambda: engine().run(stream)


def check(engines: dict[str, Callable[[], Engine]], stream: list[Command]) -> Outcome:
    """All engines agree on it."""
    outcomes = []
    for make in engines.values():
        engine = make()
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
        engines = {engine: make for engine, make in ENGINES.items() if not mix.move or make is not Fastlob}
        outcome = check(engines, stream)
        cases = {f"{name}: {engine}": run(make, stream) for engine, make in engines.items()}
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
