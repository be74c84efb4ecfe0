"""Made-up markets whose truth is known: a fair one, where nobody can win, and three with an edge that can be learnt.

To see whether training learns, and whether it can be fooled. Each is a `Tape` as a recorded market is, made from a
seed, with its result among its facts. `World.solve` tells what the best policy earns, and gives it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Final, Protocol

import numpy as np

from kflow.errors import UsageError
from kflow.rl import oracles
from kflow.rl.oracles import Solution, Terms, nothing
from kflow.rl.quotes import CENT, F64, I64, START_US, Quotes, Sets, Shape, make_tape
from kflow.sim.tape import Tape
from kflow.units import CONTRACT, Money, Size

_SECOND: Final = 1_000_000


class Make(Protocol):
    """Makes a market. The same seed and parameters make the same bytes."""

    def __call__(self, seed: int, *, seconds: int = 900) -> Tape: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A kind of made-up market."""

    name: str
    about: str
    make: Make
    solve: Callable[[Terms], Solution]

    def optimum(self, terms: Terms) -> Money:
        """Expected profit of the best policy in one episode, 1e-6 dollar. What is assumed: see `solve`'s function."""
        return self.solve(terms).optimum


def make_tapes(name: str, count: int, *, seed: int, seconds: int = 900) -> list[Tape]:
    """Markets of a world, each from a seed of its own; the first ones are the same for any count.

    Raises UsageError for a world that there is not.
    """
    world = world_named(name)
    return [world.make(seed * 1_000_000 + number, seconds=seconds) for number in range(count)]


def world_named(name: str) -> World:
    """Raises UsageError for one that there is not."""
    if name not in WORLDS:
        raise UsageError(f"there is no world {name}", hint=f"choose one of {', '.join(WORLDS)}")
    return WORLDS[name]


def _begin(name: str, seed: int, seconds: int) -> tuple[str, np.random.Generator]:
    if seconds < 1 or seed < 0:
        raise UsageError("a made-up market lasts a second at least, and its seed is not negative")
    return f"{name.upper()}-{seed}", np.random.default_rng([zlib.crc32(name.encode()), seed])


# Fair: nobody wins.

_FAIR: Final = Shape(churn=8.0)
_NULL: Final = Shape(churn=8.0, takers=0.5)
_LEAST_DEPTH: Final = 4  # that takers can take in parts
# Moves lie at least this far apart, and all that belongs to one is over by then.
_APART_US: Final = 500_000
_BEFORE_US, _AFTER_US = 200_000, 100_000


def fair(
    seed: int,
    *,
    seconds: int = 900,
    half_spread: int = 1,
    moves: float = 0.5,
    fee_multiplier: int = 1,
    gone: float = 0.0,
    depth: tuple[int, int] = (100, 1_000),
    pays_value: bool = False,
) -> Tape:
    """A value that is a martingale, and quotes `half_spread` cents around it. It settles YES with that chance.

    The value moves up or down by the half-spread with equal chances, `moves` times a second, to 0 or 1 at most, and
    only so is there trade: takers buy the best ask in one to three parts, and from the first on the value is that
    price; with the last the whole level is gone, and what the taker still wants (100 contracts or more) rests there as
    a bid for some ms. Down likewise. So at every moment no bid lies above the value and no ask below it, whoever takes
    pays the spread, and an order of up to 100 contracts that rests a half-spread from the value or farther is filled
    exactly when the value is its price: its profit is 0 in the mean, exactly, and its queue decides when in the move.
    Orders inside the spread (who joins the taker's rest is inside, too), larger ones, and those that the value's steps
    pass by are filled at the value or at a loss. Adds and withdrawals tell nothing. No policy gains, before fees or
    after.

    `half_spread` 0: bid and ask are both the value (a locked book, which the venue does not know), and takers come at
    random; at 0 and 1 nobody quotes. With `fee_multiplier` 0 that is an exact null: every fill of what up to 100
    contracts in one level ask for is at the value.

    `gone`: how often a second, on either side, nobody quotes for some seconds, whatever the value is. `depth`: least
    and most contracts of a level. `pays_value`: settled at its last value, not drawn by it: the same in the mean, and
    profits are far less spread.
    """
    if half_spread < 0 or not 0 < moves <= 1e6 / _APART_US:
        raise UsageError("a fair market has a half-spread of 0 cents or more, and up to 2 moves a second")
    if not 0 <= gone <= 1 or not _LEAST_DEPTH <= depth[0] <= depth[1]:
        raise UsageError("sides are gone once a second at most, and a level holds 4 contracts at least")
    name, rng = _begin("fair" if half_spread else "null", seed, seconds)
    value, us = _martingale(rng, max(half_spread, 1), moves, seconds)
    before, after = value[:-1], value[1:]
    apart = np.minimum(half_spread, np.minimum(value, 100 - value))
    if not half_spread:
        # Who knows that it is worth nothing, or a dollar, has nobody to deal with at that price.
        ask = np.where((value > 0) & (value < 100), value, 200)
        quotes, trades = Quotes.plain(np.concatenate([[START_US], us]), np.where(ask < 200, value, 0), ask), None
    else:
        quotes, trades = _fair_quotes(rng, us, value, apart), _fair_trades(rng, us, before, after, depth[0])
    if gone:
        quotes = quotes.with_gaps(rng, gone, seconds)
    tape = make_tape(
        name,
        rng,
        quotes,
        replace(_FAIR if half_spread else _NULL, depth=depth),
        seconds=seconds,
        worth=value[-1] / 100,
        fee_multiplier=fee_multiplier,
        trades=quotes.quoted(trades) if trades else None,
    )
    if not pays_value:
        return tape
    return replace(tape, facts={**tape.facts, "result": "scalar", "settlement_value_e4": int(value[-1]) * CENT})


