"""Estimators against examples worked out by hand, the papers' recursion, and a process whose value is known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from kflow.evaluate.offpolicy import estimators
from kflow.evaluate.offpolicy.estimators import Estimate, Trajectories

F64 = NDArray[np.float64]
EVERY: tuple[Callable[[Trajectories], Estimate], ...] = (
    estimators.importance_sampling,
    estimators.weighted_importance_sampling,
    estimators.doubly_robust,
    estimators.weighted_doubly_robust,
)

# Two episodes of two decisions. Weights: 2, 1 and 1/2, 3/2. Shares: 4/5, 2/5 and 1/5, 3/5.
BY_HAND = Trajectories(
    ratio=np.array([[2.0, 0.5], [0.5, 3.0]]),
    reward=np.array([[1.0, 10.0], [-2.0, 4.0]]),
    q=np.array([[6.0, 8.0], [3.0, 5.0]]),
    v=np.array([[4.0, 7.0], [2.0, 6.0]]),
)


@pytest.mark.parametrize(
    ("estimator", "value"),
    [
        # (2*1 + 1*10 + 0.5*-2 + 1.5*4) / 2
        (estimators.importance_sampling, 8.5),
        # 4/5*1 + 1/5*-2 + 2/5*10 + 3/5*4
        (estimators.weighted_importance_sampling, 6.8),
        # [4 + 2*(1-6) + 2*7 + 1*(10-8), 2 + 0.5*(-2-3) + 0.5*6 + 1.5*(4-5)] = [10, 1]
        (estimators.doubly_robust, 5.5),
        # 1/2*(4+2) + 4/5*(1-6) + 1/5*(-2-3) + 4/5*7 + 1/5*6 + 2/5*(10-8) + 3/5*(4-5)
        (estimators.weighted_doubly_robust, 3 - 4 - 1 + 5.6 + 1.2 + 0.8 - 0.6),
        (estimators.model_alone, 3.0),
    ],
)
def test_by_hand(estimator: Callable[[Trajectories], Estimate], value: float) -> None:
    found = estimator(BY_HAND)
    assert found.value == pytest.approx(value, rel=0, abs=1e-12)
    assert found.parts.mean() == pytest.approx(value, rel=0, abs=1e-12)


def test_effective_number_by_hand() -> None:
    shares = estimators.normalised(estimators.log_weights(BY_HAND.ratio))
    np.testing.assert_allclose(shares, [[0.8, 0.4], [0.2, 0.6]], rtol=0, atol=1e-12)
    np.testing.assert_allclose(estimators.effective(shares), [1 / 0.68, 1 / 0.52], rtol=0, atol=1e-12)


def random_trajectories(seed: int, episodes: int = 7, longest: int = 5) -> Trajectories:
    """Episodes of different lengths, padded as the docstring says."""
    draw = np.random.default_rng(seed)
    inside = np.arange(longest) < draw.integers(1, longest + 1, episodes)[:, None]
    ratio = np.where(inside, draw.exponential(size=inside.shape), 1.0)
    return Trajectories(ratio, *(np.where(inside, draw.normal(size=inside.shape), 0.0) for _ in range(3)))


@pytest.mark.parametrize("seed", range(5))
def test_doubly_robust_is_the_recursion_of_jiang_and_li(seed: int) -> None:
    t = random_trajectories(seed)
    recursive = np.zeros(len(t.ratio))
    for step in range(t.ratio.shape[1] - 1, -1, -1):
        recursive = t.v[:, step] + t.ratio[:, step] * (t.reward[:, step] + recursive - t.q[:, step])
    np.testing.assert_allclose(estimators.doubly_robust(t).parts, recursive, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_without_a_model_doubly_robust_is_importance_sampling(seed: int) -> None:
    t = random_trajectories(seed)
    bare = t._replace(q=np.zeros_like(t.q), v=np.zeros_like(t.v))
    np.testing.assert_allclose(
        estimators.doubly_robust(bare).parts, estimators.importance_sampling(t).parts, rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        estimators.weighted_doubly_robust(bare).parts,
        estimators.weighted_importance_sampling(t).parts,
        rtol=0,
        atol=1e-12,
    )


def test_the_same_policy_gets_the_mean_of_the_returns() -> None:
    t = random_trajectories(1)._replace(ratio=np.ones((7, 5)))
    returns = t.reward.sum(axis=1)
    for estimator in (estimators.importance_sampling, estimators.weighted_importance_sampling):
        assert estimator(t).value == pytest.approx(returns.mean(), abs=1e-15)
    np.testing.assert_array_equal(estimators.importance_sampling(t).parts, returns)
    np.testing.assert_array_equal(estimators.effective(estimators.normalised(estimators.log_weights(t.ratio))), 7.0)


def test_influences_are_what_an_episode_more_or_less_changes() -> None:
    """The parts of normalised estimates against the derivative by an episode's weight, taken numerically."""
    t = random_trajectories(2)
    counts = np.full(len(t.ratio), 1 / len(t.ratio))

    def weighted(shares_of: F64) -> float:
        weights = shares_of[:, None] * np.exp(estimators.log_weights(t.ratio))
        shares = weights / weights.sum(axis=0)
        before = np.concatenate([shares_of[:, None] / shares_of.sum(), shares[:, :-1]], axis=1)
        return float((shares * (t.reward - t.q) + before * t.v).sum())

    found = estimators.weighted_doubly_robust(t)
    assert found.value == pytest.approx(weighted(counts), abs=1e-12)
    small = 1e-6
    for episode in range(len(counts)):
        more = counts * (1 - small)
        more[episode] += small
        assert found.parts[episode] - found.value == pytest.approx((weighted(more) - found.value) / small, abs=1e-3)


