"""Kalshi's messages: bytes to records and commands to bytes. Pure; kalshi-protocol sections 3 and 4.

The current fixed-point form is decoded by typed structs, 9 times as fast as a JSON parser. Everything else (legacy
cents, the interim form, numbers where strings belong) takes a slower road to the same records, so nothing behind this
module knows that there were generations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec

from kflow.errors import MalformedFrame, Unrepresentable
from kflow.units import format_price, format_size, parse_price, parse_size, price_from_cents, size_from_count

Pair = tuple[str, str]
# What the tables hold; a number beyond is no sid, count or time.
Sid = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
Millis = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
# Text that PostgreSQL can store and a person can read: no NUL.
Text = Annotated[str, msgspec.Meta(pattern="^[^\\x00]*$")]


class DeltaBody(msgspec.Struct, gc=False):
    """`msg` of an orderbook_delta."""

    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: str
    ts: str | None = None
    ts_ms: Millis | None = None


class Delta(msgspec.Struct, tag_field="type", tag="orderbook_delta", gc=False):
    """One level changed."""

    sid: Sid
    seq: Count
    msg: DeltaBody


class SnapshotBody(msgspec.Struct):
    """`msg` of an orderbook_snapshot. An absent side has no levels; `yes`, `no`, `*_dollars` are older forms."""

    market_ticker: Text
    market_id: str | None = None
    yes_dollars_fp: list[Pair] | None = None
    no_dollars_fp: list[Pair] | None = None
    yes_dollars: msgspec.Raw | None = None
    no_dollars: msgspec.Raw | None = None
    yes: msgspec.Raw | None = None
    no: msgspec.Raw | None = None


class Snapshot(msgspec.Struct, tag_field="type", tag="orderbook_snapshot"):
    """A whole book. `id` is that of the get_snapshot command it answers."""

    sid: Sid
    seq: Count
    msg: SnapshotBody
    id: int | None = None
    sending_ts_ms: Millis | None = None


class TradeBody(msgspec.Struct, gc=False):
    """`msg` of a trade."""

    market_ticker: Text
    yes_price_dollars: str
    count_fp: str
    trade_id: Text | None = None
    taker_outcome_side: str | None = None
    taker_side: str | None = None
    is_block_trade: bool | None = None
    ts_ms: Millis | None = None


class TradeMessage(msgspec.Struct, tag_field="type", tag="trade", gc=False):
    """A public trade."""

    sid: Sid
    msg: TradeBody
    seq: Count | None = None


class TickerBody(msgspec.Struct, gc=False):
    """`msg` of a ticker."""

    market_ticker: Text
    price_dollars: str | None = None
    yes_bid_dollars: str | None = None
    yes_ask_dollars: str | None = None
    yes_bid_size_fp: str | None = None
    yes_ask_size_fp: str | None = None
    volume_fp: str | None = None
    open_interest_fp: str | None = None
    ts_ms: Millis | None = None


class TickerMessage(msgspec.Struct, tag_field="type", tag="ticker", gc=False):
    """A market's top and totals."""

    sid: Sid
    msg: TickerBody
    seq: Count | None = None


class Envelope(msgspec.Struct):
    """Every other message: acks, errors, lifecycle, types that are not known yet."""

    type: Text
    sid: Sid | None = None
    seq: Count | None = None
    id: int | None = None
    msg: msgspec.Raw = msgspec.Raw(b"null")


Message = Delta | Snapshot | TradeMessage | TickerMessage | Envelope

_TYPED: Final = msgspec.json.Decoder(Delta | Snapshot | TradeMessage | TickerMessage)
# Decodes the current form of the four common types, or raises one of UNDECODABLE.
decode_typed: Final = _TYPED.decode
_ENVELOPE: Final = msgspec.json.Decoder(Envelope)
_ANY: Final = msgspec.json.Decoder(float_hook=Decimal)
UNDECODABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)


def decode(raw: bytes) -> Message:
    """One frame to its record. Raises MalformedFrame, never anything else."""
    try:
        message: Message = _TYPED.decode(raw)
    except UNDECODABLE:
        return _decode_other(raw)
    if type(message) is Snapshot and _is_older_snapshot(message.msg):
        return _decode_older(raw)
    if type(message) is TickerMessage and _is_older_ticker(message.msg):
        return _decode_older(raw)
    return message


