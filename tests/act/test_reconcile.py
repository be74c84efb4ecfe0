"""Belief against truth: whatever was lost, doubled or swapped on its way, afterwards we know what the venue knows."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.act.orders import Account, Fill, Intent, Order, State
from kflow.act.reconcile import GRACE_US, RACE_US, Belief, Kind, Outcome, begin, reconcile
from kflow.act.venue import Truth, VenueFill, VenueOrder
from kflow.units import DOLLAR

RUN = uuid.UUID(int=7)
START_US, TRUTH_US = 1_000_000_000, 1_600_000_000
EPOCH = 3
CASH = 1_000_000_000


def intent(
    number: int, market: str = "M", side: int = 0, price: int = 4000, size: int = 500, epoch: int = EPOCH
) -> Intent:
    return Intent(
        run=RUN,
        number=number,
        market=market,
        action="buy",
        side=side,
        price=price,
        size=size,
        immediate=False,
        decided_us=START_US + number,
        version=1,
        digest="",
        epoch=epoch,
        limits="",
    )


def told(wish: Intent, state: str = "resting", filled: int = 0, venue_id: str = "") -> VenueOrder:
    venue_id = venue_id or f"v{wish.number}"
    return VenueOrder(
        venue_id, wish.client_order_id, wish.market, wish.side, wish.price, wish.size, filled, state, None
    )


def truth(
    orders: Sequence[VenueOrder] = (),
    fills: Sequence[VenueFill] = (),
    positions: dict[str, int] | None = None,
    cash: int = CASH,
) -> Truth:
    return Truth(TRUTH_US, orders, fills, positions or {}, cash)


def believing(*orders: Order, cash: int = CASH, **more: object) -> Belief:
    held = {order.intent.client_order_id: order for order in orders}
    return Belief(orders=held, account=Account(cash), epoch=EPOCH, **more)  # type: ignore[arg-type]


def resting(wish: Intent) -> Order:
    us = wish.decided_us
    return Order(wish, updated_us=us).step(State.SENT, us).step(State.RESTING, us, venue_id=f"v{wish.number}")


def kinds(outcome: Outcome) -> list[Kind]:
    return [difference.kind for difference in outcome.differences]


def fill_of(wish: Intent, size: int, trade: str = "t1", fee: int = 1000, us: int = START_US + 10) -> VenueFill:
    return VenueFill(f"v{wish.number}", wish.market, wish.side, Fill(trade, us, wish.price, size, fee, False))


# Any history.


@dataclass
class Fate:
    """What became of an order at the venue, and what of that reached us."""

    wish: Intent
    arrived: bool
    fills: list[Fill]
    end: str  # the venue's state
    heard: list[int] = field(default_factory=list)  # fills by index, doubled and in any order
    answer: str = ""  # acked, unclear, sent, stored, or unlisted: only the log knows it
    heard_end: bool = False

    @property
    def filled(self) -> int:
        return sum(fill.size for fill in self.fills)

    def at_venue(self) -> VenueOrder:
        return told(self.wish, self.end, self.filled)

    def believed(self) -> Order | None:
        order = Order(self.wish, updated_us=self.wish.decided_us)
        venue_id = f"v{self.wish.number}"
        if self.answer == "unlisted":
            return None
        if self.answer != "stored":
            order = order.step(State.SENT, order.updated_us)
        if self.answer == "unclear":
            order = order.step(State.UNKNOWN, order.updated_us)
        if self.answer == "acked":
            order = order.step(State.RESTING, order.updated_us, venue_id=venue_id)
            for index in self.heard:
                order = order.filled_by(self.fills[index])
            if self.heard_end and self.end == "cancelled" and not order.over:
                order = order.step(State.CANCELLED, order.updated_us)
        return order


@st.composite
def fates(draw: st.DrawFn) -> list[Fate]:
    made = []
    for number in range(draw(st.integers(0, 8))):
        wish = intent(
            number,
            draw(st.sampled_from("MN")),
            draw(st.integers(0, 1)),
            draw(st.integers(1, 9999)),
            draw(st.integers(1, 9)) * 100,
        )
        arrived = draw(st.booleans()) or draw(st.booleans())
        parts: list[int] = draw(st.lists(st.integers(1, wish.size), max_size=4)) if arrived else []
        while sum(parts) > wish.size:
            parts.pop()
        fills = [
            Fill(f"t{number}-{i}", START_US + i, draw(st.integers(1, 9999)), part, draw(st.integers(0, 900)), False)
            for i, part in enumerate(parts)
        ]
        whole = sum(parts) == wish.size
        fate = Fate(wish, arrived, fills, "filled" if whole else draw(st.sampled_from(["resting", "cancelled"])))
        answers = ["unclear", "sent", "stored", "unlisted"] + (["acked"] * 3 if arrived else [])
        fate.answer = draw(st.sampled_from(answers))
        if fills:
            fate.heard = draw(st.lists(st.integers(0, len(fills) - 1), max_size=6))
        fate.heard_end = draw(st.booleans())
        made.append(fate)
    return made


def money(fates: Sequence[tuple[int, str, Fill]]) -> tuple[int, dict[str, int]]:
    """Cash and positions by what was bought of each side, in whatever order: a pair of both sides paid a dollar."""
    cash, positions = CASH, {}
    for market in "MN":
        bought = [sum(fill.size for side, where, fill in fates if (side, where) == (s, market)) for s in (0, 1)]
        cash += min(bought) * DOLLAR
        positions[market] = bought[0] - bought[1]
    cash -= sum(fill.price * fill.size + fill.fee for _, _, fill in fates)
    return cash, {market: held for market, held in positions.items() if held}


def as_believed(fates: Sequence[Fate]) -> Belief:
    orders, account = {}, Account(CASH)
    for fate in fates:
        order = fate.believed()
        if order is not None:
            orders[fate.wish.client_order_id] = order
            for fill in order.fills.values():
                account.apply(fate.wish.market, fate.wish.side, fate.wish.client_order_id, fill)
    log = {fate.wish.client_order_id: fate.wish for fate in fates}
    return Belief(orders=orders, account=account, epoch=EPOCH, intents=log)


def snapshot(outcome: Outcome) -> tuple[object, ...]:
    held = {market: size for market, size in outcome.account.positions.items() if size}
    return outcome.orders, held, outcome.account.cash, outcome.account.fees, outcome.external


def settle_questions(
    belief: Belief, said: Truth, fates: Sequence[Fate]
) -> tuple[Outcome, dict[str, VenueOrder | None]]:
    """Reconcile as an actor does: what was not mentioned is asked after by its id."""
    first = reconcile(belief, said)
    by_id = {fate.wish.client_order_id: fate for fate in fates}
    answers = {mine: by_id[mine].at_venue() if by_id[mine].arrived else None for mine in first.ask}
    return reconcile(belief, said, found=answers), answers


@given(fates(), st.randoms(use_true_random=False), st.sets(st.integers(0, 7)), st.integers(0, 3))
@settings(max_examples=400, deadline=None)
def test_afterwards_we_know_what_the_venue_knows(
    fates: list[Fate], random: object, unlisted: set[int], strangers: int
) -> None:
    ended = {"filled", "cancelled"}
    # What ended may be too long ago for the list; what rests is always in it.
    listed = [f for f in fates if f.arrived and not (f.end in ended and not f.fills and f.wish.number in unlisted)]
    others = [intent(100 + i, "M", i % 2) for i in range(strangers)]
    strange = [told(wish, "resting", 100)._replace(mine="") for wish in others]
    fills = [VenueFill(f"v{f.wish.number}", f.wish.market, f.wish.side, fill) for f in fates for fill in f.fills]
    fills += [fill_of(wish, 100, trade=f"s{wish.number}") for wish in others]
    random.shuffle(fills)  # type: ignore[attr-defined]
    cash, positions = money([(told.side, told.market, told.fill) for told in fills])
    said = truth([f.at_venue() for f in listed] + strange, fills + fills[:2], positions, cash)
    belief = as_believed(fates)
    before = copy.deepcopy(belief)

    outcome, answers = settle_questions(belief, said, fates)

    assert belief == before
    assert not outcome.ask
    for fate in fates:
        mine = fate.wish.client_order_id
        order = outcome.orders.get(mine)
        if order is None:  # only the log knew it, and nothing came of it
            assert fate.answer == "unlisted"
            assert not fate.fills
            assert not fate.arrived or fate.end == "cancelled"
            continue
        assert dict(order.fills) == {fill.trade: fill for fill in fate.fills}
        if not fate.arrived:
            assert order.state is State.ABSENT
        else:
            assert order.over == (fate.end in ended)
            assert (order.state is State.FILLED) == (fate.end == "filled")
            assert (order.state is State.RESTING) == (fate.end == "resting")
    assert outcome.account.cash == cash
    assert {market: held for market, held in outcome.account.positions.items() if held} == positions
    assert not {Kind.POSITION, Kind.CASH, Kind.OWED} & set(kinds(outcome))
    assert kinds(outcome).count(Kind.EXTERNAL_ORDER) == kinds(outcome).count(Kind.EXTERNAL_FILL) == strangers
    assert not any(order.mine == "" for order in outcome.cancel)

    again = replace(belief, orders=outcome.orders, account=outcome.account, external=frozenset(outcome.external))
    twice = reconcile(again, said, found=answers)
    assert snapshot(twice) == snapshot(outcome)
    assert kinds(twice) == []


@given(fates())
@settings(max_examples=100, deadline=None)
def test_an_account_begun_from_the_truth_has_its_fills(fates: list[Fate]) -> None:
    fills = [VenueFill(f"v{f.wish.number}", f.wish.market, f.wish.side, fill) for f in fates for fill in f.fills]
    said = truth([f.at_venue() for f in fates if f.arrived], fills, {"M": 300, "N": 0}, 5_000_000)
    log = {fate.wish.client_order_id: fate.wish for fate in fates}
    account = begin(said, log)
    assert (account.cash, account.positions) == (5_000_000, {"M": 300})
    outcome = reconcile(Belief(orders={}, account=account, epoch=EPOCH, intents=log), said)
    assert (outcome.account.cash, outcome.account.positions) == (5_000_000, {"M": 300})
    assert not outcome.halts


# Orders.


@pytest.mark.parametrize("us", [START_US + 10, TRUTH_US - RACE_US - 1])
def test_what_an_account_began_with_is_not_booked_again_when_its_order_is_known(us: int) -> None:
    """An order that ended just before the reach of the first look is within that of a later one."""
    wish = intent(1)
    log, filled = {wish.client_order_id: wish}, fill_of(wish, 500, us=us)
    said = truth((), [filled], {"M": 500})
    first = reconcile(Belief(orders={}, account=begin(said, log), epoch=EPOCH, intents=log), said)
    later = truth([told(wish, "filled", 500)], [filled], {"M": 500})
    belief = Belief(orders=first.orders, account=first.account, epoch=EPOCH, intents=log, external=first.external)
    outcome = reconcile(belief, later)
    assert outcome.account.positions == {"M": 500}
    assert outcome.account.cash == CASH
    assert not outcome.halts


@pytest.mark.parametrize("state", ["filled", "cancelled"])
@pytest.mark.parametrize("shown", [(), (100,), (100, 400)], ids=["no fill", "one fill", "both fills"])
def test_what_was_over_before_we_began_is_not_followed(state: str, shown: tuple[int, ...]) -> None:
    """The venue still tells of the order, and its first fills lie before the reach: they will never be told."""
    wish = intent(1)
    log = {wish.client_order_id: wish}
    fills = [fill_of(wish, size, trade=f"t{size}") for size in shown]
    said = truth([told(wish, state, 500)], fills, {"M": 500})
    outcome = reconcile(Belief(orders={}, account=begin(said, log), epoch=EPOCH, intents=log), said)
    assert (outcome.orders, kinds(outcome), outcome.ask, outcome.account.positions) == ({}, [], [], {"M": 500})


def test_a_fill_after_we_began_is_booked_though_the_log_holds_its_order_for_over() -> None:
    wish = intent(1)
    log = {wish.client_order_id: wish}
    account = begin(truth(), log)
    late = fill_of(wish, 500, us=TRUTH_US)
    outcome = reconcile(
        Belief(orders={}, account=account, epoch=EPOCH, intents=log),
        truth([told(wish, "filled", 500)], [late], {"M": 500}, CASH - wish.price * 500 - late.fill.fee),
    )
    assert outcome.orders[wish.client_order_id].state is State.FILLED
    assert outcome.account.positions == {"M": 500}
    assert not outcome.halts


def test_not_mentioned_is_not_gone() -> None:
    order = resting(intent(1))
    outcome = reconcile(believing(order), truth())
    assert outcome.ask == [order.intent.client_order_id]
    assert outcome.orders[order.intent.client_order_id] == order
    assert kinds(outcome) == [Kind.UNASKED]
    assert outcome.halts == {}


def test_an_unknown_order_is_absent_only_after_its_grace() -> None:
    wish = intent(1)
    mine = wish.client_order_id
    order = Order(wish).step(State.SENT, TRUTH_US - GRACE_US).step(State.UNKNOWN, TRUTH_US - GRACE_US)
    outcome = reconcile(believing(order), truth(), found={mine: None})
    assert outcome.orders[mine].state is State.UNKNOWN
    older = replace(order, updated_us=order.updated_us - 1)
    outcome = reconcile(believing(older), truth(), found={mine: None})
    assert outcome.orders[mine].state is State.ABSENT
    assert kinds(outcome) == [Kind.ABSENT]


def test_no_answer_leaves_it_unknown() -> None:
    order = Order(intent(1)).step(State.SENT, START_US).step(State.UNKNOWN, START_US)
    outcome = reconcile(believing(order), truth(), found={})
    assert outcome.orders[order.intent.client_order_id].state is State.UNKNOWN


def test_what_is_younger_than_the_truth_is_not_judged() -> None:
    young = Order(intent(1)).step(State.SENT, TRUTH_US - RACE_US + 1)
    ended = resting(intent(2)).step(State.CANCELLED, TRUTH_US - RACE_US + 1)
    outcome = reconcile(believing(young, ended), truth([told(intent(2))]))
    assert (kinds(outcome), outcome.ask, outcome.cancel) == ([], [], [])


def test_one_that_rested_and_is_not_known_any_more_halts_its_market() -> None:
    order = resting(intent(1))
    mine = order.intent.client_order_id
    outcome = reconcile(believing(order), truth(), found={mine: None})
    assert outcome.orders[mine].state is State.RESTING
    assert list(outcome.halts) == ["M"]


def test_one_whose_time_was_over_has_expired() -> None:
    order = resting(replace(intent(1), expires_us=START_US + 60_000_000))
    mine = order.intent.client_order_id
    assert reconcile(believing(order), truth(), found={mine: None}).orders[mine].state is State.EXPIRED
    late = told(order.intent, "cancelled")._replace(expires_us=START_US + 60_000_000)
    assert reconcile(believing(order), truth([late])).orders[mine].state is State.EXPIRED


@pytest.mark.parametrize(
    ("epoch", "kind", "halts", "cancelled"),
    [
        (EPOCH, Kind.ADOPTED, [], 0),
        (EPOCH - 1, Kind.OLD_EPOCH, [], 1),
        (EPOCH + 1, Kind.NEW_EPOCH, [None], 0),
    ],
)
def test_one_that_only_the_log_knows(epoch: int, kind: Kind, halts: list[str | None], cancelled: int) -> None:
    wish = intent(1, epoch=epoch)
    outcome = reconcile(believing(intents={wish.client_order_id: wish}), truth([told(wish)]))
    assert kinds(outcome) == [kind]
    assert list(outcome.halts) == halts
    assert outcome.cancel == [told(wish)] * cancelled
    assert outcome.orders[wish.client_order_id].state is State.RESTING


def test_one_that_only_the_log_knows_and_that_is_over_is_no_news() -> None:
    wish = intent(1)
    outcome = reconcile(believing(intents={wish.client_order_id: wish}), truth([told(wish, "cancelled")]))
    assert (outcome.orders, kinds(outcome)) == ({}, [])


def test_one_that_rests_though_it_was_over_is_cancelled() -> None:
    order = resting(intent(1)).step(State.CANCELLED, START_US)
    outcome = reconcile(believing(order), truth([told(order.intent)]))
    assert kinds(outcome) == [Kind.REVIVED]
    assert outcome.cancel == [told(order.intent)]
    assert list(outcome.halts) == ["M"]


@pytest.mark.parametrize("change", [{"price": 1}, {"size": 600}, {"side": 1}, {"market": "N"}])
def test_one_that_is_not_what_was_decided_is_cancelled(change: dict[str, int]) -> None:
    order = resting(intent(1))
    other = told(order.intent)._replace(**change)  # type: ignore[arg-type]
    outcome = reconcile(believing(order), truth([other]))
    assert (kinds(outcome), outcome.cancel) == ([Kind.ALTERED], [other])
    assert list(outcome.halts) == ["M"]


def test_the_second_of_two_of_one_intent_is_cancelled() -> None:
    order = resting(intent(1))
    second = told(order.intent, venue_id="v1b")
    outcome = reconcile(believing(order), truth([told(order.intent), second]))
    assert (kinds(outcome), outcome.cancel) == ([Kind.TWICE], [second])


def test_the_old_id_of_a_renewed_order_is_not_its_end() -> None:
    order = resting(intent(1))
    outcome = reconcile(believing(order), truth([told(order.intent, "cancelled"), told(order.intent, venue_id="v1b")]))
    assert outcome.orders[order.intent.client_order_id].venue_id == "v1b"
    assert kinds(outcome) == []


# Fills.


def test_a_late_fill_wins_over_a_cancellation() -> None:
    wish = intent(1, size=500)
    order = resting(wish).step(State.CANCELLED, START_US)
    said = truth([told(wish, "filled", 500)], [fill_of(wish, 500)], {"M": 500}, CASH - 500 * 4000 - 1000)
    outcome = reconcile(believing(order), said)
    assert outcome.orders[wish.client_order_id].state is State.FILLED
    assert kinds(outcome) == [Kind.MISSED_FILL]


def test_an_order_does_not_end_before_its_fills_are_told_of() -> None:
    order = resting(intent(1))
    said = truth([told(order.intent, "filled", 500)], (), {"M": 500}, CASH - 2_000_000)
    outcome = reconcile(believing(order), said)
    # Neither is the position believed: the fills that are still to come would be counted again.
    assert kinds(outcome) == [Kind.OWED]
    assert outcome.orders[order.intent.client_order_id].state is State.RESTING
    assert (outcome.account.cash, outcome.account.positions) == (CASH, {})


def test_a_fill_that_we_heard_of_before_the_venue_was_asked_is_no_difference() -> None:
    wish = intent(1)
    young = fill_of(wish, 100, us=TRUTH_US).fill
    belief = believing(resting(wish).filled_by(young))
    belief.account.apply("M", 0, wish.client_order_id, young)
    assert kinds(reconcile(belief, truth([told(wish)]))) == []
    old = believing(resting(wish).filled_by(replace(young, us=START_US)))
    old.account.apply("M", 0, wish.client_order_id, young)
    assert kinds(reconcile(old, truth([told(wish)]))) == [Kind.POSITION, Kind.CASH]


def test_more_than_was_asked_halts_and_is_booked() -> None:
    wish = intent(1, size=100)
    said = truth([told(wish, "filled", 200)], [fill_of(wish, 200)], {"M": 200}, CASH - 200 * 4000 - 1000)
    outcome = reconcile(believing(resting(wish)), said)
    assert Kind.OVERFILLED in kinds(outcome)
    assert (outcome.account.cash, outcome.account.positions) == (said.cash, {"M": 200})
    assert "M" in outcome.halts


def test_a_fill_of_another_side_than_was_ordered_halts() -> None:
    wish = intent(1)
    wrong = fill_of(wish, 100)._replace(side=1)
    said = truth([told(wish, filled=100)], [wrong], {"M": -100}, CASH - 100 * 4000 - 1000)
    outcome = reconcile(believing(resting(wish)), said)
    assert kinds(outcome) == [Kind.ALTERED, Kind.MISSED_FILL]
    assert list(outcome.halts) == ["M"]


def test_strangers_are_reported_once_and_never_touched() -> None:
    stranger = told(intent(1), filled=100)._replace(mine="somebody")
    said = truth([stranger], [fill_of(intent(1), 100)], {"M": 100}, CASH - 100 * 4000 - 1000)
    first = reconcile(believing(), said)
    assert sorted(kinds(first)) == [Kind.EXTERNAL_FILL, Kind.EXTERNAL_ORDER]
    assert (first.cancel, list(first.halts)) == ([], ["M"])
    again = Belief(orders={}, account=first.account, epoch=EPOCH, external=frozenset(first.external))
    assert kinds(reconcile(again, said)) == []


# Money.


def test_what_nothing_explains_is_adopted_and_halts() -> None:
    outcome = reconcile(believing(), truth(positions={"M": 300}, cash=CASH + 1))
    assert kinds(outcome) == [Kind.POSITION, Kind.CASH]
    assert (outcome.account.cash, outcome.account.positions) == (CASH + 1, {"M": 300})
    assert list(outcome.halts) == ["M", None]


@pytest.mark.parametrize(("held", "value", "paid"), [(300, 10_000, 3_000_000), (300, 0, 0), (-300, 2500, 2_250_000)])
def test_a_position_that_was_settled_is_paid_out(held: int, value: int, paid: int) -> None:
    belief = believing()
    belief.account.positions["M"] = held
    outcome = reconcile(belief, truth(cash=CASH + paid), settled={"M": value})
    assert kinds(outcome) == [Kind.SETTLED]
    assert (outcome.account.cash, outcome.account.positions, outcome.halts) == (CASH + paid, {}, {})


def test_a_position_is_not_settled_before_the_venue_takes_it() -> None:
    belief = believing()
    belief.account.positions["M"] = 300
    assert kinds(reconcile(belief, truth(positions={"M": 300}), settled={"M": 10_000})) == []


def test_a_position_that_went_without_a_settlement_is_a_difference() -> None:
    belief = believing()
    belief.account.positions["M"] = 300
    assert kinds(reconcile(belief, truth())) == [Kind.POSITION]
