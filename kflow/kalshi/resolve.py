"""From what somebody typed to the markets that can be recorded (kalshi-protocol section 7.2).

A name may be a market's, an event's or a series'. Nothing is substituted silently: a name that is none of them is an
error that suggests near ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from kflow.errors import UnknownTicker, UsageError, VenueRefused
from kflow.kalshi.environments import Environment
from kflow.kalshi.listings import EventInfo, MarketInfo
from kflow.kalshi.rest import RestClient
from kflow.market.times import format_rfc3339_us
from kflow.units import CONTRACT, Size

MAX_MARKETS: Final = 1_000
_MAX_SUGGESTIONS: Final = 3
# What old names have become; only ever suggested.
_RENAMED: Final = {"INXD": "KXINX"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which markets are wanted. Names in `markets` may be those of events and series as well."""

    markets: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    all: bool = False  # every open market of the venue
    min_volume: int | None = None  # with `all`: contracts traded at least
    next: int = 1  # of a series: how many open events, the soonest to close first
    max_markets: int = MAX_MARKETS
    include_inactive: bool = False  # also markets that do not trade now


@dataclass(frozen=True, slots=True)
class Resolution:
    """The markets found, each once, those of one event by strike; and what should be said about how."""

    markets: tuple[MarketInfo, ...]
    notes: tuple[str, ...]


async def resolve(client: RestClient, selection: Selection) -> Resolution:
    """Find the markets of a selection, with unsigned requests only.

    Raises UnknownTicker for a name that is none, and UsageError where nothing can be recorded, where a market that was
    named does not trade (unless `include_inactive`), or where there are more than `max_markets`.
    """
    if not (_names([*selection.markets, *selection.events, *selection.series]) or selection.all):
        raise UsageError("no market is named", hint="name one with --market, --event or --series, or pass --all")
    search = _Search(client, selection)
    for name in _names(selection.markets):
        await search.any_name(name)
    for name in _names(selection.events):
        await search.event(name)
    for name in _names(selection.series):
        await search.series(name)
    if selection.all:
        await search.everything()
    if len(search.found) > selection.max_markets:
        raise UsageError(
            f"the selection has {len(search.found)} markets, more than --max-markets {selection.max_markets}",
            hint=f"narrow it with --min-volume, or pass --max-markets {len(search.found)}",
        )
    return Resolution(tuple(search.found.values()), tuple(search.notes))


