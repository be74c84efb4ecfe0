"""What must hold of the training environment whatever is done in it: no free money, no favoured side, honest masks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kflow.market.limits import refusal, worst_fee
from kflow.policy.actions import CROSS, INSIDE, ORDER, REASONS, Action, ActionSet, action_set
from kflow.rl import stepping
from kflow.rl.batch import Batch, Setup
from kflow.rl.dataset import build
from kflow.rl.episodes import Drawn, Episode, Listed
from kflow.sim import kernel as k
from kflow.sim.accounts import Limits
from kflow.sim.fills import MODELS, Assumptions
from kflow.sim.tape import Tape
from kflow.testing.reference import FEES, LATENCIES, SETS, permitted, uniform
from kflow.testing.tapes import CENTS, Shape, frozen, mirrored, random_tape
from kflow.units import CONTRACT, DOLLAR, DOLLAR_MONEY, Money, Size

EVERY_US = 1_000_000
SIZES = tuple(size * CONTRACT for size in (1, 5, 10, 20, 50, 100))
# Refusals of the kernel that hang on the order alone, and that a mask has to know.
LOCAL = (k.NO_CASH, k.OVER_SIZE, k.OVER_POSITION, k.SELF_TRADE, k.NO_PLACE)
# Of all the sets: what rests is filled by chance in the probabilistic model, on a frozen market too.
WITHOUT_CHANCE = sorted(set(MODELS) - {"probabilistic"})
quick = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


class Rules(NamedTuple):
    """All that may be chosen."""

    model: str
    latency: str
    fees: str
    actions: str

    def assume(self, _: Tape) -> Assumptions:
        return Assumptions(model=MODELS[self.model], latency=LATENCIES[self.latency], fees=FEES[self.fees])

    @property
    def set(self) -> ActionSet:
        return action_set(self.actions, SIZES)


def rules(models: list[str] | None = None, sets: tuple[str, ...] = SETS) -> st.SearchStrategy[Rules]:
    chosen = st.sampled_from(models or sorted(MODELS))
    return st.builds(
        Rules, chosen, st.sampled_from(list(LATENCIES)), st.sampled_from(list(FEES)), st.sampled_from(sets)
    )


def purse(dollars: int, contracts: int, orders: int) -> Limits:
    return Limits(
        cash=Money(dollars * DOLLAR_MONEY),
        max_position=Size(contracts * CONTRACT),
        max_order=Size(100 * CONTRACT),
        orders=orders,
    )


# Often so little that cash is what decides, and mostly room for orders that meet.
purses = st.builds(
    purse, st.sampled_from([5, 20, 60, 1_000]), st.sampled_from([20, 100, 500]), st.sampled_from([4, 1, 3, 6])
)
# Of each side the columns where somebody bids, and how much; they never meet.
levels = st.dictionaries(st.integers(0, 8), st.integers(1, 30_000), max_size=5)
deeds = st.lists(st.integers(0, 10**6), min_size=1, max_size=50)


def alone(tape: Tape, by: Rules, limits: Limits) -> Batch:
    """One account from the first decision of a tape to its last."""
    dataset = build([tape], by.assume, every_us=EVERY_US)
    batch = Batch(
        dataset,
        Setup(actions=by.set, limits=limits, ruin=0.0),
        Listed([Episode(0, 0, dataset.spans[0].rows - 1)]),
        1,
        seed=3,
    )
    batch.reset()
    return batch


def frozen_book(yes: dict[int, int], no: dict[int, int], middle: int) -> Tape:
    """Around 50 cents, a cent apart at the least: a gain of more than that would show."""
    prices = CENTS.prices()[45:]
    bids = [(int(prices[c]), size) for c, size in yes.items() if c < middle]
    asks = [(DOLLAR - int(prices[c]), size) for c, size in no.items() if c >= middle]
    return frozen(bids, asks, 70)


@quick
@given(yes=levels, no=levels, middle=st.integers(0, 9), by=rules(WITHOUT_CHANCE), limits=purses, does=deeds)
def test_nobody_gains_where_nothing_moves(
    yes: dict[int, int], no: dict[int, int], middle: int, by: Rules, limits: Limits, does: list[int]
) -> None:
    batch = alone(frozen_book(yes, no, middle), by, limits)
    for deed in does:
        batch.step([deed % len(by.set.actions)])
        assert batch.desk.seat[0, stepping.EQUITY] <= limits.cash


@quick
@given(yes=levels, no=levels, by=rules(["probabilistic"], ("default",)), does=deeds)
def test_nobody_gains_by_taking_where_nothing_moves_and_chance_decides(
    yes: dict[int, int], no: dict[int, int], by: Rules, does: list[int]
) -> None:
    limits = purse(500, 500, 4)
    batch = alone(frozen_book(yes, no, 5), by, limits)
    for deed in does:
        batch.step([deed % len(by.set.actions)])
        assert batch.desk.seat[0, stepping.EQUITY] <= limits.cash


def mirror(actions: ActionSet) -> list[int]:
    """Of each action the number of the one that does the same on the other side."""
    numbers = {action.name: number for number, action in enumerate(actions.actions)}
    turned = {"YES": "NO", "NO": "YES"}
    return [
        numbers[
            "_".join(turned.get(word, word) for word in action.name.replace(" ", "_ ").split("_")).replace("_ ", " ")
        ]
        for action in actions.actions
    ]


def lively(seed: int) -> Tape:
    """Two minutes in which much happens, books that cross and empty among it."""
    return random_tape(np.random.default_rng(seed), shape=Shape(moments=200, gaps_us=(400_000, 1_000_000)))


@quick
@given(seed=st.integers(0, 10**6), by=rules(), limits=purses, does=deeds)
def test_yes_and_no_are_each_others_mirror(seed: int, by: Rules, limits: Limits, does: list[int]) -> None:
    tape = lively(seed)
    one, other = alone(tape, by, limits), alone(mirrored(tape), by, limits)
    turned = mirror(by.set)
    for deed in does:
        action = deed % len(turned)
        assert other.masks()[0][turned].tolist() == one.masks()[0].tolist()
        _, reward, _ = one.step([action])
        _, opposite, _ = other.step([turned[action]])
        assert reward.tobytes() == opposite.tobytes()
        ours, theirs = one.state.account[0], other.state.account[0]
        assert ours[k.POSITION] == -theirs[k.POSITION]
        for same in (k.CASH, k.FEES, k.RESERVED, k.VOLUME, k.RESTING):
            assert ours[same] == theirs[same]


def many(seed: int, by: Rules, limits: Limits, count: int = 32) -> Batch:
    """Accounts in episodes drawn from a lively market."""
    dataset = build([lively(seed)], by.assume, every_us=EVERY_US)
    batch = Batch(dataset, Setup(actions=by.set, limits=limits, ruin=0.0), Drawn(dataset, 100), count, seed=seed)
    batch.reset()
    return batch


def refused_outright(batch: Batch, account: int, number: int) -> int:
    """Why order `number` was not let in at all; 0 where it was, or is on its way."""
    for order in batch.state.orders[account]:
        if order[k.STATUS] == k.DONE and order[k.ID] == number and order[k.RESTED] == 0:
            return int(order[k.REASON])
    return 0


@pytest.mark.parametrize("actions", SETS)
@quick
@given(seed=st.integers(0, 10**6), by=rules(), limits=purses)
def test_what_a_mask_allows_is_never_refused(actions: str, seed: int, by: Rules, limits: Limits) -> None:
    """Where an order arrives at once. What crosses and may not rest ends without a fill, and that is no refusal."""
    batch = many(seed, by._replace(latency="none", actions=actions), limits)
    rng, sent = np.random.default_rng(seed), 0
    for _ in range(40):
        chosen = permitted(rng, batch.masks())
        before = batch.state.account[:, k.PLACED].copy()
        finished = {episode.account for episode in batch.step(chosen)[2]}
        for account in set(np.flatnonzero(batch.state.account[:, k.PLACED] > before).tolist()) - finished:
            sent += 1
            assert refused_outright(batch, account, int(before[account])) not in LOCAL
    assert sent > 0


@quick
@given(seed=st.integers(0, 10**6), by=rules(), limits=purses)
def test_what_the_limits_refuse_no_mask_allows(seed: int, by: Rules, limits: Limits) -> None:
    """`limits.refusal` asked here with what the kernel's arrays say, order by order."""
    batch = many(seed, by, limits, 8)
    rng, denied = np.random.default_rng(seed), 0
    for _ in range(20):
        masks = batch.masks()
        for account in range(batch.count):
            reasons = [asked(batch, account, action) for action in by.set.actions if action.op == ORDER]
            orders = [number for number, action in enumerate(by.set.actions) if action.op == ORDER]
            assert masks[account][orders].tolist() == [reason == 0 for reason in reasons]
            assert masks[account][0]
            denied += sum(reason > 0 for reason in reasons)
        batch.step(uniform(rng, masks))
        assert all(told in ("", *REASONS.values()) for told in batch.refusals())
    assert denied > 0


