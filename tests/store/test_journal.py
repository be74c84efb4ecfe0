"""A journal gives back what was appended, or says where it cannot."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.errors import InstanceLocked, JournalError
from kflow.store import journal as module
from kflow.store.journal import HEADER_SIZE, OVERHEAD, DirectoryLock, JournalWriter, RecordKind, segment_paths
from kflow.store.journal_reader import JournalReader, Record

SESSION = UUID(int=7)
# Removed with the process.
ROOT = tempfile.TemporaryDirectory(prefix="kflow-journals-")


def fresh() -> Path:
    """A new folder for each example of a property."""
    return Path(tempfile.mkdtemp(dir=ROOT.name))


def written(directory: Path, frames: list[bytes], *, segment_bytes: int = 2**26) -> JournalWriter:
    journal = JournalWriter(directory, SESSION, segment_bytes=segment_bytes, checkpoint=lambda: b"state")
    for n, frame in enumerate(frames):
        journal.append_frames(1 + n // 10, n, n * 2, [frame])
    return journal


def frames_of(directory: Path, start: int = 0, end: int | None = None) -> list[bytes]:
    return [r.payload for r in JournalReader(directory).records(start, end) if r.kind == RecordKind.FRAME]


def only_segment(directory: Path) -> Path:
    [(_, path)] = segment_paths(directory)
    return path


def numbered(count: int) -> list[bytes]:
    return [b'{"seq":%d}' % n * (1 + n % 5) for n in range(count)]


def test_records_come_back_with_their_stamps(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path, SESSION)
    end = journal.append_frames(3, 10, 20, [b"one", b"", b"three"])
    assert journal.append_record(RecordKind.GAP, 4, 30, 40, b"{}") == journal.offset
    journal.close()
    records = list(JournalReader(tmp_path).records())
    assert [(r.kind, r.connection, r.wall_ns, r.mono_ns, r.payload) for r in records] == [
        (RecordKind.FRAME, 3, 10, 20, b"one"),
        (RecordKind.FRAME, 3, 10, 20, b""),
        (RecordKind.FRAME, 3, 10, 20, b"three"),
        (RecordKind.GAP, 4, 30, 40, b"{}"),
    ]
    assert records[0].offset == HEADER_SIZE
    assert [r.end for r in records] == [r.offset for r in records[1:]] + [JournalReader(tmp_path).size()]
    assert records[2].end == end
    assert JournalReader(tmp_path).session == SESSION


def test_what_was_appended_is_with_the_kernel(tmp_path: Path) -> None:
    """A process that is killed loses nothing that `append` returned from: nothing waits in a buffer of ours."""
    journal = written(tmp_path, [b"frame"])
    assert frames_of(tmp_path) == [b"frame"]
    assert only_segment(tmp_path).stat().st_mode & 0o777 == 0o600
    journal.close()


def test_segments_hold_any_number_of_frames(tmp_path: Path) -> None:
    frames = numbered(500)
    journal = written(tmp_path, frames, segment_bytes=2000)
    assert len(segment_paths(tmp_path)) > 10
    assert frames_of(tmp_path) == frames
    assert journal.offset == JournalReader(tmp_path).size()
    journal.close()
    for first, _ in segment_paths(tmp_path)[1:]:
        [record] = list(JournalReader(tmp_path).records(first, first + 100))[:1]
        assert (record.kind, record.payload) == (RecordKind.CHECKPOINT, b"state")


def test_reading_starts_and_ends_at_any_record(tmp_path: Path) -> None:
    journal = written(tmp_path, numbered(60), segment_bytes=1500)
    journal.close()
    reader = JournalReader(tmp_path)
    records = list(reader.records())
    for n in range(0, len(records), 7):
        assert list(reader.records(records[n].offset)) == records[n:]
        assert list(reader.records(0, records[n].end)) == records[: n + 1]
        assert reader.segment_of(records[n].offset) <= records[n].offset
    assert reader.damage == []


def test_a_journal_is_read_while_it_is_written(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path, SESSION, segment_bytes=20_000)
    done = threading.Event()

    def write() -> None:
        for n in range(3000):
            journal.append_frames(1, n, n, [b"%d" % n] * 3)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        end = journal.offset
        frames = frames_of(tmp_path, 0, end)
        assert frames == [b"%d" % (n // 3) for n in range(len(frames))]
        journal.sync()
    writer.join()
    assert len(frames_of(tmp_path)) == 9000
    journal.close()


# --- damage


def is_prefix(found: list[Record], whole: list[Record]) -> bool:
    return found == whole[: len(found)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=12), st.data())
def test_any_truncation_gives_a_clean_prefix(frames: list[bytes], data: st.DataObject) -> None:
    directory = fresh()
    written(directory, frames).close()
    whole = list(JournalReader(directory).records())
    path = only_segment(directory)
    size = data.draw(st.integers(HEADER_SIZE, path.stat().st_size))
    os.truncate(path, size)
    reader = JournalReader(directory)
    found = list(reader.records())
    assert is_prefix(found, whole)
    end = found[-1].end if found else HEADER_SIZE
    assert [(d.offset, d.end, d.torn) for d in reader.damage] == ([(end, size, True)] if end < size else [])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=2, max_size=8), st.data())
def test_any_flipped_bit_costs_its_record_and_is_told(frames: list[bytes], data: st.DataObject) -> None:
    directory = fresh()
    written(directory, frames).close()
    whole = list(JournalReader(directory).records())
    path = only_segment(directory)
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(HEADER_SIZE * 8, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    reader = JournalReader(directory)
    found = list(reader.records())
    hit = next(n for n, record in enumerate(whole) if record.offset <= bit // 8 < record.end)
    assert found == whole[:hit] + whole[hit + 1 :]
    [damage] = reader.damage
    assert (damage.offset, damage.end) == (whole[hit].offset, whole[hit].end)
    assert damage.torn is (hit == len(whole) - 1)


@pytest.mark.parametrize("at", [0, 8, 20])
def test_a_damaged_header_costs_no_record(tmp_path: Path, at: int) -> None:
    frames = numbered(100)
    written(tmp_path, frames, segment_bytes=1500).close()
    _, path = segment_paths(tmp_path)[2]
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    reader = JournalReader(tmp_path)
    assert [r.payload for r in reader.records() if r.kind == RecordKind.FRAME] == frames
    assert [d.end - d.offset for d in reader.damage] == [HEADER_SIZE]


def test_a_missing_segment_is_told(tmp_path: Path) -> None:
    frames = numbered(100)
    written(tmp_path, frames, segment_bytes=1500).close()
    segments = segment_paths(tmp_path)
    segments[1][1].unlink()
    reader = JournalReader(tmp_path)
    found = [r.payload for r in reader.records() if r.kind == RecordKind.FRAME]
    assert [f for f in frames if f in set(found)] == found
    assert len(found) < 100
    assert [(d.offset, d.end, d.torn) for d in reader.damage] == [(segments[1][0], segments[2][0], False)]


def test_a_writer_goes_on_behind_a_torn_end(tmp_path: Path) -> None:
    written(tmp_path, [b"first", b"second"]).close()
    path = only_segment(tmp_path)
    os.truncate(path, path.stat().st_size - 3)
    journal = JournalWriter(tmp_path, SESSION)
    journal.append_frames(2, 0, 0, [b"third"])
    journal.close()
    reader = JournalReader(tmp_path)
    assert [r.payload for r in reader.records()] == [b"first", b"third"]
    assert [d.torn for d in reader.damage] == [True]


@pytest.mark.parametrize("size", [0, 1, HEADER_SIZE - 1])
def test_a_writer_takes_the_name_of_a_segment_that_never_began(tmp_path: Path, size: int) -> None:
    """As a process leaves it that is killed between making the file and writing its header."""
    journal = written(tmp_path, [b"first"])
    end = journal.offset
    journal.close()
    (tmp_path / f"{end:020d}.kfj").write_bytes(b"K" * size)
    assert frames_of(tmp_path) == [b"first"]
    written(tmp_path, [b"second"]).close()
    assert frames_of(tmp_path) == [b"first", b"second"]


def test_a_writer_can_be_told_to_leave_a_hole(tmp_path: Path) -> None:
    written(tmp_path, [b"first"]).close()
    end = JournalReader(tmp_path).size()
    journal = JournalWriter(tmp_path, SESSION, at_least=end + 1000)
    journal.append_frames(1, 0, 0, [b"second"])
    journal.close()
    reader = JournalReader(tmp_path)
    assert [record.payload for record in reader.records()] == [b"first", b"second"]
    assert [(d.offset, d.end, d.torn) for d in reader.damage] == [(end, end + 1000, False)]
    assert frames_of(tmp_path, end + 1000) == [b"second"]


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no journal"):
        JournalReader(tmp_path)
    written(tmp_path, [b"x"]).close()
    path = only_segment(tmp_path)
    content = bytearray(path.read_bytes())
    content[4] = 9
    path.write_bytes(content)
    with pytest.raises(JournalError, match="version 9"):
        JournalReader(tmp_path)
    path.write_bytes(b"hello")
    with pytest.raises(JournalError, match="not a journal segment"):
        JournalReader(tmp_path)


# --- a disk that fails


class Disk:
    """Fails calls on request: `write` after so many more bytes, `fsync` outright."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.fsync_fails = False
        self.write, self.fsync = os.write, os.fsync

    def patched_write(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return self.write(fd, data)
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = self.write(fd, data[: self.room])
        self.room -= count
        return count

    def patched_fsync(self, fd: int) -> None:
        if self.fsync_fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.fsync(fd)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(module.os, "write", disk.patched_write)
    monkeypatch.setattr(module.os, "fsync", disk.patched_fsync)
    return disk


@pytest.mark.parametrize("room", [0, 1, OVERHEAD, OVERHEAD + 5, 2 * OVERHEAD])
def test_half_an_append_is_none(tmp_path: Path, disk: Disk, room: int) -> None:
    journal = JournalWriter(tmp_path, SESSION)
    journal.append_frames(1, 0, 0, [b"before"])
    offset, disk.room = journal.offset, room
    with pytest.raises(JournalError, match="No space left"):
        journal.append_frames(1, 0, 0, [b"lost" * 5, b"lost too"])
    assert journal.offset == offset
    assert frames_of(tmp_path) == [b"before"]
    disk.room = None
    with pytest.raises(JournalError):
        journal.append_record(RecordKind.DISCONNECTED, 1, 0, 0, b"nothing more comes in here")
    journal.abandon_segment(0, 0)
    journal.append_frames(2, 0, 0, [b"behind"])
    journal.close()
    assert frames_of(tmp_path) == [b"before", b"behind"]


@pytest.mark.parametrize("room", [0, 10, HEADER_SIZE, HEADER_SIZE + 10])
def test_a_segment_that_cannot_begin_takes_nothing(tmp_path: Path, disk: Disk, room: int) -> None:
    """What would be written into it would be gone with it, and count as received."""
    journal = written(tmp_path, [b"x" * 900], segment_bytes=1000)
    disk.room = room
    for _ in range(3):
        with pytest.raises(JournalError):
            journal.append_frames(1, 0, 0, [b"y" * 900])
        with pytest.raises(JournalError):
            journal.abandon_segment(0, 0)
    assert len(segment_paths(tmp_path)) == 1
    disk.room = None
    journal.abandon_segment(0, 0)
    journal.append_frames(1, 0, 0, [b"z"])
    assert journal.sync() == journal.offset
    journal.close()
    assert frames_of(tmp_path) == [b"x" * 900, b"z"]


def test_after_a_failed_sync_nothing_goes_into_that_segment(tmp_path: Path, disk: Disk) -> None:
    """The kernel may have dropped the pages and say that all is well the next time."""
    journal = written(tmp_path, [b"doubtful"])
    disk.fsync_fails = True
    with pytest.raises(JournalError, match="Input/output error"):
        journal.sync()
    disk.fsync_fails = False
    with pytest.raises(JournalError):
        journal.sync()
    with pytest.raises(JournalError):
        journal.append_frames(1, 0, 0, [b"refused"])
    journal.abandon_segment(0, 0)
    journal.append_frames(1, 0, 0, [b"fresh"])
    assert journal.sync() == journal.offset
    journal.close()
    assert len(segment_paths(tmp_path)) == 2
    assert frames_of(tmp_path) == [b"doubtful", b"fresh"]


def test_no_descriptor_is_left_open(tmp_path: Path, disk: Disk) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(5):
        journal = written(tmp_path / str(number), numbered(50), segment_bytes=500)
        if number % 2:
            disk.fsync_fails = True
            with pytest.raises(JournalError):
                journal.sync()
            journal.abandon_segment(0, 0)
            disk.fsync_fails = False
            journal.append_frames(1, 0, 0, [b"more"] * 300)
        journal.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(JournalError, match="cannot write the journal"):
        JournalWriter(tmp_path / "file" / "journal", SESSION)


def test_only_one_process_writes_a_journal(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(InstanceLocked):
        DirectoryLock(tmp_path)
    lock.release()
    DirectoryLock(tmp_path).release()
