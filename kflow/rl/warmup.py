"""Does it matter how long ago the memory of the market's features began? Not after five minutes, within a tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.policy import features
from kflow.rl.columns import market_columns
from kflow.rl.dataset import EVERY_US
from kflow.rl.noise import without_head
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape

F64 = NDArray[np.float64]

# Seconds after which features are compared with those of a memory that began earlier, and for how long.
WARM_S: Final = (60, 300, 600)
TOLERANCE: Final = 0.02
# The wait at which it holds.
_HOLDS_S: Final = 300
_WATCHED_S: Final = 60
# Signed flows are compared in contracts, relative to the largest since the cut: near 0 their logarithm tells a single
# contract, so that a remainder of e^-5 of a large flow shows. Contracts at which the scale ends.
_FLOWS: Final = {"flow_1s": 1e4, "flow_10s": 1e4, "flow_60s": 1e4, "pressure_10s": 1e5}
_NAMES: Final = [feature.name for feature in features.MARKET]


class Warm(NamedTuple):
    """After so long: decisions compared, the largest difference of all features, and which one it was."""

    seconds: int
    decisions: int
    most: float
    feature: str
    mean: float
    most_scaled: float  # flows as the policy sees them
    feature_scaled: str

    @property
    def numbers(self) -> int:
        """That were compared."""
        return self.decisions * len(_NAMES)

    @property
    def counts(self) -> bool:
        """Whether TOLERANCE has to hold by then."""
        return self.seconds >= _HOLDS_S


def warm_up(
    tapes: Sequence[Tape],
    assume: Callable[[Tape], Assumptions],
    *,
    count: int = 100,
    seed: int = 0,
    every_us: int = EVERY_US,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Warm]:
    """Market features where the memory began at a random moment, against those of the whole recording."""
    rng = np.random.default_rng([seed, 2])
    stretches = [(tape, stretch) for tape in tapes for stretch in range(tape.stretches)]
    long = [(tape, own) for tape, own in stretches if _seconds(tape, own) > min(WARM_S) + 2 * every_us / 1e6]
    apart: dict[int, list[tuple[F64, F64]]] = {seconds: [] for seconds in WARM_S}
    whole, worked_out = np.zeros((0, 0)), -1
    # In order, so that each stretch is worked out once and none is kept.
    for number in sorted(rng.integers(len(long), size=count).tolist()) if long else ():
        tape, own = long[number]
        rate = float(assume(tape).fees.taker_rate)
        if number != worked_out:
            whole, worked_out = market_columns(tape, own, every_us, rate).astype(np.float64), number
        start_us = tape.span_us(own)[0]
        room = _seconds(tape, own) - min(WARM_S)
        row = int(rng.integers(1, int(room * 1e6) // every_us + 1))
        from_us = start_us + row * every_us
        until_us = from_us + (max(WARM_S) + _WATCHED_S) * 1_000_000
        part = market_columns(without_head(tape, own, from_us, until_us), 0, every_us, rate).astype(np.float64)
        for seconds, pair in _waited(whole[row : row + len(part)], part, every_us):
            apart[seconds].append(pair)
        progress(1)
    return [_warm(seconds, pairs) for seconds, pairs in apart.items() if pairs]


def cold(found: Sequence[Warm]) -> list[Warm]:
    """Those that are not within TOLERANCE although they should be."""
    return [warm for warm in found if warm.counts and warm.most > TOLERANCE]


def _seconds(tape: Tape, stretch: int) -> float:
    first, last = tape.span_us(stretch)
    return (last - first) / 1e6


def _waited(whole: F64, part: F64, every_us: int) -> Iterator[tuple[int, tuple[F64, F64]]]:
    """Differences after each wait: of features as they are, and with flows in contracts."""
    count = min(len(whole), len(part))
    scaled = np.abs(whole[:count] - part[:count])
    own = scaled.copy()
    for name, most in _FLOWS.items():
        at = _NAMES.index(name)
        flows = [np.sign(x[:count, at]) * np.expm1(np.abs(x[:count, at]) * math.log1p(most)) for x in (whole, part)]
        largest = np.maximum.accumulate(np.abs(flows[0]))
        own[:, at] = np.abs(flows[0] - flows[1]) / np.maximum(largest, 1.0)
    for seconds in WARM_S:
        rows = slice(seconds * 1_000_000 // every_us, (seconds + _WATCHED_S) * 1_000_000 // every_us)
        if len(own[rows]):
            yield seconds, (own[rows], scaled[rows])


def _warm(seconds: int, pairs: Sequence[tuple[F64, F64]]) -> Warm:
    own, scaled = (np.concatenate([pair[n] for pair in pairs]) for n in (0, 1))
    return Warm(
        seconds=seconds,
        decisions=len(own),
        most=float(own.max()),
        feature=_NAMES[int(own.max(axis=0).argmax())],
        mean=float(own.mean()),
        most_scaled=float(scaled.max()),
        feature_scaled=_NAMES[int(scaled.max(axis=0).argmax())],
    )
