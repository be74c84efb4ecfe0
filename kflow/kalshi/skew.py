"""How far the venue's clock is from ours, as the Date header of an answer tells it: to the second."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def offset_bounds_ms(headers: Mapping[str, str], received_ns: int, elapsed_ns: int) -> tuple[float, float] | None:
    """Least and greatest value of venue's clock minus ours, in ms; None where the answer does not say.

    The venue read its clock after we sent and before we received, and cut it to whole seconds.
    """
    try:
        venue_ms = parsedate_to_datetime(headers["date"]).timestamp() * 1000
    except (KeyError, ValueError):
        return None
    received_ms = received_ns / 1e6
    return venue_ms - received_ms, venue_ms + 1000 - (received_ms - elapsed_ns / 1e6)


def nearest_to_zero(bounds: tuple[float, float]) -> float:
    """The offset that is certain: 0 where the bounds hold it."""
    low, high = bounds
    return low if low > 0 else min(high, 0.0)
