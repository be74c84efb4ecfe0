"""Every generation of the wire comes to the same records; whatever else comes is refused with one error."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kflow.errors import MalformedFrame
from kflow.kalshi import wire

NAMES = ["market_ticker", "price_dollars", "delta_fp", "side", "ts", "ts_ms", "price", "delta", "yes", "no", "count"]
KINDS = ["orderbook_delta", "orderbook_snapshot", "trade", "ticker", "subscribed", "ok", "error", "nobody_knows"]


def frame(kind: str, body: dict[str, Any], **envelope: Any) -> bytes:
    return json.dumps({"type": kind, "sid": 1, "seq": 2, "msg": body, **envelope}).encode()


def delta(**body: Any) -> wire.Delta:
    message = wire.decode(frame("orderbook_delta", {"market_ticker": "M", "side": "yes", **body}))
    assert isinstance(message, wire.Delta)
    return message


@pytest.mark.parametrize(
    "body",
    [
        {"price_dollars": "0.4400", "delta_fp": "-12.00"},
        {"price_dollars": "0.44", "delta_fp": "-12"},
        {"price": 44, "delta": -12},
        {"price": 44, "price_dollars": "0.4400", "delta": -12},
        {"price": 44, "delta": -12, "price_dollars": "0.4400", "delta_fp": "-12.00"},
        {"price_dollars": 0.44, "delta_fp": -12},
    ],
    ids=["fixed point", "trimmed", "cents", "interim", "both", "numbers"],
)
def test_a_delta_of_any_generation(body: dict[str, Any]) -> None:
    from kflow.units import PRICES, SIZES

    message = delta(**body)
    assert (PRICES[message.msg.price_dollars], SIZES[message.msg.delta_fp]) == (4400, -1200)
    assert (message.sid, message.seq, message.msg.market_ticker, message.msg.side) == (1, 2, "M", "yes")


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ({"ts": "2026-08-07T06:46:28.97871Z", "ts_ms": 5}, ("2026-08-07T06:46:28.97871Z", 5)),
        ({"ts": 1786085188978, "price": 4}, (None, 1786085188978)),
        ({"ts": 1786085188, "price": 4}, (None, 1786085188000)),
        ({}, (None, None)),
    ],
)
def test_the_time_of_any_generation(stamps: dict[str, Any], expected: tuple[str | None, int | None]) -> None:
    message = delta(**{"price": 4, "delta": 1, **stamps})
    assert (message.msg.ts, message.msg.ts_ms) == expected


@pytest.mark.parametrize(
    "body",
    [
        {"yes_dollars_fp": [["0.4000", "3.00"], ["0.4100", "5.00"]]},
        {"yes_dollars": [["0.40", 3], ["0.41", 5]]},
        {"yes": [[40, 3], [41, 5]]},
        {"yes": [[40, 3], [41, 5]], "yes_dollars": [["0.4000", 3], ["0.4100", 5]], "no": []},
    ],
    ids=["fixed point", "dollars", "cents", "interim"],
)
def test_a_snapshot_of_any_generation(body: dict[str, Any]) -> None:
    message = wire.decode(frame("orderbook_snapshot", {"market_ticker": "M", **body}, id=9))
    assert isinstance(message, wire.Snapshot)
    assert [tuple(level) for level in message.msg.yes_dollars_fp or ()] == [("0.4000", "3.00"), ("0.4100", "5.00")]
    assert not message.msg.no_dollars_fp
    assert message.id == 9


def test_an_absent_side_has_no_levels() -> None:
    message = wire.decode(frame("orderbook_snapshot", {"market_ticker": "M"}))
    assert isinstance(message, wire.Snapshot)
    assert message.msg.yes_dollars_fp is message.msg.no_dollars_fp is None


@pytest.mark.parametrize(
    "body",
    [
        {"yes_price_dollars": "0.3600", "count_fp": "136.00", "taker_side": "no"},
        {"yes_price": 36, "no_price": 64, "count": 136, "taker_side": "no"},
    ],
    ids=["fixed point", "cents"],
)
def test_a_trade_of_any_generation(body: dict[str, Any]) -> None:
    message = wire.decode(frame("trade", {"market_ticker": "M", **body}))
    assert isinstance(message, wire.TradeMessage)
    assert (message.msg.yes_price_dollars, message.msg.count_fp) == ("0.3600", "136.00")
    assert message.msg.taker_side == "no"


@pytest.mark.parametrize(
    "body", [{"yes_bid_dollars": "0.0300", "volume_fp": "9.00"}, {"yes_bid": 3, "volume": 9}], ids=["fixed", "cents"]
)
def test_a_ticker_of_any_generation(body: dict[str, Any]) -> None:
    message = wire.decode(frame("ticker", {"market_ticker": "M", **body}))
    assert isinstance(message, wire.TickerMessage)
    assert (message.msg.yes_bid_dollars, message.msg.volume_fp) == ("0.0300", "9.00")
    assert message.msg.yes_ask_dollars is None


def test_other_types_keep_their_envelope() -> None:
    message = wire.decode(b'{"type":"market_weather","sid":3,"seq":8,"msg":{"rain":true},"new":1}')
    assert isinstance(message, wire.Envelope)
    assert (message.type, message.sid, message.seq, bytes(message.msg)) == ("market_weather", 3, 8, b'{"rain":true}')


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"17",
        b"{",
        b'{"sid":1}',
        b'{"type":7}',
        b"\xff\xfe",
        b'{"type":"orderbook_delta","sid":1,"seq":2}',
        b'{"type":"orderbook_delta","sid":-1,"seq":2,"msg":{}}',
        b'{"type":"nobody","sid":1,"seq":99999999999999999999}',
        b"[" * 100_000,
        b'{"type":"t","msg":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        frame("orderbook_delta", {"market_ticker": "M", "price": 44.5, "delta": 1, "side": "yes"}),
        frame("orderbook_delta", {"market_ticker": "M", "price": 44, "delta": True, "side": "yes"}),
        frame("orderbook_delta", {"market_ticker": "M", "price": 101, "delta": 1, "side": "yes"}),
        frame("orderbook_delta", {"market_ticker": "M", "price": 4, "delta": 1, "side": "yes", "ts": 10**30}),
        frame("trade", {"market_ticker": "M", "yes_price": 4, "count": 1, "is_block_trade": "yes"}),
        frame("ticker", {"market_ticker": "a\0b", "volume": 1}),
        frame("orderbook_snapshot", {"market_ticker": "M", "yes": [[40]]}),
        frame("orderbook_snapshot", {"market_ticker": "M", "yes": {"40": 1}}),
    ],
)
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedFrame):
        wire.decode(raw)


numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=6),
    st.sampled_from(["0.4400", "-1e400", "NaN", "1" * 400]),
)
values = st.recursive(
    numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
messages = st.fixed_dictionaries(
    {
        "type": st.sampled_from(KINDS),
        "sid": st.integers(0, 3) | values,
        "msg": st.dictionaries(st.sampled_from(NAMES), values, max_size=9),
    },
    optional={"seq": st.integers(0, 5) | values, "id": values},
)


@settings(max_examples=400)
@given(messages)
def test_values_of_any_type_are_refused_or_decoded(message: dict[str, Any]) -> None:
    raw = json.dumps(message).encode()
    for text in (raw, raw.replace(b'"NaN"', b"1e999999999").replace(b'"-1e400"', b"-1e400")):
        try:
            wire.decode(text)
        except MalformedFrame:
            continue


@settings(max_examples=300)
@given(st.binary(max_size=200))
@example(b'{"type":"\xed\xa0\x80"}')
@example(
    b'{"type":"orderbook_delta","sid":1,"seq":1,"msg":{"market_ticker":"\\ud800","price":1,"delta":1,"side":"yes"}}'
)
def test_arbitrary_bytes_raise_nothing_else(raw: bytes) -> None:
    try:
        wire.decode(raw)
    except MalformedFrame:
        return


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4), st.booleans())
def test_commands_come_back_as_they_were_sent(markets: list[str], yes_price: bool) -> None:
    for command in (
        wire.subscribe(3, ["orderbook_delta"], markets, use_yes_price=yes_price),
        wire.get_snapshot(4, 7, markets),
        wire.unsubscribe(5, [1, 2]),
    ):
        assert wire.decode_command(wire.encode(command)) == command


def test_a_subscription_says_which_price_convention_it_wants() -> None:
    command = wire.subscribe(1, ["orderbook_delta"], ["M"], use_yes_price=False)
    assert msgspec.json.decode(wire.encode(command)) == {
        "id": 1,
        "cmd": "subscribe",
        "params": {"channels": ["orderbook_delta"], "market_tickers": ["M"], "use_yes_price": False},
    }
    assert "use_yes_price" not in wire.subscribe(1, ["trade"], [], use_yes_price=True).params


def test_a_command_that_is_none_is_refused() -> None:
    with pytest.raises(MalformedFrame):
        wire.decode_command(b'{"cmd":"subscribe"}')
