"""Entries of an evaluation's document, from what was played: results, comparisons, band, capacity, and the sentence.

What each entry means: docs/evaluation.md. Dollars, cents and shares as the names say; None is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kflow.errors import DataError
from kflow.evaluate import curves, inference, metrics, trading
from kflow.evaluate.belief import belief
from kflow.evaluate.inference import ENOUGH, FEWEST, LEVEL, Estimate
from kflow.evaluate.outcome import Episodes, Fills, Market, Orders, Played
from kflow.evaluate.series import MONEY, Events, events_of, pooled
from kflow.evaluate.trading import number
from kflow.sim.fills import BAND
from kflow.sim.report import clustered
from kflow.units import CONTRACT

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

PESSIMISTIC, CALIBRATED, OPTIMISTIC = BAND


def summarise(
    played: Sequence[Played], markets: Sequence[Market], *, variants: int, action_names: Sequence[str]
) -> dict[str, Any]:
    """One entry of `results`: the seeds of one contestant under one fill model, at scale 1.

    variants: how many were tried before this one was chosen; 1 for a baseline. Raises DataError where nothing was
    played, or not the same by all seeds.
    """
    events = events_of(played, markets)
    found = inference.estimate(events.profit, events.stakes, events.prizes)
    episodes, orders, fills = pooled(played)
    event = np.tile(events.of_episode, len(played))
    us, steps, of = curves.equity(played, events)
    equity, drawdown = curves.pictured(us, steps, of, len(events))
    return {
        "contestant": played[0].contestant,
        "fill_model": played[0].fill_model,
        "profit": _profit(episodes, event, events, found),
        "verdict": inference.verdict(found, variants),
        "risk": {**_risk(events.profit, variants), **curves.fallen(us, steps), **_falls(episodes, events)},
        "trading": _trading(episodes, orders, fills, event, len(played)),
        "inventory": _inventory(played),
        "belief": belief(fills, event[fills.episode]),
        "events": _events(events),
        "equity": equity,
        "drawdown": drawdown,
        "fills_by_distance": trading.by_distance(orders),
        "fills_by_queue": trading.by_queue(orders),
        "slippage": trading.slippage_histogram(orders),
        "actions": {"names": list(action_names), "counts": np.sum([one.actions for one in played], axis=0).tolist()},
    }


def _profit(episodes: Episodes, event: I64, events: Events, found: Estimate) -> dict[str, Any]:
    profits = (episodes.equity - episodes.cash) / MONEY
    each, error = clustered(profits, event)
    return {
        "total": float(events.profit.sum()),
        "per_event": found.mean,
        "low": found.low,
        "high": found.high,
        "level": LEVEL,
        "per_episode": each,
        "per_episode_error": number(error),
        "median_event": float(np.median(events.profit)),
        "return": float((profits * MONEY / episodes.cash).mean()),
        "best_event": float(events.profit.max()),
        "worst_event": float(events.profit.min()),
        "seed_spread": float(events.profits.mean(axis=1).std(ddof=1)) if len(events.profits) > 1 else None,
    }


def _risk(profit: F64, variants: int) -> dict[str, Any]:
    sharpe, sortino = metrics.sharpe(profit), metrics.sortino(profit)
    deflated = None if sharpe.value is None else inference.deflated_sharpe(sharpe.value, profit, variants)
    return {
        "sharpe": sharpe.value,
        "sharpe_why": sharpe.why,
        "sharpe_period": metrics.PERIOD,
        "sharpe_low": sharpe.low,
        "sharpe_high": sharpe.high,
        "deflated_sharpe": deflated,
        "sortino": sortino.value,
        "sortino_why": sortino.why,
        "hit_rate": metrics.hit_rate(profit),
    }


def _falls(episodes: Episodes, events: Events) -> dict[str, Any]:
    return {
        "worst_episode_fall": float(episodes.fall.max()) / MONEY,
        "at_stake_per_event": float(events.stakes.mean()),
    }


def _trading(episodes: Episodes, orders: Orders, fills: Fills, event: I64, seeds: int) -> dict[str, Any]:
    traded = float((fills.price * fills.size).sum())
    contracts = int(fills.size.sum())
    fees = float(episodes.fees.sum())
    short = trading.shortfall(orders)
    steps = int(episodes.steps.sum())
    return {
        "orders": round(len(orders.episode) / seeds),
        "fills": round(len(fills.order) / seeds),
        "contracts": float(episodes.volume.mean()) / CONTRACT,
        "turnover": metrics.turnover(traded, float(episodes.cash.sum())),
        "fees": fees / MONEY / seeds,
        "fees_per_contract_cents": fees / contracts / 100 if contracts else None,
        "fill_rate": trading.fill_rate(orders),
        "fill_rate_resting": trading.fill_rate(orders, orders.rested),
        "maker_share": trading.maker_share(fills),
        "slippage_cents": trading.slippage_cents(orders),
        "shortfall_cents": short and short.total,
        "shortfall_parts": dict.fromkeys(("execution", "opportunity", "fees")) if short is None else short.parts(),
        "markouts": trading.markouts(fills, event[fills.episode]),
        "denied_share": float(episodes.denied.sum() / steps) if steps else None,
        "refused": trading.refused(orders),
    }


def _inventory(played: Sequence[Played]) -> dict[str, float]:
    each = [trading.inventory(one) for one in played]
    return {
        name: float(max(one[name] for one in each) if name.startswith("max") else np.mean([one[name] for one in each]))
        for name in each[0]
    }


def _events(events: Events) -> list[dict[str, Any]]:
    rows = zip(
        events.names,
        events.start_us.tolist(),
        events.end_us.tolist(),
        events.markets.tolist(),
        events.episodes.tolist(),
        events.settled.tolist(),
        events.profit.tolist(),
        events.profits.min(axis=0).tolist(),
        events.profits.max(axis=0).tolist(),
        events.fees.mean(axis=0).tolist(),
        events.contracts.mean(axis=0).tolist(),
        strict=True,
    )
    names = (
        "event", "start_us", "end_us", "markets", "episodes", "settled", "profit", "low", "high", "fees", "contracts",
    )  # fmt: skip
    return [dict(zip(names, row, strict=True)) for row in rows]


def compare(
    one: Sequence[Played] | Events, other: Sequence[Played] | Events, markets: Sequence[Market]
) -> dict[str, Any]:
    """One entry of `comparisons`: what a contestant earns more than another, in the same events.

    Of either what it played with its fills, which tell what was at stake, or what `events_of` made of that. Raises
    DataError unless both played the same events, one at least.
    """
    mine, theirs = (each if isinstance(each, Events) else events_of(each, markets) for each in (one, other))
    if mine.names != theirs.names:
        raise DataError(f"{mine.contestant} and {theirs.contestant} did not play the same events")
    stakes, prizes = mine.stakes + theirs.prizes, mine.prizes + theirs.stakes
    found = inference.paired(mine.profit - theirs.profit, stakes, prizes)
    return {
        "contestant": mine.contestant,
        "against": theirs.contestant,
        "fill_model": mine.fill_model,
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "words": _compared(found, theirs.contestant),
    }


def _compared(found: Estimate, other: str) -> str:
    if found.p is None:
        return f"not distinguishable from {other}: {inference.counted(found.events)}, {FEWEST} are needed"
    sure = f"{inference.chance(found.p)}, {inference.counted(found.events)}"
    if found.p > inference.ALPHA:
        return f"not distinguishable from {other} ({sure})"
    return f"{'better' if found.mean > 0 else 'worse'} than {other} ({sure})"


def band(by_model: Mapping[str, Sequence[Played]], markets: Sequence[Market]) -> dict[str, Any]:
    """One entry of `band`: a contestant under each model of `fills.BAND`, by its name; None of those missing."""
    each = {name: float(events_of(played, markets).profit.mean()) for name, played in by_model.items()}
    low, middle, high = (each.get(name) for name in BAND)
    known = low is not None and middle is not None
    luck = metrics.queue_luck(middle, low) if low is not None and middle is not None else None
    return {
        "contestant": next(iter(by_model.values()))[0].contestant,
        "pessimistic": low,
        "calibrated": middle,
        "optimistic": high,
        "queue_luck": luck,
        "queue_luck_words": _luck(luck, middle) if known else "not known: a fill model is missing",
    }


def _luck(luck: float | None, middle: float | None) -> str:
    if luck is None:
        return "no profit to depend on the queue" if middle else "nothing was gained or lost"
    if luck > 1:
        return "all of the profit depends on the queue: with the worst one it is a loss"
    if luck < 0:
        return "none of the profit depends on the queue: it is larger with the worst one"
    return f"{100 * luck:.0f} % of the profit hangs on the queue: with the worst one that much is gone"


def capacity(played: Sequence[Played], markets: Sequence[Market]) -> list[dict[str, Any]]:
    """Entries of `capacity` of one contestant and fill model, by scale, from all its seeds and scales together.

    error: one standard error over events; None of fewer than FEWEST.
    """
    found = []
    for scale in sorted({one.scale for one in played}):
        here = [one for one in played if one.scale == scale]
        events = events_of(here, markets)
        mean, error = clustered(events.profit, np.arange(len(events)))
        contracts = float(events.contracts.mean(axis=0).sum())
        found.append(
            {
                "contestant": here[0].contestant,
                "scale": scale,
                "contracts_per_episode": contracts / int(events.episodes.sum()),
                "profit_per_event": mean,
                "error": number(error),
                "profit_per_contract_cents": metrics.per_contract_cents(float(events.profit.sum()), contracts),
            }
        )
    return found


def sentence(results: Sequence[Mapping[str, Any]], bands: Sequence[Mapping[str, Any]], judged: Sequence[str]) -> str:
    """The honest verdict: of each that is judged, under the calibrated queue, with the events that it rests on.

    Where nobody is judged, of the best of those that trade.
    """
    middle = [one for one in results if one["fill_model"] == CALIBRATED] or list(results)
    pessimistic = {one["contestant"]: one["pessimistic"] for one in bands}
    named = [one for one in middle if one["contestant"] in judged]
    if named:
        return " ".join(_said(one, pessimistic.get(one["contestant"])) for one in named)
    others = [one for one in middle if one["trading"]["orders"]]
    if not others:
        return "Nobody traded."
    best = max(others, key=lambda one: float(one["profit"]["per_event"]))
    return f"Nobody is judged; of {len(others)} that trade the best is {best['contestant']}. " + _said(
        best, pessimistic.get(best["contestant"])
    )


def _said(result: Mapping[str, Any], pessimistic: float | None) -> str:
    verdict, profit = result["verdict"], result["profit"]
    words = str(verdict["words"])
    amount = dollars(profit["per_event"])
    if profit["low"] is not None and profit["high"] is not None:
        amount += f" ({dollars(profit['low'])} to {dollars(profit['high'])})"
    said = f"{result['contestant']} {'is ' if words.startswith('not ') else ''}{words}: {amount} an event"
    if verdict["distinguishable"] and pessimistic is not None:
        said += f", {dollars(pessimistic)} with the worst queue"
    if verdict["p"] is not None and verdict["events"] < ENOUGH:
        said += "; the events are few"
    return said + "."


def dollars(amount: float) -> str:
    """-$0.25; more digits of what is less than a cent."""
    digits = f"{abs(amount):,.2f}" if abs(amount) >= 0.005 or not amount else f"{abs(amount):.2g}"
    return f"{'-' if amount < 0 else ''}${digits}"
