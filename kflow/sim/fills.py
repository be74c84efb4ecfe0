"""Fill models by name, and all that decides what an order gets: every number with where it comes from.

`queue` replays the queue: an order joins the back of its level, recorded trades eat it from the front, cancellations
fall ahead of it or behind. Where they fall is not recorded; `queue-pessimistic` and `queue-optimistic` are the ends of
what is possible, and the band that every result shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from kflow.errors import ConfigError, UsageError
from kflow.market.fees import FeeSchedule
from kflow.own import is_own, named, source_of
from kflow.sim import kernel
from kflow.units import CONTRACT, Size

I64 = kernel.I64


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a number comes from: measured (on what), a rule of the venue, the requirements, or an assumption."""

    value: float
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FillModel:
    """How resting orders are filled. `ahead` and `power`: see `kernel._ahead_of`.

    curve: a queue of the user's own instead of both, from `own_queue`: of a cancellation the share that lies ahead of
    an order, evenly from where nothing of the rest of its level lies ahead to where all does.
    """

    name: str
    about: str
    kind: int
    ahead: float = 0.5
    power: float = 1.0
    curve: tuple[float, ...] = ()

    def fitted(self, ahead: float, power: float) -> FillModel:
        """The same with parameters of a calibration. Raises UsageError outside their range."""
        if not 0 <= ahead <= 1 or not 0 < power <= 10:
            raise UsageError(f"ahead {ahead} and power {power} are no queue model", hint="0 to 1, and above 0 up to 10")
        return replace(self, ahead=ahead, power=power)


MODELS: Final[Mapping[str, FillModel]] = {
    model.name: model
    for model in (
        FillModel(
            name="queue",
            about="back of the queue; trades eat it from the front, cancellations fall pro rata or as calibrated",
            kind=kernel.QUEUE,
        ),
        FillModel(
            name="queue-pessimistic",
            about="the same; cancellations fall behind the order while there is anything behind it",
            kind=kernel.QUEUE,
            ahead=0.0,
        ),
        FillModel(
            name="queue-optimistic",
            about="the same; cancellations fall ahead of the order while there is anything ahead of it",
            kind=kernel.QUEUE,
            ahead=1.0,
        ),
        FillModel(
            name="probabilistic",
            about="the older system's formula of price, age, size, activity and spread, drawn per unit of event time",
            kind=kernel.HAZARD,
        ),
        FillModel(
            name="touch",
            about="naive: filled in full as soon as anything trades at the price",
            kind=kernel.TOUCH,
        ),
    )
}
CURVE_POINTS: Final = 257
_OWN: Final = "a function of one number from 0 to 1 that gives one from 0 to 1: docs/simulation.md, fill models"
BAND: Final = ("queue-pessimistic", "queue", "queue-optimistic")


def model_named(name: str) -> FillModel:
    """One of `MODELS`, or the user's own queue, `module:function`.

    Raises UsageError for one that there is not, ConfigError for one of his that cannot be.
    """
    if is_own(name):
        share = named(name)
        return own_queue(name, share, f"a queue of one's own ({source_of(share)})")
    if name not in MODELS:
        raise UsageError(f"there is no fill model {name}", hint=f"{', '.join(MODELS)}, or module:function of your own")
    return MODELS[name]


