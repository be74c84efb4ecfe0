"""`kflow parity`: what it prints, what it draws, what it refuses, and the whole way from a recorder to a bridge."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import httpx
import pytest

from kflow.evaluate.parity.log import Holding, read_log, write_log
from kflow.evaluate.parity.merge import combined, since
from kflow.testing.parity import live_run, trade_at
from kflow.testing.postgres import Database
from kflow.testing.process import Shell
from kflow.testing.venue import LocalVenueProcess
from tests.cli.conftest import Kflow, keyed, refused


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on the local exchange: run.jsonl and the frames of its window."""
    folder = tmp_path_factory.mktemp("run")
    sent, before, after, _ = asyncio.run(live_run(folder, seed=5, orders=40, pause_s=0.02))
    write_log(folder / "before.jsonl", before)
    write_log(folder / "run.jsonl", since(combined(sent, after), before))
    return folder


def test_the_bridge_in_a_table_and_in_bars(kflow: Kflow, run: Path) -> None:
    done = kflow("parity", run / "run.jsonl", "--from", run / "frames.jsonl")
    assert done.code == 0, done.err
    for name in ("simulated", "latency", "queue", "refusals", "fees", "gaps", "residual", "live"):
        assert sum(line.startswith(name) for line in done.out.splitlines()) == 2, done.out
    assert "100.00% of" in done.err
    assert "to the micro-dollar" in done.err
    assert "█" in done.out


def test_every_order_for_programs(kflow: Kflow, run: Path) -> None:
    whole = kflow("parity", run / "run.jsonl", "--from", run / "frames.jsonl", "--json").json
    parts = whole["bridge"]
    assert (whole["schema_version"], whole["kind"]) == (1, "parity")
    assert parts["residual_e6"] == 0
    terms = ("simulated", "latency", "queue", "refusals", "fees", "gaps")
    assert parts["live_e6"] == sum(parts[f"{term}_e6"] for term in terms)
    assert parts["live_e6"] == sum(order["live_e6"] for order in whole["orders"])
    assert whole["agreement"]["share"] == 1.0
    assert len(whole["orders"]) == whole["agreement"]["orders"]
    assert whole["own_orders"]["found"] == whole["own_orders"]["expected"] > 0
    csv = kflow("parity", run / "run.jsonl", "--from", run / "frames.jsonl", "--format", "csv").out
    assert len(csv.splitlines()) == 1 + len(whole["orders"])


def test_the_same_seed_gives_the_same_bytes(kflow: Kflow, run: Path) -> None:
    command = ("parity", run / "run.jsonl", "--from", run / "frames.jsonl", "--json", "--seed", "3")
    assert kflow(*command).out == kflow(*command).out


def test_a_picture(kflow: Kflow, run: Path, tmp_path: Path) -> None:
    done = kflow("parity", run / "run.jsonl", "--from", run / "frames.jsonl", "--plot", tmp_path / "bridge.svg")
    assert done.code == 0, done.err
    assert (tmp_path / "bridge.svg").read_text().startswith("<?xml")


def test_a_lost_fill_is_exit_6_and_a_sentence(kflow: Kflow, run: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (run / "run.jsonl").read_text().splitlines()]
    filled = next(line for line in lines if line.get("fills"))
    filled["fills"] = filled["fills"][:-1]
    short = tmp_path / "short.jsonl"
    short.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = kflow("parity", short, "--from", run / "frames.jsonl")
    assert done.code == 6
    assert "comes from no fill of this log" in done.err
    assert filled["order_id"] in done.err
    assert "residual" in done.out


