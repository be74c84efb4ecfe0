"""A counter that knows lost, repeated and late frames apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kflow.market.events import GapKind
from kflow.market.sequence import RESET_AFTER, Sequence


def told(*seqs: int) -> list[GapKind | None]:
    sequence = Sequence()
    return [sequence.check(seq) for seq in seqs]


def test_an_unbroken_sequence_is_silent() -> None:
    assert told(1, 2, 3, 4) == [None] * 4


def test_a_jump_is_told_on_the_very_frame() -> None:
    assert told(1, 4, 5) == [None, GapKind.SEQUENCE, None]
    assert told(3) == [GapKind.SEQUENCE]


def test_a_repeated_frame_and_a_late_one_differ() -> None:
    assert told(1, 2, 2) == [None, None, GapKind.DUPLICATE]
    assert told(1, 4, 2, 3, 3, 5) == [
        None,
        GapKind.SEQUENCE,
        GapKind.REORDERED,
        GapKind.REORDERED,
        GapKind.DUPLICATE,
        None,
    ]


def test_a_late_frame_splits_what_is_missing() -> None:
    sequence = Sequence()
    for seq in (1, 9, 5):
        sequence.check(seq)
    assert sequence.missing == [(2, 4), (6, 8)]


def test_a_counter_that_begins_anew_is_found_out() -> None:
    sequence = Sequence(next=1000)
    kinds = [sequence.check(seq) for seq in range(1, RESET_AFTER + 1)]
    assert kinds == [GapKind.DUPLICATE] * (RESET_AFTER - 1) + [GapKind.RESET]
    assert sequence.check(RESET_AFTER + 1) is None


def test_late_frames_between_others_are_no_reset() -> None:
    sequence = Sequence(next=1000)
    for n in range(RESET_AFTER * 2):
        assert sequence.check(1 + n) is GapKind.DUPLICATE
        assert sequence.check(1000 + n) is None


def test_what_is_remembered_is_bounded() -> None:
    sequence = Sequence()
    for seq in range(2, 4000, 2):
        sequence.check(seq)
    assert len(sequence.missing) == 256


@given(st.lists(st.integers(1, 60), max_size=80))
def test_the_kinds_agree_with_a_set_of_what_was_seen(seqs: list[int]) -> None:
    """Against the plainest model, as long as no run of late frames looks like a reset."""
    sequence, seen, highest = Sequence(), set[int](), 0
    for seq in seqs:
        kind = sequence.check(seq)
        if kind is GapKind.RESET:
            return
        if seq == highest + 1:
            assert kind is None
        elif seq > highest:
            assert kind is GapKind.SEQUENCE
        else:
            assert kind is (GapKind.DUPLICATE if seq in seen else GapKind.REORDERED)
        seen.add(seq)
        highest = max(highest, seq)
