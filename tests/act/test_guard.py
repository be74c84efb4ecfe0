"""Each check by itself, at its edge and one beyond; then all of them together: the first that fails is told."""

from __future__ import annotations

import itertools
import math
import uuid
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from kflow.act.denials import Counters, Denial, Reason, tables
from kflow.act.guard import Facts, Open, check, check_cancel, check_renewal
from kflow.act.limits import Limits
from kflow.act.orders import Intent
from kflow.act.pace import NEVER, Paced
from kflow.act.standing import Standing
from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_700_000_000_000_000
SECOND = 1_000_000
LIMITS = Limits()
CENTS = Grid.named("linear_cent")
# Worst fee of 10 at 45 c: 0.07 x 0.45 x 0.55 x 10 = $0.17325, and $0.0001 of rounding.
FEE = 173_250 + 100
COST = 4_500_000 + FEE

# Buys 10 YES at 45 c, where 44 are bid and 45 asked.
INTENT = Intent(
    run=uuid.UUID(int=7),
    number=1,
    market="M",
    action="BUY_YES 10",
    side=0,
    price=4_500,
    size=1_000,
    immediate=True,
    decided_us=NOW,
    version=3,
    digest="d",
    epoch=5,
    limits=LIMITS.sha256,
)
FACTS = Facts(
    standing=Standing.ACTIVE,
    epoch=5,
    market_open=True,
    frozen=False,
    now_us=NOW,
    close_us=NOW + 3_600 * SECOND,
    grid=CENTS,
    fees=FeeSchedule.parse("quadratic", 1).whole(),
    book_valid=True,
    book_age_us=1_000,
    bid=4_400,
    ask=4_500,
    finite=True,
    observed_us=1_000,
    verified=True,
    position=0,
    own=(Open(1, 5_400, 100),),
    orders=1,
    cash=100_000_000,
    market_risk=0,
    event_risk=0,
    total_risk=0,
    today=0,
    drawdown=0,
    pace=Paced(NEVER, NEVER, 5, 0),
)
PACE = FACTS.pace
assert PACE is not None


def reason(limits_: dict[str, int] | None = None, **changes: Any) -> Reason | None:
    """Why the order is denied with some of it, of the facts or of the limits changed."""
    bounds = msgspec.structs.replace(LIMITS, **limits_ or {})
    names = {item.name for item in fields(Intent)} - {"epoch"}  # the lease's epoch is changed, not the order's
    intent = replace(INTENT, **{name: value for name, value in changes.items() if name in names})
    paced = {name: value for name, value in changes.items() if name in Paced._fields}
    assert PACE is not None
    facts = replace(FACTS, **{name: v for name, v in changes.items() if name not in names and name not in paced})
    if paced:
        facts = replace(facts, pace=PACE._replace(**paced))
    denial = check(intent, facts, bounds)
    return None if denial is None else denial.reason


def test_the_order_that_the_others_are_made_from_passes() -> None:
    assert check(INTENT, FACTS, LIMITS) is None


