"""Who tries to win where nobody can: policies drawn at random, and what an evolution strategy finds."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.policy.features import FEATURES
from kflow.rl.batch import Batch, Setup
from kflow.rl.dataset import Dataset
from kflow.testing.arena import Policy, played, same_for_each

F32 = NDArray[np.float32]

_INPUTS: Final = len(FEATURES)
_HIDDEN: Final = 16
POPULATION: Final = 64
_STEP, _NOISE = 0.3, 0.3


def uniform(seed: int, actions: int, *, masked: bool) -> Policy:
    """Any action with equal chances; of those allowed where `masked`."""
    rng = np.random.default_rng(seed)

    def choose(batch: Batch, _: F32) -> NDArray[Any]:
        weights = rng.random((batch.count, actions))
        chosen: NDArray[Any] = np.argmax(weights * batch.masks() if masked else weights, axis=1)
        return chosen

    return choose


def weights_of(actions: int) -> int:
    """How many numbers make a network with one hidden layer."""
    return (_INPUTS + 1) * _HIDDEN + (_HIDDEN + 1) * actions


def network(weights: F32, actions: int, *, sampled: int | None = None) -> Policy:
    """The likeliest action, or one drawn by its chance with the seed `sampled`.

    weights: [n]; or [k, n], where k networks have as many accounts each, one after the other.
    """
    stacked = np.atleast_2d(weights)
    one = stacked[:, : _INPUTS * _HIDDEN].reshape(-1, _INPUTS, _HIDDEN)
    at = (_INPUTS + 1) * _HIDDEN
    bias = stacked[:, _INPUTS * _HIDDEN : at, None].transpose(0, 2, 1)
    two = stacked[:, at : at + _HIDDEN * actions].reshape(-1, _HIDDEN, actions)
    last = stacked[:, at + _HIDDEN * actions :, None].transpose(0, 2, 1)
    rng = np.random.default_rng(sampled)

    def choose(_: Batch, seen: F32) -> NDArray[Any]:
        logits: NDArray[Any] = np.tanh(seen.reshape(len(stacked), -1, _INPUTS) @ one + bias) @ two + last
        if sampled is not None:
            # The largest of logits with Gumbel's noise is drawn by softmax.
            logits = logits - np.log(rng.standard_exponential(logits.shape))
        chosen: NDArray[Any] = logits.argmax(axis=2)
        return chosen.reshape(-1)

    return choose


def random_network(number: int, actions: int) -> Policy:
    """One of a row of networks: weights of five scales, every other one drawn from."""
    rng = np.random.default_rng([7, number])
    scale = (0.1, 0.3, 1.0, 3.0, 10.0)[number % 5]
    weights = (rng.standard_normal(weights_of(actions)) * scale).astype(np.float32)
    return network(weights, actions, sampled=number if number // 5 % 2 else None)


def evolved(
    dataset: Dataset, setup: Setup, rows: int, *, generations: int = 30, markets: int = 24, seed: int = 0
) -> F32:
    """Weights after an evolution strategy: up the profit by ranks of mirrored neighbours, all in the same markets."""
    rng = np.random.default_rng(seed)
    actions = len(setup.actions.actions)
    center = (rng.standard_normal(weights_of(actions)) * _NOISE).astype(np.float32)
    ranks = np.arange(POPULATION) / (POPULATION - 1) - 0.5
    for _ in range(generations):
        half = rng.standard_normal((POPULATION // 2, len(center)), np.float32)
        noise = np.concatenate([half, -half])
        chosen = rng.choice(len(dataset.spans), markets, replace=False)
        batch = same_for_each(dataset, setup, rows, chosen.tolist(), POPULATION)
        won = (
            played(network((center + _NOISE * noise).astype(np.float32), actions), batch)
            .reshape(POPULATION, -1)
            .mean(axis=1)
        )
        weight = np.zeros(POPULATION)
        weight[np.argsort(won)] = ranks
        toward = weight @ noise
        center = (center + _STEP * np.sqrt(len(center)) * _NOISE * toward / np.linalg.norm(toward)).astype(np.float32)
    return center
