"""`kflow sessions`: what was recorded. Every count comes from the rows themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings
from kflow.cli.lazy import new_app
from kflow.cli.render import NS_PER_S

if TYPE_CHECKING:
    from kflow.settings import Settings
    from kflow.store.ledger import Standing
    from kflow.store.postgres import Connection
    from kflow.store.sessions import Summary

# Of the table for people. `live`: how much of the time all books were.
EYES = ("session", "state", "started", "length", "env", "markets", "deltas", "trades", "gaps", "live", "sampled",
        "copy")  # fmt: skip

app = new_app(help="List and show recorded sessions.")

COLUMNS = ("session", "state", "started", "seconds", "environment", "markets", "deltas", "snapshots", "trades", "gaps",
           "coverage", "sample_rate", "copy")  # fmt: skip


@app.command()
def ls(
    context: typer.Context,
    market: Annotated[
        str | None, typer.Option("--market", metavar="TICKER", help="Only sessions with this market.")
    ] = None,
    since: Annotated[datetime | None, typer.Option("--since", help="Only sessions started then or later, UTC.")] = None,
    min_coverage: Annotated[
        float | None,
        typer.Option("--min-coverage", min=0, max=1, help="Only sessions with books live this much of the time."),
    ] = None,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """List the recorded sessions."""
    from kflow.store import ledger, postgres, sessions
    from kflow.wiring import database

    chosen = render.chosen(form, as_json)
    settings = load_settings(context)
    earliest_ns = int(since.replace(tzinfo=UTC).timestamp()) * NS_PER_S if since else 0
    with database(settings) as dsn, postgres.connect(dsn, autocommit=True) as conn:
        every = sessions.list_sessions(conn)
        _remember(settings, conn, every)
        stands = ledger.standings(conn)
        every = tuple(ledger.as_it_was(item, _stand(stands, item)) for item in every)
        found = [item for item in every if item.session.started_ns >= earliest_ns]
        if market:
            found = [item for item in found if market in _tickers(conn, item.session.id)]
    if min_coverage is not None:
        found = [item for item in found if (item.coverage or 0) >= min_coverage]
    items = [_line(item, _stand(stands, item)) for item in found]
    columns: Sequence[str] = COLUMNS
    if chosen is render.Format.TABLE:
        columns, items = _columns(items), [_for_eyes(item) for item in items]
    render.rows("sessions", items, columns=columns, form=chosen, empty="no session is recorded here yet: kflow ingest")


@app.command()
def show(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="SESSION", help="Its number, as kflow sessions ls shows it.")],
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Show one session: what was asked for, what came, its markets and its gaps."""
    from kflow.store import ledger, postgres, sessions
    from kflow.wiring import database

    chosen = render.chosen(form, as_json)
    with database(load_settings(context)) as dsn, postgres.connect(dsn, autocommit=True) as conn:
        (summary,) = sessions.list_sessions(conn, [number])
        standing = ledger.standing(conn, number)
        summary = ledger.as_it_was(summary, standing)
        markets = sessions.read_markets(conn, [number])
        gaps = sessions.read_gaps(conn, number)
    tickers = {market.id: market.ticker for market in markets}
    lost = [_gap(gap, tickers) for gap in gaps]
    if chosen is not render.Format.TABLE:
        render.record({**_whole(summary, standing), "tickers": sorted(tickers.values()), "gap_list": lost}, form=chosen)
        return
    render.record(_shown(summary, standing, sorted(tickers.values())), form=chosen)
    if lost:
        typer.echo()
        render.rows("gaps", lost, columns=tuple(lost[0]), form=chosen)


