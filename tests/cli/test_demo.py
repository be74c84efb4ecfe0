"""kflow demo: everything once, with nothing but the program; what it shows works, and it leaves nothing behind."""

from __future__ import annotations

import fcntl
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kflow.store.cluster import Cluster
from kflow.testing.process import Outcome, Shell
from kflow.testing.terminal import Terminal
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


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
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


@pytest.mark.slow
def test_every_command_that_was_shown_works_afterwards(shown: tuple[Path, Outcome]) -> None:
    """In their order, each as it was shown: what is trained again is a version of its own."""
    folder, done = shown
    commands = [command for step in done.json["steps"] for command in step["commands"]]
    (trades,) = [command for command in commands if " actor run " in command]
    for command in commands[: commands.index(trades)]:
        again = typed(command, folder)
        assert again.returncode == 0, f"{command}\n{again.stderr}"
    shell = Shell(folder)
    words = shlex.split(trades)[1:]
    environ = {"KFLOW_DATA_DIR": str(folder / "data")}
    with shell.start(*words, **environ) as actor:
        actor.wait_for("run ")
        for command in commands[commands.index(trades) + 1 :]:
            again = typed(command, folder)
            assert again.returncode == 0, f"{command}\n{again.stderr}"
        actor.wait_for("halted: kflow kill")
        actor.signal(signal.SIGTERM)
        assert actor.end().code == 0


@pytest.mark.slow
def test_again_it_adds_to_its_folder(shown: tuple[Path, Outcome]) -> None:
    folder, before = shown
    again = demo(folder.parent, "--quick", "--json")
    assert again.code == 0, again.err
    sessions = [run.json["steps"][0]["figures"]["session"] for run in (before, again)]
    assert sessions[1] > sessions[0]
    listed = typed(f"{shlex.quote(sys.executable)} -m kflow sessions ls --json", folder)
    assert {one["session"] for one in json.loads(listed.stdout)["sessions"]} >= set(sessions)


@pytest.mark.slow
def test_without_the_packages_of_training_a_policy_written_by_hand_goes_on(tmp_path: Path) -> None:
    """Where only the core is installed; it is said, with what to install."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    names = ("gymnasium", "sb3_contrib", "stable_baselines3", "tensorboard", "torch")
    (hidden / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({names!r}))\n")
    done = demo(tmp_path, "--quick", "--json", PYTHONPATH=str(hidden))
    assert done.code == 0, done.err
    assert "gymnasium is not installed: pip install 'kflow[train]'" in done.err
    figures = {step["step"]: step["figures"] for step in done.json["steps"]}
    assert figures["train"]["missing"] == "gymnasium"
    assert "join" in figures["evaluate"]["profit_per_event"]
    assert figures["paper"]["strategy"] == "hardcoded:join"
    assert figures["paper"]["kill"]["open_orders_after"] == 0


@pytest.mark.slow
async def test_on_a_display_the_report_is_opened_and_the_whole_takes_three_minutes(tmp_path: Path) -> None:
    """The whole demo on a terminal, with a browser that notes what it is shown."""
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {shlex.quote(str(opened))}\n')
    browser.chmod(0o755)
    environment = {"DISPLAY": ":7", "BROWSER": str(browser), "CI": "", "KFLOW_DATA_DIR": str(tmp_path / "unused")}
    async with Terminal() as terminal:
        terminal.run("demo", "--out", str(tmp_path / "all"), environment=environment)
        terminal.read()
        await terminal.until("opened ", within_s=2 * PATIENCE_S)
        assert await terminal.ended() == 0, terminal.seen
    whole = json.loads((tmp_path / "all" / "kflow-demo.json").read_text())
    assert whole["seconds"] < 180, [(step["step"], step["seconds"]) for step in whole["steps"]]
    assert opened.read_text().strip() == (tmp_path / "all" / whole["steps"][6]["figures"]["page"]).as_uri()
    assert "gains more than hold" in whole["steps"][4]["figures"]["sentence"]
