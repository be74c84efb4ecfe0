"""The venue's documents as records in our units."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.errors import DataError, MalformedFrame, Unrepresentable
from kflow.kalshi import listings
from kflow.kalshi.listings import decode, event_info, market_info, rest_book, series_info

MARKET: dict[str, Any] = {
    "ticker": "KXINX-26NOV23H1600-B6787",
    "event_ticker": "KXINX-26NOV23H1600",
    "title": "Where will it close?",
    "open_time": "2026-11-20T15:00:00Z",
    "close_time": "2026-11-23T21:00:00.25Z",
    "status": "active",
    "result": "",
    "volume_fp": "10.50",
    "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
    "floor_strike": 6775,
    "cap_strike": 6799.99,
    "exchange_index": 0,
}


def raw(document: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(document).encode())


def test_a_market_in_our_units() -> None:
    market = market_info(raw({**MARKET, "extra": [1]}))
    assert (market.ticker, market.status, market.active, market.result) == (MARKET["ticker"], "active", True, None)
    assert (market.open_us, market.close_us) == (1_795_186_800_000_000, 1_795_467_600_250_000)
    assert (market.floor_strike, market.cap_strike, market.volume) == (6775, Decimal("6799.99"), 1050)
    assert len(market.grid) == 99
    assert market.raw == {**MARKET, "extra": [1]}
    assert (market.settlement_value, market.settled_us, market.fee_waiver_until_us) == (None, None, None)


def test_a_settled_market() -> None:
    settled = {"status": "finalized", "result": "scalar", "settlement_value_dollars": "0.3700"}
    times = {"settlement_ts": "2026-11-23T21:01:00Z", "fee_waiver_expiration_time": "2026-11-21T00:00:00Z"}
    market = market_info(raw({**MARKET, **settled, **times}))
    assert (market.active, market.result, market.settlement_value) == (False, "scalar", 3700)
    assert (market.settled_us, market.fee_waiver_until_us) == (1_795_467_660_000_000, 1_795_219_200_000_000)


@pytest.mark.parametrize("field", ["ticker", "event_ticker", "status", "open_time", "close_time", "price_ranges"])
def test_a_missing_field_is_an_error(field: str) -> None:
    with pytest.raises(MalformedFrame, match=f"market: the answer is not what the venue documents: .*{field}"):
        market_info(raw({name: value for name, value in MARKET.items() if name != field}))


@pytest.mark.parametrize(
    ("field", "value"),
    [("close_time", "soon"), ("volume_fp", "ten"), ("settlement_value_dollars", "1.5"), ("volume_fp", "1.001")],
)
def test_a_value_that_does_not_fit_is_an_error(field: str, value: str) -> None:
    with pytest.raises(Unrepresentable):
        market_info(raw({**MARKET, field: value}))


def test_unknown_is_none() -> None:
    bare = {
        name: MARKET[name] for name in ("ticker", "event_ticker", "status", "open_time", "close_time", "price_ranges")
    }
    market = market_info(raw(bare))
    assert (market.volume, market.floor_strike, market.cap_strike, market.exchange_index) == (None, None, None, None)


def test_a_multiplier_is_exact() -> None:
    series = series_info(raw({"ticker": "KXINX", "fee_type": "quadratic", "fee_multiplier": 0.35}))
    assert (series.fee_type, series.fee_multiplier) == ("quadratic", Decimal("0.35"))
    with pytest.raises(MalformedFrame, match="fee_multiplier"):
        series_info(raw({"ticker": "KXINX", "fee_type": "quadratic"}))


def test_an_events_markets_come_from_either_place() -> None:
    event = {
        "event_ticker": "E",
        "series_ticker": "S",
        "fee_type_override": "quadratic",
        "fee_multiplier_override": 0.5,
    }
    inside = event_info(raw({**event, "markets": [MARKET]}))
    beside = event_info(raw({**event, "markets": []}), [raw(MARKET)])
    assert inside.markets == beside.markets == (market_info(raw(MARKET)),)
    assert "markets" not in inside.raw
    assert (inside.fee_type_override, inside.fee_multiplier_override) == ("quadratic", Decimal("0.5"))
    plain = event_info(raw({"event_ticker": "E", "series_ticker": "S", "markets": None}))
    assert (plain.markets, plain.fee_type_override, plain.fee_multiplier_override) == ((), None, None)


@pytest.mark.parametrize("no", [[], None, "absent"])
def test_a_book_ascends_and_an_empty_side_is_empty(no: object) -> None:
    sides = {"yes_dollars": [["0.4200", "13.00"], ["0.4100", "10.50"]], "no_dollars": no}
    if no == "absent":
        del sides["no_dollars"]
    one = decode(listings.OneBook, json.dumps({"orderbook_fp": sides}).encode(), "book")
    assert rest_book("M", one.orderbook_fp) == listings.RestBook("M", ((4100, 1050), (4200, 1300)), ())


def test_numbers_instead_of_texts_are_exact() -> None:
    one = decode(listings.OneBook, b'{"orderbook_fp":{"yes_dollars":[[0.29,57.01]]}}', "book")
    assert rest_book("M", one.orderbook_fp).yes == ((2900, 5701),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(MARKET)), JSON)
def test_no_value_brings_another_error_than_ours(field: str, value: object) -> None:
    with contextlib.suppress(DataError):
        market = market_info(raw({**MARKET, field: value}))
        assert market.raw[field] == value
        assert len(market.grid) > 0


def test_bytes_that_are_no_text_are_an_error_even_where_nobody_looks() -> None:
    body = json.dumps(MARKET).encode()[:-1] + b', "unread": "\xff"}'
    with pytest.raises(MalformedFrame):
        market_info(msgspec.Raw(body))


@given(
    st.one_of(
        st.binary(), JSON.map(lambda pair: json.dumps({"orderbook_fp": {"yes_dollars": [[pair, pair]]}}).encode())
    )
)
def test_no_book_brings_another_error_than_ours(body: bytes) -> None:
    with contextlib.suppress(DataError):
        rest_book("M", decode(listings.OneBook, body, "book").orderbook_fp)
