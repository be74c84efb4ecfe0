"""`kflow exchange`: a local exchange that speaks Kalshi's wire."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kflow.cli import serving
from kflow.cli.lazy import new_app

app = new_app(help="Serve a local exchange that speaks Kalshi's wire.", no_args_is_help=True)


class EmptySide(StrEnum):
    """How a snapshot shows a side without levels."""

    OMIT = "omit"
    LIST = "list"


_Recording = Annotated[
    Path | None, typer.Option("--from", metavar="FILE", help="Play recorded frames (jsonl, jsonl.gz).")
]
_Rate = Annotated[
    float | None, typer.Option(metavar="N", show_default=False, help="Messages per second of all markets together.")
]
_Limit = Annotated[
    int | None, typer.Option(metavar="N", show_default=False, help="N messages in all, from the first subscriber on.")
]
_Lifetime = Annotated[
    float, typer.Option(metavar="SECONDS", help="After how long made-up markets close and new ones come.")
]


@app.callback()
def _group() -> None:
    """Keep `serve` a subcommand though it is the only one."""


@app.command()
def serve(
    recording: _Recording = None,
    speed: serving.Speed = "1",
    synthetic: Annotated[str, typer.Option(metavar="PRESET", help="Make markets up: busy, quiet or weather.")] = "busy",
    markets: Annotated[int, typer.Option(metavar="N", help="How many made-up markets.")] = 20,
    rate: _Rate = None,
    seed: Annotated[int, typer.Option(help="Same seed, same flow.")] = 7,
    limit: _Limit = None,
    lifetime: _Lifetime = 900.0,
    flow: Annotated[bool, typer.Option(help="Let made-up markets move; else only your orders move them.")] = True,
    fault: serving.Faults = None,
    truth: serving.Truth = None,
    host: serving.Host = "127.0.0.1",
    port: serving.Port = 0,
    keys: serving.Keys = None,
    empty_side: Annotated[EmptySide, typer.Option(help="A snapshot's empty side: no key, or [].")] = EmptySide.OMIT,
    legacy_fields: Annotated[bool, typer.Option("--legacy-fields", help="Add the retired integer cents.")] = False,
    wait: serving.Wait = True,
    until_end: serving.UntilEnd = False,
    users: serving.Users = 1,
    cash: serving.Cash = "10000",
    tier: serving.Tier = "premier",
    key_type: serving.Key = serving.KeyType.RSA,
    order_latency: serving.OrderLatency = 0.0,
    feed_latency: serving.FeedLatency = 0.0,
    read_lag: serving.ReadLag = 0.0,
    fill_order: serving.Fills = serving.FillOrder.RANDOM,
    post_only_cross: serving.PostOnly = serving.PostOnlyCross.REJECT,
) -> None:
    """Serve REST and WebSocket on one loopback port. Prints one line of JSON when ready; Ctrl-C ends it."""
    import asyncio

    from kflow.exchange import serve as running
    from kflow.exchange.faults import load_script
    from kflow.exchange.messages import Style
    from kflow.exchange.scene import SyntheticOptions
    from kflow.exchange.server import ExchangeOptions

    pace = running.parse_speed(speed)
    if recording is not None:
        source = running.recorded_source(recording, pace, waits=wait)
    else:
        source = running.synthetic_source(
            SyntheticOptions(
                preset=synthetic,
                markets=markets,
                rate=rate,
                seed=seed,
                limit=limit,
                lifetime_s=lifetime,
                speed=pace,
                flow=flow,
            )
        )
    options = ExchangeOptions(
        source=source,
        host=host,
        port=port,
        faults=load_script(fault) if fault is not None else (),
        truth=truth,
        style=Style(empty_side=empty_side.value, legacy=legacy_fields),
        key_folder=keys,
        terms=serving.terms(cash, tier, (order_latency, feed_latency, read_lag), fill_order, post_only_cross),
        users=users,
        rsa=key_type is serving.KeyType.RSA,
    )
    asyncio.run(running.serve(options, typer.echo, until_end=until_end))
