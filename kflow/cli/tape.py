"""`kflow tape`: recordings as the simulator reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kflow.cli import render
from kflow.cli.lazy import new_app
from kflow.cli.tapes import FromOption, MarketOption, SessionsOption, SourceOption, load_tapes

if TYPE_CHECKING:
    from kflow.sim.tape import Tape

app = new_app(help="Recordings as the simulator reads them: build, info.")

_COLUMNS = (
    "market",
    "from",
    "stretches",
    "seconds",
    "events",
    "trades_known_by",
    "traded_contracts",
    "columns",
    "size",
)


@app.command()
def build(
    context: typer.Context,
    sessions: SessionsOption = None,
    paths: FromOption = None,
    market: MarketOption = None,
    source: SourceOption = "tables",
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Compile anew what is kept already.")] = False,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Compile recordings to tapes and keep them in the data folder; simulate does it by itself where it is missing."""
    chosen = render.chosen(form, as_json)
    tapes = load_tapes(context, sessions, paths, market, source=source, rebuild=rebuild)
    _show(tapes, chosen)


@app.command()
def info(
    context: typer.Context,
    sessions: SessionsOption = None,
    paths: FromOption = None,
    market: MarketOption = None,
    source: SourceOption = "tables",
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Show tapes: how long, how trades are known, why stretches end. Checks that each is what was kept."""
    from kflow.sim import cache

    chosen = render.chosen(form, as_json)
    tapes = load_tapes(context, sessions, paths, market, source=source)
    for tape in tapes:
        cache.check(tape)
    _show(tapes, chosen)


def _show(tapes: list[Tape], form: render.Format) -> None:
    items = [_line(tape) for tape in tapes]
    if form is render.Format.TABLE:
        for item in items:
            item["size"] = render.size(item["bytes"])
    render.rows("tapes", items, columns=_COLUMNS, form=form)
    if form is render.Format.TABLE:
        total = sum(item["seconds"] for item in items)
        events = sum(item["events"] for item in items)
        render.note(f"{len(items):,} markets, {render.duration(total)} of books, {events:,} events")


def _line(tape: Tape) -> dict[str, Any]:
    from kflow.replay.tapes import known_by
    from kflow.units import CONTRACT

    facts = tape.facts
    return {
        "market": tape.market,
        "from": facts.get("source"),
        "stretches": tape.stretches,
        "seconds": round(tape.seconds, 3),
        "events": tape.events,
        "columns": tape.columns,
        "trades_known_by": known_by([tape])[0],
        "traded_contracts": facts["trades_laid"] / CONTRACT,
        "printed_contracts": facts["trades_printed"] / CONTRACT,
        "intervals": facts["trades_intervals"],
        "exact": facts["trades_exact"],
        "unexplained_contracts": facts["trades_unexplained"] / CONTRACT,
        "ends": facts["ends"],
        "fee_type": facts.get("fee_type"),
        "bytes": sum(array.nbytes for array in tape.arrays),
        "digest": facts.get("digest"),
    }
