"""What a study says: shares, prices and times, with how sure they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.sim import kernel
from kflow.sim.study import MARKOUTS, Fills, Orders, Outcome
from kflow.units import CONTRACT

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_US: Final = 1_000_000
# Blocks from which an error can be told at all.
FEWEST: Final = 5
_PRICES: Final = ("vwap_cents", "slippage_cents", "slippage_error", "fee_cents", "half_spread_cents", "maker")


def clustered(values: F64, block: I64, weight: F64 | None = None) -> tuple[float, float]:
    """Weighted mean and its standard error, where values of one block go together (Liang and Zeger 1986).

    Orders a second apart meet the same market: taken as independent they would look ten times surer than they are. NaN
    of nothing; no error is told by fewer than FEWEST blocks.
    """
    weight = np.ones(len(values)) if weight is None else weight
    total = weight.sum()
    if not total:
        return float("nan"), float("nan")
    mean = float((values * weight).sum() / total)
    _, blocks = np.unique(block, return_inverse=True)
    sums = np.bincount(blocks, (values - mean) * weight)
    count = len(sums)
    if count < FEWEST:
        return mean, float("nan")
    return mean, float(np.sqrt((sums**2).sum() * count / (count - 1)) / total)


def summary(outcome: Outcome, horizons_s: Sequence[float]) -> dict[str, Any]:
    """One plan under one model. Shares in [0, 1], prices in cents, times in seconds; None where nothing tells.

    An order counts at a horizon only if its stretch lasts that long after it.
    """
    orders = outcome.orders
    return {
        "orders": len(orders.size),
        "blocks": len(np.unique(orders.block)),
        "horizons": [_horizon(outcome, seconds) for seconds in horizons_s],
        "time_to_first_fill_s": _quantiles(orders.first_us[orders.first_us < kernel.NEVER] / _US),
        "time_to_full_fill_s": _quantiles(orders.full_us[orders.full_us < kernel.NEVER] / _US),
        "ahead_contracts": _quantiles(orders.ahead[orders.ahead >= 0] / CONTRACT),
        **_prices(orders, outcome.fills),
        "markouts": _markouts(outcome),
        "unfilled_drift_cents": _drift(outcome),
    }


def _horizon(outcome: Outcome, seconds: float) -> dict[str, Any]:
    orders, within = outcome.orders, round(seconds * _US)
    counts = orders.left_us >= within
    block = orders.block[counts]
    full, error = clustered((orders.full_us <= within)[counts].astype(np.float64), block)
    any_, any_error = clustered((orders.first_us <= within)[counts].astype(np.float64), block)
    share, share_error = clustered((outcome.filled_by(within) / np.maximum(orders.size, 1))[counts], block)
    return {
        "seconds": seconds,
        "orders": int(counts.sum()),
        "full": _number(full),
        "full_error": _number(error),
        "any": _number(any_),
        "any_error": _number(any_error),
        "share": _number(share),
        "share_error": _number(share_error),
    }


def _prices(orders: Orders, fills: Fills) -> dict[str, Any]:
    """Of the contracts filled: VWAP, slippage against the touch aimed at (cost positive), fees, the makers' share.

    half_spread_cents: from the mid to the touch when orders were sent, filled or not.
    """
    size, cost, fees = orders.filled.sum(), orders.cost.sum(), orders.fees.sum()
    if not size:
        return dict.fromkeys(_PRICES)
    traded = orders.filled > 0
    slippage = (orders.cost[traded] / orders.filled[traded] - orders.touch[traded]) / 100
    mean, error = clustered(slippage, orders.block[traded], orders.filled[traded].astype(np.float64))
    half = np.abs(orders.mid / 2 - orders.touch) / 100
    return {
        "vwap_cents": _number(cost / size / 100),
        "slippage_cents": _number(mean),
        "slippage_error": _number(error),
        "fee_cents": _number(fees / size / 100),
        "half_spread_cents": _number(float(half.mean())),
        "maker": _number(float(fills.size[fills.maker].sum() / size)),
    }


def _markouts(outcome: Outcome) -> list[dict[str, Any]]:
    """Cents a contract that fills gain until so much later, weighted by size; makers' and takers' apart as well."""
    fills, orders = outcome.fills, outcome.orders
    found = []
    for column, seconds in enumerate(MARKOUTS):
        marks = fills.markout[:, column] if len(fills.size) else np.zeros(0)
        told: dict[str, Any] = {"seconds": seconds}
        for prefix, which in (("", np.ones_like(fills.maker)), ("maker_", fills.maker), ("taker_", ~fills.maker)):
            known = np.isfinite(marks) & which
            weight = fills.size[known].astype(np.float64)
            mean, error = clustered(marks[known], orders.block[fills.order[known]], weight)
            told |= {f"{prefix}cents": _number(mean), f"{prefix}error": _number(error)}
            told[f"{prefix}fills"] = int(known.sum())
        found.append(told)
    return found


def _drift(outcome: Outcome) -> float | None:
    """Cents by which the own side's mid rose for orders that were not filled at all, while they were followed."""
    left = outcome.orders.first_us >= kernel.NEVER
    drift = outcome.drift[left]
    drift = drift[np.isfinite(drift)]
    return _number(float(drift.mean())) if len(drift) else None


def _quantiles(values: F64) -> dict[str, float | None]:
    if not len(values):
        return {"p25": None, "p50": None, "p75": None}
    return {f"p{share}": _number(float(np.percentile(values, share))) for share in (25, 50, 75)}


def _number(value: float) -> float | None:
    """Six digits; None for what is not a number."""
    return None if not np.isfinite(value) else float(f"{value:.6g}")


def select(outcome: Outcome, chosen: NDArray[np.bool_]) -> Outcome:
    """Only some of the orders, with their fills."""
    places = np.cumsum(chosen) - 1
    kept = chosen[outcome.fills.order] if len(outcome.fills.order) else np.zeros(0, np.bool_)
    orders = Orders(*(column[chosen] for column in outcome.orders))
    fills = Fills(*(column[kept] for column in outcome.fills))  # type: ignore[arg-type]
    return Outcome(orders, fills._replace(order=places[fills.order]), outcome.drift[chosen])


def by_day(outcome: Outcome) -> Iterable[tuple[str, Outcome]]:
    """A study cut by the UTC day its orders were sent on."""
    days = outcome.orders.sent_us // 86_400_000_000
    for day in np.unique(days):
        yield str(np.datetime64(int(day), "D")), select(outcome, days == day)
