"""Options of commands that train: what a run is, as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Algorithm = Annotated[str, typer.Option("--algo", metavar="ppo|a2c|maskable-ppo", help="How it learns.")]
Preset = Annotated[str, typer.Option("--preset", metavar="kflow|sb3|older", help="Hyper-parameters; older: ppo only.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One hyper-parameter; may be repeated.")
]
Steps = Annotated[int, typer.Option("-n", "--steps", metavar="N", help="Decisions to train for.")]
Envs = Annotated[int | None, typer.Option("--envs", metavar="N", help="Accounts at once; else the preset's.")]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same weights.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:0, mps.")]
World = Annotated[str | None, typer.Option("--world", metavar="fair|reverting|maker|dollar", help="A made-up market.")]
Markets = Annotated[int, typer.Option("--markets", metavar="N", help="How many markets of --world.")]
EvalSessions = Annotated[
    str | None, typer.Option("--eval-sessions", metavar="N|RANGE", help="Held out: scored on, never trained on.")
]
Holdout = Annotated[
    float, typer.Option("--holdout", metavar="SHARE", help="Without --eval-sessions: the last events, this share.")
]
Actions = Annotated[str, typer.Option("--actions", metavar="default|wide|maker", help="What it may do.")]
Sizes = Annotated[str, typer.Option("--sizes", metavar="N,N,…", help="Contracts per order.")]
Cash = Annotated[float, typer.Option("--cash", metavar="DOLLARS", help="At the start of an episode.")]
MaxPosition = Annotated[float, typer.Option("--max-position", metavar="N", help="Contracts.")]
MaxOpen = Annotated[int, typer.Option("--max-open", metavar="N", help="Orders open at once.")]
Every = Annotated[str, typer.Option("--every", metavar="TIME", help="Between decisions, event time.")]
Episode = Annotated[str, typer.Option("--episode", metavar="TIME", help="Of one episode at most.")]
Ruin = Annotated[float, typer.Option("--ruin", metavar="SHARE", help="Of the cash at which an episode ends.")]
Scale = Annotated[float, typer.Option("--reward-scale", metavar="X", help="Reward per dollar.")]
Shaping = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="TERM=WEIGHT", help="Take inventory or turnover from the reward; reported."),
]
Model = Annotated[str, typer.Option("--model", help="Fill model, as of kflow simulate.")]
Calibration = Annotated[
    Path | None, typer.Option("--calibration", metavar="FILE", help="Of kflow calibrate, for the queue model.")
]
Latency = Annotated[str, typer.Option("--latency", help="home, none, calibrated, or ms: 50/50/20.")]
Curriculum = Annotated[str, typer.Option("--curriculum", metavar="all|uniform|easy-to-hard", help="Which episodes.")]
Stages = Annotated[int, typer.Option("--stages", metavar="N", help="Of easy-to-hard.")]
SaveEvery = Annotated[int, typer.Option("--save-freq", metavar="N", help="Decisions between checkpoints.")]
EvalEvery = Annotated[int, typer.Option("--eval-freq", metavar="N", help="Decisions between scores.")]
EvalEpisodes = Annotated[int, typer.Option("--eval-episodes", metavar="N", help="Held-out episodes.")]
Patience = Annotated[
    int, typer.Option("--patience", metavar="N", help="Stop after so many scores without a better one; 0: never.")
]
Name = Annotated[str | None, typer.Option("--name", help="Of the model; else the algorithm's.")]
Resume = Annotated[
    Path | None, typer.Option("-i", "--resume", metavar="RUN", help="Go on with a run that was stopped.")
]
