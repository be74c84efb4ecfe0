"""Made-up markets on a virtual clock: a crowd trades them through engines, they close, settle, and others follow.

The clock counts exchange µs. What happens, and when, depends on options and start alone, until somebody else trades.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kflow.exchange import catalogue
from kflow.exchange.belief import FAIR, Edge
from kflow.exchange.control import Control
from kflow.exchange.crowd import Crowd, Event
from kflow.exchange.lifecycle import Lifecycle, Stage, Step, created_message
from kflow.exchange.listing import Listing
from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Reason
from kflow.exchange.presets import PRESETS
from kflow.market.events import Side
from kflow.market.grid import Grid
from kflow.market.times import US_PER_S
from kflow.units import DOLLAR, Price

# How much flow is planned at once: short, so that little of it waits; long enough to be cheap.
_BLOCK_S: Final = 0.1
_BLOCK_EVENTS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticOptions:
    """What to make up. `start_us`: where the virtual clock starts (None: now)."""

    preset: str = "busy"
    markets: int = 20
    # Messages per second of all markets and channels together; None: as the preset's markets behave.
    rate: float | None = None
    seed: int = 7
    start_us: int | None = None
    lifetime_s: float = 900.0  # of the markets that close while the exchange runs
    # Flow ends after this many messages; None: never.
    limit: int | None = None
    # Times real time; None: as fast as sockets take it.
    speed: float | None = 1.0
    # Without flow the markets start as ever, and only others' orders move them.
    flow: bool = True
    edge: Edge = FAIR


class Scene:
    """The markets and their crowd, over a control. `made` counts the messages that were published."""

    def __init__(self, options: SyntheticOptions, control: Control, start_us: int) -> None:
        """List the markets and fill their books."""
        self._options, self._control, self._start_us = options, control, start_us
        self._clearing: Final = control.clearing
        self._rate: Final = options.rate if options.flow else None
        self._lifetime_us: Final = round(options.lifetime_s * US_PER_S)
        preset = PRESETS[options.preset]
        self.catalogue: Final = catalogue.build(preset, options.markets, start_us, lifetime_us=self._lifetime_us)
        self.crowd: Final = Crowd(preset, np.random.default_rng(options.seed), options.edge)
        self.now_us = start_us
        self.made = 0
        self._missed = 0  # events of markets that were paused: with a rate they take their time all the same
        self._block_us = start_us  # where the next stretch of flow begins
        self._span_us = 0
        # By number of the market: results of those that were determined, and the close and ticks that the crowd knows.
        self._values: dict[int, Price] = {}
        self._closes: list[int] = []
        self._grids: list[Grid] = []
        self._lifecycle: Final = Lifecycle()
        self._stages: Final[dict[Stage, Callable[[Step, Listing], None]]] = {
            Stage.MOVED: self._move,
            Stage.CLOSED: self._close,
            Stage.EMPTIED: self._empty,
            Stage.DETERMINED: self._determine,
            Stage.SETTLED: self._settle,
        }
        venue = self._clearing.venue
        venue.list_series(*self.catalogue.series)
        venue.list_events(*self.catalogue.events)
        venue.list_markets(self.catalogue.archived)
        for listing, probability in self.catalogue.markets:
            self._open(listing, probability, start_us)

    def _open(self, listing: Listing, probability: float, venue_us: int) -> None:
        venue = self._clearing.venue
        venue.list_markets([listing])
        engine = OrderBook(listing.grid)
        self.crowd.add(listing, probability, engine)
        market = self._clearing.open_market(listing, engine)
        self._clearing.queue(market.writer.snapshot(engine.book(), venue_us))
        self._closes.append(listing.close_us)
        self._grids.append(listing.grid)
        if listing.close_us - listing.open_us == self._lifetime_us:
            self._lifecycle.plan(len(self.crowd.markets) - 1, listing, listing.close_us)

    # Time.

    def plan(self) -> Sequence[Event]:
        """What the crowd does in the next stretch."""
        rate = self._rate
        for number, market in enumerate(self.crowd.markets):
            if market.open:
                self._look(number)
        seconds = _BLOCK_S if rate is None else _BLOCK_EVENTS / max(self.crowd.events_per_s(), 1e-6)
        self._block_us = self._block_us + self._span_us
        self._span_us = round(seconds * US_PER_S)
        return self.crowd.plan(seconds) if self._options.flow else ()

    def _look(self, number: int) -> None:
        """Let the crowd see what the venue did to a market: another close, other ticks."""
        market = self.crowd.markets[number]
        close_us = self._clearing.markets[market.listing.ticker].state.close_us
        if close_us != self._closes[number]:
            self._closes[number] = close_us
            self._lifecycle.plan(number, market.listing, close_us, announce=False)
        market.seconds_left = (close_us - self.now_us) / US_PER_S
        if market.book.grid is not self._grids[number]:
            self._grids[number] = market.book.grid
            market.regrid(market.book.grid)

    def end_us(self) -> int:
        """Where the stretch ends."""
        return self._block_us + self._span_us if self._rate is None else self.now_us

    def due_us(self, event: Event) -> int:
        """When an event happens. With a rate it is when as many messages as went out before it are due."""
        rate = self._rate
        if rate is None:
            return self._block_us + int(event.at * self._span_us)
        return self._start_us + round((self.made + self._missed + self._clearing.waiting) * US_PER_S / rate)

    def act(self, event: Event) -> None:
        """Let an event happen now."""
        self.pass_to(self.due_us(event))
        market = self.crowd.markets[event.market]
        venue = self._clearing.venue
        if not venue.trading_active or venue.status(venue.markets[market.listing.ticker]) != "active":
            self._missed += market.open
            return
        if market.book.grid is not self._grids[event.market]:
            self._look(event.market)
        for execution in self.crowd.act(event):
            self._control.desk.executed(market.listing.ticker, execution, self._clearing.stamp(self.now_us))

    def pass_to(self, now_us: int) -> None:
        """Let the clock go on, and markets with it."""
        self.now_us = max(self.now_us, now_us)
        for step in self._lifecycle.due(self.now_us):
            self._stages[step.stage](step, self.crowd.markets[step.market].listing)

    def flush(self) -> None:
        """Publish what has happened."""
        self.made += self._control.desk.flush()

    # Stages of a market's life.

    def _move(self, step: Step, listing: Listing) -> None:
        self._control.move_close(listing.ticker, self._closes[step.market])

    def _close(self, step: Step, listing: Listing) -> None:
        self.crowd.markets[step.market].open = False
        self._control.close(listing.ticker)
        if listing.close_us - listing.open_us > self._lifetime_us:
            return  # it was not to close while the exchange runs; nothing follows it
        following = catalogue.successor(listing, step.venue_us, self._lifetime_us)
        self._clearing.queue(created_message(following, self._clearing.stamp(step.venue_us)))
        self._open(following, 0.5, self._clearing.stamp(step.venue_us))

    def _empty(self, step: Step, listing: Listing) -> None:
        self.crowd.markets[step.market].book.cancel_where(lambda _: True, Reason.CLOSE)
        writer = self._clearing.markets[listing.ticker].writer
        self._clearing.queue(writer.snapshot(((), ()), self._clearing.stamp(step.venue_us)))

    def _determine(self, step: Step, listing: Listing) -> None:
        won = self.crowd.settle(self.crowd.markets[step.market]) == Side.YES
        self._values[step.market] = DOLLAR if won else Price(0)
        self._control.determine(listing.ticker, self._values[step.market])

    def _settle(self, step: Step, listing: Listing) -> None:
        self._control.settle(listing.ticker, self._values.pop(step.market))
