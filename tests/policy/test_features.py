"""What a policy sees: worked by hand on small books, within its bounds on any, and named by a hash that cannot lag."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.policy import features
from kflow.policy.features import FEATURES, MARKET, OWN, begin, encode_market, encode_own, observe
from kflow.rl.columns import market_columns
from kflow.testing.tapes import CENTS, random_tape

PRICES = [int(price) for price in CENTS.prices()]
C = len(PRICES)
AT = {feature.name: place for place, feature in enumerate(FEATURES)}


def book(levels: dict[int, int]) -> list[int]:
    """Sizes by column, of {cents: contracts}."""
    sizes = [0] * C
    for cents, contracts in levels.items():
        sizes[cents - 1] = contracts * 100
    return sizes


def seen(
    bids: dict[int, int],
    asks: dict[int, int],
    *,
    now_us: int = 0,
    close_us: int = -1,
    memory: list[float] | None = None,
) -> dict[str, float]:
    """The market's features of a book in cents and contracts."""
    bid, ask = max(bids, default=0) - 1, min(asks, default=C + 1) - 1
    kept = [0.0] * features.MEMORY if memory is None else memory
    if memory is None:
        begin(kept, now_us, PRICES[bid] if bids else 0, 0, PRICES[ask] if asks else 10_000, 0)
    out = [0.0] * len(MARKET)
    encode_market(kept, now_us, book(bids), book(asks), PRICES, bid, ask, close_us, 0.07, [0.0] * 6, out)
    return {feature.name: value for feature, value in zip(MARKET, out, strict=True)}


def log(value: float, most: float) -> float:
    return math.log1p(value) / math.log1p(most)


def test_a_book_by_hand() -> None:
    found = seen({40: 300, 38: 100, 20: 50}, {42: 100, 43: 400, 60: 9})
    assert found["mid"] == pytest.approx(0.41)
    assert found["spread"] == pytest.approx(0.2)
    assert found["sides"] == 0
    assert found["imbalance"] == pytest.approx(0.5)
    assert found["imbalance_2c"] == pytest.approx((400 - 500) / 900)
    assert found["imbalance_10c"] == pytest.approx((400 - 500) / 900)
    assert found["bid_size"] == pytest.approx(log(300, 100_000))
    assert found["ask_depth"] == pytest.approx(log(500, 1_000_000))
    assert found["bid_gap"] == pytest.approx(0.4)
    assert found["ask_gap"] == pytest.approx(0.2)
    assert found["buy_impact"] == pytest.approx(150 / 250 * 0.01 / 0.05)
    assert found["sell_impact"] == 0
    assert found["tick"] == pytest.approx(1)
    assert found["fee"] == pytest.approx(0.07 * 0.41 * 0.59 / 0.02)
    bid_vwap, ask_vwap = (300 * 40 + 100 * 38) / 400, (100 * 42 + 400 * 43) / 500
    micro = (bid_vwap * 500 + ask_vwap * 400) / 900
    assert found["micro"] == pytest.approx((micro - 41) / 5)


def test_absent_sides_count_as_what_a_contract_is_worth_at_least_and_at_most() -> None:
    assert seen({}, {30: 10})["mid"] == pytest.approx(0.15)
    assert seen({}, {30: 10})["sides"] == -1
    assert seen({30: 10}, {})["mid"] == pytest.approx(0.65)
    assert seen({30: 10}, {})["sides"] == 1
    assert seen({}, {})["mid"] == pytest.approx(0.5)


def test_the_close_is_seen_where_it_is_known() -> None:
    unknown = seen({40: 1}, {42: 1})
    assert (unknown["closes_in"], unknown["closes_soon"]) == (-1, 0)
    minute = seen({40: 1}, {42: 1}, close_us=60_000_000)
    assert minute["closes_in"] == pytest.approx(log(60, 604_800))
    assert minute["closes_soon"] == pytest.approx(math.exp(-1))
    assert seen({40: 1}, {42: 1}, now_us=2, close_us=1)["closes_in"] == 0