def _martingale(rng: np.random.Generator, step: int, moves: float, seconds: int) -> tuple[I64, I64]:
    """Values in cents, [1 + n], and when each but the first begins; none after 0 or 100 is reached."""
    most = seconds * _SECOND // _APART_US + 1
    us = START_US + np.cumsum(_APART_US + rng.exponential(1e6 / moves - _APART_US, most).astype(np.int64))
    us = us[us < START_US + seconds * _SECOND - _AFTER_US]
    ups = rng.random(len(us)) < 0.5
    value = [int(rng.integers(30, 71))]
    for up in ups.tolist():
        here = value[-1]
        if here in (0, 100):
            break
        far = min(step, here, 100 - here)
        value.append(here + (far if up else -far))
    return np.array(value), us[: len(value) - 1]


def _fair_quotes(rng: np.random.Generator, us: I64, value: I64, apart: I64) -> Quotes:
    """Of each move two moments: the level is taken and the taker's rest stands there; the quotes have followed."""
    before, after = value[:-1], value[1:]
    up = after > before
    settled = us + rng.integers(1_000, _AFTER_US, len(us))
    n = len(us)

    def moments(first: int, taken: I64, followed: I64) -> I64:
        return np.concatenate([[first], np.stack([taken, followed], axis=1).reshape(-1)])

    none = np.zeros(n, np.int64)
    bid, ask = value - apart, value + apart
    return Quotes(
        us=moments(START_US, us, settled),
        bid=moments(bid[0], np.where(up, bid[:-1], after - 1), bid[1:]),
        ask=moments(ask[0], np.where(up, after + 1, ask[:-1]), ask[1:]),
        lone_bid=moments(0, np.where(up, after, 0), none),
        lone_ask=moments(0, np.where(up, 0, after), none),
        taken=moments(0, none + 1, none).astype(np.bool_),
    )


