"""The synthetic source: flow on a virtual clock, as messages.

The clock counts exchange µs. It follows real time where the flow is paced, and runs ahead of it at full speed; with a
`rate` it is stretched so that the messages of all markets together come at exactly that rate on average.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from kflow.clock import NS_PER_S
from kflow.exchange import catalogue
from kflow.exchange.clearing import Clearing
from kflow.exchange.flow import Flow, Group
from kflow.exchange.hub import Hub
from kflow.exchange.lifecycle import Lifecycle
from kflow.exchange.listing import Listing
from kflow.exchange.market import Quote
from kflow.exchange.messages import Message, Style
from kflow.exchange.presets import PRESETS
from kflow.exchange.writer import Writer
from kflow.market.times import US_PER_S
from kflow.units import DOLLAR

# How much flow is made at once: short, so that little of it waits; long enough to be cheap.
_BLOCK_S: Final = 0.1
_BLOCK_MESSAGES: Final = 400
_TICKER_EVERY_US: Final = US_PER_S
# At full speed the loop gives way to readers this often.
_CHUNK: Final = 500
_SHORTEST_SLEEP_S: Final = 0.001


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


@dataclass(slots=True)
class _Totals:
    """What one market's tickers say beside its touch."""

    writer: Writer
    last: int = 0
    last_size: int = 0
    volume: int = 0
    open_interest: int = 0
    ticker_due_us: int = 0


class Tape:
    """The messages of synthetic flow, in order: deterministic from options and start."""

    def __init__(self, options: SyntheticOptions, start_us: int, style: Style) -> None:
        self._options, self._style = options, style
        preset = PRESETS[options.preset]
        lifetime_us = round(options.lifetime_s * US_PER_S)
        self.catalogue = catalogue.build(preset, options.markets, start_us, lifetime_us=lifetime_us)
        self.flow = Flow(self.catalogue.markets, preset, np.random.default_rng(options.seed))
        self._totals = [_Totals(Writer(listing, style)) for listing, _ in self.catalogue.markets]
        self._start_us = self._now_us = self._last_us = start_us
        self._trades = 0
        self.made = 0
        self._lifecycle = Lifecycle(self.catalogue.markets, lifetime_us, start_us, options.seed)

    def books(self) -> list[Message]:
        """The snapshots that the markets start with."""
        return [
            totals.writer.snapshot(market.book(), self._start_us)
            for totals, market in zip(self._totals, self.flow.markets, strict=True)
        ]

    def block(self) -> tuple[list[Listing], list[Message]]:
        """The next stretch: markets that are listed in it, and its messages."""
        rate = self._options.rate
        per_s = max(self.flow.groups_per_s(), 1e-6)
        seconds = _BLOCK_S if rate is None else _BLOCK_MESSAGES / 2 / per_s
        groups = self.flow.block(seconds)
        if rate is None:
            span_us = round(seconds * US_PER_S)
            begin_us = self._now_us
            self._now_us += span_us
        else:
            count = sum([len(group.changes) + len(group.fills) for group in groups])
            begin_us = self._start_us + round(self.made * US_PER_S / rate)
            span_us = round(count * US_PER_S / rate)
            self._now_us = begin_us + span_us
        messages: list[Message] = []
        for group in groups:
            self._last_us = max(self._last_us + 1, begin_us + int(group.at * span_us))
            self._group(group, self._last_us, messages)
        listings = self._close(messages)
        self.made += len(messages)
        return listings, messages

    def _group(self, group: Group, venue_us: int, messages: list[Message]) -> None:
        totals = self._totals[group.market]
        writer = totals.writer
        messages += writer.deltas(group.changes, venue_us)
        for fill in group.fills:
            self._trades += 1
            trade_id = f"{self._options.seed & 0xFFFFFFFF:08x}-0000-4000-8000-{self._trades:012x}"
            messages.append(writer.trade(trade_id, fill, venue_us))
            totals.last, totals.last_size = fill[0], fill[1]
            totals.volume += 2 * fill[1]  # both sides count
            totals.open_interest += fill[1]
        if venue_us >= totals.ticker_due_us:
            totals.ticker_due_us = venue_us + _TICKER_EVERY_US
            messages.append(writer.ticker(self._quote(group.market, totals), venue_us))

    def _quote(self, index: int, totals: _Totals) -> Quote:
        market = self.flow.markets[index]
        yes, no = ((market.prices[s][market.best[s]], market.sizes[s][market.best[s]]) for s in (0, 1))
        return Quote(
            yes[0], yes[1], DOLLAR - no[0], no[1], totals.last, totals.last_size, totals.volume, totals.open_interest
        )

    def _close(self, messages: list[Message]) -> list[Listing]:
        """Let markets close, settle and be followed by new ones, up to now."""
        for index in self._lifecycle.closing(self._now_us):
            self.flow.markets[index].open = False
        created: list[Listing] = []
        for step in self._lifecycle.due(self._now_us):
            self._last_us = max(self._last_us + 1, step.venue_us)
            if step.listing is not None:
                created.append(step.listing)
                market = self.flow.add(step.listing, 0.5)
                self._totals.append(_Totals(Writer(step.listing, self._style)))
                messages.append(step.message)
                messages.append(self._totals[-1].writer.snapshot(market.book(), self._last_us))
            elif step.empties is not None:
                messages.append(self._totals[step.empties].writer.snapshot(((), ()), self._last_us))
            else:
                messages.append(step.message)
        return created


