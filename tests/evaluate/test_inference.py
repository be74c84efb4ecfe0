"""Who cannot be told from hold is not; who loses rarely and much is not believed; who has an edge is found.

Everything is seeded. Sizes are looked at with room for four standard errors of the draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kflow.evaluate.inference import (
    ALPHA,
    ENOUGH,
    FEWEST,
    RESAMPLES,
    Estimate,
    deflated_sharpe,
    estimate,
    moments,
    paired,
    resamples,
    sharpe_error,
    sidak,
    student_quantile,
    student_tail,
    tilted_low,
    tilted_tail,
    uniform,
    unseen_loss,
    verdict,
)

F64 = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], tuple[F64, F64]]


def normal(rng: np.random.Generator, count: int) -> tuple[F64, F64]:
    return rng.normal(size=count), np.zeros(count)


def seldom(rng: np.random.Generator, count: int) -> tuple[F64, F64]:
    """Four events of five are not traded in."""
    return rng.normal(size=count) * (rng.random(count) < 0.2), np.zeros(count)


def heavy(rng: np.random.Generator, count: int) -> tuple[F64, F64]:
    return rng.standard_t(3, size=count), np.zeros(count)


def coins(rng: np.random.Generator, count: int) -> tuple[F64, F64]:
    """Up to 20 contracts of either side at a fair price of 30 to 70 cents, held to the result."""
    price, size = rng.uniform(0.3, 0.7, count), rng.integers(1, 20, count)
    return np.where(rng.random(count) < price, size * (1 - price), -size * price), size * price


def favourites(price: float) -> Draw:
    """Contracts at about that price that are worth it."""

    def draw(rng: np.random.Generator, count: int) -> tuple[F64, F64]:
        paid = np.clip(price + 0.02 * rng.normal(size=count), 0.6, 0.995)
        return np.where(rng.random(count) < paid, 1 - paid, -paid), paid

    return draw


def rejected(draw: Draw, events: int, times: int = 400) -> float:
    rng = np.random.default_rng([11, events])
    found = [estimate(*draw(rng, events)).p for _ in range(times)]
    return float(np.mean([p is not None and p <= ALPHA for p in found]))


# Size: a fair game is seldom called an edge.


@pytest.mark.parametrize("draw", [normal, coins], ids=["normal", "coins"])
def test_on_the_null_one_in_twenty_is_rejected(draw: Draw) -> None:
    assert 0.01 <= rejected(draw, 30) <= 0.095


@pytest.mark.parametrize("price", [0.8, 0.95])
@pytest.mark.parametrize("events", [5, 12, 30, 60])
def test_whoever_buys_favourites_at_their_worth_shows_no_edge(price: float, events: int) -> None:
    assert rejected(favourites(price), events, times=200) <= 0.095


@pytest.mark.parametrize(("draw", "events"), [(seldom, 12), (seldom, 30), (heavy, 5)])
def test_few_events_and_wild_ones_show_no_edge(draw: Draw, events: int) -> None:
    assert rejected(draw, events) <= 0.095


def test_p_values_of_the_null_are_uniform() -> None:
    rng = np.random.default_rng(4)
    found = [estimate(*coins(rng, 40)).p for _ in range(300)]
    assert uniform(np.array(found, np.float64)) > 0.05


def test_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(5)
    for draw in (normal, coins, favourites(0.9)):
        held = [estimate(*draw(rng, 30)) for _ in range(300)]
        assert np.mean([one.low <= 0 <= one.high for one in held]) >= 0.91  # type: ignore[operator]


# Power: an edge is found.


@pytest.mark.parametrize(("shift", "events", "least"), [(0.5, 30, 0.75), (0.25, 200, 0.9), (1.0, 12, 0.85)])
def test_an_edge_is_found(shift: float, events: int, least: float) -> None:
    assert rejected(lambda rng, count: (rng.normal(shift, size=count), np.zeros(count)), events) >= least


def test_a_sure_gain_is_as_sure_as_coins_that_all_fall_one_way() -> None:
    assert estimate(np.full(8, 0.2)) == Estimate(8, pytest.approx(0.2), pytest.approx(0.2), pytest.approx(0.2), 2**-8)
    assert estimate(np.full(8, -0.2)).p == 1.0


# Little to go by.


def test_who_never_traded_has_no_edge() -> None:
    for count in (1, 4, 30):
        assert estimate(np.zeros(count)) == Estimate(count, 0.0, 0.0, 0.0, 1.0)
    assert "gained and lost nothing" in verdict(estimate(np.zeros(12)), 3)["words"]


def test_few_events_have_a_mean_and_nothing_more() -> None:
    few = estimate(np.array([1.0, 2.0, 3.0, 4.0]))
    assert few == Estimate(4, 2.5, None, None, None)
    told = verdict(few, 1)
    assert (told["p"], told["p_deflated"], told["distinguishable"]) == (None, None, None)
    assert told["words"] == "not distinguishable from hold: 4 independent events"
    assert told["why"] == "4 independent events; 5 are needed for an interval or a p-value"
    assert estimate(np.arange(1.0, FEWEST + 1)).p is not None
    with pytest.raises(ValueError, match="no events"):
        estimate(np.zeros(0))


def test_a_verdict_over_few_events_is_given_with_a_caution() -> None:
    cautious = verdict(estimate(np.random.default_rng(1).normal(3, 1, ENOUGH - 1)), 1)
    assert cautious["distinguishable"]
    assert cautious["why"].startswith("29 independent events are few")
    assert verdict(estimate(np.random.default_rng(1).normal(3, 1, ENOUGH)), 1)["why"] is None


def test_verdicts_in_words() -> None:
    rng = np.random.default_rng(2)
    none, gains = estimate(rng.normal(0, 1, 40)), estimate(rng.normal(1.2, 1, 40))
    assert none.p is not None
    assert gains.p is not None
    assert verdict(none, 1)["words"] == f"not distinguishable from hold over 40 independent events (p = {none.p:.2f})"
    assert verdict(gains, 1)["words"].startswith("gains more than hold over 40 independent events (p < 0.0001)")
    assert verdict(estimate(rng.normal(-1.2, 1, 40)), 1)["words"].startswith("loses against hold")
    told = verdict(Estimate(40, 1.0, 0.1, 2.0, 0.02), 7)
    assert told["p_deflated"] == pytest.approx(1 - 0.98**7)
    assert told["words"] == (
        "not distinguishable from hold over 40 independent events (p = 0.02, 0.13 for the best of 7 variants)"
    )


# What was at stake and never lost.


def test_twelve_favourites_that_won_tell_nothing() -> None:
    """At 95 cents all of twelve win with a chance of 0.95^12; the mean may be as low as one loss in four has it."""
    gains = np.full(12, 0.05)
    p, low = unseen_loss(gains, 0.95)
    chance = 1 - 0.025 ** (1 / 12)
    assert p == pytest.approx(0.95**12)
    assert low == pytest.approx((1 - chance) * 0.05 - chance * 0.95)
    found = estimate(gains, np.full(12, 0.95))
    assert (found.p, found.low) == (pytest.approx(p), pytest.approx(low))
    told = verdict(found, 1)
    assert not told["distinguishable"]
    assert told["why"].startswith(
        "no event has lost what was at stake, and a loss as rare as that would pay for the gains; 12"
    )
    assert not estimate(np.append(gains, -0.9), np.full(13, 0.95)).unseen


def test_a_loss_that_was_met_speaks_for_itself() -> None:
    assert unseen_loss(np.array([0.05] * 20 + [-0.6]), 0.95) == (0.0, math.inf)
    assert unseen_loss(np.full(12, 0.05), 0.0) == (0.0, math.inf)
    assert unseen_loss(np.full(12, -0.05), 0.95)[0] == 1.0


def test_twelve_longshots_that_lost_are_not_said_to_lose() -> None:
    """At 5 cents all of twelve lose with a chance of 0.95^12."""
    found = estimate(np.full(12, -0.05), np.full(12, 0.05), np.full(12, 0.95))
    chance = 1 - 0.025 ** (1 / 12)
    assert found.high == pytest.approx(chance * 0.95 - (1 - chance) * 0.05)
    assert verdict(found, 1)["words"].startswith("not distinguishable")
    assert paired(np.full(12, -0.05), np.full(12, 0.05), np.full(12, 0.95)).p == 1.0


# The bootstrap under the null.


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(10).normal(0.5, 1, 12),
        np.random.default_rng(11).normal(0.2, 1, 60),
        np.random.default_rng(12).normal(-0.3, 1, 12),
        np.concatenate([np.random.default_rng(13).normal(0.3, 0.3, 50), [-2.5, -3.0]]),
    ],
    ids=["edge", "weak edge", "loss", "rare losses"],
)
def test_the_formula_is_what_resampling_comes_to(values: F64) -> None:
    """100,000 resamples with the weights under which the mean is nothing, found here by halving."""
    low, high = -50.0, 50.0
    for _ in range(200):
        tilt = (low + high) / 2
        weights = np.exp(-tilt * values)
        low, high = (tilt, high) if weights @ values > 0 else (low, tilt)
    drawn = np.random.default_rng(14).multinomial(len(values), weights / weights.sum(), 100_000) @ values
    share = float((drawn >= values.sum()).mean())
    assert tilted_tail(values) == pytest.approx(share, abs=0.003, rel=0.1)


def test_of_two_values_it_is_the_binomial_test() -> None:
    """29 gains of 5 cents and a loss of 95: with a loss in 20, none in 30 has 0.95^30, and one, counted by half."""
    none, one = 0.95**30, 30 * 0.05 * 0.95**29
    assert tilted_tail(np.array([0.05] * 29 + [-0.95])) == pytest.approx(none + one / 2, abs=0.005)


def test_who_only_gains_or_loses_is_no_case_for_weights() -> None:
    assert tilted_tail(np.array([1.0, 0.0, 2.0])) == 0.0
    assert tilted_tail(np.array([-1.0, 0.0])) == 1.0
    assert tilted_tail(np.array([1.0, -1.0])) == 0.5


def test_its_lower_end_is_the_mean_it_would_just_reject() -> None:
    for values in (np.random.default_rng(15).normal(0.4, 1, 25), np.array([0.05] * 19 + [-0.95])):
        low = tilted_low(values, 0.025)
        assert float(values.min()) < low < values.mean()
        assert tilted_tail(values - low) == pytest.approx(0.025, rel=1e-6)


def test_the_interval_reaches_farther_to_where_rare_values_lie() -> None:
    """Student's is as wide either way; two losses of thirty that are rare and large draw its lower end down."""
    values = np.array([0.1] * 28 + [-0.9, -1.0])
    found, mirrored = estimate(values), estimate(-values)
    reach = student_quantile(0.025, 29) * values.std(ddof=1) / math.sqrt(30)
    assert found.low == pytest.approx(tilted_low(values, 0.025))
    assert found.low < values.mean() - 1.2 * reach
    assert found.high == pytest.approx(values.mean() + reach)
    assert (mirrored.low, mirrored.high) == (pytest.approx(-found.high), pytest.approx(-found.low))  # type: ignore[operator]


