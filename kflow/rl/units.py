"""The smallest piece of a sweep: one plan trained on one fold with one seed, and scored on what comes next in time.

A unit is named by all that decides what it comes to, so that it is done once, wherever it is done.
"""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
import textwrap
import time
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from kflow.errors import DataError
from kflow.policy import features
from kflow.policy.bundle import archive
from kflow.rl import folds, runs
from kflow.rl.dataset import Dataset, build
from kflow.rl.folds import Fold
from kflow.rl.jobs import Done, Job, Result
from kflow.rl.plan import Plan, Source
from kflow.rl.runs import Manifest
from kflow.rl.train import Field, Outcome, Run
from kflow.sim import cache as kept_tapes
from kflow.sim.tape import Tape

# Rises when a unit of the same name would come to something else.
VERSION: Final = 1
_NEVER: Final = 10**12
_KEPT: Final = (runs.MANIFEST, runs.PROGRESS)


def plan_of(plan: Plan, hyper: dict[str, str | int | float | bool], seed: int) -> Plan:
    """A unit's: scored once, at its end, so that no score chooses its weights."""
    return msgspec.structs.replace(
        plan, hyper=plan.hyper | hyper, seed=seed, save_every=_NEVER, evaluate_every=_NEVER, patience=0
    )


def key_of(plan: Plan, fold: Fold, dataset: Dataset) -> str:
    """Name of a unit. It depends on what tapes hold, not on where they lie."""
    sides = [
        sorted(f"{dataset.spans[place].event} {dataset.spans[place].digest}" for place in folds.spans_of(dataset, side))
        for side in (fold.train, fold.held)
    ]
    bare = msgspec.structs.replace(plan, source=Source(), held_out=None, held_share=0.0)
    text = msgspec.json.encode([VERSION, features.SCHEMA, bare, sides], order="sorted")
    return hashlib.sha256(text).hexdigest()[:16]


def keep_tapes(tapes: Sequence[Tape], root: Path) -> list[str]:
    """Folders that the tapes can be mapped from again; those that lie in none yet are kept below `root`."""
    return [str(_folder_of(tape) or _kept(tape, root)) for tape in tapes]


def _folder_of(tape: Tape) -> Path | None:
    mapped = tape.arrays.us.base
    return Path(mapped.filename).parent if isinstance(mapped, np.memmap) and mapped.filename else None


def _kept(tape: Tape, root: Path) -> Path:
    digest = kept_tapes.digest(tape)
    kept_tapes.save(tape, root, digest)
    return root.absolute() / digest


def dataset_of(plan: Plan, tapes: Sequence[str]) -> Dataset:
    """Tapes as a plan sees them. A process keeps the last: its units differ in hyper-parameters and folds only."""
    bare = msgspec.structs.replace(plan, hyper={}, seed=0, source=Source(), held_out=None)
    return _built(msgspec.json.encode(bare, order="sorted"), tuple(tapes))


@lru_cache(maxsize=1)
def _built(text: bytes, tapes: tuple[str, ...]) -> Dataset:
    plan = msgspec.json.decode(text, type=Plan)
    return build([_load(Path(folder)) for folder in tapes], plan.assume, every_us=plan.every_us)


def _load(folder: Path) -> Tape:
    tape = kept_tapes.load(folder.parent, folder.name)
    if tape is None:
        raise DataError(
            f"there is no tape in {folder} on {socket.gethostname()}",
            hint="every machine has to reach the data folder, and the sweep's, under the same path",
        )
    return tape


def work(job: Job) -> Done:
    """Train and score. Raises DataError where the tapes here are not those that the unit is named for."""
    data = dataset_of(job.plan, job.tapes)
    if key_of(job.plan, job.fold, data) != job.key:
        raise DataError(
            f"unit {job.key} would be another one on {socket.gethostname()}: other tapes, or another kflow",
            hint="use the same kflow on every machine, and begin a new sweep where tapes were made anew",
        )
    train, held = (folds.spans_of(data, side) for side in (job.fold.train, job.fold.held))
    began = time.monotonic()
    within = job.scratch if Path(job.scratch).is_dir() else None
    with tempfile.TemporaryDirectory(prefix="unit-", dir=within) as place:
        folder = Path(place)
        outcome, failed = _learn(job.plan, Field(data, train, data, held), folder)
        result = _result(job, outcome, failed, time.monotonic() - began)
        _describe(job, data, (train, held), folder, result)
        return Done(result, {name: (folder / name).read_bytes() for name in _KEPT if (folder / name).is_file()})


def _learn(plan: Plan, data: Field, folder: Path) -> tuple[Outcome | None, str]:
    """What it came to, or why it came to nothing."""
    run = Run(plan, data, folder)
    try:
        return run.learn(), ""
    except (ValueError, ArithmeticError) as error:  # PyTorch refuses weights that are no numbers any more
        return None, textwrap.shorten(f"training broke down: {error}", 100)


def _result(job: Job, outcome: Outcome | None, failed: str, seconds: float) -> Result:
    plan = job.plan
    score = outcome.score if outcome else None
    return Result(
        key=job.key,
        fold=job.fold.number,
        seed=plan.seed,
        hyper=plan.hyper,
        profit=score.profit if score else None,
        error=score.error if score else None,
        episodes=score.episodes if score else 0,
        events=score.events if score else 0,
        steps=outcome.steps if outcome else 0,
        seconds=round(seconds, 2),
        weights_sha256=hashlib.sha256(archive(outcome.network)).hexdigest() if outcome else "",
        place=f"{socket.gethostname()} {os.getpid()}",
        failed=failed,
    )


def _describe(job: Job, data: Dataset, sides: Sequence[Sequence[int]], folder: Path, result: Result) -> None:
    tapes, held = (data.told(side) for side in sides)
    told = {**msgspec.to_builtins(result), "fold": msgspec.to_builtins(job.fold)}
    manifest = msgspec.structs.replace(
        _this_process(), run=job.key, plan=job.plan, tapes=tapes, held_out=held, result=told
    )
    runs.write_manifest(folder, manifest)


@cache
def _this_process() -> Manifest:
    """What a manifest says of packages and sources, looked up once."""
    return runs.describe(Path(), Plan(hyper={}, source=Source(), sizes=(1,)), (), {}, tapes=[], held_out=[])
