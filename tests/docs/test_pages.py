"""The documentation says what the code says: pages are made from it, and every command shown exists."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from kflow import errors
from kflow.act import denials, orders, pulse, reconcile
from kflow.act.alerts import Severity
from kflow.act.standing import Standing
from kflow.cli import reasons, reference
from kflow.cli.exitcodes import EXIT_CODES
from kflow.cli.main import app
from kflow.exchange import faults
from kflow.exchange import orders as venue_orders
from kflow.kalshi.feed import Ending
from kflow.market.events import GapKind, SnapshotReason
from kflow.policy.actions import REASONS
from kflow.settings import declared
from kflow.store import catalogue
from kflow.testing.postgres import Database
from kflow.web import actor, metrics

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))))
# Programs that a block may use besides our own.
OTHERS = {"cd", "git", "curl", "export", "pip", "pipx", "openssl", "chmod", "duckdb", "psql", "tmux", "uv"}
# And one that is about operating: it says where programs and files go on a machine.
OPERATORS = {"systemctl", "systemd-sysusers", "install", "docker", "echo", "cp", "chown", "/opt/kflow/bin/pip"}


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_a_reference_page_is_what_the_code_makes(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == reference.pages()[name], "run: make docs"


def test_every_command_has_its_heading() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name, _ in reference.commands():
        assert f"## {name}\n" in text


def test_every_setting_and_its_variables_are_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for item in declared():
        assert f"`{item.key}`" in text
        assert all(f"`{name}`" in text for name in item.env)


def test_every_exit_code_and_every_error_is_documented() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    assert all(f"| {entry.code} | {entry.name} |" in text for entry in EXIT_CODES)
    raised = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.KflowError)]
    assert len(raised) > 15
    assert all(f"`{error.__name__}` | " in text for error in raised)
    assert {error.exit_code for error in raised} <= {entry.code for entry in EXIT_CODES}


def test_every_table_and_every_column_is_documented_with_what_it_means(database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        columns = catalogue.columns(conn)
    assert len({column.relation for column in columns}) > 20
    for column in columns:
        assert column.about, f"a migration has to COMMENT ON {column.relation}"
        assert column.meaning or column.is_view, f"a migration has to COMMENT ON COLUMN {column.relation}.{column.name}"
    assert (ROOT / "docs" / "tables.md").read_text(encoding="utf-8") == reference.tables_page(columns), "run: make docs"


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for metric in (*metrics.METRICS, *actor.METRICS):
        assert f"| `{metric.name}` | {metric.kind} |" in text
        assert metric.about, metric.name


WORDS = [
    GapKind, SnapshotReason, Ending, orders.State, reconcile.Kind, Standing, Severity, venue_orders.Reason,
    venue_orders.Kill,
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS, ids=lambda words: f"{words.__module__}.{words.__name__}")
def test_every_reason_is_documented_with_what_it_means(words: type[Enum]) -> None:
    text = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    for member, meaning in zip(words, reasons.meanings(words).values(), strict=True):
        assert meaning, f"{member!r} needs a comment that says what it means"
        assert f"| `{member.value or '(empty)'}` | {meaning} |" in text


def test_every_denial_and_every_alert_is_documented() -> None:
    text = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    assert all(f"| `{reason}` | {reason.about} |" in text for reason in denials.Reason)
    assert all(f"- {refusal}\n" in text for refusal in REASONS.values())
    assert reasons.ALERTS.keys() == pulse.TOLD.keys()


def test_every_fault_is_documented() -> None:
    text = (ROOT / "docs" / "local-exchange.md").read_text(encoding="utf-8")
    rows = {name for row in re.findall(r"^\| ([a-z_, ]+) \|", text, re.MULTILINE) for name in row.split(", ")}
    assert {str(kind) for kind in faults.Kind} - rows == set()


def blocks(page: str, language: str) -> Iterator[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    yield from (match[1] for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def shell_lines(page: str) -> Iterator[str]:
    for block in blocks(page, "(?:bash|sh|console)"):
        for line in block.replace("\\\n", " ").splitlines():
            bare = line.strip().removeprefix("$ ")
            if bare and not bare.startswith("#"):
                yield bare


COMMANDS = [(page, line) for page in dict.fromkeys(PAGES) for line in shell_lines(page)]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_shown_exists_with_its_options(page: str, line: str) -> None:
    for part in re.split(r"\s(?:&&|\|\||\||;|&)(?:\s|$)", line):
        check_command(shlex.split(part, comments=True))


@pytest.mark.parametrize("page", dict.fromkeys(PAGES))
def test_code_blocks_parse(page: str) -> None:
    for block in blocks(page, "python"):
        compile(block, page, "exec")
    for block in blocks(page, "toml"):
        tomllib.loads(block)


def unprefixed(words: list[str]) -> list[str]:
    """Without variables, and without whom they are said as."""
    if words[:2] == ["sudo", "-u"]:
        words = words[3:]
    while words and (words[0] in ("sudo", "env") or re.fullmatch(r"[A-Z_]+=.*", words[0])):
        words = words[1:]
    return words


def check_command(words: list[str]) -> None:
    """Assert that a command line means something: programs, files, verbs, subcommands and options all exist."""
    words = unprefixed(words)
    if not words or words[0] in OTHERS | OPERATORS:
        return
    program = re.sub(r"^(\.venv/bin/|/opt/kflow/bin/)", "", words[0])
    if program == "kflow":
        check_kflow(words[1:])
    elif program == "make":
        for verb in filter(str.isalpha, words[1:]):
            assert verb in make_recipes(), words
            for path in re.findall(r"(?<=\s)(?:tests|bench|examples)/[\w/.]+", make_recipes()[verb]):
                assert (ROOT / path).exists(), f"make {verb} needs {path}"
    elif program in ("python", "python3", "pytest", "bash"):
        for name in words[1:]:
            if name.endswith((".py", ".sh")) or name.startswith("tests/"):
                path = ROOT / name.partition("::")[0]
                assert path.is_file() or any(path.rglob("test_*.py")), name
    else:
        raise AssertionError(f"{program} is no program that this page may show")


@cache
def root_command() -> Any:
    return get_command(app)


def check_kflow(words: list[str]) -> None:
    """Parse a line as the command line does, down to the value of each option; nothing is run."""
    parse(root_command(), "kflow", [word for word in words if word != "…"], None)


def parse(command: Any, name: str, words: list[str], parent: Any) -> None:
    try:
        context = command.make_context(name, words, parent=parent)
    except typer.Exit:
        return  # --help, --version
    except typer.TyperException as error:
        raise AssertionError(f"{name}: {error.format_message()}") from None
    # Beyond its options a group leaves the subcommand, and all that is its.
    rest = [*context._protected_args, *context.args] if hasattr(command, "list_commands") else []
    if rest:
        try:
            name, child, rest = command.resolve_command(context, rest)
        except typer.TyperException as error:
            raise AssertionError(error.format_message()) from None
        parse(child, name, rest, context)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("kflow ingests", "ingests"),
        ("kflow ingest --sessions 1", "--sessions"),
        ("kflow ingest --duration soon", "--duration"),
        ("kflow ingest --port 0.5", "port"),
        ("kflow replay export --format parquet", "--sessions|--out"),
    ],
)
def test_a_command_that_means_nothing_is_seen(line: str, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        check_command(shlex.split(line))


@cache
def make_recipes() -> dict[str, str]:
    """The commands of each verb."""
    text = (ROOT / "Makefile").read_text()
    return {match[1]: match[2] for match in re.finditer(r"^([a-z]+):.*\n((?:\t.*\n)*)", text, re.MULTILINE)}


STATES = ("works", "partly", "not yet")


def feature_rows() -> list[tuple[str, str, str]]:
    lines = (ROOT / "docs" / "features.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return [(row[0], row[1], row[2]) for row in cells if len(row) == 3 and row[1] not in ("state", "---")]


@pytest.mark.parametrize(("feature", "state", "proof"), feature_rows())
def test_a_feature_that_works_names_the_command_that_proves_it(feature: str, state: str, proof: str) -> None:
    assert state in STATES, feature
    shown = re.findall(r"`([^`]+)`", proof)
    assert shown or state == "not yet", f"{feature}: what proves it?"
    for command in shown:
        check_command(shlex.split(command))
