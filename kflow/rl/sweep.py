"""Hyper-parameters on walk-forward folds with several seeds: what is tried next, what is done again, what came of it.

Optuna proposes and prunes; a sweep's folder holds its trials (trials.journal) and one line for each unit that was done
(results.jsonl). Both are only ever added to, so that a sweep that was killed goes on where it stood.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

import kflow
from kflow.errors import DataError, UsageError
from kflow.policy import features
from kflow.rl import folds, runs, searching, sweepfolder, tried, units
from kflow.rl.folds import Fold
from kflow.rl.jobs import Done, Job, Result
from kflow.rl.plan import Plan
from kflow.rl.searching import Space, Value
from kflow.rl.sweepfolder import BEST, SCRATCH, TAPES, UNITS, Spec
from kflow.rl.tried import Tried
from kflow.rl.workers import Workers
from kflow.sim.tape import Tape

if TYPE_CHECKING:
    from optuna import Study, Trial

# Trials go on beside each other where one alone would leave more than this share of the workers idle.
_IDLE: Final = 0.1


@dataclass(slots=True)
class Watch:
    """What is told while a sweep goes on. `advance`: units done or not needed; `say`: a sentence."""

    advance: Callable[[int], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a sweep is asked for. `trials`: None for 20, or the whole of a grid."""

    plan: Plan
    space: Space
    sampler: str = "tpe"
    pruner: str = "median"
    trials: int | None = None
    folds: int = 3
    seeds: int = 3
    overlap: bool = False


def begin(asked: Asked, tapes: Sequence[Tape], folder: Path, command: Sequence[str]) -> Spec:
    """Describe a sweep in a folder that is empty yet; it is removed where there can be none.

    What the plan holds out is left out of every fold. Raises UsageError for what cannot be.
    """
    try:
        spec = _spec(asked, tapes, folder, command)
        sweepfolder.write_spec(folder, spec)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return spec


def _spec(asked: Asked, tapes: Sequence[Tape], folder: Path, command: Sequence[str]) -> Spec:
    plan = asked.plan
    for name, value, known in (
        ("sampler", asked.sampler, searching.SAMPLERS),
        ("pruner", asked.pruner, searching.PRUNERS),
    ):
        if value not in known:
            raise UsageError(f"there is no {name} {value}", hint=f"choose {', '.join(known)}")
    if not 1 <= asked.seeds <= 1000 or (asked.trials is not None and not 1 <= asked.trials <= 100_000):
        raise UsageError("a sweep has a trial and a seed at least", hint="--trials 20 --seeds 3")
    trials = asked.trials or 20
    if asked.sampler == "grid":
        most = len(searching.combinations(asked.space))
        trials = min(asked.trials or most, most)
    kept = units.keep_tapes(tapes, folder / TAPES)
    dataset = units.dataset_of(plan, kept)
    times = folds.times_of(dataset)
    overlap = asked.overlap or plan.source.world is not None  # markets of a world know nothing of each other
    apart = set() if plan.held_out else folds.last_events(times, plan.held_share)
    return Spec(
        command=tuple(command),
        plan=plan,
        space=asked.space,
        sampler=asked.sampler,
        pruner=asked.pruner,
        trials=trials,
        folds=folds.walk_forward(
            {event: time for event, time in times.items() if event not in apart}, asked.folds, overlap=overlap
        ),
        seeds=tuple(range(plan.seed, plan.seed + asked.seeds)),
        kflow_version=kflow.__version__,
        feature_schema=features.SCHEMA,
        tapes=tuple(
            os.path.relpath(path, folder) if Path(path).is_relative_to(folder.absolute()) else path for path in kept
        ),
        digests=tuple(str(tape["digest"]) for tape in dataset.told()),
    )


