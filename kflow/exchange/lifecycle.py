"""When synthetic markets close, settle and are followed by others (protocol section 7.3)."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

import msgspec

from kflow.exchange.listing import Listing
from kflow.exchange.messages import LIFECYCLE, Message
from kflow.market.times import US_PER_S

# An empty snapshot follows a close after this long, as recorded; the result a little later.
EMPTY_AFTER_US: Final = 6 * US_PER_S
DETERMINED_AFTER_US: Final = 10 * US_PER_S
# A market that closes is announced to close earlier than listed, once, this long before it does.
MOVED_BEFORE_US: Final = 30 * US_PER_S


class Stage(IntEnum):
    """What becomes of a market, in this order."""

    MOVED = 0  # its close is announced
    CLOSED = 1  # trading ends, and the market that follows is listed
    EMPTIED = 2  # its book is gone
    DETERMINED = 3
    SETTLED = 4


class Step(NamedTuple):
    """One market, by its number in the flow, reaches a stage."""

    venue_us: int
    stage: Stage
    market: int


class Lifecycle:
    """The steps of markets that close, earliest first."""

    def __init__(self) -> None:
        self._order = itertools.count()
        # With the close that a step was planned for: one that has moved since makes it void.
        self._steps: list[tuple[int, int, int, Step]] = []
        self._closes: dict[int, int] = {}

    def plan(self, market: int, listing: Listing, close_us: int, *, announce: bool = True) -> None:
        """Let a market go its way from here to its end. A later call with another close replaces what is left."""
        self._closes[market] = close_us
        determined_us = close_us + DETERMINED_AFTER_US
        moments = {
            Stage.CLOSED: close_us,
            Stage.EMPTIED: close_us + EMPTY_AFTER_US,
            Stage.DETERMINED: determined_us,
            Stage.SETTLED: determined_us + listing.settle_after_s * US_PER_S,
        }
        if announce:
            moments[Stage.MOVED] = max(listing.open_us + 1, close_us - MOVED_BEFORE_US)
        for stage, venue_us in moments.items():
            heapq.heappush(self._steps, (venue_us, next(self._order), close_us, Step(venue_us, stage, market)))

    def due(self, now_us: int) -> Sequence[Step]:
        """Steps up to now, in order."""
        due = []
        while self._steps and self._steps[0][0] <= now_us:
            _, _, close_us, step = heapq.heappop(self._steps)
            if self._closes[step.market] == close_us:
                due.append(step)
        return due


def lifecycle_message(ticker: str, event_type: str, venue_us: int, **facts: object) -> Message:
    """News of a market; `facts` are those that its event type carries (protocol section 3.7)."""
    body = msgspec.json.encode({"market_ticker": ticker, "event_type": event_type, "exchange_index": 0, **facts})
    return Message(LIFECYCLE, LIFECYCLE, ticker, body.decode(), venue_us)


def created_message(listing: Listing, venue_us: int) -> Message:
    """The announcement of a new market."""
    metadata = {
        "name": listing.title,
        "title": listing.title,
        "yes_sub_title": listing.yes_sub_title,
        "no_sub_title": listing.yes_sub_title,
        "rules_primary": "",
        "rules_secondary": "",
        "can_close_early": True,
        "event_ticker": listing.event,
        "expected_expiration_ts": listing.close_us // US_PER_S,
        "strike_type": listing.strike_type,
        "floor_strike": listing.floor_strike,
    }
    return lifecycle_message(
        listing.ticker,
        "created",
        venue_us,
        open_ts=listing.open_us // US_PER_S,
        close_ts=listing.close_us // US_PER_S,
        price_level_structure=listing.structure,
        additional_metadata=metadata,
    )
