"""A network as a policy with chances: what it draws its actions by, and so what a log of it can tell of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.policy.network import Booleans, Floats, Network

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Soft:
    """Chances of actions: softmax(logits / temperature) of those that are allowed, mixed with equal ones.

    temperature: 0 takes the likeliest, as `kflow evaluate` does. epsilon: share of decisions at which any allowed
    action is as likely as any other, so that each has a chance of epsilon / allowed actions at least.
    """

    network: Network
    temperature: float = 1.0
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 1e6:
            raise UsageError(
                f"a temperature of {self.temperature:g} cannot be", hint="--temperature 1, or 0: likeliest"
            )
        if not 0 <= self.epsilon <= 1:
            raise UsageError(f"{self.epsilon:g} is no share of decisions", hint="--epsilon 0.05")

    def chances(self, observations: Floats, masks: Booleans) -> F64:
        """[N, A] of observations [N, F] and masks [N, A]; each row sums to 1, what is masked has 0."""
        return self._of(self.network.logits(observations), masks)

    def chances_one_by_one(self, observations: Floats, masks: Booleans) -> F64:
        """The same to the bit whatever stands beside a row, which matrices do not promise: so do logs and ratios."""
        rows = [self.network.logits(observation) for observation in observations]
        return self._of(np.array(rows, np.float32).reshape(masks.shape), masks)

    def _of(self, logits: Floats, masks: Booleans) -> F64:
        allowed = np.where(masks, logits.astype(np.float64), -np.inf)
        if not np.isfinite(top := allowed.max(axis=1, keepdims=True)).all():
            raise ValueError("no action is allowed, or a logit is not finite")
        found: F64
        if self.temperature:
            found = np.exp((allowed - top) / self.temperature)
            found /= found.sum(axis=1, keepdims=True)
        else:
            found = np.zeros_like(allowed)
            found[np.arange(len(found)), allowed.argmax(axis=1)] = 1.0
        if self.epsilon:
            found = (1 - self.epsilon) * found + self.epsilon * masks / masks.sum(axis=1, keepdims=True)
        return found

    def told(self) -> Mapping[str, float]:
        """For cards and results."""
        return {"temperature": self.temperature, "epsilon": self.epsilon}


def draw(chances: F64, uniform: F64) -> I64:
    """Actions [N] by chances [N, A] and numbers [N] in [0, 1): the first whose cumulated chance is above.

    One number may be used for two policies: the more alike they are, the more often they then do the same.
    """
    cumulated = chances.cumsum(axis=1)
    chosen: I64 = (cumulated <= uniform[:, None] * cumulated[:, -1:]).sum(axis=1)
    return chosen
