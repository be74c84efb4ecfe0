"""What can be lost, by hand and by fractions."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from kflow.act.guard import Open
from kflow.act.stakes import Stake
from kflow.market.fees import FeeSchedule
from kflow.units import DOLLAR

FREE = FeeSchedule.parse("quadratic", 0).whole()
FEES = FeeSchedule.parse("quadratic", 1).whole()
ROUNDING = 100


def test_a_position_can_lose_what_it_cost() -> None:
    stake = Stake().after(0, 4_000, 1_000, 17)
    assert stake == Stake(1_000, 4_000_017)
    assert stake.at_risk([], FREE) == 4_000_017
    assert stake.after(0, 5_000, 500, 3) == Stake(1_500, 6_500_020)


def test_closing_takes_its_share_away_and_turning_begins_anew() -> None:
    stake = Stake(300, 100)
    assert stake.after(1, 9_000, 100, 50) == Stake(200, 67)  # rounded up
    assert stake.after(1, 9_000, 300, 50) == Stake(0, 0)
    assert stake.after(1, 9_000, 400, 50) == Stake(-100, 900_050)
    assert Stake(-300, 100).after(0, 9_000, 400, 50) == Stake(100, 900_050)


def test_of_a_position_found_at_the_venue_a_contract_counts_a_dollar() -> None:
    found = Stake(-200, None)
    assert found.at_risk([], FREE) == 200 * DOLLAR
    assert found.after(0, 100, 50, 1) == Stake(-150, None)
    assert found.after(1, 100, 50, 1) == Stake(-250, None)
    assert found.after(0, 100, 200, 1) == Stake(0, 0)
    assert found.after(0, 100, 201, 1) == Stake(1, 101)


def test_open_orders_count_unless_they_close() -> None:
    own = [Open(0, 4_000, 100), Open(1, 5_000, 100)]
    assert Stake().at_risk(own, FREE) == 900_000 + 2 * ROUNDING
    assert Stake(100, 250_000).at_risk(own, FREE) == 250_000 + 400_000 + ROUNDING
    # 50 of 100 to close: the cheaper order is taken to close, the dearer to open.
    two = [Open(1, 5_000, 100), Open(1, 6_000, 50)]
    assert Stake(100, 0).at_risk(two, FREE) == 300_000 + ROUNDING
    assert Stake(0, 0).at_risk([Open(0, 5_000, 100)], FEES) == 500_000 + 17_500 + ROUNDING


Fills = list[tuple[int, int, int, int]]


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(1, 9_999), st.integers(1, 2_000), st.integers(0, 20_000)), max_size=12
    )
)
def test_what_is_held_costs_its_average(fills: Fills) -> None:
    """By fractions: what is added changes the average, what is closed does not, and a turn begins a new one."""
    stake, position, average = Stake(), 0, Fraction(0)
    for side, price, size, fee in fills:
        stake = stake.after(side, price, size, fee)
        bought = size if side == 0 else -size
        if position * bought >= 0:
            average = (average * abs(position) + price * size + fee) / (abs(position) + size)
        elif size > abs(position):
            average = price + Fraction(fee, size - abs(position))
        position += bought
        assert stake.position == position
        assert stake.cost is not None
        # Never less; what was rounded up stays below a millionth of a dollar for each fill.
        assert 0 <= stake.cost - average * abs(position) < len(fills)


@given(st.integers(-2_000, 2_000), st.integers(0, 1), st.integers(1, 9_999), st.integers(1, 2_000), st.data())
def test_the_risk_with_an_open_order_covers_every_fill_of_it(
    position: int, side: int, price: int, size: int, data: st.DataObject
) -> None:
    cost = data.draw(st.integers(0, abs(position) * DOLLAR))
    stake = Stake(position, cost)
    bound = stake.at_risk([Open(side, price, size)], FEES)
    part = data.draw(st.integers(0, size))
    fee = FeeSchedule.parse("quadratic", 1).order().fill(price, part, buy=True, taker=True).total if part else 0  # type: ignore[arg-type]
    after = stake.after(side, price, part, fee)
    assert after.cost is not None
    held = max(-position if side == 0 else position, 0)
    opening = part - min(part, held)
    # A fee is for all of the fill; the bound has it for what opens, which is all that adds to the risk.
    assert after.cost <= bound + (fee if 0 < opening < part else 0)
