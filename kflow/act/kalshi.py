"""The venue over its REST: local, demo or production, by the client's addresses. One account, the primary one.

Nothing is sent twice. What the venue refused for certain is Refused, and so is a write that found no connection to
leave by. Anything less certain is Unclear, an id that the venue has already among it: `find` and fills then tell.
Expiries are whole seconds there, so an order ends up to one before it was to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from kflow.act.orders import Fill, Intent
from kflow.act.venue import Ack, Gone, Refused, Truth, Unclear, VenueFill, VenueOrder
from kflow.errors import ConfigError, DataError, VenueError, VenueRefused
from kflow.kalshi.portfolio import AccountFill, AccountOrder
from kflow.kalshi.trading import DUPLICATE, NOT_FOUND, NeverSent, NewOrder, TradingClient
from kflow.market.times import US_PER_S

# How often an account that trades meanwhile is read anew, and the pause in between: reads lag by up to a second.
_TRIES: Final = 5
_PAUSE_S: Final = 0.3
# Older orders than this that ended are not looked for. Ours live a minute or two.
_LIFE_US: Final = 600 * US_PER_S


class _Holding(NamedTuple):
    cash: int
    positions: Mapping[str, int]


class KalshiVenue:
    """A `Venue` over a client that somebody else closes. `name` is that of its environment."""

    def __init__(self, client: TradingClient, shards: Mapping[str, int]) -> None:
        """`shards`: the `exchange_index` of each market that may be traded."""
        self.name: str = client.endpoints.environment.value
        self._client, self._shards = client, dict(shards)

    async def place(self, intent: Intent, group: str | None) -> Ack:
        shard = self._shards.get(intent.market)
        if shard is None:
            raise Refused("unknown_market", f"nobody said on which shard {intent.market} trades")
        order = NewOrder(
            market=intent.market,
            client_order_id=intent.client_order_id,
            side=intent.side,
            price=intent.price,
            size=intent.size,
            immediate=intent.immediate,
            reduce_only=intent.reduce_only,
            expires_us=intent.expires_us,
            group=None if group is None else _on_shard(group, shard),
            shard=shard,
        )
        with _written(gone=False):
            return Ack(*await self._client.create(order))

    async def cancel(self, venue_id: str, market: str) -> int:
        with _written(gone=True):
            return await self._client.cancel(venue_id, market)

    async def renew(self, venue_id: str, intent: Intent, filled: int, expires_us: int) -> Ack:
        """`filled` is not needed: what is filled and left are the order's size together, whatever comes meanwhile."""
        del filled
        with _written(gone=True):
            renewed = await self._client.amend_expiry(
                venue_id,
                intent.market,
                side=intent.side,
                price=intent.price,
                size=intent.size,
                expires_us=expires_us,
            )
        return Ack(*renewed)

    async def find(self, client_order_id: str, market: str) -> VenueOrder | None:
        """Walks the market's orders, newest first. Reads lag: an order of the last second may not be shown yet."""
        with _read():
            async for order in self._client.orders(market=market):
                if order.client_order_id == client_order_id:
                    return _order(order)
        return None

    async def truth(self, since_us: int) -> Truth:
        """Read again where the account traded meanwhile; Unclear where it would not rest.

        Of orders that ended since, those that were older than ten minutes by then are left out: `find` still has them.
        """
        with _read():
            for attempt in range(_TRIES):
                if attempt:
                    await self._client.clock.sleep(_PAUSE_S)
                us, before = await self._client.as_of_us(), await self._holding()
                orders = await self._orders(since_us)
                fills = [fill async for fill in self._client.fills(since_us=since_us)]
                if await self._holding() == before and _agree(orders, fills, since_us):
                    shown = [_order(o) for o in orders if o.status == "resting" or o.updated_us >= since_us]
                    return Truth(us, shown, [_fill(fill) for fill in fills], before.positions, before.cash)
        raise Unclear("the account went on trading while it was read")

    async def _orders(self, since_us: int) -> list[AccountOrder]:
        """What was made lately, and what is open however old: an account's whole past may be long."""
        recent = self._client.orders(since_us=max(since_us - _LIFE_US, 0))
        orders = {order.order_id: order async for order in recent}
        async for order in self._client.orders(status="resting"):
            orders[order.order_id] = order
        return list(orders.values())

    async def _holding(self) -> _Holding:
        return _Holding((await self._client.cash()).whole, await self._client.positions())

    async def open_group(self, most: int) -> str:
        """One group on each shard that is traded, each with the same limit; all of them behind one name."""
        made: list[str] = []
        try:
            for shard in sorted(set(self._shards.values())):
                with _written(gone=False):
                    made.append(f"{shard}:{await self._client.create_group(most, shard)}")
        except (Refused, Unclear):
            for shard, group in _parts(",".join(made)):
                await self._try(self._client.delete_group(group, shard))
            raise
        return ",".join(made)

    async def trigger_group(self, group: str) -> None:
        """On every shard, whatever the others say. It may be asked for again: that does no harm."""
        failed = [await self._try(self._client.trigger_group(part, shard)) for shard, part in _parts(group)]
        for error in failed:
            if error is not None:
                raise error

    async def cancel_all(self) -> None:
        """Takes orders of the minute that follows, too."""
        with _written(gone=False):
            await self._client.cancel_all()

    @staticmethod
    async def _try(write: Awaitable[None]) -> Refused | Unclear | None:
        try:
            with _written(gone=False):
                await write
        except (Refused, Unclear) as error:
            return error
        return None