def asked(batch: Batch, account: int, action: Action) -> int:
    """What the limits say of an action."""
    [group] = batch.dataset.groups
    row, side, prices = batch.state.account[account], action.side, group.market.price.tolist()
    open_ = [o for o in batch.state.orders[account].tolist() if o[k.STATUS] in (k.TRAVELS, k.RESTS)]
    near, far = (int(row[k.BID]), int(row[k.ASK])) if side == 0 else (int(row[k.ASK]), int(row[k.BID]))
    column = far if action.pricing == CROSS else near
    if action.pricing == INSIDE and 0 <= near < len(prices):
        column = near + 1 - 2 * side
        column = near if column == far else column
    price = 0
    if 0 <= column < len(prices):
        price = prices[column] if side == 0 else DOLLAR - prices[column]
    free = int(row[k.CASH] - row[k.RESERVED])
    fees = group.fees.tolist()
    for order in open_:
        if order[k.STATUS] == k.TRAVELS:
            own = prices[order[k.COL]] if order[k.SIDE] == 0 else DOLLAR - prices[order[k.COL]]
            free -= own * order[k.LEFT] + worst_fee(own, order[k.LEFT], *fees)
    others = [order[k.COL] for order in open_ if order[k.SIDE] != side]
    return refusal(
        price,
        action.size,
        action.reduce_only,
        int(any(col <= column if side == 0 else col >= column for col in others)),
        int(-row[k.POSITION] if side == 0 else row[k.POSITION]),
        sum(order[k.LEFT] for order in open_ if order[k.SIDE] == side),
        free,
        worst_fee(price, action.size, *fees),
        len(open_),
        batch.setup.limits.max_order,
        batch.setup.limits.max_position,
        batch.setup.limits.orders,
    )


