"""RL_ORDERBOOK_SAMPLE_RATE=4, end to end: what the table keeps, what the journal keeps, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

from kflow.kalshi import wire
from kflow.store.journal import RecordKind
from kflow.store.journal_reader import JournalReader
from kflow.testing.postgres import Database
from kflow.testing.process import Shell
from tests.cli.conftest import refused


def journalled(directory: Path) -> list[int]:
    """The seq of every delta in a journal."""
    records = JournalReader(directory).records()
    messages = (wire.decode(record.payload) for record in records if record.kind == RecordKind.FRAME)
    return [message.seq for message in messages if isinstance(message, wire.Delta)]


def test_one_of_four_deltas_is_in_the_table_and_all_are_in_the_journal(recorder: Shell, database: Database) -> None:
    done = recorder.run("ingest", "--duration", 3, RL_ORDERBOOK_SAMPLE_RATE="4")
    assert done.code == 0, done.err
    [session] = recorder.run("sessions", "ls", "--json").json["sessions"]
    assert session["sample_rate"] == 4
    assert "1 of 4" in recorder.run("sessions", "ls").out
    assert "1 of 4 deltas" in recorder.run("sessions", "show", 1).out
    [directory] = (recorder.folder / "data" / "journal").iterdir()
    received = journalled(directory)
    assert len(received) > 100
    assert received == list(range(received[0], received[0] + len(received)))
    with database.connect() as conn:
        kept = [row[0] for row in conn.execute("SELECT seq FROM rl_orderbook_deltas ORDER BY seq")]
    assert kept == [seq for seq in received if seq % 4 == 0]

    verdict = recorder.run("replay", "verify", "--session", 1, "--json")
    assert verdict.code == 0, verdict.err
    assert (verdict.json["equal"], verdict.json["sampled"], verdict.json["sample_rate"]) == (True, True, 4)
    assert verdict.json["crossed"] is None
    with database.connect(autocommit=True) as conn:
        conn.execute("DELETE FROM rl_orderbook_deltas WHERE seq = %s", [kept[5]])
    assert recorder.run("replay", "verify", "--session", 1).code == 6


def test_an_export_of_a_sampled_session_reads_the_journal_or_is_refused(recorder: Shell) -> None:
    assert recorder.run("ingest", "--duration", 2, RL_ORDERBOOK_SAMPLE_RATE="4").code == 0
    [directory] = (recorder.folder / "data" / "journal").iterdir()
    export = ("replay", "export", "--sessions", 1, "--format", "jsonl", "--out", "out")
    refused(recorder.run(*export), 6, "the tables keep 1 of 4 deltas of session 1", "--source journal")
    done = recorder.run(*export, "--source", "journal")
    assert done.code == 0, done.err
    lines = [line for path in (recorder.folder / "out").rglob("*.jsonl") for line in path.read_text().splitlines()]
    exported = [event for event in map(json.loads, lines) if event["kind"] == "delta"]
    assert len(exported) == len(journalled(directory))
