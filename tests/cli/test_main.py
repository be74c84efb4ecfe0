"""The command as a whole: exit codes, errors as sentences, what goes to which stream, what is not loaded."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kflow import errors
from kflow.cli import main
from kflow.cli.exitcodes import EXIT_CODES
from kflow.cli.topics import FAULT_KINDS
from kflow.exchange.faults import Kind, load_script
from tests.cli.conftest import Kflow

HEAVY = ("numpy", "numba", "psycopg", "starlette", "torch", "httpx", "websockets", "msgspec", "cryptography", "rich",
         "asyncio", "pydantic", "uvicorn")  # fmt: skip


def test_help_lists_every_command_without_loading_any_heavy_library() -> None:
    code = (
        "import sys, json, kflow.cli.main as m\n"
        "code = m.run(['--help'])\n"
        f"print(json.dumps([code, [n for n in {HEAVY!r} if n in sys.modules],\n"
        "    [n for n in sys.modules if n.startswith('kflow.')]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *text, last = done.stdout.splitlines()
    exit_code, heavy, ours = json.loads(last)
    assert (exit_code, heavy) == (0, [])
    assert set(ours) <= {"kflow.cli", "kflow.cli.console", "kflow.cli.lazy", "kflow.cli.main", "kflow.errors"}
    said = " ".join(" ".join(text).split())
    for name, mount in main.MOUNTS.items():
        assert f" {name} {mount.about} " in f"{said} ", name


@pytest.mark.parametrize("command", ["config show", "help exit-codes"])
def test_a_command_loads_only_what_it_needs(command: str) -> None:
    code = (
        "import json, sys, kflow.cli.main as m\n"
        f"m.run({command.split()!r})\n"
        f"print(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout.splitlines()[-1])) <= {"rich", "pydantic"}  # typer converts options with it


@pytest.mark.parametrize("name", main.MOUNTS)
def test_the_help_of_a_command_begins_as_the_list_of_commands_says(kflow: Kflow, name: str) -> None:
    done = kflow(name, "--help")
    assert done.code == 0
    assert main.MOUNTS[name].about in " ".join(done.out.split())


def test_it_is_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "kflow", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("kflow ")


def test_an_unknown_command_is_misuse_and_the_near_one_is_named(kflow: Kflow) -> None:
    done = kflow("sesions")
    assert (done.code, done.out) == (2, "")
    assert "no such command: 'sesions'. Did you mean 'sessions'?" in done.err


@pytest.mark.parametrize("arguments", [("sessions", "show", "x"), ("health", "--nope"), ("sessions", "show")])
def test_misuse_ends_with_2_and_says_nothing_on_stdout(kflow: Kflow, arguments: tuple[str, ...]) -> None:
    done = kflow(*arguments)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"error: .+\nhint: kflow [a-z ]+ --help\n", done.err)


def test_every_error_ends_with_its_exit_code_a_sentence_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.report(errors.RiskHalt("stopped by hand", hint="arm again"), debug=False) == 7
    assert capsys.readouterr().err == "error: stopped by hand\nhint: arm again\n"


def test_every_exit_code_of_the_error_tree_is_explained() -> None:
    def tree(kind: type[errors.KflowError]) -> set[int]:
        return {kind.exit_code}.union(*(tree(child) for child in kind.__subclasses__()))

    assert tree(errors.KflowError) <= {entry.code for entry in EXIT_CODES}
    assert [entry.code for entry in EXIT_CODES] == [*range(10), 130, 143]


def test_an_error_of_ours_is_found_inside_the_group_of_a_task_group(capsys: pytest.CaptureFixture[str]) -> None:
    inner = ExceptionGroup("tasks", [ValueError("noise"), errors.DatabaseError("no room", hint="make some")])
    assert main.report(ExceptionGroup("outer", [inner]), debug=False) == 4
    assert capsys.readouterr().err == "error: no room\nhint: make some\n"


def test_the_unexpected_is_one_sentence_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.report(RuntimeError("disk on fire"), debug=False) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: RuntimeError: disk on fire\nhint: ")
    assert "--debug" in said


def test_debug_shows_the_traceback_with_its_secrets_hidden(kflow: Kflow, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise RuntimeError("no connection to postgresql://u:canary@h/d")
    except RuntimeError as error:
        main.report(error, debug=True)
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "test_main.py" in said
    assert "canary" not in said
    assert "Traceback" in kflow("config", "check", "--debug", KFLOW__ZZZ="1").err
    assert "Traceback" in kflow("config", "check", KFLOW__ZZZ="1", KFLOW_DEBUG="1").err
    assert "Traceback" not in kflow("config", "check", KFLOW__ZZZ="1").err


@pytest.mark.parametrize("topic", ["", "exit-codes", "settings", "faults"])
def test_help_topics(kflow: Kflow, topic: str) -> None:
    assert kflow("help", *filter(None, [topic])).code == 0


def test_an_unknown_topic_is_misuse(kflow: Kflow) -> None:
    done = kflow("help", "nothing")
    assert (done.code, done.err) == (
        2,
        "error: there is no help topic nothing\nhint: topics: exit-codes, settings, faults\n",
    )


def test_help_explains_every_exit_code(kflow: Kflow) -> None:
    text = kflow("help", "exit-codes").out
    for entry in EXIT_CODES:
        assert entry.meaning in text


def test_help_explains_every_fault_with_a_script_that_is_one(kflow: Kflow, tmp_path: Path) -> None:
    text = kflow("help", "faults").out
    assert set(FAULT_KINDS) == {kind.value for kind in Kind}
    script = tmp_path / "script.toml"
    script.write_text("[[fault]]" + text.partition("[[fault]]")[2].partition("\n\n")[0])
    assert len(load_script(script)) == 1


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m kflow config show --format csv | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "Error" not in done.stderr
    assert "Traceback" not in done.stderr


WAITING = """
    import sys
    import kflow.cli.main as m

    def wait():
        print("ready", flush=True)
        sys.stdin.read()

    m.MOUNTS["wait"] = m.Mount("__main__:wait", "")
    sys.exit(m.run(["wait"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_a_command_without_a_traceback(number: signal.Signals, code: int) -> None:
    """A shell shows death by SIGTERM as 143. The command waits in a real read of a pipe that never speaks."""
    program = textwrap.dedent(WAITING)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, number)
        assert process.wait(10) == code
        assert "Traceback" not in process.stderr.read()
