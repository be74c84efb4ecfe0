"""Own orders as files, a JSON object a line; moments are `us` (the venue's time, µs since 1970) or `ts` (RFC 3339).

Samples of their place in the queue, for `kflow calibrate --own`: `order_id`, `market`, a moment, `side` (yes, no),
`price` (its own side's, dollars), `remaining`, and `queue_position`: the contracts ahead of it, as the venue's
`queue_positions` says.

Orders as they were sent, for `kflow simulate --orders`: `order_id`, `market`, a moment, `side`, `price`, `size`, and
where known `cancelled_us`, `immediate`, and what became of it: `filled` (contracts), `filled_us` (when it was whole).
The log of an account (docs/parity.md) is such a file too: lines of another `kind` than `order` are passed over, and so
are orders that the venue refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from kflow.errors import DataError, Unrepresentable, UsageError
from kflow.market.times import parse_rfc3339_us
from kflow.sim.ghosts import Sample
from kflow.sim.given import Given
from kflow.units import parse_price, parse_size

_SIDES: Final = {"yes": 0, "no": 1}
_LATEST_US: Final = 4_102_444_800_000_000  # 2100


class _Line(msgspec.Struct):
    order_id: str
    market: str
    side: str
    price: str
    remaining: str
    queue_position: str
    us: int | None = None
    ts: str | None = None


class _OrderLine(msgspec.Struct):
    order_id: str
    market: str
    side: str
    price: str
    size: str
    us: int | None = None
    ts: str | None = None
    cancelled_us: int | None = None
    immediate: bool = False
    filled: str | None = None
    filled_us: int | None = None


class _Kind(msgspec.Struct):
    kind: str = "order"
    refused: str | None = None


T = TypeVar("T", _Line, _OrderLine)


def read_samples(path: Path) -> dict[str, list[Sample]]:
    """Samples by market. Raises UsageError (no such file), DataError (not of this form)."""
    found: dict[str, list[Sample]] = defaultdict(list)
    for market, sample in _lines(path, _Line, _sample):
        found[market].append(sample)
    return dict(found)


def read_orders(path: Path) -> list[Given]:
    """Orders, by the time they were sent. Raises UsageError (no such file), DataError (not of this form, or none)."""
    orders = sorted((order for _, order in _lines(path, _OrderLine, _given)), key=lambda order: order.us)
    if not orders:
        raise DataError(f"{path} holds no orders", hint="docs/simulation.md says what a line holds")
    return orders


R = TypeVar("R")


def _lines(path: Path, kind: type[T], parse: Callable[[T], R]) -> Iterator[tuple[str, R]]:
    number = 0
    try:
        for number, text in enumerate(path.read_bytes().splitlines(), 1):  # noqa: B007 - an error names it
            what = msgspec.json.decode(text, type=_Kind)
            if what.kind != "order" or what.refused is not None:
                continue
            line = msgspec.json.decode(text, type=kind)
            yield line.market, parse(line)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="a file with a JSON object a line") from None
    except (msgspec.MsgspecError, Unrepresentable) as error:
        raise DataError(f"{path}, line {number}: {error}", hint="docs/simulation.md says what a line holds") from None


def _moment(line: _Line | _OrderLine) -> int:
    if line.us is None and line.ts is None:
        raise msgspec.ValidationError("neither `us` nor `ts` says when")
    us = line.us if line.us is not None else parse_rfc3339_us(line.ts or "")
    if not 0 < us < _LATEST_US:
        raise Unrepresentable("time in µs since 1970", us)
    return us


def _side(text: str) -> int:
    if text not in _SIDES:
        raise Unrepresentable("side, which is yes or no", text)
    return _SIDES[text]


def _sample(line: _Line) -> Sample:
    price, remaining = parse_price(line.price), parse_size(line.remaining)
    return Sample(line.order_id, _moment(line), _side(line.side), price, remaining, parse_size(line.queue_position))


def _given(line: _OrderLine) -> Given:
    size, us = parse_size(line.size), _moment(line)
    if not 0 < size < 2**30:
        raise Unrepresentable("order of more than nothing and less than ten million contracts", line.size)
    for later in (line.cancelled_us, line.filled_us):
        if later is not None and not us <= later < _LATEST_US:
            raise Unrepresentable("time in µs after the order was sent", later)
    return Given(
        order=line.order_id,
        market=line.market,
        us=us,
        side=_side(line.side),
        price=parse_price(line.price),
        size=size,
        cancelled_us=line.cancelled_us,
        immediate=line.immediate,
        filled=None if line.filled is None else parse_size(line.filled),
        filled_us=line.filled_us,
    )
