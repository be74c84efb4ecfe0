"""Own orders beside a public book that others move: each rule by hand, and against a real queue in which we wait."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.errors import Unrepresentable
from kflow.exchange.market import Venue
from kflow.exchange.matching import OrderBook
from kflow.exchange.messages import LIFECYCLE, Message
from kflow.exchange.orders import Execution, Kill, Order, Reason, SelfTrade, TimeInForce
from kflow.exchange.shadow import ShadowBook
from kflow.exchange.writer import Writer
from kflow.market.events import Level, Side
from kflow.testing.venue import MARKET, listing
from kflow.units import DOLLAR, Price, Size, complement

YES, NO = Side.YES, Side.NO
# YES bids 42 to 44 cents, YES asks 46 to 48, 100 contracts each.
BIDS = ((4200, 10_000), (4300, 10_000), (4400, 10_000))
ASKS = ((5200, 10_000), (5300, 10_000), (5400, 10_000))


class Stage:
    """A published book, messages by hand, and the shadow that follows them."""

    def __init__(
        self, yes: Sequence[tuple[int, int]] = BIDS, no: Sequence[tuple[int, int]] = ASKS, *, begun: bool = True
    ) -> None:
        self.venue = Venue()
        self.listing = listing()
        self.venue.list_markets([self.listing])
        self.writer = Writer(self.listing, self.venue.style)
        self.state = self.venue.markets[MARKET]
        self.us = self.listing.open_us
        self.shadow = ShadowBook(self.state)
        if begun:
            self.snapshot(yes, no)

    def publish(self, *messages: Message) -> list[tuple[Order, int, int]]:
        """A batch is in the public book before the shadow sees any of it, as in the hub."""
        self.venue.apply(messages)
        found = [self.shadow.observe(message) for message in messages]
        return [match for execution in found if execution is not None for match in execution.matches]

    def later(self) -> int:
        self.us += 5000
        return self.us

    def delta(self, side: Side, price: int, change: int) -> Message:
        """In the same millisecond as whatever came last."""
        return self.writer.deltas([(side, price, change)], self.us)[0]

    def trade(self, price: int, size: int, bought: int) -> Message:
        """`price` of YES; `bought`: by the taker."""
        return self.writer.trade("t", (price, size, bought), self.us)

    def change(self, side: Side, price: int, change: int) -> list[tuple[Order, int, int]]:
        self.later()
        return self.publish(self.delta(side, price, change))

    def sold(self, price: int, size: int) -> list[tuple[Order, int, int]]:
        """Somebody sells YES into the bids: the trade alone."""
        self.later()
        return self.publish(self.trade(price, size, NO))

    def snapshot(self, yes: Sequence[tuple[int, int]], no: Sequence[tuple[int, int]]) -> list[tuple[Order, int, int]]:
        return self.publish(self.writer.snapshot((levels(yes), levels(no)), self.later()))

    def order(self, side: Side, price: int, size: int, owner: object = "me", **terms: object) -> Order:
        return Order(side, Price(price), Size(size), owner=owner, **terms)  # type: ignore[arg-type]

    def rest(self, side: Side, price: int, size: int, owner: object = "me") -> Order:
        order = self.order(side, price, size, owner)
        assert self.shadow.submit(order).matches == []
        return order


def levels(pairs: Sequence[tuple[int, int]]) -> tuple[Level, ...]:
    return tuple((Price(price), Size(size)) for price, size in pairs)


def sizes(execution: Execution) -> list[tuple[int, int]]:
    return [(price, size) for _, price, size in execution.matches]


# Taking.


def test_a_crossing_order_takes_what_is_shown_best_price_first() -> None:
    stage = Stage()
    order = stage.order(YES, 4700, 25_000)
    execution = stage.shadow.submit(order)
    assert sizes(execution) == [(4600, 10_000), (4700, 10_000)]
    assert execution.changes == []
    assert (order.filled, order.remaining, order.resting) == (20_000, 5000, True)
    makers = [maker for maker, _, _ in execution.matches]
    assert all(type(maker) is Order and maker.owner is None and maker.side == NO for maker in makers)
    assert stage.state.book.size_at(NO, Price(5400)) == 10_000  # the public book is as it was


def test_what_was_taken_stays_taken_until_the_level_grows_and_then_only_its_growth_is_there() -> None:
    stage = Stage()
    assert sizes(stage.shadow.submit(stage.order(YES, 4600, 6000))) == [(4600, 6000)]
    ioc = {"time_in_force": TimeInForce.IOC}
    assert sizes(stage.shadow.submit(stage.order(YES, 4600, 9000, **ioc))) == [(4600, 4000)]
    assert stage.shadow.submit(stage.order(YES, 4600, 1000, **ioc)).ended[0][2] is Reason.CANCEL
    stage.change(NO, 5400, 700)
    assert sizes(stage.shadow.submit(stage.order(YES, 4600, 9000, **ioc))) == [(4600, 700)]


def test_a_level_that_shrinks_leaves_what_was_taken_for_last() -> None:
    stage = Stage()
    stage.shadow.submit(stage.order(YES, 4600, 6000))
    stage.change(NO, 5400, -7000)
    fok = stage.order(YES, 4600, 1, time_in_force=TimeInForce.FOK)
    assert stage.shadow.submit(fok).killed is Kill.FILL_OR_KILL
    stage.change(NO, 5400, -3000)
    stage.change(NO, 5400, 2000)  # a new level
    assert sizes(stage.shadow.submit(stage.order(YES, 4600, 3000))) == [(4600, 2000)]


def test_a_level_published_anew_with_another_size_is_whole_again() -> None:
    stage = Stage()
    stage.shadow.submit(stage.order(YES, 4600, 6000))
    stage.rest(YES, 4000, 100)  # somebody waits: everything is observed
    stage.snapshot(BIDS, ASKS)
    ioc = {"time_in_force": TimeInForce.IOC}
    assert sizes(stage.shadow.submit(stage.order(YES, 4600, 9000, **ioc))) == [(4600, 4000)]  # no news
    stage.snapshot(BIDS, (*ASKS[:2], (5400, 9900)))
    assert sizes(stage.shadow.submit(stage.order(YES, 4600, 20_000, **ioc))) == [(4600, 9900)]


def test_post_only_and_fill_or_kill_change_nothing_when_killed() -> None:
    stage = Stage()
    post = stage.order(YES, 4600, 100, post_only=True)
    assert stage.shadow.submit(post).killed is Kill.POST_ONLY_CROSS
    fok = stage.order(YES, 4700, 20_001, time_in_force=TimeInForce.FOK)
    assert stage.shadow.submit(fok).killed is Kill.FILL_OR_KILL
    assert (post.filled, fok.filled, stage.shadow.resting) == (0, 0, False)
    fok = stage.order(YES, 4700, 20_000, time_in_force=TimeInForce.FOK)
    assert stage.shadow.submit(fok).matched == 20_000
    # All that crosses is taken by us: nothing is left to cross.
    assert stage.shadow.submit(stage.order(YES, 4700, 100, post_only=True)).killed is None


# Waiting.


def test_a_trade_at_our_price_eats_what_is_ahead_first() -> None:
    stage = Stage()
    order = stage.rest(YES, 4400, 3000)
    assert stage.shadow.ahead(order) == 10_000
    assert stage.sold(4400, 9000) == []
    assert stage.shadow.ahead(order) == 1000
    assert stage.sold(4400, 2500) == [(order, 4400, 1500)]
    assert stage.sold(4400, 5000) == [(order, 4400, 1500)]
    assert (order.filled, order.remaining, order.resting, stage.shadow.resting) == (3000, 0, False, False)


def test_a_trade_of_the_other_side_at_our_price_is_not_ours() -> None:
    stage = Stage()
    order = stage.rest(YES, 4500, 3000)
    stage.later()
    assert stage.publish(stage.trade(4500, 5000, YES)) == []
    assert stage.publish(stage.trade(4500, 5000, -1)) == [(order, 4500, 3000)]  # a recording that does not say which


def test_a_block_trade_is_made_beside_the_book() -> None:
    stage = Stage()
    order = stage.rest(YES, 4400, 3000)
    stage.later()
    block = stage.trade(4300, 50_000, NO)
    block = msgspec.structs.replace(block, body=block.body.replace('_trade":false', '_trade":true'))
    assert stage.publish(block) == []
    assert stage.shadow.ahead(order) == 10_000


def test_a_trade_through_our_price_fills_us_up_to_its_size_at_our_price() -> None:
    stage = Stage()
    best, second = stage.rest(YES, 4500, 1000), stage.rest(YES, 4400, 3000)
    assert stage.sold(4300, 2500) == [(best, 4500, 1000), (second, 4400, 1500)]
    ask = stage.rest(NO, 4600, 500)
    stage.later()
    assert stage.publish(stage.trade(4700, 800, YES)) == [(ask, 4600, 500)]


def test_a_bid_of_the_other_side_that_crosses_us_fills_us_and_is_gone_by_as_much() -> None:
    stage = Stage()
    order = stage.rest(YES, 4500, 3000)
    assert stage.change(NO, 5500, 2000) == [(order, 4500, 2000)]
    ioc = stage.order(YES, 4500, 9000, "other", time_in_force=TimeInForce.IOC)
    assert stage.shadow.submit(ioc).matches == []
    assert stage.change(NO, 5500, 5000) == [(order, 4500, 1000)]
    ioc = stage.order(YES, 4500, 9000, "other", time_in_force=TimeInForce.IOC)
    assert sizes(stage.shadow.submit(ioc)) == [(4500, 4000)]


def test_a_level_shrinks_what_is_ahead_only_as_far_as_it_must() -> None:
    stage = Stage()
    stage.change(YES, 4400, -6000)
    order = stage.rest(YES, 4400, 1000)
    stage.change(YES, 4400, 5000)
    stage.change(YES, 4400, -4000)
    assert stage.shadow.ahead(order) == 4000
    stage.change(YES, 4400, -3000)
    assert stage.shadow.ahead(order) == 2000
    stage.change(YES, 4400, 5000)
    assert stage.shadow.ahead(order) == 2000  # who comes later is behind


@pytest.mark.parametrize("trade_first", [True, False])
@pytest.mark.parametrize("behind", [0, 2000, 20_000])
def test_a_trade_and_its_change_count_once_in_either_order(trade_first: bool, behind: int) -> None:
    stage = Stage()
    order = stage.rest(YES, 4400, 1000)
    if behind:
        stage.change(YES, 4400, behind)
    for traded, canceled in ((3000, 0), (2000, 1000), (3500, 0)):
        stage.later()
        pair = [stage.trade(4400, traded, NO), stage.delta(YES, 4400, -traded)]
        if not trade_first:
            pair.reverse()
        stage.publish(*pair, *([stage.delta(YES, 4400, -canceled)] if canceled else []))
    # 8,500 traded of 10,000 ahead; the 1,000 that went otherwise were ahead only as far as nobody was behind.
    assert stage.shadow.ahead(order) == min(1500, 500 + behind)


def test_a_change_explains_no_trade_of_another_millisecond() -> None:
    stage = Stage()
    order = stage.rest(YES, 4400, 1000)
    stage.change(YES, 4400, -3000)
    assert stage.shadow.ahead(order) == 7000
    stage.sold(4400, 3000)
    assert stage.shadow.ahead(order) == 4000


def test_a_trade_from_before_an_order_came_eats_nothing_ahead_of_it() -> None:
    """Its change was out, then the order joined what was left; the trade is told last."""
    stage = Stage()
    first = stage.rest(YES, 4400, 1000)
    stage.change(YES, 4400, -3000)
    second = stage.rest(YES, 4400, 1000)
    stage.publish(stage.trade(4400, 3000, NO))
    assert (stage.shadow.ahead(first), stage.shadow.ahead(second)) == (7000, 8000)
    third = stage.rest(YES, 4400, 1000)  # by now all is accounted for
    stage.publish(stage.trade(4400, 2000, NO))
    assert [stage.shadow.ahead(order) for order in (first, second, third)] == [5000, 6000, 7000]


def test_a_batch_is_seen_message_by_message() -> None:
    stage = Stage()
    order = stage.rest(YES, 4400, 1000)
    stage.later()
    stage.publish(stage.delta(YES, 4400, -7000), stage.delta(YES, 4400, 7000))
    assert stage.shadow.ahead(order) == 3000


def test_own_orders_wait_in_order_of_arrival() -> None:
    stage = Stage()
    first = stage.rest(YES, 4400, 1000, "a")
    stage.change(YES, 4400, 500)
    second = stage.rest(YES, 4400, 2000, "b")
    assert (stage.shadow.ahead(first), stage.shadow.ahead(second)) == (10_000, 11_500)
    assert stage.sold(4400, 11_200) == [(first, 4400, 1000)]
    assert stage.shadow.ahead(second) == 300
    assert stage.sold(4400, 400) == [(second, 4400, 100)]


def test_a_snapshot_that_differs_ends_what_is_known_of_a_queue() -> None:
    stage = Stage()
    order = stage.rest(YES, 4400, 1000)
    stage.sold(4400, 9000)
    stage.snapshot(BIDS, ASKS)
    assert stage.shadow.ahead(order) == 1000  # nothing new
    stage.snapshot(((4400, 8000),), ASKS)
    assert stage.shadow.ahead(order) == 8000
    stage.snapshot((), ())  # the close
    assert stage.shadow.ahead(order) == 0
    assert stage.snapshot((), ((5600, 400),)) == [(order, 4400, 400)]  # it crosses us


def test_a_snapshot_gives_back_what_we_took_only_where_it_brings_news() -> None:
    stage = Stage()
    order = stage.order(YES, 4600, 15_000)
    assert stage.shadow.submit(order).matched == 10_000
    assert stage.snapshot(BIDS, ASKS) == []
    assert stage.snapshot(BIDS, (*ASKS[:2], (5400, 9900))) == [(order, 4600, 5000)]


def test_orders_from_before_the_first_snapshot_are_behind_it() -> None:
    stage = Stage(begun=False)
    bid, ask = stage.rest(YES, 4400, 1000), stage.rest(NO, 4600, 1000)
    assert stage.snapshot(BIDS, ASKS) == []
    assert (stage.shadow.ahead(bid), stage.shadow.ahead(ask)) == (10_000, 10_000)


def test_what_concerns_no_book_and_no_trade_is_passed_over() -> None:
    stage = Stage()
    stage.rest(YES, 4400, 1000)
    assert stage.shadow.observe(Message(LIFECYCLE, LIFECYCLE, MARKET, "{}")) is None


# Own orders among themselves.


def test_own_orders_meet_in_their_place_among_the_public_ones() -> None:
    stage = Stage()
    own = stage.rest(YES, 4400, 1000, "a")
    stage.change(YES, 4400, 5000)
    execution = stage.shadow.submit(stage.order(NO, 4400, 12_000, "b"))
    assert [(maker is own, size) for maker, _, size in execution.matches] == [
        (False, 10_000),
        (True, 1000),
        (False, 1000),
    ]
    assert not own.resting


def test_what_own_orders_take_was_ahead_and_nobody_joins_before_an_earlier_one() -> None:
    stage = Stage()
    first = stage.rest(YES, 4400, 1000, "a")
    stage.shadow.submit(stage.order(NO, 4400, 4000, "b"))
    assert stage.shadow.ahead(first) == 6000
    # Whom the change concerned is not known: perhaps those whom we took, perhaps not.
    stage.change(YES, 4400, -3000)
    assert stage.shadow.ahead(first) == 6000
    second = stage.rest(YES, 4400, 1000, "c")
    assert stage.shadow.ahead(second) == 7000
    assert sizes(stage.shadow.submit(stage.order(NO, 4400, 9000, "d"))) == [(4400, 3000), (4400, 1000), (4400, 1000)]


@pytest.mark.parametrize("mode", list(SelfTrade))
def test_own_orders_of_one_account_never_trade(mode: SelfTrade) -> None:
    stage = Stage()
    own = stage.rest(YES, 4500, 1000, "a")
    taker = stage.order(NO, 4400, 3000, "a", self_trade=mode)
    execution = stage.shadow.submit(taker)
    if mode is SelfTrade.TAKER:
        assert execution.matches == []
        assert execution.ended == [(taker, 3000, Reason.SELF_TRADE)]
        assert own.resting
    else:
        assert execution.ended == [(own, 1000, Reason.SELF_TRADE)]
        assert sizes(execution) == [(4400, 3000)]


# Changing orders.


def test_amending_keeps_the_place_only_where_it_merely_shrinks() -> None:
    stage = Stage()
    order = stage.rest(YES, 4400, 2000)
    stage.sold(4400, 4000)
    stage.change(YES, 4400, 500)
    stage.shadow.amend(order, Price(4400), Size(1500))
    assert (order.remaining, stage.shadow.ahead(order)) == (1500, 6000)
    stage.shadow.decrease(order, Size(1000))
    assert stage.shadow.ahead(order) == 6000
    stage.shadow.amend(order, Price(4400), Size(3000))
    assert stage.shadow.ahead(order) == 10_500
    execution = stage.shadow.amend(order, Price(4600), Size(3000))
    assert (sizes(execution), order.resting) == ([(4600, 3000)], False)


def test_cancels() -> None:
    stage = Stage()
    orders = [stage.rest(YES, price, 1000, owner) for price, owner in ((4300, "a"), (4400, "a"), (4400, "b"))]
    execution = stage.shadow.cancel_where(lambda order: order.owner == "a", Reason.CLOSE)
    assert execution.ended == [(orders[1], 1000, Reason.CLOSE), (orders[0], 1000, Reason.CLOSE)]
    assert stage.shadow.decrease(orders[2], Size(0)).ended == [(orders[2], 1000, Reason.DECREASE)]
    assert not stage.shadow.resting
    assert stage.sold(4200, 50_000) == []


def test_what_cannot_be_is_refused() -> None:
    stage = Stage()
    order = stage.rest(YES, 4400, 1000)
    for wrong in (order, stage.order(YES, 4450, 100), stage.order(YES, 4400, 0)):
        with pytest.raises(Unrepresentable):
            stage.shadow.submit(wrong)
    gone = stage.order(YES, 4400, 100)
    for command in (stage.shadow.cancel, stage.shadow.ahead):
        with pytest.raises(Unrepresentable):
            command(gone)
    with pytest.raises(Unrepresentable):
        stage.shadow.decrease(order, Size(1000))
    with pytest.raises(Unrepresentable):
        stage.shadow.amend(order, Price(4450), Size(100))


# Against a real queue in which we wait.


class Worlds:
    """One stream of public orders in two engines: without our order, which is what is published, and with it."""

    def __init__(self, seed: int, *, cancels: bool) -> None:
        self.random = random.Random(seed)
        self.cancels = cancels
        self.stage = Stage(begun=False)
        self.books = (OrderBook(self.stage.listing.grid), OrderBook(self.stage.listing.grid))
        self.public: list[tuple[Order, Order]] = []
        for _ in range(40):
            self.come(self.random.choice(list(Side)), self.random.randint(1, 48) * 100)
        self.stage.snapshot(self.books[0].levels(YES), self.books[0].levels(NO))

    def come(self, side: Side, own_price: int) -> Execution:
        size = Size(self.random.randint(1, 40) * 25)
        price = Price(own_price) if side == YES else complement(Price(own_price))
        pair = (Order(side, price, size), Order(side, price, size))
        executions = [book.submit(order) for book, order in zip(self.books, pair, strict=True)]
        self.public.append(pair)
        return executions[0]

    def step(self) -> None:
        """A public order comes, from far behind to well across, or one goes. Then the shadow hears of it."""
        resting = [pair for pair in self.public if pair[0].resting and pair[1].resting]
        if self.cancels and resting and self.random.random() < 0.45:
            pair = self.random.choice(resting)
            execution = self.books[0].cancel(pair[0])
            self.books[1].cancel(pair[1])
        else:
            side = self.random.choice(list(Side))
            best = self.books[0].best(Side(1 - side))
            middle = DOLLAR - (best or Price(5000))
            execution = self.come(side, min(max(middle // 100 + self.random.randint(-8, 3), 1), 99) * 100)
        self.tell(execution)

    def tell(self, execution: Execution) -> None:
        """Changes in their order and trades in theirs; how the two channels mix is anybody's guess."""
        us = self.stage.later()
        changes = self.stage.writer.changes(execution.changes, us)
        trades = [self.stage.trade(price, size, 1 - maker.side) for maker, price, size in execution.matches]
        mixed: list[Message] = []
        while changes or trades:
            source = self.random.choice([queue for queue in (changes, trades) if queue])
            mixed.append(source.pop(0))
        self.stage.publish(*mixed)

    def our_orders(self) -> tuple[Order, Order]:
        """Ours in the shadow, and in the engine in which it is a real order."""
        side = self.random.choice(list(Side))
        own_price = Price((self.books[0].best(side) or 4000) - 100 * self.random.randint(-1, 2))
        own_price = max(own_price, Price(100))
        if (self.books[0].best(Side(1 - side)) or 0) + own_price >= DOLLAR:
            own_price = Price(own_price - 100)
        price = own_price if side == YES else complement(own_price)
        size = Size(self.random.randint(1, 20) * 25)
        shadow, real = Order(side, price, size, owner="me"), Order(side, price, size, owner="me")
        self.stage.shadow.submit(shadow)
        self.books[1].submit(real)
        return shadow, real


