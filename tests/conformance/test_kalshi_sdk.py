"""kalshi-sdk 22.4.0 reads every private message of the stream through its strict models, and trades over REST."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kflow.testing.venue import LocalVenueProcess

from .conftest import RunSession


def test_kalshi_sdk(run_session: RunSession, market_process: LocalVenueProcess) -> None:
    with market_process as venue:
        seen = run_session("kalshi-sdk", venue.rest, venue.ws, venue.key_id, venue.private_key_path)
    assert seen["version"] == "22.4.0"
    assert seen["errors"] == []
    orders_change_as_asked(seen["changed"])
    fills_of_the_stream_are_those_of_rest(seen)
    messages = seen["messages"]
    changes = [
        (body["client_order_id"], body["status"], body["remaining_count"]) for body in _bodies(seen, "user_orders")
    ]
    assert changes[:4] == [
        ("sdk-1", "resting", "10.00"),
        ("sdk-1", "resting", "8.50"),
        ("sdk-1", "resting", "6.00"),
        ("sdk-1", "canceled", "0.00"),
    ]
    assert [body["event_type"] for body in _bodies(seen, "order_group")] == [
        "created", "limit_updated", "triggered", "deleted",
    ]  # fmt: skip
    assert [message["seq"] for message in messages["order_group"]] == [1, 2, 3, 4]
    numbers = [message["seq"] for message in messages["orderbook"]]
    assert numbers == list(range(1, len(numbers) + 1)), "the client drops frames that repeat or skip a number"


def _bodies(seen: dict[str, Any], channel: str) -> list[dict[str, Any]]:
    return [message["msg"] for message in seen["messages"][channel]]


def orders_change_as_asked(changed: dict[str, Any]) -> None:
    assert changed["amended"]["remaining_count"] == "8.50"
    assert changed["decreased"]["remaining_count"] == "6.00"
    resting = changed["resting"]
    assert (resting["status"], resting["yes_price"], resting["remaining_count"]) == ("resting", "0.0300", "6.00")
    assert changed["canceled"]["reduced_by"] == "6.00"
    assert Decimal(changed["queue"]) >= 0
    assert changed["swept"] == ["1.00", "1.00"]
    assert changed["duplicate"] == "KalshiConflictError"


def fills_of_the_stream_are_those_of_rest(seen: dict[str, Any]) -> None:
    told = {body["trade_id"]: body for body in _bodies(seen, "fill")}
    booked = {fill["trade_id"]: fill for fill in seen["traded"]["fills"]}
    assert told.keys() == booked.keys()
    for trade_id, fill in booked.items():
        same = ("order_id", "count", "yes_price", "fee_cost", "side", "action", "book_side", "outcome_side", "is_taker")
        assert {name: told[trade_id][name] for name in same} == {name: fill[name] for name in same}
    assert told.keys() <= {body["trade_id"] for body in _bodies(seen, "trade")}
    (position,) = seen["traded"]["positions"]["market_positions"]
    assert (position["ticker"], position["position"]) == (seen["market"], "4.00")
    assert _bodies(seen, "market_positions")[-1]["position"] == "0.00"
