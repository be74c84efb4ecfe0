"""Commands in, replies out: the protocol of subscriptions, without a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kflow.exchange.market import Venue
from kflow.exchange.messages import ORDERBOOK, TICKER, Message
from kflow.exchange.subscriptions import Limits, Subscriptions
from kflow.exchange.writer import Writer
from kflow.testing.venue import START_US, listing, some_levels

A, B, C = "KXA-26-T1", "KXA-26-T2", "KXA-26-T3"


@pytest.fixture
def venue() -> Venue:
    venue = Venue()
    listings = [listing(ticker) for ticker in (A, B, C)]
    venue.list_markets(listings)
    for entry in listings[:2]:  # C has not begun
        venue.apply([Writer(entry, venue.style).snapshot(some_levels(), START_US)])
    return venue


@pytest.fixture
def subscriptions(venue: Venue) -> Subscriptions:
    return Subscriptions(venue)


def replies(
    subscriptions: Subscriptions, command: dict[str, Any] | str | bytes, **options: Any
) -> list[dict[str, Any]]:
    raw = json.dumps(command) if isinstance(command, dict) else command
    return [json.loads(frame.text()) for frame in subscriptions.command(raw, **options)]


def subscribe(
    subscriptions: Subscriptions, *markets: str, channel: str = ORDERBOOK, ident: int = 1, **params: Any
) -> Any:
    names = {"market_tickers": list(markets)} if markets else {}
    return replies(
        subscriptions, {"id": ident, "cmd": "subscribe", "params": {"channels": [channel], **names, **params}}
    )


def update(subscriptions: Subscriptions, action: str, *markets: str, sid: int = 1, ident: int = 5) -> Any:
    params = {"sid": sid, "action": action, "market_tickers": list(markets)}
    return replies(subscriptions, {"id": ident, "cmd": "update_subscription", "params": params})


def delta(venue: Venue, market: str, change: int = 100) -> Message:
    return Writer(venue.markets[market].listing, venue.style).deltas([(0, 4400, change)], START_US + 1)[0]


def kinds(frames: list[dict[str, Any]]) -> list[tuple[str, int | None, int | None]]:
    return [(frame["type"], frame.get("sid"), frame.get("seq")) for frame in frames]


def test_first_subscription_is_acknowledged_without_seq_then_snapshots(subscriptions: Subscriptions) -> None:
    frames = subscribe(subscriptions, A, B)
    assert frames[0] == {"id": 1, "type": "subscribed", "msg": {"channel": ORDERBOOK, "sid": 1}}
    assert kinds(frames[1:]) == [("orderbook_snapshot", 1, 1), ("orderbook_snapshot", 1, 2)]
    assert frames[1]["msg"]["yes_dollars_fp"][-1] == ["0.4400", "100.00"]


def test_second_subscription_of_a_channel_merges(subscriptions: Subscriptions) -> None:
    subscribe(subscriptions, A)
    frames = subscribe(subscriptions, B, ident=2)
    assert frames[0] == {"id": 2, "type": "ok", "sid": 1, "seq": 2, "msg": {"market_tickers": [A, B]}}
    assert kinds(frames[1:]) == [("orderbook_snapshot", 1, 3)]


def test_skip_ticker_ack_leaves_the_list_out(subscriptions: Subscriptions) -> None:
    subscribe(subscriptions, A, skip_ticker_ack=True)
    assert subscribe(subscriptions, B, ident=2)[0]["msg"] == {}


def test_unknown_and_unbegun_markets_are_met_with_silence(subscriptions: Subscriptions) -> None:
    assert kinds(subscribe(subscriptions, "NOPE", C)) == [("subscribed", None, None)]


def test_each_sid_counts_for_itself(subscriptions: Subscriptions, venue: Venue) -> None:
    subscribe(subscriptions, A)
    subscribe(subscriptions, channel="trade", ident=2)
    message = Message("trade", "trade", A, "{}")
    assert [f.seq for f in (subscriptions.stamp(delta(venue, A)), subscriptions.stamp(message)) if f] == [2, 1]


def test_tickers_carry_no_seq(subscriptions: Subscriptions) -> None:
    subscribe(subscriptions, A, channel=TICKER)
    frame = subscriptions.stamp(Message(TICKER, TICKER, A, "{}"))
    assert frame is not None
    assert json.loads(frame.text()) == {"type": "ticker", "sid": 1, "msg": {}}


def test_initial_ticker_on_request(subscriptions: Subscriptions) -> None:
    frames = subscribe(subscriptions, A, channel=TICKER, send_initial_snapshot=True)
    assert frames[1]["msg"]["yes_bid_dollars"] == "0.4400"
    assert frames[1]["msg"]["yes_ask_dollars"] == "0.4600"


def test_ticker_channel_takes_market_ids(subscriptions: Subscriptions, venue: Venue) -> None:
    ident = venue.markets[A].listing.market_id
    frames = replies(
        subscriptions,
        {"id": 1, "cmd": "subscribe", "params": {"channels": [TICKER], "market_ids": [ident]}},
    )
    assert frames[0]["type"] == "subscribed"
    assert subscriptions.stamp(Message(TICKER, TICKER, A, "{}")) is not None
    assert subscriptions.stamp(Message(TICKER, TICKER, B, "{}")) is None


def test_get_snapshot_carries_the_id_and_changes_nothing(subscriptions: Subscriptions) -> None:
    subscribe(subscriptions, A)
    frames = update(subscriptions, "get_snapshot", A, B, ident=9)
    assert [(f["id"], f["sid"], f["seq"]) for f in frames] == [(9, 1, 2), (9, 1, 3)]
    subscription = subscriptions.of(ORDERBOOK)
    assert subscription is not None
    assert list(subscription.markets or ()) == [A]


def test_get_snapshot_of_an_unbegun_market_is_an_empty_book(subscriptions: Subscriptions) -> None:
    subscribe(subscriptions, A, C)
    (frame,) = update(subscriptions, "get_snapshot", C)
    assert set(frame["msg"]) == {"market_ticker", "market_id"}


def test_add_and_delete_markets(subscriptions: Subscriptions, venue: Venue) -> None:
    subscribe(subscriptions, A)
    frames = update(subscriptions, "add_markets", B)
    assert kinds(frames) == [("ok", 1, 2), ("orderbook_snapshot", 1, 3)]
    assert frames[0]["msg"]["market_tickers"] == [A, B]
    (ok,) = update(subscriptions, "delete_markets", A)
    assert (ok["seq"], ok["msg"]["market_tickers"]) == (4, [B])
    assert subscriptions.stamp(delta(venue, A)) is None


def test_unsubscribe_takes_a_seq_and_frees_the_channel(subscriptions: Subscriptions) -> None:
    subscribe(subscriptions, A)
    frames = replies(subscriptions, {"id": 7, "cmd": "unsubscribe", "params": {"sids": [1, 99]}})
    assert frames[0] == {"id": 7, "type": "unsubscribed", "sid": 1, "seq": 2}
    assert frames[1]["msg"]["code"] == 7
    assert subscribe(subscriptions, A, ident=8)[0]["msg"] == {"channel": ORDERBOOK, "sid": 2}


def test_list_subscriptions_is_an_array(subscriptions: Subscriptions) -> None:
    subscribe(subscriptions, A)
    subscribe(subscriptions, channel="fill", ident=2)
    assert replies(subscriptions, {"id": 8, "cmd": "list_subscriptions"}) == [
        {"id": 8, "type": "ok", "msg": [{"channel": ORDERBOOK, "sid": 1}, {"channel": "fill", "sid": 2}]}
    ]


def test_planned_sids_come_first_and_are_never_reused(venue: Venue) -> None:
    subscriptions = Subscriptions(venue, sids={"ticker": 1, ORDERBOOK: 2})
    assert subscribe(subscriptions, A)[0]["msg"]["sid"] == 2
    assert subscribe(subscriptions, channel="trade", ident=2)[0]["msg"]["sid"] == 3
    replies(subscriptions, {"id": 3, "cmd": "unsubscribe", "params": {"sids": [2]}})
    assert subscribe(subscriptions, A, ident=4)[0]["msg"]["sid"] == 4


def test_yes_prices_turn_no_levels_into_asks(subscriptions: Subscriptions, venue: Venue) -> None:
    snapshot = subscribe(subscriptions, A, use_yes_price=True)[1]
    assert snapshot["msg"]["no_dollars_fp"][0] == ["0.4600", "100.00"]
    assert snapshot["msg"]["no_dollars_fp"] == sorted(snapshot["msg"]["no_dollars_fp"])
    writer = Writer(venue.markets[A].listing, venue.style)
    (message,) = writer.deltas([(1, 5400, -100)], START_US + 1)
    (text,) = subscriptions.texts([message])
    assert json.loads(text)["msg"]["price_dollars"] == "0.4600"
    assert json.loads(text)["msg"]["side"] == "no"


def test_batches_are_stamped_as_single_messages_are(venue: Venue) -> None:
    one, many = Subscriptions(venue), Subscriptions(venue)
    for subscriptions in (one, many):
        subscribe(subscriptions, A)
        subscribe(subscriptions, channel=TICKER, ident=2)
    messages = [delta(venue, A), Message(TICKER, TICKER, A, '{"x":1}'), delta(venue, B), delta(venue, A)]
    single = [frame.text(',"n":1') for frame in map(one.stamp, messages) if frame is not None]
    assert many.texts(messages, ',"n":1') == single


def test_terminal_error_ends_the_subscription(subscriptions: Subscriptions, venue: Venue) -> None:
    subscribe(subscriptions, A)
    frame = subscriptions.end(1, 25)
    assert frame is not None
    assert json.loads(frame.text()) == {
        "type": "error", "sid": 1, "seq": 2, "msg": {"code": 25, "msg": "Subscription buffer overflow"},
    }  # fmt: skip
    assert subscriptions.stamp(delta(venue, A)) is None
    assert subscriptions.end(1, 25) is None


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("{", 1),
        (b"\xff", 1),
        ("[1]", 1),
        ({"id": "x", "cmd": "subscribe", "params": {}}, 1),
        ({"id": 1, "cmd": "subscribe"}, 2),
        ({"id": 1, "cmd": "subscribe", "params": {}}, 3),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": []}}, 3),
        ({"id": 1, "cmd": "unsubscribe", "params": {}}, 4),
        ({"id": 1, "cmd": "dance", "params": {}}, 5),
        ({"id": 1, "cmd": "update_subscription", "params": {"sid": 9, "action": "add_markets"}}, 7),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["ticker_v2"]}}, 8),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": [TICKER], "market_ticker": A, "market_id": "x"}}, 11),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": [ORDERBOOK], "market_ids": ["x"]}}, 11),
        ({"id": 1, "cmd": "update_subscription", "params": {"sids": [1, 2], "action": "add_markets"}}, 12),
        ({"id": 1, "cmd": "update_subscription", "params": {"action": "add_markets"}}, 12),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": [ORDERBOOK]}}, 14),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["cfbenchmarks_value"]}}, 24),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["pyth_value"]}}, 28),
    ],
)  # fmt: skip
def test_errors_that_concern_no_subscription(subscriptions: Subscriptions, command: Any, code: int) -> None:
    (frame,) = replies(subscriptions, command)
    assert (frame["type"], frame["msg"]["code"]) == ("error", code)
    assert "seq" not in frame


@pytest.mark.parametrize(("action", "markets", "code"), [("", (A,), 15), ("fly", (A,), 13), ("add_markets", (), 14)])
def test_errors_of_a_subscription_take_its_seq(
    subscriptions: Subscriptions, action: str, markets: tuple[str, ...], code: int
) -> None:
    subscribe(subscriptions, A)
    (frame,) = update(subscriptions, action, *markets)
    assert (frame["sid"], frame["seq"], frame["msg"]["code"], frame["id"]) == (1, 2, code, 5)


def test_limits(venue: Venue) -> None:
    subscriptions = Subscriptions(venue, limits=Limits(markets=1, commands_per_s=2))
    assert subscribe(subscriptions, A, B)[0]["msg"]["code"] == 26
    assert subscribe(subscriptions, A)[0]["type"] == "subscribed"
    assert replies(subscriptions, {"id": 1, "cmd": "list_subscriptions"})[0]["msg"]["code"] == 27
    assert replies(subscriptions, {"id": 1, "cmd": "list_subscriptions"}, now_s=1.0)[0]["type"] == "ok"


def test_unknown_parameters_and_missing_ids_are_fine(subscriptions: Subscriptions) -> None:
    command = {"cmd": "subscribe", "params": {"channels": [ORDERBOOK], "market_ticker": A, "send_initial_snapshot": 1}}
    frames = replies(subscriptions, command)
    assert frames[0] == {"type": "subscribed", "msg": {"channel": ORDERBOOK, "sid": 1}}
    assert frames[1]["type"] == "orderbook_snapshot"
