"""Order commands: what is accepted, what is refused and why, and what each does."""

from __future__ import annotations

import msgspec
import pytest

from kflow.clock import ManualClock
from kflow.exchange.accounts import Account, UserOrder
from kflow.exchange.desk import Amendment
from kflow.exchange.messages import FILL, MARKET_POSITIONS, ORDER_GROUPS, ORDERBOOK, TRADE, USER_ORDERS
from kflow.exchange.orders import Reason, SelfTrade, TimeInForce
from kflow.exchange.terms import OrderRefused, Terms
from kflow.market.events import Side
from kflow.testing.pit import MARKET, Pit
from kflow.testing.venue import START_US, listing, some_levels
from kflow.units import Size, parse_price, parse_size

NOW_NS = (START_US + 3_600_000_000) * 1000


def refusal(code: str) -> pytest.RaisesExc[OrderRefused]:
    return pytest.RaisesExc(OrderRefused, check=lambda error: error.code == code)


@pytest.fixture
def pit() -> Pit:
    """YES bids of 100 contracts at 40 to 44 cents, asks at 46 to 50."""
    return Pit(books={MARKET: some_levels()}, terms=Terms(fill_order="fill"))


def amendment(order: UserOrder, price: str, count: str, **more: object) -> Amendment:
    facts = {"order_id": order.order_id, "ticker": MARKET, "side": order.side, **more}
    return Amendment(price=parse_price(price), count=parse_size(count), **facts)  # type: ignore[arg-type]


def kinds(pit: Pit) -> list[str]:
    return [message.kind for message in pit.messages if message.kind != "ticker"]


# Placing.


def test_an_order_that_crosses_nothing_rests_and_is_told(pit: Pit) -> None:
    account = pit.account()
    order = pit.bid(account, "0.44", "10", client_order_id="mine")
    assert (order.status, order.filled, order.remaining) == ("resting", 0, 1000)
    assert kinds(pit) == ["orderbook_delta", "user_order"]
    delta, told = pit.messages[:2]
    assert (delta.side, delta.price, delta.change, delta.account) == (Side.YES, 4400, 1000, account.user_id)
    assert "mine" not in delta.body
    assert msgspec.json.decode(delta.own_body)["client_order_id"] == "mine"
    assert msgspec.json.decode(told.body)["status"] == "resting"
    assert pit.desk.reads(account).orders[order.order_id]["remaining_count_fp"] == "10.00"


def test_a_taker_trades_at_the_resting_prices_one_delta_and_trade_for_each_maker(pit: Pit) -> None:
    account = pit.account()
    order = pit.bid(account, "0.47", "150")
    assert (order.status, order.filled) == ("executed", 15_000)
    assert kinds(pit) == ["orderbook_delta", "orderbook_delta", "fill", "trade", "fill", "trade", "user_order",
                          "market_position"]  # fmt: skip
    fills, trades = ([message for message in pit.messages if message.channel == channel] for channel in (FILL, TRADE))
    assert [(trade.price, trade.change) for trade in trades] == [(4600, 10_000), (4700, 5_000)]
    ids = [msgspec.json.decode(message.body)["trade_id"] for message in (*fills, *trades)]
    assert ids[:2] == ids[2:]
    position = msgspec.json.decode(pit.messages[-1].body) if pit.messages[-1].channel == MARKET_POSITIONS else None
    told = [message for message in pit.messages if message.channel == MARKET_POSITIONS]
    assert position is None or position["position_fp"] == "150.00"
    assert msgspec.json.decode(told[-1].body)["position_fp"] == "150.00"


def test_what_an_immediate_order_does_not_fill_is_canceled(pit: Pit) -> None:
    order = pit.take(pit.account(), Side.YES, "0.46", "150")
    assert (order.status, order.filled, order.remaining) == ("canceled", 10_000, 0)


def test_fill_or_kill_kills_whole_and_uses_its_client_id_up(pit: Pit) -> None:
    account = pit.account()
    killer = {"time_in_force": TimeInForce.FOK, "client_order_id": "once"}
    with refusal("fill_or_kill_insufficient_resting_volume"):
        pit.bid(account, "0.46", "150", **killer)
    assert not pit.messages
    assert not account.orders
    with refusal("order_already_exists"):
        pit.bid(account, "0.46", "50", **killer)


