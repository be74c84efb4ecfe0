"""Own orders against a public book that moves by itself: a recording's, or one that a test's hand writes.

The public book is what was published and nothing else: own orders never change it. They are filled against it by price
and time, as they would have been had they been among its orders (design 1.8):

- An order that crosses takes what the other side shows, best price first, at the price shown. What own orders took
  stays taken: a level gives no more than it shows less that, until it grows (by what it grows), empties, or is
  published anew with another size. Taking makes no change and no public trade.
- What is left rests at the back of its level: all that is shown there (and not taken) is ahead, own orders too in order
  of arrival.
- A trade at our price eats the queue from its front: what is ahead first, then us. A trade through our price, and a bid
  of the other side that comes to cross us, would have met us: they fill us, up to their size, at our price. Such a bid
  is then taken by as much.
- A level that shrinks without a trade shrinks what is ahead only as far as it must: no more can be ahead than is shown.
  Where the cancellations really were is not known; this is the pessimistic end. Trades and the changes they cause come
  in either order and are told by their millisecond: what a change already took from the queue, its trade does not take
  again. Block trades are made beside the book and eat nothing.
- A snapshot that differs from what was known at a level (messages were lost, the market was reset or closed) ends what
  is known of its queue: all that is shown is ahead, nothing is taken. One that agrees is no news.

A recording may hold no trades. Crossing and shrinking queues are then all there is, and passive orders fill too rarely.

Own orders meet each other as in `matching.OrderBook`, in their place among the public ones; self-trade too. This is a
venue's rule for lack of a better one: the simulator's kernel may take its seat, which is `clearing.Follower`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from kflow.errors import Unrepresentable
from kflow.exchange.market import MarketState
from kflow.exchange.messages import DELTA_TYPE, SNAPSHOT_TYPE, TRADE, Message
from kflow.exchange.orders import Execution, Kill, Order, Reason, SelfTrade, TimeInForce
from kflow.exchange.shadow_queue import ShadowQueue
from kflow.market.events import Level, Side
from kflow.market.grid import Grid
from kflow.units import DOLLAR, Price, Size, complement

_US_PER_MS: Final = 1000


class _Block(msgspec.Struct):
    is_block_trade: bool | None = None


def _is_block(trade: Message) -> bool:
    return msgspec.json.decode(trade.body, type=_Block).is_block_trade is True


class ShadowBook:
    """The engine of one market. An order handed to `submit` belongs to it while it rests, as with `OrderBook`.

    Its executions hold no `changes`; the maker of a match with the public book is an order of nobody.
    """

    def __init__(self, state: MarketState) -> None:
        self.grid: Grid = state.listing.grid  # may change while orders rest; those stay where they are
        self._public: Final = state.book
        # Indexed by Side, keyed by the side's own price: where own orders rest or have taken.
        self._levels: tuple[dict[Price, ShadowQueue], dict[Price, ShadowQueue]] = ({}, {})
        self._resting = 0

    # Commands.

    def submit(self, order: Order) -> Execution:
        """Match an order and let what remains rest, if it may.

        Raises Unrepresentable for a price off the grid, a size that is not positive, or an order that rests already.
        An order that is killed (`Execution.killed`) changed nothing.
        """
        if order.resting:
            raise Unrepresentable("order that does not rest yet", repr(order))
        self._check(order.price, order.remaining)
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
        self._level_of(order)
        if not 0 < remaining < order.remaining:
            raise Unrepresentable(f"size below {order.remaining}", remaining)
        order.remaining = remaining
        return Execution()

    def amend(self, order: Order, price: Price, remaining: Size) -> Execution:
        """Move a resting order to another price or size. Its place in the queue is kept only where it merely shrinks.

        Raises Unrepresentable for a price or size as `submit` does, and for an order that does not rest. A post-only
        order that would cross stays as it was (`Execution.killed`).
        """
        self._level_of(order)
        self._check(price, remaining)
        if price == order.price and remaining <= order.remaining:
            return Execution() if remaining == order.remaining else self.decrease(order, remaining)
        own_price = price if order.side == Side.YES else complement(price)
        if order.post_only and self._crossed(order.side, own_price):
            return Execution(Kill.POST_ONLY_CROSS)
        execution = Execution()
        self._leave(order)
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

    @property
    def resting(self) -> bool:
        """Whether any own order rests."""
        return self._resting > 0

    def orders(self, side: Side) -> list[Order]:
        """Own orders that rest, best price first, earliest first at each."""
        return [place.order for price in self._prices(side) for place in self._levels[side][price].places]

    def ahead(self, order: Order) -> Size:
        """Contracts, public and own, that trade before a resting order. Raises Unrepresentable if it does not rest."""
        total = 0
        for place in self._level_of(order).places:
            if place.order is order:
                return Size(total + place.ahead)
            total += place.order.remaining
        raise AssertionError("an order that rests has a place")

    # What was published.

    def observe(self, message: Message) -> Execution | None:
        """Let a message of this market, published a moment ago, fill own orders. None where it filled none."""
        execution = Execution()
        moment = message.venue_us // _US_PER_MS
        if message.kind == DELTA_TYPE:
            self._changed(Side(message.side), Price(message.price), message.change, moment, execution)
        elif message.kind == TRADE and message.change > 0 and not _is_block(message):
            self._traded(message, moment, execution)
        elif message.kind == SNAPSHOT_TYPE and message.levels is not None:
            self._renewed(message.levels, execution)
        return execution if execution.matches else None

    def _changed(self, side: Side, price: Price, change: int, moment: int, execution: Execution) -> None:
        level = self._levels[side].get(price)
        if level is not None:
            level.change(change, moment)
            self._forget(side, price)
        if change > 0:
            # Where own orders wait for it, all that was there before is taken: the level is new, or known.
            self._met(side, price, change, change, execution)

    def _traded(self, message: Message, moment: int, execution: Execution) -> None:
        """The makers were on the side that the taker did not buy; where a recording does not say, on either."""
        for side in Side:
            if message.side == side:
                continue
            price = Price(message.price) if side == Side.YES else complement(Price(message.price))
            left = message.change - self._fill_through(side, price + 1, message.change, execution)
            level = self._levels[side].get(price)
            if left and level is not None:
                for order, size in level.eat(left, moment):
                    self._fill(order, size, execution)

    def _renewed(self, levels: tuple[Sequence[Level], Sequence[Level]], execution: Execution) -> None:
        for side in Side:
            sizes = dict(levels[side])
            for price, level in tuple(self._levels[side].items()):
                size = sizes.get(price, Size(0))
                if size != level.shown:
                    level.renew(size)
                    self._forget(side, price)
        for side in Side:
            for price, size in reversed(levels[side]):
                known = self._levels[side].get(price)
                self._met(side, price, size if known is None else known.available, size, execution)

    def _met(self, side: Side, price: Price, size: int, shown: int, execution: Execution) -> None:
        """Public bids of a side came to a price: they meet what own orders of the other side they cross."""
        filled = self._fill_through(Side(1 - side), DOLLAR - price, size, execution)
        if filled:
            self._levels[side].setdefault(price, ShadowQueue(shown)).take(filled)

    def _fill_through(self, side: Side, least: int, size: int, execution: Execution) -> int:
        """Fill own orders of a side that bid `least` or more, up to `size`, and return how much that was."""
        left = size
        for price in self._prices(side):
            if price < least or not left:
                break
            for order in [place.order for place in self._levels[side][price].places]:
                reached = min(left, order.remaining)
                if not reached:
                    break
                self._fill(order, reached, execution)
                left -= reached
        return size - left

    def _fill(self, order: Order, size: int, execution: Execution) -> None:
        execution.matches.append((order, order.price, Size(size)))
        order.remaining, order.filled = Size(order.remaining - size), Size(order.filled + size)
        if order.resting and not order.remaining:
            self._leave(order)

    # How commands are carried out.

    def _check(self, price: Price, size: Size) -> None:
        if price not in self.grid:
            self.grid.index(price)  # says it
        if size <= 0:
            raise Unrepresentable("order of more than nothing", size)

    def _kill(self, order: Order) -> Kill | None:
        if order.post_only and self._crossed(order.side, order.own_price):
            return Kill.POST_ONLY_CROSS
        if order.time_in_force is TimeInForce.FOK and self._found(order) < order.remaining:
            return Kill.FILL_OR_KILL
        return None

    def _found(self, order: Order) -> int:
        """What an order could match at once."""
        found = 0
        for price in self._crossed(order.side, order.own_price):
            for size, maker in self._queue(Side(1 - order.side), price):
                if maker is None or maker.owner is None or maker.owner is not order.owner:
                    found += size
                elif order.self_trade is SelfTrade.TAKER:
                    return found
        return found

    def _crossed(self, side: Side, own_price: Price) -> list[Price]:
        """Prices of the other side that an order would meet anything at, best first."""
        other, least = Side(1 - side), DOLLAR - own_price
        prices = {price for price, _ in self._public.levels(other) if price >= least}
        prices.update([price for price in self._levels[other] if price >= least])
        return [price for price in sorted(prices, reverse=True) if self._queue(other, price)]

    def _queue(self, side: Side, price: Price) -> list[tuple[int, Order | None]]:
        level = self._synced(side, price)
        if level is not None:
            return level.queue()
        size = self._public.size_at(side, price)
        return [(size, None)] if size else []

    def _enter(self, order: Order, execution: Execution) -> None:
        if not self._match(order, execution):
            execution.ended.append((order, order.remaining, Reason.SELF_TRADE))
            order.remaining = Size(0)
        elif order.remaining and order.time_in_force is TimeInForce.GTC:
            self._level(order.side, order.own_price).join(order)
            order.resting = True
            self._resting += 1
        elif order.remaining:
            execution.ended.append((order, order.remaining, Reason.CANCEL))
            order.remaining = Size(0)

    def _match(self, order: Order, execution: Execution) -> bool:
        """Trade with whatever the order crosses. False where it met its owner's order and ends there."""
        other = Side(1 - order.side)
        for price in self._crossed(order.side, order.own_price):
            public, going = self._match_level(order, other, price, execution)
            if public:
                self._level(other, price).take(public)
            if not going:
                return False
        return True

    def _match_level(self, order: Order, other: Side, price: Price, execution: Execution) -> tuple[int, bool]:
        """The part of `_match` at one level of the other side: how much of the public book it took, and whether on."""
        public = 0
        yes_price = price if other == Side.YES else complement(price)
        for size, own in self._queue(other, price):
            if not order.remaining:
                break
            if own is not None and own.owner is not None and own.owner is order.owner:
                if order.self_trade is SelfTrade.TAKER:
                    return public, False
                self._end(own, Reason.SELF_TRADE, execution)
                continue
            matched = Size(min(size, order.remaining))
            maker = Order(other, yes_price, matched) if own is None else own
            public += matched if own is None else 0
            self._fill(maker, matched, execution)
            order.remaining, order.filled = Size(order.remaining - matched), Size(order.filled + matched)
        return public, True

    def _end(self, order: Order, reason: Reason, execution: Execution) -> None:
        self._leave(order)
        execution.ended.append((order, order.remaining, reason))
        order.remaining = Size(0)

    def _leave(self, order: Order) -> None:
        level = self._level_of(order)
        level.places = [place for place in level.places if place.order is not order]
        order.resting = False
        self._resting -= 1
        self._forget(order.side, order.own_price)

    # Levels.

    def _prices(self, side: Side) -> list[Price]:
        """Prices of a side's levels, best first."""
        return sorted(self._levels[side], reverse=True)

    def _level_of(self, order: Order) -> ShadowQueue:
        if not order.resting:
            raise Unrepresentable("order that rests in this book", repr(order))
        return self._levels[order.side][order.own_price]

    def _level(self, side: Side, price: Price) -> ShadowQueue:
        return self._synced(side, price) or self._levels[side].setdefault(
            price, ShadowQueue(self._public.size_at(side, price))
        )

    def _synced(self, side: Side, price: Price) -> ShadowQueue | None:
        """A level as it is shown now: while no own order rests nothing is observed."""
        level = self._levels[side].get(price)
        if level is not None:
            size = self._public.size_at(side, price)
            if size != level.shown:
                level.show(size)
                self._forget(side, price)
        return self._levels[side].get(price)

    def _forget(self, side: Side, price: Price) -> None:
        level = self._levels[side][price]
        if not level.places and not level.taken:
            del self._levels[side][price]
