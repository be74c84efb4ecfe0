"""Trades inferred from removals and volume: by hand, and against two other witnesses on the real recordings."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kflow.errors import DataError
from kflow.sim.inference import ADD, CANCEL, PRICES, TRADE, Inferred, infer_trades

YES, NO = 0, 1
# 50 contracts at 0.40 and 30 at 0.39 for YES, 80 at 0.55 for NO: the touch is 0.40 to 0.45.
BOOK = {(YES, 4000): 5_000, (YES, 3900): 3_000, (NO, 5500): 8_000}


def infer(
    deltas: list[tuple[int, int, int, int]],
    tickers: list[tuple[int, int]],
    last: list[tuple[int, int]] | None = None,
    book: dict[tuple[int, int], int] = BOOK,
) -> Inferred:
    """Deltas (µs, side, price, change), tickers (µs, volume), their last trades (YES price, size)."""
    start = np.zeros((2, PRICES), np.int64)
    for (side, price), size in book.items():
        start[side, price] = size
    us, side, price, change = np.array(deltas, np.int64).reshape(-1, 4).T
    at, volume = np.array(tickers, np.int64).reshape(-1, 2).T
    told = () if last is None else np.array(last, np.int64).T
    return infer_trades(us, side.astype(np.int8), price.astype(np.int32), change, *start, at, volume, *told)


def test_what_takers_remove_is_half_of_the_rise_in_volume() -> None:
    found = infer([(5, YES, 4000, -700), (9, NO, 5500, 300)], [(1, 50_000), (10, 51_400)])

    assert found.kind.tolist() == [TRADE, ADD]
    assert found.sure.tolist() == [True, True]
    assert found[2:] == (1, 1, 1, 700, 0)


def test_a_sweep_takes_orders_of_several_levels_at_one_time() -> None:
    sweep = [(5, YES, 4000, -2_000), (5, YES, 4000, -3_000), (5, YES, 3900, -500)]

    found = infer([*sweep, (6, NO, 5500, -5_000)], [(1, 0), (10, 11_000)])

    # 5,500 could only be the sweep: it is taken or left whole.
    assert found.kind.tolist() == [TRADE, TRADE, TRADE, CANCEL]
    assert found.sure.all()


def test_an_amend_is_no_trade() -> None:
    found = infer([(5, YES, 4000, -700), (5, YES, 3800, 700), (6, YES, 4000, -700)], [(1, 0), (10, 1_400)])

    assert found.kind.tolist() == [CANCEL, ADD, TRADE]
    assert found.sure.all()


def test_what_is_removed_behind_the_touch_is_no_trade() -> None:
    found = infer([(5, YES, 3900, -700), (6, YES, 4000, -700)], [(1, 0), (10, 1_400)])

    assert found.kind.tolist() == [CANCEL, TRADE]
    assert found.sure.all()


def test_sizes_tell_trades_from_cancels_beside_them() -> None:
    sizes = [1_000, 301, 250, 77]

    found = infer([(5 + i, YES, 4000, -size) for i, size in enumerate(sizes)], [(1, 0), (20, 2 * (301 + 77))])

    assert found.kind.tolist() == [CANCEL, TRADE, CANCEL, TRADE]
    assert found.sure.all()


def test_an_order_amended_across_the_touch_takes_what_it_loses() -> None:
    crossing = [(5, YES, 4000, -1_400), (5, NO, 5500, -8_000), (5, NO, 6000, 6_600)]

    found = infer([*crossing, (7, YES, 4000, -1_400)], [(1, 0), (10, 2_800)])

    # Either YES removal would explain the volume, and the amend is what a taker would do.
    assert found.kind.tolist() == [TRADE, CANCEL, ADD, CANCEL]


def test_whole_orders_are_withdrawn_and_the_one_in_front_is_eaten() -> None:
    orders = [(2, YES, 4100, 900), (3, YES, 4100, 400), (4, YES, 4100, 600)]

    found = infer([*orders, (6, YES, 4100, -400), (7, YES, 4100, -400)], [(1, 0), (10, 800)])

    # First the whole order of 400, behind the front; then a part of the 900 in front.
    assert found.kind.tolist() == [ADD, ADD, ADD, CANCEL, TRADE]
    assert found.exact == 1


def test_the_last_trade_of_a_ticker_decides_between_equal_sums() -> None:
    equal = [(5, YES, 4000, -700), (6, NO, 5500, -700)]

    at_40, at_45 = (infer(equal, [(1, 0), (10, 1_400)], [(1, 1), (price, 700)]) for price in (4000, 4500))

    assert at_40.kind.tolist() == [TRADE, CANCEL]
    assert at_45.kind.tolist() == [CANCEL, TRADE]
    assert at_40.sure.all()
    assert at_45.sure.all()


def test_an_ambiguous_volume_leaves_only_what_differs_unsure() -> None:
    equal = [(5, YES, 4000, -700), (6, YES, 4000, -700), (7, YES, 4000, -33)]

    found = infer(equal, [(1, 0), (10, 1_466)])

    assert sorted(found.kind.tolist()) == [CANCEL, TRADE, TRADE]
    assert found.sure.tolist() == [False, False, True]
    assert (found.exact, found.settled, found.unexplained) == (1, 0, 0)


def test_volume_that_nothing_explains_is_reported() -> None:
    found = infer([(5, YES, 4000, -700), (6, NO, 5500, 100)], [(1, 0), (10, 1_600)])

    # The nearest that is plausible, never more than was traded.
    assert found.kind.tolist() == [TRADE, ADD]
    assert found.sure.tolist() == [False, True]
    assert found[2:] == (1, 0, 0, 800, 100)
    assert infer([(5, YES, 4000, -700)], [(1, 0), (10, 200)])[2:] == (1, 0, 0, 100, 100)


def test_half_a_contract_of_an_odd_volume_is_no_explanation() -> None:
    found = infer([(5, YES, 4000, -700)], [(1, 0), (10, 1_401)])

    assert (found.exact, found.sure.tolist()) == (0, [False])


def test_a_ticker_tells_of_the_deltas_of_its_own_time() -> None:
    found = infer([(10, YES, 4000, -700), (11, YES, 4000, -700)], [(1, 0), (10, 1_400), (20, 1_400)])

    assert found.kind.tolist() == [TRADE, CANCEL]
    assert found.sure.all()


@pytest.mark.parametrize("tickers", [[], [(10, 0)]])
def test_without_two_tickers_nothing_is_a_trade_and_nothing_at_the_touch_is_sure(
    tickers: list[tuple[int, int]],
) -> None:
    found = infer([(5, YES, 4000, -700), (6, YES, 3900, -700), (12, NO, 5500, -700)], tickers)

    assert found.kind.tolist() == [CANCEL] * 3
    assert found.sure.tolist() == [False, True, False]
    assert found.intervals == 0


def test_more_sweeps_than_a_search_holds_are_never_sure() -> None:
    book = {(YES, 4000): 100_000}

    found = infer([(5 + i, YES, 4000, -(100 + i)) for i in range(70)], [(1, 0), (100, 2 * 303)], book=book)

    removed = (found.kind == TRADE) @ (100 + np.arange(70))
    assert removed == 303
    assert (found.exact, found.settled, found.sure.any()) == (1, 0, False)


@pytest.mark.parametrize(
    ("deltas", "tickers"),
    [
        ([(5, YES, 4000, -5_001)], []),
        ([(5, 2, 4000, 1)], []),
        ([(5, YES, PRICES, 1)], []),
        ([], [(1, 10), (2, 8)]),
    ],
)
def test_data_that_cannot_be_is_refused(deltas: list[Any], tickers: list[Any]) -> None:
    with pytest.raises(DataError):
        infer(deltas, tickers)


def test_columns_of_different_length_are_refused() -> None:
    none, book = np.zeros(0, np.int64), np.zeros(PRICES, np.int64)

    with pytest.raises(DataError):
        infer_trades(none, none.astype(np.int8), none.astype(np.int32), book, book, book, none, none)
    with pytest.raises(DataError):
        infer_trades(none, none.astype(np.int8), none.astype(np.int32), none, book, book, none, book)


def columns(file: Path) -> dict[str, np.ndarray]:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(file)
    return {name: table[name].to_numpy() for name in table.column_names}


def real(folder: Path, *, last: bool) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray], Inferred]]:
    """Every segment of the recordings: its deltas, its tickers, and what was inferred, with or without last trades."""
    deltas, tickers = columns(folder / "deltas.parquet"), columns(folder / "tickers.parquet")
    out = []
    with gzip.open(folder / "segments.json.gz") as file:
        segments = json.load(file)
    for segment in segments:
        start = np.zeros((2, PRICES), np.int64)
        for side in (YES, NO):
            for price, size in segment["snapshots"][0][3 + side]:
                start[side, price] = size
        d, t = ({n: c[table["segment"] == segment["segment"]] for n, c in table.items()} for table in (deltas, tickers))
        found = infer_trades(
            d["exch_ts_us"],
            d["side"],
            d["price_milli"].astype(np.int32) * 10,
            d["delta_centi"].astype(np.int64),
            *start,
            t["exch_ts_us"],
            t["volume_centi"],
            *((t["price_e4"], t["last_size_centi"]) if last else ()),
        )
        out.append((d, t, found))
    return out


@pytest.mark.realdata
def test_agrees_with_another_inference_of_the_recordings(realdata: Path) -> None:
    every = real(realdata / "kalshi-btc15m-2026-05", last=True)

    size = np.concatenate([-d["delta_centi"].astype(np.int64) for d, _, _ in every])
    theirs = np.concatenate([d["kind"] for d, _, _ in every]) == TRADE
    ours = np.concatenate([found.kind for _, _, found in every]) == TRADE
    sure = np.concatenate([found.sure for _, _, found in every])
    both = ours & theirs
    # The other labels know neither last trades nor queues nor amends across the touch: they are no truth.
    assert both.sum() / ours.sum() > 0.955  # .9618
    assert both.sum() / theirs.sum() > 0.970  # .9767
    assert size[both].sum() / size[ours].sum() > 0.960  # .9675
    assert size[both].sum() / size[theirs].sum() > 0.965  # .9711
    assert (both & sure).sum() / (ours & sure).sum() > 0.970  # .9755
    assert (both & sure).sum() / (theirs & sure).sum() > 0.982  # .9872
    assert sure[ours].mean() > 0.945  # .952
    intervals, exact, settled, volume, unexplained = np.array([found[2:] for _, _, found in every]).sum(0)
    assert exact / intervals > 0.995  # .9975
    assert settled / intervals > 0.90  # .914
    assert unexplained / volume < 0.006  # .0046


def lasts(d: dict[str, np.ndarray], t: dict[str, np.ndarray], found: Inferred) -> np.ndarray:
    """[ticker with trades before it] (the last of them is what the ticker says, and nothing after it is unsure)."""
    traded, unsure = np.flatnonzero(found.kind == TRADE), np.flatnonzero(~found.sure)
    edges = np.searchsorted(d["exch_ts_us"], t["exch_ts_us"], side="right")
    out = []
    for k, (begin, end) in enumerate(pairwise(edges), 1):
        at = traded[np.searchsorted(traded, end) - 1] if len(traded) and traded[0] < end else -1
        if at >= begin:
            price = d["price_milli"][at] * 10
            yes = price if d["side"][at] == YES else 10_000 - price
            right = yes == t["price_e4"][k] and -d["delta_centi"][at] == t["last_size_centi"][k]
            out.append((right, not np.any((unsure >= at) & (unsure < end))))
    return np.array(out, np.bool_).reshape(-1, 2)


@pytest.mark.realdata
def test_finds_the_last_trades_it_was_not_told(realdata: Path) -> None:
    right, sure = np.concatenate([lasts(*one) for one in real(realdata / "kalshi-btc15m-2026-05", last=False)]).T

    assert len(right) > 21_000
    assert right.mean() > 0.990  # .9935; the labels in the recordings: .968
    assert right[sure].mean() > 0.998
    assert sure.mean() > 0.94
