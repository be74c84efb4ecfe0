"""Fees: the published example, and the documented procedure written out in fractions of a dollar."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.errors import Unrepresentable
from kflow.market.fees import (
    BROKER_PRECISION,
    DIRECT_PRECISION,
    TRADE_FEE_STEP,
    TRADE_FEE_STEP_BEFORE_AUGUST_2026,
    FeeSchedule,
)
from kflow.units import DOLLAR, Money, Price, Size, parse_money

PRICE = st.integers(1, DOLLAR - 1).map(Price)
SIZE = st.one_of(st.integers(1, 500), st.integers(1, 2 * 10**8)).map(Size)
TYPES = st.sampled_from(["quadratic", "quadratic_with_maker_fees", "quadratic_with_combo_maker_fees"])
MULTIPLIER = st.sampled_from(["1", "0.5", "0", "0.035", "1.75"]).map(Decimal)
PRECISION = st.sampled_from([DIRECT_PRECISION, BROKER_PRECISION])
STEP = st.sampled_from([TRADE_FEE_STEP, TRADE_FEE_STEP_BEFORE_AUGUST_2026])
FILLS = st.lists(st.tuples(PRICE, SIZE, st.booleans()), min_size=1, max_size=20)

SHARE = {"quadratic": "0", "quadratic_with_maker_fees": "0.25", "quadratic_with_combo_maker_fees": "0.5"}


class Documented:
    """The venue's description line by line, in Fractions of a dollar."""

    def __init__(self, fee_type: str, multiplier: Decimal, precision: Money, step: Money) -> None:
        self.rates = {True: Fraction("0.07"), False: Fraction("0.07") * Fraction(SHARE[fee_type])}
        self.multiplier = Fraction(multiplier)
        self.precision, self.step = Fraction(precision, 10**6), Fraction(step, 10**6)
        self.accumulated = Fraction(0)

    def fee(self, price: Price, size: Size, buy: bool, taker: bool) -> Fraction:
        p, c = Fraction(price, 10**4), Fraction(size, 100)
        model = self.rates[taker] * self.multiplier * c * p * (1 - p)
        trade_fee = math.ceil(model / self.step) * self.step
        revenue = -p * c if buy else p * c
        aligned = math.floor((revenue - trade_fee) / self.precision) * self.precision
        rounding_fee = (revenue - trade_fee) - aligned
        self.accumulated += rounding_fee
        rebate = math.floor(min(self.accumulated, trade_fee + rounding_fee) / self.precision) * self.precision
        self.accumulated -= rebate
        return trade_fee + rounding_fee - rebate


def test_the_official_example() -> None:
    schedule = FeeSchedule.parse("quadratic", 1, balance_precision=BROKER_PRECISION)
    fee = schedule.order().fill(Price(550), Size(100), buy=True, taker=True)
    assert (fee.trade_fee, fee.rounding, fee.rebate) == (3639, 1361, 0)
    assert fee.total == parse_money("0.005")


def test_the_same_fill_of_a_direct_member() -> None:
    fee = FeeSchedule.parse("quadratic", 1).order().fill(Price(550), Size(100), buy=True, taker=True)
    assert fee.total == parse_money("0.0037")


@given(TYPES, MULTIPLIER, PRECISION, STEP, st.booleans(), FILLS)
def test_every_order_is_charged_as_documented(
    fee_type: str, multiplier: Decimal, precision: Money, step: Money, buy: bool, fills: list[tuple[Price, Size, bool]]
) -> None:
    schedule = FeeSchedule.parse(fee_type, multiplier, balance_precision=precision, trade_fee_step=step)
    order, documented = schedule.order(), Documented(fee_type, multiplier, precision, step)
    for price, size, taker in fills:
        fee = order.fill(price, size, buy=buy, taker=taker)
        assert Fraction(fee.total, 10**6) == documented.fee(price, size, buy, taker)
        assert Fraction(order.carried, 10**6) == documented.accumulated