NO = {"side": 1, "price": 5_600}  # the same book from the other side: NO is asked at 56 c
RESTS = {"immediate": False, "price": 4_400}
SELLS = {"side": 1, "price": 5_600, "reduce_only": True}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # the actor and the market
        ({"standing": Standing.HALTED}, Reason.HALTED),
        ({"standing": Standing.REDUCING}, Reason.REDUCING),
        ({"standing": Standing.REDUCING, "position": -1_000}, None),
        ({"standing": Standing.REDUCING, "position": -999}, Reason.REDUCING),
        ({"standing": Standing.REDUCING, "position": 1_000}, Reason.REDUCING),
        ({"standing": Standing.REDUCING, "position": 1_099, **NO}, Reason.REDUCING),
        ({"standing": Standing.REDUCING, "position": 1_100, **NO}, None),
        ({"standing": Standing.REDUCING, "position": -1_000, "own": [Open(0, 4_400, 1)]}, Reason.REDUCING),
        ({"standing": Standing.REDUCING, "position": -1_001, "own": [Open(0, 4_400, 1)]}, None),
        ({"market_open": False}, Reason.MARKET_CLOSED),
        ({"frozen": True}, Reason.FROZEN),
        ({"close_us": NOW + 60 * SECOND}, None),
        ({"close_us": NOW + 60 * SECOND - 1}, Reason.CLOSING),
        ({"close_us": NOW - 1}, Reason.CLOSING),
        ({"close_us": -1}, Reason.CLOSING),
        # the book
        ({"book_valid": False}, Reason.BOOK_INVALID),
        ({"book_age_us": 5 * SECOND}, None),
        ({"book_age_us": 5 * SECOND + 1}, Reason.BOOK_OLD),
        ({"book_age_us": -1}, Reason.BOOK_OLD),
        ({"bid": 4_499}, None),
        ({"bid": 4_500}, Reason.BOOK_CROSSED),
        ({"bid": 4_501}, Reason.BOOK_CROSSED),
        ({"bid": 0}, Reason.BOOK_CROSSED),
        ({"ask": 10_000}, Reason.BOOK_CROSSED),
        # what was decided on
        ({"finite": False}, Reason.OBSERVATION),
        ({"observed_us": 5 * SECOND}, None),
        ({"observed_us": 5 * SECOND + 1}, Reason.OBSERVATION_OLD),
        ({"verified": False}, Reason.MODEL),
        # the order
        ({"size": 0}, Reason.SIZE),
        ({"size": -1}, Reason.SIZE),
        ({"size": 1}, None),
        ({"limits_": {"order_size": 999}}, Reason.SIZE),
        ({"limits_": {"order_size": 1_000}}, None),
        ({"size": 1_001}, Reason.SIZE),
        ({"side": 2}, Reason.SIZE),
        ({"side": True}, Reason.SIZE),
        ({"limits_": {"order_cost": COST}}, None),
        ({"limits_": {"order_cost": COST - 1}}, Reason.COST),
        ({"price": 0}, Reason.PRICE),
        ({"price": -4_500}, Reason.PRICE),
        ({"price": 10_000, "size": 1}, Reason.PRICE),
        ({"price": 4_450}, Reason.TICK),
        ({"price": 4_450, "grid": Grid.named("center_half_edge_half_cent")}, None),
        ({"side": 1, "price": 5_650}, Reason.TICK),
        # 44.5 is the middle
        ({"price": 3_500, "limits_": {"collar": 950}}, None),
        ({"price": 3_500, "limits_": {"collar": 949}}, Reason.COLLAR),
        ({"price": 5_400, "limits_": {"collar": 949}}, Reason.COLLAR),
        ({"price": 5_400, "own": [], "limits_": {"collar": 950, "cross": 900}}, None),
        ({"ask": None, "last": 4_400}, None),
        ({"ask": None, "last": 3_500}, None),
        ({"ask": None, "last": 3_499}, Reason.COLLAR),
        ({"ask": None, "last": 5_500, "bid": 3_500}, None),
        ({"ask": None, "last": 5_500, "bid": 3_499}, Reason.COLLAR),
        ({"bid": None, "last": 4_400}, None),
        ({"bid": None, "last": 4_400, "ask": 5_501}, Reason.COLLAR),
        ({"bid": None, "ask": None, "last": 4_400}, None),
        ({"bid": None, "ask": None}, Reason.COLLAR),
        ({"price": 4_600, "own": []}, None),
        ({"price": 4_700}, Reason.CROSSING),
        ({**NO, "price": 5_700}, None),
        ({**NO, "price": 5_800}, Reason.CROSSING),
        ({"expires_us": NOW + 1}, Reason.EXPIRY),
        (RESTS, Reason.EXPIRY),
        ({**RESTS, "expires_us": NOW + 60 * SECOND}, None),
        ({**RESTS, "expires_us": NOW + 60 * SECOND + 1}, Reason.EXPIRY),
        ({**RESTS, "expires_us": NOW + 1}, None),
        ({**RESTS, "expires_us": NOW}, Reason.EXPIRY),
        # what is held, and what could be lost
        (SELLS, Reason.NOTHING_TO_CLOSE),
        ({**SELLS, "position": 999}, Reason.NOTHING_TO_CLOSE),
        ({**SELLS, "position": 1_000, "own": []}, None),
        ({**SELLS, "position": 1_099, "own": [Open(1, 5_400, 100)]}, Reason.NOTHING_TO_CLOSE),
        ({**SELLS, "position": 1_100, "own": [Open(1, 5_400, 100)]}, None),
        ({"position": 4_000}, None),
        ({"position": 4_001}, Reason.POSITION),
        ({"position": 3_900, "own": [Open(0, 4_400, 100)]}, None),
        ({"position": 3_900, "own": [Open(0, 4_400, 101)]}, Reason.POSITION),
        ({**NO, "position": -4_000, "own": []}, None),
        ({**NO, "position": -4_001, "own": []}, Reason.POSITION),
        ({"market_risk": 25_000_000 - COST}, None),
        ({"market_risk": 25_000_001 - COST}, Reason.MARKET_RISK),
        ({"event_risk": 50_000_000 - COST}, None),
        ({"event_risk": 50_000_001 - COST}, Reason.EVENT_RISK),
        ({"total_risk": 100_000_000 - COST}, None),
        ({"total_risk": 100_000_001 - COST}, Reason.TOTAL_RISK),
        ({"position": -1_000, "market_risk": 10**9, "event_risk": 10**9, "total_risk": 10**9}, None),
        ({"position": -999, "market_risk": 25_000_000}, Reason.MARKET_RISK),  # a hundredth of a contract opens
        ({"position": -999, "market_risk": 25_000_000 - 4_500 - FEE}, None),
        ({"market_risk": -1}, Reason.MARKET_RISK),
        ({"cash": COST}, None),
        ({"cash": COST - 1}, Reason.CASH),
        ({"cash": FEE, "position": -1_000}, None),
        ({"cash": FEE - 1, "position": -1_000}, Reason.CASH),
        # how many, how often
        ({"own": [Open(1, 5_400, 1)] * 3}, None),
        ({"own": [Open(1, 5_400, 1)] * 4}, Reason.OPEN_ORDERS),
        ({"orders": 19}, None),
        ({"orders": 20}, Reason.ALL_ORDERS),
        ({"orders": -1}, Reason.ALL_ORDERS),
        ({"same_us": SECOND}, None),
        ({"same_us": SECOND - 1}, Reason.DUPLICATE),
        ({"own": [Open(1, 5_499, 1)]}, None),
        ({"own": [Open(1, 5_499, 0)]}, None),
        ({"own": [Open(1, 5_500, 1)]}, Reason.OWN_ORDER),
        ({"own": [Open(0, 9_900, 1)]}, None),
        ({**NO, "own": [Open(0, 4_400, 1)]}, Reason.OWN_ORDER),
        ({**NO, "own": [Open(0, 4_399, 1)]}, None),
        ({"waited_us": SECOND // 4}, None),
        ({"waited_us": SECOND // 4 - 1}, Reason.THROTTLE),
        ({"tokens": 1}, None),
        ({"tokens": 0}, Reason.BUCKET),
        ({"fills": 29}, None),
        ({"fills": 30}, Reason.FILLS),
        ({"today": -50_000_000}, None),
        ({"today": -50_000_001}, Reason.DAILY_LOSS),
        ({"drawdown": 60_000_000}, None),
        ({"drawdown": 60_000_001}, Reason.DRAWDOWN),
        # whose it is
        ({"limits": "0" * 64}, Reason.LIMITS),
        ({"epoch": 6}, Reason.LEASE),
        ({"epoch": 4}, Reason.LEASE),
    ],
)
def test_each_check_holds_at_its_edge(changes: dict[str, Any], expected: Reason | None) -> None:
    assert reason(**changes) == expected


# --- what is not known


@pytest.mark.parametrize("junk", [None, math.nan, "1", np.int64(1), np.True_, 1.0])
@pytest.mark.parametrize(
    "name", [item.name for item in fields(Facts) if item.name not in ("last", "grid", "pace", "fees")]
)
def test_a_fact_that_is_missing_or_is_no_whole_number_denies(name: str, junk: object) -> None:
    value: Any = [Open(0, 4_400, junk)] if name == "own" and junk is not None else junk  # type: ignore[arg-type]
    denial = check(INTENT, replace(FACTS, **{name: value}), LIMITS)
    assert denial is not None
    assert denial.unknown


@pytest.mark.parametrize("name", ["grid", "pace", "fees"])
def test_without_a_grid_a_pace_or_fees_nothing_passes(name: str) -> None:
    missing: dict[str, Any] = {name: None}
    denial = check(INTENT, replace(FACTS, **missing), LIMITS)
    assert denial is not None
    assert denial.unknown


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("junk", [None, math.nan, -1])
def test_no_part_of_the_pace_may_be_missing(place: int, junk: object) -> None:
    assert PACE is not None
    numbers: list[Any] = [*PACE]
    numbers[place] = junk
    denial = check(INTENT, replace(FACTS, pace=Paced(*numbers)), LIMITS)
    assert denial is not None
    assert denial.unknown


@pytest.mark.parametrize("order", [Open(0, 4_400, -1), Open(0, 4_400, True), Open(1, math.nan, 1), (None, 1, 1)])  # type: ignore[arg-type]
def test_an_open_order_that_makes_no_sense_denies(order: Open) -> None:
    assert check(INTENT, replace(FACTS, own=[order]), LIMITS) == Denial(Reason.POSITION, unknown=True)


@pytest.mark.parametrize("junk", [None, math.nan, 1.0, True, "1", np.int64(1)])
@pytest.mark.parametrize("name", ["side", "price", "size"])
def test_an_order_whose_numbers_are_none_is_denied(name: str, junk: Any) -> None:
    changes = {name: junk}
    assert reason(**changes) is Reason.SIZE


@pytest.mark.parametrize("rates", [{"taker": math.nan}, {"maker": None}, {"unit": 0}, {"unit": -1}, {"step": 1.5}])
def test_fees_that_nobody_can_count_with_deny(rates: dict[str, Any]) -> None:
    assert FACTS.fees is not None
    fees = FACTS.fees._replace(**rates)
    if "taker" in rates or "maker" in rates:
        assert check(INTENT, replace(FACTS, fees=fees), LIMITS) == Denial(Reason.COST, unknown=True)
    else:
        assert reason(fees=fees) is Reason.COST


@pytest.mark.parametrize("last", [None, math.nan, "1"])
def test_where_a_side_is_empty_the_last_trade_has_to_be_known(last: Any) -> None:
    assert check(INTENT, replace(FACTS, ask=None, last=last), LIMITS) == Denial(Reason.COLLAR, unknown=True)


def test_who_knows_nothing_sends_nothing() -> None:
    assert check(INTENT, Facts(), LIMITS) == Denial(Reason.HALTED, unknown=True)


# --- all together

# How to make each check fail, and nothing else: of facts, the intent or the limits.
BREAKS: dict[Reason, tuple[str, str, Any]] = {
    Reason.REDUCING: ("facts", "standing", Standing.REDUCING),
    Reason.HALTED: ("facts", "standing", Standing.HALTED),
    Reason.MARKET_CLOSED: ("facts", "market_open", False),
    Reason.FROZEN: ("facts", "frozen", True),
    Reason.CLOSING: ("limits", "close_us", 86_400 * SECOND),
    Reason.BOOK_INVALID: ("facts", "book_valid", False),
    Reason.BOOK_OLD: ("facts", "book_age_us", 10**9),
    Reason.BOOK_CROSSED: ("facts", "bid", 4_600),
    Reason.OBSERVATION: ("facts", "finite", False),
    Reason.OBSERVATION_OLD: ("facts", "observed_us", 10**9),
    Reason.MODEL: ("facts", "verified", False),
    Reason.SIZE: ("limits", "order_size", 1),
    Reason.COST: ("limits", "order_cost", -1),
    Reason.PRICE: ("intent", "price", 0),
    Reason.TICK: ("facts", "grid", Grid.parse([{"start": "0.50", "end": "0.60", "step": "0.01"}])),
    Reason.COLLAR: ("limits", "collar", -1),
    Reason.CROSSING: ("limits", "cross", -1),
    Reason.EXPIRY: ("intent", "expires_us", NOW + 1),
    Reason.NOTHING_TO_CLOSE: ("intent", "reduce_only", True),
    Reason.POSITION: ("limits", "market_size", 1),
    Reason.MARKET_RISK: ("limits", "market_risk", 1),
    Reason.EVENT_RISK: ("limits", "event_risk", 1),
    Reason.TOTAL_RISK: ("limits", "total_risk", 1),
    Reason.CASH: ("facts", "cash", 0),
    Reason.OPEN_ORDERS: ("limits", "market_orders", 0),
    Reason.ALL_ORDERS: ("facts", "orders", 99),
    Reason.DUPLICATE: ("limits", "duplicate_us", NEVER + 1),
    Reason.OWN_ORDER: ("facts", "own", (Open(1, 5_500, 100),)),
    Reason.THROTTLE: ("limits", "throttle_us", NEVER + 1),
    Reason.BUCKET: ("facts", "pace", Paced(NEVER, NEVER, 0, 0)),
    Reason.FILLS: ("limits", "fills_per_minute", 0),
    Reason.DAILY_LOSS: ("limits", "daily_loss", -1),
    Reason.DRAWDOWN: ("limits", "drawdown", -1),
    Reason.LIMITS: ("intent", "limits", "other"),
    Reason.LEASE: ("facts", "epoch", 6),
}
# The arrows of the gate's order, each with its checks.
GROUPS: tuple[tuple[Reason, ...], ...] = (
    (Reason.HALTED, Reason.REDUCING),
    (Reason.MARKET_CLOSED, Reason.FROZEN),
    (Reason.CLOSING,),
    (Reason.BOOK_INVALID, Reason.BOOK_OLD, Reason.BOOK_CROSSED),
    (Reason.OBSERVATION, Reason.OBSERVATION_OLD),
    (Reason.MODEL,),
    (Reason.SIZE,),
    (Reason.COST,),
    (Reason.PRICE, Reason.TICK),
    (Reason.COLLAR, Reason.CROSSING, Reason.EXPIRY),
    (Reason.NOTHING_TO_CLOSE, Reason.POSITION, Reason.MARKET_RISK, Reason.EVENT_RISK, Reason.TOTAL_RISK),
    (Reason.CASH,),
    (Reason.OPEN_ORDERS, Reason.ALL_ORDERS),
    (Reason.DUPLICATE,),
    (Reason.OWN_ORDER,),
    (Reason.THROTTLE, Reason.BUCKET),
    (Reason.FILLS,),
    (Reason.DAILY_LOSS, Reason.DRAWDOWN),
    (Reason.LIMITS, Reason.LEASE),
)
ORDER = {reason: place for place, reason in enumerate(Reason)}


class Gates:
    """One order whose checks are broken and mended one by one: frozen objects are written into, to be fast."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {
            "intent": replace(INTENT),
            "facts": replace(FACTS),
            "limits": msgspec.structs.replace(LIMITS),
        }
        self.sound = {reason: getattr(self.objects[where], name) for reason, (where, name, _) in BREAKS.items()}

    def set(self, reason: Reason, *, broken: bool) -> None:
        where, name, value = BREAKS[reason]
        write: Any = msgspec.structs.force_setattr if where == "limits" else object.__setattr__
        write(self.objects[where], name, value if broken else self.sound[reason])

    def check(self) -> Denial | None:
        return check(**self.objects)


def test_the_order_of_the_checks_is_the_one_of_the_reasons() -> None:
    assert tuple(itertools.chain(*GROUPS)) == tuple(Reason)
    assert BREAKS.keys() == set(Reason)


@pytest.mark.parametrize("broken", Reason)
def test_one_broken_gate_is_enough(broken: Reason) -> None:
    gates = Gates()
    gates.set(broken, broken=True)
    assert gates.check() == Denial(broken)


def test_of_any_three_broken_gates_the_first_is_told() -> None:
    gates = Gates()
    for three in itertools.combinations(BREAKS, 3):  # HALTED is set after REDUCING, since both are the standing
        for one in three:
            gates.set(one, broken=True)
        assert gates.check() == Denial(min(three, key=ORDER.__getitem__))
        for one in three:
            gates.set(one, broken=False)
    assert gates.check() is None


def test_an_order_passes_if_and_only_if_all_gates_are_true() -> None:
    """Over every vector of the 19 gates, by a Gray code: from each to the next one gate changes."""
    gates = Gates()
    broken: dict[int, Reason] = {}
    turns = [itertools.cycle(group) for group in GROUPS]
    assert gates.check() is None
    for step in range(1, 2 ** len(GROUPS)):
        place = (step & -step).bit_length() - 1
        mended = broken.pop(place, None)
        if mended is None:
            broken[place] = next(turns[place])
            gates.set(broken[place], broken=True)
        else:
            gates.set(mended, broken=False)
        denial = gates.check()
        assert denial is not None
        assert denial.reason is broken[min(broken)]
    assert list(broken) == [len(GROUPS) - 1]  # every vector was seen, and none twice


# --- renewals, cancellations, counts


def renewal(**changes: Any) -> Reason | None:
    asked: dict[str, Any] = {
        "expires_us": NOW + 60 * SECOND, "standing": Standing.ACTIVE, "now_us": NOW, "epoch": 5, "limits": LIMITS,
        **changes,
    }  # fmt: skip
    denial = check_renewal(INTENT, **asked)
    return None if denial is None else denial.reason


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"standing": Standing.REDUCING}, None),
        ({"standing": Standing.HALTED}, Reason.HALTED),
        ({"standing": None}, Reason.HALTED),
        ({"standing": 0}, Reason.HALTED),
        ({"expires_us": NOW + 60 * SECOND + 1}, Reason.EXPIRY),
        ({"expires_us": NOW}, Reason.EXPIRY),
        ({"expires_us": None}, Reason.EXPIRY),
        ({"now_us": None}, Reason.EXPIRY),
        ({"now_us": math.nan}, Reason.EXPIRY),
        ({"epoch": 6}, Reason.LEASE),
        ({"epoch": None}, Reason.LEASE),
    ],
)
def test_what_rests_lives_on_unless_halted(changes: dict[str, Any], expected: Reason | None) -> None:
    assert renewal(**changes) == expected


def test_a_renewal_tells_what_is_missing_from_what_failed() -> None:
    asked: dict[str, Any] = {"expires_us": NOW + 1, "now_us": NOW, "epoch": 5, "limits": LIMITS}
    assert check_renewal(INTENT, standing=None, **asked) == Denial(Reason.HALTED, unknown=True)
    assert check_renewal(INTENT, standing=Standing.HALTED, **asked) == Denial(Reason.HALTED)


def test_cancelling_is_never_denied() -> None:
    assert check_cancel() is None


def test_counters_know_every_reason() -> None:
    counters = Counters()
    for denial in (None, Denial(Reason.CASH), Denial(Reason.CASH, unknown=True), None, Denial(Reason.LEASE)):
        counters.count(denial)
    assert counters.passed == 2
    assert {name: count for name, count in counters.by_reason().items() if count} == {"cash": 2, "lease": 1}
    assert list(counters.by_reason()) == [str(reason) for reason in Reason]


def test_a_denial_speaks() -> None:
    assert str(Denial(Reason.SIZE)) == "size: larger than an order may be, or of no size"
    assert str(Denial(Reason.CASH, unknown=True)).endswith("its fees (a fact is missing)")


def test_every_limit_has_its_reason() -> None:
    named = set(itertools.chain(*(reason.limits for reason in Reason)))
    assert named == LIMITS.values.keys()


def test_the_page_has_the_tables_of_the_code() -> None:
    page = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    for table in tables().strip().split("\n\n"):
        assert table in page
