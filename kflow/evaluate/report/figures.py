"""The report's figures as files for papers, PNG or SVG, by matplotlib."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from kflow.errors import ConfigError, UsageError
from kflow.evaluate.report import trading, verdict, words
from kflow.evaluate.report.shape import Evaluation, Result

SUFFIXES: Final = (".png", ".svg")
_BLUE, _RED, _GREEN, _PINK, _GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8b949e"
_OWN: Final = (_BLUE, _RED, _GREEN, _PINK)
_WIDE: Final = (7.2, 3.4)
_SMALL: Final = (4.4, 3.4)


def draw(told: Evaluation, folder: Path, suffix: str) -> list[Path]:
    """Every figure that the document has numbers for, in the folder. Raises UsageError, ConfigError."""
    if suffix not in SUFFIXES:
        raise UsageError(f"a plot is a .png or an .svg, not {suffix}", hint="--plot-format svg")
    pyplot = _pyplot()
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, size, fill in _figures(told):
            figure, axis = pyplot.subplots(figsize=size, layout="constrained")
            try:
                fill(axis)
                caption = _plain(told.name, 90)
                if told.in_sample:
                    caption = f"IN SAMPLE; {caption}"
                figure.supxlabel(caption, fontsize=6.5, color="#555555")
                path = folder / f"{name}{suffix}"
                figure.savefig(path, dpi=160, metadata={"Date": None} if suffix == ".svg" else None)
                written.append(path)
            finally:
                pyplot.close(figure)
    except OSError as error:
        raise ConfigError(
            f"cannot write plots into {folder}: {error.strerror}", hint="choose another --plots"
        ) from None
    return written


def _pyplot() -> Any:
    try:
        import matplotlib as mpl
    except ImportError:
        raise ConfigError("plots need matplotlib, which is not installed", hint="pip install 'kflow[plot]'") from None
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its font cache
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "kflow"  # the same numbers give the same file
    from matplotlib import pyplot

    return pyplot


def _plain(text: str, most: int) -> str:
    """Somebody else's name, without what matplotlib reads as a formula; letters of its font only."""
    kept = "".join(c if c.isascii() else "·" for c in words.short(text, most))
    return kept.replace("$", r"\$")


Figure = tuple[str, tuple[float, float], Callable[[Any], None]]


def _figures(told: Evaluation) -> Iterator[Figure]:
    """Name, size in inches and how to draw, of those with numbers."""
    models = verdict.models(told)
    if any(one.profit.per_event is not None for one in told.results):
        yield "verdict", _WIDE, lambda axis: _verdict(axis, told, models)
    for place, name in enumerate(told.shown):
        one = told.result(name, told.middle)
        if one is None:
            continue
        end = f"_{place + 1}" if len(told.shown) > 1 else ""
        yield from ((f"{what}{end}", size, fill) for what, size, fill in _of(told, name, one))


def _of(told: Evaluation, name: str, one: Result) -> Iterator[Figure]:
    title, did = _plain(name, 48), one.trading
    if len([value for value in one.equity.mean if value is not None]) > 1:
        yield "equity", _WIDE, lambda axis: _equity(axis, told, name, one)
    if len([event for event in one.events if event.profit is not None]) > 1:
        yield "events", _WIDE, lambda axis: _events(axis, one, title)
    for what, bins, unit in (
        (
            "fills_by_distance",
            [(words.between(b.low_cents, b.high_cents), b.rate) for b in one.fills_by_distance],
            "¢ from the own best bid",
        ),
        ("fills_by_queue", [(words.between(b.low, b.high), b.rate) for b in one.fills_by_queue], "contracts ahead"),
    ):
        known = [(label, 100 * rate) for label, rate in bins if rate is not None]
        if known:
            yield what, _SMALL, partial(_bars, known=known, title=title, unit=unit)
    if any(mark.cents is not None for mark in did.markouts):
        yield "markouts", _SMALL, lambda axis: _markouts(axis, one, title)
    if one.belief is not None and len([b for b in one.belief.bins if b.implied is not None and b.won is not None]) > 1:
        yield "calibration", _SMALL, lambda axis: _reliability(axis, one, title)
    rows = [row for row in told.capacity if row.contestant == name and row.profit_per_event is not None]
    if len(rows) > 1:
        yield "capacity", _SMALL, lambda axis: _capacity(axis, told, name, title)


