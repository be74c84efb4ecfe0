"""The desk: what members may do with orders. Each command is checked whole, then carried out at one moment.

Where the venue's own answer is unknown (protocol section 10) ours is said in docs/local-exchange.md.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

import msgspec

from kflow.exchange.accounts import Account, Ticket, UserOrder
from kflow.exchange.clearing import Clearing, Market, Member
from kflow.exchange.collateral import Claim
from kflow.exchange.funds import afford
from kflow.exchange.groups import MOST, OrderGroup
from kflow.exchange.messages import Message
from kflow.exchange.orders import Execution, Kill, Reason, TimeInForce
from kflow.exchange.reads import Reads
from kflow.exchange.terms import OrderRefused, Terms
from kflow.market.events import Side
from kflow.market.times import US_PER_S
from kflow.units import CONTRACT, Money, Price, Size, format_money, format_price

# Open orders that one user may have (protocol section 5.5).
MOST_OPEN: Final = 200_000


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """What an order is to become. `count`: what has filled and what shall remain, together."""

    order_id: str
    ticker: str
    side: Side
    price: Price
    count: Size
    client_order_id: str | None = None  # as it is, if given
    updated_client_order_id: str | None = None
    expires_us: int | msgspec.UnsetType | None = msgspec.UNSET  # None: no longer


class Desk:
    """Order commands over a clearing. All raise OrderRefused, with nothing changed."""

    def __init__(self, clearing: Clearing) -> None:
        self.clearing: Final = clearing
        self.terms: Final[Terms] = clearing.terms
        # Orders by the moment at which they expire; those that have gone or moved since are passed over.
        self._expiring: list[tuple[int, str, UserOrder]] = []

    @property
    def members(self) -> dict[str, Member]:
        return self.clearing.members

    def member(self, user_id: str) -> Member:
        try:
            return self.members[user_id]
        except KeyError:
            raise OrderRefused(404, "user_not_found", user_id) from None

    def account(self, user_id: str, subaccount: int = 0) -> Account:
        return self.clearing.account(user_id, subaccount)

    def open_account(self, user_id: str, cash: Money | None = None) -> Account:
        """A new member, with one account."""
        return self.clearing.open_account(user_id, cash)

    def open_subaccount(self, member: Member) -> Account:
        return self.clearing.open_account(member.user_id, Money(0), subaccount=max(member.accounts) + 1)

    def reads(self, account: Account) -> Reads:
        return self.clearing.reads(account)

    def flush(self) -> int:
        return self.clearing.flush()

    # Orders.

    def create(self, account: Account, ticket: Ticket) -> UserOrder:
        """Place an order. What it matched, and whether it rests, is in the order that comes back."""
        clearing = self.clearing
        market = self._tradable(ticket.ticker, ticket.shard)
        self._check(account, ticket, market)
        venue_us = clearing.stamp()
        order = UserOrder(account, ticket, market.schedule, market.shard, venue_us)
        if ticket.reduce_only and not self._cap(account, order):
            self._accept(account, order)
            self._void(market, order, Reason.REDUCE_ONLY, venue_us)
            return order
        afford(account, market, Claim(order.side, order.price, order.remaining), None)
        execution = market.engine.submit(order)
        if execution.killed is Kill.FILL_OR_KILL:
            if ticket.client_order_id is not None:
                account.client_ids.add(ticket.client_order_id)
            raise OrderRefused(409, "fill_or_kill_insufficient_resting_volume", str(execution.killed))
        if execution.killed is not None and self.terms.post_only_cross == "reject":
            raise OrderRefused(400, "invalid_order", str(execution.killed))
        self._accept(account, order)
        if execution.killed is not None:
            self._void(market, order, Reason.POST_ONLY, venue_us)
            return order
        self.executed(ticket.ticker, execution, venue_us, order)
        if order.resting and venue_us < account.no_orders_until_us:
            self.withdraw(order, Reason.CANCEL)
        return order

    def cancel(self, account: Account, order_id: str) -> tuple[UserOrder, Size]:
        """Cancel an order; returns it, and how much of it was left."""
        order = self._resting(account, order_id)
        self._open_for_cancels()
        market = self.clearing.market(order.ticket.ticker)
        if self._status(market) not in ("active", "inactive"):
            raise OrderRefused(400, "market_inactive", f"{order.ticket.ticker} is closed")
        left = order.remaining
        self.withdraw(order, Reason.CANCEL)
        return order, left

    def cancel_all(self, account: Account) -> None:
        """Cancel every order, and for a while those that come after."""
        self._open_for_cancels()
        for order in account.open_orders():
            self.withdraw(order, Reason.CANCEL)
        account.no_orders_until_us = self.clearing.time() + round(self.terms.cancel_all_s * US_PER_S)

    def decrease(self, account: Account, order_id: str, by: Size | None, to: Size | None) -> UserOrder:
        """Shrink an order by or to a size; to nothing cancels it. Exactly one of `by` and `to` is given."""
        order = self._resting(account, order_id)
        market = self._tradable(order.ticket.ticker, None)
        remaining = Size(order.remaining - by) if by is not None else to
        if remaining is None or not 0 <= remaining < order.remaining:
            raise OrderRefused(400, "invalid_order", "an order can only be decreased, to 0 at least")
        order.reason = Reason.DECREASE
        self.executed(order.ticket.ticker, market.engine.decrease(order, remaining), self.clearing.stamp(), order)
        return order

    def amend(self, account: Account, amendment: Amendment) -> UserOrder:
        """Move an order to another price, size or expiry; it keeps its place only where it merely shrinks."""
        order = self._resting(account, amendment.order_id)
        market = self._tradable(order.ticket.ticker, None)
        remaining = Size(amendment.count - order.filled)
        self._check_amendment(order, amendment, remaining, market)
        afford(account, market, Claim(order.side, amendment.price, remaining), order)
        venue_us = self.clearing.stamp()
        execution = market.engine.amend(order, amendment.price, remaining)
        if execution.killed is not None:
            raise OrderRefused(400, "invalid_order", str(execution.killed))
        if amendment.updated_client_order_id is not None:
            order.client_order_id = amendment.updated_client_order_id
            account.client_ids.add(amendment.updated_client_order_id)
        if amendment.expires_us is not msgspec.UNSET:
            order.expires_us = amendment.expires_us
            self._watch(order)
        order.initial = amendment.count
        order.reason = Reason.AMEND
        self.executed(order.ticket.ticker, execution, venue_us, order)
        return order

    # Order groups.

    def group(self, account: Account, group_id: str) -> OrderGroup:
        try:
            return self.groups_of(account)[group_id]
        except KeyError:
            raise OrderRefused(404, "not_found", f"order group {group_id}") from None

    def groups_of(self, account: Account) -> dict[str, OrderGroup]:
        return self.members[account.user_id].groups[account.subaccount]

    def create_group(self, account: Account, limit: Size, shard: int) -> OrderGroup:
        if shard not in account.cash:
            raise OrderRefused(404, "user_not_found", f"no account on exchange_index {shard}")
        group = OrderGroup(_group_limit(limit), shard)
        self.groups_of(account)[group.group_id] = group
        self.clearing.group_message(account, "created", group, self.clearing.stamp())
        return group

    def trigger(self, account: Account, group_id: str) -> None:
        """Cancel a group's orders and let no more in until its reset."""
        group = self.group(account, group_id)
        group.triggered = True
        self._stop_group(account, group)

    def reset(self, account: Account, group_id: str) -> None:
        group = self.group(account, group_id)
        group.reset()
        self.clearing.group_message(account, "reset", group, self.clearing.stamp())

    def limit(self, account: Account, group_id: str, limit: Size) -> None:
        """Give a group another limit; one that its window has reached already triggers it."""
        group = self.group(account, group_id)
        group.limit = _group_limit(limit)
        self.clearing.group_message(account, "limit_updated", group, self.clearing.stamp())
        if group.check(self.clearing.time()):
            self._stop_group(account, group)

    def delete(self, account: Account, group_id: str) -> None:
        """Cancel a group's orders and forget it."""
        group = self.group(account, group_id)
        self._cancel_group(account, group)
        del self.groups_of(account)[group_id]
        self.clearing.group_message(account, "deleted", group, self.clearing.stamp())

    # Money.

    def transfer(self, account: Account, shards: tuple[int, int], amount: Money) -> None:
        """Move cash from one shard to another; the other opens by it."""
        source, target = shards
        self._pay((account, source), (account, target), amount, f"on exchange_index {source}")

    def move(self, member: Member, subaccounts: tuple[int, int], amount: Money, shard: int = 0) -> None:
        """Move cash between a member's subaccounts."""
        source, target = [self.account(member.user_id, number) for number in subaccounts]
        self._pay((source, shard), (target, shard), amount, f"in subaccount {source.subaccount}")

    def _pay(self, source: tuple[Account, int], target: tuple[Account, int], amount: Money, where: str) -> None:
        """Move what is free from one account's shard to another's; `where` names the source in a refusal."""
        payer, shard = source
        if shard not in payer.cash or not 0 < amount <= payer.available(shard):
            raise OrderRefused(400, "insufficient_balance", f"less than {format_money(amount)} is free {where}")
        payer.cash[shard] = Money(payer.cash[shard] - amount)
        payee, other = target
        payee.cash[other] = Money(payee.cash.get(other, 0) + amount)
        for account, changed in (source, target):
            self.clearing.balance_changed(account, changed)

    # What the commands share.

    def withdraw(self, order: UserOrder, reason: Reason) -> None:
        """Cancel a resting order, for its owner or for the venue's own reasons."""
        ticker = order.ticket.ticker
        execution = self.clearing.market(ticker).engine.cancel(order, reason)
        self.executed(ticker, execution, self.clearing.stamp(), order)

    def expire(self, now_us: int) -> None:
        """Cancel the orders whose time is over."""
        while self._expiring and self._expiring[0][0] <= now_us:
            expires_us, _, order = heapq.heappop(self._expiring)
            if order.resting and order.expires_us == expires_us:
                self.withdraw(order, Reason.EXPIRY)

    def executed(self, ticker: str, execution: Execution, venue_us: int, order: UserOrder | None = None) -> None:
        """What an engine did, for an account's `order` or without one. Groups that reached their limit by it stop."""
        if order is not None:
            order.updated_us = venue_us
        for account, group in self.clearing.executed(ticker, execution, venue_us, order):
            self._stop_group(account, group)

    def observe(self, messages: Sequence[Message]) -> None:
        """Fill orders by what was published of markets that others move."""
        for ticker, execution, venue_us in self.clearing.observe(messages):
            self.executed(ticker, execution, venue_us)
            self.flush()

    def _stop_group(self, account: Account, group: OrderGroup) -> None:
        self._cancel_group(account, group)
        self.clearing.group_message(account, "triggered", group, self.clearing.stamp())

    def _cancel_group(self, account: Account, group: OrderGroup) -> None:
        for order in account.open_orders():
            if order.ticket.group_id == group.group_id:
                self.withdraw(order, Reason.CANCEL)

    def _accept(self, account: Account, order: UserOrder) -> None:
        account.orders[order.order_id] = order
        if order.client_order_id is not None:
            account.client_ids.add(order.client_order_id)
        self._watch(order)

    def _watch(self, order: UserOrder) -> None:
        if order.expires_us is not None:
            heapq.heappush(self._expiring, (order.expires_us, order.order_id, order))

    def _open_for_cancels(self) -> None:
        if not self.clearing.venue.exchange_active:
            raise OrderRefused(409, "exchange_paused", "the exchange is paused")

    def _void(self, market: Market, order: UserOrder, reason: Reason, venue_us: int) -> None:
        """An order that was accepted and canceled at the same moment."""
        execution = Execution()
        execution.ended.append((order, order.remaining, reason))
        order.remaining = Size(0)
        self.executed(market.listing.ticker, execution, venue_us, order)

    def _status(self, market: Market) -> str:
        venue = self.clearing.venue
        venue.now_us = max(venue.now_us, self.clearing.time())  # what was published last may be long ago
        return venue.status(market.state)

    def _tradable(self, ticker: str, shard: int | None) -> Market:
        market = self.clearing.market(ticker)
        if shard not in (None, -1, market.shard):
            raise OrderRefused(400, "invalid_order", f"{ticker} trades on exchange_index {market.shard}")
        self._open_for_cancels()
        if not self.clearing.venue.trading_active:
            raise OrderRefused(409, "trading_paused", "orders are not taken during a pause")
        if self._status(market) != "active":
            raise OrderRefused(400, "market_inactive", f"{ticker} is {self._status(market)}")
        return market

    def _check(self, account: Account, ticket: Ticket, market: Market) -> None:
        self._check_ticket(ticket, market)
        if market.shard not in account.cash:
            raise OrderRefused(404, "user_not_found", f"no account on exchange_index {market.shard}")
        if ticket.client_order_id is not None and ticket.client_order_id in account.client_ids:
            raise OrderRefused(409, "order_already_exists", ticket.client_order_id)
        if ticket.group_id is not None:
            group = self.group(account, ticket.group_id)
            if group.shard != market.shard or group.triggered:
                why = "was triggered" if group.triggered else f"is bound to exchange_index {group.shard}"
                raise OrderRefused(400, "invalid_order", f"order group {ticket.group_id} {why}")
        if account.open_count >= MOST_OPEN:
            raise OrderRefused(400, "invalid_order", f"more than {MOST_OPEN} open orders")

    def _check_ticket(self, ticket: Ticket, market: Market) -> None:
        self._check_price(ticket.price, market)
        if ticket.size <= 0:
            raise OrderRefused(400, "invalid_order", "count must be at least 0.01")
        if ticket.reduce_only and ticket.time_in_force is not TimeInForce.IOC:
            raise OrderRefused(400, "invalid_order", "reduce_only needs immediate_or_cancel")
        if ticket.expires_us is not None and ticket.time_in_force is not TimeInForce.GTC:
            raise OrderRefused(400, "invalid_order", "only good_till_canceled may expire")
        if ticket.expires_us is not None and ticket.expires_us <= self.clearing.time():
            raise OrderRefused(400, "invalid_order", "expiration_time has passed")
        if ticket.post_only and ticket.time_in_force is not TimeInForce.GTC:
            raise OrderRefused(400, "invalid_order", "post_only needs good_till_canceled")

    @staticmethod
    def _check_price(price: Price, market: Market) -> None:
        if price not in market.engine.grid:
            raise OrderRefused(400, "invalid_price", f"{format_price(price)} is not a price of this market")

    def _check_amendment(self, order: UserOrder, amendment: Amendment, remaining: Size, market: Market) -> None:
        self._check_price(amendment.price, market)
        if amendment.ticker != order.ticket.ticker or amendment.side != order.side:
            raise OrderRefused(400, "invalid_order", "ticker and side of an order cannot be amended")
        if amendment.client_order_id not in (None, order.client_order_id):
            raise OrderRefused(400, "invalid_order", "client_order_id is not this order's")
        if remaining <= 0:
            raise OrderRefused(400, "invalid_order", "count must exceed what has been filled")
        renamed = amendment.updated_client_order_id
        if renamed is not None and renamed != order.client_order_id and renamed in order.account.client_ids:
            raise OrderRefused(409, "order_already_exists", renamed)
        expires_us = amendment.expires_us
        if isinstance(expires_us, int) and expires_us <= self.clearing.time():
            raise OrderRefused(400, "invalid_order", "expiration_time has passed")

    @staticmethod
    def _cap(account: Account, order: UserOrder) -> bool:
        """Cut a reduce-only order down to the position it may close. False where there is none."""
        held = account.held(order.ticket.ticker)
        closable = -held if order.side == Side.YES else held
        order.remaining = Size(max(0, min(order.remaining, closable)))
        return order.remaining > 0

    @staticmethod
    def _resting(account: Account, order_id: str) -> UserOrder:
        order = account.orders.get(order_id)
        if order is None or not order.resting:
            raise OrderRefused(404, "not_found", f"order {order_id}")
        return order


def _group_limit(limit: Size) -> Size:
    if not CONTRACT <= limit <= MOST:
        raise OrderRefused(400, "invalid_order", "an order group's limit lies between 1 and 1,000,000 contracts")
    return limit
