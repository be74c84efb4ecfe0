"""The journal: every frame a session received, on disk before anything else is done with it.

A session's journal is a directory of append-only segments named by the logical offset of their first byte (20 digits):
the offsets of a session run on over its segments. A segment is a header, then records:

    magic 4 B "KFR1" | length u32 | crc32c u32 | wall_ns i64 | mono_ns i64 | connection u32 | kind u32 | payload

`length` counts the payload, the checksum covers everything after itself; integers are little-endian. Each segment can
be read without those before it: the owner is asked for a checkpoint when one begins.

What `append` returned from survives the process; what `sync` returned from survives the machine.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Final
from uuid import UUID

import google_crc32c

from kflow.errors import InstanceLocked, JournalError

MAGIC: Final = b"KFR1"
_PREFIX: Final = struct.Struct("<4sII")  # magic, length, crc
_STAMP: Final = struct.Struct("<qqII")  # wall_ns, mono_ns, connection, kind
OVERHEAD: Final = _PREFIX.size + _STAMP.size

_HEADER_MAGIC: Final = b"KFJ1"
_HEADER: Final = struct.Struct("<4sIq16s")  # magic, version, logical offset of this segment, session uuid
HEADER_SIZE: Final = _HEADER.size
VERSION: Final = 1
SUFFIX: Final = ".kfj"

# A payload is one frame (64 MiB at most, protocol section 3.1) or one checkpoint; a larger length is damage.
MAX_PAYLOAD: Final = 256 * 2**20
DEFAULT_SEGMENT_BYTES: Final = 64 * 2**20


class RecordKind(IntEnum):
    """What a record's payload is."""

    FRAME = 1  # a frame as the venue sent it (in a truth log: as the exchange wrote it)
    CONNECTED = 2  # JSON: {"url", "use_yes_price"}
    DISCONNECTED = 3  # JSON: {"reason"}
    COMMAND = 4  # a command as we sent it
    GAP = 5  # JSON: a gap that no frame shows (downtime, oversized frame, journal failure)
    CHECKPOINT = 6  # state of every connection's protocol: reading may start here
    FAULT = 7  # in a truth log: JSON of an injected fault
    MARKETS = 8  # JSON: what REST said of the session's markets
    TRADING = 9  # in a truth log: JSON of an order command that was carried out, of a fill, or of an order as it stands


def checksum(stamp: bytes, payload: bytes) -> int:
    """CRC-32C of a record's stamp and payload."""
    return int(google_crc32c.extend(google_crc32c.value(stamp), payload))


def segment_paths(directory: Path) -> list[tuple[int, Path]]:
    """(logical offset, path) of every segment, in order."""
    found = [(int(p.stem), p) for p in directory.glob(f"*{SUFFIX}") if p.stem.isdigit()]
    return sorted(found)


