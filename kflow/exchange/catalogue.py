"""What a synthetic exchange lists: the event that the documentation names, then others like the venue's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from kflow.exchange.listing import EventListing, Listing, SeriesListing
from kflow.exchange.presets import Preset
from kflow.market.times import US_PER_S

DAY_US: Final = 86_400 * US_PER_S
SERIES: Final = "INXD"
EVENT: Final = "INXD-25JAN03"
# Centre and width of the buckets of the documented event.
_CENTRE: Final = 5912
_WIDTH: Final = 25
_PER_EVENT: Final = 6
_LONG_AGO_US: Final = 1_708_117_200 * US_PER_S  # 16 February 2024, 4 PM in New York
_BUCKETS: Final = ((5912, 0.34), (5937, 0.22), (5887, 0.21), (5962, 0.10), (5862, 0.09))
_THRESHOLDS: Final = ((5974.99, "greater", 0.07), (5850.0, "less", 0.06))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Listings of one synthetic exchange; a market's number is the probability at which its flow starts."""

    series: tuple[SeriesListing, ...]
    events: tuple[EventListing, ...]
    markets: tuple[tuple[Listing, float], ...]
    # Settled long ago: found under /historical only.
    archived: tuple[Listing, ...]


def build(preset: Preset, markets: int, start_us: int, *, lifetime_us: int) -> Catalogue:
    """List `markets` markets: those of the documented event first. The last event closes after `lifetime_us`."""
    listed = list(_documented(start_us))[:markets]
    events = [
        EventListing(ticker=EVENT, series=SERIES, title="S&P 500 on January 3, 2025?", sub_title="At 4 PM EST"),
    ]
    series = [SeriesListing(ticker=SERIES, title="S&P 500 daily range", fee_multiplier=0.5)]
    number = 0
    while len(listed) < markets:
        event = _event(preset, number, start_us)
        number += 1
        events.append(event)
        room = markets - len(listed)
        last = room <= _PER_EVENT
        close_us = start_us + (lifetime_us if last else DAY_US)
        listed += list(_event_markets(event, preset, number, (start_us, close_us)))[:room]
    if preset.series not in {entry.ticker for entry in series}:
        series.append(SeriesListing(ticker=preset.series, title=preset.series, category=preset.category))
    old = _old_market()
    events.append(EventListing(ticker=old.event, series=SERIES, title="S&P 500 on February 16, 2024?"))
    return Catalogue(tuple(series), tuple(events), tuple(listed), (old,))


def successor(listing: Listing, start_us: int, lifetime_us: int) -> Listing:
    """The market that is created when one closes, in an event of its own."""
    event = f"{listing.series}-{_stamp(start_us + lifetime_us)}{(start_us + lifetime_us) // US_PER_S % 60:02d}"
    return Listing(
        ticker=f"{event}-{listing.ticker.rpartition('-')[2]}",
        event=event,
        series=listing.series,
        title=listing.title,
        open_us=start_us,
        close_us=start_us + lifetime_us,
        structure=listing.structure,
        yes_sub_title=listing.yes_sub_title,
        strike_type=listing.strike_type,
        floor_strike=listing.floor_strike,
        cap_strike=listing.cap_strike,
    )


def _documented(start_us: int) -> Iterator[tuple[Listing, float]]:
    common = {"event": EVENT, "series": SERIES, "open_us": start_us - DAY_US, "close_us": start_us + DAY_US}
    for floor, probability in _BUCKETS:
        cap = floor + _WIDTH - 0.01
        yield (
            Listing(
                ticker=f"{EVENT}-B{floor}",
                title=f"Will the S&P 500 be between {floor - 12} and {floor + 12.99} on January 3, 2025?",
                yes_sub_title=f"{floor - 12:,} to {floor + 12.99:,}",
                floor_strike=floor - 12,
                cap_strike=cap - 12,
                structure="linear_cent" if floor != _CENTRE else "tapered_deci_cent",
                **common,  # type: ignore[arg-type]
            ),
            probability,
        )
    for strike, kind, probability in _THRESHOLDS:
        word = "above" if kind == "greater" else "below"
        yield (
            Listing(
                ticker=f"{EVENT}-T{strike:g}",
                title=f"Will the S&P 500 be {word} {strike} on January 3, 2025?",
                yes_sub_title=f"{strike:,} or {word}",
                strike_type=kind,
                floor_strike=strike if kind == "greater" else None,
                cap_strike=strike if kind == "less" else None,
                structure="deci_cent",
                **common,  # type: ignore[arg-type]
            ),
            probability,
        )


def _event(preset: Preset, number: int, start_us: int) -> EventListing:
    # Later events lie before the last one: only the last closes while a run lasts.
    ticker = f"{preset.series}-{_stamp(start_us + (number + 1) * 900 * US_PER_S)}"
    return EventListing(ticker=ticker, series=preset.series, title=f"{preset.series} at {ticker.rpartition('-')[2]}")


def _event_markets(
    event: EventListing, preset: Preset, number: int, times: tuple[int, int]
) -> Iterator[tuple[Listing, float]]:
    for place in range(_PER_EVENT):
        strike = 30 + 15 * place
        yield (
            Listing(
                ticker=f"{event.ticker}-T{strike}",
                event=event.ticker,
                series=event.series,
                title=event.title,
                open_us=times[0],
                close_us=times[1],
                structure=preset.structures[(number + place) % len(preset.structures)],
                yes_sub_title=f"{strike} or above",
                strike_type="greater",
                floor_strike=strike,
            ),
            0.85 - 0.14 * place,
        )


def _old_market() -> Listing:
    close_us = _LONG_AGO_US
    return Listing(
        ticker=f"{SERIES}-24FEB16-T4125",
        event=f"{SERIES}-24FEB16",
        series=SERIES,
        title="Will the S&P 500 be above 4125 on February 16, 2024?",
        open_us=close_us - DAY_US,
        close_us=close_us,
        strike_type="greater",
        floor_strike=4125,
        archived=True,
        result="yes",
    )


def _stamp(us: int) -> str:
    """A moment as the venue puts it into tickers: 26NOV221745."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return moment.strftime("%y%b%d%H%M").upper()
