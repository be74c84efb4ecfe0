"""The reference pages of docs/, made from the code: python -m kflow.cli.reference FOLDER writes them."""

from __future__ import annotations

import inspect
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from typer.main import get_command

from kflow import errors
from kflow.cli import reasons
from kflow.cli.exitcodes import EXIT_CODES
from kflow.cli.main import app
from kflow.settings import OTHER_VARIABLES, Declaration, declared, groups
from kflow.store import catalogue, migrate, postgres
from kflow.store.catalogue import Column
from kflow.store.embedded import EmbeddedServer

MADE = "<!-- Made from the code by `make docs`; a test compares. -->"
WIDTH = 100
SETTINGS_RULES = (
    "Flags win over the environment, the environment over `kflow.toml`, and that over the defaults. "
    "`kflow config show --origins` says what holds and why; `kflow config check` finds mistakes. "
    "Relative paths in `kflow.toml` start at its own folder. Lists in the environment are separated by commas."
)
_ERRORS = (
    "What `kflow` raises on purpose, in Python too: each says in one sentence what happened, and in `hint` what to do "
    "now. The command line prints both and ends with the code."
)
_TABLES = (
    "The migrated database's own catalogue, as `\\d+` of psql shows it. [The database](database.md) says which server, "
    "which roles and how rows come to be. Money is 1e-6 dollar, prices 1e-4 dollar, sizes 1e-2 contract, by the "
    "suffixes `_e6`, `_e4` and `_e2`; null is unknown, never zero."
)
_POLICY_RULES = (
    "The same in training and before the venue: one source, compiled by numba for batches, plain Python for one "
    "market. A model keeps the schema's hash and its action set, and is refused where either differs."
)
_FEATURE_TERMS = (
    "log(a, b) is ln(1 + a) / ln(1 + b), no more than 1; of a negative number its mirror image. E[t] is a sum in which "
    "what lies s seconds back counts exp(-s / t). q_b and q_a are the sizes at the touch. Scaling is fixed; nothing is "
    "learnt from data. A maker's fee is no feature: it is a fixed share of the taker's, or nothing."
)


def pages() -> dict[str, str]:
    """Each page by its file name."""
    from kflow.web import metrics

    return {
        "cli.md": _commands_page(),
        "settings.md": _settings_page(),
        "exit-codes.md": _exit_codes_page(),
        "policy.md": _policy_page(),
        "metrics.md": metrics.document(MADE),
        "reasons.md": reasons.page(MADE),
    }


def commands() -> Iterator[tuple[str, str]]:
    """Every command as its full name and its help."""
    root: Any = get_command(app)
    yield from _walk(root, root.make_context("kflow", [], resilient_parsing=True, terminal_width=WIDTH))


def _walk(command: Any, context: Any) -> Iterator[tuple[str, str]]:
    yield context.command_path, command.get_help(context)
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            inner = child.make_context(name, [], parent=context, resilient_parsing=True, terminal_width=WIDTH)
            yield from _walk(child, inner)


def _commands_page() -> str:
    parts = [
        "# Commands",
        MADE,
        "Results go to stdout, everything else to stderr. How a command ends: [exit codes](exit-codes.md).",
    ]
    for name, text in commands():
        parts.append(f"## {name}\n\n```text\n{_tidy(text)}\n```")
    return "\n\n".join(parts) + "\n"


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))


def _settings_page() -> str:
    head = ["# Settings", MADE, SETTINGS_RULES]
    lines: list[str] = []
    for group, about in groups():
        lines += [
            "",
            f"## {group}",
            "",
            about,
            "",
            "| setting | what | type | default | environment |",
            "|---|---|---|---|---|",
        ]
        lines += [_setting_line(item) for item in declared() if item.key.startswith(f"{group}.")]
    others = ["", "## Other variables", "", "| variable | what |", "|---|---|"]
    others += [f"| `{name}` | {about} |" for name, about in OTHER_VARIABLES.items()]
    example = ["", "## kflow.toml", "", "```toml", *_example(), "```"]
    return "\n\n".join(head) + "\n" + "\n".join(lines + others + example) + "\n"


def _setting_line(item: Declaration) -> str:
    kind = item.type_name.replace(" | ", ", ") + (f" [{item.unit}]" if item.unit else "")
    names = ", ".join(f"`{name}`" for name in item.env)
    return f"| `{item.key}` | {item.about} | {kind} | {item.shown(item.default)} | {names} |"


