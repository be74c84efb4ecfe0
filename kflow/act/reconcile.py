"""What we believe against what the venue says: every difference, what it is called, and what is to be done about it.

Pure: `reconcile` changes nothing and returns what follows. What the venue says wins, but only where it says something:
an order that it did not mention is asked after (`Outcome.ask`), and not found only where it was asked after by its id.
What is younger than the venue's word is not judged by it. Units as in orders.py.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Final

from kflow.act.orders import Account, IllegalStep, Intent, Order, State
from kflow.act.venue import Truth, VenueFill, VenueOrder

# Of an order whose sending brought no answer, how long it may still be under way: then "not found" is believed.
GRACE_US: Final = 10_000_000
# A truth takes a while to ask for. What we heard this short before its moment may not be in all of it.
RACE_US: Final = 2_000_000


class Kind(StrEnum):
    """What a difference is."""

    MISSED_FILL = "missed_fill"  # we did not hear of it: applied
    FOUND = "found"  # an order whose fate was unknown rests
    ENDED = "ended"  # an order is over without our hearing of it
    ABSENT = "absent"  # asked after by its id, and the venue never had it
    UNASKED = "unasked"  # not mentioned: to be asked after
    VANISHED = "vanished"  # the venue had it and does not know it any more
    ADOPTED = "adopted"  # of ours, of this epoch, and not in our books
    OLD_EPOCH = "old_epoch"  # of ours, left by an actor before
    NEW_EPOCH = "new_epoch"  # of ours, placed by an actor after: we are the one that has to go
    REVIVED = "revived"  # it rests, though we hold it for over
    TWICE = "twice"  # two orders rest of one intent
    ALTERED = "altered"  # its side, price, size or market is not what was decided
    OVERFILLED = "overfilled"  # by more than was asked
    OWED = "owed"  # filled by more than the fills that are told of: the rest will be
    EXTERNAL_ORDER = "external_order"  # not ours; never touched
    EXTERNAL_FILL = "external_fill"  # of an order that is not ours
    SETTLED = "settled"  # a position that was paid out
    POSITION = "position"  # what is held differs after all fills: adopted
    CASH = "cash"  # the same of cash


# A person has to look at it before the market, or all of them where it is nobody's, may trade on.
HALTING: Final = frozenset(
    {
        Kind.VANISHED,
        Kind.NEW_EPOCH,
        Kind.REVIVED,
        Kind.TWICE,
        Kind.ALTERED,
        Kind.OVERFILLED,
        Kind.EXTERNAL_ORDER,
        Kind.EXTERNAL_FILL,
        Kind.POSITION,
        Kind.CASH,
    }
)
CANCELLED: Final = frozenset({Kind.OLD_EPOCH, Kind.REVIVED, Kind.TWICE, Kind.ALTERED})


@dataclass(frozen=True, slots=True)
class Difference:
    """One. `subject` is an order's client_order_id, or the venue's id of what is not ours."""

    kind: Kind
    market: str  # empty: of the whole account
    subject: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What we hold for true. Nothing of it is changed.

    The truth's fills must reach back to before the first order that is not over. `intents`: every intent of ours that
    the log knows and `orders` may not, whichever run or epoch it is of. `external`: ids of orders and trades that are
    not ours and were reported before.
    """

    orders: Mapping[str, Order]
    account: Account
    epoch: int
    intents: Mapping[str, Intent] = field(default_factory=dict)
    external: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What to believe from now on, and what to do."""

    orders: dict[str, Order]
    account: Account
    external: set[str]
    differences: list[Difference] = field(default_factory=list)
    ask: list[str] = field(default_factory=list)  # client_order_ids: `Venue.find` them, then reconcile again
    cancel: list[VenueOrder] = field(default_factory=list)

    @property
    def halts(self) -> dict[str | None, str]:
        """Why to halt, by market; None: everything."""
        why: dict[str | None, str] = {}
        for difference in self.differences:
            if difference.kind in HALTING:
                whole = difference.kind is Kind.NEW_EPOCH
                why.setdefault(None if whole else difference.market or None, difference.text)
        return why


def begin(truth: Truth, intents: Mapping[str, Intent]) -> Account:
    """What the venue says that we have, as what has all of its fills in it: none of them is applied again."""
    account = Account(0)
    mine = {order.venue_id: order.mine for order in truth.orders if order.mine in intents}
    for told in truth.fills:
        account.apply(told.market, told.side, mine.get(told.venue_id, told.venue_id), told.fill)
    account.cash, account.fees = truth.cash, 0
    # Whatever a later look shows of it, under whichever id: an order that ended just before this one's reach, say.
    account.since_us = truth.us - RACE_US
    account.positions = {market: held for market, held in truth.positions.items() if held}
    return account


def reconcile(
    belief: Belief,
    truth: Truth,
    *,
    found: Mapping[str, VenueOrder | None] | None = None,
    settled: Mapping[str, int] | None = None,
    grace_us: int = GRACE_US,
) -> Outcome:
    """Compare. `found`: what the venue said of the orders of an earlier `ask`; one without an answer is left out.

    `settled`: the value of a YES contract, 1e-4 dollar, in markets that are settled.
    """
    return _Comparison(belief, truth, found or {}, settled or {}, grace_us).run()


class _Comparison:
    """One run of `reconcile`."""

    def __init__(
        self,
        belief: Belief,
        truth: Truth,
        found: Mapping[str, VenueOrder | None],
        settled: Mapping[str, int],
        grace_us: int,
    ) -> None:
        self.belief, self.truth, self.found, self.settled, self.grace_us = belief, truth, found, settled, grace_us
        self.out = Outcome(
            orders=dict(belief.orders),
            account=Account(**{f.name: copy.copy(getattr(belief.account, f.name)) for f in fields(Account)}),
            external=set(belief.external),
        )
        # The same order may be in the list and among those that were asked after; the later word is the latter. What
        # rests comes first: of an order that got another id, the old one may be told of as cancelled.
        told = {order.venue_id: order for order in (*truth.orders, *filter(None, found.values()))}
        self.told = dict(sorted(told.items(), key=lambda item: item[1].state != "resting"))
        self.mine = {order.venue_id: mine for mine, order in belief.orders.items() if order.venue_id is not None}
        self.mine |= {order.venue_id: order.mine for order in self.told.values() if self._intent(order.mine)}
        self.resting = {self.mine.get(venue_id) for venue_id, order in self.told.items() if order.state == "resting"}
        self.open_questions: set[str] = set()  # markets whose fills are not all told of, or not all heard of

    def run(self) -> Outcome:
        self._fills()
        resting: set[str] = set()
        for order in self.told.values():
            mine = self.mine.get(order.venue_id)
            if mine is None:
                if order.state == "resting":
                    self._external(order)
            elif mine not in resting:
                self._own(mine, order)
                if order.state == "resting":
                    resting.add(mine)
            elif order.state == "resting":
                self._cancel(Kind.TWICE, mine, order, f"a second order of the same id rests as {order.venue_id}")
        told = {self.mine[venue_id] for venue_id in self.told if venue_id in self.mine}
        for mine, held in self.belief.orders.items():
            if mine not in told:
                self._unmentioned(mine, held)
        self._ahead()
        self._settlements()
        self._positions()
        return self.out

    def _note(self, kind: Kind, market: str, subject: str, text: str) -> None:
        self.out.differences.append(Difference(kind, market, subject, text))

    def _intent(self, mine: str) -> Intent | None:
        held = self.belief.orders.get(mine)
        return self.belief.intents.get(mine) if held is None else held.intent

    # Fills.

    def _fills(self) -> None:
        for told in self.truth.fills:
            mine = self.mine.get(told.venue_id)
            if mine is None:
                self._external_fill(told)
            else:
                self._own_fill(mine, told)

    def _own_fill(self, mine: str, told: VenueFill) -> None:
        order, intent = self.out.orders.get(mine), self._intent(mine)
        assert intent is not None
        booked = self.out.account.apply(told.market, told.side, mine, told.fill)
        if order is None:
            if not booked and mine not in self.resting:
                return  # the account began with it, and its order was over by then
            order = self._adopted(mine, intent, told.venue_id)
        if (told.market, told.side) != (intent.market, intent.side):
            text = f"trade {told.fill.trade} of order {mine} is in {told.market}, side {told.side}"
            self._note(Kind.ALTERED, intent.market, mine, text)
        try:
            self.out.orders[mine] = order.filled_by(told.fill)
        except IllegalStep as error:
            if booked:
                self._note(Kind.OVERFILLED, intent.market, mine, str(error))
            return
        if booked:
            size, price = told.fill.size / 100, told.fill.price / 10_000
            self._note(Kind.MISSED_FILL, told.market, mine, f"{size:g} at ${price:.4f}, trade {told.fill.trade}")

    def _external_fill(self, told: VenueFill) -> None:
        name = f"{told.venue_id}/{told.fill.trade}"
        if self.out.account.apply(told.market, told.side, told.venue_id, told.fill):
            self.out.external.add(name)
            self._note(Kind.EXTERNAL_FILL, told.market, name, f"{told.fill.size / 100:g} of an order that is not ours")

    # Orders that the venue tells of.

    def _external(self, told: VenueOrder) -> None:
        if told.venue_id not in self.out.external:
            self.out.external.add(told.venue_id)
            self._note(Kind.EXTERNAL_ORDER, told.market, told.venue_id, "an order rests that is not ours")

    def _adopted(self, mine: str, intent: Intent, venue_id: str) -> Order:
        """An order that only the log knew, as one that was sent."""
        order = Order(intent, State.SENT, venue_id, updated_us=intent.decided_us)
        self.out.orders[mine] = order
        if intent.epoch == self.belief.epoch:
            self._note(Kind.ADOPTED, intent.market, mine, f"it is at the venue as {venue_id}")
        return order

    def _own(self, mine: str, told: VenueOrder) -> None:
        intent, order = self._intent(mine), self.out.orders.get(mine)
        assert intent is not None
        if order is None:
            if told.state != "resting":
                return  # only the log knew it, and it was over when we began: what came of it is in the account
            order = self._adopted(mine, intent, told.venue_id)
        filled = order.filled
        if told.filled > filled:
            self._owed(mine, intent, f"{(told.filled - filled) / 100:g} more were filled than are told of")
        if told.state == "resting":
            self._resting(mine, order, told)
        elif not order.over and told.filled <= filled:
            state, why = self._end_of(told)
            self.out.orders[mine] = _reach(order, state, self.truth.us, told.venue_id, "as the venue says")
            self._note(Kind.ENDED, intent.market, mine, why)
        elif not order.over and order.state is not State.RESTING:
            # Over, but its fills have to be heard first: it is known at least that the venue has it.
            self.out.orders[mine] = _reach(order, State.RESTING, self.truth.us, told.venue_id, "")

    def _end_of(self, told: VenueOrder) -> tuple[State, str]:
        if told.filled == told.size:
            return State.FILLED, "filled in whole"
        if told.expires_us is not None and self.truth.us >= told.expires_us:
            return State.EXPIRED, "its time was over"
        return State.CANCELLED, "cancelled"

    def _resting(self, mine: str, order: Order, told: VenueOrder) -> None:
        intent, heard = order.intent, self.belief.orders.get(mine)
        if order.over:
            # Where a fill or a cancellation reached us after the venue was asked, there is nothing wrong.
            if heard is None or not heard.over or heard.updated_us > self.truth.us - RACE_US:
                return
            self._cancel(Kind.REVIVED, mine, told, f"it rests, and we hold it for {order.state}")
            return
        if order.state is not State.RESTING and heard is not None:
            self._note(Kind.FOUND, intent.market, mine, f"it rests as {told.venue_id}")
        self.out.orders[mine] = _reach(order, State.RESTING, self.truth.us, told.venue_id, order.reason)
        if (told.market, told.side, told.price, told.size) != (intent.market, intent.side, intent.price, intent.size):
            text = (
                f"{told.market} side {told.side} {told.size / 100:g} at ${told.price / 10_000:.4f} is not what it was"
            )
            self._cancel(Kind.ALTERED, mine, told, text)
        elif intent.epoch < self.belief.epoch:
            self._cancel(Kind.OLD_EPOCH, mine, told, f"left by epoch {intent.epoch}, and this is {self.belief.epoch}")
        elif intent.epoch > self.belief.epoch:
            self._note(Kind.NEW_EPOCH, intent.market, mine, f"an actor of epoch {intent.epoch} placed an order")

    def _cancel(self, kind: Kind, mine: str, told: VenueOrder, text: str) -> None:
        self._note(kind, self.out.orders[mine].intent.market, mine, text)
        self.out.cancel.append(told)

    def _owed(self, mine: str, intent: Intent, text: str) -> None:
        self._note(Kind.OWED, intent.market, mine, text)
        self.open_questions.add(intent.market)

    # Orders of ours that it does not tell of.

    def _unmentioned(self, mine: str, held: Order) -> None:
        order = self.out.orders[mine]
        if order.over:
            return
        intent = order.intent
        if max(order.updated_us, intent.decided_us) > self.truth.us - RACE_US:
            return  # younger than the venue's word
        if mine not in self.found:
            self.out.ask.append(mine)
            self._note(Kind.UNASKED, intent.market, mine, f"{order.state}, and the venue does not mention it")
            self.open_questions.add(intent.market)
            return
        if held.state is State.RESTING:
            if intent.expires_us is not None and self.truth.us > intent.expires_us + self.grace_us:
                self.out.orders[mine] = order.step(State.EXPIRED, self.truth.us, reason="its time was over")
                self._note(
                    Kind.ENDED, intent.market, mine, "its time was over, and the venue does not know it any more"
                )
            else:
                self._note(Kind.VANISHED, intent.market, mine, "it rested, and the venue does not know it any more")
        elif self.truth.us > max(order.updated_us, intent.decided_us) + self.grace_us:
            self.out.orders[mine] = _reach(order, State.ABSENT, self.truth.us, None, "the venue never had it")
            self._note(Kind.ABSENT, intent.market, mine, "the venue never had it")
        else:
            self.open_questions.add(intent.market)  # it may be on its way still

    # Money.

    def _ahead(self) -> None:
        """Markets with fills that we heard of and that are too young for the venue's word to have them."""
        told = {(self.mine.get(fill.venue_id), fill.fill.trade) for fill in self.truth.fills}
        for mine, order in self.belief.orders.items():
            for fill in order.fills.values():
                if fill.us > self.truth.us - RACE_US and (mine, fill.trade) not in told:
                    self.open_questions.add(order.intent.market)

    def _settlements(self) -> None:
        for market, value in self.settled.items():
            if self.out.account.positions.get(market, 0) and not self.truth.positions.get(market, 0):
                held = self.out.account.positions[market]
                self.out.account.settle(market, value)
                self._note(Kind.SETTLED, market, market, f"{held / 100:g} at ${value / 10_000:.4f}")

    def _positions(self) -> None:
        account, truth = self.out.account, self.truth
        for market in sorted({*account.positions, *truth.positions}):
            ours, theirs = account.positions.get(market, 0), truth.positions.get(market, 0)
            if ours != theirs and market not in self.open_questions:
                account.positions[market] = theirs
                self._note(Kind.POSITION, market, market, f"we hold {ours / 100:g}, the venue says {theirs / 100:g}")
        if account.cash != truth.cash and not self.open_questions:
            text = f"we have ${account.cash / 1e6:.6f}, the venue says ${truth.cash / 1e6:.6f}"
            account.cash = truth.cash
            self._note(Kind.CASH, "", "", text)


def _reach(order: Order, state: State, us: int, venue_id: str | None, reason: str) -> Order:
    """The order in a state, by the steps that lie between: who finds it at the venue knows that it was sent."""
    if order.state is State.STORED and state is not State.ABSENT:
        order = order.step(State.SENT, us)
    return order.step(state, us, venue_id=venue_id, reason=reason)
