"""The Kalshi venue on the local exchange when answers go wrong: told as it is, never sent again, found by its id."""

from __future__ import annotations

import itertools
import logging
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from kflow.act.kalshi import KalshiVenue
from kflow.act.orders import Intent
from kflow.act.venue import Gone, Refused, Unclear
from kflow.clock import ManualClock, SystemClock
from kflow.exchange.accounts import UserOrder
from kflow.exchange.faults import Fault, Kind
from kflow.exchange.terms import CASH, Terms
from kflow.kalshi.environments import Environment, endpoints
from kflow.kalshi.portfolio import AccountOrder
from kflow.kalshi.rest import Retries
from kflow.kalshi.trading import TradingClient
from kflow.testing.trader import Trader, trading
from kflow.testing.venue import MARKET, LocalVenue

RUN = uuid.UUID(int=3)
_numbers = itertools.count(1)
# A write that hears nothing for this long is unsure: real time, since it is a socket that stays silent.
TIMEOUT_S = 0.3


class Rig:
    """A venue, its exchange, and another member."""

    def __init__(self, exchange: LocalVenue, clock: ManualClock, client: TradingClient, bob: Trader) -> None:
        self.exchange, self.clock, self.client, self.bob = exchange, clock, client, bob
        self.venue = KalshiVenue(client, {MARKET: 0})

    @property
    def orders(self) -> list[UserOrder]:
        """All that the exchange ever took from us."""
        desk = self.exchange.exchange.desk
        return list(desk.account(next(iter(desk.members))).orders.values())

    def of(self, intent: Intent) -> list[UserOrder]:
        return [order for order in self.orders if order.client_order_id == intent.client_order_id]

    def inject(self, kind: Kind, **more: Any) -> None:
        self.exchange.inject(Fault(kind=kind, **more))


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    clock = ManualClock(wall_ns=SystemClock().wall_ns())
    async with trading(clock=clock, users=2, terms=Terms(tier="unlimited")) as (exchange, [_, bob]):
        where = endpoints(Environment.LOCAL, exchange=exchange.rest)
        once = Retries(attempts=1)
        async with TradingClient(where, clock=clock, key=exchange.key, retries=once, timeout_s=TIMEOUT_S) as client:
            yield Rig(exchange, clock, client, bob)


def wish(side: int = 0, price: int = 4200, size: int = 1_000, **more: Any) -> Intent:
    fields: dict[str, Any] = {"market": MARKET, "immediate": False, **more}
    return Intent(
        run=RUN, number=next(_numbers), action="try", side=side, price=price, size=size,
        decided_us=0, version=1, digest="", epoch=1, limits="", **fields,
    )  # fmt: skip


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kind": Kind.HTTP_ERROR, "status": 429}, "too many requests"),
    ({"kind": Kind.DEPRECATED}, "deprecated_v1_order_endpoint"),
]
UNCLEAR: list[dict[str, Any]] = [
    fault | {"accepted": accepted}
    for fault in (
        {"kind": Kind.LOST_ACK, "variant": "reset"},
        {"kind": Kind.LOST_ACK, "variant": "closed"},
        *[{"kind": Kind.HTTP_ERROR, "status": status} for status in (500, 502, 503, 504)],
        *[{"kind": Kind.HTML, "status": status} for status in (200, 502)],
        *[{"kind": Kind.NO_ORDER, "status": status} for status in (200, 201)],
    )
    for accepted in (True, False)
]


async def test_a_sure_refusal_leaves_nothing(rig: Rig) -> None:
    for fault, code in REFUSED:
        rig.inject(**fault)
        order = wish()
        with pytest.raises(Refused) as refused:
            await rig.venue.place(order, None)
        assert refused.value.code == code
        assert rig.orders == []
        assert await rig.venue.find(order.client_order_id, MARKET) is None


async def test_an_unsure_order_is_found_by_its_id_or_is_not_there(rig: Rig) -> None:
    for sent, fault in enumerate(UNCLEAR, 1):
        rig.inject(**fault)
        order = wish(price=100)
        with pytest.raises(Unclear):
            await rig.venue.place(order, None)
        assert sum(rig.exchange.injected.values()) == sent, "each was sent once"
        found = await rig.venue.find(order.client_order_id, MARKET)
        assert len(rig.of(order)) == (found is not None) == fault["accepted"], fault
        if found is not None:
            assert (found.state, found.venue_id) == ("resting", rig.of(order)[0].order_id)


