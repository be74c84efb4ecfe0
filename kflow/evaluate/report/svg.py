"""A canvas for charts: scales, axes and marks in SVG. Looks come from classes, so that a page's style holds for all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kflow.evaluate.report import words
from kflow.evaluate.report.markup import Content, Markup, el

# The width that charts for phones are drawn in.
PHONE: Final = 360.0
# A letter of 12 units is about so wide.
LETTER: Final = 6.4
_LABEL_APART: Final = 14.0


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def padded(values: Iterable[float | None], *, zero: bool = True, share: float = 0.06) -> tuple[float, float]:
    """Bounds around what is known, zero among it; never empty."""
    known = [value for value in values if value is not None] + ([0.0] if zero else [])
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if low == high:
        room = abs(low) or 1.0
        return low - room, high + room
    room = (high - low) * share
    return (low - room if low < 0 or not zero else low), (high + room if high > 0 or not zero else high)


class Box(NamedTuple):
    """The plot within a chart's margins."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(slots=True)
class Canvas:
    """A chart as it is drawn."""

    width: float
    height: float
    label: str  # what is seen, for those who do not see it
    parts: list[Markup] = field(default_factory=list)

    def add(self, *marks: Markup) -> None:
        self.parts.extend(marks)

    def line(self, x1: float, y1: float, x2: float, y2: float, look: str) -> None:
        self.add(el("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=look))

    def text(self, x: float, y: float, text: Content, look: str = "", *, anchor: str | None = None) -> None:
        self.add(el("text", text, x=x, y=y, text_anchor=anchor, class_=look or None))

    def rect(self, x: float, y: float, width: float, height: float, look: str, *, tip: str | None = None) -> None:
        self.add(el("rect", self._tip(tip), x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), class_=look))

    def dot(self, x: float, y: float, radius: float, look: str, *, tip: str | None = None) -> None:
        self.add(el("circle", self._tip(tip), cx=x, cy=y, r=radius, class_=look))

    def path(self, points: Sequence[tuple[float, float] | None], look: str, *, tip: str | None = None) -> None:
        """A line; None interrupts it."""
        steps, pen = [], "M"
        for point in points:
            steps.append("" if point is None else f"{pen}{_place(point[0])} {_place(point[1])}")
            pen = "M" if point is None else "L"
        if any(steps):
            self.add(el("path", self._tip(tip), d="".join(steps), class_=look))

    def boxes(self, places: Sequence[tuple[float, float, float, float]], look: str) -> None:
        """Many rectangles (x, y, width, height) as one mark."""
        steps = (f"M{_place(x)} {_place(y)}h{_place(w)}v{_place(h)}h-{_place(w)}z" for x, y, w, h in places)
        if places:
            self.add(el("path", d="".join(steps), class_=look))

    def area(self, upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]], look: str) -> None:
        if len(upper) > 1:
            outline = [*upper, *reversed(lower)]
            steps = "L".join(f"{_place(x)} {_place(y)}" for x, y in outline)
            self.add(el("path", d=f"M{steps}Z", class_=look))

    @property
    def pointed(self) -> bool:
        """Whether a pointer may ask what a mark is; on a phone there is none."""
        return self.width > PHONE

    def _tip(self, text: str | None) -> Markup | None:
        return None if text is None or not self.pointed else el("title", text)

    def svg(self) -> Markup:
        box = f"0 0 {self.width:g} {self.height:g}"
        return el("svg", self.parts, viewBox=box, role="img", aria_label=self.label)

    def y_axis(self, box: Box, scale: Scale, unit: str, form: str = "dollars", about: int = 5) -> None:
        """Quiet lines across with their values at the left, and the unit above them."""
        marks = ticks(scale.low, scale.high, about)
        for mark, text in zip(marks, tick_texts(marks, form), strict=True):
            self.line(box.left, scale(mark), box.right, scale(mark), "zero" if mark == 0 else "grid")
            self.text(box.left - 6, scale(mark) + 4, text, "tick", anchor="end")
        self.text(2, box.top - 14, unit, "unit")

    def x_axis(self, box: Box, scale: Scale, unit: str, form: str = "plain", about: int = 5) -> None:
        """Values beneath, and what they are."""
        marks = ticks(scale.low, scale.high, about)
        for mark, text in zip(marks, tick_texts(marks, form), strict=True):
            self.line(scale(mark), box.top, scale(mark), box.bottom, "zero" if mark == 0 else "grid")
            self.text(scale(mark), box.bottom + 16, text, "tick", anchor="middle")
        self.text(box.right, box.bottom + 33, unit, "unit", anchor="end")

    def end_labels(self, box: Box, labels: Sequence[tuple[float, str, str]]) -> None:
        """Names of lines at their right ends, moved apart where they would cover each other: (y, text, class)."""
        placed = apart([y for y, _, _ in labels], box.top + 4, box.bottom)
        for (_, text, look), y in zip(labels, placed, strict=True):
            self.text(box.right + 6, y + 4, text, f"name {look}")


def apart(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Places near those wanted, at least a label's height from each other."""
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    placed = [0.0] * len(wanted)
    before = low - _LABEL_APART
    for place in order:
        placed[place] = before = max(wanted[place], before + _LABEL_APART)
    beyond = high + _LABEL_APART
    for place in reversed(order):
        placed[place] = beyond = min(placed[place], beyond - _LABEL_APART)
    return placed


def tick_texts(marks: Sequence[float], form: str) -> list[str]:
    """Values of an axis, all with the decimals that the finest needs."""
    step = marks[1] - marks[0] if len(marks) > 1 else abs(marks[0]) if marks else 1.0
    places = next((n for n in range(7) if abs(round(step * 10**n) - step * 10**n) < 1e-6 * 10**n * step + 1e-9), 6)
    if form == "dollars":
        return [words.dollars(mark, places=2 if places == 1 else places) for mark in marks]
    if form == "share":
        return [f"{100 * mark:.0f} %" for mark in marks]
    return [words.number(mark, places) for mark in marks]


def _place(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
