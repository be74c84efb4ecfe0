"""The registry of models: rows of rl_models, bundles under the data folder, and the steps a model goes through.

training -> candidate -> paper -> live -> retired; training that did not end well is failed. One model of a name is
live at a time. Rows and versions stay for ever, so that `name:version` means one model for ever; files may go.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, LiteralString, NamedTuple

import msgspec
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kflow.errors import ModelError, UsageError
from kflow.policy import bundle
from kflow.policy.bundle import Bundle, Card, Facts
from kflow.policy.network import Network
from kflow.store.postgres import Connection
from kflow.store.sqlfiles import queries

# What may follow each status.
STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "training": ("candidate", "failed", "retired"),
    "candidate": ("paper", "retired"),
    "paper": ("live", "retired"),
    "live": ("retired",),
    "retired": ("live",),  # back, where it was live before
    "failed": ("retired",),
}
STATUSES: Final = tuple(STEPS)
IN_USE: Final = ("paper", "live")
_INTEGER: Final = 2**31 - 1
_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_REFERENCE: Final = re.compile(rf"(?P<id>\d+)|(?P<name>{_NAME.pattern})(?::(?P<version>\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A row of rl_models. `path` is below the data folder, None where it has no files; `card` as it was written."""

    id: int
    name: str
    version: int
    algorithm: str
    status: str
    market_ticker: str | None
    hyperparameters: Mapping[str, object]
    training_metrics: Mapping[str, object]
    feature_schema: str | None
    run_folder: str | None
    path: str | None
    sha256: str | None
    card: str | None
    created_ns: int
    updated_ns: int

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class Change(NamedTuple):
    """A step of a model. `before` is None where it was created."""

    changed_ns: int
    before: str | None
    after: str
    reason: str


class Judged(NamedTuple):
    """An evaluation of a model. events: independent settlements that it rests on."""

    id: int
    created_ns: int
    name: str
    folder: str
    in_sample: bool
    events: int
    sentence: str


class Created(NamedTuple):
    """The number and the version that a new model got."""

    id: int
    version: int


def _query(name: str) -> LiteralString:
    return queries("models")[name]


