"""Kinds of made-up markets: measured on recordings of real ones (market facts, section 4), or fitted to what was.

What was measured is set where it can be (sizes, mix, depths); the rest was fitted until the figures that come out are
as measured: `bench/realism.py` shows how near they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kflow.exchange.hawkes import Clustering

Quantiles = tuple[tuple[float, float], ...]  # ascending (share of draws at or below, value), from 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How often each event happens; together 1."""

    quote: float  # an order comes or goes
    amend: float  # an order moves: two deltas of one µs
    resize: float  # an order changes its size: two deltas of one price and µs
    sweep: float  # a taker takes: one delta per maker


@dataclass(frozen=True, slots=True, kw_only=True)
class Contracts:
    """Sizes of orders, in contracts."""

    quantiles: Quantiles
    fractional: float  # share that is not whole
    rounded: float = 0.0  # share of those near a favourite that become it
    favourites: tuple[int, ...] = (1, 2, 10, 50, 100, 400, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How the participants of one kind of market behave."""

    # Events of one market per second, each of them one group of changes, and how they cluster. By minutes to the close,
    # the last entry for all before: times that. `weight_sigma`: of the logarithm by which markets differ.
    events_per_s: float
    clustering: Clustering
    by_minute: tuple[float, ...] = (1.0,)
    weight_sigma: float = 0.15
    mix: Mix
    # Chance that a taker is followed by another, whatever the mix says: they come in runs.
    again: float = 0.0
    order: Contracts
    sweep: Contracts
    # Those who come to a best price bring no more contracts than this, nor move more there.
    best_most: float
    # Where orders lie: cents behind the best price, and ticks by which an amended order moves.
    depth_cents: Quantiles
    move_ticks: Quantiles
    # Share of the prices behind the touch that hold orders. At the start: of how many prices, how many orders each.
    filled: float
    levels: int
    orders_per_level: float
    # A best price of so many contracts, and another level, sees as many cancellations as additions; a larger one more.
    touch_contracts: float
    level_contracts: float
    # Quotes keep this far from what the market is worth, in cents (lognormal).
    margin_cents: float
    margin_sigma: float
    # Chances that an event goes to a quote that is too close, and to one that lags behind.
    pull: float
    follow: float
    # Chance that the last order at a best price leaves it for no reason.
    desert: float
    # What one event tells, in cents, at 50 % and `life_s` or more before the close.
    news_cents: float
    life_s: float
    # What an alarm tells, in cents (lognormal), and the share of passed quotes that move instead of going.
    alarm_cents: float = 3.0
    alarm_sigma: float = 0.6
    retreat: float = 0.5
    # How far past his price a taker who knows carries what the market is worth, likewise (lognormal).
    beyond_cents: float
    beyond_sigma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One kind of market, and what a venue that is full of them lists."""

    habits: Habits
    structures: tuple[str, ...]
    series: str
    category: str


_BUSY: Final = Habits(
    events_per_s=65.0,
    clustering=Clustering(
        branching=0.76,
        scales=((0.30, 0.0033), (0.335, 0.022), (0.365, 0.58)),
        swell_sigma=0.29,
        swell_s=20.0,
        alarm_share=0.0009,
        alarm_children=50.0,
        alarm_delay_s=0.06,
    ),
    by_minute=(0.09, 0.24, 0.49, 0.81, 0.98, 0.98, 0.98, 0.98, 0.98, 1.06, 1.13, 1.21, 1.24, 1.28),
    mix=Mix(quote=0.504, amend=0.339, resize=0.094, sweep=0.063),
    order=Contracts(
        quantiles=((0, 0.5), (0.05, 2), (0.25, 14), (0.5, 80), (0.75, 410), (0.9, 1050), (0.99, 7000), (1, 20_000)),
        fractional=0.11,
        rounded=0.4,
    ),
    # Larger than what was measured: what a taker gets is limited by the level he finds.
    sweep=Contracts(
        quantiles=((0, 0.5), (0.05, 1), (0.25, 8), (0.5, 30), (0.75, 130), (0.9, 420), (0.99, 3500), (1, 9000)),
        fractional=0.65,
    ),
    depth_cents=((0, 0), (0.18, 0), (0.19, 0.01), (0.41, 1), (0.74, 5), (0.95, 27), (1, 60)),
    move_ticks=((0, 1), (0.67, 1), (0.68, 2), (0.965, 10), (1, 30)),
    best_most=1300.0,
    filled=0.85,
    levels=110,
    orders_per_level=3.0,
    touch_contracts=1600.0,
    level_contracts=2400.0,
    margin_cents=0.125,
    margin_sigma=0.5,
    pull=0.02,
    follow=0.7,
    desert=0.4,
    news_cents=0.01,
    life_s=900.0,
    alarm_cents=2.5,
    alarm_sigma=0.7,
    retreat=0.2,
    beyond_cents=0.8,
    beyond_sigma=0.6,
)  # fmt: skip
_QUIET: Final = Habits(
    events_per_s=0.82,
    clustering=Clustering(branching=0.65, scales=((0.5, 0.2), (0.5, 2.5)), swell_sigma=0.7, swell_s=60.0),
    mix=Mix(quote=0.70, amend=0.20, resize=0.08, sweep=0.024),
    again=0.4,
    order=Contracts(quantiles=((0, 10), (0.25, 230), (0.5, 420), (0.99, 1600), (1, 5000)), fractional=0.05),
    sweep=Contracts(quantiles=((0, 1), (0.5, 10), (0.9, 200), (0.99, 1000), (1, 2500)), fractional=0.2),
    depth_cents=((0, 0), (0.3, 0), (0.31, 0.01), (0.5, 1), (0.8, 4), (0.95, 9), (1, 30)),
    move_ticks=((0, 1), (0.6, 1), (0.61, 2), (1, 6)),
    best_most=450.0,
    filled=0.62,
    levels=20,
    orders_per_level=1.5,
    touch_contracts=40.0,
    level_contracts=200.0,
    margin_cents=1.2,
    margin_sigma=0.5,
    pull=0.6,
    follow=0.3,
    desert=0.2,
    news_cents=0.03,
    life_s=23_400.0,
    beyond_cents=0.2,
    beyond_sigma=0.5,
)
_WEATHER: Final = Habits(
    events_per_s=0.26,
    clustering=Clustering(
        branching=0.6,
        scales=((0.5, 0.05), (0.5, 2.0)),
        swell_sigma=0.7,
        swell_s=60.0,
        alarm_share=0.0015,
        alarm_children=60.0,
        alarm_delay_s=0.2,
    ),
    mix=Mix(quote=0.70, amend=0.20, resize=0.08, sweep=0.02),
    order=Contracts(quantiles=((0, 1), (0.25, 20), (0.5, 80), (0.99, 1500), (1, 5000)), fractional=0.1),
    sweep=Contracts(quantiles=((0, 1), (0.5, 15), (0.9, 120), (0.99, 600), (1, 2000)), fractional=0.3),
    depth_cents=((0, 0), (0.3, 0), (0.31, 0.01), (0.5, 1), (0.8, 5), (0.95, 12), (1, 40)),
    move_ticks=((0, 1), (0.6, 1), (0.61, 2), (1, 6)),
    best_most=500.0,
    filled=0.5,
    levels=20,
    orders_per_level=1.5,
    touch_contracts=100.0,
    level_contracts=150.0,
    margin_cents=3.9,
    margin_sigma=0.5,
    pull=0.6,
    follow=0.3,
    desert=0.2,
    news_cents=0.3,
    life_s=43_200.0,
    alarm_cents=4.0,
    beyond_cents=2.0,
    beyond_sigma=0.5,
)
PRESETS: Final[Mapping[str, Preset]] = {
    "busy": Preset(
        habits=_BUSY,
        structures=("tapered_deci_cent", "linear_cent", "deci_cent", "center_deci_edge_centi_cent"),
        series="KXBTC15M",
        category="Crypto",
    ),
    "quiet": Preset(
        habits=_QUIET,
        structures=("linear_cent", "tapered_deci_cent"),
        series="KXINX",
        category="Financials",
    ),
    "weather": Preset(
        habits=_WEATHER,
        structures=("linear_cent",),
        series="KXHIGHNY",
        category="Climate and Weather",
    ),
}
