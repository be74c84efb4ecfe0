"""How real made-up markets look: each statistic that was measured on recordings beside the crowd's own.

    python bench/realism.py [--quick] [--preset busy|quiet|weather] [--seed 1]

Markets live on a virtual clock, at full speed. The distance of a row is the mean |ln(ours/measured)| over its numbers;
in rows of percentages the mean absolute difference in points. Last comes the speed: events of 20 busy markets carried
out per second in one process, as a ratio to the 60,000 that were asked for.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from measure import alternate, arguments, repeats, report
from observer import (
    WALKS,
    Seen,
    autocorrelation,
    counts,
    dispersion,
    gaps,
    joined,
    market,
    moves,
    percent,
    quantiles,
    spreads,
    watch,
)

from kflow.exchange.crowd import Crowd
from kflow.exchange.matching import OrderBook
from kflow.exchange.presets import PRESETS

_TARGET_PER_S = 60_000


@dataclass(frozen=True)
class Row:
    """One statistic: numbers that belong together."""

    name: str  # ends in "%" where the numbers are percentages
    measured: Sequence[float]
    ours: Sequence[float]

    @property
    def in_points(self) -> bool:
        return self.name.endswith("%")

    @property
    def distance(self) -> float:
        pairs = list(zip(self.ours, self.measured, strict=True))
        if self.in_points:
            return sum([abs(ours - measured) for ours, measured in pairs]) / len(pairs)
        return sum([abs(math.log(max(ours, 1e-3) / measured)) for ours, measured in pairs]) / len(pairs)

    def text(self) -> str:
        left, right = (" ".join(map(short, values)) for values in (self.measured, self.ours))
        return f"| {self.name} | {left} | {right} | {self.distance:.2f}{' pp' if self.in_points else ''} |"


def short(value: float) -> str:
    """Three digits, and no exponents."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


# Market facts 4.1: KXBTC15M, 9.83 hours of May 2026.


def busy_times(seen: list[Seen]) -> list[Row]:
    second, tenth, tens, hundredth = (counts(seen, width) for width in (1.0, 0.1, 10.0, 0.01))
    groups = [one.groups for one in seen]
    apart = 1e3 * gaps([[at for at, _ in every] for every in groups])
    sweeps = gaps([[at for at, _, _ in one.sweeps] for one in seen])
    left = (13, 8, 6, 4, 3, 2, 1, 0)
    minutes = [
        sum([n for one in seen for at, n in one.groups if minute <= (one.life_s - at) / 60 < minute + 1]) / len(seen)
        for minute in left
    ]
    sizes = Counter([count for every in groups for _, count in every])
    total, deltas = sizes.total(), sum([size * times for size, times in sizes.items()])
    wide = (5, 25, 50, 75, 95, 99)
    in_second = quantiles(second.ravel(), 25, 50, 75, 90, 95, 99, 99.9)
    return [
        Row("deltas/s: mean", (88,), [second.mean()]),
        Row("deltas/s: p25 50 75 90 95 99 99.9", (33, 68, 121, 193, 244, 359, 514), in_second),
        Row("deltas/s: max", (853,), [second.max()]),
        Row("deltas in 100 ms: p50 95 99 99.9", (5, 30, 57, 98), quantiles(tenth.ravel(), 50, 95, 99, 99.9)),
        Row("deltas in 100 ms: max", (785,), [tenth.max()]),
        Row("deltas in 10 ms: p99 99.9", (8, 16), quantiles(hundredth.ravel(), 99, 99.9)),
        Row("variance/mean of counts in 0.1, 1, 10 s", (14, 58, 207), [dispersion(t) for t in (tenth, second, tens)]),
        Row(
            "autocorrelation of counts in 1 s at 1, 5, 10, 30 s %",
            (41, 20, 16, 9),
            [100 * autocorrelation(second, lag) for lag in (1, 5, 10, 30)],
        ),
        Row("deltas at the µs of the one before %", (33,), [100 * (1 - total / deltas)]),
        Row("else ms apart: p5 25 50 75 95 99", (0.21, 1.4, 5.7, 16.7, 62, 168), quantiles(apart, *wide)),
        Row("ms apart: mean, cv", (16.9, 2.8), [apart.mean(), apart.std() / apart.mean()]),
        Row("groups of 1, 2, 3, 4 deltas %", (54.9, 43.7, 0.7, 0.4), [100 * sizes[k] / total for k in (1, 2, 3, 4)]),
        Row("sweeps ms apart: p5 25 50 75 95 99", (6, 48, 135, 309, 850, 1900), quantiles(1e3 * sweeps, *wide)),
        Row("sweeps s apart: mean, cv", (0.265, 2.4), [sweeps.mean(), sweeps.std() / sweeps.mean()]),
        Row("deltas/min, minutes left: 13 8 6 4 3 2 1 0", (6800, 5200, 5200, 5200, 4300, 2600, 1270, 490), minutes),
    ]  # fmt: skip


