"""A TCP proxy on loopback that does to a connection what networks do: cut it, hold it, slow it, damage it.

async with Proxy(("127.0.0.1", port)) as proxy:      # or a Path: the socket file of a PostgreSQL server
    proxy.cut_before(b"COMMIT")                      # the next one never arrives
    ...connect to 127.0.0.1, proxy.port
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

_CHUNK: Final = 65_536
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class _Trap:
    """Cuts the connection on which the client sends `pattern`, `times` times in all."""

    pattern: bytes
    delivered: bool
    times: int


@dataclass(eq=False)
class _Pair:
    """A client and its connection to the target."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    # The last bytes the client sent, for patterns that straddle two reads.
    sent: bytearray = field(default_factory=bytearray)

    def cut(self) -> None:
        """Reset both ends: what is in the kernel's buffers is lost."""
        for writer in (self.client, self.server):
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.family != socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class Proxy:
    """Forwards to one target. `cuts` counts the connections it has ended."""

    def __init__(self, target: tuple[str, int] | Path) -> None:
        self._target = target
        self._pairs: set[_Pair] = set()
        self._traps: list[_Trap] = []
        self._open = asyncio.Event()
        self._open.set()
        self._refuses = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # Applies to both directions, from the next chunk on.
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        # Changes what the target sends; for example `corrupt`.
        self.damage: Callable[[bytes], bytes] | None = None
        self.cuts = 0
        self.accepted = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.restore()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        assert self._server is not None, "use it as a context manager"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Reset every connection."""
        for pair in tuple(self._pairs):
            self._end(pair)

    def cut_before(self, pattern: bytes, *, times: int = 1) -> None:
        """When the client sends `pattern`: end the connection, and let nothing of it arrive."""
        self._traps.append(_Trap(pattern, delivered=False, times=times))

    def cut_after(self, pattern: bytes, *, times: int = 1) -> None:
        """When the client sends `pattern`: let it arrive, and end the connection before any answer."""
        self._traps.append(_Trap(pattern, delivered=True, times=times))

    @property
    def armed(self) -> int:
        """Cuts that wait for their pattern."""
        return sum(trap.times for trap in self._traps)

    def blackhole(self) -> None:
        """From now on nothing goes in or out, and no end is told."""
        self._open.clear()

    def refuse(self) -> None:
        """Reset every connection, and each new one as soon as it is made."""
        self._refuses = True
        self.cut()

    def restore(self) -> None:
        """What was held goes on; new connections are forwarded again."""
        self._refuses = False
        self._open.set()

    def _end(self, pair: _Pair) -> None:
        self.cuts += 1
        self._pairs.discard(pair)
        pair.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refuses:
            writer.transport.abort()
            return
        try:
            if isinstance(self._target, Path):
                far_reader, far_writer = await asyncio.open_unix_connection(self._target)
            else:
                far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, far_writer)
        self._pairs.add(pair)
        both = [
            asyncio.ensure_future(self._pump(reader, far_writer, pair, from_client=True)),
            asyncio.ensure_future(self._pump(far_reader, writer, pair, from_client=False)),
        ]
        self._tasks.update(both)
        await asyncio.gather(*both, return_exceptions=True)
        self._tasks.difference_update(both)
        self._pairs.discard(pair)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair, *, from_client: bool
    ) -> None:
        with contextlib.suppress(ConnectionError, OSError):
            while data := await reader.read(_CHUNK):
                await self._open.wait()
                await self._linger(len(data))
                if pair not in self._pairs:
                    return
                if from_client and self._traps and self._trapped(pair, data):
                    return
                if not from_client and self.damage is not None:
                    data = self.damage(data)
                writer.write(data)
                await writer.drain()
            await self._open.wait()
        writer.close()

    async def _linger(self, size: int) -> None:
        wait_s = self.delay_s + (size / self.bytes_per_s if self.bytes_per_s else 0.0)
        if wait_s:
            await asyncio.sleep(wait_s)

    def _trapped(self, pair: _Pair, data: bytes) -> bool:
        pair.sent += data
        for trap in self._traps:
            if trap.pattern not in pair.sent:
                continue
            trap.times -= 1
            if not trap.times:
                self._traps.remove(trap)
            if trap.delivered:
                self._deliver_and_end(pair, data)
            else:
                self._end(pair)
            return True
        del pair.sent[: -max(len(trap.pattern) for trap in self._traps)]
        return False

    def _deliver_and_end(self, pair: _Pair, data: bytes) -> None:
        self.cuts += 1
        self._pairs.discard(pair)
        pair.client.transport.abort()
        pair.server.write(data)
        pair.server.close()  # after what was written


def corrupt(every: int) -> Callable[[bytes], bytes]:
    """Flips a bit of each `every`-th byte."""
    seen = 0

    def damage(data: bytes) -> bytes:
        nonlocal seen
        changed = bytearray(data)
        for at in range((every - 1 - seen) % every, len(changed), every):
            changed[at] ^= 0x20
        seen = (seen + len(data)) % every
        return bytes(changed)

    return damage