def envelope_of(raw: bytes) -> Envelope | None:
    """What can be told of a frame whose body is malformed, or None."""
    try:
        return _ENVELOPE.decode(raw)
    except UNDECODABLE:
        return None


def _is_older_snapshot(body: SnapshotBody) -> bool:
    if body.yes_dollars_fp is not None or body.no_dollars_fp is not None:
        return False
    return any(older is not None for older in (body.yes_dollars, body.no_dollars, body.yes, body.no))


def _is_older_ticker(body: TickerBody) -> bool:
    """Every number has its own older name: where one is absent, the older may be there."""
    return None in (body.price_dollars, body.yes_bid_dollars, body.yes_ask_dollars, body.volume_fp)


def _decode_other(raw: bytes) -> Message:
    envelope = envelope_of(raw)
    if envelope is None:
        raise MalformedFrame("not a JSON message with a type")
    if envelope.type in _OLDER:
        return _decode_older(raw)
    return envelope


def _decode_older(raw: bytes) -> Message:
    """A book, trade or ticker message that is not in the current form."""
    try:
        envelope = _ANY.decode(raw)
        return _OLDER[envelope["type"]](envelope, envelope["msg"])
    except (*UNDECODABLE, KeyError, TypeError, AttributeError, Unrepresentable) as error:
        raise MalformedFrame(f"{type(error).__name__}: {error}") from None


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise Unrepresentable("integer", value)
    return value


def _sid(envelope: Mapping[str, Any]) -> int:
    sid = _integer(envelope["sid"])
    if sid >= 2**31:
        raise Unrepresentable("sid", sid)
    return sid


