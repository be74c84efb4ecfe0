"""How the venue treats orders: knobs of the trading half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from kflow.units import DOLLAR_MONEY, Money

CASH: Final = Money(10_000 * DOLLAR_MONEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Defaults are those of a fast venue that has nothing to hide; times are seconds."""

    cash: Money = CASH  # what an account starts with
    tier: str = "premier"  # of its token buckets; `unlimited` has none
    order_latency_s: float = 0.0  # from a request to its effect
    feed_latency_s: float = 0.0  # from an effect to the frames that tell of it
    read_lag_s: float = 0.0  # REST reads show orders, fills, positions and balance as they were so long ago
    # Whether a party hears of its fill before the public trade, after it, or now so, now so.
    fill_order: Literal["random", "fill", "trade"] = "random"
    post_only_cross: Literal["reject", "cancel"] = "reject"  # 400, or accepted and canceled at once
    cancel_all_s: float = 60.0  # a cancel-all takes orders that come so long after it, too
    seed: int = 7


class OrderRefused(Exception):
    """An order command that has no effect. `code` and `details` are told to whoever gave it."""

    def __init__(self, status: int, code: str, details: str) -> None:
        self.status, self.code, self.details = status, code, details
        super().__init__(f"{code}: {details}")
