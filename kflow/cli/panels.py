"""How a running recorder looks on a terminal: pure functions from what is known to what is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from kflow.cli import beside, render
from kflow.cli import ladder as ladders
from kflow.market.book import BookView
from kflow.market.events import Level
from kflow.units import format_price

# News comes at least every second: silence beyond this is worth telling.
STALE_S: Final = 3.0
# Of a screen: lines that are no ladder, and levels of each side at most.
_OTHER_LINES: Final = 14
_MOST_LEVELS: Final = 10
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
    # The last `state` of the stream: all markets, and what an actor has; None before the first.
    state: Status | None = None
    # The last trades of the first book, oldest first, as the stream tells them.
    trades: tuple[Sequence[Any], ...] = ()
    # Messages per second over the last minute, a value a second.
    rates: tuple[float, ...] = ()

    @property
    def stale(self) -> bool:
        """Whether what is known may be so no more."""
        return bool(self.trouble) or (self.age_s is not None and self.age_s > STALE_S)


def ladders_that_fit(columns: int) -> int:
    """How many books stand beside each other, with trades and all markets beside them where there is room."""
    beside_them = beside.TRADES_COLUMNS + beside.MARKETS_COLUMNS
    return max(1, (columns - beside_them) // ladders.COLUMNS)


def screen(glance: Glance, *, height: int = 40, width: int = 120) -> RenderableType:
    """Everything, for a terminal of so many lines and columns."""
    actor = None if glance.state is None else glance.state["actor"]
    told = () if actor is None or actor["status"] == "disabled" else tuple(beside.actor(actor))
    problems = () if glance.status is None else glance.status["problems"]
    head, notes = headline(glance), [*told, *(f"! {render.cell(problem)}" for problem in problems)]
    lines = sum(-(-len(note) // max(width, 1)) for note in (head.plain, *notes)) - 1
    below = lines + glance.footer.count("\n")
    levels = max(1, min(_MOST_LEVELS, (height - _OTHER_LINES - below) // 2))
    parts: list[RenderableType] = [head]
    if glance.books:
        parts += [_books(glance, levels, width), Text()]
    if glance.status is not None:
        rates = glance.rates[-max(0, width - 45) :] if width > 45 else ()
        known = figures(glance.status, rates=rates, actor=told)
        parts.append(Styled(known, "dim") if glance.stale else known)
        parts.extend(Text(f"! {render.cell(problem)}", style="bold red") for problem in problems)
    if glance.footer:
        parts.append(Text(glance.footer, style="dim"))
    return Group(*parts)


def _books(glance: Glance, levels: int, width: int) -> RenderableType:
    """Ladders, then what else there is room for."""
    orders = () if glance.state is None else glance.state["actor"]["orders"]
    parts: list[RenderableType] = []
    left = width
    for book in glance.books[: ladders_that_fit(width)]:
        own = [order for order in orders if order["market"] == book.market]
        parts.append(
            ladders.ladder(book, levels=levels, orders=own if left >= ladders.COLUMNS + ladders.OWN_COLUMNS else ())
        )
        left -= ladders.COLUMNS + (ladders.OWN_COLUMNS if own else 0)
    rows = 2 * levels + 1
    if left >= beside.TRADES_COLUMNS:
        parts.append(beside.trades(glance.trades, rows=rows))
        left -= beside.TRADES_COLUMNS
    if left >= beside.MARKETS_COLUMNS and glance.state is not None:
        own_by_market = Counter(order["market"] for order in orders)
        chosen = glance.books[0].market
        every = beside.markets(glance.state["markets"], chosen=chosen, own=own_by_market, rows=rows, columns=left)
        parts.append(Styled(every, "dim") if glance.stale else every)
    grid = Table.grid(padding=(0, 2))
    for _ in parts:
        grid.add_column(no_wrap=True)
    grid.add_row(*parts)
    return grid


def headline(glance: Glance) -> Text:
    """Which session, how it is, and how old that news is."""
    text = Text()
    status = glance.status
    if status is None:
        text.append(glance.trouble or "waiting for the recorder", style="yellow")
        if glance.trouble:
            text.append("\nwaiting for one: is kflow ingest running?", style="dim")
        return text
    session = status["session"]
    number = session["number"]
    text.append("kflow ", style="bold")
    text.append(f"session {render.cell(number) if number is not None else 'without a number yet'}")
    text.append(f" · up {render.duration(session['uptime_s'])} · ")
    state = "ending" if session["draining"] else render.cell(status["status"])
    text.append(f"was {state}" if glance.stale else state, style="dim" if glance.stale else _STYLES.get(state, ""))
    if glance.stale:
        age = "" if glance.age_s is None else f"last heard {render.duration(glance.age_s)} ago"
        text.append(f" · {age}{': ' if age and glance.trouble else ''}{glance.trouble}", style="bold red")
    return text


def figures(status: Status, *, rates: Sequence[float] = (), actor: Sequence[str] = ()) -> Table:
    """Rates, lag, gaps, journal, database and actor, a line each."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in _figures(status, rates):
        grid.add_row(name, Text(value))
    for name, value in zip(("actor", ""), actor, strict=False):
        grid.add_row(name, Text(value))
    return grid


def _figures(status: Status, rates: Sequence[float]) -> Iterable[tuple[str, str]]:
    feed, messages, latency = status["feed"], status["messages"], status["latency_s"]
    connection = "connected" if feed["connected"] else f"not connected for {render.duration(feed['disconnected_s'])}"
    yield "feed", f"{connection}, {feed['reconnects']} reconnects, last message {_ago(feed['last_message_age_s'])}"
    yield (
        "messages",
        f"{render.cell(messages['total'])} ({rate(messages['rate_per_s'])}) {beside.sparkline(rates)}".rstrip(),
    )
    handle, age = latency["handle"], latency["message_age"]
    yield (
        "latency",
        (
            f"within {_bound(handle['p50'])} p50, {_bound(handle['p99'])} p99; "
            f"venue to us {_bound(age['p50'])} p50, {_bound(age['p99'])} p99"
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
    if glance.stale:
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
