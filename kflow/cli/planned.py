"""Commands that take a plan: what `kflow train` and `kflow sweep` share of their options, said once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from kflow.cli import training_options as options
from kflow.cli.tapes import FromOption, MarketOption, SessionsOption, SourceOption


def _options(
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", help="Begin with the plan of a run, or of a sweep's best.json."),
    ] = None,
    algorithm: options.Algorithm = "ppo",
    preset: options.Preset = "kflow",
    changes: options.Changes = None,
    steps: options.Steps = 1_000_000,
    envs: options.Envs = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    sessions: SessionsOption = None,
    paths: FromOption = None,
    market: MarketOption = None,
    source: SourceOption = "tables",
    world: options.World = None,
    markets: options.Markets = 40,
    eval_sessions: options.EvalSessions = None,
    holdout: options.Holdout = 0.2,
    actions: options.Actions = "default",
    sizes: options.Sizes = "5,10,20,50,100",
    cash: options.Cash = 1000.0,
    max_position: options.MaxPosition = 500.0,
    max_open: options.MaxOpen = 4,
    every: options.Every = "250ms",
    episode: options.Episode = "15m",
    ruin: options.Ruin = 0.1,
    scale: options.Scale = 1.0,
    shaping: options.Shaping = None,
    model: options.Model = "queue",
    calibration: options.Calibration = None,
    latency: options.Latency = "home",
    curriculum: options.Curriculum = "all",
    stages: options.Stages = 4,
    save_every: options.SaveEvery = 50_000,
    eval_every: options.EvalEvery = 100_000,
    eval_episodes: options.EvalEpisodes = 64,
    patience: options.Patience = 0,
) -> None:
    """Only its parameters are looked at."""


def with_plan(command: Callable[..., None]) -> Callable[..., None]:
    """A command that gets the options of a plan as one mapping, `typed`; its own follow them in the help."""
    shared = inspect.signature(_options, eval_str=True).parameters
    own = dict(inspect.signature(command, eval_str=True).parameters)
    del own["typed"]

    @wraps(command)
    def run(**values: Any) -> None:
        command(typed={name: values.pop(name) for name in shared}, **values)

    parameters = [own.pop("context"), *shared.values(), *own.values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
