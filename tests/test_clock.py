"""Clocks: the machine's, and one that moves when told."""

from __future__ import annotations

import asyncio

import pytest

from kflow.clock import NS_PER_S, Clock, ManualClock, SystemClock


async def settle() -> None:
    """Let every task that can run, run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_system_clock_moves_forward() -> None:
    clock: Clock = SystemClock()
    wall, mono = clock.wall_ns(), clock.mono_ns()
    await clock.sleep(0.001)
    assert clock.mono_ns() - mono >= 900_000
    assert clock.wall_ns() > wall > 1_700_000_000 * NS_PER_S


async def test_sleepers_wake_in_the_order_they_are_due() -> None:
    clock, woken = ManualClock(), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2)]
    await settle()
    clock.advance(0.999)
    await settle()
    assert woken == []
    clock.advance(1.001)
    await settle()
    assert woken == [1, 2]
    clock.advance(1)
    await asyncio.gather(*tasks)
    assert woken == [1, 2, 3]


async def test_a_sleep_of_nothing_only_yields() -> None:
    clock = ManualClock()
    await asyncio.wait_for(clock.sleep(0), 5)
    await asyncio.wait_for(clock.sleep(-1), 5)


async def test_a_cancelled_sleeper_does_not_hinder_the_others() -> None:
    clock = ManualClock()
    gone, stays = asyncio.create_task(clock.sleep(1)), asyncio.create_task(clock.sleep(1))
    await settle()
    gone.cancel()
    await settle()
    clock.advance(1)
    await stays
    assert gone.cancelled()


def test_only_the_wall_steps() -> None:
    clock = ManualClock(wall_ns=10 * NS_PER_S, mono_ns=5)
    clock.advance(2.5)
    clock.step_wall(-3600)
    assert (clock.wall_ns(), clock.mono_ns()) == (12_500_000_000 - 3600 * NS_PER_S, 2_500_000_005)


def test_time_never_runs_backwards() -> None:
    with pytest.raises(ValueError, match="back"):
        ManualClock().advance(-0.1)
