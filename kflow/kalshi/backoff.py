"""How long to wait before the next attempt: full jitter, so that many clients do not return as one."""

from __future__ import annotations

import random
from typing import Final

from kflow.clock import NS_PER_S

BASE_S: Final = 0.5
CAP_S: Final = 30.0
# A refused handshake (401, 403, 429) is not cured by haste: at most six a minute.
REFUSED_S: Final = 10.0
# Attempts are forgotten after this much live data.
FORGIVEN_NS: Final = 60 * NS_PER_S


class Backoff:
    """Delays of a connection that never gives up. `rng` is passed in so that tests can repeat it."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self.attempts = 0

    def next_delay_s(self, *, refused: bool = False) -> float:
        """Seconds until the next attempt."""
        ceiling = min(CAP_S, BASE_S * 2**self.attempts)
        self.attempts = min(self.attempts + 1, 16)
        delay = self._rng.uniform(0, ceiling)
        return REFUSED_S + delay if refused else delay

    def lived(self, lived_ns: int) -> None:
        """A connection ended after `lived_ns` of live data."""
        if lived_ns >= FORGIVEN_NS:
            self.attempts = 0
