"""REST of what an account has: balance, positions, fills, settlements, history (protocol section 5.6). All signed.

Everything but the count of resting orders comes from the account's `Reads`, and so lags as the venue's reads do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from kflow.exchange.accounts import Account
from kflow.exchange.answers import integer, invalid, limit, names, page, within
from kflow.exchange.documents import Document
from kflow.exchange.gate import READ, Call, Endpoint, Gate
from kflow.exchange.messages import size_text
from kflow.exchange.order_documents import CENT
from kflow.exchange.reads import Reads
from kflow.market.times import US_PER_S, parse_rfc3339_us
from kflow.units import DOLLAR, Money, Price, Size, format_money, notional, parse_money, parse_size

BALANCE: Final = "read::portfolio_balance"
_STATUSES: Final = ("unsettled", "settled", "all")
# Names of `count_filter`, and the fields they look at.
_COUNTS: Final = {"position": "position_fp", "total_traded": "total_traded_dollars"}


class Portfolio:
    """What the callers' accounts have and have had."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self._desk = gate, gate.desk

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/portfolio/balance", self.balance, BALANCE),
            Endpoint("GET", "/portfolio/positions", self.positions, READ),
            Endpoint("GET", "/portfolio/fills", self.fills, READ),
            Endpoint("GET", "/portfolio/settlements", self.settlements, READ),
            Endpoint("GET", "/portfolio/summary/total_resting_order_value", self.resting_value, READ),
            Endpoint("GET", "/portfolio/deposits", _nothing("deposits", 500), READ),
            Endpoint("GET", "/portfolio/withdrawals", _nothing("withdrawals", 500), READ),
            Endpoint("GET", "/historical/fills", self._archive("fills"), READ),
            Endpoint("GET", "/historical/orders", self._archive("orders"), READ),
            Endpoint("GET", "/historical/positions", self._archive("market_positions", "event_positions"), READ),
        ]

    # Balance.

    def balance(self, call: Call) -> Document:
        """Cash that is free, of one subaccount; whole cents are rounded down."""
        account = self._gate.account(call, call.subaccount() or 0)
        reads, shard = self._desk.reads(account), integer(call.query, "exchange_index")
        balances = {number: cash for number, cash in reads.balances.items() if shard in (None, number)}
        total = Money(sum(balances.values()))
        document: Document = {
            "balance": total // CENT,
            "balance_dollars": format_money(total),
            "portfolio_value": self._worth(reads, shard) // CENT,
            "updated_ts": self._gate.as_of_us() // US_PER_S,
        }
        if call.key.subaccount is None:
            document["balance_breakdown"] = indexed(balances)
        return document

    def _worth(self, reads: Reads, shard: int | None) -> Money:
        """What the positions would bring at the best bids for them."""
        total = 0
        for ticker, position in reads.positions.items():
            held = parse_size(position["position_fp"])
            if held and shard in (None, position["exchange_index"]):
                bid, _, ask, _ = self._desk.clearing.market(ticker).state.touch()
                price = bid if held > 0 else DOLLAR - ask
                total += notional(Price(price), Size(abs(held)))
        return Money(total)

    def resting_value(self, call: Call) -> Document:
        """The collateral of the resting orders of all subaccounts."""
        values: dict[int, Money] = {}
        for account in self._gate.accounts(call):
            for shard, reserved in self._desk.reads(account).reserved.items():
                values[shard] = Money(values.get(shard, 0) + reserved)
        return {
            "total_resting_order_value": sum(values.values()) // CENT,
            "resting_order_value_breakdown": indexed(values),
        }

    # Positions.

    def positions(self, call: Call) -> Document:
        """Of one subaccount, by ticker; settled ones only where they are asked for."""
        most = limit(call.query, 100, 1000)
        account = self._gate.account(call, call.subaccount() or 0)
        reads = self._desk.reads(account)
        every = [position for _, position in sorted(reads.positions.items())]
        chosen = self._positions(call, reads)
        shown, cursor = page(call.query, chosen, most, lambda position: str(position["ticker"]), every)
        return {
            "market_positions": [self._with_orders(account, position) for position in shown],
            "event_positions": self._events(chosen, {self._event(position) for position in shown}),
            "cursor": cursor,
        }

    def _positions(self, call: Call, reads: Reads) -> list[Document]:
        query, tickers = call.query, call.tickers(self._desk.clearing.markets)
        status, shard = query.get("settlement_status") or "unsettled", integer(query, "exchange_index")
        if status not in _STATUSES:
            raise invalid(f"settlement_status must be one of {', '.join(_STATUSES)}")
        counts = names(query, "count_filter", len(_COUNTS)) or frozenset()
        if not counts <= _COUNTS.keys():
            raise invalid(f"count_filter must be of {', '.join(_COUNTS)}")
        settled = {document["ticker"] for document in reads.settlements}
        return [
            position
            for ticker, position in sorted(reads.positions.items())
            if (tickers is None or ticker in tickers)
            and shard in (None, position["exchange_index"])
            and (status == "all" or (ticker in settled) == (status == "settled"))
            and (not counts or any(parse_money(position[_COUNTS[name]]) for name in counts))
        ]

    def _with_orders(self, account: Account, position: Document) -> Document:
        """The venue retired `resting_orders_count` in July 2026, but a client requires it."""
        return position | {"resting_orders_count": len(account.open_orders(position["ticker"]))}

    def _event(self, position: Document) -> str:
        return self._desk.clearing.market(position["ticker"]).listing.event

    def _events(self, positions: Collection[Document], events: Collection[str]) -> list[Document]:
        """Positions added up by event, of those events that the page shows."""
        grouped: dict[str, list[Document]] = {event: [] for event in sorted(events)}
        for position in positions:
            if (event := self._event(position)) in grouped:
                grouped[event].append(position)

        def total(members: list[Document], field: str) -> str:
            return format_money(Money(sum(parse_money(member[field]) for member in members)))

        return [
            {
                "event_ticker": event,
                "total_cost_dollars": total(members, "total_traded_dollars"),
                "total_cost_shares_fp": size_text(sum(parse_size(member["volume_fp"]) for member in members)),
                "event_exposure_dollars": total(members, "market_exposure_dollars"),
                "realized_pnl_dollars": total(members, "realized_pnl_dollars"),
                "fees_paid_dollars": total(members, "fees_paid_dollars"),
            }
            for event, members in grouped.items()
        ]

    # What happened.

    def fills(self, call: Call) -> Document:
        """Newest first; of all subaccounts unless one is named."""
        query, tickers = call.query, call.tickers(self._desk.clearing.markets)
        most, shard = limit(query, 100, 1000), integer(query, "exchange_index")
        low, high = integer(query, "min_ts"), integer(query, "max_ts")
        order_id = query.get("order_id") or None
        chosen = [
            (parse_rfc3339_us(fill["created_time"]), fill)
            for account in self._gate.accounts(call)
            for fill in self._desk.reads(account).fills
            if (tickers is None or fill["ticker"] in tickers)
            and order_id in (None, fill["order_id"])
            and shard in (None, fill["exchange_index"])
        ]
        documents = _newest_first([entry for entry in chosen if within(entry[0], low, high)])
        # Two subaccounts may be the parties of one trade: its id alone would not tell their fills apart.
        shown, cursor = page(query, documents, most, lambda fill: f"{fill['trade_id']} {fill['order_id']}")
        return {"fills": shown, "cursor": cursor}

    def settlements(self, call: Call) -> Document:
        """Newest first; of all subaccounts unless one is named."""
        query, tickers = call.query, call.tickers(self._desk.clearing.markets)
        most = limit(query, 100, 1000)
        low, high = integer(query, "min_ts"), integer(query, "max_ts")
        chosen = [
            (parse_rfc3339_us(document["settled_time"]), document)
            for account in self._gate.accounts(call)
            for document in self._desk.reads(account).settlements
            if tickers is None or document["ticker"] in tickers
        ]
        documents = _newest_first([entry for entry in chosen if within(entry[0], low, high)])
        shown, cursor = page(
            query, documents, most, lambda document: f"{document['ticker']} {document['settled_time']}"
        )
        return {"settlements": shown, "cursor": cursor}

    def _archive(self, *lists: str) -> Callable[[Call], Document]:
        """Nothing here is as old as the cutoff behind which the historical endpoints begin."""

        def nothing(call: Call) -> Document:
            limit(call.query, 100, 1000)
            self._gate.accounts(call)
            return {name: [] for name in lists} | {"cursor": ""}

        return nothing


def indexed(balances: dict[int, Money]) -> list[Document]:
    """Amounts by shard."""
    return [{"exchange_index": shard, "balance": format_money(cash)} for shard, cash in sorted(balances.items())]


def _newest_first(entries: list[tuple[int, Document]]) -> list[Document]:
    return [document for _, document in sorted(entries, key=lambda entry: entry[0])][::-1]


def _nothing(name: str, most: int) -> Callable[[Call], Document]:
    """A list that is empty here: no money comes in or goes out."""

    def nothing(call: Call) -> Document:
        limit(call.query, 100, most)
        return {name: [], "cursor": ""}

    return nothing