def test_post_only_is_refused_where_it_would_cross_or_canceled_if_the_terms_say_so(pit: Pit) -> None:
    account = pit.account()
    with refusal("invalid_order"):
        pit.bid(account, "0.46", "1", post_only=True, client_order_id="again")
    assert pit.bid(account, "0.45", "1", post_only=True, client_order_id="again").resting
    lenient = Pit(books={MARKET: some_levels()}, terms=Terms(post_only_cross="cancel"))
    order = lenient.bid(lenient.account(), "0.46", "1", post_only=True)
    assert (order.status, order.reason) == ("canceled", Reason.POST_ONLY)


def test_reduce_only_closes_no_more_than_there_is(pit: Pit) -> None:
    account = pit.account()
    order = pit.take(account, Side.NO, "0.40", "5", reduce_only=True)
    assert (order.status, order.filled, order.reason) == ("canceled", 0, Reason.REDUCE_ONLY)
    pit.bid(account, "0.46", "3")
    pit.take(account, Side.NO, "0.40", "5", reduce_only=True)
    assert account.held(MARKET) == 0
    with refusal("invalid_order"):
        pit.bid(account, "0.40", "1", reduce_only=True)


def test_an_owner_never_trades_with_itself(pit: Pit) -> None:
    account = pit.account()
    own = pit.ask(account, "0.45", "10")
    taker = pit.bid(account, "0.46", "20")
    assert (taker.status, taker.filled, taker.reason, own.status) == ("canceled", 0, Reason.SELF_TRADE, "resting")
    taker = pit.bid(account, "0.46", "20", self_trade=SelfTrade.MAKER)
    assert (taker.filled, own.status, own.reason) == (2000, "canceled", Reason.SELF_TRADE)


@pytest.mark.parametrize(
    ("price", "size", "more", "code"),
    [
        ("0.445", "1", {}, "invalid_price"),
        ("0.00", "1", {}, "invalid_price"),
        ("0.40", "0", {}, "invalid_order"),
        ("0.40", "1", {"ticker": "NO-SUCH-MARKET"}, "not_found"),
        ("0.40", "1", {"shard": 2}, "invalid_order"),
        ("0.40", "1", {"expires_us": 1}, "invalid_order"),
        ("0.46", "1", {"time_in_force": TimeInForce.IOC, "expires_us": 10**18}, "invalid_order"),
        ("0.40", "1", {"group_id": "none"}, "not_found"),
        ("0.40", "30000", {}, "insufficient_balance"),
    ],
)
def test_refusals_leave_no_trace(pit: Pit, price: str, size: str, more: dict[str, object], code: str) -> None:
    account = pit.account()
    with refusal(code):
        pit.bid(account, price, size, client_order_id="free", **more)
    assert not account.orders
    assert not pit.messages
    assert pit.bid(account, "0.40", "1", client_order_id="free").resting


def test_a_client_id_serves_once(pit: Pit) -> None:
    account, other = pit.account(), pit.account()
    order = pit.bid(account, "0.40", "1", client_order_id="a")
    with refusal("order_already_exists"):
        pit.bid(account, "0.41", "1", client_order_id="a")
    pit.desk.cancel(account, order.order_id)
    with refusal("order_already_exists"):
        pit.bid(account, "0.41", "1", client_order_id="a")
    assert pit.bid(other, "0.41", "1", client_order_id="a").resting


# Changing.


def test_cancel_says_what_was_left_and_a_second_one_finds_nothing(pit: Pit) -> None:
    account = pit.account()
    order = pit.bid(account, "0.44", "10")
    assert pit.desk.cancel(account, order.order_id) == (order, Size(1000))
    assert (order.status, order.remaining) == ("canceled", 0)
    with refusal("not_found"):
        pit.desk.cancel(account, order.order_id)
    with refusal("not_found"):
        pit.desk.cancel(pit.account(), pit.bid(account, "0.44", "10").order_id)


