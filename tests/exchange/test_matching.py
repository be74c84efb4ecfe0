"""What the engine promises, one sentence a test. Prices in cents of YES, sizes in whole contracts, unless said."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from kflow.errors import Unrepresentable
from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Kill, Order, Reason, SelfTrade, TimeInForce
from kflow.market.events import Side
from kflow.market.grid import Grid
from kflow.units import CONTRACT, DOLLAR, Price, Size

YES, NO = Side.YES, Side.NO
CENT = 100


def price(cents: float) -> Price:
    return Price(round(cents * CENT))


def size(contracts: float) -> Size:
    return Size(round(contracts * CONTRACT))


def bid(contracts: float, cents: float, **terms: object) -> Order:
    return Order(YES, price(cents), size(contracts), **terms)


def ask(contracts: float, cents: float, **terms: object) -> Order:
    return Order(NO, price(cents), size(contracts), **terms)


@pytest.fixture
def book() -> OrderBook:
    return OrderBook(Grid.named("linear_cent"))


@pytest.fixture
def rest(book: OrderBook) -> Callable[[Order], Order]:
    """Submit an order that is meant to rest."""

    def submit(order: Order) -> Order:
        assert not book.submit(order).matches
        assert order.resting
        return order

    return submit


Rest = Callable[[Order], Order]


def contents(book: OrderBook) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Bids and asks, best first, as (price, size) of each order."""
    bids, asks = [[(order.price, order.remaining) for order in book.orders(side)] for side in Side]
    return bids, asks


# Resting and reading.


def test_an_order_that_meets_nobody_rests(book: OrderBook) -> None:
    order = bid(10, 40)
    execution = book.submit(order)
    assert execution.changes == [(YES, 4000, 1000, order)]
    assert (execution.matches, execution.ended, execution.killed, execution.matched) == ([], [], None, 0)
    assert (order.resting, order.remaining, order.filled) == (True, 1000, 0)
    assert book.best(YES) == 4000
    assert book.best(NO) is None


def test_an_ask_is_shown_as_a_no_bid_at_the_complement(book: OrderBook, rest: Rest) -> None:
    order = rest(ask(10, 42))
    assert order.own_price == 5800
    assert book.best(NO) == 5800
    assert book.levels(NO) == ((5800, 1000),)


def test_levels_ascend_and_orders_come_best_first(book: OrderBook, rest: Rest) -> None:
    for contracts, cents in ((1, 40), (2, 42), (3, 41), (4, 42)):
        rest(bid(contracts, cents))
    assert book.levels(YES) == ((4000, 100), (4100, 300), (4200, 600))
    assert book.prices(YES) == [4000, 4100, 4200]
    assert [order.remaining for order in book.orders(YES)] == [200, 400, 300, 100]
    assert [order.remaining for order in book.orders_at(YES, price(42))] == [200, 400]
    assert book.size_at(YES, price(42)) == 600
    assert book.orders_at(YES, price(1)) == []
    assert book.size_at(YES, price(1)) == 0
    assert book.levels(NO) == ()


def test_ahead_counts_what_trades_before_an_order_at_its_price(book: OrderBook, rest: Rest) -> None:
    first, second, third = rest(bid(5, 40)), rest(bid(7, 40)), rest(bid(1, 40))
    rest(bid(100, 41))  # a better price is not the same queue
    assert [book.ahead(order) for order in (first, second, third)] == [0, 500, 1200]
    book.cancel(second)
    assert book.ahead(third) == 500
    with pytest.raises(Unrepresentable, match="rests in this book"):
        book.ahead(second)


def test_pick_names_an_order_by_its_share_of_the_queue(book: OrderBook, rest: Rest) -> None:
    queue = [rest(bid(1, 40)) for _ in range(10)]
    assert [book.pick(YES, price(40), share) for share in (0.0, 0.55, 0.999)] == [queue[0], queue[5], queue[9]]
    assert book.pick(YES, price(41), 0.5) is None
    for order in queue[1:6]:
        book.cancel(order)
    rest_of_them = [queue[0], *queue[6:]]
    assert [book.pick(YES, price(40), (place + 0.5) / 5) for place in range(5)] == rest_of_them


