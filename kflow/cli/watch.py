"""`kflow watch`: a running recorder, live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kflow.cli.invocation import load_settings


def watch(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Where the recorder listens, http://HOST:PORT.")
    ] = None,
    market: Annotated[
        list[str] | None, typer.Option(metavar="TICKER", help="Show this book; may be given several times.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show what is now, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; without --once a line a second.")] = False,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="The recorder's token, where it listens beyond loopback."),
    ] = None,
) -> None:
    """Show a running recorder live: ladder, rates, lag, gaps. q quits, → and ← turn to another market, ? tells more.

    Also trades, every market, and what an actor has: its standing, P&L, orders and what trades before them.

    Survives restarts of the recorder. Where stdout is no terminal it prints a line a second.
    """
    import asyncio

    from kflow.cli import watching
    from kflow.cli.follow import Source
    from kflow.wiring import secret_line

    web = load_settings(context).web
    host = f"[{web.host}]" if ":" in web.host else web.host
    token = secret_line(token_file, "--token-file") if token_file else None
    source = Source(url=(url or f"http://{host}:{web.port}").rstrip("/"), token=token)
    work = watching.once if once else watching.watch
    asyncio.run(work(source, market or (), as_json=as_json))
