"""JSON Lines: one object per event; columns that are empty are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from kflow.errors import DataError
from kflow.replay.formats import Target
from kflow.replay.formats.levels import LevelDigest, LevelFollower
from kflow.replay.formats.rows import moment_of, row_of
from kflow.replay.load import Moment

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Writer:
    """Writes <market>.jsonl."""

    def __init__(self, target: Target) -> None:
        self._file = (target.directory / f"{target.stem}.jsonl").open("wb")

    def write(self, moment: Moment) -> None:
        row = row_of(moment)
        self._file.write(_encode({"kind": row.pop("kind"), **row}) + b"\n")

    def close(self, facts: dict[str, Any]) -> None:  # noqa: ARG002 - the manifest has them
        self._file.close()


def read(paths: Iterable[Path]) -> Iterator[Moment]:
    """The events of files that `Writer` made."""
    for path in paths:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = _decode(line)
                except msgspec.MsgspecError as error:
                    raise DataError(f"{path}, line {number}: {error}") from None
                yield moment_of(row)


def read_levels(paths: Iterable[Path]) -> LevelDigest:
    follower = LevelFollower()
    for moment in read(paths):
        follower.changes(moment)
    return follower.digest