def test_orders_may_leave_while_they_are_read(book: OrderBook, rest: Rest) -> None:
    queue = [rest(bid(1, cents)) for cents in (42, 42, 41, 40)]
    assert [order for order in book.orders(YES) if book.cancel(order)] == queue
    assert contents(book) == ([], [])


# Price, then time.


def test_the_better_price_trades_first(book: OrderBook, rest: Rest) -> None:
    worse, better = rest(ask(10, 42)), rest(ask(10, 41))
    execution = book.submit(bid(15, 50))
    assert execution.matches == [(better, 4100, 1000), (worse, 4200, 500)]


def test_at_one_price_the_earlier_trades_first(book: OrderBook, rest: Rest) -> None:
    first, second = rest(bid(10, 40)), rest(bid(10, 40))
    execution = book.submit(ask(15, 40))
    assert execution.matches == [(first, 4000, 1000), (second, 4000, 500)]
    assert (first.resting, second.resting, second.remaining, second.filled) == (False, True, 500, 500)


def test_a_trade_is_at_the_resting_price_and_the_better_terms_are_the_takers(book: OrderBook, rest: Rest) -> None:
    maker = rest(bid(10, 60))
    assert book.submit(ask(10, 30)).matches == [(maker, 6000, 1000)]


def test_equal_prices_trade_and_a_tick_apart_they_do_not(book: OrderBook, rest: Rest) -> None:
    rest(ask(1, 50))
    assert not book.submit(bid(1, 49)).matches
    assert book.submit(bid(1, 50)).matches


def test_each_maker_that_is_touched_is_one_change(book: OrderBook, rest: Rest) -> None:
    first, second = rest(ask(10, 42)), rest(ask(10, 42))
    taker = bid(12, 42)
    assert book.submit(taker).changes == [(NO, 5800, -1000, first), (NO, 5800, -200, second)]
    assert (taker.filled, taker.remaining, taker.resting) == (1200, 0, False)


def test_what_a_taker_has_left_rests_at_its_own_price(book: OrderBook, rest: Rest) -> None:
    maker = rest(ask(10, 42))
    taker = bid(25, 43)
    execution = book.submit(taker)
    assert execution.changes == [(NO, 5800, -1000, maker), (YES, 4300, 1500, taker)]
    assert execution.matched == 1000
    assert contents(book) == ([(4300, 1500)], [])


def test_a_fill_keeps_the_makers_place(book: OrderBook, rest: Rest) -> None:
    first, second = rest(bid(10, 40)), rest(bid(10, 40))
    book.submit(ask(3, 40))
    assert book.submit(ask(8, 40)).matches == [(first, 4000, 700), (second, 4000, 100)]


def test_hundredths_of_a_contract_trade(book: OrderBook, rest: Rest) -> None:
    maker = rest(ask(0.37, 42))
    taker = bid(0.5, 42)
    assert book.submit(taker).matches == [(maker, 4200, 37)]
    assert taker.remaining == 13


# Immediate or cancel, fill or kill, post only.


def test_immediate_or_cancel_never_rests(book: OrderBook, rest: Rest) -> None:
    maker = rest(ask(10, 42))
    taker = bid(25, 42, time_in_force=TimeInForce.IOC)
    execution = book.submit(taker)
    assert execution.matches == [(maker, 4200, 1000)]
    assert execution.ended == [(taker, 1500, Reason.CANCEL)]
    assert execution.killed is None
    assert (taker.filled, taker.remaining, taker.resting) == (1000, 0, False)
    assert contents(book) == ([], [])


def test_immediate_or_cancel_that_meets_nobody_ends_whole(book: OrderBook) -> None:
    taker = bid(5, 42, time_in_force=TimeInForce.IOC)
    execution = book.submit(taker)
    assert execution.ended == [(taker, 500, Reason.CANCEL)]
    assert execution.changes == []


def test_immediate_or_cancel_that_fills_loses_nothing(book: OrderBook, rest: Rest) -> None:
    rest(ask(10, 42))
    assert book.submit(bid(10, 42, time_in_force=TimeInForce.IOC)).ended == []


def test_fill_or_kill_takes_all_from_several_levels(book: OrderBook, rest: Rest) -> None:
    rest(ask(10, 42)), rest(ask(10, 43))
    taker = bid(20, 43, time_in_force=TimeInForce.FOK)
    assert book.submit(taker).matched == 2000
    assert contents(book) == ([], [])


