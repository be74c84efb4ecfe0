"""Figures of the real recordings, within what they were measured to be: 10 contracts join the touch, pro rata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kflow.market.fees import FeeSchedule
from kflow.replay.recordings import read_recording
from kflow.replay.stretches import build_tape
from kflow.sim.calibrate import fit_queue, fitted_values, watch
from kflow.sim.fills import BAND, MODELS, NO_LATENCY, Assumptions
from kflow.sim.report import summary
from kflow.sim.study import Plan, study
from kflow.sim.tape import Tape
from kflow.units import Size

pytestmark = pytest.mark.realdata

HORIZONS = (1, 10, 60)
# Every 2 s instead of every second, and every 5 s on the grid: a third and an eighth of the time, the same shares.
EXACT_US, GRID_US = 2_000_000, 5_000_000


def tapes_of(path: Path) -> list[Tape]:
    found = read_recording(path)
    return [build_tape(market, raw, found.trades, None, {}) for market, raw in sorted(found.stretches.items())]


@pytest.fixture(scope="module")
def btc(realdata: Path) -> list[Tape]:
    """59 markets of a quarter of an hour."""
    return tapes_of(realdata / "kalshi-btc15m-2026-05")


@pytest.fixture(scope="module")
def inx(realdata: Path) -> list[Tape]:
    """Two days of one market each."""
    folder = realdata / "kalshi-inx-2023-04"
    return [tape for day in ("10", "13") for tape in tapes_of(folder / f"apr-{day}-combined.csv.gz")]


def told(tapes: list[Tape], model: str = "queue", **plan: Any) -> dict[str, Any]:
    assumptions = Assumptions(model=MODELS[model], latency=NO_LATENCY, fees=FeeSchedule.parse("quadratic", 1))
    return summary(study(tapes, Plan(size=Size(1_000), **plan), assumptions), HORIZONS)


def full(whole: dict[str, Any]) -> list[float]:
    return [horizon["full"] for horizon in whole["horizons"]]


@pytest.fixture(scope="module")
def joined(btc: list[Tape]) -> dict[str, Any]:
    return told(btc, every_us=EXACT_US)


def test_the_recordings_are_what_they_were(btc: list[Tape], inx: list[Tape]) -> None:
    assert (len(btc), sum(tape.stretches for tape in btc)) == (59, 74)
    assert {tape.facts["trades"] for tape in btc} == {"inferred"}
    assert sum(tape.events for tape in btc) > 2_200_000
    assert [tape.facts["trades"] for tape in inx] == ["labelled"] * 2


def test_how_many_orders_are_filled_in_time(joined: dict[str, Any]) -> None:
    assert joined["orders"] > 20_000
    for share, measured in zip(full(joined), (0.29, 0.78, 0.90), strict=True):
        assert share == pytest.approx(measured, abs=0.02)


def test_fills_of_makers_lose_within_ten_seconds(joined: dict[str, Any]) -> None:
    assert joined["maker"] == 1.0
    [_, ten, _] = joined["markouts"]
    assert -0.6 < ten["cents"] < -0.1  # -.34
    assert ten["cents"] + 3 * ten["error"] < 0


def test_the_truth_is_framed_by_the_band(btc: list[Tape], joined: dict[str, Any]) -> None:
    low, high = (full(told(btc, end, every_us=EXACT_US)) for end in (BAND[0], BAND[-1]))
    assert all(lowest < share < highest for lowest, share, highest in zip(low, full(joined), high, strict=True))


def test_a_thin_market_fills_few(inx: list[Tape]) -> None:
    shares = full(told(inx, every_us=EXACT_US))
    # Measured .0034, .036 and .188.
    for share, measured, apart in zip(shares, (0.003, 0.03, 0.16), (0.003, 0.02, 0.04), strict=True):
        assert share == pytest.approx(measured, abs=apart)


def test_a_decision_grid_says_what_every_event_does(btc: list[Tape]) -> None:
    exact, coarse = (full(told(btc, every_us=GRID_US, grid_us=grid)) for grid in (None, 250_000))
    for one, other in zip(exact, coarse, strict=True):
        assert other == pytest.approx(one, abs=0.02)


def test_busy_markets_tell_that_cancellations_fall_behind(btc: list[Tape]) -> None:
    ahead, _ = fitted_values(fit_queue(watch(btc)))
    assert ahead.identified
    assert ahead.value < 0.2
    assert ahead.low <= ahead.value <= ahead.high


def test_thin_markets_do_not_tell_where_cancellations_fall(inx: list[Tape]) -> None:
    ahead, power = fitted_values(fit_queue(watch(inx)))
    assert not ahead.identified
    assert (ahead.value, power.value) == (0.5, 1.0)
