"""What the venue charges for a fill, to the micro-dollar (kalshi-protocol section 6). All integers; nothing is a float.

Leaves out: the swap of maker and taker fees for quoters of combos, and `flat` schedules, whose table is not published
by the API (no live series used one on 2026-09-28).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from kflow.errors import Unrepresentable
from kflow.units import CONTRACT, DOLLAR, DOLLAR_MONEY, Money, Price, Size, notional

# docs.kalshi.com "Fee Rounding", July 2026: what an account's balance is kept in.
DIRECT_PRECISION: Final = Money(100)  # $0.0001, members who trade over the API themselves
BROKER_PRECISION: Final = Money(10_000)  # $0.01, members behind a broker

# The step a fill's own fee is rounded up to: $0.000001 by the documents since about August 2026, $0.0001 before.
# Of 33 real fills (one account, until 2026-08-18) the older step gives 33, the newer 32.
TRADE_FEE_STEP: Final = Money(1)
TRADE_FEE_STEP_BEFORE_AUGUST_2026: Final = Money(100)

# Shares of price x (1 - price) per contract. The venue's fee schedule in force from 2026-06-29; 0.07 is confirmed by
# its rounding example, 0.00363825 = 0.07 x 0.055 x 0.945.
_TAKER: Final = Fraction(7, 100)
_MAKER: Final = {
    "quadratic": Fraction(0),
    "quadratic_with_maker_fees": _TAKER / 4,
    "quadratic_with_combo_maker_fees": _TAKER / 2,
}

# price x (1 - price) x size is counted in 1e-4 x 1e-4 x 1e-2 = 1e-10 dollar; this many make one Money.
UNITS_PER_MONEY: Final = DOLLAR * DOLLAR * CONTRACT // DOLLAR_MONEY


@dataclass(frozen=True, slots=True)
class FillFee:
    """One fill's fee and how it came about; `total` is what the venue reports as `fee_cost`."""

    trade_fee: Money  # by the formula, rounded up to the schedule's step
    rounding: Money  # what brings the balance down to its precision
    rebate: Money  # earlier roundings of the same order, given back

    @property
    def total(self) -> Money:
        return Money(self.trade_fee + self.rounding - self.rebate)


class WholeRates(NamedTuple):
    """A schedule for code that has integers only: a fee is rate x price x (1 - price) x size over `unit`, in steps."""

    taker: int
    maker: int
    unit: int
    step: int
    precision: int

    @property
    def dearer(self) -> int:
        """Of the two rates."""
        return max(self.taker, self.maker)


@dataclass(frozen=True, slots=True)
class FeeSchedule:
    """How a market charges: read from its series, overridden by its event, never assumed."""

    taker_rate: Fraction
    maker_rate: Fraction
    balance_precision: Money = DIRECT_PRECISION
    trade_fee_step: Money = TRADE_FEE_STEP

    def __post_init__(self) -> None:
        if self.taker_rate < 0 or self.maker_rate < 0 or self.balance_precision <= 0 or self.trade_fee_step <= 0:
            raise Unrepresentable("fee schedule", repr(self))

    @classmethod
    def parse(
        cls,
        fee_type: str,
        multiplier: Decimal | Fraction | int | str,
        *,
        balance_precision: Money = DIRECT_PRECISION,
        trade_fee_step: Money = TRADE_FEE_STEP,
    ) -> FeeSchedule:
        """From `fee_type` and `fee_multiplier` of a series or of an event's override.

        Raises Unrepresentable for a type whose formula we do not know; 0 is a market without fees.
        """
        if fee_type not in _MAKER:
            raise Unrepresentable("fee type whose formula is published", fee_type)
        try:
            factor = Fraction(multiplier)
        except (ValueError, ArithmeticError):
            raise Unrepresentable("fee multiplier", multiplier) from None
        return cls(_TAKER * factor, _MAKER[fee_type] * factor, balance_precision, trade_fee_step)

    def whole(self) -> WholeRates:
        """The same in integers, exactly."""
        denominator = math.lcm(self.taker_rate.denominator, self.maker_rate.denominator)
        taker, maker = (int(rate * denominator) for rate in (self.taker_rate, self.maker_rate))
        unit = denominator * UNITS_PER_MONEY * int(self.trade_fee_step)
        return WholeRates(taker, maker, unit, int(self.trade_fee_step), int(self.balance_precision))

    def trade_fee(self, price: Price, size: Size, *, taker: bool) -> Money:
        """The formula alone, rounded up to the step: equal for YES at `price` and NO at its complement."""
        return self.fee_on(price * (DOLLAR - price) * size, taker=taker)

    def fee_on(self, variance: int, *, taker: bool) -> Money:
        """The same for a sum of price x ($1 - price) x size, in units of 1e-10 dollar."""
        rate = self.taker_rate if taker else self.maker_rate
        steps = -(-rate.numerator * variance // (rate.denominator * UNITS_PER_MONEY * self.trade_fee_step))
        return Money(steps * self.trade_fee_step)

    def order(self) -> OrderFees:
        """A fresh account of one order's fees."""
        return OrderFees(self)


class OrderFees:
    """The fees of one order, fill by fill: what rounding took too much comes back in steps of the precision."""

    __slots__ = ("carried", "schedule")

    def __init__(self, schedule: FeeSchedule) -> None:
        self.schedule: Final = schedule
        # Roundings of this order that were not given back yet.
        self.carried = Money(0)

    def fill(self, price: Price, size: Size, *, buy: bool, taker: bool) -> FillFee:
        """Charge one fill. `price` is the traded price of the leg, `buy` whether this order pays it.

        Selling YES at p and buying NO at 1 - p charge the same, as a contract's dollar is a whole number of precisions.
        """
        precision = self.schedule.balance_precision
        trade_fee = self.schedule.trade_fee(price, size, taker=taker)
        revenue = -notional(price, size) if buy else notional(price, size)
        rounding = (revenue - trade_fee) % precision  # down to the precision, towards minus infinity
        self.carried = Money(self.carried + rounding)
        due = min(self.carried, trade_fee + rounding)
        rebate = Money(due - due % precision)
        self.carried = Money(self.carried - rebate)
        return FillFee(trade_fee, Money(rounding), rebate)