def test_fill_or_kill_that_cannot_fill_changes_nothing(book: OrderBook, rest: Rest) -> None:
    rest(ask(10, 42)), rest(ask(9.99, 43)), rest(ask(10, 44))
    before = contents(book)
    taker = bid(20, 43, time_in_force=TimeInForce.FOK)
    execution = book.submit(taker)
    assert execution.killed is Kill.FILL_OR_KILL
    assert (execution.changes, execution.matches, execution.ended) == ([], [], [])
    assert (taker.remaining, taker.filled, taker.resting) == (2000, 0, False)
    assert contents(book) == before


def test_fill_or_kill_does_not_count_what_lies_behind_an_own_order(book: OrderBook, rest: Rest) -> None:
    rest(ask(10, 42)), rest(ask(1, 42, owner="me")), rest(ask(10, 42))
    terms = {"owner": "me", "time_in_force": TimeInForce.FOK}
    assert book.submit(bid(11, 42, **terms)).killed is Kill.FILL_OR_KILL
    assert book.submit(bid(10, 42, **terms)).matched == 1000


def test_fill_or_kill_that_cancels_its_makers_counts_past_them(book: OrderBook, rest: Rest) -> None:
    rest(ask(10, 42))
    own = rest(ask(5, 42, owner="me"))
    rest(ask(10, 42))
    terms = {"owner": "me", "time_in_force": TimeInForce.FOK, "self_trade": SelfTrade.MAKER}
    assert book.submit(bid(21, 42, **terms)).killed is Kill.FILL_OR_KILL
    assert own.resting
    execution = book.submit(bid(20, 42, **terms))
    assert execution.matched == 2000
    assert execution.ended == [(own, 500, Reason.SELF_TRADE)]


def test_post_only_rests_where_it_meets_nobody_and_is_killed_where_it_would(book: OrderBook, rest: Rest) -> None:
    rest(ask(10, 42))
    rest(bid(10, 41, post_only=True))
    late = bid(10, 42, post_only=True)
    execution = book.submit(late)
    assert execution.killed is Kill.POST_ONLY_CROSS
    assert (late.resting, late.remaining) == (False, 1000)
    assert contents(book) == ([(4100, 1000)], [(4200, 1000)])


# Own orders.


def test_at_an_own_order_the_taker_ends_and_keeps_what_it_had(book: OrderBook, rest: Rest) -> None:
    stranger, own, last = rest(ask(10, 42)), rest(ask(10, 42, owner="me")), rest(ask(10, 43))
    taker = bid(25, 43, owner="me")
    execution = book.submit(taker)
    assert execution.matches == [(stranger, 4200, 1000)]
    assert execution.ended == [(taker, 1500, Reason.SELF_TRADE)]
    assert (taker.filled, taker.remaining, taker.resting) == (1000, 0, False)
    assert own.resting
    assert last.resting


def test_at_an_own_order_the_maker_is_canceled_and_the_taker_goes_on(book: OrderBook, rest: Rest) -> None:
    stranger, own, last = rest(ask(10, 42)), rest(ask(5, 42, owner="me")), rest(ask(10, 43))
    taker = bid(25, 43, owner="me", self_trade=SelfTrade.MAKER)
    execution = book.submit(taker)
    assert execution.matches == [(stranger, 4200, 1000), (last, 4300, 1000)]
    assert execution.ended == [(own, 500, Reason.SELF_TRADE)]
    assert [change[:3] for change in execution.changes] == [
        (NO, 5800, -1000),
        (NO, 5800, -500),
        (NO, 5700, -1000),
        (YES, 4300, 500),
    ]
    assert (own.resting, own.remaining, own.filled) == (False, 0, 0)


def test_the_takers_mode_decides_not_the_makers(book: OrderBook, rest: Rest) -> None:
    own = rest(ask(5, 42, owner="me", self_trade=SelfTrade.MAKER))
    taker = bid(5, 42, owner="me", self_trade=SelfTrade.TAKER)
    assert book.submit(taker).ended == [(taker, 500, Reason.SELF_TRADE)]
    assert own.resting


def test_an_own_order_behind_the_fill_is_in_nobodys_way(book: OrderBook, rest: Rest) -> None:
    rest(ask(10, 42))
    own = rest(ask(5, 42, owner="me"))
    execution = book.submit(bid(10, 42, owner="me"))
    assert execution.matched == 1000
    assert execution.ended == []
    assert own.resting