def test_what_cannot_be_asked(kflow: Kflow, run: Path, tmp_path: Path) -> None:
    log, frames = run / "run.jsonl", run / "frames.jsonl"
    refused(kflow("parity"), 2, "neither a log nor an exchange")
    refused(kflow("parity", tmp_path / "none"), 2, "cannot read")
    refused(kflow("parity", log, "--run", "last"), 2, "a log and --run both say")
    refused(kflow("parity", log, "--before", log, "--cash", "1"), 2, "--before and --cash")
    refused(kflow("parity", log, "--key", log), 2, "both its id and its file")
    refused(kflow("parity", log, "--cash", "much", "--from", frames), 2, "no amount of dollars")
    refused(kflow("parity", log, "--plot", "bridge.pdf"), 2, "a .png or an .svg")
    refused(kflow("parity", "--exchange", "http://127.0.0.1:1"), 3, "read with its key")
    refused(kflow("parity", "--exchange", "https://external-api.kalshi.com"), 3, "key")
    (tmp_path / "orders.jsonl").write_text(log.read_text().splitlines()[-1] + "\n")
    unknown = kflow("parity", tmp_path / "orders.jsonl", "--from", frames)
    assert (unknown.code, unknown.out) == (2, "")
    assert "nothing says what the account had before the run" in unknown.err


def test_a_run_of_the_actor(kflow: Kflow, database: Database, tmp_path: Path) -> None:
    refused(kflow("parity", "--run", "last", DATABASE_URL=database.dsn), 2, "there is no run last")
    with database.connect() as conn:
        conn.execute(
            "INSERT INTO rl_actor_runs (run, venue, epoch, strategy, limits, kflow_version, host, started_ns)"
            " VALUES ('0000abcd-0000-4000-8000-000000000007', 'local', 1, 'x', 'f', '0', 'here', 1)"
        )
        conn.execute(
            "INSERT INTO rl_actor_holdings (run, venue_us, cash_e6, positions)"
            " SELECT run, us, cash, '{}' FROM rl_actor_runs, (VALUES (5, 100), (9, 80)) AS told (us, cash)"
        )
    saved = tmp_path / "log"
    done = kflow("parity", "--run", "0000abcd", "--save", saved, DATABASE_URL=database.dsn)
    assert done.code == 0, done.err
    held = read_log(saved)
    assert (held.before, held.after) == (Holding(5, 100), Holding(9, 80))


def _recorded(status: str, messages: int) -> None:
    """Wait until so many messages more are recorded."""

    def total() -> int:
        return int(httpx.get(status, trust_env=False).json()["messages"]["total"])

    enough = total() + messages
    while total() < enough:
        pass


@pytest.mark.slow
def test_the_whole_way(tmp_path: Path, database: Database) -> None:
    """An exchange, a recorder and a bot, each with a socket of its own; then the account against the simulator."""
    with LocalVenueProcess("--synthetic", "busy", "--markets", "3", "--rate", "300", "--tier", "none") as venue:
        shell = Shell(tmp_path, {**keyed(venue), "DATABASE_URL": database.dsn, "KFLOW__WEB__PORT": "0"})
        url = keyed(venue)["KFLOW__KALSHI__EXCHANGE"]
        assert shell.run("parity", "--exchange", url, "--save", "before.jsonl").code == 0
        with shell.start("ingest", "--market", "INXD-25JAN03", "--json") as ingest:
            status = "http://" + ingest.wait_for("/rl/health").partition("http://")[2].partition("/")[0] + "/rl/status"
            _recorded(status, 300)
            sent = asyncio.run(trade_at(venue.rest, venue.key, seed=11, orders=100, pause_s=0.02))
            _recorded(status, 100)
            ingest.signal(signal.SIGINT)
            assert ingest.end().code == 0
        write_log(tmp_path / "sent.jsonl", sent)
        saved = shell.run("parity", "sent.jsonl", "--exchange", url, "--before", "before.jsonl", "--save", "run.jsonl")
        assert saved.code == 0, saved.err
        live = shell.run("parity", "sent.jsonl", "--exchange", url, "--before", "before.jsonl", "--json")
    assert live.code == 0, live.err
    assert live.json["agreement"]["share"] == 1.0
    assert live.json["bridge"]["residual_e6"] == live.json["bridge"]["fees_e6"] == 0
    assert live.json["not_simulated"] == {}
    assert len(read_log(tmp_path / "run.jsonl").orders) == len(sent.orders)
    later = shell.run("parity", "run.jsonl", "--json")
    assert later.json["bridge"] == live.json["bridge"]
