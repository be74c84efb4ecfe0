"""Live books as a policy sees them: what a connection brings, market by market, in the venue's time.

A connection of the actor's own, so that the recorder hears nothing of it. A book that is not whole is not valid, and
nobody decides on it; it begins anew with its next snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from kflow.clock import NS_PER_S, Clock
from kflow.kalshi.protocol import FeedProtocol
from kflow.market.events import BookDelta, BookSnapshot, FeedEvent, Other, Side, Trade
from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid
from kflow.market.times import US_PER_S, venue_us
from kflow.policy.view import MarketView
from kflow.session.chunks import MarketFacts
from kflow.units import DOLLAR, Price

# A group whose next frame does not come is taken to be whole after this long, as the recorder does.
_GROUP_IDLE_NS: Final = NS_PER_S // 200
MARKET_CHANNELS: Final = ("orderbook_delta", "trade")
OPEN_CHANNELS: Final = ("market_lifecycle_v2",)
PRIVATE_CHANNELS: Final = ("fill", "user_orders")
_ENDS: Final = frozenset({"deactivated", "determined", "settled"})
_STARTS: Final = frozenset({"activated"})
_log = logging.getLogger(__name__)


class _News(msgspec.Struct):
    market_ticker: str
    event_type: str
    close_ts: int | None = None


class _Message(msgspec.Struct):
    msg: _News


@dataclass(slots=True)
class LiveMarket:
    """One market. `version` counts the groups that its book went through; `us` is the last one's time."""

    facts: MarketFacts
    grid: Grid
    fees: FeeSchedule
    close_us: int  # -1: not known
    view: MarketView
    valid: bool = False
    active: bool = True
    regridded: bool = False  # its prices are not those that we began with: nobody can trade it before a restart
    version: int = 0
    us: int = 0
    last: int | None = None  # YES price of the last trade
    heard_ns: int = 0  # monotonic, of the last frame of it
    alive_ns: int = 0  # when its connection was last known to live: no news is no change as long as that is so
    prices: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, facts: MarketFacts) -> LiveMarket:
        """From what REST said of it. Raises Unrepresentable for fees or prices that nobody can count with."""
        grid = Grid.parse(facts.price_ranges)
        fees = FeeSchedule.parse(facts.fee_type or "quadratic", facts.fee_multiplier or 1)
        close_us = -1 if facts.close_time is None else int(facts.close_time.timestamp() * 1e6)
        prices = [int(price) for price in grid.prices()]
        view = MarketView(prices, close_us=close_us, taker_rate=float(fees.taker_rate))
        return cls(facts, grid, fees, close_us, view, prices=prices)

    def column(self, yes: int) -> int:
        """Of a YES price."""
        return self.grid.index(Price(yes))

    def now_us(self, mono_ns: int) -> int:
        """The venue's time now: of its last word, and what has passed since."""
        return self.us + max(mono_ns - self.heard_ns, 0) // 1000

    def age_us(self, mono_ns: int) -> int:
        """For how long nobody can know whether it changed."""
        return max(mono_ns - self.alive_ns, 0) // 1000


