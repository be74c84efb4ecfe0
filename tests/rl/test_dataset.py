"""What is packed: groups of one grid and one fee schedule, spans without a gap, results only where recorded."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from kflow.errors import UsageError
from kflow.market.grid import Grid
from kflow.policy.actions import action_set
from kflow.replay.stretches import CLOSED, LAST
from kflow.replay.tapes import fees_of
from kflow.rl.batch import Batch, Setup
from kflow.rl.columns import market_columns
from kflow.rl.dataset import build, event_of
from kflow.rl.episodes import Drawn, Episode, Listed, cut
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape
from kflow.testing.tapes import COARSE, frozen, random_tape


def assume(tape: Tape) -> Assumptions:
    return Assumptions(fees=fees_of(tape)[0])


def known(tape: Tape, market: str = "MADE", **facts: Any) -> Tape:
    """A tape with other facts."""
    return Tape(market, tape.arrays, {**tape.facts, **facts})


@pytest.fixture
def tapes() -> list[Tape]:
    rng = np.random.default_rng(5)
    return [random_tape(rng, stretches=3), random_tape(rng, grid=Grid.named("linear_cent")), random_tape(rng)]


def test_tapes_of_one_grid_and_fee_schedule_are_packed_together(tapes: list[Tape]) -> None:
    found = build([*tapes, known(tapes[2], fee_type="quadratic", fee_multiplier="2")], assume, every_us=1_000)
    assert len(found.groups) == 3
    assert {len(group.market.price) for group in found.groups} == {len(COARSE), 99}
    assert found.price_columns == 99
    assert all(group.market.books.shape[2] == 99 for group in found.groups)


def test_packed_spans_are_the_stretches(tapes: list[Tape]) -> None:
    """Where a span lies in its group's arrays stands what its tape holds, and what is seen of it."""
    found = build(tapes, assume, every_us=1_000)
    stretches = [(tape, stretch) for tape in (tapes[0], tapes[2], tapes[1]) for stretch in range(tape.stretches)]
    assert len(found.spans) == len(stretches)
    for span, (tape, stretch) in zip(found.spans, stretches, strict=True):
        market = found.groups[span.group].market
        first, behind = market.bounds[span.stretch]
        own = slice(*tape.arrays.bounds[stretch])
        assert np.array_equal(market.us[first:behind], tape.arrays.us[own])
        assert np.array_equal(market.size[first:behind], tape.arrays.size[own])
        assert span.start_us == tape.span_us(stretch)[0]
        seen = market_columns(tape, stretch, 1_000, 0.07)
        assert np.array_equal(found.groups[span.group].columns[span.at : span.at + span.rows], seen)


@pytest.mark.parametrize(
    ("facts", "value"),
    [
        ({"ends": [CLOSED], "result": "yes"}, 10_000),
        ({"ends": [CLOSED], "result": "no"}, 0),
        ({"ends": [CLOSED], "settlement_value_e4": 2_500, "result": "yes"}, 2_500),
        ({"ends": [CLOSED], "result": ""}, -1),
        ({"ends": [CLOSED]}, -1),
        ({"ends": [LAST], "result": "yes"}, -1),  # what came between is not recorded
    ],
)
def test_what_is_paid_is_recorded_or_not_known(tapes: list[Tape], facts: dict[str, Any], value: int) -> None:
    (span,) = build([known(tapes[2], **facts)], assume, every_us=1_000).spans
    assert span.value == value


@pytest.mark.parametrize(
    ("market", "facts", "event"),
    [
        ("KXBTC15M-26MAY110145-45", {}, "KXBTC15M-26MAY110145"),
        ("INXD-25JAN03-B5887", {"environment": "local", "session": 7}, "INXD-25JAN03 of session 7"),
        ("INXD-25JAN03-B5887", {"environment": "production", "session": 7}, "INXD-25JAN03"),
        ("FAIR-3000001", {}, "FAIR-3000001"),
    ],
)
def test_markets_of_an_event_belong_together(tapes: list[Tape], market: str, facts: dict[str, Any], event: str) -> None:
    assert event_of(known(tapes[2], market, **facts)) == event


def test_too_short_is_told_with_what_helps(tapes: list[Tape]) -> None:
    with pytest.raises(UsageError, match="no stretch lasts") as raised:
        build(tapes, assume, every_us=3_600_000_000)
    assert raised.value.hint is not None
    assert "--every" in raised.value.hint
    with pytest.raises(UsageError, match="cannot be"):
        build(tapes, assume, every_us=1)


def test_a_market_is_the_same_whatever_lies_beside_it() -> None:
    """Nobody offers, at the edge of a grid: a wider grid in the same data changes nothing."""
    alone = frozen([(9_900, 10_000)], [])
    beside = frozen([(4_000, 10_000)], [(4_000, 10_000)], grid=Grid.named("tapered_deci_cent"))
    masks = []
    for tapes in ([alone], [alone, beside]):
        data = build(tapes, assume)
        batch = Batch(data, Setup(actions=action_set("wide")), Listed([Episode(0, 0, 20)]), 1)
        first = batch.reset().copy()
        masks.append((first.tobytes(), batch.masks().tobytes(), batch.step([2])[0].tobytes()))
    assert masks[0] == masks[1]


# Episodes.


def test_drawn_episodes_lie_in_one_span_each_and_reach_all_of_it() -> None:
    found = build(make_tapes("fair", 4, seed=1, seconds=60), assume)
    drawn, rng = Drawn(found, 40), np.random.default_rng(0)
    episodes = [drawn.next(0, rng) for _ in range(2_000)]
    for episode in episodes:
        rows = found.spans[episode.span].rows
        assert 0 <= episode.first < episode.last <= rows - 1
        assert episode.last - episode.first <= 40
    assert {episode.span for episode in episodes} == {0, 1, 2, 3}
    assert min(episode.first for episode in episodes) == 0
    settled = np.mean([episode.last == found.spans[episode.span].rows - 1 for episode in episodes])
    assert 0.5 <= settled <= 0.7  # half of them, and those that came there by chance


def test_cut_episodes_cover_every_decision_once() -> None:
    found = build(make_tapes("fair", 2, seed=1, seconds=60), assume)
    episodes = cut(found, 50)
    assert episodes[:3] == [Episode(0, 0, 50), Episode(0, 50, 100), Episode(0, 100, 150)]
    for span in range(2):
        mine = [episode for episode in episodes if episode.span == span]
        assert all(left.last == right.first for left, right in pairwise(mine))
        assert mine[-1].last >= found.spans[span].rows - 1 - 7
    listed = Listed(episodes)
    rng = np.random.default_rng(0)
    assert [listed.next(0, rng) for _ in episodes] == episodes
    assert listed.next(0, rng) is None
