"""An actor at a local exchange where orders go wrong (reliability.md, rows 27 to 36, 43): what it then knows is true.

Time jumps (kflow/testing/fast.py): what takes minutes at a venue takes a second here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kflow.act import kill as killing
from kflow.act.denials import Reason
from kflow.act.kalshi import KalshiVenue
from kflow.act.kill import Groups
from kflow.act.lease import LeaseLost
from kflow.act.orders import State
from kflow.act.reconcile import HALTING
from kflow.act.reconcile import Kind as Difference
from kflow.act.standing import Standing
from kflow.exchange.accounts import Ticket, UserOrder
from kflow.exchange.faults import Fault, Kind
from kflow.exchange.orders import TimeInForce
from kflow.kalshi.auth import ApiKey
from kflow.kalshi.environments import Environment, endpoints
from kflow.kalshi.trading import TradingClient
from kflow.market.events import Side
from kflow.testing.actor import LIMITS, Ground, Restless, field
from kflow.testing.fast import FastClock
from kflow.testing.postgres import Database
from kflow.units import Size

from .conftest import Report

S = 1_000_000_000
POST = b"POST /trade-api/v2/portfolio/events/orders HTTP"
# A request that was under way already.
UNDER_WAY_NS = S // 10
OTHERS = frozenset({Difference.EXTERNAL_ORDER, Difference.EXTERNAL_FILL})

Story = Callable[[Ground], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture
def play(tmp_path: Path, database: Database, seed: int) -> Play:
    """Runs a story with an actor that trades at random; at its end everything known must be the exchange's truth."""

    def run(story: Story, **terms: Any) -> None:
        clock = FastClock()
        try:
            clock.run(whole(story, clock, tmp_path, database, seed, **terms))
        except BaseException:
            print(f"repeat with KFLOW_FAULT_SEED={seed}")
            raise

    return run


async def whole(story: Story, clock: FastClock, folder: Path, database: Database, seed: int, **terms: Any) -> None:
    async with field(folder, database.dsn, seed=seed, clock=clock, **({"preset": "quiet"} | terms)) as ground:
        await ground.start()
        await story(ground)
        await true(ground)
        await ground.stop()
        assert ground.differences() == []
        assert ground.account.open_count == 0


async def true(ground: Ground) -> None:
    """Hold still: orders, fills, positions and cash are the exchange's; no intent was sent twice; nothing is amiss."""
    Restless.resting = True
    assert await ground.quiet() == []
    assert ground.twice() == []
    amiss = [one for one in ground.actor.state.differences if one.kind in HALTING - OTHERS]
    assert amiss == []
    Restless.resting = False


def inject(ground: Ground, kind: Kind, **terms: Any) -> None:
    ground.exchange.injector.add(Fault(kind=kind, **terms))


def injected(ground: Ground, kind: Kind) -> int:
    return ground.exchange.injector.injected[kind.value]


# Answers to orders that are late, lost or nonsense, and to cancellations.

ANSWERS = {
    "27 lost after acceptance, reset": Fault(kind=Kind.LOST_ACK, accepted=True, variant="reset", every=5, times=4),
    "27 lost after acceptance, closed": Fault(kind=Kind.LOST_ACK, accepted=True, variant="closed", every=5, times=4),
    "27 late": Fault(kind=Kind.LATE_ACK, seconds=4, every=5, times=4),
    "27 later than it is waited for": Fault(kind=Kind.LATE_ACK, seconds=12, every=5, times=4),
    "28 lost before acceptance": Fault(kind=Kind.LOST_ACK, every=5, times=4),
    **{
        f"29 HTTP {status}, {'accepted' if accepted else 'nothing done'}": Fault(
            kind=Kind.HTTP_ERROR, status=status, accepted=accepted, every=5, times=4
        )
        for status in (429, 500, 502, 503, 504)
        for accepted in (False, True)
        if (status, accepted) != (429, True)  # 429 says for certain that nothing was done
    },
    **{
        f"30 {kind}, {'accepted' if accepted else 'nothing done'}": Fault(
            kind=kind, accepted=accepted, every=5, times=4
        )
        for kind in (Kind.NO_ORDER, Kind.HTML)
        for accepted in (False, True)
    },
    "30 mislabelled": Fault(kind=Kind.CONTENT_TYPE, every=5, times=4),
    "30 deprecated": Fault(kind=Kind.DEPRECATED, every=5, times=4),
    "31 fills before the answer": Fault(kind=Kind.FILL_FIRST, every=1, times=20),
    **{
        f"31 cancel: {kind}, {'done' if accepted else 'not done'}": Fault(
            kind=kind, command="cancel", accepted=accepted, seconds=12, every=2, times=4
        )
        for kind in (Kind.LOST_ACK, Kind.LATE_ACK, Kind.HTTP_ERROR, Kind.HTML)
        for accepted in (False, True)
    },
}
QUICK = (
    "27 lost after acceptance, reset",
    "27 later than it is waited for",
    "30 html, accepted",
)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.faults) for n in ANSWERS])
def test_answers_that_go_wrong(play: Play, name: str) -> None:
    fault = ANSWERS[name]

    async def story(ground: Ground) -> None:
        ground.exchange.injector.add(fault)
        await ground.until(lambda: injected(ground, fault.kind) >= 4, "the faults", within_s=600)
        await ground.clock.sleep(15)

    play(story)


