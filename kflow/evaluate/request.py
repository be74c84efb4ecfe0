"""All that decides what an evaluation comes to, as plain data: kept in its folder, and enough to go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from kflow.errors import DataError, UsageError
from kflow.evaluate.splits import EMBARGO_US
from kflow.replay.tapes import fees_of
from kflow.rl.batch import LIMITS
from kflow.rl.dataset import EVERY_US
from kflow.rl.plan import Plan, Source
from kflow.rl.runs import write
from kflow.sim.assume import Chosen
from kflow.sim.fills import BAND, HOME, MODELS, Assumptions, FillModel, Latency
from kflow.sim.tape import Tape

SCHEMA_VERSION: Final = 1
FILE: Final = "request.json"
SEEDS: Final = 5


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times µs, money 1e-6 dollar, sizes 1e-2 contract. `judged`: models as they are known, or names of strategies."""

    schema_version: int = SCHEMA_VERSION
    judged: tuple[str, ...]
    baselines: tuple[str, ...]
    size: float = 10.0  # contracts, of a hand-written policy's orders
    source: Source
    fills: FillModel = MODELS["queue"]
    latency: Latency = HOME
    calibration: str = "none"
    seeds: int = SEEDS
    every_us: int = EVERY_US
    episode_us: int = 900_000_000
    most: int | None = None  # episodes; None: all
    scales: tuple[int, ...] = (1,)
    cash: int = int(LIMITS.cash)  # of hand-written policies where no model is judged
    max_position: int = int(LIMITS.max_position)
    orders: int = LIMITS.orders
    ruin: float = 0.1
    in_sample: bool = False
    unseen: bool = False
    embargo_us: int = EMBARGO_US
    variants: int | None = None  # tried before these were chosen; None: what the registry knows
    # A walk forward: judged is what this plan trains, anew for each fold.
    plan: Plan | None = None
    folds: int = 0

    @property
    def rows(self) -> int:
        """Decisions of an episode at most."""
        return max(self.episode_us // self.every_us, 1)

    @property
    def band(self) -> tuple[Chosen, ...]:
        """The fill models it is judged under: as bad, as likely, and as good as the recording allows."""
        ends = {name: Chosen(MODELS[name], self.latency, "none") for name in BAND}
        return tuple({**ends, BAND[1]: Chosen(self.fills, self.latency, self.calibration)}.values())

    def assume(self, tape: Tape) -> Assumptions:
        """What fills on a tape rest on."""
        return Assumptions(model=self.fills, latency=self.latency, fees=fees_of(tape)[0])

    def check(self) -> None:
        """Raises UsageError for numbers that make no evaluation."""
        if not 1 <= self.seeds <= 1000:
            raise UsageError(f"{self.seeds} seeds cannot be", hint="--seeds 5")
        if self.most is not None and self.most < 1:
            raise UsageError(f"{self.most} episodes are none", hint="--episodes 1000")
        if not self.scales or self.scales[0] != 1 or list(self.scales) != sorted(set(self.scales)):
            raise UsageError("sizes are multiplied by ascending whole numbers from 1 on", hint="--capacity 1,2,5,10")
        if self.scales[-1] > 10_000:
            raise UsageError("sizes are multiplied by 10,000 at most", hint="--capacity 1,2,5,10")
        if self.variants is not None and self.variants < 1:
            raise UsageError(f"{self.variants} variants cannot have been tried", hint="--variants 20")
        if not 0 <= self.embargo_us <= 10**12:
            raise UsageError("an embargo lies between 0 and eleven days", hint="--embargo 15m")
        if self.size <= 0:
            raise UsageError(f"orders of {self.size:g} contracts cannot be", hint="--size 10")


def write_request(folder: Path, request: Request, known: dict[str, Any]) -> None:
    """Keep it, with what else has to be the same when it goes on."""
    text = msgspec.json.encode({"request": request, "known": known})
    write(folder / FILE, msgspec.json.format(text, indent=2) + b"\n")


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    request: Request
    known: dict[str, Any]


def read_request(folder: Path) -> tuple[Request, dict[str, Any]]:
    """Raises UsageError (no evaluation is there), DataError (not of this version)."""
    file = folder / FILE
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_Kept)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="name an evaluation's folder") from None
    except msgspec.MsgspecError as error:
        raise DataError(f"{file} is of another version: {error}", hint="use the kflow that began it") from None
    return kept.request, kept.known
