"""The folder of a sweep: what it was asked for (sweep.json), what its units came to (results.jsonl), what was best."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from kflow.errors import DataError, InstanceLocked, UsageError
from kflow.rl import runs
from kflow.rl.folds import Fold
from kflow.rl.jobs import Done, Result
from kflow.rl.plan import Plan
from kflow.rl.searching import Space, drop_torn_line
from kflow.store.journal import DirectoryLock

SPEC: Final = "sweep.json"
RESULTS: Final = "results.jsonl"
BEST: Final = "best.json"
TAPES: Final = "tapes"
UNITS: Final = "units"
SCRATCH: Final = ".work"


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that decides what a sweep does: sweep.json."""

    schema_version: int = 1
    command: tuple[str, ...]
    plan: Plan
    space: Space
    sampler: str
    pruner: str
    trials: int
    folds: tuple[Fold, ...]
    seeds: tuple[int, ...]
    kflow_version: str
    feature_schema: str
    tapes: tuple[str, ...]  # folders; relative ones lie in the sweep's
    digests: tuple[str, ...]


def write_spec(folder: Path, spec: Spec) -> None:
    runs.write(folder / SPEC, msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n")


def read_spec(folder: Path) -> Spec:
    """Raises UsageError (none there), DataError (not one of ours)."""
    file = folder / SPEC
    try:
        return msgspec.json.decode(file.read_bytes(), type=Spec)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="name a sweep's folder, as in runs/") from None
    except msgspec.MsgspecError as error:
        raise DataError(f"{file} is no sweep of this version: {error}", hint="use the kflow that wrote it") from None


def lock(folder: Path) -> DirectoryLock:
    try:
        return DirectoryLock(folder)
    except InstanceLocked:
        raise InstanceLocked(f"another process works on {folder}", hint="wait for it to end, or stop it") from None


def read_results(folder: Path) -> dict[str, Result]:
    """By key; a line that was torn when the machine stopped is taken out of the file. Raises DataError."""
    file = folder / RESULTS
    drop_torn_line(file)
    try:
        text = file.read_bytes() if file.is_file() else b""
        found = [msgspec.json.decode(line, type=Result) for line in text.splitlines()]
    except msgspec.MsgspecError as error:
        raise DataError(f"{file} holds a line that is no result: {error}", hint="take that line out") from None
    return {result.key: result for result in found}


def keep(folder: Path, done: Done) -> None:
    """Write down what a unit came to. Files first: a unit is done when its line stands."""
    place = folder / UNITS / done.result.key
    place.mkdir(exist_ok=True)
    for name, content in done.files.items():
        runs.write(place / name, content)
    with (folder / RESULTS).open("ab") as file:
        file.write(msgspec.json.encode(done.result) + b"\n")
        file.flush()
        os.fsync(file.fileno())
