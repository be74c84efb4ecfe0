"""`kflow train` and `kflow rerun`: policies from recorded sessions, and the same once more."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kflow.cli import render
from kflow.cli import training_options as options
from kflow.cli.invocation import load_settings
from kflow.cli.planned import with_plan

if TYPE_CHECKING:
    from kflow.rl.plan import Plan
    from kflow.rl.runs import Manifest
    from kflow.rl.train import Watch
    from kflow.rl.undertake import Shelf

_RUNS = Path("runs")
RunsOption = Annotated[Path, typer.Option("--runs", metavar="FOLDER", help="Where runs are kept, each in a folder.")]
RegisterOption = Annotated[
    bool, typer.Option("--register/--no-register", help="Register the model and store its episodes in the database.")
]


@with_plan
def train(
    context: typer.Context,
    typed: Mapping[str, Any],
    name: options.Name = None,
    folder: RunsOption = _RUNS,
    resume: options.Resume = None,
    register: RegisterOption = True,
    json: render.JsonOption = False,
) -> None:
    """Train a policy on recorded sessions.

    Fills, fees and delays are those of kflow simulate. For example: kflow train --algo ppo --sessions 1-40.
    Without recordings: kflow train --world reverting -n 300000

    A run that was stopped goes on with --resume runs/ppo_0001, and comes to the same weights.
    """
    from kflow.cli import plans

    form = render.chosen(None, json)
    if resume is not None:
        _resume(context, resume, register, form)
        return
    plan = plans.plan_of(context, typed)
    tapes, held = plans.tapes_of(context, plan)
    from kflow.rl import runs, undertake

    with _shelf(context, register) as shelf:  # where there is no database, no folder is made
        place = runs.new_folder(folder, plan.algorithm)
        _told(plan, place)
        with _watch(plan, place) as watch:
            manifest = undertake.begin(
                plan,
                tapes,
                held,
                place,
                name=name or plan.algorithm,
                shelf=shelf,
                command=_command(),
                origins=plans.origins(context),
                watch=watch,
            )
    _show(place, manifest, form)


def rerun(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or the manifest.json in it.")],
    folder: RunsOption = _RUNS,
    json: render.JsonOption = False,
) -> None:
    """Do a training run again, and compare its weights bit for bit. Exit 6 where they differ."""
    from kflow.cli import plans
    from kflow.errors import DataError, UsageError
    from kflow.rl import runs

    form = render.chosen(None, json)
    before, manifest = runs.read_manifest(run)
    if manifest.result is None:
        raise UsageError(f"{before} has not ended", hint=f"kflow train --resume {before}")
    from kflow.rl import undertake  # brings torch: not for a folder that is none
    from kflow.rl.train import divide

    tapes, held = plans.tapes_of(context, manifest.plan)
    undertake.check_same(manifest, divide(manifest.plan, tapes, held))
    place = runs.new_folder(folder, manifest.plan.algorithm)
    _told(manifest.plan, place)
    with _watch(manifest.plan, place) as watch:
        again = undertake.begin(
            manifest.plan,
            tapes,
            held,
            place,
            name=manifest.plan.algorithm,
            shelf=None,
            command=_command(),
            origins=manifest.origins,
            watch=watch,
        )
    assert again.result is not None
    pairs = {key: (manifest.result[key], again.result[key]) for key in ("weights_sha256", "best_sha256")}
    equal = all(then == now for then, now in pairs.values())
    told = {"run": str(before), "again": str(place), "equal": equal, **{key: now for key, (_, now) in pairs.items()}}
    render.record(told, form=form)
    if not equal:
        differ = [name for name in manifest.packages if manifest.packages[name] != again.packages[name]]
        raise DataError(
            "the weights are others" + (f"; so are {', '.join(differ)}" if differ else ""),
            hint="bits are the same on the same machine, packages and commit: compare both manifest.json",
        )


def _resume(context: typer.Context, path: Path, register: bool, form: render.Format) -> None:
    from kflow.cli import plans
    from kflow.rl import runs

    place, manifest = runs.read_manifest(path)
    from kflow.rl import undertake  # brings torch: not for a folder that is none

    tapes, held = plans.tapes_of(context, manifest.plan)
    with _shelf(context, register and manifest.model is not None) as shelf, _watch(manifest.plan, place) as watch:
        manifest = undertake.go_on(place, manifest, tapes, held, shelf=shelf, watch=watch)
    _show(place, manifest, form)


@contextmanager
def _shelf(context: typer.Context, register: bool) -> Iterator[Shelf | None]:
    """The registry, open for as long as the block lasts."""
    if not register:
        yield None
        return
    from kflow.rl.undertake import Shelf
    from kflow.store import postgres
    from kflow.wiring import data_dir, database

    settings = load_settings(context)
    with database(settings) as dsn, postgres.connect(dsn, autocommit=True) as conn:
        yield Shelf(data_dir(settings), conn)


@contextmanager
def _watch(plan: Plan, place: Path) -> Iterator[Watch]:
    """Progress, and how to go on where Ctrl-C ends it."""
    from kflow.rl.train import Watch

    try:
        with render.progress("train", plan.steps, unit="decisions") as advance:
            yield Watch(advance, render.note)
    except KeyboardInterrupt:
        render.note(f"stopped. To go on from its last checkpoint: kflow train --resume {place}")
        raise


def _command() -> list[str]:
    return ["kflow", *sys.argv[1:]]


def _told(plan: Plan, place: Path) -> None:
    """Before it begins: what, and where it can be watched."""
    hyper = ", ".join(f"{name} {value}" for name, value in sorted(plan.hyper.items()))
    render.note(f"{plan.algorithm} ({plan.preset}: {hyper}), {plan.envs} accounts, {plan.actions} actions")
    render.note(f"kept in {place}; curves: tensorboard --logdir {shlex.quote(str(place.parent))}")


def _show(place: Path, manifest: Manifest, form: render.Format) -> None:
    """What a run came to, and what next."""
    from kflow.cli import curves

    assert manifest.result is not None
    picture = curves.draw(place)
    result = manifest.result
    told: dict[str, Any] = {
        "run": str(place),
        "model": manifest.model,
        "steps": result["steps"],
        "episodes": result["episodes"],
        "seconds": result["seconds"],
        "stopped": result["stopped"] or None,
        **_scores(result),
        "weights_sha256": result["weights_sha256"],
        "curves": None if picture is None else str(picture),
    }
    render.record(told, form=form)
    if manifest.model:
        render.note(f"registered as {manifest.model}: kflow models show {manifest.model}")
    if result["best_held_out"]:
        render.note("the best weights were chosen by what is held out, which flatters them there: judge them elsewhere")
    render.note(f"the same again, bit for bit: kflow rerun {place}")


def _scores(result: Mapping[str, Any]) -> dict[str, Any]:
    """Held-out profit per episode in dollars, of the last and of the best weights."""
    found: dict[str, Any] = {}
    for which, key in (("held_out", "held_out"), ("best_held_out", "best_held_out")):
        score = result[key]
        if score:
            error = score["error"]
            found[f"{which}_profit"] = round(score["profit"], 4)
            found[f"{which}_error"] = None if error is None else round(error, 4)
            found[f"{which}_events"] = score["events"]
    return found