def test_orders_without_an_owner_trade_with_each_other(book: OrderBook, rest: Rest) -> None:
    rest(ask(10, 42))
    assert book.submit(bid(10, 42)).matched == 1000


def test_owners_are_told_apart_by_identity(book: OrderBook, rest: Rest) -> None:
    one, other = [1], [1]
    rest(ask(10, 42, owner=one))
    assert book.submit(bid(4, 42, owner=other)).matched == 400
    assert book.submit(bid(4, 42, owner=one)).matched == 0


# Amend.


def test_an_amend_that_only_shrinks_keeps_its_place(book: OrderBook, rest: Rest) -> None:
    first, second = rest(bid(10, 40)), rest(bid(10, 40))
    assert book.amend(first, price(40), size(4)).changes == [(YES, 4000, -600, first)]
    assert list(book.orders(YES)) == [first, second]


def test_an_amend_to_the_same_does_nothing(book: OrderBook, rest: Rest) -> None:
    first, second = rest(bid(10, 40)), rest(bid(10, 40))
    assert book.amend(first, price(40), size(10)).changes == []
    assert list(book.orders(YES)) == [first, second]


def test_an_amend_that_grows_goes_to_the_back_in_two_changes_at_once(book: OrderBook, rest: Rest) -> None:
    first, second = rest(bid(10, 40)), rest(bid(10, 40))
    assert book.amend(first, price(40), size(11)).changes == [(YES, 4000, -1000, first), (YES, 4000, 1100, first)]
    assert list(book.orders(YES)) == [second, first]
    assert book.ahead(first) == 1000


def test_an_amend_to_another_price_goes_to_the_back_there_even_if_it_shrinks(book: OrderBook, rest: Rest) -> None:
    first, waiting = rest(bid(10, 40)), rest(bid(10, 41))
    execution = book.amend(first, price(41), size(5))
    assert execution.changes == [(YES, 4000, -1000, first), (YES, 4100, 500, first)]
    assert execution.ended == []
    assert list(book.orders(YES)) == [waiting, first]
    assert (first.price, first.own_price, first.remaining) == (4100, 4100, 500)


def test_an_amend_away_and_back_does_not_return_to_the_old_place(book: OrderBook, rest: Rest) -> None:
    first, second = rest(ask(10, 60)), rest(ask(10, 60))
    book.amend(first, price(61), size(10))
    book.amend(first, price(60), size(10))
    assert list(book.orders(NO)) == [second, first]
    assert book.size_at(NO, price(40)) == 2000


def test_an_amend_may_trade(book: OrderBook, rest: Rest) -> None:
    maker, mover = rest(ask(4, 45)), rest(bid(10, 40))
    execution = book.amend(mover, price(45), size(10))
    assert execution.matches == [(maker, 4500, 400)]
    assert execution.changes == [(YES, 4000, -1000, mover), (NO, 5500, -400, maker), (YES, 4500, 600, mover)]
    assert (mover.filled, mover.remaining, mover.resting) == (400, 600, True)


def test_an_amend_into_an_own_order_ends_as_a_new_order_would(book: OrderBook, rest: Rest) -> None:
    own, mover = rest(ask(4, 45, owner="me")), rest(bid(10, 40, owner="me"))
    execution = book.amend(mover, price(45), size(12))
    assert execution.ended == [(mover, 1200, Reason.SELF_TRADE)]
    assert (mover.resting, own.resting) == (False, True)


def test_a_post_only_order_that_would_cross_by_an_amend_stays_as_it_was(book: OrderBook, rest: Rest) -> None:
    rest(ask(4, 45))
    mover, behind = rest(bid(10, 40, post_only=True)), rest(bid(10, 40))
    execution = book.amend(mover, price(45), size(10))
    assert execution.killed is Kill.POST_ONLY_CROSS
    assert execution.changes == []
    assert list(book.orders(YES)) == [mover, behind]
    assert mover.price == 4000


@pytest.mark.parametrize(("cents", "contracts"), [(40.5, 10), (0, 10), (100, 10), (40, 0), (40, -1)])
def test_a_refused_amend_changes_nothing(book: OrderBook, rest: Rest, cents: float, contracts: float) -> None:
    order, behind = rest(bid(10, 40)), rest(bid(10, 40))
    with pytest.raises(Unrepresentable):
        book.amend(order, price(cents), size(contracts))
    assert list(book.orders(YES)) == [order, behind]
    assert (order.price, order.remaining) == (4000, 1000)