def abreast(each: int, workers: int) -> int:
    """How many trials of `each` units go on at once. With one, what is tried next depends on nobody's speed."""
    trials = -(-workers // each)
    while trials * each < (1 - _IDLE) * workers * -(-trials * each // workers):
        trials += 1
    return trials


@dataclass(slots=True)
class _Open:
    """A trial that goes on. Its units are in an order that is the same for all trials: every fold once, then again."""

    trial: Trial
    searched: dict[str, Value]
    jobs: list[Job] = field(default_factory=list)
    told: int = 0  # of its units, to Optuna


class Sweep:
    """A sweep in its folder, held as long as the block lasts: nobody else works on it meanwhile."""

    def __init__(self, folder: Path, *, trials: int | None = None, watch: Watch | None = None) -> None:
        """`trials`: as many as that instead of what it began with. Raises UsageError, DataError, InstanceLocked."""
        self.folder, self.watch = folder, watch or Watch()
        spec = sweepfolder.read_spec(folder)
        self._tapes: Final = tuple(str((folder / path).absolute()) for path in spec.tapes)
        self._dataset: Final = units.dataset_of(spec.plan, self._tapes)
        self._check(spec)
        self._grid = searching.combinations(spec.space) if spec.sampler == "grid" else []
        self._lock = sweepfolder.lock(folder)
        if trials is not None and trials != spec.trials:
            spec = msgspec.structs.replace(spec, trials=min(trials, len(self._grid) or trials))
            sweepfolder.write_spec(folder, spec)
        self.spec: Final = spec
        self.each: Final = len(spec.folds) * len(spec.seeds)
        self._results: dict[str, Result] = sweepfolder.read_results(folder)
        self._study: Study = searching.open_study(folder, pruner=spec.pruner, units=self.each, folds=len(spec.folds))
        self._running: dict[Future[Done], str] = {}
        self._open: list[_Open] = []

    def _check(self, spec: Spec) -> None:
        found = tuple(str(tape["digest"]) for tape in self._dataset.told())
        if found != spec.digests or spec.feature_schema != features.SCHEMA:
            raise DataError(
                f"{self.folder} was begun on other tapes, or by another kflow ({spec.kflow_version})",
                hint="begin a new sweep",
            )

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder / UNITS / SCRATCH, ignore_errors=True)
        self._lock.release()

    @property
    def done(self) -> int:
        """Units that were done, in this run of the sweep or before."""
        return len(self._results)

    def run(self, workers: Workers) -> None:
        """Until all trials are over. What was done before is not done again."""
        shutil.rmtree(self.folder / UNITS / SCRATCH, ignore_errors=True)
        (self.folder / UNITS / SCRATCH).mkdir(parents=True)
        at_once = abreast(self.each, workers.count)
        self._take_up()
        while True:
            while len(self._open) < at_once and self._begin_trial():
                pass
            for job in self._next(workers.count - len(self._running)):
                self._running[workers.submit(job)] = job.key
            if not self._running:
                return
            over, _ = wait(self._running, return_when=FIRST_COMPLETED)
            for future in over:
                done = future.result()
                sweepfolder.keep(self.folder, done)
                self._results[done.result.key] = done.result
                del self._running[future]
            for trial in list(self._open):
                self._look(trial)

    def _take_up(self) -> None:
        """Trials that were going on when the sweep was stopped."""
        from optuna import Trial
        from optuna.trial import TrialState

        for frozen in self._study.get_trials(deepcopy=False):
            if frozen.state is TrialState.RUNNING:
                self._study.sampler = self._sampler(frozen.number)
                self._add(Trial(self._study, frozen._trial_id))  # noqa: SLF001 - its number is no way to it
            elif frozen.state.is_finished():
                self.watch.advance(self.each)

    def _sampler(self, number: int) -> Any:
        return searching.sampler_of(self.spec.sampler, (self.spec.plan.seed * 1_000_003 + number) % 2**32)

    def _begin_trial(self) -> bool:
        """False where there is none to begin."""
        from optuna.trial import TrialState

        states = [trial.state for trial in self._study.get_trials(deepcopy=False)]
        waiting = states.count(TrialState.WAITING)
        number = len(states) - waiting
        if number >= self.spec.trials:
            return False
        self._study.sampler = self._sampler(number)
        given = self._given(number)
        if given is not None and not waiting:
            self._study.enqueue_trial(given)
        self._add(self._study.ask())
        return True

    def _given(self, number: int) -> dict[str, Value] | None:
        """Values that are not left to the sampler: a grid's, and the plan's own in the first trial."""
        if self._grid:
            return self._grid[number]
        hyper = self.spec.plan.hyper
        if number == 0 and searching.holds(self.spec.space, hyper):
            return {name: hyper[name] for name in self.spec.space}
        return None

    def _add(self, trial: Trial) -> None:
        one = _Open(trial, searching.suggest(trial, self.spec.space))
        self._open.append(one)
        try:
            units.plan_of(self.spec.plan, one.searched, self.spec.plan.seed).check()
        except UsageError as error:
            self._close(one, failed=str(error))
            return
        for seed in self.spec.seeds:
            plan = units.plan_of(self.spec.plan, one.searched, seed)
            one.jobs += [self._job(plan, fold) for fold in self.spec.folds]
        self._look(one)

    def _job(self, plan: Plan, fold: Fold) -> Job:
        return Job(
            key=units.key_of(plan, fold, self._dataset),
            plan=plan,
            fold=fold,
            tapes=self._tapes,
            scratch=str((self.folder / UNITS / SCRATCH).absolute()),
        )

    def _next(self, free: int) -> list[Job]:
        """Units to be done now, those of older trials first."""
        found: dict[str, Job] = {}
        busy = set(self._running.values())
        for trial in self._open:
            for job in trial.jobs:
                if len(found) < free and job.key not in busy and job.key not in self._results:
                    found.setdefault(job.key, job)
        return list(found.values())

    def _look(self, one: _Open) -> None:
        """Tell Optuna how far a trial is, and end it where it is over or hopeless."""
        values: list[Result] = []
        for job in one.jobs:
            result = self._results.get(job.key)
            if result is None:
                break
            values.append(result)
            if len(values) <= one.told:
                continue
            one.told = len(values)
            self.watch.advance(1)
            if result.failed:
                self._close(one, failed=result.failed)
                return
            mean, _ = tried.overall(values)
            if one.told == len(one.jobs):
                self._close(one, values)
                return
            if one.told not in self._study.trials[one.trial.number].intermediate_values:
                one.trial.report(mean, one.told)
            if one.trial.should_prune():
                self._close(one, values, pruned=True)
                return

    def _close(self, one: _Open, values: Sequence[Result] = (), *, pruned: bool = False, failed: str = "") -> None:
        from optuna.trial import TrialState

        self._open.remove(one)
        self.watch.advance(self.each - one.told)
        facts: dict[str, Any] = {"units": len(values), "failed": failed}
        value = None
        if values:
            value, facts["error"] = tried.overall(values)
            facts["profit"] = value
        for name, fact in facts.items():
            one.trial.set_user_attr(name, fact)
        if pruned or failed:
            # Not Optuna's FAIL, which its samplers would not learn from.
            self._study.tell(one.trial, state=TrialState.PRUNED)
        else:
            self._study.tell(one.trial, value)
        found = self.tried()
        best = tried.best_of(found)
        if best is not None and best.number == one.trial.number:
            plan = msgspec.structs.replace(self.spec.plan, hyper=self.spec.plan.hyper | one.searched)
            runs.write(self.folder / BEST, msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n")
        self.watch.say(tried.sentence(next(row for row in found if row.number == one.trial.number), best))

    def weights(self) -> dict[str, str]:
        """SHA-256 of each unit's weights, by its key."""
        return {key: result.weights_sha256 for key, result in self._results.items()}

    def tried(self) -> list[Tried]:
        """What was tried by now."""
        return tried.table(self._study)
