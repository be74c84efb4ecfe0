"""The prices a market accepts: a few ranges, each with its own step (kalshi-protocol section 4.4).

`price_ranges` is the truth; the names of structures only serve markets that we make up ourselves. A grid holds YES
prices; a NO price is allowed where its complement is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from kflow.errors import Unrepresentable
from kflow.units import DOLLAR, Price, format_price, parse_price


@dataclass(frozen=True, slots=True)
class PriceRange:
    """Every `step` from `start` to `end`, both included, in Price units."""

    start: Price
    end: Price
    step: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= DOLLAR or not 0 < self.step <= DOLLAR:
            raise Unrepresentable("price range", f"{self.start}..{self.end} by {self.step}")

    def holds(self, price: int) -> bool:
        return self.start <= price <= self.end and (price - self.start) % self.step == 0


@dataclass(frozen=True)
class Grid:
    """A market's prices, ascending; $0 and $1 are never among them."""

    ranges: tuple[PriceRange, ...]

    @classmethod
    def parse(cls, price_ranges: Sequence[Mapping[str, str]]) -> Grid:
        """From the venue's `price_ranges`. Equal grids are one object. Raises Unrepresentable."""
        ranges = []
        for entry in price_ranges:
            if not {"start", "end", "step"} <= entry.keys():
                raise Unrepresentable("price range with start, end and step", dict(entry))
            ranges.append((parse_price(entry["start"]), parse_price(entry["end"]), parse_price(entry["step"])))
        return _grid(tuple(ranges))

    @classmethod
    def named(cls, structure: str) -> Grid:
        """The grid of a `price_level_structure`, for synthetic markets. Raises Unrepresentable for an unknown one."""
        if structure not in _NAMED:
            raise Unrepresentable("price level structure whose ranges are published", structure)
        return _grid(_NAMED[structure])

    @classmethod
    def holding(cls, prices: Iterable[Price]) -> Grid:
        """The coarsest usual grid that holds these YES prices, for recordings that carry no `price_ranges`."""
        return cls.named(structure_holding(prices))

    def price_ranges(self) -> list[dict[str, str]]:
        """As the venue writes it."""
        return [
            {"start": format_price(r.start), "end": format_price(r.end), "step": format_price(Price(r.step))}
            for r in self.ranges
        ]

    def prices(self) -> tuple[Price, ...]:
        """Every price, ascending."""
        return self._prices

    def __contains__(self, price: object) -> bool:
        return price in self._positions

    def __len__(self) -> int:
        return len(self._prices)

    def __iter__(self) -> Iterator[Price]:
        return iter(self._prices)

    def index(self, price: Price) -> int:
        """Position of a price among `prices()`: the difference of two is their distance in ticks.

        Raises Unrepresentable off the grid.
        """
        try:
            return self._positions[price]
        except KeyError:
            raise Unrepresentable("price of this market's grid", format_price(price)) from None

    def tick_at(self, price: Price) -> int:
        """Step of the range that spans a price, on the grid or not; where two ranges meet, the finer.

        Raises Unrepresentable where no range spans it.
        """
        steps = [r.step for r in self.ranges if r.start <= price <= r.end]
        if not steps:
            raise Unrepresentable("price inside this market's ranges", format_price(price))
        return min(steps)

    @cached_property
    def _prices(self) -> tuple[Price, ...]:
        union = {Price(p) for r in self.ranges for p in range(r.start, r.end + 1, r.step)}
        return tuple(sorted(union - {Price(0), DOLLAR}))

    @cached_property
    def _positions(self) -> dict[object, int]:
        return {price: position for position, price in enumerate(self._prices)}


@lru_cache(maxsize=256)
def _grid(ranges: tuple[tuple[Price, Price, int], ...]) -> Grid:
    grid = Grid(tuple(PriceRange(*entry) for entry in ranges))
    if not grid.prices():
        raise Unrepresentable("grid that holds a price", grid.price_ranges())
    return grid


_WHOLE, _HALF, _QUINT, _DECI, _CENTI = 100, 50, 20, 10, 1  # of a cent, in Price units


def _flat(step: int) -> tuple[tuple[Price, Price, int], ...]:
    return ((Price(0), DOLLAR, step),)


def _tapered(centre: int, edge: int, edge_end: int = 1000) -> tuple[tuple[Price, Price, int], ...]:
    """`centre` steps between two edges of `edge` steps, each `edge_end` wide: 10 cents unless the name says else."""
    low, high = Price(edge_end), Price(DOLLAR - edge_end)
    return ((Price(0), low, edge), (low, high, centre), (high, DOLLAR, edge))


# Widths of the edges: the venue's changelog of 2026-07-23, and of 2026-08-13 for the last. The ranges of
# banded_centi_cent are published nowhere, so it is absent.
_NAMED: Final = {
    "linear_cent": _flat(_WHOLE),
    "deci_cent": _flat(_DECI),
    "tapered_deci_cent": _tapered(_WHOLE, _DECI),
    "center_whole_edge_half_cent": _tapered(_WHOLE, _HALF),
    "center_whole_edge_quint_cent": _tapered(_WHOLE, _QUINT),
    "center_half_edge_half_cent": _flat(_HALF),
    "center_half_edge_quint_cent": _tapered(_HALF, _QUINT),
    "center_half_edge_deci_cent": _tapered(_HALF, _DECI),
    "center_quint_edge_quint_cent": _flat(_QUINT),
    "center_quint_edge_deci_cent": _tapered(_QUINT, _DECI),
    "center_centi_edge_centi_cent": _flat(_CENTI),
    "center_deci_edge_centi_cent": _tapered(_DECI, _CENTI, edge_end=100),
}

# Structures that prices are tried against, coarsest first.
_TRIED: Final = ("linear_cent", "tapered_deci_cent", "deci_cent", "center_deci_edge_centi_cent")
_FINEST: Final = "center_centi_edge_centi_cent"


def structure_holding(prices: Iterable[Price]) -> str:
    """The coarsest usual `price_level_structure` that holds these YES prices."""
    seen = set(prices)
    for name in _TRIED:
        grid = Grid.named(name)
        if all(price in grid for price in seen):
            return name
    return _FINEST
