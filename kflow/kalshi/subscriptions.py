"""What a connection asked for and what it got: commands, their answers, resyncs, checks. No socket, no clock.

Whoever reads a journal feeds the commands that were sent (`sent`) and is `passive`: nothing is asked for anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from kflow.clock import NS_PER_S
from kflow.errors import MalformedFrame
from kflow.kalshi import wire
from kflow.market.events import Gap, GapKind
from kflow.market.sequence import Sequence as SequenceCounter

# kalshi-protocol section 3.6 and gotcha 9: an answer that takes longer will not come.
ANSWER_NS: Final = 5 * NS_PER_S
# A storm of gaps asks for snapshots at most this often.
RESYNC_SPACING_NS: Final = NS_PER_S // 4
# How often one market of each subscription is compared with a fresh snapshot.
CHECK_EVERY_NS: Final = 30 * NS_PER_S
# Markets named in one command; larger sets are split (the venue's own limit is not published).
MARKETS_PER_COMMAND: Final = 500

BOOK_CHANNEL: Final = "orderbook_delta"
_TOO_MANY: Final = frozenset({26, 27})  # market limit, command rate: ask for less, later
_TRY_AGAIN: Final = frozenset({18})  # command timeout


class Subscription(msgspec.Struct):
    """One sid."""

    sid: int
    channel: str | None = None
    # Markets of the subscription, in the order they were added (a dict for its order).
    markets: dict[str, None] = {}
    sequence: SequenceCounter = msgspec.field(default_factory=SequenceCounter)
    # Ended by the venue; whatever still comes on it is late.
    dead: bool = False
    # Malformed frames of unknown subscription that came before `excused_at`: if they were of this one, so many seqs are
    # missing there. The next frame of this subscription tells.
    excused: int = 0
    excused_at: int = 0

    def excuse(self) -> None:
        """A frame came that may have been the next of this subscription."""
        self.excused = self.excused + 1 if self.excused_at == self.sequence.next else 1
        self.excused_at = self.sequence.next

    def excuses(self, expected: int, missing: int) -> bool:
        """Whether the frames from `expected` on are not lost, but came malformed."""
        return self.excused_at == expected and missing <= self.excused


class Pending(msgspec.Struct):
    """A command that was sent and not yet answered in full."""

    command: wire.Command
    sid: int | None
    markets: set[str]
    sent_ns: int
    frames_then: int = 0
    # Its time is over; a late answer is still known as one.
    judged: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """The venue says our command is wrong: asking again would not help."""

    code: int
    message: str


class State(msgspec.Struct, array_like=True):
    """What a checkpoint keeps."""

    subscriptions: list[Subscription]
    asked: list[tuple[int, int, list[str]]]  # (command id, sid, markets) of open get_snapshot commands


class Subscriptions:
    """Subscriptions, commands and answers of one connection."""

    def __init__(self, *, use_yes_price: bool, passive: bool = False) -> None:
        self.passive = passive
        self.now_ns = 0
        # Commands to send, in order; cleared by the sender.
        self.outbox: list[wire.Command] = []
        # Why this connection must be given up, once it must.
        self.failed: str | None = None
        self.refusal: Refusal | None = None
        # Markets that never answered: their books stay stale, and they are not asked again.
        self.unanswered: set[str] = set()
        self._use_yes_price = use_yes_price
        self.by_sid: dict[int, Subscription] = {}
        self._pending: dict[int, Pending] = {}
        self._next_id = 1
        # Per sid: markets that wait for a snapshot, and when one was last asked for.
        self._wanted: dict[int, dict[str, None]] = {}
        self._resynced_ns: dict[int, int] = {}
        # Per channel: when it was last subscribed anew, since the venue had ended it.
        self._renewed_ns: dict[str, int] = {}
        # (due, command) of subscribe commands that the venue asked us to send later.
        self._later: list[tuple[int, wire.Command]] = []
        self._check_due_ns = 0
        self._check_turn = 0

    def of(self, sid: int) -> Subscription:
        """The subscription, made on first sight: data may come before its ack (section 3.3)."""
        found = self.by_sid.get(sid)
        if found is None:
            found = self.by_sid[sid] = Subscription(sid)
        return found

    def sequenced(self) -> list[Subscription]:
        """Subscriptions whose books depend on every frame."""
        return [s for s in self.by_sid.values() if s.markets and not s.dead]

    # --- commands

    def subscribe(self, channel: str, markets: Sequence[str] = (), *, due_ns: int = 0) -> None:
        """Ask for a channel, at `due_ns`; many markets in several commands, which the venue merges into one sid."""
        parts = [markets[i : i + MARKETS_PER_COMMAND] for i in range(0, len(markets), MARKETS_PER_COMMAND)] or [()]
        for part in parts:
            command = wire.subscribe(self._id(), [channel], part, use_yes_price=self._use_yes_price)
            if due_ns > self.now_ns:
                self._later.append((due_ns, command))
            else:
                self._send(command)

    def resync(self, subscription: Subscription, markets: Iterable[str] | None = None) -> None:
        """Ask for snapshots of `markets` (default: all of the subscription), but not in a storm."""
        if self.passive or subscription.dead:
            return
        wanted = self._wanted.setdefault(subscription.sid, {})
        wanted.update(dict.fromkeys(subscription.markets if markets is None else markets))
        self._ask(subscription.sid)

    def _ask(self, sid: int) -> None:
        wanted = self._wanted.get(sid)
        if not wanted or self.now_ns - self._resynced_ns.get(sid, -NS_PER_S) < RESYNC_SPACING_NS:
            return
        self._resynced_ns[sid] = self.now_ns
        markets = list(wanted)
        wanted.clear()
        for i in range(0, len(markets), MARKETS_PER_COMMAND):
            self._send(wire.get_snapshot(self._id(), sid, markets[i : i + MARKETS_PER_COMMAND]))

    def _id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _send(self, command: wire.Command) -> None:
        if self.passive:
            return
        self.outbox.append(command)
        self._await(command)

    def _await(self, command: wire.Command) -> None:
        markets = command.params.get("market_tickers", ())
        self._pending[command.id] = Pending(command, command.params.get("sid"), set(markets), self.now_ns)

    def sent(self, raw: bytes) -> None:
        """A command read back from a journal."""
        try:
            self._await(wire.decode_command(raw))
        except MalformedFrame:
            return  # a command we could not read decides nothing but how a snapshot is labelled

    # --- answers

    def answered(self, market: str, command: int | None) -> bool:
        """A snapshot of `market` came. True when it answers a get_snapshot."""
        for wanted in self._wanted.values():
            wanted.pop(market, None)
        self.unanswered.discard(market)
        pending = None if command is None else self._pending.get(command)
        if command is None or pending is None or market not in pending.markets:
            return False
        pending.markets.discard(market)
        if not pending.markets and pending.command.cmd == "update_subscription":
            del self._pending[command]
        return True

    @staticmethod
    def read(message: wire.Envelope) -> Answer | None:
        """The body of an ack or an error, None for other messages. Raises MsgspecError where it is none."""
        decoder = _ANSWERS.get(message.type)
        return None if decoder is None else decoder.decode(message.msg)

    def control(self, message: wire.Envelope, answer: Answer | None) -> tuple[Gap, Subscription] | None:
        """An ack or an error. Returns the gap and the subscription that it ends, if it does."""
        if isinstance(answer, _ErrorBody):
            return self._error(message, answer)
        if isinstance(answer, _AckBody):
            self._subscribed(message, answer)
        elif message.type == "ok":
            self._ok(message)
        elif message.type == "unsubscribed" and message.sid is not None:
            if self._answer(message.id) is None:
                words = "the venue unsubscribed us"
                return self._ended(message.sid, Gap(GapKind.CHANNEL, message.sid, None, None, message.seq, words))
            self.of(message.sid).dead = True
        return None

    def _answer(self, command: int | None) -> Pending | None:
        return None if command is None else self._pending.pop(command, None)

    def _subscribed(self, message: wire.Envelope, body: _AckBody) -> None:
        pending = self._answer(message.id)
        subscription = self.of(body.sid)
        subscription.channel = body.channel
        subscription.dead = False
        if pending is not None and body.channel == BOOK_CHANNEL:
            subscription.markets.update(dict.fromkeys(pending.command.params.get("market_tickers", ())))

    def _ok(self, message: wire.Envelope) -> None:
        pending = self._pending.get(message.id) if message.id is not None else None
        if pending is not None and pending.command.params.get("action") != "get_snapshot":
            self._answer(message.id)
        if message.sid is None or pending is None or pending.command.cmd != "subscribe":
            return
        if pending.command.params.get("channels") == [BOOK_CHANNEL]:
            self.of(message.sid).markets.update(dict.fromkeys(pending.command.params.get("market_tickers", ())))

    def _error(self, message: wire.Envelope, body: _ErrorBody) -> tuple[Gap, Subscription] | None:
        pending = self._answer(message.id)
        if message.sid is None or pending is not None:
            self._refused(body, pending)
            return None
        kind = GapKind.OVERFLOW if body.code == 25 else GapKind.CHANNEL
        words = plain(f"error {body.code}: {body.msg}")
        return self._ended(message.sid, Gap(kind, message.sid, None, None, message.seq, words))

    def _ended(self, sid: int, gap: Gap) -> tuple[Gap, Subscription] | None:
        """The venue ended a subscription: ask for it again, but not in a storm."""
        subscription = self.of(sid)
        if subscription.dead:
            return None  # it was told before
        subscription.dead = True
        self._wanted.pop(sid, None)
        channel = subscription.channel
        if not self.passive and channel is not None:
            due_ns = max(self.now_ns, self._renewed_ns.get(channel, -NS_PER_S) + NS_PER_S)
            self._renewed_ns[channel] = due_ns
            self.subscribe(channel, list(subscription.markets), due_ns=due_ns)
        return gap, subscription

    def _refused(self, body: _ErrorBody, pending: Pending | None) -> None:
        if pending is None or self.passive:
            return
        command = pending.command
        if body.code in _TOO_MANY or body.code in _TRY_AGAIN:
            self._later.extend((self.now_ns + NS_PER_S, part) for part in self._halves(command))
        elif command.cmd == "update_subscription":
            self.failed = f"the venue refused {command.params.get('action')}: {body.code} {body.msg}"
        else:
            self.refusal = Refusal(body.code, body.msg)

    def _halves(self, command: wire.Command) -> list[wire.Command]:
        markets = command.params.get("market_tickers", [])
        middle = (len(markets) + 1) // 2
        parts = [markets[:middle], markets[middle:]] if len(markets) > 1 else [markets]
        return [
            wire.Command(self._id(), command.cmd, {**command.params, **({"market_tickers": part} if part else {})})
            for part in parts
        ]

    # --- time

    def tick(self, now_ns: int, frames: int) -> None:
        """Judge what has not been answered. `frames`: how many frames the connection has seen so far."""
        self.now_ns = now_ns
        for due, command in self._later[:]:
            if due <= now_ns:
                self._later.remove((due, command))
                self._send(command)
        for sid in list(self._wanted):
            self._ask(sid)
        for pending in [pending for pending in self._pending.values() if not pending.judged]:
            if pending.frames_then == 0:
                pending.frames_then = frames + 1
            if now_ns - pending.sent_ns > ANSWER_NS:
                self._unanswered(pending, frames)
        self._check(now_ns)

    def _unanswered(self, pending: Pending, frames: int) -> None:
        pending.judged = True
        action = pending.command.params.get("action", pending.command.cmd)
        if action != "get_snapshot" or frames < pending.frames_then:
            self.failed = f"{action} was not answered in {ANSWER_NS // NS_PER_S} s"
            return
        # Other data came: the feed lives, these markets are silent (section 0.1, fact 6).
        self.unanswered.update(pending.markets)

    def _check(self, now_ns: int) -> None:
        """Compare one market of each subscription with a fresh snapshot: silence alone proves nothing."""
        if now_ns < self._check_due_ns:
            return
        first, self._check_due_ns = self._check_due_ns == 0, now_ns + CHECK_EVERY_NS
        if first:
            return
        self._check_turn += 1
        for subscription in self.sequenced():
            markets = [m for m in subscription.markets if m not in self.unanswered]
            if markets and subscription.channel == BOOK_CHANNEL:
                market = markets[self._check_turn % len(markets)]
                self._send(wire.get_snapshot(self._id(), subscription.sid, [market]))

    # --- checkpoints

    def state(self) -> State:
        asked = [
            (p.command.id, p.sid or 0, sorted(p.markets))
            for p in self._pending.values()
            if p.command.params.get("action") == "get_snapshot"
        ]
        return State(list(self.by_sid.values()), asked)

    def restore(self, state: State) -> None:
        self.by_sid = {s.sid: s for s in state.subscriptions}
        for command, sid, markets in state.asked:
            self._await(wire.get_snapshot(command, sid, markets))


def plain(text: str) -> str:
    """Words of the venue as a table's text can hold them: no NUL, not endless."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:500]


class _AckBody(msgspec.Struct):
    channel: str
    sid: wire.Sid


class _ErrorBody(msgspec.Struct):
    code: int
    msg: str = ""


Answer = _AckBody | _ErrorBody

_ANSWERS: Final[Mapping[str, msgspec.json.Decoder[Answer]]] = {
    "subscribed": msgspec.json.Decoder(_AckBody),
    "error": msgspec.json.Decoder(_ErrorBody),
}
