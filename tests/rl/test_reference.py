"""Batches of the kernel against the plain environment of the same rules: every decision, every field, to the bit."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from kflow.market import limits
from kflow.policy.actions import REASONS
from kflow.rl.batch import Batch
from kflow.sim import kernel
from kflow.sim.fills import MODELS
from kflow.testing.reference import HANDS, TAPES, Pair, Reference, cases, compare

DECISIONS, ACCOUNTS = 80, 8


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("tapes", TAPES)
def test_a_batch_does_what_the_plain_environment_does(tapes: str, model: str) -> None:
    """48,000 decisions over all cases."""
    chosen = [case for case in cases(0) if case.tapes == tapes and case.model.name == model]
    assert len({case.actions for case in chosen}) == 3
    for case in chosen:
        assert compare(case, DECISIONS, ACCOUNTS).wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_batch_does_what_the_plain_environment_does_at_length(seed: int) -> None:
    for case in cases(seed):
        assert compare(case, 100, 16).wrong == []


def test_the_cases_reach_what_the_rules_tell_of() -> None:
    """A comparison of accounts to which nothing happens would pass as well."""
    seen: Counter[str] = Counter()
    every: list[Reference] = []
    for case in islice(cases(0), 0, None, 4):
        every.append(case)
        seen += compare(case, 40, ACCOUNTS).seen
    for what in ("filled", "resting", "under way", "settled", "cut", "ruined"):
        assert seen[what] > 5, seen
    # A setup whose actions are larger than an order may be is refused.
    for number in set(REASONS) - {limits.SIZE}:
        assert seen[REASONS[number]] > 5, seen
    assert {case.hand for case in every} == set(HANDS)
    assert {case.latency for case in every} == {"none", "home", "slow"}
    assert {case.fees for case in every} == {"fees", "maker fees", "none"}


def test_a_difference_is_seen() -> None:
    """Of what is seen, of what is owned, and of what is allowed."""
    for spoil, where in (
        (lambda pair: pair.plain[3].view.change(0, pair.plain[3].view.bid, 700), "observation"),
        (lambda pair: setattr(pair.plain[3].simulator, "cash", 10), "mask"),
        (lambda pair: setattr(pair.plain[3], "equity", 10), "reward"),
    ):
        pair = Pair(Reference(tapes="fair", actions="wide"))
        pair.step()
        spoil(pair)
        pair.step()
        assert any(where in line and "account 3" in line for line in pair.tally.wrong), where
        assert all("account 3" in line for line in pair.tally.wrong)


def _story(batch: Batch, account: int, choose: np.random.Generator) -> bytes:
    """All that one account of a batch meets, to the byte. What it does hangs on nothing but itself."""
    told = [batch.observations[account].tobytes()]
    for _ in range(60):
        masks = batch.masks()
        chosen = np.zeros(batch.count, np.int64)
        chosen[account] = choose.choice(np.flatnonzero(masks[account]))
        for other in range(batch.count):
            if other != account:
                chosen[other] = (7 * other + len(told)) % masks.shape[1]
        observations, rewards, finished = batch.step(chosen)
        told += [masks[account].tobytes(), observations[account].tobytes(), rewards[account].tobytes()]
        told += [batch.state.account[account].tobytes(), batch.state.orders[account].tobytes()]
        told += [repr(episode._replace(account=0)).encode() for episode in finished if episode.account == account]
    return b"".join(told)


@pytest.mark.parametrize("model", ["queue", "probabilistic"])
@pytest.mark.parametrize("tapes", ["random", "reverting"])
def test_an_account_does_the_same_in_a_batch_of_any_size(tapes: str, model: str) -> None:
    case = Reference(tapes=tapes, model=MODELS[model], actions="wide", latency="home", seed=2)
    for account in (0, 5):
        alone = _story(Pair(case, 1, rows=30, first=account).batch, 0, np.random.default_rng(account))
        for count in (7, 64):
            batch = Pair(case, count, rows=30).batch
            assert _story(batch, account, np.random.default_rng(account)) == alone
            assert batch.state.account[:, kernel.VOLUME].sum() > 0
