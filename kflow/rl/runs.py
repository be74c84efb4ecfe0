"""A run's folder: its manifest, its command, curves as JSONL and CSV, checkpoints, and what came of it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import msgspec

import kflow
from kflow.errors import ConfigError, DataError, UsageError
from kflow.policy import features
from kflow.rl.plan import Plan

SCHEMA_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
PROGRESS: Final = "progress.jsonl"
EVENTS: Final = "events.jsonl"
# What weights depend on beside the plan, the data and the seed.
_PACKAGES: Final = ("gymnasium", "numba", "numpy", "sb3-contrib", "stable-baselines3", "torch")


class Manifest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a run was, and in `result` what it came to; None until it ended."""

    schema_version: int = SCHEMA_VERSION
    run: str
    command: list[str]
    plan: Plan
    origins: dict[str, str]  # of what was not left as it is by default: preset, command line
    kflow_version: str
    commit: str | None  # of the sources, where they lie in a repository
    packages: dict[str, str]
    packages_sha256: str  # of the names and versions of everything installed
    feature_schema: str
    features: list[str]
    tapes: list[dict[str, Any]]  # what was trained on
    held_out: list[dict[str, Any]]
    model: str | None = None  # name:version in the registry
    threads: int = 1
    result: dict[str, Any] | None = None


def new_folder(root: Path, algorithm: str) -> Path:
    """The next free folder below `root`: ppo_0001, ppo_0002 … Raises ConfigError where none can be made."""
    stem = algorithm.replace("-", "_")
    try:
        root.mkdir(parents=True, exist_ok=True)
        taken = [int(found[1]) for path in root.iterdir() if (found := re.fullmatch(rf"{stem}_(\d+)", path.name))]
        number = max(taken, default=0) + 1
        while True:
            folder = root / f"{stem}_{number:04d}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise ConfigError(f"cannot make a folder in {root}: {error.strerror}", hint="--runs FOLDER") from None


def describe(folder: Path, plan: Plan, command: Iterable[str], origins: Mapping[str, str], **data: Any) -> Manifest:
    """The manifest of a run that is about to begin."""
    installed = sorted({f"{item.metadata['Name']}=={item.version}" for item in metadata.distributions()})
    return Manifest(
        run=folder.name,
        command=list(command),
        plan=plan,
        origins=dict(origins),
        kflow_version=kflow.__version__,
        commit=commit(),
        packages={name: metadata.version(name) for name in _PACKAGES},
        packages_sha256=hashlib.sha256("\n".join(installed).encode()).hexdigest(),
        feature_schema=features.SCHEMA,
        features=[feature.name for feature in features.FEATURES],
        **data,
    )


def commit() -> str | None:
    """Of the repository that kflow runs from, with + where files in it were changed."""
    place = Path(kflow.__file__).parent
    if not (place.parent / ".git").exists():
        return None
    git = ("git", "-C", str(place))
    try:
        head, changed = (
            subprocess.run([*git, *what], capture_output=True, text=True, timeout=10, check=True).stdout.strip()  # noqa: S603 - fixed words
            for what in (("rev-parse", "HEAD"), ("status", "--porcelain", "."))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Whole or not at all."""
    write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def read_manifest(path: Path) -> tuple[Path, Manifest]:
    """Of a run's folder or of the file in it. Raises UsageError (none there), DataError (not one of ours)."""
    file = path / MANIFEST if path.is_dir() else path
    try:
        return file.parent, msgspec.json.decode(file.read_bytes(), type=Manifest)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="name a run's folder, as in runs/") from None
    except msgspec.MsgspecError as error:
        raise DataError(f"{file} is no manifest of this version: {error}", hint="use the kflow that wrote it") from None


def read_plan(path: Path) -> Plan:
    """Of a run, or of a file that holds a plan alone, as a sweep's best.json. Raises UsageError, DataError."""
    if path.is_file():
        try:
            return msgspec.json.decode(path.read_bytes(), type=Plan)
        except msgspec.MsgspecError:
            pass  # a manifest, or nothing of ours: that is said below
    return read_manifest(path)[1].plan


def write(path: Path, content: bytes) -> None:
    """Replace a file, durably and at once."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of JSON; one that was torn at the end is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def forget_after(folder: Path, step: int) -> None:
    """Drop what was logged behind a step: it is done again."""
    for name in (PROGRESS, EVENTS):
        kept = [line for line in read_lines(folder / name) if line["step"] <= step]
        if (folder / name).is_file():
            write(folder / name, "".join(json.dumps(line) + "\n" for line in kept).encode())


def write_csv(folder: Path) -> None:
    """progress.csv beside progress.jsonl: one column for each name that was ever logged."""
    lines = read_lines(folder / PROGRESS)
    columns = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write(folder / "progress.csv", text.getvalue().encode())