def _fair_trades(rng: np.random.Generator, us: I64, before: I64, after: I64, least: int) -> Sets:
    """Parts of the touch that are taken before the rest of it is: none, one or two, each leaving less."""
    side = (after > before).astype(np.int64)
    parts = rng.random(len(us))
    early, late = parts < 0.6, parts < 0.3
    half = _BEFORE_US // 2
    when = np.concatenate([us - rng.integers(half, _BEFORE_US, len(us)), us - rng.integers(1, half, len(us))])
    left = np.concatenate([rng.integers(least // 2, least, len(us)), rng.integers(1, least // 2, len(us))])
    cents = np.tile(after, 2)
    some = np.concatenate([early, late]) & (cents >= 1) & (cents <= 99)
    return Sets(when[some], np.tile(side, 2)[some], cents[some], left[some], np.ones(some.sum(), np.bool_))


def _none(_: Terms) -> Solution:
    return Solution(Money(0), nothing)


# A free dollar.

_PRICE, _WORTH, _OFFERED, _WINDOW_US, _EVERY_US = 40, 50, 300, 3_000_000, 10_000_000


def dollar(seed: int, *, seconds: int = 900) -> Tape:
    """Once in each ten seconds, for three of them, YES and NO are both offered at 40 cents, 300 contracts of each.

    Both together pay a dollar, at once. In between the book is 49 to 51 cents, and the value is 50.
    """
    name, rng = _begin("dollar", seed, seconds)
    windows = seconds * _SECOND // _EVERY_US
    opens = START_US + np.arange(windows) * _EVERY_US + rng.integers(1, _EVERY_US - _WINDOW_US, windows)
    us = np.concatenate([[START_US], np.stack([opens, opens + _WINDOW_US], axis=1).reshape(-1)])
    open_ = np.concatenate([[False], np.tile([True, False], windows)])
    quotes = Quotes(
        us=us,
        bid=np.full(len(us), _WORTH - 1),
        ask=np.full(len(us), _WORTH + 1),
        lone_bid=np.where(open_, 100 - _PRICE, 0),
        lone_ask=np.where(open_, _PRICE, 0),
        taken=np.zeros(len(us), np.bool_),
    )
    shape = Shape(lone=(_OFFERED, _OFFERED), takers=0.2)
    return make_tape(name, rng, quotes, shape, seconds=seconds, worth=_WORTH / 100)


def _solve_dollar(terms: Terms) -> Solution:
    windows = terms.seconds * _SECOND // _EVERY_US
    return oracles.pairs((_WORTH - _PRICE) * CENT, _PRICE * CENT, _OFFERED, _WINDOW_US, windows, terms)


# A middle that swings.

_BIDS: Final = np.arange(30, 70)
_PULL, _NOISE, _SWINGS_PER_S = 0.8, 6.0, 1.0
_SWINGING: Final = Shape(levels=5, depth=(200, 2_000), takers=0.5)


@lru_cache(maxsize=1)
def _chain() -> tuple[F64, F64]:
    """Transitions of the best bid at a move, and how often it is where."""
    away = _BIDS - 49.5
    chances = np.exp(-((away[None, :] - _PULL * away[:, None]) ** 2) / (2 * _NOISE**2))
    chances /= chances.sum(axis=1, keepdims=True)
    return chances, np.linalg.matrix_power(chances, 1_000)[0]


def reverting(seed: int, *, seconds: int = 900) -> Tape:
    """The best bid is a Markov chain on 30 to 69 cents that is pulled to the middle, the best ask a cent above it.

    It moves once a second in the mean: what it is away from the middle becomes four fifths, give or take 6 cents. It
    stands 10 cents from the middle in the mean square; a round trip costs a taker 4.5. Flow tells nothing.
    """
    name, rng = _begin("reverting", seed, seconds)
    chances, often = _chain()
    moves = int(rng.poisson(_SWINGS_PER_S * seconds))
    us = np.concatenate([[START_US], START_US + np.sort(rng.integers(1, seconds * _SECOND, moves))])
    rows, draws = np.cumsum(chances, axis=1), rng.random(moves + 1)
    at = [int(np.searchsorted(np.cumsum(often), draws[0]))]
    for draw in draws[1:]:
        at.append(min(int(rows[at[-1]].searchsorted(draw)), len(_BIDS) - 1))
    bid = _BIDS[at]
    quotes = Quotes.plain(us, bid, bid + 1)
    return make_tape(name, rng, quotes, _SWINGING, seconds=seconds, worth=(bid[-1] + 0.5) / 100)


def _solve_reverting(terms: Terms) -> Solution:
    # What a level of the least size gives twice over, so that the best is never short of it.
    terms.within(Size(_SWINGING.depth[0] * CONTRACT // 2), "reverting")
    return oracles.swing(_BIDS * CENT, *_chain(), _SWINGS_PER_S, terms)


# An edge for makers.

_APART, _FLOW_PER_S = 3, 0.25
# So much stands at the touch that who joins it waits for minutes; a taker takes 200 contracts or more.
_WALL: Final = Shape(depth=(20_000, 20_200), takers=_FLOW_PER_S, leaves=(0.985, 0.99))


def maker(seed: int, *, seconds: int = 900) -> Tape:
    """A value of 40 to 60 cents that does not move, and quotes 3 cents from it on both sides, 20,000 contracts deep.

    Takers of 200 to 500 contracts come on either side once in four seconds, whatever the value is. A tick ahead of
    the queue, each fill earns 2 cents a contract; takers lose 3 and a fee.
    """
    name, rng = _begin("maker", seed, seconds)
    value = rng.integers(40, 61, 1)
    quotes = Quotes.plain(np.array([START_US]), value - _APART, value + _APART)
    return make_tape(name, rng, quotes, _WALL, seconds=seconds, worth=value[0] / 100)


def _solve_maker(terms: Terms) -> Solution:
    # A taker fills all that may rest on a side.
    terms.within(Size(100 * CONTRACT), "maker")
    return oracles.improve((_APART - 1) * CENT, _FLOW_PER_S, terms)


WORLDS: Final[Mapping[str, World]] = {
    world.name: world
    for world in (
        World(
            name="fair",
            about="a fair coin with a spread of two cents and fees: no policy wins",
            make=fair,
            solve=_none,
        ),
        World(
            name="null",
            about="fair without spread or fees: every policy makes exactly nothing in the mean",
            make=partial(fair, half_spread=0, fee_multiplier=0),
            solve=_none,
        ),
        World(
            name="dollar",
            about="now and then YES and NO together are sold for 80 cents",
            make=dollar,
            solve=_solve_dollar,
        ),
        World(
            name="reverting",
            about="the price swings around 50 cents: buy low, sell high",
            make=reverting,
            solve=_solve_reverting,
        ),
        World(
            name="maker",
            about="a wide spread, and takers who know nothing: quote inside it",
            make=maker,
            solve=_solve_maker,
        ),
    )
}
