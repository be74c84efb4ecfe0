"""Order groups over REST."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from kflow.testing.trader import Trader, trading

from . import official
from .official import faults

GROUPS = "/portfolio/order_groups"


@pytest.fixture
async def ann() -> AsyncIterator[Trader]:
    async with trading(users=1) as (_, [trader]):
        yield trader


async def new_group(trader: Trader, limit: str = "10.00") -> str:
    response = await trader.send("POST", f"{GROUPS}/create", {"contracts_limit_fp": limit})
    assert response.status_code == 201
    return str(response.json()["order_group_id"])


async def test_a_group_and_its_orders(ann: Trader) -> None:
    response = await ann.send("POST", f"{GROUPS}/create", {"contracts_limit_fp": "150.00", "exchange_index": 0})
    assert response.status_code == 201
    group_id = response.json()["order_group_id"]
    assert response.json() == {"order_group_id": group_id, "subaccount": 0, "exchange_index": 0}
    order = await ann.order("bid", "0.42", "1", order_group_id=group_id)
    await ann.order("bid", "0.42", "1")
    shown = await ann.get(f"{GROUPS}/{group_id}")
    assert faults(shown, official.ORDER_GROUP) == []
    assert (shown["orders"], shown["contracts_limit_fp"]) == ([order["order_id"]], "150.00")
    [listed] = (await ann.get(GROUPS))["order_groups"]
    assert faults(listed, official.LISTED_GROUP) == []
    assert listed["id"] == group_id
    assert (await ann.get(f"/portfolio/orders/{order['order_id']}"))["order"]["order_group_id"] == group_id


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"contracts_limit": 10}, 201),
        ({"contracts_limit": 10, "contracts_limit_fp": "10.00"}, 201),
        ({"contracts_limit": 1_000_000}, 201),
        ({"contracts_limit": 10, "contracts_limit_fp": "11.00"}, 400),
        ({"contracts_limit": "10"}, 400),
        ({"contracts_limit_fp": 10}, 400),
        ({"contracts_limit_fp": "0.50"}, 400),
        ({"contracts_limit": 1_000_001}, 400),
        ({"limit": 10}, 400),
        ({}, 400),
        ({"contracts_limit": 10, "exchange_index": 5}, 404),
        ({"contracts_limit": 10, "subaccount": 5}, 404),
    ],
)
async def test_a_limit_may_be_whole_or_exact(ann: Trader, body: dict[str, Any], status: int) -> None:
    assert (await ann.send("POST", f"{GROUPS}/create", body)).status_code == status


async def test_a_group_that_reached_its_limit_takes_orders_only_after_a_reset(ann: Trader) -> None:
    group_id = await new_group(ann)
    resting = await ann.order("bid", "0.42", "1", order_group_id=group_id)
    await ann.order("bid", "0.46", "10", order_group_id=group_id)
    assert (await ann.get(f"/portfolio/orders/{resting['order_id']}"))["order"]["status"] == "canceled"
    refused = await ann.create("bid", "0.42", "1", order_group_id=group_id)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_order")
    assert (await ann.send("PUT", f"{GROUPS}/{group_id}/reset")).json() == {}
    await ann.order("bid", "0.42", "1", order_group_id=group_id)


async def test_the_hard_stop(ann: Trader) -> None:
    group_id = await new_group(ann)
    for price in ("0.40", "0.41"):
        await ann.order("bid", price, "1", order_group_id=group_id)
    response = await ann.send("PUT", f"{GROUPS}/{group_id}/trigger", {})
    assert (response.status_code, response.json()) == (200, {})
    assert (await ann.get(f"{GROUPS}/{group_id}"))["orders"] == []
    assert {order["status"] for order in (await ann.get("/portfolio/orders"))["orders"]} == {"canceled"}


async def test_a_limit_can_be_changed(ann: Trader) -> None:
    group_id = await new_group(ann, "100.00")
    order = await ann.order("bid", "0.46", "10", order_group_id=group_id)
    resting = await ann.order("bid", "0.42", "1", order_group_id=group_id)
    path = f"{GROUPS}/{group_id}/limit"
    assert (await ann.send("PUT", path, {"contracts_limit": 50})).json() == {}
    assert (await ann.get(f"{GROUPS}/{group_id}"))["contracts_limit_fp"] == "50.00"
    assert (await ann.send("PUT", path, {"limit": 50})).status_code == 400
    assert order["fill_count"] == "10.00"
    assert (await ann.send("PUT", path, {"contracts_limit_fp": "10.00"})).json() == {}  # which it has matched
    assert (await ann.get(f"/portfolio/orders/{resting['order_id']}"))["order"]["status"] == "canceled"


async def test_a_deleted_group_takes_its_orders_with_it(ann: Trader) -> None:
    group_id = await new_group(ann)
    order = await ann.order("bid", "0.42", "1", order_group_id=group_id)
    assert (await ann.send("DELETE", f"{GROUPS}/{group_id}", {})).json() == {}
    assert (await ann.get(f"/portfolio/orders/{order['order_id']}"))["order"]["status"] == "canceled"
    assert (await ann.send("GET", f"{GROUPS}/{group_id}")).status_code == 404
    assert (await ann.get(GROUPS))["order_groups"] == []


async def test_a_group_is_looked_for_on_one_shard_of_one_subaccount(ann: Trader) -> None:
    group_id = await new_group(ann)
    await ann.send("POST", "/portfolio/subaccounts")
    for query, status in (
        ({"exchange_index": 1}, 404),
        ({"subaccount": 1}, 404),
        ({"subaccount": 0, "exchange_index": 0}, 200),
        ({"exchange_index": -1}, 200),
    ):
        assert (await ann.send("PUT", f"{GROUPS}/{group_id}/reset", **query)).status_code == status, query
    for method, path in (("PUT", "none/trigger"), ("PUT", "none/reset"), ("DELETE", "none"), ("GET", "none")):
        response = await ann.send(method, f"{GROUPS}/{path}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
