"""`kflow sweep`: hyper-parameters on folds in time with several seeds, here, in processes or on a Ray cluster."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kflow.cli import render
from kflow.cli.lazy import new_app
from kflow.cli.planned import with_plan

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kflow.rl.sweepfolder import Spec
    from kflow.rl.tried import Tried
    from kflow.rl.workers import Workers

app = new_app()
_RUNS = Path("runs")


@app.callback(invoke_without_command=True)
@with_plan
def sweep(
    context: typer.Context,
    typed: Mapping[str, Any],
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            metavar="NAME=…",
            help="LOW:HIGH, LOW:HIGH:log or A,B,C; may be repeated. Else what is usual for the algorithm.",
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", help="Sets of values to try; 20, or the whole grid.")
    ] = None,
    folds: Annotated[
        int, typer.Option("--folds", metavar="N", help="Each trains on earlier events and is scored on the next.")
    ] = 3,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="From --seed on.")] = 3,
    sampler: Annotated[
        str, typer.Option("--sampler", metavar="tpe|random|grid", help="How the next trial is chosen.")
    ] = "tpe",
    pruner: Annotated[
        str, typer.Option("--pruner", metavar="median|none", help="Whether trials that do badly are ended early.")
    ] = "median",
    overlap: Annotated[
        bool, typer.Option("--overlap", help="Train also on events that still go on when scoring begins.")
    ] = False,
    workers: Annotated[int | None, typer.Option("--workers", metavar="N", help="Processes; else this one.")] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="ADDRESS", help="A Ray cluster that runs: auto or HOST:PORT.")
    ] = None,
    folder: Annotated[Path, typer.Option("--runs", metavar="FOLDER", help="Where sweeps are kept.")] = _RUNS,
    resume: Annotated[
        Path | None,
        typer.Option("-i", "--resume", metavar="SWEEP", help="Go on with a sweep; with --trials, up to that many."),
    ] = None,
    json: render.JsonOption = False,
) -> None:
    """Try hyper-parameters on folds in time, with several seeds.

    For example: kflow sweep --algo ppo --sessions 1-40 -n 200000 --trials 20 --folds 3 --seeds 2 --workers 2

    A sweep that was stopped goes on with --resume runs/sweep_0001; what was done is not done again.
    """
    if context.invoked_subcommand is not None:
        return
    form = render.chosen(None, json)
    if resume is None:
        resume = _begin(
            context,
            typed,
            folder,
            search or (),
            {
                "trials": trials,
                "folds": folds,
                "seeds": seeds,
                "sampler": sampler,
                "pruner": pruner,
                "overlap": overlap,
            },
        )
    else:
        _nothing_else(context)
    _go_on(resume, trials, _workers(workers, ray))
    _show(resume, form)


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep's folder, also while it goes on.")],
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Print what a sweep tried, the best first, and draw it again."""
    _show(folder, render.chosen(form, as_json))


def _nothing_else(context: typer.Context) -> None:
    """What a sweep is was said when it began. Raises UsageError for options that would change it."""
    from kflow.cli import plans
    from kflow.errors import UsageError

    other = set(plans.origins(context)) - {"resume", "trials", "workers", "ray", "json"}
    if other:
        raise UsageError(
            f"--{min(other).replace('_', '-')} cannot be changed in a sweep that was begun",
            hint="with --resume only --trials, --workers and --ray make sense",
        )


def _begin(
    context: typer.Context, typed: Mapping[str, Any], folder: Path, search: Sequence[str], asked: Mapping[str, Any]
) -> Path:
    """A new folder with its sweep described."""
    from kflow.cli import plans
    from kflow.errors import UsageError
    from kflow.rl import runs, searching
    from kflow.rl.sweep import Asked, begin

    plan = plans.plan_of(context, typed)
    space = searching.read_space(search, plan.hyper) if search else searching.default_space(plan)
    both = [text for text in typed["changes"] or () if text.partition("=")[0].strip() in space]
    if both:
        raise UsageError(f"--set {both[0]} names what is searched", hint="leave it out, or name what to --search")
    tapes = plans.read(context, plan.source)
    place = runs.new_folder(folder, "sweep")
    spec = begin(Asked(plan=plan, space=space, **asked), tapes, place, ["kflow", *sys.argv[1:]])
    _told(spec, place)
    return place


