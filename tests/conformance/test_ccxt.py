"""ccxt 4.5.90 trades on the exchange as it does on Kalshi: through `ccxt.prediction.kalshi`, over REST."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kflow.testing.venue import LocalVenueProcess

from .conftest import RunSession


def test_ccxt(run_session: RunSession, market_process: LocalVenueProcess) -> None:
    with market_process as venue:
        seen = run_session("ccxt", venue.rest, venue.key_id, venue.private_key_path)
    assert seen["version"] == "4.5.90"
    market = seen["looked"]["market"]
    markets_and_books_are_read(seen["looked"])
    orders_rest_and_are_canceled(seen["rested"], market)
    trades_are_booked_to_the_last_cent(seen["traded"], market)
    refusals_have_the_codes_ccxt_knows(seen["refused"])
    canceled = seen["swept"]["canceled"]
    # A bid for NO is an ask for YES: the order that bought NO at 2 cents reads back as one that sells YES at 98.
    assert sorted((order["price"], order["side"], order["status"]) for order in canceled) == [
        (0.02, "buy", "canceled"), (0.03, "buy", "canceled"), (0.98, "sell", "canceled"),
    ]  # fmt: skip
    assert seen["swept"]["left"] == []


def markets_and_books_are_read(looked: dict[str, Any]) -> None:
    assert len(looked["tickers"]) == 3
    assert looked["status"] == "ok"
    assert looked["ticker"] == looked["market"]
    for bids, asks in looked["books"].values():
        assert [price for price, _ in bids] == sorted((price for price, _ in bids), reverse=True)
        assert [price for price, _ in asks] == sorted(price for price, _ in asks)
        assert bids[0][0] < asks[0][0]
        assert all(size > 0 for _, size in [*bids, *asks])
    assert looked["no_book"], "the NO side of the book has bids: the YES asks"


def orders_rest_and_are_canceled(rested: dict[str, Any], market: str) -> None:
    placed, fetched = rested["placed"], rested["fetched"]
    assert (placed["status"], placed["filled"], placed["remaining"]) == ("open", 0, 10)
    told = {name: fetched[name] for name in ("id", "status", "side", "price", "amount", "filled", "remaining", "type")}
    assert told == {
        "id": placed["id"], "status": "open", "side": "buy", "price": 0.02, "amount": 10, "filled": 0, "remaining": 10,
        "type": "limit",
    }  # fmt: skip
    assert fetched["outcomeId"] == market
    assert fetched["timestamp"] is not None
    assert [order["id"] for order in rested["open"]] == [placed["id"]]
    edited = rested["edited"]
    assert edited["id"] != placed["id"], "ccxt edits by canceling and placing anew"
    assert [(order["id"], order["remaining"]) for order in rested["after_edit"]] == [(edited["id"], 7)]
    assert rested["canceled"]["status"] == "canceled"
    assert rested["canceled"]["info"]["reduced_by"] == "7.00"
    assert rested["again"][0] == "BadSymbol", "what is gone is not found"
    assert rested["open_at_last"] == []


def trades_are_booked_to_the_last_cent(traded: dict[str, Any], market: str) -> None:
    bought, order, fills = traded["bought"], traded["order"], traded["fills"]
    assert (bought["filled"], bought["remaining"], bought["status"]) == (5, 0, "closed")
    assert (order["status"], order["filled"]) == ("closed", 5)
    assert {fill["order"] for fill in fills} == {bought["id"]}
    assert sum(fill["amount"] for fill in fills) == 5
    assert {(fill["side"], fill["takerOrMaker"], fill["outcomeId"]) for fill in fills} == {("buy", "taker", market)}
    assert [position["info"]["position_fp"] for position in traded["position"]] == ["5.00"]
    spent = _money(traded["before"]) - _money(traded["after"])
    assert spent == _cost(fills) + _fees(fills)
    assert _fees(fills) > 0
    sold = [fill for fill in traded["all_fills"] if fill["order"] == traded["sold"]["id"]]
    assert sum(fill["amount"] for fill in sold) == 5
    assert _money(traded["last"]) - _money(traded["after"]) == _cost(sold) - _fees(sold)
    assert [position["info"]["position_fp"] for position in traded["flat"]] in ([], ["0.00"])
    assert {bought["id"], traded["sold"]["id"]} <= {order["id"] for order in traded["closed"]}
    assert traded["settlements"] == []


def _money(balance: dict[str, Any]) -> Decimal:
    return Decimal(balance["balance_dollars"])


def _cost(fills: list[dict[str, Any]]) -> Decimal:
    return sum((Decimal(f["info"]["count_fp"]) * Decimal(f["info"]["yes_price_dollars"]) for f in fills), Decimal(0))


def _fees(fills: list[dict[str, Any]]) -> Decimal:
    return sum((Decimal(fill["info"]["fee_cost"]) for fill in fills), Decimal(0))


def refusals_have_the_codes_ccxt_knows(refused: dict[str, Any]) -> None:
    expected = {
        "unknown_market": ("BadSymbol", "not_found"),
        "off_grid": ("BadRequest", "invalid_price"),
        "too_dear": ("BadRequest", "insufficient_balance"),
        "killed": ("OrderNotFillable", "fill_or_kill_insufficient_resting_volume"),
        "unknown_order": ("BadSymbol", "not_found"),
    }
    for name, (error, code) in expected.items():
        assert refused[name][0] == error, (name, refused[name])
        assert f'"code":"{code}"' in refused[name][1]
    assert "deprecated_v1_order_endpoint" in refused["retired"][1]
