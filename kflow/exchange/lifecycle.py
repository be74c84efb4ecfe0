"""When synthetic markets close, settle and are followed by others (protocol section 7.3)."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from kflow.exchange.catalogue import successor
from kflow.exchange.listing import Listing
from kflow.exchange.messages import LIFECYCLE, Message
from kflow.market.times import US_PER_S

# An empty snapshot follows a close after this long, as recorded; the result a little later.
EMPTY_AFTER_US: Final = 6 * US_PER_S
DETERMINED_AFTER_US: Final = 10 * US_PER_S
# A market that closes is announced to close earlier than listed, once, this long before it does.
MOVED_BEFORE_US: Final = 30 * US_PER_S


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens: a message; for a new market its listing; for a closed one whose book it empties."""

    venue_us: int
    message: Message
    listing: Listing | None = None
    empties: int | None = None


class Lifecycle:
    """Markets by their number in the flow; those whose close lies within the run's reach get steps."""

    def __init__(self, markets: Sequence[tuple[Listing, float]], lifetime_us: int, start_us: int, seed: int) -> None:
        self._lifetime_us, self._seed = lifetime_us, seed
        self._order = itertools.count()
        self._steps: list[tuple[int, int, Step]] = []
        self._closings: list[tuple[int, int]] = []
        self._count = len(markets)
        for index, (listing, _) in enumerate(markets):
            if listing.close_us == start_us + lifetime_us:
                self._plan(index, listing)

    def closing(self, now_us: int) -> list[int]:
        """Markets whose time has come: their flow ends."""
        closing = []
        while self._closings and self._closings[0][0] <= now_us:
            closing.append(heapq.heappop(self._closings)[1])
        return closing

    def due(self, now_us: int) -> list[Step]:
        """Steps up to now, in order."""
        due = []
        while self._steps and self._steps[0][0] <= now_us:
            step = heapq.heappop(self._steps)[2]
            due.append(step)
            if step.listing is not None:
                self._plan(self._count, step.listing)
                self._count += 1
        return due

    def _plan(self, index: int, listing: Listing) -> None:
        close_us = listing.close_us
        heapq.heappush(self._closings, (close_us, index))
        ticker = listing.ticker
        result = "yes" if (self._seed + index) % 2 else "no"
        value = "1.0000" if result == "yes" else "0.0000"
        moved_us = max(listing.open_us + 1, close_us - MOVED_BEFORE_US)
        determined_us = close_us + DETERMINED_AFTER_US
        settled_us = determined_us + listing.settle_after_s * US_PER_S
        self._push(moved_us, lifecycle_message(ticker, "close_date_updated", moved_us, close_ts=close_us // US_PER_S))
        self._push(close_us + EMPTY_AFTER_US, lifecycle_message(ticker, "", close_us), empties=index)
        self._push(
            determined_us,
            lifecycle_message(
                ticker,
                "determined",
                determined_us,
                result=result,
                determination_ts=determined_us // US_PER_S,
                settlement_value=value,
            ),
        )
        self._push(settled_us, lifecycle_message(ticker, "settled", settled_us, settled_ts=settled_us // US_PER_S))
        following = successor(listing, close_us, self._lifetime_us)
        self._push(close_us, created_message(following, close_us), listing=following)

    def _push(
        self, venue_us: int, message: Message, *, listing: Listing | None = None, empties: int | None = None
    ) -> None:
        heapq.heappush(self._steps, (venue_us, next(self._order), Step(venue_us, message, listing, empties)))


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
