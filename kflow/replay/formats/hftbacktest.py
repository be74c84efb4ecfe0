"""hftbacktest: an npz whose array `data` holds its events, level by level, of the YES book.

A NO bid at p is an ask at $1 - p. px in dollars, qty in contracts; depth events carry a level's new size, 0: gone. A
snapshot is a clear of each side, then its levels. Where the book stops being known it is cleared too, with ival 1. A
trade that changed a level is two rows: EXCH before that change, LOCAL where it was told. Times in nanoseconds; exch_ts
is the venue's, made to rise; local_ts that of receipt, shifted by one constant where the clocks were so far apart that
frames would arrive before they were sent (`local_shift_ns` in the manifest).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from kflow.market.events import BookSnapshot, Trade
from kflow.replay.formats import Target
from kflow.replay.formats.levels import Change, Clock, LevelDigest, LevelFollower, breaks
from kflow.replay.load import Moment
from kflow.units import DOLLAR

DEPTH, TRADE, CLEAR, SNAPSHOT = 1, 2, 3, 4
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
_BOTH: Final = EXCH | LOCAL
GAP: Final = 1  # ival of a clear that marks a gap

EVENT: Final = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ],
    align=True,
)
_MS_NS: Final = 1_000_000  # of trades the venue tells the millisecond
_BATCH: Final = 20_000
_COPY: Final = 64 * 20_000  # bytes
_ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)

Event = tuple[int, int, int, float, float, int, int, float]


class Writer:
    """Writes <market>.npz. Events wait in a file, since their number stands before them."""

    def __init__(self, target: Target) -> None:
        self._path = target.directory / f"{target.stem}.npz"
        self._raw = target.directory / f".{target.stem}.events"
        self._file = self._raw.open("wb")
        self._follower = LevelFollower()
        self._clock = Clock(target.began_us)
        self._events: list[Event] = []
        self._count = 0
        self._local_ns = 0
        # How far the receipt lies behind the venue's time where it lies least far.
        self._least_ns: int | None = None

    def write(self, moment: Moment) -> None:
        exch_ns = self._clock.at(moment) * 1000
        self._local_ns = max(self._local_ns, moment.recv_ns)
        event = moment.event
        if breaks(moment):
            if self._follower.known:
                self._clear(exch_ns, GAP)
            self._follower.changes(moment)
            return
        if type(event) is Trade:
            self._trade(event, exch_ns)
            return
        changes = self._follower.changes(moment)
        if type(event) is not BookSnapshot:
            for change in changes:
                self._level(DEPTH, exch_ns, change)
            return
        self._clear(exch_ns, 0)
        for side, levels in enumerate((event.yes, event.no)):
            for price, size in sorted(levels):
                self._level(SNAPSHOT, exch_ns, Change(side, price, size))

    def _trade(self, trade: Trade, exch_ns: int) -> None:
        """The venue tells of a trade after the sizes that it changed; hftbacktest's queues want it before.

        So its exchange sees it before the first change of its level in the same millisecond, and we when it came.
        """
        side = 0 if trade.taker is None else SELL if trade.taker else BUY
        kind, px, qty = TRADE | side, trade.price / DOLLAR, trade.size / 100
        level = (DEPTH | _BOTH | (BUY if trade.taker else SELL), px)
        at = first = len(self._events)
        while trade.taker is not None and at and self._events[at - 1][1] // _MS_NS == exch_ns // _MS_NS:
            at -= 1
            if self._events[at][0] & 0xFF not in (DEPTH, TRADE):
                break
            if (self._events[at][0], self._events[at][3]) == level:
                first = at
        if first == len(self._events):
            self._add(kind, exch_ns, px, qty)
            return
        seen = (exch_ns, self._local_ns, px, qty, 0, 0, 0.0)
        made_ns, told_ns = self._events[first][1:3]
        self._events.append((kind | LOCAL, *seen))
        self._events.insert(first, (kind | EXCH, made_ns, told_ns, px, qty, 0, 0, 0.0))

    def _clear(self, exch_ns: int, why: int) -> None:
        self._add(CLEAR | BUY, exch_ns, 0.0, 0.0, why)
        self._add(CLEAR | SELL, exch_ns, 1.0, 0.0, why)

    def _level(self, kind: int, exch_ns: int, change: Change) -> None:
        side, price, size = change
        shown = DOLLAR - price if side else price
        self._add(kind | (SELL if side else BUY), exch_ns, shown / DOLLAR, size / 100)

    def _add(self, kind: int, exch_ns: int, px: float, qty: float, ival: int = 0) -> None:
        behind = self._local_ns - exch_ns
        self._least_ns = behind if self._least_ns is None else min(self._least_ns, behind)
        self._events.append((kind | _BOTH, exch_ns, self._local_ns, px, qty, 0, ival, 0.0))
        if len(self._events) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        np.array(self._events, EVENT).tofile(self._file)
        self._count += len(self._events)
        self._events.clear()

    def close(self, facts: dict[str, Any]) -> None:
        self._flush()
        self._file.close()
        shift = facts["local_shift_ns"] = max(0, -(self._least_ns or 0))
        # The time in the archive is fixed: the same events make the same bytes.
        entry = zipfile.ZipInfo("data.npy", _ZIP_EPOCH)
        entry.compress_type = zipfile.ZIP_DEFLATED
        with (
            zipfile.ZipFile(self._path, "w") as archive,
            archive.open(entry, "w", force_zip64=True) as data,
            self._raw.open("rb") as raw,
        ):
            header = {"descr": npy.dtype_to_descr(EVENT), "fortran_order": False, "shape": (self._count,)}
            npy.write_array_header_1_0(data, header)
            while chunk := raw.read(_COPY):
                events = np.frombuffer(chunk, EVENT).copy()
                events["local_ts"] += shift
                data.write(events.tobytes())
        self._raw.unlink()


def read_events(paths: Iterable[Path]) -> Iterator[NDArray[np.void]]:
    """The arrays of the files."""
    for path in paths:
        if path.suffix == ".npz":
            with np.load(path) as archive:
                yield archive["data"]


def read_levels(paths: Iterable[Path]) -> LevelDigest:
    """The level changes that the events tell."""
    digest = LevelDigest()
    pending: tuple[dict[int, int], dict[int, int]] | None = None
    for events in read_events(paths):
        for ev, _, _, px, qty, _, ival, _ in events.tolist():
            kind, side = ev & 0xFF, 1 if ev & SELL else 0
            if pending is not None and kind in (DEPTH, TRADE, CLEAR) and not (kind == CLEAR and side):
                digest.replace(pending[0].items(), pending[1].items())
                pending = None
            if kind == CLEAR and ival != GAP and not side:
                pending = ({}, {})
            elif kind in (DEPTH, SNAPSHOT):
                shown, size = round(px * DOLLAR), round(qty * 100)
                price = DOLLAR - shown if side else shown
                if kind == DEPTH:
                    digest.change(side, price, size)
                elif pending is not None:
                    pending[side][price] = size
    if pending is not None:
        digest.replace(pending[0].items(), pending[1].items())
    return digest
