"""Folds in time: later events are scored, earlier ones trained on, and nothing is on both sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.errors import UsageError
from kflow.rl.dataset import build
from kflow.rl.folds import Times, in_order, last_events, spans_of, times_of, walk_forward
from kflow.rl.plan import Plan, Source
from kflow.rl.presets import hyper_of
from kflow.rl.worlds import make_tapes

ROW = {f"E{n}": (n * 10, n * 10 + 10) for n in range(8)}  # one after the other, each over when the next begins


def test_a_window_grows_and_what_follows_it_is_scored() -> None:
    folds = walk_forward(ROW, 3)
    assert [(fold.train, fold.held) for fold in folds] == [
        (("E0", "E1"), ("E2", "E3")),
        (("E0", "E1", "E2", "E3"), ("E4", "E5")),
        (("E0", "E1", "E2", "E3", "E4", "E5"), ("E6", "E7")),
    ]
    assert [fold.number for fold in folds] == [1, 2, 3]


def test_what_goes_on_while_it_is_scored_is_not_trained_on() -> None:
    times = {"A": (0, 10), "B": (5, 21), "C": (20, 30), "D": (31, 40)}
    first, second = walk_forward(times, 2)
    assert (first.train, first.held, first.left_out) == (("A",), ("C",), ("B",))
    assert (second.train, second.held, second.left_out) == (("A", "B", "C"), ("D",), ())
    assert walk_forward(times, 2, overlap=True)[0].train == ("A", "B")


def test_events_of_one_time_are_no_folds() -> None:
    times = dict.fromkeys("ABCD", (0, 10))
    with pytest.raises(UsageError, match="no earlier event is over") as raised:
        walk_forward(times, 1)
    assert "--overlap" in raised.value.hint
    assert walk_forward(times, 1, overlap=True)[0].train == ("A", "B")


@pytest.mark.parametrize("count", [0, 8, 9])
def test_too_few_events_are_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"8 events cannot be cut into {count} folds"):
        walk_forward(ROW, count)


SPANS = st.tuples(st.integers(0, 100), st.integers(1, 30)).map(lambda pair: (pair[0], sum(pair)))
MANY = st.dictionaries(st.text("ABCDEF", min_size=1, max_size=3), SPANS, min_size=2, max_size=30)


@given(MANY, st.integers(1, 6))
def test_no_fold_knows_what_comes_later(times: Times, count: int) -> None:
    try:
        folds = walk_forward(times, count)
    except UsageError:
        return
    ordered = in_order(times)
    held = [event for fold in folds for event in fold.held]
    assert held == ordered[len(ordered) - len(held) :]  # every event but the first block's is scored, once
    for fold in folds:
        begins = min(times[event][0] for event in fold.held)
        assert all(times[event][1] <= begins for event in fold.train)
        assert {*fold.train, *fold.left_out} == set(ordered[: ordered.index(fold.held[0])])
        assert not set(fold.train) & set(fold.left_out)


def test_the_last_share_of_events() -> None:
    assert last_events(ROW, 0.25) == {"E6", "E7"}
    assert last_events(ROW, 0.01) == {"E7"}
    assert last_events(ROW, 0.0) == set()
    assert last_events({"A": (0, 1)}, 0.2) == set()


def test_times_and_spans_of_a_data_set() -> None:
    plan = Plan(hyper=hyper_of("ppo", "kflow"), source=Source(world="fair", count=3), sizes=(500,))
    dataset = build(make_tapes("fair", 3, seed=1, seconds=30), plan.assume)
    times = times_of(dataset)
    assert [spans_of(dataset, [event]) for event in times] == [(0,), (1,), (2,)]
    for span in dataset.spans:
        assert times[span.event] == (span.start_us, span.start_us + span.rows * dataset.every_us)
    assert times_of(dataset, [1]).keys() == {dataset.spans[1].event}