class SyntheticSource:
    """Feeds an exchange from a `Tape`."""

    def __init__(self, options: SyntheticOptions) -> None:
        self._options = options
        self._tape: Tape | None = None
        self._start_us = options.start_us or 0
        self.sids: Mapping[str, int] = {}

    def prepare(self, clearing: Clearing, now_us: int) -> None:
        venue = clearing.venue
        self._start_us = self._start_us or now_us
        self._tape = tape = Tape(self._options, self._start_us, venue.style)
        venue.list_series(*tape.catalogue.series)
        venue.list_events(*tape.catalogue.events)
        venue.list_markets([listing for listing, _ in tape.catalogue.markets])
        venue.list_markets(tape.catalogue.archived)
        venue.apply(tape.books())

    async def run(self, hub: Hub) -> None:
        assert self._tape is not None, "prepare() comes first"
        tape, limit = self._tape, self._options.limit
        origin_ns = hub.clock.mono_ns()
        while limit is None or tape.made < limit:
            listings, messages = tape.block()
            if limit is not None and tape.made > limit:
                messages = messages[: len(messages) - (tape.made - limit)]
            hub.venue.list_markets(listings)
            if self._options.speed is None:
                await self._pour(hub, messages)
            else:
                await self._pace(hub, messages, origin_ns, self._options.speed)

    @staticmethod
    async def _pour(hub: Hub, messages: list[Message]) -> None:
        start = 0
        while start < len(messages):
            await hub.listened()  # at full speed there is no time that could pass without anybody
            end = whole_groups(messages, start + _CHUNK)
            hub.publish(messages[start:end])
            start = end
            await hub.drained()
            await asyncio.sleep(0)  # let readers and commands in

    async def _pace(self, hub: Hub, messages: list[Message], origin_ns: int, speed: float) -> None:
        """Send each message when real time has come as far as the virtual clock."""
        clock, start_us = hub.clock, self._start_us
        position = 0
        while position < len(messages):
            elapsed_ns = (clock.mono_ns() - origin_ns) * speed
            now_us = start_us + int(elapsed_ns) // 1000
            end = position
            while end < len(messages) and messages[end].venue_us <= now_us:
                end += 1
            if end > position:
                hub.publish(messages[position:end])
                position = end
                await asyncio.sleep(0)
                continue
            wait_s = (messages[position].venue_us - start_us) / US_PER_S - elapsed_ns / NS_PER_S
            await clock.sleep(max(_SHORTEST_SLEEP_S, wait_s / speed))


def whole_groups(messages: list[Message], end: int) -> int:
    """The first position at or after `end` that does not split a group of one exchange µs."""
    while 0 < end < len(messages) and messages[end].venue_us == messages[end - 1].venue_us:
        end += 1
    return min(end, len(messages))
