"""Scripted faults: what goes wrong on purpose, when, how often; every one counted and told to the truth log.

A script is TOML: a list of `[[fault]]` tables whose keys are the fields of `Fault`. Which part of the exchange a kind
touches: frames (FRAME_KINDS), the upgrade (UPGRADE_KINDS), commands (unanswered), signed requests (REQUEST_KINDS), the
venue itself (VENUE_KINDS).
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from kflow.clock import NS_PER_S, Clock
from kflow.errors import ConfigError, Unrepresentable
from kflow.exchange.messages import DELTA_TYPE, ORDERBOOK, SNAPSHOT_TYPE, Message
from kflow.exchange.subscriptions import Frame, Subscriptions
from kflow.exchange.truth import TruthLog
from kflow.market.grid import Grid


class Kind(StrEnum):
    """What goes wrong."""

    DROP = "drop"  # `count` frames take their seq and are not sent
    DUPLICATE = "duplicate"  # a frame is sent `count` times more
    REORDER = "reorder"  # `count` frames (2: a swap) are sent in the opposite order
    CUT = "cut"  # the connection is reset (RST), and for `seconds` handshakes get 503
    CLOSE = "close"  # the connection is closed cleanly with `code`
    BLACK_HOLE = "black_hole"  # nothing is read or written any more, the socket stays open (for `seconds`)
    SILENT = "silent"  # pings go on, nothing else does, for `seconds`; what is withheld takes its seq
    MALFORMED = "malformed"  # a frame is damaged (`variant`): it takes its seq and says nothing
    OVERSIZED = "oversized"  # a frame of `size_mib` goes before the real one
    UNKNOWN_TYPE = "unknown_type"  # a sequenced frame of a type nobody knows goes before the real one
    NEGATIVE = "negative"  # a delta that would leave less than nothing goes before the real one
    CROSSED = "crossed"  # a delta that crosses the book goes before the real one
    OFF_GRID = "off_grid"  # a delta at a price the market does not have goes before the real one
    DELTA_BEFORE_SNAPSHOT = "delta_before_snapshot"  # a first snapshot is left out and takes no seq
    ERROR = "error"  # the subscription ends with `code` 25 or 10 in place of a frame, which is lost
    UNANSWERED = "unanswered"  # a `command` is neither carried out nor answered
    REFUSE_UPGRADE = "refuse_upgrade"  # the handshake gets `status` 401, 429 or 503
    SLOW_UPGRADE = "slow_upgrade"  # the handshake is answered after `seconds`
    # Of a signed request.
    LATE_ACK = "late_ack"  # carried out; its frames go out at once, the answer after `seconds`
    FILL_FIRST = "fill_first"  # carried out; its frames go out before the answer
    LOST_ACK = "lost_ack"  # no answer: the connection ends as `variant` says
    HTTP_ERROR = "http_error"  # `status` 429, 500, 502, 503 or 504
    NO_ORDER = "no_order"  # success, and an empty object for an order
    HTML = "html"  # a page for people, with `status`
    CONTENT_TYPE = "content_type"  # carried out; the true answer is called text/html
    DEPRECATED = "deprecated"  # 410, as from the retired endpoints
    # Of the venue.
    PAUSE = "pause"  # of trading, or of the exchange (`variant`), for `seconds`
    CLOSE_EARLY = "close_early"  # a market closes now
    RETICK = "retick"  # a market has the prices of another `structure`
    OUTSIDE_ORDER = "outside_order"  # somebody else takes `count` contracts of `side` for the first user's account


UPGRADE_KINDS: Final = frozenset({Kind.REFUSE_UPGRADE, Kind.SLOW_UPGRADE})
REQUEST_KINDS: Final = frozenset(
    {
        Kind.LATE_ACK,
        Kind.FILL_FIRST,
        Kind.LOST_ACK,
        Kind.HTTP_ERROR,
        Kind.NO_ORDER,
        Kind.HTML,
        Kind.CONTENT_TYPE,
        Kind.DEPRECATED,
    }
)
VENUE_KINDS: Final = frozenset({Kind.PAUSE, Kind.CLOSE_EARLY, Kind.RETICK, Kind.OUTSIDE_ORDER})
FRAME_KINDS: Final = frozenset(Kind) - UPGRADE_KINDS - REQUEST_KINDS - VENUE_KINDS - {Kind.UNANSWERED}
# Ways in which a frame may be malformed.
VARIANTS: Final = ("bad_json", "truncated", "invalid_utf8", "wrong_types", "deep_nesting", "not_an_object")
# What `variant` and `status` may be; the first is meant where none is named.
_VARIANTS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.MALFORMED: VARIANTS,
    Kind.LOST_ACK: ("reset", "closed"),
    Kind.PAUSE: ("trading", "exchange"),
}
_STATUSES: Final[dict[Kind, tuple[int, ...]]] = {
    Kind.REFUSE_UPGRADE: (401, 429, 503),
    Kind.HTTP_ERROR: (503, 429, 500, 502, 504),
    Kind.HTML: (200, 502),
    Kind.NO_ORDER: (201, 200),
}


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fault. It counts what it could hit (deltas, upgrades, commands, requests; for the venue's own acts the orders
    that were placed) over all connections.
    """

    kind: Kind
    # When: behind this many hits of its kind, and not before this many seconds from the first connection.
    after_frames: int = 0
    at_s: float = 0.0
    # How often: again at every n-th hit from then on; `times` in all (default: once, or for ever with `every`).
    every: int | None = None
    times: int | None = None
    # Where: only on this connection, this channel, this market.
    connection: int | None = None
    channel: str = ORDERBOOK
    market: str | None = None
    # What exactly: see Kind.
    count: int | None = None
    code: int | None = None
    seconds: float | None = None
    status: int | None = None
    size_mib: float = 65.0
    variant: str | None = None
    # A socket's command; of requests the name in `trade_faults.COMMANDS`, or a pattern such as "GET /portfolio/*".
    command: str | None = None
    accepted: bool = False  # the request is carried out before its answer goes wrong
    structure: str = "deci_cent"
    side: Literal["yes", "no"] = "yes"

    def __post_init__(self) -> None:
        variants, statuses = _VARIANTS.get(self.kind), _STATUSES.get(self.kind)
        if self.variant is not None and variants is not None and self.variant not in variants:
            raise ValueError(f"variant must be one of {', '.join(variants)}")
        if self.status is not None and statuses is not None and self.status not in statuses:
            *most, last = sorted(statuses)
            raise ValueError(f"status must be {', '.join(map(str, most))} or {last}")
        if self.kind is Kind.RETICK:
            Grid.named(self.structure)
        if self.kind is Kind.ERROR and self.code not in (10, 25):
            raise ValueError("code must be 10 or 25")
        if self.after_frames < 0 or self.at_s < 0 or (self.every is not None and self.every < 1):
            raise ValueError("after_frames and at_s must not be negative, every must be positive")

    @property
    def limit(self) -> int | None:
        """How often it happens; None for ever."""
        return self.times if self.times is not None or self.every is not None else 1

    @property
    def how(self) -> str:
        """The variant that is meant."""
        return self.variant or _VARIANTS[self.kind][0]

    @property
    def answer(self) -> int:
        """The status that is meant."""
        return self.status or _STATUSES[self.kind][0]


