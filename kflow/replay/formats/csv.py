"""CSV: a header, then one row per event with every column of `rows`. Lists are numbers separated by spaces."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from kflow.errors import DataError
from kflow.replay.formats import Target
from kflow.replay.formats.levels import LevelDigest, LevelFollower
from kflow.replay.formats.rows import COLUMNS, NAMES, Row, moment_of, row_of
from kflow.replay.load import Moment

_KINDS: Final = dict(COLUMNS)


class Writer:
    """Writes <market>.csv."""

    def __init__(self, target: Target) -> None:
        self._file = (target.directory / f"{target.stem}.csv").open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(NAMES)

    def write(self, moment: Moment) -> None:
        row = row_of(moment)
        self._rows.writerow([_text(row.get(name)) for name in NAMES])

    def close(self, facts: dict[str, Any]) -> None:  # noqa: ARG002 - the manifest has them
        self._file.close()


def read(paths: Iterable[Path]) -> Iterator[Moment]:
    """The events of files that `Writer` made."""
    for path in paths:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            if tuple(next(rows, ())) != NAMES:
                raise DataError(f"{path} has other columns than this kflow writes")
            for values in rows:
                yield moment_of(_row(values))


def read_levels(paths: Iterable[Path]) -> LevelDigest:
    follower = LevelFollower()
    for moment in read(paths):
        follower.changes(moment)
    return follower.digest


def _text(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return int(value) if isinstance(value, bool) else value


def _row(values: list[str]) -> Row:
    row: Row = {}
    for name, text in zip(NAMES, values, strict=True):
        kind = _KINDS[name]
        if kind == "ints":
            row[name] = [int(number) for number in text.split()]
        elif text:
            row[name] = int(text) if kind == "int" else text == "1" if kind == "bool" else text
    return row