class JournalWriter:
    """Appends to one session's journal. One thread appends; `sync` may run in another."""

    def __init__(
        self,
        directory: Path,
        session: UUID,
        *,
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
        checkpoint: Callable[[], bytes] | None = None,
        at_least: int = 0,
    ) -> None:
        """Start a journal, or a new segment of one that is there, at logical offset `at_least` or behind what is there.

        Raises JournalError if it cannot be written.
        """
        self.directory, self.session = directory, session
        self._segment_bytes = segment_bytes
        self._checkpoint = checkpoint
        # Logical offset behind the last byte that the kernel has accepted.
        self.offset = 0
        self._segment_start = 0
        self._segment_limit = segment_bytes
        self._fd = -1
        # Guards the descriptors against the syncing thread; appending to an open segment needs it not.
        self._swap = threading.Lock()
        # Full segments that the syncing thread has yet to sync and close.
        self._retired: list[int] = []
        # Why nothing more may be written to this segment; set by whichever thread found out.
        self._failure: JournalError | None = None
        # A sync failed: what the kernel says of the open segment can no longer be trusted.
        self._distrusted = False
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(directory.parent)
            self.offset = max(at_least, _end_of(directory))
            self._open_segment(b"")
        except OSError as error:
            raise _unwritable(directory, error) from error

    def append_frames(self, connection: int, wall_ns: int, mono_ns: int, frames: Sequence[bytes]) -> int:
        """Append one record per frame with a single write. Returns the logical offset behind the last.

        Raises JournalError when the bytes cannot be written; then none of them count as appended.
        """
        stamp = _STAMP.pack(wall_ns, mono_ns, connection, RecordKind.FRAME)
        stamp_crc = google_crc32c.value(stamp)
        extend, prefix = google_crc32c.extend, _PREFIX.pack
        parts = []
        for frame in frames:
            parts.append(prefix(MAGIC, len(frame), extend(stamp_crc, frame)))
            parts.append(stamp)
            parts.append(frame)
        return self._write(b"".join(parts), wall_ns, mono_ns)

    def append_record(self, kind: RecordKind, connection: int, wall_ns: int, mono_ns: int, payload: bytes) -> int:
        """Append one record of any kind. Returns the logical offset behind it. Raises JournalError."""
        return self._write(_record(kind, connection, wall_ns, mono_ns, payload), wall_ns, mono_ns)

    def _write(self, data: bytes, wall_ns: int, mono_ns: int) -> int:
        if self._failure is not None:
            raise self._failure
        try:
            if self.offset - self._segment_start + len(data) > self._segment_limit:
                self._next_segment(wall_ns, mono_ns)
            _write_all(self._fd, self.offset - self._segment_start, data)
        except OSError as error:
            self._failure = _unwritable(self.directory, error)
            raise self._failure from error
        self.offset += len(data)
        return self.offset

    def _next_segment(self, wall_ns: int, mono_ns: int) -> None:
        state = b""
        if self._checkpoint is not None:
            state = _record(RecordKind.CHECKPOINT, 0, wall_ns, mono_ns, self._checkpoint())
        with self._swap:
            if self._fd >= 0:
                self._retired.append(self._fd)
                self._fd = -1
            self._open_segment(state)
        # A checkpoint of very many books must not become the larger part of the journal.
        self._segment_limit = max(self._segment_bytes, 8 * len(state))

    def _open_segment(self, state: bytes) -> None:
        """Begin a segment with its header and a checkpoint, or leave no trace of it: the next try takes its name."""
        start = self.offset
        path = self.directory / f"{start:020d}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        beginning = _HEADER.pack(_HEADER_MAGIC, VERSION, start, self.session.bytes) + state
        try:
            _write_all(fd, 0, beginning)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        self._fd, self._segment_start = fd, start
        self.offset = start + len(beginning)

    def abandon_segment(self, wall_ns: int, mono_ns: int) -> None:
        """Go on in a new segment after a failure: what the kernel says of the old one can no longer be trusted.

        Raises JournalError while that cannot be written either.
        """
        try:
            if self._distrusted:
                with self._swap:
                    fd, self._fd = self._fd, -1
                    if fd >= 0:
                        os.close(fd)
            self._next_segment(wall_ns, mono_ns)
        except OSError as error:
            raise _unwritable(self.directory, error) from error
        self._failure, self._distrusted = None, False

    def sync(self) -> int:
        """Force everything appended so far to the disk. Returns the offset that is safe. Raises JournalError.

        After a failure the pages may be gone though a second call would succeed: never retry, `abandon_segment`.
        """
        if self._failure is not None and self._distrusted:
            raise self._failure
        with self._swap:
            offset = self.offset
            descriptors, self._retired = self._retired, []
            try:
                if self._fd >= 0:
                    descriptors.append(os.dup(self._fd))
                # New names must survive a power cut as well as what is in the files.
                descriptors.append(os.open(self.directory, os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                self._distrust(error)
        for fd in descriptors:
            try:
                os.fsync(fd)
            except OSError as error:
                self._distrust(error)
            finally:
                os.close(fd)
        if self._failure is not None and self._distrusted:
            raise self._failure
        return offset

    def _distrust(self, error: OSError) -> None:
        self._failure, self._distrusted = _unwritable(self.directory, error), True

    def close(self) -> None:
        """Sync and close. Raises JournalError where the last bytes may not be on the disk."""
        descriptors = [self._fd] if self._fd >= 0 else []
        try:
            if descriptors or self._retired:
                self.sync()
        finally:
            for fd in descriptors + self._retired:
                os.close(fd)
            self._fd, self._retired = -1, []


class DirectoryLock:
    """The right to write a session's journal. The kernel frees it when the process dies, however it dies."""

    def __init__(self, directory: Path) -> None:
        """Take the lock. Raises InstanceLocked when another process holds it."""
        import fcntl

        self._fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise InstanceLocked(
                f"another process is writing {directory}", hint="wait for it to end, or record under another session"
            ) from None

    def release(self) -> None:
        os.close(self._fd)


def _write_all(fd: int, start: int, data: bytes) -> None:
    """Write at `start`, or leave the file as it was: half a record must never lie before a whole one."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        os.ftruncate(fd, start)
        os.lseek(fd, start, os.SEEK_SET)
        raise


def _end_of(directory: Path) -> int:
    """Logical offset behind what is there, torn or not. A segment that had not even its header is removed: whoever
    began it was killed over it, and its name is wanted.
    """
    existing = segment_paths(directory)
    while existing:
        first, path = existing.pop()
        size = path.stat().st_size
        if size >= HEADER_SIZE:
            return first + size
        path.unlink()
    return 0


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _record(kind: RecordKind, connection: int, wall_ns: int, mono_ns: int, payload: bytes) -> bytes:
    stamp = _STAMP.pack(wall_ns, mono_ns, connection, kind)
    return _PREFIX.pack(MAGIC, len(payload), checksum(stamp, payload)) + stamp + payload


def _unwritable(directory: Path, error: OSError) -> JournalError:
    return JournalError(
        f"cannot write the journal in {directory}: {error.strerror}",
        hint="free disk space, or give another folder with KFLOW_DATA_DIR",
    )