@quick
@given(seed=st.integers(0, 10**6), by=rules(sets=("default", "wide")), limits=purses)
def test_who_only_sells_never_turns_to_the_other_side(seed: int, by: Rules, limits: Limits) -> None:
    batch = many(seed, by, limits)
    buys, sells = (np.array([action.name.startswith(kind) and action.rest_us == 0 for action in by.set.actions])
                   for kind in ("BUY", "SELL"))  # fmt: skip
    sells |= np.array([action.name.startswith("SELL") for action in by.set.actions])
    rng = np.random.default_rng(seed)
    for _ in range(5):
        masks = batch.masks()
        batch.step(np.where((masks & buys).any(axis=1), permitted(rng, masks & buys), 0))
    batch.step([0] * batch.count)  # what is under way arrives
    held, episodes = batch.state.account[:, k.POSITION].copy(), batch.desk.seat[:, stepping.STEPS].copy()
    for _ in range(30):
        masks = batch.masks()
        batch.step(np.where((masks & sells).any(axis=1), permitted(rng, masks & sells), 0))
        same = batch.desk.seat[:, stepping.STEPS] == episodes + 1  # not in another episode
        holds, episodes = batch.state.account[:, k.POSITION].copy(), batch.desk.seat[:, stepping.STEPS].copy()
        assert (np.sign(holds) * np.sign(held) >= 0)[same].all()
        assert (np.abs(holds) <= np.abs(held))[same].all()
        held = holds
