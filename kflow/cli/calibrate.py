"""`kflow calibrate`: fit the queue model to orders whose fate is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings
from kflow.cli.tapes import FromOption, MarketOption, SessionsOption, SourceOption, load_tapes

if TYPE_CHECKING:
    from kflow.sim.assume import Calibration


def calibrate(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where to write it; else the next number in the data folder."),
    ] = None,
    horizon: Annotated[
        list[float] | None, typer.Option(metavar="S", help="Seconds at which it is judged; 1, 10 and 60.")
    ] = None,
    own: Annotated[
        Path | None,
        typer.Option("--own", metavar="FILE", help="Own orders with their queue_position, a JSON object a line."),
    ] = None,
    sessions: SessionsOption = None,
    paths: FromOption = None,
    market: MarketOption = None,
    source: SourceOption = "tables",
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Fit the fill model to orders whose fate is known."""
    import msgspec

    import kflow
    from kflow.clock import SystemClock
    from kflow.errors import ConfigError, UsageError
    from kflow.replay.own import read_samples
    from kflow.sim import calibrate as calibrating
    from kflow.wiring import data_dir

    chosen = render.chosen(form, as_json)
    if not all(0 < seconds <= 86_400 for seconds in horizon or ()):
        raise UsageError("horizons are above 0 and at most a day", hint="--horizon 60")
    tapes = load_tapes(context, sessions, paths, market, source=source)
    path = out or _next(data_dir(load_settings(context)) / "calibrations")
    made = render.when(SystemClock().wall_ns())
    found = calibrating.calibrate(
        tapes,
        name=path.stem,
        made=f"{made:%Y-%m-%dT%H:%M:%SZ}",
        version=kflow.__version__,
        samples=None if own is None else read_samples(own),
        horizons_s=sorted(horizon or [1.0, 10.0, 60.0]),
        progress=render.note,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint="choose another --out") from None
    _show(found, path, chosen)


def _next(folder: Path) -> Path:
    """A number that no calibration has."""
    taken = [int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal()]
    return folder / f"{max(taken, default=0) + 1:04d}.json"


def _show(found: Calibration, path: Path, form: render.Format) -> None:
    import msgspec

    if form is not render.Format.TABLE:
        render.record({"path": str(path), **msgspec.to_builtins(found)}, form=form)
        return
    ghosts = found.ghosts
    render.record(
        {
            "written": str(path),
            "cancellations_ahead": _fitted(found.ahead),
            "power": _fitted(found.power),
            "orders_watched": f"{ghosts['telling']:,} of {ghosts['found']:,}: {ghosts['traded']:,} traded, "
            f"{ghosts['withdrawn']:,} withdrawn, {ghosts['lost']:,} lost from sight",
        },
        form=form,
    )
    render.text("")
    rows = [_row(horizon, label) for horizon in found.quality["horizons"] for label in _LABELS]
    render.rows("horizons", rows, columns=tuple(rows[0]), form=form)
    time, marks = found.quality["time_to_fill"], found.quality["markouts"]
    if time["orders"]:
        render.note(
            f"time to fill: off by {time['mean_absolute_s']:.2f} s in the mean, {time['median_s']:+.2f} s in the median"
        )
    told = "; ".join(f"+{m['seconds']} s {_cents(m['predicted_cents'])} for {_cents(m['actual_cents'])}" for m in marks)
    render.note(f"markouts, simulated for real fills: {told}")
    if not found.differs:
        render.note("where cancellations fall is not identified by these orders: pro rata is kept")


_LABELS = ("queue", "pro rata", "queue-pessimistic", "queue-optimistic")


def _fitted(fitted: Any) -> str:
    sure = "" if fitted.identified else ", not identified"
    return f"{fitted.value:.3f} ({fitted.low:.3f} to {fitted.high:.3f}{sure})"


def _row(horizon: dict[str, Any], label: str) -> dict[str, Any]:
    scores = horizon[label]
    return {
        "seconds": horizon["seconds"],
        "model": "calibrated" if label == "queue" else label,
        "orders": horizon["orders"],
        "filled": f"{100 * horizon['actual']:.1f} %",
        "predicted": f"{100 * scores['predicted']:.1f} %",
        "predicted/filled": None if scores["ratio"] is None else round(scores["ratio"], 3),
        "brier": f"{scores['brier']:.4f} ±{scores['brier_error']:.4f}",
    }


def _cents(value: float | None) -> str:
    return "—" if value is None else f"{value:+.2f} ¢"
