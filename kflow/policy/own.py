"""Policies that are a class of the user's own, by `module:Class`."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kflow.errors import ConfigError
from kflow.own import named
from kflow.policy.actions import ActionSet

F32 = NDArray[np.float32]
Booleans = NDArray[np.bool_]


class Policy(Protocol):
    """What such a class has. It is made without arguments, once for all markets: it remembers nothing of any."""

    name: str
    actions: ActionSet

    def decide(self, observation: F32, mask: Booleans) -> int:
        """The number of an action, of an observation [F] (`features.FEATURES`) and what is allowed now [A]."""


def own_policy(reference: str) -> Policy:
    """Make one. Raises ConfigError where that cannot be."""
    try:
        made: Any = named(reference)()
    except TypeError as error:
        raise ConfigError(f"{reference} cannot be made: {error}", hint="a class, made without arguments") from None
    missing = [part for part in ("name", "actions", "decide") if not hasattr(made, part)]
    if missing or not isinstance(made.actions, ActionSet):
        raise ConfigError(
            f"{reference} has no {missing[0] if missing else 'ActionSet in `actions`'}",
            hint="docs/actor.md says what a strategy has",
        )
    policy: Policy = made
    return policy
