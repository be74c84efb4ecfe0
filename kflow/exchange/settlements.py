"""What a position paid out."""

from __future__ import annotations

import msgspec

from kflow.units import Money, Price, Size


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """One account's settlement of one market: what it had bought of each side, and what came back."""

    ticker: str
    event: str
    shard: int
    result: str  # yes, no or scalar
    value: Price  # of one YES contract
    yes_size: Size
    yes_cost: Money
    no_size: Size
    no_cost: Money
    fees: Money
    revenue: Money
    venue_us: int
