"""An evaluation in its folder: who plays on what, all of it played, and its document and report written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kflow.errors import DataError, UsageError
from kflow.evaluate import contestants, parts, splits
from kflow.evaluate import document as documents
from kflow.evaluate.contestants import Contestant
from kflow.evaluate.held import Held, hold_out
from kflow.evaluate.judge import Judge, Stage, Verdicts, decisions
from kflow.evaluate.request import Request, write_request
from kflow.evaluate.splits import Split
from kflow.own import is_own
from kflow.policy.bundle import Bundle
from kflow.policy.strategies import STRATEGIES
from kflow.rl import folds
from kflow.sim.accounts import Limits
from kflow.sim.tape import Tape
from kflow.units import CONTRACT, Money, Size

Training = Callable[[int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, slots=True)
class Ready:
    """Who plays on what, before anything is played."""

    request: Request
    stages: tuple[Stage, ...]
    split: Split
    judged: tuple[str, ...]

    @property
    def decisions(self) -> int:
        """How many there are to be made."""
        return decisions(self.request, self.stages)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What it came to. `whole`: the document."""

    whole: dict[str, Any]
    verdicts: Verdicts
    ready: Ready


def prepare(request: Request, tapes: Sequence[Tape], models: Mapping[str, Bundle]) -> Ready:
    """Split, and seat the contestants. Raises UsageError for what a model was trained on, and for what cannot be."""
    request.check()
    held = hold_out(tapes, request.assume, every_us=request.every_us)
    split = splits.choose(
        held, models, embargo_us=request.embargo_us, in_sample=request.in_sample, unseen=request.unseen
    )
    held = held.of_events(split.events, request.rows, request.most)
    seated = _seated(request, models)
    return Ready(request, (Stage(held, tuple(seated)),), split, request.judged)


def walk(
    request: Request, tapes: Sequence[Tape], folder: Path, say: Callable[[str], None], training: Training
) -> Ready:
    """Train the request's plan anew for each fold, on what came before. Raises UsageError for what cannot be.

    `training`: shows how a fold's decisions go on while its block lasts.
    """
    request.check()
    assert request.plan is not None
    held = hold_out(tapes, request.assume, every_us=request.every_us)
    times = folds.times_of(held.dataset)
    steps = splits.walk_forward(times, request.folds, embargo_us=request.embargo_us)
    (name,) = request.judged
    stages = []
    for fold in steps:
        say(f"fold {fold.number} of {len(steps)}: training on {len(fold.train)} events, then {len(fold.held)} later")
        with training(request.plan.steps) as advance:
            trained = _trained(request, held, fold, folder / f"fold_{fold.number}", advance)
        rest = contestants.baselines(request.baselines, request.size, trained.setup.limits, trained.setup.ruin)
        judged_on = held.of_events(fold.held, request.rows, request.most)
        stages.append(Stage(judged_on, (trained, *rest)))
    kept = tuple(event for fold in steps for event in fold.held)
    left_out = tuple((event, "is what the first fold was trained on") for event in steps[0].train)
    late = {event: fold.number for fold in steps for event in fold.left_out}
    left_out += tuple(
        (event, f"was not over an embargo before fold {number} was judged")
        for event, number in late.items()
        if event not in kept
    )
    return Ready(request, tuple(stages), Split(kept, left_out, in_sample=False), (name,))


def carry_out(
    ready: Ready,
    folder: Path,
    variants: Mapping[str, tuple[int, str]],
    command: Sequence[str],
    known: Mapping[str, Any],
    progress: Callable[[int], None],
    jobs: int = 1,
) -> Outcome:
    """Play, sum up, write; `progress` is told of decisions. `known`: what was there when it began; empty for a new one.

    variants: of each judged how many were tried, and how that is known. jobs: threads that play. Raises DataError where
    tapes or weights are others than when it began.
    """
    now = _known(ready)
    if known and known != now:
        raise DataError(
            f"{folder} began with other tapes or weights than there are now", hint="begin anew: leave out --resume"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_request(folder, ready.request, now)
    counts = {name: count for name, (count, _) in variants.items()}
    verdicts = Judge(ready.request, ready.stages, ready.judged, counts, folder, progress, jobs).verdicts()
    most = max(variants.values(), default=(1, "nothing else was tried"))
    whole = documents.document(
        folder.name, ready.request, ready.stages, ready.split, ready.judged, most, verdicts, command
    )
    documents.write(folder, whole)
    parts.forget(folder)
    return Outcome(whole, verdicts, ready)


def _known(ready: Ready) -> dict[str, Any]:
    stages = ready.stages
    return {
        "tapes": sorted({market.digest for market in stages[0].held.markets}),
        "weights": {
            one.name: one.bundle.card.weights_sha256 for one in stages[0].contestants if one.bundle is not None
        },
    }


def _seated(request: Request, models: Mapping[str, Bundle]) -> list[Contestant]:
    """The judged first; baselines under the limits of the first of them."""
    intervals = {bundle.card.decision_interval_us for bundle in models.values()}
    if intervals - {request.every_us}:
        raise UsageError(
            f"models decide every {sorted(intervals)} µs, and this evaluation every {request.every_us}",
            hint="judge models of one decision interval together, and with it: --every",
        )
    usual = Limits(
        cash=Money(request.cash),
        max_position=Size(request.max_position),
        max_order=Size(round(request.size * CONTRACT)),
        orders=request.orders,
    )
    found = [contestants.of_bundle(name, bundle, request.ruin) for name, bundle in models.items()]
    limits = found[0].setup.limits if found else usual
    found += [contestants.of_own(name, limits, request.ruin) for name in request.judged if is_own(name)]
    by_hand = tuple(name for name in request.judged if name not in models and not is_own(name))
    unknown = [name for name in by_hand if name not in STRATEGIES]
    if unknown:
        raise UsageError(f"there is no policy {unknown[0]}", hint=f"a model, module:Class, or {', '.join(STRATEGIES)}")
    rest = tuple(name for name in request.baselines if name not in by_hand)
    asked = contestants.baselines(by_hand, request.size, limits, request.ruin)
    beside = contestants.baselines(rest, request.size, limits, request.ruin)
    return [*found, *(replace(one, kind="strategy") for one in asked), *beside]


def _trained(
    request: Request, held: Held, fold: folds.Fold, folder: Path, advance: Callable[[int], None]
) -> Contestant:
    """What the plan comes to on the events before a fold; it goes on where it was stopped."""
    from kflow.rl.train import Field, Run, Watch

    plan = request.plan
    assert plan is not None
    folder.mkdir(parents=True, exist_ok=True)
    dataset = held.under(plan.fills)
    field = Field(dataset, folds.spans_of(dataset, fold.train), dataset, ())
    outcome = Run(plan, field, folder, Watch(advance)).learn()
    return contestants.of_network(request.judged[0], outcome.network, plan.algorithm, plan.setup())
