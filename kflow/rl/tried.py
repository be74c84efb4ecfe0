"""What the trials of a sweep came to, and how much of the best of them is luck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance
from typing import TYPE_CHECKING, Any

from kflow.rl.jobs import Result

if TYPE_CHECKING:
    from optuna import Study

STATES = {"COMPLETE": "whole", "PRUNED": "pruned", "RUNNING": "running", "WAITING": "waiting", "FAIL": "failed"}


@dataclass(frozen=True, slots=True)
class Tried:
    """A set of hyper-parameters. `profit`: dollars per held-out episode, of a pruned one over the units that it had."""

    number: int
    state: str
    profit: float | None
    error: float | None  # one standard error
    units: int
    searched: dict[str, Any]
    failed: str = ""


def overall(results: Sequence[Result]) -> tuple[float, float | None]:
    """Mean over units, and its standard error: the larger of what folds differ by, and of what events and seeds say.

    Units of one fold are scored on the same events, so that seeds do not make more of those. None: not known.
    """
    by_fold: dict[int, list[Result]] = {}
    for result in results:
        by_fold.setdefault(result.fold, []).append(result)
    profits = {fold: [result.profit or 0.0 for result in found] for fold, found in by_fold.items()}
    mean = fmean(result.profit or 0.0 for result in results)
    candidates: list[float] = []
    if len(profits) > 1:
        candidates.append(math.sqrt(variance([fmean(found) for found in profits.values()]) / len(profits)))
    within = [_within(found) for found in by_fold.values()]
    known = [value for value in within if value is not None]
    if known and len(known) == len(within):
        candidates.append(math.sqrt(sum(known)) / len(known))
    return mean, max(candidates, default=None)


def _within(found: Sequence[Result]) -> float | None:
    """Variance of one fold's mean: of its events, and of seeds."""
    errors = [result.error for result in found if result.error is not None]
    if len(errors) < len(found):
        return None
    seeds = variance([result.profit or 0.0 for result in found]) / len(found) if len(found) > 1 else 0.0
    return fmean(error**2 for error in errors) + seeds


def table(study: Study) -> list[Tried]:
    """By number."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        facts = trial.user_attrs
        failed = str(facts.get("failed", ""))
        rows.append(
            Tried(
                number=trial.number,
                state="failed" if failed else STATES[trial.state.name],
                profit=facts.get("profit"),
                error=facts.get("error"),
                units=facts.get("units", len(trial.intermediate_values)),
                searched=dict(trial.params),
                failed=failed,
            )
        )
    return rows


def best_of(rows: Sequence[Tried]) -> Tried | None:
    """Of those that were scored on everything; of equal ones the first."""
    whole = [row for row in rows if row.state == "whole" and row.profit is not None]
    return max(whole, key=lambda row: (row.profit or 0.0, -row.number), default=None)


def luck(variants: int) -> float:
    """By how many standard errors the best of so many equal variants looks better than it is (Blom's approximation)."""
    return NormalDist().inv_cdf((variants - 0.375) / (variants + 0.25)) if variants > 1 else 0.0


def amount(row: Tried) -> str:
    """Profit and its error, for sentences."""
    error = "" if row.error is None else f" ± {row.error:.3f}"
    return "nothing" if row.profit is None else f"${row.profit:.3f}{error}"


def sentence(row: Tried, best: Tried | None) -> str:
    """How a trial ended."""
    values = ", ".join(f"{name} {_short(value)}" for name, value in row.searched.items())
    if row.failed:
        return f"trial {row.number} failed: {row.failed} ({values})"
    how = f" after {row.units} units, pruned" if row.state == "pruned" else ""
    if best is not None and best.number != row.number:
        how += f"; best so far is trial {best.number}, {amount(best)}"
    elif best is not None:
        how += ", the best so far"
    return f"trial {row.number}: {amount(row)} per episode{how} ({values})"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