def test_two_gains_among_many_events_are_two_coins() -> None:
    values = np.zeros(1_000)
    values[[3, 700]] = 1.0, 1.2
    assert estimate(values).p == 0.25


# Two that met the same events.


def test_pairs_see_what_single_means_do_not() -> None:
    rng = np.random.default_rng(3)
    luck = rng.normal(0, 10, 40)
    one, other = luck + rng.normal(1, 0.5, 40), luck
    assert estimate(one).p > ALPHA  # type: ignore[operator]
    assert paired(one - other).p <= 0.001  # type: ignore[operator]


def test_which_is_taken_from_which_does_not_matter() -> None:
    values = np.random.default_rng(4).normal(0.4, 1, 25)
    one, other = paired(values), paired(-values)
    assert one.p == pytest.approx(other.p, rel=0.02)
    assert one.mean == -other.mean
    assert one.p >= min(estimate(values).p, estimate(-values).p)  # type: ignore[operator, type-var]
    assert paired(np.zeros(9)).p == 1.0
    assert paired(np.ones(3)).p is None


# The same every time.


def test_the_same_values_give_the_same_bits() -> None:
    values = np.random.default_rng(6).normal(0.3, 1, 37)
    first = estimate(values, np.ones(37))
    resamples.cache_clear()
    assert estimate(values.copy(), np.ones(37)) == first


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.1, 1.0, 3.0]), min_size=FEWEST, max_size=25), st.integers(-3, 3))
def test_cents_or_dollars_are_the_same_verdict(values: list[float], power: int) -> None:
    one, other = estimate(np.array(values)), estimate(np.array(values) * 10.0**power)
    assert other.p == pytest.approx(one.p, rel=1e-6)
    assert other.low == pytest.approx(one.low * 10.0**power, rel=1e-6)  # type: ignore[operator]
    assert one.low <= one.mean <= one.high  # type: ignore[operator]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=FEWEST, max_size=25), st.floats(0, 3))
