"""Frames come out as the websockets library would give them, however the bytes arrive."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from kflow.errors import VenueError
from kflow.kalshi.transport import FastConnection


class Lines:
    """Takes what a connection delivers."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.chunks: list[tuple[int, int, int]] = []
        self.more = asyncio.Event()

    def __call__(self, frames: list[bytes], wall_ns: int, mono_ns: int) -> None:
        self.frames += frames
        self.chunks.append((len(frames), wall_ns, mono_ns))
        self.more.set()

    async def until(self, count: int) -> list[bytes]:
        async with asyncio.timeout(20):
            while len(self.frames) < count:
                self.more.clear()
                await self.more.wait()
        return self.frames


def splitter() -> tuple[FastConnection, list[bytes]]:
    """A connection without a socket, whose bytes come by hand, and what it delivers."""
    connection = FastConnection.__new__(FastConnection)
    delivered: list[bytes] = []
    connection._tail, connection._need, connection._fragments = bytearray(), 0, []
    connection._handler = lambda frames, *_: delivered.extend(frames)
    return connection, delivered


def encoded(payload: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin=fin).serialize(mask=False)


def chop(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


payloads = st.one_of(
    st.binary(max_size=300),
    st.integers(65_530, 65_545).map(lambda n: b"x" * n),
    st.integers(120, 130).map(lambda n: b"y" * n),
)


@given(st.lists(payloads, max_size=8), st.lists(st.integers(0, 400_000), max_size=30))
def test_any_split_of_the_bytes_gives_the_same_frames(sent: list[bytes], cuts: list[int]) -> None:
    connection, delivered = splitter()
    for piece in chop(b"".join(encoded(payload) for payload in sent), cuts):
        connection.data_received(piece)
    assert delivered == sent
    assert not connection._tail


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=6))
def test_one_byte_at_a_time(sent: list[bytes]) -> None:
    connection, delivered = splitter()
    data = b"".join(encoded(payload) for payload in sent)
    for at, byte in enumerate(data):
        connection.data_received(bytes([byte]))
        whole = len([1 for n in range(len(sent)) if at + 1 >= sum(len(encoded(p)) for p in sent[: n + 1])])
        assert len(delivered) == whole, "a frame is delivered with its last byte, not later"
    assert delivered == sent


def test_a_short_frame_behind_a_long_one_is_not_held_back() -> None:
    """What a long frame needed must not be waited for once it is there."""
    connection, delivered = splitter()
    long, short = encoded(b"l" * 5000), encoded(b"s" * 200)
    connection.data_received(long[:100])
    connection.data_received(long[100:] + short[:3])
    connection.data_received(short[3:])
    assert [len(frame) for frame in delivered] == [5000, 200]


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=5), st.lists(st.integers(0, 9000), max_size=9))
def test_a_message_in_fragments_is_joined(payload: bytes, breaks: list[int], cuts: list[int]) -> None:
    connection, delivered = splitter()
    pieces = chop(payload, breaks) or [b""]
    data = b""
    for at, piece in enumerate(pieces):
        data += encoded(piece, Opcode.TEXT if at == 0 else Opcode.CONT, fin=at == len(pieces) - 1)
    for chunk in chop(data + encoded(b"next"), cuts):
        connection.data_received(chunk)
    assert delivered == [payload, b"next"]


