"""What a sweep searches, and how: spaces as they are typed, Optuna's samplers and pruner, its study in a file."""

from __future__ import annotations

import itertools
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from kflow.errors import ConfigError, UsageError
from kflow.rl import runs
from kflow.rl.plan import Plan
from kflow.rl.presets import Hyper

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler

Value = str | int | float | bool
SAMPLERS: Final = ("tpe", "random", "grid")
PRUNERS: Final = ("median", "none")
JOURNAL: Final = "trials.journal"
_STUDY: Final = "sweep"
# Trials that have to be whole before one is measured against them.
_BEFORE_PRUNING: Final = 5
_EXAMPLE: Final = "--search learning_rate=1e-4:1e-2:log or --search n_epochs=4,6,10"


class Range(msgspec.Struct, frozen=True, kw_only=True, tag="range"):
    """From `low` to `high`, both included; `log`: evenly over orders of magnitude; `whole`: integers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


class Choice(msgspec.Struct, frozen=True, kw_only=True, tag="choice"):
    """One of some."""

    values: tuple[Value, ...]


Space = dict[str, Range | Choice]

# Where no --search is given. Names, scales and bounds follow what rl-baselines3-zoo samples (hyperparams_opt.py:
# learning rate log 1e-5 to 2e-3, 1 - gamma log 1e-4 to 0.03, entropy log 1e-8 to 0.1, clip 0.1 to 0.4, epochs 1 to 20,
# 1 - lambda log 1e-4 to 0.1), narrowed around our presets: batches are larger here, hence the higher learning rates.
_RATE: Final = Range(low=1e-4, high=1e-2, log=True)
_ENTROPY: Final = Range(low=1e-4, high=0.1, log=True)
_GAMMA: Final = Choice(values=(0.97, 0.98, 0.99, 0.995, 0.999))
_PPO: Final[Space] = {
    "learning_rate": _RATE,
    "ent_coef": _ENTROPY,
    "gamma": _GAMMA,
    "n_epochs": Choice(values=(2, 4, 6, 10)),
    "clip_range": Choice(values=(0.1, 0.2, 0.3)),
    "batch_size": Choice(values=(256, 512, 1024, 2048)),
}
_A2C: Final[Space] = {
    "learning_rate": _RATE,
    "ent_coef": _ENTROPY,
    "gamma": _GAMMA,
    "gae_lambda": Choice(values=(0.9, 0.95, 0.98, 1.0)),
    "n_steps": Choice(values=(8, 16, 32, 64)),
}


def default_space(plan: Plan) -> Space:
    """Of an algorithm; batches that do not divide a rollout of this plan are left out."""
    space = dict(_A2C if plan.algorithm == "a2c" else _PPO)
    if "batch_size" in space:
        rollout = plan.envs * int(plan.hyper["n_steps"])
        fit = tuple(size for size in (256, 512, 1024, 2048) if rollout % size == 0)
        if len(fit) > 1:
            space["batch_size"] = Choice(values=fit)
        else:
            del space["batch_size"]
    return space


def read_space(texts: Sequence[str], hyper: Hyper) -> Space:
    """Of NAME=LOW:HIGH, NAME=LOW:HIGH:log and NAME=A,B,C (of networks: net=32,32|64,64). Raises UsageError."""
    space: Space = {}
    for text in texts:
        name, equals, given = (part.strip() for part in text.partition("="))
        if not equals or not given:
            raise UsageError(f"{text!r} says nothing to search", hint=_EXAMPLE)
        if name not in hyper:
            raise UsageError(f"there is no hyper-parameter {name} to search", hint=f"choose {', '.join(sorted(hyper))}")
        if name in space:
            raise UsageError(f"{name} is searched twice", hint="give one --search for each")
        space[name] = _read(name, given, type(hyper[name]))
    return space


def _read(name: str, given: str, kind: type) -> Range | Choice:
    if ":" in given and kind is not str:
        return _range(name, given, kind)
    parts = [part.strip() for part in given.split("|" if name == "net" or "|" in given else ",")]
    values = tuple(dict.fromkeys(_value(name, part, kind) for part in parts))
    if len(values) < 2:
        raise UsageError(f"{name} has one value only, {given}", hint=f"--set {name}={given}, or more to choose from")
    return Choice(values=values)


def _range(name: str, given: str, kind: type) -> Range:
    low, high, *rest = given.split(":")
    found = Range(
        low=_value(name, low, kind),
        high=_value(name, high, kind),
        log=rest == ["log"],
        whole=kind is int,
    )
    if rest not in ([], ["log"]) or not found.low < found.high or (found.log and found.low <= 0):
        raise UsageError(f"{name} cannot be searched in {given}", hint="LOW:HIGH or, above 0, LOW:HIGH:log")
    return found


def _value(name: str, text: str, kind: type) -> Any:
    known = {"net": r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", "activation": "tanh|relu"}.get(name, ".+")
    try:
        if re.fullmatch(known, text) is None:
            raise ValueError
        return kind(text)
    except ValueError:
        raise UsageError(f"{name} cannot be {text!r}", hint=_EXAMPLE) from None


def holds(space: Space, hyper: Mapping[str, Value]) -> bool:
    """Whether these values lie in it."""
    return all(
        found.low <= float(hyper[name]) <= found.high if isinstance(found, Range) else hyper[name] in found.values
        for name, found in space.items()
    )


def combinations(space: Space) -> list[dict[str, Value]]:
    """All of a grid, in order. Raises UsageError where a range stands in it."""
    ranges = [name for name, found in space.items() if isinstance(found, Range)]
    if ranges:
        raise UsageError(f"a grid needs values of {ranges[0]}, not a range", hint=f"--search {ranges[0]}=A,B,C")
    values = [found.values for found in space.values() if isinstance(found, Choice)]
    return [dict(zip(space, one, strict=True)) for one in itertools.product(*values)]


def suggest(trial: Trial, space: Space) -> dict[str, Value]:
    """Values of a trial; those that it has already stay."""
    found: dict[str, Any] = {}
    for name, item in space.items():
        if isinstance(item, Choice):
            found[name] = trial.suggest_categorical(name, item.values)
        elif item.whole:
            found[name] = trial.suggest_int(name, int(item.low), int(item.high), log=item.log)
        else:
            found[name] = trial.suggest_float(name, item.low, item.high, log=item.log)
    return found


def sampler_of(name: str, seed: int) -> BaseSampler:
    """For one trial: a sampler of its own, so that a sweep that was stopped goes on as it would have."""
    from optuna.samplers import RandomSampler, TPESampler

    return TPESampler(seed=seed) if name == "tpe" else RandomSampler(seed=seed)


def open_study(folder: Path, *, pruner: str, units: int, folds: int) -> Study:
    """A sweep's, made where there is none yet. `units` of a trial; the first `folds` of them are never pruned."""
    optuna = _optuna()
    file = folder / JOURNAL
    drop_torn_line(file)
    judge = optuna.pruners.NopPruner()
    if pruner == "median" and units > folds:
        judge = optuna.pruners.MedianPruner(n_startup_trials=_BEFORE_PRUNING, n_warmup_steps=folds)
    storage = _storage(file)
    study: Study
    try:
        study = optuna.load_study(study_name=_STUDY, storage=storage, pruner=judge)
    except KeyError:
        study = optuna.create_study(study_name=_STUDY, storage=storage, pruner=judge, direction="maximize")
    return study


def read_study(folder: Path) -> Study:
    """To be looked at, also while a sweep goes on. Raises UsageError where no trial was begun."""
    optuna = _optuna()
    file = folder / JOURNAL
    if not file.is_file():
        raise UsageError(f"{folder} has no trials yet", hint=f"kflow sweep --resume {folder}")
    study: Study = optuna.load_study(study_name=_STUDY, storage=_storage(file))
    return study


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError("sweeps need Optuna, which is not installed", hint="pip install 'kflow[sweep]'") from None
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


def _storage(file: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

    class Unlocked:
        """The sweep holds a lock of its own, which does not outlive it as Optuna's would."""

        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            """Nothing is held."""

    backend: BaseJournalBackend = JournalFileBackend(str(file), lock_obj=Unlocked())  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is experimental, in older versions
        return JournalStorage(backend)


def drop_torn_line(file: Path) -> None:
    """What was being written to a file of lines when the machine stopped."""
    if file.is_file():
        content = file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            runs.write(file, whole)
