"""Compiled tapes on disk: a folder each, arrays as .npy that are mapped into memory, facts as JSON.

A folder is named by what the tape was made from (`key`); inside stands the digest of what it holds.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.errors import ConfigError, DataError
from kflow.sim.tape import Tape, TapeArrays

# Rises when a tape that was kept may not be read any more.
VERSION: Final = 3
_FACTS: Final = "tape.json"


def key_of(**source: Any) -> str:
    """Name of the folder of a tape made from this: any JSON that says what it was read from."""
    text = json.dumps({"version": VERSION, **source}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def digest(tape: Tape) -> str:
    """SHA-256 of what a tape holds: its market and every event. Of equal tapes it is equal."""
    whole = hashlib.sha256(f"kflow tape {VERSION}\n{tape.market}\n".encode())
    for name, array in _arrays(tape):
        whole.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        whole.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    return whole.hexdigest()


def _arrays(tape: Tape) -> Iterator[tuple[str, NDArray[Any]]]:
    return zip(TapeArrays._fields, tape.arrays, strict=True)


def save(tape: Tape, root: Path, key: str) -> Tape:
    """Keep a tape, whole or not at all, and give it back mapped. Raises ConfigError where that cannot be done."""
    facts: Mapping[str, Any] = {**tape.facts, "market": tape.market, "version": VERSION, "digest": digest(tape)}
    folder = root / key
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=root))
        try:
            for name, array in _arrays(tape):
                np.save(draft / f"{name}.npy", array, allow_pickle=False)
            (draft / _FACTS).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
            if folder.exists():  # another process was as quick, or this one is damaged: ours is as good
                shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        if not (folder / _FACTS).is_file():
            raise ConfigError(
                f"cannot keep a tape in {root}: {error.strerror}", hint="free disk space or set KFLOW_DATA_DIR"
            ) from None
    return load(root, key) or replace(tape, facts=dict(facts))


def load(root: Path, key: str) -> Tape | None:
    """A tape that was kept, or None where there is none that can be read."""
    folder = root / key
    try:
        facts = json.loads((folder / _FACTS).read_text())
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in TapeArrays._fields]
    except (OSError, ValueError, EOFError):
        return None
    if facts.get("version") != VERSION:
        return None
    return Tape(facts["market"], TapeArrays(*(np.asarray(array) for array in arrays)), facts)


def check(tape: Tape) -> None:
    """Raises DataError where a kept tape is not what was kept."""
    if digest(tape) != tape.facts.get("digest"):
        raise DataError(f"the tape of {tape.market} is damaged", hint="kflow tape build --rebuild makes it anew")
