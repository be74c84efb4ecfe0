"""The main job, whole: an exchange sends, `kflow ingest` records, `kflow replay verify` proves it equal.

Every process is a real one, and so is the PostgreSQL; the exchange's own log says what it sent.
"""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from kflow.testing.postgres import Database
from kflow.testing.venue import LocalVenueProcess


def kflow(*arguments: str, environment: dict[str, str]) -> Any:
    """Run a command that prints JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "kflow", *arguments, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def received(metrics: str) -> int:
    """How many messages a running recorder has taken."""
    with urllib.request.urlopen(metrics, timeout=10) as answer:
        return sum(map(int, re.findall(r"^kflow_ws_messages_total\{.*\} (\d+)$", answer.read().decode(), re.MULTILINE)))


def recorded(venue: LocalVenueProcess, folder: Path, database: Database) -> dict[str, Any]:
    """Record until everything that the venue sent has arrived; returns the verdict against its own log."""
    environment = os.environ | {
        "KFLOW_DATA_DIR": str(folder / "data"),
        "DATABASE_URL": database.dsn,
        "KALSHI_API_KEY_ID": venue.key_id,
        "KALSHI_PRIVATE_KEY_PATH": str(venue.private_key_path),
    }
    address = venue.rest.removesuffix("/trade-api/v2")
    command = [sys.executable, "-m", "kflow", "ingest", "--all", "--exchange", address, "--port", "0", "--json"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **streams) as recorder:  # type: ignore[call-overload]
        assert recorder.stderr is not None
        service = next(line for line in recorder.stderr if "http" in line and "/rl/health" in line)
        metrics = service.split()[-1].replace("/rl/health", "/metrics")
        sent = int(str(venue.next_event()["frames"]))
        while received(metrics) < sent:
            assert recorder.poll() is None
        recorder.terminate()  # an orderly end: what was received is written first
        result, said = recorder.communicate(timeout=60)
    assert recorder.returncode == 0, said
    number = str(json.loads(result)["session"])
    truth = str(folder / "truth")
    verdict: dict[str, Any] = kflow("replay", "verify", "--session", number, "--truth", truth, environment=environment)
    return verdict


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "deltas", "connections"),
    [("1s", 74, 1), ("29s", 2_964, 1), ("15min_close_and_rotation", 70_962, 2)],
)
def test_real_frames_come_back_equal(
    realdata: Path, tmp_path: Path, database: Database, name: str, deltas: int, connections: int
) -> None:
    file = realdata / "kalshi-btc15m-2026-05" / f"wire_{name}.jsonl.gz"
    truth = tmp_path / "truth"
    with LocalVenueProcess("--from", str(file), "--speed", "max", "--truth", str(truth)) as venue:
        verdict = recorded(venue, tmp_path, database)
    assert verdict["equal"]
    assert verdict["truth"]["equal"]
    assert verdict["messages"] == verdict["truth"]["frames"] == sum_of_rows(verdict)
    assert verdict["digest_journal"] == verdict["digest_tables"] == verdict["truth"]["digest"]
    assert (verdict["crossed"], verdict["duplicates"], verdict["truth"]["lost"]) == (0, 0, 0)
    assert verdict["tables"]["deltas"] == deltas
    # One reconnect where the file restarts its counters, and no gap in any of them.
    assert verdict["tables"]["connections"] == connections
    assert verdict["gap_kinds"] == ({"disconnect": connections - 1} if connections > 1 else {})


def test_synthetic_flow_comes_back_equal(tmp_path: Path, database: Database) -> None:
    flow = ["--synthetic", "busy", "--markets", "20", "--rate", "5000", "--limit", "20000", "--seed", "7"]
    with LocalVenueProcess(*flow, "--truth", str(tmp_path / "truth")) as venue:
        verdict = recorded(venue, tmp_path, database)
    assert verdict["equal"]
    assert verdict["truth"]["lost_outside_gaps"] == verdict["duplicates"] == verdict["crossed"] == 0
    assert verdict["tables"]["trades"] > 0
    assert verdict["messages"] == sum_of_rows(verdict)


def sum_of_rows(verdict: dict[str, Any]) -> int:
    """Rows of the tables that hold messages: each message is in exactly one."""
    return sum(verdict["tables"].get(table, 0) for table in ("deltas", "snapshots", "trades", "tickers", "frames"))
