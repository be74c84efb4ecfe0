"""Trades on the removals they caused: the likeliest first, never more than a removal, and nothing is lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.sim.trades import NEAR_US, Laid, lay_trades

YES, NO = 0, 1
MS = 1_000
T = 1_000_000_000_000_000  # a whole millisecond

Delta = tuple[int, int, int, int]  # µs, side, price, change
Trade = tuple[int, int, int, int]  # µs, maker's side, maker's price, size


def lay(deltas: list[Delta], trades: list[Trade]) -> Laid:
    us, side, price, change = np.array(deltas, np.int64).reshape(-1, 4).T
    return lay_trades(
        us, side.astype(np.int8), price.astype(np.int32), change, np.array(trades, np.int64).reshape(-1, 4)
    )


def bid(us: int, change: int) -> Delta:
    return T + us, YES, 4_000, change


def sold(us: int, size: int) -> Trade:
    """A trade with the YES bid of 40 cents."""
    return T + us, YES, 4_000, size


def test_of_one_millisecond_the_removal_of_its_very_size_is_the_trades() -> None:
    found = lay([bid(100, -300), bid(400, -500), bid(900, -700)], [sold(0, 500)])
    assert found.traded.tolist() == [0, 500, 0]
    assert (found.laid, found.printed, len(found.prints)) == (500, 0, 0)


def test_without_one_of_its_size_the_first_of_its_millisecond_is() -> None:
    assert lay([bid(100, -800), bid(400, -900)], [sold(0, 500)]).traded.tolist() == [500, 0]


def test_its_own_millisecond_comes_before_its_own_size() -> None:
    assert lay([bid(-1, -500), bid(400, -800), bid(1_000, -500)], [sold(0, 500)]).traded.tolist() == [0, 500, 0]


def test_a_trade_is_split_over_several_removals() -> None:
    found = lay([bid(100, -300), bid(101, -500), bid(102, -400)], [sold(0, 1_000)])
    assert found.traded.tolist() == [300, 500, 200]
    assert (found.laid, found.printed) == (1_000, 0)


def test_several_trades_share_a_removal() -> None:
    found = lay([bid(100, -300)], [sold(0, 100), sold(0, 150), sold(0, 90)])
    assert found.traded.tolist() == [300]
    assert found.prints.tolist() == [[1, *sold(0, 40)]]


def test_of_other_milliseconds_the_nearest_is_the_trades() -> None:
    deltas = [bid(-90 * MS, -500), bid(-20 * MS, -400), bid(30 * MS, -500)]
    assert lay(deltas, [sold(0, 350)]).traded.tolist() == [0, 350, 0]
    assert lay(deltas, [sold(0, 600)]).traded.tolist() == [0, 400, 200]
    # As near before as behind: the one of its size, else the earlier.
    even = [bid(-20 * MS, -400), bid(20 * MS, -500)]
    assert lay(even, [sold(0, 500)]).traded.tolist() == [0, 500]
    assert lay(even, [sold(0, 450)]).traded.tolist() == [400, 50]


def test_beyond_a_tenth_of_a_second_nothing_is_near() -> None:
    for us, near in [(-NEAR_US, True), (-NEAR_US - 1, False), (NEAR_US + 999, True), (NEAR_US + 1_000, False)]:
        assert lay([bid(us, -500)], [sold(0, 500)]).traded.tolist() == [500 if near else 0]


def test_what_finds_no_removal_becomes_a_print_behind_its_millisecond() -> None:
    deltas = [bid(0, 300), bid(10, -200), (T + 999, NO, 4_000, -900), (T + 1_000, YES, 3_900, -900)]
    found = lay(deltas, [sold(7, 500)])
    assert found.traded.tolist() == [0, 200, 0, 0]
    assert found.prints.tolist() == [[3, T + 7, YES, 4_000, 300]]
    assert (found.laid, found.printed) == (200, 300)


def test_nothing_is_laid_on_what_was_added() -> None:
    found = lay([bid(0, 500), bid(1, 0)], [sold(0, 500)])
    assert (found.traded.tolist(), found.printed) == ([0, 0], 500)


def test_without_trades_or_without_deltas_nothing_is_laid() -> None:
    quiet = lay([bid(0, -500)], [])
    assert (quiet.traded.tolist(), quiet.laid, quiet.printed, quiet.prints.shape) == ([0], 0, 0, (0, 5))
    alone = lay([], [sold(0, 500)])
    assert (alone.traded.tolist(), alone.laid, alone.printed) == ([], 0, 500)


deltas_ = st.lists(
    st.tuples(
        st.integers(0, 400_000),
        st.integers(0, 1),
        st.sampled_from([3_900, 4_000]),
        st.sampled_from([-700, -300, -1, 50]),
    ),
    max_size=25,
).map(lambda rows: sorted(rows, key=lambda row: row[0]))
trades_ = st.lists(
    st.tuples(
        st.integers(0, 400_000), st.integers(0, 1), st.sampled_from([3_900, 4_000, 4_100]),
        st.sampled_from([1, 300, 650, 700]),
    ),
    max_size=15,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(deltas=deltas_, trades=trades_)
def test_every_contract_is_laid_or_printed_once(deltas: list[Delta], trades: list[Trade]) -> None:
    found = lay(deltas, trades)
    traded, prints = found.traded.tolist(), [tuple(row) for row in found.prints.tolist()]

    assert found.laid == sum(traded)
    assert found.printed == sum(row[4] for row in prints)
    assert found.laid + found.printed == sum(trade[3] for trade in trades)
    for (_, _, _, change), size in zip(deltas, traded, strict=True):
        assert 0 <= size <= max(-change, 0)
    for level in {trade[1:3] for trade in trades}:
        asked = sum(trade[3] for trade in trades if trade[1:3] == level)
        kept = sum(size for delta, size in zip(deltas, traded, strict=True) if delta[1:3] == level)
        assert kept + sum(row[4] for row in prints if row[2:4] == level) == asked
    # Each print is a trade, or what is left of one, and near it nothing was left to lie on.
    for before, us, side, price, size in prints:
        assert size > 0
        assert any(trade[:3] == (us, side, price) and trade[3] >= size for trade in trades)
        assert before == sum(delta[0] // 1000 <= us // 1000 for delta in deltas)
        for (at, s, p, change), laid in zip(deltas, traded, strict=True):
            if (s, p) == (side, price) and us - NEAR_US <= at <= us + 999 + NEAR_US:
                assert laid == max(-change, 0)
