"""Accounts: cash, signed positions, the collateral of resting orders. Integers only; nothing is created or lost.

A contract pays $1 to whoever is right, so both sides of a trade pay together one dollar: a buyer of YES at p pays p, a
seller who holds none pays 1 - p and is short. Cash moves by -p per contract bought and +p per contract sold, less $1
held back for every contract short; buying back a short, or selling what one holds, nets it (protocol 5.5, 5.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import uuid4

import msgspec

from kflow.exchange.collateral import Claim, OpenOrders
from kflow.exchange.orders import Order, Reason, SelfTrade, TimeInForce
from kflow.market.events import Side
from kflow.market.fees import FeeSchedule, OrderFees
from kflow.units import DOLLAR, Money, Price, Size, notional


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """An order as its owner asks for it, parsed and typed; whether it is allowed is the desk's to say."""

    ticker: str
    side: Side
    price: Price  # of YES, either way
    size: Size
    time_in_force: TimeInForce = TimeInForce.GTC
    self_trade: SelfTrade = SelfTrade.TAKER
    client_order_id: str | None = None
    post_only: bool = False
    reduce_only: bool = False
    expires_us: int | None = None
    group_id: str | None = None
    cancel_on_pause: bool = False
    shard: int | None = None  # None: wherever the market is


class UserOrder(Order):
    """An order of an account, with what its owner is told of it."""

    __slots__ = (
        "account",
        "canceled",
        "client_order_id",
        "created_us",
        "expires_us",
        "fees",
        "initial",
        "maker_cost",
        "maker_fees",
        "order_id",
        "reason",
        "shard",
        "taker_cost",
        "taker_fees",
        "ticket",
        "updated_us",
    )

    def __init__(self, account: Account, ticket: Ticket, schedule: FeeSchedule, shard: int, venue_us: int) -> None:
        super().__init__(
            ticket.side,
            ticket.price,
            ticket.size,
            owner=account,
            time_in_force=ticket.time_in_force,
            self_trade=ticket.self_trade,
            post_only=ticket.post_only,
        )
        self.account: Final = account
        self.ticket: Final = ticket
        self.order_id: Final = str(uuid4())
        self.client_order_id = ticket.client_order_id  # an amendment may change it
        self.expires_us = ticket.expires_us  # likewise
        self.shard: Final = shard
        self.initial = ticket.size
        self.created_us: Final = venue_us
        self.updated_us = venue_us
        self.canceled = False  # what was left of it went away without trading
        self.reason = Reason.CANCEL  # of the last change
        self.fees: OrderFees = schedule.order()  # its market may come to charge otherwise
        self.taker_cost = self.maker_cost = self.taker_fees = self.maker_fees = Money(0)

    def charge(self, schedule: FeeSchedule) -> None:
        """Let its fills cost otherwise from now on; what rounding took too much so far stays owed."""
        carried, self.fees = self.fees.carried, schedule.order()
        self.fees.carried = carried

    @property
    def status(self) -> str:
        """`resting`, `canceled` or `executed`, as the venue names it."""
        if self.resting:
            return "resting"
        return "canceled" if self.canceled else "executed"


class Fill(msgspec.Struct, frozen=True):
    """One match as one of its two parties sees it."""

    trade_id: str  # the other party's fill and the public trade have it too
    order: UserOrder
    price: Price  # of YES
    size: Size
    taker: bool
    fee: Money
    position: Size  # signed, after it
    venue_us: int


