"""kflow demo: everything once, with nothing but the program; what it shows works, and it leaves nothing behind."""

from __future__ import annotations

import fcntl
import signal
import subprocess
from pathlib import Path

import pytest

from kflow.store.cluster import Cluster
from kflow.testing.process import Outcome, Shell
from tests.cli.conftest import Kflow, refused

STEPS = ("record", "verify", "simulate", "train", "evaluate", "paper", "report")
PATIENCE_S = 240.0


def demo(folder: Path, *words: str, **environ: str) -> Outcome:
    """`kflow demo` to its end, in a folder of the test's; longer than other commands may take."""
    shell = Shell(folder)
    done = subprocess.run(
        shell.command("demo", *words), env=shell.variables(environ), cwd=folder, timeout=PATIENCE_S, check=False,
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def running_in(folder: Path) -> list[str]:
    """Command lines of processes that work in `folder` or below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve().is_relative_to(folder):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A quick demo that has ended well, and its folder. What a shell sets for other folders does not reach it."""
    place = tmp_path_factory.mktemp("demo")
    elsewhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "KFLOW__KALSHI__ENVIRONMENT": "production"}
    done = demo(place, "--quick", "--json", **elsewhere)
    assert done.code == 0, done.err
    return place / "kflow-demo", done


def test_every_step_says_what_came_of_it(shown: tuple[Path, Outcome]) -> None:
    folder, done = shown
    whole = done.json
    assert whole["schema_version"] == 1
    steps = {step["step"]: step for step in whole["steps"]}
    assert tuple(steps) == STEPS
    figures = {name: step["figures"] for name, step in steps.items()}
    assert figures["record"]["messages"] > 0
    assert figures["verify"]["equal"] is True
    assert figures["verify"]["digest_tables"] == figures["verify"]["digest_journal"]
    assert figures["simulate"]["orders"] > 0
    assert figures["train"]["model"] == "demo:1"
    assert set(figures["evaluate"]["profit_per_event"]) >= {"demo:1", "hold", "random", "join"}
    assert figures["paper"]["strategy"] == "demo:1"
    assert figures["paper"]["sent"] > 0
    assert figures["paper"]["kill"]["open_orders_after"] == 0
    assert figures["paper"]["kill"]["standing"] == "halted"
    assert (folder.parent / whole["report"]).read_text().startswith("<!DOCTYPE html>")
    assert 0 < sum(step["seconds"] for step in steps.values()) <= whole["seconds"] + 1
    assert whole["bytes"] > 1_000_000


def test_each_command_is_shown_on_stderr_and_so_is_what_the_shell_sets_otherwise(shown: tuple[Path, Outcome]) -> None:
    folder, done = shown
    for step in done.json["steps"]:
        for command in step["commands"]:
            assert f" $ {command}\n" in done.err
    assert "cd kflow-demo" in done.err
    assert (
        "Your shell sets DATABASE_URL, KFLOW_DATA_DIR, KFLOW__KALSHI__ENVIRONMENT, which the demo ignores" in done.err
    )
    assert running_in(folder) == []
    assert Cluster.of(folder / "data" / "database").postmaster() is None


def test_a_command_that_was_shown_works_in_the_folder(shown: tuple[Path, Outcome]) -> None:
    folder, done = shown
    (verify,) = done.json["steps"][1]["commands"]
    again = typed(verify, folder)
    assert again.returncode == 0, again.stderr
    assert done.json["steps"][1]["figures"]["digest_tables"][:16] in again.stdout


def typed(command: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command line as a person types it into a shell there."""
    environment = Shell(folder).variables(environ)
    del environment["KFLOW_DATA_DIR"]  # the folder's kflow.toml says it
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_a_folder_of_somebody_elses_is_left_alone(kflow: Kflow, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years")
    refused(kflow("demo", "--out", "theirs"), 2, "not made by kflow demo", "--out")
    assert [path.name for path in theirs.iterdir()] == ["thesis.txt"]
    refused(kflow("demo", "--out", "theirs/thesis.txt"), 3, "cannot be used", "--out")


def test_two_at_once_are_one_too_many(kflow: Kflow, tmp_path: Path) -> None:
    mark = tmp_path / "kflow-demo" / "kflow-demo.json"
    mark.parent.mkdir()
    mark.write_text("{}")
    with mark.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(kflow("demo"), 8, "another kflow demo runs", "--out")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_whoever_stops_it_leaves_nothing_running(tmp_path: Path, number: signal.Signals, code: int) -> None:
    shell = Shell(tmp_path)
    with shell.start("demo", "--quick") as running:
        running.wait_for("to be looked at meanwhile")
        assert running_in(tmp_path / "kflow-demo") != []
        running.signal(number)
        done = running.end()
    assert done.code == code, done.err
    assert "nothing is left running" in done.err
    assert running_in(tmp_path / "kflow-demo") == []
    assert Cluster.of(tmp_path / "kflow-demo" / "data" / "database").postmaster() is None