class LiveBooks:
    """Listens to a feed (see kalshi.feed.FeedListener) for some markets.

    `changed` is told of markets whose book went on; `other` gets frames of private channels, raw.
    """

    def __init__(
        self,
        markets: Sequence[LiveMarket],
        *,
        clock: Clock,
        changed: Callable[[set[str]], None] = lambda _: None,
        other: Callable[[Other], None] = lambda _: None,
        events: Callable[[Sequence[FeedEvent], int], None] = lambda _events, _mono_ns: None,
        traded: Callable[[str, int, int, int], None] = lambda _market, _side, _yes, _size: None,
        lost: Callable[[], None] = lambda: None,
        private: bool = True,
    ) -> None:
        """`events` is given all that a chunk brought, before views see it: the paper venue lives on it.

        `traded`: market, side of the level that was taken of, its YES price, contracts. `lost`: a connection ended.
        """
        self.markets: Final = {market.facts.ticker: market for market in markets}
        self.connected = False
        self._clock, self._changed, self._other, self._events = clock, changed, other, events
        self._traded, self._lost = traded, lost
        self._channels = (*MARKET_CHANNELS, *OPEN_CHANNELS, *(PRIVATE_CHANNELS if private else ()))
        self._protocol: FeedProtocol | None = None
        self._open: dict[str, LiveMarket] = {}  # whose group is not over
        self._group: str | None = None
        self._group_us = 0
        self._settling: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- FeedListener

    def prepare(self) -> None:
        """Nothing has to be ready."""
        with contextlib.suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()

    def opened(self, url: str) -> FeedProtocol:
        """A connection stands."""
        del url
        protocol = FeedProtocol()
        protocol.now_ns = self._clock.mono_ns()
        protocol.set_grids({name: market.facts.price_ranges for name, market in self.markets.items()})
        for channel in self._channels:
            named = channel in MARKET_CHANNELS
            protocol.subscriptions.subscribe(channel, list(self.markets) if named else ())
        self._protocol, self.connected = protocol, True
        return protocol

    def commanded(self, raw: bytes) -> None:
        """Nothing is kept of it."""

    def received(self, frames: list[bytes], wall_ns: int, mono_ns: int) -> None:
        """One chunk: every event into its market's view."""
        del wall_ns
        protocol = self._protocol
        assert protocol is not None
        protocol.now_ns = mono_ns
        self._live(mono_ns)
        events = protocol.receive_all(frames)
        self._events(events, mono_ns)
        for event in events:
            self._take(event, mono_ns)
        if protocol.gaps:
            protocol.gaps = []
        self._judge(protocol)
        protocol.changed = set()
        if self._open:
            self._settle_later()

    def idle(self) -> None:
        """The feed lives, or would have closed. Show the open group if nothing followed it; else look again soon."""
        self._settling = None
        protocol = self._protocol
        if self.connected:
            self._live(self._clock.mono_ns())
        if protocol is None or not self._open:
            return
        if self._clock.mono_ns() - protocol.now_ns < _GROUP_IDLE_NS:
            self._settle_later()
            return
        protocol.settle()
        self._end_group()
        self._judge(protocol)

    def oversized(self, size: int) -> None:
        """The connection ends over it, and `closed` tells."""

    def closed(self, reason: str) -> None:
        """No book is valid until its next snapshot."""
        del reason
        self.connected = False
        self._open.clear()
        self._group = None
        for market in self.markets.values():
            market.valid = False
        self._lost()
        self._changed(set(self.markets))

    # --- the rest

    def _live(self, mono_ns: int) -> None:
        for market in self.markets.values():
            market.alive_ns = mono_ns

    def _take(self, event: FeedEvent, mono_ns: int) -> None:
        kind = type(event)
        if kind is BookDelta:
            self._delta(event, mono_ns)  # type: ignore[arg-type]
        elif kind is BookSnapshot:
            self._snapshot(event, mono_ns)  # type: ignore[arg-type]
        elif kind is Trade:
            self._trade(event, mono_ns)  # type: ignore[arg-type]
        elif kind is Other:
            self._heed(event)  # type: ignore[arg-type]
            self._other(event)  # type: ignore[arg-type]

    def _heed(self, event: Other) -> None:
        """What the venue says of a market's life."""
        if event.kind != OPEN_CHANNELS[0]:
            return
        try:
            news = msgspec.json.decode(event.raw, type=_Message).msg
        except msgspec.MsgspecError as error:
            _log.warning("news of a market cannot be read: %s", error)
            return
        market = self.markets.get(news.market_ticker)
        if market is None:
            return
        if news.event_type in _ENDS:
            market.active = False
        elif news.event_type in _STARTS:
            market.active = not market.regridded
        elif news.event_type == "close_date_updated" and news.close_ts is not None:
            market.close_us = news.close_ts * US_PER_S
            market.view.closes(market.close_us)
        elif news.event_type == "price_level_structure_updated":
            self._regrid(market)

    def _regrid(self, market: LiveMarket) -> None:
        _log.error("%s has other prices now: it is not traded before a restart", market.facts.ticker)
        market.regridded, market.active, market.valid = True, False, False
        self._open.pop(market.facts.ticker, None)

    def _delta(self, event: BookDelta, mono_ns: int) -> None:
        market = self.markets.get(event.market)
        if event.venue_ts != self._group or event.venue_ts is None:
            self._end_group()
            self._group = event.venue_ts
        if market is None or not market.valid or market.regridded:
            return
        if event.size is None:
            market.valid = False
            return
        us = venue_us(event.venue_ts, event.venue_ms)
        self._group_us = market.us if us is None else us
        yes = event.price if event.side == Side.YES else DOLLAR - event.price
        market.view.change(event.side, market.column(yes), event.change)
        market.heard_ns = mono_ns
        self._open[event.market] = market

    def _snapshot(self, event: BookSnapshot, mono_ns: int) -> None:
        market = self.markets.get(event.market)
        if market is None or market.regridded:
            return
        self._open.pop(event.market, None)
        if any(price not in market.grid for price in (*dict(event.yes), *(DOLLAR - p for p in dict(event.no)))):
            self._regrid(market)
            return
        bids, asks = [0] * len(market.prices), [0] * len(market.prices)
        for price, size in event.yes:
            bids[market.column(price)] = size
        for price, size in event.no:
            asks[market.column(DOLLAR - price)] = size
        us = event.venue_ms * 1000 if event.venue_ms is not None else self._clock.wall_ns() // 1000
        market.us, market.heard_ns = max(market.us, us), mono_ns
        market.view.begin(market.us, bids, asks)
        # A snapshot of nothing in mid-stream is what the venue sends when a market has closed.
        market.valid = bool(event.yes or event.no)
        market.version += 1
        self._changed({event.market})

    def _trade(self, event: Trade, mono_ns: int) -> None:
        market = self.markets.get(event.market)
        if market is None or not market.valid or event.is_block or event.taker is None:
            return
        market.last = int(event.price)
        side = 1 - event.taker
        self._traded(event.market, side, int(event.price), int(event.size))
        # Its removal comes as a delta of its own.
        market.view.trade(side, market.column(event.price), event.size, removes=False)
        market.heard_ns = mono_ns
        if event.market not in self._open:
            us = market.us if event.venue_ms is None else event.venue_ms * 1000
            market.view.end_group(max(us, market.us))

    def _end_group(self) -> None:
        """All that carried one stamp was told."""
        for market in self._open.values():
            market.us = max(market.us, self._group_us)
            market.view.end_group(market.us)
            market.version += 1
        if self._open:
            self._changed(set(self._open))
        self._open.clear()

    def _judge(self, protocol: FeedProtocol) -> None:
        """What the protocol no longer holds for whole, nobody decides on."""
        for name, market in self.markets.items():
            book = protocol.books.get(name)
            if market.valid and (book is None or not book.live):
                market.valid = False
                self._open.pop(name, None)

    def _settle_later(self) -> None:
        if self._settling is None and self._loop is not None:
            self._settling = self._loop.call_later(_GROUP_IDLE_NS / NS_PER_S, self.idle)
