"""REST of orders: create, cancel, amend, decrease, batches, reads (protocol section 5.5). All of it is signed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Final

import msgspec

from kflow.exchange.accounts import Account, Ticket, UserOrder
from kflow.exchange.answers import Refusal, error, integer, invalid, limit, names, not_found, page, within
from kflow.exchange.desk import Amendment
from kflow.exchange.documents import Document
from kflow.exchange.fields import Fields, need
from kflow.exchange.gate import MOST_TICKERS, READ, TRADE, Call, Endpoint, Gate
from kflow.exchange.matching import OrderBook
from kflow.exchange.messages import size_text
from kflow.exchange.order_documents import averages
from kflow.exchange.orders import Order, SelfTrade, TimeInForce
from kflow.exchange.terms import OrderRefused
from kflow.market.events import Side
from kflow.market.times import US_PER_S
from kflow.units import Size

SIDES: Final = {"bid": Side.YES, "ask": Side.NO}
TIMES_IN_FORCE: Final = {str(kind): kind for kind in TimeInForce}
SELF_TRADES: Final = {str(kind): kind for kind in SelfTrade}
_STATUSES: Final = ("resting", "canceled", "executed")
# The retired writes, all of which answer alike.
_LEGACY: Final = (
    ("POST", "/portfolio/orders"),
    ("DELETE", "/portfolio/orders"),
    ("POST", "/portfolio/orders/batched"),
    ("DELETE", "/portfolio/orders/batched"),
    ("POST", "/portfolio/orders/{order_id}/amend"),
    ("POST", "/portfolio/orders/{order_id}/decrease"),
    ("DELETE", "/portfolio/orders/{order_id}"),
    *[(method, "/portfolio/orders/{rest:path}") for method in ("POST", "DELETE")],  # and whatever else there was
)


class Trading:
    """Orders of the callers' accounts."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self._desk = gate, gate.desk

    def endpoints(self) -> list[Endpoint]:
        orders, order = "/portfolio/events/orders", "/portfolio/events/orders/{order_id}"
        return [
            Endpoint("POST", orders, self.create, TRADE, 201, charge=_body_shard),
            Endpoint("DELETE", orders, self.cancel_all, TRADE, 204),
            Endpoint("POST", f"{orders}/batched", self.create_batch, TRADE, 201, charge=_per_item),
            Endpoint("DELETE", f"{orders}/batched", self.cancel_batch, TRADE, charge=_per_item),
            Endpoint("DELETE", order, self.cancel, TRADE, charge=_query_shard),
            Endpoint("POST", f"{order}/amend", self.amend, TRADE, charge=_body_shard),
            Endpoint("POST", f"{order}/decrease", self.decrease, TRADE, charge=_body_shard),
            *[Endpoint(method, path, self.legacy, TRADE) for method, path in _LEGACY],
            Endpoint("GET", "/portfolio/orders", self.orders, READ),
            Endpoint("GET", "/portfolio/orders/queue_positions", self.queue_positions, READ),
            Endpoint("GET", "/portfolio/orders/{order_id}", self.order, READ),
            Endpoint("GET", "/portfolio/orders/{order_id}/queue_position", self.queue_position, READ),
        ]

    # Writes.

    def create(self, call: Call) -> Document:
        return self._create(call, call.fields())

    def _create(self, call: Call, fields: Fields) -> Document:
        ticket = self._ticket(fields)
        return _created(self._desk.create(self._account(call, fields), ticket))

    @staticmethod
    def _ticket(fields: Fields) -> Ticket:
        expires_s = fields.integer("expiration_time")
        return Ticket(
            ticker=need(fields.text("ticker"), "ticker"),
            side=need(fields.choice("side", SIDES), "side"),
            price=need(fields.price("price"), "price"),
            size=need(fields.size("count"), "count"),
            time_in_force=need(fields.choice("time_in_force", TIMES_IN_FORCE), "time_in_force"),
            self_trade=need(fields.choice("self_trade_prevention_type", SELF_TRADES), "self_trade_prevention_type"),
            client_order_id=fields.client_order_id(),
            post_only=fields.flag("post_only"),
            reduce_only=fields.flag("reduce_only"),
            expires_us=None if expires_s is None else _moment_us(expires_s),
            group_id=fields.text("order_group_id"),
            cancel_on_pause=fields.flag("cancel_order_on_pause"),
            shard=fields.shard(),
        )

    def create_batch(self, call: Call) -> Document:
        """Each order by itself; one that does not parse refuses the whole batch, with nothing done."""
        entries = call.fields().items("orders")
        orders = [(fields.client_order_id(), self._prepared(call, fields)) for fields in entries]
        return {"orders": [self._item(name, prepared) for name, prepared in orders]}

    def _prepared(self, call: Call, fields: Fields) -> tuple[Account, Ticket] | OrderRefused:
        try:
            return self._account(call, fields), self._ticket(fields)
        except OrderRefused as problem:
            return problem

    def _item(self, client_order_id: str | None, prepared: tuple[Account, Ticket] | OrderRefused) -> Document:
        try:
            if isinstance(prepared, OrderRefused):
                raise prepared
            return _created(self._desk.create(*prepared))
        except OrderRefused as problem:
            return _chosen(client_order_id) | _item_error(problem)

    def cancel(self, call: Call) -> Document:
        query = call.query
        shard = integer(query, "exchange_index")
        return self._cancel(call, call.parameter("order_id"), query.get("market_ticker"), shard, call.subaccount() or 0)

    def _cancel(self, call: Call, order_id: str, ticker: str | None, shard: int | None, subaccount: int) -> Document:
        account = self._gate.account(call, subaccount)
        self._routed(account, order_id, ticker, shard)
        order, left = self._desk.cancel(account, order_id)
        return _named(order) | {"reduced_by": size_text(left), "ts_ms": order.updated_us // 1000}

    def _routed(self, account: Account, order_id: str, ticker: str | None, shard: int | None) -> None:
        """Find an order where the caller looks for it: on shard 0 unless a ticker or -1 lets the venue look."""
        order = account.orders.get(order_id)
        if order is None or (ticker is not None and ticker != order.ticket.ticker):
            raise not_found(f"order {order_id}")
        if ticker is None and shard != -1 and (shard or 0) != order.shard:
            raise not_found(f"order {order_id} on exchange_index {shard or 0}")

    def cancel_batch(self, call: Call) -> Document:
        """Each order by itself."""
        items = [
            (
                need(fields.text("order_id"), "order_id"),
                fields.text("market_ticker"),
                fields.integer("exchange_index"),
                call.own(fields.subaccount()),
            )
            for fields in call.fields().items("orders")
        ]
        answers: list[Document] = []
        for item in items:
            try:
                answers.append(self._cancel(call, *item))
            except (OrderRefused, Refusal) as problem:
                answers.append({"order_id": item[0], "reduced_by": "0.00", **_item_error(problem)})
        return {"orders": answers}

    def cancel_all(self, call: Call) -> None:
        for account in self._gate.accounts(call):
            self._desk.cancel_all(account)

    def amend(self, call: Call) -> Document:
        fields = call.fields()
        expires_s = fields.integer("expiration_time")
        amendment = Amendment(
            order_id=call.parameter("order_id"),
            ticker=need(fields.text("ticker"), "ticker"),
            side=need(fields.choice("side", SIDES), "side"),
            price=need(fields.price("price"), "price"),
            count=need(fields.size("count"), "count"),
            client_order_id=fields.client_order_id(),
            updated_client_order_id=fields.client_order_id("updated_client_order_id"),
            expires_us=msgspec.UNSET if expires_s is None else _moment_us(expires_s) if expires_s else None,
        )
        account = self._gate.account(call, call.subaccount() or 0)
        self._routed(account, amendment.order_id, amendment.ticker, None)
        order = self._desk.amend(account, amendment)
        return _written(order) | {"ts_ms": order.updated_us // 1000}

    def decrease(self, call: Call) -> Document:
        fields, order_id = call.fields(), call.parameter("order_id")
        by, to = fields.size("reduce_by"), fields.count("reduce_to")
        if (by is None) == (to is None):
            raise error(400, "invalid_order", "exactly one of reduce_by and reduce_to")
        account = self._gate.account(call, call.subaccount() or 0)
        self._routed(account, order_id, fields.text("market_ticker"), fields.integer("exchange_index"))
        order = self._desk.decrease(account, order_id, by, to)
        return _named(order) | {"remaining_count": size_text(order.remaining), "ts_ms": order.updated_us // 1000}

    def legacy(self, _: Call) -> Document:
        raise error(410, "deprecated_v1_order_endpoint", "use /portfolio/events/orders")

    def _account(self, call: Call, fields: Fields) -> Account:
        return self._gate.account(call, fields.subaccount() if fields.has("subaccount") else call.key.subaccount or 0)

    # Reads.

    def orders(self, call: Call) -> Document:
        """Newest first; of all subaccounts unless one is named."""
        query = call.query
        most = limit(query, 100, 1000)
        status, shard = query.get("status") or None, integer(query, "exchange_index")
        if status is not None and status not in _STATUSES:
            raise invalid(f"status must be one of {', '.join(_STATUSES)}")
        tickers = call.tickers(self._desk.clearing.markets)
        low, high = integer(query, "min_ts"), integer(query, "max_ts")
        every = [
            (account.orders[order_id].created_us, document)
            for account in self._gate.accounts(call)
            for order_id, document in self._desk.reads(account).orders.items()
        ]
        every.sort(key=lambda entry: -entry[0])
        chosen = [
            document
            for created_us, document in every
            if within(created_us, low, high)
            and status in (None, document["status"])
            and (tickers is None or document["ticker"] in tickers)
            and shard in (None, document["exchange_index"])
        ]
        documents, cursor = page(
            query, chosen, most, lambda order: str(order["order_id"]), [document for _, document in every]
        )
        return {"orders": documents, "cursor": cursor}

    def order(self, call: Call) -> Document:
        order_id = call.parameter("order_id")
        for account in self._gate.accounts(call):
            document = self._desk.reads(account).orders.get(order_id)
            if document is not None:
                return {"order": document}
        raise not_found(f"order {order_id}")

    def queue_position(self, call: Call) -> Document:
        order_id = call.parameter("order_id")
        for account in self._gate.accounts(call):
            order = account.orders.get(order_id)
            if order is not None and order.resting:
                return {"queue_position_fp": size_text(self._ahead_of([order])[order])}
        raise not_found(f"resting order {order_id}")

    def queue_positions(self, call: Call) -> Document:
        query = call.query
        tickers, events = names(query, "market_tickers", MOST_TICKERS), names(query, "event_ticker", 1)
        if tickers is None and events is None:
            raise invalid("market_tickers or event_ticker is required")
        markets = self._desk.clearing.markets
        orders = [
            order
            for account in self._gate.accounts(call)
            for order in account.open_orders()
            if (tickers is None or order.ticket.ticker in tickers)
            and (events is None or markets[order.ticket.ticker].listing.event in events)
        ]
        ahead = self._ahead_of(orders)
        return {
            "queue_positions": [
                {
                    "order_id": order.order_id,
                    "market_ticker": order.ticket.ticker,
                    "queue_position_fp": size_text(ahead[order]),
                }
                for order in orders
            ]
        }

    def _ahead_of(self, orders: Iterable[UserOrder]) -> dict[Order, Size]:
        """What trades before each. A level is walked once, however many of them rest there."""
        ahead: dict[Order, Size] = {}
        for order in orders:
            engine = self._desk.clearing.market(order.ticket.ticker).engine
            if order in ahead:
                continue
            if isinstance(engine, OrderBook):
                queue = engine.orders_at(order.side, order.own_price)
                ahead.update(zip(queue, accumulate([each.remaining for each in queue], initial=Size(0)), strict=False))
            else:
                ahead[order] = engine.ahead(order)
        return ahead


def _chosen(client_order_id: str | None) -> Document:
    """The client's own id, where it chose one."""
    return {} if client_order_id is None else {"client_order_id": client_order_id}


def _named(order: UserOrder) -> Document:
    return {"order_id": order.order_id} | _chosen(order.client_order_id)


def _written(order: UserOrder) -> Document:
    counts = {"fill_count": size_text(order.filled), "remaining_count": size_text(order.remaining)}
    return _named(order) | counts | averages(order)


def _created(order: UserOrder) -> Document:
    return _written(order) | {"ts_ms": order.created_us // 1000}


def _item_error(problem: OrderRefused | Refusal) -> Document:
    if isinstance(problem, OrderRefused):
        problem = error(problem.status, problem.code, problem.details)
    return {"error": problem.body.get("error", problem.body)}


def _moment_us(seconds: int) -> int:
    if not 0 <= seconds < 253_402_300_800:  # the year 10000
        raise OrderRefused(400, "invalid_order", "expiration_time must be Unix seconds")
    return seconds * US_PER_S


def _body_shard(call: Call) -> tuple[int, int | None]:
    """Charged on the shard the body names; a body that does not parse is charged once."""
    try:
        return 1, call.fields().shard()
    except Refusal:
        return 1, 0


def _query_shard(call: Call) -> tuple[int, int | None]:
    shard = integer(call.query, "exchange_index", 0)
    return 1, None if shard == -1 or "market_ticker" in call.query else shard


def _per_item(call: Call) -> tuple[int, int | None]:
    try:
        return len(call.fields().items("orders")), 0
    except Refusal:
        return 1, 0
