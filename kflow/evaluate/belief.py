"""What trades claim to know. Who pays a price and a fee for a side says that its chance is at least that.

Only fills on markets with a recorded result can be held against it. Each claims for its own side, and weighs as many
contracts as it has; a fill that closes a position claims as any other does. A market that paid a part of a dollar was
won to that part.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.evaluate.outcome import Fills
from kflow.units import CONTRACT, DOLLAR

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

BINS: Final = 10
# The logarithm has no bound: a chance of 0 or 1 is taken as half of the smallest tick from it.
_NEVER: Final = 0.5 / DOLLAR


def implied(fills: Fills) -> F64:
    """[F] least chance that a fill claims for its side: price and fee a contract, in dollars, 1 at most."""
    return np.minimum((fills.price + fills.fee / np.maximum(fills.size, 1)) / DOLLAR, 1.0)


def won(fills: Fills) -> F64:
    """[F] share of a dollar that the side was paid; NaN without a recorded result."""
    return fills.settled / 100 + fills.price / DOLLAR


def brier(chance: F64, outcome: F64, weight: F64) -> float | None:
    """Weighted mean of (chance - outcome)² (Brier 1950): 0 is perfect, 0.25 what a coin knows. NaNs are left out."""
    known = np.isfinite(chance) & np.isfinite(outcome)
    if not weight[known].sum():
        return None
    return float(np.average((chance[known] - outcome[known]) ** 2, weights=weight[known]))


def log_loss(chance: F64, outcome: F64, weight: F64) -> float | None:
    """Weighted mean of -(o ln c + (1 - o) ln(1 - c)) (Good 1952), in nats; ln 2 is what a coin knows."""
    known = np.isfinite(chance) & np.isfinite(outcome)
    if not weight[known].sum():
        return None
    c, o = np.clip(chance[known], _NEVER, 1 - _NEVER), outcome[known]
    return float(np.average(-(o * np.log(c) + (1 - o) * np.log1p(-c)), weights=weight[known]))


def belief(fills: Fills, event: I64) -> dict[str, Any] | None:
    """The `belief` of the document; `event`: [F] of each fill. None where nothing was filled on a settled market.

    Both Brier scores are over the fills whose mid is known, so that they can be compared.
    """
    outcome = won(fills)
    settled = np.isfinite(outcome)
    if not settled.any():
        return None
    chance, outcome, event = implied(fills)[settled], outcome[settled], event[settled]
    contracts, market = fills.size[settled] / CONTRACT, fills.mid[settled] / DOLLAR
    known = np.isfinite(market)
    return {
        "fills": int(settled.sum()),
        "contracts": float(contracts.sum()),
        "brier": brier(np.where(known, chance, np.nan), outcome, contracts),
        "brier_market": brier(market, outcome, contracts),
        "log_loss": log_loss(chance, outcome, contracts),
        "bins": bins(chance, outcome, contracts, event),
    }


def bins(chance: F64, outcome: F64, contracts: F64, event: I64) -> list[dict[str, Any]]:
    """A reliability diagram (Murphy and Winkler 1977): claimed against won, in tenths; empty ones are left out."""
    place = np.minimum((chance * BINS).astype(np.int64), BINS - 1)
    found = []
    for number in np.unique(place).tolist():
        here = place == number
        found.append(
            {
                "low": number / BINS,
                "high": (number + 1) / BINS,
                "implied": float(np.average(chance[here], weights=contracts[here])),
                "won": float(np.average(outcome[here], weights=contracts[here])),
                "contracts": float(contracts[here].sum()),
                "events": len(np.unique(event[here])),
            }
        )
    return found
