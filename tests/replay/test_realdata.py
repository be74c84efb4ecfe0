"""The real recordings, through the recorder into journal and tables: all copies agree, and exports give them back."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from kflow.clock import ManualClock
from kflow.record.books import Books
from kflow.record.recorder import Plan, Recorder
from kflow.record.writer import SessionWriter, load_journal
from kflow.replay.export import Request, export
from kflow.replay.formats import FORMATS
from kflow.replay.verify import verify
from kflow.session.chunks import Chunk
from kflow.store import sessions
from kflow.store.journal import JournalWriter
from kflow.store.journal_reader import JournalReader
from kflow.store.postgres import Connection
from kflow.store.sessions import NewSession

from .conftest import write_truth

pytestmark = pytest.mark.realdata

FILES = ["wire_1s.jsonl.gz", "wire_29s.jsonl.gz", "wire_15min_close_and_rotation.jsonl.gz"]


class Nowhere:
    """A sink that keeps nothing: the journal is loaded afterwards."""

    def put(self, chunk: Chunk) -> None: ...


def chunks(path: Path) -> Iterator[tuple[int, list[bytes], bool]]:
    """(receive time, frames, whether a new connection begins): frames of one time were one read of the socket."""
    held: list[bytes] = []
    at = 0
    seen: set[int] = set()
    with gzip.open(path) as file:
        for line in file:
            entry = json.loads(line)
            frame = entry["frame"]
            raw = json.dumps(frame, separators=(",", ":")).encode()
            anew = False
            if frame["type"] == "subscribed":
                sid = frame["msg"]["sid"]
                anew = not seen or sid in seen
                seen = {sid} if anew else seen | {sid}
            if held and (anew or entry["recv_ns"] != at or len(held) >= 200):
                yield at, held, False
                held = []
            if anew:
                yield entry["recv_ns"], [], True
            at = entry["recv_ns"]
            held.append(raw)
    yield at, held, False


def record(path: Path, directory: Path) -> tuple[JournalWriter, list[list[bytes]]]:
    """The file's frames through a recorder, and the frames of each connection as they were sent."""
    clock = ManualClock(wall_ns=1, mono_ns=1)
    journal = JournalWriter(directory, uuid4(), segment_bytes=4 * 2**20, checkpoint=lambda: recorder.state())
    recorder = Recorder(Plan(markets=()), journal, Books(), Nowhere(), clock=clock)
    recorder.begin()
    sent: list[list[bytes]] = []
    for recv_ns, frames, anew in chunks(path):
        if anew:
            if sent:
                recorder.closed("the recording's connection was renewed")
            recorder.opened("ws://127.0.0.1:1/trade-api/ws/v2")
            sent.append([])
        if frames:
            recorder.received(frames, recv_ns, recv_ns)
            sent[-1] += frames
    recorder.closed("the recording ends")
    recorder.finish()
    return journal, sent


@pytest.mark.parametrize("name", [*FILES[:2], pytest.param(FILES[2], marks=pytest.mark.slow)])
def test_all_copies_of_a_real_recording_agree(conn: Connection, realdata: Path, tmp_path: Path, name: str) -> None:
    journal, sent = record(realdata / "kalshi-btc15m-2026-05" / name, tmp_path / "journal")
    card = NewSession(
        uuid=journal.session, started_ns=1, environment="local", use_yes_price=False, sample_rate=1,
        kflow_version="0.1.0", host="here", journal_dir=str(tmp_path / "journal"), selection={},
    )  # fmt: skip
    number = sessions.create_session(conn, card)
    load_journal(SessionWriter(conn, number), JournalReader(tmp_path / "journal"))
    sessions.close_session(conn, number, 2**62)
    write_truth(tmp_path / "truth", sent)
    verdict = verify(conn, number, truth=tmp_path / "truth")
    assert verdict.differences == ()
    assert verdict.truth is not None
    assert (
        verdict.messages
        == verdict.truth.frames
        == sum(map(len, sent))
        == sum(verdict.tables[kind] for kind in verdict.tables if kind not in ("gaps", "connections"))
    )
    assert verdict.digest_journal == verdict.digest_tables == verdict.truth.digest
    assert verdict.crossed == 0
    assert set(verdict.gap_kinds) <= {"disconnect"}
    for kind in ("jsonl", "hftbacktest", "tardis", "lobster"):
        report = export(conn, Request(out=tmp_path / kind, format=FORMATS[kind], sessions=[number]))
        for written in report.written:
            paths = [tmp_path / kind / file["name"] for file in written.files]
            assert FORMATS[kind].read_levels(paths).hexdigest() == written.level_digest
