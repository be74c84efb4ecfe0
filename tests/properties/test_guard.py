"""Nothing passes the guard that breaks a rule: random orders against the rules said once more, in other words."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.act.denials import Counters, Reason
from kflow.act.guard import Facts, Open, check
from kflow.act.limits import Limits
from kflow.act.orders import Intent
from kflow.act.pace import NEVER, Pace, Paced
from kflow.act.standing import Standing
from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid
from kflow.units import Price, Size

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND
BLOCK = 10_000
SCHEDULES = {kind: FeeSchedule.parse(kind, 1) for kind in ("quadratic", "quadratic_with_maker_fees")}
RATES = {kind: schedule.whole() for kind, schedule in SCHEDULES.items()}
GRIDS = {name: Grid.named(name) for name in ("linear_cent", "deci_cent")}
STEPS = {"linear_cent": 100, "deci_cent": 10}
LIMITS = tuple(
    msgspec.structs.replace(Limits(), **values, sha256="")
    for values in (
        dict[str, int](),
        {
            "order_size": 500,
            "order_cost": 3_000_000,
            "collar": 300,
            "cross": 0,
            "market_size": 2_000,
            "market_orders": 2,
        },
        {"market_risk": 10_000_000, "event_risk": 12_000_000, "total_risk": 15_000_000, "throttle_us": 2 * SECOND},
        {"daily_loss": 0, "drawdown": 0, "fills_per_minute": 1, "total_orders": 1, "close_us": 0, "duplicate_us": 0},
    )
)

Row = dict[str, Any]


def around(rng: np.random.Generator, *edges: int) -> list[int]:
    """Numbers about edges: mostly far inside, sometimes at one, one before or beyond."""
    at = rng.choice(edges, BLOCK) + rng.choice([-1, 0, 1], BLOCK, p=[0.3, 0.4, 0.3])
    inside = rng.integers(0, max(min(edges) // 4, 1) + 1, BLOCK)
    found: list[int] = np.where(rng.random(BLOCK) < 0.08, np.maximum(at, 0), inside).tolist()
    return found


def pick(rng: np.random.Generator, usual: Any, *rare: Any, share: float = 0.012) -> list[Any]:
    """Nearly always the usual value."""
    values = [usual, *rare]
    places = np.where(rng.random(BLOCK) < share, rng.integers(0, len(values), BLOCK), 0)
    return [values[place] for place in places.tolist()]


def rows(seed: int) -> Iterator[Row]:
    """Random orders and facts, a block of them."""
    rng = np.random.default_rng(seed)
    grid = rng.choice(list(GRIDS), BLOCK, p=[0.7, 0.3]).tolist()
    bid = rng.integers(2, 97, BLOCK) * 100
    ask = bid + rng.choice([0, 100, 200, 500, 900], BLOCK, p=[0.01, 0.49, 0.3, 0.15, 0.05])
    side = rng.integers(0, 2, BLOCK)
    wished = np.where(side == 0, ask, 10_000 - bid) + rng.choice(
        [-1_500, -1_000, -300, -100, 0, 100, 110, 200, 5], BLOCK, p=[0.03, 0.03, 0.2, 0.2, 0.4, 0.05, 0.05, 0.02, 0.02]
    )
    columns: dict[str, list[Any]] = {
        "limits": rng.integers(0, len(LIMITS), BLOCK).tolist(),
        "grid": [None if missing else name for name, missing in zip(grid, pick(rng, False, True), strict=True)],
        "kind": pick(rng, "quadratic", "quadratic_with_maker_fees", None, share=0.3),
        "side": side.tolist(),
        "price": wished.tolist(),
        "size": pick(rng, 100, 0, 1, 1, 499, 500, 500, 501, 999, 1_000, 1_001, share=0.5),
        "immediate": (rng.random(BLOCK) < 0.6).tolist(),
        "reduce_only": (rng.random(BLOCK) < 0.15).tolist(),
        "expires": pick(rng, "fit", None, NOW, NOW + 1, NOW + 60 * SECOND, NOW + 60 * SECOND + 1, share=0.05),
        "standing": pick(rng, Standing.ACTIVE, Standing.REDUCING, Standing.REDUCING, Standing.HALTED, None, share=0.2),
        "epoch": pick(rng, 5, 4, 6, None),
        "market_open": pick(rng, True, False, None),
        "frozen": pick(rng, False, True, None),
        "now_us": pick(rng, NOW, None, share=0.002),
        "close_in": pick(rng, 3_600 * SECOND, 60 * SECOND, 60 * SECOND - 1, -1, None, share=0.05),
        "book_valid": pick(rng, True, False, None),
        "book_age_us": around(rng, 5 * SECOND),
        "bid": bid.tolist(),
        "ask": ask.tolist(),
        "quoted": rng.choice([0, 1, 2, 3], BLOCK, p=[0.01, 0.03, 0.03, 0.93]).tolist(),
        "last": (bid + rng.choice([0, 100, -1_000, 1_000], BLOCK)).tolist(),
        "finite": pick(rng, True, False, None),
        "observed_us": around(rng, 5 * SECOND),
        "verified": pick(rng, True, False, None),
        "position": pick(rng, 0, *(100, -100, 1_000, -1_000) * 4, 4_000, -4_000, 4_900, -1_999, share=0.7),
        "open": rng.integers(0, 5, BLOCK).tolist(),
        "open_side": rng.integers(0, 2, (BLOCK, 4)).tolist(),
        "open_price": (rng.integers(1, 60, (BLOCK, 4)) * 100).tolist(),
        "open_left": rng.choice([1, 100, 500], (BLOCK, 4)).tolist(),
        "orders": around(rng, 1, 20),
        "cash": pick(rng, 50_000_000, 0, 173_350, 4_673_349, 4_673_350, None, share=0.08),
        "market_risk": around(rng, 25_000_000, 10_000_000),
        "event_risk": around(rng, 50_000_000, 12_000_000),
        "total_risk": around(rng, 100_000_000, 15_000_000),
        "today": pick(rng, 0, 10**6, -1, -50_000_000, -50_000_001, None, share=0.04),
        "drawdown": pick(rng, 0, 1, 60_000_000, 60_000_001, None, share=0.04),
        "waited_us": pick(rng, NEVER, 2 * SECOND, 2 * SECOND - 1, SECOND // 4, SECOND // 4 - 1, share=0.1),
        "same_us": pick(rng, NEVER, SECOND, SECOND - 1, 0, share=0.05),
        "tokens": pick(rng, 5, 1, 0, share=0.05),
        "fills": pick(rng, 0, 1, 29, 30, share=0.05),
        "hash": pick(rng, True, False),
        "missing": pick(rng, "", *sorted(Facts.__dataclass_fields__.keys() - {"bid", "ask", "last"}), share=0.02),
    }  # fmt: skip
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


INTENT = Intent(
    run=uuid.UUID(int=7), number=1, market="M", action="", side=0, price=1, size=1, immediate=True, decided_us=NOW,
    version=1, digest="", epoch=5, limits="",
)  # fmt: skip


def made(row: Row) -> tuple[Intent, Facts, Limits]:
    limits = LIMITS[row["limits"]]
    expires = row["expires"]
    if expires == "fit":
        expires = None if row["immediate"] else NOW + 30 * SECOND
    intent = replace(
        INTENT,
        **{name: row[name] for name in ("side", "price", "size", "immediate", "reduce_only")},
        expires_us=expires,
        limits=limits.sha256 if row["hash"] else "other",
    )
    known = {
        name: row[name] for name in Facts.__dataclass_fields__ if name in row and name not in ("grid", "bid", "ask")
    }
    facts = Facts(
        **known,
        grid=GRIDS.get(row["grid"]),
        fees=RATES.get(row["kind"]),
        bid=row["bid"] if row["quoted"] & 1 else None,
        ask=row["ask"] if row["quoted"] & 2 else None,
        close_us=None if row["close_in"] is None else NOW + row["close_in"],
        own=tuple(Open(*order) for order in zip(row["open_side"], row["open_price"], row["open_left"], strict=True))[
            : row["open"]
        ],
        pace=Paced(row["waited_us"], row["same_us"], row["tokens"], row["fills"]),
    )
    if row["missing"]:
        missing: Row = {row["missing"]: None}
        facts = replace(facts, **missing)
    return intent, facts, limits


def broken_rules(intent: Intent, facts: Facts, limits: Limits) -> list[str]:
    """Every rule that an order breaks, said on the axis of its own side: sizes towards it are positive."""
    toward = 1 if intent.side == 0 else -1
    yes = intent.price if intent.side == 0 else 10_000 - intent.price
    schedule = next((SCHEDULES[kind] for kind, rates in RATES.items() if rates is facts.fees), None)
    step = next((STEPS[name] for name, grid in GRIDS.items() if grid is facts.grid), None)
    fee = None
    if schedule is not None:
        fee = 0
        if 0 < intent.price < 10_000:
            fee = schedule.trade_fee(Price(intent.price), Size(intent.size), taker=True) + schedule.balance_precision
    opens = before = None
    if facts.position is not None and facts.own is not None:
        before = toward * facts.position + sum(order.left for order in facts.own if order.side == intent.side)
        opens = max(before + intent.size, 0) - max(before, 0)
    risk = 0 if opens == 0 else None if opens is None or fee is None else intent.price * opens + fee

    def risky(now: int | None, most: int) -> bool:
        if now is None or risk is None or fee is None:
            return True
        return risk > 0 and now + risk > most

    near = [price for price in (facts.bid, facts.ask) if price is not None]
    if len(near) == 2:
        off: float | None = abs(yes - sum(near) / 2)
    else:
        off = None if facts.last is None else max(abs(yes - price) for price in (*near, facts.last))
    beyond = [toward * (yes - price) for price in (facts.ask if toward > 0 else facts.bid,) if price is not None]
    rests_for = None if intent.expires_us is None or facts.now_us is None else intent.expires_us - facts.now_us
    pace = facts.pace
    rules: dict[str, bool] = {
        "halted": facts.standing not in (Standing.ACTIVE, Standing.REDUCING),
        "reducing": facts.standing != Standing.ACTIVE and (opens != 0 or intent.size <= 0),
        "market_closed": facts.market_open is not True,
        "frozen": facts.frozen is not False,
        "closing": facts.close_us is None or facts.now_us is None or facts.now_us > facts.close_us - limits.close_us,
        "book_invalid": facts.book_valid is not True,
        "book_old": facts.book_age_us is None or facts.book_age_us > limits.book_us,
        "book_crossed": near != sorted(set(near)) or not all(1 <= price <= 9_999 for price in near),
        "observation": facts.finite is not True,
        "observation_old": facts.observed_us is None or facts.observed_us > limits.book_us,
        "model": facts.verified is not True,
        "size": not 1 <= intent.size <= limits.order_size,
        "cost": fee is None or intent.price * intent.size + fee > limits.order_cost,
        "price": not 1 <= intent.price <= 9_999,
        "tick": step is None or yes % step != 0 or not 0 < yes < 10_000,
        "collar": off is None or off > limits.collar,
        "crossing": any(distance > limits.cross for distance in beyond),
        "expiry": intent.expires_us is not None if intent.immediate else not 0 < (rests_for or 0) <= limits.order_us,
        "nothing_to_close": intent.reduce_only and opens != 0,
        "position": before is None or (before + intent.size > limits.market_size),
        "market_risk": risky(facts.market_risk, limits.market_risk),
        "event_risk": risky(facts.event_risk, limits.event_risk),
        "total_risk": risky(facts.total_risk, limits.total_risk),
        "cash": facts.cash is None or opens is None or fee is None or intent.price * opens + fee > facts.cash,
        "open_orders": facts.own is None or len(facts.own) + 1 > limits.market_orders,
        "all_orders": facts.orders is None or facts.orders + 1 > limits.total_orders,
        "duplicate": pace is None or pace.same_us < limits.duplicate_us,
        "own_order": facts.own is None
        or any(order.side != intent.side and order.price >= 10_000 - intent.price for order in facts.own),
        "throttle": pace is None or pace.waited_us < limits.throttle_us,
        "bucket": pace is None or pace.tokens < 1,
        "fills": pace is None or pace.fills >= limits.fills_per_minute,
        "daily_loss": facts.today is None or facts.today < -limits.daily_loss,
        "drawdown": facts.drawdown is None or facts.drawdown > limits.drawdown,
        "limits": intent.limits != limits.sha256,
        "lease": facts.epoch != intent.epoch,
    }
    return [name for name, broken in rules.items() if broken]


def compared(blocks: range) -> tuple[Counters, Counter[str]]:
    """Random orders past the guard and the rules: the guard's counts, and how often a rule was the only one broken."""
    counters, alone = Counters(), Counter[str]()
    for seed in blocks:
        for row in rows(seed):
            intent, facts, limits = made(row)
            denial = check(intent, facts, limits)
            broken = broken_rules(intent, facts, limits)
            counters.count(denial)
            assert (denial is None) == (not broken), (denial, broken, row)
            if denial is not None:
                assert denial.reason == broken[0], (denial, broken, row)
            if len(broken) == 1:
                alone[broken[0]] += 1
    return counters, alone