def test_flow_and_moves_fade_with_event_time() -> None:
    memory = [0.0] * features.MEMORY
    begin(memory, 0, 4_000, 10_000, 4_200, 10_000)
    observe(memory, 1_000_000, 5_000, 0, 2, 4_100, 10_000, 4_300, 10_000)
    at_once = seen({41: 100}, {43: 100}, now_us=1_000_000, memory=memory)
    later = seen({41: 100}, {43: 100}, now_us=11_000_000, memory=memory)
    assert at_once["flow_10s"] == pytest.approx(log(50, 10_000))
    assert later["flow_10s"] == pytest.approx(log(50 * math.exp(-1), 10_000))
    assert later["trades_10s"] == pytest.approx(log(2 * math.exp(-1), 1_000))
    assert at_once["volatility_10s"] == pytest.approx(math.sqrt(0.01**2 / 10) / 0.05)
    assert at_once["return_10s"] == pytest.approx(0.01 / 0.10, rel=1e-6)
    assert later["return_10s"] == pytest.approx(0.01 * math.exp(-1) / 0.10, rel=1e-6)
    assert at_once["silence"] == 0
    assert later["silence"] == pytest.approx(log(10, 60))
    # The bid rose: all of its size presses; so the ask rose: what stood there is gone.
    assert at_once["pressure_10s"] == pytest.approx(log(200, 100_000))


def test_mirrored_markets_look_mirrored() -> None:
    """What is signed turns, what is a pair of sides changes places."""
    bids, asks = {40: 300, 38: 100}, {42: 100, 43: 400}
    here = seen(bids, asks)
    there = seen(
        {100 - cents: size for cents, size in asks.items()}, {100 - cents: size for cents, size in bids.items()}
    )
    assert there["mid"] == pytest.approx(1 - here["mid"])
    for name in ("micro", "imbalance", "imbalance_2c", "imbalance_10c"):
        assert there[name] == pytest.approx(-here[name])
    for left, right in (("bid_size", "ask_size"), ("bid_gap", "ask_gap"), ("sell_impact", "buy_impact")):
        assert there[left] == pytest.approx(here[right])
    for name in ("spread", "tick", "fee"):
        assert there[name] == pytest.approx(here[name])


def test_what_is_own() -> None:
    # Two bids at 39 and 40 c, the latter in front of nobody; an offer of NO at column 45 (46 c on the YES axis).
    orders = [0, 38, 500, 7_000, 30_000_000, 0, 39, 1_000, 0, 6_000_000, 1, 45, 2_000, 100, 90_000_000]
    out = [0.0] * len(OWN)
    encode_own(-2_500, 990_000_000, 700_000_000, 1_000_000_000, 50_000, 10_000, PRICES, 40, 42, orders, 3, out, 0)
    found = {feature.name: value for feature, value in zip(OWN, out, strict=True)}
    assert found == pytest.approx(
        {
            "position": -0.05,
            "profit": -0.01,
            "free_cash": 0.7,
            "yes_open": 0.15,
            "yes_distance": 0.01 / 0.05,
            "yes_ahead": 0,
            "yes_age": 0.1,
            "no_open": 0.2,
            "no_distance": 0.03 / 0.05,
            "no_ahead": log(1, 100_000),
            "no_age": 1,
        }
    )


def test_without_orders_what_is_own_says_so() -> None:
    out = [0.0] * len(OWN)
    encode_own(0, 10, 10, 10, 1, 1, PRICES, 40, 42, [], 0, out, 0)
    assert out == [0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 0]


LEVELS = st.dictionaries(st.integers(1, 99), st.integers(1, 10**6), max_size=6)


@given(LEVELS, LEVELS, st.integers(0, 10**12), st.integers(-1, 10**12))
def test_nothing_leaves_its_bounds(bids: dict[int, int], asks: dict[int, int], now_us: int, close_us: int) -> None:
    found = seen(bids, asks, now_us=now_us, close_us=close_us)
    for feature in MARKET:
        assert feature.low <= found[feature.name] <= feature.high, feature


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1_000))
def test_whole_tapes_stay_in_bounds(seed: int) -> None:
    rows = market_columns(random_tape(np.random.default_rng(seed)), 0, 100_000, 0.07)
    assert np.isfinite(rows).all()
    low, high = np.array([[feature.low, feature.high] for feature in MARKET]).T
    assert (rows >= low).all()
    assert (rows <= high).all()


def test_every_feature_is_documented_and_named_once() -> None:
    assert len(AT) == len(FEATURES) == len(MARKET) + len(OWN)
    assert all(feature.unit and feature.formula and feature.low < feature.high for feature in FEATURES)


def test_other_numbers_need_another_schema() -> None:
    """Where this fails, what policies see has changed: raise `features._REVISION`, and put both new values here."""
    rows = [market_columns(random_tape(np.random.default_rng(seed)), 0, 100_000, 0.07) for seed in range(3)]
    digest = hashlib.sha256(b"".join(np.round(row, 5).astype("<f4").tobytes() for row in rows)).hexdigest()[:16]
    assert (features.SCHEMA, digest) == ("4658d6375d23dea9", "915b5edf79448b13")
