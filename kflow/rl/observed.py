"""What random play meets: how features are spread, which go together, and whether masks deny all that limits do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.market import limits
from kflow.policy import features
from kflow.policy.actions import CANCEL_ALL, CROSS, HOLD, INSIDE, NOTHING_TO_CANCEL, REASONS, Action, action_set
from kflow.rl.batch import LIMITS, Batch, Setup
from kflow.rl.dataset import Dataset
from kflow.rl.episodes import Drawn
from kflow.sim import kernel
from kflow.sim.accounts import Limits
from kflow.units import CONTRACT, DOLLAR, Money, Size

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Progress = Callable[[int], None]

DECISIONS: Final = 200_000
STATES: Final = 2_000
# Two minutes: longer than an order rests.
_EPISODE_S: Final = 120
_ACCOUNTS: Final = 256
# Of all decisions, how many send nothing, so that orders rest and grow old.
_HOLDS: Final = 0.8
# Of a correlation matrix's eigenvalues, what is more than nothing.
_RANK_FROM: Final = 1e-6
# Those of training, and ones that are met in every way.
_PURSES: Final = (
    LIMITS,
    Limits(cash=Money(60 * 1_000_000), max_position=Size(120 * CONTRACT), max_order=Size(100 * CONTRACT), orders=3),
)


def _rollout(dataset: Dataset, setup: Setup, count: int, rng: np.random.Generator) -> Iterator[Batch]:
    """A batch after each of its decisions: random allowed actions, without end."""
    rows = max(_EPISODE_S * 1_000_000 // dataset.every_us, 1)
    batch = Batch(dataset, setup, Drawn(dataset, rows), count, seed=int(rng.integers(2**31)))
    batch.reset()
    while True:
        yield batch
        allowed = batch.masks()
        chosen = np.where(allowed, rng.random(allowed.shape), -1.0).argmax(axis=1)
        batch.step(np.where(rng.random(count) < _HOLDS, HOLD, chosen))


class Spread(NamedTuple):
    """How a feature is spread."""

    name: str
    unit: str
    mean: float
    std: float
    least: float
    most: float
    constant: bool


class Pair(NamedTuple):
    """Two features and their linear correlation."""

    one: str
    other: str
    correlation: float


@dataclass(frozen=True, slots=True)
class Observed:
    """Of `decisions` observations."""

    decisions: int
    features: list[Spread]
    varying: list[str]  # names, in the order of `correlations`
    correlations: F64  # [V, V]

    @property
    def rank(self) -> int:
        """Of the correlation matrix: so many features are no sum of others."""
        return int((np.linalg.eigvalsh(self.correlations) > _RANK_FROM).sum()) if self.varying else 0

    @property
    def constant(self) -> list[str]:
        return [feature.name for feature in self.features if feature.constant]

    def pairs(self, count: int) -> list[Pair]:
        """The most correlated ones."""
        rows, columns = np.triu_indices(len(self.varying), 1)
        values = self.correlations[rows, columns]
        return [
            Pair(self.varying[rows[at]], self.varying[columns[at]], float(values[at]))
            for at in np.argsort(-np.abs(values), kind="stable")[:count].tolist()
        ]


def observe(
    dataset: Dataset, *, decisions: int = DECISIONS, seed: int = 0, progress: Progress = lambda _: None
) -> Observed:
    """Let a random policy with the wide action set play, and look at all that it sees."""
    rng = np.random.default_rng([seed, 4])
    seen: list[F32] = []
    for batch in _rollout(dataset, Setup(actions=action_set("wide")), min(_ACCOUNTS, decisions), rng):
        seen.append(batch.observations.copy())
        progress(len(seen[-1]))
        if len(seen) * batch.count >= decisions:
            break
    return summed_up(np.concatenate(seen))


def summed_up(seen: F32) -> Observed:
    """Of observations [N, F]."""
    values = seen.astype(np.float64)
    spreads = [
        Spread(
            feature.name,
            feature.unit,
            float(column.mean()),
            float(column.std()),
            float(column.min()),
            float(column.max()),
            bool((column == column[0]).all()),
        )
        for feature, column in zip(features.FEATURES, values.T, strict=True)
    ]
    varies = [n for n, spread in enumerate(spreads) if not spread.constant]
    correlations = np.atleast_2d(np.corrcoef(values[:, varies], rowvar=False)) if varies else np.zeros((0, 0))
    return Observed(len(seen), spreads, [spreads[n].name for n in varies], correlations)


# Masks.


@dataclass(slots=True)
class Masks:
    """Of every action in every state: what limits deny, and what masks do."""

    states: int = 0
    actions: int = 0
    denied: dict[str, int] = field(default_factory=dict)  # by the limits, for each reason
    masked: dict[str, int] = field(default_factory=dict)  # of those
    missed: int = 0  # denied and not masked
    spurious: int = 0  # masked and not denied
    first: str = ""  # disagreement


def check_masks(
    dataset: Dataset,
    *,
    states: int = STATES,
    seed: int = 0,
    masks_of: Callable[[Batch], Bools] = Batch.masks,
    progress: Progress = lambda _: None,
) -> Masks:
    """Compare masks with what the limits say of the kernel's own state, gathered anew in plain Python."""
    rng = np.random.default_rng([seed, 5])
    found = Masks(denied=dict.fromkeys(REASONS.values(), 0), masked=dict.fromkeys(REASONS.values(), 0))
    for number, purse in enumerate(_PURSES):
        setup = Setup(actions=action_set("wide"), limits=purse)
        wanted = states * (number + 1) // len(_PURSES)
        for decision, batch in enumerate(_rollout(dataset, setup, min(_ACCOUNTS, states), rng)):
            if decision < 8 or decision % 4:
                continue  # let them have something first, and change something
            masks = masks_of(batch)
            for account in rng.permutation(batch.count)[: min(64, wanted - found.states)].tolist():
                _compare(found, batch, account, masks[account].tolist())
                progress(1)
            if found.states >= wanted:
                break
    return found


