"""What an observer of made-up markets notes down, and statistics of it: `realism.py` lays them beside measured ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kflow.exchange.crowd import Crowd
from kflow.exchange.crowd_market import CrowdMarket
from kflow.exchange.listing import Listing
from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Execution
from kflow.exchange.presets import PRESETS, Preset
from kflow.market.events import Side
from kflow.units import DOLLAR

Array = NDArray[np.float64]
SEGMENT_S = 300.0  # what recordings were cut into: dispersion and autocorrelation are means over such pieces
WALKS = (10, 50, 250, 1000)


@dataclass
class Seen:
    """One market's feed."""

    market: CrowdMarket
    life_s: float
    groups: list[tuple[float, int]] = field(default_factory=list)  # when, how many deltas
    kinds: Counter[str] = field(default_factory=Counter)
    adds: list[float] = field(default_factory=list)
    cancels: list[float] = field(default_factory=list)
    legs: list[float] = field(default_factory=list)
    sweeps: list[tuple[float, float, int]] = field(default_factory=list)  # when, contracts, makers
    depths: list[int] = field(default_factory=list)  # of deltas behind their side's best price, in Price units
    removals: list[tuple[bool, float]] = field(default_factory=list)  # at the touch: whether a trade, contracts
    lifetimes: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)  # moments at which a best price changed
    spreads: Counter[int] = field(default_factory=Counter)  # µs at each, bid between 10 and 90 cents
    one_sided_s: float = 0.0
    # Every second.
    mids: list[float] = field(default_factory=list)
    levels: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    touches: list[float] = field(default_factory=list)
    walks: list[list[float]] = field(default_factory=list)
    # As of the last group.
    best: tuple[int, int] = (0, 0)
    born: list[float] = field(default_factory=lambda: [math.nan, math.nan])
    last_s: float = 0.0

    def group(self, done: Execution, now_s: float) -> None:
        self._stood_until(now_s)
        self.groups.append((now_s, len(done.changes)))
        self.kinds[kind_of(done)] += 1
        if done.matches:
            self.sweeps.append((now_s, done.matched / 100, len(done.matches)))
        sizes = self.legs if done.matches else None
        for side, price, change, _ in done.changes:
            size, behind = abs(change) / 100, self.best[side] - price
            (sizes if sizes is not None else self.adds if change > 0 else self.cancels).append(size)
            self.depths.append(behind)
            if change < 0 and behind == 0:
                self.removals.append((bool(done.matches), size))

    def settle_down(self, now_s: float) -> None:
        """The groups of an event are through."""
        book = self.market.book
        best = (book.best(Side.YES) or 0, book.best(Side.NO) or 0)
        for side in (0, 1):
            if best[side] != self.best[side]:
                if not math.isnan(self.born[side]):
                    self.lifetimes.append(now_s - self.born[side])
                    self.changed.append(now_s)
                self.born[side] = now_s
        self.best = best

    def second(self) -> None:
        book = self.market.book
        for side in Side:
            self.levels[side].append(len(book.prices(side)))
            best = book.best(side)
            if best is not None:
                self.touches.append(book.size_at(side, best) / 100)
        bid, other = self.best
        self.mids.append((bid + DOLLAR - other) / 200 if bid and other else math.nan)
        if 1000 <= bid <= 9000 and other:
            self.walks.append([walk(book, contracts) for contracts in WALKS])

    def _stood_until(self, now_s: float) -> None:
        bid, other = self.best
        if not (bid and other):
            self.one_sided_s += now_s - self.last_s
        elif 1000 <= bid <= 9000:
            self.spreads[DOLLAR - other - bid] += round(1e6 * (now_s - self.last_s))
        self.last_s = now_s


def kind_of(done: Execution) -> str:
    """What a group is, to those who see its deltas."""
    if done.matches:
        return "trade"
    changes = done.changes
    if len(changes) == 1:
        return "add" if changes[0][2] > 0 else "cancel"
    (side, price, change, _), (side2, price2, change2, _) = changes[:2]
    if len(changes) == 2 and side == side2 and change < 0 < change2:
        if price == price2:
            return "resize"
        if change == -change2:
            return "amend"
    return "other"


