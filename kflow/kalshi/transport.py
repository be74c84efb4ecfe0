"""A WebSocket client connection whose data frames go straight to a handler, a whole socket chunk at a time.

websockets' own receive path costs about 7 µs a message (parser generator, queue, wake-up); a feed of small text frames
needs none of it. Control frames, the handshake and whatever is unusual still go through the library. Used with
`websockets.connect(create_connection=FastConnection, compression=None, ping_interval=None)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.frames import CloseCode

from kflow.clock import Clock, SystemClock
from kflow.errors import VenueError

# (frames, wall_ns, mono_ns): frames in order, stamped when the chunk was read.
ChunkHandler = Callable[[list[bytes], int, int], None]

MAX_FRAME_BYTES: Final = 64 * 2**20  # protocol section 3.1

_FIN_TEXT: Final = 0x81
_FIN: Final = 0x80
_RESERVED: Final = 0x70
_CONTROL: Final = 0x08


class FastConnection(ClientConnection):
    """Delivers the complete data frames of each chunk to `handler`, once `deliver_to` was called."""

    _handler: ChunkHandler | None = None
    _clock: Clock = SystemClock()
    # Any byte came since the owner last cleared it.
    heard: bool = False
    # Size that a frame announced when it was over the limit; the connection is then given up.
    oversized: int | None = None
    max_frame_bytes: int = MAX_FRAME_BYTES

    def deliver_to(self, handler: ChunkHandler, clock: Clock | None = None) -> None:
        """From now on frames go to `handler`, which must not raise. Call it before anything is subscribed.

        `clock` stamps them, else the machine's.
        """
        if self.protocol.reader.buffer:  # half a frame already lies in the library's parser
            raise VenueError("the venue sent data before it was asked", hint="kflow reconnects by itself")
        # Bytes of a frame that is not complete, and how many it needs.
        self._tail = bytearray()
        self._need = 0
        # Payloads of a message in several frames.
        self._fragments: list[bytes] = []
        if clock is not None:
            self._clock = clock
        self._handler = handler

    def data_received(self, data: bytes) -> None:
        self.heard = True
        handler = self._handler
        if handler is None:
            super().data_received(data)
            return
        wall_ns, mono_ns = self._clock.wall_ns(), self._clock.mono_ns()
        if self._tail:
            self._tail += data
            if len(self._tail) < self._need:
                return
            data = bytes(self._tail)
            self._tail.clear()
        frames = self._split(data)
        if frames:
            handler(frames, wall_ns, mono_ns)

    def _split(self, data: bytes) -> list[bytes]:  # noqa: C901 - one pass over the bytes; a call per frame would cost
        """Cut a chunk into frames; the rest waits in `_tail`. RFC 6455 section 5.2."""
        frames: list[bytes] = []
        at, size, need = 0, len(data), 2
        while size - at >= 2:
            first, length = data[at], data[at + 1]
            # Nearly every frame: text of 126 to 65,535 bytes, whole.
            if length == 126 and first == _FIN_TEXT and size - at >= 4:
                body = at + 4
                end = body + (data[at + 2] << 8 | data[at + 3])
                if end <= size and end - body <= self.max_frame_bytes:
                    frames.append(data[body:end])
                    at = end
                    continue
            body = at + 2
            if length == 126:
                if size - at < 4:
                    break
                body, length = at + 4, data[at + 2] << 8 | data[at + 3]
            elif length == 127:
                body, length = at + 10, int.from_bytes(data[at + 2 : at + 10], "big")
            elif length > 127:  # a masked frame: the library knows how to refuse it
                return self._hand_over(data[at:], frames)
            if body > size:
                need = body - at
                break
            end = body + length
            if length > self.max_frame_bytes:
                return self._refuse(length, frames)
            if end > size:
                need = end - at
                break
            if first == _FIN_TEXT:
                frames.append(data[body:end])
            elif first & _RESERVED:
                return self._hand_over(data[at:], frames)
            elif first & _CONTROL:
                super().data_received(data[at:end])
            else:
                self._fragment(first, data[body:end], frames)
            at = end
        if at < size:
            self._tail += data[at:] if at else data
            self._need = need
        return frames

    def _fragment(self, first: int, payload: bytes, frames: list[bytes]) -> None:
        """A binary frame, or a piece of a message; pieces are joined."""
        self._fragments.append(payload)
        if first & _FIN:
            frames.append(b"".join(self._fragments))
            self._fragments.clear()

    def _hand_over(self, rest: bytes, frames: list[bytes]) -> list[bytes]:
        """Let the library judge a frame that breaks the protocol: it closes the connection."""
        self._handler = None
        super().data_received(rest)
        return frames

    def _refuse(self, length: int, frames: list[bytes]) -> list[bytes]:
        self.oversized = length
        self._handler = None
        self.protocol.fail(CloseCode.MESSAGE_TOO_BIG)
        self.send_data()
        self.transport.abort()
        return frames
