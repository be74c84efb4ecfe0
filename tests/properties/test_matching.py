"""The engine against a slow model of it, command by command, and against what must hold whatever the model says."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import count, pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Execution, Order, Reason, SelfTrade, TimeInForce
from kflow.market.events import Side
from kflow.market.grid import Grid
from kflow.units import DOLLAR, Price, Size

from .plain_matching import Outcome, PlainBook, Slip

GRID = Grid.named("tapered_deci_cent")
OWNERS = (None, "ann", "bob", "cem")


class Pair:
    """Engine and model side by side. Each command goes to both, and everything it must keep is checked at once."""

    def __init__(self) -> None:
        self.book = OrderBook(GRID)
        self.plain = PlainBook()
        self.orders: dict[int, Order] = {}  # those that rest, by name
        self.names: dict[Order, int] = {}
        self.priority: dict[Order, int] = {}  # when it last came to the back of a queue
        self.wanted: Counter[Order] = Counter()  # contracts ever asked for
        self.canceled: Counter[Order] = Counter()
        self.published: Counter[tuple[Side, int]] = Counter()  # the book as the changes alone tell it
        self.digest = hashlib.blake2b()
        self.clock = count()
        self.done = 0

    def submit(self, order: Order) -> Execution:
        name, size = len(self.names), order.remaining
        terms = order.owner, order.time_in_force, order.self_trade, order.post_only
        slip = Slip(name, order.side == Side.YES, order.price, size, *terms)
        self.names[order], self.priority[order] = name, next(self.clock)
        met = self._met(order.side, order.price)
        execution = self._do(lambda: self.book.submit(order), self.plain.submit(slip), order, met)
        if execution.killed is not None:
            assert (order.remaining, order.filled, order.resting) == (size, 0, False)
            return execution
        self.wanted[order] = size
        return self._settle(execution, order)

    def amend(self, order: Order, price: Price, remaining: Size) -> Execution:
        kept = price == order.price and remaining <= order.remaining
        grows = remaining - order.remaining
        outcome = self.plain.amend(self.names[order], price, remaining)
        met = self._met(order.side, price)
        execution = self._do(lambda: self.book.amend(order, price, remaining), outcome, order, met)
        if execution.killed is None:
            self.wanted[order] += grows
            if not kept:
                self.priority[order] = next(self.clock)
        return self._settle(execution, order)

    def decrease(self, order: Order, remaining: Size) -> Execution:
        if remaining:
            self.wanted[order] -= order.remaining - remaining
        outcome = self.plain.decrease(self.names[order], remaining)
        return self._settle(self._do(lambda: self.book.decrease(order, remaining), outcome), order)

    def cancel(self, order: Order) -> Execution:
        outcome = self.plain.cancel(self.names[order])
        return self._settle(self._do(lambda: self.book.cancel(order), outcome), order)

    def cancel_all_of(self, owner: str) -> Execution:
        outcome = self.plain.cancel_where(lambda slip: slip.owner == owner, Reason.MARGIN)
        return self._settle(
            self._do(lambda: self.book.cancel_where(lambda order: order.owner == owner, Reason.MARGIN), outcome)
        )

    def _met(self, side: Side, price: Price) -> dict[Order, Size]:
        """Whom an order at this price would meet, and what they want."""
        other, own_price = Side(1 - side), price if side == Side.YES else DOLLAR - price
        reached = [level for level in self.book.prices(other) if level + own_price >= DOLLAR]
        return {order: order.remaining for level in reached for order in self.book.orders_at(other, level)}

    def _do(
        self,
        command: Callable[[], Execution],
        outcome: Outcome,
        order: Order | None = None,
        met: dict[Order, Size] | None = None,
    ) -> Execution:
        """Carry a command out and compare what came of it with the model's outcome."""
        execution = command()
        matches = [(self.names[maker], price, size) for maker, price, size in execution.matches]
        ended = [(self.names[other], size, reason) for other, size, reason in execution.ended]
        assert (matches, ended, execution.killed) == (outcome.trades, outcome.ended, outcome.killed)
        self.done += len(matches) + len(ended)
        self.digest.update(repr((matches, ended, execution.killed)).encode())
        if execution.killed is not None:
            assert not execution.changes
            assert all(other.remaining == size for other, size in (met or {}).items())
        elif execution.matches and order is not None and met is not None:
            self._check_priority(order, execution, met)
        return execution

    def _check_priority(self, order: Order, execution: Execution, met: dict[Order, Size]) -> None:
        """Nobody who waited at a better price, or longer at the same one, was passed over."""
        canceled = {other for other, _, _ in execution.ended}
        due = sorted(met, key=lambda other: (-other.own_price, self.priority[other]))
        due = [other for other in due if other not in canceled]
        makers = [maker for maker, _, _ in execution.matches]
        assert makers == due[: len(makers)]
        for maker, price, size in execution.matches:
            assert price == maker.price
            assert size == met[maker] or (maker is makers[-1] and 0 < size < met[maker])
        limits = [*(price for _, price, _ in execution.matches), order.price]
        assert limits == sorted(limits, reverse=order.side == Side.NO)

    def _settle(self, execution: Execution, order: Order | None = None) -> Execution:
        """Book what was done and check that it adds up."""
        for side, price, change, _ in execution.changes:
            assert change
            self.published[side, price] += change
        for ended, size, _ in execution.ended:
            assert size > 0
            self.canceled[ended] += size
        touched = {entry[3] for entry in execution.changes} | ({order} if order is not None else set())
        for other in touched:
            assert self.wanted[other] == other.filled + self.canceled[other] + other.remaining
            assert other.resting == (other.remaining > 0)
            if other.resting:
                self.orders[self.names[other]] = other
            else:
                self.orders.pop(self.names[other], None)
        for side, price, _, _ in execution.changes:
            assert self.book.size_at(side, Price(price)) == self.published[side, price] >= 0
        yes, no = self.book.best(Side.YES), self.book.best(Side.NO)
        assert yes is None or no is None or yes + no < DOLLAR, "crossed or locked"
        return execution

    def check_all(self) -> None:
        """Both books, order by order."""
        for side in Side:
            mine = [(self.names[order], order.price, order.remaining) for order in self.book.orders(side)]
            model = [(slip.name, slip.price, slip.left) for slip in self.plain.queue(buys=side == Side.YES)]
            assert mine == model
            levels = {p if side == Side.YES else DOLLAR - p: s for p, s in self.book.levels(side)}
            assert levels == self.plain.levels(buys=side == Side.YES)
            assert dict(self.book.levels(side)) == {p: s for (of, p), s in self.published.items() if of == side and s}
            assert list(self.book.prices(side)) == sorted({order.own_price for order in self.book.orders(side)})
            self._check_queues(side)
        assert set(self.orders) == set(self.plain.resting)

    def _check_queues(self, side: Side) -> None:
        queues: defaultdict[Price, list[Order]] = defaultdict(list)
        for order in self.book.orders(side):
            queues[order.own_price].append(order)
        for price, queue in queues.items():
            assert self.book.orders_at(side, price) == queue
            assert all(self.priority[one] < self.priority[next_] for one, next_ in pairwise(queue))
            ahead = 0
            for order in queue:
                assert self.book.ahead(order) == ahead
                ahead += order.remaining
            assert self.book.size_at(side, price) == ahead
            assert all(self.book.pick(side, price, share) in queue for share in (0.0, 0.3, 0.999))
            assert self.book.pick(side, price, 0.0) is queue[0]


