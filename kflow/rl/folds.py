"""Which events are trained on and which are scored, in the order of time: never a later one for an earlier one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from kflow.errors import UsageError
from kflow.rl.dataset import Dataset

# Of each event, when it begins and when it is over, µs.
Times = Mapping[str, tuple[int, int]]


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a walk forward. `left_out`: earlier events that were still going on when scoring begins."""

    number: int  # from 1
    train: tuple[str, ...]
    held: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def times_of(dataset: Dataset, spans: Iterable[int] | None = None) -> dict[str, tuple[int, int]]:
    """First and last moment of each event that the spans belong to; default all spans."""
    times: dict[str, tuple[int, int]] = {}
    for place in range(len(dataset.spans)) if spans is None else spans:
        span = dataset.spans[place]
        start, end = span.start_us, span.start_us + span.rows * dataset.every_us
        known = times.get(span.event, (start, end))
        times[span.event] = min(known[0], start), max(known[1], end)
    return times


def in_order(times: Times) -> list[str]:
    """Events by when they begin; those that begin together by name."""
    return sorted(times, key=lambda event: (times[event][0], event))


def last_events(times: Times, share: float) -> set[str]:
    """The last `share` of events: one at least of two or more, none for a share of 0."""
    ordered = in_order(times)
    count = round(share * len(ordered))
    if share and len(ordered) > 1:
        count = max(count, 1)
    return set(ordered[len(ordered) - count :])


def walk_forward(times: Times, count: int, *, overlap: bool = False) -> tuple[Fold, ...]:
    """Cut events into `count` + 1 blocks in time; fold n trains on the first n of them and is scored on the next.

    An event that is not over when scoring begins is left out of training, unless `overlap` allows it: what moves two
    markets at once would be known. Raises UsageError where a fold has nothing to train on.
    """
    ordered = in_order(times)
    if count < 1 or len(ordered) <= count:
        raise UsageError(
            f"{len(ordered)} events cannot be cut into {count} folds, each scored on later ones",
            hint="fewer --folds, or more sessions or --markets",
        )
    blocks = _blocks(ordered, count + 1)
    return tuple(_fold(number, blocks, times, overlap) for number in range(1, count + 1))


def _blocks(ordered: Sequence[str], count: int) -> list[list[str]]:
    """Equal parts, the first ones larger by one where they cannot be."""
    size, more = divmod(len(ordered), count)
    ends = [size * n + min(n, more) for n in range(count + 1)]
    return [list(ordered[start:end]) for start, end in pairwise(ends)]


def _fold(number: int, blocks: Sequence[Sequence[str]], times: Times, overlap: bool) -> Fold:
    held = blocks[number]
    begins = min(times[event][0] for event in held)
    earlier = [event for block in blocks[:number] for event in block]
    late = [] if overlap else [event for event in earlier if times[event][1] > begins]
    train = [event for event in earlier if event not in late]
    if not train:
        raise UsageError(
            f"fold {number} has nothing to train on: no earlier event is over when {held[0]} begins",
            hint="record at more times, or use fewer --folds; --overlap trains on what goes on at the same time",
        )
    return Fold(number=number, train=tuple(train), held=tuple(held), left_out=tuple(late))


def spans_of(dataset: Dataset, events: Collection[str]) -> tuple[int, ...]:
    """The spans of these events."""
    chosen = set(events)
    return tuple(place for place, span in enumerate(dataset.spans) if span.event in chosen)
