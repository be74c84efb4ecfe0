"""How results look. The only module that formats for eyes.

stdout carries data only: a table for people, or JSON, NDJSON or CSV for programs. Notes and progress go to stderr.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from kflow.cli import console

SCHEMA_VERSION = 1  # of the JSON that read commands print; rises when a field changes its meaning or leaves

Row = Mapping[str, Any]
NS_PER_S = 1_000_000_000
_log = logging.getLogger("kflow")
# What stands to the right in a table: a number with its sign, its uncertainty and its unit, or a span of time.
_NUMBER = re.compile(r"[-+$]*\d[\d,.]*( ?± ?[\d,.]+)?( ?[%¢]| [a-zA-Zµ/]+( \d+ [a-z]+)?)?")


class Format(StrEnum):
    """How a read command prints."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


FormatOption = Annotated[Format | None, typer.Option("--format", help="How to print; table by default.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Short for --format json.")]


def chosen(form: Format | None, as_json: bool) -> Format:
    """The format that `--format` and `--json` ask for together. Raises UsageError where they disagree."""
    if as_json:
        require_json(form)
    return Format.JSON if as_json else form or Format.TABLE


def require_json(form: StrEnum | None) -> None:
    """Raises UsageError where `--format`, given beside `--json`, says something else."""
    if form is not None and form.value != Format.JSON.value:
        from kflow.errors import UsageError

        raise UsageError(f"--json and --format {form.value} ask for two things", hint="give one of them")


def rows(name: str, items: Sequence[Row], *, columns: Sequence[str], form: Format, empty: str = "none") -> None:
    """Print `items`: as a table of `columns`, or whole for programs; in JSON they stand under `name`."""
    if form is Format.JSON:
        _json({"schema_version": SCHEMA_VERSION, name: list(items)})
    elif form is Format.NDJSON:
        for item in items:
            sys.stdout.write(_dumped(item, indent=None) + "\n")
    elif form is Format.CSV:
        _csv(items, columns)
    elif items:
        _table(columns, [[cell(item.get(column)) for column in columns] for item in items])
    else:
        note(empty)


def record(item: Row, *, form: Format) -> None:
    """Print one thing: its fields below each other, or as one object for programs."""
    if form is Format.JSON:
        _json({"schema_version": SCHEMA_VERSION, **item})
    elif form is Format.NDJSON:
        sys.stdout.write(_dumped({"schema_version": SCHEMA_VERSION, **item}, indent=None) + "\n")
    elif form is Format.CSV:
        _csv([item], list(item))
    else:
        width = max(map(len, item), default=0)
        for key, value in item.items():
            sys.stdout.write(f"{key.replace('_', ' '):<{width}}  {cell(value)}\n")


def text(lines: str) -> None:
    """Print prose or a drawing; lines of it are data like any."""
    sys.stdout.write("".join(c if c.isprintable() or c == "\n" else "·" for c in lines) + "\n")


def note(text: str) -> None:
    """Say something on stderr that is not data; `-q` hides it."""
    _log.info("%s", text)


def cell(value: Any) -> str:
    """A value for eyes: — where unknown, whole numbers grouped, lists joined, nothing that steers a terminal."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, list | tuple | set):
        return ", ".join(map(cell, value)) or "—"
    if isinstance(value, Mapping):
        return _dumped(value, indent=None)
    return "".join(c if c.isprintable() else "·" for c in str(value))


def when(ns: int | None) -> datetime | None:
    """The moment of a Unix time in nanoseconds, UTC; to the microsecond."""
    if ns is None:
        return None
    seconds, rest = divmod(ns, NS_PER_S)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def duration(seconds: float | None) -> str:
    """A span of time, in the two units that matter."""
    if seconds is None:
        return "—"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 60:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{days} d {hours % 24} h"


def minute(moment: datetime | None) -> str:
    """A moment without its seconds, where a line is short."""
    return "—" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


def terminal_width() -> int:
    """Columns to fill; many where stdout is no terminal, since nothing is cut there."""
    return console.width(sys.stdout)


def size(count: int | None) -> str:
    """Bytes, in the unit that keeps it short."""
    if count is None:
        return "—"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


@contextmanager
def progress(what: str, total: int | None, *, unit: str) -> Iterator[Callable[[int], None]]:
    """Show progress on stderr while the block runs; call what it gives with the amount just done.

    A bar with rate and remaining time on a terminal, a line every 10 s elsewhere, nothing where notes are hidden.
    """
    if not _log.isEnabledFor(logging.INFO):
        yield lambda _amount: None
    elif console.drawable(sys.stderr):
        with _bar(what, total, unit) as advance:
            yield advance
    else:
        yield _lines(what, total, unit)


@contextmanager
def _bar(what: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, Progress, TextColumn

    begun = _now_ns()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[done]}"),
    )
    with Progress(*columns, console=console.console(sys.stderr), transient=True) as bar:
        task = bar.add_task(what, total=total, done=pace(0, total, unit, 0).partition(" (")[0])
        done = 0

        def advance(amount: int) -> None:
            nonlocal done
            done += amount
            bar.update(task, advance=amount, done=pace(done, total, unit, _now_ns() - begun))

        yield advance


def _lines(what: str, total: int | None, unit: str) -> Callable[[int], None]:
    begun = said = _now_ns()
    done = 0

    def advance(amount: int) -> None:
        nonlocal done, said
        done += amount
        now = _now_ns()
        if now - said >= 10 * NS_PER_S:
            said = now
            note(f"{what}: {pace(done, total, unit, now - begun)}")

    return advance


def _now_ns() -> int:
    from kflow.clock import SystemClock  # brings asyncio, which a plain read command does not need

    return SystemClock().mono_ns()


def pace(done: int, total: int | None, unit: str, took_ns: int) -> str:
    """How much is done, how fast that goes, and how long the rest takes."""
    per_s = done * NS_PER_S / took_ns if took_ns else 0.0
    of = f" of {total:,}" if total else ""
    speed = f"{per_s:,.0f}/s" if per_s >= 10 else f"{per_s:.2g}/s"
    left = f", {duration(max(total - done, 0) / per_s)} left" if total and per_s else ""
    return f"{done:,}{of} {unit} ({speed}{left})"


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        numeric = all(line[index] == "—" or _NUMBER.fullmatch(line[index]) for line in lines)
        table.add_column(
            column.replace("_", " "), justify="right" if numeric else "left", no_wrap=not sys.stdout.isatty()
        )
    for line in lines:
        table.add_row(*(Text(text) for text in line))
    out = console.console(sys.stdout)
    with out.capture() as drawn:
        out.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))


def _json(item: Row) -> None:
    sys.stdout.write(_dumped(item, indent=2) + "\n")


def _dumped(item: Row, *, indent: int | None) -> str:
    return json.dumps(item, indent=indent, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """What JSON has no type for: moments as RFC 3339 in UTC, sets as lists, everything else as its text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    return str(value)


def _csv(items: Sequence[Row], columns: Sequence[str], *, out: TextIO | None = None) -> None:
    import csv

    writer = csv.writer(out or sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for item in items:
        writer.writerow([_flat(item.get(column)) for column in columns])


def _flat(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping | list | tuple | set):
        return _dumped(value, indent=None)  # type: ignore[arg-type]
    return _plain(value)