@contextmanager
def _written(*, gone: bool) -> Iterator[None]:
    """What became of a write, in the words of `Venue`."""
    try:
        yield
    except VenueRefused as error:
        if gone and (error.status, error.code) == (404, NOT_FOUND):
            raise Gone(f"{error}: it is over, and may have been filled") from None
        if error.code == DUPLICATE:
            raise Unclear(f"{error}: look it up", hint=error.hint) from None
        raise Refused(error.code or f"http_{error.status}", str(error)) from None
    except NeverSent as error:
        raise Refused("never_sent", str(error)) from None
    except VenueError as error:
        raise Unclear(str(error), hint=error.hint) from None


@contextmanager
def _read() -> Iterator[None]:
    """A read that brings no answer, or one that makes no sense, says nothing of the account."""
    try:
        yield
    except (VenueError, DataError, ConfigError) as error:
        raise Unclear(str(error), hint=error.hint) from None


def _agree(orders: Sequence[AccountOrder], fills: Sequence[AccountFill], since_us: int) -> bool:
    """Whether orders and fills are of one moment: an order that began since has all of its fills, no order more."""
    got: dict[str, int] = defaultdict(int)
    for fill in fills:
        got[fill.order_id] += fill.size
    return all(
        got[order.order_id] == order.filled or (order.created_us < since_us and got[order.order_id] < order.filled)
        for order in orders
    )


def _order(order: AccountOrder) -> VenueOrder:
    """One that is over is filled only if it was filled whole, whatever the venue calls it."""
    over = "filled" if order.filled >= order.size else "cancelled"
    return VenueOrder(
        venue_id=order.order_id,
        mine=order.client_order_id,
        market=order.market,
        side=order.side,
        price=order.price,
        size=order.size,
        filled=order.filled,
        state="resting" if order.status == "resting" else over,
        expires_us=order.expires_us,
    )


def _fill(fill: AccountFill) -> VenueFill:
    booked = Fill(fill.trade_id, fill.us, fill.price, fill.size, fill.fee, fill.taker)
    return VenueFill(fill.order_id, fill.market, fill.side, booked)


def _parts(group: str) -> list[tuple[int, str]]:
    """Shards and the venue's ids of a group."""
    pairs = [part.partition(":") for part in group.split(",") if part]
    return [(int(shard), name) for shard, _, name in pairs]


def _on_shard(group: str, shard: int) -> str:
    name = dict(_parts(group)).get(shard)
    if name is None:
        raise Refused("no_group", f"the order group does not reach to shard {shard}")
    return name
