"""Sequence numbers of one subscription: which frames are missing, repeated or late.

The venue counts every sequenced frame of a subscription from 1, over all its markets, control frames included
(kalshi-protocol section 3.6).
"""

from __future__ import annotations

from typing import Final

import msgspec

from kflow.market.events import GapKind

# A venue that starts its counter anew looks like this many late frames in unbroken order.
RESET_AFTER: Final = 16
# Missing ranges that are remembered, to tell a late frame from a repeated one.
_REMEMBERED: Final = 256


class Sequence(msgspec.Struct):
    """The counter of one subscription."""

    # The seq that the next frame must carry.
    next: int = 1
    # Ranges [first, last] of frames that never came, oldest first.
    missing: list[tuple[int, int]] = []
    # Late frames in unbroken order so far, the seq that would go on with them, and what was expected then.
    late_run: int = 0
    late_next: int = 0
    late_at: int = 0

    def check(self, seq: int) -> GapKind | None:
        """Account for a frame. None when it is the one expected."""
        if seq == self.next:
            self.next = seq + 1
            return None
        if seq > self.next:
            self.missing.append((self.next, seq - 1))
            del self.missing[:-_REMEMBERED]
            self.next = seq + 1
            return GapKind.SEQUENCE
        return self._late(seq)

    def _late(self, seq: int) -> GapKind:
        unbroken = seq == self.late_next and self.next == self.late_at
        self.late_run = self.late_run + 1 if unbroken else 1
        self.late_next, self.late_at = seq + 1, self.next
        if self.late_run >= RESET_AFTER:
            self.next, self.missing, self.late_run = seq + 1, [], 0
            return GapKind.RESET
        for index, (first, last) in enumerate(self.missing):
            if first <= seq <= last:
                rest = [(first, seq - 1), (seq + 1, last)]
                self.missing[index : index + 1] = [(a, b) for a, b in rest if a <= b]
                return GapKind.REORDERED
        return GapKind.DUPLICATE
