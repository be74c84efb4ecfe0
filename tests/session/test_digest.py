"""The digest of a session's books."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.market.events import BookDelta, BookSnapshot, FeedEvent, Other, SnapshotReason, Trade
from kflow.session.digest import BookDigest
from kflow.units import Price, Size


def snapshot(
    seq: int, *, market: str = "A", sid: int = 1, yes: Sequence[tuple[int, int]] = ((4000, 500),)
) -> BookSnapshot:
    levels = tuple((Price(price), Size(size)) for price, size in yes)
    return BookSnapshot(market, None, sid, seq, levels, (), SnapshotReason.SUBSCRIBE, None)


def delta(seq: int, change: int, size: int | None, *, market: str = "A", sid: int = 1) -> BookDelta:
    after = None if size is None else Size(size)
    return BookDelta(market, sid, seq, 0, Price(4000), Size(change), after, "2026-01-01T00:00:00.5Z", 1_767_225_600_500)


def digest_of(events: Sequence[tuple[int, FeedEvent]], sample_rate: int = 1) -> str:
    digest = BookDigest(sample_rate)
    for connection, event in events:
        digest.add(connection, event)
    return digest.hexdigest()


BASE: list[tuple[int, FeedEvent]] = [
    (3, snapshot(1)),
    (3, delta(2, 100, 600)),
    (3, snapshot(3, market="B")),
    (3, delta(4, -600, 0)),
    (7, snapshot(1, yes=())),
    (7, delta(2, 250, 250)),
]


def test_the_digest_is_what_it_was() -> None:
    """A change of this value makes every digest that anyone has noted worthless."""
    assert digest_of(BASE) == "5e1fc2a954dc06e294f6a6aa27a9f760f257a1731fca3b7507d365cb4e738643"
    assert digest_of([]) == "4ccf01dc1eaad36db13b1165fe1d17d5ecf789d38a0c9363e1a2bea739ae309d"


def test_connections_count_by_rank_alone() -> None:
    renumbered: list[tuple[int, FeedEvent]] = [({3: 41, 7: 99}[number], event) for number, event in BASE]
    with_an_empty_one = [(5, Other("subscribed", None, 1, None, b"{}")), *renumbered]
    assert digest_of(renumbered) == digest_of(with_an_empty_one) == digest_of(BASE)
    swapped: list[tuple[int, FeedEvent]] = [({3: 2, 7: 1}[number], event) for number, event in BASE]
    assert digest_of(swapped) != digest_of(BASE)


def test_streams_may_interleave() -> None:
    woven = [BASE[4], BASE[0], BASE[1], BASE[5], BASE[2], BASE[3]]
    assert digest_of(woven) == digest_of(BASE)


def test_other_events_do_not_enter() -> None:
    trade = Trade("A", 2, 1, "t", Price(4000), Size(1), 0, None, None)
    assert digest_of([*BASE, (3, trade), (3, Other("ignored", "A", 1, 4, b"x"))]) == digest_of(BASE)


def test_the_reason_and_clock_of_a_snapshot_do_not_enter() -> None:
    later = msgspec.structs.replace(snapshot(1), reason=SnapshotReason.CHECK, venue_ms=5, market_id="u")
    assert digest_of([(3, later), *BASE[1:]]) == digest_of(BASE)


def test_levels_of_a_snapshot_enter_in_order_of_price() -> None:
    one, other = [(4000, 500), (4100, 7)], [(4100, 7), (4000, 500)]
    assert digest_of([(1, snapshot(1, yes=one))]) == digest_of([(1, snapshot(1, yes=other))])


@pytest.mark.parametrize("field", ["market", "sid", "seq", "side", "price", "change", "size", "venue_ts"])
def test_every_field_of_a_delta_enters(field: str) -> None:
    kept = delta(2, 100, 600)
    other = {"market": "C", "side": 1, "venue_ts": "2026-01-01T00:00:00.500001Z"}.get(field, 77)
    changed = msgspec.structs.replace(kept, **{field: other})
    assert digest_of([BASE[0], (3, changed)]) != digest_of([BASE[0], (3, kept)])
    assert digest_of([BASE[0], (3, msgspec.structs.replace(kept, size=None))]) != digest_of([BASE[0], (3, kept)])


def test_times_are_compared_to_the_microsecond_however_written() -> None:
    kept = delta(2, 100, 600)
    for text in ("2026-01-01T00:00:00.500Z", "2026-01-01T01:00:00.5+01:00"):
        assert digest_of([(1, msgspec.structs.replace(kept, venue_ts=text))]) == digest_of([(1, kept)])
    by_ms = msgspec.structs.replace(kept, venue_ts=None)
    assert digest_of([(1, by_ms)]) == digest_of([(1, kept)])
    assert digest_of([(1, msgspec.structs.replace(by_ms, venue_ms=None))]) != digest_of([(1, kept)])


def test_counts_and_wrong_sizes() -> None:
    digest = BookDigest()
    for event in (snapshot(1), delta(2, 100, 600), delta(2, 100, 700), delta(3, 1, 9), delta(4, 1, None)):
        digest.add(1, event)
    summary = digest.streams()[1, 1]
    assert (summary.deltas, summary.snapshots) == (digest.deltas, digest.snapshots) == (4, 1)
    assert digest.repeats == 1
    assert digest.wrong_sizes == 1


def test_a_snapshot_that_no_book_takes_changes_no_level() -> None:
    bad = snapshot(2, yes=((4000, 1), (4000, 2)))
    digest = BookDigest()
    for event in (snapshot(1), bad, delta(3, 100, 600)):
        digest.add(1, event)
    assert digest.wrong_sizes == 0


def test_an_ended_connection_does_not_go_on() -> None:
    digest = BookDigest()
    digest.add(1, snapshot(1))
    digest.end_connection(1)
    with pytest.raises(ValueError, match="goes on"):
        digest.add(1, delta(2, 1, 501))


def test_a_sample_is_the_digest_of_what_is_kept() -> None:
    kept = [(c, e) for c, e in BASE if type(e) is not BookDelta or e.seq % 2 == 0]
    assert digest_of(BASE, 2) == digest_of(kept, 2) != digest_of(BASE)
    thinned = [(c, e) for c, e in BASE if type(e) is not BookDelta or e.seq % 4 == 0]
    assert digest_of(thinned, 2) != digest_of(BASE, 2)


@dataclass(frozen=True)
class Change:
    market: str
    side: int
    price: int
    size: int


CHANGES = st.lists(
    st.builds(Change, st.sampled_from(["A", "B", "C"]), st.integers(0, 1), st.integers(1, 99), st.integers(0, 10**6)),
    max_size=60,
)


@given(CHANGES, st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_any_way_of_ending_and_interleaving_gives_the_same(changes: list[Change], lengths: list[int]) -> None:
    """Two connections carry the same changes: one after the other, or in pieces of any lengths in turn."""
    events: list[FeedEvent] = []
    sizes: dict[tuple[str, int, int], int] = {}
    for seq, change in enumerate(changes, 1):
        key = (change.market, change.side, change.price)
        step = change.size - sizes.get(key, 0)
        sizes[key] = change.size
        events.append(
            BookDelta(change.market, 1, seq, change.side, Price(change.price), Size(step), Size(change.size), None, seq)
        )
    straight = [(1, event) for event in events] + [(2, event) for event in events]
    woven: list[tuple[int, FeedEvent]] = []
    at = [0, 0]
    turn = 0
    while min(at) < len(events):
        which, length = turn % 2, lengths[turn % len(lengths)]
        woven += [(which + 1, event) for event in events[at[which] : at[which] + length]]
        at[which] += length
        turn += 1
    assert digest_of(woven) == digest_of(straight)
    if events:
        assert digest_of(straight[:-1]) != digest_of(straight) != digest_of(straight[1:])
