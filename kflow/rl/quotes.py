"""From a path of best prices to a tape: levels behind them, adds and withdrawals, takers, and a result.

Whole cents only. Everything that happens to a level sets it to a size that is drawn without a look at what it held;
the change is then the difference to the size before. So all of a market is made at once, and nothing but the path
tells of the future.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.market.grid import Grid
from kflow.replay.stretches import CHANNEL, CLOSED
from kflow.sim.tape import Stretch, Tape, compile_tape
from kflow.units import CONTRACT, DOLLAR, Price, Size

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

START_US: Final = 1_767_225_600_000_000  # 2026-01-01 00:00 UTC: every made-up market opens then
CENT: Final = 100
_CENTS: Final = np.arange(1, 100)
_GAP_S: Final = 5.0  # for which a side stays away
_GRID: Final = Grid.named("linear_cent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotes:
    """Best prices, from each moment to the next. Cents of the YES axis; one that lies outside of 1 to 99 is nobody's.

    `lone_bid`, `lone_ask`: a level far ahead of its side's other ones; 0 is none. `taken`: what the moment removes was
    bought by takers, not withdrawn.
    """

    us: I64  # [n] ascending; the first is START_US
    bid: I64  # [n]
    ask: I64
    lone_bid: I64
    lone_ask: I64
    taken: NDArray[np.bool_]

    @classmethod
    def plain(cls, us: I64, bid: I64, ask: I64) -> Quotes:
        """Without lone levels; what goes is withdrawn."""
        none = np.zeros(len(us), np.int64)
        return cls(us=us, bid=bid, ask=ask, lone_bid=none, lone_ask=none, taken=none.astype(np.bool_))

    def with_gaps(self, rng: np.random.Generator, rate: float, seconds: int) -> Quotes:
        """The same, but `rate` times a second all of a side is withdrawn and stays away for five seconds in the mean.

        Only levels that stand alone come meanwhile.
        """
        gaps = [_gaps(rng, rate, seconds) for _ in range(2)]
        us = np.unique(np.concatenate([self.us, *(edges.reshape(-1) for edges in gaps)]))
        us = us[us < START_US + seconds * 1_000_000]
        before = np.searchsorted(self.us, us, side="right") - 1
        nobody = [(np.searchsorted(edges[:, 0], us, side="right") > np.searchsorted(edges[:, 1], us, side="right"))
                  for edges in gaps]  # fmt: skip
        return Quotes(
            us=us,
            bid=np.where(nobody[0], 0, self.bid[before]),
            ask=np.where(nobody[1], 200, self.ask[before]),
            lone_bid=self.lone_bid[before],
            lone_ask=self.lone_ask[before],
            taken=self.taken[before] & (self.us[before] == us),
        )

    def quoted(self, sets: Sets) -> Sets:
        """Those of the sets that are of the best price of their side at their moment."""
        at = np.searchsorted(self.us, sets.us, side="right") - 1
        same = np.where(sets.side == 0, self.bid[at], self.ask[at]) == sets.cents
        return Sets(*(column[same] for column in sets))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What stands and happens around the best prices. Sizes are contracts."""

    levels: int = 8  # of each side
    depth: tuple[int, int] = (100, 1_000)  # least and most of a level
    lone: tuple[int, int] = (100, 1_000)
    churn: float = 8.0  # adds and withdrawals a second, mostly near the touch
    takers: float = 0.0  # a second and side, at the best price, whose level is filled up again at once
    leaves: tuple[float, float] = (0.3, 0.8)  # of the least depth, what a taker leaves


class Sets(NamedTuple):
    """Levels that get a size at a moment: contracts. `taken`: if it is smaller, the rest was traded."""

    us: I64
    side: I64
    cents: I64  # of the YES axis
    size: I64
    taken: NDArray[np.bool_]


def make_tape(
    name: str,
    rng: np.random.Generator,
    quotes: Quotes,
    shape: Shape,
    *,
    seconds: int,
    worth: float,
    fee_multiplier: int = 1,
    trades: Sets | None = None,
) -> Tape:
    """A market of `seconds` that then settles YES with the chance `worth`. Its first event is at START_US, its last at
    the close; neither changes anything. `trades` come on top of what `shape` says.
    """
    standing = _standing(quotes, shape.levels)
    start = np.where(standing[:, 0], _draw(rng, shape.depth, standing[:, 0].shape), 0)
    parts = [_moves(rng, quotes, shape, standing), *([trades] if trades else [])]
    parts.append(_churn(rng, quotes, shape, standing, seconds))
    parts.append(_takers(rng, quotes, shape, seconds))
    stretch = _stretch(_in_time(parts), start, START_US + seconds * 1_000_000)
    yes = bool(rng.random() < worth)
    facts = {
        "source": f"world {name.split('-')[0].lower()}",
        "trades": CHANNEL,
        "trades_printed": 0,
        "trades_intervals": 0,
        "fee_type": "quadratic",
        "fee_multiplier": str(fee_multiplier),
        "close_us": START_US + seconds * 1_000_000,
        "result": "yes" if yes else "no",
        "settlement_value_e4": int(DOLLAR) if yes else 0,
    }
    return compile_tape(name, [stretch], _GRID, facts)


def _in_time(parts: Sequence[Sets]) -> Sets:
    """All of them; of one moment those of earlier parts first."""
    order = np.argsort(np.concatenate([part.us for part in parts]), kind="stable")
    columns: Any = (np.concatenate(column)[order] for column in zip(*parts, strict=True))
    return Sets(*columns)


