"""Own orders out of a recorded book: what is left is the market that everybody else made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.evaluate.parity.bridge import TERMS, bridge
from kflow.evaluate.parity.log import AccountLog, Amend, Fill, Holding, Order
from kflow.evaluate.parity.unseen import TAKE, Effect, Unseen, effects_of, over_us
from kflow.market.fees import FeeSchedule
from kflow.sim.fills import NO_LATENCY, Assumptions, Latency
from kflow.sim.tape import ADD, CANCEL, PRINT, TRADE, Tape
from kflow.testing.tapes import Change, tape_of
from kflow.units import DOLLAR

SECOND = 1_000_000
FREE = FeeSchedule(Fraction(0), Fraction(0))
YES, NO = [(4000, 10_000)], [(5000, 10_000)]  # 40 bid, 50 asked
EDGES: list[Change] = [(SECOND, 0, 3000, 1, 0), (60 * SECOND, 0, 3000, 1, 0)]


def sent(us: int, price: int, size: int, *, side: int = 0, order: str = "a", **more: Any) -> Order:
    return Order(order=order, market="MADE", side=side, price=price, size=size, us=us, **more)


def made(us: int, price: int, size: int) -> Fill:
    return Fill("t", us, price, size, False, 0)


def took(us: int, price: int, size: int) -> Fill:
    return Fill("t", us, price, size, True, 0)


def held_us(*changes: Change, yes: Sequence[tuple[int, int]] = YES, no: Sequence[tuple[int, int]] = NO) -> Tape:
    return tape_of(yes, no, sorted([*EDGES, *changes]))


def events(tape: Tape) -> list[tuple[int, int, int, int, int]]:
    """What changes, without what does not: (µs, kind, side, YES price, size)."""
    arrays = tape.arrays
    kinds, sides = arrays.code & 3, arrays.code >> 2 & 1
    columns = (arrays.us, kinds, sides, arrays.price[arrays.col], arrays.size)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [row for row in rows if row[4] and row[3] != 3000]


# What an order leaves in a book.


def test_an_order_rests_is_filled_and_leaves() -> None:
    order = sent(5, 4000, 1000, cancelled_us=30, fills=(made(20, 4000, 300),))
    assert effects_of(order) == [
        Effect(5, ADD, 0, 4000, 1000),
        Effect(20, TRADE, 0, 4000, 300),
        Effect(30, CANCEL, 0, 4000, 700),
    ]
    assert over_us(order) == 30


def test_an_order_takes_on_arrival_and_rests_with_what_is_left() -> None:
    """A buyer of NO at 55 takes YES bids at 45 and stands as an ask there."""
    order = sent(5, 5500, 1000, side=1, fills=(took(5, 5500, 400),))
    assert effects_of(order) == [Effect(5, TAKE, 0, 4500, 400), Effect(5, ADD, 1, 4500, 600)]
    assert over_us(order) is None


def test_amending_to_less_keeps_the_place_and_to_another_price_does_not() -> None:
    order = sent(5, 4000, 1000, amends=(Amend(10, None, 4000, 600), Amend(20, None, 4100, 600)))
    assert effects_of(order)[1:] == [
        Effect(10, CANCEL, 0, 4000, 400),
        Effect(20, CANCEL, 0, 4000, 600),
        Effect(20, ADD, 0, 4100, 600),
    ]


@pytest.mark.parametrize("more", [{"refused": "no"}, {"immediate": True}, {"cancelled_us": 5}])
def test_what_never_rested_leaves_nothing(more: dict[str, Any]) -> None:
    order = sent(5, 4000, 1000, **more)
    assert effects_of(order) == []
    assert over_us(order) == 5


# Taking them out.


def test_what_rested_is_out_of_its_level_and_what_filled_it_is_a_print() -> None:
    """30 of ours stand behind 100; 110 are sold: 100 from them, 10 from us. Then we leave."""
    tape = held_us(
        (2 * SECOND, 0, 4000, 3000, 0),
        (5 * SECOND, 0, 4000, -10_000, 10_000),
        (5 * SECOND, 0, 4000, -1000, 1000),
        (9 * SECOND, 0, 4000, -2000, 0),
    )
    order = sent(2 * SECOND, 4000, 3000, cancelled_us=9 * SECOND, fills=(made(5 * SECOND, 4000, 1000),))
    unseen = Unseen(tape, 0, [order])
    assert (unseen.expected, unseen.found) == (1, 1)
    alone, removals = unseen.at({})
    assert removals == []
    assert events(alone) == [(5 * SECOND, TRADE, 0, 4000, 10_000), (5 * SECOND, PRINT, 0, 4000, 1000)]


def test_the_simulated_order_then_gets_what_the_real_one_got() -> None:
    tape = held_us(
        (2 * SECOND, 0, 4000, 3000, 0),
        (5 * SECOND, 0, 4000, -10_000, 10_000),
        (5 * SECOND, 0, 4000, -1000, 1000),
        (9 * SECOND, 0, 4000, -2000, 0),
    )
    order = sent(2 * SECOND, 4000, 3000, cancelled_us=9 * SECOND, fills=(made(5 * SECOND, 4000, 1000),))
    found = bridge([tape], _log(order), lambda _: Assumptions(latency=NO_LATENCY, fees=FREE))
    assert found.in_book
    assert [found.sum(term) for term in TERMS] == [found.live, 0, 0, 0, 0, 0]
    # In the book as recorded it would have stood behind itself, and got nothing.
    stranger = replace(order, us=order.us + 1, cancelled_us=None, fills=())
    doubled = bridge([tape], _log(stranger), lambda _: Assumptions(latency=NO_LATENCY, fees=FREE))
    assert not doubled.in_book
    assert doubled.orders[0].timed is not None
    assert doubled.orders[0].timed.got == 0


def test_what_was_taken_goes_behind_the_order_that_takes_it() -> None:
    tape = held_us((2 * SECOND, 1, 5000, -4000, 4000))
    order = sent(2 * SECOND, 5000, 4000, immediate=True, fills=(took(2 * SECOND, 5000, 4000),))
    unseen = Unseen(tape, 0, [order])
    for arrives in (2 * SECOND, 2 * SECOND + 40_000, SECOND + 500_000):
        alone, _ = unseen.at({"a": arrives})
        assert events(alone) == [(arrives + 1, CANCEL, 1, 5000, 4000)]


def test_what_was_taken_early_is_never_more_than_there_was() -> None:
    """10 are asked until 40 more come at 1.9 s and we take 45 at 2 s. At 1.5 s ten could be taken, at 2 s the rest."""
    tape = held_us((1_900_000, 1, 5000, 4000, 0), (2 * SECOND, 1, 5000, -4500, 4500), no=[(5000, 1000)])
    order = sent(2 * SECOND, 5000, 4500, immediate=True, fills=(took(2 * SECOND, 5000, 4500),))
    alone, _ = Unseen(tape, 0, [order]).at({"a": 1_500_000})
    assert events(alone) == [
        (1_500_001, CANCEL, 1, 5000, 1000),
        (1_900_000, ADD, 1, 5000, 4000),
        (2 * SECOND + 1, CANCEL, 1, 5000, 3500),
    ]


def test_nothing_that_we_took_counts_as_taken_twice() -> None:
    """We take 40 of 100 at 50 and half a second later the other 60: the recording has both, and so does the model."""
    tape = held_us((2 * SECOND, 1, 5000, -4000, 4000), (2_500_000, 1, 5000, -6000, 6000))
    first = sent(2 * SECOND, 5000, 4000, immediate=True, fills=(took(2 * SECOND, 5000, 4000),))
    second = sent(2_500_000, 5000, 6000, order="b", immediate=True, fills=(took(2_500_000, 5000, 6000),))
    found = bridge([tape], _log(first, second), lambda _: Assumptions(latency=NO_LATENCY, fees=FREE))
    assert [order.timed.got for order in found.orders if order.timed] == [4000, 6000]
    assert found.sum("queue") == found.residual == 0


def test_what_rests_across_the_beginning_is_out_of_the_first_book() -> None:
    order = sent(10, 4000, 3000)
    unseen = Unseen(held_us(), 0, [order])
    assert int(unseen.start[0].sum()) == 7000 + 0
    assert unseen.found == 1


def test_a_change_is_known_to_the_millisecond() -> None:
    """As its answer is stamped: 20 of 30 are given up 0.4 ms before the log says so."""
    tape = held_us((2 * SECOND, 0, 4000, 3000, 0), (3 * SECOND + 600, 0, 4000, -2000, 0))
    amended = sent(2 * SECOND, 4000, 3000, amends=(Amend(3 * SECOND + 1000, None, 4000, 1000),))
    assert events(Unseen(tape, 0, [amended]).at({})[0]) == []
    later = replace(amended, amends=(Amend(3 * SECOND + 2000, None, 4000, 1000),))
    assert Unseen(tape, 0, [later]).found == 0


def test_an_order_of_which_not_all_is_found_stays() -> None:
    """The log says that it was withdrawn at 9 s; the book says otherwise."""
    tape = held_us((2 * SECOND, 0, 4000, 3000, 0))
    unseen = Unseen(tape, 0, [sent(2 * SECOND, 4000, 3000, cancelled_us=9 * SECOND)])
    assert (unseen.expected, unseen.found) == (1, 0)
    assert events(unseen.at({})[0]) == events(tape)


def test_a_level_never_falls_below_nothing() -> None:
    """Another withdrew our size at our price: whose it was cannot be, so the order stays in its book."""
    tape = held_us((2 * SECOND, 0, 4100, 3000, 0), (3 * SECOND, 0, 4100, -3000, 0))
    unseen = Unseen(tape, 0, [sent(2 * SECOND, 4100, 3000)])
    assert (unseen.expected, unseen.found) == (1, 0)


def test_a_book_that_never_held_us_is_left_alone() -> None:
    """As where a recording is served again: orders are filled by what it shows, and it does not show them."""
    tape = held_us((5 * SECOND, 0, 4000, -10_500, 10_500), yes=[(4000, 10_500)])
    order = sent(2 * SECOND, 4000, 1000, cancelled_us=30 * SECOND, fills=())
    found = bridge([tape], _log(order), lambda _: Assumptions(latency=NO_LATENCY, fees=FREE))
    assert (found.in_book, found.seen) == (False, (1, 0))
    assert found.orders[0].timed is not None
    assert found.orders[0].timed.ahead == 10_500


def _log(*orders: Order) -> AccountLog:
    cash = -sum(fill.size * fill.price for order in orders for fill in order.fills)
    held = sum(-order.got if order.side else order.got for order in orders)
    begins = 10_000 * SECOND
    return AccountLog(orders, Holding(1, begins), Holding(60 * SECOND, begins + cash, {"MADE": held} if held else {}))


def _others(rng: np.random.Generator, count: int) -> list[Change]:
    """Sizes that come at prices near ours, and go again."""
    changes: list[Change] = []
    for _ in range(count):
        side, price, size = int(rng.integers(2)), int(rng.choice([3900, 4000, 4700, 4800])), int(rng.integers(1, 5000))
        comes, goes = np.sort(rng.integers(2 * SECOND, 50 * SECOND, 2)).tolist()
        changes += [(comes, side, price, size, 0), (goes + 1, side, price, -size, size if rng.random() < 0.5 else 0)]
    return changes


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_taking_out_what_was_put_in_gives_the_market_of_the_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    others = _others(rng, 12)
    orders, ours = [], []
    taken_us = {change[0] for change in others}
    for number in range(int(rng.integers(1, 8))):
        side, price, size = int(rng.integers(2)), int(rng.choice([3900, 4000, 4700])), int(rng.integers(1, 3000))
        us, goes = np.sort(rng.integers(2 * SECOND, 50 * SECOND, 2)).tolist()
        if {us, goes + 1} & taken_us:
            continue
        taken_us |= {us, goes + 1}
        orders.append(sent(us, price, size, side=side, order=str(number), cancelled_us=goes + 1))
        ours += [(us, side, price, size, 0), (goes + 1, side, price, -size, 0)]
    alone = tape_of(YES, NO, sorted([*EDGES, *others]))
    unseen = Unseen(tape_of(YES, NO, sorted([*EDGES, *others, *ours])), 0, orders)
    assert unseen.found == len(orders)
    assert events(unseen.at({})[0]) == events(alone)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_whatever_the_latency_no_level_falls_below_nothing(seed: int) -> None:
    """Takes are moved to wherever the assumed latency has them arrive; compiling the tape checks every level.

    Ten are asked at 50 until 20 s, then a hundred. All was taken after 20 s, and may be assumed to arrive before.
    """
    rng = np.random.default_rng(seed)
    others, takes, orders = _others(rng, 10), [(20 * SECOND, 1, 5000, 9000, 0)], []
    times = sorted({int(us) for us in rng.integers(21 * SECOND, 50 * SECOND, 8)} - {change[0] for change in others})
    for number, us in enumerate(times):
        size, sent_us = int(rng.integers(1, 1200)), us - int(rng.integers(0, 30 * SECOND))
        takes.append((us, 1, 5000, -size, size))
        orders.append(
            sent(us, 5000, size, order=str(number), immediate=True, sent_us=sent_us, fills=(took(us, 5000, size),))
        )
    tape = tape_of(YES, [(5000, 1000)], sorted([*EDGES, *others, *takes]))
    slow = Latency.constant(float(rng.integers(0, 20_000)), 0, 0)
    found = bridge([tape], _log(*orders), lambda _: Assumptions(latency=slow, fees=FREE), seed=seed)
    assert found.seen == (len(orders), len(orders))
    assert found.residual == 0
    assert DOLLAR > found.worths["MADE"].value > 0
