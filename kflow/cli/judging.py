"""What `kflow evaluate` says as typed, done: models and tapes found, played, stored, and told."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings
from kflow.cli.models import is_path
from kflow.cli.plans import read

if TYPE_CHECKING:
    from kflow.evaluate.request import Request
    from kflow.evaluate.undertake import Outcome, Ready
    from kflow.policy.bundle import Bundle
    from kflow.store.postgres import Connection
    from kflow.store.registry import Model

# Events that are left out, as far as they are named.
_TOLD: Final = 5


def evaluate(context: typer.Context, typed: Mapping[str, Any], form: render.Format) -> None:
    """Begin an evaluation as typed, or go on with one."""
    from kflow.evaluate import request as requests
    from kflow.rl import runs

    before: Path | None = typed["resume"]
    if before is not None:
        asked, known = requests.read_request(before)
        _own_is_meant(asked, before, typed["judged"] or ())
        judge(context, asked, known, lambda: before, typed["register"], typed["jobs"], form)
        return
    asked = request_of(typed)

    def place() -> Path:
        return runs.new_folder(typed["folder"], "eval")

    judge(context, asked, {}, place, typed["register"], typed["jobs"], form)


def _own_is_meant(asked: Request, before: Path, judged: Sequence[str]) -> None:
    """A folder may be somebody else's: code that it names runs only where it is named again. Raises UsageError."""
    from kflow.errors import UsageError
    from kflow.own import is_own

    own = [name for name in asked.judged if is_own(name) and name not in judged]
    if own:
        raise UsageError(
            f"{before} judges {own[0]}, which is code that would run here",
            hint=f"where it is yours, say so: kflow evaluate {' '.join(own)} --resume {before}",
        )


def request_of(typed: Mapping[str, Any]) -> Request:
    """Of the options of `kflow evaluate`, by name. Raises UsageError for what cannot be."""
    from kflow.errors import UsageError
    from kflow.evaluate.request import Request
    from kflow.rl import runs
    from kflow.rl.given import microseconds
    from kflow.rl.plan import Source
    from kflow.rl.worlds import world_named
    from kflow.sim.assume import Chosen, choose, read_calibration

    judged, plan = tuple(typed["judged"] or ()), None
    if (typed["plan"] is None) != (typed["folds"] == 0):
        raise UsageError("a walk forward trains a plan", hint="--walk-forward 3 --plan runs/ppo_0001")
    if typed["plan"] is not None:
        plan = runs.read_plan(typed["plan"])
        judged = (f"{plan.algorithm} walking forward",)
    if not judged:
        raise UsageError("nothing is judged", hint="kflow evaluate MODEL, or a hand-written policy: join")
    if typed["world"] is not None:
        world_named(typed["world"])
    calibration = None if typed["calibration"] is None else read_calibration(typed["calibration"])
    picked = choose("queue", typed["latency"], calibration)
    if plan is not None and calibration is None and typed["latency"] == "home" and plan.fills.name == "queue":
        picked = Chosen(plan.fills, plan.latency, plan.calibration)
    request = Request(
        judged=judged,
        baselines=_names(typed["baselines"]),
        size=typed["size"],
        source=Source(
            sessions=typed["sessions"],
            files=tuple(str(path) for path in typed["paths"] or ()),
            markets=tuple(typed["market"] or ()),
            read=typed["source"],
            world=typed["world"],
            count=typed["markets"] if typed["world"] else 0,
            seed=typed["world_seed"],
        ),
        fills=picked.model,
        latency=picked.latency,
        calibration=picked.calibration,
        seeds=typed["seeds"],
        episode_us=microseconds(typed["episode"]),
        most=typed["most"],
        scales=_scales(typed["capacity"]),
        in_sample=typed["in_sample"],
        unseen=typed["unseen"],
        embargo_us=microseconds(typed["embargo"]),
        variants=typed["variants"],
        plan=plan,
        folds=typed["folds"],
    )
    request.check()
    return request


def _names(text: str) -> tuple[str, ...]:
    return () if text == "none" else tuple(name.strip() for name in text.split(",") if name.strip())


