"""The algorithms of Stable-Baselines3 as this project runs them: one thread, seeded, logs in the run's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from kflow.errors import ConfigError, UsageError
from kflow.rl import runs
from kflow.rl.plan import Plan

_ACTIVATIONS: Final = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
# Of the policy, not of the algorithm.
_POLICY: Final = ("net", "activation")


def new_model(plan: Plan, env: VecEnv) -> Any:
    """An algorithm with fresh weights. Raises UsageError for a device that there is not, ConfigError for a package."""
    torch.set_num_threads(1)  # more of them change the order of sums, and pay only from wide networks on
    if plan.device != "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
    hyper = {name: value for name, value in plan.hyper.items() if name not in _POLICY}
    widths = _widths(str(plan.hyper["net"]))
    activation = str(plan.hyper["activation"])
    if activation not in _ACTIVATIONS:
        raise UsageError(f"there is no activation {activation}", hint="--set activation=tanh or relu")
    try:
        return _class_of(plan.algorithm)(
            "MlpPolicy",
            env,
            seed=plan.seed,
            device=plan.device,
            verbose=0,
            policy_kwargs={
                "net_arch": {"pi": widths, "vf": widths},
                "activation_fn": _ACTIVATIONS[activation],
            },
            **hyper,
        )
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"training cannot begin: {error}", hint="--device cpu") from None


def _class_of(algorithm: str) -> type[Any]:
    if algorithm == "ppo":
        return PPO
    if algorithm == "a2c":
        return A2C
    try:
        from sb3_contrib import MaskablePPO
    except ImportError:
        raise ConfigError("maskable-ppo needs sb3-contrib", hint="pip install 'kflow[train]'") from None
    return MaskablePPO


def _widths(net: str) -> list[int]:
    try:
        widths = [int(width) for width in net.split(",")]
    except ValueError:
        widths = []
    if not widths or not all(1 <= width <= 4096 for width in widths):
        raise UsageError(f"{net!r} are no widths of hidden layers", hint="--set net=64,64")
    return widths


class _Lines(KVWriter):
    """A line of JSON for each dump, appended."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, key_values: dict[str, Any], _excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        plain = {name: _number(value) for name, value in sorted(key_values.items())}
        known = {name: value for name, value in plain.items() if value is not None}
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **known}) + "\n")

    def close(self) -> None:
        """Nothing is held open."""


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool | int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating) and np.isfinite(value):
        return float(value)
    return None


def logger_of(folder: Path) -> Logger:
    """progress.jsonl, and TensorBoard where it is installed."""
    outputs: list[KVWriter] = [_Lines(folder / runs.PROGRESS)]
    try:
        from stable_baselines3.common.logger import TensorBoardOutputFormat

        outputs.append(TensorBoardOutputFormat(str(folder / "tensorboard")))
    except (ImportError, AssertionError):
        pass
    return Logger(str(folder), outputs)
