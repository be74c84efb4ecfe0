"""`kflow ingest` as a process: the variables of the requirements by their names, and what it says while it runs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import httpx

from kflow.store.known import known
from kflow.testing.postgres import Database
from kflow.testing.process import Shell
from kflow.testing.venue import LocalVenueProcess
from tests.cli.conftest import keyed

MARKET = "INXD-25JAN03-B5912"


def metrics(line: str) -> dict[str, float]:
    """What /metrics says, asked where `line` says that the service listens."""
    url = "http://" + line.partition("http://")[2].partition("/")[0]
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    return {
        name: float(value) for name, _, value in (row.rpartition(" ") for row in text.splitlines() if row[0] != "#")
    }


def test_the_variables_of_the_requirements(
    tmp_path: Path, new_database: Callable[..., Database], venue: LocalVenueProcess
) -> None:
    """Each is shown to be what the run did, not only what it read."""
    mine, other = new_database(), new_database()
    named = {**keyed(venue), "DATABASE_URL": mine.dsn, "RL_MARKET_TICKER": MARKET, "KFLOW__WEB__PORT": "0"}
    paced = {"RL_ORDERBOOK_BATCH_SIZE": "7", "RL_ORDERBOOK_FLUSH_INTERVAL": "0.25", "RL_ORDERBOOK_SAMPLE_RATE": "2"}
    shell = Shell(tmp_path, {**named, **paced})
    with shell.start("ingest", "--duration", 3, "--json") as ingest:
        line = ingest.wait_for("/rl/health")
        url = "http://" + line.partition("http://")[2].partition("/")[0]
        told = httpx.get(f"{url}/rl/status", trust_env=False).json()
        done = ingest.end()
    assert done.code == 0, done.err
    assert told["markets"] == [MARKET]
    shown = told["configuration"]
    assert (shown["recorder.batch_rows"], shown["recorder.flush_interval_s"]) == (7, 0.25)
    assert shown["database.url"] == shown["kalshi.key_id"] == "***"
    with mine.connect() as conn:
        assert conn.execute("SELECT ticker FROM rl_markets").fetchall() == [(MARKET,)]
        assert conn.execute("SELECT sample_rate FROM rl_sessions").fetchall() == [(2,)]
        [(transactions, rows)] = conn.execute(
            "SELECT count(DISTINCT xmin::text), count(*) FROM rl_orderbook_deltas"
        ).fetchall()
    assert rows > 10
    # In 3 s, a row waits at most a quarter of a second for its transaction; with the default it would be a second.
    assert transactions >= 5
    with other.connect() as conn:
        assert conn.execute("SELECT count(*) FROM rl_sessions").fetchall() == [(0,)]
    assert not (tmp_path / "data" / "database").exists()


def test_without_a_market_a_local_exchange_records_its_event(recorder: Shell) -> None:
    done = recorder.run("ingest", "--duration", 1)
    assert done.code == 0
    assert "no market is named: recording INXD-25JAN03" in done.err
    [remembered] = known(recorder.folder / "data")  # for completion
    assert (remembered.number, {ticker.partition("-B")[0] for ticker in remembered.markets} >= {"INXD-25JAN03"}) == (
        1,
        True,
    )


def test_a_writer_that_dies_is_told_of_at_once_and_nothing_is_lost(recorder: Shell, database: Database) -> None:
    """Somebody moves the watermark below a running writer: it must not go on."""
    with recorder.start("ingest") as ingest:
        line = ingest.wait_for("/rl/health")
        with database.connect(autocommit=True) as conn:
            conn.execute("UPDATE rl_watermarks SET journal_offset = journal_offset + 1000000000")
            ingest.wait_for("no more rows are written")
            health = recorder.run("health", "--url", line.partition("at ")[2].partition("/rl")[0])
            assert health.code == 6
            assert "no more rows are written" in health.err
            before = metrics(line)["kflow_journal_bytes_total"]
            while metrics(line)["kflow_journal_bytes_total"] == before:
                pass  # frames go on into the journal
            ingest.signal(signal.SIGTERM)
            done = ingest.end()
            assert done.code == 0
            assert "stored    no" in done.out
            conn.execute("UPDATE rl_watermarks SET journal_offset = journal_offset - 1000000000")
    assert recorder.run("ingest", "--duration", 1).code == 0
    verdict = recorder.run("replay", "verify", "--session", 1, "--json")
    assert verdict.code == 0, verdict.err
    assert verdict.json["state"] == "recovered"


FAULTS = """
[[fault]]
kind = "drop"
after_frames = 150
times = 1
[[fault]]
kind = "cut"
after_frames = 400
times = 1
"""


def test_resyncs_and_reconnects_are_counted(tmp_path: Path, database: Database) -> None:
    (tmp_path / "faults.toml").write_text(FAULTS)
    arguments = ("--synthetic", "busy", "--markets", "3", "--rate", "200", "--fault", str(tmp_path / "faults.toml"))
    with LocalVenueProcess(*arguments) as venue:
        shell = Shell(tmp_path, {**keyed(venue), "DATABASE_URL": database.dsn, "KFLOW__WEB__PORT": "0"})
        with shell.start("ingest") as ingest:
            line = ingest.wait_for("/rl/health")
            while not (found := metrics(line))['kflow_ws_reconnects_total{reason="closed"}']:
                assert ingest.process.poll() is None
            assert found["kflow_book_resyncs_total"] >= 1
            assert sum(value for name, value in found.items() if name.startswith("kflow_ws_reconnects_total")) == 1
            ingest.signal(signal.SIGTERM)
            assert ingest.end().code == 0


def test_the_token_of_the_data_folder_ends_a_session_in_order(recorder: Shell) -> None:
    with recorder.start("ingest") as ingest:
        url = ingest.wait_for("/rl/health").partition("at ")[2].partition("/rl")[0]
        assert httpx.post(f"{url}/rl/admin/stop", trust_env=False).status_code == 401
        file = recorder.folder / "data" / "web-token"
        assert file.stat().st_mode & 0o777 == 0o600
        token = {"Authorization": f"Bearer {file.read_text().strip()}"}
        assert httpx.post(f"{url}/rl/admin/stop", headers=token, trust_env=False).status_code == 202
        done = ingest.end()
    assert done.code == 0
    assert "stored    yes" in done.out
    assert token["Authorization"].removeprefix("Bearer ") not in done.out + done.err
