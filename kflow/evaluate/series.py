"""What was played, brought to the unit that counts: the settlement event.

Episodes of one event are added up, and seeds are averaged within it: they met the same market, and are no independent
settlements. Money of the columns is 1e-6 dollar; from here on it is dollars, sizes are contracts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kflow.errors import DataError
from kflow.evaluate.outcome import Episodes, Fills, Market, Orders, Played
from kflow.units import CONTRACT, DOLLAR

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Booleans = NDArray[np.bool_]

MONEY: Final = 1_000_000  # a dollar
# Variance of a price of 0.01 cents: what is bought for less is worth nothing.
_LEAST_CHANCE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Events:
    """A contestant's settlement events by when they began. [N], or [S, N] with a row for each seed."""

    contestant: str
    fill_model: str
    names: tuple[str, ...]
    of_market: I64  # [M] event of each market; -1: it was not played
    of_episode: I64  # [E]
    start_us: I64
    end_us: I64
    markets: I64
    episodes: I64
    settled: Booleans  # every market of it has a recorded result
    profits: F64  # [S, N] $
    fees: F64  # [S, N] $
    contracts: F64  # [S, N]
    stakes: F64  # [N] $ that could have been lost with what was held to the end; see `at_stake`
    prizes: F64  # [N] $ that could have been won with it

    @property
    def profit(self) -> F64:
        """[N] $, the mean over seeds: what all statistics rest on."""
        mean: F64 = self.profits.mean(axis=0)
        return mean

    def __len__(self) -> int:
        return len(self.names)


def events_of(played: Sequence[Played], markets: Sequence[Market]) -> Events:
    """Bring the seeds of one contestant under one fill model together.

    Raises DataError unless all seeds played the same episodes, one at least.
    """
    if not played or not len(played[0].episodes.market):
        raise DataError("no episode was played", hint="name markets that last longer, or shorter episodes")
    first = played[0].episodes
    for other in played[1:]:
        same = len(other.episodes.market) == len(first.market) and all(
            np.array_equal(getattr(other.episodes, name), getattr(first, name)) for name in ("market", "start_us")
        )
        if not same:
            raise DataError(f"{other.contestant}: seeds {played[0].seed} and {other.seed} played other episodes")
    names, of_market, of_episode = _ordered(first, markets)
    count = len(names)

    def summed(values: I64 | F64, unit: float) -> F64:
        return np.bincount(of_episode, values, count) / unit

    columns = [one.episodes for one in played]
    starts, ends = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    np.minimum.at(starts, of_episode, first.start_us)
    np.maximum.at(ends, of_episode, np.max([one.end_us for one in columns], axis=0))
    values = np.array([market.value for market in markets])
    staked = np.mean([_worst(one, of_market, count) for one in played], axis=0)
    played_markets = np.unique(first.market)
    return Events(
        contestant=played[0].contestant,
        fill_model=played[0].fill_model,
        names=names,
        of_market=of_market,
        of_episode=of_episode,
        start_us=starts,
        end_us=ends,
        markets=np.bincount(of_market[played_markets], minlength=count),
        episodes=np.bincount(of_episode, minlength=count),
        settled=np.bincount(of_episode, values[first.market] < 0, count) == 0,
        profits=np.array([summed(one.equity - one.cash, MONEY) for one in columns]),
        fees=np.array([summed(one.fees, MONEY) for one in columns]),
        contracts=np.array([summed(one.volume, CONTRACT) for one in columns]),
        stakes=staked[0],
        prizes=staked[1],
    )


def _worst(played: Played, of_market: I64, count: int) -> F64:
    """[2, N] $ at stake and to be won: a market's price jumps in one of its episodes, and at worst in all markets."""
    here = of_market >= 0
    found = []
    for each in at_stake(played):
        most = np.zeros(len(of_market))
        np.maximum.at(most, played.episodes.market, each)
        found.append(np.bincount(of_market[here], most[here], count))
    return np.array(found)


