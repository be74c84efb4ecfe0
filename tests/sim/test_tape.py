"""Recorded stretches become columns: where everything stands, what each book is, and what cannot be is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.errors import DataError
from kflow.market.grid import Grid
from kflow.sim.tape import ADD, CANCEL, KEY_EVERY, LEVEL_LIMIT, PRINT, TRADE, GridTape, Tape, compile_tape, on_grid
from kflow.testing.tapes import CENTS, Change, Print, Shape, random_tape, stretch_of, tape_of

YES, NO = 0, 1
TAPERED = Grid.named("tapered_deci_cent")
BIDS, OFFERS = [(4_000, 500), (3_900, 300)], [(5_500, 800)]

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=40, deadline=None)


class Event(NamedTuple):
    us: int
    kind: int
    side: int
    col: int
    size: int
    last: bool


def events_of(tape: Tape, stretch: int = 0) -> list[Event]:
    arrays, (first, behind) = tape.arrays, tape.arrays.bounds[stretch].tolist()
    rows = zip(*(column[first:behind].tolist() for column in arrays[:4]), strict=True)
    return [Event(us, code & 3, code >> 2 & 1, col, size, bool(code & 8)) for us, code, col, size in rows]


def books_of(tape: Tape, stretch: int = 0) -> Iterator[np.ndarray]:
    """The book after each event, followed the plain way."""
    first = tape.arrays.bounds[stretch][0]
    book = tape.arrays.books[tape.arrays.keys.tolist().index(first)].astype(np.int64)
    for event in events_of(tape, stretch):
        sign = {ADD: 1, CANCEL: -1, TRADE: -1, PRINT: 0}[event.kind]
        book[event.side, event.col] += sign * event.size
        yield book.copy()


def touch_of(book: np.ndarray) -> list[int]:
    bids, asks = np.flatnonzero(book[0]), np.flatnonzero(book[1])
    return [int(bids[-1]) if len(bids) else -1, int(asks[0]) if len(asks) else book.shape[1]]


def cents(yes: int) -> int:
    return CENTS.prices().index(yes)  # type: ignore[arg-type]


# Columns.


def test_a_tapered_grid_has_a_column_for_each_of_its_279_prices() -> None:
    tape = tape_of(
        [(990, 500)], [(10, 700)], [(1, YES, 5_000, 100, 0), (2, NO, 995 // 5 * 5 - 5, 200, 0)], grid=TAPERED
    )
    price = tape.arrays.price.tolist()

    assert (tape.columns, len(price), price[0], price[-1]) == (279, 279, 10, 9_990)
    assert price == sorted(price)
    assert tape.arrays.books.shape == (1, 2, 279)
    # A NO bid at p stands in the column of $1 - p.
    assert {(s, price[c]): size for (s, c), size in np.ndenumerate(tape.arrays.books[0]) if size} == {
        (YES, 990): 500,
        (NO, 9_990): 700,
    }
    assert [price[event.col] for event in events_of(tape)] == [5_000, 9_010]
    assert tape.arrays.top.tolist() == [[price.index(5_000), 278], [price.index(5_000), price.index(9_010)]]


def test_the_tape_tells_its_grid_and_why_its_stretches_end() -> None:
    tape = tape_of(BIDS, OFFERS, [(1, YES, 4_000, 1, 0)])
    assert Grid.parse(tape.facts["price_ranges"]) is CENTS
    assert tape.facts["ends"] == ["the recording's end"]


def test_an_event_is_of_a_kind_and_a_side_and_may_be_the_last_of_its_microsecond() -> None:
    changes = [
        (5, YES, 4_000, 100, 0),
        (5, NO, 5_500, -300, 0),
        (5, YES, 4_000, -200, 200),
        (6, NO, 5_500, -100, 100),
        (9, NO, 5_400, 50, 0),
        (9, YES, 3_900, -300, 0),
    ]
    assert events_of(tape_of(BIDS, OFFERS, changes)) == [
        (5, ADD, YES, cents(4_000), 100, False),
        (5, CANCEL, NO, cents(4_500), 300, False),
        (5, TRADE, YES, cents(4_000), 200, True),
        (6, TRADE, NO, cents(4_500), 100, True),
        (9, ADD, NO, cents(4_600), 50, False),
        (9, CANCEL, YES, cents(3_900), 300, True),
    ]


def test_the_last_event_of_a_stretch_is_the_last_of_its_microsecond_though_the_next_begins_then() -> None:
    stretch = stretch_of(BIDS, OFFERS, [(5, YES, 4_000, 1, 0)])
    tape = compile_tape("M", [stretch, stretch], CENTS, {})
    assert [event.last for number in (0, 1) for event in events_of(tape, number)] == [True, True]


def test_a_removal_that_was_partly_traded_is_a_trade_and_a_cancellation() -> None:
    changes = [(5, YES, 4_000, -300, 120), (6, NO, 5_500, 10, 0)]
    assert events_of(tape_of(BIDS, OFFERS, changes)) == [
        (5, TRADE, YES, cents(4_000), 120, False),
        (5, CANCEL, YES, cents(4_000), 180, True),
        (6, ADD, NO, cents(4_500), 10, True),
    ]


def test_prints_stand_before_the_delta_they_name_and_leave_the_level() -> None:
    changes: list[Change] = [(10, YES, 4_000, -300, 100), (20, YES, 4_000, 50, 0)]
    prints: list[Print] = [
        (2, 30, NO, 5_500, 4),
        (0, 1, YES, 4_000, 1),
        (1, 15, NO, 5_500, 2),
        (1, 15, YES, 3_000, 3),
    ]
    tape = tape_of(BIDS, OFFERS, changes, prints)

    assert events_of(tape) == [
        (1, PRINT, YES, cents(4_000), 1, True),
        (10, TRADE, YES, cents(4_000), 100, False),
        (10, CANCEL, YES, cents(4_000), 200, True),
        (15, PRINT, NO, cents(4_500), 2, False),
        (15, PRINT, YES, cents(3_000), 3, True),
        (20, ADD, YES, cents(4_000), 50, True),
        (30, PRINT, NO, cents(4_500), 4, True),
    ]
    *_, last = books_of(tape)
    assert (last[0, cents(4_000)], last[1, cents(4_500)], last[0, cents(3_000)]) == (250, 800, 0)


def test_times_never_fall() -> None:
    changes = [(10, YES, 4_000, 1, 0), (8, YES, 4_000, 1, 0), (12, YES, 4_000, 1, 0)]
    tape = tape_of(BIDS, OFFERS, changes, [(2, 14, YES, 4_000, 1)])
    assert [event.us for event in events_of(tape)] == [10, 10, 14, 14]
    assert [event.last for event in events_of(tape)] == [False, True, False, True]


def test_stretches_follow_each_other_and_each_begins_with_its_own_book() -> None:
    first = stretch_of(BIDS, OFFERS, [(50, YES, 4_000, 1, 0), (60, YES, 4_000, 1, 0)])
    nothing = stretch_of(BIDS, OFFERS, [])
    second = stretch_of([(2_000, 70)], [], [(10, NO, 7_000, 9, 0)])
    tape = compile_tape("M", [first, nothing, second], CENTS, {})

    assert tape.arrays.bounds.tolist() == [[0, 2], [2, 3]]
    assert (tape.stretches, tape.events) == (2, 3)
    assert (tape.span_us(0), tape.span_us(1)) == ((50, 60), (10, 10))
    assert tape.seconds == pytest.approx(10 / 1e6)
    assert tape.arrays.keys.tolist() == [0, 2]
    assert np.argwhere(tape.arrays.books[1]).tolist() == [[0, cents(2_000)]]
    assert tape.arrays.top[2].tolist() == [cents(2_000), cents(3_000)]


def test_a_side_without_quotes_has_its_touch_outside_the_grid() -> None:
    changes = [(1, YES, 4_000, -500, 0), (2, NO, 5_500, -800, 800), (3, YES, 100, 1, 0)]
    assert tape_of([(4_000, 500)], OFFERS, changes).arrays.top.tolist() == [[-1, cents(4_500)], [-1, 99], [0, 99]]


@few
@given(seed=seeds)
def test_the_touch_after_each_event_is_that_of_its_book(seed: int) -> None:
    tape = random_tape(np.random.default_rng(seed), stretches=2)
    for stretch in range(tape.stretches):
        first, behind = tape.arrays.bounds[stretch]
        wanted = [touch_of(book) for book in books_of(tape, stretch)]
        assert tape.arrays.top[first:behind].tolist() == wanted


@settings(max_examples=5, deadline=None)
@given(seed=seeds)
def test_books_are_kept_at_every_stretch_and_every_so_many_events(seed: int) -> None:
    shape = Shape(moments=900, gaps_us=(1, 1_000))
    tape = random_tape(np.random.default_rng(seed), shape=shape, stretches=2)
    bounds = tape.arrays.bounds.tolist()

    assert tape.arrays.keys.tolist() == [e for first, behind in bounds for e in range(first, behind, KEY_EVERY)]
    assert len(tape.arrays.keys) > 2
    for stretch, (first, behind) in enumerate(bounds):
        after = list(books_of(tape, stretch))
        for key, book in zip(tape.arrays.keys.tolist(), tape.arrays.books, strict=True):
            if first < key < behind:
                assert np.array_equal(book, after[key - first - 1])


# What cannot be.


@pytest.mark.parametrize(
    ("changes", "prints", "words"),
    [
        ([(1, YES, 4_050, 100, 0)], [], "a price of 0.4050 is not on the market's grid"),
        ([(1, NO, 5_550, 100, 0)], [], "a price of 0.4450 is not on the market's grid"),
        ([(1, YES, 4_000, 1, 0)], [(0, 1, YES, 4_010, 5)], "a price of 0.4010 is not on the market's grid"),
        ([(1, YES, 0, 1, 0)], [], "a price of 0.0000 is not on the market's grid"),
        ([(1, NO, 10_100, 100, 0)], [], "a price lies outside $0 to $1"),
        ([(1, YES, 4_000, -501, 0)], [], "MADE: event 0 leaves a level below nothing"),
        ([(1, YES, 4_000, 1, 0), (2, NO, 2_000, -1, 0)], [], "event 1 leaves a level below nothing"),
        ([(1, YES, 4_000, LEVEL_LIMIT - 500, 0)], [], "event 0 leaves a level below nothing or beyond 10,737,418"),
        ([(1, YES, 4_000, LEVEL_LIMIT, 0)], [], "a change of 10,737,418 contracts is more than a level may hold"),
        ([(1, YES, 4_000, -100, 101)], [], "a trade removed more than its level lost"),
        ([(1, YES, 4_000, 100, 1)], [], "a trade removed more than its level lost"),
        ([(1, YES, 4_000, -100, -1)], [], "a trade removed more than its level lost"),
    ],
)
def test_a_stretch_that_contradicts_itself_is_refused(changes: list[Change], prints: list[Print], words: str) -> None:
    with pytest.raises(DataError) as refused:
        tape_of(BIDS, OFFERS, changes, prints)
    assert words in str(refused.value)


@pytest.mark.parametrize("size", [0, -5, LEVEL_LIMIT])
def test_a_book_does_not_begin_with_a_level_of_no_size_or_of_too_much(size: int) -> None:
    with pytest.raises(DataError, match="a book begins with a level of no size or of too much"):
        tape_of([(4_000, size)], OFFERS, [(1, YES, 3_900, 1, 0)])


def test_a_level_may_hold_all_but_the_limit() -> None:
    tape = tape_of([(4_000, 1)], OFFERS, [(1, YES, 4_000, LEVEL_LIMIT - 2, 0)])
    assert next(iter(books_of(tape)))[0, cents(4_000)] == LEVEL_LIMIT - 1


def test_a_market_without_an_event_is_refused() -> None:
    with pytest.raises(DataError, match="M: no event of its book is recorded"):
        compile_tape("M", [stretch_of(BIDS, OFFERS, [])], CENTS, {})


# On a decision grid.


def test_a_grid_begins_with_the_first_event_and_ends_before_the_last() -> None:
    changes = [(1_000, YES, 4_000, 1, 0), (1_250, YES, 4_000, 2, 0), (1_499, YES, 4_000, 4, 0)]
    grid = on_grid(tape_of(BIDS, OFFERS, changes), 0, 250)
    assert (grid.start_us, grid.step_us, len(grid.rows)) == (1_000, 250, 2)
    assert grid.rows[:, 0, cents(4_000), 0].tolist() == [501, 503]
    assert on_grid(tape_of(BIDS, OFFERS, [*changes, (1_500, NO, 5_500, -800, 0)]), 0, 250).top.tolist() == [
        [cents(4_000), cents(4_500)],
        [cents(4_000), cents(4_500)],
        [cents(4_000), 99],
    ]


def test_a_step_holds_what_was_traded_and_withdrawn_at_each_price_and_how_far_trades_went() -> None:
    changes = [
        (0, NO, 5_500, 1, 0),
        (10, YES, 4_000, -300, 120),
        (20, YES, 4_000, 70, 0),
        (30, YES, 3_900, -300, 300),
        (40, NO, 5_500, -1, 0),
    ]
    grid = on_grid(tape_of(BIDS, OFFERS, changes, [(1, 5, NO, 5_300, 33)]), 0, 20)
    assert len(grid.rows) == 3
    assert grid.rows[1, 0, cents(4_000)].tolist() == [270, 120, 180]
    assert grid.rows[1, 1, cents(4_700)].tolist() == [0, 33, 0]
    assert grid.rows[2, 0, cents(3_900)].tolist() == [0, 300, 0]
    assert grid.rows[2, 1, cents(4_500)].tolist() == [800, 0, 1]
    assert grid.far.tolist() == [[-1, -1], [cents(4_000), cents(4_700)], [cents(3_900), -1]]


def plain_grid(tape: Tape, stretch: int, step_us: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and far columns, summed up the plain way."""
    events, books = events_of(tape, stretch), list(books_of(tape, stretch))
    start, last = tape.span_us(stretch)
    moments = list(range(start, last + 1, step_us))
    rows, far = np.zeros((len(moments), 2, tape.columns, 3), np.int64), np.full((len(moments), 2), -1)
    for step, until in enumerate(moments):
        since = until - step_us if step else -1
        mine = [place for place, event in enumerate(events) if since < event.us <= until]
        done = [place for place, event in enumerate(events) if event.us <= until]
        rows[step, :, :, 0] = books[done[-1]]
        for event in (events[place] for place in mine):
            rows[step, event.side, event.col, 1] += event.size if event.kind in (TRADE, PRINT) else 0
            rows[step, event.side, event.col, 2] += event.size if event.kind == CANCEL else 0
        for side, worst in ((YES, min), (NO, max)):
            traded = np.flatnonzero(rows[step, side, :, 1]).tolist()
            far[step, side] = worst(traded) if traded else -1
    return rows, far


@few
@given(seed=seeds, step_us=st.sampled_from([40_000, 250_000, 333_333, 7_000_000]))
def test_a_grid_sums_up_what_the_events_say(seed: int, step_us: int) -> None:
    tape = random_tape(np.random.default_rng(seed), shape=Shape(moments=25), stretches=2)
    for stretch in range(tape.stretches):
        grid: GridTape = on_grid(tape, stretch, step_us)
        rows, far = plain_grid(tape, stretch, step_us)
        assert (grid.start_us, grid.step_us) == (tape.span_us(stretch)[0], step_us)
        assert np.array_equal(grid.rows, rows)
        assert np.array_equal(grid.far, far)
        assert grid.top.tolist() == [touch_of(row[:, :, 0]) for row in rows]
        assert np.array_equal(grid.price, tape.arrays.price)
