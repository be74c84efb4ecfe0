"""Parameters of synthetic flow, measured on recordings of real markets (docs: market facts, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kflow.exchange.hawkes import Clustering


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How often each event happens; together 1."""

    add_or_cancel: float = 0.504
    amend: float = 0.339  # an order moves: two deltas of one µs
    resize: float = 0.094  # an order changes its size: two deltas of one price and µs
    trade: float = 0.063


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Lognormal sizes in contracts: median, sigma of the logarithm, share that is fractional."""

    median: float
    sigma: float
    fractional: float


Quantiles = tuple[tuple[float, float], ...]  # ascending (share of draws at or below, value), from 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Contracts:
    """Sizes of orders, in contracts."""

    quantiles: Quantiles
    fractional: float  # share that is not whole
    rounded: float = 0.0  # share that goes to the nearest favourite
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
    order: Contracts
    sweep: Contracts
    # Where orders lie: cents behind the best price, and ticks by which an amended order moves.
    depth_cents: Quantiles
    move_ticks: Quantiles
    # Starting book: share of the prices behind the touch that hold orders, and how many at most.
    filled: float
    levels: int
    orders_per_level: float
    # A best price of so many contracts, and another level, sees as many cancellations as additions; a larger one more.
    touch_contracts: float
    level_contracts: float
    # Quotes keep this far from what the market is worth, in cents (lognormal), and give way at a share of it.
    margin_cents: float
    margin_sigma: float
    # Chances that an event goes to a quote that is too close, and to one that lags behind.
    pull: float
    follow: float
    # Chance that the last order at a best price leaves it for no reason.
    desert: float = 0.2
    # What one event tells, in cents, at 50 % and `span_s` or more from the close.
    news_cents: float
    span_s: float = 450.0
    # What an alarm tells, in cents (lognormal), and the share of passed quotes that move instead of going.
    alarm_cents: float = 3.0
    alarm_sigma: float = 0.6
    retreat: float = 0.5
    # How far past his price a taker who knows carries what the market is worth, in spreads (lognormal).
    beyond: float = 0.5
    beyond_sigma: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One kind of market."""

    # Changes of one market, per second, and how they cluster: sigma of the log-intensity's fast and slow parts,
    # shape of the gamma noise of each 100 ms (smaller: burstier).
    deltas_per_s: float
    fast_sigma: float
    slow_sigma: float
    burst_shape: float
    levels: int  # per side
    spread_ticks: int  # what quotes return to
    # Probability that an add narrows a spread that is wider than that.
    eagerness: float
    order: Sizes
    sweep: Sizes
    leg: Sizes
    mix: Mix
    # Share of the cancellations at the touch that take all of it: makers pull their quotes, and the price moves.
    pull: float = 0.1
    # A level is held down to about this many contracts: above it more is cancelled than added.
    level_contracts: int = 1000
    # Cents behind the best price: cumulative probability of (0, 1, up to 5); the rest lies up to `depth_cents`.
    near: tuple[float, float, float] = (0.25, 0.50, 0.79)
    depth_cents: int = 40
    structures: tuple[str, ...] = ("linear_cent",)
    series: str = "KXBTC15M"
    category: str = "Crypto"
    habits: Habits


