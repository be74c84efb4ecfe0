"""Small outcomes made by hand: every column as given, the rest as of an order that did nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kflow.evaluate.outcome import CUT, MARKOUTS, MID_BINS, Curve, Episodes, Fills, Market, Orders, Played
from kflow.sim import kernel

S = 1_000_000
CENTS = 100  # a price
CONTRACTS = 100  # a size
DOLLARS = 1_000_000


def market(name: str, event: str = "", value: int = -1) -> Market:
    return Market(name, event or name, "made", None, "0" * 64, value)


def _columns(kind: Any, count: int, usual: dict[str, Any], given: dict[str, Any]) -> Any:
    unknown = given.keys() - usual.keys()
    assert not unknown, unknown
    return kind(**{name: np.broadcast_to(np.array(given.get(name, v)), count).copy() for name, v in usual.items()})


def episodes(count: int, **given: Any) -> Episodes:
    """Of a minute each, one behind the other, with $1,000 that nothing happened to."""
    starts = np.arange(count) * 60 * S
    usual = {
        "market": np.arange(count), "start_us": starts, "end_us": starts + 60 * S, "ending": CUT, "steps": 240,
        "cash": 1_000 * DOLLARS, "equity": 1_000 * DOLLARS, "fees": 0, "volume": 0, "position": 0, "sent": 0,
        "denied": 0, "fall": 0,
    }  # fmt: skip
    found: Episodes = _columns(Episodes, count, usual, given)
    return found


def orders(count: int, **given: Any) -> Orders:
    """Of 10 contracts at 40 cents, at the best bid, that got nothing."""
    usual = {
        "episode": 0, "sent_us": 0, "side": 0, "size": 10 * CONTRACTS, "price": 40 * CENTS, "near": 40 * CENTS,
        "far": 42 * CENTS, "mid": 41.0 * CENTS, "ahead": -1, "filled": 0, "cost": 0, "fees": 0, "first_us": -1,
        "ended_us": 60 * S, "ended_mid": 41.0 * CENTS, "reason": kernel.CANCELLED,
    }  # fmt: skip
    found: Orders = _columns(Orders, count, usual, given)
    return found


def fills(count: int, *, markout: Sequence[Sequence[float]] | None = None, **given: Any) -> Fills:
    """Of 10 contracts at 40 cents by takers, whose markets have no result."""
    usual = {
        "order": np.arange(count), "episode": 0, "us": 0, "side": 0, "price": 40 * CENTS, "size": 10 * CONTRACTS,
        "fee": 0, "maker": False, "mid": 41.0 * CENTS, "settled": np.nan,
    }  # fmt: skip
    marks = np.full((count, len(MARKOUTS)), np.nan) if markout is None else np.array(markout)
    made = _columns(lambda **columns: columns, count, usual, given)
    return Fills(**made, markout=marks)


def played(
    told: Episodes,
    *,
    contestant: str = "one",
    fill_model: str = "queue",
    seed: int = 0,
    scale: int = 1,
    sent: Orders | None = None,
    filled: Fills | None = None,
    curve: Curve | None = None,
) -> Played:
    """Without a curve, equity goes straight to the end at the end, and nothing was held."""
    count = len(told.market)
    flat = np.stack([told.cash, told.equity], axis=1)
    return Played(
        contestant, fill_model, seed, scale, told, orders(0) if sent is None else sent,
        fills(0) if filled is None else filled,
        Curve(60 * S, flat, np.zeros((count, 2), np.int64)) if curve is None else curve,
        np.zeros((2, MID_BINS + 1), np.int64),
    )  # fmt: skip


def earned(profits: Sequence[float], **given: Any) -> Played:
    """An episode in a market of its own for each profit in dollars."""
    gained = np.round(np.array(profits, np.float64) * DOLLARS).astype(np.int64)
    return played(episodes(len(gained), equity=1_000 * DOLLARS + gained), **given)


def markets(count: int, value: int = -1) -> list[Market]:
    return [market(f"M{number}", value=value) for number in range(count)]