def _frame(axis: Any, title: str, x_label: str, y_label: str) -> None:
    axis.set_title(title, fontsize=9.5)
    axis.set_xlabel(x_label, fontsize=9)
    axis.set_ylabel(y_label, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(visible=True, color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _verdict(axis: Any, told: Evaluation, models: Sequence[str]) -> None:
    rows = [(name, told.result(name, told.middle)) for name in told.names]
    known = [(name, one) for name, one in rows if one is not None and one.profit.per_event is not None]
    for place, (name, _) in enumerate(reversed(known)):
        colour = _BLUE if name in told.judged else _GREY
        for turn, model in enumerate(models):
            one = told.result(name, model)
            if one is None or one.profit.per_event is None:
                continue
            y = place + (turn - (len(models) - 1) / 2) * 0.24
            if one.profit.low is not None and one.profit.high is not None:
                axis.plot([one.profit.low, one.profit.high], [y, y], color=colour, lw=1.2, alpha=0.9)
            face = colour if model == told.middle else "white"
            axis.plot([one.profit.per_event], [y], "o", color=colour, markerfacecolor=face, markersize=4)
    axis.set_yticks(range(len(known)), [_plain(name, 28) for name, _ in reversed(known)])
    axis.axvline(0, color="#555555", lw=0.8)
    fills = ", ".join(words.fills(model) for model in reversed(models))
    _frame(axis, f"Profit per event with its {verdict.level(told)}; from above: {fills} fills", r"\$ per event", "")


def _equity(axis: Any, told: Evaluation, name: str, one: Result) -> None:
    def moments(us: Sequence[float | None]) -> list[datetime]:
        return [datetime.fromtimestamp((at or 0) / 1e6, UTC) for at in us]

    curve = one.equity
    if any(value is not None for value in curve.low):
        low, high = (
            [float("nan") if value is None else value for value in column] for column in (curve.low, curve.high)
        )
        axis.fill_between(moments(curve.us), low, high, color=_BLUE, alpha=0.16, lw=0)
    for model in dict.fromkeys(result.fill_model for result in told.results):
        other = told.result(name, model)
        if other is not None and other.equity.us:
            middle = model == told.middle
            values = [float("nan") if value is None else value for value in other.equity.mean]
            style = "-" if middle else ":" if model.endswith("optimistic") else "--"
            look = {"color": _BLUE if middle else _GREY, "lw": 1.8 if middle else 1.0, "ls": style}
            axis.plot(moments(other.equity.us), values, label=words.fills(model), **look)
    for gap in told.data.gaps:
        if gap.from_us is not None:
            axis.axvline(moments([gap.from_us])[0], ymax=0.03, color="#E69F00", lw=1)
    axis.axhline(0, color="#555555", lw=0.8)
    axis.legend(frameon=False, fontsize=8)
    _frame(axis, f"Equity of {_plain(name, 48)}", "UTC; orange: gaps of the recording", r"\$, cumulated")


def _events(axis: Any, one: Result, title: str) -> None:
    known = [event for event in one.events if event.profit is not None]
    profits = [event.profit or 0.0 for event in known]
    axis.bar(range(len(known)), profits, color=[_BLUE if profit >= 0 else _RED for profit in profits])
    axis.axhline(0, color="#555555", lw=0.8)
    axis.xaxis.get_major_locator().set_params(integer=True)
    _frame(axis, f"Profit of {title} by event", "events in order of time", r"\$ per event")


def _bars(axis: Any, known: Sequence[tuple[str, float]], title: str, unit: str) -> None:
    axis.bar(range(len(known)), [share for _, share in known], color=_BLUE)
    axis.set_xticks(range(len(known)), [label for label, _ in known], rotation=35, ha="right")
    axis.set_ylim(0, 100)
    _frame(axis, title, unit, "contracts filled, % of asked")


def _markouts(axis: Any, one: Result, title: str) -> None:
    marks = one.trading.markouts
    for turn, (key, label, colour) in enumerate(
        (("cents", "all", _BLUE), ("maker_cents", "maker", _GREEN), ("taker_cents", "taker", _PINK))
    ):
        points = [(place, value) for place, mark in enumerate(marks) if (value := getattr(mark, key)) is not None]
        errors = [(mark.error or 0.0) if key == "cents" else 0.0 for mark in marks if getattr(mark, key) is not None]
        if points:
            x = [place + (turn - 1) * 0.16 for place, _ in points]
            axis.errorbar(
                x, [value for _, value in points], yerr=errors, fmt="o", markersize=4, color=colour, label=label
            )
    axis.set_xticks(range(len(marks)), [trading.after(mark) for mark in marks])
    axis.axhline(0, color="#555555", lw=0.8)
    axis.legend(frameon=False, fontsize=8)
    _frame(axis, f"Markouts of {title}", "after the fill", "¢ a contract")


def _reliability(axis: Any, one: Result, title: str) -> None:
    assert one.belief is not None
    bins = [b for b in one.belief.bins if b.implied is not None and b.won is not None]
    most = max((b.contracts or 0.0 for b in bins), default=0.0) or 1.0
    axis.plot([0, 1], [0, 1], color=_GREY, lw=0.8, ls="--")
    sizes = [12 + 90 * (b.contracts or 0.0) / most for b in bins]
    axis.scatter([b.implied for b in bins], [b.won for b in bins], s=sizes, color=_BLUE, alpha=0.7, lw=0)
    axis.set_aspect("equal")
    _frame(axis, f"Calibration of {title}", "implied", "won")


def _capacity(axis: Any, told: Evaluation, name: str, title: str) -> None:
    rows = sorted(
        (r for r in told.capacity if r.contestant == name and r.profit_per_event is not None),
        key=lambda r: r.scale or 0,
    )
    values = [row.profit_per_event for row in rows]
    axis.errorbar(
        range(len(rows)),
        values,
        yerr=[row.error or 0.0 for row in rows],
        color=_BLUE,
        marker="o",
        markersize=4,
        capsize=2,
    )
    axis.set_xticks(range(len(rows)), [f"x {row.scale:g}" for row in rows if row.scale is not None])
    axis.axhline(0, color="#555555", lw=0.8)
    _frame(axis, f"Capacity of {title}", "sizes, cash and limits, times", r"\$ per event")
