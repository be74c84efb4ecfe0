"""What a run of the actor leans on, and what it has come to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kflow.act.orders import Order
from kflow.act.reconcile import Difference


class Log(Protocol):
    """What is known of earlier runs, and kept of this one. Called from a thread."""

    def known(self, venue: str) -> Mapping[str, Order]:
        """Every order that was ever stored for a venue, by client_order_id."""

    def held(self, us: int, cash: int, positions: Mapping[str, int]) -> None:
        """What the venue says that the account has."""


Values = Callable[[Sequence[str]], Awaitable[Mapping[str, int]]]


async def unknown(_markets: Sequence[str]) -> Mapping[str, int]:
    """Nobody can say."""
    return {}


@dataclass(slots=True)
class Course:
    """What a run has come to, for whoever looks at it."""

    reconciled_us: int = 0
    mismatches: int = 0  # differences that halted something
    differences: list[Difference] = field(default_factory=list)
    ready: bool = False
    ended: str = ""