def test_weights_beyond_any_float_still_have_shares() -> None:
    ratio = np.array([[1e200, 1e200], [1e200, 1e199], [0.0, 1.0]])
    shares = estimators.normalised(estimators.log_weights(ratio))
    np.testing.assert_allclose(shares[:, 1], [10 / 11, 1 / 11, 0.0], rtol=1e-12)
    assert estimators.effective(estimators.normalised(estimators.log_weights(np.zeros((3, 2))))).tolist() == [0.0, 0.0]


# A process of three states, two actions and four decisions, noise in rewards and moves.

STATES, ACTIONS, STEPS = 3, 2, 4


class Process:
    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.moves = draw.dirichlet(np.ones(STATES), size=(STATES, ACTIONS))
        self.pays = draw.normal(size=(STATES, ACTIONS))
        self.old = draw.dirichlet(3 * np.ones(ACTIONS), size=STATES)
        self.new = draw.dirichlet(3 * np.ones(ACTIONS), size=STATES)
        self.q, self.v = np.zeros((STEPS + 1, STATES, ACTIONS)), np.zeros((STEPS + 1, STATES))
        for step in range(STEPS - 1, -1, -1):
            self.q[step] = self.pays + self.moves @ self.v[step + 1]
            self.v[step] = (self.new * self.q[step]).sum(axis=1)

    @property
    def value(self) -> float:
        """Of the new policy, from the first state."""
        return float(self.v[0, 0])

    def log(self, episodes: int, draw: np.random.Generator, off: float) -> Trajectories:
        """Drawn by the old policy; the model's q is wrong by `off` times a function of state and action."""
        q = self.q + off * np.add.outer(np.arange(STATES), np.array([1.0, -2.0]))
        v = (self.new * q).sum(axis=2)
        state = np.zeros(episodes, np.int64)
        columns: list[list[F64]] = [[], [], [], []]
        for step in range(STEPS):
            action = (draw.random(episodes) > self.old[state, 0]).astype(np.int64)
            reward = self.pays[state, action] + draw.normal(size=episodes)
            row = (self.new[state, action] / self.old[state, action], reward, q[step, state, action], v[step, state])
            for column, values in zip(columns, row, strict=True):
                column.append(values)
            chances = self.moves[state, action].cumsum(axis=1)
            state = (chances < draw.random(episodes)[:, None]).sum(axis=1)
        return Trajectories(*(np.stack(column, axis=1) for column in columns))


def test_the_known_value_is_right() -> None:
    """By all paths, not by the recursion."""
    process = Process(3)
    total = 0.0
    for path in product(range(STATES), range(ACTIONS), repeat=STEPS):
        states, actions = path[0::2], path[1::2]
        if states[0] != 0:
            continue
        chance = 1.0
        for step in range(STEPS):
            chance *= process.new[states[step], actions[step]]
            if step:
                chance *= process.moves[states[step - 1], actions[step - 1], states[step]]
        total += chance * sum(process.pays[s, a] for s, a in zip(states, actions, strict=True))
    assert process.value == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize(("off", "share"), [(0.0, 0.8), (0.5, 0.95)])
def test_unbiased_and_of_less_variance_with_a_model(off: float, share: float) -> None:
    """2,000 logs of 50 episodes: bias within 3.5 standard errors, which chance exceeds in 1 of 2,000 such tests."""
    process, draw = Process(3), np.random.default_rng(11)
    found = np.array(
        [[estimator(log).value for estimator in EVERY] for log in (process.log(50, draw, off) for _ in range(2_000))]
    )
    bias, spread = found.mean(axis=0) - process.value, found.std(axis=0, ddof=1)
    for unbiased in (0, 2):
        assert abs(bias[unbiased]) < 3.5 * spread[unbiased] / np.sqrt(len(found))
    # Normalised ones are off by about 1 / E: less than a fifth of what they vary by.
    assert (np.abs(bias[[1, 3]]) < spread[[1, 3]] / 5).all()
    assert spread[2] < share * spread[0]
    assert spread[3] < share * spread[0]


def test_a_model_whose_v_is_not_that_of_its_q_is_biased() -> None:
    """So that the test above can fail: what the proof asks for is what makes it unbiased."""
    process, draw = Process(3), np.random.default_rng(12)
    logs = [process.log(50, draw, 0.0) for _ in range(500)]
    found = np.array([estimators.doubly_robust(log._replace(v=log.v + 0.2)).value for log in logs])
    assert abs(found.mean() - process.value) > 10 * found.std(ddof=1) / np.sqrt(len(found))


def test_errors_told_by_parts_are_those_of_many_logs() -> None:
    process, draw = Process(3), np.random.default_rng(13)
    logs = [process.log(200, draw, 0.3) for _ in range(1_000)]
    for estimator in EVERY:
        found = [estimator(log) for log in logs]
        told = np.mean([estimate.parts.std(ddof=1) / np.sqrt(200) for estimate in found])
        assert told == pytest.approx(np.std([estimate.value for estimate in found]), rel=0.1)