def _told(spec: Spec, place: Path) -> None:
    """Before it begins: what is searched, on what."""
    last = spec.folds[-1]
    events = len({*last.train, *last.held, *last.left_out})
    render.note(f"{spec.plan.algorithm}, {spec.plan.steps:,} decisions each; searched: {', '.join(spec.space)}")
    render.note(
        f"{spec.trials} trials x {len(spec.folds)} folds x {len(spec.seeds)} seeds, on {events} events; kept in {place}"
    )
    left = {event for fold in spec.folds for event in fold.left_out}
    if left:
        render.note(f"{len(left)} events are left out of folds since they go on when scoring begins")


def _workers(count: int | None, address: str | None) -> AbstractContextManager[Workers]:
    from kflow.rl import workers

    if address is not None:
        return workers.cluster(address, count)
    return workers.here() if count is None else workers.pool(count)


def _go_on(place: Path, trials: int | None, means: AbstractContextManager[Workers]) -> None:
    from kflow.rl.sweep import Sweep, Watch

    with Sweep(place, trials=trials) as going:
        total = going.spec.trials * going.each
        try:
            with render.progress("sweep", total, unit="units") as advance, means as workers:
                going.watch = Watch(advance, render.note)
                going.run(workers)
        except BaseException:
            render.note(f"stopped; {going.done} units are kept. To go on: kflow sweep --resume {place}")
            raise


def _show(place: Path, form: render.Format) -> None:
    """A table, the best trial, and how much of that is luck."""
    from kflow.cli import sweepchart
    from kflow.rl import searching, sweepfolder, tried

    spec = sweepfolder.read_spec(place)
    study = searching.read_study(place)
    rows = tried.table(study)
    best = tried.best_of(rows)
    order = {"whole": 0, "pruned": 1}
    rows.sort(key=lambda row: (order.get(row.state, 2), -(row.profit or 0.0), row.number))
    picture = sweepchart.draw(place, spec, study)
    items = [_item(row) for row in rows]
    if form is render.Format.JSON:
        told: dict[str, Any] = {"sweep": str(place), "best": None if best is None else _item(best)}
        told |= {"variants": len(rows), "folds": len(spec.folds), "seeds": len(spec.seeds)}
        luck = None if best is None or best.error is None else tried.luck(len(rows)) * best.error
        told |= {"luck": luck, "plan": str(place / sweepfolder.BEST) if best else None}
        render.record({**told, "plot": None if picture is None else str(picture), "trials": items}, form=form)
    else:
        columns = ("trial", "state", "profit", "error", "units", *spec.space)
        render.rows(
            "trials", [_flat(item) for item in items], columns=columns, form=form, empty="nothing was tried yet"
        )
    if picture is not None:
        render.note(f"drawn in {picture}")
    if best is not None:
        _judge(place, spec, rows, best)


def _item(row: Tried) -> dict[str, Any]:
    return {
        "trial": row.number,
        "state": row.state,
        "profit": row.profit,
        "error": row.error,
        "units": row.units,
        "hyper": row.searched,
        "failed": row.failed or None,
    }


def _flat(item: Mapping[str, Any]) -> dict[str, Any]:
    """Values beside each other; small ones keep their digits."""
    hyper = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in item["hyper"].items()}
    return {**item, **hyper}


def _judge(place: Path, spec: Spec, rows: Sequence[Tried], best: Tried) -> None:
    """What the best is worth, in words."""
    from kflow.rl import sweepfolder, tried

    render.note(
        f"best is trial {best.number}: {tried.amount(best)} per held-out episode (± one standard error, "
        f"{len(spec.folds)} folds x {len(spec.seeds)} seeds)"
    )
    if len(rows) > 1:
        by = "" if best.error is None else f", by about ${tried.luck(len(rows)) * best.error:.3f} if all were equal"
        render.note(f"the best of {len(rows)} variants flatters itself{by}: it was chosen by these very scores")
    apart = "--eval-sessions" if spec.plan.held_out else f"the last {spec.plan.held_share:.0%} of events"
    if spec.plan.held_out or spec.plan.held_share:
        render.note(f"train it in full, and judge it on {apart}, which no trial saw:")
    else:
        render.note("nothing was kept apart (--holdout 0): judge it on what is recorded later. To train it in full:")
    render.note(f"  kflow train --plan {place / sweepfolder.BEST}")
