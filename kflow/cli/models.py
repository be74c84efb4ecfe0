"""`kflow models`: what was trained, what of it trades, and its files."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings
from kflow.cli.lazy import new_app

if TYPE_CHECKING:
    from kflow.policy.bundle import Bundle
    from kflow.store.postgres import Connection
    from kflow.store.registry import Model

app = new_app(help="List, promote, export and verify trained models.")

COLUMNS = ("model", "id", "status", "algorithm", "created", "mean_return", "steps", "feature_schema", "sha256")
EYES = ("model", "id", "status", "algorithm", "created", "mean_return", "steps", "files")
FILES = (".json", ".npz", ".zip")


ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="name:version, its number, or a name: the newest.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask. Needed where nobody can be asked.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept with the step.")]


@app.command()
def ls(
    context: typer.Context,
    name: Annotated[str | None, typer.Option("--name", metavar="MODEL", help="Only of this name.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", metavar="training|candidate|paper|live|retired|failed", help="Only of it.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those whose files were removed.")] = False,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """List the models, newest first of each name."""
    from kflow.errors import UsageError
    from kflow.store import registry

    chosen = render.chosen(form, as_json)
    if status is not None and status not in registry.STATUSES:
        raise UsageError(f"there is no status {status}", hint=f"one of {', '.join(registry.STATUSES)}")
    with _registry(context) as (conn, _):
        found = registry.read(conn, name=name, status=status)
    kept = [_line(model) for model in found if everything or model.path or model.status != "retired"]
    columns = EYES if chosen is render.Format.TABLE else COLUMNS
    if chosen is render.Format.TABLE:
        kept = [{**item, "created": render.minute(item["created"]), "files": item["path"] is not None} for item in kept]
    render.rows("models", kept, columns=columns, form=chosen, empty="there is no model yet: kflow train")


@app.command()
def show(
    context: typer.Context, model: ModelArgument, form: render.FormatOption = None, as_json: render.JsonOption = False
) -> None:
    """Show one model: what made it, what it measured, what it went through."""
    import msgspec

    from kflow.store import registry

    chosen = render.chosen(form, as_json)
    with _registry(context) as (conn, _):
        found = registry.get(conn, model)
        steps = registry.changes(conn, found)
        judged = registry.evaluations(conn, found)
    log = [
        {"at": render.when(step.changed_ns), "before": step.before, "after": step.after, "reason": step.reason}
        for step in steps
    ]
    verdicts = [
        {
            "at": render.when(one.created_ns),
            "evaluation": one.name,
            "events": one.events,
            "in_sample": one.in_sample,
            "sentence": one.sentence,
            "folder": one.folder,
        }
        for one in judged
    ]
    card: Mapping[str, Any] = {} if found.card is None else msgspec.json.decode(found.card)
    whole = {
        **_line(found),
        "updated": render.when(found.updated_ns),
        "market": found.market_ticker,
        "hyperparameters": found.hyperparameters,
        "training_metrics": found.training_metrics,
    }
    if chosen is not render.Format.TABLE:
        render.record({**whole, "card": card or None, "changes": log, "evaluations": verdicts}, form=chosen)
        return
    render.record({**whole, **_of_card(card, registry.sessions_trained_on(found))}, form=chosen)
    typer.echo()
    render.rows("changes", log, columns=("at", "before", "after", "reason"), form=chosen)
    for one in verdicts:
        stamp = "IN SAMPLE. " if one["in_sample"] else ""
        render.text(f"\n{one['evaluation']}, {one['events']} events: {stamp}{one['sentence']}")


@app.command()
def promote(
    context: typer.Context,
    model: ModelArgument,
    status: Annotated[str, typer.Argument(metavar="paper|live|retired|failed", help="What it becomes.")],
    reason: ReasonOption = "by hand",
    unevaluated: Annotated[
        bool, typer.Option("--unevaluated", help="To paper without a kflow evaluate on what it never saw.")
    ] = False,
    yes: YesOption = False,
) -> None:
    """Take a model a step on: candidate, paper, live, retired. The one that was live before is retired.

    Back to the one before: promote it to live again. Its files are verified first.
    """
    from kflow.store import registry

    with _registry(context) as (conn, data):
        found = registry.get(conn, model)
        if status == "live":
            now = registry.read(conn, name=found.name, status="live")
            instead = f" instead of {now[0]}" if now else ""
            _ask(f"{found} ({found.status}) becomes live{instead}, and may trade for money. Do it?", yes)
        changed, replaced = registry.promote(
            conn,
            data,
            found,
            status,
            reason=f"{reason}, unevaluated" if unevaluated else reason,
            now_ns=_now_ns(),
            schema=_feature_schema(),
            unjudged=unevaluated,
        )
    if replaced is not None:
        render.note(f"{replaced} is retired; back to it: kflow models promote {replaced} live")
    typer.echo(f"{changed} is {changed.status}")


@app.command()
def export(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model, or a .zip of Stable-Baselines3.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write the two files into.")],
    card: Annotated[
        Path | None,
        typer.Option(
            "--card", metavar="FILE", help="Of a .zip: the JSON that says what it is. Else the .json beside it."
        ),
    ] = None,
) -> None:
    """Write a model's two files into a folder, verified.

    A .zip of Stable-Baselines3 becomes such a model too; this needs the extra `train`. It does not say what its
    observations and actions mean: a card has to. Of the .zip only text and tensors are read, nothing in it is executed.
    """
    from kflow.errors import UsageError

    if model.endswith(".zip"):
        bundle = _converted(Path(model), card, output)
    elif card is not None:
        raise UsageError("--card is for a .zip; a model has its own", hint="leave it out")
    else:
        from kflow.policy.bundle import copy
        from kflow.store import registry

        with _registry(context) as (conn, data):
            bundle = copy(registry.load(data, found := registry.get(conn, model)).path, output, sha256=found.sha256)
    typer.echo(bundle.path)


@app.command()
def verify(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL|PATH", help="A model, or its folder or file.")],
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Check that a model can be used: whole, unchanged, of this kflow's features. Exit 9 where it cannot."""
    chosen = render.chosen(form, as_json)
    if is_path(model):
        from kflow.policy.bundle import load

        bundle = load(Path(model), schema=_feature_schema())
    else:
        from kflow.store import registry

        with _registry(context) as (conn, data):
            bundle = registry.load(data, registry.get(conn, model), schema=_feature_schema())
    render.record(_verified(bundle), form=chosen)