@asynccontextmanager
async def venue(script: Callable[[ServerConnection], object]) -> AsyncIterator[FastConnection]:
    """A real server that runs `script` for its client, and the client."""

    async def serving(connection: ServerConnection) -> None:
        await connection.recv()  # the client listens
        await script(connection)  # type: ignore[misc]
        await connection.wait_closed()

    async with serve(serving, "127.0.0.1", 0, compression=None, max_size=None, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        connection = await websockets.connect(
            f"ws://127.0.0.1:{port}",
            create_connection=FastConnection,
            compression=None,
            ping_interval=None,
            proxy=None,
            max_size=None,
            close_timeout=1,
        )
        assert isinstance(connection, FastConnection)
        try:
            yield connection
        finally:
            connection.transport.abort()
            await connection.wait_closed()


async def begin(connection: FastConnection, lines: Lines) -> None:
    connection.deliver_to(lines)
    connection.protocol.send_text(b"go")
    connection.send_data()


async def test_a_real_server_and_the_library_agree() -> None:
    sent = [os.urandom(n % 700).hex() for n in range(500)] + ["x" * 70_000, "", "é€𝄞" * 30_000]

    async def script(connection: ServerConnection) -> None:
        for text in sent:
            await connection.send(text)
        await connection.send([text[:3] for text in sent[:5]])  # one message in fragments
        await connection.send(b"\x00\xffbinary")

    async with venue(script) as connection:
        lines = Lines()
        await begin(connection, lines)
        frames = await lines.until(len(sent) + 2)
    assert frames == [*(t.encode() for t in sent), "".join(t[:3] for t in sent[:5]).encode(), b"\x00\xffbinary"]
    assert all(count > 0 for count, *_ in lines.chunks)
    stamps = [mono_ns for _, _, mono_ns in lines.chunks]
    assert stamps == sorted(stamps)


async def test_pings_are_answered_between_frames() -> None:
    answered = asyncio.Event()

    async def script(connection: ServerConnection) -> None:
        await connection.send("before")
        pong = await connection.ping(b"heartbeat")
        await connection.send("behind")
        await pong
        answered.set()

    async with venue(script) as connection:
        lines = Lines()
        await begin(connection, lines)
        assert await lines.until(2) == [b"before", b"behind"]
        await asyncio.wait_for(answered.wait(), 5)
        assert connection.heard


async def test_our_pings_are_answered() -> None:
    async def script(connection: ServerConnection) -> None:
        await connection.send("here")

    async with venue(script) as connection:
        lines = Lines()
        await begin(connection, lines)
        await lines.until(1)
        assert await asyncio.wait_for(await connection.ping(), 5) >= 0


async def test_a_clean_close_is_told_after_the_last_frame() -> None:
    async def script(connection: ServerConnection) -> None:
        await connection.send("last")
        await connection.close(1012, "deploying")

    async with venue(script) as connection:
        lines = Lines()
        await begin(connection, lines)
        await asyncio.wait_for(asyncio.shield(connection.connection_lost_waiter), 5)
        assert lines.frames == [b"last"]
        assert (connection.close_code, connection.close_reason) == (1012, "deploying")


@pytest.mark.parametrize("over", [1, 2**20])
async def test_an_oversized_frame_ends_the_connection_before_it_is_read(over: int) -> None:
    limit = 100_000

    async def script(connection: ServerConnection) -> None:
        await connection.send("small")
        connection.transport.write(b"\x81\x7f" + struct.pack(">Q", limit + over))
        connection.transport.write(b"x" * 1000)

    async with venue(script) as connection:
        lines = Lines()
        connection.max_frame_bytes = limit
        await begin(connection, lines)
        await asyncio.wait_for(asyncio.shield(connection.connection_lost_waiter), 5)
        assert connection.oversized == limit + over
        assert lines.frames == [b"small"]
        assert len(connection._tail) < 10_000


@pytest.mark.parametrize(
    "broken",
    [b"\x81\x85abcdhello", b"\xc1\x03abc", b"\x83\x01a\x8b\x00", b"\x89\x7e\x00\x80" + b"p" * 128],
    ids=["masked", "reserved bit", "reserved opcodes", "long ping"],
)
async def test_what_breaks_the_protocol_ends_the_connection(broken: bytes) -> None:
    async def script(connection: ServerConnection) -> None:
        await connection.send("sound")
        connection.transport.write(broken)

    async with venue(script) as connection:
        lines = Lines()
        await begin(connection, lines)
        await asyncio.wait_for(asyncio.shield(connection.connection_lost_waiter), 5)
        assert lines.frames[0] == b"sound"


async def test_half_a_frame_before_anything_was_asked_is_refused() -> None:
    async def early(connection: ServerConnection) -> None:
        connection.transport.write(encoded(b"unasked")[:4])
        await connection.wait_closed()

    async with serve(early, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        connection = await websockets.connect(
            f"ws://127.0.0.1:{port}", create_connection=FastConnection, compression=None, ping_interval=None, proxy=None
        )
        assert isinstance(connection, FastConnection)
        async with asyncio.timeout(5):
            while not connection.heard:  # noqa: ASYNC110 - the library tells nobody of half a frame
                await asyncio.sleep(0)
        with pytest.raises(VenueError, match="before it was asked"):
            connection.deliver_to(Lines())
        connection.transport.abort()
        await connection.wait_closed()


@pytest.mark.parametrize("seed", range(12))
async def test_arbitrary_bytes_end_the_connection_or_are_frames(seed: int) -> None:
    noise = random.Random(seed)
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))

    async def script(connection: ServerConnection) -> None:
        for _ in range(30):
            connection.transport.write(noise.randbytes(noise.randint(1, 400)))
        connection.transport.close()

    async with venue(script) as connection:
        lines = Lines()
        connection.max_frame_bytes = 10_000
        await begin(connection, lines)
        await asyncio.wait_for(asyncio.shield(connection.connection_lost_waiter), 5)
    assert failures == []
