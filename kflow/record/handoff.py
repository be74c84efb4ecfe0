"""The bounded handoff from the recorder to the writer. What does not fit is not lost: it lies in the journal, and the
writer reads it there."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kflow.session.chunks import Chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """When the writer takes what is waiting: at `rows`, or when the oldest is `age_s` old; never more than `most`."""

    rows: int = 100
    age_s: float = 1.0
    most: int = 10_000

    def __post_init__(self) -> None:
        if self.rows < 1 or self.age_s <= 0 or self.most < self.rows:
            raise ValueError(f"batch limits must be positive, and most at least rows: {self}")


# A row's share of memory: rows that come with more count for several.
BYTES_PER_ROW: Final = 1024


class Handoff:
    """Chunks on their way to the writer, in order. `put` never blocks and never refuses."""

    def __init__(self, capacity_rows: int, limits: BatchLimits) -> None:
        self._capacity, self._limits = capacity_rows, limits
        self._chunks: deque[Chunk] = deque()
        self._rows = self._bytes = 0
        # Chunks are complete from this journal offset on; None: some did not fit, the journal must be read.
        self._complete_from: int | None = 0
        self._changed = threading.Condition()
        self._closed = False
        # Journal offset of a checkpoint that was made when the capacity was last exceeded; None before.
        self.checkpoint: int | None = None
        # How often the capacity was exceeded, and how many messages were ever put.
        self.overflows = 0
        self.messages = 0

    def put(self, chunk: Chunk) -> bool:
        """Take a chunk. True when it was the last that fits: what follows must be read from the journal, and a
        checkpoint behind this chunk would make that cheap.
        """
        with self._changed:
            self.messages += len(chunk.events)
            if self._complete_from is None:
                return False
            self._chunks.append(chunk)
            self._rows += len(chunk.events) + 1
            self._bytes += chunk.end - chunk.start
            full = self._rows > self._capacity or self._bytes > self._capacity * BYTES_PER_ROW
            if full:
                self._complete_from = None
                self.overflows += 1
            if self._rows >= self._limits.rows or len(self._chunks) == 1 or full:
                self._changed.notify()
            return full

    def take(self) -> list[Chunk]:
        """Wait for a batch. Empty when closed, or when the journal must be read instead."""
        limits = self._limits
        with self._changed:
            due: float | None = None
            while not self._closed and (self._complete_from is not None or self._chunks):
                if self._chunks and due is None:
                    due = time.monotonic() + limits.age_s
                if self._rows >= limits.rows and self._chunks:
                    break
                timeout = None if due is None else due - time.monotonic()
                if timeout is not None and timeout <= 0:
                    break
                self._changed.wait(timeout)
            return self._take_up_to(limits.most)

    def _take_up_to(self, most: int) -> list[Chunk]:
        taken: list[Chunk] = []
        rows = 0
        while self._chunks and rows < most:
            chunk = self._chunks.popleft()
            rows += len(chunk.events) + 1
            self._bytes -= chunk.end - chunk.start
            taken.append(chunk)
        self._rows -= rows
        if taken and self._complete_from is not None:
            self._complete_from = taken[-1].end  # those before it are in the hands of whoever took them
        return taken

    def complete_from(self, offset: int) -> bool:
        """True when every chunk behind `offset` is here or still to come."""
        with self._changed:
            return self._complete_from is not None and self._complete_from <= offset

    def restart(self, journal_offset: Callable[[], int]) -> int:
        """Forget what is waiting, and keep what comes from now on. Returns up to where the journal must be read.

        The offset is asked for while nothing can be put, or a chunk could be journalled and turned away between the
        two, and be in neither.
        """
        with self._changed:
            self._chunks.clear()
            self._rows = self._bytes = 0
            self._complete_from = offset = journal_offset()
            return offset

    def oldest_ns(self) -> int | None:
        """Receive time of the oldest waiting chunk; None when nothing waits."""
        with self._changed:
            return self._chunks[0].wall_ns if self._chunks else None

    def close(self) -> None:
        """No more will be put; a waiting `take` returns what there is."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
