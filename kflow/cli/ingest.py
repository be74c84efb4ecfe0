"""`kflow ingest`: record order books, trades and tickers of any number of markets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from kflow.cli.invocation import load_settings


def ingest(
    context: typer.Context,
    market: Annotated[
        list[str] | None, typer.Option(metavar="TICKER", help="Market, event or series; may be given several times.")
    ] = None,
    event: Annotated[list[str] | None, typer.Option(metavar="TICKER", help="All markets of an event.")] = None,
    series: Annotated[list[str] | None, typer.Option(metavar="TICKER", help="A series' next event.")] = None,
    everything: Annotated[bool | None, typer.Option("--all", help="Every open market of the venue.")] = None,
    min_volume: Annotated[int | None, typer.Option(metavar="N", help="With --all: least volume, contracts.")] = None,
    max_markets: Annotated[int | None, typer.Option(metavar="N", help="Refuse larger selections.")] = None,
    duration: Annotated[float | None, typer.Option(metavar="SECONDS", help="Stop after this long.")] = None,
    env: Annotated[str | None, typer.Option(metavar="local|demo|production", help="Which venue.")] = None,
    exchange: Annotated[str | None, typer.Option(metavar="URL", help="A running local exchange.")] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", help="Of the HTTP service; 0 takes any free one.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Record order books, trades and tickers of any number of markets.

    Without a key this records a private local exchange: kflow ingest --market INXD-25JAN03 --duration 20
    """
    import asyncio

    from kflow.cli import render
    from kflow.cli.live import attached
    from kflow.ingest import ingest as run
    from kflow.supervisor import Supervisor

    supervisor = Supervisor.of_environment()
    settings = load_settings(
        context,
        {
            "selection.markets": tuple(market) if market else None,
            "selection.events": tuple(event) if event else None,
            "selection.series": tuple(series) if series else None,
            "selection.all": everything,
            "selection.min_volume": min_volume,
            "selection.max_markets": max_markets,
            "kalshi.environment": env,
            "kalshi.exchange": exchange,
            "web.port": port,
        },
    )

    say = render.note
    result = asyncio.run(run(settings, duration_s=duration, say=say, attach=attached(say), supervisor=supervisor))
    render.record(asdict(result), form=render.chosen(None, json))
