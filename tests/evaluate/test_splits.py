"""No policy is judged on what it was trained on, nor on what went on at the same time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kflow.errors import UsageError
from kflow.evaluate.held import Held
from kflow.evaluate.splits import EMBARGO_US, choose, walk_forward
from kflow.policy.bundle import SCHEMA_VERSION, Bundle, Card, Seen, Shape
from kflow.testing.models import LAYOUT, facts, untrained

MINUTE = 60_000_000
HOUR = 60 * MINUTE


def trained_on(*seen: Seen) -> dict[str, Bundle]:
    """A model whose card says so."""
    told = facts(trained_on=seen, created=datetime(2026, 1, 2, tzinfo=UTC))
    shape = Shape(**{name: getattr(LAYOUT, name) for name in Shape.__struct_fields__})
    card = Card(**msgspec.structs.asdict(told), schema_version=SCHEMA_VERSION, network=shape, weights_sha256="0" * 64)
    return {"ppo:1": Bundle(Path("ppo.json"), card, b"", untrained())}


def span_of(held: Held, place: int) -> tuple[int, int]:
    span = held.dataset.spans[place]
    return span.start_us, span.start_us + span.rows * held.dataset.every_us


def seen(held: Held, place: int, **changes: object) -> Seen:
    span = held.dataset.spans[place]
    begun, until = span_of(held, place)
    whole = Seen(
        market=span.market, digest=span.digest, source="hour.jsonl", session=None, from_us=begun, until_us=until
    )
    return msgspec.structs.replace(whole, **changes)


def events(held: Held) -> list[str]:
    return [span.event for span in held.dataset.spans]


def test_without_a_model_all_events_are_judged_on(fair: Held) -> None:
    split = choose(fair, {})
    assert sorted(split.events) == sorted(events(fair))
    assert (split.left_out, split.in_sample) == ((), False)


@pytest.mark.parametrize("changes", [{"market": "OTHER"}, {"digest": "another recording of it"}])
def test_what_was_trained_on_is_refused(fair: Held, changes: dict[str, object]) -> None:
    with pytest.raises(
        UsageError, match="1 of 6 events are no test: FAIR-3000002 is what ppo:1 was trained on"
    ) as told:
        choose(fair, trained_on(seen(fair, 2, source="world fair", **changes)))
    assert "--in-sample" in str(told.value.hint)


def test_it_is_left_out_where_that_is_asked_for(fair: Held) -> None:
    split = choose(fair, trained_on(seen(fair, 2, source="world fair")), unseen=True)
    assert split.left_out == ((events(fair)[2], "is what ppo:1 was trained on"),)
    assert len(split.events) == 5


def test_in_sample_is_stamped(fair: Held) -> None:
    split = choose(fair, trained_on(seen(fair, 2)), in_sample=True)
    assert split.in_sample
    assert len(split.events) == 6
    assert not choose(fair, {}, in_sample=True).in_sample


def test_what_went_on_at_the_same_time_is_left_out(fair: Held) -> None:
    begun, _ = span_of(fair, 0)  # all made-up markets begin together
    before = Seen(market="X-1-2", digest="x", source="day.jsonl", from_us=begun - HOUR, until_us=begun - EMBARGO_US)
    assert len(choose(fair, trained_on(before)).events) == 6
    with pytest.raises(UsageError, match=r"nothing is left to be judged on: .* within 16 min of what ppo:1") as told:
        choose(fair, trained_on(before), embargo_us=EMBARGO_US + MINUTE)
    assert "other times" in str(told.value.hint)


def test_made_up_worlds_have_no_time(fair: Held) -> None:
    begun, until = span_of(fair, 0)
    other = Seen(market="FAIR-9", digest="x", source="world fair", from_us=begun, until_us=until)
    assert len(choose(fair, trained_on(other)).events) == 6


def test_cards_that_do_not_say_when_still_name_what_was_seen(fair: Held) -> None:
    with pytest.raises(UsageError, match="no test"):
        choose(fair, trained_on(seen(fair, 1, from_us=None, until_us=None)))


times = st.dictionaries(
    st.text("ABCDEF", min_size=1, max_size=3),
    st.tuples(st.integers(0, 50), st.integers(1, 20)).map(
        lambda span: (span[0] * MINUTE, (span[0] + span[1]) * MINUTE)
    ),
    min_size=3,
    max_size=20,
)


@given(times, st.integers(1, 4), st.integers(0, 30))
def test_a_walk_forward_trains_on_nothing_that_touches_what_it_is_judged_on(
    times: dict[str, tuple[int, int]], count: int, embargo: int
) -> None:
    try:
        folds = walk_forward(times, count, embargo_us=embargo * MINUTE)
    except UsageError:
        return
    judged = [event for fold in folds for event in fold.held]
    assert len(judged) == len(set(judged))
    for fold in folds:
        begins = min(times[event][0] for event in fold.held)
        assert all(times[event][1] + embargo * MINUTE <= begins for event in fold.train)
        assert not set(fold.train) & set(fold.held)
