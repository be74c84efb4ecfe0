"""Scripted faults: what goes wrong on purpose, when, how often; every one counted and told to the truth log.

A script is TOML: a list of `[[fault]]` tables whose keys are the fields of `Fault`. Which part of the exchange a kind
touches: frames (FRAME_KINDS), the upgrade (UPGRADE_KINDS), commands (unanswered).
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from kflow.clock import NS_PER_S, Clock
from kflow.errors import ConfigError
from kflow.exchange.messages import DELTA_TYPE, ORDERBOOK, SNAPSHOT_TYPE, Message
from kflow.exchange.subscriptions import Frame, Subscriptions
from kflow.exchange.truth import TruthLog


class Kind(StrEnum):
    """What goes wrong."""

    DROP = "drop"  # `count` frames take their seq and are not sent
    DUPLICATE = "duplicate"  # a frame is sent `count` times more
    REORDER = "reorder"  # `count` frames (2: a swap) are sent in the opposite order
    CUT = "cut"  # the connection is reset (RST)
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


UPGRADE_KINDS: Final = frozenset({Kind.REFUSE_UPGRADE, Kind.SLOW_UPGRADE})
FRAME_KINDS: Final = frozenset(Kind) - UPGRADE_KINDS - {Kind.UNANSWERED}
VARIANTS: Final = ("bad_json", "truncated", "invalid_utf8", "wrong_types", "deep_nesting", "not_an_object")


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fault. It counts what it could hit (deltas, or upgrades, or commands) over all connections."""

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
    status: int = 401
    size_mib: float = 65.0
    variant: str = "bad_json"
    command: str = "subscribe"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}")
        if self.kind is Kind.REFUSE_UPGRADE and self.status not in (401, 429, 503):
            raise ValueError("status must be 401, 429 or 503")
        if self.kind is Kind.ERROR and self.code not in (10, 25):
            raise ValueError("code must be 10 or 25")
        if self.after_frames < 0 or self.at_s < 0 or (self.every is not None and self.every < 1):
            raise ValueError("after_frames and at_s must not be negative, every must be positive")

    @property
    def limit(self) -> int | None:
        """How often it happens; None for ever."""
        return self.times if self.times is not None or self.every is not None else 1


class _Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fault: list[Fault] = []


def load_script(path: Path) -> tuple[Fault, ...]:
    """Read a fault script. Raises ConfigError with the place of the mistake."""
    try:
        script = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _Script)
    except OSError as error:
        raise ConfigError(f"cannot read the fault script {path}: {error.strerror}", hint="check --fault") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
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
        # Worked out anew whenever a fault fires: without frame faults the exchange writes whole batches at once.
        self.touches_frames = False
        self._refresh()

    def add(self, fault: Fault) -> None:
        """Arm one more, counting from now."""
        self._armed.append(_Armed(fault))
        self._refresh()

    def _refresh(self) -> None:
        self.touches_frames = any(armed.fault.kind in FRAME_KINDS and not armed.spent for armed in self._armed)

    def _now_s(self) -> float:
        if self._start_ns is None:
            self._start_ns = self._clock.mono_ns()
        return (self._clock.mono_ns() - self._start_ns) / NS_PER_S

    def upgrade(self, number: int) -> Fault | None:
        """The fault that a handshake meets."""
        return self._first(UPGRADE_KINDS, number, lambda _: True)

    def swallows(self, number: int, raw: bytes) -> bool:
        """Whether a command goes unanswered."""

        def names(fault: Fault) -> bool:
            return f'"{fault.command}"'.encode() in raw

        return self._first(frozenset({Kind.UNANSWERED}), number, names) is not None

    def _first(self, kinds: frozenset[Kind], number: int, fits: object) -> Fault | None:
        now_s = self._now_s()
        found = None
        for armed in self._armed:
            fault = armed.fault
            if fault.kind not in kinds or fault.connection not in (None, number) or not fits(fault):  # type: ignore[operator]
                continue
            if armed.hit(now_s) and found is None:
                found = fault
        if found is not None:
            self._tell(found, number, {})
        return found

    def _tell(self, fault: Fault, number: int, fact: dict[str, object], *, new: bool = True) -> None:
        if new:
            self.injected[fault.kind.value] += 1
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