@pytest.mark.faults
@pytest.mark.parametrize("delivered", [False, True])
def test_a_line_that_is_cut_at_an_order(play: Play, delivered: bool) -> None:
    """Row 28 where it happens: on the way there, or on the way back."""

    async def story(ground: Ground) -> None:
        for _ in range(3):
            before = ground.proxy.cuts
            (ground.proxy.cut_after if delivered else ground.proxy.cut_before)(POST)
            await ground.until(lambda before=before: ground.proxy.cuts > before, "a cut")  # type: ignore[misc]
            await ground.clock.sleep(12)

    play(story)


# Fills that are told twice, turned about, or not at all.


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(kind=Kind.DUPLICATE, channel="fill", count=2, every=1, times=6), id="twice"),
        pytest.param(Fault(kind=Kind.REORDER, channel="fill", every=3, times=2), id="about", marks=pytest.mark.faults),
        pytest.param(Fault(kind=Kind.DROP, channel="fill", every=2, times=4), id="lost", marks=pytest.mark.faults),
        pytest.param(Fault(kind=Kind.CUT, channel="fill", seconds=20, times=1), id="cut"),
    ],
)
def test_fills_that_are_told_wrong(play: Play, fault: Fault) -> None:
    async def story(ground: Ground) -> None:
        ground.exchange.injector.add(fault)
        times = fault.times or 1
        await ground.until(lambda: injected(ground, fault.kind) >= times, "the faults", within_s=600)
        await ground.clock.sleep(30)

    play(story)


def test_a_fill_while_nothing_can_be_heard_or_asked(play: Play) -> None:
    """Row 32: of an order that is cancelled meanwhile. The first comparison that succeeds reaches back to it."""

    async def story(ground: Ground) -> None:
        def whole() -> list[UserOrder]:
            alone = [orders for m in ground.actor.actor.seats if len(orders := ground.account.open_orders(m)) == 1]
            return [order for (order,) in alone if order.remaining == order.initial == 200]

        await ground.until(lambda: bool(whole()), "an order that rests", within_s=600)
        Restless.resting = True
        inject(ground, Kind.DROP, channel="fill", every=1, times=10**6)
        inject(ground, Kind.HTTP_ERROR, command="read", every=1, times=10**6)
        order = whole()[0]
        half_taken(ground, order)
        assert order.remaining == 100
        await ground.actor.desk.cancel(order.ticket.ticker)
        mine = ground.actor.desk.orders[str(order.client_order_id)]
        assert (mine.state, mine.filled) == (State.CANCELLED, 0)
        await ground.clock.sleep(200)
        ground.exchange.injector.disarm()
        await ground.clock.sleep(65)
        await true(ground)
        assert ground.actor.desk.orders[str(order.client_order_id)].filled == 100

    play(story)


