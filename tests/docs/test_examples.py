"""The examples run, as their first lines say. Those that read exports with pandas, polars and DuckDB: tests/replay."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kflow.cli.main import run
from kflow.policy.features import FEATURES
from kflow.testing.postgres import Database
from kflow.testing.process import Shell
from kflow.testing.venue import LocalVenueProcess
from tests.cli.conftest import keyed
from tests.conformance.conftest import interpreter_of

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def example(name: str, *words: object, python: Path | str = sys.executable, cwd: Path | None = None) -> str:
    """What a script prints. It finds the kflow of this environment, and none of our variables."""
    environ = Shell(cwd or ROOT).variables({"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"})
    command = [str(python), str(EXAMPLES / name), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=cwd, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_main_job_runs_from_end_to_end(tmp_path: Path) -> None:
    said = example("record_and_replay.py", "--seconds", "3", "--keep", tmp_path / "kept")
    assert "equal: True" in said
    assert list((tmp_path / "kept" / "export").rglob("*.csv"))
    journal, tables = (line.split()[1] for line in said.splitlines() if line.startswith(("   journal ", "   tables ")))
    assert journal == tables
    assert len(journal) == 64


def test_a_bot_of_its_own_trades_on_the_local_exchange() -> None:
    said = example("trade_locally.py")
    assert "bought 10.00 at 0." in said
    assert "fill: bid 10.00 at 0." in said
    assert "fees so far 0." in said


def test_somebody_elses_client_trades_on_the_local_exchange() -> None:
    said = example("third_party_client.py", python=interpreter_of("kalshi-sdk"))
    assert "placed: resting, 10.00 left at 0.0200" in said
    assert "cancelled: canceled" in said
    assert re.search(r"bought 4\.00 at 0\.\d+\nleft: \d+ cents", said)


def test_an_episode_of_the_environment() -> None:
    finished = re.search(r"'steps': (\d+), .*'profit_e6': (-?\d+)", example("gymnasium_loop.py"))
    assert finished is not None
    assert int(finished[1]) > 1000
    assert int(finished[2]) > 0, "who buys what fell earns where prices come back"


@pytest.mark.slow
def test_ppo_learns() -> None:
    first, last = (float(amount) for amount in re.findall(r"([+-][\d.]+) dollars", example("train_with_sb3.py")))
    assert last > first + 5


def test_a_fill_model_of_ones_own_lies_within_what_is_possible() -> None:
    said = dict(re.findall(r"^(\S+) +([\d.]+)% of 7128 orders", example("own_fill_model.py"), re.MULTILINE))
    assert list(said) == ["patient", "queue-pessimistic", "queue", "queue-optimistic"]
    assert float(said["queue-pessimistic"]) <= float(said["patient"]) < float(said["queue"])


def test_a_strategy_of_ones_own_buys_what_fell_and_sells_it_when_it_is_back() -> None:
    reverter = runpy.run_path(str(EXAMPLES / "own_strategy.py"))["Reverter"]()

    def chosen(**seen: float) -> str:
        observation = [seen.get(feature.name, 0.0) for feature in FEATURES]
        return str(reverter.actions.actions[reverter.decide(observation, [True] * 5)].name)

    assert chosen(return_60s=-0.3) == "BUY_YES 10"
    assert chosen(return_60s=0.3) == "BUY_NO 10"
    assert chosen(return_60s=-0.3, position=0.1) == "BUY_YES 10"
    assert chosen(position=0.1) == "SELL_YES 10"
    assert chosen(position=-0.1) == "SELL_NO 10"
    assert chosen() == "HOLD"


@pytest.mark.slow
def test_a_strategy_of_ones_own_is_judged_and_trades_on_paper() -> None:
    said = example("own_strategy.py")
    assert "own_strategy:Reverter gains more than hold over 5 independent events" in said
    assert re.search(r"^strategy +own_strategy:Reverter$", said, re.MULTILINE)
    assert re.search(r"^ended +stopped$", said, re.MULTILINE)


def test_a_missed_change_of_a_book_is_noticed() -> None:
    apply = runpy.run_path(str(EXAMPLES / "watch_books.py"))["apply"]
    first: dict[str, Any] = {"type": "snapshot", "market": "M", "version": 4, "live": True, "yes": [[40, 5]], "no": []}
    books = {"M": apply({}, first)}
    delta = {**first, "type": "delta", "from_version": 4, "version": 6, "yes": [[40, 0], [41, 7]]}
    books["M"] = apply(books, delta)
    assert books["M"] == {"yes": {41: 7}, "no": {}, "version": 6, "live": True}
    with pytest.raises(ValueError, match="changes from 6 to 7 are missing"):
        apply(books, {**delta, "from_version": 7, "version": 8})


@pytest.fixture
def recorded(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A busy market of a few seconds, watched while it was recorded, then exported twice."""
    with LocalVenueProcess("--synthetic", "busy", "--markets", "1", "--rate", "400", "--seed", "7") as venue:
        shell = Shell(tmp_path, {**keyed(venue), "DATABASE_URL": database.dsn, "KFLOW__WEB__PORT": "0"})
        with shell.start("ingest", "--duration", "8", "--json") as ingest:
            url = ingest.wait_for("/rl/health").split()[-1].replace("http://", "ws://").replace("/health", "/ws")
            watched = example("watch_books.py", "--url", url, "--seconds", "2")
            assert ingest.end().code == 0
    assert watched.count("live: ") > 5
    assert watched.endswith("nothing was missed\n")
    monkeypatch.setenv("DATABASE_URL", database.dsn)
    for form in ("parquet", "hftbacktest"):
        out = str(tmp_path / "exports")
        assert run(["replay", "export", "--sessions", "1", "--format", form, "--out", out]) == 0
    return tmp_path / "exports"


def test_a_recording_is_watched_exported_drawn_and_played_in_hftbacktest(recorded: Path, tmp_path: Path) -> None:
    (parquet,) = recorded.rglob("*.parquet")
    assert re.match(r"\d+ events, \d+ trades, drawn to", example("draw_depth.py", parquet, tmp_path / "depth.png"))
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")
    lines = example("fills_in_hftbacktest.py", recorded, python=interpreter_of("hftbacktest")).splitlines()
    sums = json.loads(lines[-1])
    assert sums["known"] == sums["orders"] == len(lines) - 3 > 0, "every order of theirs is one on our recording"
    assert sums["told"] == sums["orders"]
    assert sums["brier"] < 0.5, "they agree on most orders"