class Position(msgspec.Struct):
    """What an account holds of one market and what came of it."""

    size: Size = Size(0)  # signed: + YES, - NO
    cost: Money = Money(0)  # paid for what is held now, without fees
    realized: Money = Money(0)  # profit of what was closed, without fees
    fees: Money = Money(0)
    traded: Money = Money(0)  # turnover
    volume: Size = Size(0)
    updated_us: int = 0
    # For the settlement's account: everything bought of each side, whether closed since or not.
    bought: tuple[Size, Money, Size, Money] = (Size(0), Money(0), Size(0), Money(0))

    def trade(self, side: Side, price: Price, size: Size) -> Money:
        """Book a trade and return what cash moves by, without fees. Closing takes the average cost, rounded down."""
        held = self.size
        signed = size if side == Side.YES else -size
        paid = notional(price if side == Side.YES else Price(DOLLAR - price), size)
        closing = min(size, abs(held)) if held * signed < 0 else 0
        if closing:
            cost = self.cost * closing // abs(held)
            # What closing pays: a YES sold brings p; a NO given back brings 1 - p, its own price then.
            self.realized = Money(self.realized + DOLLAR * closing - paid * closing // size - cost)
            self.cost = Money(self.cost - cost)
        opening = size - closing
        self.cost = Money(self.cost + paid * opening // size)
        yes, yes_cost, no, no_cost = self.bought
        if side == Side.YES:
            self.bought = (Size(yes + size), Money(yes_cost + paid), no, no_cost)
        else:
            self.bought = (yes, yes_cost, Size(no + size), Money(no_cost + paid))
        self.size = Size(held + signed)
        self.traded, self.volume = Money(self.traded + paid), Size(self.volume + size)
        return Money(DOLLAR * closing - paid)

    def worth(self, value: Price) -> Money:
        """What the position pays if a YES contract pays `value`."""
        return notional(value, self.size) if self.size > 0 else notional(Price(DOLLAR - value), Size(-self.size))


class Account:
    """One subaccount of a member. Its orders' collateral is kept apart: `available` is what a new order may use."""

    def __init__(self, user_id: str, subaccount: int = 0, cash: Mapping[int, Money] | None = None) -> None:
        """`cash` by shard: a shard that is not named has no account here."""
        self.user_id: Final = user_id
        self.subaccount: Final = subaccount
        self.cash: Final[dict[int, Money]] = dict(cash if cash is not None else {0: Money(0)})
        self.positions: Final[dict[str, Position]] = {}
        self.orders: Final[dict[str, UserOrder]] = {}  # every order ever, by its id
        self.client_ids: Final[set[str]] = set()  # used up, also by orders that were killed
        self.no_orders_until_us = 0  # a cancel-all takes what comes in the next minute too
        self.open_count = 0  # orders that rest
        self._open: Final[dict[str, OpenOrders]] = {}  # by market
        self._reserved: Final[dict[int, Money]] = {}  # by shard

    def available(self, shard: int) -> Money:
        return Money(self.cash[shard] - self._reserved.get(shard, 0))

    def position(self, ticker: str) -> Position:
        return self.positions.setdefault(ticker, Position())

    def held(self, ticker: str) -> Size:
        position = self.positions.get(ticker)
        return position.size if position is not None else Size(0)

    def open_orders(self, ticker: str | None = None) -> list[UserOrder]:
        """Orders that rest, of one market or of all."""
        if ticker is not None:
            return list(self._open[ticker]) if ticker in self._open else []
        return [order for orders in self._open.values() for order in orders]

    def _orders_in(self, ticker: str) -> OpenOrders:
        orders = self._open.get(ticker)
        if orders is None:
            orders = self._open[ticker] = OpenOrders()
        return orders

    def reserved(self, ticker: str) -> Money:
        """Cash that the resting orders of a market hold back."""
        return self._open[ticker].reserved if ticker in self._open else Money(0)

    def needs(self, ticker: str, schedule: FeeSchedule, *, instead: UserOrder | None, claim: Claim) -> Money:
        """What `reserved` would be if one more order (`claim`) rested, perhaps in the place of another."""
        return self._orders_in(ticker).collateral(self.held(ticker), schedule, instead=instead, claim=claim)

    def track(self, order: UserOrder) -> None:
        """Note how an order of ours rests now, if it does. `refresh` comes after."""
        orders = self._orders_in(order.ticket.ticker)
        before = len(orders)
        orders.track(order)
        self.open_count += len(orders) - before

    def refresh(self, ticker: str, shard: int, schedule: FeeSchedule) -> None:
        """Work out anew what the resting orders of a market hold back, after one of them or the position changed."""
        orders = self._orders_in(ticker)
        needed = orders.collateral(self.held(ticker), schedule)
        self._reserved[shard] = Money(self._reserved.get(shard, 0) + needed - orders.reserved)
        orders.reserved = needed

    def fill(self, order: UserOrder, trade: tuple[str, Price, Size], *, taker: bool, venue_us: int) -> Fill:
        """Book one match of an order of ours: `trade` is its id, YES price and size."""
        trade_id, price, size = trade
        position = self.position(order.ticket.ticker)
        fee = order.fees.fill(price, size, buy=order.side == Side.YES, taker=taker).total
        moved = position.trade(order.side, price, size)
        self.cash[order.shard] = Money(self.cash[order.shard] + moved - fee)
        position.fees, position.updated_us = Money(position.fees + fee), venue_us
        cost = notional(price if order.side == Side.YES else Price(DOLLAR - price), size)
        if taker:
            order.taker_cost, order.taker_fees = Money(order.taker_cost + cost), Money(order.taker_fees + fee)
        else:
            order.maker_cost, order.maker_fees = Money(order.maker_cost + cost), Money(order.maker_fees + fee)
        order.reason, order.updated_us = Reason.TRADE, venue_us
        return Fill(trade_id, order, price, size, taker, fee, position.size, venue_us)

    def settle(self, ticker: str, shard: int, value: Price, venue_us: int) -> Money:
        """Pay a market's position out at `value` per YES contract and return what it paid."""
        position = self.position(ticker)
        revenue = position.worth(value)
        self.cash[shard] = Money(self.cash[shard] + revenue)
        position.realized = Money(position.realized + revenue - position.cost)
        position.size, position.cost, position.updated_us = Size(0), Money(0), venue_us
        return revenue
