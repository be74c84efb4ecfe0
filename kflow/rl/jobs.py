"""What is sent to where a unit of a sweep is done, and what comes back."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from kflow.rl.folds import Fold
from kflow.rl.plan import Plan


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A unit to be done, small enough to be sent anywhere: tapes are named by the folders that they are mapped from."""

    key: str
    plan: Plan
    fold: Fold
    tapes: tuple[str, ...]
    scratch: str  # a folder to work in, where it can be reached


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a unit came to: held-out dollars per episode of the last weights, and their standard error over events."""

    key: str
    fold: int
    seed: int
    hyper: dict[str, str | int | float | bool]
    profit: float | None = None
    error: float | None = None
    episodes: int = 0
    events: int = 0
    steps: int
    seconds: float
    weights_sha256: str = ""
    place: str = ""  # where it was done
    failed: str = ""  # why it came to nothing


class Done(NamedTuple):
    """A result, and files that are kept of the unit."""

    result: Result
    files: dict[str, bytes]
