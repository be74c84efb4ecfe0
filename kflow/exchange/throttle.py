"""How much a user may ask: token buckets per account, one for reads and one for writes (protocol section 5.2). Pure.

A bucket refills continuously. A request that does not find its tokens takes none, and nothing is held against it.
Shards above 0 have a write bucket each: a write that names its shard is charged there, one that leaves the routing to
the venue is charged everywhere.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from kflow.clock import NS_PER_S

PREFIX: Final = "/trade-api/v2"
UNLIMITED: Final = "unlimited"

# Tokens per second for reads and writes; premier and above as since 2026-09-24.
TIERS: Final[dict[str, tuple[int, int]]] = {
    "basic": (200, 100),
    "advanced": (300, 300),
    "expert": (600, 600),
    "premier": (1_200, 1_200),
    "paragon": (2_400, 2_400),
    "prime": (4_800, 4_800),
    "prestige": (12_000, 9_600),
}
# What `unlimited` claims to clients that pace themselves by it.
_CLAIMED: Final = (1_000_000, 1_000_000)

DEFAULT_COST: Final = 10
_LEGACY: Final = 100
# What differs from the default. Of a batch: per item.
COSTS: Final[dict[tuple[str, str], int]] = {
    ("DELETE", "/portfolio/events/orders"): 2,
    ("DELETE", "/portfolio/events/orders/:order_id"): 2,
    ("DELETE", "/portfolio/events/orders/batched"): 2,
    ("GET", "/portfolio/orders/:order_id"): 2,
    ("POST", "/account/api_usage_level/upgrade"): 30,
    ("POST", "/portfolio/orders"): _LEGACY,
    ("POST", "/portfolio/orders/batched"): _LEGACY,
    ("POST", "/portfolio/orders/:order_id/amend"): _LEGACY,
    ("POST", "/portfolio/orders/:order_id/decrease"): _LEGACY,
    ("DELETE", "/portfolio/orders/batched"): _LEGACY,
    ("DELETE", "/portfolio/orders/:order_id"): _LEGACY,
}


def cost(method: str, path: str) -> int:
    """Tokens of one request. `path` is a route's, below the prefix, with parameters in braces."""
    return COSTS.get((method, path.replace("{", ":").replace("}", "")), DEFAULT_COST)


class Bucket:
    """Tokens that refill at `rate` per second up to `capacity`; full at first."""

    __slots__ = ("_at_ns", "_held", "capacity", "rate")

    def __init__(self, rate: int, capacity: int, now_ns: int) -> None:
        self.rate, self.capacity = rate, capacity
        self._held = capacity * NS_PER_S  # in 1e-9 token, so that refilling is exact
        self._at_ns = now_ns

    def holds(self, tokens: int, now_ns: int) -> bool:
        """Whether so many are there. `now_ns` never decreases."""
        self._held = min(self.capacity * NS_PER_S, self._held + self.rate * (now_ns - self._at_ns))
        self._at_ns = now_ns
        return self._held >= tokens * NS_PER_S

    def take(self, tokens: int) -> None:
        """Take tokens that `holds` has found."""
        self._held -= tokens * NS_PER_S


class Throttle:
    """The buckets of every user."""

    def __init__(self, tier: str, shards: Collection[int] = ()) -> None:
        """`tier` is everyone's at first; `shards` are those above 0. Raises KeyError for a tier there is not."""
        if tier != UNLIMITED:
            TIERS[tier]
        self._tier, self._shards = tier, tuple(shards)
        self._upgraded: dict[str, str] = {}
        self._buckets: dict[tuple[str, bool, int], Bucket] = {}  # by user, whether it is for writes, shard

    @property
    def free(self) -> bool:
        """Whether nobody is ever charged."""
        return self._tier == UNLIMITED and not self._upgraded

    def tier(self, user_id: str) -> str:
        return self._upgraded.get(user_id, self._tier)

    def upgrade(self, user_id: str, tier: str) -> None:
        """Give a user another tier, with full buckets."""
        self._upgraded[user_id] = tier
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if name[0] != user_id}

    def take(self, user_id: str, tokens: int, now_ns: int, *, write: bool, shard: int | None = 0) -> bool:
        """Charge a request, whole or not at all. `shard` None: routed by the venue. `now_ns`: monotonic."""
        if self.tier(user_id) == UNLIMITED:
            return True
        shards = (0, *self._shards) if shard is None else (shard if shard in self._shards else 0,)
        buckets = [self._bucket((user_id, write, number), now_ns) for number in shards]
        if not all(bucket.holds(tokens, now_ns) for bucket in buckets):
            return False
        for bucket in buckets:
            bucket.take(tokens)
        return True

    def limits(self, user_id: str) -> dict[str, Any]:
        """A user's tier and buckets as `GET /account/limits` shows them."""
        tier = self.tier(user_id)
        buckets = {name: _size(tier, write=write) for name, write in (("read", False), ("write", True))}
        shown = {name: {"refill_rate": rate, "bucket_capacity": most} for name, (rate, most) in buckets.items()}
        return {"usage_tier": tier, **shown, "grants": []}

    def _bucket(self, name: tuple[str, bool, int], now_ns: int) -> Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            rate, capacity = _size(self.tier(name[0]), write=name[1])
            bucket = self._buckets[name] = Bucket(rate, capacity, now_ns)
        return bucket


def _size(tier: str, *, write: bool) -> tuple[int, int]:
    """Rate and capacity: one second's worth, but two of writes above basic."""
    rate = TIERS.get(tier, _CLAIMED)[write]
    return rate, 2 * rate if write and tier != "basic" else rate


def costs_document() -> dict[str, Any]:
    """What `GET /account/endpoint_costs` answers: whole paths, parameters behind a colon."""
    listed = [{"method": method, "path": PREFIX + path, "cost": tokens} for (method, path), tokens in COSTS.items()]
    return {"default_cost": DEFAULT_COST, "endpoint_costs": listed}
