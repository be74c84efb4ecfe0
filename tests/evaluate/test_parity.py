"""The bridge from simulated to live: each part in a case worked by hand, and what holds for any log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.errors import UsageError
from kflow.evaluate.parity.bridge import TERMS, Bridge, bridge
from kflow.evaluate.parity.log import AccountLog, Fill, Holding, Order
from kflow.evaluate.parity.measures import agreement, document, explained, fill_errors, residual_words, worst
from kflow.exchange.accounts import Account, Ticket, UserOrder
from kflow.market.events import Side
from kflow.market.fees import FeeSchedule
from kflow.sim.fills import NO_LATENCY, Assumptions, Latency
from kflow.sim.tape import Tape
from kflow.testing.tapes import Shape, frozen, random_tape, tape_of
from kflow.units import DOLLAR, Money, Price, Size

FREE = FeeSchedule(Fraction(0), Fraction(0))
SECOND = 1_000_000
CASH = 10_000 * SECOND
WORTH = 6000
SLOW = Latency.constant(50, 50, 0)


def assume(latency: Latency = NO_LATENCY, fees: FeeSchedule = FREE) -> Callable[[Tape], Assumptions]:
    return lambda _: Assumptions(latency=latency, fees=fees)


def sent(us: int, price: int, size: int, *, side: int = 0, order: str = "a", **more: Any) -> Order:
    return Order(order=order, market="MADE", side=side, price=price, size=size, us=us, **more)


def fill(us: int, price: int, size: int, *, taker: bool = False, fee: int = 0, trade: str = "t") -> Fill:
    return Fill(trade, us, price, size, taker, fee)


def run_of(*orders: Order, worth: int | None = WORTH, lost: int = 0) -> AccountLog:
    """A log whose venue moved money for every fill; `lost`: and so much more, for no reason."""
    cash = CASH - lost
    held: dict[str, int] = {}
    for order in orders:
        for each in order.fills:
            cash -= each.size * each.price + each.fee
            signed = -each.size if order.side else each.size
            closing = min(each.size, abs(held.get(order.market, 0))) if held.get(order.market, 0) * signed < 0 else 0
            cash += closing * DOLLAR
            held[order.market] = held.get(order.market, 0) + signed
    settled = {} if worth is None else {order.market: worth for order in orders}
    for market, value in settled.items():
        size = held.pop(market, 0)
        cash += size * value if size > 0 else -size * (DOLLAR - value)
    return AccountLog(orders, Holding(1, CASH), Holding(3600 * SECOND, cash, held), settled, "by hand")


def parts(found: Bridge) -> dict[str, int]:
    """Every part that is not nothing."""
    return {term: found.sum(term) for term in TERMS if found.sum(term)}


def a_book() -> Tape:
    """40 bid for 100 contracts, 50 asked for 100 and 52 for 100; it stays so."""
    return frozen([(4000, 10_000)], [(5000, 10_000), (4800, 10_000)])


# One part each.


def test_only_latency_differs() -> None:
    """50 was asked until 2.01 s; who is assumed to need 50 ms from 2 s pays 52: 2 cents on 30 contracts."""
    tape = tape_of(
        [(4000, 10_000)],
        [(5000, 10_000), (4800, 10_000)],
        [(SECOND, 0, 4000, 100, 0), (2_010_000, 1, 5000, -10_000, 0), (9 * SECOND, 0, 4000, 100, 0)],
    )
    real = sent(2 * SECOND + 1000, 5200, 3000, sent_us=2 * SECOND, immediate=True)
    real = replace(real, fills=(fill(real.us, 5000, 3000, taker=True),))
    found = bridge([tape], run_of(real), assume(SLOW))
    assert parts(found) == {"simulated": 3000 * (WORTH - 5200), "latency": 3000 * 200}
    assert found.live == 3000 * (WORTH - 5000)
    assert found.residual == 0
    assert "arrived 49.0 ms sooner than assumed" in explained(found.orders[0])


def test_only_the_queue_differs() -> None:
    """100 stand before us and 105 are sold: by the model we get 5 of our 10. The venue gave us all 10."""
    tape = tape_of(
        [(4000, 10_000)],
        [(5000, 10_000)],
        [(SECOND, 0, 3900, 1, 0), (8 * SECOND, 0, 4000, 500, 0), (9 * SECOND, 0, 4000, -10_500, 10_500)],
    )
    real = sent(2 * SECOND, 4000, 1000, sent_us=2 * SECOND, cancelled_us=30 * SECOND)
    real = replace(real, fills=(fill(8_500_000, 4000, 1000),))
    found = bridge(
        [tape],
        run_of(real),
        assume(),
    )
    assert parts(found) == {"simulated": 500 * (WORTH - 4000), "queue": 500 * (WORTH - 4000)}
    assert found.residual == 0
    passive = next(row for row in fill_errors(found) if row["orders_are"] == "passive")
    assert (passive["filled"], passive["filled_simulated"], passive["to_fill_s"]) == (1.0, 0.5, 0.5)
    assert "100 ahead when it came to rest" in explained(found.orders[0])


def test_only_fees_differ() -> None:
    """The schedule asks 0.07 x 0.5 x 0.5 a contract, 17.5 cents for ten; 20 were charged."""
    real = sent(2 * SECOND, 5000, 1000, immediate=True)
    real = replace(real, fills=(fill(real.us, 5000, 1000, taker=True, fee=200_000),))
    found = bridge([a_book()], run_of(real), assume(fees=FeeSchedule.parse("quadratic", 1)))
    assert parts(found) == {"simulated": 1000 * (WORTH - 5000) - 175_000, "fees": -25_000}
    assert found.residual == 0
    assert "$0.200000 were charged, $0.175000 expected" in explained(found.orders[0])


def test_only_a_refusal_of_the_venue_differs() -> None:
    """The simulator would have bought ten at 50; the venue said no."""
    real = sent(2 * SECOND, 5000, 1000, immediate=True, refused="insufficient_balance")
    found = bridge([a_book()], run_of(real), assume())
    assert parts(found) == {"simulated": 1000 * 1000, "refusals": -1000 * 1000}
    assert found.live == found.residual == 0
    assert agreement(found)._asdict() == {"orders": 1, "alike": 0, "refused": 1, "refused_simulated": 0}
    assert "the venue refused it (insufficient_balance)" in explained(found.orders[0])


def test_only_a_refusal_of_the_simulator_differs() -> None:
    """Post-only at 50 would cross here; the venue took it, and somebody sold to it."""
    real = sent(2 * SECOND, 5000, 1000, post_only=True)
    real = replace(real, fills=(fill(3 * SECOND, 5000, 1000),))
    found = bridge([a_book()], run_of(real), assume())
    assert parts(found) == {"refusals": 1000 * 1000}
    assert found.residual == 0
    assert "the simulator refused it (post-only, and it would cross)" in explained(found.orders[0])


def test_what_the_venue_ended_on_arrival_counts_as_refused() -> None:
    """It did not let the order rest; the simulator does, and somebody sells to it."""
    tape = tape_of(
        [(4000, 100)],
        [(5000, 100)],
        [(SECOND, 0, 4000, 1000, 0), (5 * SECOND, 0, 4000, -1100, 1100), (9 * SECOND, 0, 3900, 1, 0)],
    )
    killed = sent(500_000 + SECOND, 4100, 1000, cancelled_us=500_000 + SECOND)
    found = bridge([tape], run_of(killed), assume())
    assert parts(found) == {"simulated": 1000 * (WORTH - 4100), "refusals": -1000 * (WORTH - 4100)}
    assert "ended it as it arrived" in explained(found.orders[0])


def test_what_was_there_before_the_run_is_a_gap() -> None:
    resting = sent(2 * SECOND, 4000, 1000)
    resting = replace(resting, fills=(fill(4 * SECOND, 4000, 1000),))
    log = replace(run_of(resting), before=Holding(3 * SECOND, CASH))
    found = bridge([a_book()], log, assume())
    assert parts(found) == {"gaps": 1000 * (WORTH - 4000)}
    assert found.orders[0].why_not == "it was there before the run"


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (sent(90 * SECOND, 5000, 1000), "its market was not recorded when it arrived"),
        (replace(sent(2 * SECOND, 5000, 1000), market="OTHER"), "its market is not recorded"),
        (sent(2 * SECOND, 5050, 1000), "its price is not on the recording's grid"),
    ],
)
def test_only_the_recording_is_short(order: Order, why: str) -> None:
    order = replace(order, fills=(fill(order.us, 5000, 1000, taker=True, fee=7),))
    found = bridge([a_book()], run_of(order), assume())
    assert parts(found) == {"gaps": 1000 * 1000 - 7}
    assert found.residual == 0
    assert found.orders[0].why_not == why
    assert document(found)["not_simulated"] == {why: 1}


def test_a_fill_behind_the_end_of_the_recording_is_a_gap() -> None:
    real = sent(2 * SECOND, 4000, 1000)
    real = replace(real, fills=(fill(70 * SECOND, 4000, 1000),))
    found = bridge([a_book()], run_of(real), assume())
    assert parts(found) == {"gaps": 1000 * (WORTH - 4000)}
    assert "no longer recorded" in explained(found.orders[0])


# What is true whatever the parts are.


def test_a_fill_that_the_log_misses_is_a_residual() -> None:
    """The venue's cash and position know of 10 contracts, the order's fills of 4: 6 at a profit of 10 cents."""
    real = replace(sent(2 * SECOND, 5000, 1000), filled=1000, fills=(fill(2 * SECOND, 5000, 1000, taker=True),))
    whole = run_of(real, worth=None)
    short = replace(whole, orders=(replace(real, fills=(fill(2 * SECOND, 5000, 400, taker=True),)),))
    found = bridge([a_book()], short, assume())
    worth = found.worths["MADE"].value  # (40 + 50) / 2
    assert found.residual == 600 * (worth - 5000)
    words = residual_words(found)
    assert words.startswith("-$0.300000 of the venue's own P&L comes from no fill of this log")
    assert "order a was filled 10.00 by the venue's count, and its fills add up to 4.00" in words
    assert "10.00 of MADE are held, and the fills come to 4.00" in words


def test_money_that_moved_otherwise_is_a_residual() -> None:
    found = bridge([a_book()], run_of(lost=123_456), assume())
    assert (found.live, found.residual) == (-123_456, -123_456)
    assert found.disagreements == []


def test_a_trade_listed_twice_is_named() -> None:
    twice = tuple(fill(2 * SECOND, 5000, 500, taker=True) for _ in range(2))
    real = replace(sent(2 * SECOND, 5000, 1000), fills=twice)
    one = run_of(replace(real, fills=twice[:1]))
    found = bridge([a_book()], replace(one, orders=(real,)), assume())
    assert found.residual == -500 * (WORTH - 5000)
    assert "trade t of order a is listed twice" in residual_words(found)


def test_without_what_there_was_nothing_can_be_checked() -> None:
    log = run_of(sent(2 * SECOND, 5000, 1000))
    with pytest.raises(UsageError, match="before the run"):
        bridge([a_book()], replace(log, before=None), assume())
    with pytest.raises(UsageError, match="after the run"):
        bridge([a_book()], replace(log, after=None), assume())


def test_an_account_has_one_purse_for_all_markets() -> None:
    """$10 buy 10 contracts at 50 cents in one market, and then 9 in the other, but not 15."""
    tapes = [a_book(), replace(a_book(), market="OTHER")]
    first = sent(2 * SECOND, 5000, 1000, immediate=True)
    first = replace(first, fills=(fill(2 * SECOND, 5000, 1000, taker=True),))
    second = replace(sent(3 * SECOND, 5000, 1500, order="b", immediate=True), market="OTHER", refused="no money")
    third = replace(sent(4 * SECOND, 5000, 900, order="c", immediate=True), market="OTHER")
    third = replace(third, fills=(fill(4 * SECOND, 5000, 900, taker=True),))
    log = run_of(first, second, third)
    poor = replace(log, before=Holding(1, 10 * SECOND), after=replace(log.after or Holding(1, 0), cash=10 * SECOND))
    found = bridge(tapes, poor, assume())
    assert [order.alike for order in found.orders] == [True, True, True]
    assert found.orders[1].timed is not None
    assert found.orders[1].timed.refused


def test_what_self_trade_prevention_withdrew_does_not_stand_in_the_way() -> None:
    """Our ask at 45 really was withdrawn by our own bid at 50 that came to it; so it is here."""
    ask = sent(2 * SECOND, 5500, 1000, side=1, cancelled_us=5 * SECOND)
    bid = sent(5 * SECOND, 5000, 3000, order="b", immediate=True)
    bid = replace(bid, fills=(fill(5 * SECOND, 5000, 3000, taker=True),))
    found = bridge([a_book()], run_of(ask, bid), assume())
    assert [order.alike for order in found.orders] == [True, True]
    assert parts(found) == {"simulated": 3000 * 1000}


def ledger(rng: np.random.Generator, tape: Tape, fees: FeeSchedule) -> AccountLog:
    """Random orders with random fates, and an account of the local exchange that books every fill by its own rules."""
    account = Account("somebody", cash={0: Money(CASH)})
    prices, begins, ends = tape.arrays.price.tolist(), tape.span_us(0)[0], tape.span_us(tape.stretches - 1)[1]
    orders = []
    for number in range(int(rng.integers(1, 25))):
        us = int(rng.integers(begins - SECOND, ends + SECOND))
        side, yes, size = int(rng.integers(2)), int(rng.choice(prices[1:-1])), int(rng.integers(1, 5000))
        later = us + int(rng.integers(0, 20 * SECOND))
        order = Order(
            order=str(number),
            market=tape.market,
            side=side,
            price=DOLLAR - yes if side else yes,
            size=size,
            us=us,
            sent_us=us - int(rng.integers(0, SECOND)) if rng.random() < 0.7 else None,
            immediate=rng.random() < 0.3,
            post_only=rng.random() < 0.2,
            refused="no" if rng.random() < 0.2 else None,
            cancelled_us=later if rng.random() < 0.5 else None,
            cancel_sent_us=later - 1000 if rng.random() < 0.5 else None,
        )
        if order.refused is None:
            ticket = Ticket(ticker=tape.market, side=Side(side), price=Price(yes), size=Size(size))
            booked = UserOrder(account, ticket, fees, 0, us)
            order = replace(order, fills=_fills(rng, order, booked))
        orders.append(order)
    held = {tape.market: int(account.held(tape.market))}
    return AccountLog(tuple(orders), Holding(1, CASH), Holding(ends, int(account.cash[0]), held))


def _fills(rng: np.random.Generator, order: Order, booked: UserOrder) -> tuple[Fill, ...]:
    fills, left, us = [], order.size, order.us
    for number in range(int(rng.integers(0, 4))):
        size = min(left, int(rng.integers(1, 2000)))
        if not size:
            break
        yes, taker = Price(int(rng.integers(1, 100)) * 100), bool(rng.random() < 0.5)
        done = booked.account.fill(booked, (str(number), yes, Size(size)), taker=taker, venue_us=us)
        fills.append(Fill(str(number), us, DOLLAR - yes if order.side else int(yes), size, taker, int(done.fee)))
        left, us = left - size, us + int(rng.integers(0, 10 * SECOND))
    return tuple(fills)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_the_residual_is_nothing_for_any_log(seed: int) -> None:
    """Whatever was sent and whatever came of it, as long as the exchange's own account booked the same fills."""
    rng = np.random.default_rng(seed)
    tape = random_tape(rng, shape=Shape(moments=30), stretches=int(rng.integers(1, 4)))
    fees = FeeSchedule.parse("quadratic_with_maker_fees", 1)
    log = ledger(rng, tape, fees)
    found = bridge([tape], log, assume(Latency.constant(30, 20, 0), fees), seed=seed)
    assert found.residual == 0
    assert found.disagreements == []
    assert sum(found.sum(term) for term in TERMS) == found.live
    assert [order.order.order for order in worst(found, 3)] == [
        order.order.order
        for order in sorted(found.orders, key=lambda o: -abs(o.live - o.simulated))[:3]
        if order.live != order.simulated
    ]


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_the_same_run_gives_the_same_bridge(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tape = random_tape(rng, shape=Shape(moments=30))
    log = ledger(rng, tape, FREE)
    ways = [bridge([tape], log, lambda _: Assumptions(fees=FREE), seed=seed) for _ in range(2)]
    assert document(ways[0]) == document(ways[1])
