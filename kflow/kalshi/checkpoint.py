"""The state of a feed protocol as bytes, so that a journal can be read from the middle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from kflow.errors import JournalError
from kflow.kalshi.livebook import LiveBook, Ranges, valid_prices
from kflow.kalshi.protocol import FeedProtocol
from kflow.kalshi.subscriptions import State
from kflow.market.events import Level, Side
from kflow.units import Price, Size


class _BookState(msgspec.Struct, array_like=True):
    market: str
    sid: int
    live: bool
    started: bool
    version: int
    yes: tuple[Level, ...]
    no: tuple[Level, ...]
    checked: bool  # the book's prices are held against the market's grid


class _State(msgspec.Struct, array_like=True):
    use_yes_price: bool
    subscriptions: State
    books: list[_BookState]
    grids: dict[str, Ranges]
    group_ts: str | None
    group: list[tuple[str, int, Price, Size]]
    frames: int


class _Checkpoint(msgspec.Struct, array_like=True):
    connections: dict[int, _State]
    # The grids that the next connection begins with.
    grids: dict[str, Ranges]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Checkpoint)


def save(protocols: Mapping[int, FeedProtocol], grids: Mapping[str, Ranges]) -> bytes:
    """Every connection's protocol, by connection number, and the grids of the session's markets."""
    states = {number: _state(protocol) for number, protocol in protocols.items()}
    return _ENCODER.encode(_Checkpoint(states, dict(grids)))


def load(data: bytes) -> tuple[dict[int, FeedProtocol], dict[str, Ranges]]:
    """What `save` was given, to go on reading with: the protocols ask for nothing. Raises JournalError."""
    try:
        kept = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise JournalError(f"a checkpoint cannot be read: {error}", hint="read from an earlier segment") from None
    return {number: _protocol(state) for number, state in kept.connections.items()}, kept.grids


def _state(protocol: FeedProtocol) -> _State:
    books = [
        _BookState(
            book.market,
            book.sid,
            book.live,
            book.started,
            book.version,
            book.levels(Side.YES),
            book.levels(Side.NO),
            book.grid is not None,
        )
        for book in protocol.books.values()
    ]
    group_ts, group = protocol.group_state()
    return _State(
        protocol.use_yes_price,
        protocol.subscriptions.state(),
        books,
        protocol.grids,
        group_ts,
        group,
        protocol.frames,
    )


def _protocol(state: _State) -> FeedProtocol:
    protocol = FeedProtocol(use_yes_price=state.use_yes_price, passive=True)
    protocol.subscriptions.restore(state.subscriptions)
    protocol.grids = state.grids
    for kept in state.books:
        book = LiveBook(kept.market, kept.sid, valid_prices(state.grids.get(kept.market)) if kept.checked else None)
        book.replace(kept.yes, kept.no)
        book.live, book.started, book.version = kept.live, kept.started, kept.version
        protocol.books[kept.market] = book
    protocol.restore_group(state.group_ts, state.group)
    protocol.frames = state.frames
    return protocol
