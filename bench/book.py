"""Deltas applied per second: a dict with a bisected price list (ours) against a SortedDict, on the same stream.

    python bench/book.py [--quick] [--frames wire.jsonl.gz]

After each delta both best bids are read, as every reader of a book does. `--frames` takes recorded frames, one JSON
object `{"frame": {...}}` a line; without it a market is made up: 40 levels a side, most changes near the touch, a third
of them moved orders (two deltas), a mid that wanders.
"""

from __future__ import annotations

import gc
import gzip
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import measure
import msgspec
from sortedcontainers import SortedDict

from kflow.errors import BookError
from kflow.kalshi import wire
from kflow.market.book import Book
from kflow.market.events import Side
from kflow.units import Price, Size, parse_price, parse_size

Delta = tuple[int, Price, Size]
Levels = list[tuple[Price, Size]]
Stream = tuple[Levels, Levels, list[Delta]]


class Line(msgspec.Struct):
    """One recorded frame."""

    frame: msgspec.Raw


class SortedBook:
    """The same book as most would write it, with the same errors."""

    def __init__(self) -> None:
        self.sides: tuple[SortedDict, SortedDict] = (SortedDict(), SortedDict())

    def replace(self, yes: Levels, no: Levels) -> None:
        self.sides = (SortedDict(yes), SortedDict(no))

    def apply(self, side: int, price: Price, change: Size) -> Size:
        levels = self.sides[side]
        after = Size(levels.get(price, 0) + change)
        if after < 0:
            raise BookError(f"{change} at {Side(side).name} {price}")
        if after:
            levels[price] = after
        else:
            levels.pop(price, None)
        return after

    def best(self, side: Side) -> tuple[Price, Size] | None:
        levels = self.sides[side]
        return levels.peekitem(-1) if levels else None


def made_up(count: int, seed: int = 7) -> Stream:
    """A start book and `count` valid deltas, the same for a seed."""
    rng = random.Random(seed)
    sizes: tuple[dict[int, int], dict[int, int]] = ({}, {})
    mid = 5000
    for side in (0, 1):
        for step in range(40):
            sizes[side][4900 - 100 * step] = rng.randrange(100, 50_000)
    start = [[(Price(p), Size(s)) for p, s in sorted(side.items())] for side in sizes]
    deltas: list[Delta] = []
    while len(deltas) < count:
        mid = min(8000, max(2000, mid + 100 * rng.choice((-1, 0, 0, 0, 0, 0, 0, 0, 0, 1))))
        side = rng.randrange(2)
        touch = (mid if side == 0 else 10_000 - mid) - 100
        price = max(100, touch - 100 * min(int(rng.expovariate(0.35)), 45))
        held = sizes[side].get(price, 0)
        if held and rng.random() < 0.55:
            change = -held if rng.random() < 0.35 else -rng.randint(1, held)
        else:
            change = rng.randrange(1, 20_000)
        deltas.append((side, Price(price), Size(change)))
        _change(sizes[side], price, change)
        if change < 0 and rng.random() < 0.6:  # the order moved
            other = max(100, price + rng.choice((-100, 100)))
            deltas.append((side, Price(other), Size(-change)))
            _change(sizes[side], other, -change)
    return start[0], start[1], deltas


def recorded(path: Path) -> Stream:
    """The longest run of deltas of one market behind one snapshot in a file."""
    runs: list[Stream] = []
    current: dict[str, list[Delta]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            message = wire.decode(bytes(msgspec.json.decode(line, type=Line).frame))
            if isinstance(message, wire.Snapshot):
                body = message.msg
                run: Stream = (_levels(body.yes_dollars_fp), _levels(body.no_dollars_fp), [])
                runs.append(run)
                current[body.market_ticker] = run[2]
            elif isinstance(message, wire.Delta) and message.msg.market_ticker in current:
                delta = message.msg
                side = Side.YES if delta.side == "yes" else Side.NO
                change = (side, parse_price(delta.price_dollars), parse_size(delta.delta_fp))
                current[delta.market_ticker].append(change)
    return max(runs, key=lambda run: len(run[2]))


def _levels(pairs: list[wire.Pair] | None) -> Levels:
    return [(parse_price(price), parse_size(size)) for price, size in pairs or ()]


def _change(side: dict[int, int], price: int, change: int) -> None:
    side[price] = side.get(price, 0) + change
    if not side[price]:
        del side[price]


def case(make: Callable[[], Book | SortedBook], stream: Stream, *, bests: bool) -> Callable[[], int]:
    """One run: a fresh book, every delta, and both bests after each where asked for."""
    yes, no, deltas = stream

    def run() -> int:
        book = make()
        book.replace(yes, no)
        apply, best = book.apply, book.best
        if bests:
            for side, price, change in deltas:
                apply(side, price, change)
                best(Side.YES)
                best(Side.NO)
        else:
            for side, price, change in deltas:
                apply(side, price, change)
        return len(deltas)

    return run


def bytes_per_book(make: Callable[[], Book | SortedBook], stream: Stream, count: int = 200) -> int:
    """Memory of one book that holds the stream's snapshot."""
    gc.collect()
    tracemalloc.start()
    books = [make() for _ in range(count)]
    for book in books:
        book.replace(stream[0], stream[1])
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held // len(books)


def same_end(stream: Stream) -> bool:
    """Both books hold the same levels in the end, or the race means nothing."""
    ours, theirs = Book("M"), SortedBook()
    for book in (ours, theirs):
        book.replace(stream[0], stream[1])
        for side, price, change in stream[2]:
            book.apply(side, price, change)
    return all(ours.levels(side) == tuple(theirs.sides[side].items()) for side in Side)


def main() -> None:
    parser = measure.arguments(__doc__.splitlines()[0])
    parser.add_argument("--frames", type=Path, help="recorded frames, .jsonl.gz")
    options = parser.parse_args()
    stream = recorded(options.frames) if options.frames else made_up(200_000)
    assert same_end(stream), "the two books disagree"
    cases = {
        "dict+bisect": case(lambda: Book("M"), stream, bests=True),
        "SortedDict": case(SortedBook, stream, bests=True),
        "dict+bisect, apply": case(lambda: Book("M"), stream, bests=False),
        "SortedDict, apply": case(SortedBook, stream, bests=False),
    }
    medians = measure.alternate(cases, measure.repeats(options))
    measure.report(
        "book",
        medians,
        ratio=medians["dict+bisect"].per_cpu_s / medians["SortedDict"].per_cpu_s,
        ratio_apply_only=medians["dict+bisect, apply"].per_cpu_s / medians["SortedDict, apply"].per_cpu_s,
        deltas=len(stream[2]),
        source="recorded frames" if options.frames else "made up",
        bytes_per_book={
            "dict+bisect": bytes_per_book(lambda: Book("M"), stream),
            "SortedDict": bytes_per_book(SortedBook, stream),
        },
        levels_at_start=[len(stream[0]), len(stream[1])],
        packages=("sortedcontainers", "msgspec"),
    )


if __name__ == "__main__":
    main()
