"""`kflow evaluate`: what a policy is worth on sessions it never saw, and how sure that is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from kflow.cli import render
from kflow.cli import training_options as options
from kflow.cli.choices import HAND_WRITTEN
from kflow.cli.tapes import FromOption, MarketOption, SessionsOption, SourceOption

_RUNS: Final = Path("evaluations")
_ALL: Final = ",".join(HAND_WRITTEN)


def evaluate(
    context: typer.Context,
    judged: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL…",
            help="name:version, a model's files, a hand-written policy: join, skewed, …, or your own: module:Class.",
        ),
    ] = None,
    sessions: SessionsOption = None,
    paths: FromOption = None,
    market: MarketOption = None,
    source: SourceOption = "tables",
    world: options.World = None,
    markets: options.Markets = 40,
    world_seed: Annotated[int, typer.Option("--world-seed", min=0, help="Of --world: other than that trained on.")] = 1,
    baselines: Annotated[
        str, typer.Option("--baselines", metavar="NAME,…", help="Hand-written policies beside them; none: none.")
    ] = _ALL,
    size: Annotated[
        float, typer.Option("--size", metavar="N", help="Contracts of a hand-written policy's order.")
    ] = 10.0,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="Each episode is played with so many.")] = 5,
    episode: options.Episode = "15m",
    most: Annotated[
        int | None, typer.Option("--episodes", metavar="N", help="At most, spread over time. Default: all.")
    ] = None,
    capacity: Annotated[
        str, typer.Option("--capacity", metavar="N,N,…", help="Also with so many times the sizes, cash and limits.")
    ] = "1,2,5,10",
    calibration: options.Calibration = None,
    latency: options.Latency = "home",
    embargo: Annotated[
        str, typer.Option("--embargo", metavar="TIME", help="Left out before and behind what was trained on.")
    ] = "15m",
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Leave out events that it was trained on, instead of refusing.")
    ] = False,
    in_sample: Annotated[
        bool, typer.Option("--in-sample", help="Judge on what it was trained on, and stamp the result.")
    ] = False,
    variants: Annotated[
        int | None, typer.Option("--variants", metavar="N", help="Tried before this one was chosen [the registry's].")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="RUN", help="With --walk-forward: train this run's plan anew.")
    ] = None,
    folds: Annotated[
        int, typer.Option("--walk-forward", metavar="N", help="Train on earlier events, judge on later ones, N times.")
    ] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, metavar="N", help="Threads that play.")] = 2,
    folder: Annotated[Path, typer.Option("--runs", metavar="FOLDER", help="Where evaluations are kept.")] = _RUNS,
    resume: Annotated[
        Path | None, typer.Option("-i", "--resume", metavar="EVALUATION", help="Go on with one that was stopped.")
    ] = None,
    register: Annotated[
        bool, typer.Option("--register/--no-register", help="Store the result and its episodes in the database.")
    ] = True,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Say what a policy is worth on data it never saw.

    And how sure that is: beside baselines, under pessimistic, calibrated and optimistic fills. Without a model: kflow
    evaluate join
    """
    typed = dict(locals())
    _one_thread()
    from kflow.cli import judging

    judging.evaluate(context, typed, render.chosen(form, as_json))


def _one_thread() -> None:
    """Small matrices: a second thread costs more than it brings. Has to be said before NumPy is loaded."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