# Decrease and cancel.


def test_a_decrease_keeps_the_place(book: OrderBook, rest: Rest) -> None:
    first, second = rest(bid(10, 40)), rest(bid(10, 40))
    execution = book.decrease(first, size(0.5))
    assert execution.changes == [(YES, 4000, -950, first)]
    assert execution.ended == []
    assert list(book.orders(YES)) == [first, second]
    assert book.size_at(YES, price(40)) == 1050


def test_a_decrease_to_nothing_is_a_cancel_that_says_so(book: OrderBook, rest: Rest) -> None:
    order = rest(bid(10, 40))
    assert book.decrease(order, Size(0)).ended == [(order, 1000, Reason.DECREASE)]
    assert not order.resting


@pytest.mark.parametrize("contracts", [10, 11, -1])
def test_a_decrease_that_does_not_shrink_is_refused(book: OrderBook, rest: Rest, contracts: float) -> None:
    order = rest(bid(10, 40))
    with pytest.raises(Unrepresentable, match="size below 1000"):
        book.decrease(order, size(contracts))
    assert order.remaining == 1000


def test_a_cancel_takes_an_order_out_wherever_it_waits(book: OrderBook, rest: Rest) -> None:
    first, second, third = rest(ask(1, 60)), rest(ask(2, 60)), rest(ask(3, 60))
    execution = book.cancel(second)
    assert execution.changes == [(NO, 4000, -200, second)]
    assert execution.ended == [(second, 200, Reason.CANCEL)]
    assert [maker for maker, _, _ in book.submit(bid(4, 60)).matches] == [first, third]


def test_a_cancel_says_why(book: OrderBook, rest: Rest) -> None:
    order = rest(bid(1, 40))
    assert book.cancel(order, Reason.EXPIRY).ended == [(order, 100, Reason.EXPIRY)]


def test_the_last_order_of_a_level_takes_the_level_with_it(book: OrderBook, rest: Rest) -> None:
    rest(bid(1, 39))
    order = rest(bid(1, 40))
    book.cancel(order)
    assert book.best(YES) == 3900
    assert book.levels(YES) == ((3900, 100),)


@pytest.mark.parametrize("command", ["cancel", "decrease", "amend", "same"])
@pytest.mark.parametrize("state", ["new", "canceled", "filled", "killed"])
def test_an_order_that_does_not_rest_cannot_be_changed(book: OrderBook, rest: Rest, command: str, state: str) -> None:
    order = bid(10, 40, time_in_force=TimeInForce.FOK if state == "killed" else TimeInForce.GTC)
    if state != "new":
        book.submit(order)
    if state == "canceled":
        book.cancel(order)
    elif state == "filled":
        book.submit(ask(10, 40))
    before = contents(book)
    commands: dict[str, Callable[[], object]] = {
        "cancel": lambda: book.cancel(order),
        "decrease": lambda: book.decrease(order, size(1)),
        "amend": lambda: book.amend(order, price(39), size(10)),
        "same": lambda: book.amend(order, price(40), size(10)),
    }
    with pytest.raises(Unrepresentable):
        commands[command]()
    assert contents(book) == before == ([], [])


def test_cancel_where_takes_the_named_out_best_first_in_one_execution(book: OrderBook, rest: Rest) -> None:
    low, high, later = rest(bid(1, 39, owner="me")), rest(bid(2, 41, owner="me")), rest(bid(3, 41, owner="me"))
    stranger, offer = rest(bid(4, 40)), rest(ask(5, 60, owner="me"))
    execution = book.cancel_where(lambda order: order.owner == "me", Reason.HALT)
    assert [(order, reason) for order, _, reason in execution.ended] == [
        (high, Reason.HALT),
        (later, Reason.HALT),
        (low, Reason.HALT),
        (offer, Reason.HALT),
    ]
    assert [change for _, _, change, _ in execution.changes] == [-200, -300, -100, -500]
    assert list(book.orders(YES)) == [stranger]
    assert book.best(NO) is None


# What is refused.


