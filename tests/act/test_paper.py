"""The paper venue against the simulator: the same orders on the same recording get the same fills."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kflow.act.live import LiveBooks, LiveMarket
from kflow.act.orders import Account, Intent
from kflow.act.paper import PaperVenue, Terms
from kflow.act.paper_market import MOST
from kflow.act.paper_tape import HeldTape
from kflow.act.venue import Gone, Refused, VenueFill, VenueOrder
from kflow.clock import ManualClock, SystemClock
from kflow.errors import UsageError
from kflow.exchange.scene import SyntheticOptions
from kflow.kalshi.environments import Environment, endpoints
from kflow.kalshi.feed import Feed
from kflow.kalshi.rest import RestClient
from kflow.market.events import BookDelta, BookSnapshot, FeedEvent, Side, SnapshotReason, Trade
from kflow.market.grid import Grid
from kflow.market.times import format_rfc3339_us, venue_us
from kflow.record.plan import facts_of
from kflow.replay.load import Moment as Recorded
from kflow.replay.stretches import Stretches, build_tape
from kflow.sim import kernel
from kflow.sim.accounts import Limits
from kflow.sim.fills import HOME, MODELS, NO_LATENCY, Assumptions
from kflow.sim.orders import SimulatedOrderManager
from kflow.sim.tape import Tape
from kflow.testing.cases import SCHEDULES
from kflow.testing.tapes import COARSE, first_book, moments, random_tape
from kflow.testing.venue import LocalVenue
from kflow.units import DOLLAR, Money, Price, Size

RUN = uuid.UUID(int=7)
CASH = Money(10_000 * 1_000_000)


def recording(rng: np.random.Generator, name: str, tape: Tape) -> Iterator[FeedEvent]:
    """A random tape's first stretch as a feed would have brought it: trades beside their removals, before or after."""
    prices = tape.arrays.price.tolist()

    def own(side: int, column: int) -> Price:
        return Price(DOLLAR - prices[column] if side else prices[column])

    bids, asks = first_book(tape, 0)
    sides = [
        tuple((own(side, c), Size(size)) for c, size in enumerate(sizes) if size)
        for side, sizes in enumerate((bids, asks))
    ]
    begins_ms = tape.span_us(0)[0] // 1000 - 1
    yield BookSnapshot(name, None, 1, 1, sides[0], sides[1], SnapshotReason.SUBSCRIBE, begins_ms)
    owed: list[Trade] = []
    for us, changes in moments(tape, 0):
        yield from owed
        owed = []
        for kind, side, column, size in changes:
            if kind >= kernel.TRADE:
                maker, price = Side(side), Price(prices[column])
                trade = Trade(name, 2, None, None, price, Size(size), 1 - maker, None, us // 1000)
                when = rng.integers(3)
                if when == 0:
                    yield trade
                else:
                    owed.append(trade)
            if kind != kernel.PRINT:
                change = size if kind == kernel.ADD else -size
                stamp = format_rfc3339_us(us)
                yield BookDelta(name, 1, 0, side, own(side, column), Size(change), Size(0), stamp, us // 1000)
        if rng.random() < 0.5:
            yield from owed
            owed = []
    yield from owed


def stamp_of(event: FeedEvent) -> int | None:
    return venue_us(getattr(event, "venue_ts", None), getattr(event, "venue_ms", None))


def time_of(event: FeedEvent) -> int:
    us = stamp_of(event)
    assert us is not None
    return us


def taped(name: str, events: Sequence[FeedEvent], grid: Grid) -> Tape:
    """As `kflow simulate` reads the recording of them."""
    found = Stretches()
    for number, event in enumerate(events):
        found.add(Recorded(1, number, stamp_of(event), event))
    return build_tape(name, found.markets[name].stretches, "channel", grid, {})


@dataclass
class Heard:
    fills: list[VenueFill] = field(default_factory=list)
    ended: list[VenueOrder] = field(default_factory=list)

    def __call__(self, fills: Sequence[VenueFill], orders: Sequence[VenueOrder]) -> None:
        self.fills += fills
        self.ended += orders


@dataclass(frozen=True)
class Asked:
    """What was asked of the venue, and when."""

    us: int
    what: str
    order: str
    market: str
    price: int = 0
    side: int = 0
    size: int = 0
    immediate: bool = False
    reduce_only: bool = False


def intent(number: int, us: int, rng: np.random.Generator, grid: Grid, market: str) -> Intent:
    immediate = bool(rng.random() < 0.2)
    return Intent(
        run=RUN,
        number=number,
        market=market,
        action="random",
        side=int(rng.integers(2)),
        price=int(rng.choice(grid.prices())),
        size=int(rng.choice([1, 100, 350, 1_999, 2_000, 4_000, 9_999])),
        immediate=immediate,
        reduce_only=immediate and bool(rng.random() < 0.5),
        decided_us=us,
        version=0,
        digest="",
        epoch=1,
        limits="",
    )


class Driver:
    """Feeds a venue and sends it random orders; keeps what it asked."""

    def __init__(self, venue: PaperVenue, clock: ManualClock, rng: np.random.Generator, grids: dict[str, Grid]) -> None:
        self.venue, self.clock, self.rng, self.grids = venue, clock, rng, grids
        self.asked: list[Asked] = []
        self.placed: list[Intent] = []
        self.tasks: list[asyncio.Task[Any]] = []

    async def play(self, events: Sequence[FeedEvent], chance: float) -> None:
        place = 0
        while place < len(events):
            chunk = int(self.rng.integers(1, 5))
            self.venue.events(events[place : place + chunk], 0)
            place += chunk
            if self.rng.random() < chance:
                await self.act()
        self.venue.lost()
        # What was sent after the last word is answered once time has passed.
        while not all(task.done() for task in self.tasks):
            self.clock.advance(0.1)
            await asyncio.sleep(0)
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def near(self, market: str, side: int) -> int:
        """A price at a side's best bid, or a tick beside it."""
        grid, levels = self.grids[market].prices(), self.venue._feed._markets[market].book[side]
        quoted = [column for column, size in enumerate(levels) if size]
        best = (quoted[0] if side else quoted[-1]) if quoted else len(grid) // 2
        yes = grid[int(np.clip(best + self.rng.integers(-1, 2), 0, len(grid) - 1))]
        return int(DOLLAR - yes if side else yes)

    async def act(self) -> None:
        now = self.venue.now_us
        if self.placed and self.rng.random() < 0.25:
            order = self.placed[-min(int(self.rng.geometric(0.4)), len(self.placed))]
            self.asked.append(Asked(now, "cancel", order.client_order_id, order.market))
            self.tasks.append(asyncio.create_task(self.venue.cancel(f"paper-{order.client_order_id}", order.market)))
        else:
            us = now + int(self.rng.integers(0, 60_000))
            market = sorted(self.grids)[int(self.rng.integers(len(self.grids)))]
            order = intent(len(self.placed), us, self.rng, self.grids[market], market)
            if len(self.grids[market]) > len(COARSE):
                order = replace(order, price=self.near(market, order.side))
            self.placed.append(order)
            self.asked.append(
                Asked(
                    us, "place", order.client_order_id, market, order.price, order.side, order.size, order.immediate,
                    order.reduce_only,
                )
            )  # fmt: skip
            self.tasks.append(asyncio.create_task(self.venue.place(order, None)))
        await asyncio.sleep(0)


def simulated(
    asked: Sequence[Asked], tape: Tape, assumed: Assumptions, *, cash: Money, seed: int, number: int, start_us: int
) -> tuple[SimulatedOrderManager, list[tuple[Any, ...]]]:
    """The same orders by `kflow simulate`'s own account, and the fills they get."""
    limits = Limits(cash=cash, max_position=Size(2**40), max_order=MOST, orders=64)
    manager = SimulatedOrderManager(tape, assumed, limits, seed=seed, number=number, start_us=start_us)
    numbers: dict[str, int] = {}
    said = []
    last_us = tape.span_us(0)[1]
    for one in sorted(asked, key=lambda one: one.us):
        if one.us > last_us:
            break
        said += manager.advance(one.us)
        if one.what == "place":
            numbers[one.order] = manager.place(
                Side(one.side), Price(one.price), Size(one.size),
                immediate=one.immediate, reduce_only=one.reduce_only,
            )  # fmt: skip
        elif one.order in numbers:
            manager.cancel(numbers[one.order])
    said += manager.advance(last_us + 1)
    names = {number: order for order, number in numbers.items()}
    return manager, [
        (names[one.order], one.us, one.price, one.size, one.fee, one.kind == "took")
        for one in said
        if one.kind in ("took", "filled")
    ]


def told(fills: Sequence[VenueFill], market: str) -> list[tuple[Any, ...]]:
    return [
        (one.venue_id.removeprefix("paper-"), one.fill.us, one.fill.price, one.fill.size, one.fill.fee, one.fill.taker)
        for one in fills
        if one.market == market
    ]


@pytest.mark.parametrize("latency", [NO_LATENCY, HOME], ids=["none", "home"])
@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
@pytest.mark.parametrize("seed", range(4))
async def test_fills_are_those_of_the_simulator(model: Any, latency: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cash = CASH if seed % 2 else Money(60_000_000)  # so little that orders are refused for it
    events = list(recording(rng, "MADE", random_tape(rng)))
    assumed = Assumptions(model=model, latency=latency, fees=SCHEDULES[0])
    heard, clock = Heard(), ManualClock()
    venue = PaperVenue({"MADE": Terms(COARSE, assumed)}, cash=cash, clock=clock, seed=seed, heard=heard)
    driver = Driver(venue, clock, rng, {"MADE": COARSE})
    await driver.play(events, chance=0.5)

    tape = taped("MADE", events, COARSE)
    assert tape.stretches == 1
    manager, expected = simulated(
        driver.asked, tape, assumed, cash=cash, seed=seed, number=0, start_us=time_of(events[0])
    )
    assert told(heard.fills, "MADE") == expected
    assert expected, "nothing was compared"
    truth = await venue.truth(0)
    assert truth.cash == manager.cash
    assert truth.positions.get("MADE", 0) == manager.position
    assert not [order for order in truth.orders if order.state == "resting"]


async def captured(markets: int, messages: int) -> tuple[list[list[FeedEvent]], dict[str, Grid]]:
    """What a feed brought from a local exchange over a real socket, chunk by chunk."""
    chunks: list[list[FeedEvent]] = []
    options = SyntheticOptions(preset="busy", markets=markets, limit=messages, speed=None, seed=11)
    async with LocalVenue(synthetic=options) as exchange:
        where = endpoints(Environment.LOCAL, exchange=exchange.rest)
        clock = SystemClock()
        async with RestClient(where, clock=clock) as client:
            found = [market async for market in client.markets(status="open")]
            live = [LiveMarket.of(facts) for facts in await facts_of(client, found)]
        books = LiveBooks(live, clock=clock, events=lambda events, _: chunks.append(list(events)), private=False)
        feed = asyncio.create_task(Feed(where.ws, exchange.key, books, clock=clock).run())
        await exchange.exchange.finished.wait()
        feed.cancel()
        await asyncio.gather(feed, return_exceptions=True)
    return chunks, {market.facts.ticker: market.grid for market in live}


async def test_over_a_socket_too(tmp_path: Path) -> None:
    """Two markets of a local exchange with its own trades, as frames bring them; each like a recording of it."""
    rng = np.random.default_rng(3)
    chunks, grids = await captured(2, 6_000)
    events = [event for chunk in chunks for event in chunk if getattr(event, "market", None) in grids]
    assumed = Assumptions(fees=SCHEDULES[0])
    heard, clock = Heard(), ManualClock()
    terms = {name: Terms(grid, assumed) for name, grid in grids.items()}
    venue = PaperVenue(terms, cash=Money(2 * CASH), clock=clock, seed=5, heard=heard)
    driver = Driver(venue, clock, rng, grids)
    await driver.play(events, chance=0.15)
    compared = 0
    for number, name in enumerate(sorted(grids)):
        mine = [event for event in events if event.market == name]
        asked = [one for one in driver.asked if one.market == name]
        tape = taped(name, mine, grids[name])
        _, expected = simulated(asked, tape, assumed, cash=CASH, seed=5, number=number, start_us=tape.span_us(0)[0] - 1)
        assert told(heard.fills, name) == expected
        assert int((tape.arrays.code & 3 == kernel.TRADE).sum()) > 50
        compared += len(expected)
    assert compared > 100
    assert venue.late == 0


async def run_two(seed: int, chunk: int) -> tuple[list[VenueFill], int]:
    """Two markets that share little money, fed in chunks of a size; the same orders at the same times."""
    rng = np.random.default_rng(seed)
    both = [list(recording(rng, name, random_tape(rng))) for name in ("A", "B")]
    # Both books begin before anything is asked.
    events = [one[0] for one in both] + sorted((event for one in both for event in one[1:]), key=time_of)
    first_us = max(time_of(event) for event in events[:2])
    plan = [
        (int(rng.integers(first_us, time_of(events[-1]))), intent(n, 0, rng, COARSE, "AB"[n % 2])) for n in range(60)
    ]
    assumed = Assumptions(latency=HOME, fees=SCHEDULES[0])
    heard, clock = Heard(), ManualClock()
    terms = {name: Terms(COARSE, assumed) for name in ("A", "B")}
    venue = PaperVenue(terms, cash=30_000_000, clock=clock, seed=seed, heard=heard)
    venue.events(events[:2], 0)
    # All at once, each for its time: nothing but the feed's chunks differs between two runs.
    tasks = [asyncio.create_task(venue.place(replace(order, decided_us=us), None)) for us, order in plan]
    await asyncio.sleep(0)
    for first in range(2, len(events), chunk):
        venue.events(events[first : first + chunk], 0)
    venue.lost()
    while not all(task.done() for task in tasks):
        clock.advance(0.1)
        await asyncio.sleep(0)
    refused = [task for task in tasks if isinstance(task.exception(), Refused)]
    assert refused, "money was short"
    truth = await venue.truth(0)
    account = Account(30_000_000)
    for one in heard.fills:
        account.apply(one.market, one.side, one.venue_id, one.fill)
    assert truth.cash == account.cash >= 0
    assert truth.positions == {name: size for name, size in account.positions.items() if size}
    return heard.fills, truth.cash


@pytest.mark.parametrize("seed", range(5))
async def test_how_the_feed_is_cut_into_chunks_is_no_matter(seed: int) -> None:
    fine, coarse = await run_two(seed, 1), await run_two(seed, 37)
    assert {one.market for one in fine[0]} == {"A", "B"}
    assert {one.fill.trade: one for one in fine[0]} == {one.fill.trade: one for one in coarse[0]}
    assert fine[1] == coarse[1]


# By hand.

CENTS = Grid.named("linear_cent")
BEGINS_MS = 1_700_000_000_000


class Desk:
    """A venue on a book of 40 bid and 50 asked for YES, 10 contracts each, and its feed."""

    def __init__(self, cash: int = 100_000_000) -> None:
        self.clock, self.heard = ManualClock(), Heard()
        terms = Terms(CENTS, Assumptions(latency=NO_LATENCY, fees=SCHEDULES[0]))
        self.venue = PaperVenue({"A": terms, "B": terms}, cash=cash, clock=self.clock, heard=self.heard)

    def snapshot(self, name: str, yes: int = 1_000, no: int = 1_000, ms: int = BEGINS_MS) -> None:
        sides = [((Price(price), Size(size)),) if size else () for price, size in ((4000, yes), (5000, no))]
        told = BookSnapshot(name, None, 1, 1, sides[0], sides[1], SnapshotReason.SUBSCRIBE, ms)
        self.venue.events([told], self.clock.mono_ns())

    async def place(self, number: int, market: str = "A", **more: Any) -> Any:
        wish = replace(intent(number, self.venue.now_us, np.random.default_rng(0), CENTS, market), **more)
        return await self.done(self.venue.place(wish, None))

    async def done(self, asked: Any) -> Any:
        task = asyncio.ensure_future(asked)
        while not task.done():
            self.clock.advance(0.05)
            await asyncio.sleep(0)
        return await task


RESTS = {"side": 0, "price": 4000, "size": 100, "immediate": False, "reduce_only": False}


async def test_without_a_book_nothing_is_taken() -> None:
    desk = Desk()
    with pytest.raises(Refused, match="not followed"):
        await desk.place(1, **RESTS)


async def test_a_gap_ends_orders_and_is_told() -> None:
    desk = Desk()
    desk.snapshot("A")
    ack = await desk.place(1, **RESTS)
    desk.venue.lost()
    assert [(order.venue_id, order.state) for order in desk.heard.ended] == [(ack.venue_id, "cancelled")]
    with pytest.raises(Gone):
        await desk.done(desk.venue.cancel(ack.venue_id, "A"))
    with pytest.raises(Refused):
        await desk.place(2, **RESTS)
    desk.snapshot("A", ms=BEGINS_MS + 5_000)
    assert (await desk.place(3, **RESTS)).left == 100
    assert (await desk.venue.truth(0)).cash == 100_000_000


async def test_a_snapshot_that_agrees_is_no_news_and_one_that_does_not_is_a_gap() -> None:
    desk = Desk()
    desk.snapshot("A")
    ack = await desk.place(1, **RESTS)
    desk.snapshot("A", ms=BEGINS_MS + 1_000)
    assert desk.heard.ended == []
    desk.snapshot("A", yes=900, ms=BEGINS_MS + 2_000)
    assert [order.venue_id for order in desk.heard.ended] == [ack.venue_id]
    await desk.place(2, **RESTS)
    desk.snapshot("A", yes=0, no=0, ms=BEGINS_MS + 3_000)  # it closed
    assert len(desk.heard.ended) == 2
    with pytest.raises(Refused):
        await desk.place(3, **RESTS)


async def test_a_book_that_contradicts_itself_is_not_followed() -> None:
    desk = Desk()
    desk.snapshot("A")
    await desk.place(1, **RESTS)
    desk.venue.events([BookDelta("A", 1, 2, 0, Price(4000), Size(-1_001), Size(0), None, BEGINS_MS)], 0)
    assert len(desk.heard.ended) == 1
    desk.snapshot("A", ms=BEGINS_MS + 1_000)
    await desk.place(2, **RESTS)
    desk.venue.events([BookDelta("A", 1, 2, 0, Price(4000), Size(-1), None, None, BEGINS_MS)], 0)
    assert len(desk.heard.ended) == 2


async def test_money_is_one_over_all_markets() -> None:
    desk = Desk(cash=10_000_000)
    for name in ("A", "B"):
        desk.snapshot(name)
    await desk.place(1, **{**RESTS, "size": 1_500})  # 6 dollars, and what its fees could be
    with pytest.raises(Refused) as refused:
        await desk.place(2, "B", **{**RESTS, "size": 1_000})
    assert refused.value.code == "insufficient_balance"
    await desk.place(3, "B", **{**RESTS, "size": 700})
    taken = await desk.place(4, "A", **{**RESTS, "price": 100, "size": 100})
    assert taken.left == 100
    assert (await desk.venue.truth(0)).cash == 10_000_000


async def test_a_settlement_pays_and_ends_what_rests() -> None:
    desk = Desk()
    desk.snapshot("A")
    taken = await desk.place(1, **{**RESTS, "price": 5000, "size": 300})
    assert taken.filled == 300
    rests = await desk.place(2, **RESTS)
    before = (await desk.venue.truth(0)).cash
    desk.venue.settle("A", DOLLAR)
    truth = await desk.venue.truth(0)
    assert (truth.cash - before, truth.positions) == (3_000_000, {})
    assert [order.venue_id for order in desk.heard.ended] == [taken.venue_id, rests.venue_id]


async def test_many_orders_may_be_open_and_all_of_them_are_served() -> None:
    desk = Desk()
    desk.snapshot("A", yes=0)
    for number in range(30):
        await desk.place(number, **RESTS)
    desk.venue.events([Trade("A", 2, None, None, Price(4000), Size(2_950), 1, None, BEGINS_MS + 60_000)], 0)
    desk.clock.advance(60)
    desk.venue.pass_time()
    assert sum(one.fill.size for one in desk.heard.fills) == 2_950
    assert len(desk.heard.ended) == 29


async def test_what_comes_late_counts_as_of_the_present_and_is_counted() -> None:
    desk = Desk()
    desk.snapshot("A")
    await desk.place(1, **RESTS)
    desk.clock.advance(10)
    desk.venue.pass_time()
    us = BEGINS_MS * 1000 + 1_000_000
    desk.venue.events([BookDelta("A", 1, 2, 1, Price(6000), Size(500), Size(500), format_rfc3339_us(us), None)], 0)
    assert desk.venue.late == 1
    await desk.done(asyncio.sleep(0))
    desk.clock.advance(1)
    desk.venue.pass_time()
    [one] = desk.heard.fills
    assert one.fill.us > us + 5_000_000
    assert (one.fill.price, one.fill.taker) == (4000, False)


def test_too_short_a_hold_is_refused() -> None:
    with pytest.raises(UsageError, match="202 ms"):
        HeldTape(150_000)
