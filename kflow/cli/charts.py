"""Charts: in the terminal as bars of text, in files as PNG or SVG."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from kflow.errors import ConfigError, UsageError

_WIDTH: Final = 40
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
# Okabe and Ito's colours, told apart by colour-blind eyes.
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


class Series(NamedTuple):
    """A line of a chart: x, y, and how unsure each y is (None: not known)."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    error: Sequence[float | None]


class Panel(NamedTuple):
    """One picture: what it shows, its axes, its lines."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Series]
    share: bool = False  # y lies in [0, 1]


def bars(rows: Sequence[tuple[str, float | None, float | None]]) -> list[str]:
    """Shares as bars: (label, share, standard error) each a line."""
    shares = [(label, share, None if share is None else _percent(share, error)) for label, share, error in rows]
    return _bars(shares, most=1.0)


def cent_bars(rows: Sequence[tuple[str, float | None, float | None]]) -> list[str]:
    """Amounts in cents as bars, the longest for the largest: (label, cents, standard error) each a line."""
    amounts = [(label, cents, None if cents is None else _cents(cents, error)) for label, cents, error in rows]
    return _bars(amounts, most=max((abs(cents) for _, cents, _ in rows if cents is not None), default=0.0))


def _bars(rows: Sequence[tuple[str, float | None, str | None]], most: float) -> list[str]:
    width = max((len(label) for label, _, _ in rows), default=0)
    lines = []
    for label, value, text in rows:
        eighths = round(min(max(value or 0.0, 0.0) / most, 1.0) * _WIDTH * 8) if most else 0
        bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
        lines.append(f"{label:<{width}}  —" if text is None else f"{label:<{width}}  {bar:<{_WIDTH}} {text}")
    return lines


def _percent(share: float, error: float | None) -> str:
    return f"{100 * share:5.1f}" + (f" ± {100 * error:.1f}" if error is not None else "") + " %"


def _cents(cents: float, error: float | None) -> str:
    return f"{cents:5.2f}" + (f" ± {error:.2f}" if error is not None else "") + " ¢"


def check_plot(path: Path) -> None:
    """Raises UsageError for a file that is neither .png nor .svg."""
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"a plot is a .png or an .svg, not {path.name}", hint="--plot fills.svg")


def draw(path: Path, panels: Sequence[Panel], caption: str) -> None:
    """Write panels beside each other. Raises UsageError (neither .png nor .svg), ConfigError (matplotlib, disk)."""
    check_plot(path)
    pyplot = drawing()
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(5.2 * len(panels), 4.2), squeeze=False, layout="constrained"
    )
    for axis, panel in zip(axes[0], panels, strict=True):
        _draw_panel(axis, panel)
    _save(pyplot, figure, path, caption)


def draw_matrix(path: Path, names: Sequence[str], matrix: Sequence[Sequence[float]], title: str, caption: str) -> None:
    """Write a matrix of values in [-1, 1] as a map of colours. Raises what `draw` does."""
    check_plot(path)
    pyplot = drawing()
    size = 1.6 + 0.2 * len(names)
    figure, axis = pyplot.subplots(figsize=(size + 0.8, size), layout="constrained")
    image = axis.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.tick_params(length=0)
    axis.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axis, shrink=0.6)
    _save(pyplot, figure, path, caption)


def drawing() -> Any:
    """matplotlib's pyplot, drawing to files. Raises ConfigError where it is not installed."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise ConfigError("plots need matplotlib, which is not installed", hint="pip install 'kflow[plot]'") from None
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its font cache
    mpl.use("agg")
    # The same numbers give the same file.
    mpl.rcParams["svg.hashsalt"] = "kflow"
    from matplotlib import pyplot

    return pyplot


def _save(pyplot: Any, figure: Any, path: Path, caption: str) -> None:
    figure.supxlabel(caption, fontsize=7, color="#555555")
    try:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint="choose another --plot") from None
    finally:
        pyplot.close(figure)


def frame(axis: Any, title: str, x_label: str, y_label: str = "") -> None:
    """Title, labels and a quiet grid, as every picture of ours has them."""
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.grid(visible=True, color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _draw_panel(axis: Any, panel: Panel) -> None:
    scale = 100 if panel.share else 1
    for line, colour in zip(panel.lines, _COLOURS * 3, strict=False):
        known = [
            (x, y * scale, (e or 0) * scale)
            for x, y, e in zip(line.x, line.y, line.error, strict=True)
            if y is not None
        ]
        if known:
            x, y, error = zip(*known, strict=True)
            axis.errorbar(x, y, yerr=error, label=line.name, color=colour, marker="o", markersize=4, capsize=2, lw=1.4)
    axis.set_xscale("log")
    ticks = sorted({x for line in panel.lines for x in line.x})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    frame(axis, panel.title, panel.x_label, panel.y_label)
    if panel.share:
        axis.set_ylim(0, 100)
    if axis.has_data():
        axis.legend(frameon=False, fontsize=8)
