"""Chunks reach the writer in order; what does not fit is left to the journal, and nothing falls between the two."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.market.events import FeedEvent, Other
from kflow.record.handoff import BYTES_PER_ROW, BatchLimits, Handoff
from kflow.session.chunks import Chunk


def chunk(start: int, end: int, rows: int = 1) -> Chunk:
    events: list[FeedEvent] = [Other("x", None, None, None, b"")] * rows
    return Chunk(1, start, start, start, end, events, [])


def handoff(capacity: int = 1000, **limits: float) -> Handoff:
    return Handoff(capacity, BatchLimits(**{"rows": 1, "age_s": 60.0, **limits}))  # type: ignore[arg-type]


def ends(chunks: list[Chunk]) -> list[int]:
    return [chunk.end for chunk in chunks]


def test_chunks_come_out_in_order_and_in_batches() -> None:
    hand = handoff(most=4)
    for n in range(5):
        hand.put(chunk(n, n + 1))
    assert ends(hand.take()) == [1, 2]  # each chunk counts one beside its rows
    assert ends(hand.take()) == [3, 4]
    assert ends(hand.take()) == [5]
    assert hand.messages == 5


def test_a_batch_waits_for_its_rows_or_its_age() -> None:
    hand = handoff(rows=1000, age_s=0.02, most=1000)
    hand.put(chunk(0, 1))
    assert ends(hand.take()) == [1]
    hand = handoff(rows=6, age_s=600.0, most=1000)
    threading.Timer(0.01, lambda: [hand.put(chunk(n, n + 1)) for n in range(3)]).start()
    assert ends(hand.take()) == [1, 2, 3]


def test_closing_lets_a_waiting_writer_go() -> None:
    hand = handoff(rows=1000, age_s=600.0)
    threading.Timer(0.01, hand.close).start()
    assert hand.take() == []
    hand.put(chunk(0, 1))
    assert ends(hand.take()) == [1]


def test_what_does_not_fit_is_left_to_the_journal() -> None:
    hand = handoff(capacity=6)
    full = [hand.put(chunk(n, n + 1)) for n in range(10)]
    assert full == [False] * 3 + [True] + [False] * 6, "the last that fits says so, once"
    assert hand.overflows == 1
    assert ends(hand.take()) == [1, 2, 3, 4]
    assert not hand.complete_from(4)
    assert hand.take() == []
    assert hand.restart(lambda: 10) == 10
    assert hand.complete_from(10)
    hand.put(chunk(10, 11))
    assert ends(hand.take()) == [11]


def test_large_frames_count_for_several() -> None:
    hand = handoff(capacity=100)
    for n in range(5):
        hand.put(chunk(n * 40 * BYTES_PER_ROW, (n + 1) * 40 * BYTES_PER_ROW))
    assert hand.overflows == 1
    assert len(hand.take()) == 3


def test_what_was_taken_is_here_no_more() -> None:
    """A server that forgot rows makes the writer go back; those chunks are in the journal only."""
    hand = handoff()
    hand.put(chunk(0, 10))
    hand.put(chunk(10, 20))
    assert hand.complete_from(0)
    hand.take()
    assert not hand.complete_from(0)
    assert not hand.complete_from(10)
    assert hand.complete_from(20)


def test_no_chunk_falls_between_the_journal_and_the_handoff() -> None:
    """A chunk is journalled and put while the writer asks how far the journal goes: it must be in one of the two."""
    hand = handoff(capacity=1)
    hand.put(chunk(0, 10))
    hand.put(chunk(10, 20))
    assert ends(hand.take()) == [10]
    journal = [20]
    entered = threading.Event()

    def recorder() -> None:
        journal[0] = 30
        entered.set()
        hand.put(chunk(20, 30, rows=0))

    def offset() -> int:
        seen = journal[0]
        thread.start()
        entered.wait()
        thread.join(0.1)  # it must wait for us
        return seen

    thread = threading.Thread(target=recorder)
    end = hand.restart(offset)
    thread.join()
    assert end == 20
    assert ends(hand.take()) == [30]


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 30))
def test_memory_never_exceeds_the_capacity(actions: list[int], capacity: int) -> None:
    """And what comes out is always a run without holes, from where the handoff says it is complete."""
    hand, at, taken = handoff(capacity=capacity), 0, 0
    for action in actions:
        if action < 5:
            hand.put(chunk(at, at + 1, action))
            at += 1
        elif taken < at:  # else nothing waits, and taking would
            for piece in hand.take():
                assert piece.start == taken
                taken = piece.end
            if not hand.complete_from(taken):
                taken = hand.restart(lambda end=at: end)  # type: ignore[misc]
        assert sum(len(c.events) + 1 for c in hand._chunks) <= capacity + 6, "one chunk over at most"


@pytest.mark.parametrize("limits", [{"rows": 0}, {"age_s": 0}, {"rows": 10, "most": 5}])
def test_limits_that_make_no_sense(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="batch limits"):
        BatchLimits(**limits)  # type: ignore[arg-type]
