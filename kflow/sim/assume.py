"""What the command line says of latency and calibration, as assumptions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from kflow.errors import DataError, UsageError
from kflow.sim import kernel
from kflow.sim.fills import LATENCIES, FillModel, Latency, model_named

SCHEMA_VERSION: Final = 1


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter as it was fitted. `low` and `high`: where the profile likelihood is within 1.92 of its best."""

    value: float
    low: float
    high: float
    identified: bool


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A file of `kflow calibrate`. `differs`: whether its orders tell it from pro rata; else it is pro rata."""

    schema_version: int
    name: str
    made: str
    kflow_version: str
    ahead: Fitted
    power: Fitted
    latency: dict[str, Any] | None
    tapes: list[dict[str, Any]]
    differs: bool
    ghosts: dict[str, Any]
    quality: dict[str, Any]
    profile: dict[str, list[tuple[float, float]]]


def read_calibration(path: Path) -> Calibration:
    """Raises UsageError (there is no such file), DataError (it is none, or of another version)."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="kflow calibrate writes one") from None
    except msgspec.MsgspecError as error:
        raise DataError(f"{path} is no calibration: {error}", hint="kflow calibrate writes one") from None
    if found.schema_version != SCHEMA_VERSION:
        raise DataError(f"{path} is a calibration of version {found.schema_version}, not {SCHEMA_VERSION}")
    return found


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model and a latency, and where their numbers are from."""

    model: FillModel
    latency: Latency
    calibration: str  # its name; "none" for what no calibration decides

    def told(self) -> dict[str, Any]:
        """The model and where its numbers are from, for results."""
        queue = self.model.kind == kernel.QUEUE
        return {
            "about": self.model.about,
            "cancellations_ahead": self.model.ahead if queue else None,
            "power": self.model.power if queue and not self.model.curve else None,
            "own": bool(self.model.curve),
            "calibration": self.calibration,
        }


def choose(model: str, latency: str, calibration: Calibration | None) -> Chosen:
    """Raises UsageError for a model or latency that there is not."""
    found = model_named(model)
    told = "none"
    if calibration is not None and found.name == "queue":
        found, told = found.fitted(calibration.ahead.value, calibration.power.value), calibration.name
    return Chosen(found, parse_latency(latency, calibration), told)


def parse_latency(text: str, calibration: Calibration | None = None) -> Latency:
    """`none`, `home`, `calibrated`, one number of ms for everything, or place/cancel/data in ms. Raises UsageError."""
    if text in LATENCIES:
        return LATENCIES[text]
    if text == "calibrated":
        if calibration is None or calibration.latency is None:
            raise UsageError("no calibration measured a latency", hint="--calibration FILE of one that did, or 20/20/5")
        try:
            return msgspec.convert(calibration.latency, Latency)
        except msgspec.ValidationError as error:
            raise DataError(f"the latency of calibration {calibration.name} cannot be: {error}") from None
    parts = text.split("/")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers = [numbers[0], numbers[0], 0.0]
    if len(numbers) != 3 or not all(0 <= number <= 600_000 for number in numbers):
        raise UsageError(
            f"{text!r} is no latency", hint="home, none, calibrated, 50 (ms), or place/cancel/data: 50/50/20"
        )
    return Latency.constant(*numbers)
