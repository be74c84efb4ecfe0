"""The book against two plain models: a Counter, and sorted dictionaries written as most would."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sortedcontainers import SortedDict

from kflow.errors import BookError
from kflow.market.book import Book, BookView
from kflow.market.events import Level, Side
from kflow.market.grid import Grid
from kflow.units import DOLLAR, Price, Size, complement

GRID = Grid.named("tapered_deci_cent")
SIDE = st.sampled_from([Side.YES, Side.NO])
# Few prices, so that levels are hit again, emptied and refilled.
PRICE = st.sampled_from(GRID.prices()[::12])
SIZE = st.one_of(st.integers(1, 300), st.integers(1, 2**50)).map(Size)
LEVELS = st.dictionaries(PRICE, SIZE, max_size=12).map(lambda side: tuple(side.items()))
CHANGES = st.lists(st.tuples(SIDE, PRICE, st.integers(-300, 300).map(Size)), max_size=60)

Contents = tuple[tuple[Level, ...], tuple[Level, ...]]


def contents(book: Book) -> Contents:
    return book.levels(Side.YES), book.levels(Side.NO)


class SortedBook:
    """The reference that the exchange's matching engine stands on: one SortedDict per side."""

    def __init__(self) -> None:
        self.sides: tuple[SortedDict, SortedDict] = (SortedDict(), SortedDict())

    def apply(self, side: Side, price: Price, change: Size) -> None:
        size = self.sides[side].get(price, 0) + change
        if size:
            self.sides[side][price] = size
        else:
            self.sides[side].pop(price, None)

    def best(self, side: Side) -> Level | None:
        return self.sides[side].peekitem(-1) if self.sides[side] else None


