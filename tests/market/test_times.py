"""The venue's times, against datetime and exact fractions."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kflow.errors import Unrepresentable
from kflow.market import times
from kflow.market.times import close_named, format_rfc3339_us, parse_rfc3339_us, venue_us

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Microseconds of a moment, from year 1 to year 9999 with a day to spare for offsets.
MOMENT = st.integers(-62_135_510_400_000_000, 253_402_128_000_000_000).map(
    lambda us: EPOCH + timedelta(microseconds=us)
)


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@given(MOMENT)
def test_every_moment_survives_its_text(moment: datetime) -> None:
    text = format_rfc3339_us(micros(moment))
    assert parse_rfc3339_us(text) == micros(moment)
    assert datetime.fromisoformat(text) == moment
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,5}[1-9])?Z", text)


@given(MOMENT, st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_an_offset_is_the_same_moment(moment: datetime, minutes: int) -> None:
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    local = moment.replace(tzinfo=None, microsecond=0).isoformat()
    expected = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    assert parse_rfc3339_us(f"{local}{sign}{hours:02d}:{rest:02d}") == micros(expected)


@given(st.from_regex(r"[0-9]{1,9}", fullmatch=True))
def test_a_fraction_is_exact_to_the_microsecond(digits: str) -> None:
    whole = parse_rfc3339_us("2026-08-07T06:46:28Z")
    exact = Fraction(int(digits), 10 ** len(digits)) * 1_000_000
    assert parse_rfc3339_us(f"2026-08-07T06:46:28.{digits}Z") == whole + exact.numerator // exact.denominator


@given(st.text())
def test_any_other_text_is_refused_with_our_own_error(text: str) -> None:
    try:
        parse_rfc3339_us(text)
    except Unrepresentable:
        return
    assert datetime.fromisoformat(text).tzinfo is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-08-07",
        "2026-08-07T06:46:28",
        "2026-08-07 06:46:28Z",
        "2026-08-07T06:46:28.Z",
        "2026-08-07T06:46:28.1234567890Z",
        "2026-02-30T00:00:00Z",
        "2026-08-07T06:46:60Z",
        "2026-08-07T06:46:28+24:00",
        "2026-08-07T06:46:28Z\n",
        "0000-01-01T00:00:00Z",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    for _ in range(2):  # a refusal is not remembered as a time
        with pytest.raises(Unrepresentable, match="is not a RFC 3339 time"):
            parse_rfc3339_us(text)


@given(st.text(alphabet="0123456789.Z+-:T\u0665\u00b2 _", max_size=12))
@example(".\u0665Z")
@example(".5")
@example(".5ZZ")
@example(".1234567Z")
@example("Z")
def test_a_second_met_before_takes_no_other_road(tail: str) -> None:
    """Whatever `venue_us` does to be quick, it reads and refuses what the parser reads and refuses."""
    text = "2026-08-07T06:46:28"
    parse_rfc3339_us(text + "Z")
    try:
        expected = parse_rfc3339_us(text + tail)
    except Unrepresentable:
        with pytest.raises(Unrepresentable):
            venue_us(text + tail, 0)
    else:
        assert venue_us(text + tail, 0) == expected


def test_the_text_wins_over_milliseconds() -> None:
    assert venue_us("2026-08-07T06:46:28.97871Z", 1786085188978) == 1_786_085_188_978_710
    assert venue_us(None, 1786085188978) == 1_786_085_188_978_000
    assert venue_us(None, 0) == 0
    assert venue_us(None, None) is None


def test_a_time_no_calendar_holds_is_refused() -> None:
    with pytest.raises(Unrepresentable):
        format_rfc3339_us(10**18)


def test_the_memory_of_seconds_is_bounded() -> None:
    for second in range(5000):
        parse_rfc3339_us(format_rfc3339_us(second * 1_000_000))
    assert len(times._SECONDS) <= 4096


@pytest.mark.parametrize(
    ("ticker", "close"),
    [
        ("KXBTC15M-26MAY110145-45", "2026-05-11T05:45:00Z"),  # summer time
        ("KXETH15M-26JAN152300-00", "2026-01-16T04:00:00Z"),
        ("KXBTC15M-26XXX110145-45", None),
        ("KXBTCD-26MAY2018", None),
    ],
)
def test_a_ticker_of_a_quarter_names_its_close(ticker: str, close: str | None) -> None:
    assert close_named(ticker) == (None if close is None else parse_rfc3339_us(close))