def _remember(settings: Settings, conn: Connection, listed: Sequence[Summary]) -> None:
    """Keep what completion offers as it is here; only markets that are not remembered yet are asked for."""
    from kflow.store import known
    from kflow.wiring import data_dir

    folder = data_dir(settings)
    before = {(item.number, item.uuid): item.markets for item in known.known(folder)}
    kept = []
    for item in listed[-known.MOST_SESSIONS :]:
        key = (item.session.id, str(item.session.uuid))
        markets = before.get(key) or tuple(sorted(_tickers(conn, item.session.id)))
        kept.append(known.Known(*key, item.session.started_ns, markets))
    known.replace(folder, kept)


def _stand(stands: Mapping[int, Standing], item: Summary) -> Standing:
    from kflow.store.ledger import Standing

    return stands.get(item.session.id, Standing(item.session.id))


def _columns(items: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """What of a session fits a line: 100 columns, fewer on a narrower terminal. Sampling shows where there is any."""
    left_out = set() if any(item["sample_rate"] != 1 for item in items) else {"sampled"}
    if render.terminal_width() < 100:
        left_out |= {"env", "trades"}
    if not any(item["copy"] for item in items):
        left_out.add("copy")
    return [column for column in EYES if column not in left_out]


def _for_eyes(item: Mapping[str, Any]) -> dict[str, Any]:
    rate, coverage = item["sample_rate"], item["coverage"]
    return {
        **item,
        "started": render.minute(item["started"]),
        "length": render.duration(item["seconds"]),
        "env": item["environment"].replace("production", "prod"),
        "live": None if coverage is None else f"{int(coverage * 1000) / 10:g} %",  # never 100 % for less
        "sampled": None if rate == 1 else f"1 of {rate}",
    }


def _tickers(conn: Connection, session_id: int) -> set[str]:
    from kflow.store import sessions

    return {market.ticker for market in sessions.read_markets(conn, [session_id])}


def _line(item: Summary, standing: Standing) -> dict[str, Any]:
    session = item.session
    seconds = None if item.first_ns is None or item.last_ns is None else (item.last_ns - item.first_ns) / NS_PER_S
    return {
        "session": session.id,
        "state": standing.word or session.state,
        "started": render.when(session.started_ns),
        "seconds": seconds,
        "environment": session.environment,
        "markets": item.markets,
        "deltas": item.deltas,
        "snapshots": item.snapshots,
        "trades": item.trades,
        "gaps": item.gaps,
        "coverage": None if item.coverage is None else round(item.coverage, 6),
        "sample_rate": session.sample_rate,
        # Of a session whose rows were removed: where they are.
        "copy": str(standing.folder) if standing.removed and standing.folder else None,
    }


def _whole(item: Summary, standing: Standing) -> dict[str, Any]:
    session = item.session
    return {
        **_line(item, standing),
        "uuid": str(session.uuid),
        "ended": render.when(session.ended_ns),
        "connections": item.connections,
        "tickers_rows": item.tickers,
        "other_frames": item.frames,
        "selection": session.selection,
        "host": session.host,
        "kflow_version": session.kflow_version,
        "journal": session.journal_dir,
    }


def _shown(item: Summary, standing: Standing, tickers: Sequence[str]) -> dict[str, Any]:
    """A session for people."""
    whole, rate = _whole(item, standing), item.session.sample_rate
    asked = {name: value for name, value in item.session.selection.items() if value not in (None, False, [], ())}
    length = render.duration(whole.pop("seconds"))
    del whole["sample_rate"]
    return {
        **whole,
        "length": length,
        "sampled": f"1 of {rate} deltas is in the tables; the journal has all" if rate != 1 else False,
        "selection": ", ".join(f"{name} {render.cell(value)}" for name, value in asked.items()),
        "tickers": tickers,
    }


def _gap(gap: Any, tickers: Mapping[int, str]) -> dict[str, Any]:
    return {
        "at": render.when(gap.recv_ns),
        "kind": gap.kind,
        "connection": gap.connection,
        "sid": gap.sid,
        "market": None if gap.market_id is None else tickers.get(gap.market_id),
        "expected": gap.expected,
        "received": gap.received,
        "live_again": render.when(gap.ended_ns),
        "detail": gap.detail,
    }
