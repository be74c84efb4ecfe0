"""Kalshi's own Python client (3.34.0) reads every answer of the exchange through its strict models."""

from __future__ import annotations

import json
from typing import Any, Final

from kflow.testing.venue import LocalVenueProcess

from .conftest import RunSession

# What must be refused, and how; every other call must succeed and be readable.
REFUSALS: Final = {
    "off_grid": (400, "invalid_price"),
    "too_dear": (400, "insufficient_balance"),
    "reduce_only_resting": (400, "invalid_order"),
    "crossing_post_only": (400, "invalid_order"),
    "expired": (400, "invalid_order"),
    "unknown_market": (404, "not_found"),
    "unknown_group": (404, "not_found"),
    "second_of_two": (409, "order_already_exists"),
    "killed": (409, "fill_or_kill_insufficient_resting_volume"),
    "killed_again": (409, "order_already_exists"),
    "unknown_order": (404, "not_found"),
    "bad_cursor": (400, "invalid_parameters"),
}


def test_kalshi_python_sync(run_session: RunSession, market_process: LocalVenueProcess) -> None:
    with market_process as venue:
        seen = run_session("kalshi-python-sync", venue.rest, venue.key_id, venue.private_key_path)
    assert seen["version"] == "3.34.0"
    assert {label: _refusal(error) for label, error in seen["errors"].items()} == REFUSALS
    answers = seen["answers"]
    orders_change_as_asked(answers)
    pages_and_batches(answers)
    groups_and_subaccounts(answers)
    assert answers["left"]["orders"] == []


def _refusal(error: dict[str, Any]) -> Any:
    """Status and code of a refusal; else what went wrong, so that a failing test shows it."""
    if "status" not in error:
        return error
    try:
        body = json.loads(error["body"])
    except ValueError:
        return error
    return error["status"], body.get("error", body).get("code")


def orders_change_as_asked(answers: dict[str, Any]) -> None:
    placed = answers["create_order_v2"]
    assert (placed["client_order_id"], placed["fill_count"], placed["remaining_count"]) == ("far-1", "0.00", "10.00")
    order = answers["get_order"]["order"]
    assert (order["cancel_order_on_pause"], order["self_trade_prevention_type"]) == (True, "taker_at_cross")
    assert order["expiration_time"] is not None
    left = answers["after_decrease"]["order"]
    assert (left["yes_price_dollars"], left["remaining_count_fp"], left["expiration_time"]) == ("0.0300", "5.00", None)
    assert answers["cancel_order_v2"]["reduced_by"] == "5.00"
    bought = answers["bought"]["order"]
    assert (bought["status"], bought["fill_count_fp"]) == ("executed", "3.00")
    assert {fill["order_id"] for fill in answers["get_fills"]["fills"]} == {bought["order_id"]}
    (position,) = answers["get_positions"]["market_positions"]
    assert position["position_fp"] == "3.00"
    assert len(answers["get_positions"]["event_positions"]) == 1


def pages_and_batches(answers: dict[str, Any]) -> None:
    pages = [answers[name]["orders"] for name in ("get_orders", "second_page")]
    assert [len(page) for page in pages] == [1, 1]
    assert pages[0][0]["order_id"] != pages[1][0]["order_id"]
    first, second, empty = answers["batch_create_orders_v2"]["orders"]
    assert (first["remaining_count"], second["remaining_count"]) == ("1.50", "1.50")
    assert empty["order_id"] is None
    *canceled, unknown = answers["batch_cancel_orders_v2"]["orders"]
    assert [order["reduced_by"] for order in canceled] == ["1.50", "1.50"]
    assert unknown["reduced_by"] == "0.00"


def groups_and_subaccounts(answers: dict[str, Any]) -> None:
    assert answers["get_order_group"]["contracts_limit_fp"] == "100.00"
    assert len(answers["get_order_group"]["orders"]) == 1
    assert answers["after_limit"]["contracts_limit_fp"] == "50.00"
    assert answers["after_trigger"]["orders"] == []
    keys = [len(answers[name]["api_keys"]) for name in ("get_api_keys", "keys_with_second")]
    assert keys == [1, 2]
    number = answers["create_subaccount"]["subaccount_number"]
    balances = {
        row["subaccount_number"]: row["balance"] for row in answers["get_subaccount_balances"]["subaccount_balances"]
    }
    assert float(balances[number]) == 12.34
    (order,) = answers["of_subaccount"]["orders"]
    assert order["subaccount_number"] == number
    assert answers["balance_of_subaccount"]["balance"] == 1232
