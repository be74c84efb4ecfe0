"""What a feed reports, as frozen records. One is made per message, so they are msgspec Structs.

Prices here are always in the convention of a bids-only book: a NO price is the price of NO. Times: `venue_us` is the
venue's clock in microseconds since 1970 (None where the message carries none).
"""

from __future__ import annotations

from enum import Enum, IntEnum

import msgspec

from kflow.units import Price, Size


class Side(IntEnum):
    """Which of a market's two bid sides. The value is what tables store."""

    YES = 0
    NO = 1


Level = tuple[Price, Size]


class SnapshotReason(Enum):
    """Why a snapshot came."""

    SUBSCRIBE = "subscribe"  # the first of a subscription
    RESYNC = "resync"  # asked for after a gap
    CHECK = "check"  # asked for to compare with a live book
    VENUE = "venue"  # sent unasked in mid-stream, for example at a market's close


class GapKind(Enum):
    """Why messages are missing, extra or not to be trusted. One row of rl_gaps each."""

    SEQUENCE = "sequence"  # seq jumped ahead: `received - expected` frames are missing
    DUPLICATE = "duplicate"  # a seq that was already seen: ignored
    REORDERED = "reordered"  # a missing seq that came late: ignored
    RESET = "reset"  # the venue's counter started anew
    MALFORMED = "malformed"  # a frame that is no message; its books cannot be trusted
    OVERSIZED = "oversized"  # a frame over the limit: the connection was ended
    NEGATIVE = "negative"  # a delta would leave less than nothing
    CROSSED = "crossed"  # best YES bid + best NO bid > $1 at the end of a group
    OFF_GRID = "off_grid"  # a price that is not on the market's grid
    NO_SNAPSHOT = "no_snapshot"  # a delta of a market that has no book yet
    MISMATCH = "mismatch"  # a check snapshot differed from the live book
    OVERFLOW = "overflow"  # the venue dropped the subscription (error 25)
    CHANNEL = "channel"  # the venue ended the subscription (error 10, 18, unknown)
    SILENT = "silent"  # a check was not answered in time
    DISCONNECT = "disconnect"  # the connection ended
    DOWNTIME = "downtime"  # kflow itself was not running or could not write its journal


class BookDelta(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One level changed. `change` is signed: -250 takes 2.5 contracts away."""

    market: str
    sid: int
    seq: int
    side: int  # Side
    price: Price
    change: Size
    size: Size | None  # of the level afterwards; None where the book was not live, so that it is unknown
    venue_ts: str | None  # RFC 3339, as sent: equal strings are one group (design 1.5); see times.venue_us
    venue_ms: int | None


class BookSnapshot(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A whole book; levels ascend by price."""

    market: str
    market_id: str | None  # the venue's UUID
    sid: int
    seq: int
    yes: tuple[Level, ...]
    no: tuple[Level, ...]
    reason: SnapshotReason
    venue_ms: int | None


class Trade(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A public trade. `price` is the YES price; `taker` is the side the taker bought."""

    market: str
    sid: int
    seq: int | None
    trade_id: str | None
    price: Price
    size: Size
    taker: int | None  # Side
    is_block: bool | None  # None where the message does not say
    venue_ms: int | None


class Ticker(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A market's top and totals. None where the message does not say; a price of 0 or $1 is the venue's "none"."""

    market: str
    sid: int
    seq: int | None
    last: Price | None
    yes_bid: Price | None
    yes_ask: Price | None
    yes_bid_size: Size | None
    yes_ask_size: Size | None
    volume: Size | None
    open_interest: Size | None
    venue_ms: int | None


class Other(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Every frame that is none of the above: acks, errors, lifecycle, unknown types. Kept raw."""

    kind: str  # the envelope's type, or "malformed"
    market: str | None
    sid: int | None
    seq: int | None
    raw: bytes


class Gap(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Something was missing, extra or not to be trusted. `market` None means every market of the sid."""

    kind: GapKind
    sid: int | None
    market: str | None
    expected: int | None
    received: int | None
    detail: str


FeedEvent = BookDelta | BookSnapshot | Trade | Ticker | Other
