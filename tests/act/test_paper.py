"""The paper venue against the simulator: the same orders on the same recording get the same fills."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from kflow.act.orders import Intent
from kflow.act.paper import PaperVenue, Terms
from kflow.act.paper_market import MOST
from kflow.act.venue import VenueFill, VenueOrder
from kflow.clock import ManualClock
from kflow.market.events import BookDelta, BookSnapshot, FeedEvent, Side, SnapshotReason, Trade
from kflow.market.times import format_rfc3339_us, venue_us
from kflow.replay.load import Moment as Recorded
from kflow.replay.stretches import Stretches, build_tape
from kflow.sim import kernel
from kflow.sim.accounts import Limits
from kflow.sim.fills import HOME, MODELS, NO_LATENCY, Assumptions
from kflow.sim.orders import SimulatedOrderManager
from kflow.sim.tape import Tape
from kflow.testing.cases import SCHEDULES
from kflow.testing.tapes import COARSE, first_book, moments, random_tape
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


def time_of(event: FeedEvent) -> int:
    us = venue_us(getattr(event, "venue_ts", None), event.venue_ms)  # type: ignore[union-attr]
    assert us is not None
    return us


def taped(name: str, events: Sequence[FeedEvent]) -> Tape:
    """As `kflow simulate` reads the recording of them."""
    found = Stretches()
    for number, event in enumerate(events):
        found.add(Recorded(1, number, time_of(event), event))
    return build_tape(name, found.markets[name].stretches, "channel", COARSE, {})


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
    price: int = 0
    side: int = 0
    size: int = 0
    immediate: bool = False
    reduce_only: bool = False


def intent(number: int, us: int, rng: np.random.Generator, market: str) -> Intent:
    immediate = bool(rng.random() < 0.2)
    return Intent(
        run=RUN,
        number=number,
        market=market,
        action="random",
        side=int(rng.integers(2)),
        price=int(rng.choice(COARSE.prices())),
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

    def __init__(self, venue: PaperVenue, clock: ManualClock, rng: np.random.Generator) -> None:
        self.venue, self.clock, self.rng = venue, clock, rng
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

    async def act(self) -> None:
        now = self.venue.now_us
        if self.placed and self.rng.random() < 0.25:
            order = self.placed[-min(int(self.rng.geometric(0.4)), len(self.placed))]
            self.asked.append(Asked(now, "cancel", order.client_order_id))
            self.tasks.append(asyncio.create_task(self.venue.cancel(f"paper-{order.client_order_id}", order.market)))
        else:
            us = now + int(self.rng.integers(0, 60_000))
            order = intent(len(self.placed), us, self.rng, "MADE")
            self.placed.append(order)
            self.asked.append(
                Asked(
                    us, "place", order.client_order_id, order.price, order.side, order.size, order.immediate,
                    order.reduce_only,
                )
            )  # fmt: skip
            self.tasks.append(asyncio.create_task(self.venue.place(order, None)))
        await asyncio.sleep(0)


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
    driver = Driver(venue, clock, rng)
    await driver.play(events, chance=0.5)

    tape = taped("MADE", events)
    assert tape.stretches == 1
    limits = Limits(cash=cash, max_position=Size(2**40), max_order=MOST, orders=64)
    manager = SimulatedOrderManager(tape, assumed, limits, seed=seed, start_us=time_of(events[0]))
    numbers: dict[int, str] = {}
    said = []
    for asked in sorted(driver.asked, key=lambda one: one.us):
        if asked.us > tape.span_us(0)[1]:
            break
        said += manager.advance(asked.us)
        if asked.what == "place":
            number = manager.place(
                Side(asked.side), Price(asked.price), Size(asked.size),
                immediate=asked.immediate, reduce_only=asked.reduce_only,
            )  # fmt: skip
            numbers[number] = asked.order
        else:
            known = {order: number for number, order in numbers.items()}
            if asked.order in known:
                manager.cancel(known[asked.order])
    said += manager.advance(tape.span_us(0)[1] + 1)
    expected = [
        (numbers[one.order], one.us, one.price, one.size, one.fee, one.kind == "took")
        for one in said
        if one.kind in ("took", "filled")
    ]
    fills = [
        (
            told.venue_id.removeprefix("paper-"),
            told.fill.us,
            told.fill.price,
            told.fill.size,
            told.fill.fee,
            told.fill.taker,
        )
        for told in heard.fills
    ]
    assert fills == expected
    assert expected, "nothing was compared"
    truth = await venue.truth(0)
    assert truth.cash == manager.cash
    assert truth.positions.get("MADE", 0) == manager.position
    assert not [order for order in truth.orders if order.state == "resting"]
