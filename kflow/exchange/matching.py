"""One market's matching engine: price-time priority on one YES book. Pure: no clock, no accounts, no wire.

Each side is a dict of levels beside a list of their prices kept in order by bisection, as in `market.book`. A level's
queue is a dict of its orders: it keeps the order of arrival, and an order joins or leaves it at either end or in the
middle in constant time (docs/decisions/0005-matching.md).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Final

from kflow.errors import Unrepresentable
from kflow.exchange.orders import Execution, Kill, Order, Reason, SelfTrade, TimeInForce
from kflow.market.events import Level, Side
from kflow.market.grid import Grid
from kflow.units import DOLLAR, Price, Size

# What the hot path compares with: looking a member up in its enum takes 80 ns, as long as joining a queue.
_GTC: Final = TimeInForce.GTC
_FOK: Final = TimeInForce.FOK
_TAKER: Final = SelfTrade.TAKER
_OTHER: Final = (Side.NO, Side.YES)
_NOTHING: Final = Size(0)


class _Queue:
    """The orders of one level, first come first; there is no empty one."""

    __slots__ = ("orders", "total")

    def __init__(self) -> None:
        self.orders: dict[Order, None] = {}
        self.total = 0


@lru_cache(maxsize=256)
def _prices(grid: Grid) -> frozenset[Price]:
    return frozenset(grid.prices())


class OrderBook:
    """The engine. An order handed to `submit` belongs to the book while it rests: change it only through the book."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        # Indexed by Side, keyed by the side's own price.
        self._queues: tuple[dict[int, _Queue], dict[int, _Queue]] = ({}, {})
        self._prices: tuple[list[Price], list[Price]] = ([], [])

    @property
    def grid(self) -> Grid:
        """Where new and amended orders may be. It may change while orders rest; those stay where they are."""
        return self._grid

    @grid.setter
    def grid(self, grid: Grid) -> None:
        self._grid = grid
        self._allowed = _prices(grid)

    # Commands.

    def submit(self, order: Order) -> Execution:
        """Match an order and let what remains rest, if it may.

        Raises Unrepresentable for a price off the grid, a size that is not positive, or an order that rests already.
        An order that is killed (`Execution.killed`) changed nothing.
        """
        if order.resting:
            raise Unrepresentable("order that does not rest yet", repr(order))
        if order.price not in self._allowed:
            self._grid.index(order.price)  # says it
        if order.remaining <= 0:
            raise Unrepresentable("order of more than nothing", order.remaining)
        if order.post_only or order.time_in_force is _FOK:
            killed = self._kill(order)
            if killed is not None:
                return Execution(killed)
        execution = Execution()
        self._enter(order, execution)
        return execution

    def cancel(self, order: Order, reason: Reason = Reason.CANCEL) -> Execution:
        """Take a resting order out. Raises Unrepresentable if it does not rest."""
        execution = Execution()
        execution.ended.append((order, self._remove(order, execution), reason))
        return execution

    def decrease(self, order: Order, remaining: Size) -> Execution:
        """Shrink a resting order in its place; to 0 cancels it. Raises Unrepresentable if it would not shrink."""
        if remaining == 0:
            return self.cancel(order, Reason.DECREASE)
        if not 0 < remaining < order.remaining:
            raise Unrepresentable(f"size below {order.remaining}", remaining)
        execution = Execution()
        change = remaining - order.remaining
        self._queue_of(order).total += change
        order.remaining = remaining
        execution.changes.append((order.side, order.own_price, change, order))
        return execution

    def amend(self, order: Order, price: Price, remaining: Size) -> Execution:
        """Move a resting order to another price or size. Its place in the queue is kept only where it merely shrinks.

        Raises Unrepresentable for a price or size as `submit` does, and for an order that does not rest. A post-only
        order that would cross stays as it was (`Execution.killed`).
        """
        if not order.resting:
            self._queue_of(order)  # says it
        if price not in self._allowed:
            self._grid.index(price)
        if remaining <= 0:
            raise Unrepresentable("order of more than nothing", remaining)
        if price == order.price and remaining <= order.remaining:
            return Execution() if remaining == order.remaining else self.decrease(order, remaining)
        own_price = Price(DOLLAR - price) if order.side else price
        if order.post_only and self._crosses(order.side, own_price):
            return Execution(Kill.POST_ONLY_CROSS)
        execution = Execution()
        self._remove(order, execution)
        order.price, order.own_price, order.remaining = price, own_price, remaining
        self._enter(order, execution)
        return execution

    def cancel_where(self, leaves: Callable[[Order], bool], reason: Reason) -> Execution:
        """Cancel every resting order that `leaves` names, best price and earliest first."""
        execution = Execution()
        for order in [order for side in Side for order in self.orders(side) if leaves(order)]:
            execution.ended.append((order, self._remove(order, execution), reason))
        return execution

    # Reading.

    def best(self, side: Side) -> Price | None:
        """Best price of a side, as its own bid price."""
        prices = self._prices[side]
        return prices[-1] if prices else None

    def size_at(self, side: Side, own_price: Price) -> Size:
        queue = self._queues[side].get(own_price)
        return Size(queue.total if queue is not None else 0)

    def levels(self, side: Side) -> tuple[Level, ...]:
        """Every level by the side's own price, ascending: the best is the last, as in `market.book`."""
        queues = self._queues[side]
        return tuple([(price, Size(queues[price].total)) for price in self._prices[side]])

    def book(self) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """Levels of both sides, as a snapshot has them."""
        return self.levels(Side.YES), self.levels(Side.NO)

    def prices(self, side: Side) -> list[Price]:
        """Own prices of a side's levels, ascending. The book's own list: look, do not touch."""
        return self._prices[side]

    def orders(self, side: Side) -> Iterator[Order]:
        """Resting orders, best price first, earliest first at each. They may leave while they are read."""
        for price in reversed(self._prices[side]):
            yield from list(self._queues[side][price].orders)

    def orders_at(self, side: Side, own_price: Price) -> list[Order]:
        """Resting orders of one level, earliest first."""
        queue = self._queues[side].get(own_price)
        return list(queue.orders) if queue is not None else []

    def pick(self, side: Side, own_price: Price, share: float) -> Order | None:
        """The order that is `share`, in [0, 1), of the way through a level's queue: all alike for an even draw."""
        queue = self._queues[side].get(own_price)
        if queue is None:
            return None
        orders = queue.orders
        return next(islice(orders, int(share * len(orders)), None))

    def ahead(self, order: Order) -> Size:
        """Contracts that trade before a resting order at its price. Raises Unrepresentable if it does not rest."""
        total = 0
        for other in self._queue_of(order).orders:
            if other is order:
                break
            total += other.remaining
        return Size(total)

    # How it is done.

    def _crosses(self, side: Side, own_price: int) -> bool:
        prices = self._prices[1 - side]
        return bool(prices) and prices[-1] + own_price >= DOLLAR

    def _kill(self, order: Order) -> Kill | None:
        if order.post_only and self._crosses(order.side, order.own_price):
            return Kill.POST_ONLY_CROSS
        if order.time_in_force is _FOK and self._available(order) < order.remaining:
            return Kill.FILL_OR_KILL
        return None

    def _available(self, order: Order) -> int:
        """What an order could match at once, counted no further than it needs."""
        found, other = 0, 1 - order.side
        for price in reversed(self._prices[other]):
            if price + order.own_price < DOLLAR or found >= order.remaining:
                break
            for maker in self._queues[other][price].orders:
                if maker.owner is not None and maker.owner is order.owner:
                    if order.self_trade is _TAKER:
                        return found
                    continue
                found += maker.remaining
        return found

    def _enter(self, order: Order, execution: Execution) -> None:
        """Match an order; what remains rests, or ends where it may not."""
        side, own_price = order.side, order.own_price
        others = self._prices[1 - side]
        if others and others[-1] + own_price >= DOLLAR:
            if not self._match(order, execution):
                self._give_up(order, Reason.SELF_TRADE, execution)
            if not order.remaining:
                return
        if order.time_in_force is not _GTC:
            self._give_up(order, Reason.CANCEL, execution)
            return
        queues = self._queues[side]
        queue = queues.get(own_price)
        if queue is None:
            queue = queues[own_price] = _Queue()
            insort(self._prices[side], own_price)
        queue.orders[order] = None
        queue.total += order.remaining
        order.resting = True
        execution.changes.append((side, own_price, order.remaining, order))

    def _match(self, order: Order, execution: Execution) -> bool:
        """Trade with whatever the order crosses. False where it met its owner's order and ends there."""
        other = _OTHER[order.side]
        prices, queues = self._prices[other], self._queues[other]
        reach = DOLLAR - order.own_price
        while order.remaining and prices and prices[-1] >= reach:
            queue = queues[prices[-1]]
            going = self._match_level(order, queue, execution)
            if not queue.orders:
                del queues[prices.pop()]
            if not going:
                return False
        return True

    def _match_level(self, order: Order, queue: _Queue, execution: Execution) -> bool:
        """The part of `_match` at one level of the other side; only the queue is changed."""
        owner, left, going = order.owner, order.remaining, True
        gone = []
        for maker in queue.orders:
            size = maker.remaining
            if owner is not None and maker.owner is owner:
                if order.self_trade is _TAKER:
                    going = False
                    break
                execution.ended.append((maker, size, Reason.SELF_TRADE))
            else:
                size = min(size, left)
                execution.matches.append((maker, maker.price, size))
                maker.filled += size  # type: ignore[assignment]
                left -= size  # type: ignore[assignment]
            maker.remaining -= size  # type: ignore[assignment]
            queue.total -= size
            execution.changes.append((maker.side, maker.own_price, -size, maker))
            if not maker.remaining:
                maker.resting = False
                gone.append(maker)
            if not left:
                break
        for maker in gone:
            del queue.orders[maker]
        order.filled += order.remaining - left  # type: ignore[assignment]
        order.remaining = left
        return going

    def _give_up(self, order: Order, reason: Reason, execution: Execution) -> None:
        """End an order that does not rest."""
        execution.ended.append((order, order.remaining, reason))
        order.remaining = _NOTHING

    def _remove(self, order: Order, execution: Execution) -> Size:
        """Take a resting order out of its queue; what it still wanted."""
        queue, own_price, size = self._queue_of(order), order.own_price, order.remaining
        del queue.orders[order]
        queue.total -= size
        order.remaining = _NOTHING
        order.resting = False
        execution.changes.append((order.side, own_price, -size, order))
        if not queue.orders:
            del self._queues[order.side][own_price]
            prices = self._prices[order.side]
            del prices[bisect_left(prices, own_price)]
        return size

    def _queue_of(self, order: Order) -> _Queue:
        if not order.resting:
            raise Unrepresentable("order that rests in this book", repr(order))
        return self._queues[order.side][order.own_price]
