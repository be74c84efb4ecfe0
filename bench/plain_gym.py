"""What bench/training.py compares with: the plain environment as Gymnasium knows one, and an environment of nothing."""

# ruff: noqa: ARG002 - the signatures of Gymnasium and of Stable-Baselines3

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from kflow.policy.features import FEATURES
from kflow.rl.batch import Setup
from kflow.rl.episodes import Episode
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape
from kflow.testing.plain_env import PlainEnv, spans_of

F32 = NDArray[np.float32]


class PlainGym(gymnasium.Env[F32, np.int64]):
    """`PlainEnv`, which does what the compiled one does to the bit. An episode is a whole stretch from its first row:
    to begin in the middle, plain Python has to replay what was before.

    It follows the book twice, once to fill orders and once to see features, as two modules of one system would.
    """

    def __init__(
        self, tapes: Sequence[Tape], assume: Callable[[Tape], Assumptions], setup: Setup, every_us: int, number: int = 0
    ) -> None:
        spans = spans_of(tapes, assume, every_us)
        self._env = PlainEnv(spans, setup, every_us=every_us, number=number)
        self._draw = np.random.default_rng([1, number])
        self.observation_space = Box(-1.0, 1.0, (len(FEATURES),), np.float32)
        self.action_space = Discrete(len(setup.actions.actions))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[F32, dict[str, Any]]:
        super().reset(seed=seed)
        span = int(self._draw.integers(len(self._env.spans)))
        first = self._env.reset(Episode(span, 0, self._env.spans[span].rows - 1))
        return np.array(first, np.float32), {}

    def step(self, action: np.int64) -> tuple[F32, float, bool, bool, dict[str, Any]]:
        step = self._env.step(int(action))
        return np.array(step.observation, np.float32), step.reward, step.ending == "settled", bool(step.ending), {}


class NullVecEnv(VecEnv):
    """Gives two arrays in turn that were made beforehand: what Stable-Baselines3 costs by itself."""

    def __init__(self, count: int, actions: int) -> None:
        self.render_mode = None
        space: Any = Box(-1.0, 1.0, (len(FEATURES),), np.float32)
        super().__init__(count, space, Discrete(actions))
        rng = np.random.default_rng(0)
        self._seen = rng.uniform(-1.0, 1.0, (2, count, len(FEATURES))).astype(np.float32)
        self._rewards = rng.normal(size=count).astype(np.float32)
        self._dones = np.zeros(count, np.bool_)
        self._infos: list[dict[str, Any]] = [{}] * count
        self._turn = 0

    def reset(self) -> F32:
        return self._seen[self._turn]

    def step_async(self, actions: NDArray[Any]) -> None:
        self._turn ^= 1

    def step_wait(self) -> tuple[F32, F32, NDArray[np.bool_], list[dict[str, Any]]]:
        return self._seen[self._turn], self._rewards, self._dones, self._infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise AttributeError(method_name)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        return [False] * self.num_envs