async def test_a_true_answer_of_the_wrong_type_is_not_believed(rig: Rig) -> None:
    rig.inject(Kind.CONTENT_TYPE)
    order = wish(price=4600)
    with pytest.raises(Unclear, match="not JSON"):
        await rig.venue.place(order, None)
    found = await rig.venue.find(order.client_order_id, MARKET)
    assert found is not None
    assert (found.state, found.filled) == ("filled", 1_000)
    assert [told.fill.size for told in (await rig.venue.truth(0)).fills] == [1_000]


async def test_an_answer_that_comes_too_late_is_none(rig: Rig) -> None:
    rig.inject(Kind.LATE_ACK, seconds=30)
    order = wish(price=4600)
    with pytest.raises(Unclear, match="no answer"):
        await rig.venue.place(order, None)
    found = await rig.venue.find(order.client_order_id, MARKET)
    assert found is not None
    assert found.state == "filled"
    rig.clock.advance(31)


async def test_without_a_connection_nothing_was_sent(rig: Rig) -> None:
    nowhere = endpoints(Environment.LOCAL, exchange="http://127.0.0.1:1")
    async with TradingClient(nowhere, clock=rig.clock, key=rig.exchange.key) as client:
        venue = KalshiVenue(client, {MARKET: 0})
        with pytest.raises(Refused) as refused:
            await venue.place(wish(), None)
        assert refused.value.code == "never_sent"
        with pytest.raises(Refused):
            await venue.cancel_all()


