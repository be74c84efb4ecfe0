"""Counters that forget."""

from __future__ import annotations

from kflow.clock import NS_PER_S
from kflow.record.status import Least

MINUTE = 60 * NS_PER_S


def test_the_least_of_the_last_minutes() -> None:
    least = Least()
    assert least.at(10 * MINUTE) is None
    least.add(0.3, 10 * MINUTE)
    least.add(-0.1, 10 * MINUTE + 1)
    least.add(0.2, 10 * MINUTE + 2)
    assert least.at(10 * MINUTE + 3) == -0.1
    least.add(0.5, 11 * MINUTE)
    assert least.at(12 * MINUTE - 1) == -0.1
    assert least.at(12 * MINUTE) == 0.5
    assert least.at(13 * MINUTE) is None
    least.add(0.4, 13 * MINUTE)
    assert least.at(15 * MINUTE) is None
    least.add(0.4, 9 * MINUTE)  # a clock that was stepped back begins anew
    assert least.at(9 * MINUTE) == 0.4
