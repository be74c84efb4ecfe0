"""What every command keeps to, over the whole tree of them: a new one is held to it without being named here."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from kflow.cli import main
from kflow.policy.features import SCHEMA
from kflow.store import registry
from kflow.testing import models
from kflow.testing.postgres import Database
from kflow.testing.process import Outcome
from tests.cli.conftest import CANARY, Kflow, refused
from tests.cli.test_models import LAYOUT, NOW_NS, facts
from tests.cli.test_sessions import recorded

__all__ = ["recorded"]

# Nothing of these is needed to know a command's options, to complete a word, or to print its help.
HEAVY = (
    *("asyncio", "cryptography", "gymnasium", "httpx", "matplotlib", "msgspec", "numba", "numpy", "optuna", "psycopg"),
    *("pyarrow", "ray", "rich", "stable_baselines3", "starlette", "torch", "uvicorn", "websockets"),
)

# Commands without --json, and why.
WITHOUT_JSON = {
    "init": "its result is a file",
    "exchange serve": "its first line is JSON anyway",
    "replay serve": "its first line is JSON anyway",
    "models promote": "changes something, and reads nothing",
    "models export": "its result is a file",
    "models rm": "changes something, and reads nothing",
    "actor arm": "changes something, and reads nothing",
    "db upgrade": "changes something; kflow db status reads",
    "help": "prose",
}
# What is read here with --json, after its own words; the other commands with it are tried where they are tested.
READS = {
    "sessions ls": (),
    "sessions show": ("2",),
    "models ls": (),
    "models show": ("ppo:1",),
    "models verify": ("ppo:1",),
    "db status": (),
    "db stats": (),
    "config show": ("--origins",),
    "config check": (),
    "actor status": (),
    "actor limits": (),
    "doctor": (),
}


def leaves(command: Any, context: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        yield name, command
        return
    for word in command.list_commands(context):
        yield from leaves(command.get_command(context, word), context, f"{name} {word}".strip())


ROOT: Any = get_command(main.app)
CONTEXT = ROOT.make_context("kflow", [], resilient_parsing=True)
COMMANDS = dict(leaves(ROOT, CONTEXT))


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def forms(command: Any) -> list[str]:
    [form] = [parameter for parameter in command.params if "--format" in parameter.opts]
    return [str(choice.value) for choice in form.type_descriptor.choices or ()]


# --- what a command declares


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_speaks_json_or_has_a_reason_not_to(name: str) -> None:
    assert ("--json" in options(COMMANDS[name])) is (name not in WITHOUT_JSON)


def test_reasons_are_of_commands_that_there_are() -> None:
    assert {*WITHOUT_JSON, *READS} <= COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_means_something_else_by_a_global_option(name: str) -> None:
    assert not options(COMMANDS[name]) & {*main.GLOBAL, "--version"}


@pytest.mark.parametrize("name", COMMANDS)
def test_everything_is_explained(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    silent = [parameter.name for parameter in command.params if not getattr(parameter, "help", None)]
    assert silent == []


def test_no_command_loads_anything_heavy_before_it_runs() -> None:
    code = (
        "import json, sys\n"
        "from kflow.cli.main import MOUNTS\n"
        "for name, mount in MOUNTS.items():\n"
        "    mount.load(name)\n"
        f"    print(json.dumps([name, [n for n in {HEAVY!r} if n in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, _ in loaded] == list(main.MOUNTS)
    assert [item for item in loaded if item[1]] == []


# --- what a command prints


@pytest.fixture
def house(recorded: Callable[..., Outcome], database: Database, tmp_path: Path) -> Callable[..., Outcome]:
    """Two recorded sessions, and a model."""
    with database.connect(autocommit=True) as conn:
        made = registry.create(conn, "ppo", "ppo", now_ns=NOW_NS, feature_schema=SCHEMA, run_folder="runs/ppo_0001")
        network = models.untrained(LAYOUT, 0)
        registry.finish(conn, tmp_path / "data", made.id, network, facts(version=made.version), now_ns=NOW_NS)
    return recorded


@pytest.mark.parametrize("name", READS)
def test_what_is_read_is_the_same_in_every_form(house: Callable[..., Outcome], name: str) -> None:
    words = (*name.split(), *READS[name])
    whole = house(*words, "--json", "-q")
    assert (whole.code, whole.err) == (0, ""), whole
    assert whole.json["schema_version"] == 1
    assert whole.out == json.dumps(whole.json, indent=2, ensure_ascii=False) + "\n"  # and nothing besides
    if "--format" not in options(COMMANDS[name]):
        return
    assert forms(COMMANDS[name]) == ["table", "json", "ndjson", "csv"]
    table, again, lines, sheet = (house(*words, "-q", "--format", form) for form in forms(COMMANDS[name]))
    assert {done.code for done in (table, again, lines, sheet)} == {0}
    assert {done.err for done in (table, again, lines, sheet)} == {""}
    assert again.json.keys() == whole.json.keys()
    things = [json.loads(line) for line in lines.out.splitlines()]
    lists = [value for value in again.json.values() if isinstance(value, list)]
    assert [*things[0]] == [*again.json] or any(len(found) == len(things) for found in lists)
    header, *rows = csv.reader(io.StringIO(sheet.out))
    assert len(rows) == len(things)
    assert set(header) <= {*things[0], "schema_version"}
    assert len(table.out.splitlines()) >= len(things)
    assert "\x1b" not in table.out


@pytest.mark.parametrize(
    ("environ", "words", "coloured"),
    [
        ({}, (), False),
        ({"FORCE_COLOR": "1"}, (), True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, (), False),
        ({"FORCE_COLOR": "1"}, ("--no-color",), False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, (), False),
    ],
)
def test_who_decides_on_colours(kflow: Kflow, environ: dict[str, str], words: tuple[str, ...], coloured: bool) -> None:
    for command, stream in ((("config", "show"), "out"), (("sessions", "show", "x"), "err"), (("nope",), "err")):
        assert ("\x1b[" in getattr(kflow(*command, *words, **environ), stream)) is coloured, command
    assert "\x1b[" not in kflow("config", "show", "--json", *words, **environ).out


def test_a_global_option_may_stand_anywhere(kflow: Kflow, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[web]\nport = 9\n")
    for words in (
        ("--config", "other.toml", "config", "show"),
        ("config", "--config=other.toml", "show"),
        ("config", "show", "--config", "other.toml"),
    ):
        assert "web.port,9," in kflow(*words, "--format", "csv").out
    warned = {"KFLOW_CONFIG": "other.toml", "RL_SAMPLE_RATE": "1"}
    assert "nothing reads" in kflow("config", "check", **warned).err
    assert kflow("config", "check", "-q", **warned).err == ""


def test_names_that_are_near_are_proposed_in_every_group(kflow: Kflow) -> None:
    for words, near in (("sesions", "sessions"), ("models shw", "show"), ("db stat", "stats")):
        done = kflow(*words.split())
        assert (done.code, done.out) == (2, "")
        assert f"Did you mean {near!r}?" in done.err
        assert done.err.splitlines()[-1].startswith("hint: kflow ")


def test_where_nothing_is_there_it_says_what_to_do(kflow: Kflow, database: Database) -> None:
    for words in ("sessions ls", "models ls"):
        done = kflow(*words.split(), DATABASE_URL=database.dsn)
        assert (done.code, done.out) == (0, "")
        assert "kflow " in done.err


# --- what a command says when it cannot


# Wrong before anything is asked: no database, no network, no folder is touched.
MISUSED = {
    "sessions show": "x",
    "replay verify": "--session x",
    "replay export": "--sessions 5-1 --out o",
    "simulate": "--sessions a",
    "calibrate": "--from nofile",
    "train": "--resume runs/none",
    "sweep show": "none",
    "rerun": "none",
    "evaluate": "",
    "report show": "none",
    "report compare": "a b",
    "parity": "nofile",
    "audit features": "--from nofile",
    "audit masks": "--world mars",
    "offpolicy estimate": "none.npz ppo:1",
    "actor run": "--enable --strategy foo",
    "actor arm": "",
    "health": "--url nonsense",
    "watch": "--once --url nonsense",
    "exchange serve": "--synthetic foo",
    "config show": "foo",
    "help": "foo",
}
# What needs the database; where it is down each says so.
ASKING = {
    "sessions ls": "",
    "sessions show": "1",
    "replay verify": "--session 1",
    "replay export": "--sessions 1 --out o",
    "replay serve": "--session 1",
    "simulate": "",
    "calibrate": "",
    "train": "--sessions 1",
    "evaluate": "join --sessions 1",
    "parity": "--run last",
    "audit leak": "--sessions 1",
    "models ls": "",
    "models show": "ppo",
    "models promote": "ppo:1 paper",
    "models verify": "ppo:1",
    "models rm": "ppo:1",
    "offpolicy log": "ppo:1 --out x",
    "kill": "",
    "db upgrade": "",
    "db status": "",
    "db stats": "",
    "ingest": "--port 0",
}
DOWN = {"DATABASE_URL": f"postgresql://u:{CANARY}@127.0.0.1:1/d"}


@pytest.mark.parametrize("name", MISUSED)
def test_misuse_is_told_before_anything_is_asked(kflow: Kflow, tmp_path: Path, name: str) -> None:
    refused(kflow(*name.split(), *MISUSED[name].split(), **DOWN), 2)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ASKING)
def test_a_database_that_is_down(kflow: Kflow, name: str) -> None:
    refused(kflow(*name.split(), *ASKING[name].split(), **DOWN), 4, "no connection to postgresql://u:***@127.0.0.1:1/d")
