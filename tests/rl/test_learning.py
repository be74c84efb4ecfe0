"""Edges that are there are learnt: the short form of bench/learning.py."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

pytest.importorskip("stable_baselines3")

from kflow.testing.learning import Lesson, compiled, learn, plain, reached


def weights(model: Any) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in model.policy.state_dict().values())).hexdigest()


def test_ppo_finds_the_free_dollar() -> None:
    """Within 65,536 decisions; with a fresh network it earns nothing."""
    points, _ = learn(Lesson(world="dollar"), 0, 65_536, every=10**9)
    assert points[-1].steps == 65_536
    assert points[-1].share > 0.5


def test_the_compiled_environment_teaches_what_the_plain_one_does() -> None:
    """The same hyper-parameters, seed and episodes: after two updates the same weights, to the bit."""
    lesson = Lesson(world="reverting", envs=4, changes=(("n_steps", "128"), ("batch_size", "128")))
    ends = [learn(lesson, 3, 1_024, every=10**9, make=make) for make in (compiled, plain)]
    assert weights(ends[0][1]) == weights(ends[1][1])
    assert ends[0][0][-1].share == ends[1][0][-1].share


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "world", "target", "steps"),
    [
        ("ppo", "dollar", 0.9, 500_000),
        ("ppo", "reverting", 0.9, 500_000),
        ("ppo", "maker", 0.9, 500_000),
        ("a2c", "dollar", 0.8, 600_000),
        ("a2c", "reverting", 0.8, 600_000),
    ],
)
def test_planted_edges_are_learnt(algorithm: str, world: str, target: float, steps: int) -> None:
    points, _ = learn(Lesson(world=world, algorithm=algorithm), 0, steps, enough=target)
    assert reached(points, target), points
