"""What the service manager is told of an actor: that it trades, that it goes on, and that it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from kflow.act.pulse import Beat, Pulse
from kflow.act.service import Service
from kflow.kalshi.feed import FeedStatus
from kflow.supervisor import Supervisor

LOOK_S: Final = 1.0
# So much longer the end may take once it is seen to go on, and how long it is let go on at most: longer than orders
# are asked for.
EXTENSION_S: Final = 30.0
END_S: Final = 120.0
_STATUS_LOOKS: Final = 10


@asynccontextmanager
async def supervised(
    supervisor: Supervisor, service: Service, pulse: Pulse, feed: FeedStatus, stop: asyncio.Event
) -> AsyncIterator[None]:
    """Tell the service manager how the run goes, for as long as the block lasts; `stop` begins its end."""
    if not supervisor.listens:
        yield
        return
    telling = asyncio.create_task(_tell(supervisor, service, pulse, feed, stop))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(supervisor: Supervisor, service: Service, pulse: Pulse, feed: FeedStatus, stop: asyncio.Event) -> None:
    """Alive is a run whose feed came round, and whose markets were looked at, since it was last said."""
    seen, ready, looks = (feed.turns, _decided(service)), False, 0
    while not stop.is_set():
        now = (feed.turns, _decided(service))
        if now[0] != seen[0] and now[1] != seen[1]:
            seen = now
            supervisor.alive()
            if not ready and service.state.ready:
                ready = True
                supervisor.ready()
                looks = 0
        if looks % _STATUS_LOOKS == 0:
            supervisor.say(_sentence(pulse.last))
        looks += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_S)
    supervisor.stopping("cancelling what rests, until the venue says that nothing does")
    for _ in range(int(END_S / LOOK_S)):
        supervisor.extend(EXTENSION_S)
        await asyncio.sleep(LOOK_S)


def _decided(service: Service) -> int:
    tally = service.actor.tally
    return tally.decisions + tally.waits


def _sentence(beat: Beat) -> str:
    said = f"{beat.strategy} at {beat.venue}, {beat.standing}: {beat.open_orders} orders open, {beat.fills:,} fills"
    return "; ".join([said, *beat.problems.values()])
