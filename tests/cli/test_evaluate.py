"""kflow evaluate, as it is typed: a model judged on what it never saw, its rows, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from kflow.evaluate.request import Request, write_request
from kflow.rl.plan import Source
from kflow.testing.postgres import Database
from tests.cli.conftest import Kflow, refused

WORLD = ("--world", "reverting", "--markets", "6", "--world-seed", "9")
QUICK = ("--seeds", "2", "--episodes", "8", "--episode", "20s", "--capacity", "1,3", "--baselines", "hold,random")
TRAINED = (
    *("--world", "reverting", "--markets", "6", "--sizes", "5", "--max-position", "20", "--latency", "none"),
    *("--episode", "10s", "--envs", "16", "--set", "n_steps=64", "--set", "batch_size=256", "--set", "n_epochs=1"),
    *("-n", "1024", "--eval-freq", "1024", "--save-freq", "1024", "--eval-episodes", "2", "--name", "swing"),
)


def test_from_a_trained_model_to_its_verdict_its_rows_and_paper(
    kflow: Kflow, database: Database, tmp_path: Path
) -> None:
    assert kflow("train", *TRAINED, DATABASE_URL=database.dsn).code == 0
    early = kflow("models", "promote", "swing", "paper", DATABASE_URL=database.dsn)
    refused(early, 2, "never judged", "kflow evaluate swing:1")

    # What it was trained on is no test: the same seed makes the same markets.
    same = ("--world", "reverting", "--markets", "6", "--world-seed", "0", *QUICK)
    refused(kflow("evaluate", "swing", *same, DATABASE_URL=database.dsn), 2, "no test", "--in-sample")
    stamped = kflow("evaluate", "swing", *same, "--in-sample", DATABASE_URL=database.dsn)
    assert stamped.code == 0, stamped.err
    assert "IN SAMPLE" in stamped.out
    assert "says nothing of what it will earn" in stamped.err
    assert kflow("models", "promote", "swing", "paper", DATABASE_URL=database.dsn).code == 2

    done = kflow("evaluate", "swing", *WORLD, *QUICK, "--json", DATABASE_URL=database.dsn)
    assert done.code == 0, done.err
    told = done.json
    assert told["judged"] == ["swing:1"]
    assert told["in_sample"] is False
    assert told["data"]["events"] == 6
    page = tmp_path / told["report"]
    assert page.read_text().startswith("<!DOCTYPE html>")
    kept = json.loads((page.parent / "evaluation.json").read_text())
    assert kept["sentence"] == told["sentence"]

    with psycopg.connect(database.dsn) as conn:
        (events, sentence) = (
            conn.execute("SELECT events, sentence FROM rl_evaluations WHERE id = %s", [told["evaluation"]]).fetchone()
            or ()
        )
        rows = conn.execute(
            "SELECT model_id IS NOT NULL, count(*), sum(final_equity_e6 - initial_cash_e6) FROM rl_trading_episodes"
            " WHERE evaluation_id = %s AND metrics ->> 'contestant' = 'swing:1' GROUP BY 1",
            [told["evaluation"]],
        ).fetchall()
    assert (events, sentence) == (6, told["sentence"])
    (result,) = [one for one in told["results"] if (one["contestant"], one["fill_model"]) == ("swing:1", "queue")]
    assert [(known, count) for known, count, _ in rows] == [(True, 8 * 2)]
    assert float(rows[0][2]) / 1e6 / 2 == pytest.approx(result["profit"]["total"], abs=1e-6)

    assert kflow("models", "promote", "swing", "paper", DATABASE_URL=database.dsn).code == 0
    shown = kflow("models", "show", "swing", "--json", DATABASE_URL=database.dsn).json
    assert [one["in_sample"] for one in shown["evaluations"]] == [False, True]


def test_a_hand_written_policy_needs_no_database(kflow: Kflow, tmp_path: Path) -> None:
    done = kflow("evaluate", "join", *WORLD, *QUICK, "--no-register")
    assert done.code == 0, done.err
    assert "join *" in done.out
    assert "6 independent events" in done.out
    assert (tmp_path / "evaluations/eval_0001/report.html").is_file()
    assert not (tmp_path / "evaluations/eval_0001/parts").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("nothing is judged", "join")),
        (("clever/", *WORLD), ("clever", "")),
        (("join", "--world", "flat"), ("flat", "reverting")),
        (("join", *WORLD, "--seeds", "0"), ("0 seeds", "--seeds")),
        (("join", *WORLD, "--capacity", "1,x"), ("1,x", "--capacity")),
        (("join", *WORLD, "--baselines", "clever"), ("no strategy clever", "favourite")),
        (("join", *WORLD, "--embargo", "soon"), ("no duration", "15m")),
        (("join", *WORLD, "--walk-forward", "3"), ("trains a plan", "--plan")),
        (("join", "--resume", "nowhere"), ("cannot read nowhere", "folder")),
    ],
)
def test_what_cannot_be_is_one_sentence(
    kflow: Kflow, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = kflow("evaluate", *arguments, "--no-register")
    assert done.code in (2, 9), done.err
    assert all(word in done.err for word in words)
    assert "Traceback" not in done.err
    assert not (tmp_path / "evaluations").exists()


def test_code_that_a_folder_names_runs_only_where_it_is_named_again(kflow: Kflow, tmp_path: Path) -> None:
    (tmp_path / "strange.py").write_text("open('canary', 'w').close()\n")
    folder = tmp_path / "eval_0001"
    folder.mkdir()
    write_request(
        folder, Request(judged=("strange:Policy",), baselines=("hold",), source=Source(world="reverting")), {}
    )
    refused(kflow("evaluate", "--resume", "eval_0001"), 2, "strange:Policy", "kflow evaluate strange:Policy --resume")
    assert not (tmp_path / "canary").exists()