def _example() -> list[str]:
    return ["[selection]", 'events = ["INXD-25JAN03"]', "", "[recorder]", "batch_rows = 500", "flush_interval_s = 0.5"]


def _exit_codes_page() -> str:
    lines = ["# Exit codes", "", MADE, "", "| code | name | when |", "|---|---|---|"]
    lines += [f"| {entry.code} | {entry.name} | {entry.meaning} |" for entry in EXIT_CODES]
    lines += ["", "## Errors", "", _ERRORS, "", "| error | what | code |", "|---|---|---|"]
    lines += [
        f"| {'· ' * depth}`{error.__name__}` | {about} | {error.exit_code} |" for error, about, depth in failures()
    ]
    return "\n".join(lines) + "\n"


def failures(error: type[errors.KflowError] = errors.KflowError, depth: int = 0) -> Iterator[tuple[Any, str, int]]:
    """Every error of `kflow.errors`, what it says of itself, and how deep in the tree it is."""
    yield error, inspect.getdoc(error).split("\n")[0], depth  # type: ignore[union-attr]
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from failures(child, depth + 1)


def _policy_page() -> str:
    """What policies see, what they may do, and with which hyper-parameters they are trained."""
    from kflow.policy import actions, features
    from kflow.rl.presets import PRESETS, hyper_of

    lines = ["# What a policy sees and may do", "", MADE, "", _POLICY_RULES, "", "## Features", ""]
    lines += [
        f"Schema `{features.SCHEMA}`. {_FEATURE_TERMS}",
        "",
        "| | name | of | range | formula |",
        "|---|---|---|---|---|",
    ]
    for place, item in enumerate(features.FEATURES):
        low_high = f"{item.low:g} to {item.high:g}"
        lines.append(f"| {place} | `{item.name}` | {item.unit} | {low_high} | {item.formula} |")
    for name in ("default", "wide", "maker"):
        found = actions.action_set(name)
        lines += ["", f"## Actions: {name}", "", f"{len(found.actions)} of them with the default sizes.", ""]
        lines.append(", ".join(f"{place} {action.name}" for place, action in enumerate(found.actions)))
    lines += ["", "## Why an action is denied", "", "| | reason |", "|---|---|"]
    lines += [f"| {number} | {reason} |" for number, reason in sorted(actions.REASONS.items())]
    lines += ["", "## Presets", "", "| algorithm | preset | what | hyper-parameters | from |", "|---|---|---|---|---|"]
    for algorithm, presets in PRESETS.items():
        for name, preset in presets.items():
            hyper = ", ".join(f"{key} {value}" for key, value in sorted(hyper_of(algorithm, name).items()))
            lines.append(
                f"| {algorithm} | {name} | {preset.about} | {preset.envs} accounts; {hyper} | {preset.origin} |"
            )
    return "\n".join(lines) + "\n"


def tables_page(columns: Iterable[Column]) -> str:
    """docs/tables.md, of a database that has every migration."""
    lines = ["# Tables", "", MADE, "", _TABLES]
    for (name, view, about), found in groupby(columns, lambda column: (column.relation, column.is_view, column.about)):
        lines += ["", f"## {name}", "", str(about), ""]
        lines += (
            ["| column | type |", "|---|---|"] if view else ["| column | type | null | meaning |", "|---|---|---|---|"]
        )
        for column in found:
            null = "" if column.required else "may be"
            lines.append(
                f"| `{column.name}` | {column.type} |" + ("" if view else f" {null} | {_linked(column.meaning)} |")
            )
    return "\n".join(lines) + "\n"


def _linked(meaning: str | None) -> str:
    return re.sub(r"docs/([\w-]+)\.md", r"[\1](\1.md)", str(meaning))


def _catalogue() -> tuple[Column, ...]:
    """The columns of a new database, made for this and thrown away."""
    with tempfile.TemporaryDirectory(prefix="kflow-docs-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # of root, the server's own user must reach its files
        with EmbeddedServer.acquire(Path(folder)) as server, postgres.connect(server.dsn, autocommit=True) as conn:
            migrate.upgrade(conn)
            return catalogue.columns(conn)


if __name__ == "__main__":
    for name, text in (pages() | {"tables.md": tables_page(_catalogue())}).items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")
