"""Clients that lost the venue at one moment do not return as one, and none gives up."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from kflow.clock import NS_PER_S
from kflow.kalshi.backoff import BASE_S, CAP_S, FORGIVEN_NS, REFUSED_S, Backoff


def attempts(clients: int, until_s: float, *, refused: bool = False, seed: int = 7) -> list[list[float]]:
    """When each client knocks while the venue is down."""
    found = []
    for client in range(clients):
        backoff, now, times = Backoff(random.Random(seed * 1000 + client)), 0.0, []
        while (now := now + backoff.next_delay_s(refused=refused)) < until_s:
            times.append(now)
        found.append(times)
    return found


def test_delays_lie_between_nothing_and_a_ceiling_that_doubles() -> None:
    backoff = Backoff(random.Random(1))
    for attempt in range(100):
        ceiling = min(CAP_S, BASE_S * 2**attempt)
        assert 0 <= backoff.next_delay_s() <= ceiling


def test_twenty_clients_do_not_storm_a_venue_that_is_back() -> None:
    """Ten minutes down: once the ceiling is reached, no second sees more than a few of the twenty."""
    knocks = Counter(int(time) for times in attempts(20, 600) for time in times)
    assert max(count for second, count in knocks.items() if second >= 60) <= 6
    assert max(knocks.values()) <= 3 * 20  # the first second, when all lost the venue at once


def test_every_client_keeps_trying() -> None:
    for times in attempts(20, 3600):
        assert max(b - a for a, b in itertools.pairwise(times)) <= CAP_S
        assert len(times) > 100


def test_a_refused_key_knocks_at_most_six_times_a_minute() -> None:
    for times in attempts(20, 3600, refused=True):
        assert min(b - a for a, b in itertools.pairwise(times)) >= REFUSED_S


def test_only_a_minute_of_data_forgives() -> None:
    backoff = Backoff(random.Random(1))
    for _ in range(10):
        backoff.next_delay_s()
    backoff.lived(FORGIVEN_NS - 1)
    assert backoff.attempts == 10
    backoff.lived(60 * NS_PER_S)
    assert backoff.attempts == 0
    assert backoff.next_delay_s() <= BASE_S


def test_the_same_seed_waits_the_same() -> None:
    assert attempts(3, 100) == attempts(3, 100)
    assert attempts(3, 100) != attempts(3, 100, seed=8)
