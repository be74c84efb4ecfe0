"""Own orders as files: samples of their place in the queue, for `kflow calibrate --own`.

A JSON object a line: `order_id`, `market`, `us` (the venue's time, µs since 1970) or `ts` (RFC 3339), `side` (yes, no),
`price` (its own side's, dollars), `remaining` and `queue_position` (contracts ahead of it), as the venue's
`queue_positions` answers.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final

import msgspec

from kflow.errors import DataError, Unrepresentable, UsageError
from kflow.market.times import parse_rfc3339_us
from kflow.sim.ghosts import Sample
from kflow.units import parse_price, parse_size

_SIDES: Final = {"yes": 0, "no": 1}


class _Line(msgspec.Struct):
    order_id: str
    market: str
    side: str
    price: str
    remaining: str
    queue_position: str
    us: int | None = None
    ts: str | None = None


def read_samples(path: Path) -> dict[str, list[Sample]]:
    """Samples by market. Raises UsageError (no such file), DataError (not of this form)."""
    found: dict[str, list[Sample]] = defaultdict(list)
    number = 0
    try:
        for number, text in enumerate(path.read_bytes().splitlines(), 1):  # noqa: B007 - an error names it
            line = msgspec.json.decode(text, type=_Line)
            found[line.market].append(_sample(line))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="check --own") from None
    except (msgspec.MsgspecError, Unrepresentable, KeyError) as error:
        raise DataError(f"{path}, line {number}: {error}", hint="docs/simulation.md says what a sample holds") from None
    return dict(found)


def _sample(line: _Line) -> Sample:
    if line.us is None and line.ts is None:
        raise msgspec.ValidationError("neither `us` nor `ts` says when")
    us = line.us if line.us is not None else parse_rfc3339_us(line.ts or "")
    price, remaining = parse_price(line.price), parse_size(line.remaining)
    return Sample(line.order_id, us, _SIDES[line.side], price, remaining, parse_size(line.queue_position))