def _ordered(episodes: Episodes, markets: Sequence[Market]) -> tuple[tuple[str, ...], I64, I64]:
    """Names of the events played by when they began; event of each market and of each episode."""
    began: dict[str, int] = {}
    for market, start in zip(episodes.market.tolist(), episodes.start_us.tolist(), strict=True):
        event = markets[market].event
        began[event] = min(began.get(event, start), start)
    names = tuple(sorted(began, key=lambda event: (began[event], event)))
    place = {name: number for number, name in enumerate(names)}
    of_market = np.array([place.get(market.event, -1) for market in markets], np.int64)
    return names, of_market, of_market[episodes.market]


class Books:
    """Cash and contracts of episodes after their fills, as running sums. Pairs of YES and NO are a dollar at once."""

    def __init__(self, fills: Fills, episodes: Episodes) -> None:
        self._order = np.lexsort((fills.us, fills.episode))
        self._fills, self._episodes = fills, episodes
        size, yes = fills.size[self._order], fills.side[self._order] == 0
        paid = (fills.price * fills.size + fills.fee)[self._order]
        self._sums = [np.concatenate([[0], np.cumsum(part)]) for part in (size * yes, size * ~yes, paid)]
        episode = fills.episode[self._order]
        self._first = np.searchsorted(episode, np.arange(len(episodes.market)))
        # One axis for all episodes, so that one search finds a moment in any of them.
        self._origin = int(episodes.start_us.min()) if len(episodes.start_us) else 0
        self._width = int((episodes.end_us.max() if len(episodes.end_us) else 0) - self._origin) + 2
        self._keys = episode * self._width + np.clip(fills.us[self._order] - self._origin, 0, self._width - 1)

    def at(self, episode: I64, us: I64) -> tuple[I64, I64]:
        """Gain in cash since the start (1e-6 dollar) and YES contracts held (1e-2), fills of that moment included."""
        behind = np.searchsorted(self._keys, episode * self._width + (us - self._origin), side="right")
        yes, no, paid = (sums[behind] - sums[self._first[episode]] for sums in self._sums)
        return np.minimum(yes, no) * int(DOLLAR) - paid, yes - no

    def end(self) -> tuple[I64, I64]:
        """The same at the end of every episode."""
        count = len(self._episodes.market)
        return self.at(np.arange(count), np.full(count, self._origin + self._width - 1))


def at_stake(played: Played) -> F64:
    """[2, E] $ that an episode could have lost with what it held to the end, and won with it.

    What was paid for it, and what it would have paid beyond that, times the share of the uncertainty that was resolved
    while it was held: a price p has variance p (1 - p) ahead of it, and v (1 - v) is left where the position counted v
    in the end. So it is all of it where a result was paid out, and nothing where prices have not moved since. What
    gains had paid for is no stake.
    """
    episodes = played.episodes
    gained, held = Books(played.fills, episodes).end()
    contracts = np.maximum(np.abs(held), 1) * float(DOLLAR)
    paid = np.clip(-gained / contracts, 0.0, 1.0)
    counted = np.clip((episodes.equity - episodes.cash - gained) / contracts, 0.0, 1.0)
    resolved = 1 - counted * (1 - counted) / np.maximum(paid * (1 - paid), _LEAST_CHANCE)
    share = np.where(held != 0, np.clip(resolved, 0.0, 1.0), 0.0) * contracts / MONEY
    return np.array([paid * share, (1 - paid) * share])


def pooled(played: Sequence[Played]) -> tuple[Episodes, Orders, Fills]:
    """Columns of all seeds, one behind the other; their rows point into the whole."""
    episodes = Episodes(*(np.concatenate(columns) for columns in zip(*(one.episodes for one in played), strict=True)))
    before = np.cumsum([0, *(len(one.episodes.market) for one in played)])
    sent = np.cumsum([0, *(len(one.orders.episode) for one in played)])
    orders = [
        one.orders._replace(episode=one.orders.episode + first) for one, first in zip(played, before, strict=False)
    ]
    fills = [
        one.fills._replace(order=one.fills.order + order, episode=one.fills.episode + episode)
        for one, order, episode in zip(played, sent, before, strict=False)
    ]
    return (
        episodes,
        Orders(*(np.concatenate(columns) for columns in zip(*orders, strict=True))),
        Fills(*(np.concatenate(columns) for columns in zip(*fills, strict=True))),
    )
