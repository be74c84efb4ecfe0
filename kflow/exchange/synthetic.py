"""The synthetic source: a `Scene` in real time, or as fast as sockets take it.

An event of the crowd happens at its moment and not before, so that orders of others come in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from kflow.exchange.control import Control
from kflow.exchange.crowd import Event
from kflow.exchange.hub import Hub
from kflow.exchange.scene import Scene, SyntheticOptions
from kflow.market.times import US_PER_S

# After so many events, about a millisecond's worth, the loop gives way to readers and orders: an order waits for two or
# three such turns while the flow is behind its plan, and shorter turns cost nothing that can be measured.
_CHUNK: Final = 50
_SHORTEST_SLEEP_S: Final = 0.001


class SyntheticSource:
    """Feeds an exchange from a scene."""

    def __init__(self, options: SyntheticOptions) -> None:
        self._options = options
        self._scene: Scene | None = None
        self._start_us = options.start_us or 0
        self._origin_ns: int | None = None
        self.sids: Mapping[str, int] = {}

    def prepare(self, control: Control, now_us: int) -> None:
        self._start_us = self._start_us or now_us
        clearing = control.clearing
        clearing.time = lambda: self._start_us
        self._scene = scene = Scene(self._options, control, self._start_us)
        control.desk.flush()
        clearing.time = lambda: max(scene.now_us, self._real_us(clearing.clock.mono_ns()))

    def _real_us(self, mono_ns: int) -> int:
        """Where the virtual clock ought to be; at full speed it only follows what happens."""
        if self._origin_ns is None or self._options.speed is None:
            return self._start_us
        return self._start_us + int((mono_ns - self._origin_ns) * self._options.speed) // 1000

    async def run(self, hub: Hub) -> None:
        assert self._scene is not None, "prepare() comes first"
        scene, limit = self._scene, self._options.limit
        if limit is not None:
            await hub.listened()  # so that whoever wants to see all of it does
        self._origin_ns = hub.clock.mono_ns()
        while limit is None or scene.made < limit:
            events = scene.plan()
            if self._options.speed is None:
                await self._pour(hub, scene, events)
            else:
                await self._pace(hub, scene, events, self._options.speed)

    def _done(self, scene: Scene) -> bool:
        return self._options.limit is not None and scene.made >= self._options.limit

    async def _pour(self, hub: Hub, scene: Scene, events: Sequence[Event]) -> None:
        for start in range(0, len(events) or 1, _CHUNK):
            await hub.listened()  # at full speed there is no time that could pass without anybody
            for event in events[start : start + _CHUNK]:
                scene.act(event)
            if start + _CHUNK >= len(events):
                scene.pass_to(scene.end_us())
            scene.flush()
            await hub.drained()
            await asyncio.sleep(0)  # let readers and commands in
            if self._done(scene):
                return

    async def _pace(self, hub: Hub, scene: Scene, events: Sequence[Event], speed: float) -> None:
        """Let each event happen when real time has come as far as the virtual clock."""
        clock = hub.clock
        position = 0
        while position <= len(events) and not self._done(scene):
            now_us = self._real_us(clock.mono_ns())
            first = position
            while position < len(events) and position - first < _CHUNK and scene.due_us(events[position]) <= now_us:
                scene.act(events[position])
                position += 1
            next_us = scene.due_us(events[position]) if position < len(events) else scene.end_us()
            if position == len(events) and next_us <= now_us:
                scene.pass_to(next_us)
                position += 1
            scene.flush()
            await clock.sleep(max(_SHORTEST_SLEEP_S, (next_us - now_us) / US_PER_S / speed) if next_us > now_us else 0)