WRITES: list[tuple[str, Callable[[Rig, str, Intent, str], Awaitable[Any]]]] = [
    ("cancel", lambda rig, order_id, _, __: rig.venue.cancel(order_id, MARKET)),
    ("amend", lambda rig, order_id, order, _: rig.venue.renew(order_id, order, 0, rig.clock.wall_ns() // 1000 + 10**8)),
    ("cancel_all", lambda rig, *_: rig.venue.cancel_all()),
    ("PUT /portfolio/order_groups/*", lambda rig, _, __, group: rig.venue.trigger_group(group)),
    ("POST /portfolio/order_groups/create", lambda rig, *_: rig.venue.open_group(1_000)),
]


async def test_every_write_may_be_unsure(rig: Rig) -> None:
    sent = 0
    for kind in (Kind.LOST_ACK, Kind.HTML, Kind.HTTP_ERROR):
        for command, write in WRITES:
            group = await rig.venue.open_group(10_000)
            order = wish(expires_us=rig.clock.wall_ns() // 1000 + 10**8)
            ack = await rig.venue.place(order, group)
            rig.inject(kind, command=command, accepted=True)
            with pytest.raises(Unclear):
                await write(rig, ack.venue_id, order, group)
            sent += 1
            assert sum(rig.exchange.injected.values()) == sent
            rig.clock.advance(61)  # what follows a cancellation of everything is not cancelled any more


async def test_a_cancellation_that_was_not_answered_is_seen_in_the_order(rig: Rig) -> None:
    order = wish()
    ack = await rig.venue.place(order, None)
    rig.inject(Kind.LOST_ACK, command="cancel", accepted=True)
    with pytest.raises(Unclear):
        await rig.venue.cancel(ack.venue_id, MARKET)
    found = await rig.venue.find(order.client_order_id, MARKET)
    assert found is not None
    assert found.state == "cancelled"
    with pytest.raises(Gone):
        await rig.venue.cancel(ack.venue_id, MARKET)


async def test_of_no_intent_there_are_two_orders(rig: Rig) -> None:
    """Every second order meets a fault; whoever is unsure sends it a second time here, which the actor never does."""
    rng = random.Random(5)
    faults = [*[fault for fault, _ in REFUSED], *UNCLEAR]
    orders = [wish(price=100, size=100) for _ in range(80)]
    for order in orders:
        if rng.random() < 0.5:
            rig.inject(**rng.choice(faults))
        for _ in range(2):
            try:
                await rig.venue.place(order, None)
            except (Unclear, Refused):
                continue
            break
    for order in orders:
        assert len(rig.of(order)) <= 1
        assert (await rig.venue.find(order.client_order_id, MARKET) is not None) == bool(rig.of(order))


async def test_what_the_venue_does_not_say_is_unclear(rig: Rig) -> None:
    for command in ("GET /portfolio/orders", "GET /portfolio/fills", "GET /portfolio/balance"):
        rig.inject(Kind.HTTP_ERROR, command=command)
        with pytest.raises(Unclear):
            await rig.venue.truth(0)
    rig.inject(Kind.HTML, command="GET /portfolio/orders")
    with pytest.raises(Unclear):
        await rig.venue.find("anything", MARKET)


async def test_a_market_whose_shard_nobody_named_is_refused(rig: Rig) -> None:
    with pytest.raises(Refused, match="shard"):
        await rig.venue.place(wish(market="INXD-25JAN03-B5937"), None)
    assert rig.orders == []


async def test_a_group_reaches_over_all_shards_or_there_is_none(rig: Rig) -> None:
    group = await rig.venue.open_group(1_000)
    far = KalshiVenue(rig.client, {MARKET: 0, "KXBTC-26NOV23-B1": 2})
    with pytest.raises(Refused) as refused:
        await far.open_group(1_000)
    assert refused.value.code == "user_not_found"
    ann = rig.bob.with_key(rig.exchange.key)
    assert [f"0:{listed['id']}" for listed in (await ann.get("/portfolio/order_groups"))["order_groups"]] == [group]
    with pytest.raises(Refused) as refused:
        await far.place(wish(market="KXBTC-26NOV23-B1"), group)
    assert refused.value.code == "no_group"


class _Hasty(ManualClock):
    """Sleeps are over at once."""

    slept = 0

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds > 0


class _Restless(TradingClient):
    """Something happens each time its orders are read."""

    happens: Callable[[], Awaitable[Any]]
    times: int
    reads = 0

    async def orders(
        self, *, status: str | None = None, market: str | None = None, since_us: int = 0
    ) -> AsyncIterator[AccountOrder]:
        async for order in super().orders(status=status, market=market, since_us=since_us):
            yield order
        self.reads += status is None
        if status is None and self.reads <= self.times:
            await self.happens()


@pytest.mark.parametrize("times", [2, 99])
async def test_a_truth_is_of_one_moment(rig: Rig, times: int) -> None:
    """A fill between the reads of orders and of fills would be in one and not in the other."""
    await rig.venue.place(wish(price=4400, size=500_000), None)
    where = endpoints(Environment.LOCAL, exchange=rig.exchange.rest)
    clock = _Hasty(wall_ns=rig.clock.wall_ns())
    async with _Restless(where, clock=clock, key=rig.exchange.key) as client:
        client.happens = lambda: rig.bob.order("ask", "0.4400", "110.00")
        client.times = times
        venue = KalshiVenue(client, {MARKET: 0})
        if times == 99:
            with pytest.raises(Unclear, match="went on trading"):
                await venue.truth(0)
            return
        truth = await venue.truth(0)
        assert (client.reads, clock.slept) == (3, 2)
    [order] = truth.orders
    filled = 2 * 11_000 - 10_000  # what is ahead at its price is served first
    assert order.filled == filled == sum(told.fill.size for told in truth.fills) == truth.positions[MARKET]
    assert truth.cash == CASH - 4400 * filled


async def test_what_is_open_is_told_however_old_it_is(rig: Rig) -> None:
    rests, gone = wish(), wish(price=4100)
    await rig.venue.place(rests, None)
    ack = await rig.venue.place(gone, None)
    rig.clock.advance(3 * 86_400)
    await rig.venue.cancel(ack.venue_id, MARKET)
    truth = await rig.venue.truth(rig.clock.wall_ns() // 1000 - 10**6)
    assert [order.mine for order in truth.orders] == [rests.client_order_id]
    found = await rig.venue.find(gone.client_order_id, MARKET)
    assert found is not None
    assert found.state == "cancelled"


async def test_what_an_answer_says_is_logged_without_secrets(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.inject(Kind.HTML, status=200)
    with caplog.at_level(logging.WARNING), pytest.raises(Unclear):
        await rig.venue.place(wish(), None)
    [line] = [record.getMessage() for record in caplog.records if "HTTP 200" in record.getMessage()]
    assert "One moment" in line
    assert rig.exchange.key_id not in caplog.text
