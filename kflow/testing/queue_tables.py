"""What the plays of `queues` must come to: the published tables, and exact solutions of the same models.

Cont, Stoikov, Talreja: A stochastic model for order book dynamics, Operations Research 58(3), 2010, with the rates of
Sky Perfect Communications at a spread of one tick. Cont, de Larrard: Price dynamics in a Markovian limit order market,
arXiv 1104.4596. A table is indexed [bids - 1][asks - 1].
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.testing.queues import Play, Rates, bid_fills, mid_rises, spread_made

Table = NDArray[np.floating[Any]]

# Their rates at one tick from the opposite best, in orders of mean size.
CONT_STOIKOV_TALREJA: Final = Rates(arrival=1.85, trade=0.94, cancel=0.71)
# As many leave as come; how the leaving are divided does not matter.
CONT_DE_LARRARD: Final = Rates(arrival=1.0, trade=0.5, cancel=0.5, whole=True)

_SIZE: Final = 5
# The queues that each cell of a table starts with, bids first.
STARTS: Final = [(bids, asks) for bids in range(1, _SIZE + 1) for asks in range(1, _SIZE + 1)]
# What a sum of squares over a table's 25 cells exceeds once in a thousand.
CHI_SQUARE: Final = 52.6
# Longer queues than these have a probability below 1e-7 under the rates of Cont, Stoikov and Talreja.
_LONGEST: Final = 30
_BEHIND: Final = 15


def _table(text: str) -> Table:
    return np.array([[float(word) for word in row.split()] for row in text.split("|")])


PUBLISHED: Final[dict[Play, Table]] = {
    # Table 3.
    mid_rises: _table(
        ".500 .336 .259 .216 .188 | .664 .500 .407 .348 .307 | .741 .593 .500 .437 .391 |"
        ".784 .652 .563 .500 .452 | .812 .693 .609 .548 .500"
    ),
    # Table 4 by the paper's Proposition 5. As printed it is 1 - the transpose of this, and could not be: its last
    # entry would be less than that of Table 5, which asks for more.
    bid_fills: _table(
        ".5025 .6980 .7939 .8483 .8824 | .3589 .5508 .6643 .7372 .7869 | .2915 .4654 .5784 .6564 .7128 |"
        ".2514 .4093 .5174 .5956 .6543 | .2243 .3691 .4716 .5480 .6071"
    ),
    # Table 5.
    spread_made: _table(
        ".266 .308 .309 .300 .288 | .308 .386 .406 .406 .400 | .309 .406 .441 .452 .452 |"
        ".300 .406 .452 .471 .479 | .288 .400 .452 .479 .491"
    ),
}

# Cont and de Larrard with balanced rates, to four decimals.
BALANCED: Final = _table(
    ".5000 .3023 .2094 .1585 .1271 | .6977 .5000 .3767 .2975 .2440 | .7906 .6233 .5000 .4107 .3452 |"
    ".8415 .7025 .5893 .5000 .4301 | .8729 .7560 .6548 .5699 .5000"
)


def balanced() -> Table:
    """P(mid rises) for balanced rates: their closed form, with n bids and p asks

        1/π ∫₀^π (2 - cos t - √((2 - cos t)² - 1))^p · sin(n t) · cos(t/2) / sin(t/2) dt

    by the midpoint rule, which never meets t = 0.
    """
    points = 20_000
    t = (np.arange(points) + 0.5) * np.pi / points
    root = 2 - np.cos(t) - np.sqrt((2 - np.cos(t)) ** 2 - 1)
    table = np.empty((_SIZE, _SIZE))
    for n in range(1, _SIZE + 1):
        for p in range(1, _SIZE + 1):
            table[n - 1, p - 1] = np.mean(root**p * np.sin(n * t) / np.tan(t / 2))
    return table


@cache
def solved(play: Play, rates: Rates) -> Table:
    """The exact table of a play, from the linear equations of its Markov chain. For rates of each order only."""
    if play is mid_rises:
        return _mid_rises(rates)
    return _bid_fills(rates)[:, :_SIZE] if play is bid_fills else _spread_made(rates)


def _chain(come: Table, leave: Table) -> Table:
    """Generator of a birth and death chain by its rates in each state; what is lost in a row is the chain's end."""
    generator: Table = np.diag(-leave - come) + np.diag(come[:-1], 1) + np.diag(leave[1:], -1)
    return generator


def _queue(rates: Rates) -> Table:
    """A queue without own orders, of 1 to `_LONGEST`."""
    lengths = np.arange(1, _LONGEST + 1)
    return _chain(np.where(lengths < _LONGEST, rates.arrival, 0.0), rates.trade + lengths * rates.cancel)


def _own_queue(rates: Rates) -> Table:
    """The place of an own order: 1 (next to trade) to `_SIZE`; nobody joins ahead of it."""
    return _chain(np.zeros(_SIZE), rates.trade + np.arange(_SIZE) * rates.cancel)


def _race(first: Table, second: Table) -> Table:
    """P(first ends before second) for two independent chains, from each pair of states."""
    joint = np.kron(first, np.eye(len(second))) + np.kron(np.eye(len(first)), second)
    wins = np.repeat(-first.sum(axis=1), len(second))
    return np.linalg.solve(joint, -wins).reshape(len(first), len(second))


def _mid_rises(rates: Rates) -> Table:
    queue = _queue(rates)
    return _race(queue, queue).T[:_SIZE, :_SIZE]


def _bid_fills(rates: Rates) -> Table:
    return _race(_own_queue(rates), _queue(rates))


def _spread_made(rates: Rates) -> Table:
    """Places i and k of the own orders only fall; for each pair the numbers behind them solve one linear system.

    When one own order is filled, its queue goes on with those that were behind it: the other must be filled before
    they are gone, and at once it is lost where there are none.
    """
    after = np.hstack([np.zeros((_SIZE, 1)), _bid_fills(rates)[:, :_BEHIND]])  # [place of the other - 1][left behind]
    behind = np.arange(_BEHIND + 1)
    chain = _chain(np.where(behind < _BEHIND, rates.arrival, 0.0), behind * rates.cancel)
    both = np.kron(chain, np.eye(len(chain))) + np.kron(np.eye(len(chain)), chain)
    made: dict[tuple[int, int], Table] = {}
    for place in range(1, _SIZE + 1):
        made[0, place] = np.repeat(after[place - 1], len(behind))
        made[place, 0] = np.tile(after[place - 1], len(behind))
    pace = rates.trade + np.arange(_SIZE) * rates.cancel
    for i in range(1, _SIZE + 1):
        for k in range(1, _SIZE + 1):
            flow = pace[i - 1] * made[i - 1, k] + pace[k - 1] * made[i, k - 1]
            made[i, k] = np.linalg.solve((pace[i - 1] + pace[k - 1]) * np.eye(len(both)) - both, flow)
    return np.array([[made[i, k][0] for k in range(1, _SIZE + 1)] for i in range(1, _SIZE + 1)])
