"""Clearing: whatever an engine did becomes messages and, where accounts took part, fills, cash and positions.

Everything goes out through one queue, so that frames leave in the order in which things happened.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, cast

from kflow.clock import Clock
from kflow.exchange.accounts import Account, Fill, UserOrder
from kflow.exchange.groups import OrderGroup
from kflow.exchange.listing import Listing
from kflow.exchange.market import MarketState, Venue
from kflow.exchange.matching import OrderBook
from kflow.exchange.messages import FILL, MARKET_POSITIONS, ORDER_GROUPS, ORDERBOOK, USER_ORDERS, Message
from kflow.exchange.order_documents import settlement_document
from kflow.exchange.orders import Execution, Order, Reason
from kflow.exchange.private import fill_body, group_body, position_body, user_order_body
from kflow.exchange.reads import Reads
from kflow.exchange.settlements import Settlement
from kflow.exchange.terms import OrderRefused, Terms
from kflow.exchange.writer import Writer
from kflow.market.events import Side
from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid
from kflow.market.times import US_PER_S
from kflow.units import Money, Price, Size

TICKER_EVERY_US: Final = US_PER_S
# A shard that opens with the exchange; others open when a market is listed on them.
SHARD: Final = 0


class Engine(Protocol):
    """What fills orders in one market: `matching.OrderBook`, or own orders against a book that others move."""

    grid: Grid

    def submit(self, order: Order) -> Execution: ...
    def cancel(self, order: Order, reason: Reason = ...) -> Execution: ...
    def decrease(self, order: Order, remaining: Size) -> Execution: ...
    def amend(self, order: Order, price: Price, remaining: Size) -> Execution: ...
    def cancel_where(self, leaves: Callable[[Order], bool], reason: Reason) -> Execution: ...
    def ahead(self, order: Order) -> Size: ...
    def orders(self, side: Side) -> Iterable[Order]: ...


class Follower(Engine, Protocol):
    """An engine whose own orders are filled by what happens to a book that others move."""

    @property
    def resting(self) -> bool:
        """Whether any own order rests."""

    def observe(self, message: Message) -> Execution | None:
        """Take a message of its market that was published, after the public book took it."""


class Market:
    """A market as the trading half knows it."""

    __slots__ = ("engine", "matched", "schedule", "shard", "state", "ticker_due_us", "writer")

    def __init__(self, state: MarketState, engine: Engine, writer: Writer, schedule: FeeSchedule) -> None:
        self.state: Final = state
        self.engine: Final = engine
        # Its engine's book is the public one; else the public book moves by itself.
        self.matched: Final = isinstance(engine, OrderBook)
        self.writer: Final = writer
        self.schedule = schedule  # an event may come to charge otherwise
        self.shard: Final = SHARD
        self.ticker_due_us = 0

    @property
    def listing(self) -> Listing:
        return self.state.listing


class Member:
    """A user: accounts by number of subaccount, each with what REST shows of it and its order groups."""

    def __init__(self, user_id: str) -> None:
        self.user_id: Final = user_id
        self.accounts: Final[dict[int, Account]] = {}
        self.reads: Final[dict[int, Reads]] = {}
        self.groups: Final[dict[int, dict[str, OrderGroup]]] = {}


class Clearing:
    """Markets, members, and the queue of messages. `publish` takes what goes out."""

    def __init__(self, venue: Venue, clock: Clock, terms: Terms, publish: Callable[[Sequence[Message]], None]) -> None:
        self.venue, self.clock, self.terms = venue, clock, terms
        self.markets: Final[dict[str, Market]] = {}
        self.members: Final[dict[str, Member]] = {}
        # The venue's time in µs; a source that lives in another time says so.
        self.time: Callable[[], int] = lambda: clock.wall_ns() // 1000
        self.collected = Money(0)  # fees so far
        # Markets whose engine follows the public book and has orders to fill.
        self._followed: dict[str, Follower] = {}
        self._publish = publish
        self._outbox: list[Message] = []
        self._owed: dict[str, None] = {}  # markets that changed since their last ticker
        self._last_us = 0
        self._trades = 0
        self._random = random.Random(terms.seed)  # noqa: S311 - a coin, not a secret

    def stamp(self, now_us: int | None = None) -> int:
        """A moment of its own for the next thing that happens, µs: now, or the one it is told."""
        self._last_us = max(self._last_us + 1, self.time() if now_us is None else now_us)
        return self._last_us

    def open_market(self, listing: Listing, engine: Engine) -> Market:
        """Let a market that is listed be traded by an engine."""
        series = self.venue.series[listing.series]
        schedule = FeeSchedule.parse(series.fee_type, str(series.fee_multiplier))
        market = Market(self.venue.markets[listing.ticker], engine, Writer(listing, self.venue.style), schedule)
        self.markets[listing.ticker] = market
        return market

    def market(self, ticker: str) -> Market:
        """Raises OrderRefused."""
        market = self.markets.get(ticker)
        if market is None:
            raise OrderRefused(404, "not_found", f"market {ticker}")
        return market

    # Members.

    def open_account(self, user_id: str, cash: Money | None = None, *, subaccount: int = 0) -> Account:
        """A member's account (cash: the terms'), or one more of a member that there is."""
        member = self.members.setdefault(user_id, Member(user_id))
        account = Account(user_id, subaccount, {SHARD: self.terms.cash if cash is None else cash})
        member.accounts[subaccount] = account
        member.groups[subaccount] = {}
        member.reads[subaccount] = Reads(account, self.clock, round(self.terms.read_lag_s * 1e9))
        return account

    def account(self, user_id: str, subaccount: int = 0) -> Account:
        """Raises OrderRefused."""
        member = self.members.get(user_id)
        if member is None or subaccount not in member.accounts:
            raise OrderRefused(404, "user_not_found", f"subaccount {subaccount}")
        return member.accounts[subaccount]

    def reads(self, account: Account) -> Reads:
        """What REST shows of an account now."""
        reads = self.members[account.user_id].reads[account.subaccount]
        reads.catch_up()
        return reads

    def _reads(self, account: Account) -> Reads:
        return self.members[account.user_id].reads[account.subaccount]

    # What happened.

    def executed(
        self, ticker: str, execution: Execution, venue_us: int, order: UserOrder | None = None
    ) -> list[tuple[Account, OrderGroup]]:
        """Turn what an engine did at one moment into messages and bookings.

        `order`: the account's order that caused it, if one did. Returns order groups that reached their limit by it.
        """
        market = self.markets[ticker]
        if market.matched:
            self._outbox += market.writer.changes(execution.changes, venue_us)
        touched: dict[UserOrder, None] = {} if order is None else {order: None}
        fills: list[Fill] = []
        for maker, price, size in execution.matches:
            fills += self._matched(market, (maker, price, size), order, venue_us)
        for ended, _, reason in execution.ended:
            if isinstance(ended, UserOrder):
                ended.canceled, ended.reason, ended.updated_us = True, reason, venue_us
                touched[ended] = None
        for fill in fills:
            touched[fill.order] = None
        if touched:
            self._tell(market, touched, fills, venue_us)
        return [
            (fill.order.account, group)
            for fill in fills
            if (group := self._group_of(fill)) is not None and group.matched(fill.size, venue_us)
        ]

    def _matched(
        self, market: Market, match: tuple[Order, Price, Size], taker: UserOrder | None, venue_us: int
    ) -> list[Fill]:
        maker, price, size = match
        self._trades += 1
        trade_id = f"{self.terms.seed & 0xFFFFFFFF:08x}-0000-4000-8000-{self._trades:012x}"
        trades: list[Message] = []
        if market.matched:
            bought = Side(1 - maker.side)
            trades.append(market.writer.trade(trade_id, (price, size, bought), venue_us))
        fills = [
            party.account.fill(party, (trade_id, price, size), taker=party is taker, venue_us=venue_us)
            for party in (maker, taker)
            if isinstance(party, UserOrder)
        ]
        self.collected = Money(self.collected + sum([fill.fee for fill in fills]))
        told = [
            _private(FILL, FILL, market.listing.ticker, fill_body(fill), fill.order.account, venue_us) for fill in fills
        ]
        fill_first = self.terms.fill_order == "fill"
        if self.terms.fill_order == "random" and fills:
            fill_first = self._random.random() < 0.5
        self._outbox += [*told, *trades] if fill_first else [*trades, *told]
        return fills

    def _tell(self, market: Market, touched: dict[UserOrder, None], fills: list[Fill], venue_us: int) -> None:
        """Bring accounts up to date and tell their owners."""
        ticker = market.listing.ticker
        if not market.matched:
            self._follow(ticker, cast("Follower", market.engine))
        accounts: dict[Account, None] = {}
        for order in touched:
            order.account.track(order)
            accounts[order.account] = None
        for account in accounts:
            account.refresh(ticker, market.shard, market.schedule)
            reads = self._reads(account)
            for fill in fills:
                if fill.order.account is account:
                    reads.fill(fill)
            for order in touched:
                if order.account is account:
                    reads.order(order)
            reads.balance(account, market.shard)
        for order in touched:
            self.private(USER_ORDERS, "user_order", ticker, user_order_body(order), order.account, venue_us)
        for account in {fill.order.account: None for fill in fills}:
            self._reads(account).position(account, ticker, market.shard)
            self._position_message(account, ticker, venue_us)

    def _follow(self, ticker: str, engine: Follower) -> None:
        if engine.resting:
            self._followed[ticker] = engine
        else:
            self._followed.pop(ticker, None)

    def observe(self, messages: Sequence[Message]) -> list[tuple[str, Execution, int]]:
        """What messages that were published did to own orders: market, execution, its moment."""
        if not self._followed:
            return []
        executions = []
        for message in messages:
            engine = self._followed.get(message.market)
            execution = engine.observe(message) if engine is not None else None
            if execution is not None:
                # A snapshot may have no time of its own.
                executions.append((message.market, execution, self.stamp(message.venue_us or None)))
        return executions

    def _position_message(self, account: Account, ticker: str, venue_us: int) -> None:
        body = position_body(account.user_id, ticker, account.position(ticker), account.subaccount)
        self.private(MARKET_POSITIONS, "market_position", ticker, body, account, venue_us)

    def private(self, channel: str, kind: str, ticker: str, body: str, account: Account, venue_us: int) -> None:
        """Queue a message for one user."""
        self._outbox.append(_private(channel, kind, ticker, body, account, venue_us))

    def group_message(self, account: Account, event: str, group: OrderGroup, venue_us: int) -> None:
        """Queue the news of an order group."""
        limit = group.limit if event in ("created", "limit_updated") else None
        body = group_body(event, group.group_id, limit, venue_us)
        self.private(ORDER_GROUPS, ORDER_GROUPS, "", body, account, venue_us)

    def _group_of(self, fill: Fill) -> OrderGroup | None:
        account, group_id = fill.order.account, fill.order.ticket.group_id
        return None if group_id is None else self.members[account.user_id].groups[account.subaccount].get(group_id)

    def balance_changed(self, account: Account, shard: int) -> None:
        """Cash moved otherwise than by a trade."""
        self._reads(account).balance(account, shard)

    def settle(self, ticker: str, result: str, value: Price, venue_us: int) -> None:
        """Pay every position of a market out: `value` is what one YES contract pays."""
        market = self.markets[ticker]
        for member in self.members.values():
            for account in member.accounts.values():
                held = account.positions.get(ticker)
                if held is None:
                    continue
                yes, yes_cost, no, no_cost = held.bought
                settlement = Settlement(
                    ticker=ticker,
                    event=market.listing.event,
                    shard=market.shard,
                    result=result,
                    value=value,
                    yes_size=yes,
                    yes_cost=yes_cost,
                    no_size=no,
                    no_cost=no_cost,
                    fees=held.fees,
                    revenue=account.settle(ticker, market.shard, value, venue_us),
                    venue_us=venue_us,
                )
                reads = member.reads[account.subaccount]
                reads.settlement(settlement_document(settlement))
                reads.position(account, ticker, market.shard)
                reads.balance(account, market.shard)
                self._position_message(account, ticker, venue_us)

    # The queue.

    def queue(self, *messages: Message) -> None:
        """Put public messages behind what is waiting."""
        self._outbox += messages

    @property
    def waiting(self) -> int:
        """Messages that the next flush publishes."""
        return len(self._outbox)

    def flush(self) -> int:
        """Publish what is waiting, and the tickers that are due by now. Returns how many messages went out."""
        messages, self._outbox = self._outbox, []
        if messages:
            self._publish(messages)
            self._owed |= dict.fromkeys([message.market for message in messages if message.channel == ORDERBOOK])
        tickers = self._tickers(max(self.time(), messages[-1].venue_us if messages else 0)) if self._owed else []
        if tickers:
            self._publish(tickers)
        return len(messages) + len(tickers)

    def _tickers(self, now_us: int) -> list[Message]:
        """A market that changed tells its top and totals, once a second at most; what it owes it tells later."""
        tickers = []
        for ticker in tuple(self._owed):
            market = self.markets.get(ticker)
            if market is None or not market.matched:
                del self._owed[ticker]
            elif market.ticker_due_us <= now_us:
                market.ticker_due_us = now_us + TICKER_EVERY_US
                tickers.append(market.writer.ticker(market.state.quote(), now_us))
                del self._owed[ticker]
        return tickers


def _private(channel: str, kind: str, ticker: str, body: str, account: Account, venue_us: int) -> Message:
    return Message(channel, kind, ticker, body, venue_us, account=account.user_id, subaccount=account.subaccount)
