"""What holds over any stream of orders: money, books, fills and private messages agree."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

import msgspec
import pytest

from kflow.exchange.accounts import Account, Ticket, UserOrder
from kflow.exchange.desk import Amendment
from kflow.exchange.messages import DELTA_TYPE, FILL, TRADE, USER_ORDERS
from kflow.exchange.orders import SelfTrade, TimeInForce
from kflow.exchange.terms import OrderRefused
from kflow.market.book import Book
from kflow.market.events import Side
from kflow.market.times import parse_rfc3339_us
from kflow.testing.pit import MARKET, Pit
from kflow.units import DOLLAR, Price, Size, parse_price, parse_size

USERS = 5
CASH = "2000"


class Traders:
    """Users who do all that can be done, at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pit = Pit()
        self.accounts = [self.pit.account(CASH) for _ in range(USERS)]
        self.numbers = itertools.count()
        self.pit.control.charge("INXD-25JAN03", "quadratic_with_maker_fees", 1)
        self.placed = self.refused = 0

    def run(self, orders: int) -> None:
        while self.placed < orders:
            self.step()
            if self.placed % 64 == 0:
                self.pit.desk.flush()
        self.pit.desk.flush()

    def step(self) -> None:
        account = self.random.choice(self.accounts)
        roll = self.random.random()
        try:
            if roll < 0.72:
                self.place(account)
            elif roll < 0.86:
                self.change(account)
            else:
                order = self.some_order(account)
                if order is not None:
                    self.pit.desk.cancel(account, order.order_id)
        except OrderRefused:
            self.refused += 1

    def place(self, account: Account) -> None:
        self.placed += 1
        side = self.random.choice(list(Side))
        centre = 50 + (3 if side == Side.NO else -3)
        cents = min(99, max(1, round(self.random.gauss(centre, 5))))
        ticket = {
            "size": Size(self.random.choice((1, 25, 100, 100, 350, 1000, 2500))),
            "time_in_force": self.random.choices(list(TimeInForce), (8, 2, 1))[0],
            "self_trade": self.random.choice(list(SelfTrade)),
            "post_only": self.random.random() < 0.1,
            "client_order_id": f"c{next(self.numbers)}",
        }
        if ticket["post_only"]:
            ticket["time_in_force"] = TimeInForce.GTC
        price = f"{cents / 100:.2f}"
        size = ticket.pop("size")
        assert isinstance(size, int)
        self.pit.desk.create(
            account, Ticket(ticker=MARKET, side=side, price=parse_price(price), size=Size(size), **ticket)
        )  # type: ignore[arg-type]

    def change(self, account: Account) -> None:
        order = self.some_order(account)
        if order is None:
            return
        if self.random.random() < 0.4:
            self.pit.desk.decrease(account, order.order_id, Size(self.random.randint(1, order.remaining)), None)
            return
        moved = Price(order.price + 100 * self.random.randint(-3, 3))
        count = Size(
            order.filled + self.random.choice((order.remaining, order.remaining // 2 + 1, order.remaining + 100))
        )
        self.pit.desk.amend(
            account, Amendment(order_id=order.order_id, ticker=MARKET, side=order.side, price=moved, count=count)
        )

    def some_order(self, account: Account) -> UserOrder | None:
        orders = account.open_orders(MARKET)
        return self.random.choice(orders) if orders else None

    def wealth_at(self, value: int) -> int:
        held = sum([account.position(MARKET).worth(Price(value)) for account in self.accounts])
        return self.pit.wealth() + held


@pytest.fixture(scope="module", params=[20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def traders(request: pytest.FixtureRequest) -> Traders:
    """One long stream, shared by the tests that read it."""
    traders = Traders(seed=3)
    traders.run(request.param)
    return traders


def test_the_stream_is_worth_looking_at(traders: Traders) -> None:
    fills = sum([len(traders.pit.desk.reads(account).fills) for account in traders.accounts])
    assert fills > traders.placed / 2
    assert any(account.held(MARKET) > 0 for account in traders.accounts)
    assert any(account.held(MARKET) < 0 for account in traders.accounts)


@pytest.mark.parametrize("value", [0, 1, 3333, 10_000])
def test_cash_and_what_positions_pay_and_fees_are_what_was_there_at_first(traders: Traders, value: int) -> None:
    assert traders.wealth_at(value) == USERS * 2000 * 1_000_000
    assert sum([account.held(MARKET) for account in traders.accounts]) == 0


def test_no_account_owes_more_than_the_dust_of_rounding(traders: Traders) -> None:
    for account in traders.accounts:
        fills = len(traders.pit.desk.reads(account).fills)
        assert account.available(0) >= -100 * fills


def test_the_published_deltas_make_the_engines_book(traders: Traders) -> None:
    book = Book(MARKET)
    moment = 0
    for message in traders.pit.messages:
        if message.kind == DELTA_TYPE:
            if message.venue_us != moment:
                assert not book.crossed
                moment = message.venue_us
            book.apply(message.side, Price(message.price), Size(message.change))
    engine = traders.pit.engine()
    for side in Side:
        assert book.levels(side) == engine.levels(side)
        assert book.levels(side) == traders.pit.venue.markets[MARKET].book.levels(side)


def test_fills_reported_are_fills_booked(traders: Traders) -> None:
    pit = traders.pit
    streamed: dict[str, list[tuple[str, str, str, bool]]] = defaultdict(list)
    for message in pit.messages:
        if message.channel == FILL:
            body = msgspec.json.decode(message.body)
            streamed[message.account].append((body["trade_id"], body["count_fp"], body["fee_cost"], body["is_taker"]))
    public = [msgspec.json.decode(message.body) for message in pit.messages if message.channel == TRADE]
    seen: dict[str, list[bool]] = defaultdict(list)
    for account in traders.accounts:
        read = [
            (fill["trade_id"], fill["count_fp"], fill["fee_cost"], fill["is_taker"])
            for fill in pit.desk.reads(account).fills
        ]
        assert read == streamed[account.user_id]
        held = sum(
            [
                parse_size(fill["count_fp"]) * (1 if fill["book_side"] == "bid" else -1)
                for fill in pit.desk.reads(account).fills
            ]
        )
        assert held == account.held(MARKET)
        for trade_id, *_, taker in read:
            seen[trade_id].append(taker)
    assert [trade["trade_id"] for trade in public] == list(dict.fromkeys(trade["trade_id"] for trade in public))
    assert seen.keys() == {trade["trade_id"] for trade in public}
    assert all(sorted(parties) == [False, True] for parties in seen.values())


def test_orders_end_as_their_fills_say(traders: Traders) -> None:
    for account in traders.accounts:
        filled: dict[str, int] = defaultdict(int)
        for fill in traders.pit.desk.reads(account).fills:
            filled[fill["order_id"]] += parse_size(fill["count_fp"])
        for order in account.orders.values():
            assert order.filled == filled[order.order_id]
            assert (order.remaining > 0) == order.resting
            assert traders.pit.desk.reads(account).orders[order.order_id]["status"] == order.status


def moment(order: dict[str, object]) -> int:
    return parse_rfc3339_us(str(order["last_update_time"]))


class Mirror:
    """A client that knows only its private messages."""

    def __init__(self) -> None:
        self.fills: dict[str, dict[str, object]] = {}
        self.orders: dict[str, dict[str, object]] = {}

    def hear(self, channel: str, body: dict[str, object]) -> None:
        if channel == FILL:
            self.fills[str(body["trade_id"])] = body
        elif channel == USER_ORDERS:
            known = self.orders.get(str(body["order_id"]))
            if known is None or moment(known) <= moment(body):
                self.orders[str(body["order_id"])] = body

    def state(self) -> object:
        held = sum(
            [
                parse_size(str(fill["count_fp"])) * (1 if fill["book_side"] == "bid" else -1)
                for fill in self.fills.values()
            ]
        )
        resting = {
            name: (order["yes_price_dollars"], order["remaining_count_fp"])
            for name, order in self.orders.items()
            if order["status"] == "resting"
        }
        return held, resting


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_order_of_private_messages_ends_in_the_same_state(seed: int) -> None:
    traders = Traders(seed)
    traders.run(3000)
    shuffled = random.Random(seed)
    for account in traders.accounts:
        heard = [
            (message.channel, msgspec.json.decode(message.body))
            for message in traders.pit.messages
            if message.account == account.user_id and message.channel in (FILL, USER_ORDERS)
        ]
        truth = (
            account.held(MARKET),
            {
                order.order_id: (f"{order.price / DOLLAR:.4f}", f"{order.remaining / 100:.2f}")
                for order in account.open_orders(MARKET)
            },
        )
        for _ in range(3):
            mirror = Mirror()
            for channel, body in heard:
                mirror.hear(channel, body)
            assert mirror.state() == truth
            shuffled.shuffle(heard)