def _scales(text: str) -> tuple[int, ...]:
    from kflow.errors import UsageError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--capacity {text} is no list of whole numbers", hint="--capacity 1,2,5,10") from None


def judge(
    context: typer.Context,
    request: Request,
    known: Mapping[str, Any],
    place: Callable[[], Path],
    register: bool,
    jobs: int,
    form: render.Format,
) -> None:
    """Find, play, store, tell. `known`: of an evaluation that goes on; `place` makes its folder, or names it."""
    from kflow.evaluate import undertake
    from kflow.rl.compiled import cold

    if cold():
        render.note("the first run on this machine compiles for about a minute")
    tapes = read(context, request.source)
    with _registry(context, register or any(map(_of_registry, request.judged))) as registry:
        found = _found(request, registry)
        request = found.timed(request)
        if request.plan is not None:
            folder = place()
            ready = undertake.walk(request, tapes, folder, render.note, _training)
        else:
            ready = undertake.prepare(request, tapes, found.bundles)
            folder = place()
        _told(ready, folder)
        try:
            with render.progress("evaluate", ready.decisions, unit="decisions") as advance:
                outcome = undertake.carry_out(ready, folder, found.variants(request), _command(), known, advance, jobs)
        except KeyboardInterrupt:
            render.note(f"stopped. What was played is kept: kflow evaluate --resume {shlex.quote(str(folder))}")
            raise
        number = _stored(registry[0], outcome, found, folder) if register and registry is not None else None
    _show(outcome, folder, number, form)


def _training(decisions: int) -> AbstractContextManager[Callable[[int], None]]:
    return render.progress("train", decisions, unit="decisions")


@dataclass(frozen=True)
class _Found:
    """The models that are judged, by the names they are told by; `rows`: of those that the registry knows."""

    bundles: dict[str, Bundle]
    rows: dict[str, Model]
    versions: dict[str, int]  # of each row's name how many were trained

    def timed(self, request: Request) -> Request:
        """Decisions as often as the models make them. Raises UsageError where they differ."""
        import msgspec

        from kflow.errors import UsageError

        intervals = {bundle.card.decision_interval_us for bundle in self.bundles.values()}
        if request.plan is not None:
            intervals = {request.plan.every_us}
        if len(intervals) > 1:
            told = " and ".join(f"{interval / 1000:g} ms" for interval in sorted(intervals))
            raise UsageError(f"they decide every {told}", hint="judge models of one decision interval together")
        names = tuple({**dict.fromkeys(self.bundles), **dict.fromkeys(filter(_by_hand, request.judged))})
        judged = names if request.plan is None else request.judged
        return msgspec.structs.replace(request, judged=judged, every_us=min(intervals, default=request.every_us))

    def variants(self, request: Request) -> dict[str, tuple[int, str]]:
        """Of each judged how many were tried before it was chosen, and how that is known."""
        if request.variants is not None:
            return dict.fromkeys(request.judged, (request.variants, "as said by --variants"))
        together = len(request.judged)
        found = dict.fromkeys(request.judged, (together, f"{together} judged together"))
        for name, count in self.versions.items():
            if count > together:
                found[name] = count, f"{count} versions of {self.rows[name].name} in the registry"
        return found


def _by_hand(name: str) -> bool:
    from kflow.own import is_own
    from kflow.policy.strategies import STRATEGIES

    return name in STRATEGIES or is_own(name)


def _of_registry(name: str) -> bool:
    return not _by_hand(name) and not is_path(name) and " " not in name


def _found(request: Request, registry: tuple[Connection, Path] | None) -> _Found:
    """Raises ModelError (damaged, of other features), UsageError (there is none)."""
    from kflow.policy import bundle
    from kflow.policy.features import SCHEMA
    from kflow.store import registry as models

    found = _Found({}, {}, {})
    for name in request.judged:
        if is_path(name):
            loaded = bundle.load(Path(name), schema=SCHEMA)
            found.bundles[f"{loaded.card.name}:{loaded.card.version}"] = loaded
        elif registry is not None and _of_registry(name):
            conn, data = registry
            model = models.get(conn, name)
            found.bundles[str(model)] = models.load(data, model, schema=SCHEMA)
            found.rows[str(model)] = model
            found.versions[str(model)] = len(models.read(conn, name=model.name))
    return found


