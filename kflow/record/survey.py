"""What a journal that nobody writes any more has not told yet: where it is damaged, and that kflow was not running."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from kflow.clock import Clock
from kflow.kalshi.feed import STOPPED
from kflow.market.events import GapKind
from kflow.session.chunks import Closed, Hole
from kflow.store.journal import JournalWriter, RecordKind
from kflow.store.journal_reader import JournalReader, Record
from kflow.store.sessions import NewSession


@dataclass(slots=True)
class Survey:
    """The end of a journal, from a watermark on."""

    # None where there is no record at all.
    last: Record | None = None
    # When the last frame came; None where none was met.
    heard_ns: int | None = None
    # Damage between sound records, with their stamps; what a crash leaves at a segment's end is none.
    holes: list[Hole] = field(default_factory=list)
    damaged_bytes: int = 0


def survey(reader: JournalReader, watermark: int) -> Survey:
    """Look through the journal from the segment of `watermark` on; further back where that holds no record."""
    found = Survey()
    start, end = reader.segment_of(watermark), reader.size()
    while True:
        _look(reader, start, end, found)
        if found.last is not None or start == 0:
            return found
        start, end = reader.segment_of(start - 1), start


def _look(reader: JournalReader, start: int, end: int, found: Survey) -> None:
    told = len(reader.damage)
    for record in reader.records(start, end):
        for damage in reader.damage[told:]:
            if not damage.torn:
                before_ns = record.wall_ns if found.last is None else found.last.wall_ns
                words = f"the journal is damaged from offset {damage.offset} to {damage.end}"
                found.holes.append(Hole(GapKind.DOWNTIME, before_ns, record.wall_ns, words))
                found.damaged_bytes += damage.end - damage.offset
        told = len(reader.damage)
        found.last = record
        if record.kind == RecordKind.FRAME:
            found.heard_ns = record.wall_ns


def tell_missing(directory: Path, card: NewSession, found: Survey, clock: Clock, *, watermark: int) -> None:
    """Journal what the survey found and nothing in the journal says. Raises JournalError.

    Behind the watermark, even where a power cut left less of the journal than the database has stored.
    """
    last = found.last
    if last is None or _was_told(last):
        return
    now_ns = clock.wall_ns()
    holes = list(found.holes)
    if not _ended_in_order(last):
        since_ns = last.wall_ns if found.heard_ns is None else found.heard_ns
        holes.append(Hole(GapKind.DOWNTIME, since_ns, now_ns, "kflow was not running"))
    if not holes:
        return
    journal = JournalWriter(directory, card.uuid, at_least=watermark)
    for hole in holes:
        payload = msgspec.json.encode(hole)
        journal.append_record(RecordKind.GAP, last.connection, now_ns, clock.mono_ns(), payload)
    journal.close()


def _was_told(last: Record) -> bool:
    """By an earlier recovery, which then could not reach the database."""
    return last.kind == RecordKind.GAP and msgspec.json.decode(last.payload, type=Hole).kind is GapKind.DOWNTIME


def _ended_in_order(last: Record) -> bool:
    if last.kind == RecordKind.DISCONNECTED:
        return msgspec.json.decode(last.payload, type=Closed).reason == STOPPED
    return last.kind == RecordKind.GAP
