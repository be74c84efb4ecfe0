"""`kflow replay` as people and cron run it: output, exit codes, sentences."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kflow.cli.main import run
from kflow.store.postgres import Connection
from kflow.testing.postgres import Database

from .conftest import MARKETS, Flow, Script, Stored, write_truth

Store = Callable[..., Stored]


@pytest.fixture
def kflow(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database.dsn)
    monkeypatch.setenv("KFLOW_DATA_DIR", str(tmp_path / "data"))

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["replay", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


Kflow = Callable[..., tuple[int, str, str]]


@pytest.fixture
def stored(store: Store) -> Stored:
    return store(Script([Flow(1).take(200), Flow(2).take(60)]))


def test_verify_answers_in_json(kflow: Kflow, stored: Stored, tmp_path: Path) -> None:
    write_truth(tmp_path / "truth", [Flow(1).take(210), Flow(2).take(60)])
    code, out, _ = kflow("verify", "--session", stored.id, "--json", "--truth", tmp_path / "truth")
    assert code == 0
    answer = json.loads(out)
    assert answer.keys() >= {"session", "messages", "gaps", "crossed", "digest_journal", "digest_tables", "equal"}
    assert (answer["session"], answer["messages"], answer["gaps"], answer["crossed"]) == (1, 270, 1, 0)
    assert answer["equal"] is True
    assert answer["digest_journal"] == answer["digest_tables"]
    assert answer["truth"]["lost_outside_gaps"] == 0
    assert answer["truth"]["digest"] == answer["digest_journal"]


def test_a_difference_is_exit_6(kflow: Kflow, stored: Stored, conn: Connection) -> None:
    conn.execute("DELETE FROM rl_orderbook_deltas WHERE seq = 50 AND connection = 1")
    code, out, err = kflow("verify", "--session", "1", "--json")
    assert code == 6
    assert json.loads(out)["equal"] is False
    assert "error: session 1: the journal has" in err
    assert "Traceback" not in err


def test_a_range_is_a_table(kflow: Kflow, stored: Stored, store: Store) -> None:
    store(Script([Flow(3).take(20)]), name="second")
    code, out, _ = kflow("verify", "--session", "1-2")
    assert code == 0
    assert len([line for line in out.splitlines() if " yes " in line]) == 2
    code, out, _ = kflow("verify", "--session", "1-2", "--format", "ndjson")
    assert [json.loads(line)["session"] for line in out.splitlines()] == [1, 2]


def test_a_range_is_of_the_sessions_there_are(kflow: Kflow, stored: Stored) -> None:
    code, out, _ = kflow("verify", "--session", "1-40", "--format", "ndjson")
    assert (code, [json.loads(line)["session"] for line in out.splitlines()]) == (0, [1])
    assert kflow("export", "--out", "o", "--sessions", "1-40", "--format", "csv")[0] == 0
    for words in (("verify", "--session", "2-40"), ("export", "--out", "o", "--sessions", "2-40")):
        code, _, err = kflow(*words)
        assert code == 2
        assert "no session is recorded in 2-40" in err
    assert "no session has the number 7" in kflow("verify", "--session", "1-3,7")[2]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["verify", "--session", "x"], 2, "'x' does not name sessions"),
        (["verify", "--session", "9"], 2, "no session has the number 9"),
        (["verify", "--session", "1-2", "--journal", "."], 2, "the journal of one session"),
        (["export", "--out", "o", "--sessions", "1", "--format", "xls"], 2, "there is no format xls"),
        (["export", "--out", "o", "--sessions", "1", "--source", "air"], 2, "there is no source air"),
        (["export", "--out", "o", "--sessions", "1", "--format", "csv", "--partitioned"], 2, "is for parquet"),
        (["export", "--out", "o", "--sessions", "1", "--start", "now"], 2, "is not a time"),
        (["export", "--out", "o", "--sessions", "1", "--market", "NOPE"], 2, "none of these sessions recorded NOPE"),
        (["serve", "--session", "9"], 2, "no session has the number 9"),
        (["serve", "--session", "1", "--speed", "0"], 2, "--speed 0 makes no sense"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    kflow: Kflow, stored: Stored, words: list[str], code: int, sentence: str
) -> None:
    found, out, err = kflow(*words)
    assert found == code
    assert sentence in err
    assert out == ""


def test_a_lost_journal_is_a_sentence(kflow: Kflow, stored: Stored) -> None:
    stored.directory.rename(stored.directory.with_name("moved"))
    code, _, err = kflow("verify", "--session", 1)
    assert code == 6
    assert "the journal of session 1 is not in" in err
    code, _, _ = kflow("verify", "--session", 1, "--journal", stored.directory.with_name("moved"))
    assert code == 0


def test_export_says_what_it_did(kflow: Kflow, stored: Stored, tmp_path: Path) -> None:
    words = ("export", "--out", "out", "--sessions", "1", "--format", "jsonl", "--market", MARKETS[0], "--json")
    code, out, _ = kflow(*words)
    assert code == 0
    [item] = json.loads(out)["exports"]
    assert (item["session"], item["market"], item["state"]) == (1, MARKETS[0], "written")
    assert item["files"] == [f"0001/{MARKETS[0]}.jsonl"]
    assert (tmp_path / "out" / item["files"][0]).stat().st_size == item["bytes"]
    code, out, _ = kflow(*words)
    assert json.loads(out)["exports"][0]["state"] == "unchanged"


def test_serve_tells_where_and_ends_when_told(stored: Stored, database: Database, tmp_path: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": database.dsn, "KFLOW_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "kflow", "replay", "serve", "--session", "1", "--speed", "max"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["ws"].startswith("ws://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_nightly_export_takes_what_is_over_and_is_content_with_nothing(
    kflow: Kflow, stored: Stored, store: Store, conn: Connection
) -> None:
    nightly = ("export", "--sessions", "1-100000", "--finished", "--format", "csv", "--out", "out", "--json")
    second = store(Script([Flow(3).take(20)]), name="second")
    conn.execute("UPDATE rl_sessions SET state = 'open' WHERE id = %s", [stored.id])
    code, out, err = kflow(*nightly)
    assert code == 0, err
    assert {item["session"] for item in json.loads(out)["exports"]} == {second.id}
    conn.execute("UPDATE rl_sessions SET state = 'open'")
    code, out, err = kflow(*nightly)
    assert (code, json.loads(out)["exports"]) == (0, []), err