def _draw(rng: np.random.Generator, between: tuple[int, int], shape: int | tuple[int, ...]) -> I64:
    """Whole contracts, small ones more often."""
    exact: F64 = np.exp(rng.uniform(np.log(between[0]), np.log(between[1] + 1), shape))
    return np.clip(exact.astype(np.int64), *between)


def _standing(quotes: Quotes, levels: int) -> NDArray[np.bool_]:
    """[2, n, 99]: which levels hold something, from each moment of the quotes on."""
    bid, ask = quotes.bid[:, None], quotes.ask[:, None]
    bids = (bid - levels < _CENTS) & (bid >= _CENTS) | (quotes.lone_bid[:, None] == _CENTS)
    asks = (ask + levels > _CENTS) & (ask <= _CENTS) | (quotes.lone_ask[:, None] == _CENTS)
    return np.stack([bids, asks])


def _moves(rng: np.random.Generator, quotes: Quotes, shape: Shape, standing: NDArray[np.bool_]) -> Sets:
    """Levels that come and go with the quotes."""
    changed = np.diff(standing.astype(np.int8), axis=1)
    moment, side, column = np.nonzero(changed.transpose(1, 0, 2))
    moment, cents = moment + 1, column + 1
    lone = np.where(side == 0, quotes.lone_bid[moment], quotes.lone_ask[moment]) == cents
    size = np.where(lone, _draw(rng, shape.lone, len(moment)), _draw(rng, shape.depth, len(moment)))
    comes = changed[side, moment - 1, column] > 0
    return Sets(quotes.us[moment], side, cents, np.where(comes, size, 0), quotes.taken[moment] & ~comes)


def _at_random(rng: np.random.Generator, rate: float, seconds: int) -> I64:
    """Moments of a Poisson process, ascending."""
    count = int(rng.poisson(rate * seconds))
    return START_US + np.sort(rng.integers(1, seconds * 1_000_000, count))


def _gaps(rng: np.random.Generator, rate: float, seconds: int) -> I64:
    """[g, 2] when each begins and ends; they may lie over each other. Some are not over at the end."""
    begins = _at_random(rng, rate, seconds)
    ends = np.sort(begins + 1 + (rng.exponential(_GAP_S, len(begins)) * 1e6).astype(np.int64))
    return np.stack([begins, ends], axis=1)


def _churn(rng: np.random.Generator, quotes: Quotes, shape: Shape, standing: NDArray[np.bool_], seconds: int) -> Sets:
    us = _at_random(rng, shape.churn, seconds)
    side = rng.integers(0, 2, len(us))
    away = np.minimum(rng.geometric(0.35, len(us)) - 1, shape.levels - 1)
    moment = np.searchsorted(quotes.us, us, side="right") - 1
    cents = np.where(side == 0, quotes.bid[moment] - away, quotes.ask[moment] + away)
    there = (cents >= 1) & (cents <= 99)
    there &= standing[side, moment, np.clip(cents, 1, 99) - 1]
    size = _draw(rng, shape.depth, len(us))
    return Sets(us[there], side[there], cents[there], size[there], np.zeros(there.sum(), np.bool_))


def _takers(rng: np.random.Generator, quotes: Quotes, shape: Shape, seconds: int) -> Sets:
    """Takers of either side; none while a level stands alone."""
    us = _at_random(rng, 2 * shape.takers, seconds)
    side = rng.integers(0, 2, len(us))
    moment = np.searchsorted(quotes.us, us, side="right") - 1
    cents = np.where(side == 0, quotes.bid[moment], quotes.ask[moment])
    there = (cents >= 1) & (cents <= 99) & (quotes.lone_bid[moment] == 0) & (quotes.lone_ask[moment] == 0)
    us, side, cents = us[there], side[there], cents[there]
    left = (rng.uniform(*shape.leaves, len(us)) * shape.depth[0]).astype(np.int64)
    size = np.stack([left, _draw(rng, shape.depth, len(us))], axis=1).reshape(-1)
    return Sets(us.repeat(2), side.repeat(2), cents.repeat(2), size, np.tile([True, False], len(us)))


def _stretch(sets: Sets, start: I64, close_us: int) -> Stretch:
    """What the sets change, one after the other; `start` [2, 99] is the book before them."""
    level = sets.side * 100 + sets.cents
    order = np.argsort(level, kind="stable")
    size, level = sets.size[order], level[order]
    before = np.roll(size, 1)
    first = np.flatnonzero(np.diff(level, prepend=-1))
    before[first] = start[sets.side[order][first], sets.cents[order][first] - 1]
    change = np.empty_like(size)
    change[order] = (size - before) * int(CONTRACT)
    some = np.flatnonzero(change)
    price = np.where(sets.side == 0, sets.cents, 100 - sets.cents) * CENT

    def framed(column: NDArray[Any], first: int, last: int, kind: Any) -> NDArray[Any]:
        return np.concatenate([[first], column[some], [last]]).astype(kind)

    middle = int(DOLLAR) // 2
    books = [
        [(Price(int(cents if side == 0 else 100 - cents) * CENT), Size(int(held * CONTRACT)))
         for cents, held in zip(_CENTS, start[side], strict=True) if held]
        for side in (0, 1)
    ]  # fmt: skip
    return Stretch(
        start=(books[0], books[1]),
        us=framed(sets.us, START_US, close_us, np.int64),
        side=framed(sets.side, 0, 0, np.int8),
        price=framed(price, middle, middle, np.int32),
        change=framed(change, 0, 0, np.int64),
        traded=framed(np.where(sets.taken, np.maximum(-change, 0), 0), 0, 0, np.int64),
        prints=np.zeros((0, 5), np.int64),
        ends=CLOSED,
    )
