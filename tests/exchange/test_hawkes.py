"""Arrivals come at their rate, cluster as branching says, and do not depend on how they are asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kflow.exchange.hawkes import Arrivals, Clustering, Floats, Ints

POISSON = Clustering(branching=0.0, scales=((1.0, 0.1),), swell_sigma=0.0, swell_s=10.0)
BURSTS = replace(POISSON, branching=0.7, scales=((0.5, 0.01), (0.5, 0.2)))
ALARMS = replace(BURSTS, alarm_share=0.002, alarm_children=40.0, alarm_delay_s=0.02)


def taken(clustering: Clustering, rates: list[float], seconds: float, *, slices: int = 1) -> tuple[Floats, Ints]:
    arrivals = Arrivals(clustering, np.random.default_rng(1))
    for rate in rates:
        arrivals.add(rate)
    times, sources = [], []
    for number in range(slices):
        at, source, _ = arrivals.take(seconds / slices, np.array(rates))
        assert np.all(np.diff(at) >= 0)
        assert np.all((at >= -1e-6) & (at <= seconds / slices + 1e-6))
        times.append(at + number * seconds / slices)
        sources.append(source)
    return np.concatenate(times), np.concatenate(sources)


def dispersion(times: Floats, width_s: float, seconds: float) -> float:
    counts = np.bincount((times / width_s).astype(int), minlength=int(seconds / width_s))
    return float(counts.var() / counts.mean())


@pytest.mark.parametrize("clustering", [POISSON, BURSTS, ALARMS])
def test_rates_are_the_means_of_their_sources(clustering: Clustering) -> None:
    _, sources = taken(clustering, [40.0, 10.0, 0.0], 4000.0)
    counts = np.bincount(sources, minlength=3) / 4000
    assert counts[0] == pytest.approx(40, rel=0.03)
    assert counts[1] == pytest.approx(10, rel=0.06)
    assert counts[2] == 0


def test_clusters_have_the_dispersion_of_their_branching() -> None:
    """Over windows much longer than the delays, variance/mean of a Hawkes process is 1/(1 - n)^2 (Hawkes 1971)."""
    plain, _ = taken(POISSON, [50.0], 4000.0)
    bursts, _ = taken(BURSTS, [50.0], 4000.0)
    assert dispersion(plain, 10, 4000) == pytest.approx(1, rel=0.3)
    assert dispersion(bursts, 10, 4000) == pytest.approx(1 / 0.3**2, rel=0.3)
    assert dispersion(bursts, 0.01, 4000) < 3


def test_alarms_bring_their_children() -> None:
    arrivals = Arrivals(ALARMS, np.random.default_rng(2))
    arrivals.add(50.0)
    times, _, alarms = arrivals.take(4000.0, np.array([50.0]))
    starts = times[alarms]
    assert len(starts) / 4000 == pytest.approx(50 * 0.002, rel=0.15)
    followers = [np.searchsorted(times, start + 0.1) - np.searchsorted(times, start) for start in starts]
    assert np.mean(followers) > 40


def test_swelling_lasts() -> None:
    swelling = replace(POISSON, swell_sigma=0.8, swell_s=60.0)
    times, _ = taken(swelling, [50.0], 6000.0)
    counts = np.bincount((times / 10).astype(int), minlength=600).astype(float)
    assert np.corrcoef(counts[:-1], counts[1:])[0, 1] > 0.6
    assert counts.mean() == pytest.approx(500, rel=0.25)


def test_arrivals_do_not_depend_on_how_they_are_asked_for() -> None:
    whole, sources = taken(ALARMS, [30.0, 20.0], 60.0)
    parts, sources_of_parts = taken(ALARMS, [30.0, 20.0], 60.0, slices=240)
    assert np.allclose(whole, parts)
    assert np.array_equal(sources, sources_of_parts)


def test_a_source_that_is_added_late_begins_at_once() -> None:
    arrivals = Arrivals(POISSON, np.random.default_rng(3))
    arrivals.add(20.0)
    arrivals.take(1.0, np.array([20.0]))
    assert arrivals.add(200.0) == 1
    times, sources, _ = arrivals.take(1.0, np.array([20.0, 200.0]))
    assert np.sum(sources == 1) == pytest.approx(200, abs=60)
    assert times[sources == 1].min() < 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"branching": 1.0},
        {"branching": -0.1},
        {"scales": ((0.5, 1.0),)},
        {"alarm_share": 0.1, "alarm_children": 10.0},
    ],
)
def test_clusters_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"clusters that never end|more arrivals than there are"):
        replace(BURSTS, **wrong)  # type: ignore[arg-type]
