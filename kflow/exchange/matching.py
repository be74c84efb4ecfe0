"""One market's matching engine: price-time priority on one YES book. Pure: no clock, no accounts, no wire.

Each side is a dict of levels beside a list of their prices kept in order by bisection, as in `market.book`. A level's
queue is a list in order of arrival; orders that leave from its middle stay in it as dead entries (`remaining` 0) until
the queue is compacted, which makes joining, matching and cancelling O(1) at a level.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from typing import Final

from kflow.errors import Unrepresentable
from kflow.exchange.orders import Execution, Kill, Order, Reason, SelfTrade, TimeInForce
from kflow.market.events import Level, Side
from kflow.market.grid import Grid
from kflow.units import DOLLAR, Price, Size

# Dead entries that a queue may hold before it is compacted.
_DEAD: Final = 64


class _Queue:
    """The orders of one level, first come first."""

    __slots__ = ("dead", "head", "orders", "total")

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.head = 0  # everything before it is dead
        self.dead = 0  # from `head` on
        self.total = 0

    def live(self) -> list[Order]:
        return [order for order in self.orders[self.head :] if order.remaining]

    def compact(self) -> None:
        self.orders = self.live()
        self.head = self.dead = 0


class OrderBook:
    """The engine. An order handed to `submit` belongs to the book while it rests: change it only through the book."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid  # may change while orders rest; those stay where they are
        # Indexed by Side, keyed by the side's own price.
        self._queues: tuple[dict[int, _Queue], dict[int, _Queue]] = ({}, {})
        self._prices: tuple[list[Price], list[Price]] = ([], [])

    # Commands.

    def submit(self, order: Order) -> Execution:
        """Match an order and let what remains rest, if it may.

        Raises Unrepresentable for a price off the grid, a size that is not positive, or an order that rests already.
        An order that is killed (`Execution.killed`) changed nothing.
        """
        if order.resting:
            raise Unrepresentable("order that does not rest yet", repr(order))
        if order.price not in self.grid:
            self.grid.index(order.price)  # says it
        if order.remaining <= 0:
            raise Unrepresentable("order of more than nothing", order.remaining)
        killed = self._kill(order)
        if killed is not None:
            return Execution(killed)
        execution = Execution()
        self._enter(order, execution)
        return execution

    def cancel(self, order: Order, reason: Reason = Reason.CANCEL) -> Execution:
        """Take a resting order out. Raises Unrepresentable if it does not rest."""
        execution = Execution()
        self._end(order, reason, execution)
        return execution

    def decrease(self, order: Order, remaining: Size) -> Execution:
        """Shrink a resting order in its place; to 0 cancels it. Raises Unrepresentable if it would not shrink."""
        if remaining == 0:
            return self.cancel(order, Reason.DECREASE)
        if not 0 < remaining < order.remaining:
            raise Unrepresentable(f"size below {order.remaining}", remaining)
        execution = Execution()
        queue = self._queue_of(order)
        change = remaining - order.remaining
        queue.total += change
        order.remaining = remaining
        execution.changes.append((order.side, order.own_price, change, order))
        return execution

    def amend(self, order: Order, price: Price, remaining: Size) -> Execution:
        """Move a resting order to another price or size. Its place in the queue is kept only where it merely shrinks.

        Raises Unrepresentable for a price or size as `submit` does, and for an order that does not rest. A post-only
        order that would cross stays as it was (`Execution.killed`).
        """
        queue = self._queue_of(order)
        if price not in self.grid:
            self.grid.index(price)
        if remaining <= 0:
            raise Unrepresentable("order of more than nothing", remaining)
        if price == order.price and remaining <= order.remaining:
            return Execution() if remaining == order.remaining else self.decrease(order, remaining)
        own_price = price if order.side == Side.YES else Price(DOLLAR - price)
        if order.post_only and self._crosses(order.side, own_price):
            return Execution(Kill.POST_ONLY_CROSS)
        execution = Execution()
        queue.orders.remove(order)  # a dead entry would come to life again
        queue.dead -= 1
        self._remove(order, execution)
        order.price, order.own_price, order.remaining = price, own_price, remaining
        self._enter(order, execution)
        return execution

    def cancel_where(self, leaves: Callable[[Order], bool], reason: Reason) -> Execution:
        """Cancel every resting order that `leaves` names, best price and earliest first."""
        execution = Execution()
        for order in [order for side in Side for order in self.orders(side) if leaves(order)]:
            self._end(order, reason, execution)
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

    def prices(self, side: Side) -> list[Price]:
        """Own prices of a side's levels, ascending. The book's own list: look, do not touch."""
        return self._prices[side]

    def orders(self, side: Side) -> Iterator[Order]:
        """Resting orders, best price first, earliest first at each."""
        for price in reversed(self._prices[side]):
            yield from self._queues[side][price].live()

    def orders_at(self, side: Side, own_price: Price) -> list[Order]:
        """Resting orders of one level, earliest first."""
        queue = self._queues[side].get(own_price)
        return queue.live() if queue is not None else []

    def pick(self, side: Side, own_price: Price, share: float) -> Order | None:
        """One order of a level: `share` in [0, 1) of the way through its queue, or the next behind it. For flow."""
        queue = self._queues[side].get(own_price)
        if queue is None:
            return None
        orders, head = queue.orders, queue.head
        start = head + int(share * (len(orders) - head))
        for position in range(start, len(orders)):
            if orders[position].remaining:
                return orders[position]
        for position in range(start - 1, head - 1, -1):
            if orders[position].remaining:
                return orders[position]
        return None

    def ahead(self, order: Order) -> Size:
        """Contracts that trade before a resting order at its price. Raises Unrepresentable if it does not rest."""
        total = 0
        for other in self._queue_of(order).live():
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
        if order.time_in_force is TimeInForce.FOK and self._available(order) < order.remaining:
            return Kill.FILL_OR_KILL
        return None

    def _available(self, order: Order) -> int:
        """What an order could match at once, counted no further than it needs."""
        found, other = 0, 1 - order.side
        for price in reversed(self._prices[other]):
            if price + order.own_price < DOLLAR or found >= order.remaining:
                break
            for maker in self._queues[other][price].live():
                if maker.owner is not None and maker.owner is order.owner:
                    if order.self_trade is SelfTrade.TAKER:
                        return found
                    continue
                found += maker.remaining
        return found

    def _enter(self, order: Order, execution: Execution) -> None:
        prices = self._prices[1 - order.side]
        if prices and prices[-1] + order.own_price >= DOLLAR and not self._match(order, execution):
            execution.ended.append((order, order.remaining, Reason.SELF_TRADE))
            order.remaining = Size(0)
        elif order.remaining and order.time_in_force is TimeInForce.GTC:
            self._rest(order, execution)
        elif order.remaining:
            execution.ended.append((order, order.remaining, Reason.CANCEL))
            order.remaining = Size(0)

    def _match(self, order: Order, execution: Execution) -> bool:
        """Trade with whatever the order crosses. False where it met its owner's order and ends there."""
        other = Side(1 - order.side)
        prices, queues = self._prices[other], self._queues[other]
        while order.remaining and prices and prices[-1] + order.own_price >= DOLLAR:
            own_price = prices[-1]
            queue = queues[own_price]
            going = self._match_level(order, own_price, queue, execution)
            if not queue.total:
                del queues[own_price], prices[-1]
            if not going:
                return False
        return True

    def _match_level(self, order: Order, own_price: Price, queue: _Queue, execution: Execution) -> bool:
        """The part of `_match` at one level of the other side; only the queue is changed."""
        other = Side(1 - order.side)
        yes_price = own_price if other == Side.YES else Price(DOLLAR - own_price)
        orders = queue.orders
        while queue.total and order.remaining:
            maker = orders[queue.head]
            if not maker.remaining:
                queue.head += 1
                queue.dead -= 1
                continue
            if maker.owner is not None and maker.owner is order.owner:
                if order.self_trade is SelfTrade.TAKER:
                    return False
                size = maker.remaining
                execution.ended.append((maker, size, Reason.SELF_TRADE))
                maker.remaining = Size(0)
            else:
                size = Size(min(maker.remaining, order.remaining))
                execution.matches.append((maker, yes_price, size))
                for party in (maker, order):
                    party.remaining = Size(party.remaining - size)
                    party.filled = Size(party.filled + size)
            queue.total -= size
            execution.changes.append((other, own_price, -size, maker))
            if not maker.remaining:
                maker.resting = False
                queue.head += 1
        return True

    def _rest(self, order: Order, execution: Execution) -> None:
        queues = self._queues[order.side]
        queue = queues.get(order.own_price)
        if queue is None:
            queue = queues[order.own_price] = _Queue()
            insort(self._prices[order.side], order.own_price)
        elif queue.head > _DEAD and queue.head * 2 > len(queue.orders):
            queue.compact()
        queue.orders.append(order)
        order.resting = True
        queue.total += order.remaining
        execution.changes.append((order.side, order.own_price, order.remaining, order))

    def _end(self, order: Order, reason: Reason, execution: Execution) -> None:
        size = order.remaining
        self._remove(order, execution)
        execution.ended.append((order, size, reason))

    def _remove(self, order: Order, execution: Execution) -> None:
        queue = self._queue_of(order)
        queue.total -= order.remaining
        execution.changes.append((order.side, order.own_price, -order.remaining, order))
        order.remaining = Size(0)
        order.resting = False
        queue.dead += 1
        if not queue.total:
            del self._queues[order.side][order.own_price]
            prices = self._prices[order.side]
            del prices[bisect_left(prices, order.own_price)]
        elif queue.dead > _DEAD and queue.dead * 2 > len(queue.orders):
            queue.compact()

    def _queue_of(self, order: Order) -> _Queue:
        if not order.resting:
            raise Unrepresentable("order that rests in this book", repr(order))
        return self._queues[order.side][order.own_price]