@contextmanager
def _registry(context: typer.Context, needed: bool) -> Iterator[tuple[Connection, Path] | None]:
    """A connection and the data folder, for as long as the block lasts."""
    if not needed:
        yield None
        return
    from kflow.store import postgres
    from kflow.wiring import data_dir, database

    settings = load_settings(context)
    with database(settings) as dsn, postgres.connect(dsn, autocommit=True) as conn:
        yield conn, data_dir(settings)


def _command() -> list[str]:
    return ["kflow", *sys.argv[1:]]


def _told(ready: Ready, folder: Path) -> None:
    """Before it begins: what, on what, and where it is kept."""
    stage = ready.stages[0]
    episodes = sum(len(each.held.episodes) for each in ready.stages)
    names = ", ".join(one.name for one in stage.contestants)
    events = len(ready.split.events)
    many = "1 event" if events == 1 else f"{events:,} events"
    render.note(f"{names}: {episodes:,} episodes of {many}, {ready.request.seeds} seeds")
    for event, why in ready.split.left_out[:_TOLD]:
        render.note(f"{event} is left out: it {why}")
    if len(ready.split.left_out) > _TOLD:
        render.note(f"{len(ready.split.left_out) - _TOLD} more are left out; the report names them")
    if ready.split.in_sample:
        render.note("in sample: it was trained on some of this, so the result says nothing of what it will earn")
    render.note(f"kept in {folder}")


def _stored(conn: Connection, outcome: Outcome, found: _Found, folder: Path) -> int:
    from kflow.evaluate import records

    markets = outcome.ready.stages[0].held.markets
    models = {name: model.id for name, model in found.rows.items()}
    return records.store(conn, outcome.whole, outcome.verdicts, markets, models, folder, now_ns=time.time_ns())


def _show(outcome: Outcome, folder: Path, number: int | None, form: render.Format) -> None:
    """The verdict, and what each earned under each fill model."""
    from kflow.evaluate import report
    from kflow.evaluate.document import FILE

    page = folder / "report.html"
    page.write_text(report.html(outcome.whole))
    whole = outcome.whole
    if form is render.Format.JSON:
        render.record({**whole, "evaluation": number, "report": str(page)}, form=form)
        return
    items = [
        _line(result, whole["judged"])
        for result in whole["results"]
        if form is not render.Format.TABLE or result["fill_model"] == "queue"
    ]
    render.rows("results", items, columns=tuple(items[0]), form=form)
    if form is not render.Format.TABLE:
        return
    render.text("")
    for band in whole["band"]:
        if band["contestant"] in whole["judged"]:
            render.text(f"{band['contestant']}: {band['queue_luck_words']}")
    render.text(("IN SAMPLE. " if whole["in_sample"] else "") + whole["sentence"])
    render.note(f"report: {page}; all numbers: {folder / FILE}")
    render.note(f"two of them beside each other: kflow report compare {folder} OTHER")


def _line(result: Mapping[str, Any], judged: Sequence[str]) -> dict[str, Any]:
    profit, verdict, trading = result["profit"], result["verdict"], result["trading"]
    return {
        "policy": result["contestant"] + (" *" if result["contestant"] in judged else ""),
        "fills": result["fill_model"],
        "per_event": _rounded(profit["per_event"]),
        "low": _rounded(profit["low"]),
        "high": _rounded(profit["high"]),
        "p": _rounded(verdict["p"]),
        "p_deflated": _rounded(verdict["p_deflated"]),
        "total": _rounded(profit["total"]),
        "fees": _rounded(trading["fees"]),
        "contracts": _rounded(trading["contracts"]),
        "fill_rate": _rounded(trading["fill_rate"]),
        "sharpe": _rounded(result["risk"]["sharpe"]),
        "max_drawdown": _rounded(result["risk"]["max_drawdown"]),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
