"""Which events a policy is judged on: never one that it was trained on, nor one that went on at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from kflow.errors import UsageError
from kflow.evaluate.held import Held
from kflow.policy.bundle import Bundle, Seen
from kflow.rl import folds
from kflow.rl.dataset import Span
from kflow.rl.folds import Fold, Times

# Behind and before what was trained on: as long as an episode, whose end the market may still be moved by.
EMBARGO_US: Final = 900_000_000


class Split(NamedTuple):
    """Events to be judged on, and of others why not. in_sample: some of the former were trained on."""

    events: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    in_sample: bool


def choose(
    held: Held,
    models: Mapping[str, Bundle],
    *,
    embargo_us: int = EMBARGO_US,
    in_sample: bool = False,
    unseen: bool = False,
) -> Split:
    """Events that none of the models saw, and that do not overlap with what they saw, an embargo before and behind.

    Raises UsageError where any was trained on: `unseen` leaves those out instead, `in_sample` lets them in and says so.
    """
    times = folds.times_of(held.dataset)
    ordered = folds.in_order(times)
    trained = {event: why for name, bundle in models.items() for event, why in _trained_on(held, name, bundle).items()}
    if trained and in_sample:
        return Split(tuple(ordered), (), in_sample=True)
    if trained and not unseen:
        event = next(event for event in ordered if event in trained)
        raise UsageError(
            f"{len(trained)} of {len(ordered)} events are no test: {event} {trained[event]}",
            hint="give other --sessions; --unseen leaves those out; --in-sample judges on them, and stamps the result",
        )
    overlaps = {} if in_sample else _overlapping(times, models, embargo_us)
    left_out = {**overlaps, **trained}
    kept = tuple(event for event in ordered if event not in left_out)
    if not kept:
        event, why = next(iter(left_out.items()))
        raise UsageError(f"nothing is left to be judged on: {event} {why}", hint="give sessions of other times")
    return Split(kept, tuple((event, left_out[event]) for event in ordered if event in left_out), in_sample=False)


def walk_forward(times: Times, count: int, *, embargo_us: int = EMBARGO_US) -> tuple[Fold, ...]:
    """Fold n trains on the first n of `count` + 1 blocks in time and is judged on the next.

    An event that is not over an embargo before judging begins is left out of training. Raises UsageError where a fold
    has nothing to train on.
    """
    return folds.walk_forward({event: (start, end + embargo_us) for event, (start, end) in times.items()}, count)


def _trained_on(held: Held, name: str, bundle: Bundle) -> dict[str, str]:
    """Events that a model was trained on, and how that is known."""
    seen = bundle.card.trained_on
    digests = {item.digest for item in seen}
    sessions = {item.session for item in seen if item.session is not None}
    # Local exchanges give their markets the same names again.
    markets = {item.market for item in seen if item.session is None}
    found: dict[str, str] = {}
    for span in held.dataset.spans:
        if span.digest in digests or (span.session is None and span.market in markets):
            found[span.event] = f"is what {name} was trained on"
        elif span.session in sessions and _same_time(span, held, seen):
            found[span.event] = f"is of session {span.session}, which {name} was trained on"
    return found


def _same_time(span: Span, held: Held, seen: Sequence[Seen]) -> bool:
    """Whether a session of the same number is the same one: numbers begin anew with each database."""
    spans = [_span(item) for item in seen if item.session == span.session]
    end_us = span.start_us + span.rows * held.dataset.every_us
    return any(known is None or (known[0] < end_us and span.start_us < known[1]) for known in spans)


def _span(item: Seen) -> tuple[int, int] | None:
    if item.from_us is None or item.until_us is None:
        return None
    return item.from_us, item.until_us


def _overlapping(times: Times, models: Mapping[str, Bundle], embargo_us: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, bundle in models.items():
        # Made-up worlds all begin at one moment, and have nothing to do with each other.
        seen = (item for item in bundle.card.trained_on if not item.source.startswith("world "))
        spans = _merged(map(_span, seen))
        for event, (start, end) in times.items():
            if any(start < until + embargo_us and begun - embargo_us < end for begun, until in spans):
                found[event] = f"went on within {embargo_us / 60e6:g} min of what {name} was trained on"
    return found


def _merged(spans: Iterable[tuple[int, int] | None]) -> list[tuple[int, int]]:
    """Stretches of time, those that touch as one."""
    merged: list[tuple[int, int]] = []
    for begun, until in sorted(span for span in spans if span is not None):
        if merged and begun <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], until)
        else:
            merged.append((begun, until))
    return merged
