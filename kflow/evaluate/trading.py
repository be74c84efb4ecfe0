"""How a contestant traded: what it was filled, what that cost against what it saw, and what the market did then.

Cents are per contract and positive where they cost. Every order buys a side, so that a price is what was paid; what
is not known at a moment (no mid, no touch) leaves that order or fill out of a figure, and counts as nothing in none.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.evaluate.outcome import MARKOUTS, Curve, Episodes, Fills, Orders, Played
from kflow.evaluate.series import MONEY, Books
from kflow.sim import kernel
from kflow.sim.orders import REASONS
from kflow.sim.report import clustered
from kflow.units import CONTRACT

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Booleans = NDArray[np.bool_]

_CENT: Final = 100  # 1e-4 dollar
# What the venue turned away, or the simulator in its place; what was cancelled or had nothing to take is no refusal.
REFUSALS: Final = (
    kernel.NO_CASH, kernel.SELF_TRADE, kernel.WOULD_CROSS, kernel.OVER_SIZE, kernel.OVER_POSITION, kernel.NO_PLACE,
)  # fmt: skip
# Cents from the own best bid: below 0 better than it, 0 at it. And contracts that were ahead, as in docs/simulation.md.
_DISTANCES: Final = ((-100, -5), (-5, -2), (-2, -1), (-1, 0), (0, 0), (0, 1), (1, 2), (2, 5), (5, 100))
_QUEUES: Final = (0, 1, 10, 50, 200, 500, 1_000, 3_000)
_SLIPPAGE: Final = np.arange(-5.25, 5.5, 0.5)
# Moments of an episode at which the value at risk is worked out, at most.
_MOMENTS: Final = 120


def fill_rate(orders: Orders, which: Booleans | None = None) -> float | None:
    """Contracts filled over contracts asked, of these orders. None where nothing was asked."""
    which = np.ones(len(orders.size), np.bool_) if which is None else which
    asked = int(orders.size[which].sum())
    return float(orders.filled[which].sum() / asked) if asked else None


def maker_share(fills: Fills) -> float | None:
    """Contracts filled while resting over all that were filled."""
    total = int(fills.size.sum())
    return float(fills.size[fills.maker].sum() / total) if total else None


def touch(orders: Orders) -> I64:
    """[O] price each order aimed at: the far touch where its limit reached that, else its limit."""
    return np.where((orders.far >= 0) & (orders.price >= orders.far), orders.far, orders.price)


def slippage(orders: Orders) -> F64:
    """[O] cents paid above the touch that was aimed at, in the mean of a contract; NaN where nothing was filled."""
    with np.errstate(invalid="ignore", divide="ignore"):
        paid: F64 = np.where(orders.filled > 0, orders.cost / orders.filled, np.nan)
    return (paid - touch(orders)) / _CENT


def slippage_cents(orders: Orders) -> float | None:
    """The mean of `slippage` over contracts filled."""
    some = orders.filled > 0
    return float(np.average(slippage(orders)[some], weights=orders.filled[some])) if some.any() else None


class Shortfall(NamedTuple):
    """Cents per contract asked."""

    total: float
    execution: float
    opportunity: float
    fees: float

    def parts(self) -> dict[str, float]:
        """What the total is made of."""
        return {"execution": self.execution, "opportunity": self.opportunity, "fees": self.fees}


def shortfall(orders: Orders) -> Shortfall | None:
    """Implementation shortfall (Perold 1988): what the portfolio on paper earns more than the real one.

    On paper all that is asked for is bought at the mid of the moment the order is sent. execution: filled * (price -
    mid); opportunity: unfilled * (mid when the order is over - mid); fees as charged; all over contracts asked. Orders
    without a mid then, or with something unfilled and no mid in the end, are left out. None where none is left.
    """
    unfilled = orders.size - orders.filled
    known = np.isfinite(orders.mid) & ((unfilled == 0) | np.isfinite(orders.ended_mid))
    asked = int(orders.size[known].sum())
    if not asked:
        return None
    mid, later = orders.mid[known], np.where(unfilled == 0, 0.0, orders.ended_mid)[known]
    execution = float((orders.cost[known] - orders.filled[known] * mid).sum()) / asked / _CENT
    opportunity = float((unfilled[known] * np.where(unfilled[known] > 0, later - mid, 0.0)).sum()) / asked / _CENT
    fees = float(orders.fees[known].sum()) / asked / _CENT
    return Shortfall(execution + opportunity + fees, execution, opportunity, fees)


def markouts(fills: Fills, event: I64) -> list[dict[str, Any]]:
    """Cents a contract that fills gained so much later, weighted by size, and clustered by the fill's event.

    To the mid 1, 10 and 60 s later, and to what the side was paid. Positive: the market went the filled way.
    """
    columns: list[tuple[int | str, F64]] = [
        (seconds, fills.markout[:, place]) for place, seconds in enumerate(MARKOUTS)
    ]
    found = []
    for seconds, marks in [*columns, ("settled", fills.settled)]:
        known = np.isfinite(marks)
        told: dict[str, Any] = {"seconds": seconds, "fills": int(known.sum())}
        for name, which in (("", known), ("maker_", known & fills.maker), ("taker_", known & ~fills.maker)):
            mean, error = clustered(marks[which], event[which], fills.size[which].astype(np.float64))
            told |= {f"{name}cents": number(mean), f"{name}error": number(error)}
        found.append(told)
    return found


def refused(orders: Orders) -> dict[str, int]:
    """How many orders were turned away, by why; the most frequent first."""
    counts = {reason: int((orders.reason == reason).sum()) for reason in REFUSALS}
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return {REASONS[reason]: count for reason, count in ordered if count}


def inventory(played: Played) -> dict[str, float]:
    """Of what was held, over the moments of the curve within episodes; contracts, and dollars at risk.

    exposure_dollars: what the position counted in the equity then, all of which it could come to lose.
    """
    curve, episodes = played.curve, played.episodes
    within = _within(curve, episodes)
    held = np.where(within, curve.position, 0)
    moments = max(int(within.sum()), 1)
    return {
        "mean_abs_contracts": float(np.abs(held).sum()) / CONTRACT / moments,
        "max_abs_contracts": float(np.abs(held).max(initial=0)) / CONTRACT,
        "time_in_market": float((held != 0).sum()) / moments,
        "mean_contracts": float(held.sum()) / CONTRACT / moments,
        "exposure_dollars": _exposure(played, within),
    }


def _within(curve: Curve, episodes: Episodes) -> Booleans:
    """[E, P] moments that an episode lasted to."""
    lasted = (episodes.end_us - episodes.start_us)[:, None]
    within: Booleans = np.arange(curve.equity.shape[1]) * curve.every_us <= lasted
    return within


def _exposure(played: Played, within: Booleans) -> float:
    curve, episodes = played.curve, played.episodes
    moments = np.arange(0, within.shape[1], max(1, -(-within.shape[1] // _MOMENTS)))
    episode, place = np.nonzero(within[:, moments])
    if not len(episode):
        return 0.0
    place = moments[place]
    held = curve.position[episode, place] != 0
    one, there = episode[held], place[held]
    gained, _ = Books(played.fills, episodes).at(one, episodes.start_us[one] + there * curve.every_us)
    counted = curve.equity[one, there] - episodes.cash[one] - gained
    return float(np.abs(counted).sum()) / MONEY / len(episode)


def by_distance(orders: Orders) -> list[dict[str, Any]]:
    """Orders by how far their limit lay behind the best bid of their own side when they were sent."""
    known = orders.near >= 0
    away = (orders.near - orders.price) / _CENT
    found = []
    for low, high in _DISTANCES:
        if low == high:
            here = known & (away == low)
        elif low < 0:
            here = known & (away >= low) & (away < high)
        else:
            here = known & (away > low) & (away <= high)
        if here.any():
            told: dict[str, Any] = {"orders": int(here.sum()), "asked": _contracts(orders.size[here])}
            told |= {"filled": _contracts(orders.filled[here]), "rate": fill_rate(orders, here)}
            found.append({"low_cents": low, "high_cents": high, **told})
    return found


def by_queue(orders: Orders) -> list[dict[str, Any]]:
    """Resting orders by contracts ahead of them; `high` None: any more. seconds_to_fill: to the first, the median."""
    ahead = orders.ahead / CONTRACT
    found = []
    for low, high in zip(_QUEUES, (*_QUEUES[1:], None), strict=True):
        here = orders.rested & (ahead >= low) & (ahead < (np.inf if high is None else high))
        if not here.any():
            continue
        filled = here & (orders.first_us >= 0)
        waited = (orders.first_us - orders.sent_us)[filled] / 1e6
        found.append(
            {
                "low": low,
                "high": high,
                "orders": int(here.sum()),
                "rate": fill_rate(orders, here),
                "seconds_to_fill": float(np.median(waited)) if len(waited) else None,
            }
        )
    return found


def slippage_histogram(orders: Orders) -> dict[str, list[float]]:
    """Contracts filled by their order's slippage, in half cents; what lies beyond is counted in the last bins."""
    some = orders.filled > 0
    clipped = np.clip(slippage(orders)[some], _SLIPPAGE[0], _SLIPPAGE[-1])
    counts, edges = np.histogram(clipped, _SLIPPAGE, weights=orders.filled[some] / CONTRACT)
    return {"edges": edges.tolist(), "contracts": counts.tolist()}


def number(value: float | None) -> float | None:
    """None for what is not a finite number: JSON has no other word for it."""
    return float(value) if value is not None and np.isfinite(value) else None


def _contracts(sizes: I64) -> float:
    return float(sizes.sum()) / CONTRACT
