"""The venue's times as integers: microseconds since 1970, UTC.

The venue writes RFC 3339 with the fraction's trailing zeros trimmed (`2026-08-07T06:46:28.97871Z`), and beside it
milliseconds; only the text carries microseconds (kalshi-protocol section 0.3).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kflow.errors import Unrepresentable

US_PER_S: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII
)


class _Seconds(dict[str, int]):
    """Microseconds of each whole second met lately: thousands of messages share one, so the calendar is paid once."""

    def __missing__(self, text: str) -> int:
        try:
            moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            raise Unrepresentable("RFC 3339 time", text) from None
        if len(self) >= 4096:
            self.clear()
        self[text] = us = (moment - _EPOCH) // _MICROSECOND
        return us


_SECONDS: Final = _Seconds()
# Microseconds of one unit of the last digit, by number of digits.
_TO_US: Final = (US_PER_S, 100_000, 10_000, 1_000, 100, 10, 1)


def venue_us(venue_ts: str | None, venue_ms: int | None) -> int | None:
    """The venue's stamp of a message: its text where it carries one, else its milliseconds, else None.

    Raises Unrepresentable if the text is not RFC 3339.
    """
    if venue_ts is not None:
        second, digits = _SECONDS.get(venue_ts[:19]), venue_ts[20:-1]
        # The venue's own form, in a second that was met before, needs no calendar and no pattern. Other scripts have
        # decimal digits too, which the pattern refuses.
        if second is not None and digits.isdecimal() and venue_ts.isascii():
            places = len(digits)
            if places <= 6 and venue_ts[19] == "." and venue_ts[-1] == "Z":
                return second + int(digits) * _TO_US[places]
        return parse_rfc3339_us(venue_ts)
    return None if venue_ms is None else venue_ms * 1000


def parse_rfc3339_us(text: str) -> int:
    """RFC 3339 to microseconds since 1970. Raises Unrepresentable.

    Exact to the microsecond; digits beyond it are cut, since two stamps inside one microsecond are one event to us and
    a finer clock at the venue must not stop a recording. The frame keeps them.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise Unrepresentable("RFC 3339 time", text)
    second, fraction, sign, hours, minutes = match.groups()
    us = _SECONDS[second]
    if fraction is not None:
        us += int(fraction[:6].ljust(6, "0"))
    if sign is not None:
        offset = (int(hours) * 60 + int(minutes)) * 60 * US_PER_S
        us += offset if sign == "-" else -offset
    return us


def format_rfc3339_us(us: int) -> str:
    """Microseconds since 1970 as the venue writes them: trailing zeros trimmed, ends in Z. Years 1 to 9999."""
    second, fraction = divmod(us, US_PER_S)
    if not fraction:
        return f"{_second_text(second)}Z"
    return f"{_second_text(second)}.{f'{fraction:06d}'.rstrip('0')}Z"


@lru_cache(maxsize=4096)
def _second_text(second: int) -> str:
    """A whole second, so that the calendar is paid once for all that happens in it."""
    try:
        return (_EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat()
    except OverflowError:
        raise Unrepresentable("time in the years 1 to 9999", second) from None


# Series that close every quarter of an hour name the moment, New York's time: KXBTC15M-26MAY110145-45.
_QUARTER: Final = re.compile(r"[A-Z0-9]+15M-(\d\d[A-Z]{3}\d{6})-\d\d", re.ASCII)


def close_named(ticker: str) -> int | None:
    """When a market closes, µs since 1970, as its ticker says; None where it does not, or no time zones are known."""
    match = _QUARTER.fullmatch(ticker)
    if match is None:
        return None
    try:
        moment = datetime.strptime(match[1].title(), "%y%b%d%H%M").replace(tzinfo=ZoneInfo("America/New_York"))
    except (ValueError, ZoneInfoNotFoundError):
        return None
    return (moment - _EPOCH) // _MICROSECOND
