"""A day of orders entered and cancelled, as CSV: Time, Operation (Insert, Cancel), OrderId, Side, Volume, Price.

Side B bids for YES, side A offers it; Price is in 1e-4 dollar of YES, Volume in contracts. Rows follow their OrderId;
those of the first moment are the book to begin with. An Insert at or beyond the best of the other side is what a taker
took of the level at its very price: one row for each level, never more than it holds. Rows without an operation (an
index level) are passed over.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from kflow.errors import DataError, Unrepresentable
from kflow.market.times import parse_rfc3339_us
from kflow.replay.recordings import Recording, opened
from kflow.replay.stretches import LABELLED, RawStretch
from kflow.units import DOLLAR, Price, Size, parse_size

_SIDES: Final = {"B": 0, "A": 1}
Books = tuple[dict[int, int], dict[int, int]]  # size by own price
Row = tuple[int, str, int, int, int]  # µs, operation, side, its own price, size


def read(path: Path) -> Recording:
    """Raises ConfigError (unreadable), DataError (not of this layout)."""
    rows = _rows(path)
    if not rows:
        raise DataError(f"{path} holds no orders")
    first_us = rows[0][0]
    books: Books = ({}, {})
    begun = 0
    for us, _, side, price, size in rows:
        if us != first_us:
            break
        books[side][price] = books[side].get(price, 0) + size
        begun += 1
    start = tuple(tuple((Price(p), Size(s)) for p, s in sorted(book.items())) for book in books)
    deltas: list[tuple[int, int, int, int]] = []
    taken: list[bool] = []
    for row in rows[begun:]:
        for change, is_trade in _changes(books, row):
            deltas.append(change)
            taken.append(is_trade)
    raw = RawStretch((start[0], start[1]), np.array(deltas, np.int64).reshape(-1, 4))
    raw.labels = np.array(taken, np.bool_)
    market = path.name.removesuffix(".gz").removesuffix(".csv")
    return Recording(path.name, {market: [raw]}, LABELLED)


def _changes(books: Books, row: Row) -> Iterator[tuple[tuple[int, int, int, int], bool]]:
    """What an order does to the levels, and whether a taker did it; the books follow."""
    us, operation, side, price, size = row
    if operation == "Cancel":
        yield (us, side, price, -_remove(books[side], price, size)), False
        return
    others = books[1 - side]
    if others and max(others) + price >= DOLLAR:
        met = DOLLAR - price
        yield (us, 1 - side, met, -_remove(others, met, size)), True
        return
    books[side][price] = books[side].get(price, 0) + size
    yield (us, side, price, size), False


def _remove(book: dict[int, int], price: int, size: int) -> int:
    left = book.get(price, 0) - size
    if left < 0:
        raise DataError(
            f"{size / 100:g} contracts leave a level of {book.get(price, 0) / 100:g} at {price / DOLLAR:.2f}"
        )
    if left:
        book[price] = left
    else:
        del book[price]
    return size


def _rows(path: Path) -> list[Row]:
    """In order of the orders' numbers."""
    found = []
    number = 0
    try:
        with opened(path) as file, io.TextIOWrapper(file, "utf-8") as text:
            for number, line in enumerate(csv.DictReader(text), 2):  # noqa: B007 - for errors
                if line["Operation"]:
                    found.append((int(line["OrderId"]), _row(line)))
    except (KeyError, TypeError, ValueError, Unrepresentable) as error:
        raise DataError(
            f"{path}, line {number}: {error}", hint="docs/replay.md names the layouts kflow reads"
        ) from None
    return [row for _, row in sorted(found, key=lambda item: item[0])]


def _row(line: dict[str, str]) -> Row:
    side, price = _SIDES[line["Side"]], float(line["Price"])
    if not price.is_integer() or not 0 < price < DOLLAR or line["Operation"] not in ("Insert", "Cancel"):
        raise ValueError(f"{line['Operation']} at {line['Price']} is no order")
    own = DOLLAR - int(price) if side else int(price)
    return parse_rfc3339_us(line["Time"].replace(" ", "T")), line["Operation"], side, own, parse_size(line["Volume"])
