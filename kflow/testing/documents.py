"""Made-up evaluations: documents as `kflow evaluate` writes them, of any size, whole or with holes, kind or hostile."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from kflow.testing.document_results import SECOND, moment, result

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
    results = [result(rng, name, model, tapes) for name in names for model in FILLS]
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
        start_us = int(start.timestamp()) * SECOND
        tapes.append(
            {
                "market": market,
                "event": market.rpartition("-")[0] if not hostile else f"event {market}",
                "source": "session" if not hostile else HOSTILE[0],
                "session": 12,
                "digest": hashlib.sha256(market.encode()).hexdigest(),
                "seconds": seconds,
                "from_us": start_us,
                "until_us": start_us + int(seconds * SECOND),
                "result": ("yes" if rng.random() < 0.5 else "no") if settled else None,
                "stretches": int(rng.integers(1, 4)),
            }
        )
    return tapes


def _data(rng: np.random.Generator, tapes: list[dict[str, Any]], events: int) -> dict[str, Any]:
    gaps = []
    for tape in tapes:
        for _ in range(tape["stretches"] - 1):
            start = int(rng.integers(tape["from_us"], tape["until_us"] - 30 * SECOND))
            long = int(rng.uniform(1, 25) * SECOND)
            gaps.append({"from_us": start, "until_us": start + long, "market": tape["market"]})
    return {
        "events": events,
        "markets": events,
        "settled_markets": sum(tape["result"] is not None for tape in tapes),
        "episodes": sum(tape["stretches"] for tape in tapes),
        "seconds": sum(tape["seconds"] for tape in tapes),
        "from": moment(tapes[0]["from_us"]),
        "until": moment(tapes[-1]["until_us"]),
        "tapes": tapes,
        "gaps": gaps,
        "trades": ["inferred, 97 % of removals at the touch"],
        "left_out": [
            {"event": "KXBTC15M-26MAY141015", "why": "trained on"},
            {"event": "KXBTC15M-26MAY141030", "why": "within the embargo of 1 h after training"},
            {"event": "KXBTC15M-26MAY141045", "why": "within the embargo of 1 h after training"},
        ],
    }


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