def walk(book: OrderBook, contracts: int) -> float:
    """Cents beyond the touch that buying so many contracts costs on average; nan where there are not as many."""
    left, cost = contracts * 100, 0
    levels = book.levels(Side.NO)
    for price, size in reversed(levels):
        taken = min(left, size)
        cost += taken * (levels[-1][0] - price)
        left -= taken
        if not left:
            return cost / (contracts * 100) / 100
    return math.nan


def watch(preset: Preset | str, life_s: float, starts: Sequence[float], seed: int) -> list[Seen]:
    """Let markets, one per starting probability, live at the same time until they close."""
    preset = PRESETS[preset] if isinstance(preset, str) else preset
    crowd = Crowd(preset, np.random.default_rng(seed))
    seen = []
    for number, probability in enumerate(starts):
        listing = market(number, preset.structures[0])
        seen.append(Seen(crowd.add(listing, probability, OrderBook(listing.grid), seconds_left=life_s), life_s))
        seen[-1].settle_down(0.0)
    for second in range(int(life_s)):
        for event in crowd.plan(1.0):
            one, now_s = seen[event.market], second + event.at
            for done in crowd.act(event):
                one.group(done, now_s)
            one.settle_down(now_s)
        for one in seen:
            one.second()
    return seen


def market(number: int, structure: str = "linear_cent") -> Listing:
    return Listing(ticker=str(number), event="", series="", title="", open_us=0, close_us=1, structure=structure)


# Statistics.


def joined(seen: Sequence[Seen], name: str) -> list[Any]:
    return [value for one in seen for value in getattr(one, name)]


def quantiles(values: Sequence[float] | Array, *percents: float) -> list[float]:
    """At these percents, of the values that are numbers."""
    kept = np.asarray(values, dtype=float)
    kept = kept[~np.isnan(kept)]
    return [float(q) for q in np.percentile(kept, percents)] if len(kept) else [math.nan] * len(percents)


def percent(flags: Any) -> float:
    return float(100 * np.mean(flags))


def counts(seen: Sequence[Seen], width_s: float, segment_s: float = SEGMENT_S) -> Array:
    """Deltas per bin: one row for every segment of every market."""
    rows = []
    for one in seen:
        pieces = max(1, int(one.life_s / segment_s))
        bins = round(one.life_s / pieces / width_s)
        times, sizes = np.array(one.groups).T
        places = np.minimum((times / width_s).astype(int), pieces * bins - 1)
        rows.append(np.bincount(places, weights=sizes, minlength=pieces * bins).reshape(pieces, bins))
    return np.concatenate(rows)


def dispersion(table: Array) -> float:
    """Variance/mean within segments."""
    kept = table[table.sum(axis=1) > 50]
    return float(np.mean(kept.var(axis=1) / kept.mean(axis=1)))


def autocorrelation(table: Array, lag: int) -> float:
    table = table[table.var(axis=1) > 0]
    apart = table - table.mean(axis=1, keepdims=True)
    return float(np.mean((apart[:, lag:] * apart[:, :-lag]).mean(axis=1) / table.var(axis=1)))


def gaps(moments: Sequence[Sequence[float]]) -> Array:
    """Between moments of the same market."""
    return np.concatenate([np.diff(np.array(times)) for times in moments if len(times) > 1])


def moves(seen: Sequence[Seen], lag_s: int) -> Array:
    """Absolute moves of the mid, in cents."""
    every = np.concatenate([np.abs(np.array(one.mids)[lag_s:] - np.array(one.mids)[:-lag_s]) for one in seen])
    return every[~np.isnan(every)]


def spreads(seen: Sequence[Seen]) -> tuple[Counter[int], float, float]:
    """Time at each spread in Price units, its mean and median in cents."""
    held: Counter[int] = sum([one.spreads for one in seen], Counter())
    total, passed, median = held.total(), 0, 0
    for median in sorted(held):
        passed += held[median]
        if 2 * passed >= total:
            break
    return held, sum([wide * us for wide, us in held.items()]) / 100 / max(1, total), median / 100
