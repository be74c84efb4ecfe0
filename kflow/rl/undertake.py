"""A training run from its plan to a registered model: folder, manifest, learning, weights, and what it came to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kflow
from kflow.errors import DataError, KflowError, UsageError
from kflow.market.limits import OrderLimits
from kflow.policy import bundle, features
from kflow.policy.bundle import Facts, Seen
from kflow.policy.network import Network
from kflow.rl import checkpoint, runs
from kflow.rl.plan import Plan
from kflow.rl.runs import Manifest
from kflow.rl.train import Field, Outcome, Run, Watch, divide
from kflow.sim.tape import Tape
from kflow.store import registry
from kflow.store.postgres import Connection


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where models are registered: the data folder, and the database that knows them."""

    data: Path
    conn: Connection


def begin(
    plan: Plan,
    tapes: Sequence[Tape],
    held: Sequence[Tape] | None,
    folder: Path,
    *,
    name: str,
    shelf: Shelf | None,
    command: Sequence[str],
    origins: Mapping[str, str],
    watch: Watch,
) -> Manifest:
    """Train in a folder that is empty yet. Raises UsageError for a plan that cannot be."""
    plan.check()
    data = divide(plan, tapes, held)
    manifest = runs.describe(
        folder,
        plan,
        command,
        origins,
        tapes=data.dataset.told(data.spans),
        held_out=data.held.told(data.held_spans),
    )
    if shelf is not None:
        created = registry.create(
            shelf.conn,
            name,
            plan.algorithm,
            now_ns=time.time_ns(),
            hyperparameters=plan.hyper,
            feature_schema=features.SCHEMA,
            run_folder=str(folder.absolute()),
        )
        manifest.model = f"{name}:{created.version}"
    runs.write_manifest(folder, manifest)
    return _learn(manifest, data, folder, shelf, watch)


def go_on(
    folder: Path,
    manifest: Manifest,
    tapes: Sequence[Tape],
    held: Sequence[Tape] | None,
    *,
    shelf: Shelf | None,
    watch: Watch,
) -> Manifest:
    """Go on with a run from its last checkpoint. Raises UsageError where it has ended, DataError for other data."""
    if manifest.result is not None:
        raise UsageError(f"{folder} has ended", hint=f"kflow rerun {folder} does it again")
    data = divide(manifest.plan, tapes, held)
    check_same(manifest, data)
    return _learn(manifest, data, folder, shelf, watch)


def check_same(manifest: Manifest, data: Field) -> None:
    """Raises DataError where tapes or features are not those that a run was made with."""
    if manifest.feature_schema != features.SCHEMA:
        raise DataError(
            f"the run saw features {manifest.feature_schema}, this kflow has {features.SCHEMA}",
            hint=f"use kflow {manifest.kflow_version}, commit {manifest.commit}",
        )
    now = data.dataset.told(data.spans), data.held.told(data.held_spans)
    for then, here in zip((manifest.tapes, manifest.held_out), now, strict=True):
        differ = {tape["digest"] for tape in then} ^ {tape["digest"] for tape in here}
        if differ:
            markets = sorted({tape["market"] for tape in (*then, *here) if tape["digest"] in differ})
            raise DataError(
                f"{len(markets)} tapes are not those of the run: {', '.join(markets[:5])}",
                hint="give the recordings that it was made with; manifest.json names their digests",
            )


def _learn(manifest: Manifest, data: Field, folder: Path, shelf: Shelf | None, watch: Watch) -> Manifest:
    model = None
    if shelf is not None and manifest.model is not None:
        model = registry.get(shelf.conn, manifest.model)
    conn = shelf.conn if shelf is not None and model is not None else None
    try:
        outcome = Run(manifest.plan, data, folder, watch, conn, None if model is None else model.id).learn()
        chosen = _chosen(folder, outcome)
        kept = {
            which: _bundle(folder / which, network, _facts(manifest, which, outcome))
            for which, network in (("last", outcome.network), ("best", chosen))
        }
        if shelf is not None and model is not None:
            facts = _facts(manifest, "best", outcome, model.name, model.version)
            registry.finish(shelf.conn, shelf.data, model.id, chosen, facts, now_ns=time.time_ns())
    except KflowError as error:
        if shelf is not None and model is not None:
            registry.fail(shelf.conn, model.id, str(error), now_ns=time.time_ns())
        raise
    manifest.result = _result(outcome, kept)
    runs.write_manifest(folder, manifest)
    return manifest


def _chosen(folder: Path, outcome: Outcome) -> Network:
    """The weights that did best on what was held out, else the last."""
    if outcome.best is None:
        return outcome.network
    return checkpoint.read_best(folder, outcome.network.layout) or outcome.network


def _bundle(folder: Path, network: Network, facts: Facts) -> str:
    """Write a model into the run's folder; the hash of its weights."""
    shutil.rmtree(folder, ignore_errors=True)
    return bundle.save(folder, network, facts).card.weights_sha256


def _facts(manifest: Manifest, which: str, outcome: Outcome, name: str | None = None, version: int = 1) -> Facts:
    plan = manifest.plan
    score = outcome.best if which == "best" and outcome.best else outcome.score
    metrics: dict[str, Any] = {
        "steps": outcome.best_step if which == "best" and outcome.best_step else outcome.steps,
        "episodes": outcome.episodes,
    }
    if score is not None:
        metrics |= {
            "mean_return": score.return_share,
            **{f"held_out_{key}": value for key, value in score.told().items()},
        }
    return Facts(
        name=name or manifest.run.replace("-", "_"),
        version=version,
        algorithm=plan.algorithm,
        kflow_version=kflow.__version__,
        created=datetime.now(UTC),
        actions=bundle.Actions(name=plan.actions, sizes_e2=plan.sizes),
        features=bundle.Features(schema=features.SCHEMA, names=tuple(item.name for item in features.FEATURES)),
        decision_interval_us=plan.every_us,
        limits=OrderLimits(plan.max_order, plan.max_position, plan.orders)._asdict(),
        fill_model=plan.fills.name,
        assumptions={
            "ahead": plan.fills.ahead,
            "power": plan.fills.power,
            "calibration": plan.calibration,
            "latency": plan.latency.name,
            "cash_e6": plan.cash,
        },
        # What chose the weights was seen too.
        trained_on=tuple(
            Seen(**{name: tape[name] for name in Seen.__struct_fields__ if name in tape})
            for tape in (*manifest.tapes, *manifest.held_out)
        ),
        seeds=(plan.seed,),
        metrics=metrics,
    )


def _result(outcome: Outcome, kept: Mapping[str, str]) -> dict[str, Any]:
    return {
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
        "stopped": outcome.stopped,
        "episodes": outcome.episodes,
        "stage": outcome.stage,
        "stages": outcome.stages,
        "weights_sha256": kept["last"],
        "best_sha256": kept["best"],
        "best_step": outcome.best_step,
        "held_out": asdict(outcome.score) if outcome.score else None,
        "best_held_out": asdict(outcome.best) if outcome.best else None,
    }