def test_amending_the_size_down_keeps_the_place_in_the_queue(pit: Pit) -> None:
    account, other = pit.account(), pit.account()
    order, behind = pit.bid(account, "0.45", "10"), pit.bid(other, "0.45", "10")
    pit.desk.amend(account, amendment(order, "0.45", "4"))
    assert pit.engine().ahead(behind) == 400
    pit.desk.amend(account, amendment(order, "0.45", "9"))
    assert (pit.engine().ahead(behind), pit.engine().ahead(order)) == (0, 1000)
    assert (order.initial, order.reason) == (900, Reason.AMEND)


def test_amending_to_a_price_that_crosses_trades(pit: Pit) -> None:
    account = pit.account()
    order = pit.bid(account, "0.44", "10", client_order_id="a")
    pit.desk.amend(account, amendment(order, "0.46", "10", updated_client_order_id="b"))
    assert (order.status, order.filled, order.client_order_id) == ("executed", 1000, "b")
    with refusal("order_already_exists"):
        pit.bid(account, "0.40", "1", client_order_id="b")


def test_an_amendment_counts_what_has_filled(pit: Pit) -> None:
    account, other = pit.account(), pit.account()
    order = pit.bid(account, "0.45", "10")
    pit.ask(other, "0.45", "4")
    with refusal("invalid_order"):
        pit.desk.amend(account, amendment(order, "0.44", "4"))
    pit.desk.amend(account, amendment(order, "0.44", "6"))
    assert (order.filled, order.remaining, order.price) == (400, 200, 4400)


@pytest.mark.parametrize("price", ["0.445", "0.46"])
def test_an_amendment_that_is_refused_changes_nothing(pit: Pit, price: str) -> None:
    account = pit.account()
    order = pit.bid(account, "0.44", "10", post_only=True)
    with pytest.raises(OrderRefused):
        pit.desk.amend(account, amendment(order, price, "10"))
    assert (order.price, order.remaining, order.resting) == (4400, 1000, True)
    assert account.available(0) == account.cash[0] - 4400 * 1000


def test_decrease_by_or_to(pit: Pit) -> None:
    account = pit.account()
    order = pit.bid(account, "0.44", "10")
    pit.desk.decrease(account, order.order_id, Size(300), None)
    assert order.remaining == 700
    pit.desk.decrease(account, order.order_id, None, Size(500))
    assert (order.remaining, order.reason) == (500, Reason.DECREASE)
    with refusal("invalid_order"):
        pit.desk.decrease(account, order.order_id, None, Size(501))
    pit.desk.decrease(account, order.order_id, None, Size(0))
    assert order.status == "canceled"


def test_cancel_all_takes_orders_of_the_next_minute_too() -> None:
    clock = ManualClock(wall_ns=NOW_NS)
    pit = Pit(books={MARKET: some_levels()}, clock=clock)
    account, other = pit.account(), pit.account()
    first, untouched = pit.bid(account, "0.44", "10"), pit.bid(other, "0.44", "10")
    pit.desk.cancel_all(account)
    assert (first.status, untouched.status) == ("canceled", "resting")
    clock.advance(59)
    assert pit.bid(account, "0.44", "10").status == "canceled"
    clock.advance(2)
    assert pit.bid(account, "0.44", "10").status == "resting"


def test_an_order_expires_when_it_said_unless_that_was_taken_back() -> None:
    clock = ManualClock(wall_ns=NOW_NS)
    pit = Pit(clock=clock)
    account = pit.account()
    soon = clock.wall_ns() // 1000 + 5_000_000
    order, kept = (pit.bid(account, "0.44", "10", expires_us=soon) for _ in range(2))
    pit.desk.amend(account, amendment(kept, "0.44", "10", expires_us=None))
    clock.advance(4.9)
    pit.control.advance()
    assert order.resting
    clock.advance(0.2)
    pit.control.advance()
    assert (order.status, order.reason, kept.status) == ("canceled", Reason.EXPIRY, "resting")


# Order groups.


def group_events(pit: Pit) -> list[str]:
    told = [message for message in pit.messages if message.channel == ORDER_GROUPS]
    return [msgspec.json.decode(message.body)["event_type"] for message in told]


def make_group(pit: Pit, account: Account, limit: str) -> str:
    return pit.desk.create_group(account, parse_size(limit), 0).group_id


