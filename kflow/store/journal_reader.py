"""Reading a journal: whole, from an offset, behind a live writer, or what is left of a damaged one."""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from kflow.errors import JournalError
from kflow.store.journal import HEADER_SIZE, MAGIC, MAX_PAYLOAD, OVERHEAD, VERSION, RecordKind, checksum, segment_paths

_RECORD: Final = struct.Struct("<4sIIqqII")
_STAMP_AT: Final = 12  # of the stamp within a record


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record and the logical offsets where it begins and ends."""

    offset: int
    end: int
    kind: int  # RecordKind
    connection: int
    wall_ns: int
    mono_ns: int
    payload: bytes


class Damage(msgspec.Struct, frozen=True):
    """Bytes from `offset` to `end` that are no record. `torn`: at a segment's end, as a crash leaves it."""

    offset: int
    end: int
    torn: bool


class JournalReader:
    """Reads the records of one session. Damage is skipped, and told in `damage`."""

    def __init__(self, directory: Path) -> None:
        """Raises JournalError where there is no journal or it is of another version."""
        self.directory = directory
        self.damage: list[Damage] = []
        segments = segment_paths(directory)
        if not segments:
            raise JournalError(f"there is no journal in {directory}", hint="see: kflow sessions ls")
        self.session = _session_of(segments)

    def records(self, start: int = 0, end: int | None = None) -> Iterator[Record]:
        """Records from logical offset `start` up to `end`, in order.

        While a writer appends, give its offset as `end`: what lies behind it may be half written.
        """
        segments = segment_paths(self.directory)
        for index, (first, path) in enumerate(segments):
            limit = segments[index + 1][0] if index + 1 < len(segments) else None
            if limit is not None and limit <= start:
                continue
            if end is not None and first >= end:
                return
            yield from self._segment(first, path, start, limit, end)

    def segment_of(self, offset: int) -> int:
        """Logical offset of the segment that holds `offset`: a checkpoint lies at its beginning."""
        return max((first for first, _ in segment_paths(self.directory) if first <= offset), default=0)

    def size(self) -> int:
        """Logical offset behind the last byte on disk."""
        first, path = segment_paths(self.directory)[-1]
        return first + path.stat().st_size

    def _segment(self, first: int, path: Path, start: int, limit: int | None, end: int | None) -> Iterator[Record]:
        with path.open("rb") as file:
            if path.stat().st_size < HEADER_SIZE:
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                length = len(data) if limit is None else min(len(data), limit - first)
                size = length if end is None else min(length, end - first)
                if not self._is_header(data, first):
                    self.damage.append(Damage(first, first + HEADER_SIZE, torn=False))
                at = HEADER_SIZE if start <= first + HEADER_SIZE else self._boundary(data, first, start)
                yield from self._scan(data, first, at, size)
                if limit is not None and first + length < limit:
                    self.damage.append(Damage(first + length, limit, torn=False))

    def _is_header(self, data: mmap.mmap, first: int) -> bool:
        """False where a header is damaged: its records have checksums of their own, and its name says its offset."""
        try:
            return _parse_header(data[:HEADER_SIZE], self.directory) == (first, self.session)
        except _NoSegment:
            return False

    def _boundary(self, data: mmap.mmap, first: int, start: int) -> int:
        """Position of the first record at or after `start`. Offsets handed out by a writer are boundaries."""
        at = start - first
        return at if at >= len(data) or data[at : at + 4] == MAGIC else HEADER_SIZE

    def _scan(self, data: mmap.mmap, first: int, at: int, size: int) -> Iterator[Record]:
        unpack = _RECORD.unpack_from
        while at < size:
            end = at + OVERHEAD
            if end <= size:
                magic, length, crc, wall_ns, mono_ns, connection, kind = unpack(data, at)
                body, end = end, end + length
                if magic == MAGIC and length <= MAX_PAYLOAD and end <= size:
                    payload = data[body:end]
                    if checksum(data[at + _STAMP_AT : body], payload) == crc:
                        yield Record(first + at, first + end, kind, connection, wall_ns, mono_ns, payload)
                        at = end
                        continue
            at = self._skip(data, first, at, size)

    def _skip(self, data: mmap.mmap, first: int, at: int, size: int) -> int:
        """Step over damage to the next sound record, or to the end."""
        candidate = at
        while (candidate := data.find(MAGIC, candidate + 1, size)) >= 0:
            if _is_record(data, candidate):
                self.damage.append(Damage(first + at, first + candidate, torn=False))
                return candidate
        self.damage.append(Damage(first + at, first + size, torn=True))
        return size


def _is_record(data: mmap.mmap, at: int) -> bool:
    if at + OVERHEAD > len(data):
        return False
    _, length, crc, *_ = _RECORD.unpack_from(data, at)
    body = at + OVERHEAD
    if length > MAX_PAYLOAD or body + length > len(data):
        return False
    return checksum(data[at + _STAMP_AT : body], data[body : body + length]) == int(crc)


def _session_of(segments: Sequence[tuple[int, Path]]) -> UUID:
    """From the first header that can be read."""
    for _, path in segments[:-1]:
        with contextlib.suppress(_NoSegment):
            return _read_header(path)[1]
    return _read_header(segments[-1][1])[1]


class _NoSegment(JournalError):
    """A file that does not begin as a segment does."""


def _read_header(path: Path) -> tuple[int, UUID]:
    with path.open("rb") as file:
        return _parse_header(file.read(HEADER_SIZE), path)


def _parse_header(head: bytes, path: Path) -> tuple[int, UUID]:
    if len(head) < HEADER_SIZE or head[:4] != b"KFJ1":
        raise _NoSegment(f"{path} is not a journal segment", hint="restore it from a backup, or move it away")
    version, first = struct.unpack_from("<Iq", head, 4)
    if version != VERSION:
        raise JournalError(
            f"{path} has journal version {version}, this kflow reads {VERSION}", hint="read it with a newer kflow"
        )
    return first, UUID(bytes=head[16:32])


__all__ = ["Damage", "JournalReader", "Record", "RecordKind"]
