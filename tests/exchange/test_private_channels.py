"""Private channels over real sockets: who hears what, when, and in which numbering."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from kflow.exchange.terms import Terms
from kflow.testing.client import RawClient
from kflow.testing.trader import Trader, narrowed, trading
from kflow.testing.venue import MARKET, LocalVenue

OTHER = "KXHIGHNY-26NOV23-T4.30"
PRIVATE = ("fill", "user_orders", "market_positions", "order_group_updates")


@pytest.fixture
async def pair() -> AsyncIterator[tuple[LocalVenue, list[Trader]]]:
    """Two users; YES bids of 100 contracts at 40 to 44 cents, asks at 46 to 50, in two markets."""
    async with trading(markets=(MARKET, OTHER), terms=Terms(fill_order="fill")) as both:
        yield both


@asynccontextmanager
async def listening(
    venue: LocalVenue, trader: Trader, *channels: str, markets: tuple[str, ...] = ()
) -> AsyncIterator[RawClient]:
    """A socket of a user that has subscribed; its acknowledgements are read."""
    headers = trader.key.headers("GET", venue.ws, venue.exchange.clearing.clock.wall_ns())
    async with connect(venue.ws, additional_headers=headers, compression=None) as socket:
        client = RawClient(socket)
        await client.subscribe(*markets, channels=channels)
        await client.frames(len(channels))
        yield client


async def buy(trader: Trader, count: str = "10", **more: Any) -> dict[str, Any]:
    return await trader.order("bid", "0.46", count, **more)


async def test_a_fill_is_told_to_its_owner_alone(pair: tuple[LocalVenue, list[Trader]]) -> None:
    venue, (ann, bob) = pair
    async with AsyncExitStack() as stack:
        mine = await stack.enter_async_context(listening(venue, ann, *PRIVATE))
        also_mine = await stack.enter_async_context(listening(venue, ann, *PRIVATE))
        other = await stack.enter_async_context(listening(venue, bob, *PRIVATE))
        first = await buy(ann)
        for client in (mine, also_mine):
            heard = await client.frames(3)
            assert [frame["type"] for frame in heard] == ["fill", "user_order", "market_position"]
            assert not any("seq" in frame for frame in heard)
            assert heard[0]["msg"]["order_id"] == first["order_id"]
            assert heard[2]["msg"]["position_fp"] == heard[0]["msg"]["post_position_fp"]
        second = await buy(bob)
        heard = await other.frames(3)
        assert {frame["msg"].get("order_id", second["order_id"]) for frame in heard} == {second["order_id"]}


async def test_a_filter_by_market_holds_for_private_channels(pair: tuple[LocalVenue, list[Trader]]) -> None:
    venue, (ann, _) = pair
    async with listening(venue, ann, "fill", markets=(OTHER,)) as client:
        await buy(ann)
        await buy(ann, ticker=OTHER)
        assert (await client.frame())["msg"]["market_ticker"] == OTHER


async def test_a_key_that_may_not_read_hears_nothing(pair: tuple[LocalVenue, list[Trader]]) -> None:
    venue, (ann, _) = pair
    blind = narrowed(venue.exchange.access, ann, "write::trade")
    async with listening(venue, blind, "fill", "trade", markets=(MARKET,)) as client:
        await buy(ann)
        await buy(ann)
        assert [frame["type"] for frame in await client.frames(2)] == ["trade", "trade"]


async def test_a_key_for_one_subaccount_hears_that_one_alone(pair: tuple[LocalVenue, list[Trader]]) -> None:
    venue, (ann, _) = pair
    assert (await ann.send("POST", "/portfolio/subaccounts", {})).status_code == 201
    other = narrowed(venue.exchange.access, ann, "read", subaccount=1)
    async with listening(venue, other, "fill", "trade", markets=(MARKET,)) as client:
        await buy(ann)
        await buy(ann)
        assert [frame["type"] for frame in await client.frames(2)] == ["trade", "trade"]


async def test_a_key_that_is_revoked_loses_its_sockets(pair: tuple[LocalVenue, list[Trader]]) -> None:
    venue, (ann, _) = pair
    second = narrowed(venue.exchange.access, ann, "read")
    async with listening(venue, second, "fill") as client:
        assert (await ann.send("DELETE", f"/api_keys/{second.key.key_id}")).status_code < 300
        with pytest.raises(ConnectionClosed):
            await client.frame()
        assert client.socket.close_code == 1008


async def test_the_answer_comes_before_the_frames(pair: tuple[LocalVenue, list[Trader]]) -> None:
    venue, (ann, _) = pair
    published_at_answer: list[int] = []
    exchange = venue.exchange
    handle = exchange.gate._handle  # looked at from inside: over two sockets no order could be seen

    def watch(*arguments: Any) -> Any:
        answer = handle(*arguments)
        published_at_answer.append(exchange.truth.frames_written)
        return answer

    exchange.gate._handle = watch  # type: ignore[method-assign]
    async with listening(venue, ann, "fill", "orderbook_delta", markets=(MARKET,)) as client:
        await client.frame()  # the snapshot
        before = exchange.truth.frames_written
        await buy(ann)
        await client.frames(2)
        assert published_at_answer[-1] == before
        assert exchange.truth.frames_written == before + 2


async def test_ones_own_deltas_carry_ones_ids_and_nobody_elses(pair: tuple[LocalVenue, list[Trader]]) -> None:
    venue, (ann, bob) = pair
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(listening(venue, user, "orderbook_delta", markets=(MARKET,)))
            for user in (ann, bob)
        ]
        for client in clients:
            await client.frame()
        await ann.order("bid", "0.41", "10", client_order_id="mine")
        own, public = [await client.frame() for client in clients]
        assert own["seq"] == public["seq"] == 2
        assert (own["msg"]["client_order_id"], own["msg"]["subaccount"]) == ("mine", 0)
        assert {"client_order_id", "subaccount"}.isdisjoint(public["msg"])
        assert own["msg"]["delta_fp"] == public["msg"]["delta_fp"]


async def test_order_groups_are_numbered_for_each_listener(pair: tuple[LocalVenue, list[Trader]]) -> None:
    venue, (ann, bob) = pair
    async with listening(venue, ann, "order_group_updates") as client:
        for user in (bob, ann, bob, ann):
            await user.send("POST", "/portfolio/order_groups/create", {"contracts_limit_fp": "10.00"})
        heard = await client.frames(2)
        assert [frame["seq"] for frame in heard] == [1, 2]
        assert {frame["msg"]["event_type"] for frame in heard} == {"created"}


async def test_a_late_feed_keeps_its_order() -> None:
    async with trading(terms=Terms(feed_latency_s=0.02, fill_order="trade")) as (venue, (ann, *_)):
        async with listening(venue, ann, "fill", "user_orders", "trade", markets=(MARKET,)) as client:
            ids = [(await buy(ann, count="1"))["order_id"] for _ in range(5)]
            heard = await client.frames(15)
        assert [frame["type"] for frame in heard] == ["trade", "fill", "user_order"] * 5
        assert [frame["msg"]["order_id"] for frame in heard if frame["type"] == "fill"] == ids
