"""What is seen at a moment, in words: for the ladder as text and as picture."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from kflow.rl.sight import Own, Sight


def cents(dollars: float) -> str:
    """A price: 47¢, 47.5¢."""
    return f"{100 * dollars:.4g}¢"


def money(dollars: float) -> str:
    """An amount with its sign: +$1.20, -$0.05, $0.00."""
    rounded = round(dollars, 2)
    return f"{'-' if rounded < 0 else '+' if rounded > 0 else ''}${abs(rounded):,.2f}"


def held(position: float) -> str:
    """A position: 20 YES, 5 NO, none."""
    return f"{abs(position):,g} {'YES' if position > 0 else 'NO'}" if position else "none"


def own(orders: Sequence[Own]) -> str:
    """Own orders of a level, and the queue ahead of the first: 10, 250 ahead; 15 in 2, 250 ahead."""
    if not orders:
        return ""
    total = f"{sum(order.left for order in orders):g}{f' in {len(orders)}' if len(orders) > 1 else ''}"
    ahead = min((order.ahead for order in orders if order.ahead >= 0), default=None)
    return f"{total}, on its way" if ahead is None else f"{total}, {ahead:,.0f} ahead"


def flow(sight: Sight) -> str:
    """What takers did in the last 10 s."""
    return f"bought {sight.bought:,.0f}, sold {sight.sold:,.0f}"


def last(sight: Sight) -> str:
    """The latest trade of the last minute."""
    trade = sight.last
    if trade is None:
        return "none in a minute"
    return f"{'bought' if trade.bought else 'sold'} {trade.size:,.0f} at {cents(trade.price)}, {trade.ago:.1f} s ago"


def clock(at_us: int) -> str:
    """2026-01-01 00:12:09.250 UTC."""
    return f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}.{at_us // 1000 % 1000:03d} UTC"


def spread(sight: Sight) -> str:
    """What lies between the sides."""
    bid, ask = sight.touch
    if bid is None and ask is None:
        return "nobody quotes"
    if bid is None or ask is None:
        return "nobody bids" if bid is None else "nobody offers"
    return f"mid {cents((bid + ask) / 2)}, spread {cents(ask - bid)}"