def test_without_cancellations_we_fill_exactly_when_a_real_order_would() -> None:
    """Up to the first fill both worlds are one; behind it they part, since what we took others did not get."""
    fills = 0
    for seed in range(300):
        worlds = Worlds(seed, cancels=False)
        shadow, real = worlds.our_orders()
        for _ in range(120):
            worlds.step()
            if shadow.filled or real.filled:
                fills += 1
                break
            assert worlds.stage.shadow.ahead(shadow) == worlds.books[1].ahead(real), seed
        assert shadow.filled == real.filled, seed
    assert fills > 150


def test_with_cancellations_we_never_fill_before_a_real_order_would() -> None:
    fills = late = 0
    for seed in range(300):
        worlds = Worlds(seed, cancels=True)
        shadow, real = worlds.our_orders()
        for _ in range(200):
            worlds.step()
            assert shadow.filled <= real.filled, seed
            if real.filled:
                fills += 1
                late += shadow.filled < real.filled
                break
            assert worlds.stage.shadow.ahead(shadow) >= worlds.books[1].ahead(real), seed
    assert fills > 200
    assert late < fills  # pessimistic, yet no stone


# Whatever happens.

PRICES = st.sampled_from([4200, 4300, 4400, 4500, 4600, 4700])  # of YES
SIZES = st.integers(1, 60).map(lambda number: number * 50)
SIDES = st.sampled_from([YES, NO])
ACTION = st.one_of(
    st.tuples(st.just("change"), SIDES, PRICES, st.integers(-60, 60).map(lambda number: number * 50)),
    st.tuples(st.just("trade"), SIDES, PRICES, SIZES),
    st.tuples(st.just("snapshot"), SIDES, PRICES, SIZES),
    st.tuples(st.just("rest"), SIDES, PRICES, SIZES),
    st.tuples(st.just("take"), SIDES, PRICES, SIZES),
    st.tuples(st.just("cancel"), SIDES, PRICES, SIZES),
)


