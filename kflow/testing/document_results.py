"""Made-up results of one contestant under one fill model, as `kflow.testing.documents` puts them into evaluations."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np

_KINDS: Final = ("BUY_YES", "SELL_YES", "BUY_NO", "SELL_NO")
_ACTIONS: Final = ("HOLD", *(f"{kind} {size}" for kind in _KINDS for size in (5, 10, 20, 50, 100)))
SECOND: Final = 1_000_000
# What a contestant earns on average and how widely, $ per event.
_WORTH: Final = {"hold": (0.0, 0.0), "random": (-3.1, 2.2), "cross-always": (-6.4, 4.0), "join-maker": (0.4, 3.0)}
_ELSE: Final = (0.6, 4.2)


def moment(us: int) -> str:
    """µs as RFC 3339."""
    return datetime.fromtimestamp(us / SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def result(rng: np.random.Generator, name: str, model: str, tapes: list[dict[str, Any]]) -> dict[str, Any]:
    """What a contestant came to on these tapes."""
    mean, wide = _WORTH.get(name, _ELSE)
    luck = {"queue-pessimistic": -0.4, "queue": 0.0, "queue-optimistic": 0.5}[model] * (wide > 0)
    # The same events under every fill model: alike, and a little better or worse.
    base = np.random.default_rng(len(name) + sum(map(ord, name))).normal(mean, wide, len(tapes))
    profits = base + luck + rng.normal(0, 0.1 * wide, len(tapes)) if wide else np.zeros(len(tapes))
    contracts = rng.uniform(20, 240, len(tapes)) * (wide > 0)
    events = [
        {
            "event": tape["event"],
            "start_us": tape["from_us"],
            "end_us": tape["until_us"],
            "markets": 1,
            "episodes": tape["stretches"],
            "settled": tape["result"] is not None,
            "profit": float(profit),
            "low": float(profit - 0.3 * wide),
            "high": float(profit + 0.3 * wide),
            "fees": float(0.006 * amount),
            "contracts": float(amount),
        }
        for tape, profit, amount in zip(tapes, profits, contracts, strict=True)
    ]
    return {
        "contestant": name,
        "fill_model": model,
        "profit": _profit(profits, wide),
        "verdict": _verdict(profits),
        "risk": _risk(profits, tapes),
        "trading": _trading(rng, wide, contracts),
        "inventory": {
            "mean_abs_contracts": 31.2 * bool(wide),
            "max_abs_contracts": 240.0 * bool(wide),
            "time_in_market": 0.62 * bool(wide),
            "mean_contracts": -4.1 * bool(wide),
            "exposure_dollars": 14.9 * bool(wide),
        },
        "belief": _belief(rng) if wide and tapes[0]["result"] is not None else None,
        "events": events,
        **_curves(rng, profits, tapes, wide),
        **_orders(rng, wide),
        "actions": {"names": list(_ACTIONS), "counts": _counts(rng, wide)},
    }


def _profit(profits: np.ndarray[Any, Any], wide: float) -> dict[str, Any]:
    events = len(profits)
    mean, error = float(profits.mean()), float(profits.std(ddof=1) / np.sqrt(events)) if events > 1 else None
    return {
        "total": float(profits.sum()),
        "per_event": mean,
        "low": None if error is None else mean - 2.2 * error,
        "high": None if error is None else mean + 2.2 * error,
        "level": 0.95,
        "per_episode": mean / 2,
        "per_episode_error": error,
        "median_event": float(np.median(profits)),
        "return": mean / 2000,
        "best_event": float(profits.max()),
        "worst_event": float(profits.min()),
        "seed_spread": 0.1 * wide,
    }


def _verdict(profits: np.ndarray[Any, Any]) -> dict[str, Any]:
    few = len(profits) < 5
    return {
        "p": None if few else 0.21,
        "p_deflated": None if few else 0.81,
        "variants": 7,
        "distinguishable": None if few else False,
        "words": "not distinguishable from hold: the interval of its profit per event holds zero",
        "events": len(profits),
        "why": f"{len(profits)} independent event; 5 are needed for an interval" if few else None,
    }


def _risk(profits: np.ndarray[Any, Any], tapes: list[dict[str, Any]]) -> dict[str, Any]:
    events = len(profits)
    enough = events >= 30 and bool(profits.any())
    total = np.concatenate([[0.0], np.cumsum(profits)])
    fall = total - np.maximum.accumulate(total)
    until = int(fall.argmin())
    start = int(total[: until + 1].argmax())
    at = [tapes[0]["from_us"], *(tape["until_us"] for tape in tapes)]
    return {
        "sharpe": float(profits.mean() / profits.std(ddof=1)) if enough else None,
        "sharpe_why": None if enough else f"{events} independent settlements; 30 are needed",
        "sharpe_period": "per settlement event",
        "sharpe_low": -0.05 if enough else None,
        "sharpe_high": 0.27 if enough else None,
        "deflated_sharpe": 0.19 if enough else None,
        "sortino": 0.31 if enough else None,
        "max_drawdown": float(-fall.min()),
        "drawdown_from": moment(at[start]) if fall.min() < 0 else None,
        "drawdown_until": moment(at[until]) if fall.min() < 0 else None,
        "drawdown_recovered": None,
        "hit_rate": float((profits > 0).mean()),
        "worst_episode_fall": float(abs(profits.min()) * 1.2),
    }


def _trading(rng: np.random.Generator, wide: float, contracts: np.ndarray[Any, Any]) -> dict[str, Any]:
    on = bool(wide)
    marks = [
        {
            "seconds": seconds,
            "cents": float(rng.normal(-0.2, 0.3)) if on else None,
            "error": 0.2 if on else None,
            "fills": 310 * on,
            "maker_cents": float(rng.normal(-0.5, 0.3)) if on else None,
            "taker_cents": float(rng.normal(0.1, 0.3)) if on else None,
        }
        for seconds in (1, 10, 60, "settled")
    ]
    return {
        "orders": 41.5 * on,
        "fills": 22.1 * on,
        "contracts": float(contracts.mean()),
        "turnover": 0.34 * on,
        "fees": float(0.006 * contracts.sum()),
        "fees_per_contract_cents": 0.6 if on else None,
        "fill_rate": 0.52 if on else None,
        "fill_rate_resting": 0.31 if on else None,
        "maker_share": 0.4 if on else None,
        "slippage_cents": 0.11 if on else None,
        "shortfall_cents": 0.92 if on else None,
        "shortfall_parts": {"execution": 0.41, "opportunity": 0.19, "fees": 0.32} if on else None,
        "markouts": marks,
        "denied_share": 0.07 * on,
        "refused": {"post only order would cross": 3} if on else {},
    }


def _belief(rng: np.random.Generator) -> dict[str, Any]:
    bins = [
        {
            "low": place / 10,
            "high": (place + 1) / 10,
            "implied": place / 10 + 0.05,
            "won": float(np.clip(place / 10 + 0.05 + rng.normal(0, 0.08), 0, 1)),
            "contracts": float(rng.uniform(20, 900)),
            "events": int(rng.integers(1, 9)),
        }
        for place in range(10)
    ]
    return {"fills": 310, "contracts": 4100.0, "brier": 0.2143, "brier_market": 0.2120, "log_loss": 0.61, "bins": bins}


def _curves(
    rng: np.random.Generator, profits: np.ndarray[Any, Any], tapes: list[dict[str, Any]], wide: float
) -> dict[str, Any]:
    points = max(2, 400 // len(tapes)) if len(tapes) < 200 else 1
    us, mean, total = [], [], 0.0
    for tape, profit in zip(tapes, profits, strict=True):
        for point in range(points):
            share = (point + 1) / points
            us.append(int(tape["from_us"] + share * (tape["until_us"] - tape["from_us"])))
            mean.append(total + profit * share + float(rng.normal(0, 0.15 * wide)) * (share < 1))
        total += profit
    equity = np.array(mean)
    room = 1.9 * wide * np.sqrt(np.linspace(0, len(tapes), len(mean)))
    fall = equity - np.maximum.accumulate(np.maximum(equity, 0))
    known = len(tapes) >= 5
    return {
        "equity": {
            "us": us,
            "mean": equity.tolist(),
            "low": (equity - room).tolist() if known else [],
            "high": (equity + room).tolist() if known else [],
        },
        "drawdown": {"us": us, "dollars": fall.tolist()},
    }


def _orders(rng: np.random.Generator, wide: float) -> dict[str, Any]:
    if not wide:
        return {"fills_by_distance": [], "fills_by_queue": [], "slippage": {"edges": [], "contracts": []}}
    bounds = (None, -5, -2, -1, 0, 1, 2, 5, None)
    distance = []
    for low, high in pairwise(bounds):
        orders = int(rng.integers(8, 400))
        rate = 0.97 if high is not None and high <= 0 else float(rng.uniform(0.1, 0.6))
        distance.append(
            {
                "low_cents": low,
                "high_cents": high,
                "orders": orders,
                "asked": orders * 20.0,
                "filled": orders * 20.0 * rate,
                "rate": rate,
            }
        )
    ahead = (0, 10, 100, 1000, 10000, None)
    queue = [
        {
            "low": low,
            "high": high,
            "orders": int(rng.integers(5, 200)),
            "rate": 0.8 / (place + 1),
            "seconds_to_fill": 4.0 * (place + 1),
        }
        for place, (low, high) in enumerate(pairwise(ahead))
    ]
    edges = np.linspace(-5, 5, 41)
    counts, _ = np.histogram(rng.normal(0.11, 0.8, 4000), edges)
    return {
        "fills_by_distance": distance,
        "fills_by_queue": queue,
        "slippage": {"edges": edges.tolist(), "contracts": counts.astype(float).tolist()},
    }


def _counts(rng: np.random.Generator, wide: float) -> list[list[float]]:
    taste = rng.gamma(0.35, 1.0, (len(_ACTIONS), 21)) * (rng.random((len(_ACTIONS), 1)) < 0.7)
    taste[0] = 6.0
    if not wide:
        taste[1:] = 0.0
    decisions = 20_000 * np.exp(-(((np.arange(21) - 10) / 6) ** 2))
    decisions[-1] = 700
    shares = taste / taste.sum(axis=0)
    return [[float(round(value)) for value in row] for row in shares * decisions]
