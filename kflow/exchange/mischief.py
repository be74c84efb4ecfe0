"""Carrying faults out: one message in, what is written to the socket instead of it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kflow.exchange.faults import BlackHole, Close, Cut, Fault, Injector, Kind, Link, Oversized, Silence, Step
from kflow.exchange.market import Venue
from kflow.exchange.messages import (
    DELTA_TYPE,
    ORDERBOOK,
    Message,
    delta_body,
    delta_prefix,
    delta_suffix,
    price_texts,
)
from kflow.market.events import Side
from kflow.market.times import format_rfc3339_us
from kflow.units import CONTRACT, DOLLAR

_MIB: Final = 2**20
# More than any client's book can hold at one price.
_TOO_MUCH: Final = 10_000_000 * CONTRACT
_DEPTH: Final = 100_000


class Mischief:
    """Turns messages into steps for one exchange's sockets."""

    def __init__(self, injector: Injector, venue: Venue) -> None:
        self._injector, self._venue = injector, venue
        self._acts: dict[Kind, Callable[[Link, Message, Fault], list[Step]]] = {
            Kind.DUPLICATE: self._duplicate,
            Kind.REORDER: self._reorder,
            Kind.CUT: lambda *_: [Cut()],
            Kind.CLOSE: lambda _link, _message, fault: [Close(fault.code or 1001)],
            Kind.BLACK_HOLE: lambda _link, _message, fault: [BlackHole(fault.seconds)],
            Kind.SILENT: self._silent,
            Kind.MALFORMED: self._malformed,
            Kind.OVERSIZED: self._oversized,
            Kind.UNKNOWN_TYPE: self._unknown_type,
            Kind.NEGATIVE: self._wrong_delta,
            Kind.CROSSED: self._wrong_delta,
            Kind.OFF_GRID: self._wrong_delta,
            Kind.ERROR: self._error,
        }

    def steps(self, link: Link, message: Message) -> list[Step]:
        """What one message becomes on one connection."""
        subscription = link.subscriptions.of(message.channel)
        if subscription is None or not link.subscriptions.concerns(message):
            return []
        picked = self._injector.pick(link, message)
        if picked is None:
            return self._plain(link, message)
        fault, new = picked
        fact: dict[str, object] = {"sid": subscription.sid, "seq": subscription.seq + 1, "market": message.market}
        if fault.kind is Kind.DROP:
            frame = link.subscriptions.stamp(message)
            self._injector.frames_dropped += 1
            self._injector.told(link, fault, {**fact, "frame": frame.text() if frame else ""}, new=new)
            return []
        if fault.kind is Kind.MALFORMED:
            fact["variant"] = fault.how
        self._injector.told(link, fault, fact)
        if fault.kind is Kind.DELTA_BEFORE_SNAPSHOT:
            return []
        return self._acts[fault.kind](link, message, fault)

    def _plain(self, link: Link, message: Message) -> list[Step]:
        frame = link.subscriptions.stamp(message)
        if frame is None:
            return []
        if not link.window or (link.held and link.held[0].sid != frame.sid):
            return [frame]
        link.held.append(frame)
        return self.release(link) if len(link.held) >= link.window else []

    @staticmethod
    def release(link: Link) -> list[Step]:
        """The frames held for a reorder, last first."""
        frames, link.held, link.window = link.held, [], 0
        return list(reversed(frames))

    def _reorder(self, link: Link, message: Message, fault: Fault) -> list[Step]:
        before = self.release(link)
        link.window = max(2, fault.count or 2)
        return before + self._plain(link, message)

    def _duplicate(self, link: Link, message: Message, fault: Fault) -> list[Step]:
        return self._plain(link, message) * (1 + (fault.count or 1))

    def _silent(self, link: Link, message: Message, fault: Fault) -> list[Step]:
        link.subscriptions.stamp(message)
        return [Silence(fault.seconds or 60.0)]

    def _oversized(self, link: Link, message: Message, fault: Fault) -> list[Step]:
        return [Oversized(round(fault.size_mib * _MIB)), *self._plain(link, message)]

    def _error(self, link: Link, message: Message, fault: Fault) -> list[Step]:
        subscription = link.subscriptions.of(message.channel)
        frame = link.subscriptions.end(subscription.sid, fault.code or 25) if subscription else None
        return [] if frame is None else [frame]

    def _unknown_type(self, link: Link, message: Message, _: Fault) -> list[Step]:
        strange = link.subscriptions.stamp(message)
        if strange is None:
            return []
        strange.kind, strange.body = "market_weather", '{"forecast":"unknown to every client"}'
        return [strange, *self._plain(link, message)]

    def _malformed(self, link: Link, message: Message, fault: Fault) -> list[Step]:
        """The frame is damaged on its way: it takes its seq, and what it said is lost."""
        frame = link.subscriptions.stamp(message)
        if frame is None:
            return []
        if fault.how == "wrong_types":
            frame.body = '{"market_ticker":17,"price_dollars":[],"delta_fp":{},"side":null,"ts_ms":"noon"}'
            return [frame]
        return [malformed(frame.text(), fault.how)]

    def _wrong_delta(self, link: Link, message: Message, fault: Fault) -> list[Step]:
        state = self._venue.markets[message.market]
        prices = state.listing.grid.prices()
        side, price, change = message.side, message.price, int(CONTRACT)
        if fault.kind is Kind.NEGATIVE:
            change = -_TOO_MUCH
        elif fault.kind is Kind.CROSSED:
            side, price = Side.YES, prices[-1]
        else:
            price = next((p for p in range(1, DOLLAR) if p not in state.listing.grid), 1)
        prefix = delta_prefix(message.market, state.listing.market_id)
        suffix = delta_suffix(message.venue_us, format_rfc3339_us(message.venue_us))
        body = delta_body(prefix, side, price_texts()[price], change, suffix)
        wrong = Message(ORDERBOOK, DELTA_TYPE, message.market, body, message.venue_us, side, price, change)
        return self._plain(link, wrong) + self._plain(link, message)


def malformed(text: str, variant: str) -> bytes:
    """A frame damaged so that it is no message."""
    if variant == "truncated":
        return text[: len(text) // 2].encode()
    if variant == "invalid_utf8":
        return text.encode().replace(b'"market_ticker":"', b'"market_ticker":"\xff\xfe', 1)
    if variant == "deep_nesting":
        return text.encode().partition(b',"msg":')[0] + b',"msg":' + b"[" * _DEPTH + b"]" * _DEPTH + b"}"
    if variant == "not_an_object":
        return b'["orderbook_delta",1,2]'
    return text.encode().replace(b":", b";", 1)