@app.command()
def rm(context: typer.Context, model: ModelArgument, reason: ReasonOption = "removed", yes: YesOption = False) -> None:
    """Delete a model's files. What is known of it stays; one on paper or live is not removed."""
    from kflow.store import registry

    with _registry(context) as (conn, data):
        found = registry.get(conn, model)
        if found.status not in registry.IN_USE:  # those are refused without a question
            _ask(f"The files of {found} ({found.status}) will be gone. Delete them?", yes)
        registry.remove(conn, data, found, reason=reason, now_ns=_now_ns())
    typer.echo(f"{found} is removed")


@contextmanager
def _registry(context: typer.Context) -> Iterator[tuple[Connection, Path]]:
    """A connection, and the data folder."""
    from kflow.store import postgres
    from kflow.wiring import data_dir, database

    settings = load_settings(context)
    with database(settings) as dsn, postgres.connect(dsn, autocommit=True) as conn:
        yield conn, data_dir(settings)


def _ask(question: str, yes: bool) -> None:
    """Raises UsageError where nobody can be asked, and ends the command where the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        from kflow.errors import UsageError

        raise UsageError("this has to be confirmed, and nobody can be asked here", hint="say it with --yes")
    typer.confirm(question, abort=True, err=True)


def is_path(model: str) -> bool:
    """Whether a model is named by its files, not by the registry."""
    return os.sep in model or model.endswith(FILES) or not re.match("[a-z0-9]", model)


def _converted(path: Path, card: Path | None, output: Path) -> Bundle:
    from kflow.errors import ModelError
    from kflow.policy.bundle import facts_of
    from kflow.rl.export import from_zip

    said = card or path.with_suffix(".json")
    if card is None and not said.exists():
        raise ModelError(
            f"{path} does not say which features it sees and what its actions are",
            hint="write what docs/models.md lists into a file, and name it with --card FILE",
        )
    return from_zip(path, facts_of(said), output)


def _feature_schema() -> str:
    from kflow.policy.features import SCHEMA

    return SCHEMA


def _now_ns() -> int:
    from kflow.clock import SystemClock

    return SystemClock().wall_ns()


def _line(model: Model) -> dict[str, Any]:
    return {
        "model": str(model),
        "id": model.id,
        "status": model.status,
        "algorithm": model.algorithm,
        "created": render.when(model.created_ns),
        "mean_return": model.training_metrics.get("mean_return"),
        "steps": model.training_metrics.get("steps"),
        "feature_schema": model.feature_schema,
        "sha256": model.sha256,
        "path": model.path,
        "run_folder": model.run_folder,
    }


def _of_card(card: Mapping[str, Any], sessions: set[int]) -> dict[str, Any]:
    """A card for people: what matters of it, in a few words."""
    if not card:
        return {}
    network = card["network"]
    widths = "x".join(map(str, network["policy"])) or "no hidden layer"
    return {
        "network": f"{network['observation']} features, {widths} {network['activation']}, {network['actions']} actions",
        "actions": card["actions"]["name"],
        "decides_every": f"{card['decision_interval_us'] / 1000:g} ms",
        "fill_model": card["fill_model"],
        "limits": card["limits"],
        "seeds": card["seeds"],
        "sessions": sorted(sessions),
        "tapes": len(card["trained_on"]),
    }


def _verified(bundle: Bundle) -> dict[str, Any]:
    card = bundle.card
    return {
        "model": f"{card.name}:{card.version}",
        "verified": True,
        "path": str(bundle.path),
        "weights_sha256": card.weights_sha256,
        "feature_schema": card.features.schema,
        "features": card.network.observation,
        "actions": card.network.actions,
    }
