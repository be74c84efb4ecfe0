"""A scale of time that leaves out long spells of which nothing is recorded, and marks where recordings have gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple

from kflow.evaluate.report import words
from kflow.evaluate.report.shape import Data, Tape
from kflow.evaluate.report.svg import Box, Canvas

Span = tuple[float, float]

_SECOND: Final = 1_000_000
_DAY: Final = 86_400
_DAYS: Final = (1, 2, 7, 14, 30, 90, 180, 365, 730, 3650)
_WITHIN_A_DAY: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
_STEPS: Final = tuple(step * _SECOND for step in (*_WITHIN_A_DAY, *(days * _DAY for days in _DAYS)))
# A spell is left out where it is at least this share of all the time, and only the longest few are.
_LONG: Final = 0.06
_MOST: Final = 5
_BREAK: Final = 16.0
_LEAST: Final = 26.0
_LANES: Final = 14
# Above so many tapes nobody points at each.
_POINTED_AT: Final = 150


class Part(NamedTuple):
    """Time that is drawn, and where."""

    start: float
    until: float
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class TimeScale:
    """From µs to places, part by part."""

    parts: tuple[Part, ...]

    def __call__(self, us: float) -> float:
        for part in self.parts:
            if us < part.start:
                return part.left
            if us <= part.until:
                return part.left + (us - part.start) / (part.until - part.start) * (part.right - part.left)
        return self.parts[-1].right

    def breaks(self) -> list[tuple[float, float, float]]:
        """Where a spell is left out: (left, right, its seconds)."""
        pairs = pairwise(self.parts)
        return [(one.right, two.left, (two.start - one.until) / _SECOND) for one, two in pairs]


def merged(spans: Sequence[Span]) -> list[Span]:
    """Without overlaps, in order."""
    found: list[Span] = []
    for start, until in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], until))
        else:
            found.append((start, until))
    return found


def scale(data: Data, us: Sequence[float | None], left: float, right: float) -> TimeScale | None:
    """Over what was recorded and what else is drawn; None where no time is known."""
    spans = merged([*_spans(data.tapes), *((at, at) for at in us if at is not None)])
    if not spans or spans[-1][1] <= spans[0][0]:
        return None
    whole = spans[-1][1] - spans[0][0]
    holes = [(two[0] - one[1], one[1], two[0]) for one, two in pairwise(spans)]
    longest = sorted((hole for hole in holes if hole[0] >= _LONG * whole), reverse=True)[:_MOST]
    long = sorted(longest, key=lambda hole: hole[1])
    starts, ends = [spans[0][0], *(hole[2] for hole in long)], [*(hole[1] for hole in long), spans[-1][1]]
    pieces = [(start, until) for start, until in zip(starts, ends, strict=True) if until > start] or [
        (spans[0][0], spans[-1][1])
    ]
    shown = sum(until - start for start, until in pieces)
    room = right - left - _BREAK * (len(pieces) - 1) - _LEAST * len(pieces)
    parts, at = [], left
    for start, until in pieces:
        width = _LEAST + room * (until - start) / shown
        parts.append(Part(start, until, at, at + width))
        at += width + _BREAK
    return TimeScale(tuple(parts))


def axis(canvas: Canvas, box: Box, times: TimeScale, data: Data, *, gaps: bool = True) -> None:
    """Times beneath the plot, breaks, and the recording's gaps on its lower edge."""
    for left, right, seconds in times.breaks():
        canvas.rect(left, box.top, right - left, box.bottom - box.top, "break", tip=_unrecorded(seconds))
    room = sum(part.right - part.left for part in times.parts)
    shown = sum(part.until - part.start for part in times.parts)
    step = next((one for one in _STEPS if one / shown * room >= 62), _STEPS[-1])
    last, day = -1e9, ""
    for part in times.parts:
        first = -(-part.start // step) * step
        marks = [first + place * step for place in range(int((part.until - first) // step) + 1)] or [part.start]
        for mark in marks:
            x = times(mark)
            if x - last < 44 or x > box.right - 8:
                continue
            last = x
            clock, date = _stamp(mark, step)
            canvas.line(x, box.bottom, x, box.bottom + 4, "axis")
            canvas.text(x, box.bottom + 17, clock, "tick", anchor="middle")
            if date != day and clock != date:
                canvas.text(x, box.bottom + 31, date, "tick", anchor="middle")
            day = date
    canvas.line(box.left, box.bottom, box.right, box.bottom, "axis")
    canvas.text(box.right, box.bottom + 31, "UTC", "unit", anchor="end")
    if gaps:
        canvas.boxes([(x, box.bottom - 7, end - x, 7) for x, end in _gap_places(times, _gap_spans(data))], "gap")


def _gap_marks(canvas: Canvas, y: float, height: float, times: TimeScale, spans: Sequence[Span]) -> None:
    """A mark for each gap; those that would cover each other are one."""
    for left, right in _gap_places(times, spans):
        within = [until - start for start, until in spans if left - 0.1 <= times(start) <= right + 0.1]
        seconds = words.duration(sum(within) / _SECOND)
        tip = f"gap of {seconds}" if len(within) == 1 else f"{len(within)} gaps, {seconds} together"
        canvas.rect(left, y, right - left, height, "gap", tip=tip)


def _gap_places(times: TimeScale, spans: Sequence[Span]) -> list[Span]:
    return merged([(times(start), max(times(until), times(start) + 1.4)) for start, until in spans])


def draw(data: Data, width: float) -> Canvas | None:
    """Tapes as bars in time, gaps on them; None where no tape says when it was."""
    known = [tape for tape in data.tapes if tape.from_us is not None and tape.until_us is not None]
    times = scale(data, (), 8.0, width - 8.0)
    if not known or times is None:
        return None
    lanes = _lanes(known)
    rows = lanes if len(lanes) <= _LANES else [known]
    high = 18.0 if len(rows) > 1 else 30.0
    box = Box(8.0, 8.0, width - 8.0, 8.0 + len(rows) * (high + 5))
    canvas = Canvas(width, box.bottom + 40, f"{len(known)} recorded tapes in time, with {len(data.gaps)} gaps")
    markets = {tape.market: row for row, lane in enumerate(rows) for tape in lane}
    for row, lane in enumerate(rows):
        y = box.top + row * (high + 5)
        if len(rows) != len(lanes) or len(known) > _POINTED_AT:
            spans = merged([(times(start), times(until)) for start, until in _spans(lane)])
            canvas.boxes([(left, y, max(right - left - 0.6, 0.8), high) for left, right in spans], "tape")
        else:
            for tape in lane:
                left, right = times(tape.from_us or 0), times(tape.until_us or 0)
                look = "tape" if tape.result is not None else "tape open"
                canvas.rect(left, y, max(right - left - 1.2, 0.8), high, look, tip=_tape(tape))
        own = [gap for gap in data.gaps if markets.get(gap.market, row) == row]
        _gap_marks(canvas, y, high, times, _gap_spans(Data(gaps=tuple(own))))
    axis(canvas, box, times, data, gaps=False)
    return canvas


def _lanes(tapes: Sequence[Tape]) -> list[list[Tape]]:
    """Tapes that do not overlap share a row."""
    lanes: list[list[Tape]] = []
    for tape in sorted(tapes, key=lambda one: (one.from_us or 0, one.market)):
        free = next((lane for lane in lanes if (lane[-1].until_us or 0) <= (tape.from_us or 0)), None)
        if free is None:
            lanes.append([tape])
        else:
            free.append(tape)
    return lanes


def _spans(tapes: Sequence[Tape]) -> list[Span]:
    return [
        (float(tape.from_us), float(tape.until_us))
        for tape in tapes
        if tape.from_us is not None and tape.until_us is not None and tape.until_us >= tape.from_us
    ]


def _gap_spans(data: Data) -> list[Span]:
    return [
        (float(gap.from_us), float(gap.until_us))
        for gap in data.gaps
        if gap.from_us is not None and gap.until_us is not None
    ]


def _tape(tape: Tape) -> str:
    result = "no recorded result" if tape.result is None else f"result {words.value(tape.result)}"
    times = f"{words.moment(tape.from_us)} to {words.moment(tape.until_us)}"
    return f"{words.short(tape.market, 60)}: {times}, {words.duration(tape.seconds)}, {result}"


def _unrecorded(seconds: float) -> str:
    return f"{words.duration(seconds)} of which nothing is recorded, left out"


def _stamp(us: float, step: float) -> tuple[str, str]:
    """What stands at a tick, and the day it is of."""
    try:
        at = datetime.fromtimestamp(us / _SECOND, UTC)
    except (OverflowError, OSError, ValueError):
        return words.UNKNOWN, words.UNKNOWN
    day = f"{at.day} {at:%b}" if step < 200 * _DAY * _SECOND else f"{at:%b %Y}"
    if step >= _DAY * _SECOND:
        return day, day
    return f"{at:%H:%M:%S}" if step < 60 * _SECOND else f"{at:%H:%M}", day
