"""Made-up evaluations: documents as `kflow evaluate` writes them, of any size, whole or with holes, kind or hostile."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import numpy as np

HOSTILE: Final = (
    "<script>alert(1)</script>",
    "\"quoted\" & 'single' <b>",
    "\u202eعقد السوق\u202c بيتكوين",
    "x" * 400,
    "]]> --> </style></svg> | pipe\nnew line `tick` [a](b)",
)
BASELINES: Final = (
    ("hold", "never trades; earns exactly nothing"),
    ("random", "any allowed action, each as likely"),
    ("cross-always", "buys YES at the far touch whenever it may"),
    ("join-maker", "rests at its own best bid on both sides"),
    ("skewed-maker", "the same, leaning against what it holds"),
    ("favourite", "buys the side above $0.50 once and keeps it"),
)
FILLS: Final = ("queue-pessimistic", "queue", "queue-optimistic")
_START: Final = datetime(2026, 5, 14, 11, 0, tzinfo=UTC)
_KINDS: Final = ("BUY_YES", "SELL_YES", "BUY_NO", "SELL_NO")
_ACTIONS: Final = ("HOLD", *(f"{kind} {size}" for kind in _KINDS for size in (5, 10, 20, 50, 100)))
_SECOND: Final = 1_000_000
# What a contestant earns on average and how widely, $ per event; how it trades.
_WORTH: Final = {"hold": (0.0, 0.0), "random": (-3.1, 2.2), "cross-always": (-6.4, 4.0), "join-maker": (0.4, 3.0)}
_ELSE: Final = (0.6, 4.2)


def document(
    *,
    events: int = 12,
    judged: Sequence[str] = ("btc:1",),
    baselines: int = len(BASELINES),
    settled: bool = False,
    in_sample: bool = False,
    hostile: bool = False,
    seed: int = 1,
) -> dict[str, Any]:
    """A whole document; the same numbers for the same arguments."""
    rng = np.random.default_rng(seed)
    if hostile:
        judged = [f"{name} {HOSTILE[place % len(HOSTILE)]}" for place, name in enumerate(judged)]
    plain = [(name, f"{about} {HOSTILE[0]}" if hostile else about) for name, about in BASELINES[:baselines]]
    tapes = _tapes(rng, events, settled, hostile)
    names = [*judged, *(name for name, _ in plain)]
    results = [_result(rng, name, model, tapes) for name in names for model in FILLS]
    by_name = {(one["contestant"], one["fill_model"]): one for one in results}
    first = by_name[names[0], "queue"]["profit"]
    ends = f"${first['low'] or 0:+.2f} to ${first['high'] or 0:+.2f}"
    return {
        "schema_version": 1,
        "kind": "evaluation",
        "name": f"{names[0]} on {events} events",
        "kflow_version": "0.1.0",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "created": "2026-05-15T09:30:00Z",
        "command": ["kflow", "evaluate", names[0], "--sessions", "12-14"],
        "in_sample": in_sample,
        "judged": list(judged),
        "variants": 7,
        "variants_why": "7 trials of its sweep",
        "contestants": [*(_model(name) for name in judged), *(_baseline(name, about) for name, about in plain)],
        "data": _data(rng, tapes, events),
        "assumptions": _assumptions(),
        "results": results,
        "band": [_band(name, by_name) for name in names],
        "capacity": [_scale(rng, name, scale) for name in judged for scale in (1, 2, 5, 10)],
        "comparisons": [
            _comparison(rng, name, other, by_name) for name in judged for other, _ in plain if other != name
        ],
        "sentence": f"Not distinguishable from hold: over {events} independent events it made "
        f"${first['per_event']:+.2f} "
        f"an event, and the interval of {ends} holds zero.",
    }


def without(value: Any, rng: np.random.Generator, share: float) -> Any:
    """The same with that share of its values null; the head that makes it an evaluation stays."""
    if isinstance(value, dict):
        kept = {"schema_version", "kind"}
        return {
            key: item if key in kept else None if rng.random() < share else without(item, rng, share)
            for key, item in value.items()
        }
    if isinstance(value, list):
        hole = len(value) > 5 and any(isinstance(item, float) for item in value)
        return [None if hole and rng.random() < share else without(item, rng, share) for item in value]
    return value


def nothing() -> dict[str, Any]:
    """A document that tells nothing at all."""
    return dict.fromkeys(document(events=1)) | {"schema_version": 1, "kind": "evaluation"}


def _tapes(rng: np.random.Generator, events: int, settled: bool, hostile: bool) -> list[dict[str, Any]]:
    """One market an event, a quarter of an hour each; a night lies between halves."""
    tapes = []
    for place in range(events):
        start = _START + timedelta(minutes=15 * place) + (timedelta(hours=19) if place >= events // 2 else timedelta(0))
        seconds = float(rng.uniform(700, 900))
        market = f"KXBTC15M-{start:%y%b%d%H%M}-{start:%M}".upper() + (HOSTILE[place % len(HOSTILE)] if hostile else "")
        start_us = int(start.timestamp()) * _SECOND
        tapes.append(
            {
                "market": market,
                "event": market.rpartition("-")[0] if not hostile else f"event {market}",
                "source": "session" if not hostile else HOSTILE[0],
                "session": 12,
                "digest": hashlib.sha256(market.encode()).hexdigest(),
                "seconds": seconds,
                "from_us": start_us,
                "until_us": start_us + int(seconds * _SECOND),
                "result": ("yes" if rng.random() < 0.5 else "no") if settled else None,
                "stretches": int(rng.integers(1, 4)),
            }
        )
    return tapes


def _data(rng: np.random.Generator, tapes: list[dict[str, Any]], events: int) -> dict[str, Any]:
    gaps = []
    for tape in tapes:
        for _ in range(tape["stretches"] - 1):
            start = int(rng.integers(tape["from_us"], tape["until_us"] - 30 * _SECOND))
            long = int(rng.uniform(1, 25) * _SECOND)
            gaps.append({"from_us": start, "until_us": start + long, "market": tape["market"]})
    return {
        "events": events,
        "markets": events,
        "settled_markets": sum(tape["result"] is not None for tape in tapes),
        "episodes": sum(tape["stretches"] for tape in tapes),
        "seconds": sum(tape["seconds"] for tape in tapes),
        "from": _moment(tapes[0]["from_us"]),
        "until": _moment(tapes[-1]["until_us"]),
        "tapes": tapes,
        "gaps": gaps,
        "trades": ["inferred, 97 % of removals at the touch"],
        "left_out": [
            {"event": "KXBTC15M-26MAY141015", "why": "trained on"},
            {"event": "KXBTC15M-26MAY141030", "why": "within the embargo of 1 h after training"},
            {"event": "KXBTC15M-26MAY141045", "why": "within the embargo of 1 h after training"},
        ],
    }


def _moment(us: int) -> str:
    return datetime.fromtimestamp(us / _SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _model(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "model",
        "about": "ppo, 300,000 decisions",
        "model": name,
        "sha256": "5f" * 32,
        "actions": "default",
        "sizes": [5.0, 10.0, 20.0, 50.0, 100.0],
        "trained_on_events": 96,
    }


def _baseline(name: str, about: str) -> dict[str, Any]:
    nothing: dict[str, Any] = {"model": None, "sha256": None, "actions": None, "sizes": [], "trained_on_events": None}
    return {"name": name, "kind": "baseline", "about": about, **nothing}


def _assumptions() -> dict[str, Any]:
    about = "back of the queue; trades eat it from the front, cancellations fall "
    ends = {"queue-pessimistic": ("behind", 0.0), "queue": ("pro rata", 0.5), "queue-optimistic": ("ahead", 1.0)}
    return {
        "latency": "constant 50/50/20 ms",
        "latency_origin": "assumption",
        "fees": ["quadratic 0.07, makers none"],
        "models": {
            name: {"about": about + where, "cancellations_ahead": ahead, "power": 1.0, "calibration": "none"}
            for name, (where, ahead) in ends.items()
        },
        "cash": 1000.0,
        "max_position": 1000,
        "max_order": 100,
        "orders": 8,
        "episode_s": 900.0,
        "every_s": 0.25,
        "seeds": [0, 1, 2, 3, 4],
        "ruin": 0.1,
        "embargo_s": 3600.0,
    }


def _result(rng: np.random.Generator, name: str, model: str, tapes: list[dict[str, Any]]) -> dict[str, Any]:
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
        "drawdown_from": _moment(at[start]) if fall.min() < 0 else None,
        "drawdown_until": _moment(at[until]) if fall.min() < 0 else None,
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


def _band(name: str, results: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    low, mid, high = (results[name, model]["profit"]["per_event"] for model in FILLS)
    luck = None if not mid else min(abs(high - low) / abs(mid), 1.0)
    words = "it never rests, so no luck is in it" if luck is None else "so much of it hangs on its place in the queue"
    return {
        "contestant": name,
        "pessimistic": low,
        "calibrated": mid,
        "optimistic": high,
        "queue_luck": luck,
        "queue_luck_words": words,
    }


def _scale(rng: np.random.Generator, name: str, scale: int) -> dict[str, Any]:
    profit = 0.6 * scale - 0.09 * scale**2
    return {
        "contestant": name,
        "scale": scale,
        "contracts_per_episode": 100.0 * scale * 0.93**scale,
        "profit_per_event": profit + float(rng.normal(0, 0.1)),
        "error": 0.4 * scale,
        "profit_per_contract_cents": 0.6 - 0.09 * scale,
    }


def _comparison(
    rng: np.random.Generator, name: str, other: str, results: dict[tuple[str, str], dict[str, Any]]
) -> dict[str, Any]:
    mine, others = (np.array([event["profit"] for event in results[who, "queue"]["events"]]) for who in (name, other))
    difference = mine - others
    mean = float(difference.mean())
    error = float(difference.std(ddof=1) / np.sqrt(len(difference))) if len(difference) > 4 else None
    far = error is not None and abs(mean) > 2.2 * error
    return {
        "contestant": name,
        "against": other,
        "fill_model": "queue",
        "difference": mean,
        "low": None if error is None else mean - 2.2 * error,
        "high": None if error is None else mean + 2.2 * error,
        "p": None if error is None else (0.004 if far else float(rng.uniform(0.1, 0.9))),
        "words": f"{'more' if mean > 0 else 'less'} than {other}" if far else f"not distinguishable from {other}",
    }
