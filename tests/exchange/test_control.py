"""What the venue itself does to trading."""

from __future__ import annotations

import msgspec
import pytest

from kflow.clock import ManualClock
from kflow.exchange.documents import event_document
from kflow.exchange.messages import LIFECYCLE, MARKET_POSITIONS
from kflow.exchange.orders import Reason
from kflow.exchange.terms import OrderRefused
from kflow.market.events import Side
from kflow.testing.pit import MARKET, Pit
from kflow.testing.venue import START_US, some_levels
from kflow.units import DOLLAR, Price, parse_money


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall_ns=(START_US + 3_600_000_000) * 1000)


@pytest.fixture
def pit(clock: ManualClock) -> Pit:
    return Pit(books={MARKET: some_levels()}, clock=clock)


def news(pit: Pit) -> list[dict[str, object]]:
    return [msgspec.json.decode(message.body) for message in pit.messages if message.channel == LIFECYCLE]


def test_a_trading_pause_stops_orders_but_not_cancels(pit: Pit) -> None:
    account = pit.account()
    stays, goes = pit.bid(account, "0.40", "1"), pit.bid(account, "0.40", "1", cancel_on_pause=True)
    pit.control.pause()
    assert (stays.status, goes.status, goes.reason) == ("resting", "canceled", Reason.HALT)
    with pytest.raises(OrderRefused, match="trading_paused"):
        pit.bid(account, "0.40", "1")
    pit.desk.cancel(account, stays.order_id)
    pit.control.resume()
    assert pit.bid(account, "0.40", "1").resting


def test_an_exchange_pause_stops_cancels_too(pit: Pit) -> None:
    account = pit.account()
    order = pit.bid(account, "0.40", "1")
    pit.control.pause(exchange=True)
    with pytest.raises(OrderRefused, match="exchange_paused"):
        pit.desk.cancel(account, order.order_id)
    with pytest.raises(OrderRefused, match="exchange_paused"):
        pit.desk.cancel_all(account)
    assert order.resting


def test_a_market_that_is_activated_again_has_lost_its_orders(pit: Pit) -> None:
    account = pit.account()
    order = pit.bid(account, "0.40", "1")
    pit.control.deactivate(MARKET)
    pit.desk.flush()
    assert order.resting
    with pytest.raises(OrderRefused, match="market_inactive"):
        pit.bid(account, "0.40", "1")
    pit.control.activate(MARKET)
    pit.desk.flush()
    assert order.status == "canceled"
    assert [fact["event_type"] for fact in news(pit)] == ["deactivated", "activated"]
    assert pit.bid(account, "0.40", "1").resting


