"""A batch as Stable-Baselines3 wants its environments: one array per step, no processes, nearly no work in Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices

from kflow.errors import UsageError
from kflow.rl.batch import F32, Batch, Finished
from kflow.rl.env import spaces_of
from kflow.rl.given import Given, open_batch
from kflow.rl.render import Screen, check_mode

Flags = NDArray[np.bool_]
# Of all accounts whose episode goes on.
_NOTHING: dict[str, Any] = {}


class KalshiVecEnv(VecEnv):
    """Over a batch that begins anew by itself. Observations stay as they are until the step after the next.

    The info of an account that is done holds what SB3 asks for, `terminal_observation`, `TimeLimit.truncated` and
    `episode` as `Monitor` writes it (its reward counts shaping), and `finished`, the record. `on_finished` is called
    with each record before the step returns.
    """

    def __init__(
        self, batch: Batch, *, on_finished: Callable[[Finished], None] | None = None, render_mode: str | None = None
    ) -> None:
        """`render_mode`: None or rgb_array. Raises UsageError for another, and for a batch that does not begin anew."""
        check_mode(render_mode, ("rgb_array",))
        if not batch.again:
            raise UsageError(
                "SB3 waits for no episode to begin, and these accounts stay where one ends",
                hint="KalshiVecEnv.make(64, world=...), or a Batch(..., again=True)",
            )
        self.batch = batch
        self.on_finished = on_finished
        self.render_mode = render_mode
        self._screens = [Screen(batch, account, render_mode) for account in range(batch.count)] if render_mode else []
        self._began = time.monotonic()
        super().__init__(batch.count, *spaces_of(batch))

    @classmethod
    def make(
        cls,
        count: int,
        *,
        on_finished: Callable[[Finished], None] | None = None,
        render_mode: str | None = None,
        **given: Any,
    ) -> Self:
        """`count` accounts on what is given by name, as `gymnasium.make` takes it: see `kflow.rl.given.Given`."""
        batch = open_batch(Given(**given), count, again=True)
        return cls(batch, on_finished=on_finished, render_mode=render_mode)

    def reset(self) -> F32:
        """Begin the next episode everywhere, of a new seed if `seed` gave one. [N, F]."""
        if any(self._options):
            raise UsageError("reset knows no options", hint="what may be chosen is chosen when the batch is made")
        observations = self.batch.reset(self._seeds[0])
        self._reset_seeds()
        self._note()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Actions [N] of the next `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[F32, F32, Flags, list[dict[str, Any]]]:
        """Observations [N, F], rewards [N], done [N], infos."""
        observations, rewards, finished = self.batch.step(self._actions)
        dones = np.zeros(self.num_envs, np.bool_)
        infos = [_NOTHING] * self.num_envs
        for done in finished:
            dones[done.account] = True
            infos[done.account] = self._info(done)
            if self.on_finished is not None:
                self.on_finished(done)
        self._note()
        return observations, rewards, dones, infos

    def _info(self, done: Finished) -> dict[str, Any]:
        return {
            "terminal_observation": done.observation,
            "TimeLimit.truncated": not done.terminated,
            "episode": {
                "r": round(done.reward + sum(done.shaping.values()), 6),
                "l": done.steps,
                "t": round(time.monotonic() - self._began, 6),
            },
            "finished": done,
        }

    def action_masks(self) -> Flags:
        """[N, A] which actions are allowed now."""
        return self.batch.masks()

    def close(self) -> None:
        """Nothing is held."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The same for each account: they have no attributes of their own. Raises AttributeError."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set for all accounts. Raises UsageError for some of them."""
        if indices is not None and set(self._get_indices(indices)) != set(range(self.num_envs)):
            raise UsageError(f"{attr_name} is the same for all accounts", hint="set it without indices")
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """What `action_masks` says of each account [A]; no other method is one of accounts."""
        if method_name != "action_masks":
            raise AttributeError(f"accounts have no method {method_name}")
        masks = self.action_masks(*args, **kwargs)
        return list(masks if indices is None else masks[list(self._get_indices(indices))])

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """In nothing; but infos tell of episodes as `Monitor` does, which is what SB3 asks for it for."""
        return [wrapper_class is Monitor] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A picture [H, W, 3] of each account. Raises UsageError where `render_mode` is another than rgb_array."""
        if self.render_mode != "rgb_array":
            raise UsageError("pictures need render_mode='rgb_array'", hint="name it when the environment is made")
        return [screen.draw() for screen in self._screens]

    def _note(self) -> None:
        for screen in self._screens:
            screen.note()