class _Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fault: list[Fault] = []


def load_script(path: Path) -> tuple[Fault, ...]:
    """Read a fault script. Raises ConfigError with the place of the mistake."""
    try:
        script = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _Script)
    except OSError as error:
        raise ConfigError(f"cannot read the fault script {path}: {error.strerror}", hint="check --fault") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, Unrepresentable) as error:
        raise ConfigError(
            f"{path} is not a fault script: {error}", hint=f"each [[fault]] has a kind: {', '.join(Kind)}"
        ) from None
    return tuple(script.fault)


class Cut(msgspec.Struct, frozen=True):
    """Reset the connection."""


class Close(msgspec.Struct, frozen=True):
    """Close the connection cleanly."""

    code: int


class BlackHole(msgspec.Struct, frozen=True):
    """Stop reading and writing; end the socket after `seconds` (None: never)."""

    seconds: float | None


class Silence(msgspec.Struct, frozen=True):
    """Send nothing but pings."""

    seconds: float


class Oversized(msgspec.Struct, frozen=True):
    """Write a frame of this many bytes."""

    size: int


Step = Frame | bytes | Cut | Close | BlackHole | Silence | Oversized


class Link:
    """What the injector keeps for one connection."""

    def __init__(self, number: int, subscriptions: Subscriptions) -> None:
        self.number: Final = number
        self.subscriptions: Final = subscriptions
        self.held: list[Frame] = []  # of a reorder that is not complete
        self.window = 0


