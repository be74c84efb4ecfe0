"""kflow sweep: what it prints and keeps, what it refuses, and that a stop costs what was going on and no more."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from kflow.testing.process import Shell
from tests.cli.conftest import Kflow, refused

WORLD = ("--world", "reverting", "--markets", 5, "--latency", "none", "--episode", "10s", "--eval-episodes", 4)
SMALL = ("--envs", 16, "--set", "n_steps=64", "--set", "batch_size=256", "--sizes", 5, "--max-position", 20)
TINY = (*WORLD, *SMALL, "-n", 2_048, "--search", "n_epochs=1,2", "--folds", 2, "--seeds", 1)
PLACE = Path("runs") / "sweep_0001"


def units(folder: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    found = {line["key"]: line["weights_sha256"] for line in lines}
    assert len(found) == len(lines), "a unit was done twice"
    return found


def test_a_sweep_from_its_command_to_the_policy(kflow: Kflow, tmp_path: Path) -> None:
    done = kflow("sweep", *TINY, "--trials", 2, "--sampler", "grid", "--json")
    assert done.code == 0, done.err
    told = done.json
    assert [trial["hyper"] for trial in sorted(told["trials"], key=lambda t: t["trial"])] == [
        {"n_epochs": 1},
        {"n_epochs": 2},
    ]
    assert told["variants"] == 2
    assert told["best"] == told["trials"][0]
    assert "the best of 2 variants flatters itself" in done.err
    assert "the last 20% of events, which no trial saw" in done.err
    assert (tmp_path / told["plot"]).read_bytes().startswith(b"\x89PNG")
    assert len(units(tmp_path / PLACE)) == 4

    [command] = re.findall(r"kflow (train --plan \S+)", done.err)
    trained = kflow(*command.split(), "-n", 1_024, "--no-register", "--json")
    assert trained.code == 0, trained.err
    plan = json.loads((tmp_path / trained.json["run"] / "manifest.json").read_bytes())["plan"]
    assert plan["hyper"]["n_epochs"] == told["best"]["hyper"]["n_epochs"]
    assert (plan["steps"], plan["sizes"], plan["latency"]["name"]) == (1_024, [500], "none")

    shown = kflow("sweep", "show", PLACE, "--json")
    assert shown.json == told
    table = kflow("sweep", "show", PLACE)
    assert table.out.splitlines()[0].split() == ["trial", "state", "profit", "error", "units", "n", "epochs"]
    refused(kflow(*command.split(), "--cash", 5), 2, "--cash is a part of the plan in", "can be changed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--search", "gama=0.9,0.99"), "no hyper-parameter gama to search"),
        (("--search", "n_steps=32,64"), "--set n_steps=64 names what is searched"),
        (("--sampler", "cma"), "there is no sampler cma"),
        (("--pruner", "all"), "there is no pruner all"),
        (("--sampler", "grid", "--search", "gamma=0.9:0.99"), "a grid needs values of gamma"),
        (("--folds", "4"), "4 events cannot be cut into 4 folds"),
        (("--seeds", "0"), "a trial and a seed at least"),
        (("--workers", "0"), "0 processes cannot work"),
        (("--ray", "127.0.0.1:1"), "there is no Ray cluster at 127.0.0.1:1"),
    ],
)
def test_what_cannot_be_is_refused(kflow: Kflow, words: tuple[str, ...], said: str) -> None:
    code = 3 if "--ray" in words else 2
    refused(kflow("-q", "sweep", *WORLD, *SMALL, "-n", 2_048, "--search", "n_epochs=1,2", *words), code, said)


def test_resuming_changes_no_sweep(kflow: Kflow, tmp_path: Path) -> None:
    refused(kflow("sweep", "--resume", tmp_path), 2, "cannot read", "name a sweep's folder")
    refused(kflow("sweep", "--resume", tmp_path, "--folds", 3), 2, "--folds cannot be changed")
    refused(kflow("sweep", "show", tmp_path), 2, "cannot read")


@pytest.mark.parametrize("workers", [(), pytest.param(("--workers", 2), marks=pytest.mark.slow)], ids=["here", "pool"])
def test_after_a_kill_it_goes_on(kflow: Kflow, shell: Shell, workers: tuple[Any, ...]) -> None:
    words = ("sweep", *TINY, "--trials", 3, "--sampler", "random", "--search", "gamma=0.9:0.99")
    with shell.start(*words, *workers) as command:
        command.wait_for("trial 0: ")
        command.signal(signal.SIGKILL)
        command.end()
    before = units(shell.folder / PLACE)
    assert 2 <= len(before) < 6
    done = kflow("sweep", "--resume", PLACE, *workers, "--json")
    assert done.code == 0, done.err
    after = units(shell.folder / PLACE)
    assert len(after) == 6
    assert before.items() <= after.items()
    whole = kflow(*words, "--json")
    assert whole.code == 0, whole.err
    assert units(shell.folder / PLACE.with_name("sweep_0002")) == after
    assert whole.json["trials"] == done.json["trials"]


@pytest.mark.slow
def test_ctrl_c_ends_its_processes_and_says_how_to_go_on(shell: Shell) -> None:
    with shell.start("sweep", *TINY, "--trials", 50, "--search", "gamma=0.9:0.99", "--workers", 2) as command:
        command.wait_for("trial 0: ")
        children = workers_of(command.process.pid)
        assert len(children) == 2
        for pid in (command.process.pid, *children):  # as a terminal does
            os.kill(pid, signal.SIGINT)
        done = command.end()
    assert done.code == 130
    assert re.search(r"stopped; \d+ units are kept. To go on: kflow sweep --resume runs/sweep_0001\n", done.err)
    assert not re.search("Traceback|Process", done.err), done.err
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def workers_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