def busy_events(seen: list[Seen]) -> list[Row]:
    kinds: Counter[str] = sum([one.kinds for one in seen], Counter())
    mix = [100 * kinds[name] / kinds.total() for name in ("add", "cancel", "amend", "resize", "trade", "other")]
    adds, cancels, legs, depths = (np.array(joined(seen, name)) for name in ("adds", "cancels", "legs", "depths"))
    _, swept, makers = np.array(joined(seen, "sweeps")).T
    trades, removed = np.array(joined(seen, "removals")).T
    wide = (5, 25, 50, 75, 95, 99)
    parts = [100 * len(part) / len(depths) for part in (adds, cancels, legs)]
    fractional = [percent(np.concatenate([adds, cancels]) % 1 != 0), percent(legs % 1 != 0)]
    near = [percent(depths < 0), percent(depths == 0), percent(depths <= 100), percent(depths <= 500)]
    by_trades = [percent(trades), 100 * removed[trades > 0].sum() / removed.sum()]
    return [
        Row("groups: add, cancel, amend, resize, trade, other %", (28.6, 21.8, 33.9, 8.8, 6.3, 0.6), mix),
        Row("deltas: add, cancel, trade %", (47.6, 45.4, 7.0), parts),
        Row("add, contracts: p5 25 50 75 90 99", (2, 13, 75, 400, 1000, 6249), quantiles(adds, 5, 25, 50, 75, 90, 99)),
        Row("cancel, contracts: p25 50 75 99", (14, 75, 400, 6249), quantiles(cancels, 25, 50, 75, 99)),
        Row("trade leg, contracts: p5 25 50 75 95 99", (1, 5, 16, 57, 251, 833), quantiles(legs, *wide)),
        Row("sweep, contracts: p5 25 50 75 95 99", (1, 6, 21, 78, 469, 1343), quantiles(swept, *wide)),
        Row("makers per sweep: mean, p99", (1.66, 9), [makers.mean(), *quantiles(makers, 99)]),
        Row("sweeps of one maker %", (72.6,), [percent(makers == 1)]),
        Row("fractional: adds and cancels, trade legs %", (11, 50), fractional),
        Row("of what leaves the touch trades: deltas, contracts %", (47, 22.5), by_trades),
        Row("deltas that improve, are at best, within 1 c, 5 c %", (2.6, 23, 48, 79), near),
    ]  # fmt: skip


def busy_books(seen: list[Seen]) -> list[Row]:
    held, mean, _ = spreads(seen)
    wide = [100 * held[price] / held.total() for price in (100, 200, 300)]
    levels = [count for one in seen for side in one.levels for count in side]
    lifetimes = 1e3 * np.array(joined(seen, "lifetimes"))
    walks = np.array(joined(seen, "walks"))
    one_sided = 100 * sum([one.one_sided_s for one in seen]) / sum([one.life_s for one in seen])
    touches = quantiles(joined(seen, "touches"), 5, 25, 50, 75, 90, 99)
    names = ", ".join(map(str, WALKS))
    return [
        Row("levels of a side: p5 50 95, max", (10, 100, 191, 239), [*quantiles(levels, 5, 50, 95), max(levels)]),
        Row("touch, contracts: p5 25 50 75 90 99", (10, 86, 379, 1108, 2221, 6000), touches),
        Row("spread of 1, 2, 3 c %", (81.5, 16.0, 1.9), wide),
        Row("spread, c: mean", (1.22,), [mean]),
        Row("one-sided %", (3.4,), [one_sided]),
        Row("best price, ms: p25 50 75 90", (18, 52, 344, 1300), quantiles(lifetimes, 25, 50, 75, 90)),
        Row("best price, ms: mean", (490,), [lifetimes.mean()]),
        Row(f"walk of {names} beyond the touch, c: mean", (0.03, 0.08, 0.29, 0.68), list(np.nanmean(walks, axis=0))),
        Row(f"one level suffices for {names} %", (96.5, 89, 62, 34), [percent(column == 0) for column in walks.T]),
    ]


def busy_prices(seen: list[Seen]) -> list[Row]:
    after = {lag: moves(seen, lag) for lag in (1, 10, 60)}
    measured = {1: (0.53, 1.5, 6), 10: (2.7, 7, 18.5), 60: (8.0, 19.5, 48)}
    rows = [
        Row(f"mid moves in {lag} s, c: mean, p90 99", measured[lag], [found.mean(), *quantiles(found, 90, 99)])
        for lag, found in after.items()
    ]
    return [Row("mid as it was 1 s before %", (49,), [percent(after[1] < 1e-9)]), *rows]


def busy_rows(seen: list[Seen]) -> list[Row]:
    return [*busy_times(seen), *busy_events(seen), *busy_books(seen), *busy_prices(seen)]


# Market facts 4.2: INX, three days of 2023. Where the days differ, the middle of their range.