def half_taken(ground: Ground, order: UserOrder) -> None:
    """Somebody takes all that stands before an order, and half of it."""
    desk, ticker = ground.exchange.desk, order.ticket.ticker
    ahead = desk.clearing.markets[ticker].engine.ahead(order)
    other = desk.account(ground.exchange.holders[1].user_id)
    taker = Ticket(
        ticker=ticker,
        side=Side(1 - order.side),
        price=order.price,
        size=Size(ahead + 100),
        time_in_force=TimeInForce.IOC,
    )
    desk.create(other, taker)
    desk.flush()


def test_somebody_else_trades_for_the_account(play: Play) -> None:
    """Row 33: that market is halted, its true position is what the policy sees; the others go on."""

    async def story(ground: Ground) -> None:
        await ground.traded(10)
        market = next(iter(ground.actor.actor.seats))
        while not any(order.filled for order in ground.account.orders.values() if order.client_order_id is None):
            # One that meets an order of the actor's own is killed by the venue.
            inject(ground, Kind.OUTSIDE_ORDER, market=market, count=3)
            await ground.clock.sleep(0.1)

        def halted() -> bool:
            return ground.standing.of(market).standing is Standing.HALTED

        took_s = await ground.until(halted, "the market to be halted")
        assert took_s < 10
        halted_ns = ground.clock.mono_ns()
        await ground.traded(10)
        late = [a for a in ground.watch.arrived if a.market == market and a.mono_ns > halted_ns + UNDER_WAY_NS]
        assert late == []
        assert ground.standing.now().overall.standing is Standing.ACTIVE
        await true(ground)
        ground.arm(market)
        before = len([a for a in ground.watch.arrived if a.market == market])
        await ground.until(lambda: len([a for a in ground.watch.arrived if a.market == market]) > before, "orders")

    play(story)


@pytest.mark.faults
@pytest.mark.parametrize("away", [True, False])
def test_a_market_settles(play: Play, away: bool) -> None:
    """Row 33: a position that is paid out is no mismatch, whether anybody listened or not."""

    async def story(ground: Ground) -> None:
        market = next(iter(ground.actor.actor.seats))
        await ground.until(lambda: ground.account.held(market) != 0, "a position", within_s=600)
        if away:
            ground.proxy.refuse()
        ground.exchange.control.move_close(market, 0)
        state = ground.exchange.control.clearing.markets[market].state
        await ground.until(lambda: state.settlement_value is not None, "a result")
        await ground.until(lambda: ground.account.held(market) == 0, "a payment")
        await ground.clock.sleep(90)
        ground.proxy.restore()
        await true(ground)
        assert ground.actor.actor.seats[market].purse.position == 0
        assert ground.standing.now().overall.standing is Standing.ACTIVE
        await ground.traded(5)

    play(story)


@pytest.mark.faults
def test_no_way_to_the_venue_for_ten_minutes(play: Play) -> None:
    """Row 34: what rests there ends by itself, and is never taken for lost."""

    async def story(ground: Ground) -> None:
        await ground.traded(10)
        await ground.until(lambda: ground.account.open_count > 1, "resting orders")
        resting = {order.client_order_id for order in ground.account.open_orders()}
        ground.proxy.refuse()
        await ground.clock.sleep(180)
        assert ground.account.open_count == 0, "the venue ends what nobody renews"
        mine = [order for key, order in ground.actor.desk.orders.items() if key in resting]
        assert len(mine) == len(resting)
        await ground.clock.sleep(420)
        arrived = len(ground.watch.arrived)
        ground.proxy.restore()
        await ground.traded(10)
        assert len(ground.watch.arrived) >= arrived + 10
        ends = {State.EXPIRED, State.FILLED, State.CANCELLED}
        assert {ground.actor.desk.orders[order.intent.client_order_id].state for order in mine} <= ends

    play(story)


@pytest.mark.parametrize("variant", ["trading", pytest.param("exchange", marks=pytest.mark.faults)])
def test_a_pause(play: Play, variant: str) -> None:
    """Row 35: no orders meanwhile, and it hardly asks; then it goes on."""

    async def story(ground: Ground) -> None:
        await ground.traded(10)
        inject(ground, Kind.PAUSE, variant=variant, seconds=60)
        await ground.until(lambda: injected(ground, Kind.PAUSE) == 1, "the pause")
        orders, arrived = len(ground.account.orders), len(ground.watch.arrived)
        await ground.clock.sleep(55)
        assert len(ground.account.orders) == orders
        assert ground.account.open_count == 0
        # One question for each market in five seconds, and what was under way.
        assert len(ground.watch.arrived) - arrived <= 3 * (55 / 5 + 2)
        await ground.until(lambda: len(ground.account.orders) > orders + 5, "orders again")

    play(story)


