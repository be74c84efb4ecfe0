"""Synthetic order flow: pure, deterministic, and cheap. Books in, groups of changes out; no wire, no wall clock.

Each market is a set of price levels on its grid. One event is a group: an add or a cancellation, an amend (two deltas
of one µs), a resize (likewise), or a sweep (one delta and one trade per maker). Events come as a doubly stochastic
process, clustered as real ones are. At a group's end no book is crossed or locked, and no size is ever negative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from kflow.exchange.listing import Listing
from kflow.exchange.presets import Preset, Sizes
from kflow.market.events import Level, Side
from kflow.units import CONTRACT, DOLLAR, Price, Size

Change = tuple[int, int, int]  # side, price, signed change
Fill = tuple[int, int, int]  # YES price, size, the taker's side

_BLOCK: Final = 65_536  # random numbers drawn at once
_MAX_LEGS: Final = 12
# Sweeps that meet one maker; others meet two, and each time one more with this probability: 1.66 on average.
_SINGLE_MAKER: Final = 0.726
_ANOTHER_MAKER: Final = 0.6
_MAX_CONTRACTS: Final = 400_000  # the largest order seen in the recordings
# A level scan never walks further than this many prices.
_SCAN: Final = 400


class Group(NamedTuple):
    """Changes of one market that share one exchange µs. `at`: where in its block, 0 to 1."""

    market: int
    at: float
    changes: list[Change]
    fills: list[Fill]


class Draws:
    """Random numbers in blocks: a Python iterator over them costs a tenth of a call to numpy."""

    def __init__(self, rng: np.random.Generator, preset: Preset) -> None:
        self._rng = rng
        self.uniform: Callable[[], float] = self._endless(lambda: rng.random(_BLOCK).tolist()).__next__
        self.order: Callable[[], int] = self._endless(lambda: self._sizes(preset.order, 0.5)).__next__
        self.sweep: Callable[[], int] = self._endless(lambda: self._sizes(preset.sweep, 0.0)).__next__
        self.leg: Callable[[], int] = self._endless(lambda: self._sizes(preset.leg, 0.0)).__next__

    @staticmethod
    def _endless(block: Callable[[], list[float]] | Callable[[], list[int]]) -> Iterator[int]:
        while True:
            yield from block()  # type: ignore[misc]

    def _sizes(self, sizes: Sizes, round_share: float) -> list[int]:
        """Sizes in 1e-2 contract: lognormal, some of them rounded to a favourite number, some fractional."""
        contracts = np.exp(self._rng.normal(np.log(sizes.median), sizes.sigma, _BLOCK)).clip(1, _MAX_CONTRACTS)
        favourites = np.array([1, 2, 10, 50, 100, 400, 1000])
        nearest = favourites[np.abs(np.log(contracts)[:, None] - np.log(favourites)[None, :]).argmin(axis=1)]
        whole = np.where(self._rng.random(_BLOCK) < round_share, nearest, np.round(contracts)).astype(np.int64)
        cents = self._rng.integers(1, CONTRACT, _BLOCK) * (self._rng.random(_BLOCK) < sizes.fractional)
        drawn: list[int] = (whole * CONTRACT + cents).tolist()
        return drawn


class FlowMarket:
    """One market's levels, by position on the grid of each side. Position 0 is that side's lowest price."""

    def __init__(self, listing: Listing, probability: float, preset: Preset, draws: Draws) -> None:
        yes = [int(price) for price in listing.grid.prices()]
        self.listing: Final = listing
        self.prices: Final = (yes, [DOLLAR - price for price in reversed(yes)])
        self.count: Final = len(yes)
        self.sizes: Final = ([0] * self.count, [0] * self.count)
        self.best = [0, 0]  # position of each side's best bid
        self.levels = [0, 0]
        self.weight = 1.0  # share of the flow
        self.drift = 0.0  # which way quotes lean, -1 to 1
        self.open = True
        middle = min(range(self.count), key=lambda i: abs(yes[i] - probability * DOLLAR))
        self.ticks_per_cent: Final = max(1, round(100 / max(1, yes[min(middle + 1, self.count - 1)] - yes[middle])))
        self._fill(middle, preset, draws)
        self.target: Final = (max(2, self.levels[0]), max(2, self.levels[1]))

    def _fill(self, middle: int, preset: Preset, draws: Draws) -> None:
        for side in (Side.YES, Side.NO):
            top = middle if side == Side.YES else self.count - 1 - middle - preset.spread_ticks
            top = max(0, min(top, self.count - 2))
            for place, position in enumerate(range(top, -1, -1)):
                if self.levels[side] >= preset.levels:
                    break
                if place == 0 or draws.uniform() < 0.9:
                    self.sizes[side][position] = draws.order() + draws.order() + draws.order()
                    self.levels[side] += 1
            self.best[side] = top
        # A penny bid of a size no sane cap would allow: real books hold such.
        if self.sizes[Side.YES][0] and self.levels[Side.YES] > 2:
            self.sizes[Side.YES][0] += 1_000_000 * CONTRACT

    def book(self) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """Levels of both sides, ascending by price."""
        yes, no = (
            tuple([(Price(p), Size(s)) for p, s in zip(self.prices[side], self.sizes[side], strict=True) if s])
            for side in (Side.YES, Side.NO)
        )
        return yes, no

    def gap(self) -> int:
        """Spread in ticks; 1 is the narrowest."""
        return self.count - 1 - self.best[0] - self.best[1]

    def change(self, side: int, position: int, size: int) -> Change:
        """Apply a change and return it. The caller never takes more than there is."""
        sizes = self.sizes[side]
        before = sizes[position]
        sizes[position] = after = before + size
        if before == 0:
            self.levels[side] += 1
            if position > self.best[side]:
                self.best[side] = position
        elif after == 0:
            self.levels[side] -= 1
            if position == self.best[side]:
                lower = position
                while lower > 0 and not sizes[lower]:
                    lower -= 1
                self.best[side] = lower
        return (side, self.prices[side][position], size)

    def held_near(self, side: int, position: int) -> int:
        """The nearest position at or below this one, else above it, that holds something."""
        sizes = self.sizes[side]
        floor = max(-1, position - _SCAN)
        for lower in range(min(position, self.best[side]), floor, -1):
            if sizes[lower]:
                return lower
        return self.best[side]


class Flow:
    """The flow of several markets."""

    def __init__(self, listings: Sequence[tuple[Listing, float]], preset: Preset, rng: np.random.Generator) -> None:
        """`listings` with the probability each starts at."""
        self._preset, self._rng = preset, rng
        self._heavy: Final = 4 * preset.level_contracts * CONTRACT
        self.draws: Final = Draws(rng, preset)
        self.markets: Final[list[FlowMarket]] = []
        self._fast = self._slow = np.zeros(0)
        # Deltas in a mean group: amends and resizes have two, sweeps 1.66 (market facts).
        mix = preset.mix
        per_group = mix.add_or_cancel + 2 * (mix.amend + mix.resize) + 1.66 * mix.trade
        self._groups_per_s = preset.deltas_per_s / per_group
        for listing, probability in listings:
            self.add(listing, probability)

    def add(self, listing: Listing, probability: float) -> FlowMarket:
        """One more market from now on."""
        market = FlowMarket(listing, probability, self._preset, self.draws)
        market.weight = float(np.exp(self._rng.normal(-0.18, 0.6)))
        self.markets.append(market)
        self._fast = np.append(self._fast, 0.0)
        self._slow = np.append(self._slow, 0.0)
        return market

    def groups_per_s(self) -> float:
        """Mean rate of all open markets together."""
        return self._groups_per_s * sum([market.weight for market in self.markets if market.open])

    def block(self, seconds: float) -> list[Group]:
        """The groups of the next `seconds`, in order of time."""
        preset, rng, count = self._preset, self._rng, len(self.markets)
        for level, sigma, tau in ((self._fast, preset.fast_sigma, 1.5), (self._slow, preset.slow_sigma, 20.0)):
            keep = float(np.exp(-seconds / tau))
            level *= keep
            level += rng.normal(0.0, sigma * np.sqrt(1 - keep**2), count)
        burst = rng.gamma(preset.burst_shape, 1 / preset.burst_shape, count)
        variance = preset.fast_sigma**2 + preset.slow_sigma**2
        weights = np.array([market.weight if market.open else 0.0 for market in self.markets])
        mean = weights * self._groups_per_s * seconds * burst * np.exp(self._fast + self._slow - variance / 2)
        markets = np.repeat(np.arange(count), rng.poisson(mean))
        times = rng.random(len(markets))
        order = np.argsort(times, kind="stable")
        return [self.group(index, at) for index, at in zip(markets[order].tolist(), times[order].tolist(), strict=True)]

    def group(self, index: int, at: float) -> Group:
        """One event of one market."""
        market, mix = self.markets[index], self._preset.mix
        uniform = self.draws.uniform
        kind = uniform()
        fills: list[Fill] = []
        if kind < mix.add_or_cancel:
            changes = self._add_or_cancel(market)
        elif kind < mix.add_or_cancel + mix.amend:
            changes = self._amend(market)
        elif kind < mix.add_or_cancel + mix.amend + mix.resize:
            changes = self._resize(market)
        else:
            changes, fills = self._sweep(market)
        if uniform() < 0.02:
            self._lean(market)
        return Group(index, at, changes, fills)

    def _lean(self, market: FlowMarket) -> None:
        """Let the drift wander, and pull it back where the price nears 0 or 1."""
        middle = market.best[0] / market.count
        pull = 3.0 * (0.5 - middle) if not 0.12 < middle < 0.88 else 0.0
        market.drift = max(-1.0, min(1.0, 0.85 * market.drift + 0.6 * (self.draws.uniform() - 0.5) + pull))

    def _side(self, market: FlowMarket, lean: float) -> int:
        """YES more often where the price is to fall by what happens to it (`lean` < 0: to rise)."""
        return Side.YES if self.draws.uniform() < 0.5 + lean * market.drift else Side.NO

    def _depth(self, market: FlowMarket, side: int) -> int:
        """A position some cents behind the best bid, distributed as measured."""
        uniform, near = self.draws.uniform, self._preset.near
        u = uniform()
        if u < near[0]:
            return market.best[side]
        if u < near[1]:
            cents = 1.0
        elif u < near[2]:
            cents = 2 + 4 * uniform()
        else:
            cents = 6 + (self._preset.depth_cents - 6) * uniform() ** 2
        ticks = max(1, int((cents - uniform()) * market.ticks_per_cent + 0.5))
        return max(0, market.best[side] - ticks)

    def _add_or_cancel(self, market: FlowMarket) -> list[Change]:
        """An add where levels are few, a cancellation where they are many: both about as often."""
        side = self._side(market, 0.1)
        fullness = market.levels[side] / market.target[side]
        add = market.levels[side] < 2 or self.draws.uniform() < 0.57 + 0.6 * (1 - fullness)
        if not add:
            return [self._take(market, side, market.held_near(side, self._depth(market, side)))]
        side = self._side(market, -0.1) if market.levels[1 - side] else side
        position = self._place(market, side)
        if market.sizes[side][position] > self._preset.level_contracts * CONTRACT and market.levels[side] > 2:
            return [self._take(market, side, position)]
        return [market.change(side, position, self.draws.order())]

    def _place(self, market: FlowMarket, side: int) -> int:
        """Where an add goes: inside a wide spread, or at some depth."""
        gap = market.gap()
        if gap > self._preset.spread_ticks and self.draws.uniform() < self._preset.eagerness:
            step = 1 + int(self.draws.uniform() ** 2 * (gap - self._preset.spread_ticks))
            return market.best[side] + min(step, gap - 1)
        if gap > 1 and self.draws.uniform() < 0.03:
            return market.best[side] + 1
        return self._depth(market, side)

    def _take(self, market: FlowMarket, side: int, position: int) -> Change:
        held = market.sizes[side][position]
        size = min(max(self.draws.order(), held - self._heavy), held)
        if position == market.best[side] and self.draws.uniform() < self._preset.pull:
            size = held
        if size == held and market.levels[side] < 2:
            size = (held + 1) // 2
            if size == held:  # a side keeps its last hundredth of a contract
                return market.change(side, position, self.draws.order())
        return market.change(side, position, -size)

    def _amend(self, market: FlowMarket) -> list[Change]:
        side = self._side(market, 0.0)
        origin = market.held_near(side, self._depth(market, side))
        if market.levels[side] < 3:
            return [market.change(side, self._place(market, side), self.draws.order())]
        size = min(self.draws.order(), market.sizes[side][origin])
        step = 1 if self.draws.uniform() < 0.67 else 2 + int(self.draws.uniform() * 10)
        up = self.draws.uniform() < 0.5
        taken = market.change(side, origin, -size)
        highest = market.count - 2 - market.best[1 - side]
        target = max(0, min(origin + step if up else origin - step, highest))
        if target == origin:
            target = origin - 1 if origin else origin + 1
        if target > highest:
            return [taken]
        return [taken, market.change(side, target, size)]

    def _resize(self, market: FlowMarket) -> list[Change]:
        side = self._side(market, 0.0)
        position = market.held_near(side, self._depth(market, side))
        size = min(self.draws.order(), market.sizes[side][position])
        return [market.change(side, position, -size), market.change(side, position, self.draws.order())]

    def _sweep(self, market: FlowMarket) -> tuple[list[Change], list[Fill]]:
        """A taker walks through one side, maker by maker."""
        side = self._side(market, 0.2)
        taker = Side.NO if side == Side.YES else Side.YES
        left = self.draws.sweep()
        changes: list[Change] = []
        fills: list[Fill] = []
        legs = 1
        if self.draws.uniform() > _SINGLE_MAKER:
            while legs < _MAX_LEGS and (legs < 2 or self.draws.uniform() < _ANOTHER_MAKER):
                legs += 1
        while left > 0 and len(fills) < legs and market.levels[side]:
            position = market.best[side]
            held = market.sizes[side][position]
            size = min(left, held, left if len(fills) + 1 == legs else self.draws.leg())
            if size == held and market.levels[side] < 2:
                break
            changes.append(market.change(side, position, -size))
            price = changes[-1][1]
            fills.append((price if side == Side.YES else DOLLAR - price, size, taker))
            left -= size
        return (changes, fills) if fills else (self._resize(market), fills)
