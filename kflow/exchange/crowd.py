"""Synthetic participants: many small ones, who trade with each other and with everybody else through real engines.

Pure and deterministic: no wire, no clock. A `Crowd` plans when something happens, and carries each event out at its
moment against the market's `OrderBook`, so that other orders lie in the same queues and may come in between. What the
participants know, and why nobody earns from them: `exchange.belief`. When they act: `exchange.hawkes`.

    crowd = Crowd(BUSY, np.random.default_rng(7))
    crowd.add(listing, 0.5, book)
    for event in crowd.plan(0.1):
        for execution in crowd.act(event):  # each is one group of one exchange µs
            ...
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import Final, NamedTuple

import numpy as np

from kflow.exchange.belief import FAIR, Belief, Edge, urgency
from kflow.exchange.crowd_market import OTHER, CrowdMarket
from kflow.exchange.draws import Draws
from kflow.exchange.hawkes import Arrivals
from kflow.exchange.listing import Listing
from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Execution, Order, TimeInForce
from kflow.exchange.presets import Habits, Preset
from kflow.market.events import Side
from kflow.units import CONTRACT, DOLLAR, Price, Size

# What an event is about; the order of `Mix`.
_QUOTE, _AMEND, _RESIZE, _SWEEP = range(4)
# An order of a size that no sane cap would allow: real books hold such at a penny, and it stays there.
_PENNY: Final = Size(1_000_000 * CONTRACT)
# Quotes give way when they are nearer to m than this share of the margin they were placed with.
_GIVE_WAY: Final = 0.3
# m comes no nearer to 0 or $1 than this many of the lowest price.
_LEAST: Final = 1.0
# What one event tells varies by no more than this factor.
_MOST_URGENT: Final = 30.0
# Chance that an event makes the participants reconsider that margin.
_NEW_MARGIN: Final = 0.02


class Event(NamedTuple):
    """Something a participant does. `at`: when in the planned stretch, from 0 to 1. `alarm`: upon great news."""

    at: float
    market: int
    alarm: bool


class Crowd:
    """The participants of any number of markets."""

    def __init__(self, preset: Preset, rng: np.random.Generator, edge: Edge = FAIR) -> None:
        self._habits: Final[Habits] = preset.habits
        self._edge: Final = edge
        self._stale: Final = 100 * edge.stale_cents
        # Apart, so that when things happen does not hang on what else is drawn.
        self._rng, times, deeds = rng.spawn(3)
        self._arrivals: Final = Arrivals(preset.habits.clustering, times)
        self.markets: Final[list[CrowdMarket]] = []
        habits, draws = preset.habits, Draws(deeds)
        mix = habits.mix
        self._uniform: Final = draws.uniform
        self._kind: Final = draws.choice((mix.quote, mix.amend, mix.resize, mix.sweep))
        self._size: Final = draws.sizes(habits.order)
        self._most: Final = int(habits.best_most * CONTRACT)
        self._sweep_size: Final = draws.sizes(habits.sweep)
        self._depth: Final = draws.values(habits.depth_cents, 100.0)
        self._ticks: Final = draws.values(habits.move_ticks, 1.0)
        self._margin: Final = draws.lognormal(100 * habits.margin_cents, habits.margin_sigma)
        self._shock: Final = draws.lognormal(habits.alarm_cents, habits.alarm_sigma)
        self._beyond: Final = draws.lognormal(habits.beyond_cents, habits.beyond_sigma)

    # Markets.

    def add(
        self, listing: Listing, probability: float, book: OrderBook, *, seconds_left: float = math.inf
    ) -> CrowdMarket:
        """One more market from now on, its starting book filled. ValueError: a probability beyond the grid."""
        market = CrowdMarket(listing, Belief(probability, _LEAST * listing.grid.prices()[0]), book, seconds_left)
        sigma = self._habits.weight_sigma
        market.weight = float(np.exp(self._rng.normal(-(sigma**2) / 2, sigma)))
        market.margin = self._margin()
        self.markets.append(market)
        for side in Side:
            self._fill(market, side)
        self._arrivals.add(self._rate(market))
        self._hurry(market)
        return market

    def settle(self, market: CrowdMarket) -> Side:
        """Draw the result, once, after the close: the side that wins."""
        return market.belief.settle(self._uniform(), self._edge.bias)

    # Events.

    def events_per_s(self) -> float:
        """Mean rate of all open markets together, at this distance from their closes."""
        return sum([self._rate(market) for market in self.markets])

    def plan(self, seconds: float) -> list[Event]:
        """What happens in the next `seconds`, in order of time."""
        for market in self.markets:
            self._hurry(market)
            market.seconds_left -= seconds
        rates = np.array([self._rate(market) for market in self.markets])
        times, sources, alarms = self._arrivals.take(seconds, rates)
        listed = zip((times / seconds).tolist(), sources.tolist(), alarms.tolist(), strict=True)
        return [Event(*arrival) for arrival in listed]

    def act(self, event: Event) -> list[Execution]:
        """Carry an event out now. Nothing comes of it where the market is closed or there is nothing to do."""
        market = self.markets[event.market]
        if not market.open:
            return []
        touch = market.touch
        touch[0], touch[1] = market.find_touch(Side.YES), market.find_touch(Side.NO)
        self._learn(market, event.alarm)
        done: list[Execution | None] = [self._take_back(market)] if market.passed(self._stale) else []
        again = market.swept and self._uniform() < self._habits.again
        kind = _SWEEP if again else self._kind()
        market.swept = kind == _SWEEP
        done.append(self._sweep(market) if kind == _SWEEP else self._quote(market, kind))
        if kind == _SWEEP and market.passed(self._stale):
            done.append(self._take_back(market))
        return [execution for execution in done if execution is not None and execution.changes]

    # What is known.

    def _activity(self, market: CrowdMarket) -> float:
        """How much happens, by the minutes that are left."""
        by_minute = self._habits.by_minute
        return by_minute[int(min(max(0.0, market.seconds_left) / 60, len(by_minute) - 1))]

    def _rate(self, market: CrowdMarket) -> float:
        return market.weight * self._habits.events_per_s * self._activity(market) if market.open else 0.0

    def _hurry(self, market: CrowdMarket) -> None:
        """What there is to learn is shared out among what happens."""
        share = urgency(market.seconds_left, self._habits.life_s) / self._activity(market)
        market.urgency = min(share, _MOST_URGENT)

    def _learn(self, market: CrowdMarket, alarm: bool) -> None:
        """News: m moves, and now and then the distance that quotes keep from it."""
        cents = self._shock() if alarm else self._habits.news_cents
        market.belief.news(100 * cents * market.openness() * math.sqrt(market.urgency), self._uniform())
        if self._uniform() < _NEW_MARGIN:
            market.margin = self._margin()

    # Takers.

    def _sweep(self, market: CrowdMarket) -> Execution | None:
        """A taker takes from the best level of one side."""
        book, value = market.book, market.belief.value
        bid, ask = book.best(Side.YES), book.best(Side.NO)
        # With one side empty m could move to the other only: nobody takes, unless m lies at or beyond that price.
        if bid is None and (ask is None or value < DOLLAR - ask):
            return None
        if ask is None and (bid is None or value > bid):
            return None
        low, high = bid or 0, DOLLAR - (ask or 0)
        if bid and ask and self._edge.uninformed and self._uniform() < self._edge.uninformed:
            taker = Side.YES if self._uniform() < 0.5 else Side.NO
        else:
            beyond = 100 * self._beyond() * market.openness() * market.urgency
            taker = market.belief.trade(low, high, beyond, (self._uniform(), self._uniform()))
        maker, price = (Side.NO, high) if taker == Side.YES else (Side.YES, low)
        held = book.size_at(maker, Price(price if maker == Side.YES else DOLLAR - price))
        size = Size(min(self._sweep_size(), held))
        # What rests may be off the grid, since ticks change: a limit on it, at that price or beyond, takes no more.
        limit = market.at_or_beyond(taker, price)
        return book.submit(Order(taker, Price(limit), size, time_in_force=TimeInForce.IOC)) if limit else None

    # Quotes.

    def _take_back(self, market: CrowdMarket) -> Execution:
        """The crowd's quotes that m has passed leave, all in one group: some move behind it, the others go."""
        book, all_of_it = market.book, Execution()
        for side in Side:
            worth = market.worth(side)
            behind = market.ceiling(side, market.margin * market.openness())
            for price in [price for price in book.prices(side) if price - self._stale > worth]:
                for order in book.orders_at(side, price):
                    if order.owner is not None:
                        continue
                    moves = behind and order.remaining < _PENNY and self._uniform() < self._habits.retreat
                    target = market.moved(side, behind, 1 - int(self._ticks()))
                    done = self._move(market, order, target) if moves else book.cancel(order)
                    all_of_it.changes.extend(done.changes)
                    all_of_it.ended.extend(done.ended)
            market.touch[side] = market.find_touch(side)
        return all_of_it

    def _quote(self, market: CrowdMarket, kind: int) -> Execution | None:
        """Something with one order: first where quotes are too close or lag behind, else anywhere."""
        uniform, habits = self._uniform, self._habits
        margin = market.margin * market.openness()
        hurry = margin * _GIVE_WAY
        first = Side.YES if uniform() < 0.5 else Side.NO
        for side in (first, OTHER[first]):
            touch = market.touch[side]
            if touch and market.worth(side) - touch <= hurry:
                if uniform() < habits.pull:
                    return self._back_off(market, side, kind)
            elif kind != _RESIZE and market.lags(side, margin) and uniform() < habits.follow:
                return self._follow(market, side, market.ceiling(side, margin), kind)
        if kind == _AMEND and market.touch[first] <= market.prices[first][0]:  # no room to move
            first = OTHER[first]
        return self._anywhere(market, first, kind)

    def _back_off(self, market: CrowdMarket, side: Side, kind: int) -> Execution | None:
        """One order less at the touch."""
        touch = market.touch[side]
        order = self._order(market, side, touch)
        if order is None:
            return self._anywhere(market, side, kind)
        if kind == _AMEND:
            target = market.moved(side, touch, -int(self._ticks()))
            if target < touch:
                return self._move(market, order, target)
        return market.book.cancel(order)

    def _follow(self, market: CrowdMarket, side: Side, ceiling: int, kind: int) -> Execution | None:
        """A quote that is better than the touch."""
        if kind == _AMEND:
            order = self._near(market, side)
            if order is not None and order.remaining <= self._most:
                return self._move(market, order, ceiling)
        return self._add(market, side, ceiling)

    def _anywhere(self, market: CrowdMarket, side: Side, kind: int) -> Execution | None:
        """An event at some distance from the best price, as often as measured there."""
        touch = market.touch[side]
        if not touch:
            ceiling = market.ceiling(side, 0.0)
            return self._add(market, side, ceiling) if ceiling else None
        if kind == _QUOTE:
            price = market.at_or_below(side, touch - self._depth())
            if not price:
                return None
            held = market.book.size_at(side, Price(price))
            if self._crowded(held, price == touch):
                order = self._order(market, side, self._held(market, side, price))
                if order is not None and not self._stays(market, order):
                    return market.book.cancel(order)
            return self._add(market, side, price)
        order = self._near(market, side)
        if kind == _AMEND and order is not None and self._stays(market, order):
            order = self._order(market, side, self._held(market, side, touch - 1))
        if order is None:
            return None
        return self._resize(market, order) if kind == _RESIZE else self._shift(market, order)

    def _shift(self, market: CrowdMarket, order: Order) -> Execution | None:
        """An order moves by some ticks, up or down; large ones stay away from the touch."""
        side, price, ticks = order.side, order.own_price, int(self._ticks())
        touch = market.touch[side]
        target = market.moved(side, price, ticks if self._uniform() < 0.5 else -ticks)
        if target >= touch and (
            order.remaining > self._most
            or (target > touch and target > market.ceiling(side, market.margin * market.openness()))
        ):
            target = market.moved(side, price, -ticks)
        return self._move(market, order, target) if target != price else None

    def _crowded(self, held: Size, best: bool) -> bool:
        """Whether a level is to lose an order rather than gain one."""
        habits = self._habits
        if not held:
            return self._uniform() >= habits.filled
        many = habits.touch_contracts if best else habits.level_contracts
        return self._uniform() * (held + many * CONTRACT) < held

    def _stays(self, market: CrowdMarket, order: Order) -> bool:
        """Whether an order stays for being the last at the touch."""
        if order.own_price != market.touch[order.side]:
            return False
        alone = market.book.size_at(order.side, order.own_price) == order.remaining
        return alone and self._uniform() >= self._habits.desert

    # Single orders.

    def _order(self, market: CrowdMarket, side: Side, price: int) -> Order | None:
        """Some order of the crowd at a price."""
        order = market.book.pick(side, Price(price), self._uniform())
        if order is not None and order.owner is not None:
            own = [order for order in market.book.orders_at(side, Price(price)) if order.owner is None]
            order = own[int(self._uniform() * len(own))] if own else None
        return order if order is not None and order.remaining < _PENNY else None

    def _near(self, market: CrowdMarket, side: Side) -> Order | None:
        """Some order at about a drawn distance from the touch."""
        if not market.touch[side]:
            return None
        return self._order(market, side, self._held(market, side, market.touch[side] - self._depth()))

    def _held(self, market: CrowdMarket, side: Side, price: float) -> int:
        """The nearest price up to this one at which an order rests, or the lowest of all."""
        prices = market.book.prices(side)
        return prices[max(0, bisect_right(prices, price) - 1)]

    def _add(self, market: CrowdMarket, side: Side, price: int) -> Execution:
        yes_price = price if side == Side.YES else DOLLAR - price
        return market.book.submit(Order(side, Price(yes_price), self._size_at(market, side, price)))

    def _size_at(self, market: CrowdMarket, side: Side, price: int) -> Size:
        """How much somebody brings to a price: at the best one rarely much."""
        size = self._size()
        if price >= market.touch[side] and size > self._most:
            size = min(self._size(), self._most)
        return Size(size)

    def _move(self, market: CrowdMarket, order: Order, price: int) -> Execution:
        yes_price = price if order.side == Side.YES else DOLLAR - price
        return market.book.amend(order, Price(yes_price), order.remaining)

    def _resize(self, market: CrowdMarket, order: Order) -> Execution:
        """An order is replaced by one of another size, in one group."""
        execution = market.book.cancel(order)
        if order.price not in market.book.grid:  # the ticks have changed since it came
            return execution
        instead = Order(order.side, order.price, self._size_at(market, order.side, order.own_price))
        execution.changes.extend(market.book.submit(instead).changes)
        return execution

    def _fill(self, market: CrowdMarket, side: Side) -> None:
        """The book a market starts with."""
        habits, uniform = self._habits, self._uniform
        best = market.ceiling(side, market.margin * market.openness())
        prices = market.prices[side]
        position = bisect_left(prices, best)
        for place in range(min(position + 1 if best else 0, habits.levels)):
            if place and uniform() >= habits.filled:
                continue
            for _ in range(1 + int(2 * uniform() * (habits.orders_per_level - 1) + 0.5)):
                self._add(market, side, prices[position - place])
        if best > prices[0]:
            yes_price = prices[0] if side == Side.YES else DOLLAR - prices[0]
            market.book.submit(Order(side, Price(yes_price), Size(_PENNY + self._size())))
