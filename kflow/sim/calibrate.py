"""Fit the queue model to orders whose fate is known, and say how good it is then.

The orders are ghosts (see `ghosts`) and, where there are any, own orders with samples of `queue_position`. What they do
not tell keeps its uncalibrated value: pro rata. Quality is measured by letting the kernel place an order where each
ghost was, at the same moment and of the same size, and comparing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.errors import DataError
from kflow.market.fees import FeeSchedule
from kflow.sim import kernel
from kflow.sim.accounts import market_of, new_accounts, one_order_each
from kflow.sim.assume import SCHEMA_VERSION, Calibration, Fitted
from kflow.sim.fills import BAND, HOME, MODELS, NO_LATENCY, Assumptions, FillModel
from kflow.sim.fitting import Fit, Profile, fit
from kflow.sim.ghosts import (
    LOST,
    SAMPLED,
    TRADED,
    WITHDRAWN,
    Ghosts,
    Sample,
    errors,
    exact,
    find_ghosts,
    ghosts_of_samples,
    informative,
)
from kflow.sim.report import clustered
from kflow.sim.study import BATCH, ENOUGH, MARKOUTS, markouts
from kflow.sim.tape import Tape
from kflow.units import DOLLAR, Size

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Progress = Callable[[str], None]

# A comparison of fills needs neither.
_NO_FEES: Final = FeeSchedule.parse("quadratic", 0)
_NO_SIZE: Final = Size(0)
# Orders of one market within so much time share their luck.
BLOCK_US: Final = 300_000_000
_PRO_RATA: Final = (0.5, 1.0)


class Watched(NamedTuple):
    """A tape with its ghosts, and which of them tell anything."""

    tape: Tape
    ghosts: Ghosts
    which: I64

    def blocks(self) -> I64:
        """Of each telling ghost, the five minutes of its stretch."""
        return self.ghosts.stretch[self.which] << 40 | self.ghosts.added_us[self.which] // BLOCK_US


def watch(tapes: Sequence[Tape]) -> list[Watched]:
    """Ghosts of every tape."""
    found = [(tape, find_ghosts(tape)) for tape in tapes]
    return [Watched(tape, ghosts, informative(ghosts)) for tape, ghosts in found]


def sampled(tapes: Sequence[Tape], samples: Mapping[str, Sequence[Sample]]) -> list[Watched]:
    """Own orders whose position in the queue was asked for, by market."""
    found = [(tape, ghosts_of_samples(tape, samples[tape.market])) for tape in tapes if tape.market in samples]
    return [Watched(tape, ghosts, informative(ghosts)) for tape, ghosts in found]


def fit_queue(watched: Sequence[Watched]) -> Fit:
    """The parameters that put as much ahead of the exact ghosts, block by block, as was. Raises DataError for too few.

    Of a block counts the square of its mean error, times how many it has: what does not cancel out within five minutes
    of a market is the model's. Single orders' squares would pull it to the likelier side of each.
    """
    blocks, count = [], 0
    known = [Watched(one.tape, one.ghosts, one.which[exact(one.ghosts)[one.which]]) for one in watched]
    for one in known:
        names, block = np.unique(one.blocks(), return_inverse=True)
        blocks.append(block + count)
        count += len(names)
    block = np.concatenate(blocks) if blocks else np.zeros(0, np.int64)
    if count < 2:
        raise DataError(
            "too few orders show their fate for a fit", hint="calibrate on more sessions, or on busier markets"
        )

    def loss(ahead: float, power: float) -> F64:
        wrong = np.concatenate([errors(one.ghosts, one.which, ahead, power) for one in known])
        return np.bincount(block, wrong, minlength=count) ** 2 / np.bincount(block, minlength=count)

    return fit(loss)


def fitted_values(found: Fit) -> tuple[Fitted, Fitted]:
    """The two parameters; where the orders do not tell them from pro rata, they are pro rata, and not identified."""
    ahead, power = (found.ahead, found.power) if found.differs else _PRO_RATA
    low, high = found.ahead_interval
    weakest, strongest = found.power_interval
    return (
        Fitted(value=ahead, low=low, high=high, identified=found.differs and found.ahead_identified),
        Fitted(value=power, low=weakest, high=strongest, identified=found.differs and found.power_identified),
    )


def calibrate(
    tapes: Sequence[Tape],
    *,
    name: str,
    made: str,
    version: str,
    samples: Mapping[str, Sequence[Sample]] | None = None,
    horizons_s: Sequence[float] = (1, 10, 60),
    progress: Progress = lambda _: None,
) -> Calibration:
    """Fit, then measure. Raises DataError where too few orders show their fate."""
    progress("watching orders")
    watched = watch(tapes)
    own = sampled(tapes, samples or {})
    progress("fitting the queue")
    found = fit_queue([*watched, *own])
    ahead, power = fitted_values(found)
    progress("comparing with what happened")
    model = MODELS["queue"].fitted(ahead.value, power.value)
    return Calibration(
        schema_version=SCHEMA_VERSION,
        name=name,
        made=made,
        kflow_version=version,
        ahead=ahead,
        power=power,
        latency=feed_latency(tapes),
        tapes=[{"market": tape.market, "digest": tape.facts.get("digest")} for tape in tapes],
        ghosts=_counts([*watched, *own]),
        quality=quality(watched, model, horizons_s),
        differs=found.differs,
        profile={"ahead": _finite(found.profile_ahead), "power": _finite(found.profile_power)},
    )


def _finite(profile: Profile) -> Profile:
    return [(value, max(score, -1e6)) for value, score in profile]


def _counts(watched: Sequence[Watched]) -> dict[str, Any]:
    fates = np.concatenate([one.ghosts.fate[one.which] for one in watched])
    names = {TRADED: "traded", WITHDRAWN: "withdrawn", LOST: "lost", SAMPLED: "sampled"}
    counts = {name: int((fates == fate).sum()) for fate, name in names.items()}
    return {"found": sum(one.ghosts.total for one in watched), "telling": len(fates), **counts}


def feed_latency(tapes: Sequence[Tape]) -> dict[str, Any] | None:
    """A curve for `--latency calibrated`: data as recorded, orders as a bot at home had them. None: nothing stamped."""
    lags = [tape.facts["feed_lag_us"] for tape in tapes if tape.facts.get("feed_lag_us")]
    if not lags:
        return None
    data = np.sort(np.concatenate([np.array(lag, np.int64) for lag in lags]))
    data = data[np.linspace(0, len(data) - 1, min(len(data), 200)).astype(np.int64)]
    return {
        "name": "calibrated",
        "origin": f"data: receipt after the venue's time, over the fastest of its stretch; orders: {HOME.origin}",
        "place": list(HOME.place),
        "cancel": list(HOME.cancel),
        "data": [int(us) for us in data],
    }


# How good it is.


def predict(one: Watched, model: FillModel, horizon_us: int) -> I64:
    """Place an order in every telling ghost's stead, a moment before it came, and follow it.

    Returns when each was filled whole, µs after; NEVER.
    """
    ghosts, which, tape = one.ghosts, one.which, one.tape
    assumptions = Assumptions(model=model, latency=NO_LATENCY, fees=_NO_FEES, walk_from=_NO_SIZE)
    rules, market = assumptions.rules(), market_of(tape)
    full = np.full(len(which), kernel.NEVER, np.int64)
    lasts = np.array([tape.span_us(stretch)[1] for stretch in range(tape.stretches)])
    for at in range(0, len(which), BATCH):
        part = which[at : at + BATCH]
        starts = ghosts.added_us[part] - 1
        state = new_accounts(len(part), tape.columns, ENOUGH, log=1)
        kernel.seat_all(state, market, ghosts.stretch[part], starts)
        what, spans = one_order_each(starts, ghosts.side[part], ghosts.size[part], column=ghosts.col[part])
        kernel.play(state, market, rules, what, spans, np.minimum(starts + horizon_us, lasts[ghosts.stretch[part]]))
        order = state.orders[:, 0]
        filled = order[:, kernel.REASON] == kernel.FILLED
        full[at : at + BATCH] = np.where(filled, order[:, kernel.LAST] - ghosts.added_us[part], kernel.NEVER)
    return full


def quality(watched: Sequence[Watched], model: FillModel, horizons_s: Sequence[float]) -> dict[str, Any]:
    """Brier scores, fill ratios, times and markouts of a model and of the ends of the band, against what happened."""
    horizon_us = round(max(horizons_s) * 1e6)
    names = {"queue": model, "pro rata": MODELS["queue"], **{name: MODELS[name] for name in (BAND[0], BAND[-1])}}
    said = {
        label: np.concatenate([predict(one, chosen, horizon_us) for one in watched]) for label, chosen in names.items()
    }
    truth = _truth(watched)
    forecast = [said[label] for label in ("queue", BAND[0], BAND[-1])]
    return {
        "horizons": [_at_horizon(truth, said, forecast, seconds) for seconds in horizons_s],
        "time_to_fill": _time_error(truth, said["queue"]),
        "markouts": _markouts(watched, said["queue"]),
    }


class _Truth(NamedTuple):
    traded: NDArray[np.bool_]
    known: NDArray[np.bool_]
    after_us: I64  # when its fate came
    block: I64


def _truth(watched: Sequence[Watched]) -> _Truth:
    parts = [(one.ghosts.fate[one.which], (one.ghosts.ended_us - one.ghosts.added_us)[one.which]) for one in watched]
    blocks = [one.blocks() ^ (number << 50) for number, one in enumerate(watched)]
    fate = np.concatenate([fate for fate, _ in parts])
    return _Truth(
        fate == TRADED,
        fate != LOST,
        np.concatenate([after for _, after in parts]),
        np.concatenate(blocks),
    )


def _at_horizon(truth: _Truth, said: dict[str, I64], forecast: Sequence[I64], seconds: float) -> dict[str, Any]:
    """Of orders that were not withdrawn before nor lost from sight: who was filled by then, and who was said to be."""
    within = round(seconds * 1e6)
    counts = truth.known & (truth.traded | (truth.after_us >= within))
    actual = (truth.traded & (truth.after_us <= within))[counts].astype(np.float64)
    block = truth.block[counts]
    scores = {}
    for label, full_us in said.items():
        guess = (full_us <= within)[counts].astype(np.float64)
        brier, error = clustered((guess - actual) ** 2, block)
        ratio = float(guess.sum() / actual.sum()) if actual.sum() else None
        scores[label] = {"brier": brier, "brier_error": error, "predicted": float(guess.mean()), "ratio": ratio}
    share = np.mean([(full_us <= within)[counts] for full_us in forecast], axis=0)
    bins = [
        {"forecast": round(float(level), 3), "orders": int(mine.sum()), "filled": float(actual[mine].mean())}
        for level in np.unique(share.round(6))
        if (mine := np.isclose(share, level)).any()
    ]
    return {"seconds": seconds, "orders": int(counts.sum()), "actual": float(actual.mean()), **scores, "bins": bins}


def _time_error(truth: _Truth, full_us: I64) -> dict[str, Any]:
    """Of orders that were filled and said to be: how far apart the times are, s."""
    both = truth.traded & (full_us < kernel.NEVER)
    if not both.any():
        return {"orders": 0, "mean_absolute_s": None, "median_s": None}
    apart = (full_us[both] - truth.after_us[both]) / 1e6
    return {
        "orders": int(both.sum()),
        "mean_absolute_s": float(np.abs(apart).mean()),
        "median_s": float(np.median(apart)),
    }


def _markouts(watched: Sequence[Watched], full_us: I64) -> list[dict[str, Any]]:
    """Cents from price to mid after the real fills, and after the simulated ones of the same orders."""
    real: list[F64] = []
    ours: list[F64] = []
    at = 0
    for one in watched:
        ghosts, which = one.ghosts, one.which
        own = full_us[at : at + len(which)]
        at += len(which)
        yes = one.tape.arrays.price.astype(np.int64)[ghosts.col[which]]
        price = np.where(ghosts.side[which] == 0, yes, DOLLAR - yes)
        for stretch in np.unique(ghosts.stretch[which]):
            mine = ghosts.stretch[which] == stretch
            for into, us, filled in (
                (real, ghosts.ended_us[which], ghosts.fate[which] == TRADED),
                (ours, ghosts.added_us[which] + own, (own < kernel.NEVER) & (ghosts.fate[which] == TRADED)),
            ):
                chosen = mine & filled
                into.append(markouts(one.tape, int(stretch), us[chosen], ghosts.side[which][chosen], price[chosen]))
    means = [np.nanmean(np.concatenate(part), axis=0) if sum(map(len, part)) else [None] * 3 for part in (real, ours)]
    return [
        {"seconds": seconds, "actual_cents": _plain(means[0][place]), "predicted_cents": _plain(means[1][place])}
        for place, seconds in enumerate(MARKOUTS)
    ]


def _plain(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
