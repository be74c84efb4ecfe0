"""The ladder as a picture, beside the price and the profit of the episode so far. Needs matplotlib."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.errors import ConfigError
from kflow.rl import words
from kflow.rl.sight import LEVELS, Level, Sight

_SIZE: Final = (9.6, 5.4)  # inches of 100 pixels
_BIDS, _OFFERS, _GAIN, _OWN, _INK, _PALE = "#0072B2", "#D55E00", "#009E73", "#111111", "#333333", "#e5e5e5"
# Bars begin so far from the middle, where prices stand, and end at 1; own orders are written outside.
_FROM, _LONGEST, _EDGE = 0.14, 0.62, 1.45

# Episodes shorter than this are drawn in seconds.
_SHORT_S: Final = 180.0


class Point(NamedTuple):
    """A decision: seconds since the episode began, mid price, contracts held, profit. Dollars."""

    seconds: float
    mid: float
    position: float
    profit: float


class Picture:
    """Draws moments of one account, one after the other. Raises ConfigError without matplotlib."""

    def __init__(self) -> None:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            raise ConfigError(
                "pictures need matplotlib, which is not installed",
                hint="pip install 'kflow[plot]', or render_mode='ansi'",
            ) from None
        logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its font cache
        figure = Figure(figsize=_SIZE, dpi=100, facecolor="white")
        self._canvas: Any = FigureCanvasAgg(figure)
        self._title = figure.text(0.025, 0.945, "", fontsize=13, weight="bold", color=_INK)
        self._subtitle = figure.text(0.025, 0.905, "", fontsize=9, color="#666666")
        self._numbers = [figure.text(0.60 + 0.1 * n, 0.905, "", fontsize=9, color=_INK) for n in range(4)]
        self._ladder = figure.add_axes((0.025, 0.075, 0.525, 0.79))
        self._price = figure.add_axes((0.625, 0.505, 0.355, 0.32))
        self._profit = figure.add_axes((0.625, 0.10, 0.355, 0.28))
        self._takers = figure.text(0.025, 0.03, "", fontsize=9, color=_INK)

    def draw(self, sight: Sight, points: Sequence[Point]) -> NDArray[np.uint8]:
        """[H, W, 3], the same bytes for the same numbers."""
        self._title.set_text(sight.market)
        self._subtitle.set_text(f"{words.clock(sight.at_us)}   decision {sight.decision:,} of {sight.decisions:,}")
        told = (
            ("position", words.held(sight.position)),
            ("equity", f"${sight.equity:,.2f}"),
            ("cash", f"${sight.cash:,.2f}"),
            ("fees", f"${sight.fees:,.2f}"),
        )
        for text, (name, value) in zip(self._numbers, told, strict=True):
            text.set_text(f"{name}\n{value}")
        self._takers.set_text(f"takers in 10 s: {words.flow(sight)}      last trade: {words.last(sight)}")
        self._draw_ladder(sight)
        self._draw_price(sight, points)
        self._draw_profit(sight, points)
        self._canvas.draw()
        return np.array(self._canvas.buffer_rgba(), np.uint8)[:, :, :3].copy()

    def _draw_ladder(self, sight: Sight) -> None:
        axis = self._ladder
        axis.clear()
        axis.set_axis_off()
        axis.set_xlim(-_EDGE, _EDGE)
        axis.set_ylim(-LEVELS - 0.6, LEVELS + 1.2)
        most = max([level.size for level in (*sight.bids, *sight.asks)], default=0.0) or 1.0
        axis.text(-_FROM, LEVELS + 0.9, "bids", color=_BIDS, fontsize=9, ha="right", va="center")
        axis.text(0, LEVELS + 0.9, "YES", color=_INK, fontsize=9, ha="center", va="center")
        axis.text(_FROM, LEVELS + 0.9, "offers", color=_OFFERS, fontsize=9, ha="left", va="center")
        for toward, align in ((-1, "right"), (1, "left")):
            x = toward * (_FROM + _LONGEST + 0.05)
            axis.text(x, LEVELS + 0.9, "own orders", color=_OWN, fontsize=9, ha=align, va="center")
        axis.text(0, 0, words.spread(sight), color="#666666", fontsize=8.5, ha="center", va="center")
        for toward, colour, side in ((-1, _BIDS, sight.bids), (1, _OFFERS, sight.asks)):
            for place, level in enumerate(side, 1):
                self._draw_level(level, toward * place, toward, colour, most)

    def _draw_level(self, level: Level, y: int, toward: int, colour: str, most: float) -> None:
        axis, align = self._ladder, "left" if toward > 0 else "right"
        axis.text(0, y, words.cents(level.price), color=_INK, fontsize=10, ha="center", va="center")
        long = max(_LONGEST * level.size / most, 0.004) if level.size else 0.0
        axis.barh(y, toward * long, height=0.72, left=toward * _FROM, color=colour, alpha=0.35, linewidth=0)
        at = toward * (_FROM + 0.03)
        if level.size:
            axis.text(at, y, f"{level.size:,.0f}", color=_INK, fontsize=8.5, ha=align, va="center")
        if level.own:
            axis.text(
                toward * (_FROM + _LONGEST + 0.05),
                y,
                words.own(level.own),
                color="white",
                fontsize=8,
                ha=align,
                va="center",
                bbox={"boxstyle": "round,pad=0.25", "facecolor": _OWN, "edgecolor": "none"},
            )

    def _draw_price(self, sight: Sight, points: Sequence[Point]) -> None:
        axis = self._price
        axis.clear()
        times, cents = _times(sight, points), [100 * point.mid for point in points]
        axis.plot(times, cents, color=_INK, lw=1.1, drawstyle="steps-post")
        changed = np.diff([0.0, *(point.position for point in points)])
        for marker, colour, name, which in (("^", _BIDS, "bought", changed > 0), ("v", _OFFERS, "sold", changed < 0)):
            some = np.flatnonzero(which).tolist()
            x, y = [times[n] for n in some], [cents[n] for n in some]
            axis.plot(x, y, marker, color=colour, ms=4.5, mec="white", mew=0.4, label=name)
        axis.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1.02, 0.97), ncols=2, handletextpad=0)
        _frame(axis, "mid price of YES, ¢", sight)

    def _draw_profit(self, sight: Sight, points: Sequence[Point]) -> None:
        axis = self._profit
        axis.clear()
        axis.axhline(0, color="#999999", lw=0.8)
        profit = [point.profit for point in points]
        axis.plot(_times(sight, points), profit, color=_GAIN, lw=1.4, drawstyle="steps-post")
        _frame(axis, f"profit after fees: {words.money(sight.profit)}", sight)
        axis.set_xlabel(_unit(sight)[1], fontsize=8, color=_INK)


def _unit(sight: Sight) -> tuple[float, str]:
    """Of the time axis: seconds, and its name."""
    return (1.0, "seconds") if sight.seconds < _SHORT_S else (60.0, "minutes")


def _times(sight: Sight, points: Sequence[Point]) -> list[float]:
    return [point.seconds / _unit(sight)[0] for point in points]


def _frame(axis: Any, title: str, sight: Sight) -> None:
    """The whole of the episode, also what is still to come, so that pictures of it line up."""
    axis.set_xlim(0, max(sight.seconds, 1e-3) / _unit(sight)[0])
    axis.set_title(title, fontsize=9, loc="left", color=_INK)
    axis.tick_params(labelsize=8, colors=_INK, length=2)
    axis.grid(visible=True, color=_PALE, linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
