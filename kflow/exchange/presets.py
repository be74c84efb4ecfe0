"""Parameters of synthetic flow, measured on recordings of real markets (docs: market facts, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


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
)
PRESETS: Final[Mapping[str, Preset]] = {"busy": BUSY, "quiet": QUIET, "weather": WEATHER}
