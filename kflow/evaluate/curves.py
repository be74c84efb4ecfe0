"""Profit over time, of all episodes one behind the other as they happened, with a band of the events' luck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.evaluate.inference import LEVEL, RESAMPLES, resamples
from kflow.evaluate.metrics import drawdowns, max_drawdown
from kflow.evaluate.outcome import Played
from kflow.evaluate.series import MONEY, Events
from kflow.market.times import format_rfc3339_us

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

POINTS: Final = 400
# Of the curve that falls are looked for on.
_FINE: Final = 4_000


def equity(played: Sequence[Played], events: Events) -> tuple[I64, F64, I64]:
    """Moments in order [P], what each added in $ [P] (the mean over seeds), and its event [P]: the steps of the curve.

    From nothing at the first start; some thousands, or one for each episode where those are more. What two accounts in
    two markets earn at the same time adds up.
    """
    episodes, curve = played[0].episodes, played[0].curve
    count = len(episodes.market)
    lasts = np.maximum(-(-(episodes.end_us - episodes.start_us) // curve.every_us), 1)
    each = max(1, _FINE // count)
    # Evenly spread over each episode, its end always; the same place twice adds nothing.
    places = -(-lasts[:, None] * np.arange(1, each + 1) // each)
    here = np.minimum(episodes.start_us[:, None] + places * curve.every_us, episodes.end_us[:, None])
    gains = np.mean([_gained(one, places, lasts) for one in played], axis=0)
    steps = np.diff(gains, axis=1, prepend=0.0)
    moved = np.diff(places, axis=1, prepend=0) > 0
    order = np.argsort(here[moved], kind="stable")
    of = np.broadcast_to(events.of_episode[:, None], places.shape)[moved]
    first = int(episodes.start_us.argmin())
    return (
        np.concatenate([episodes.start_us[[first]], here[moved][order]]),
        np.concatenate([[0.0], steps[moved][order]]),
        np.concatenate([events.of_episode[[first]], of[order]]),
    )


def _gained(played: Played, places: I64, lasts: I64) -> F64:
    """[E, K] $ since the start at these points of the curve; from an episode's last on what it ended with."""
    curve, episodes = played.curve.equity, played.episodes
    there = np.take_along_axis(curve, np.minimum(places, curve.shape[1] - 1), axis=1)
    there = np.where(places >= lasts[:, None], episodes.equity[:, None], there)
    return (there - episodes.cash[:, None]) / MONEY


def pictured(us: I64, steps: F64, of: I64, events: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """`equity` and `drawdown` of the document, thinned to POINTS.

    The band is where the curve ends up at each moment in LEVEL of resamples of the events (pointwise).
    """
    kept = np.unique(np.linspace(0, len(us) - 1, min(POINTS, len(us))).round().astype(np.int64))
    total = np.cumsum(steps)
    # What each event had come to at each moment kept; a resample weighs the events.
    until = np.searchsorted(kept, np.arange(len(us)))
    parts = np.zeros((events, len(kept)))
    np.add.at(parts, (of, until), steps)
    drawn = resamples(events).astype(np.float64) @ np.cumsum(parts, axis=1)
    tail = round((1 - LEVEL) / 2 * RESAMPLES)
    ordered = np.partition(drawn, (tail, RESAMPLES - 1 - tail), axis=0)
    times = us[kept].tolist()
    band = {"low": ordered[tail].tolist(), "high": ordered[RESAMPLES - 1 - tail].tolist()}
    return (
        {"us": times, "mean": total[kept].tolist(), **band},
        {"us": times, "dollars": drawdowns(total)[kept].tolist()},
    )


def fallen(us: I64, steps: F64) -> dict[str, Any]:
    """The deepest fall with its dates: since when, until when, and when it had come back (None: it has not)."""
    found = max_drawdown(np.cumsum(steps))
    if found is None:
        dates = dict.fromkeys(("drawdown_from", "drawdown_until", "drawdown_recovered"))
        return {"max_drawdown": 0.0, **dates}
    return {
        "max_drawdown": found.dollars,
        "drawdown_from": format_rfc3339_us(int(us[max(found.peak, 0)])),
        "drawdown_until": format_rfc3339_us(int(us[found.trough])),
        "drawdown_recovered": None if found.recovered is None else format_rfc3339_us(int(us[found.recovered])),
    }