class BookMachine(RuleBasedStateMachine):
    """Any sequence of snapshots and deltas, good and bad."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book("M")
        self.plain: Counter[tuple[Side, Price]] = Counter()
        self.sorted = SortedBook()

    @initialize(yes=LEVELS, no=LEVELS)
    def start(self, yes: tuple[Level, ...], no: tuple[Level, ...]) -> None:
        self.snapshot(yes, no)

    @rule(yes=LEVELS, no=LEVELS)
    def snapshot(self, yes: tuple[Level, ...], no: tuple[Level, ...]) -> None:
        self.book.replace(yes, no)
        self.plain, self.sorted = Counter(), SortedBook()
        for side, levels in ((Side.YES, yes), (Side.NO, no)):
            for price, size in levels:
                self.plain[side, price] = size
                self.sorted.apply(side, price, size)

    @rule(side=SIDE, price=PRICE, size=SIZE)
    def add(self, side: Side, price: Price, size: Size) -> None:
        self.change(side, price, size)

    @rule(side=SIDE, price=PRICE, data=st.data())
    def take(self, side: Side, price: Price, data: st.DataObject) -> None:
        self.change(side, price, Size(-data.draw(st.integers(0, self.plain[side, price]))))

    @rule(side=SIDE, price=PRICE)
    def empty(self, side: Side, price: Price) -> None:
        self.change(side, price, Size(-self.plain[side, price]))

    def change(self, side: Side, price: Price, change: Size) -> None:
        depth = sum(size for _, size in self.book.levels(side))
        self.plain[side, price] += change
        self.sorted.apply(side, price, change)
        assert self.book.apply(side, price, change) == self.plain[side, price]
        assert sum(size for _, size in self.book.levels(side)) == depth + change

    @rule(side=SIDE, price=PRICE, size=SIZE)
    def overdraw(self, side: Side, price: Price, size: Size) -> None:
        before = contents(self.book)
        with pytest.raises(BookError, match=r"^M: -\d+ at (YES|NO) \d+, where "):
            self.book.apply(side, price, Size(-self.plain[side, price] - size))
        assert contents(self.book) == before

    @rule(side=SIDE, price=PRICE, change=st.integers(-300, 300).map(Size))
    def there_and_back(self, side: Side, price: Price, change: Size) -> None:
        before = contents(self.book)
        try:
            self.book.apply(side, price, change)
        except BookError:
            return
        self.book.apply(side, price, Size(-change))
        assert contents(self.book) == before

    @invariant()
    def is_the_counter(self) -> None:
        levels = {(side, price): size for side in Side for price, size in self.book.levels(side)}
        assert levels == +self.plain
        for (side, price), size in self.plain.items():
            assert self.book.size_at(side, price) == size

    @invariant()
    def is_the_sorted_book(self) -> None:
        for side in Side:
            assert self.book.levels(side) == tuple(self.sorted.sides[side].items())
            assert self.book.best(side) == self.sorted.best(side)

    @invariant()
    def holds_only_sizes_on_the_grid(self) -> None:
        for side in Side:
            for price, size in self.book.levels(side):
                assert size > 0
                assert price in GRID

    @invariant()
    def asks_are_complements(self) -> None:
        view = self.book.view()
        if view.no:
            assert view.best_yes_ask == (min(complement(p) for p, _ in view.no), view.no[-1][1])
        else:
            assert view.best_yes_ask is None
        assert (view.best_yes_bid, view.best_no_bid) == (self.book.best(Side.YES), self.book.best(Side.NO))

    @invariant()
    def says_when_it_is_crossed(self) -> None:
        view = self.book.view()
        if view.best_yes_bid is None or view.best_no_bid is None:
            assert not self.book.crossed
            assert view.spread is None
        else:
            assert self.book.crossed == (view.best_yes_bid[0] + view.best_no_bid[0] > DOLLAR)
            assert view.spread is not None
            assert self.book.crossed == (view.spread < 0)

    @invariant()
    def survives_its_own_snapshot(self) -> None:
        loaded = Book("M")
        loaded.replace(*contents(self.book))
        assert contents(loaded) == contents(self.book)


TestBookMachine = BookMachine.TestCase


@given(LEVELS, LEVELS, CHANGES, st.lists(st.integers(0, 7), min_size=1, max_size=30))
def test_any_split_into_batches_gives_the_same_book(
    yes: tuple[Level, ...], no: tuple[Level, ...], changes: list[tuple[Side, Price, Size]], cuts: list[int]
) -> None:
    def apply(book: Book, batch: list[tuple[Side, Price, Size]]) -> int:
        refused = 0
        for side, price, change in batch:
            try:
                book.apply(side, price, change)
            except BookError:
                refused += 1
        return refused

    whole, parts = Book("M"), Book("M")
    whole.replace(yes, no)
    parts.replace(yes, no)
    refused = apply(whole, changes)
    rest = iter(changes)
    in_parts = sum(apply(parts, list(islice(rest, cut))) for cut in cuts) + apply(parts, list(rest))
    assert (contents(parts), in_parts) == (contents(whole), refused)


@given(LEVELS, LEVELS)
def test_mirroring_the_market_mirrors_the_book(yes: tuple[Level, ...], no: tuple[Level, ...]) -> None:
    book, mirrored = Book("M"), Book("M")
    book.replace(yes, no)
    mirrored.replace(no, yes)
    assert (mirrored.view().yes, mirrored.view().no) == (book.view().no, book.view().yes)
    assert (mirrored.crossed, mirrored.view().spread) == (book.crossed, book.view().spread)


@pytest.mark.parametrize("cents", [5, 20, 50, 80, 95])
def test_books_at_every_mid_keep_their_levels_and_spread(cents: int) -> None:
    yes = tuple((Price(cents * 100 - 100 - 100 * n), Size(10 + n)) for n in range(cents - 1))
    no = tuple((Price(DOLLAR - cents * 100 - 100 - 100 * n), Size(20 + n)) for n in range(99 - cents))
    book = Book("M")
    book.replace(yes, no)
    view = book.view()
    assert (len(view.yes), len(view.no), view.spread) == (cents - 1, 99 - cents, 200)


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        ([(1000, 5), (1000, 6)], []),
        ([], [(1000, 5), (2000, 0)]),
        ([(1000, -1)], []),
    ],
)
def test_a_bad_snapshot_changes_nothing(yes: list[Level], no: list[Level]) -> None:
    book = Book("M")
    book.replace([(Price(100), Size(1))], [(Price(200), Size(2))])
    with pytest.raises(BookError, match=r"^M: a snapshot repeats a price or holds a level of no size$"):
        book.replace(yes, no)
    assert contents(book) == (((100, 1),), ((200, 2),))


def test_a_snapshot_may_come_in_any_order_and_as_an_iterator() -> None:
    book = Book("M")
    book.replace(iter([(Price(300), Size(3)), (Price(100), Size(1))]), iter([]))
    assert book.levels(Side.YES) == ((100, 1), (300, 3))


def test_an_empty_snapshot_clears_the_book() -> None:
    book = Book("M")
    book.apply(Side.YES, Price(100), Size(1))
    book.replace((), ())
    assert contents(book) == ((), ())


def test_nothing_taken_from_nothing_is_no_error() -> None:
    book = Book("M")
    assert book.apply(Side.NO, Price(100), Size(0)) == 0
    assert contents(book) == ((), ())


def test_a_view_does_not_follow_its_book() -> None:
    book = Book("M")
    book.apply(Side.YES, Price(100), Size(1))
    book.version, book.live = 7, True
    view = book.view()
    book.apply(Side.YES, Price(100), Size(-1))
    book.live = False
    assert view == BookView("M", 7, True, ((Price(100), Size(1)),), ())
    with pytest.raises(AttributeError):
        view.live = False  # type: ignore[misc]