def test_a_market_closes_early(play: Play) -> None:
    """Row 35: no order in it from then on; the others go on."""

    async def story(ground: Ground) -> None:
        await ground.traded(10)
        market = next(iter(ground.actor.actor.seats))
        inject(ground, Kind.CLOSE_EARLY, market=market)
        await ground.until(lambda: injected(ground, Kind.CLOSE_EARLY) == 1, "the close")
        closed_ns = ground.clock.mono_ns()
        await ground.traded(20)
        late = [a for a in ground.watch.arrived if a.market == market and a.mono_ns > closed_ns + UNDER_WAY_NS]
        assert late == []
        assert ground.account.open_orders(market) == []

    play(story)


def test_a_market_that_is_paused_waits_and_goes_on(play: Play) -> None:
    async def story(ground: Ground) -> None:
        await ground.traded(10)
        market = next(iter(ground.actor.actor.seats))

        def asked() -> int:
            return sum(arrived.market == market for arrived in ground.watch.arrived)

        ground.exchange.control.deactivate(market)
        await ground.clock.sleep(0.2)
        before = asked()
        await ground.traded(20)
        assert asked() == before
        ground.exchange.control.activate(market)
        await ground.until(lambda: asked() > before, "orders again")

    play(story)


@pytest.mark.faults
def test_a_market_with_other_prices_is_left_alone(play: Play) -> None:
    """Nobody can count in its columns any more; the connection stands, and the others go on."""

    async def story(ground: Ground) -> None:
        await ground.traded(10)
        market = next(m for m, seat in ground.actor.actor.seats.items() if seat.market.grid.prices()[0] == 100)
        inject(ground, Kind.RETICK, market=market, structure="deci_cent")
        await ground.until(lambda: injected(ground, Kind.RETICK) == 1, "other prices")
        await ground.clock.sleep(0.2)
        before = sum(arrived.market == market for arrived in ground.watch.arrived)
        await ground.clock.sleep(30)
        await ground.traded(20)
        assert sum(arrived.market == market for arrived in ground.watch.arrived) == before
        assert ground.exchange.hub.accepted == 1

    play(story)


def test_what_was_decided_too_slowly_does_not_leave(play: Play) -> None:
    """Row 39: by the time the policy knows what it wants, the book it saw is too old."""

    async def story(ground: Ground) -> None:
        await ground.traded(5)
        denied = ground.actor.actor.tally.guard.by_reason

        def stall() -> None:
            assert isinstance(ground.clock, FastClock)
            Restless.before = lambda: None
            ground.clock.passed_ns += 3 * S

        while not sum(denied().values()):
            Restless.before = stall  # what it then wants may be nothing
            await ground.until(lambda: Restless.before is not stall, "a decision")
            await ground.clock.sleep(1)
        assert {reason for reason, count in denied().items() if count} == {Reason.BOOK_OLD}
        await ground.traded(5)

    play(story, limits=LIMITS.replace("book_age_seconds = 60", "book_age_seconds = 2"))


@pytest.mark.parametrize("before_s", [59.9, 60.1, 60.3])
def test_what_was_filled_before_the_start_is_not_booked_again(play: Play, before_s: float) -> None:
    """The first look reaches back a minute. Reads lag, so a later one of the same minute begins a little before it."""

    async def story(ground: Ground) -> None:
        await ground.traded(20)
        await ground.stop()
        last_us = max(fill.us for order in ground.actor.desk.orders.values() for fill in order.fills.values())
        await ground.clock.sleep(last_us / 1e6 + before_s - ground.clock.wall_ns() / 1e9)
        Restless.resting = True
        await ground.start()
        await ground.clock.sleep(70)
        await true(ground)
        assert ground.actor.actor.tally.fills == 0

    play(story)


