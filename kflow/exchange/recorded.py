"""The recorded source: a file's frames, verbatim, in its own order and numbering.

Each message goes out with the body as recorded; sids are the file's, and seq moves as it moved there (holes
included), counting on from what a subscriber's own commands consumed. Playback is one for all sockets: it starts with
the first subscriber, pauses while there is none, and a late one begins with a snapshot. Between two parts every socket
is closed cleanly, and the next part waits for a new one.

Orders live in the recording's time, beside its books (`shadow`). What it tells of its markets happens to them too: a
determination takes orders out, a settlement pays.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec
from websockets.frames import CloseCode

from kflow.clock import NS_PER_S
from kflow.exchange.control import Control
from kflow.exchange.hub import Hub
from kflow.exchange.listing import Listing, SeriesListing
from kflow.exchange.messages import LIFECYCLE, ORDERBOOK, Message
from kflow.exchange.orders import Reason
from kflow.exchange.recording import Contents, Entry, Part, Recording
from kflow.market.times import US_PER_S
from kflow.units import parse_price

# A recording says nothing of when its markets close; clients must not think that they have.
_CLOSES_AFTER_US: Final = 30 * 86_400 * US_PER_S
_CHUNK: Final = 500
# A subscriber of only some of the recorded channels or markets is waited for this long: more commands may follow.
GRACE_S: Final = 0.25
# Messages received this close to one another are written together.
_TOGETHER_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOptions:
    """What to play. `speed`: times real time; None: as fast as sockets take it."""

    path: Path
    speed: float | None = 1.0
    grace_s: float = GRACE_S
    # Whether it waits for a subscriber, now and whenever there is none; clients that only use REST need it not to.
    waits: bool = True
    # What is known of its markets otherwise; the rest is inferred from its frames.
    series: Sequence[SeriesListing] = ()
    listings: Mapping[str, Listing] = field(default_factory=dict)


class _News(msgspec.Struct):
    """What orders and positions need of a lifecycle message."""

    event_type: str
    price_level_structure: str = ""
    price_ranges: list[dict[str, str]] = []


class RecordedSource:
    """Feeds an exchange from a `Recording`."""

    def __init__(self, options: RecordedOptions) -> None:
        """Reads the file once. Raises ConfigError, DataError."""
        self._options = options
        self._recording = Recording(options.path)
        self.contents: Final[Contents] = self._recording.scan()
        self.frames_sent = 0
        self._settled: set[str] = set()
        self._control: Control  # once prepared

    @property
    def sids(self) -> Mapping[str, int]:
        return self.contents.parts[0].sids

    def prepare(self, control: Control, now_us: int) -> None:
        contents, venue = self.contents, control.clearing.venue
        # Orders live in the recording's time: it goes on with its frames, and stands while nobody listens.
        venue.now_us = contents.first_us
        control.clearing.time = lambda: venue.now_us
        venue.lenient = True  # a recording may have holes, and then its books contradict themselves
        self._control = control
        venue.list_series(*self._options.series)
        tickers = dict.fromkeys(market for part in contents.parts for market in part.markets)
        venue.list_markets([self._listing(ticker, now_us) for ticker in tickers])

    def _listing(self, ticker: str, now_us: int) -> Listing:
        contents, known = self.contents, self._options.listings.get(ticker)
        market_id = contents.market_ids.get(ticker, "")
        if known is not None:
            return replace(known, market_id=market_id or known.market_id)
        opened_us = contents.first_ns // 1000 - 86_400 * US_PER_S
        return Listing(
            ticker=ticker,
            event=ticker.rpartition("-")[0] or ticker,
            series=ticker.partition("-")[0],
            title=ticker,
            market_id=market_id,
            structure=contents.structures.get(ticker, "linear_cent"),
            open_us=opened_us,
            close_us=max(now_us, opened_us) + _CLOSES_AFTER_US,
        )

    async def run(self, hub: Hub) -> None:
        hub.stamps_sending = False  # what was recorded goes out as it was
        hub.overflow_bytes = float("inf")  # readers are waited for, nothing is dropped
        entries = self._recording.entries()
        parts = self.contents.parts
        for number, part in enumerate(parts):
            hub.venue.forget_books()
            # `part.frames` counts the acknowledgements that begin it too.
            await self._play(hub, part, itertools.islice(entries, part.frames))
            await hub.drained()
            if number + 1 < len(parts):
                hub.sids = parts[number + 1].sids
                await hub.close_all(CloseCode.GOING_AWAY)

    async def _play(self, hub: Hub, part: Part, entries: Iterator[Entry]) -> None:
        """Send one part. Real time counts only while somebody listens."""
        clock, speed = hub.clock, self._options.speed
        window_ns = None if speed is None else round(_TOGETHER_NS * speed)
        origin_ns: int | None = None
        first_ns = 0
        for recv_ns, chunk in _chunks(entries, window_ns):
            listened = not self._options.waits or _anyone(hub, part)
            if not listened:
                await self._subscribers(hub, part)
            if not listened or origin_ns is None:
                origin_ns, first_ns = clock.mono_ns(), recv_ns
            if speed is not None:
                wait_ns = origin_ns + (recv_ns - first_ns) / speed - clock.mono_ns()
                if wait_ns > 0:
                    await clock.sleep(wait_ns / NS_PER_S)
            hub.publish(chunk)
            for message in chunk:
                if message.channel == LIFECYCLE:
                    self._heed(message)
            self.frames_sent += len(chunk)
            await hub.drained()
            await asyncio.sleep(0)  # let readers and commands in

    def _heed(self, message: Message) -> None:
        """Let orders and positions have what happened to their market; the message itself is out already."""
        clearing, ticker = self._control.clearing, message.market
        market = clearing.markets.get(ticker)
        try:
            news = msgspec.json.decode(message.body, type=_News)
        except msgspec.DecodeError:
            return
        if market is None:
            return
        if news.event_type in ("activated", "determined"):
            self._control.cancel_orders(ticker, Reason.HALT if news.event_type == "activated" else Reason.CLOSE)
        elif news.event_type == "settled" and market.state.settlement_value and ticker not in self._settled:
            self._settled.add(ticker)
            value = parse_price(market.state.settlement_value)
            clearing.settle(ticker, market.state.result, value, clearing.stamp())
        elif news.event_type == "price_level_structure_updated" and news.price_ranges:
            self._control.regrid(ticker, news.price_level_structure, news.price_ranges)
        self._control.desk.flush()

    async def _subscribers(self, hub: Hub, part: Part) -> None:
        """Wait until somebody listens, and has had time to ask for everything that the recording holds."""
        with hub.changes() as changed:
            while not _complete(hub, part):
                changed.clear()
                if not _anyone(hub, part):
                    await changed.wait()
                elif not await self._still_changing(hub, changed):
                    return

    async def _still_changing(self, hub: Hub, changed: asyncio.Event) -> bool:
        """Whether a command came within the grace."""
        grace = asyncio.create_task(hub.clock.sleep(self._options.grace_s))
        waiting = asyncio.create_task(changed.wait())
        await asyncio.wait({grace, waiting}, return_when=asyncio.FIRST_COMPLETED)
        grace.cancel()
        waiting.cancel()
        return changed.is_set()


def _anyone(hub: Hub, part: Part) -> bool:
    markets = frozenset(part.markets)
    return hub.wanted(ORDERBOOK if ORDERBOOK in part.sids else next(iter(part.sids)), markets)


def _complete(hub: Hub, part: Part) -> bool:
    """Whether one socket has subscribed to all that the part holds."""
    for connection in hub.connections:
        found = [connection.link.subscriptions.of(channel) for channel in part.sids]
        if all(s is not None and all(s.wants(market) for market in part.markets) for s in found):
            return connection.subscribed
    return False


def _chunks(entries: Iterator[Entry], window_ns: int | None) -> Iterator[tuple[int, list[Message]]]:
    """Messages to send together, and when the first was received. Groups of one exchange µs are never split."""
    chunk: list[Message] = []
    first_ns = 0
    for entry in entries:
        message = entry.message
        if message is None:
            continue  # an acknowledgement: sockets get those of their own commands
        full = len(chunk) >= _CHUNK or (window_ns is not None and entry.recv_ns - first_ns > window_ns)
        if chunk and full and not (message.venue_us and message.venue_us == chunk[-1].venue_us):
            yield first_ns, chunk
            chunk = []
        if not chunk:
            first_ns = entry.recv_ns
        chunk.append(message)
    if chunk:
        yield first_ns, chunk