def _compare(found: Masks, batch: Batch, account: int, allowed: Sequence[bool]) -> None:
    found.states += 1
    state = _State(batch, account)
    for number, action in enumerate(batch.setup.actions.actions):
        found.actions += 1
        reason = state.refusal(action)
        if reason:
            found.denied[REASONS[reason]] += 1
            found.masked[REASONS[reason]] += not allowed[number]
        found.missed += bool(reason) and allowed[number]
        found.spurious += not reason and not allowed[number]
        if bool(reason) == allowed[number] and not found.first:
            found.first = f"{action.name}: {REASONS.get(reason, 'allowed')}, {'not ' if allowed[number] else ''}masked"


class _State:
    """What an account has and sees, from the kernel's arrays, in plain Python."""

    def __init__(self, batch: Batch, account: int) -> None:
        group = batch.dataset.groups[batch.dataset.spans[_span(batch, account)].group]
        self.purse = batch.setup.limits
        self.price = group.market.price.tolist()
        self.fees = group.fees.tolist()
        row = batch.state.account[account].tolist()
        self.position = row[kernel.POSITION]
        bids, asks = (side[: len(self.price)].tolist() for side in batch.state.depth[account])
        self.touch = (
            max((column for column, size in enumerate(bids) if size), default=None),
            min((column for column, size in enumerate(asks) if size), default=None),
        )
        orders = batch.state.orders[account].tolist()
        self.open = [order for order in orders if order[kernel.STATUS] in (kernel.TRAVELS, kernel.RESTS)]
        self.free = row[kernel.CASH] - row[kernel.RESERVED]
        for order in self.open:
            if order[kernel.STATUS] == kernel.TRAVELS:  # nothing is held back for it yet
                cost = self._own_price(order[kernel.SIDE], order[kernel.COL])
                self.free -= cost * order[kernel.LEFT] + self._fee(cost, order[kernel.LEFT])

    def _own_price(self, side: int, column: int) -> int:
        price: int = self.price[column]
        return price if side == 0 else DOLLAR - price

    def _fee(self, price: int, size: int) -> int:
        rate, unit, step, precision = self.fees
        return limits.worst_fee(price, size, rate, unit, step, precision)

    def _column(self, side: int, pricing: int) -> int | None:
        near, far = self.touch[side], self.touch[1 - side]
        if pricing == CROSS:
            return far
        if pricing == INSIDE and near is not None:
            inside = near + (1 if side == 0 else -1)
            return inside if inside != far and 0 <= inside < len(self.price) else near
        return near

    def refusal(self, action: Action) -> int:
        """0, or why the limits deny an action."""
        if action.op == HOLD:
            return 0
        if action.op == CANCEL_ALL:
            return 0 if self.open else NOTHING_TO_CANCEL
        side, column = action.side, self._column(action.side, action.pricing)
        known = column is not None and 0 <= column < len(self.price)
        price = self._own_price(side, column) if known and column is not None else 0
        same = [order for order in self.open if order[kernel.SIDE] == side]
        others = [order[kernel.COL] for order in self.open if order[kernel.SIDE] != side]
        meets = known and any(other <= column if side == 0 else other >= column for other in others)
        return limits.refusal(
            price,
            action.size,
            action.reduce_only,
            int(meets),
            self.position if side == 1 else -self.position,
            sum(order[kernel.LEFT] for order in same),
            self.free,
            self._fee(price, action.size),
            len(self.open),
            self.purse.max_order,
            self.purse.max_position,
            self.purse.orders,
        )


def _span(batch: Batch, account: int) -> int:
    episode = batch.episode(account)
    assert episode is not None
    return episode.span
