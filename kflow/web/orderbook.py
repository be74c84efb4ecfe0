"""Books as JSON: whole with units for people, compact with differences for streams."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from kflow.market.book import BookView
from kflow.market.events import Level
from kflow.record.trades import Seen
from kflow.units import complement, format_price, format_size

Levels = tuple[Level, ...]


def orderbook_json(view: BookView) -> dict[str, Any]:
    """A book for people: best levels first, asks derived from the other side's bids."""
    yes, no = _asked(view.no), _asked(view.yes)
    return {
        "market": view.market,
        "version": view.version,
        "live": view.live,
        "yes_bids": _people(reversed(view.yes)),
        "yes_asks": _people(yes),
        "no_bids": _people(reversed(view.no)),
        "no_asks": _people(no),
        "spread_e4": view.spread,
    }


def _asked(bids: Levels) -> Iterable[Level]:
    """Bids of one side as asks of the other, best first."""
    return ((complement(price), size) for price, size in reversed(bids))


def _people(levels: Iterable[Level]) -> list[dict[str, Any]]:
    return [
        {
            "price_e4": price,
            "size_e2": size,
            "price_dollars": format_price(price),
            # 1e-4 dollar is to a cent what 1e-2 contract is to a contract.
            "price_cents": _hundredths(price),
            "size_contracts": format_size(size),
        }
        for price, size in levels
    ]


def _hundredths(value: int) -> str:
    whole, part = divmod(value, 100)
    return f"{whole}.{part:02d}"


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """A whole book; levels ascend by price."""

    market: str
    version: int
    live: bool
    yes: Levels
    no: Levels


class Delta(msgspec.Struct, frozen=True, tag="delta"):
    """What changed since the message before: new sizes by price, 0 where a level is gone."""

    market: str
    from_version: int
    version: int
    live: bool
    yes: list[tuple[int, int]]
    no: list[tuple[int, int]]


def message(before: BookView | None, after: BookView) -> bytes | None:
    """What a client that was last sent `before` must be told; None where nothing changed."""
    if before is None or after.version < before.version:
        # A new connection counts versions anew: what was known of the old one ends here.
        return msgspec.json.encode(Snapshot(after.market, after.version, after.live, after.yes, after.no))
    delta = Delta(
        after.market,
        before.version,
        after.version,
        after.live,
        _changes(before.yes, after.yes),
        _changes(before.no, after.no),
    )
    if not delta.yes and not delta.no and (before.version, before.live) == (after.version, after.live):
        return None
    return msgspec.json.encode(delta)


def trades_message(market: str, trades: Iterable[Seen], missed: int) -> bytes:
    """Trades for a stream, oldest first; `missed` ones before them are kept no more."""
    told = [(t.at_ms, t.price, t.size, None if t.taker is None else ("yes", "no")[t.taker]) for t in trades]
    return msgspec.json.encode({"type": "trades", "market": market, "missed": missed, "trades": told})


def _changes(before: Levels, after: Levels) -> list[tuple[int, int]]:
    if before is after or before == after:
        return []
    changed: dict[int, int] = dict(set(after).difference(before))
    gone = dict.fromkeys(price for price, _ in before)
    for price, _ in after:
        gone.pop(price, None)
    changed.update(dict.fromkeys(gone, 0))
    return sorted(changed.items())
