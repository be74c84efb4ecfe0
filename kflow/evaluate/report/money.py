"""Charts of money: verdicts with intervals, equity, drawdown, events, the band, fees, capacity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

from kflow.evaluate.report import timeline, words
from kflow.evaluate.report.shape import Band, Capacity, Column, Data, Drawdown, Equity, Event
from kflow.evaluate.report.svg import LETTER, Box, Canvas, Scale, padded

NARROW: Final = 600.0
Point = TypeVar("Point")
# More bars than this are one path without their own words: nobody points at each, and the file stays small.
_POINTED_AT: Final = 120


class Interval(NamedTuple):
    """One estimate: a name, what it is under, the value and its interval."""

    name: str
    under: str
    value: float | None
    low: float | None
    high: float | None
    look: str


def intervals(rows: Sequence[Interval], width: float, unit: str) -> Canvas | None:
    """Estimates under each other against a line at zero."""
    if all(row.value is None for row in rows) or not rows:
        return None
    narrow = width < NARROW
    high, head = (46.0, 22.0) if narrow else (30.0, 8.0)
    values = [value for row in rows for value in (row.value, row.low, row.high)]
    places = 2 if max(abs(value or 0.0) for value in values) >= 0.1 else 4
    texts = [_estimate(row, places) for row in rows]
    names = [f"{words.short(row.name, 24)} {row.under}".strip() for row in rows]
    left = 8.0 if narrow else 20 + LETTER * max(map(len, names))
    right = width - 8 if narrow else width - 16 - LETTER * max(map(len, texts))
    box = Box(left, 8.0, right, 8.0 + high * len(rows))
    label = "; ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))
    canvas = Canvas(width, box.bottom + 42, f"{unit}: {label}")
    scale = Scale(*padded(values), box.left + 6, box.right - 6)
    canvas.x_axis(box, scale, unit, "dollars", about=4 if narrow else 6)
    for place, row in enumerate(rows):
        top = box.top + place * high
        y = top + (head + 12 if narrow else high / 2)
        text_y = top + 16 if narrow else y + 4
        canvas.text(2, text_y, names[place], f"name {row.look}")
        canvas.text(width - 4, text_y, texts[place], "figure", anchor="end")
        if row.low is not None and row.high is not None:
            canvas.line(scale(row.low), y, scale(row.high), y, f"whisker {row.look}")
        if row.value is not None:
            canvas.dot(scale(row.value), y, 4.5, f"point {row.look}", tip=f"{names[place]}: {texts[place]}")
    return canvas


def _estimate(row: Interval, places: int) -> str:
    if row.value is None:
        return words.UNKNOWN
    told = words.dollars(row.value, sign=True, places=places)
    if row.low is None or row.high is None:
        return f"{told}, interval not known"
    ends = (words.dollars(end, sign=True, places=places) for end in (row.low, row.high))
    return f"{told} ({' to '.join(ends)})"


class Line(NamedTuple):
    """A curve and how it looks."""

    name: str
    curve: Equity
    look: str


def equity(lines: Sequence[Line], band: Equity | None, data: Data, width: float) -> Canvas | None:
    """Cumulated profit in time, names at the right ends; gaps of the recording on the lower edge."""
    every = [at for line in lines for at in line.curve.us]
    names = [words.short(line.name, 16 if width < NARROW else 26) for line in lines]
    box = Box(58.0, 26.0, width - 14 - LETTER * max(map(len, names), default=0), 26.0 + _tall(width))
    times = timeline.scale(data, every, box.left, box.right)
    values = [value for line in lines for value in line.curve.mean]
    if times is None or sum(value is not None for value in values) < 2:
        return None
    values += [] if band is None else [*band.low, *band.high]
    low, high = padded(values)
    scale = Scale(low - 0.05 * (high - low), high, box.bottom, box.top)
    canvas = Canvas(width, box.bottom + 38, f"cumulated profit in dollars of {', '.join(names)}, in time")
    canvas.y_axis(box, scale, "$, cumulated")
    timeline.axis(canvas, box, times, data)
    if band is not None:
        edges = _thinned(list(zip(band.us, band.low, band.high, strict=False)), times)
        known = [
            (times(at), scale(a), scale(b)) for at, a, b in edges if at is not None and a is not None and b is not None
        ]
        canvas.area([(x, b) for x, _, b in known], [(x, a) for x, a, _ in known], f"area {lines[0].look}")
    ends = []
    for line, name in reversed(list(zip(lines, names, strict=True))):
        points_of = _points(line.curve.us, line.curve.mean, times, scale)
        last = next((value for value in reversed(line.curve.mean) if value is not None), None)
        if last is not None:
            canvas.path(
                points_of, f"line {line.look}", tip=f"{words.short(line.name, 60)}: {words.dollars(last, sign=True)}"
            )
            ends.append((scale(last), name, line.look))
    canvas.end_labels(box, ends)
    return canvas


def _points(us: Column, values: Column, times: timeline.TimeScale, scale: Scale) -> list[tuple[float, float] | None]:
    pairs = _thinned(list(zip(us, values, strict=False)), times)
    return [None if at is None or value is None else (times(at), scale(value)) for at, value in pairs]


def _thinned(points: Sequence[Point], times: timeline.TimeScale) -> Sequence[Point]:
    """No more of them than can be told apart; the last one always."""
    room = max(times.parts[-1].right - times.parts[0].left, 4.0)
    every = max(1, -(-len(points) * 4 // int(room)))
    return points[::-every][::-1]


def _tall(width: float) -> float:
    return 210.0 if width < NARROW else 270.0


def drawdown(curve: Drawdown, largest: float | None, data: Data, width: float, reserved: str) -> Canvas | None:
    """How far below its peak, in time; as wide as the equity chart above it, whose longest name is `reserved`."""
    names = words.short(reserved, 16 if width < NARROW else 26)
    box = Box(58.0, 26.0, width - 14 - LETTER * len(names), 26.0 + _tall(width) * 0.4)
    times = timeline.scale(data, curve.us, box.left, box.right)
    known = [
        (value, at) for at, value in zip(curve.us, curve.dollars, strict=False) if value is not None and at is not None
    ]
    if times is None or len(known) < 2:
        return None
    deepest, when = min(known)
    # The curve is thinned out, so that it may miss the very bottom.
    told = words.dollars(deepest if largest is None else -largest)
    canvas = Canvas(width, box.bottom + 38, f"drawdown in dollars in time, deepest {told}")
    scale = Scale(min(deepest * 1.1, -1e-6), 0.0, box.bottom, box.top)
    canvas.y_axis(box, scale, "$ below the peak", about=3)
    timeline.axis(canvas, box, times, data)
    points = [(times(at), scale(min(value, 0.0))) for value, at in _thinned(known, times)]
    canvas.area(points, [(points[0][0], scale(0.0)), (points[-1][0], scale(0.0))], "area loss")
    canvas.path(points, "line loss")
    if deepest < 0:
        x, y = times(when), scale(deepest)
        canvas.dot(x, y, 3.5, "point loss", tip=f"{told} at {words.moment(when)}")
        ahead = x > (box.left + box.right) / 2
        canvas.text(x + (-8 if ahead else 8), y + 4, told, "figure", anchor="end" if ahead else None)
    return canvas


def events(rows: Sequence[Event], width: float, unit: str = "$ per event, mean over seeds") -> Canvas | None:
    """Profit of each event in order of time; hollow where no result is recorded."""
    known = [row for row in rows if row.profit is not None]
    if len(known) < 2:
        return None
    box = Box(58.0, 26.0, width - 10, 26.0 + _tall(width) * 0.85)
    few = len(known) <= _POINTED_AT
    seeds = [end for row in known for end in (row.low, row.high)] if len(known) <= 60 else []
    scale = Scale(*padded([*(row.profit for row in known), *seeds]), box.bottom, box.top)
    canvas = Canvas(width, box.bottom + 24, f"profit in dollars of each of {len(known)} events, in order of time")
    canvas.y_axis(box, scale, unit)
    room = (box.right - box.left) / len(known)
    wide = min(room * 0.74, 44.0)
    if few:
        for place, row in enumerate(known):
            _event_bar(canvas, row, box.left + (place + 0.5) * room, wide, scale, with_seeds=bool(seeds))
    else:
        for look, wins in (("gain", True), ("loss", False)):
            chosen = [
                (place, row.profit or 0.0) for place, row in enumerate(known) if ((row.profit or 0.0) >= 0) == wins
            ]
            points: list[tuple[float, float] | None] = []
            for place, profit in chosen:
                x = box.left + (place + 0.5) * room
                points += [(x, scale(0.0)), (x, scale(profit)), None]
            canvas.path(points, f"stick {look}")
    canvas.text(box.left, box.bottom + 17, words.moment(known[0].start_us), "tick")
    canvas.text(box.right, box.bottom + 17, words.moment(known[-1].start_us), "tick", anchor="end")
    return canvas


def _event_bar(canvas: Canvas, row: Event, x: float, wide: float, scale: Scale, *, with_seeds: bool) -> None:
    profit = row.profit or 0.0
    zero, end = scale(0.0), scale(profit)
    look = f"bar {'gain' if profit >= 0 else 'loss'}{'' if row.settled else ' open'}"
    tip = f"{words.short(row.event, 48)}, {words.moment(row.start_us)}: {words.dollars(profit, sign=True)}"
    canvas.rect(x - wide / 2, min(zero, end), wide, max(abs(zero - end), 0.8), look, tip=tip)
    if with_seeds and row.low is not None and row.high is not None and row.low != row.high:
        canvas.line(x, scale(row.low), x, scale(row.high), "whisker thin")


def band(rows: Sequence[Band], judged: Sequence[str], width: float) -> Canvas | None:
    """From pessimistic to optimistic fills, each contestant a row."""
    known = [row for row in rows if None not in (row.pessimistic, row.optimistic)]
    if not known:
        return None
    narrow = width < NARROW
    high = 40.0 if narrow else 28.0
    names = [words.short(row.contestant, 30 if narrow else 24) for row in known]
    left = 8.0 if narrow else 20 + LETTER * max(map(len, names))
    box = Box(left, 8.0, width - 12, 8.0 + high * len(known))
    values = [value for row in known for value in (row.pessimistic, row.calibrated, row.optimistic)]
    scale = Scale(*padded(values), box.left + 8, box.right - 8)
    label = f"profit per event of {', '.join(names)} from pessimistic to optimistic fills"
    canvas = Canvas(width, box.bottom + 42, label)
    canvas.x_axis(box, scale, "$ per event", "dollars", about=4 if narrow else 6)
    for place, (row, name) in enumerate(zip(known, names, strict=True)):
        look = "own" if row.contestant in judged else "other"
        y = box.top + place * high + (high - 12 if narrow else high / 2)
        canvas.text(2, y - 12 if narrow else y + 4, name, f"name {look}")
        ends = [scale(value) for value in (row.pessimistic, row.calibrated, row.optimistic) if value is not None]
        first, last = min(ends), max(ends)
        canvas.line(first, y, last, y, f"whisker {look}")
        for which in ("pessimistic", "optimistic", "calibrated"):
            value = getattr(row, which)
            if value is not None:
                mark = f"point {look}" if which == "calibrated" else f"ring {look}"
                canvas.dot(
                    scale(value),
                    y,
                    4.5 if which == "calibrated" else 3.2,
                    mark,
                    tip=f"{name}, {which}: {words.dollars(value, sign=True)}",
                )
    return canvas


def bars(
    rows: Sequence[tuple[str, float | None, str]], width: float, unit: str, form: str = "dollars"
) -> Canvas | None:
    """Amounts side by side that add up, from a line at zero: (name, value, class)."""
    known = [row for row in rows if row[1] is not None]
    if not known:
        return None
    box = Box(58.0, 26.0, width - 10, 200.0)
    low, high = padded([value for _, value, _ in known], share=0.16)
    scale = Scale(low, high, box.bottom, box.top)
    told = [
        words.dollars(value, sign=True) if form == "dollars" else words.number(value, sign=True)
        for _, value, _ in known
    ]
    canvas = Canvas(
        width,
        box.bottom + 26,
        f"{unit}: " + ", ".join(f"{row[0]} {text}" for row, text in zip(known, told, strict=True)),
    )
    canvas.y_axis(box, scale, unit, form)
    room = (box.right - box.left) / len(known)
    for place, ((name, value, look), text) in enumerate(zip(known, told, strict=True)):
        x, end = box.left + (place + 0.5) * room, scale(value or 0.0)
        wide = min(room * 0.5, 56.0)
        canvas.rect(
            x - wide / 2, min(end, scale(0.0)), wide, abs(end - scale(0.0)), f"bar {look}", tip=f"{name}: {text}"
        )
        canvas.text(x, end + (-6 if (value or 0.0) >= 0 else 16), text, "figure", anchor="middle")
        canvas.text(x, box.bottom + 18, name, "tick", anchor="middle")
    return canvas


def capacity(rows: Sequence[Capacity], width: float) -> Canvas | None:
    """Profit per event by scale of sizes, steps of equal width; ± one standard error."""
    known = sorted(
        (row for row in rows if row.scale is not None and row.profit_per_event is not None),
        key=lambda r: r.scale or 0.0,
    )
    if len(known) < 2:
        return None
    box = Box(58.0, 26.0, width - 14, 220.0)
    ends = [(row.profit_per_event or 0.0) + sign * (row.error or 0.0) for row in known for sign in (-1, 1)]
    scale = Scale(*padded(ends), box.bottom, box.top)
    canvas = Canvas(width, box.bottom + 40, "profit in dollars per event by scale of sizes")
    canvas.y_axis(box, scale, "$ per event")
    room = (box.right - box.left) / len(known)
    points: list[tuple[float, float] | None] = []
    for place, row in enumerate(known):
        x, value = box.left + (place + 0.5) * room, row.profit_per_event or 0.0
        points.append((x, scale(value)))
        if row.error is not None:
            canvas.line(x, scale(value - row.error), x, scale(value + row.error), "whisker own")
        traded = f"{words.count(row.contracts_per_episode)} contracts an episode"
        tip = f"{row.scale:g} times: {words.dollars(value, sign=True)} an event, {traded}"
        canvas.dot(x, scale(value), 4.5, "point own", tip=tip)
        canvas.text(x, box.bottom + 16, f"x {row.scale:g}", "tick", anchor="middle")
    canvas.path(points, "line own")
    canvas.text(box.right, box.bottom + 33, "sizes, cash and limits, times", "unit", anchor="end")
    return canvas
