"""The web application on a socket of its own, in the running event loop.

In the recorder's loop and not on a thread: a look at a book costs microseconds, a second thread would cost the
recorder up to 5 ms of waiting for the interpreter. What clients could make large is bounded here.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from kflow.errors import ConfigError, PortTaken
from kflow.web.access import is_loopback

# Connections beyond this are closed at once: the recorder needs file descriptors too.
CONNECTIONS: Final = 256
# Requests beyond this are answered with 503.
CONCURRENT: Final = 128
# A connection that makes no new request for so long is closed, whether it is idle, slow to ask or slow to read.
LOOK_S: Final = 10.0
# A closed connection that still does not take its last bytes is cut.
GRACE_S: Final = 1.0
# What the kernel holds for a client that does not read; left alone it would grow to megabytes.
SEND_BYTES: Final = 128 * 1024
HEAD_BYTES: Final = 16 * 1024
MESSAGE_BYTES: Final = 4 * 1024  # clients have nothing to say


class _Http(H11Protocol):
    """HTTP that waits for nobody."""

    # What `cycle` was when we last looked.
    _seen: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        else:
            self.loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        if self not in self.connections:
            return  # gone, or a WebSocket by now
        if self.cycle is self._seen:
            self.transport.abort()
            return
        self._seen = self.cycle
        self.loop.call_later(LOOK_S, self._look)

    def shutdown(self) -> None:
        super().shutdown()
        self.loop.call_later(GRACE_S / 2, self.transport.abort)


class _Stream(WebSocketsSansIOProtocol):
    """A WebSocket that keeps headers out of the log, and whose end does not depend on a peer that does not read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.conn.debug = False  # at level DEBUG every header would be logged, the token too

    async def run_asgi(self) -> None:
        try:
            await super().run_asgi()
        finally:
            self.loop.call_later(GRACE_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.loop.call_later(GRACE_S, self.transport.abort)

    def shutdown(self) -> None:
        super().shutdown()
        self.loop.call_later(GRACE_S / 2, self.transport.abort)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the command that runs us."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@dataclass(frozen=True, slots=True)
class Served:
    """Where the service listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@asynccontextmanager
async def serve(app: Starlette, host: str, port: int) -> AsyncIterator[Served]:
    """Serve `app` (of build_app) while the block runs; port 0 takes any free one.

    Raises PortTaken, and ConfigError where the address is not ours or is not loopback and the app is not guarded.
    """
    if not is_loopback(host) and not app.state.access.guarded:
        raise ConfigError(f"refusing to listen on {host} without a token", hint="set web.token_file")
    listener = _bind(host, port)
    server = _Server(_config(app))
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="kflow-web")
    listening = asyncio.create_task(server.listening.wait())
    try:
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        yield Served(host, listener.getsockname()[1])
    finally:
        listening.cancel()
        server.should_exit = True
        await serving
        listener.close()


def require_free(host: str, port: int) -> None:
    """Raises PortTaken or ConfigError where `serve` could not listen there now."""
    _bind(host, port).close()


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Http,
        ws=_Stream,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONCURRENT,
        h11_max_incomplete_event_size=HEAD_BYTES,
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
    )


def _bind(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65_535:
        raise ConfigError(f"{port} is not a port", hint="ports are 0 to 65535")
    try:
        # "localhost" may be ::1 first, where clients that ask for 127.0.0.1 find nobody.
        address = "127.0.0.1" if host == "localhost" else host
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, port), family=family, backlog=128)
        # What it accepts inherits this: asyncio would set it only on sockets made with a protocol number.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port) from None
        if error.errno == errno.EACCES:
            raise ConfigError(f"this user may not listen on port {port}", hint="choose one above 1023") from None
        why = error.strerror or str(error)
        raise ConfigError(
            f"cannot listen on {host}: {why}", hint="web.host must be an address of this machine"
        ) from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)  # connections inherit it
    return listener