SIDES = st.sampled_from(list(Side))
PRICES = st.sampled_from([Price(4800), Price(4900), Price(5000), Price(5100), Price(5200), Price(10), Price(9990)])
SIZES = st.one_of(st.integers(1, 500), st.sampled_from([100, 200]), st.integers(1, 2**50)).map(Size)


class EngineMachine(RuleBasedStateMachine):
    """Any sequence of commands at few prices, so that orders meet, levels empty and owners meet themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()

    @rule(
        side=SIDES,
        price=PRICES,
        size=SIZES,
        owner=st.sampled_from(OWNERS),
        time_in_force=st.sampled_from(TimeInForce),
        self_trade=st.sampled_from(SelfTrade),
        post_only=st.booleans(),
    )
    def submit(self, side: Side, price: Price, size: Size, **options: object) -> None:
        self.pair.submit(Order(side, price, size, **options))

    def resting(self, data: st.DataObject) -> Order:
        return self.pair.orders[data.draw(st.sampled_from(sorted(self.pair.orders)))]

    @precondition(lambda self: self.pair.orders)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.pair.cancel(self.resting(data))

    @precondition(lambda self: self.pair.orders)
    @rule(data=st.data())
    def decrease(self, data: st.DataObject) -> None:
        order = self.resting(data)
        self.pair.decrease(order, Size(data.draw(st.integers(0, order.remaining - 1))))

    @precondition(lambda self: self.pair.orders)
    @rule(data=st.data(), price=PRICES, size=SIZES)
    def amend(self, data: st.DataObject, price: Price, size: Size) -> None:
        self.pair.amend(self.resting(data), price, size)

    @rule(owner=st.sampled_from(OWNERS[1:]))
    def cancel_all_of(self, owner: str) -> None:
        self.pair.cancel_all_of(owner)

    @invariant()
    def agree(self) -> None:
        self.pair.check_all()


EngineMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestEngine = EngineMachine.TestCase


class Crowd:
    """A random stream of commands of several owners around a mid that wanders; the same for a seed."""

    def __init__(self, seed: int, pair: Pair) -> None:
        self.rng, self.pair = random.Random(seed), pair
        self.mid = 5000
        self.submitted = 0

    def run(self, orders: int, check_every: int) -> None:
        while self.submitted < orders:
            for _ in range(check_every):
                self.step()
            self.pair.check_all()

    def step(self) -> None:
        rng, pair = self.rng, self.pair
        draw = rng.random() if pair.orders else 0.0
        if draw < 0.6:
            self.submitted += 1
            pair.submit(self.order())
        elif draw > 0.9998:
            pair.cancel_all_of(rng.choice(OWNERS[1:]))
        else:
            order = pair.orders[rng.choice(self.names())]
            if draw < 0.75:
                pair.cancel(order)
            elif draw < 0.80:
                pair.decrease(order, Size(rng.randrange(order.remaining)))
            else:
                price = order.price if rng.random() < 0.4 else self.price(order.side)
                pair.amend(order, price, Size(max(1, order.remaining + rng.choice((-50, 0, 0, 0, 50)))))

    def names(self) -> list[int]:
        """Of resting orders: the 200 newest, so that old ones stay and queues grow; any where there are many."""
        names = list(self.pair.orders)
        return names if len(names) > 1_000 else names[-200:]

    def order(self) -> Order:
        rng = self.rng
        side = Side(rng.randrange(2))
        return Order(
            side,
            self.price(side),
            Size(rng.choice((1, 100, 100, 250, rng.randint(1, 2_000)))),
            owner=rng.choice(OWNERS),
            time_in_force=rng.choices(list(TimeInForce), (8, 1, 1))[0],
            self_trade=rng.choice(list(SelfTrade)),
            post_only=rng.random() < 0.1,
        )

    def price(self, side: Side) -> Price:
        """A little behind the mid, one in eight beyond it."""
        rng = self.rng
        if rng.random() < 0.02:
            self.mid = min(9000, max(1000, self.mid + rng.choice((-100, 100))))
        distance = 100 * min(8, int(rng.expovariate(0.5))) + 50 - (400 if rng.random() < 0.13 else 0)
        return Price(self.mid + 50 - distance if side == Side.YES else self.mid + 50 + distance)


@pytest.mark.parametrize("orders", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_orders_of_several_owners(orders: int) -> None:
    pair = Pair()
    Crowd(seed=20261122, pair=pair).run(orders=orders, check_every=2_000)
    wanted, filled = sum(pair.wanted.values()), sum(order.filled for order in pair.names)
    resting = sum(order.remaining for order in pair.orders.values())
    assert len(pair.names) >= orders
    assert wanted == filled + sum(pair.canceled.values()) + resting
    assert pair.done > orders / 2  # matches and ends


def test_the_same_stream_has_the_same_result() -> None:
    digests = set()
    for seed in (1, 1, 2):
        pair = Pair()
        Crowd(seed, pair).run(orders=2_000, check_every=2_000)
        digests.add(pair.digest.hexdigest())
    assert len(digests) == 2
