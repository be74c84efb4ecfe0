"""An order is a machine that only goes forward, an account the sum of its fills: any history, against plain ones."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kflow.act.orders import ENDS, STEPS, Account, Fill, IllegalStep, Intent, Order, State
from kflow.units import DOLLAR

RUNS = (uuid.UUID(int=1), uuid.UUID(int=2))
STATES = st.sampled_from(State)
PLACED = frozenset({State.RESTING, State.FILLED, State.CANCELLED, State.EXPIRED})


def intent(
    number: int = 0, size: int = 500, *, run: uuid.UUID = RUNS[0], epoch: int = 1, market: str = "M", side: int = 0
) -> Intent:
    return Intent(
        run=run,
        number=number,
        market=market,
        action="buy",
        side=side,
        price=4000,
        size=size,
        immediate=False,
        decided_us=1,
        version=1,
        digest="",
        epoch=epoch,
        limits="",
    )


class Orders(RuleBasedStateMachine):
    """One order, told anything in any order; what is legal is said here anew."""

    def __init__(self) -> None:
        super().__init__()
        self.order = Order(intent())
        self.trades: dict[str, int] = {}  # that were taken
        self.numbers = itertools.count()
        self.us = 1

    def legal(self, state: State) -> bool:
        """Forward only: written down, sent, perhaps unknown, perhaps resting, over."""
        now = self.order.state
        if now is state:
            return True
        if now is State.STORED:
            return state in (State.SENT, State.REFUSED, State.ABSENT)
        if now is State.SENT:
            return state is not State.STORED
        if now is State.UNKNOWN:
            return state not in (State.STORED, State.SENT)
        if now is State.RESTING:
            return state in (State.FILLED, State.CANCELLED, State.EXPIRED)
        return False

    @rule(state=STATES, named=st.booleans())
    def step(self, state: State, named: bool) -> None:
        before, self.us = self.order, self.us + 1
        if not self.legal(state):
            with pytest.raises(IllegalStep):
                before.step(state, self.us)
            return
        self.order = before.step(state, self.us, venue_id="v" if named else None)
        assert self.order.state is state
        assert self.order.fills == before.fills
        assert self.order.venue_id == ("v" if named else before.venue_id)

    @rule(size=st.integers(1, 600))
    def fill(self, size: int) -> None:
        trade = f"t{next(self.numbers)}"
        before, self.us = self.order, self.us + 1
        if sum(self.trades.values()) + size > 500:
            with pytest.raises(IllegalStep):
                before.filled_by(Fill(trade, self.us, 4000, size, 0, True))
            return
        self.order = before.filled_by(Fill(trade, self.us, 4000, size, 0, True))
        self.trades[trade] = size
        whole = sum(self.trades.values()) == 500
        # Whatever was thought of it: a fill that makes it whole wins.
        assert self.order.state is (State.FILLED if whole else before.state)

    @precondition(lambda self: self.trades)
    @rule(data=st.data(), size=st.integers(1, 600))
    def fill_again(self, data: st.DataObject, size: int) -> None:
        trade = data.draw(st.sampled_from(sorted(self.trades)))
        assert self.order.filled_by(Fill(trade, self.us + 1, 1, size, 0, False)) is self.order

    @invariant()
    def holds(self) -> None:
        order = self.order
        assert order.filled == sum(self.trades.values()) <= order.intent.size
        assert order.over == (order.state in ENDS)
        assert order.left == (0 if order.over else 500 - order.filled)
        if order.filled == 500:
            assert order.state is State.FILLED

    @invariant()
    def nothing_follows_an_end(self) -> None:
        if not self.order.over:
            return
        for state in State:
            if state is self.order.state:
                assert self.order.step(state, self.us + 1) is self.order
            else:
                with pytest.raises(IllegalStep):
                    self.order.step(state, self.us + 1)


Orders.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestOrders = Orders.TestCase


def test_every_state_has_its_steps_and_no_step_goes_back() -> None:
    assert set(STEPS) == set(State)
    seen: dict[State, frozenset[State]] = {}

    def beyond(state: State) -> frozenset[State]:
        if state not in seen:
            seen[state] = frozenset().union(*({after} | beyond(after) for after in STEPS[state]))
        return seen[state]

    for state in State:
        assert state not in beyond(state)
        assert state in ENDS or beyond(state) >= ENDS - {State.REFUSED, State.ABSENT}
    # What the venue had once was neither refused nor absent.
    assert not {State.REFUSED, State.ABSENT, State.UNKNOWN} & beyond(State.RESTING)


# Ids.


@given(
    st.lists(
        st.builds(
            intent,
            st.integers(1, 2),
            st.just(100),
            run=st.sampled_from(RUNS),
            epoch=st.sampled_from([1, 2, 11]),
            market=st.sampled_from(["M", "1", "1/1"]),
        ),
        min_size=10,
        max_size=40,
    )
)
def test_an_id_is_of_one_decision_and_always_the_same(intents: list[Intent]) -> None:
    decisions = {(one.run, one.epoch, one.market, one.number) for one in intents}
    assert len({one.client_order_id for one in intents}) == len(decisions)
    for one in intents:
        again = replace(one, price=1, size=7, expires_us=9)
        assert again.client_order_id == one.client_order_id
        assert uuid.UUID(one.client_order_id).version == 5


class Venue(RuleBasedStateMachine):
    """An intent, sent once by an actor that dies and begins again, over a line that loses and doubles what is sent.

    The venue refuses an id that it has. So one intent is one order there, whatever we believe of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.mine = Order(intent(self.number, 100))
        self.log: dict[str, Order] = {}
        self.on_the_line: list[str] = []
        self.at_venue: dict[str, int] = {}  # orders by id
        self.alive: dict[str, int] = {}

    @precondition(lambda self: self.mine.state is State.STORED)
    @rule()
    def send(self) -> None:
        self.mine = self.mine.step(State.SENT, 1)
        self.on_the_line.append(self.mine.intent.client_order_id)

    @precondition(lambda self: self.on_the_line)
    @rule(data=st.data(), doubled=st.booleans(), lost=st.booleans())
    def arrive(self, data: st.DataObject, doubled: bool, lost: bool) -> None:
        """Late or out of order; a line may double it."""
        mine = data.draw(st.sampled_from(self.on_the_line))
        if not doubled:
            self.on_the_line.remove(mine)
        if lost or mine in self.at_venue:
            return
        self.at_venue[mine] = self.at_venue.get(mine, 0) + 1
        self.alive[mine] = self.alive.get(mine, 0) + 1

    @precondition(lambda self: self.mine.state is State.SENT)
    @rule()
    def hear_nothing(self) -> None:
        self.mine = self.mine.step(State.UNKNOWN, 2)

    @precondition(lambda self: self.mine.state in (State.SENT, State.UNKNOWN))
    @rule()
    def look_up(self) -> None:
        mine = self.mine.intent.client_order_id
        if mine in self.at_venue:
            self.mine = self.mine.step(State.RESTING, 3)
        elif mine not in self.on_the_line:
            self.mine = self.mine.step(State.ABSENT, 3)

    @precondition(lambda self: self.mine.over)
    @rule()
    def decide_anew(self) -> None:
        self.log[self.mine.intent.client_order_id] = self.mine
        self.number += 1
        self.mine = Order(intent(self.number, 100))

    @precondition(lambda self: self.mine.state is State.RESTING)
    @rule()
    def fill(self) -> None:
        self.alive[self.mine.intent.client_order_id] -= 1
        self.mine = self.mine.filled_by(Fill("t", 4, 4000, 100, 0, False))

    @invariant()
    def one_order_of_an_intent(self) -> None:
        assert all(count <= 1 for count in self.at_venue.values())
        assert sum(self.alive.values()) <= 1
        assert not any(order.state is State.ABSENT and mine in self.at_venue for mine, order in self.log.items())


