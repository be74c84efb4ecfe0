"""What stands beside a ladder on a wide terminal, and under it: trades, all markets, what an actor has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from kflow.cli import render
from kflow.units import Price, Size, format_price, format_size

TRADES_COLUMNS: Final = 28
MARKETS_COLUMNS: Final = 44
_LAST_COLUMNS: Final = 56  # with the last trade of each market
_TICKS: Final = "▁▂▃▄▅▆▇█"


def trades(told: Sequence[Sequence[Any]], *, rows: int) -> Table:
    """The last trades of a market, the newest first: moment, YES price, size; the colour is the taker's side."""
    table = _table("trades")
    table.add_column("UTC", no_wrap=True, style="dim")
    table.add_column("YES $", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for at_ms, price, size, taker in list(reversed(told))[:rows]:
        moment = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S")
        style = {"yes": "green", "no": "red"}.get(taker, "")
        table.add_row(moment, Text(format_price(Price(price)), style=style), format_size(Size(size)))
    return table


def markets(
    told: Sequence[Sequence[Any]], *, chosen: str | None, own: Mapping[str, int], rows: int, columns: int = 60
) -> Table:
    """Every market as it is, those around the chosen one where not all fit. `own`: how many orders rest in each."""
    shown = ("bid", "ask", "last") if columns >= _LAST_COLUMNS else ("bid", "ask")
    table = _table("markets")
    table.add_column("market", no_wrap=True, overflow="ellipsis", max_width=22)
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Δ/s", justify="right", no_wrap=True)
    at = next((place for place, row in enumerate(told) if row[0] == chosen), 0)
    first = max(0, min(at - rows // 2, len(told) - rows))
    for name, live, bid, ask, last, per_s in told[first : first + rows]:
        mark = f"{'▸' if name == chosen else ' '}{render.cell(name)}{' ◆' if own.get(name) else ''}"
        style = "" if live else "dim"
        table.add_row(
            Text(mark, style="bold" if name == chosen else ""),
            *(_price(value) for value in (bid, ask, last)[: len(shown)]),
            "—" if per_s is None else f"{per_s:.0f}",
            style=style,
        )
    left = len(told) - min(rows, len(told))
    if left:
        table.caption = Text(f"{left} more", style="dim")
        table.caption_justify = "left"
    return table


def _table(title: str) -> Table:
    return Table(
        title=Text(title, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False
    )


def _price(value: int | None) -> str:
    return "—" if value is None else format_price(Price(value))


def sparkline(values: Sequence[float]) -> str:
    """The values as bars of text, the highest for the largest."""
    most = max(values, default=0.0)
    return "".join(_TICKS[min(round(value / most * (len(_TICKS) - 1)), len(_TICKS) - 1)] if most else _TICKS[0]
                   for value in values)  # fmt: skip


def actor(told: Mapping[str, Any]) -> Iterator[str]:
    """How an actor is, in a line, and what it has in another."""
    standing = render.cell(told["standing"])
    words = [render.cell(told["status"]).replace("_", " "), standing]
    words += [render.cell(told[name]) for name in ("venue", "strategy") if told[name] is not None]
    if told["age_s"] is not None and told["age_s"] > 5:
        words.append(f"last heard {render.duration(told['age_s'])} ago")
    yield " · ".join(words)
    if told["profit_e6"] is not None or told["orders"] or told["positions"]:
        held = [
            f"{render.cell(item['market'])} {_signed(item['yes_e2'])}" for item in told["positions"] if item["yes_e2"]
        ]
        more = " …" if len(held) > 3 else ""
        none = "nothing" if told["cash_e6"] is not None else "—"  # the venue tells both at once
        orders = len(told["orders"]) + told.get("orders_left_out", 0)
        yield ", ".join(
            [
                f"P&L {dollars(told['profit_e6'], sign=True)}",
                f"cash {dollars(told['cash_e6'])}",
                f"{orders} order{'' if orders == 1 else 's'}",
                f"holds {', '.join(held[:3]) + more if held else none}",
            ]
        )


def dollars(amount: int | None, *, sign: bool = False) -> str:
    """An amount of money to the cent; — where unknown."""
    if amount is None:
        return "—"
    before = "-" if amount < 0 else "+" if sign and amount else ""
    return f"{before}${abs(amount) / 1e6:,.2f}"


def _signed(size: int) -> str:
    """Contracts held: YES, or NO where negative."""
    return f"{format_size(Size(abs(size))).removesuffix('.00')} {'YES' if size > 0 else 'NO'}"