def require_none(blocks: range) -> None:
    counters, alone = compared(blocks)
    assert counters.passed + sum(counters.denied.values()) == len(blocks) * BLOCK
    assert counters.passed > len(blocks) * BLOCK // 10
    # Each check was all that stood between some order and the venue; only a price of none is off the grid, too.
    assert alone.keys() | {"price"} == {str(reason) for reason in Reason}


def test_nothing_leaves_that_breaks_a_rule() -> None:
    require_none(range(2))


@pytest.mark.slow
def test_of_a_million_orders_nothing_leaves_that_breaks_a_rule() -> None:
    require_none(range(100, 200))


# --- pace

STEP = st.tuples(
    st.integers(0, 2) | st.integers(0, 3 * SECOND) | st.sampled_from([SECOND // 4, SECOND, 60 * SECOND]),
    st.sampled_from("MN"),
    st.integers(1, 3),
    st.booleans(),
)
PACES = st.builds(
    lambda burst, rate, throttle, duplicate, fills: Limits(
        burst=burst,
        orders_per_minute=rate,
        throttle_us=throttle,
        duplicate_us=duplicate,
        fills_per_minute=fills,
    ),
    st.integers(1, 5),
    st.integers(1, 600),
    st.integers(0, 2 * SECOND),
    st.integers(0, 5 * SECOND),
    st.integers(0, 20),
)
FACTS = Facts(
    standing=Standing.ACTIVE, epoch=5, market_open=True, frozen=False, now_us=NOW, close_us=NOW + 10**12,
    grid=GRIDS["linear_cent"], fees=RATES["quadratic"], book_valid=True, book_age_us=0, bid=4_400, ask=4_500,
    finite=True, observed_us=0, verified=True, position=0, own=(), orders=0, cash=10**9, market_risk=0, event_risk=0,
    total_risk=0, today=0, drawdown=0,
)  # fmt: skip


@settings(max_examples=200)
@given(PACES, st.lists(STEP, max_size=80), st.booleans())
def test_in_every_stretch_no_more_leaves_than_may(limits: Limits, steps: list[Any], lowered: bool) -> None:
    pace, now, bounds = Pace(limits), 0, limits
    left: list[tuple[int, str, int]] = []
    fills: list[int] = []
    for place, (wait, market, hundreds, filled) in enumerate(steps):
        now += wait
        if lowered and place == len(steps) // 2:
            # Stricter ones: what holds of the looser ones before has to go on holding.
            bounds = pace.limits = msgspec.structs.replace(
                limits, burst=1, throttle_us=limits.throttle_us * 2, sha256=""
            )
        intent = replace(INTENT, market=market, price=4_500, size=hundreds * 100, limits=bounds.sha256)
        denial = check(intent, replace(FACTS, pace=pace.of(intent, now)), bounds)
        if denial is None:
            pace.sent(intent, now)
            left.append((now, market, hundreds))
            if filled:
                pace.filled(now)
                fills.append(now)
            assert sum(us > now - 60 * SECOND for us in fills) <= bounds.fills_per_minute
        else:
            assert denial.reason in (Reason.DUPLICATE, Reason.THROTTLE, Reason.BUCKET, Reason.FILLS)
    for first, (start, market, size) in enumerate(left):
        for last in range(first, len(left)):
            end = left[last][0]
            # Orders x 60 s, in whole numbers.
            assert (last - first + 1) * 60 * SECOND <= limits.burst * 60 * SECOND + limits.orders_per_minute * (
                end - start
            )
            if last > first and left[last][1] == market:
                assert end - start >= limits.throttle_us
                assert end - start >= limits.duplicate_us or left[last][2] != size