class _Armed:
    """A fault and what it has done so far."""

    __slots__ = ("fault", "fired", "left", "next_at", "seen")

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = self.fired = self.left = 0
        self.next_at = fault.after_frames

    def reached(self, orders: int, now_s: float) -> bool:
        """Whether so many orders, and the time, bring the venue to act."""
        if self.spent or now_s < self.fault.at_s or orders < self.next_at:
            return False
        self.fired += 1
        # Without `every` it acts again, if at all, with the next order.
        self.next_at = max(orders, self.next_at) + (self.fault.every or 1)
        return True

    @property
    def spent(self) -> bool:
        limit = self.fault.limit
        return limit is not None and self.fired >= limit and not self.left

    def hit(self, now_s: float) -> bool:
        """Count one thing it could hit; whether it does."""
        if self.spent:
            return False
        self.seen += 1
        if self.left:
            self.left -= 1
            return True
        limit = self.fault.limit
        if self.seen <= self.next_at or now_s < self.fault.at_s or (limit is not None and self.fired >= limit):
            return False
        self.fired += 1
        self.next_at = self.seen - 1 + (self.fault.every or 0)
        if self.fault.kind is Kind.DROP:
            self.left = (self.fault.count or 1) - 1
        return True


class Injector:
    """Decides what goes wrong. `injected` counts every fault that did, by kind; one drop may take many frames."""

    def __init__(self, clock: Clock, truth: TruthLog, faults: Sequence[Fault] = ()) -> None:
        self._clock, self._truth = clock, truth
        self._armed = [_Armed(fault) for fault in faults]
        self._start_ns: int | None = None
        self.injected: Counter[str] = Counter()
        self.frames_dropped = 0
        self.orders = 0  # placed so far
        self._shut_until_s = 0.0
        # Worked out anew whenever a fault fires: without frame faults the exchange writes whole batches at once.
        self.touches_frames = self._touches_requests = False
        self._refresh()

    def add(self, fault: Fault) -> None:
        """Arm one more, counting from now."""
        armed = _Armed(fault)
        if fault.kind in VENUE_KINDS:
            armed.next_at += self.orders
        self._armed.append(armed)
        self._refresh()

    def disarm(self) -> None:
        """Nothing that was armed happens any more."""
        self._armed.clear()
        self._refresh()

    def _refresh(self) -> None:
        self._armed = [armed for armed in self._armed if not armed.spent]
        armed = {armed.fault.kind for armed in self._armed}
        self.touches_frames = not armed.isdisjoint(FRAME_KINDS)
        self._touches_requests = not armed.isdisjoint(REQUEST_KINDS)

    def _now_s(self) -> float:
        if self._start_ns is None:
            self._start_ns = self._clock.mono_ns()
        return (self._clock.mono_ns() - self._start_ns) / NS_PER_S

    def upgrade(self, number: int) -> Fault | None:
        """The fault that a handshake meets."""
        if self._now_s() < self._shut_until_s:
            return Fault(kind=Kind.REFUSE_UPGRADE, status=503)  # a part of the cut
        return self._first(UPGRADE_KINDS, number, lambda _: True)

    def awaits_requests(self) -> bool:
        """Whether any fault of requests may still come. Time counts from the first request, as from a handshake."""
        self._now_s()
        return self._touches_requests

    def request(self, fits: Callable[[Fault], bool], fact: Mapping[str, object]) -> Fault | None:
        """The fault that a signed request meets, if it fits; `fact` tells the truth log which request it was."""
        return self._first(REQUEST_KINDS, 0, fits, fact)

    def acts(self) -> list[Fault]:
        """What the venue is to do now. Time counts from the first handshake or request."""
        if self._start_ns is None:
            return []
        now_s = self._now_s()
        venue = [armed for armed in self._armed if armed.fault.kind in VENUE_KINDS]
        due = [armed.fault for armed in venue if armed.reached(self.orders, now_s)]
        for fault in due:
            self._tell(fault, 0, {"market": fault.market, "orders": self.orders})
        return due

    def swallows(self, number: int, raw: bytes) -> bool:
        """Whether a command goes unanswered."""

        def names(fault: Fault) -> bool:
            return f'"{fault.command or "subscribe"}"'.encode() in raw

        return self._first(frozenset({Kind.UNANSWERED}), number, names) is not None

    def _first(
        self,
        kinds: frozenset[Kind],
        number: int,
        fits: Callable[[Fault], bool],
        fact: Mapping[str, object] = MappingProxyType({}),
    ) -> Fault | None:
        now_s = self._now_s()
        found = None
        for armed in self._armed:
            fault = armed.fault
            if fault.kind not in kinds or fault.connection not in (None, number) or not fits(fault):
                continue
            if armed.hit(now_s) and found is None:
                found = fault
        if found is not None:
            self._tell(found, number, fact)
        return found

    def _tell(self, fault: Fault, number: int, fact: Mapping[str, object], *, new: bool = True) -> None:
        if new:
            self.injected[fault.kind.value] += 1
            if fault.kind is Kind.CUT and fault.seconds:
                self._shut_until_s = self._now_s() + fault.seconds
        self._refresh()
        told = {"fault": fault.kind.value, "number": self.injected[fault.kind.value], **fact}
        self._truth.fault(number, told)

    def pick(self, link: Link, message: Message) -> tuple[Fault, bool] | None:
        """The fault that a message meets on this connection, and whether it is a new one (not a longer drop)."""
        now_s = self._now_s()
        found = None
        for armed in self._armed:
            fault = armed.fault
            kind = SNAPSHOT_TYPE if fault.kind is Kind.DELTA_BEFORE_SNAPSHOT else DELTA_TYPE
            if fault.kind not in FRAME_KINDS or (fault.channel == ORDERBOOK and message.kind != kind):
                continue
            if message.channel != fault.channel or fault.connection not in (None, link.number):
                continue
            if fault.market not in (None, message.market):
                continue
            longer = armed.left > 0
            if armed.hit(now_s) and found is None:
                found = (fault, not longer)
        return found

    def told(self, link: Link, fault: Fault, fact: dict[str, object], *, new: bool = True) -> None:
        """Count a frame fault and write it into the truth."""
        self._tell(fault, link.number, fact, new=new)

    def first_snapshots(self, link: Link, frames: list[Frame]) -> list[Frame]:
        """The answer to a command, without the first snapshots that a fault leaves out, and numbered anew."""
        kept: list[Frame] = []
        missing: Counter[int] = Counter()
        for frame in frames:
            sid = frame.sid
            if sid is not None and frame.kind == SNAPSHOT_TYPE and frame.ident is None:
                picked = self.pick(link, Message(ORDERBOOK, SNAPSHOT_TYPE, frame.market or "", ""))
                if picked is not None:
                    missing[sid] += 1
                    self.told(link, picked[0], {"sid": sid, "market": frame.market})
                    continue
            if sid is not None and frame.seq is not None:
                frame.seq -= missing[sid]
            kept.append(frame)
        for subscription in link.subscriptions.all():
            subscription.seq -= missing[subscription.sid]
        return kept
