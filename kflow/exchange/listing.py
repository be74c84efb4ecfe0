"""What the venue lists: series, their events, the events' markets. Facts that do not move with trading."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, UUID, uuid5

from kflow.market.grid import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesListing:
    """A family of events that repeat."""

    ticker: str
    title: str
    category: str = "Financials"
    frequency: str = "daily"
    fee_type: str = "quadratic"
    fee_multiplier: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventListing:
    """One question; its markets are the possible answers."""

    ticker: str
    series: str
    title: str
    sub_title: str = ""
    mutually_exclusive: bool = True
    # What its markets charge instead of what the series says.
    fee_type_override: str | None = None
    fee_multiplier_override: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One market. Times are µs since 1970."""

    ticker: str
    event: str
    series: str
    title: str
    open_us: int
    close_us: int
    structure: str = "linear_cent"
    price_ranges: tuple[dict[str, str], ...] = ()
    market_id: str = ""
    yes_sub_title: str = ""
    strike_type: str = "between"
    floor_strike: float | None = None
    cap_strike: float | None = None
    # Left the live endpoints: settled before the cutoff, found under /historical only.
    archived: bool = False
    result: str = ""
    settle_after_s: int = 60
    grid: Grid = field(init=False, compare=False)

    def __post_init__(self) -> None:
        ranges = self.price_ranges or tuple(Grid.named(self.structure).price_ranges())
        object.__setattr__(self, "price_ranges", ranges)
        object.__setattr__(self, "market_id", self.market_id or market_uuid(self.ticker))
        object.__setattr__(self, "grid", Grid.parse(ranges))


def market_uuid(ticker: str) -> str:
    """The UUID of a market that has none of its own: the same in every run."""
    return str(UUID(bytes=uuid5(NAMESPACE_URL, f"kflow:market:{ticker}").bytes, version=4))
