"""Markets on which nobody can win, and what a policy comes to on them.

Each arena is a made-up fair market as a data set. Profits are summed up by market, so that they are independent. Where
results are kept, episodes settle at what the market is worth then (which is what 0 or a dollar is in the mean, but far
less spread: small gains show); where they are taken away they are cut, and what is held counts what it could be sold
for.
Orders arrive at once: the easiest case for who wants to cheat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.replay.tapes import fees_of
from kflow.rl.batch import Batch, Setup
from kflow.rl.dataset import Dataset, build
from kflow.rl.episodes import Drawn, Listed, cut
from kflow.rl.worlds import fair
from kflow.sim.fills import NO_LATENCY, Assumptions
from kflow.sim.tape import Tape

SECONDS: Final = 30
_WHOLE, _SHORT = 120, 24
# Apart from those that tests of the worlds use. Judged on markets that nobody trained on.
_TRAIN_SEED, _JUDGE_SEED = 50_000_000, 60_000_000

I64 = NDArray[np.int64]
# Actions [N] of a batch and what it sees [N, F].
Policy = Callable[[Batch, NDArray[np.float32]], NDArray[Any]]

_NULL: Final = {"half_spread": 0, "fee_multiplier": 0}
_WORLDS: Final[dict[str, dict[str, Any]]] = {
    "fair": {},
    "fair, thin": {"gone": 0.05, "depth": (4, 40)},
    "fair, wide": {"half_spread": 5, "moves": 1.5, "gone": 0.2},
    "null": _NULL,
}


@dataclass(frozen=True, slots=True)
class Arena:
    """A kind of fair market. `options`: of `worlds.fair`. `rows`: decisions of an episode."""

    name: str
    options: tuple[tuple[str, Any], ...]
    settles: bool
    rows: int

    def train(self, markets: int) -> Dataset:
        """To train and search on."""
        return _packed(self, _TRAIN_SEED, markets)

    def fresh(self, markets: int, again: int = 0) -> Dataset:
        """To be judged on; others for each `again`."""
        return _packed(self, _JUDGE_SEED + again * 1_000_000, markets)


ARENAS: Final = {
    arena.name: arena
    for name, options in _WORLDS.items()
    for arena in (
        Arena(name, tuple(options.items()), settles=True, rows=_WHOLE),
        # Often cut: marks are what is to be tried.
        Arena(f"{name}, cut", tuple(options.items()), settles=False, rows=_SHORT),
    )
}


@lru_cache(maxsize=3)
def _packed(arena: Arena, first: int, markets: int) -> Dataset:
    tapes = [fair(first + number, seconds=SECONDS, pays_value=True, **dict(arena.options)) for number in range(markets)]
    return build([tape if arena.settles else without_result(tape) for tape in tapes], _assume)


def _assume(tape: Tape) -> Assumptions:
    return Assumptions(latency=NO_LATENCY, fees=fees_of(tape)[0])


def without_result(tape: Tape) -> Tape:
    """The same market, of which nobody recorded how it ended."""
    return replace(tape, facts={**tape.facts, "result": None, "settlement_value_e4": None})


def judge(policy: Policy, dataset: Dataset, setup: Setup, rows: int, *, seed: int = 0) -> I64:
    """Profit in each market, 1e-6 dollar: all its episodes, all at once."""
    episodes = cut(dataset, rows)
    profits = played(policy, Batch(dataset, setup, Listed(episodes), len(episodes), seed=seed))
    markets = np.zeros(len(dataset.spans), np.int64)
    np.add.at(markets, [episode.span for episode in episodes], profits)
    return markets


def played(policy: Policy, batch: Batch) -> I64:
    """Profit of each account in its first episode, 1e-6 dollar."""
    observations = batch.reset()
    profits = np.zeros(batch.count, np.int64)
    over = np.zeros(batch.count, np.bool_)
    while not over.all():
        observations, _, finished = batch.step(policy(batch, observations))
        for done in finished:
            if done.number == 0:
                profits[done.account], over[done.account] = done.profit, True
    return profits


def drawn(dataset: Dataset, setup: Setup, rows: int, count: int, *, seed: int) -> Batch:
    """Episodes drawn at random, to train on."""
    return Batch(dataset, setup, Drawn(dataset, rows), count, seed=seed)


def same_for_each(dataset: Dataset, setup: Setup, rows: int, markets: Sequence[int], times: int) -> Batch:
    """Accounts in the same episodes of some markets, `times` over, one lot behind the other."""
    episodes = cut(dataset, rows, markets) * times
    return Batch(dataset, setup, Listed(episodes), len(episodes))