class Watch:
    """Carries actions out and checks after each what must hold."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.orders: list[Order] = []
        self.wanted: dict[Order, int] = {}
        # By side and own price: public contracts shown since the level was last published anew, and those we took.
        self.shown = {(side, price): size for side, levels in ((YES, BIDS), (NO, ASKS)) for price, size in levels}
        self.log: list[tuple[int, int]] = []

    def act(self, kind: str, side: Side, price: int, size: int) -> None:
        own_price = price if side == YES else DOLLAR - price
        resting = [order for order in self.orders if order.resting]
        if kind == "change":
            size = max(size, -self.stage.state.book.size_at(side, Price(own_price)))
            self.shown[side, own_price] = self.shown.get((side, own_price), 0) + max(size, 0)
            self.passive(self.stage.change(side, own_price, size))
        elif kind == "trade":
            self.stage.later()
            self.passive(self.stage.publish(self.stage.trade(price, size, side)), most=size)
        elif kind == "snapshot":
            bids, asks = ((own_price, size),) if side == YES else (), ((own_price, size),) if side == NO else ()
            before = {key: self.stage.state.book.size_at(key[0], Price(key[1])) for key in self.shown}
            for key, known in before.items():
                if known != (size if key == (side, own_price) else 0):
                    self.shown[key] = 0
            if before.get((side, own_price)) != size:
                self.shown[side, own_price] = size
            self.passive(self.stage.snapshot(bids, asks))
        elif kind == "cancel" and resting:
            self.stage.shadow.cancel(resting[size % len(resting)])
        elif kind in ("rest", "take"):
            self.submit(side, price, size, TimeInForce.GTC if kind == "rest" else TimeInForce.IOC)
        assert self.stage.shadow.resting == any(order.resting for order in self.orders)

    def submit(self, side: Side, price: int, size: int, tif: TimeInForce) -> None:
        order = self.stage.order(side, price, size, f"owner {len(self.orders)}", time_in_force=tif)
        book, other = self.stage.state.book, Side(1 - side)
        self.orders.append(order)
        self.wanted[order] = size
        execution = self.stage.shadow.submit(order)
        prices = [match[1] for match in execution.matches]
        assert prices == sorted(prices, reverse=side == NO)
        for maker, at, matched in execution.matches:
            assert (at <= price) if side == YES else (at >= price)
            if maker.owner is None:
                own_price = at if other == YES else DOLLAR - at
                assert matched <= book.size_at(other, Price(own_price))
                self.take(other, own_price, matched)
            self.log.append((at, matched))
        if order.resting or prices:
            worst = price if order.resting else prices[-1]
            reach = DOLLAR - (worst if side == YES else DOLLAR - worst)
            left = [at for at in range(100, DOLLAR, 100) if at > reach and self.stage.shadow._queue(other, Price(at))]
            assert not left, "passed over a better price"
        lost = sum(size for ended, size, _ in execution.ended if ended is order)
        assert order.filled + order.remaining + lost == size

    def take(self, side: Side, own_price: int, size: int) -> None:
        self.shown[side, own_price] -= size
        assert self.shown[side, own_price] >= 0, "more than was ever shown"

    def passive(self, matches: list[tuple[Order, int, int]], most: int | None = None) -> None:
        """Fills by what was published: at our own prices, best and earliest first."""
        for order, at, size in matches:
            assert at == order.price
            self.log.append((at, size))
            assert order.filled <= self.wanted[order]
            better = [
                other
                for other in self.orders
                if other is not order
                and other.resting
                and other.side == order.side
                and (other.own_price, -self.orders.index(other)) > (order.own_price, -self.orders.index(order))
            ]
            assert not better, "filled before one that comes first"
        if most is not None:
            assert sum(size for _, _, size in matches) <= most


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTION, max_size=40))
def test_whatever_happens(actions: list[tuple[str, Side, int, int]]) -> None:
    """Never more than was shown, never past a better price or an earlier order; and the same again."""
    watches = (Watch(), Watch())
    for watch in watches:
        for action in actions:
            watch.act(*action)
    assert watches[0].log == watches[1].log


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTION.filter(lambda action: action[0] in ("change", "trade")), max_size=40), SIZES)
def test_a_longer_queue_never_fills_earlier(actions: list[tuple[str, Side, int, int]], more: int) -> None:
    """The same messages, the same order; but more contracts were there before it, and stay."""
    filled = []
    for extra in (0, more):
        stage = Stage(yes=((4400, 5000),), no=())
        late = stage.rest(YES, 4400, 2000) if not extra else None
        if extra:
            stage.change(YES, 4400, extra)
            late = stage.rest(YES, 4400, 2000)
        assert late is not None
        history = []
        for kind, side, price, size in actions:
            own_price = price if side == YES else DOLLAR - price
            size = max(size, -stage.state.book.size_at(side, Price(own_price)) + (extra if own_price == 4400 else 0))
            if kind == "trade":
                stage.later()
                stage.publish(stage.trade(price, size, side))
            else:
                stage.change(side, own_price, size)
            history.append(late.filled)
        filled.append(history)
    assert all(longer <= shorter for shorter, longer in zip(*filled, strict=True))