Venue.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestVenue = Venue.TestCase


# Accounts.

FILLS = st.lists(
    st.tuples(
        st.sampled_from("MN"),
        st.integers(0, 1),
        st.integers(1, 9999),
        st.integers(1, 1000),
        st.integers(0, 10_000),
        st.integers(0, 3),  # the order
    ),
    max_size=25,
)


@given(FILLS, st.randoms(use_true_random=False), st.dictionaries(st.sampled_from("MN"), st.integers(0, 10_000)))
@settings(max_examples=300, deadline=None)
def test_an_account_is_what_its_fills_say(
    fills: list[tuple[str, int, int, int, int, int]], random: object, values: dict[str, int]
) -> None:
    """Against a plain restatement: each contract is a ticket; two of both sides are handed in for a dollar."""
    account = Account(1_000_000)
    told = [
        (market, side, f"order {order}", Fill(f"t{number}", number, price, size, fee, False))
        for number, (market, side, price, size, fee, order) in enumerate(fills)
    ]
    again = [*told, *told[::2]]
    random.shuffle(again)  # type: ignore[attr-defined]
    booked = sum(account.apply(*one) for one in again)
    assert booked == len(told)

    paid = sum(price * size + fee for _, _, price, size, fee, _ in fills)
    tickets = {(m, s): sum(f[3] for f in fills if f[:2] == (m, s)) for m in "MN" for s in (0, 1)}
    pairs = {market: min(tickets[market, 0], tickets[market, 1]) for market in "MN"}
    assert account.cash == 1_000_000 - paid + sum(pairs.values()) * DOLLAR
    assert account.fees == sum(fee for *_, fee, _ in fills)
    for market in "MN":
        assert account.positions.get(market, 0) == tickets[market, 0] - tickets[market, 1]

    for market, value in values.items():
        account.settle(market, value)
        account.settle(market, value)
        assert market not in account.positions
    # Settling pays every ticket what it is worth: a pair a dollar, whether it was handed in or not.
    worth = sum(
        tickets[market, 0] * values[market] + tickets[market, 1] * (DOLLAR - values[market])
        if market in values
        else pairs[market] * DOLLAR
        for market in "MN"
    )
    assert account.cash == 1_000_000 - paid + worth
