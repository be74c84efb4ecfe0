"""What a network earns on episodes it was not trained on: each once, greedily, with the same fills as in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kflow.policy.network import Network
from kflow.rl.batch import Batch, Finished, Setup
from kflow.rl.dataset import Dataset
from kflow.rl.episodes import Episode, Listed, cut

_ACCOUNTS = 64


@dataclass(frozen=True, slots=True)
class Score:
    """Dollars per episode. `error`: one standard error over markets' events; None of fewer than two."""

    episodes: int
    events: int
    profit: float
    error: float | None
    median: float
    fees: float
    contracts: float
    denied: float  # share of decisions
    return_share: float  # of the cash at the start

    def told(self) -> dict[str, float]:
        """For logs; what is not known is left out."""
        known = {
            "profit": self.profit,
            "profit_error": self.error,
            "profit_median": self.median,
            "fees": self.fees,
            "contracts": self.contracts,
            "denied_share": self.denied,
            "return": self.return_share,
            "episodes": float(self.episodes),
        }
        return {name: float(value) for name, value in known.items() if value is not None}


def pick(dataset: Dataset, spans: Sequence[int], rows: int, most: int) -> list[Episode]:
    """Episodes of `rows` decisions to be scored on, no more than `most`, spread evenly over time."""
    found = cut(dataset, rows, spans)
    if len(found) <= most:
        return found
    return [found[round(place)] for place in np.linspace(0, len(found) - 1, most)]


def play(
    network: Network, dataset: Dataset, setup: Setup, episodes: Sequence[Episode], *, masked: bool, seed: int = 0
) -> list[Finished]:
    """Every episode once; the network takes its likeliest action, of those allowed where `masked`."""
    batch = Batch(dataset, setup, Listed(episodes), min(_ACCOUNTS, len(episodes)), seed=seed)
    observations = batch.reset()
    done: list[Finished] = []
    while batch.running.any():
        actions = network.act_batch(observations, batch.masks() if masked else None)
        observations, _, finished = batch.step(actions)
        done += finished
    return done


def score(done: Sequence[Finished], dataset: Dataset) -> Score:
    """Sum up; episodes of one event count as one draw for the error."""
    profits = np.array([finished.profit for finished in done], np.float64) / 1e6
    events: dict[str, list[float]] = {}
    for finished, profit in zip(done, profits, strict=True):
        events.setdefault(dataset.spans[finished.episode.span].event, []).append(float(profit))
    sums = np.array([sum(values) - len(values) * profits.mean() for values in events.values()])
    count = len(events)
    error = float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(profits)) if count > 1 else None
    return Score(
        episodes=len(done),
        events=count,
        profit=float(profits.mean()),
        error=error,
        median=float(np.median(profits)),
        fees=float(np.mean([finished.fees for finished in done])) / 1e6,
        contracts=float(np.mean([finished.volume for finished in done])) / 100,
        denied=sum(finished.denied for finished in done) / max(sum(finished.steps for finished in done), 1),
        return_share=float(np.mean([finished.profit / finished.cash for finished in done])),
    )
