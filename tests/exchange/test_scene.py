"""Made-up markets keep their promises: books that can be, the same again from a seed, a life of their own."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.exchange.messages import DELTA_TYPE, LIFECYCLE, SNAPSHOT_TYPE, TICKER, TRADE, Message
from kflow.exchange.presets import PRESETS
from kflow.exchange.scene import Scene, SyntheticOptions
from kflow.market.book import Book
from kflow.market.events import Side
from kflow.market.times import US_PER_S
from kflow.testing.pit import Pit, play, synthetic
from kflow.units import DOLLAR, Price, Size, parse_money

START_US = 1_795_000_000_000_000


def messages_of(options: SyntheticOptions, count: int) -> list[Message]:
    pit, scene = synthetic(options, START_US)
    while len(pit.messages) < count:
        play(scene)
    return pit.messages


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), preset=st.sampled_from(sorted(PRESETS)), markets=st.integers(1, 24))
def test_books_are_never_crossed_or_locked_or_off_their_grid(seed: int, preset: str, markets: int) -> None:
    options = SyntheticOptions(preset=preset, markets=markets, rate=1000.0, seed=seed)
    pit, scene = synthetic(options, START_US)
    while len(pit.messages) < 2000:
        play(scene)
    books: dict[str, Book] = {}
    for message, following in zip(pit.messages, [*pit.messages[1:], None], strict=True):
        if message.kind == SNAPSHOT_TYPE:
            assert message.levels is not None
            books[message.market] = Book(message.market)
            books[message.market].replace(*message.levels)
        elif message.kind == DELTA_TYPE:
            price = message.price if message.side == Side.YES else DOLLAR - message.price
            assert price in pit.venue.markets[message.market].listing.grid
            books[message.market].apply(message.side, Price(message.price), Size(message.change))
        if following is None or following.venue_us != message.venue_us:
            yes, no = (books[message.market].best(side) for side in Side)
            assert yes is None or no is None or yes[0] + no[0] < DOLLAR
    for ticker, book in books.items():
        for side in Side:
            assert book.levels(side) == pit.engine(ticker).levels(side)


def test_a_seed_gives_the_same_bytes_again() -> None:
    options = SyntheticOptions(markets=5, seed=3)
    once, again = messages_of(options, 5000), messages_of(options, 5000)
    assert once == again
    assert once != messages_of(SyntheticOptions(markets=5, seed=4), 5000)


def test_each_group_has_a_moment_of_its_own() -> None:
    last_us, market = 0, ""
    for message in messages_of(SyntheticOptions(markets=3), 4000):
        if message.kind == DELTA_TYPE:
            assert message.venue_us > last_us or (message.venue_us, message.market) == (last_us, market)
            last_us, market = message.venue_us, message.market


@pytest.mark.parametrize("rate", [50.0, 10_000.0])
def test_rate_is_held_on_average(rate: float) -> None:
    messages = messages_of(SyntheticOptions(rate=rate), 20_000)
    seconds = (messages[-1].venue_us - START_US) / US_PER_S
    assert len(messages) / seconds == pytest.approx(rate, rel=0.03)


def test_ticker_volume_rises_by_twice_what_takers_took() -> None:
    traded: dict[str, int] = {}
    tickers = 0
    for message in messages_of(SyntheticOptions(markets=4), 30_000):
        if message.kind == TRADE:
            traded[message.market] = traded.get(message.market, 0) + message.change
        elif message.kind == TICKER:
            tickers += 1
            assert f'"volume_fp":"{2 * traded.get(message.market, 0) / 100:.2f}"' in message.body
    assert tickers > 20


def test_markets_close_settle_and_are_followed() -> None:
    pit, scene = synthetic(SyntheticOptions(markets=9, lifetime_s=60.0), START_US)
    account = pit.account()
    ticker = next(entry.ticker for entry, _ in scene.catalogue.markets if entry.close_us == START_US + 60 * US_PER_S)
    bought = False
    while scene.now_us < START_US + 200 * US_PER_S:
        play(scene)
        if not bought and scene.now_us > START_US + 20 * US_PER_S:
            bought = pit.place(account, Side.YES, "0.99", "10", ticker=ticker).filled > 0
            resting = pit.place(account, Side.YES, "0.01", "10", ticker=ticker)
    told = [message for message in pit.messages if message.market == ticker and message.channel == LIFECYCLE]
    kinds = [re.findall(r'"event_type":"(\w+)"', message.body)[0] for message in told]
    assert kinds == ["close_date_updated", "determined", "settled"]
    mine = [message for message in pit.messages if message.market == ticker]
    (empty,) = [message for message in mine if message.levels == ((), ())]
    assert max(message.venue_us for message in mine if message.kind == DELTA_TYPE) < empty.venue_us
    assert (resting.status, resting.reason) == ("canceled", "CloseCancel")
    state = pit.venue.markets[ticker]
    assert (pit.venue.status(state), state.result in ("yes", "no")) == ("finalized", True)
    (settlement,) = pit.desk.reads(account).settlements
    assert settlement["revenue"] == (1000 if state.result == "yes" else 0)
    assert pit.wealth() != parse_money("10000")  # it traded with the crowd, whose money nobody counts
    created = [message.market for message in pit.messages if '"event_type":"created"' in message.body]
    assert created
    assert {message.market for message in pit.messages if message.kind == DELTA_TYPE} >= set(created[:2])


def test_orders_of_others_lie_in_the_same_queues_and_are_filled() -> None:
    pit, scene = synthetic(SyntheticOptions(markets=1, seed=5), START_US)
    account = pit.account()
    ticker = scene.catalogue.markets[0][0].ticker
    orders = []
    while len(orders) < 60:
        play(scene)
        bid = pit.engine(ticker).best(Side.YES)
        if bid is not None:
            price = f"{bid / DOLLAR:.4f}"
            orders.append(pit.place(account, Side.YES, price, "1", ticker=ticker, post_only=True))
    filled = [order for order in orders if order.filled]
    assert filled
    fills = pit.desk.reads(account).fills
    assert not any(fill["is_taker"] for fill in fills)
    trades = {
        body["trade_id"]: body
        for body in [msgspec.json.decode(message.body) for message in pit.messages if message.kind == TRADE]
    }
    assert all(trades[fill["trade_id"]]["yes_price_dollars"] == fill["yes_price_dollars"] for fill in fills)


def only_market(seed: int = 5) -> tuple[Pit, Scene, str]:
    pit, scene = synthetic(SyntheticOptions(markets=1, seed=seed), START_US)
    return pit, scene, scene.catalogue.markets[0][0].ticker


def test_the_crowd_rests_during_a_pause() -> None:
    pit, scene, ticker = only_market()
    play(scene)
    pit.control.pause()
    before = len(pit.messages)
    for _ in range(20):
        play(scene)
    assert not [message for message in pit.messages[before:] if message.kind == DELTA_TYPE]
    pit.control.resume()
    pit.control.deactivate(ticker)
    for _ in range(20):
        play(scene)
    assert not [message for message in pit.messages[before:] if message.kind == DELTA_TYPE]
    pit.control.activate(ticker)
    for _ in range(20):
        play(scene)
    assert [message for message in pit.messages[before:] if message.kind == DELTA_TYPE]


@pytest.mark.parametrize("whole", [True, False])
def test_time_goes_on_during_a_pause_with_a_rate(whole: bool) -> None:
    pit, scene = synthetic(SyntheticOptions(markets=1, rate=50.0), START_US)
    play(scene)
    pit.control.pause() if whole else pit.control.deactivate(scene.catalogue.markets[0][0].ticker)
    moments = []
    for _ in range(5):
        play(scene)
        moments.append(scene.now_us)
    assert moments == sorted(set(moments))
    assert moments[-1] - moments[0] > 5 * US_PER_S


def test_the_crowd_follows_other_ticks() -> None:
    pit, scene, ticker = only_market()
    play(scene)
    pit.control.retick(ticker, "deci_cent")
    before = len(pit.messages)
    for _ in range(100):
        play(scene)
    prices = [message.price for message in pit.messages[before:] if message.kind == DELTA_TYPE]
    assert any(price % 100 for price in prices)
    pit.control.retick(ticker, "linear_cent")
    before = len(pit.messages)
    for _ in range(100):
        play(scene)
    added = [message for message in pit.messages[before:] if message.kind == DELTA_TYPE and message.change > 0]
    assert added
    assert not any(message.price % 100 for message in added)


def test_a_close_that_comes_early_settles_early() -> None:
    pit, scene, ticker = only_market()
    play(scene)
    pit.control.move_close(ticker, scene.now_us + 2 * US_PER_S)
    while scene.now_us < START_US + 90 * US_PER_S:
        play(scene)
    state = pit.venue.markets[ticker]
    assert pit.venue.status(state) == "finalized"
    last = max(message.venue_us for message in pit.messages if message.kind == DELTA_TYPE)
    assert last <= START_US + 3 * US_PER_S
