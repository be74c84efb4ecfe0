"""Easy comes first; stages are left when episodes went better, never again entered, and remembered."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest

from kflow.errors import UsageError
from kflow.replay.tapes import fees_of
from kflow.rl.batch import Batch, Finished, Setup
from kflow.rl.curriculum import Curriculum, Measured, Promotion, mean_ranks, measure
from kflow.rl.dataset import Dataset, build
from kflow.rl.episodes import Drawn, Episode
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape
from kflow.testing.tapes import frozen

ROWS = 40


def dataset_of(tapes: list[Tape]) -> Dataset:
    return build(tapes, lambda tape: Assumptions(fees=fees_of(tape)[0]))


def quiet(ask_away: int, size: int) -> Tape:
    """A book that stands still: bid 45 cents, ask so many cents above it, so much on each."""
    return frozen([(4500, size)], [(5500 - 100 * ask_away, size)], seconds=20)


@pytest.fixture(scope="module")
def books() -> Dataset:
    """From hard to easy: thin and wide, in between, deep and tight; the last one moves."""
    shapes = ((8, 1_000), (4, 50_000), (1, 90_000), (2, 80_000))
    return dataset_of([*(quiet(*shape) for shape in shapes), *make_tapes("reverting", 1, seed=1, seconds=20)])


@cache
def an_end() -> Finished:
    """An episode that was really played."""
    dataset = dataset_of([quiet(2, 1_000)])
    batch = Batch(dataset, Setup(), Drawn(dataset, 3), 1)
    batch.reset()
    return next(finished for _ in range(8) for finished in batch.step([0])[2])


def over(episode: Episode, profit: int, steps: int = 10) -> Finished:
    end = an_end()
    return end._replace(episode=episode, equity=end.cash + profit, steps=steps)


class Plays:
    """One account that plays episode after episode, with given profits."""

    def __init__(self, curriculum: Curriculum, ahead: int = 0) -> None:
        self.curriculum, self.draw = curriculum, np.random.default_rng(0)
        # Several are under way at once.
        self.begun = [curriculum.next(0, self.draw) for _ in range(ahead)]

    def play(self, profits: list[int]) -> list[Promotion]:
        found = []
        for profit in profits:
            self.begun.append(self.curriculum.next(0, self.draw))
            promotion = self.curriculum.heard(over(self.begun.pop(0), profit))
            if promotion is not None:
                found.append(promotion)
        return found

    def spans(self, count: int) -> Counter[int]:
        return Counter(self.curriculum._drawn.next(0, self.draw).span for _ in range(count))


def noisy(mean: int, count: int, seed: int = 0) -> list[int]:
    return (mean + np.random.default_rng(seed).integers(-100, 101, count)).tolist()


def test_measured_is_what_the_book_says(books: Dataset) -> None:
    found = measure(books, 1)
    assert found.spread == pytest.approx(0.04, rel=1e-6)
    assert found.depth == pytest.approx(500, rel=1e-4)
    assert found.volatility == 0.0


def test_volatility_is_that_of_the_middle(books: Dataset) -> None:
    span = books.spans[4]
    moves = np.diff(books.groups[span.group].columns[span.at : span.at + span.rows, 0].astype(np.float64))
    assert np.abs(moves).sum() > 0.1
    assert measure(books, 4).volatility ** 2 * (span.rows - 1) * 0.25 == pytest.approx((moves**2).sum())


def test_ranks_are_means_and_ties_share_theirs() -> None:
    ranks = mean_ranks([Measured(0.02, 100, 0.1), Measured(0.01, 100, 0.1), Measured(0.03, 500, 0.1)])
    assert ranks.tolist() == pytest.approx([(2 + 2.5 + 2) / 3, (1 + 2.5 + 2) / 3, (3 + 1 + 2) / 3])


def test_the_liquid_tight_and_calm_come_first(books: Dataset) -> None:
    table = Curriculum(books, ROWS, range(4), stages=2).table()
    assert [row["span"] for row in table] == [2, 3, 1, 0]
    assert [row["stage"] for row in table] == [1, 1, 2, 2]
    assert table[0]["spread_cents"] == 1.0
    assert [row["rank"] for row in table] == sorted(row["rank"] for row in table)


def test_a_stage_draws_from_its_spans_and_easier_ones(books: Dataset) -> None:
    plays = Plays(Curriculum(books, ROWS, range(4), stages=4, window=2, patience_episodes=1))
    seen = []
    for _ in range(4):
        seen.append(set(plays.spans(200)))
        plays.play([0])
    assert seen == [{2}, {2, 3}, {1, 2, 3}, {0, 1, 2, 3}]
    assert plays.curriculum.stage == 4


def test_what_is_better_than_the_stages_first_window_is_promoted(books: Dataset) -> None:
    plays = Plays(Curriculum(books, ROWS, stages=3, window=20))
    assert plays.play(noisy(-50, 20)) == []
    assert plays.play(noisy(-40, 20, seed=1)) == []  # within the error
    [promotion] = plays.play(noisy(200, 20, seed=2))
    assert promotion[:4] == (2, 3, 60, 600)
    assert promotion.mean_profit == pytest.approx(200, abs=30)
    assert promotion.reason == "better than its first 20 episodes"
    assert plays.play(noisy(200, 60, seed=3)) == []  # measured against the new stage's own


def test_a_stage_is_left_above_a_given_profit_and_never_entered_again(books: Dataset) -> None:
    plays = Plays(Curriculum(books, ROWS, stages=3, window=10, promote_at=1_000_000))
    assert plays.play([1_000_000] * 10) == []
    assert [promotion.stage for promotion in plays.play([1_000_001] * 20)] == [2, 3]
    assert plays.play([-5_000_000] * 500) == []
    assert plays.curriculum.stage == 3


def test_patience_ends_a_stage_where_nothing_is_learnt(books: Dataset) -> None:
    plays = Plays(Curriculum(books, ROWS, stages=2, window=10, patience_episodes=35))
    [promotion] = plays.play([0] * 100)
    assert (promotion.episode, promotion.reason) == (35, "after 35 episodes")


def test_episodes_that_began_before_a_promotion_do_not_count_for_the_next(books: Dataset) -> None:
    curriculum, draw = Curriculum(books, ROWS, stages=3, window=2, promote_at=0), np.random.default_rng(1)
    begun = [curriculum.next(account, draw) for account in range(6)]
    promotions = [curriculum.heard(over(episode, 5)) for episode in begun]
    assert [promotion is not None for promotion in promotions] == [False, True, False, False, False, False]
    assert (curriculum.stage, curriculum.episodes) == (2, 6)


@pytest.mark.parametrize(("kind", "shares"), [("uniform", (0.5, 0.5)), ("all", (1 / 6, 5 / 6))])
def test_without_stages_spans_are_drawn_alike_or_by_length(kind: str, shares: tuple[float, float]) -> None:
    dataset = dataset_of([frozen([(4500, 100)], [(5000, 100)], seconds) for seconds in (20, 96)])
    plays = Plays(Curriculum(dataset, ROWS, kind=kind))
    drawn = plays.spans(4_000)
    for span, share in enumerate(shares):
        assert drawn[span] / 4_000 == pytest.approx(share, abs=0.03)  # four standard errors
    assert plays.play([1_000_000] * 500) == []
    assert {row["stage"] for row in plays.curriculum.table()} == {1}


def test_one_span_is_one_stage(books: Dataset) -> None:
    plays = Plays(Curriculum(books, ROWS, [3]))
    assert plays.curriculum.stages == 1
    assert plays.play([5] * 300) == []
    assert plays.spans(10) == Counter({3: 10})


def test_a_run_that_goes_on_does_what_it_would_have_done(books: Dataset) -> None:
    def fresh() -> Plays:
        return Plays(Curriculum(books, ROWS, stages=4, window=10), ahead=7)

    profits = [n * 3 % 17 * n for n in range(200)]
    whole = fresh()
    expected = whole.play(profits)
    assert len(expected) >= 2
    for stop in (3, 47, 130):
        first, second = fresh(), fresh()
        before = first.play(profits[:stop])
        kept: dict[str, Any] = json.loads(json.dumps(first.curriculum.state()))
        second.curriculum.restore(kept)
        second.draw, second.begun = first.draw, first.begun
        assert before + second.play(profits[stop:]) == expected
        assert second.curriculum.state() == whole.curriculum.state()


def test_the_state_of_another_curriculum_is_refused(books: Dataset) -> None:
    state = Curriculum(books, ROWS, stages=2).state()
    with pytest.raises(UsageError, match="another curriculum"):
        Curriculum(books, ROWS, stages=3).restore(state)
    with pytest.raises(UsageError, match="another curriculum"):
        Curriculum(books, ROWS, kind="all").restore(state)


@pytest.mark.parametrize("options", [{"kind": "hard"}, {"stages": 0}, {"window": 1}, {"spans": []}])
def test_what_cannot_be_is_refused(books: Dataset, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Curriculum(books, ROWS, **options)


def test_a_batch_trains_through_the_stages(books: Dataset) -> None:
    curriculum = Curriculum(books, 8, stages=5, window=4, patience_episodes=8)
    batch = Batch(books, Setup(), curriculum, 3, seed=4)
    batch.reset()
    stages, promotions = [], []
    for _ in range(600):
        for finished in batch.step([0, 0, 0])[2]:
            stages.append(curriculum.stage)
            promotions.append(curriculum.heard(finished))
    reached = [promotion.stage for promotion in promotions if promotion is not None]
    assert reached == [2, 3, 4, 5]
    assert stages == sorted(stages)
    assert {batch.episode(account).span for account in range(3)} <= set(range(5))  # type: ignore[union-attr]
