"""Learning curves of runs as a picture: reward, held-out profit, and how the policy settles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from kflow.cli import charts
from kflow.errors import ConfigError
from kflow.rl import runs

_BLUE, _RED, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
# A smoothed line follows a tenth of the points.
_PARTS: Final = 10


def draw(folder: Path, path: Path | None = None) -> Path | None:
    """curves.png in a run's folder; None where matplotlib is not installed, or nothing was logged."""
    lines = runs.read_lines(folder / runs.PROGRESS)
    if not lines:
        return None
    try:
        pyplot = charts.drawing()
    except ConfigError:
        return None
    figure, axes = pyplot.subplots(1, 3, figsize=(13.5, 3.9), layout="constrained")
    try:
        _rewards(axes[0], lines)
        _held_out(axes[1], lines, runs.read_lines(folder / runs.EVENTS))
        _entropy(axes[2], lines)
        _, manifest = runs.read_manifest(folder)
        plan = manifest.plan
        what = plan.source.world or plan.source.sessions or ", ".join(Path(file).name for file in plan.source.files)
        figure.suptitle(
            f"{folder.name}: {plan.algorithm} on {what}, {plan.steps:,} decisions, seed {plan.seed}", fontsize=11
        )
        target = path or folder / "curves.png"
        figure.savefig(target, dpi=110)
    finally:
        pyplot.close(figure)
    return target


def _rewards(axis: Any, lines: Sequence[dict[str, Any]]) -> None:
    points = [(line["step"], line["rollout/ep_rew_mean"]) for line in lines if "rollout/ep_rew_mean" in line]
    _frame(axis, "training", "mean reward of the last 100 episodes")
    if points:
        axis.plot(*zip(*points, strict=True), color=_BLUE, lw=0.8, alpha=0.4)
        axis.plot(*zip(*_smooth(points), strict=True), color=_BLUE, lw=1.8)


def _held_out(axis: Any, lines: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]) -> None:
    points = [
        (line["step"], line["held_out/profit"], line.get("held_out/profit_error", 0.0))
        for line in lines
        if "held_out/profit" in line
    ]
    _frame(axis, "held out: never trained on", "profit per episode, dollars")
    if points:
        steps, profit, error = zip(*points, strict=True)
        axis.errorbar(
            steps, profit, yerr=error, color=_RED, marker="o", markersize=3.5, lw=1.4, capsize=2, label="± 1 s.e."
        )
        axis.legend(frameon=False, fontsize=8)
    else:
        axis.text(0.5, 0.5, "nothing was held out", ha="center", va="center", transform=axis.transAxes, color=_GREY)
    axis.axhline(0, color=_GREY, lw=0.8, ls=":")
    for event in (event for event in events if event.get("event") == "promotion"):
        axis.axvline(event["step"], color=_GREY, lw=0.8)
        first = "stage 2" if event["stage"] == 2 else str(event["stage"])
        side = "right" if event["stage"] == 2 else "center"
        axis.annotate(first, (event["step"], 1.0), xycoords=("data", "axes fraction"), fontsize=7, ha=side, va="bottom")


def _entropy(axis: Any, lines: Sequence[dict[str, Any]]) -> None:
    points = [(line["step"], -line["train/entropy_loss"]) for line in lines if "train/entropy_loss" in line]
    _frame(axis, "how undecided it is", "entropy of its actions, nats")
    if points:
        axis.plot(*zip(*points, strict=True), color=_GREEN, lw=1.2)
        axis.set_ylim(bottom=0)


def _smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of a window around each point."""
    half = max(len(points) // _PARTS // 2, 1)
    found = []
    for place, (step, _) in enumerate(points):
        near = [value for _, value in points[max(place - half, 0) : place + half + 1]]
        found.append((step, sum(near) / len(near)))
    return found


def _frame(axis: Any, title: str, label: str) -> None:
    charts.frame(axis, title, "decisions", label)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:g} k")