@dataclass(slots=True)
class _Search:
    """One resolution under way."""

    client: RestClient
    selection: Selection
    found: dict[str, MarketInfo] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    async def any_name(self, name: str) -> None:
        """A market's, an event's or a series' name, tried in this order."""
        market = await _or_none(self.client.market(name))
        if market is not None:
            self._take_named(market)
        elif not await self._event(name) and not await self._series(name):
            raise UnknownTicker(name, await self._suggestions(name))

    async def event(self, name: str) -> None:
        if not await self._event(name):
            market = await _or_none(self.client.market(name))
            raise UnknownTicker(name, (market.event_ticker,) if market else await self._suggestions(name))

    async def series(self, name: str) -> None:
        if not await self._series(name):
            raise UnknownTicker(name, await self._suggestions(name))

    async def everything(self) -> None:
        """Every open market, through the events: the plain list of markets is nearly all combos."""
        least = Size(0 if self.selection.min_volume is None else self.selection.min_volume * CONTRACT)
        wanted = f" that traded at least {self.selection.min_volume} contracts" if least else ""
        taken = seen = 0
        async for event in self.client.events(status="open"):
            for market in _by_strike(event.markets):
                seen += 1
                enough = not least or (market.volume is not None and market.volume >= least)
                taken += enough and not self._just_closed(market) and self._take(market)
        if not taken:
            raise UsageError(f"no market is open{wanted}", hint="lower --min-volume, or try again later")
        self.notes.append(f"taking {taken} of the venue's {seen} markets{wanted}")

    async def _event(self, name: str) -> bool:
        event = await _or_none(self.client.event(name))
        if event is None:
            return False
        await self._expand(event)
        return True

    async def _series(self, name: str) -> bool:
        if await _or_none(self.client.series(name)) is None:
            return False
        events = await self._open_events(name)
        if not events:
            raise UsageError(f"series {name} has no open event now", hint="name one of its past events, or wait")
        for event in events[: self.selection.next]:
            self.notes.append(f"{name} is a series: taking its event {event.ticker}")
            await self._expand(event)
        return True

    async def _open_events(self, series: str) -> list[EventInfo]:
        """Open events of a series, the soonest to close first."""
        closing = []
        async for event in self.client.events(series_ticker=series, status="open"):
            closes = [market.close_us for market in event.markets if not self._just_closed(market)]
            if closes:
                closing.append((min(closes), event.ticker, event))
        return [event for *_, event in sorted(closing, key=lambda entry: entry[:2])]

    def _just_closed(self, market: MarketInfo) -> bool:
        """Whether a market that the venue lists as open is past its close: its list lags by half a minute.

        The local exchange does not lag, and may serve a recording of another day.
        """
        if self.client.endpoints.environment is Environment.LOCAL:
            return False
        return market.close_us <= self.client.clock.wall_ns() // 1000

    async def _expand(self, event: EventInfo) -> None:
        """Take the markets of an event that trade."""
        markets = event.markets or await _or_none(self.client.historical_markets(event.ticker)) or ()
        taken = [market for market in _by_strike(markets) if self._take(market)]
        if not taken:
            raise UsageError(
                f"event {event.ticker} has nothing to record: {_why_not(markets)}",
                hint="see the past in the venue's candlesticks and trades, or name an open event",
            )
        self.notes.append(f"{event.ticker} is an event: taking {len(taken)} of its {len(markets)} markets")

    def _take_named(self, market: MarketInfo) -> None:
        """Take a market that was named itself: one that does not trade is then an error, not a remark."""
        if not self._take(market):
            raise UsageError(
                f"market {market.ticker} has nothing to record: it {_state(market)}",
                hint="name a market that trades, or pass --include-inactive to wait for it",
            )
        if not market.active:
            self.notes.append(f"{market.ticker} {_state(market)}: its book will be silent until it trades")

    def _take(self, market: MarketInfo) -> bool:
        if not (market.active or self.selection.include_inactive):
            return False
        self.found.setdefault(market.ticker, market)
        return True

    async def _suggestions(self, name: str) -> tuple[str, ...]:
        """Names near one that does not exist, each seen to exist."""
        suggestions: dict[str, None] = {}
        event_part, _, _ = name.rpartition("-")
        if event_part.count("-") >= 1:  # the name has the form of a market
            await self._suggest_event(event_part, suggestions)
        stem = name.partition("-")[0]
        if not name.startswith("KX"):
            if await _or_none(self.client.market(f"KX{name}")) is not None:
                suggestions[f"KX{name}"] = None
            await self._suggest_event(f"KX{name}", suggestions)
        renamed = [new for old, new in _RENAMED.items() if stem.startswith(old)]
        for series in dict.fromkeys([stem, f"KX{stem}", *renamed]):
            if len(suggestions) < _MAX_SUGGESTIONS and await _or_none(self.client.series(series)) is not None:
                upcoming = await self._open_events(series)
                suggestions[_counted(upcoming[0]) if upcoming else series] = None
        return tuple(suggestions)[:_MAX_SUGGESTIONS]

    async def _suggest_event(self, name: str, suggestions: dict[str, None]) -> None:
        event = await _or_none(self.client.event(name))
        if event is not None:
            suggestions[_counted(event)] = None


def _names(typed: Iterable[str]) -> list[str]:
    return [name for name in (text.strip().upper() for text in typed) if name]


def _by_strike(markets: Iterable[MarketInfo]) -> list[MarketInfo]:
    """Ascending as people read a ladder of strikes: `below 50` before `50 to 60` before `above 60`."""

    def key(market: MarketInfo) -> tuple[float, float, str]:
        low = float("-inf") if market.floor_strike is None else float(market.floor_strike)
        high = float("inf") if market.cap_strike is None else float(market.cap_strike)
        return low, high, market.ticker

    return sorted(markets, key=key)


def _counted(event: EventInfo) -> str:
    count = len(event.markets)
    return f"{event.ticker} ({count} market{'' if count == 1 else 's'})"


def _state(market: MarketInfo) -> str:
    """Why a market does not trade, as the rest of a sentence about it."""
    if market.result is not None:
        since = market.close_us if market.settled_us is None else market.settled_us
        return f"is {market.status} with result {market.result} since {format_rfc3339_us(since)}"
    if market.status == "initialized":
        return f"opens at {format_rfc3339_us(market.open_us)}"
    if market.status == "inactive":
        return "is paused by the venue"
    return f"is closed since {format_rfc3339_us(market.close_us)}"


def _why_not(markets: Iterable[MarketInfo]) -> str:
    latest = max(markets, key=lambda market: market.close_us, default=None)
    return "the venue lists no market of it" if latest is None else f"{latest.ticker} {_state(latest)}"


async def _or_none(question: Awaitable[T]) -> T | None:
    """The answer, or None where the venue knows nothing of that name."""
    try:
        return await question
    except VenueRefused as error:
        if error.status == 404:
            return None
        raise
