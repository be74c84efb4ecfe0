"""Differences between books: whatever happened between two looks, the second is rebuilt from the first."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from kflow.market.book import BookView
from kflow.market.events import Level
from kflow.units import Price, Size
from kflow.web.orderbook import message, orderbook_json

levels = st.dictionaries(st.integers(1, 9999), st.integers(1, 10**9), max_size=8).map(
    lambda sizes: tuple((Price(price), Size(size)) for price, size in sorted(sizes.items()))
)


def view(yes: tuple[Level, ...], no: tuple[Level, ...] = (), *, version: int = 1, live: bool = True) -> BookView:
    return BookView("M", version, live, yes, no)


def changed(levels: tuple[Level, ...], changes: list[list[int]]) -> tuple[tuple[int, int], ...]:
    sizes = {int(price): int(size) for price, size in levels}
    for price, size in changes:
        sizes[price] = size
        if not size:
            del sizes[price]
    return tuple(sorted(sizes.items()))


@given(levels, levels, levels, levels)
def test_a_difference_leads_from_one_book_to_the_other(
    yes: tuple[Level, ...], no: tuple[Level, ...], yes_after: tuple[Level, ...], no_after: tuple[Level, ...]
) -> None:
    before, after = view(yes, no), view(yes_after, no_after, version=2)
    raw = message(before, after)
    assert raw is not None
    delta = json.loads(raw)
    assert delta["type"] == "delta"
    assert changed(yes, delta["yes"]) == yes_after
    assert changed(no, delta["no"]) == no_after
    # Only what changed is said.
    assert len(delta["yes"]) == len(set(yes_after) - set(yes)) + len(dict(yes).keys() - dict(yes_after).keys())


def test_nothing_changed_is_nothing_said() -> None:
    book = view(((Price(100), Size(5)),))
    assert message(book, view(book.yes)) is None


def test_a_version_or_state_alone_is_said() -> None:
    book = view(((Price(100), Size(5)),))
    assert json.loads(message(book, view(book.yes, version=2)) or b"")["yes"] == []
    assert json.loads(message(book, view(book.yes, live=False)) or b"")["live"] is False


def test_versions_that_start_again_are_a_new_book() -> None:
    assert json.loads(message(view((), version=9), view((), version=1)) or b"")["type"] == "snapshot"


def test_an_empty_book_for_people() -> None:
    body = orderbook_json(view(()))
    assert (body["yes_bids"], body["yes_asks"], body["spread_e4"]) == ([], [], None)


def test_a_tenth_of_a_cent_for_people() -> None:
    [level] = orderbook_json(view((), ((Price(9995), Size(1)),)))["yes_asks"]
    assert level == {
        "price_e4": 5,
        "size_e2": 1,
        "price_dollars": "0.0005",
        "price_cents": "0.05",
        "size_contracts": "0.01",
    }
