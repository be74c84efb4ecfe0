"""A policy's network in numpy: what Stable-Baselines3 calls MlpPolicy, in float32.

Two stacks of linear layers that share nothing but the observation. `policy` ends in one logit per action, `value` in
the value of the state; every layer but the last of a stack is followed by the activation. Imports numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Booleans = NDArray[np.bool_]

STACKS: Final = ("policy", "value")
_DENIED: Final = np.float32(-np.inf)


def _relu(x: Floats, out: Floats) -> None:
    np.maximum(x, np.float32(0), out=out)  # not a number stays none


_ACTIVATIONS: Final[Mapping[str, Callable[..., Any]]] = {"tanh": np.tanh, "relu": _relu}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Sizes of a network. `policy` and `value` are the widths of their hidden layers; activation: tanh or relu."""

    observation: int
    actions: int
    policy: tuple[int, ...] = (64, 64)
    value: tuple[int, ...] = (64, 64)
    activation: str = "tanh"

    def __post_init__(self) -> None:
        if self.activation not in _ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is neither tanh nor relu")
        if min(self.observation, self.actions, *self.policy, *self.value) < 1:
            raise ValueError(f"layers of a network have at least one unit: {self}")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The arrays by name, in order: `policy.0.weight` of shape (outputs, inputs), `policy.0.bias`, …"""
        found: dict[str, tuple[int, ...]] = {}
        for stack, hidden, outputs in (("policy", self.policy, self.actions), ("value", self.value, 1)):
            widths = (self.observation, *hidden, outputs)
            for number, (inputs, units) in enumerate(pairwise(widths)):
                found[f"{stack}.{number}.weight"] = (units, inputs)
                found[f"{stack}.{number}.bias"] = (units,)
        return found


class Network:
    """Decides and values, for one observation or a batch. Never changes; many threads may use one."""

    def __init__(self, layout: Layout, arrays: Mapping[str, Floats]) -> None:
        """`arrays` are those of `layout.shapes()`, float32 and finite. Raises ValueError where they are not."""
        shapes = layout.shapes()
        if arrays.keys() != shapes.keys():
            odd = ", ".join(sorted(arrays.keys() ^ shapes.keys()))
            raise ValueError(f"arrays are missing or not of the layout: {odd}")
        for name, shape in shapes.items():
            array = arrays[name]
            if array.dtype != np.float32 or array.shape != shape:
                raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, not float32 of shape {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds numbers that are not finite")
        self.layout = layout
        self.arrays: Mapping[str, Floats] = {name: np.array(arrays[name], order="C") for name in shapes}
        for array in self.arrays.values():
            array.flags.writeable = False
        self._activation = _ACTIVATIONS[layout.activation]
        self._policy, self._value = (self._stack(stack) for stack in STACKS)

    def _stack(self, stack: str) -> tuple[tuple[Floats, Floats], ...]:
        """Its layers as (inputs, outputs) matrix and bias."""
        weights = [name for name in self.arrays if name.startswith(stack) and name.endswith("weight")]
        return tuple(
            (np.ascontiguousarray(self.arrays[name].T), self.arrays[name.replace("weight", "bias")]) for name in weights
        )

    def logits(self, observation: ArrayLike) -> Floats:
        """Of each action: (A,) for one observation (F,), (N, A) for (N, F). Raises ValueError for another width."""
        return self._run(self._policy, observation)

    def values(self, observation: ArrayLike) -> Floats:
        """Of the state: shape () for one observation (F,), (N,) for (N, F)."""
        return self._run(self._value, observation)[..., 0]

    def act(self, observation: ArrayLike, mask: Sequence[bool] | Booleans | None = None) -> int:
        """The most likely action that `mask` (A,) allows; of equals the first.

        Raises ValueError where the observation is not finite or nothing is allowed.
        """
        x = np.asarray(observation, np.float32)
        if not math.isfinite(x.dot(x)):  # a fifth of the time of isfinite(x).all()
            raise ValueError("the observation is not finite")
        logits = self._run(self._policy, x)
        if mask is not None:
            logits = np.where(mask, logits, _DENIED)
        action = int(logits.argmax())
        if not math.isfinite(logits[action]):
            raise ValueError("no action is allowed")
        return action

    def act_batch(self, observations: ArrayLike, masks: Booleans | None = None) -> NDArray[np.int64]:
        """`act` for each row: observations (N, F), masks (N, A); actions (N,)."""
        x = np.asarray(observations, np.float32)
        if not np.isfinite(x).all():
            raise ValueError("an observation is not finite")
        logits = self._run(self._policy, x)
        if masks is not None:
            logits = np.where(masks, logits, _DENIED)
        actions: NDArray[np.int64] = logits.argmax(axis=1)
        # What finite weights make of numbers within -1 and 1 is finite; of others it may not be.
        certain = masks is None and self.layout.activation == "tanh"
        if not certain and not np.isfinite(logits[np.arange(len(actions)), actions]).all():
            raise ValueError("no action is allowed")
        return actions

    def _run(self, stack: tuple[tuple[Floats, Floats], ...], observation: ArrayLike) -> Floats:
        x: Floats = np.asarray(observation, np.float32)
        for weight, bias in stack[:-1]:
            x = x.dot(weight)  # for one row faster than @
            x += bias
            self._activation(x, out=x)
        weight, bias = stack[-1]
        x = x.dot(weight)
        x += bias
        return x
