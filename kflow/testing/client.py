"""A raw client: nothing between the test and the wire."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from kflow.testing.venue import LocalVenue, LocalVenueProcess

DEADLINE_S = 10.0


class RawClient:
    """Sends commands and receives frames as objects."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._id = 0

    async def send(self, cmd: str, *, binary: bool = False, **params: Any) -> int:
        self._id += 1
        text = json.dumps({"id": self._id, "cmd": cmd, "params": params})
        await self.socket.send(text.encode() if binary else text)
        return self._id

    async def raw(self) -> str | bytes:
        return await asyncio.wait_for(self.socket.recv(), DEADLINE_S)

    async def frame(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await self.raw())
        return frame

    async def frames(self, count: int) -> list[dict[str, Any]]:
        return [await self.frame() for _ in range(count)]

    async def subscribe(self, *markets: str, channels: tuple[str, ...] = ("orderbook_delta",), **params: Any) -> int:
        names: dict[str, Any] = {"market_tickers": list(markets)} if markets else {}
        return await self.send("subscribe", channels=list(channels), **names, **params)


def signed(venue: LocalVenue | LocalVenueProcess, *, late_s: float = 0.0) -> Mapping[str, str]:
    return venue.key.headers("GET", venue.ws, time.time_ns() - round(late_s * 1e9))


@asynccontextmanager
async def client(venue: LocalVenue | LocalVenueProcess, **options: Any) -> AsyncIterator[RawClient]:
    settings = {"compression": None, "max_size": 2**26, "max_queue": None, **options}
    async with connect(venue.ws, additional_headers=signed(venue), **settings) as socket:
        yield RawClient(socket)
