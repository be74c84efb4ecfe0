"""Orders in flight at a venue that answers as it likes: what comes early is kept, what comes late changes nothing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from kflow.act.desk import DOUBT_US, Desk
from kflow.act.orders import Fill, Intent, Order, State
from kflow.act.purse import Purse
from kflow.act.venue import Ack, Gone, Truth, Unclear, VenueFill, VenueOrder
from kflow.clock import ManualClock
from kflow.errors import KflowError
from kflow.market.fees import FeeSchedule

MARKET = "M"
LIMITS = "hash"


def intent(number: int = 1, *, size: int = 300, immediate: bool = False) -> Intent:
    return Intent(
        run=uuid.UUID(int=1), number=number, market=MARKET, action="BUY_YES", side=0, price=4000, size=size,
        immediate=immediate, decided_us=0, version=1, digest="d", epoch=1, limits=LIMITS,
    )  # fmt: skip


def fill(trade: str, size: int = 100) -> Fill:
    return Fill(trade, 5, 4000, size, 17, taker=False)


class Slow:
    """A venue that waits for the test before it answers; what it says of an order that is looked for is `there`."""

    name = "local"

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Ack | KflowError] = asyncio.Queue()
        self.cancels: asyncio.Queue[KflowError | None] = asyncio.Queue()
        self.there: VenueOrder | None = None
        self.asked = 0
        self.cancelling = 0

    async def place(self, intent: Intent, group: str | None) -> Ack:
        del intent, group
        answer = await self.answers.get()
        if isinstance(answer, KflowError):
            raise answer
        return answer

    async def cancel(self, venue_id: str, market: str) -> None:
        del venue_id, market
        self.cancelling += 1
        answer = await self.cancels.get()
        if answer is not None:
            raise answer

    async def find(self, client_order_id: str, market: str) -> VenueOrder | None:
        del client_order_id, market
        self.asked += 1
        return self.there

    async def renew(self, venue_id: str, intent: Intent, filled: int, expires_us: int) -> Ack:
        raise NotImplementedError

    async def truth(self, since_us: int) -> Truth:
        raise NotImplementedError

    async def open_group(self, most: int) -> str:
        raise NotImplementedError

    async def trigger_group(self, group: str) -> None:
        raise NotImplementedError

    async def cancel_all(self) -> None:
        raise NotImplementedError


class Written:
    """Records in memory, with moments at which something else may happen."""

    def __init__(self) -> None:
        self.updates: list[Order] = []
        self.fills: list[tuple[str, str]] = []
        self.refuse: KflowError | None = None
        self.during: Callable[[], None] = lambda: None

    def intend(self, intent: Intent) -> None:
        del intent
        if self.refuse is not None:
            raise self.refuse

    def update(self, order: Order) -> None:
        self.updates.append(order)
        self.during()

    def fill(self, order: Order, fill: Fill) -> None:
        self.fills.append((order.intent.client_order_id, fill.trade))

    def stamped(self, client_order_id: str, **moments: int | None) -> None:
        pass


class Bench:
    """A desk, and all around it."""

    def __init__(self) -> None:
        self.venue, self.written, self.clock = Slow(), Written(), ManualClock()
        self.purse = Purse(MARKET, 1_000_000_000, FeeSchedule.parse("quadratic", 1))
        self.may_send = True
        self.left: list[str] = []
        self.desk = Desk(
            self.venue,
            self.written,
            {MARKET: self.purse},
            clock=self.clock,
            may_send=lambda _: self.may_send,
            leaving=self.left.append,
        )

    def shown(self, what: Intent, state: str, filled: int = 0) -> VenueOrder:
        return VenueOrder("v1", what.client_order_id, MARKET, 0, what.price, what.size, filled, state, None)

    async def rests(self, what: Intent, venue_id: str = "v1") -> Order:
        self.venue.answers.put_nowait(Ack(venue_id, 0, what.size, 1))
        return await self.desk.submit(what)


async def until(true: Callable[[], bool]) -> None:
    """Let others run; a test that waits in vain fails by its end."""
    for _ in range(10_000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")


async def under_way(bench: Bench, what: Intent) -> Awaitable[Order]:
    sending = asyncio.ensure_future(bench.desk.submit(what))
    await until(lambda: bool(bench.left))
    return sending


async def test_a_fill_that_comes_before_the_answer_is_booked_when_the_order_is_known() -> None:
    bench, mine = Bench(), intent()
    sending = await under_way(bench, mine)
    early = VenueFill("v1", MARKET, 0, fill("t1", 300))
    assert await bench.desk.hear([early, early]) == 0
    assert bench.purse.position == 0
    bench.venue.answers.put_nowait(Ack("v1", 300, 0, 1))
    order = await sending
    assert (order.state, order.venue_id, order.filled) == (State.FILLED, "v1", 300)
    assert bench.purse.position == 300
    assert bench.written.fills == [(mine.client_order_id, "t1")]
    assert bench.desk.strays == []
    assert not bench.desk.busy(MARKET)


async def test_an_order_that_was_found_meanwhile_is_not_doubted_again() -> None:
    bench, mine = Bench(), intent()
    sending = await under_way(bench, mine)
    await bench.desk.adopt(mine.client_order_id, bench.shown(mine, "resting"))
    bench.venue.answers.put_nowait(Unclear("no answer"))
    assert (await sending).state is State.RESTING


async def test_a_halt_while_it_is_stored_keeps_it_here() -> None:
    bench = Bench()

    def halt() -> None:
        bench.may_send = False

    bench.written.during = halt  # as the step to "sent" is written down
    order = await bench.desk.submit(intent())
    assert (order.state, order.reason, bench.left) == (State.REFUSED, "halted before it was sent", [])


async def test_what_cannot_be_stored_leaves_nothing_behind() -> None:
    bench = Bench()
    bench.written.refuse = KflowError("the disk is full")
    with pytest.raises(KflowError):
        await bench.desk.submit(intent())
    assert (bench.desk.orders, list(bench.desk.live()), bench.left) == ({}, [], [])


async def test_cancellations_go_out_at_once_and_each_once() -> None:
    bench = Bench()
    for number in range(1, 4):
        await bench.rests(intent(number), f"v{number}")
    first, second = asyncio.ensure_future(bench.desk.cancel(MARKET)), asyncio.ensure_future(bench.desk.cancel(MARKET))
    await until(lambda: bench.venue.cancelling >= 3)
    assert bench.venue.cancelling == 3
    assert bench.desk.busy(MARKET)
    for _ in range(3):
        bench.venue.cancels.put_nowait(None)
    await asyncio.gather(first, second)
    assert bench.venue.cancelling == 3
    assert {order.state for order in bench.desk.orders.values()} == {State.CANCELLED}
    assert list(bench.desk.live()) == []


async def test_one_whose_cancellation_was_not_clear_is_asked_after_until_it_is() -> None:
    """Reads lag: right after it the venue may show it as it was."""
    bench, mine = Bench(), intent()
    await bench.rests(mine)
    bench.venue.there = bench.shown(mine, "resting")
    bench.venue.cancels.put_nowait(Gone("it is over"))
    await bench.desk.cancel(MARKET)
    assert bench.desk.orders[mine.client_order_id].state is State.RESTING
    await bench.desk.look()
    bench.venue.there = bench.shown(mine, "cancelled", 100)
    await bench.desk.look()
    assert bench.desk.orders[mine.client_order_id].state is State.CANCELLED
    assert bench.venue.asked == 3
    # What was filled of it has to be heard before the market goes on.
    assert bench.desk.busy(MARKET)
    await bench.desk.hear([VenueFill("v1", MARKET, 0, fill("t1"))])
    assert not bench.desk.busy(MARKET)
    assert bench.purse.position == 100


async def test_one_that_rests_all_the_same_is_not_asked_after_for_ever() -> None:
    bench, mine = Bench(), intent()
    await bench.rests(mine)
    bench.venue.there = bench.shown(mine, "resting")
    bench.venue.cancels.put_nowait(Unclear("no answer"))
    await bench.desk.cancel(MARKET)
    bench.clock.advance(DOUBT_US / 1e6 + 1)
    await bench.desk.look()
    assert bench.venue.asked == 1
    assert not bench.desk.busy(MARKET)


async def test_what_went_on_during_a_comparison_stays_as_it_is() -> None:
    bench, mine = Bench(), intent()
    sending = await under_way(bench, mine)
    before = dict(bench.desk.orders)
    assert before[mine.client_order_id].state is State.SENT
    bench.venue.answers.put_nowait(Ack("v1", 0, 300, 1))
    await sending
    # The comparison was of the order as it was; it has nothing to say of this one, and another to add.
    other = replace(Order(intent(2)), state=State.RESTING, venue_id="v2", fills={"t9": fill("t9")})
    outcome = {**before, other.intent.client_order_id: other}
    await bench.desk.believe(outcome, before)
    assert bench.desk.orders[mine.client_order_id].state is State.RESTING
    assert bench.desk.orders[mine.client_order_id].venue_id == "v1"
    assert bench.purse.position == 100
    assert bench.written.fills == [(other.intent.client_order_id, "t9")]


async def test_fills_that_the_account_has_already_are_not_booked_again() -> None:
    bench = Bench()
    bench.purse.hold(100)
    old = replace(Order(intent(7)), state=State.RESTING, venue_id="v7", fills={"t1": fill("t1")})
    await bench.desk.believe({old.intent.client_order_id: old}, {}, booked=True)
    assert bench.purse.position == 100
    assert bench.desk.open(MARKET) == [old]
    await bench.desk.hear([VenueFill("v7", MARKET, 0, fill("t1")), VenueFill("v7", MARKET, 0, fill("t2"))])
    assert bench.purse.position == 200


async def test_orders_that_are_over_are_not_looked_through() -> None:
    bench = Bench()
    for number in range(1, 50):
        order = await bench.rests(intent(number, size=100), f"v{number}")
        await bench.desk.hear([VenueFill(f"v{number}", MARKET, 0, fill(f"t{number}"))])
        assert bench.desk.orders[order.intent.client_order_id].state is State.FILLED
    assert len(bench.desk.orders) == 49
    assert (bench.desk.open(MARKET), list(bench.desk.live())) == ([], [])


async def test_a_fill_of_more_than_was_asked_is_left_to_the_comparison() -> None:
    bench, mine = Bench(), intent(size=100)
    await bench.rests(mine)
    assert await bench.desk.hear([VenueFill("v1", MARKET, 0, fill("t1", 200))]) == 0
    assert (bench.purse.position, bench.desk.orders[mine.client_order_id].filled) == (0, 0)
