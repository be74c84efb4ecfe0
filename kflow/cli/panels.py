"""How a running recorder looks on a terminal: pure functions from what is known to what is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kflow.cli import render
from kflow.market.book import BookView
from kflow.market.events import Level
from kflow.units import CONTRACT, Size, complement, format_price, format_size

# News comes at least every second: silence beyond this is worth telling.
STALE_S: Final = 3.0
LADDER_COLUMNS: Final = 50
SIZE_COLUMNS: Final = 17  # of which the bar takes at most
BAR_COLUMNS: Final = 6
_STYLES: Final = {"healthy": "green", "not_initialized": "yellow", "degraded": "yellow", "unhealthy": "bold red"}

Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What is known at one moment. Immutable, so that another thread may draw it."""

    # The body of /rl/status; None before the first.
    status: Status | None
    books: tuple[BookView, ...] = ()
    # Seconds since the recorder was last heard; None: never, or we are the recorder.
    age_s: float | None = None
    # What keeps us from hearing it.
    trouble: str = ""
    footer: str = ""


def screen(glance: Glance, *, height: int = 40) -> RenderableType:
    """Everything, for a terminal with so many lines."""
    parts: list[RenderableType] = [headline(glance)]
    levels = max(1, min(10, (height - 16) // 2))
    if glance.books:
        parts.append(Columns([ladder(book, levels=levels) for book in glance.books], padding=(0, 2)))
    if glance.status is not None:
        parts.append(figures(glance.status))
        parts.extend(Text(f"! {render.cell(problem)}", style="bold red") for problem in glance.status["problems"])
    if glance.footer:
        parts.append(Text(glance.footer, style="dim"))
    return Group(*parts)


def headline(glance: Glance) -> Text:
    """Which session, how it is, and how old that news is."""
    text = Text()
    status = glance.status
    if status is None:
        text.append(glance.trouble or "waiting for the recorder", style="yellow")
        return text
    session = status["session"]
    number = session["number"]
    text.append("kflow ", style="bold")
    text.append(f"session {render.cell(number) if number is not None else 'without a number yet'}")
    text.append(f" · up {render.duration(session['uptime_s'])} · ")
    state = "ending" if session["draining"] else render.cell(status["status"])
    text.append(state, style=_STYLES.get(status["status"], ""))
    if glance.trouble or (glance.age_s is not None and glance.age_s > STALE_S):
        age = "" if glance.age_s is None else f"last heard {render.duration(glance.age_s)} ago"
        text.append(f" · {age}{': ' if age and glance.trouble else ''}{glance.trouble}", style="bold red")
    return text


def ladder(book: BookView, *, levels: int = 10) -> Table:
    """A book as YES prices: asks above, bids below, best next to the spread."""
    table = Table(title=_title(book), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    style = "" if book.live else "dim"
    table.add_column("bid size", justify="right", no_wrap=True, style=style, width=SIZE_COLUMNS)
    table.add_column("YES $", justify="center", no_wrap=True, style=style)
    table.add_column("ask size", justify="left", no_wrap=True, style=style, width=SIZE_COLUMNS)
    asks = [(complement(price), size) for price, size in reversed(book.no)][:levels]
    bids = list(reversed(book.yes))[:levels]
    most = max((size for _, size in (*asks, *bids)), default=CONTRACT)
    for price, size in reversed(asks):
        table.add_row("", Text(format_price(price), style="red"), _sized(size, most, left=True))
    table.add_row("", _spread(book), "")
    for price, size in bids:
        table.add_row(_sized(size, most, left=False), Text(format_price(price), style="green"), "")
    return table


def _title(book: BookView) -> Text:
    text = Text(render.cell(book.market), style="bold")
    if not book.live:
        text.append(" stale: last known", style="bold red")
    return text


def _spread(book: BookView) -> Text:
    if book.spread is None:
        return Text("one-sided" if book.yes or book.no else "empty", style="dim")
    sign = "-" if book.spread < 0 else ""
    return Text(f"{sign}{abs(book.spread) / 100:g}¢", style="dim")


def _sized(size: Size, most: Size, *, left: bool) -> Text:
    bar = "▪" * max(1, round(size / most * BAR_COLUMNS)) if most else ""
    amount = format_size(size)
    return Text(f"{amount} {bar}" if left else f"{bar} {amount}")


def figures(status: Status) -> Table:
    """Rates, lag, gaps, journal and database, a line each."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in _figures(status):
        grid.add_row(name, Text(value))
    return grid


def _figures(status: Status) -> Iterable[tuple[str, str]]:
    feed, messages, latency = status["feed"], status["messages"], status["latency_s"]
    connection = "connected" if feed["connected"] else f"not connected for {render.duration(feed['disconnected_s'])}"
    yield "feed", f"{connection}, {feed['reconnects']} reconnects, last message {_ago(feed['last_message_age_s'])}"
    yield "messages", f"{render.cell(messages['total'])} ({rate(messages['rate_per_s'])})"
    handle, age = latency["handle"], latency["message_age"]
    yield (
        "latency",
        (
            f"handled within {_bound(handle['p50'])} (p50), {_bound(handle['p99'])} (p99); "
            f"venue to us {_bound(age['p50'])} (p50), {_bound(age['p99'])} (p99)"
        ),
    )
    books, gaps = status["books"], status["gaps"]
    yield "books", f"{books['live']} live, {books['stale']} stale, {books['invalid']} without a snapshot"
    kinds = ", ".join(f"{render.cell(kind)} {count}" for kind, count in gaps["by_kind"].items())
    yield "gaps", f"{gaps['total']}{f' ({kinds})' if kinds else ''}, {gaps['missing_messages']} messages missing"
    journal = status["journal"]
    yield "journal", f"{render.size(journal['bytes'])}{', CANNOT BE WRITTEN' if journal['failed'] else ''}"
    yield "database", _database(status["database"])


def _database(database: Status | None) -> str:
    if database is None:
        return "not reached yet"
    state = "connected" if database["connected"] else "away"
    if database["catching_up"]:
        state += ", catching up from the journal"
    rows = sum(database["rows"].values())
    lag = f"{database['lag_s']:.1f} s, {render.cell(database['lag_messages'])} messages behind"
    return f"{state}, {render.cell(rows)} rows, {lag}"


def line(glance: Glance) -> str:
    """Everything that matters in one line, for output that is not a terminal."""
    status = glance.status
    if status is None:
        return glance.trouble or "waiting for the recorder"
    database = status["database"]
    words = [
        render.cell(status["status"]),
        f"messages={status['messages']['total']}",
        f"rate={rate(status['messages']['rate_per_s'])}",
        f"lag={'—' if database is None else format(database['lag_s'], '.1f') + 's'}",
        f"gaps={status['gaps']['total']}",
        *(_top(book) for book in glance.books),
    ]
    if glance.trouble or (glance.age_s is not None and glance.age_s > STALE_S):
        words.append(f"stale={render.duration(glance.age_s)} {glance.trouble}".rstrip())
    return "  ".join(words)


def _top(book: BookView) -> str:
    bid, ask = book.best_yes_bid, book.best_yes_ask
    state = "" if book.live else " stale"
    return f"{render.cell(book.market)}={_price(bid)}/{_price(ask)}{state}"


def _price(level: Level | None) -> str:
    return "—" if level is None else format_price(level[0])


def rate(per_s: float | None) -> str:
    """Messages per second."""
    return "—/s" if per_s is None else f"{per_s:,.1f}/s"


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{render.duration(seconds)} ago"


def _bound(seconds: float | None) -> str:
    """An upper bound of a histogram's bucket; -1 is beyond the last."""
    if seconds is None:
        return "—"
    if seconds < 0:
        return "more than measured"
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 1:
            return f"{seconds * scale:g} {unit}"
    return f"{seconds * 1e6:g} µs"
