"""Who is judged: models, and the hand-written baselines that each result is shown beside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from kflow.own import source_of
from kflow.policy.actions import ActionSet, action_set
from kflow.policy.bundle import Bundle
from kflow.policy.network import Network
from kflow.policy.own import own_policy
from kflow.policy.strategies import STRATEGIES, Decide, Strategy, strategy_named
from kflow.rl.batch import Setup
from kflow.sim.accounts import Limits
from kflow.units import CONTRACT, Money, Size

Kind = Literal["model", "strategy", "baseline"]  # the former two are judged
BASELINES: Final = tuple(STRATEGIES)
# The only algorithm whose policies learnt under a mask; the others deny themselves nothing, and are denied.
_MASKED: Final = "maskable-ppo"


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A policy and the account it plays with. masked, draws: whether it asks what is allowed, and throws dice."""

    name: str
    kind: Kind
    about: str
    setup: Setup
    decide: Decide
    masked: bool = False
    draws: bool = False
    bundle: Bundle | None = None

    def scaled(self, scale: int) -> Contestant:
        """The same policy with `scale` times the cash, the limits and the sizes: it sees the same, and trades more."""
        limits, actions = self.setup.limits, self.setup.actions
        more = Limits(
            cash=Money(limits.cash * scale),
            max_position=Size(limits.max_position * scale),
            max_order=Size(limits.max_order * scale),
            orders=limits.orders,
        )
        sizes = [size * scale for size in actions.sizes]
        return replace(self, setup=replace(self.setup, actions=action_set(actions.name, sizes), limits=more))


def of_bundle(name: str, bundle: Bundle, ruin: float) -> Contestant:
    """A model under the limits it was trained with."""
    card = bundle.card
    cash = card.assumptions.get("cash_e6")
    limits = Limits(
        cash=Money(cash) if isinstance(cash, int) else Limits().cash,
        max_position=Size(card.limits["max_position"]),
        max_order=Size(card.limits["max_order"]),
        orders=card.limits["max_open"],
    )
    setup = Setup(actions=action_set(card.actions.name, card.actions.sizes_e2), limits=limits, ruin=ruin)
    return replace(of_network(name, bundle.network, card.algorithm, setup), bundle=bundle)


def of_network(name: str, network: Network, algorithm: str, setup: Setup) -> Contestant:
    """A trained network. It takes the likeliest action; of equally likely ones the first."""
    masked = algorithm == _MASKED

    def decide(
        observations: NDArray[np.float32], masks: NDArray[np.bool_], _draws: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        return network.act_batch(observations, masks if masked else None)

    return Contestant(
        name=name,
        kind="model",
        about=f"{algorithm}, {len(setup.actions.actions)} actions ({setup.actions.name})",
        setup=setup,
        decide=decide,
        masked=masked,
    )


def of_strategy(strategy: Strategy, limits: Limits, ruin: float) -> Contestant:
    """A hand-written policy under the same limits as what is judged."""
    return Contestant(
        name=strategy.name,
        kind="baseline",
        about=strategy.about,
        setup=Setup(actions=strategy.actions, limits=_holding(limits, strategy.actions), ruin=ruin),
        decide=strategy.decide,
        masked=strategy.masked,
        draws=strategy.draws,
    )


def of_own(reference: str, limits: Limits, ruin: float) -> Contestant:
    """A class of the user's own, `module:Class`, asked one account at a time. Raises ConfigError: it cannot be made."""
    policy = own_policy(reference)

    def decide(
        observations: NDArray[np.float32], masks: NDArray[np.bool_], _draws: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        chosen = map(policy.decide, observations, masks)
        return np.fromiter(chosen, np.int64, len(observations))

    return Contestant(
        name=reference,
        kind="strategy",
        about=f"a class of one's own ({source_of(type(policy))})",
        setup=Setup(actions=policy.actions, limits=_holding(limits, policy.actions), ruin=ruin),
        decide=decide,
        masked=True,
    )


def baselines(names: tuple[str, ...], size: float, limits: Limits, ruin: float) -> list[Contestant]:
    """By name, with orders of `size` contracts. Raises UsageError for a name that there is not."""
    return [of_strategy(strategy_named(name, round(size * CONTRACT)), limits, ruin) for name in names]


def _holding(limits: Limits, actions: ActionSet) -> Limits:
    """Limits that let through orders of the sizes that are sent, and a quote on either side."""
    largest = Size(max(limits.max_order, actions.sizes[-1]))
    return replace(limits, max_order=largest, orders=max(limits.orders, 2))
