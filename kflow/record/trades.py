"""The last trades of each market, for whoever looks. The tables have all of them; this is a window onto the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence, Set
from typing import Final, NamedTuple

from kflow.market.events import FeedEvent, Trade

EACH: Final = 200  # of one market
MOST: Final = 100_000  # of all; beyond it the market that has not traded for longest is forgotten (about 20 MB)
_NONE: Final = frozenset[str]()


class Seen(NamedTuple):
    """A trade as it is shown."""

    at_ms: int  # the venue's time, else when it was received
    price: int  # YES, 1e-4 dollar
    size: int  # 1e-2 contract
    taker: int | None  # the side that the taker bought; None where the venue does not say


class LastTrades:
    """Written by the recorder at the end of each chunk, read on the same thread."""

    def __init__(self, *, each: int = EACH, most: int = MOST) -> None:
        self._each, self._most = each, most
        # In the order of their last trades.
        self._kept: dict[str, deque[Seen]] = {}
        self._total = 0
        # How many there ever were.
        self._counts: dict[str, int] = {}

    def take(self, events: Sequence[FeedEvent], wall_ns: int) -> Set[str]:
        """Keep the trades among the events; returns their markets."""
        markets: set[str] | None = None  # made for trades only: most chunks have none
        for event in events:
            if type(event) is Trade:
                self._keep(event, wall_ns)
                if markets is None:
                    markets = set()
                markets.add(event.market)
        return markets or _NONE

    def _keep(self, trade: Trade, wall_ns: int) -> None:
        market = trade.market
        kept = self._kept.pop(market, None)
        if kept is None:
            kept = deque(maxlen=self._each)
        at_ms = wall_ns // 1_000_000 if trade.venue_ms is None else trade.venue_ms
        self._total += len(kept) < self._each
        kept.append(Seen(at_ms, trade.price, trade.size, trade.taker))
        self._kept[market] = kept
        self._counts[market] = self._counts.get(market, 0) + 1
        if self._total > self._most:
            self._total -= len(self._kept.pop(next(iter(self._kept))))

    def count(self, market: str) -> int:
        """How many trades of the market there were since the session began."""
        return self._counts.get(market, 0)

    def last(self, market: str) -> Seen | None:
        kept = self._kept.get(market)
        return kept[-1] if kept else None

    def since(self, market: str, count: int) -> list[Seen]:
        """Trades after the first `count` ones, oldest first: those that are still kept."""
        kept, fresh = self._kept.get(market, ()), self.count(market) - count
        return list(kept)[-fresh:] if fresh > 0 else []
