"""The venue's frames as bytes, numbered as the venue numbers them: one object per connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from kflow.market.times import format_rfc3339_us
from kflow.units import Price, Size, format_price, format_size

MARKET: Final = "KXT-26JAN01-A"
OTHER: Final = "KXT-26JAN01-B"
CENTS: Final = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
START_US: Final = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z

Levels = Iterable[tuple[int, int]]


class Frames:
    """Each call returns the next frame of its subscription; `skip` leaves that many seqs out."""

    def __init__(self) -> None:
        # Last seq by sid.
        self.seq: Counter[int] = Counter()
        # The exchange's clock; each delta is a group of its own unless it is told otherwise.
        self.us = START_US

    def snapshot(
        self, market: str = MARKET, yes: Levels = (), no: Levels = (), *, sid: int = 1, ident: int | None = None
    ) -> bytes:
        """A whole book; an empty side is left out, as the venue does it. `ident`: of the command it answers."""
        body: dict[str, Any] = {"market_ticker": market, "market_id": "9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1"}
        for name, levels in (("yes_dollars_fp", yes), ("no_dollars_fp", no)):
            if levels:
                body[name] = [[format_price(Price(price)), format_size(Size(size))] for price, size in levels]
        return self.sequenced("orderbook_snapshot", body, sid=sid, ident=ident)

    def delta(
        self, price: int, change: int, *, side: str = "yes", market: str = MARKET, sid: int = 1, same: bool = False
    ) -> bytes:
        """One level changes; `same` puts it into the group of the one before."""
        if not same:
            self.us += 1_000
        body = {
            "market_ticker": market,
            "price_dollars": format_price(Price(price)),
            "delta_fp": format_size(Size(change)),
            "side": side,
            "ts": format_rfc3339_us(self.us),
            "ts_ms": self.us // 1000,
        }
        return self.sequenced("orderbook_delta", body, sid=sid)

    def trade(self, price: int = 4400, size: int = 100, *, market: str = MARKET, sid: int = 2) -> bytes:
        """A public trade."""
        body = {
            "market_ticker": market,
            "trade_id": f"00000000-0000-4000-8000-{self.seq[sid] + 1:012d}",
            "yes_price_dollars": format_price(Price(price)),
            "count_fp": format_size(Size(size)),
            "taker_outcome_side": "yes",
            "ts_ms": self.us // 1000,
        }
        return self.sequenced("trade", body, sid=sid)

    def ticker(self, *, market: str = MARKET, sid: int = 3) -> bytes:
        """A ticker, which has no seq."""
        body = {"market_ticker": market, "price_dollars": "0.4400", "ts_ms": self.us // 1000}
        return msgspec.json.encode({"type": "ticker", "sid": sid, "msg": body})

    def sequenced(self, kind: str, body: object, *, sid: int = 1, ident: int | None = None) -> bytes:
        """Any frame of a subscription, with its next seq."""
        self.seq[sid] += 1
        message: dict[str, Any] = {"type": kind, "sid": sid, "seq": self.seq[sid], "msg": body}
        if ident is not None:
            message["id"] = ident
        return msgspec.json.encode(message)

    def skip(self, count: int = 1, *, sid: int = 1) -> None:
        """So many frames are lost."""
        self.seq[sid] += count

    @staticmethod
    def subscribed(ident: int, channel: str, sid: int) -> bytes:
        """The ack of a subscribe command; it has no seq."""
        return msgspec.json.encode({"type": "subscribed", "id": ident, "msg": {"channel": channel, "sid": sid}})

    @staticmethod
    def refusal(ident: int, code: int, words: str = "no") -> bytes:
        """The answer to a command that the venue refuses."""
        return msgspec.json.encode({"type": "error", "id": ident, "msg": {"code": code, "msg": words}})