def create(
    conn: Connection,
    name: str,
    algorithm: str,
    *,
    now_ns: int,
    hyperparameters: Mapping[str, object] | None = None,
    market_ticker: str | None = None,
    feature_schema: str | None = None,
    run_folder: str | None = None,
) -> Created:
    """Begin a model in training, under the next version of its name. Raises UsageError for a name that is none."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a model",
            hint="names are of lower case letters, digits, _, - and ., 64 at most, and begin with a letter",
        )
    values = {
        "name": name,
        "algorithm": algorithm,
        "now_ns": now_ns,
        "hyperparameters": Jsonb(dict(hyperparameters or {})),
        "market_ticker": market_ticker,
        "feature_schema": feature_schema,
        "run_folder": run_folder,
    }
    with conn.transaction():
        conn.execute(_query("lock_name"), {"name": name})
        row = conn.execute(_query("create"), values).fetchone()
    assert row is not None
    return Created(*row)  # type: ignore[arg-type]  # integers, as the query says


def read(
    conn: Connection,
    *,
    model_id: int | None = None,
    name: str | None = None,
    version: int | None = None,
    status: str | None = None,
) -> tuple[Model, ...]:
    """The models that fit, by name, newest first."""
    values = {"id": model_id, "name": name, "version": version, "status": status}
    with conn.cursor(row_factory=class_row(Model)) as cursor:
        return tuple(cursor.execute(_query("read"), values))


def get(conn: Connection, reference: str) -> Model:
    """The model `name:version`, or of a number, or the newest of a name: of those that have files, if any has.

    Raises UsageError where there is none.
    """
    match = _REFERENCE.fullmatch(reference)
    found: tuple[Model, ...] = ()
    if match is not None:
        number, version = (None if match[key] is None else int(match[key]) for key in ("id", "version"))
        if max(number or 0, version or 0) <= _INTEGER:
            found = read(conn, model_id=number, name=match["name"], version=version)
    if not found:
        raise UsageError(f"there is no model {reference}", hint="kflow models ls shows those there are")
    return next((model for model in found if model.path is not None), found[0])


def changes(conn: Connection, model: Model) -> tuple[Change, ...]:
    """What it went through, first to last."""
    with conn.cursor(row_factory=class_row(Change)) as cursor:
        return tuple(cursor.execute(_query("changes"), {"id": model.id}))


def folder_of(data: Path, name: str, version: int) -> Path:
    """Where the bundle of a model is kept."""
    return data / "models" / name / str(version)


def finish(conn: Connection, data: Path, model_id: int, network: Network, facts: Facts, *, now_ns: int) -> Bundle:
    """Training ended: write the bundle, and make the model a candidate.

    Raises UsageError where the model is not in training, ModelError where facts and network do not fit it.
    """
    with conn.transaction():
        model = _locked(conn, model_id)
        _require_step(model, "candidate")
        if (facts.name, facts.version) != (model.name, model.version):
            raise ModelError(f"the facts are of {facts.name}:{facts.version}, not of {model}")
        folder = folder_of(data, model.name, model.version)
        if folder.exists():
            shutil.rmtree(folder)  # a finish that was interrupted: no row knows of it
        made = bundle.save(folder, network, facts)
        values = {
            "id": model_id,
            "path": str(folder.relative_to(data)),
            "sha256": made.card.weights_sha256,
            "card": made.written.decode(),
            "metrics": Jsonb(dict(made.card.metrics)),
        }
        conn.execute(_query("keep"), values)
        _change(conn, model, "candidate", "training ended", now_ns)
    return made


def fail(conn: Connection, model_id: int, reason: str, *, now_ns: int) -> None:
    """Training ended without a model. Raises UsageError where the model is not in training."""
    with conn.transaction():
        model = _locked(conn, model_id)
        _require_step(model, "failed")
        _change(conn, model, "failed", reason, now_ns)


def load(data: Path, model: Model, *, schema: str | None = None) -> Bundle:
    """Its bundle, where weights and card are those that the registry knows. Raises ModelError."""
    if model.path is None:
        why = {"training": "it is in training", "failed": "its training failed"}.get(model.status, "they were removed")
        raise ModelError(f"{model} has no files: {why}", hint="kflow models ls shows those that have")
    found = bundle.load(data / model.path, schema=schema, sha256=model.sha256)
    if found.written.decode() != model.card:
        raise ModelError(
            f"{found.path} is not the card that the registry knows for {model}",
            hint="somebody changed it: put it back, or train again",
        )
    return found


def promote(
    conn: Connection,
    data: Path,
    model: Model,
    status: str,
    *,
    reason: str,
    now_ns: int,
    schema: str | None = None,
    unjudged: bool = False,
) -> tuple[Model, Model | None]:
    """The model's next status; the model as it then is, and the one that was live before and is now retired.

    Its bundle is verified where it may come to trade, and an evaluation on what it never saw is demanded before paper,
    but for `unjudged`. Raises UsageError for a step that may not follow, ModelError.
    """
    with conn.transaction():
        model = _locked(conn, model.id)
        _require_step(model, status)
        if model.status == "retired" and "live" not in [change.after for change in changes(conn, model)]:
            raise UsageError(f"{model} was never live, so it cannot be again", hint="train it again, as a new version")
        if status in ("candidate", *IN_USE):
            load(data, model, schema=schema)
        if status == "paper" and not unjudged and all(judged.in_sample for judged in evaluations(conn, model)):
            raise UsageError(
                f"{model} was never judged on what it did not see",
                hint=f"kflow evaluate {model} --sessions …; or --unevaluated, which is kept with the step",
            )
        older = read(conn, name=model.name, status="live") if status == "live" else ()
        for other in older:
            _change(conn, other, "retired", f"{model} is live", now_ns)
        _change(conn, model, status, reason, now_ns)
        (changed,) = read(conn, model_id=model.id)
    return changed, older[0] if older else None


def evaluations(conn: Connection, model: Model) -> tuple[Judged, ...]:
    """Of a model, newest first."""
    with conn.cursor(row_factory=class_row(Judged)) as cursor:
        return tuple(cursor.execute(queries("evaluations")["of_model"], {"model_id": model.id}))


def remove(conn: Connection, data: Path, model: Model, *, reason: str, now_ns: int) -> None:
    """Delete its files and retire it; its row stays. Raises UsageError where it is in use."""
    with conn.transaction():
        model = _locked(conn, model.id)
        if model.status in IN_USE:
            raise UsageError(f"{model} is {model.status}", hint=f"first: kflow models promote {model} retired")
        if model.status != "retired":
            _change(conn, model, "retired", reason, now_ns)
        conn.execute(_query("forget"), {"id": model.id})
        folder = folder_of(data, model.name, model.version)
        if folder.exists():
            shutil.rmtree(folder)


def sessions_trained_on(model: Model) -> set[int]:
    """Numbers of the sessions that it saw: no result on them says anything. Empty before training ended."""
    return {seen.session for seen in _card(model) if seen.session is not None}


def tapes_trained_on(model: Model) -> set[str]:
    """Digests of the tapes that it saw."""
    return {seen.digest for seen in _card(model)}


def _card(model: Model) -> tuple[bundle.Seen, ...]:
    return () if model.card is None else msgspec.json.decode(model.card, type=Card).trained_on


def _locked(conn: Connection, model_id: int) -> Model:
    """The model as it is now, and as nobody else changes it before the transaction ends."""
    conn.execute(_query("lock_name"), {"name": get(conn, str(model_id)).name})
    return get(conn, str(model_id))


def _require_step(model: Model, status: str) -> None:
    if status not in STEPS[model.status]:
        raise UsageError(
            f"{model} is {model.status}, which {status} does not follow",
            hint=f"it can become {' or '.join(STEPS[model.status])}",
        )


def _change(conn: Connection, model: Model, status: str, reason: str, now_ns: int) -> None:
    conn.execute(_query("change"), {"id": model.id, "status": status, "reason": reason, "now_ns": now_ns})