@pytest.mark.parametrize("cents", [0, 100, 50.5, 50.01, -1, 101])
@pytest.mark.parametrize("make", [bid, ask])
def test_a_price_off_the_grid_is_refused(book: OrderBook, make: Callable[..., Order], cents: float) -> None:
    with pytest.raises(Unrepresentable, match="price of this market's grid"):
        book.submit(make(1, cents))
    assert contents(book) == ([], [])


@pytest.mark.parametrize("contracts", [0, -1])
def test_a_size_of_nothing_is_refused(book: OrderBook, contracts: float) -> None:
    with pytest.raises(Unrepresentable, match="order of more than nothing"):
        book.submit(bid(contracts, 50))


def test_an_order_that_rests_cannot_be_submitted_again(book: OrderBook, rest: Rest) -> None:
    order = rest(bid(1, 40))
    with pytest.raises(Unrepresentable, match="order that does not rest yet"):
        book.submit(order)
    assert book.levels(YES) == ((4000, 100),)


# Grids.


def test_a_tapered_grid_has_tenths_of_a_cent_at_its_edges_only() -> None:
    book = OrderBook(Grid.named("tapered_deci_cent"))
    for cents in (0.1, 9.9, 10, 50, 90, 90.1, 99.9):
        book.submit(bid(1, cents, post_only=True))
    with pytest.raises(Unrepresentable):
        book.submit(bid(1, 50.1))
    assert book.best(YES) == 9990
    maker = next(book.orders(YES))
    assert book.submit(ask(1, 99.8)).matches == [(maker, 9990, 100)]


def test_tenths_of_a_cent_are_prices_of_their_own() -> None:
    book = OrderBook(Grid.named("deci_cent"))
    near, far = ask(1, 4.1), ask(1, 4.2)
    book.submit(far), book.submit(near)
    assert book.levels(NO) == ((DOLLAR - 420, 100), (DOLLAR - 410, 100))
    assert book.submit(bid(1.5, 4.2)).matches == [(near, 410, 100), (far, 420, 50)]


def test_orders_stay_where_they_are_when_the_tick_changes() -> None:
    book = OrderBook(Grid.named("deci_cent"))
    odd, even = ask(1, 41.5), ask(1, 42)
    book.submit(odd), book.submit(even)
    book.grid = Grid.named("linear_cent")
    with pytest.raises(Unrepresentable):
        book.submit(ask(1, 41.5))
    with pytest.raises(Unrepresentable):
        book.amend(even, price(41.5), size(1))
    assert book.decrease(odd, size(0.5)).changes == [(NO, 5850, -50, odd)]
    assert book.submit(bid(1, 42)).matches == [(odd, 4150, 50), (even, 4200, 50)]


def test_an_order_off_the_new_grid_can_move_onto_it_or_leave(book: OrderBook, rest: Rest) -> None:
    book.grid = Grid.named("deci_cent")
    mover, leaver = rest(bid(1, 41.5)), rest(bid(1, 41.4))
    book.grid = Grid.named("linear_cent")
    book.amend(mover, price(41), size(1))
    book.cancel(leaver)
    assert contents(book) == ([(4100, 100)], [])


# Long queues.


def test_a_long_queue_keeps_its_order_through_many_cancels(book: OrderBook, rest: Rest) -> None:
    queue = [rest(bid(1, 40)) for _ in range(1_000)]
    for order in queue[::3] + queue[1::3]:
        book.cancel(order)
    survivors = queue[2::3]
    assert book.orders_at(YES, price(40)) == survivors
    assert book.ahead(survivors[-1]) == 100 * (len(survivors) - 1)
    assert [maker for maker, _, _ in book.submit(ask(len(survivors), 40)).matches] == survivors
    assert contents(book) == ([], [])


def test_nothing_is_kept_of_orders_that_are_gone(book: OrderBook, rest: Rest) -> None:
    first = rest(bid(1, 40))
    for _ in range(1_000):
        book.cancel(rest(bid(1, 40)))
        book.amend(rest(bid(1, 41)), price(40), size(2))
        first = rest(bid(1, 40))
        assert book.submit(ask(3, 40)).matched == 300
    assert contents(book) == ([(4000, 100)], [])
    assert list(book.orders(YES))[-1] is first
    assert sys.getsizeof(book._queues[YES][price(40)].orders) < 2_000
    assert not book._queues[NO]