def test_orders_go_at_the_close_and_none_come_after(pit: Pit, clock: ManualClock) -> None:
    account = pit.account()
    order = pit.bid(account, "0.40", "1")
    pit.control.move_close(MARKET, clock.wall_ns() // 1000 + 1_000_000)
    pit.desk.flush()
    clock.advance(0.9)
    pit.control.advance()
    assert order.resting
    clock.advance(0.2)
    pit.control.advance()
    assert (order.status, order.reason) == ("canceled", Reason.CLOSE)
    with pytest.raises(OrderRefused, match="market_inactive"):
        pit.bid(account, "0.40", "1")


def test_news_that_goes_out_late_does_not_bring_an_old_state_back(pit: Pit) -> None:
    pit.control.deactivate(MARKET)
    pit.control.activate(MARKET)
    waiting, state = pit.clearing.waiting, pit.venue.markets[MARKET]
    assert (waiting, state.status) == (2, "active")
    pit.control.determine(MARKET, Price(0))
    pit.desk.flush()
    assert (state.status, state.result) == ("determined", "no")
    assert len(news(pit)) == 3


def test_other_ticks_leave_resting_orders_where_they_are(pit: Pit) -> None:
    account = pit.account()
    order = pit.bid(account, "0.44", "1")
    pit.control.retick(MARKET, "deci_cent")
    pit.desk.flush()
    assert pit.bid(account, "0.445", "1").resting
    pit.control.retick(MARKET, "linear_cent")
    with pytest.raises(OrderRefused, match="invalid_price"):
        pit.bid(account, "0.443", "1")
    assert order.resting
    assert [fact["price_level_structure"] for fact in news(pit)] == ["deci_cent"]
    assert pit.venue.markets[MARKET].listing.structure == "linear_cent"


def test_other_fees_count_from_the_next_fill_on(pit: Pit) -> None:
    account = pit.account()
    pit.bid(account, "0.46", "1")
    fees = account.position(MARKET).fees
    pit.control.charge("INXD-25JAN03", "quadratic", 0)
    pit.bid(account, "0.46", "1")
    assert fees > 0
    assert account.position(MARKET).fees == fees
    pit.control.charge("INXD-25JAN03", "quadratic_with_maker_fees", 1)
    pit.bid(account, "0.45", "1")
    pit.ask(pit.account(), "0.45", "1")
    assert account.position(MARKET).fees > fees
    event = event_document(pit.venue, pit.venue.events["INXD-25JAN03"], nested=False)
    assert (event["fee_type_override"], event["fee_multiplier_override"]) == ("quadratic_with_maker_fees", 1)


def test_other_fees_count_for_orders_that_rest_and_nobody_comes_to_owe_them(pit: Pit) -> None:
    pit.control.charge("INXD-25JAN03", "quadratic_with_maker_fees", 1)
    rich, poor = pit.account(), pit.account("45.50")
    pit.bid(rich, "0.45", "100")
    kept, dropped = pit.bid(poor, "0.45", "100"), pit.bid(poor, "0.01", "1")
    free = rich.available(0)
    pit.control.charge("INXD-25JAN03", "quadratic", 1)
    assert rich.available(0) > free
    assert pit.desk.reads(rich).balances[0] == rich.available(0)
    pit.control.charge("INXD-25JAN03", "quadratic_with_maker_fees", 1.15)
    assert (kept.status, dropped.status, dropped.reason) == ("resting", "canceled", Reason.MARGIN)
    pit.ask(pit.account(), "0.45", "200")
    assert (kept.status, poor.available(0)) == ("executed", parse_money("0.001900"))
    assert poor.position(MARKET).fees == parse_money("0.498100")  # 1.15 of 0.433125, to the next $0.0001


def test_a_market_is_over_at_once_however_late_its_news_is(pit: Pit, clock: ManualClock) -> None:
    account = pit.account()
    pit.control.determine(MARKET, Price(DOLLAR))
    with pytest.raises(OrderRefused, match="market_inactive"):
        pit.bid(account, "0.40", "1")


def test_no_order_comes_after_the_close_whoever_has_looked_at_the_clock(pit: Pit, clock: ManualClock) -> None:
    account = pit.account()
    pit.control.move_close(MARKET, clock.wall_ns() // 1000 + 1_000_000)
    pit.desk.flush()
    clock.advance(2)
    with pytest.raises(OrderRefused, match="market_inactive"):
        pit.bid(account, "0.40", "1")


def test_settlement_pays_and_says_so(pit: Pit) -> None:
    account = pit.account("100")
    pit.take(account, Side.YES, "0.46", "10")
    resting = pit.bid(account, "0.30", "1")
    cash, fees = account.cash[0], account.position(MARKET).fees
    pit.settle(Price(DOLLAR))
    assert resting.status == "canceled"
    assert account.cash[0] == cash + parse_money("10")
    assert [fact["event_type"] for fact in news(pit)] == ["determined", "settled"]
    assert news(pit)[0]["settlement_value"] == "1.0000"
    reads = pit.desk.reads(account)
    (settlement,) = reads.settlements
    assert (settlement["market_result"], settlement["revenue"], settlement["value"]) == ("yes", 1000, 100)
    assert (settlement["yes_count_fp"], settlement["yes_total_cost_dollars"]) == ("10.00", "4.600000")
    assert parse_money(settlement["fee_cost"]) == fees
    assert reads.positions[MARKET]["position_fp"] == "0.00"
    assert reads.balances[0] == account.available(0)
    told = [message for message in pit.messages if message.channel == MARKET_POSITIONS]
    assert msgspec.json.decode(told[-1].body)["position_fp"] == "0.00"
    assert pit.venue.markets[MARKET].status == "finalized"


def test_a_scalar_result_pays_both_sides_their_part(pit: Pit) -> None:
    account = pit.account("100")
    pit.take(account, Side.NO, "0.44", "10")
    cash = account.cash[0]
    pit.settle(Price(2500))
    assert account.cash[0] == cash + parse_money("7.5")
    assert news(pit)[0]["result"] == "scalar"
