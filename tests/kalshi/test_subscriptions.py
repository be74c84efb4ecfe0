"""What is asked, when, and what becomes of questions that are refused or not answered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kflow.clock import NS_PER_S
from kflow.kalshi import wire
from kflow.kalshi.subscriptions import (
    ANSWER_NS,
    CHECK_EVERY_NS,
    MARKETS_PER_COMMAND,
    RESYNC_SPACING_NS,
    Subscriptions,
    plain,
)

A, B = "KXT-A", "KXT-B"


class Asker:
    """Subscriptions and the commands they send."""

    def __init__(self, **options: Any) -> None:
        self.subscriptions = Subscriptions(**{"use_yes_price": False, **options})
        self.frames = 0

    def sent(self) -> list[wire.Command]:
        commands = self.subscriptions.outbox[:]
        self.subscriptions.outbox.clear()
        return commands

    def answer(self, **message: Any) -> None:
        self.frames += 1
        envelope = wire.decode(msgspec.json.encode(message))
        assert isinstance(envelope, wire.Envelope)
        self.subscriptions.control(envelope, self.subscriptions.read(envelope))

    def tick(self, now_ns: int) -> list[wire.Command]:
        self.subscriptions.tick(now_ns, self.frames)
        return self.sent()

    def subscribed(self, *markets: str) -> int:
        """A live subscription with sid 1; the id of its command."""
        self.subscriptions.subscribe("orderbook_delta", markets)
        [command] = self.sent()
        self.answer(type="subscribed", id=command.id, msg={"channel": "orderbook_delta", "sid": 1})
        return command.id


@pytest.fixture
def asker() -> Asker:
    return Asker()


def test_a_large_set_is_asked_for_in_parts_that_the_venue_merges(asker: Asker) -> None:
    markets = [f"M{n}" for n in range(2 * MARKETS_PER_COMMAND + 1)]
    asker.subscriptions.subscribe("orderbook_delta", markets)
    first, second, third = asker.sent()
    assert [m for c in (first, second, third) for m in c.params["market_tickers"]] == markets
    asker.answer(type="subscribed", id=first.id, msg={"channel": "orderbook_delta", "sid": 1})
    asker.answer(type="ok", id=second.id, sid=1, seq=1)
    asker.answer(type="ok", id=third.id, sid=1, seq=2)
    assert list(asker.subscriptions.of(1).markets) == markets
    assert asker.tick(2 * ANSWER_NS) == []
    assert asker.subscriptions.failed is None


def test_a_subscription_that_is_not_answered_fails_the_connection(asker: Asker) -> None:
    asker.subscriptions.subscribe("orderbook_delta", [A])
    asker.frames = 10
    asker.tick(ANSWER_NS)
    assert asker.subscriptions.failed is None
    asker.tick(ANSWER_NS + 1)
    assert asker.subscriptions.failed == "subscribe was not answered in 5 s"


def test_a_storm_of_gaps_asks_at_intervals(asker: Asker) -> None:
    asker.subscribed(A, B)
    subscription = asker.subscriptions.of(1)
    now, asked = NS_PER_S, 0
    for _ in range(1000):
        now += NS_PER_S // 1000
        asker.subscriptions.now_ns = now
        asker.subscriptions.resync(subscription)
        asked += len(asker.sent())
    assert asked == NS_PER_S // RESYNC_SPACING_NS
    [last] = asker.tick(now + RESYNC_SPACING_NS)
    assert last.params["market_tickers"] == [A, B]
    assert asker.tick(now + 2 * RESYNC_SPACING_NS) == []


def test_a_snapshot_that_came_meanwhile_is_not_asked_for(asker: Asker) -> None:
    asker.subscribed(A, B)
    asker.subscriptions.now_ns = NS_PER_S
    asker.subscriptions.resync(asker.subscriptions.of(1), [A])
    asker.sent()
    asker.subscriptions.resync(asker.subscriptions.of(1), [A, B])
    asker.subscriptions.answered(A, None)
    [command] = asker.tick(2 * NS_PER_S)
    assert command.params["market_tickers"] == [B]


def test_a_silent_feed_fails_and_a_silent_market_does_not(asker: Asker) -> None:
    asker.subscribed(A, B)
    asker.subscriptions.now_ns = NS_PER_S
    asker.subscriptions.resync(asker.subscriptions.of(1), [A])
    asker.tick(NS_PER_S)
    asker.frames += 1  # other data
    asker.tick(NS_PER_S + ANSWER_NS + 1)
    assert asker.subscriptions.failed is None
    assert asker.subscriptions.unanswered == {A}
    asker.subscriptions.resync(asker.subscriptions.of(1), [B])
    asker.tick(2 * NS_PER_S + ANSWER_NS)
    asker.tick(3 * NS_PER_S + 2 * ANSWER_NS)
    assert asker.subscriptions.failed == "get_snapshot was not answered in 5 s"


def test_a_late_answer_is_known_as_one(asker: Asker) -> None:
    """Reading the journal must come to the same as having been there, however long an answer took."""
    asker.subscribed(A)
    asker.subscriptions.now_ns = NS_PER_S
    asker.subscriptions.resync(asker.subscriptions.of(1))
    [command] = asker.sent()
    asker.tick(NS_PER_S)
    asker.frames += 1
    asker.tick(NS_PER_S + ANSWER_NS + 1)
    assert asker.subscriptions.answered(A, command.id)
    assert not asker.subscriptions.unanswered
    assert not asker.subscriptions.answered(A, command.id)


def test_one_market_in_turn_is_compared_with_a_fresh_snapshot(asker: Asker) -> None:
    asker.subscribed(A, B)
    assert asker.tick(1) == []
    seen = []
    for turn in range(1, 5):
        [command] = asker.tick(turn * CHECK_EVERY_NS + 1)
        seen += command.params["market_tickers"]
        assert asker.subscriptions.answered(seen[-1], command.id)
    assert sorted(seen) == [A, A, B, B]


@pytest.mark.parametrize("code", [26, 27])
def test_too_much_is_asked_for_in_halves_later(asker: Asker, code: int) -> None:
    asker.subscriptions.subscribe("orderbook_delta", ["M1", "M2", "M3"])
    [command] = asker.sent()
    asker.answer(type="error", id=command.id, msg={"code": code, "msg": "too many"})
    assert asker.sent() == []
    assert [c.params["market_tickers"] for c in asker.tick(NS_PER_S)] == [["M1", "M2"], ["M3"]]
    assert asker.subscriptions.refusal is None


def test_a_wrong_command_is_given_up(asker: Asker) -> None:
    asker.subscriptions.subscribe("orderbook_delta", [A])
    [command] = asker.sent()
    asker.answer(type="error", id=command.id, msg={"code": 16, "msg": "Market not found"})
    assert asker.subscriptions.refusal is not None
    assert (asker.subscriptions.refusal.code, asker.subscriptions.refusal.message) == (16, "Market not found")


def test_a_refused_resync_fails_the_connection(asker: Asker) -> None:
    asker.subscribed(A)
    asker.subscriptions.now_ns = NS_PER_S
    asker.subscriptions.resync(asker.subscriptions.of(1))
    [command] = asker.sent()
    asker.answer(type="error", id=command.id, msg={"code": 12, "msg": "Subscription not found"})
    assert asker.subscriptions.failed == "the venue refused get_snapshot: 12 Subscription not found"


def test_a_subscription_that_keeps_ending_is_renewed_once_a_second(asker: Asker) -> None:
    asker.subscribed(A)
    now, sid, renewed = NS_PER_S, 1, 0
    for _ in range(100):
        asker.subscriptions.now_ns = now
        if not asker.subscriptions.of(sid).dead:
            asker.answer(type="error", sid=sid, msg={"code": 10, "msg": "Channel error"})
        now += NS_PER_S // 20
        asker.subscriptions.tick(now, asker.frames)
        for command in asker.sent():
            renewed, sid = renewed + 1, sid + 1
            asker.answer(type="subscribed", id=command.id, msg={"channel": "orderbook_delta", "sid": sid})
    assert 5 <= renewed <= 7


def test_an_end_is_told_once(asker: Asker) -> None:
    asker.subscribed(A)
    envelope = wire.Envelope("error", sid=1, msg=msgspec.Raw(b'{"code":25,"msg":"overflow"}'))
    answer = asker.subscriptions.read(envelope)
    assert asker.subscriptions.control(envelope, answer) is not None
    assert asker.subscriptions.control(envelope, answer) is None


def test_whoever_reads_a_journal_asks_nothing() -> None:
    asker = Asker(passive=True)
    asker.subscriptions.sent(wire.encode(wire.subscribe(1, ["orderbook_delta"], [A], use_yes_price=False)))
    asker.answer(type="subscribed", id=1, msg={"channel": "orderbook_delta", "sid": 1})
    asker.subscriptions.resync(asker.subscriptions.of(1))
    asker.answer(type="error", sid=1, msg={"code": 25, "msg": ""})
    assert asker.sent() == []
    asker.subscriptions.sent(wire.encode(wire.get_snapshot(2, 1, [A])))
    assert asker.subscriptions.answered(A, 2)
    asker.subscriptions.sent(b"no command")


def test_a_checkpoint_keeps_what_decides_how_frames_are_read(asker: Asker) -> None:
    asker.subscribed(A, B)
    subscription = asker.subscriptions.of(1)
    subscription.sequence.next = 77
    subscription.excuse()
    asker.subscriptions.now_ns = NS_PER_S
    asker.subscriptions.resync(subscription, [B])
    [command] = asker.sent()
    restored = Subscriptions(use_yes_price=False, passive=True)
    restored.restore(asker.subscriptions.state())
    assert restored.of(1) == subscription
    assert restored.answered(B, command.id)


def test_words_of_the_venue_fit_a_table() -> None:
    assert plain("a\0b" + "c" * 9999) == "a\N{REPLACEMENT CHARACTER}b" + "c" * 497