def test_a_group_cancels_its_orders_once_they_matched_its_limit(pit: Pit) -> None:
    account, other = pit.account(), pit.account()
    group_id = make_group(pit, account, "10")
    orders = [pit.bid(account, "0.45", "6", group_id=group_id) for _ in range(3)]
    free = pit.bid(account, "0.45", "6")
    pit.ask(other, "0.45", "9")
    assert [order.status for order in orders] == ["executed", "resting", "resting"]
    pit.ask(other, "0.45", "1")
    assert [order.status for order in orders] == ["executed", "canceled", "canceled"]
    assert free.resting
    with refusal("invalid_order"):
        pit.bid(account, "0.44", "1", group_id=group_id)
    pit.desk.reset(account, group_id)
    assert pit.bid(account, "0.44", "1", group_id=group_id).resting
    assert group_events(pit) == ["created", "triggered", "reset"]


def test_a_groups_window_is_fifteen_seconds() -> None:
    clock = ManualClock(wall_ns=NOW_NS)
    pit = Pit(books={MARKET: some_levels()}, clock=clock)
    account = pit.account()
    group_id = make_group(pit, account, "10")
    pit.bid(account, "0.46", "9", group_id=group_id)
    clock.advance(15.001)
    assert pit.bid(account, "0.46", "9", group_id=group_id).status == "executed"
    assert not pit.desk.group(account, group_id).triggered
    clock.advance(14)
    pit.bid(account, "0.46", "1", group_id=group_id)
    assert pit.desk.group(account, group_id).triggered


def test_trigger_and_delete_cancel_and_a_lower_limit_may_trigger(pit: Pit) -> None:
    account = pit.account()
    ids = [make_group(pit, account, "10") for _ in range(3)]
    orders = [pit.bid(account, "0.44", "1", group_id=group_id) for group_id in ids]
    pit.desk.trigger(account, ids[0])
    pit.desk.delete(account, ids[1])
    pit.bid(account, "0.46", "5", group_id=ids[2])
    pit.desk.limit(account, ids[2], parse_size("5"))
    assert [order.status for order in orders] == ["canceled"] * 3
    assert list(pit.desk.groups_of(account)) == [ids[0], ids[2]]
    with refusal("not_found"):
        pit.desk.trigger(pit.account(), ids[0])
    with refusal("invalid_order"):
        make_group(pit, account, "0.5")


# Reading.


def test_reads_lag_writes() -> None:
    clock = ManualClock(wall_ns=NOW_NS)
    pit = Pit(books={MARKET: some_levels()}, clock=clock, terms=Terms(read_lag_s=0.36))
    account = pit.account()
    order = pit.bid(account, "0.46", "10")
    assert not pit.desk.reads(account).orders
    clock.advance(0.35)
    assert not pit.desk.reads(account).fills
    clock.advance(0.01)
    reads = pit.desk.reads(account)
    assert reads.orders[order.order_id]["status"] == "executed"
    assert len(reads.fills) == 1
    assert reads.positions[MARKET]["position_fp"] == "10.00"
    assert reads.balances[0] == account.available(0)


@pytest.mark.parametrize(("order", "first"), [("fill", FILL), ("trade", TRADE)])
def test_the_order_of_fill_and_trade_is_a_knob(order: str, first: str) -> None:
    pit = Pit(books={MARKET: some_levels()}, terms=Terms(fill_order=order))  # type: ignore[arg-type]
    pit.bid(pit.account(), "0.46", "10")
    assert next(message.channel for message in pit.messages if message.channel in (FILL, TRADE)) == first


def test_markets_do_not_touch_each_other() -> None:
    pit = Pit(markets=(MARKET, listing("KXOTHER-26DEC01-T5")))
    account = pit.account()
    pit.bid(account, "0.44", "10")
    pit.bid(account, "0.44", "10", ticker="KXOTHER-26DEC01-T5")
    assert account.available(0) == account.cash[0] - 2 * 4400 * 1000
    assert {message.market for message in pit.messages if message.channel == ORDERBOOK} == {
        MARKET,
        "KXOTHER-26DEC01-T5",
    }
    assert len([message for message in pit.messages if message.channel == USER_ORDERS]) == 2
