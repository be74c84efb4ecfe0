"""What every venue does, tried on the paper venue and on the local exchange over real sockets: one suite for both.

Demo and production are the class of the local one with other addresses: of them only that no foreign key gets there.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import pytest

from kflow.act.kalshi import KalshiVenue
from kflow.act.orders import Account, Intent
from kflow.act.paper import PaperVenue, Terms
from kflow.act.venue import Gone, Refused, Unclear, Venue
from kflow.clock import ManualClock, SystemClock
from kflow.errors import CredentialError
from kflow.exchange.terms import CASH
from kflow.kalshi.auth import ApiKey, write_new_key
from kflow.kalshi.environments import Environment, endpoints
from kflow.kalshi.trading import TradingClient
from kflow.market.events import BookDelta, BookSnapshot, FeedEvent, SnapshotReason, Trade
from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid
from kflow.market.times import US_PER_S, format_rfc3339_us
from kflow.sim.fills import NO_LATENCY, Assumptions
from kflow.testing.trader import Trader, trading
from kflow.testing.venue import MARKET, some_levels
from kflow.units import DOLLAR, Price, Size, format_price, format_size

T = TypeVar("T")

FEES = FeeSchedule.parse("quadratic", 1)
RUN = uuid.UUID(int=1)


class Rig(Protocol):
    """A venue, and the world around it: a book of `some_levels`, other members, time."""

    venue: Venue

    def now_us(self) -> int: ...

    async def do(self, asked: Awaitable[T]) -> T:
        """Wait for an answer, and let time pass as long as it takes."""

    async def bid(self, side: int, price: int, size: int) -> None:
        """Somebody else bids behind what is there."""

    async def take(self, side: int, price: int, size: int) -> None:
        """Somebody takes bids of a side down to a price."""

    async def wait(self, seconds: float) -> None:
        """Time passes, and what it brings is known."""

    async def ahead(self, venue_id: str) -> int | None:
        """What trades before an order at its price."""


class PaperRig:
    def __init__(self) -> None:
        self.clock = ManualClock()
        terms = Terms(Grid.named("linear_cent"), Assumptions(latency=NO_LATENCY, fees=FEES))
        self.paper = PaperVenue({MARKET: terms}, cash=CASH, clock=self.clock)
        self.venue: Venue = self.paper
        yes, no = some_levels()
        self.shown = {(side, int(price)): int(size) for side, levels in enumerate((yes, no)) for price, size in levels}
        begins_ms = self.clock.wall_ns() // 1_000_000
        self.tell(BookSnapshot(MARKET, None, 1, 1, tuple(yes), tuple(no), SnapshotReason.SUBSCRIBE, begins_ms))

    def now_us(self) -> int:
        return self.paper.now_us

    def tell(self, *events: FeedEvent) -> None:
        self.paper.events(events, self.clock.mono_ns())

    def change(self, side: int, price: int, change: int) -> BookDelta:
        self.shown[side, price] = self.shown.get((side, price), 0) + change
        us = self.now_us()
        stamp, left = format_rfc3339_us(us), Size(self.shown[side, price])
        return BookDelta(MARKET, 1, 0, side, Price(price), Size(change), left, stamp, us // 1000)

    async def do(self, asked: Awaitable[T]) -> T:
        task = asyncio.ensure_future(asked)
        while not task.done():
            await asyncio.sleep(0)
            self.clock.advance(0.05)
        return await task

    async def bid(self, side: int, price: int, size: int) -> None:
        self.tell(self.change(side, price, size))

    async def take(self, side: int, price: int, size: int) -> None:
        best = sorted((own for of, own in self.shown if of == side and own >= price), reverse=True)
        for own in best:
            part = min(self.shown[side, own], size) if own > price else size
            shown = min(self.shown[side, own], part)
            yes = DOLLAR - own if side else own
            trade = Trade(MARKET, 2, None, None, Price(yes), Size(part), 1 - side, None, self.now_us() // 1000)
            self.tell(*([self.change(side, own, -shown)] if shown else []), *([trade] if part else []))
            size -= part
        await self.wait(0.5)

    async def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.paper.pass_time()

    async def ahead(self, venue_id: str) -> int | None:
        return self.paper.ahead(venue_id)


class LocalRig:
    def __init__(self, clock: ManualClock, client: TradingClient, ann: Trader, bob: Trader) -> None:
        self.clock, self.ann, self.bob = clock, ann, bob
        self.venue: Venue = KalshiVenue(client, {MARKET: 0})

    def now_us(self) -> int:
        return self.clock.wall_ns() // 1000

    async def do(self, asked: Awaitable[T]) -> T:
        self.clock.advance(0.001)  # nothing happens at the same µs
        return await asked

    async def bid(self, side: int, price: int, size: int) -> None:
        await self._send(side, price, size)

    async def take(self, side: int, price: int, size: int) -> None:
        await self._send(1 - side, DOLLAR - price, size, time_in_force="immediate_or_cancel")

    async def _send(self, side: int, price: int, size: int, **more: Any) -> None:
        yes = DOLLAR - price if side else price
        await self.bob.order(("bid", "ask")[side], format_price(Price(yes)), format_size(Size(size)), **more)

    async def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.ann.get("/portfolio/orders")  # meanwhile the exchange has looked at its clock

    async def ahead(self, venue_id: str) -> int | None:
        response = await self.ann.send("GET", f"/portfolio/orders/{venue_id}/queue_position")
        return round(float(response.json()["queue_position_fp"]) * 100) if response.status_code == 200 else None


@asynccontextmanager
async def local_rig() -> AsyncIterator[LocalRig]:
    clock = ManualClock(wall_ns=SystemClock().wall_ns())
    async with trading(clock=clock, users=2) as (exchange, [ann, bob]):
        where = endpoints(Environment.LOCAL, exchange=exchange.rest)
        async with TradingClient(where, clock=clock, key=exchange.key) as client:
            yield LocalRig(clock, client, ann, bob)


@pytest.fixture(params=["paper", "local"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    if request.param == "paper":
        yield PaperRig()
    else:
        async with local_rig() as local:
            yield local


_numbers = itertools.count(1)


def wish(rig: Rig, side: int, price: int, size: int, **more: Any) -> Intent:
    """An order for the market, resting unless `more` says otherwise."""
    fields: dict[str, Any] = {"immediate": False, **more}
    return Intent(
        run=RUN, number=next(_numbers), market=MARKET, action="try", side=side, price=price, size=size,
        decided_us=rig.now_us(), version=1, digest="", epoch=1, limits="", **fields,
    )  # fmt: skip


async def place(
    rig: Rig, side: int, price: int, size: int, group: str | None = None, **more: Any
) -> tuple[Intent, Any]:
    order = wish(rig, side, price, size, **more)
    return order, await rig.do(rig.venue.place(order, group))


async def found(rig: Rig, order: Intent) -> Any:
    return await rig.do(rig.venue.find(order.client_order_id, MARKET))


async def test_an_order_rests(rig: Rig) -> None:
    order = wish(rig, 0, 4200, 1_050, expires_us=rig.now_us() // US_PER_S * US_PER_S + 60 * US_PER_S)
    assert await found(rig, order) is None
    ack = await rig.do(rig.venue.place(order, None))
    assert (ack.filled, ack.left) == (0, 1_050)
    shown = await found(rig, order)
    assert shown == (
        ack.venue_id, order.client_order_id, MARKET, 0, 4200, 1_050, 0, "resting", order.expires_us,
    )  # fmt: skip
    assert await rig.ahead(ack.venue_id) == 10_000
    truth = await rig.do(rig.venue.truth(0))
    assert (list(truth.orders), list(truth.fills), truth.positions, truth.cash) == ([shown], [], {}, CASH)


@pytest.mark.parametrize(("side", "price"), [(0, 4600), (1, 5600)])
async def test_an_order_that_crosses_takes(rig: Rig, side: int, price: int) -> None:
    order, ack = await place(rig, side, price, 1_000)
    assert (ack.filled, ack.left) == (1_000, 0)
    assert (await found(rig, order)).state == "filled"
    truth = await rig.do(rig.venue.truth(0))
    [told] = truth.fills
    assert (told.venue_id, told.market, told.side) == (ack.venue_id, MARKET, side)
    fee = FEES.order().fill(Price(price), Size(1_000), buy=True, taker=True).total
    assert (told.fill.price, told.fill.size, told.fill.fee, told.fill.taker) == (price, 1_000, fee, True)
    assert truth.positions == {MARKET: (1_000, -1_000)[side]}
    assert truth.cash == CASH - price * 1_000 - fee


async def test_what_is_larger_than_the_touch_goes_on(rig: Rig) -> None:
    _, ack = await place(rig, 0, 4700, 15_000)
    assert (ack.filled, ack.left) == (15_000, 0)
    truth = await rig.do(rig.venue.truth(0))
    assert sorted((told.fill.price, told.fill.size) for told in truth.fills) == [(4600, 10_000), (4700, 5_000)]


async def test_an_immediate_order_that_finds_nothing_is_over(rig: Rig) -> None:
    order, ack = await place(rig, 0, 4500, 1_000, immediate=True)
    assert (ack.filled, ack.left) == (0, 0)
    shown = await found(rig, order)
    assert (shown.state, shown.filled) == ("cancelled", 0)


async def test_an_immediate_order_that_finds_less_is_over(rig: Rig) -> None:
    order, ack = await place(rig, 0, 4600, 15_000, immediate=True)
    assert (ack.filled, ack.left) == (10_000, 0)
    shown = await found(rig, order)
    assert (shown.state, shown.filled, shown.size) == ("cancelled", 10_000, 15_000)


async def test_what_reduces_only_closes_what_is_held_and_no_more(rig: Rig) -> None:
    reducing = {"immediate": True, "reduce_only": True}
    _, nothing = await place(rig, 1, 5600, 1_000, **reducing)
    assert (nothing.filled, nothing.left) == (0, 0)
    await place(rig, 0, 4600, 1_000)
    order, ack = await place(rig, 1, 5600, 2_500, **reducing)
    assert (ack.filled, ack.left) == (1_000, 0)
    assert (await found(rig, order)).state == "cancelled"
    truth = await rig.do(rig.venue.truth(0))
    assert truth.positions == {}


@pytest.mark.parametrize(
    ("price", "size", "more", "code"),
    [
        (4250, 100, {}, "invalid_price"),
        (4200, 2_500_000, {}, "insufficient_balance"),
        (4200, 100, {"reduce_only": True}, "invalid_order"),
        (4200, 100, {"expires_us": 1_600_000_000 * US_PER_S}, "invalid_order"),
    ],
    ids=["tick", "cash", "reduce_only", "expired"],
)
async def test_what_cannot_be_is_refused(rig: Rig, price: int, size: int, more: dict[str, Any], code: str) -> None:
    order = wish(rig, 0, price, size, **more)
    with pytest.raises(Refused) as refused:
        await rig.do(rig.venue.place(order, None))
    assert refused.value.code == code
    assert await found(rig, order) is None
    truth = await rig.do(rig.venue.truth(0))
    assert (list(truth.orders), truth.cash) == ([], CASH)


async def test_cash_that_orders_hold_back_is_not_free(rig: Rig) -> None:
    await place(rig, 0, 4000, 2_250_000)
    with pytest.raises(Refused) as refused:
        await place(rig, 1, 5000, 250_000)
    assert refused.value.code == "insufficient_balance"
    assert (await rig.do(rig.venue.truth(0))).cash == CASH


async def test_a_market_that_is_not_known_is_refused(rig: Rig) -> None:
    order = wish(rig, 0, 4200, 100)
    with pytest.raises(Refused):
        await rig.do(rig.venue.place(_of(order, market="INXD-25JAN03-B9999"), None))


def _of(order: Intent, **more: Any) -> Intent:
    return type(order)(**{name: getattr(order, name) for name in Intent.__dataclass_fields__} | more)


async def test_a_cancellation(rig: Rig) -> None:
    order, ack = await place(rig, 1, 5300, 700)
    us = await rig.do(rig.venue.cancel(ack.venue_id, MARKET))
    assert ack.us <= us < ack.us + 10_000_000
    shown = await found(rig, order)
    assert (shown.state, shown.filled) == ("cancelled", 0)
    with pytest.raises(Gone):
        await rig.do(rig.venue.cancel(ack.venue_id, MARKET))


async def test_what_was_filled_is_gone(rig: Rig) -> None:
    _, ack = await place(rig, 0, 4600, 100)
    with pytest.raises(Gone):
        await rig.do(rig.venue.cancel(ack.venue_id, MARKET))
    with pytest.raises(Gone):
        await rig.do(rig.venue.cancel("5f0c3a4e-6b1f-4a57-9d57-2b3f0f6a1c11", MARKET))


async def test_the_queue_is_served_in_its_order(rig: Rig) -> None:
    order, ack = await place(rig, 0, 4400, 1_000)
    await rig.take(0, 4400, 10_000)
    assert await rig.ahead(ack.venue_id) == 0
    await rig.take(0, 4400, 400)
    shown = await found(rig, order)
    assert (shown.state, shown.filled) == ("resting", 400)
    truth = await rig.do(rig.venue.truth(0))
    [told] = truth.fills
    assert (told.fill.price, told.fill.size, told.fill.taker, told.fill.fee) == (4400, 400, False, 0)
    assert truth.cash == CASH - 4400 * 400
    await rig.do(rig.venue.cancel(ack.venue_id, MARKET))
    shown = await found(rig, order)
    assert (shown.state, shown.filled) == ("cancelled", 400)


async def test_a_renewal_keeps_the_place_in_the_queue(rig: Rig) -> None:
    second = rig.now_us() // US_PER_S * US_PER_S
    order, ack = await place(rig, 0, 4400, 1_000, expires_us=second + 30 * US_PER_S)
    await rig.bid(0, 4400, 5_000)
    await rig.take(0, 4400, 10_300)
    assert await rig.ahead(ack.venue_id) == 0
    renewed = await rig.do(rig.venue.renew(ack.venue_id, order, 300, second + 90 * US_PER_S))
    assert (renewed.filled, renewed.left) == (300, 700)
    assert await rig.ahead(renewed.venue_id) == 0
    await rig.wait(45)
    assert (await found(rig, order)).state == "resting"
    await rig.wait(60)
    shown = await found(rig, order)
    assert (shown.state, shown.filled) == ("cancelled", 300)
    with pytest.raises(Gone):
        await rig.do(rig.venue.renew(renewed.venue_id, order, 300, second + 200 * US_PER_S))


async def test_the_end_of_its_time_removes_an_order(rig: Rig) -> None:
    second = rig.now_us() // US_PER_S * US_PER_S
    order, ack = await place(rig, 0, 4200, 1_000, expires_us=second + 20 * US_PER_S)
    await rig.wait(15)
    assert (await found(rig, order)).state == "resting"
    await rig.wait(10)
    assert (await found(rig, order)).state == "cancelled"
    with pytest.raises(Gone):
        await rig.do(rig.venue.cancel(ack.venue_id, MARKET))


async def test_an_id_is_good_for_one_order(rig: Rig) -> None:
    order, ack = await place(rig, 0, 4200, 1_000)
    with pytest.raises(Unclear):
        await rig.do(rig.venue.place(order, None))
    await rig.do(rig.venue.cancel(ack.venue_id, MARKET))
    with pytest.raises(Unclear):
        await rig.do(rig.venue.place(order, None))
    [shown] = (await rig.do(rig.venue.truth(0))).orders
    assert (shown.venue_id, shown.state) == (ack.venue_id, "cancelled")


async def test_a_group_stops_as_a_whole(rig: Rig) -> None:
    group = await rig.do(rig.venue.open_group(100_000))
    ours = [(await place(rig, side, price, 100, group))[0] for side, price in ((0, 4200), (1, 5300), (0, 4100))]
    other, _ = await place(rig, 0, 4300, 100)
    await rig.do(rig.venue.trigger_group(group))
    assert [(await found(rig, order)).state for order in ours] == ["cancelled"] * 3
    assert (await found(rig, other)).state == "resting"
    with pytest.raises(Refused) as refused:
        await place(rig, 0, 4200, 100, group)
    assert refused.value.code == "invalid_order"
    await rig.do(rig.venue.trigger_group(group))  # again does no harm


async def test_a_group_that_fills_too_much_stops_by_itself(rig: Rig) -> None:
    group = await rig.do(rig.venue.open_group(1_000))
    resting, _ = await place(rig, 0, 4200, 100, group)
    _, taking = await place(rig, 0, 4600, 1_200, group)
    assert taking.filled == 1_200
    await rig.wait(0.5)
    assert (await found(rig, resting)).state == "cancelled"
    with pytest.raises(Refused):
        await place(rig, 0, 4200, 100, group)


@pytest.mark.parametrize("most", [50, 200_000_000])
async def test_a_group_without_a_sane_limit_is_refused(rig: Rig, most: int) -> None:
    with pytest.raises(Refused):
        await rig.do(rig.venue.open_group(most))


async def test_everything_is_cancelled_and_what_comes_in_the_next_minute(rig: Rig) -> None:
    orders = [(await place(rig, side, price, 100))[0] for side, price in ((0, 4200), (1, 5300))]
    await rig.do(rig.venue.cancel_all())
    late, _ = await place(rig, 0, 4100, 100)
    await rig.wait(0.5)
    assert [(await found(rig, order)).state for order in (*orders, late)] == ["cancelled"] * 3
    await rig.wait(61)
    after, _ = await place(rig, 0, 4100, 100)
    await rig.wait(0.5)
    assert (await found(rig, after)).state == "resting"


async def test_the_truth_is_what_happened(rig: Rig) -> None:
    """Takes, makes, closes and rests; every fill is booked anew here, and everything must come out the same."""
    await place(rig, 0, 4700, 12_345)
    maker, _ = await place(rig, 1, 5400, 2_500)
    await rig.take(1, 5400, 1_700)
    await place(rig, 1, 5600, 4_001, immediate=True)
    gone, ack = await place(rig, 0, 4000, 50_000)
    await rig.do(rig.venue.cancel(ack.venue_id, MARKET))
    rests, _ = await place(rig, 0, 3900, 33_333)
    truth = await rig.do(rig.venue.truth(0))
    mine = {order.venue_id: order.mine for order in truth.orders}
    account = Account(CASH)
    for told in truth.fills:
        assert account.apply(told.market, told.side, mine[told.venue_id], told.fill)
    assert (truth.cash, truth.positions) == (account.cash, account.positions)
    shown = {order.mine: order for order in truth.orders}
    assert len(shown) == 5
    assert (shown[maker.client_order_id].state, shown[maker.client_order_id].filled) == ("resting", 1_700)
    assert shown[gone.client_order_id].state == "cancelled"
    assert shown[rests.client_order_id].state == "resting"
    assert sum(told.fill.size for told in truth.fills) == sum(order.filled for order in truth.orders)
    assert account.positions == {MARKET: 12_345 - 1_700 - 4_001}
    assert account.fees > 0


async def test_what_was_before_is_left_out_of_the_truth_but_what_is_open_is_not(rig: Rig) -> None:
    await place(rig, 0, 4600, 1_000)
    rests, _ = await place(rig, 0, 4200, 100)
    await rig.wait(5)
    since = rig.now_us()
    await rig.wait(5)
    _, ack = await place(rig, 0, 4600, 500)
    truth = await rig.do(rig.venue.truth(since))
    assert {order.mine for order in truth.orders} == {
        rests.client_order_id,
        *[o.mine for o in truth.orders if o.venue_id == ack.venue_id],
    }
    assert [(told.venue_id, told.fill.size) for told in truth.fills] == [(ack.venue_id, 500)]
    assert truth.positions == {MARKET: 1_500}
    assert truth.us >= since


@pytest.mark.parametrize("environment", [Environment.DEMO, Environment.PRODUCTION])
async def test_a_local_key_goes_nowhere_else(environment: Environment, tmp_path: Any) -> None:
    write_new_key(tmp_path / "key.pem")
    there = endpoints(environment)
    local = ApiKey.load("local-key", tmp_path / "key.pem", environment=Environment.LOCAL)
    with pytest.raises(CredentialError, match="made in environment local"):
        TradingClient(there, clock=SystemClock(), key=local)
    own = ApiKey.load("own-key", tmp_path / "key.pem", environment=environment)
    async with TradingClient(there, clock=SystemClock(), key=own) as client:
        assert KalshiVenue(client, {MARKET: 0}).name == environment.value
