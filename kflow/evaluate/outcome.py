"""What playing policies on held-out episodes leaves behind, as columns: episodes, orders, fills, equity over time.

Money 1e-6 dollar, prices 1e-4 dollar, sizes 1e-2 contract, times µs of the venue. Side 0 buys YES, 1 buys NO; a price
is of the side that is bought. What is not known is NaN in columns of floats and -1 in those of integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Booleans = NDArray[np.bool_]

# Of an episode, how it ended: the market's result was paid; cash ran out; or the recording did, and what was held
# counts what it could be sold for.
SETTLED, RUINED, CUT = 1, 2, 3
# When the price is looked at again after a fill, s.
MARKOUTS: Final = (1, 10, 60)
# The heat map of actions: columns are the YES mid in steps of $0.05, and last what has no mid.
MID_BINS: Final = 20


@dataclass(frozen=True, slots=True)
class Market:
    """A market that was played on. value: what a YES contract was paid, 1e-4 dollar; -1: no result is recorded."""

    market: str
    event: str  # what is decided together, and so counts once
    source: str
    session: int | None
    digest: str
    value: int


class Episodes(NamedTuple):
    """A row each, [E]."""

    market: I64  # row of the markets
    start_us: I64
    end_us: I64
    ending: I64  # SETTLED, RUINED, CUT
    steps: I64
    cash: I64  # at the start
    equity: I64  # at the end
    fees: I64
    volume: I64  # contracts bought and sold
    position: I64  # at the end, YES positive
    sent: I64
    denied: I64
    fall: I64  # largest loss from a peak within it, of all its decisions


class Orders(NamedTuple):
    """Orders that were sent, a row each, [O]."""

    episode: I64  # row of Episodes
    sent_us: I64
    side: I64
    size: I64
    price: I64  # limit
    near: I64  # best bid of its own side when it was sent
    far: I64  # what it would have had to pay at once then
    mid: F64  # own side's then
    ahead: I64  # contracts before it when it came to rest; -1: it did not rest
    filled: I64
    cost: I64  # of what was filled, without fees
    fees: I64
    first_us: I64  # when it was filled first; -1: never
    ended_us: I64  # when it was over: filled, cancelled, expired, refused
    ended_mid: F64  # own side's then
    reason: I64  # why: as of `kernel.FILLED` and so on

    @property
    def rested(self) -> Booleans:
        """Which came to rest in the book."""
        return self.ahead >= 0


class Fills(NamedTuple):
    """A row each, [F]."""

    order: I64  # row of Orders
    episode: I64
    us: I64
    side: I64
    price: I64
    size: I64
    fee: I64
    maker: Booleans
    mid: F64  # own side's
    markout: F64  # [F, len(MARKOUTS)] cents a contract from the price to the own side's mid so much later
    settled: F64  # cents a contract from the price to what the side was paid; NaN without a recorded result


class Curve(NamedTuple):
    """What was held, every `every_us` from an episode's start on; behind its end what it ended with. [E, P]."""

    every_us: int
    equity: I64
    position: I64


class Played(NamedTuple):
    """One policy, fill model, seed and scale over all episodes."""

    contestant: str
    fill_model: str  # queue-pessimistic, queue, queue-optimistic
    seed: int
    scale: int  # by which sizes, cash and limits were multiplied; 1 but for the capacity curve
    episodes: Episodes
    orders: Orders
    fills: Fills
    curve: Curve
    actions: I64  # [A, MID_BINS + 1] how often each action was taken, by the YES mid
