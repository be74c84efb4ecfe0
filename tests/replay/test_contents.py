"""What a journal holds does not depend on how it was cut."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.replay.contents import read_journal
from kflow.store.journal_reader import JournalReader

from .conftest import Flow, Script, write_journal

FRAMES = [Flow(11).take(160), Flow(12).take(40)]


def contents_of(lengths: list[int], segment_bytes: int) -> tuple[object, ...]:
    with tempfile.TemporaryDirectory() as folder:
        script = Script(FRAMES, chunk=lambda turn: lengths[turn % len(lengths)])
        write_journal(Path(folder), script, segment_bytes=segment_bytes).close()
        contents = read_journal(JournalReader(Path(folder)), end=None, sample_rate=1)
    return contents.books.hexdigest(), contents.frames, contents.counts


WHOLE = contents_of([10_000], 2**26)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.sampled_from([15_000, 2**26]))
def test_any_split_into_chunks_and_segments_gives_the_same(lengths: list[int], segment_bytes: int) -> None:
    assert contents_of(lengths, segment_bytes) == WHOLE
