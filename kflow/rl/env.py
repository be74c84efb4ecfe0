"""One account on recorded or made-up markets, as a Gymnasium environment: `kflow/KalshiMarket-v0`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, Space
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.rl import stepping
from kflow.rl.batch import F32, Batch
from kflow.rl.given import Given, open_batch
from kflow.rl.infos import account_info, finished_info
from kflow.rl.render import Screen, check_mode

RENDER: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}


def spaces_of(batch: Batch) -> tuple[Space[F32], Discrete]:
    """What an account sees, [F] float32 within -1 and 1 (docs/training.md), and its numbered actions."""
    box: Any = Box(-1.0, 1.0, (stepping.OBSERVATION,), np.float32)
    return box, Discrete(len(batch.setup.actions.actions))


class KalshiMarketEnv(gymnasium.Env[F32, np.int64]):
    """Observation [F] float32, actions as of the action set, reward the change of equity after fees, in dollars.

    Terminated: the market settled, or the account is ruined. Truncated: the episode or the data is over; what is held
    counts what it could be sold for. `reset(seed=)` seeds all draws; without one the next episode is drawn. Infos:
    `kflow.rl.infos`; the last of an episode tells of all of it in `finished`.
    """

    metadata = RENDER

    def __init__(self, render_mode: str | None = None, **given: Any) -> None:
        """`given`: see `kflow.rl.given.Given`."""
        check_mode(render_mode)
        self.batch = open_batch(Given(**given), 1)
        self.render_mode = render_mode
        self.observation_space, self.action_space = spaces_of(self.batch)
        self._screen = Screen(self.batch, 0, render_mode) if render_mode else None
        self._seeded = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[F32, dict[str, Any]]:
        """Begin the next episode. Raises UsageError for options: there are none."""
        super().reset(seed=seed)
        check_options(options)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(2**31))
        self._seeded = True
        observations = self.batch.reset(seed)
        if self._screen is not None:
            self._screen.note()
        return observations[0].copy(), account_info(self.batch, 0)

    def step(self, action: np.int64) -> tuple[F32, float, bool, bool, dict[str, Any]]:
        """Raises UsageError where no episode is running, and for an action that there is not."""
        if not self.batch.running[0]:
            raise UsageError("no episode is running", hint="reset() begins one")
        observations, rewards, finished = self.batch.step(np.array([action]))
        info = account_info(self.batch, 0)
        terminated = truncated = False
        if finished:
            terminated, truncated = finished[0].terminated, not finished[0].terminated
            info["finished"] = finished_info(finished[0], self.batch.dataset)
        if self._screen is not None:
            self._screen.note()
        return observations[0].copy(), float(rewards[0]), terminated, truncated, info

    def action_masks(self) -> NDArray[np.bool_]:
        """[A] which actions are allowed now, as MaskablePPO asks for them."""
        masks = self.batch.masks()
        return masks[0, :]

    def render(self) -> Any:
        """A text (ansi), or a picture [H, W, 3] uint8 (rgb_array); None without a mode."""
        return None if self._screen is None else self._screen.draw()


def check_options(options: dict[str, Any] | None) -> None:
    """Raises UsageError for any."""
    if options:
        raise UsageError(f"reset knows no option {min(options)}", hint="what it may be given, make() may be given")
