"""Who decides: a trained model, a hand-written policy, or a class of the user's own. Never torch, never a pickle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kflow.errors import ModelError, UsageError
from kflow.market.limits import OrderLimits
from kflow.own import is_own
from kflow.policy.actions import ActionSet, action_set
from kflow.policy.bundle import Bundle
from kflow.policy.features import SCHEMA
from kflow.policy.own import own_policy
from kflow.policy.strategies import STRATEGIES, Strategy, strategy_named
from kflow.units import CONTRACT

DISABLED: Final = "disabled"
MODEL: Final = "rl_model"
HARDCODED: Final = "hardcoded"
_CASH: Final = 1_000_000_000  # of hand-written policies, 1e-6 dollar: what a model's card would say
_MASKED: Final = "maskable-ppo"

F32 = NDArray[np.float32]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A policy and what it counts with. limits: those its observations are scaled by; cash: 1e-6 dollar in a market."""

    name: str
    actions: ActionSet
    decide: Callable[[F32, Booleans], int]
    limits: OrderLimits
    cash: int
    every_us: int
    model: str | None = None
    sha256: str | None = None


def choose(strategy: str, bundle: Bundle | None, *, contracts: int, every_us: int = 250_000) -> Chosen:
    """`strategy`: rl_model, hardcoded or hardcoded:NAME, or module:Class. contracts: RL_ACTOR_CONTRACT_SIZE.

    Raises UsageError (there is none, it is disabled), ModelError (of other features or larger orders), ConfigError.
    """
    if strategy == DISABLED:
        raise UsageError(
            "the actor's strategy is disabled", hint="RL_ACTOR_STRATEGY=rl_model, hardcoded, or module:Class"
        )
    if strategy == MODEL:
        if bundle is None:
            raise UsageError("strategy rl_model needs a model", hint="RL_ACTOR_MODEL_PATH, or --model name:version")
        return _model(bundle, contracts)
    kind, _, name = strategy.partition(":")
    if kind == HARDCODED:
        return _by_hand(strategy_named(name or next(iter(STRATEGIES)), contracts * CONTRACT), every_us)
    if not is_own(strategy):
        raise UsageError(f"there is no strategy {strategy}", hint="rl_model, hardcoded:join, or module:Class")
    return _own(strategy, contracts, every_us)


def _model(bundle: Bundle, contracts: int) -> Chosen:
    card, network = bundle.card, bundle.network
    name = f"{card.name}:{card.version}"
    if card.features.schema != SCHEMA:
        raise ModelError(
            f"{name} sees features of schema {card.features.schema}, this kflow computes {SCHEMA}",
            hint="train it again with this kflow, or run it with the kflow that trained it",
        )
    _require_small(name, card.actions.sizes_e2, contracts)
    masked = card.algorithm == _MASKED
    cash = card.assumptions.get("cash_e6")
    return Chosen(
        name=name,
        actions=action_set(card.actions.name, card.actions.sizes_e2),
        decide=lambda observation, mask: network.act(observation, mask if masked else None),
        limits=OrderLimits(card.limits["max_order"], card.limits["max_position"], card.limits["max_open"]),
        cash=cash if isinstance(cash, int) else _CASH,
        every_us=card.decision_interval_us,
        model=name,
        sha256=card.weights_sha256,
    )


def _require_small(name: str, sizes: tuple[int, ...], contracts: int) -> None:
    if max(sizes) > contracts * CONTRACT:
        raise ModelError(
            f"{name} sends orders of {max(sizes) / CONTRACT:g} contracts, and {contracts} are allowed",
            hint="raise RL_ACTOR_CONTRACT_SIZE on purpose, or train it with smaller --sizes",
        )


def _by_hand(strategy: Strategy, every_us: int) -> Chosen:
    # Its dice are its own; on live markets nothing is to be repeated.
    rng = np.random.default_rng()

    def decide(observation: F32, mask: Booleans) -> int:
        return int(strategy.decide(observation[None], mask[None], rng.random(1))[0])

    return Chosen(f"{HARDCODED}:{strategy.name}", strategy.actions, decide, OrderLimits(), _CASH, every_us)


def _own(reference: str, contracts: int, every_us: int) -> Chosen:
    made = own_policy(reference)
    _require_small(reference, made.actions.sizes, contracts)
    return Chosen(reference, made.actions, made.decide, OrderLimits(), _CASH, every_us)