BUSY: Final = Preset(
    deltas_per_s=88.0,
    fast_sigma=0.5,
    slow_sigma=0.4,
    burst_shape=1.2,
    levels=100,
    spread_ticks=1,
    eagerness=0.8,
    pull=0.4,
    level_contracts=400,
    order=Sizes(median=75, sigma=1.9, fractional=0.11),
    sweep=Sizes(median=21, sigma=1.85, fractional=0.5),
    leg=Sizes(median=16, sigma=1.75, fractional=0.5),
    mix=Mix(),
    structures=("tapered_deci_cent", "linear_cent", "deci_cent", "center_deci_edge_centi_cent"),
    habits=Habits(
        events_per_s=61.0,
        clustering=Clustering(
            branching=0.753,
            scales=((0.30, 0.0033), (0.335, 0.022), (0.365, 0.58)),
            swell_sigma=0.31,
            swell_s=20.0,
            alarm_share=0.0008,
            alarm_children=55.0,
            alarm_delay_s=0.048,
        ),
        by_minute=(0.09, 0.24, 0.49, 0.81, 0.98, 0.98, 0.98, 0.98, 0.98, 1.06, 1.13, 1.21, 1.24, 1.28),
        mix=Mix(),
        order=Contracts(
            quantiles=(
                (0.0, 0.5),
                (0.05, 2),
                (0.25, 18),
                (0.5, 105),
                (0.75, 430),
                (0.9, 1100),
                (0.99, 7000),
                (1.0, 60_000),
            ),
            fractional=0.11,
            rounded=0.4,
        ),
        sweep=Contracts(
            quantiles=(
                (0.0, 0.5),
                (0.05, 1),
                (0.25, 8),
                (0.5, 30),
                (0.75, 130),
                (0.9, 420),
                (0.95, 900),
                (0.99, 3500),
                (1.0, 9000),
            ),
            fractional=0.5,
        ),
        depth_cents=((0.0, 0.0), (0.24, 0.0), (0.25, 0.01), (0.49, 1.0), (0.79, 5.0), (0.95, 25.0), (1.0, 60.0)),
        move_ticks=((0.0, 1.0), (0.67, 1.0), (0.68, 2.0), (0.965, 10.0), (1.0, 30.0)),
        filled=0.85,
        levels=110,
        orders_per_level=3.0,
        touch_contracts=900.0,
        level_contracts=500.0,
        margin_cents=0.11,
        margin_sigma=0.5,
        pull=0.02,
        follow=0.5,
        news_cents=0.01,
        desert=0.1,
        alarm_cents=2.2,
        alarm_sigma=0.7,
        beyond=1.5,
        beyond_sigma=0.6,
    ),
)
QUIET: Final = Preset(
    deltas_per_s=1.05,
    fast_sigma=0.8,
    slow_sigma=0.6,
    burst_shape=0.5,
    levels=14,
    spread_ticks=3,
    eagerness=0.3,
    order=Sizes(median=300, sigma=0.9, fractional=0.05),
    sweep=Sizes(median=20, sigma=1.6, fractional=0.2),
    leg=Sizes(median=10, sigma=1.7, fractional=0.2),
    mix=Mix(add_or_cancel=0.70, amend=0.20, resize=0.09, trade=0.01),
    structures=("linear_cent", "tapered_deci_cent"),
    series="KXINX",
    category="Financials",
    habits=Habits(
        events_per_s=0.75,
        clustering=Clustering(branching=0.6, scales=((0.5, 0.05), (0.5, 2.0)), swell_sigma=0.6, swell_s=60.0),
        mix=Mix(add_or_cancel=0.70, amend=0.20, resize=0.08, trade=0.02),
        order=Contracts(quantiles=((0.0, 1), (0.25, 120), (0.5, 320), (0.99, 1450), (1.0, 5000)), fractional=0.05),
        sweep=Contracts(quantiles=((0.0, 1), (0.5, 10), (0.9, 160), (0.99, 600), (1.0, 2000)), fractional=0.2),
        depth_cents=((0.0, 0.0), (0.3, 0.0), (0.31, 0.01), (0.5, 1.0), (0.8, 5.0), (1.0, 14.0)),
        move_ticks=((0.0, 1.0), (0.6, 1.0), (0.61, 2.0), (1.0, 6.0)),
        filled=0.9,
        levels=14,
        orders_per_level=1.5,
        touch_contracts=250.0,
        level_contracts=250.0,
        margin_cents=1.0,
        margin_sigma=0.5,
        pull=0.6,
        follow=0.3,
        news_cents=0.25,
        span_s=3600.0,
    ),
)
WEATHER: Final = Preset(
    deltas_per_s=0.35,
    fast_sigma=0.8,
    slow_sigma=0.8,
    burst_shape=0.3,
    levels=12,
    spread_ticks=5,
    eagerness=0.2,
    order=Sizes(median=60, sigma=1.3, fractional=0.1),
    sweep=Sizes(median=15, sigma=1.5, fractional=0.3),
    leg=Sizes(median=10, sigma=1.5, fractional=0.3),
    mix=Mix(add_or_cancel=0.72, amend=0.18, resize=0.08, trade=0.02),
    series="KXHIGHNY",
    category="Climate and Weather",
    habits=Habits(
        events_per_s=0.25,
        clustering=Clustering(branching=0.6, scales=((0.5, 0.05), (0.5, 2.0)), swell_sigma=0.6, swell_s=60.0),
        mix=Mix(add_or_cancel=0.70, amend=0.20, resize=0.08, trade=0.02),
        order=Contracts(quantiles=((0.0, 1), (0.25, 120), (0.5, 320), (0.99, 1450), (1.0, 5000)), fractional=0.05),
        sweep=Contracts(quantiles=((0.0, 1), (0.5, 10), (0.9, 160), (0.99, 600), (1.0, 2000)), fractional=0.2),
        depth_cents=((0.0, 0.0), (0.3, 0.0), (0.31, 0.01), (0.5, 1.0), (0.8, 5.0), (1.0, 14.0)),
        move_ticks=((0.0, 1.0), (0.6, 1.0), (0.61, 2.0), (1.0, 6.0)),
        filled=0.9,
        levels=12,
        orders_per_level=1.5,
        touch_contracts=250.0,
        level_contracts=250.0,
        margin_cents=2.0,
        margin_sigma=0.5,
        pull=0.6,
        follow=0.3,
        news_cents=0.25,
        span_s=3600.0,
    ),
)
PRESETS: Final[Mapping[str, Preset]] = {"busy": BUSY, "quiet": QUIET, "weather": WEATHER}
