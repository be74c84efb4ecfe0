"""Charts of trading: fills by distance and queue, slippage, markouts, calibration, actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kflow.evaluate.report import words
from kflow.evaluate.report.shape import Actions, BeliefBin, Markout, Slippage
from kflow.evaluate.report.svg import LETTER, Box, Canvas, Scale, padded

# Of a bar: its label, the share filled, of how many orders, and what else is known.
Bin = tuple[str, float | None, int | None, str]
# Below so many orders a bar is pale: its height is chance.
FEW: Final = 20
# Shares of decisions at which the heat map grows darker: most of them are small.
_SHADES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
_SERIES: Final = (("cents", "all", "own"), ("maker_cents", "maker", "maker"), ("taker_cents", "taker", "taker"))


def rates(bins: Sequence[Bin], width: float, unit: str) -> Canvas | None:
    """Shares filled, a bar for each bin."""
    known = [one for one in bins if one[1] is not None]
    if len(known) < 2:
        return None
    box = Box(48.0, 42.0, width - 8, 222.0)
    scale = Scale(0.0, 1.0, box.bottom, box.top)
    told = ", ".join(f"{label}: {words.share(rate)}" for label, rate, _, _ in known)
    canvas = Canvas(width, box.bottom + 54, f"share filled by {unit}: {told}")
    canvas.y_axis(box, scale, "", "share")
    canvas.text(2, 14, "contracts filled, % of asked", "unit")
    canvas.text(box.right, 14, "on the bars: orders", "unit", anchor="end")
    room = (box.right - box.left) / len(known)
    wide = min(room * 0.78, 64.0)
    every = -(-max(len(label) for label, *_ in known) * LETTER // room)
    for place, (label, rate, orders, more) in enumerate(known):
        x, top = box.left + (place + 0.5) * room, scale(min(max(rate or 0.0, 0.0), 1.0))
        look = "bar own" if orders is None or orders >= FEW else "bar own pale"
        tip = f"{label}: {words.share(rate)} of {words.counted(orders, 'order')}{more}"
        canvas.rect(x - wide / 2, top, wide, box.bottom - top, look, tip=tip)
        if place % max(int(every), 1) == 0:
            canvas.text(x, box.bottom + 16, label, "tick", anchor="middle")
        if orders is not None and room > LETTER * 4.5:
            canvas.text(x, top - 5, words.count(orders), "small", anchor="middle")
    canvas.text(box.right, box.bottom + 34, unit, "unit", anchor="end")
    return canvas


def histogram(found: Slippage, mean: float | None, width: float) -> Canvas | None:
    """Contracts by what they cost against the touch aimed at."""
    bins = [
        (low, high, amount)
        for low, high, amount in zip(found.edges, found.edges[1:], found.contracts, strict=False)
        if low is not None and high is not None and amount is not None and high > low
    ]
    filled = [place for place, (_, _, amount) in enumerate(bins) if amount]
    if len(filled) < 2:
        return None
    bins = bins[max(filled[0] - 1, 0) : filled[-1] + 2]
    box = Box(54.0, 26.0, width - 10, 210.0)
    across = Scale(min(bins[0][0], 0.0), max(bins[-1][1], 0.0), box.left, box.right)
    up = Scale(0.0, max(amount for _, _, amount in bins) * 1.08, box.bottom, box.top)
    canvas = Canvas(width, box.bottom + 40, f"contracts by slippage in cents, mean {words.cents(mean, sign=True)}")
    canvas.y_axis(box, up, "contracts", "plain", about=4)
    canvas.x_axis(box, across, "¢ a contract worse than the touch aimed at", "plain")
    for low, high, amount in bins:
        left, right = across(low), across(high)
        gap = min(1.0, (right - left) / 6)
        tip = f"{words.between(low, high)} ¢: {words.count(amount)} contracts"
        canvas.rect(left + gap, up(amount), right - left - 2 * gap, box.bottom - up(amount), "bar own", tip=tip)
    if mean is not None and across.low <= mean <= across.high:
        canvas.line(across(mean), box.top, across(mean), box.bottom, "mean")
        near = across(mean) > (box.left + box.right) / 2
        text = f"mean {words.cents(mean, sign=True)}"
        canvas.text(across(mean) + (-6 if near else 6), box.top + 10, text, "figure", anchor="end" if near else None)
    return canvas


def markouts(marks: Sequence[Markout], width: float) -> Canvas | None:
    """Cents gained after a fill, by how long after; makers' and takers' apart."""
    series = [one for one in _SERIES if any(getattr(mark, one[0]) is not None for mark in marks)]
    if not series:
        return None
    ends = [
        (value or 0.0) + sign * (mark.error or 0.0 if key == "cents" else 0.0)
        for mark in marks
        for key, _, _ in series
        if (value := getattr(mark, key)) is not None
        for sign in (-1, 1)
    ]
    box = Box(48.0, 46.0, width - 10, 226.0)
    scale = Scale(*padded(ends), box.bottom, box.top)
    canvas = Canvas(width, box.bottom + 40, "cents a contract gained after fills, by the time since")
    canvas.y_axis(box, scale, "¢ a contract, fees not counted", "plain")
    room = (box.right - box.left) / len(marks)
    apart = min(room / 5, 22.0)
    for turn, (key, name, look) in enumerate(series):
        canvas.dot(6 + turn * 62.0, 12, 4.5, f"point {look}")
        canvas.text(15 + turn * 62.0, 16, name, f"name {look}")
        for place, mark in enumerate(marks):
            value = getattr(mark, key)
            if value is None:
                continue
            x = box.left + (place + 0.5) * room + (turn - (len(series) - 1) / 2) * apart
            error = mark.error if key == "cents" else None
            if error is not None:
                canvas.line(x, scale(value - error), x, scale(value + error), f"whisker {look}")
            canvas.dot(
                x,
                scale(value),
                4.5,
                f"point {look}",
                tip=f"{name}, {after(mark)}: {words.cents(value, sign=True, error=error)}",
            )
    for place, mark in enumerate(marks):
        canvas.text(box.left + (place + 0.5) * room, box.bottom + 16, after(mark), "tick", anchor="middle")
    canvas.text(box.right, box.bottom + 33, "after the fill", "unit", anchor="end")
    return canvas


def after(mark: Markout) -> str:
    return mark.seconds if isinstance(mark.seconds, str) else words.duration(mark.seconds)


def reliability(bins: Sequence[BeliefBin], width: float) -> Canvas | None:
    """How often what was bought won, against the chance that the price paid implied."""
    known = [one for one in bins if one.implied is not None and one.won is not None]
    if len(known) < 2:
        return None
    size = min(width - 66, 340.0)
    box = Box(50.0, 26.0, 50.0 + size, 26.0 + size)
    across, up = Scale(0.0, 1.0, box.left, box.right), Scale(0.0, 1.0, box.bottom, box.top)
    told = "; ".join(f"{words.share(one.implied, 0)} implied, {words.share(one.won, 0)} won" for one in known)
    canvas = Canvas(width, box.bottom + 40, f"reliability: {told}")
    canvas.y_axis(box, up, "won, % of contracts", "share")
    canvas.x_axis(box, across, "implied, %", "share")
    canvas.line(across(0.0), up(0.0), across(1.0), up(1.0), "mean")
    most = max((one.contracts or 0.0 for one in known), default=0.0)
    canvas.path([(across(one.implied or 0.0), up(one.won or 0.0)) for one in known], "line own faint")
    for one in known:
        radius = 4.0 + 9.0 * ((one.contracts or 0.0) / most) ** 0.5 if most else 5.0
        what = f"{words.count(one.contracts)} contracts, {words.counted(one.events, 'event')}"
        tip = f"implied {words.share(one.implied)}, won {words.share(one.won)}: {what}"
        canvas.dot(across(one.implied or 0.0), up(one.won or 0.0), radius, "point own clear", tip=tip)
    return canvas


def heat(found: Actions, width: float) -> Canvas | None:
    """How often each action was taken at each YES mid: the share of the decisions at that mid."""
    columns = max((len(row) for row in found.counts), default=0)
    counts = [[value or 0.0 for value in row] + [0.0] * (columns - len(row)) for row in found.counts]
    names = [*found.names, *(str(place) for place in range(len(found.names), len(counts)))]
    rows = [(name, row) for name, row in zip(names, counts, strict=False) if any(row)]
    totals = [sum(row[place] for row in counts) for place in range(columns)]
    if not rows or columns < 2:
        return None
    left = 14 + 5.8 * max(len(words.short(name, 22)) for name, _ in rows)
    box = Box(left, 76.0, width - 8, 76.0 + 16.0 * len(rows))
    canvas = Canvas(width, box.bottom + 38, f"heat map of {len(rows)} actions by the YES mid")
    room = (box.right - box.left - 10) / columns
    places = [box.left + place * room + (10 if place == columns - 1 else 0) for place in range(columns)]
    canvas.text(2, 12, f"{words.count(sum(totals))} decisions", "unit")
    _shades(canvas, box.right)
    most = max(totals)
    for x, total in zip(places, totals, strict=True):
        tall = 36.0 * total / most
        canvas.rect(x + 0.5, 70 - tall, room - 1, tall, "bar other", tip=f"{words.count(total)} decisions")
    shades: dict[int, list[tuple[float, float, float, float]]] = {}
    for line, (name, row) in enumerate(rows):
        y = box.top + 16.0 * line
        canvas.text(box.left - 6, y + 12, words.short(name, 22), "small", anchor="end")
        for place, (x, value, total) in enumerate(zip(places, row, totals, strict=True)):
            if not value:
                continue
            shade = 1 + sum(value / total > step for step in _SHADES)
            if canvas.pointed:
                mid = "no mid" if place == columns - 1 else f"${place / (columns - 1):.2f}"
                tip = f"{name} at {mid}: {words.share(value / total)} of {words.count(total)}"
                canvas.rect(x + 0.5, y + 0.5, room - 1, 15, f"heat h{shade}", tip=tip)
            else:
                shades.setdefault(shade, []).append((x + 0.5, y + 0.5, room - 1, 15))
    for shade, cells in shades.items():
        canvas.boxes(cells, f"heat h{shade}")
    canvas.line(box.left, box.bottom + 2, places[-2] + room, box.bottom + 2, "axis")
    for tenth in range(0, 11, 2 if width < 600 else 1):
        x = box.left + tenth / 10 * (columns - 1) * room
        canvas.text(
            x, box.bottom + 16, f"{tenth / 10:.1f}".replace("0.0", "0").replace("1.0", "1"), "tick", anchor="middle"
        )
    canvas.text(box.left + (columns - 1) * room / 2, box.bottom + 32, "YES mid, $", "unit", anchor="middle")
    canvas.text(places[-1] + room, box.bottom + 32, "no mid", "unit", anchor="end")
    return canvas


def _shades(canvas: Canvas, right: float) -> None:
    """What the colours of the heat map mean."""
    steps = (*(f"{100 * step:.0f}" for step in _SHADES), "100 %")
    for place, text in enumerate(steps):
        x = right - 22.0 * (len(steps) - place) - 30
        canvas.rect(x, 0, 22, 8, f"heat h{place + 1}")
        canvas.text(x + 22, 19, text, "small", anchor="middle" if place < len(steps) - 1 else None)