def test_more_at_stake_is_never_surer(values: list[float], stake: float) -> None:
    plain, staked = estimate(np.array(values)), estimate(np.array(values), np.full(len(values), stake))
    assert staked.p >= plain.p  # type: ignore[operator]
    assert staked.low <= plain.low + 1e-9  # type: ignore[operator]


def test_resamples_draw_each_event_as_often() -> None:
    drawn = resamples(12)
    assert drawn.shape == (RESAMPLES, 12)
    assert (drawn.sum(axis=1) == 12).all()
    each = drawn.mean(axis=0)
    assert np.abs(each - 1).max() < 4 / math.sqrt(RESAMPLES)


# Curves and corrections.


def test_students_t_is_as_in_tables() -> None:
    """Upper 2.5 % points: 12.706, 4.303, 2.571, 2.228, 2.045; Cauchy's in closed form."""
    for freedom, point in [(1, 12.706), (2, 4.303), (5, 2.571), (10, 2.228), (29, 2.045)]:
        assert student_tail(point, freedom) == pytest.approx(0.025, abs=2e-5)
        assert student_tail(-point, freedom) == pytest.approx(0.975, abs=2e-5)
        assert student_quantile(0.025, freedom) == pytest.approx(point, abs=5e-4)
    assert student_tail(1.0, 1) == pytest.approx(0.25)
    assert student_tail(0.0, 7) == 0.5