@given(TYPES, MULTIPLIER, PRECISION, FILLS)
def test_a_balance_stays_on_its_precision_and_no_fee_is_a_gift(
    fee_type: str, multiplier: Decimal, precision: Money, fills: list[tuple[Price, Size, bool]]
) -> None:
    order = FeeSchedule.parse(fee_type, multiplier, balance_precision=precision).order()
    balance = charged = formula = 0
    for price, size, taker in fills:
        fee = order.fill(price, size, buy=True, taker=taker)
        assert fee.total >= 0
        balance -= price * size + fee.total
        charged, formula = charged + fee.total, formula + fee.trade_fee
        assert balance % precision == 0
    assert charged - formula == order.carried >= 0  # what was taken beyond the formula is exactly what is carried


@given(TYPES, MULTIPLIER, PRECISION, STEP, FILLS)
def test_selling_yes_is_buying_no(
    fee_type: str, multiplier: Decimal, precision: Money, step: Money, fills: list[tuple[Price, Size, bool]]
) -> None:
    schedule = FeeSchedule.parse(fee_type, multiplier, balance_precision=precision, trade_fee_step=step)
    yes, no = schedule.order(), schedule.order()
    for price, size, taker in fills:
        sold = yes.fill(price, size, buy=False, taker=taker)
        assert sold == no.fill(Price(DOLLAR - price), size, buy=True, taker=taker)


@given(TYPES, MULTIPLIER, PRICE, SIZE, SIZE)
def test_the_formula_grows_with_size_and_never_undercharges(
    fee_type: str, multiplier: Decimal, price: Price, size: Size, more: Size
) -> None:
    schedule = FeeSchedule.parse(fee_type, multiplier)
    for taker, rate in ((True, schedule.taker_rate), (False, schedule.maker_rate)):
        fee = schedule.trade_fee(price, size, taker=taker)
        exact = rate * Fraction(price, 10**4) * (1 - Fraction(price, 10**4)) * Fraction(size, 100) * 10**6
        assert exact <= fee < exact + 1
        assert fee <= schedule.trade_fee(price, Size(size + more), taker=taker)


def test_roundings_of_one_order_come_back_and_of_another_do_not() -> None:
    schedule = FeeSchedule.parse("quadratic", 1, balance_precision=BROKER_PRECISION)
    order, fill = schedule.order(), (Price(5550), Size(100))
    together = [order.fill(*fill, buy=True, taker=True) for _ in range(20)]
    apart = [schedule.order().fill(*fill, buy=True, taker=True).total for _ in range(20)]
    assert sum(apart) == 20 * 25_000  # 0.017289 of formula and 0.007711 of rounding each time
    assert sum(fee.total for fee in together) == 20 * 17_289 + order.carried
    assert order.carried < BROKER_PRECISION
    assert {fee.rebate for fee in together} == {0, 10_000}


def test_a_market_without_fees_charges_none_on_the_precision() -> None:
    fee = FeeSchedule.parse("quadratic_with_maker_fees", 0).order().fill(Price(4200), Size(100), buy=True, taker=True)
    assert fee.total == 0


def test_the_step_before_august_2026_differs_where_it_did() -> None:
    """71.94 contracts at $0.013: the one real fill of 33 on which the two rules disagree."""
    now = FeeSchedule.parse("quadratic", 1)
    before = FeeSchedule.parse("quadratic", 1, trade_fee_step=TRADE_FEE_STEP_BEFORE_AUGUST_2026)
    totals = [s.order().fill(Price(130), Size(7194), buy=True, taker=True).total for s in (now, before)]
    assert totals[1] - totals[0] == 100


@pytest.mark.parametrize("fee_type", ["flat", "", "cubic"])
def test_an_unpublished_formula_is_refused(fee_type: str) -> None:
    with pytest.raises(Unrepresentable, match="is not a fee type whose formula is published"):
        FeeSchedule.parse(fee_type, 1)


@pytest.mark.parametrize("multiplier", ["one", "-1", "NaN", Decimal("Infinity")])
def test_a_multiplier_must_be_a_number(multiplier: str) -> None:
    with pytest.raises(Unrepresentable):
        FeeSchedule.parse("quadratic", multiplier)
