"""Grids, against the venue's own rule in exact decimals."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.errors import Unrepresentable
from kflow.market.grid import Grid, PriceRange
from kflow.units import DOLLAR, Price, format_price

TAPERED = [
    {"start": "0.0000", "end": "0.1000", "step": "0.0010"},
    {"start": "0.1000", "end": "0.9000", "step": "0.0100"},
    {"start": "0.9000", "end": "1.0000", "step": "0.0010"},
]

NAMES = {
    "linear_cent": 99,
    "deci_cent": 999,
    "tapered_deci_cent": 99 + 80 + 100,
    "center_whole_edge_half_cent": 19 + 80 + 20,
    "center_whole_edge_quint_cent": 49 + 80 + 50,
    "center_half_edge_half_cent": 199,
    "center_half_edge_quint_cent": 49 + 160 + 50,
    "center_half_edge_deci_cent": 99 + 160 + 100,
    "center_quint_edge_quint_cent": 499,
    "center_quint_edge_deci_cent": 99 + 400 + 100,
    "center_centi_edge_centi_cent": 9999,
    "center_deci_edge_centi_cent": 99 + 980 + 100,
}


@st.composite
def price_ranges(draw: st.DrawFn) -> list[dict[str, str]]:
    """Any ranges: adjacent, apart, overlapping, in any order, with steps that miss their own end."""
    ranges = []
    for _ in range(draw(st.integers(1, 4))):
        start, end = sorted(draw(st.lists(st.integers(0, DOLLAR), min_size=2, max_size=2, unique=True)))
        step = draw(st.sampled_from([1, 7, 10, 20, 50, 100, 2500]))
        ranges.append([start, end, step])
    return [dict(zip(("start", "end", "step"), (format_price(Price(v)) for v in r), strict=True)) for r in ranges]


def allowed(ranges: list[dict[str, str]], price: Decimal) -> bool:
    """The rule of the venue, word for word: start <= p <= end, (p - start) % step == 0, neither 0 nor 1."""
    return 0 < price < 1 and any(
        Decimal(r["start"]) <= price <= Decimal(r["end"]) and (price - Decimal(r["start"])) % Decimal(r["step"]) == 0
        for r in ranges
    )


@given(price_ranges(), st.data())
def test_a_grid_is_the_venues_rule(ranges: list[dict[str, str]], data: st.DataObject) -> None:
    points = [Price(p) for p in range(0, DOLLAR + 1, 50)] + data.draw(st.lists(st.integers(0, DOLLAR).map(Price)))
    expected = {p for p in points if allowed(ranges, Decimal(p) / DOLLAR)}
    try:
        grid = Grid.parse(ranges)
    except Unrepresentable:
        assert not expected
        return
    assert {p for p in points if p in grid} == expected
    assert list(grid) == sorted(set(grid.prices()))
    assert [grid.index(p) for p in grid.prices()] == list(range(len(grid)))


@given(price_ranges())
def test_a_grid_survives_its_ranges(ranges: list[dict[str, str]]) -> None:
    try:
        grid = Grid.parse(ranges)
    except Unrepresentable:
        return
    assert Grid.parse(grid.price_ranges()) is grid
    assert grid.price_ranges() == ranges


@pytest.mark.parametrize(("name", "count"), NAMES.items())
def test_named_grids_have_their_prices_and_mirror(name: str, count: int) -> None:
    grid = Grid.named(name)
    assert len(grid) == count
    assert all(Price(DOLLAR - price) in grid for price in grid)
    assert Grid.parse(grid.price_ranges()) is grid


def test_the_tapered_grid_is_the_one_the_venue_sends() -> None:
    grid = Grid.named("tapered_deci_cent")
    assert grid is Grid.parse(TAPERED)
    assert [p in grid for p in (10, 990, 1000, 1010, 1100, 9000, 9010, 9990)] == [True] * 3 + [False] + [True] * 4
    assert [grid.tick_at(Price(p)) for p in (5, 990, 1000, 1001, 5000, 9000, 9001)] == [10, 10, 10, 100, 100, 10, 10]


def test_neither_nothing_nor_the_dollar_is_a_price() -> None:
    grid = Grid.named("linear_cent")
    assert Price(0) not in grid
    assert DOLLAR not in grid
    assert "0.5000" not in grid
    assert grid.prices()[0] == 100
    assert grid.prices()[-1] == 9900


def test_off_the_grid_is_refused() -> None:
    grid = Grid.named("linear_cent")
    with pytest.raises(Unrepresentable, match=r"'0\.5050' is not a price of this market's grid"):
        grid.index(Price(5050))
    half = Grid.parse([{"start": "0.50", "end": "0.60", "step": "0.01"}])
    with pytest.raises(Unrepresentable, match=r"'0\.4900' is not a price inside"):
        half.tick_at(Price(4900))


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [{"start": "0.0000", "end": "1.0000"}],
        [{"start": "0.0000", "end": "1.0000", "step": "0.0000"}],
        [{"start": "0.9000", "end": "0.1000", "step": "0.0100"}],
        [{"start": "0.0000", "end": "1.1000", "step": "0.0100"}],
        [{"start": "0.0000", "end": "1.0000", "step": "0.00001"}],
        [{"start": "0.0000", "end": "1.0000", "step": "1.0000"}],
    ],
)
def test_bad_ranges_are_refused(ranges: list[dict[str, str]]) -> None:
    with pytest.raises(Unrepresentable):
        Grid.parse(ranges)


@pytest.mark.parametrize("name", ["", "banded_centi_cent", "square"])
def test_a_name_without_published_ranges_is_refused(name: str) -> None:
    with pytest.raises(Unrepresentable, match="price level structure whose ranges are published"):
        Grid.named(name)


def test_a_range_knows_its_prices() -> None:
    odd = PriceRange(Price(100), Price(1000), 70)
    assert [p for p in range(0, 1100, 10) if odd.holds(p)] == list(range(100, 1001, 70))