def test_a_lost_lease_halts_at_once_and_epochs_do_not_overlap(play: Play) -> None:
    """Row 36."""

    async def story(ground: Ground) -> None:
        await ground.traded(20)
        old = ground.actor
        await asyncio.to_thread(ground.steal_lease)
        lost_ns = ground.clock.mono_ns()
        with pytest.raises(LeaseLost):
            await ground.ended()
        halted_s = await ground.until(lambda: ground.standing.now().overall.standing is Standing.HALTED, "a halt")
        assert halted_s <= 1
        late = [a for a in ground.watch.arrived if a.mono_ns > lost_ns + S]
        assert late == []
        assert ground.account.open_count == 0
        await ground.start()
        await ground.traded(20)
        assert ground.actor.lease.epoch > old.lease.epoch
        there = {order.client_order_id: order for order in ground.account.orders.values()}
        before = [there[mine].updated_us for mine in old.desk.orders if mine in there]
        after = [there[mine].created_us for mine in ground.actor.desk.orders.keys() - old.desk.orders if mine in there]
        assert max(before) < min(after)

    play(story)


# Kills, while things go wrong.

KILLED: dict[str, Fault | None] = {
    "nothing": None,
    "27 acks lost": Fault(kind=Kind.LOST_ACK, accepted=True, every=2),
    "27 acks late": Fault(kind=Kind.LATE_ACK, seconds=12, every=2),
    "29 503": Fault(kind=Kind.HTTP_ERROR, command="write", accepted=True, every=2, times=20),
    "30 a page": Fault(kind=Kind.HTML, command="write", every=2, times=10),
    "31 cancels late": Fault(kind=Kind.LATE_ACK, command="cancel", seconds=5, every=1),
    "32 stream cut": Fault(kind=Kind.CUT, channel="fill", seconds=20),
    "35 trading paused": Fault(kind=Kind.PAUSE, seconds=30),
}


@asynccontextmanager
async def other_line(ground: Ground) -> AsyncIterator[KalshiVenue]:
    """The venue, reached as `kflow kill` reaches it."""
    exchange = ground.exchange
    key = ApiKey.load(exchange.key_id, exchange.private_key_path, environment=Environment.LOCAL)
    where = endpoints(Environment.LOCAL, exchange=exchange.rest)
    async with TradingClient(where, clock=ground.clock, key=key) as client:
        yield KalshiVenue(client, dict.fromkeys(exchange.clearing.markets, 0))


@pytest.mark.parametrize("way", ["kflow kill", "the file KILL"])
@pytest.mark.parametrize(
    "name", ["nothing", "27 acks late", *(pytest.param(n, marks=pytest.mark.faults) for n in list(KILLED)[3:])]
)
def test_a_kill_while_it_goes_wrong(play: Play, report: Report, database: Database, name: str, way: str) -> None:
    """Row 43: flat within a second, and nothing after it."""
    fault = KILLED[name]

    async def story(ground: Ground) -> None:
        await ground.traded(10)
        if fault is not None:
            ground.exchange.injector.add(fault)
        await ground.traded(2)
        await ground.until(lambda: ground.account.open_count > 0 or name.startswith("35"), "a resting order")
        began_ns = ground.clock.mono_ns()
        killed = asyncio.ensure_future(kill(ground))
        flat_s = await ground.until(lambda: ground.account.open_count == 0, "no order")
        await ground.clock.sleep(5)
        await killed
        late = [a for a in ground.watch.arrived if a.mono_ns > began_ns + UNDER_WAY_NS]
        assert late == []
        assert ground.account.open_count == 0
        assert flat_s < 1
        report(f"kill: {name}", way=way, flat_s=round(flat_s, 3))
        assert ground.standing.now().overall.standing is Standing.HALTED

    async def kill(ground: Ground) -> None:
        if way == "the file KILL":
            ground.standing.kill("a test", 0)
            return

        def known() -> Any:
            with database.connect(autocommit=True) as conn:
                return killing.stored(conn, "local", ground.clock.wall_ns())

        async with other_line(ground) as venue:
            groups = Groups(ground.standing.folder).of("local")
            done = await killing.kill(venue, ground.standing, groups, known, clock=ground.clock, reason="a test")
        assert done.halted
        assert done.flat, done.sentence

    play(story)
