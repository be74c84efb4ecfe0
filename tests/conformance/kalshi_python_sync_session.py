"""A session of Kalshi's own client on the exchange: `… REST KEY_ID KEY_FILE` prints what it saw as one line of JSON.

Run by the interpreter that has kalshi_python_sync, whose models are strict: a field that is missing, or a number where
text belongs, ends the call with an error. It only asks and writes down; `test_kalshi_python_sync.py` judges.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kalshi_python_sync
from kalshi_python_sync import Configuration, KalshiClient
from kalshi_python_sync.exceptions import ApiException
from pydantic import BaseModel, ValidationError

LIMIT = {"time_in_force": "good_till_canceled", "self_trade_prevention_type": "taker_at_cross"}
TAKE = {"time_in_force": "immediate_or_cancel", "self_trade_prevention_type": "taker_at_cross"}


class Session:
    """Calls by name, and what became of each: `answers` has the objects, `errors` what could not be read or done."""

    def __init__(self, client: KalshiClient) -> None:
        self.answers: dict[str, Any] = {}
        self.errors: dict[str, Any] = {}
        self._client = client

    def ask(self, operation: str, /, *words: Any, label: str = "", **fields: Any) -> Any:
        """Call an operation; its answer is kept under `label`, or its name."""
        label = label or operation
        call: Callable[..., Any] = getattr(self._client, operation)
        try:
            answer = call(*words, **fields)
        except ApiException as error:
            return self._fail(label, {"status": error.status, "body": error.body})
        except (ValidationError, ValueError) as error:
            return self._fail(label, {"unreadable": str(error)})
        self.answers[label] = answer.model_dump(mode="json", by_alias=True) if isinstance(answer, BaseModel) else answer
        return answer

    def _fail(self, label: str, error: dict[str, Any]) -> None:
        self.errors[label] = error
        print(label, error, file=sys.stderr)


def look(session: Session) -> str:
    """The public half; returns a market."""
    session.ask("get_exchange_status")
    session.ask("get_exchange_schedule")
    session.ask("get_user_data_timestamp")
    markets = session.ask("get_markets", status="open").markets
    middle = min(markets, key=lambda entry: abs(float(entry.yes_bid_dollars) + float(entry.yes_ask_dollars) - 1))
    market, event = middle.ticker, middle.event_ticker
    series = session.ask("get_event", event).event.series_ticker
    now = int(time.time())
    span = {"start_ts": now - 3600, "end_ts": now + 60, "period_interval": 1}
    session.ask("get_events", with_nested_markets=True)
    session.ask("get_series", series)
    session.ask("get_series_list")
    session.ask("get_series_fee_changes")
    session.ask("get_event_fee_changes")
    session.ask("get_market", market)
    session.ask("get_market_orderbook", market)
    session.ask("get_market_orderbooks", tickers=[entry.ticker for entry in markets])
    session.ask("get_trades", ticker=market)
    session.ask("get_market_candlesticks", series, market, **span)
    session.ask("batch_get_market_candlesticks", market_tickers=market, **span)
    session.ask("get_historical_cutoff")
    session.ask("get_historical_markets", limit=5)
    session.ask("get_trades_historical", limit=5)
    return str(market)


def change_orders(session: Session, market: str) -> None:
    far = {"ticker": market, "side": "bid", "price": "0.0200", **LIMIT}
    every = {"post_only": True, "cancel_order_on_pause": True, "expiration_time": int(time.time()) + 3600}
    placed = session.ask("create_order_v2", client_order_id="far-1", count="10.00", exchange_index=-1, **every, **far)
    session.ask("create_order_v2", label="create_without_id", count="1", **far)
    session.ask("get_order", placed.order_id)
    session.ask("get_orders", status="resting", ticker=market, limit=1)
    cursor = session.answers["get_orders"]["cursor"]
    session.ask("get_orders", label="second_page", status="resting", ticker=market, limit=1, cursor=cursor)
    session.ask("get_order_queue_position", placed.order_id)
    session.ask("get_order_queue_positions", market_tickers=market)
    amended = session.ask("amend_order_v2", placed.order_id, ticker=market, side="bid", price="0.0300", count="8.00",
                          expiration_time=0)  # fmt: skip
    session.ask("decrease_order_v2", amended.order_id, reduce_by="3.00", market_ticker=market)
    session.ask("get_order", amended.order_id, label="after_decrease")
    session.ask("cancel_order_v2", amended.order_id, market_ticker=market)
    batch = [{**far, "client_order_id": f"batch-{i}", "count": "1.50"} for i in range(2)]
    made = session.ask(
        "batch_create_orders_v2",
        orders=[*batch, {**far, "client_order_id": "batch-2", "count": "1.00", "price": "0.0111"}],
    )
    ids = [{"order_id": order.order_id, "market_ticker": market} for order in made.orders if order.order_id]
    session.ask("batch_cancel_orders_v2", orders=[*ids, {"order_id": str(uuid.uuid4()), "market_ticker": market}])
    session.ask("get_orders", label="canceled_orders", status="canceled")


def use_group(session: Session, market: str) -> None:
    group = session.ask("create_order_group", contracts_limit_fp="100.00").order_group_id
    order = {"ticker": market, "side": "bid", "price": "0.0200", "count": "1.00", "order_group_id": group, **LIMIT}
    session.ask("create_order_v2", label="create_in_group", **order)
    session.ask("get_order_groups")
    session.ask("get_order_group", group)
    session.ask("update_order_group_limit", group, contracts_limit=50)
    session.ask("get_order_group", group, label="after_limit")
    session.ask("trigger_order_group", group, body={})
    session.ask("get_order_group", group, label="after_trigger")
    session.ask("reset_order_group", group)
    session.ask("delete_order_group", group)


def trade(session: Session, market: str) -> None:
    bought = session.ask(
        "create_order_v2", label="buy", ticker=market, side="bid", count="3.00", price="0.9900", **TAKE
    )
    session.ask("get_order", bought.order_id, label="bought")
    session.ask("get_fills", order_id=bought.order_id)
    session.ask("get_positions", count_filter="position")
    session.ask("get_balance")
    session.ask("create_order_v2", label="sell", ticker=market, side="ask", count="3.00", price="0.0100", **TAKE)
    session.ask("get_settlements")
    session.ask("get_deposits")
    session.ask("get_withdrawals")
    session.ask("get_portfolio_resting_order_total_value")
    session.ask("get_fills_historical")
    session.ask("get_historical_orders")
    session.ask("get_historical_positions")


def run_account(session: Session, market: str) -> None:
    session.ask("get_account_api_limits")
    session.ask("get_account_endpoint_costs")
    session.ask("get_account_api_usage_level_volume_progress")
    session.ask("get_api_keys")
    made = session.ask("generate_api_key", name="second", key_type="ed25519", scopes=["read"])
    session.ask("get_api_keys", label="keys_with_second")
    session.ask("delete_api_key", made.api_key_id)
    number = session.ask("create_subaccount").subaccount_number
    session.ask("apply_subaccount_transfer", client_transfer_id=uuid.uuid4(), from_subaccount=0, to_subaccount=number,
                amount_cents=12_34)  # fmt: skip
    session.ask("get_subaccount_balances")
    session.ask("get_subaccount_transfers")
    session.ask("get_subaccount_netting")
    session.ask("get_target_balance_allocation")
    session.ask("get_intra_exchange_instance_transfers")
    order = {"ticker": market, "side": "bid", "count": "1.00", "price": "0.0200", **LIMIT}
    session.ask("create_order_v2", label="create_in_subaccount", subaccount=number, **order)
    session.ask("get_orders", label="of_subaccount", subaccount=number)
    session.ask("get_balance", label="balance_of_subaccount", subaccount=number)


def be_refused(session: Session, market: str) -> None:
    order = {"ticker": market, "side": "bid", "count": "1.00", "price": "0.0200", **LIMIT}
    session.ask("create_order_v2", label="off_grid", **{**order, "price": "0.0201"})
    session.ask("create_order_v2", label="too_dear", **{**order, "count": "100000000.00"})
    session.ask("create_order_v2", label="reduce_only_resting", **{**order, "reduce_only": True})
    session.ask("create_order_v2", label="crossing_post_only", **{**order, "price": "0.9900", "post_only": True})
    session.ask("create_order_v2", label="expired", **{**order, "expiration_time": 1})
    session.ask("create_order_v2", label="unknown_market", **{**order, "ticker": "KXNONE-26-1"})
    session.ask("create_order_v2", label="unknown_group", **{**order, "order_group_id": "og_none"})
    session.ask("create_order_v2", label="first_of_two", client_order_id="twice", **order)
    session.ask("create_order_v2", label="second_of_two", client_order_id="twice", **order)
    fill = {**order, "count": "20000.00", "price": "0.0100", "time_in_force": "fill_or_kill"}
    session.ask("create_order_v2", label="killed", client_order_id="kill", **fill)
    session.ask("create_order_v2", label="killed_again", client_order_id="kill", **fill)
    session.ask("get_order", str(uuid.uuid4()), label="unknown_order")
    session.ask("get_orders", label="bad_cursor", cursor="not a cursor")


def main(rest: str, key_id: str, key_file: str) -> None:
    configuration = Configuration(host=rest)
    configuration.api_key_id, configuration.private_key_pem = key_id, Path(key_file).read_text()
    session = Session(KalshiClient(configuration))
    market = look(session)
    for part in (change_orders, use_group, trade, run_account, be_refused):
        part(session, market)
    session.ask("cancel_all_orders")
    session.ask("get_orders", label="left", status="resting")
    seen = {"version": kalshi_python_sync.__version__, "market": market}
    print(json.dumps({**seen, "answers": session.answers, "errors": session.errors}))


if __name__ == "__main__":
    main(*sys.argv[1:])