def own_queue(name: str, share: Callable[[float], float], about: str = "a queue of one's own") -> FillModel:
    """A queue in which of each cancellation `share(x)` lies ahead of an order that has x of the rest ahead of it.

    It is asked once at `CURVE_POINTS` values of x from 0 to 1; the kernel goes straight between them, as fast as
    with its own formula. Raises ConfigError where an answer is no number in [0, 1].
    """
    curve = []
    for x in np.linspace(0.0, 1.0, CURVE_POINTS).tolist():
        try:
            value = float(share(x))
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ConfigError(f"{name}({x:g}) cannot be worked out: {error}", hint=_OWN) from None
        if not 0.0 <= value <= 1.0:
            raise ConfigError(f"{name}({x:g}) is {value:g}, which is no share", hint=_OWN)
        curve.append(value)
    return FillModel(name=name, about=about, kind=kernel.QUEUE, ahead=curve[CURVE_POINTS // 2], curve=tuple(curve))


# Orders below this size are filled at the touch only, larger ones walk the depth.
WALK_FROM: Final = Origin(20 * CONTRACT, "requirements: orders of less than 20 contracts fill at the best bid or ask")
# What an order took of a level is there again after this much event time.
BACK_US: Final = Origin(5_000_000, "requirements: consumed liquidity decays within 5 seconds")
# Over which the probabilistic model's chances are meant.
HORIZON_US: Final = Origin(30_000_000, "assumption: the formula's own time, its bonus for age ends after 30 s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Samples in µs, drawn with equal chances; one sample is a constant."""

    name: str
    origin: str
    place: tuple[int, ...]
    cancel: tuple[int, ...]
    data: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for samples in (self.place, self.cancel, self.data):
            if not samples or min(samples) < 0 or max(samples) > 600_000_000:
                raise UsageError(f"latency {self.name} holds no times of 0 to 600 s", hint="--latency 50/50/20, in ms")

    @classmethod
    def constant(cls, place_ms: float, cancel_ms: float, data_ms: float) -> Latency:
        """The same for every order."""
        place, cancel, data = (round(ms * 1000) for ms in (place_ms, cancel_ms, data_ms))
        name = f"constant {place_ms:g}/{cancel_ms:g}/{data_ms:g} ms"
        return cls(name=name, origin="as asked for", place=(place,), cancel=(cancel,), data=(data,))


def curve(quantiles: Sequence[tuple[float, float]], samples: int = 200) -> tuple[int, ...]:
    """Samples in µs of a distribution known by (share, ms) quantiles: ascending, linear in between."""
    shares, milliseconds = zip(*quantiles, strict=True)
    at = (np.arange(samples) + 0.5) / samples
    return tuple(int(us) for us in np.rint(np.interp(at, shares, milliseconds) * 1000))


NO_LATENCY: Final = Latency(name="none", origin="as asked for", place=(0,), cancel=(0,))
# Half of a submit's round trip: the way there. p50 47 ms, p75 63, p90 94, p95 140, p99 547.
_HALF_WAY: Final = curve(
    ((0.0, 12.0), (0.5, 23.5), (0.75, 31.5), (0.9, 47.0), (0.95, 70.0), (0.99, 273.5), (1.0, 300.0))
)
HOME: Final = Latency(
    name="home",
    origin="half of the submit round trips of a bot hosted at home (market facts 5.3); data: half of their median",
    place=_HALF_WAY,
    cancel=_HALF_WAY,
    data=(23_500,),
)
LATENCIES: Final[Mapping[str, Latency]] = {"home": HOME, "none": NO_LATENCY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """Everything a result rests on but the tape."""

    model: FillModel = field(default_factory=lambda: MODELS["queue"])
    latency: Latency = HOME
    fees: FeeSchedule
    walk_from: Size = Size(int(WALK_FROM.value))
    back_us: int = int(BACK_US.value)
    horizon_us: int = int(HORIZON_US.value)

    def rules(self, *, verbose: bool = False) -> kernel.Rules:
        """As the kernel reads them. Raises UsageError for fees whose exact arithmetic does not fit 64 bits."""
        rates = self.fees.whole()
        if rates.dearer * 25_000_000 * 2**30 >= 2**63:
            taker, maker = self.fees.taker_rate, self.fees.maker_rate
            raise UsageError(f"fees of {taker} and {maker} are too finely divided to be charged exactly")
        return kernel.Rules(
            model=self.model.kind,
            ahead=float(self.model.ahead),
            power=float(self.model.power),
            curve=np.array(self.model.curve, np.float64),
            walk_from=int(self.walk_from),
            back_us=int(self.back_us),
            horizon_us=int(self.horizon_us),
            taker_rate=rates.taker,
            maker_rate=rates.maker,
            fee_unit=rates.unit,
            fee_step=rates.step,
            precision=rates.precision,
            verbose=verbose,
            place=np.array(self.latency.place, np.int64),
            cancel=np.array(self.latency.cancel, np.int64),
            data=np.array(self.latency.data, np.int64),
        )

    def told(self) -> dict[str, object]:
        """For results: every number that is the same for all markets and models, with where it is from."""
        return {
            "latency": self.latency.name,
            "latency_origin": self.latency.origin,
            "walk_from_contracts": self.walk_from / CONTRACT,
            "walk_from_origin": WALK_FROM.origin if self.walk_from == WALK_FROM.value else "as asked for",
            "consumed_back_s": self.back_us / 1e6,
            "consumed_back_origin": BACK_US.origin,
            "probabilistic_horizon_s": self.horizon_us / 1e6,
            "probabilistic_horizon_origin": HORIZON_US.origin,
        }
