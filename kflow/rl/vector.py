"""Many accounts at once as a Gymnasium vector environment, in one process: `gymnasium.make_vec`."""

from __future__ import annotations

from typing import Any

import gymnasium.vector
import numpy as np
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.rl.batch import F32, Finished
from kflow.rl.env import RENDER, check_options, spaces_of
from kflow.rl.given import Given, open_batch
from kflow.rl.infos import account_info, account_infos, finished_info
from kflow.rl.render import Screen, check_mode

Flags = NDArray[np.bool_]
# Gymnasium 1.0 has no name for it yet.
_MODES: Any = getattr(gymnasium.vector, "AutoresetMode", None)
_METADATA: dict[str, Any] = {**RENDER, "autoreset_mode": _MODES.SAME_STEP if _MODES else "SameStep"}


class KalshiMarketVectorEnv(gymnasium.vector.VectorEnv[F32, NDArray[Any], NDArray[Any]]):
    """`num_envs` times `KalshiMarketEnv`; account n of a seed does the same whatever their number.

    Where an episode ends, the next begins in the same step: the observation is its first, and `final_obs` and
    `final_info` hold the last of the one that ended.
    """

    metadata = _METADATA

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, **given: Any) -> None:
        """`given`: see `kflow.rl.given.Given`."""
        check_mode(render_mode)
        self.batch = open_batch(Given(**given), num_envs)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = spaces_of(self.batch)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._screens = [Screen(self.batch, account, render_mode) for account in range(num_envs)] if render_mode else []
        self._seeded = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[F32, dict[str, Any]]:
        """Begin the next episode everywhere. [N, F]. Raises UsageError for options: there are none."""
        super().reset(seed=seed)
        check_options(options)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(2**31))
        self._seeded = True
        observations = self.batch.reset(seed)
        self._note()
        return observations.copy(), account_infos(self.batch)

    def step(self, actions: NDArray[Any]) -> tuple[F32, NDArray[Any], Flags, Flags, dict[str, Any]]:
        """Observations [N, F], rewards [N], terminated [N], truncated [N], infos. Raises UsageError before `reset`."""
        if not self._seeded:
            raise UsageError("no episode is running", hint="reset() begins one everywhere")
        observations, rewards, finished = self.batch.step(actions)
        terminated, truncated = np.zeros(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)
        final: dict[str, Any] = {}
        for done in finished:
            terminated[done.account], truncated[done.account] = done.terminated, not done.terminated
            self._end(done, final)
        self._note()
        return observations.copy(), rewards, terminated, truncated, {**account_infos(self.batch), **final}

    def _end(self, done: Finished, final: dict[str, Any]) -> None:
        """Tell of an episode, and begin the next."""
        if not final:
            final["final_obs"], final["_final_obs"] = np.full(self.num_envs, None), np.zeros(self.num_envs, np.bool_)
        final["final_obs"][done.account], final["_final_obs"][done.account] = done.observation, True
        info = account_info(self.batch, done.account)
        info["finished"] = finished_info(done, self.batch.dataset)
        self._add_info(final, {"final_info": info}, done.account)
        self.batch.begin(done.account)

    def action_masks(self) -> Flags:
        """[N, A] which actions are allowed now."""
        return self.batch.masks()

    def render(self) -> Any:
        """Of each account a text (ansi) or a picture [H, W, 3] uint8 (rgb_array); None without a mode."""
        if self.render_mode is None:
            return None
        return tuple(screen.draw() for screen in self._screens)

    def _note(self) -> None:
        for screen in self._screens:
            screen.note()
