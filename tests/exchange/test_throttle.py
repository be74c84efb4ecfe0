"""Token buckets: who may ask how much."""

from __future__ import annotations

import pytest

from kflow.clock import NS_PER_S
from kflow.exchange.throttle import TIERS, UNLIMITED, Throttle, cost, costs_document


def taken(throttle: Throttle, tokens: int, now_ns: int, *, user: str = "u", write: bool = True) -> int:
    """How many requests of so many tokens go through at one moment."""
    count = 0
    while throttle.take(user, tokens, now_ns, write=write):
        count += 1
        assert count < 100_000
    return count


@pytest.mark.parametrize(
    ("tier", "reads", "writes"), [("basic", 20, 10), ("expert", 60, 120), ("prestige", 1200, 1920)]
)
def test_a_full_bucket_holds_a_second_of_reads_and_two_of_writes_above_basic(
    tier: str, reads: int, writes: int
) -> None:
    throttle = Throttle(tier)
    assert taken(throttle, 10, 0, write=False) == reads
    assert taken(throttle, 10, 0) == writes


def test_it_refills_continuously_and_to_the_token() -> None:
    throttle = Throttle("basic")
    assert taken(throttle, 10, 0) == 10
    assert not throttle.take("u", 10, NS_PER_S // 10 - 1, write=True)
    assert throttle.take("u", 10, NS_PER_S // 10, write=True)
    assert not throttle.take("u", 1, NS_PER_S // 10, write=True)


def test_many_small_refills_lose_nothing() -> None:
    throttle = Throttle("basic")
    assert taken(throttle, 100, 0) == 1
    for step in range(1, 1000):
        assert not throttle.take("u", 100, step * NS_PER_S // 1000, write=True)
    assert throttle.take("u", 100, NS_PER_S, write=True)


def test_it_never_holds_more_than_its_capacity() -> None:
    throttle = Throttle("basic")
    assert taken(throttle, 10, 3600 * NS_PER_S) == 10


def test_what_does_not_fit_takes_nothing() -> None:
    throttle = Throttle("basic")
    assert not throttle.take("u", 101, 0, write=True)
    assert throttle.take("u", 100, 0, write=True)


def test_users_and_reads_and_writes_have_buckets_of_their_own() -> None:
    throttle = Throttle("basic")
    assert taken(throttle, 10, 0) == 10
    assert taken(throttle, 10, 0, write=False) == 20
    assert taken(throttle, 10, 0, user="another") == 10


def test_a_named_shard_is_charged_alone_and_a_routed_write_everywhere() -> None:
    throttle = Throttle("basic", shards=[1, 2])
    assert throttle.take("u", 100, 0, write=True, shard=2)
    assert not throttle.take("u", 10, 0, write=True, shard=2)
    assert not throttle.take("u", 10, 0, write=True, shard=None)
    assert throttle.take("u", 60, 0, write=True, shard=1)
    assert throttle.take("u", 100, 0, write=True, shard=0)
    later = NS_PER_S // 2
    assert throttle.take("u", 50, later, write=True, shard=None)
    assert not throttle.take("u", 1, later, write=True, shard=0)
    assert throttle.take("u", 40, later, write=True, shard=1)


def test_a_shard_that_is_not_there_is_charged_as_the_first() -> None:
    throttle = Throttle("basic")
    assert throttle.take("u", 100, 0, write=True, shard=7)
    assert not throttle.take("u", 1, 0, write=True, shard=0)


def test_unlimited_counts_nothing() -> None:
    throttle = Throttle(UNLIMITED)
    assert throttle.free
    assert all(throttle.take("u", 10**9, 0, write=True) for _ in range(100))
    assert throttle.limits("u")["usage_tier"] == "unlimited"


def test_an_upgrade_is_one_users_and_starts_with_full_buckets() -> None:
    throttle = Throttle("basic")
    assert taken(throttle, 10, 0) == 10
    throttle.upgrade("u", "advanced")
    assert taken(throttle, 10, 0) == 60
    assert taken(throttle, 10, 0, user="another") == 10
    assert throttle.limits("u") == {
        "usage_tier": "advanced",
        "read": {"refill_rate": 300, "bucket_capacity": 300},
        "write": {"refill_rate": 300, "bucket_capacity": 600},
        "grants": [],
    }


def test_a_tier_must_be_one_there_is() -> None:
    with pytest.raises(KeyError):
        Throttle("gold")
    assert list(TIERS) == ["basic", "advanced", "expert", "premier", "paragon", "prime", "prestige"]


@pytest.mark.parametrize(
    ("method", "path", "tokens"),
    [
        ("POST", "/portfolio/events/orders", 10),
        ("POST", "/portfolio/events/orders/{order_id}/amend", 10),
        ("POST", "/portfolio/events/orders/batched", 10),
        ("DELETE", "/portfolio/events/orders", 2),
        ("DELETE", "/portfolio/events/orders/{order_id}", 2),
        ("DELETE", "/portfolio/events/orders/batched", 2),
        ("GET", "/portfolio/orders", 10),
        ("GET", "/portfolio/orders/{order_id}", 2),
        ("POST", "/portfolio/orders/{order_id}/decrease", 100),
        ("POST", "/account/api_usage_level/upgrade", 30),
    ],
)
def test_costs(method: str, path: str, tokens: int) -> None:
    assert cost(method, path) == tokens


def test_only_other_costs_than_the_default_are_listed_with_whole_paths() -> None:
    document = costs_document()
    assert document["default_cost"] == 10
    assert all(entry["cost"] != 10 for entry in document["endpoint_costs"])
    one = {"method": "DELETE", "path": "/trade-api/v2/portfolio/events/orders/:order_id", "cost": 2}
    assert one in document["endpoint_costs"]
