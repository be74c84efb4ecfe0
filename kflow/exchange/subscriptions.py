"""One socket's subscriptions: commands in, replies out, and the numbering of everything sent. No I/O, no clock.

A subscription is a channel: subscribing to it again merges into it and is answered with `ok` (protocol section 3.3).
Every sequenced frame of a subscription takes the next `seq`, control frames too (section 3.6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from kflow.exchange.commands import (
    CHANNEL_NEEDS,
    ERROR_TEXTS,
    Refused,
    channels_of,
    decode_command,
    one_sid,
    sids_of,
    tickers_of,
)
from kflow.exchange.messages import (
    ORDERBOOK,
    PRIVATE,
    SNAPSHOT_TYPE,
    TICKER,
    UNFILTERED,
    UNSEQUENCED,
    Message,
)

Params = Mapping[str, object]


class Frame(msgspec.Struct, gc=False):
    """A text frame that is numbered but not yet written. A fault may still change, repeat or withhold it."""

    kind: str
    body: str  # JSON of msg; empty: the frame has none
    sid: int | None = None
    seq: int | None = None
    ident: int | None = None  # of the command it answers
    market: str | None = None

    def text(self, tail: str = "") -> str:
        """The frame's JSON. `tail` goes before the closing brace."""
        ident = "" if self.ident is None else f'"id":{self.ident},'
        sid = "" if self.sid is None else f',"sid":{self.sid}'
        seq = "" if self.seq is None else f',"seq":{self.seq}'
        msg = f',"msg":{self.body}' if self.body else ""
        return f'{{{ident}"type":"{self.kind}"{sid}{seq}{msg}{tail}}}'


class Subscription:
    """One channel of one socket."""

    __slots__ = ("channel", "markets", "seq", "sid", "skip_ack", "yes_prices")

    def __init__(self, channel: str, sid: int, markets: Sequence[str] | None, params: Params) -> None:
        self.channel: Final = channel
        self.sid: Final = sid
        # An ordered set; None means every market.
        self.markets: dict[str, None] | None = None if markets is None else dict.fromkeys(markets)
        self.seq = 0
        self.yes_prices = params.get("use_yes_price") is True
        self.skip_ack = params.get("skip_ticker_ack") is True

    def wants(self, market: str) -> bool:
        return self.markets is None or market in self.markets

    def next_seq(self, step: int = 1) -> int:
        self.seq += step
        return self.seq

    def add(self, markets: Sequence[str] | None) -> list[str]:
        """Widen to these markets too, and return the new ones."""
        if markets is None:
            self.markets = None
        if self.markets is None:
            return []
        new = [market for market in dict.fromkeys(markets or ()) if market not in self.markets]
        self.markets.update(dict.fromkeys(new))
        return new

    def ack_body(self) -> str:
        if self.skip_ack:
            return "{}"
        tickers = msgspec.json.encode(list(self.markets or ())).decode()
        return f'{{"market_tickers":{tickers}}}'


class VenueView(Protocol):
    """What replies need to know of the venue."""

    def snapshot_body(self, market: str, *, yes_prices: bool, begun_only: bool = False) -> str | None:
        """The book as it is now; None for an unknown ticker, with `begun_only` also for a market without a book yet."""

    def ticker_body(self, market: str) -> str | None:
        """The market's top and totals as they are now; None where it is not known."""

    def yes_price_body(self, message: Message) -> str:
        """An order book message's body with NO levels at YES prices."""

    def ticker_of(self, market_id: str) -> str | None:
        """The ticker of a market's UUID."""


class Limits(msgspec.Struct, frozen=True):
    """What one socket may ask for (protocol section 3.1)."""

    markets: int = 500_000
    commands_per_s: int = 10_000


