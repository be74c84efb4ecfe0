"""A file of recorded frames: `{"recv_ns", "conn", "frame"}` a line, gzipped or plain. Read, never held whole.

A recording falls into parts: a new one begins where a sid is `subscribed` anew, which is where the recorder's own
connection was renewed. The file's connection label is not used: it does not change there (docs: market facts).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from kflow.errors import ConfigError, DataError, MalformedFrame, Unrepresentable
from kflow.exchange.messages import DELTA_TYPE, ORDERBOOK, SNAPSHOT_TYPE, TRADE, UNSEQUENCED, Message
from kflow.market.events import Level, Side
from kflow.market.grid import structure_holding
from kflow.market.times import venue_us
from kflow.units import DOLLAR, PRICES, SIZES, Price, price_from_cents, size_from_count

_SIDES: Final = {"yes": Side.YES, "no": Side.NO}

Levels = list[tuple[str | int, str | int]]


class _Envelope(msgspec.Struct):
    type: str
    sid: int | None = None
    seq: int | None = None
    msg: msgspec.Raw = msgspec.Raw(b"")


class _Line(msgspec.Struct):
    recv_ns: int
    frame: _Envelope


class _Subscribed(msgspec.Struct):
    channel: str
    sid: int


class _Body(msgspec.Struct):
    """What the venue's own book needs of a message; today's fields, and those of older recordings."""

    market_ticker: str = ""
    market_id: str = ""
    side: str | None = None
    ts: str | int | None = None
    ts_ms: int | None = None
    price_dollars: str | None = None
    delta_fp: str | None = None
    price: int | None = None
    delta: int | None = None
    yes_dollars_fp: Levels | None = None
    no_dollars_fp: Levels | None = None
    yes_dollars: Levels | None = None
    no_dollars: Levels | None = None
    yes: Levels | None = None
    no: Levels | None = None


class _Trade(msgspec.Struct):
    """What the venue, and orders that wait in its books, need of a trade."""

    market_ticker: str
    ts: str | int | None = None
    ts_ms: int | None = None
    yes_price_dollars: str | None = None
    count_fp: str | None = None
    yes_price: int | None = None
    count: int | None = None
    taker_outcome_side: str | None = None
    taker_side: str | None = None


@dataclass(slots=True)
class Entry:
    """A recorded frame. `subscribed` (channel, sid) in place of a message where it is an acknowledgement."""

    recv_ns: int
    message: Message | None = None
    subscribed: tuple[str, int] | None = None


@dataclass(slots=True)
class Part:
    """What one connection of the recorder saw."""

    sids: dict[str, int] = field(default_factory=dict)  # by channel
    markets: dict[str, None] = field(default_factory=dict)
    frames: int = 0


@dataclass(slots=True)
class Contents:
    """What a recording holds."""

    parts: list[Part]
    market_ids: dict[str, str]
    structures: dict[str, str]
    first_ns: int  # received
    first_us: int  # the venue's own time, where any frame tells it; else when it was received


class Recording:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    def entries(self) -> Iterator[Entry]:
        """Every frame, in order. Raises ConfigError (unreadable), DataError (not such a file)."""
        decode = msgspec.json.Decoder(_Line).decode
        reader = _Reader()
        number = 0
        try:
            with gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb") as file:
                for number, line in enumerate(file, 1):  # noqa: B007 - an error names the line
                    record = decode(line)
                    entry = reader.entry(record)
                    if entry is not None:
                        yield entry
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"cannot read the recording {self.path}: {reason}", hint="check --from") from None
        except (msgspec.DecodeError, Unrepresentable, MalformedFrame) as error:
            raise DataError(
                f"{self.path}, line {number}: {error}", hint='each line is {"recv_ns": …, "conn": …, "frame": {…}}'
            ) from None

    def scan(self) -> Contents:
        """Parts, markets and grids. Reads the whole file once; raises as `entries` does."""
        contents = Contents([], {}, {}, 0, 0)
        prices: dict[str, set[Price]] = {}
        for entry in self.entries():
            contents.first_ns = contents.first_ns or entry.recv_ns
            if entry.subscribed is not None:
                channel, sid = entry.subscribed
                if not contents.parts or begins_part(contents.parts[-1], sid):
                    contents.parts.append(Part())
                contents.parts[-1].sids[channel] = sid
            elif entry.message is not None:
                if not contents.parts:
                    raise DataError(f"{self.path} does not begin with `subscribed`", hint="record from the beginning")
                self._note(contents, prices, entry.message)
            contents.parts[-1].frames += 1
        if not contents.parts:
            raise DataError(f"{self.path} holds no frames", hint="check --from")
        contents.structures = {market: structure_holding(seen) for market, seen in prices.items()}
        contents.first_us = contents.first_us or contents.first_ns // 1000
        return contents

    @staticmethod
    def _note(contents: Contents, prices: dict[str, set[Price]], message: Message) -> None:
        if message.market:
            contents.parts[-1].markets[message.market] = None
        contents.first_us = contents.first_us or message.venue_us
        if message.channel == ORDERBOOK:
            seen = prices.setdefault(message.market, set())
            if message.kind == DELTA_TYPE:
                seen.add(_yes_price(message.side, message.price))
            for side, levels in enumerate(message.levels or ()):
                seen.update([_yes_price(side, price) for price, _ in levels])
        if message.market and message.market not in contents.market_ids:
            contents.market_ids[message.market] = msgspec.json.decode(message.body, type=_Body).market_id


def begins_part(part: Part, sid: int) -> bool:
    """Whether a `subscribed` for this sid means that the recorder had connected anew."""
    return sid in part.sids.values()


class _Reader:
    """Turns records into entries: channels by sid, and how far each frame moved seq."""

    def __init__(self) -> None:
        self._channels: dict[int, str] = {}
        self._seqs: dict[int, int] = {}
        self._markets: dict[int, str] = {}
        self._decode_body = msgspec.json.Decoder(_Body).decode

    def entry(self, line: _Line) -> Entry | None:
        envelope = line.frame
        if envelope.type == "subscribed":
            ack = msgspec.json.decode(envelope.msg, type=_Subscribed)
            self._channels[ack.sid], self._seqs[ack.sid] = ack.channel, 0
            return Entry(line.recv_ns, subscribed=(ack.channel, ack.sid))
        sid = envelope.sid
        if sid is None:
            return None  # an answer to a command of the recorder's
        channel = self._channels.get(sid, ORDERBOOK if envelope.type in (DELTA_TYPE, SNAPSHOT_TYPE) else envelope.type)
        step = 1
        if envelope.seq is not None:
            step = envelope.seq - self._seqs.get(sid, 0)
            self._seqs[sid] = envelope.seq
        elif channel not in UNSEQUENCED:
            step = 0
        return Entry(line.recv_ns, self._message(channel, sid, envelope, step))

    def _message(self, channel: str, sid: int, envelope: _Envelope, step: int) -> Message:
        text = bytes(envelope.msg).decode()
        if envelope.type not in (DELTA_TYPE, SNAPSHOT_TYPE):
            # Frames that name no market go to whoever gets the sid's other frames.
            market = _market_of(text) or self._markets.get(sid, "")
            message = Message(channel, envelope.type, market, text, step=step)
            return _trade(message) if envelope.type == TRADE else message
        body = self._decode_body(envelope.msg)
        self._markets[sid] = body.market_ticker
        stamp = venue_us(body.ts if isinstance(body.ts, str) else None, body.ts_ms) or 0
        if envelope.type == SNAPSHOT_TYPE:
            yes = _levels(body.yes_dollars_fp or body.yes_dollars, body.yes)
            no = _levels(body.no_dollars_fp or body.no_dollars, body.no)
            return Message(channel, SNAPSHOT_TYPE, body.market_ticker, text, stamp, levels=(yes, no), step=step)
        side = Side.NO if body.side == "no" else Side.YES
        price = PRICES[body.price_dollars] if body.price_dollars is not None else price_from_cents(body.price or 0)
        change = SIZES[body.delta_fp] if body.delta_fp is not None else size_from_count(body.delta or 0)
        return Message(channel, DELTA_TYPE, body.market_ticker, text, stamp, side, price, change, step=step)


def _trade(message: Message) -> Message:
    """A trade with its numbers; one that does not tell them goes out all the same, and fills nobody."""
    try:
        body = msgspec.json.decode(message.body, type=_Trade)
        price = (
            PRICES[body.yes_price_dollars]
            if body.yes_price_dollars is not None
            else price_from_cents(body.yes_price or 0)
        )
        size = SIZES[body.count_fp] if body.count_fp is not None else size_from_count(body.count or 0)
    except (msgspec.DecodeError, Unrepresentable):
        return message
    stamp = venue_us(body.ts if isinstance(body.ts, str) else None, body.ts_ms) or 0
    side = _SIDES.get(body.taker_outcome_side or body.taker_side or "", -1)
    return msgspec.structs.replace(message, venue_us=stamp, side=side, price=price, change=size)


class _Named(msgspec.Struct):
    market_ticker: str = ""


def _market_of(text: str) -> str:
    try:
        return msgspec.json.decode(text, type=_Named).market_ticker
    except msgspec.DecodeError:
        return ""


def _levels(today: Levels | None, cents: Levels | None) -> tuple[Level, ...]:
    if today:
        levels = [(PRICES[price], SIZES[size]) for price, size in today]
    else:
        levels = [(price_from_cents(int(price)), size_from_count(int(size))) for price, size in cents or ()]
    return tuple(sorted(levels))


def _yes_price(side: int, price: int) -> Price:
    return Price(price if side == Side.YES else DOLLAR - price)