def quiet_rows(seen: list[Seen]) -> list[Row]:
    second, tenth = (counts(seen, width, 3600.0) for width in (1.0, 0.1))
    legs = np.array(joined(seen, "legs"))
    days = sum([one.life_s for one in seen]) / 3600 / 6.5
    apart = gaps([[at for at, _, makers in one.sweeps for _ in range(makers)] for one in seen])
    minute = moves(seen, 60)
    levels = [quantiles([count for one in seen for count in one.levels[side]], 50)[0] for side in (0, 1)]
    return [
        Row("deltas/s: mean", (1.05,), [second.mean()]),
        Row("deltas/s: p90 99", (4.5, 11), quantiles(second.ravel(), 90, 99)),
        Row("deltas in 1 s, in 100 ms: max", (32, 23), [second.max(), tenth.max()]),
        Row("spread, c: mean", (3.0,), [spreads(seen)[1]]),
        Row("levels of the larger, the smaller side: p50", (14.5, 12.5), sorted(levels, reverse=True)),
        Row("touch, contracts: p50", (257,), quantiles(joined(seen, "touches"), 50)),
        Row("add, contracts: p25 50 99", (122, 325, 1448), quantiles(joined(seen, "adds"), 25, 50, 99)),
        Row("trade legs in a day", (650,), [len(legs) / days]),
        Row("contracts in a day", (31_500,), [legs.sum() / days]),
        Row("trade leg, contracts: p50 90 99", (10, 160, 595), quantiles(legs, 50, 90, 99)),
        Row("trade legs s apart: p50 95", (3.75, 166), quantiles(apart, 50, 95)),
        Row("mid moves in 60 s, c: mean, p99", (1.25, 8), [minute.mean(), *quantiles(minute, 99)]),
    ]


# Market facts 4.3: KXHIGHNY, 23 days, 6 markets together; the middle of each range.


def weather_rows(seen: list[Seen]) -> list[Row]:
    together = np.bincount(np.array(joined(seen, "changed")).astype(int), minlength=int(seen[0].life_s))
    every = [spreads([one]) for one in seen if one.spreads]
    spread = [np.mean([median for _, _, median in every]), np.mean([mean for _, mean, _ in every])]
    return [
        Row("best-price changes/s of 6 markets: mean", (0.355,), [together.mean()]),
        Row("best-price changes in 1 s: max", (61,), [together.max()]),
        Row("spread, c: median, mean", (5.0, 6.3), spread),
    ]


Case = tuple[Callable[[list[Seen]], list[Row]], float, tuple[float, ...]]
CASES: dict[str, Case] = {  # rows, seconds from opening to close, starting probabilities
    "busy": (busy_rows, 900.0, (0.5,) * 32),
    "quiet": (quiet_rows, 6.5 * 3600, (0.35, 0.5, 0.65, 0.8)),
    "weather": (weather_rows, 12 * 3600.0, (0.3, 0.5, 0.25, 0.4, 0.6, 0.2)),
}


def table(preset: str, *, quick: bool, seed: int) -> list[Row]:
    rows_of, life_s, starts = CASES[preset]
    if quick and preset == "busy":
        starts = starts[:4]
    elif quick:
        life_s /= 4
    rows = rows_of(watch(preset, life_s, starts, seed))
    print(f"\n{preset}: {len(starts)} markets, {life_s / 3600:.3g} h each")
    print("| | measured | ours | distance |\n|---|---|---|---|")
    for row in rows:
        print(row.text())
    for unit, in_points in (("logarithm", False), ("points", True)):
        apart = [row.distance for row in rows if row.in_points == in_points]
        if apart:
            print(f"mean distance, {unit}: {sum(apart) / len(apart):.3f} over {len(apart)} rows")
    return rows


def speed(seconds: float) -> int:
    """Events of 20 busy markets, planned and carried out."""
    crowd = Crowd(PRESETS["busy"], np.random.default_rng(1))
    for number in range(20):
        listing = market(number)
        crowd.add(listing, 0.2 + 0.03 * number, OrderBook(listing.grid))
    done = 0
    for _ in range(round(10 * seconds)):
        events = crowd.plan(0.1)
        for event in events:
            crowd.act(event)
        done += len(events)
    return done


def main() -> None:
    parser = arguments((__doc__ or "").splitlines()[0], full=7, quick=3)
    parser.add_argument("--preset", choices=sorted(CASES), action="append")
    parser.add_argument("--seed", type=int, default=1)
    options: argparse.Namespace = parser.parse_args()
    distances = {
        preset: {row.name: round(row.distance, 3) for row in table(preset, quick=options.quick, seed=options.seed)}
        for preset in options.preset or CASES
    }
    print()
    medians = alternate({"busy": lambda: speed(5 if options.quick else 20)}, repeats(options))
    ratio = medians["busy"].per_cpu_s / _TARGET_PER_S
    report("realism", medians, ratio, packages=["numpy"], distances=distances)


if __name__ == "__main__":
    main()