class Subscriptions:
    """All subscriptions of one socket."""

    def __init__(
        self,
        venue: VenueView,
        *,
        account: str = "",
        subaccount: int | None = None,
        sids: Mapping[str, int] | None = None,
        limits: Limits = Limits(),  # noqa: B008 - immutable
    ) -> None:
        """`account`: the user whose private messages come here; of one `subaccount`, if it names one."""
        self._venue, self._limits = venue, limits
        self._account, self._subaccount = account, subaccount
        # Sids that channels must get, so that a recording's own numbers hold.
        self._planned = dict(sids or {})
        self._last_sid = max(self._planned.values(), default=0)
        self._by_channel: dict[str, Subscription] = {}
        self._by_sid: dict[int, Subscription] = {}
        self._window: tuple[int, int] = (0, 0)  # the current second and the commands it brought

    def of(self, channel: str) -> Subscription | None:
        return self._by_channel.get(channel)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._by_sid)

    def all(self) -> tuple[Subscription, ...]:
        return tuple(self._by_sid.values())

    def concerns(self, message: Message) -> bool:
        """Whether this socket subscribed to a message and may see it."""
        subscription = self._by_channel.get(message.channel)
        if subscription is None or not subscription.wants(message.market):
            return False
        return message.channel not in PRIVATE or self._owns(message)

    def _owns(self, message: Message) -> bool:
        return message.account == self._account and self._subaccount in (None, message.subaccount)

    def stamp(self, message: Message) -> Frame | None:
        """The message as this socket gets it; None where it does not concern it."""
        if not self.concerns(message):
            return None
        subscription = self._by_channel[message.channel]
        seq = None if message.channel in UNSEQUENCED else subscription.next_seq(message.step)
        if message.own_body and self._owns(message):
            message = msgspec.structs.replace(message, body=message.own_body)
        body = message.body
        if subscription.yes_prices and message.channel == ORDERBOOK:
            body = self._venue.yes_price_body(message)
        return Frame(message.kind, body, subscription.sid, seq, None, message.market)

    def texts(self, messages: Sequence[Message], tail: str = "") -> list[str]:
        """`stamp` and `Frame.text` of many messages in one loop: this is what carries 50,000 frames a second."""
        out: list[str] = []
        channel, subscription, wanted, fast = "", None, None, False
        for message in messages:
            if message.channel != channel:
                channel = message.channel
                subscription = self._by_channel.get(channel)
                wanted = None if subscription is None else subscription.markets
                plain = channel not in UNSEQUENCED and channel not in PRIVATE
                fast = plain and not (subscription is not None and subscription.yes_prices)
            if subscription is None or (wanted is not None and message.market not in wanted):
                continue
            if fast and not message.account:
                subscription.seq = seq = subscription.seq + message.step
                out.append(
                    f'{{"type":"{message.kind}","sid":{subscription.sid},"seq":{seq},"msg":{message.body}{tail}}}'
                )
            elif (frame := self.stamp(message)) is not None:
                out.append(frame.text(tail))
        return out

    def end(self, sid: int, code: int, *, seq: int | None = None) -> Frame | None:
        """End a subscription with a terminal error (25, 10). None where it has ended already."""
        subscription = self._by_sid.get(sid)
        if subscription is None:
            return None
        self._forget(subscription)
        return _error_frame(code, None, subscription.sid, subscription.next_seq() if seq is None else seq)

    def command(self, raw: bytes | str, now_s: float = 0.0) -> list[Frame]:
        """Carry out one command and return the frames that answer it, in order."""
        ident: int | None = None
        try:
            ident, name, params = decode_command(raw)
            self._count(now_s)
            handler = {
                "subscribe": self._subscribe,
                "unsubscribe": self._unsubscribe,
                "update_subscription": self._update,
                "list_subscriptions": self._list,
            }.get(name)
            if handler is None:
                raise Refused(5)
            if params is None and name != "list_subscriptions":
                raise Refused(2)
            return handler(ident, params or {})
        except Refused as refused:
            subscription = self._by_sid.get(refused.sid) if refused.sid is not None else None
            sid, seq = (None, None) if subscription is None else (subscription.sid, subscription.next_seq())
            return [_error_frame(refused.code, refused.ident or ident, sid, seq)]

    def _count(self, now_s: float) -> None:
        second, count = self._window
        self._window = (second, count + 1) if second == int(now_s) else (int(now_s), 1)
        if self._window[1] > self._limits.commands_per_s:
            raise Refused(27)

    def _subscribe(self, ident: int | None, params: Params) -> list[Frame]:
        channels = channels_of(params)
        tickers = tickers_of(params, self._venue.ticker_of if channels == [TICKER] else None)
        for channel in channels:
            need = CHANNEL_NEEDS.get(channel)
            if need is not None and not params.get(need.param):
                raise Refused(need.code)
            if channel == ORDERBOOK and not tickers:
                raise Refused(14)
        held = sum([len(subscription.markets or ()) for subscription in self._by_sid.values()])
        if held + len(tickers or ()) * len(channels) > self._limits.markets:
            raise Refused(26)
        acks: list[Frame] = []
        firsts: list[Frame] = []
        for channel in channels:
            ack, new = self._open(ident, channel, None if channel in UNFILTERED else tickers, params)
            acks.append(ack)
            firsts += self._firsts(channel, new, params)
        # `ok` consumes a seq, so an ack of one channel is numbered before the snapshots that follow it.
        return acks + firsts

    def _open(
        self, ident: int | None, channel: str, tickers: list[str] | None, params: Params
    ) -> tuple[Frame, list[str]]:
        """Open a subscription or merge into the open one: its ack, and the markets that are new to it."""
        subscription = self._by_channel.get(channel)
        if subscription is not None:
            new = subscription.add(tickers)
            return self._ok(ident, subscription), new
        sid = self._planned.pop(channel, None)
        if sid is None:
            self._last_sid = sid = self._last_sid + 1
        subscription = Subscription(channel, sid, tickers, params)
        self._by_channel[channel] = self._by_sid[sid] = subscription
        ack = Frame("subscribed", f'{{"channel":"{channel}","sid":{sid}}}', ident=ident)
        return ack, list(subscription.markets or ())

    def _firsts(self, channel: str, markets: Sequence[str], params: Params) -> list[Frame]:
        """What a subscription starts with: snapshots, or the tickers that were asked for."""
        subscription = self._by_channel[channel]
        if channel == ORDERBOOK:
            return self._snapshots(subscription, markets, None, first=True)
        if channel != TICKER or params.get("send_initial_snapshot") is not True:
            return []
        bodies = [(market, self._venue.ticker_body(market)) for market in markets]
        return [Frame(TICKER, body, subscription.sid, market=market) for market, body in bodies if body is not None]

    def _snapshots(
        self, subscription: Subscription, markets: Sequence[str], ident: int | None, *, first: bool
    ) -> list[Frame]:
        frames = []
        for market in markets:
            # A subscriber of a market that has not begun gets its first snapshot when it does.
            body = self._venue.snapshot_body(market, yes_prices=subscription.yes_prices, begun_only=first)
            if body is not None:  # an unknown ticker is met with silence
                frames.append(Frame(SNAPSHOT_TYPE, body, subscription.sid, subscription.next_seq(), ident, market))
        return frames

    def _unsubscribe(self, ident: int | None, params: Params) -> list[Frame]:
        frames = []
        for sid in sids_of(params):
            subscription = self._by_sid.get(sid)
            if subscription is None:
                frames.append(_error_frame(7, ident, None, None))
                continue
            self._forget(subscription)
            frames.append(Frame("unsubscribed", "", sid, subscription.next_seq(), ident))
        return frames

    def _update(self, ident: int | None, params: Params) -> list[Frame]:
        subscription = self._by_sid.get(one_sid(params))
        if subscription is None:
            raise Refused(7)
        action = params.get("action")
        if not isinstance(action, str) or not action:
            raise Refused(15, sid=subscription.sid)
        actions = {"add_markets": self._add, "delete_markets": self._delete, "get_snapshot": self._get_snapshot}
        handler = actions.get(action)
        if handler is None or (action == "get_snapshot" and subscription.channel != ORDERBOOK):
            raise Refused(13, sid=subscription.sid)
        by_id = self._venue.ticker_of if subscription.channel == TICKER else None
        tickers = tickers_of(params, by_id, sid=subscription.sid)
        if not tickers:
            raise Refused(14, sid=subscription.sid)
        return handler(ident, subscription, tickers, params)

    def _add(self, ident: int | None, subscription: Subscription, tickers: list[str], params: Params) -> list[Frame]:
        new = subscription.add(tickers)
        return [self._ok(ident, subscription), *self._firsts(subscription.channel, new, params)]

    def _delete(self, ident: int | None, subscription: Subscription, tickers: list[str], _: Params) -> list[Frame]:
        if subscription.markets is None:
            raise Refused(13, sid=subscription.sid)
        for ticker in tickers:
            subscription.markets.pop(ticker, None)
        return [self._ok(ident, subscription)]

    def _get_snapshot(
        self, ident: int | None, subscription: Subscription, tickers: list[str], _: Params
    ) -> list[Frame]:
        return self._snapshots(subscription, tickers, ident, first=False)

    def _list(self, ident: int | None, _: Params) -> list[Frame]:
        entries = ",".join([f'{{"channel":"{s.channel}","sid":{s.sid}}}' for s in self._by_sid.values()])
        return [Frame("ok", f"[{entries}]", ident=ident)]

    def _ok(self, ident: int | None, subscription: Subscription) -> Frame:
        return Frame("ok", subscription.ack_body(), subscription.sid, subscription.next_seq(), ident)

    def _forget(self, subscription: Subscription) -> None:
        del self._by_sid[subscription.sid]
        del self._by_channel[subscription.channel]


def _error_frame(code: int, ident: int | None, sid: int | None, seq: int | None) -> Frame:
    return Frame("error", f'{{"code":{code},"msg":"{ERROR_TEXTS[code]}"}}', sid, seq, ident)
