"""The engines that bench/matching.py compares: all take the same commands."""

from __future__ import annotations

import importlib
import importlib.util
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

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
# Kind, name of the order, side, price, size. Plain tuples of integers: the garbage collector does not look at them.
Command = tuple[int, int, int, int, int]


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
        limit, market = self.module.ResultType.LIMIT, self.module.ResultType.MARKET
        identity: dict[int, str] = {}
        self.book.start()
        try:
            for kind, name, side, price, size in stream:
                if kind == CANCEL:
                    self.book.cancel(identity[name])
                    continue
                result = self.book(params(sides[side], price, size))
                identity[name] = result.orderid()
                if result.kind() is not limit:
                    self.volume += int(sum(result.execprices().values()))
                if kind == TAKE and result.kind() is not market:
                    self.book.cancel(identity[name])
        finally:
            self.book.stop()
        return len(stream)

    def outcome(self) -> Outcome:
        bids = {int(price): int(size) for price, size, _ in self.book.best_bids(self.book.n_bids())}
        asks = {int(price): int(size) for price, size, _ in self.book.best_asks(self.book.n_asks())}
        return Outcome(self.volume, bids, asks)


Engine = Ours | Sorted | Bare | Fastlob
ENGINES: dict[str, Callable[[], Engine]] = {"kflow": Ours, "sorted": Sorted, "bare": Bare}
if importlib.util.find_spec("fastlob"):
    ENGINES["fastlob"] = Fastlob
