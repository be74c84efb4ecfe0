"""Completion: what is offered, that it asks nothing heavy, and that real shells show it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from kflow.cli import completion, main
from kflow.cli.choices import HAND_WRITTEN
from kflow.policy.strategies import STRATEGIES
from kflow.store.known import Known, remember
from tests.cli.conftest import Kflow
from tests.cli.test_contract import COMMANDS, HEAVY

FIRST, SECOND = "INXD-25JAN03-B5912", "KXBTC-1"


@pytest.fixture
def house(tmp_path: Path, kflow: Kflow) -> Kflow:
    """Two sessions, a model with two versions, a run, an evaluation, and a market with a hostile name."""
    data = tmp_path / "data"
    data.mkdir()
    remember(data, Known(1, "a", 1_767_000_000_000_000_000, (FIRST,)))
    remember(data, Known(12, "b", 1_767_086_400_000_000_000, (FIRST, SECOND, "$(touch x)", "a;b", "`c`")))
    for folder in ("data/models/ppo/1", "data/models/ppo/2", "data/models/a2c/1", "runs/empty"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("runs/ppo_0001/manifest.json", "evaluations/eval_0001/evaluation.json", "runs/sweep_0001/sweep.json"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    return kflow


def offered(line: str) -> list[str]:
    """What may follow `line`, whose last word is not whole."""
    *words, incomplete = line.split(" ")
    return [offer.value for offer in completion.offers(get_command(main.app), words, incomplete)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("simulate --sessions ", ["12", "1"]),
        ("simulate --sessions 1,", ["1,12", "1,1"]),
        ("simulate --sessions=", ["--sessions=12", "--sessions=1"]),
        ("sessions show ", ["12", "1"]),
        ("replay export --market ", [FIRST, SECOND]),
        ("watch --market KX", [SECOND]),
        ("ingest --market INXD-25JAN03-B5912 --market K", [SECOND]),
        ("models show ppo:", ["ppo:1", "ppo:2"]),
        ("models ls --name a", ["a2c", "a2c:1"]),
        ("evaluate jo", ["join"]),
        ("evaluate join sk", ["skewed"]),
        ("train --resume ", ["runs/ppo_0001"]),
        ("rerun r", ["runs/ppo_0001"]),
        ("sweep show ", ["runs/sweep_0001"]),
        ("report ev", ["evaluations/eval_0001"]),
        ("report show ", ["evaluations/eval_0001"]),
        ("report compare evaluations/eval_0001 ", ["evaluations/eval_0001"]),
        ("config show web.p", ["web.port"]),
        ("help ex", ["exit-codes"]),
        ("sessions ls --format ", ["table", "json", "ndjson", "csv"]),
        ("train --algo ", ["ppo", "a2c", "maskable-ppo"]),
        ("init --env ", ["local", "demo", "production"]),
        ("sessions ", ["ls", "show"]),
        ("sesions ", []),
        ("sessions show 12 ", []),
        ("watch --onc", ["--once"]),
        ("watch --no-c", ["--no-color"]),
        ("health --url ", []),
    ],
)
def test_what_may_follow(house: Kflow, line: str, found: list[str]) -> None:
    del house
    assert sorted(offered(line)) == sorted(found)


def test_the_newest_stands_first(house: Kflow) -> None:
    del house
    assert offered("simulate --sessions ") == ["12", "1"]


def test_every_option_of_every_command_is_offered() -> None:
    for name, command in COMMANDS.items():
        declared = {option for item in command.params for option in item.opts if option.startswith("--")}
        assert declared <= {*offered(f"{name} --")}, name


def test_what_is_written_by_hand_is_what_there_is() -> None:
    assert {*HAND_WRITTEN} == {*STRATEGIES}


def test_settings_that_do_not_fit_hinder_nobody(house: Kflow, tmp_path: Path) -> None:
    del house
    (tmp_path / "kflow.toml").write_text("[nonsense\n")
    assert offered("simulate --sessions ") == ["12", "1"]


def test_the_settings_file_of_the_line_says_where_to_look(house: Kflow, tmp_path: Path) -> None:
    del house
    (tmp_path / "other.toml").write_text('[data]\ndir = "elsewhere"\n')
    (tmp_path / "elsewhere").mkdir()
    remember(tmp_path / "elsewhere", Known(3, "c", 1, ("M",)))
    os.environ.pop("KFLOW_DATA_DIR")
    assert offered("--config other.toml simulate --sessions ") == ["3"]
    assert offered("simulate --config=other.toml --sessions ") == ["3"]


def test_nothing_is_made_by_looking(house: Kflow, tmp_path: Path) -> None:
    house("x", KFLOW_DATA_DIR=str(tmp_path / "none"), _KFLOW_COMPLETE="complete_bash", COMP_WORDS="kflow\nhelp\n")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("line", ["simulate --sessions ", "watch --market ", "models show "])
def test_it_loads_nothing_heavy_and_answers_at_once(house: Kflow, line: str) -> None:
    """150 ms of CPU beyond what a bare Python takes, the better of two."""
    del house
    code = (
        "import json, sys\n"
        "import kflow.cli.main as m\n"
        "code = m.run([])\n"
        f"print(json.dumps([code, [n for n in {(*HEAVY, 'pydantic')!r} if n in sys.modules]]), file=sys.stderr)"
    )
    words = "\n".join(["kflow", *line.split(" ")])
    asked = {"_KFLOW_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count("\n"))}

    def spent(program: str) -> tuple[float, str, str]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, **asked}
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            done.stdout,
            done.stderr,
        )

    seconds, out, err = min(spent(code) for _ in range(2))
    assert json.loads(err) == [0, []]
    assert out.splitlines()
    assert seconds - min(spent("")[0] for _ in range(2)) < 0.15


# --- real shells


def in_shell(shell: str, code: str, tmp_path: Path) -> str:
    """Run `code` in a shell that has kflow in its path and its completion loaded, as --install-completion would."""
    binary = shutil.which(shell)
    if binary is None:
        pytest.skip(f"{shell} is not installed")
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    script = subprocess.run(
        [sys.executable, "-m", "kflow"], capture_output=True, text=True, check=True,
        env={**os.environ, **path, "_KFLOW_COMPLETE": f"source_{shell}"},
    ).stdout  # fmt: skip
    (tmp_path / "script").write_text(script)
    done = subprocess.run(
        [binary, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **path}, cwd=tmp_path
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("kflow simulate --sessions ''", ["12", "1"]),
        ("kflow watch --market ''", [SECOND, FIRST]),
        ("kflow models show ppo :", ["1", "2"]),  # bash cuts words at a colon, and completes what is behind it
        ("kflow models show ppo : 1", ["1"]),
        ("kflow train --algo = p", ["ppo"]),
        ("kflow sess", ["sessions"]),
        ("kflow models show 'pp", ["ppo", "ppo:1", "ppo:2"]),
    ],
)
def test_bash(house: Kflow, tmp_path: Path, words: str, found: list[str]) -> None:
    del house
    quoted = words.replace("'pp", "\\'pp")
    code = f"""
        source ./script
        COMP_WORDS=({quoted}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _kflow_completion kflow
        printf '%s\n' "${{COMPREPLY[@]}}"
    """
    assert sorted(in_shell("bash", code, tmp_path).split()) == sorted(found)


def test_zsh(house: Kflow, tmp_path: Path) -> None:
    del house
    code = """
        compdef() { }
        _arguments() { print -r -- "$1" }
        source ./script
        words=(kflow watch --market ''); CURRENT=4
        _kflow_completion
        words=(kflow models show ppo:); CURRENT=4
        _kflow_completion
    """
    out = in_shell("zsh", code, tmp_path)
    assert FIRST in out
    assert "session 12" in out
    assert "ppo" in out.splitlines()[-1]
    assert "touch" not in out


def test_fish(house: Kflow, tmp_path: Path) -> None:
    del house
    code = "source ./script; complete -C 'kflow simulate --sessions '; complete -C 'kflow models show ppo:'"
    lines = [line.split("\t") for line in in_shell("fish", code, tmp_path).splitlines()]
    assert {line[0] for line in lines} == {"1", "12", "ppo:1", "ppo:2"}
    assert ["12", "2025-12-30 09.20Z, 5 markets"] in lines
