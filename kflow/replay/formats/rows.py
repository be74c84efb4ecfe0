"""Events as flat rows, for the formats that carry every column; and rows back to events.

Prices are those of their own side, in 1e-4 dollar; sizes in 1e-2 contract; recv_ns is nanoseconds, venue_us
microseconds since 1970. An empty field is unknown, or does not apply to the row's kind.
"""

from __future__ import annotations

from typing import Any, Final

from kflow.errors import DataError
from kflow.market.events import BookDelta, BookSnapshot, Level, SnapshotReason, Ticker, Trade
from kflow.market.times import format_rfc3339_us
from kflow.replay.load import GapMark, Moment
from kflow.units import Price, Size

# Column and what it holds: an integer, text, a truth value, or a list of integers.
COLUMNS: Final = (
    ("kind", "text"),  # delta, snapshot, trade, ticker, gap
    ("connection", "int"),
    ("sid", "int"),
    ("seq", "int"),
    ("recv_ns", "int"),
    ("venue_us", "int"),
    ("market", "text"),
    ("side", "int"),  # delta: 0 YES, 1 NO; trade: the side the taker bought
    ("price_e4", "int"),  # delta: of its side; trade: the YES price; ticker: the last price
    ("change_e2", "int"),  # delta: signed, as sent
    ("size_e2", "int"),  # delta: of the level afterwards, empty where the book was not live; trade: contracts
    ("yes_prices", "ints"),
    ("yes_sizes", "ints"),
    ("no_prices", "ints"),
    ("no_sizes", "ints"),
    ("reason", "text"),  # snapshot: subscribe, resync, check, venue, or carried: not a frame, the book at the start
    ("trade_id", "text"),
    ("is_block", "bool"),
    ("yes_bid_e4", "int"),
    ("yes_ask_e4", "int"),
    ("yes_bid_size_e2", "int"),
    ("yes_ask_size_e2", "int"),
    ("volume_e2", "int"),
    ("open_interest_e2", "int"),
    ("gap_kind", "text"),
    ("expected", "int"),
    ("received", "int"),
    ("ended_ns", "int"),
    ("detail", "text"),
)
NAMES: Final = tuple(name for name, _ in COLUMNS)
CARRIED: Final = "carried"

Row = dict[str, Any]  # columns that are not empty


def row_of(moment: Moment) -> Row:
    """The columns of an event that are not empty."""
    row: Row = {"connection": moment.connection, "recv_ns": moment.recv_ns}
    if moment.venue_us is not None:
        row["venue_us"] = moment.venue_us
    event = moment.event
    if type(event) is BookDelta:
        row |= {"kind": "delta", "market": event.market, "sid": event.sid, "seq": event.seq, "side": event.side,
                "price_e4": event.price, "change_e2": event.change, "size_e2": event.size}  # fmt: skip
    elif type(event) is BookSnapshot:
        row |= {"kind": "snapshot", "market": event.market, "sid": event.sid, "seq": event.seq,
                "reason": CARRIED if moment.carried else event.reason.value, **_levels(event)}  # fmt: skip
    elif type(event) is Trade:
        row |= {"kind": "trade", "market": event.market, "sid": event.sid, "seq": event.seq, "side": event.taker,
                "price_e4": event.price, "size_e2": event.size, "trade_id": event.trade_id,
                "is_block": event.is_block}  # fmt: skip
    elif type(event) is Ticker:
        row |= {"kind": "ticker", "market": event.market, "sid": event.sid, "seq": event.seq, "price_e4": event.last,
                "yes_bid_e4": event.yes_bid, "yes_ask_e4": event.yes_ask, "yes_bid_size_e2": event.yes_bid_size,
                "yes_ask_size_e2": event.yes_ask_size, "volume_e2": event.volume,
                "open_interest_e2": event.open_interest}  # fmt: skip
    elif type(event) is GapMark:
        row |= {"kind": "gap", "market": event.market, "sid": event.sid, "gap_kind": event.kind,
                "expected": event.expected, "received": event.received, "ended_ns": event.ended_ns,
                "detail": event.detail}  # fmt: skip
    return {name: value for name, value in row.items() if value is not None}


def _levels(event: BookSnapshot) -> Row:
    return {
        "yes_prices": [price for price, _ in event.yes],
        "yes_sizes": [size for _, size in event.yes],
        "no_prices": [price for price, _ in event.no],
        "no_sizes": [size for _, size in event.no],
    }


def moment_of(row: Row) -> Moment:
    """The event of a row. Raises DataError for a row that is none."""
    try:
        kind, get = row["kind"], row.get
        us = get("venue_us")
        ms = None if us is None else us // 1000
        carried = get("reason") == CARRIED
        event: BookDelta | BookSnapshot | Trade | Ticker | GapMark
        if kind == "delta":
            stamp = None if us is None else format_rfc3339_us(us)
            event = BookDelta(row["market"], row["sid"], row["seq"], row["side"], row["price_e4"], row["change_e2"],
                              get("size_e2"), stamp, ms)  # fmt: skip
        elif kind == "snapshot":
            reason = SnapshotReason.VENUE if carried else SnapshotReason(row["reason"])
            event = BookSnapshot(row["market"], None, row["sid"], row["seq"], _side(row, "yes"), _side(row, "no"),
                                 reason, ms)  # fmt: skip
        elif kind == "trade":
            event = Trade(row["market"], row["sid"], get("seq"), get("trade_id"), row["price_e4"], row["size_e2"],
                          get("side"), get("is_block"), ms)  # fmt: skip
        elif kind == "ticker":
            event = Ticker(row["market"], row["sid"], get("seq"), get("price_e4"), get("yes_bid_e4"),
                           get("yes_ask_e4"), get("yes_bid_size_e2"), get("yes_ask_size_e2"), get("volume_e2"),
                           get("open_interest_e2"), ms)  # fmt: skip
        elif kind == "gap":
            event = GapMark(row["gap_kind"], get("market"), get("sid"), get("expected"), get("received"),
                            get("ended_ns"), get("detail") or "")  # fmt: skip
        else:
            raise DataError(f"a row of kind {kind!r} is no event")
        return Moment(row["connection"], row["recv_ns"], us, event, carried)
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"a row is no event: {type(error).__name__}: {error}") from None


def _side(row: Row, side: str) -> tuple[Level, ...]:
    prices, sizes = row.get(f"{side}_prices") or (), row.get(f"{side}_sizes") or ()
    return tuple((Price(price), Size(size)) for price, size in zip(prices, sizes, strict=True))