def test_the_best_of_many_is_less_sure() -> None:
    assert sidak(0.05, 1) == pytest.approx(0.05)
    assert sidak(0.05, 10) == pytest.approx(1 - 0.95**10)
    assert sidak(1e-12, 100) == pytest.approx(1e-10)
    assert sidak(1.0, 5) == 1.0


def test_moments_of_a_loaded_coin() -> None:
    """With q = 3/4: skewness (1 - 2 q) / sqrt(q (1 - q)), kurtosis 3 + (1 - 6 q (1 - q)) / (q (1 - q))."""
    skewness, kurtosis = moments(np.array([1.0, 1.0, 1.0, 0.0]))
    assert skewness == pytest.approx(-0.5 / math.sqrt(3 / 16))
    assert kurtosis == pytest.approx(3 + (1 - 18 / 16) / (3 / 16))
    assert np.isnan(moments(np.ones(3))).all()


def test_the_deflated_ratio_of_the_papers_example() -> None:
    """Bailey and López de Prado 2014, the numerical example: 1,250 days, a yearly ratio of 2.5, 100 trials, 0.9004."""
    per_day, spread = 2.5 / math.sqrt(250), math.sqrt(0.5 / 250)
    # The example's skewness of -3 and kurtosis of 10 are those of a coin that falls so in 1,145 of 1,250 days.
    values = np.repeat([1.0, 0.0], [1_145, 105])
    assert moments(values) == (pytest.approx(-3.0, abs=1e-3), pytest.approx(10.0, abs=5e-3))
    assert deflated_sharpe(per_day, values, 100, spread) == pytest.approx(0.9004, abs=1e-4)


def test_more_trials_deflate_more() -> None:
    values = np.random.default_rng(8).normal(0.3, 1, 60)
    ratio = float(values.mean() / values.std(ddof=1))
    found = [deflated_sharpe(ratio, values, variants) for variants in (1, 2, 10, 1_000)]
    assert found == sorted(found, reverse=True)  # type: ignore[type-var]
    assert found[0] == pytest.approx(0.5 * math.erfc(-ratio / sharpe_error(ratio, values) / math.sqrt(2)))


def test_uniformity() -> None:
    rng = np.random.default_rng(9)
    assert uniform((np.arange(200) + 0.5) / 200) == 1.0
    assert uniform(rng.random(200)) > 0.05
    assert uniform(rng.random(200) ** 1.5) < 0.001
    # Steps that lie 0.0951 above their places: the 5 % point of 200 values, Stephens's 1.358 / (sqrt(N) + 0.12 + ..).
    shift = 1.358 / (math.sqrt(200) + 0.12 + 0.11 / math.sqrt(200)) - 0.5 / 200
    assert uniform((np.arange(200) + 0.5) / 200 + shift) == pytest.approx(0.05, abs=1e-4)