def _optional_integer(value: object) -> int | None:
    return None if value is None else _integer(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise Unrepresentable("text", value)
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _optional_flag(value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise Unrepresentable("flag", value)
    return value


def _price(body: Mapping[str, Any], dollars: str, cents: str) -> str:
    value = body.get(dollars)
    return format_price(parse_price(value) if value is not None else price_from_cents(body[cents]))


def _size(body: Mapping[str, Any], fixed: str, count: str) -> str:
    value = body.get(fixed)
    return format_size(parse_size(value) if value is not None else size_from_count(body[count]))


def _when(body: Mapping[str, Any]) -> tuple[str | None, int | None]:
    """(ts, ts_ms): `ts` was milliseconds until April 2026, RFC 3339 since; elsewhere it is seconds."""
    ts, ts_ms = body.get("ts"), _optional_integer(body.get("ts_ms"))
    if isinstance(ts, int) and ts_ms is None:
        ts_ms = _integer(ts if ts > 10**11 else ts * 1000)
    return (ts if isinstance(ts, str) else None), ts_ms


def _older_delta(envelope: Mapping[str, Any], body: Mapping[str, Any]) -> Delta:
    ts, ts_ms = _when(body)
    msg = DeltaBody(
        market_ticker=_text(body["market_ticker"]),
        price_dollars=_price(body, "price_dollars", "price"),
        delta_fp=_size(body, "delta_fp", "delta"),
        side=_text(body["side"]),
        ts=ts,
        ts_ms=ts_ms,
    )
    return Delta(sid=_sid(envelope), seq=_integer(envelope["seq"]), msg=msg)


def _older_levels(body: Mapping[str, Any], side: str) -> list[Pair]:
    for key, price in ((f"{side}_dollars_fp", parse_price), (f"{side}_dollars", parse_price), (side, price_from_cents)):
        levels = body.get(key)
        if levels is not None:
            if type(levels) is not list or any(type(level) is not list for level in levels):
                raise Unrepresentable("list of levels", key)
            size = size_from_count if key == side else parse_size
            return [(format_price(price(p)), format_size(size(s))) for p, s in levels]
    return []


def _older_snapshot(envelope: Mapping[str, Any], body: Mapping[str, Any]) -> Snapshot:
    msg = SnapshotBody(
        market_ticker=_text(body["market_ticker"]),
        market_id=_optional_text(body.get("market_id")),
        yes_dollars_fp=_older_levels(body, "yes"),
        no_dollars_fp=_older_levels(body, "no"),
    )
    return Snapshot(
        sid=_sid(envelope),
        seq=_integer(envelope["seq"]),
        msg=msg,
        id=_optional_integer(envelope.get("id")),
        sending_ts_ms=_optional_integer(envelope.get("sending_ts_ms")),
    )


def _older_trade(envelope: Mapping[str, Any], body: Mapping[str, Any]) -> TradeMessage:
    msg = TradeBody(
        market_ticker=_text(body["market_ticker"]),
        yes_price_dollars=_price(body, "yes_price_dollars", "yes_price"),
        count_fp=_size(body, "count_fp", "count"),
        trade_id=_optional_text(body.get("trade_id")),
        taker_outcome_side=_optional_text(body.get("taker_outcome_side")),
        taker_side=_optional_text(body.get("taker_side")),
        is_block_trade=_optional_flag(body.get("is_block_trade")),
        ts_ms=_when(body)[1],
    )
    return TradeMessage(sid=_sid(envelope), msg=msg, seq=_optional_integer(envelope.get("seq")))


# Ticker field: its names from the current form to the oldest, and whether it is a price.
_TICKER_FIELDS: Final[tuple[tuple[str, str, bool], ...]] = (
    ("price_dollars", "price", True),
    ("yes_bid_dollars", "yes_bid", True),
    ("yes_ask_dollars", "yes_ask", True),
    ("yes_bid_size_fp", "yes_bid_size", False),
    ("yes_ask_size_fp", "yes_ask_size", False),
    ("volume_fp", "volume", False),
    ("open_interest_fp", "open_interest", False),
)


def _older_ticker(envelope: Mapping[str, Any], body: Mapping[str, Any]) -> TickerMessage:
    fields: dict[str, str] = {}
    for name, older, is_price in _TICKER_FIELDS:
        if body.get(name) is not None or body.get(older) is not None:
            fields[name] = _price(body, name, older) if is_price else _size(body, name, older)
    msg = TickerBody(market_ticker=_text(body["market_ticker"]), ts_ms=_when(body)[1], **fields)
    return TickerMessage(sid=_sid(envelope), msg=msg, seq=_optional_integer(envelope.get("seq")))


_OLDER: Final[dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Message]]] = {
    "orderbook_delta": _older_delta,
    "orderbook_snapshot": _older_snapshot,
    "trade": _older_trade,
    "ticker": _older_ticker,
}


# --- commands -------------------------------------------------------------------------------------------------------


class Command(msgspec.Struct, omit_defaults=True):
    """What we send. `params` as section 3.2 names them."""

    id: int
    cmd: str
    params: dict[str, Any] = {}


_ENCODER: Final = msgspec.json.Encoder()
_COMMAND: Final = msgspec.json.Decoder(Command)


def subscribe(id: int, channels: Sequence[str], markets: Sequence[str], *, use_yes_price: bool) -> Command:  # noqa: A002
    """Subscribe channels to markets; no markets means all, where the channel allows it."""
    params: dict[str, Any] = {"channels": list(channels)}
    if markets:
        params["market_tickers"] = list(markets)
    if "orderbook_delta" in channels:
        params["use_yes_price"] = use_yes_price  # always said: the venue's default will flip (section 0.1)
    if "ticker" in channels:
        params["send_initial_snapshot"] = True
    return Command(id, "subscribe", params)


def get_snapshot(id: int, sid: int, markets: Sequence[str]) -> Command:  # noqa: A002
    """Ask for fresh snapshots on a subscription, without changing it."""
    return Command(id, "update_subscription", {"sid": sid, "action": "get_snapshot", "market_tickers": list(markets)})


def unsubscribe(id: int, sids: Sequence[int]) -> Command:  # noqa: A002
    return Command(id, "unsubscribe", {"sids": list(sids)})


def encode(command: Command) -> bytes:
    return _ENCODER.encode(command)


def decode_command(raw: bytes) -> Command:
    """A command from a journal. Raises MalformedFrame."""
    try:
        return _COMMAND.decode(raw)
    except UNDECODABLE as error:
        raise MalformedFrame(f"not a command: {error}") from None
