"""The action codec: what each number means, at which price, and what is denied."""

from __future__ import annotations

import pytest

from kflow.errors import UsageError
from kflow.market import limits
from kflow.policy.actions import (
    CROSS,
    INSIDE,
    NOTHING_TO_CANCEL,
    PASSIVE,
    REASONS,
    action_set,
    mask,
    price_column,
    refused,
    size_now,
)

PRICES = [cent * 100 for cent in range(1, 100)]
FEES = [7, 100 * 10_000, 1, 100]  # rate, unit, step, precision
BOUNDS = [10_000, 50_000, 4]
BOOK = [39, 41, 99]  # bid 40 c, ask 42 c
FREE = [0, 1_000_000_000, 0, 0, 0, -1, 99]  # nothing held, $1,000, nothing open


def why(name: str, kind: str = "default", book: list[int] = BOOK, own: list[int] = FREE) -> int:
    """Why an action is denied, or 0."""
    actions = action_set(kind).actions
    action = next(action for action in actions if action.name == name)
    return refused(*action[1:6], book, own, PRICES, FEES, BOUNDS)


def test_the_default_set_has_the_21_actions_of_the_requirements() -> None:
    actions = action_set().actions
    kinds, sizes = ("BUY_YES", "SELL_YES", "BUY_NO", "SELL_NO"), (5, 10, 20, 50, 100)
    expected = ["HOLD", *(f"{kind} {size}" for kind in kinds for size in sizes)]
    assert [action.name for action in actions] == expected
    for kind in range(4):
        for at, size in enumerate(sizes):
            action = actions[1 + 5 * kind + at]
            assert (action.size, action.pricing, action.rest_us) == (size * 100, CROSS, 0)
            assert (action.side, action.reduce_only) == ((0, 0), (1, 1), (1, 0), (0, 1))[kind]


def test_the_wide_set_adds_cancel_and_prices_that_wait() -> None:
    wide = action_set("wide", (1_000,))
    assert [action.name for action in wide.actions[:5]] == [
        "HOLD",
        "CANCEL_ALL",
        "BUY_YES_PASSIVE 10",
        "BUY_YES_INSIDE 10",
        "BUY_YES_CROSS 10",
    ]
    assert len(wide.actions) == 2 + 4 * 3
    assert all((action.rest_us > 0) == (action.pricing in (PASSIVE, INSIDE)) for action in wide.actions[2:])


def test_the_maker_set_never_takes() -> None:
    assert all(action.pricing != CROSS for action in action_set("maker").actions[2:])


@pytest.mark.parametrize(
    ("side", "pricing", "bid", "ask", "column"),
    [
        (0, PASSIVE, 39, 41, 39),
        (1, PASSIVE, 39, 41, 41),
        (0, INSIDE, 39, 45, 40),
        (1, INSIDE, 39, 45, 44),
        (0, INSIDE, 39, 40, 39),  # a spread of one tick has no inside
        (1, INSIDE, 39, 40, 40),
        (0, CROSS, 39, 41, 41),
        (1, CROSS, 39, 41, 39),
        (0, PASSIVE, -1, 41, -1),  # nobody bids: no price to join
        (0, INSIDE, -1, 41, -1),
        (1, PASSIVE, 39, 99, 99),
        (0, CROSS, 39, 99, 99),
    ],
)
def test_prices_follow_the_book(side: int, pricing: int, bid: int, ask: int, column: int) -> None:
    assert price_column(side, pricing, bid, ask, 99) == column


@pytest.mark.parametrize(
    ("name", "book", "own", "reason"),
    [
        ("HOLD", [-1, 99, 99], FREE, 0),
        ("BUY_YES 100", BOOK, FREE, 0),
        ("SELL_YES 5", BOOK, FREE, limits.NOTHING_TO_CLOSE),
        ("SELL_YES 5", BOOK, [500, *FREE[1:]], 0),
        ("SELL_NO 5", BOOK, [-500, *FREE[1:]], 0),
        ("BUY_YES 5", [39, 99, 99], FREE, limits.PRICE),
        ("BUY_NO 5", [-1, 41, 99], FREE, limits.PRICE),
        ("BUY_YES 5", BOOK, [0, 2_000_000, *FREE[2:]], limits.CASH),
        ("BUY_YES 5", BOOK, [49_600, *FREE[1:]], limits.POSITION),
        ("BUY_YES 5", BOOK, [*FREE[:4], 4, -1, 99], limits.OPEN_ORDERS),
        ("BUY_YES 5", BOOK, [*FREE[:4], 1, -1, 41], limits.OWN_ORDER),
        ("BUY_NO 5", BOOK, [*FREE[:4], 1, 39, 99], limits.OWN_ORDER),
    ],
)
def test_what_the_book_cash_and_limits_deny(name: str, book: list[int], own: list[int], reason: int) -> None:
    assert why(name, book=book, own=own) == reason


def test_there_has_to_be_something_to_cancel() -> None:
    assert why("CANCEL_ALL", "wide") == NOTHING_TO_CANCEL
    assert why("CANCEL_ALL", "wide", own=[*FREE[:4], 1, 39, 99]) == 0


def test_masks_are_the_refusals() -> None:
    table = action_set("wide").table
    own = [700, 30_000_000, 0, 500, 1, -1, 41]
    found = [False] * len(table.op)
    mask(table, BOOK, own, PRICES, FEES, BOUNDS, found)
    one_by_one = [
        refused(*(column[a] for column in table[:5]), BOOK, own, PRICES, FEES, BOUNDS) == 0
        for a in range(len(table.op))
    ]
    assert found == one_by_one
    assert found[0]
    assert 1 < sum(found) < len(found)


def test_what_sells_sends_no_more_than_is_held_and_not_yet_on_its_way_out() -> None:
    assert size_now(1, 1_000, 1, [700, 0, 0, 500]) == 200
    assert size_now(1, 1_000, 1, [5_000, 0, 0, 500]) == 1_000
    assert size_now(0, 1_000, 0, [0, 0, 0, 0]) == 1_000


def test_every_denial_has_words() -> None:
    assert set(REASONS) == {*limits.REASONS, NOTHING_TO_CANCEL}


@pytest.mark.parametrize(
    ("name", "sizes"), [("clever", (500,)), ("default", ()), ("default", (0,)), ("wide", (1_000, 500))]
)
def test_sets_that_cannot_be_are_refused(name: str, sizes: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        action_set(name, sizes)
