"""A sweep as a picture: what each trial came to, the best so far, and which hyper-parameters mattered."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kflow.cli import charts
from kflow.errors import ConfigError
from kflow.rl import tried
from kflow.rl.searching import Range

if TYPE_CHECKING:
    from optuna import Study

    from kflow.rl.sweepfolder import Spec
    from kflow.rl.tried import Tried

_BLUE, _RED, _GREY, _LIGHT = "#0072B2", "#D55E00", "#555555", "#BBBBBB"
# Whole trials below which importances would be made up.
_LEAST: Final = 8
_SLICES: Final = 3


def draw(folder: Path, spec: Spec, study: Study) -> Path | None:
    """sweep.png in a sweep's folder; None where matplotlib is not installed, or nothing is known yet."""
    rows = [row for row in tried.table(study) if row.profit is not None]
    if not rows:
        return None
    try:
        pyplot = charts.drawing()
    except ConfigError:
        return None
    weights = importances(study)
    names = sorted(spec.space, key=lambda name: -weights.get(name, 0.0))[:_SLICES]
    wide = [2.2, *([1.0] if weights else []), *[1.0] * len(names)]
    figure, axes = pyplot.subplots(
        1, len(wide), figsize=(3.0 * sum(wide), 3.9), width_ratios=wide, layout="constrained"
    )
    try:
        rest = list(axes)
        _trials(rest.pop(0), rows)
        if weights:
            _importances(rest.pop(0), weights)
        for axis, name in zip(rest, names, strict=True):
            _slice(axis, name, rows, spec.space[name])
        what = spec.plan.source.world or spec.plan.source.sessions or "recordings"
        figure.suptitle(
            f"{folder.name}: {spec.plan.algorithm} on {what}, {len(rows)} variants x {len(spec.folds)} folds x "
            f"{len(spec.seeds)} seeds, {spec.plan.steps:,} decisions each; the best of many flatters itself",
            fontsize=10,
        )
        target = folder / "sweep.png"
        figure.savefig(target, dpi=110)
    finally:
        pyplot.close(figure)
    return target


def importances(study: Study) -> dict[str, float]:
    """Share of each hyper-parameter by PED-ANOVA, which needs no scikit-learn; empty for few trials."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < _LEAST:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is experimental, or that a parameter had one value only
        try:
            return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))
        except (ValueError, RuntimeError):
            return {}


def _trials(axis: Any, rows: Sequence[Tried]) -> None:
    charts.frame(axis, "each trial", "trial", "held-out profit per episode, dollars")
    for state, colour, label in (("whole", _BLUE, "all folds and seeds"), ("pruned", _LIGHT, "pruned")):
        points = [(row.number, row.profit, row.error or 0.0) for row in rows if row.state == state]
        if points:
            x, y, error = zip(*points, strict=True)
            axis.errorbar(
                x, y, yerr=error, fmt="o", markersize=4, lw=1, capsize=2, color=colour, label=f"{label}, ± 1 s.e."
            )
    whole = [row for row in rows if row.state == "whole"]
    if whole:
        best = [max(row.profit or 0.0 for row in whole[: n + 1]) for n in range(len(whole))]
        axis.step([row.number for row in whole], best, where="post", color=_RED, lw=1.4, label="best so far")
    axis.axhline(0, color=_GREY, lw=0.8, ls=":")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(frameon=False, fontsize=8)


def _importances(axis: Any, weights: dict[str, float]) -> None:
    names = sorted(weights, key=lambda name: weights[name])
    charts.frame(axis, "what mattered (PED-ANOVA)", "share")
    axis.barh(names, [weights[name] for name in names], color=_BLUE)
    axis.tick_params(axis="y", labelsize=8)


def _slice(axis: Any, name: str, rows: Sequence[Tried], item: Any) -> None:
    charts.frame(axis, name, "")
    found = [row for row in rows if name in row.searched and row.state == "whole"]
    if isinstance(item, Range):
        x = [row.searched[name] for row in found]
        if item.log:
            axis.set_xscale("log")
            axis.xaxis.set_minor_formatter("")
        axis.set_xlim(item.low, item.high)
    else:
        x = [item.values.index(row.searched[name]) for row in found]
        axis.set_xticks(range(len(item.values)), [str(value) for value in item.values], fontsize=8)
        axis.set_xlim(-0.5, len(item.values) - 0.5)
    axis.scatter(x, [row.profit or math.nan for row in found], s=16, color=_BLUE)
