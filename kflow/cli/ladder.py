"""A book on a terminal: asks above, bids below, and our own orders where they rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from kflow.cli import render
from kflow.market.book import BookView
from kflow.units import CONTRACT, Price, Size, complement, format_price, format_size

COLUMNS: Final = 48
OWN_COLUMNS: Final = 22  # more, where orders of ours rest
SIZE_COLUMNS: Final = 17  # of which the bar takes at most
BAR_COLUMNS: Final = 6

# An order of ours as /rl/ws tells it: a bid of its side.
Order = Mapping[str, Any]


def ladder(book: BookView, *, levels: int = 10, orders: Sequence[Order] = ()) -> Table:
    """A book as YES prices, best next to the spread: `levels` of each side, and every level that holds an order."""
    table = Table(title=_title(book), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    style = "" if book.live else "dim"
    table.add_column("bid size", justify="right", no_wrap=True, style=style, width=SIZE_COLUMNS)
    table.add_column("YES $", justify="center", no_wrap=True, style=style)
    table.add_column("ask size", justify="left", no_wrap=True, style=style, width=SIZE_COLUMNS)
    if orders:
        table.add_column("ours", justify="left", no_wrap=True)
    sides = [
        _side({complement(price): size for price, size in book.no}, _own(orders, "no"), levels, best_first=False),
        _side(dict(book.yes), _own(orders, "yes"), levels, best_first=True),
    ]
    most = max((size for side in sides for _, size, _ in side), default=CONTRACT)
    for price, size, own in reversed(sides[0]):
        asked = _sized(size, most, left=True)
        table.add_row("", Text(format_price(price), style="red"), asked, *([own] if orders else []))
    table.add_row("", _spread(book), "", *([""] if orders else []))
    for price, size, own in sides[1]:
        bid = _sized(size, most, left=False)
        table.add_row(bid, Text(format_price(price), style="green"), "", *([own] if orders else []))
    return table


def _own(orders: Sequence[Order], side: str) -> dict[Price, list[Order]]:
    """Orders of a side by their YES price."""
    found: dict[Price, list[Order]] = {}
    for order in orders:
        if order["side"] == side:
            price = Price(order["price_e4"])
            found.setdefault(price if side == "yes" else complement(price), []).append(order)
    return found


def _side(
    sizes: Mapping[Price, Size], own: Mapping[Price, list[Order]], levels: int, *, best_first: bool
) -> list[tuple[Price, Size, Text]]:
    """Levels from the best on: price, size, and what of it is ours."""
    best = sorted(sizes, reverse=best_first)[:levels]
    shown = sorted({*best, *own}, reverse=best_first)
    return [(price, sizes.get(price, Size(0)), Text(", ".join(_told(own.get(price, ()))), style="bold cyan"))
            for price in shown]  # fmt: skip


def _told(orders: Sequence[Order]) -> Iterator[str]:
    """What is left of each order, and what trades before it, where somebody knows."""
    for order in orders:
        ahead = "" if order["ahead_e2"] is None else f", {_short(order['ahead_e2'])} ahead"
        yield f"◆ {_short(order['left_e2'])}{ahead}"


def _short(size: int) -> str:
    return format_size(Size(size)).removesuffix(".00")


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
    bar = "▪" * max(1, round(size / most * BAR_COLUMNS)) if most and size else ""
    amount = format_size(size) if size else "—"
    return Text(f"{amount} {bar}" if left else f"{bar} {amount}")
