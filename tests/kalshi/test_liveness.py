"""A half-open socket is found within 5 s; our own stalls accuse nobody."""

from __future__ import annotations

from kflow.clock import NS_PER_S
from kflow.kalshi.feed import LOOK_S
from kflow.kalshi.liveness import LONGEST_LOOK_NS, PING_AFTER_NS, PONG_DEADLINE_NS, Liveness

LOOK_NS = round(LOOK_S * NS_PER_S)


def test_silence_is_pinged_once_and_then_dead_within_five_seconds() -> None:
    liveness, now, pings = Liveness(0), 0, []
    while not liveness.dead:
        now += LOOK_NS
        if liveness.look(now, heard=False):
            pings.append(now)
    assert pings == [PING_AFTER_NS]
    assert now == PING_AFTER_NS + PONG_DEADLINE_NS
    assert now < 5 * NS_PER_S


def test_any_byte_is_life() -> None:
    liveness, now = Liveness(0), 0
    pings = 0
    for look in range(1, 1000):
        now += LOOK_NS
        pings += liveness.look(now, heard=look % 20 == 0)  # a pong, two seconds after all others
        assert not liveness.dead
    assert pings == 1000 // 20


def test_a_stall_of_ours_counts_as_one_look() -> None:
    """After SIGSTOP the socket is full of news: it is drained before the connection is judged."""
    liveness = Liveness(0)
    liveness.look(LOOK_NS, heard=True)
    assert not liveness.look(LOOK_NS + 3600 * NS_PER_S, heard=False)
    assert liveness.silence_ns == LONGEST_LOOK_NS
    assert not liveness.dead


def test_slow_looks_find_a_dead_socket_all_the_same() -> None:
    liveness, now, looks = Liveness(0), 0, 0
    while not liveness.dead:
        now += 2 * NS_PER_S
        looks += 1
        liveness.look(now, heard=False)
    assert looks == -(-(PING_AFTER_NS + PONG_DEADLINE_NS) // LONGEST_LOOK_NS)
