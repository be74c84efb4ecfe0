"""Each fault of the trading half: what a raw client saw, what the exchange holds, and what REST says afterwards."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from kflow.clock import Clock, ManualClock, SystemClock
from kflow.exchange.accounts import Account, UserOrder
from kflow.exchange.faults import REQUEST_KINDS, VENUE_KINDS, Fault, Kind, load_script
from kflow.exchange.server import ExchangeOptions
from kflow.exchange.source import MatchedSource
from kflow.exchange.terms import CASH, Terms
from kflow.exchange.trade_faults import COMMANDS, command_of
from kflow.kalshi.auth import ApiKey
from kflow.store.journal import RecordKind
from kflow.store.journal_reader import JournalReader
from kflow.testing.client import RawClient, client
from kflow.testing.trader import Trader, ticket
from kflow.testing.venue import MARKET, LocalVenue, listing, some_levels
from kflow.units import DOLLAR, parse_money, parse_price, parse_size

from .conftest import Report

ORDERS = "/portfolio/events/orders"
IOC = "immediate_or_cancel"


class Rig:
    """An exchange where YES is bid at 44 and offered at 46 cents, 100 contracts each, and two users."""

    def __init__(self, venue: LocalVenue, traders: list[Trader], clock: Clock) -> None:
        self.venue, self.clock = venue, clock
        self.ann, self.bob = traders

    def inject(self, kind: Kind, **terms: Any) -> None:
        self.venue.inject(Fault(kind=kind, **terms))

    @property
    def injected(self) -> dict[str, int]:
        return dict(self.venue.injected)

    def account(self, index: int = 0) -> Account:
        exchange = self.venue.exchange
        return exchange.desk.account(exchange.holders[index].user_id)

    def held(self, intent: str, index: int = 0) -> list[UserOrder]:
        """What the exchange itself has of an intent."""
        return [order for order in self.account(index).orders.values() if order.client_order_id == intent]

    async def settled(self, trader: Trader, index: int = 0) -> None:
        """What REST says of fills, position and cash is one story, and the exchange's own."""
        fills = await every_fill(trader)
        assert len({(fill["trade_id"], fill["order_id"]) for fill in fills}) == len(fills)
        cash = 0
        sizes = Counter[str]()
        for fill in fills:
            size, price = parse_size(fill["count_fp"]), parse_price(fill["yes_price_dollars"])
            sizes[fill["book_side"]] += size
            # An ask is a bid of NO at $1 - p, and a pair of both is worth a dollar.
            cash -= size * (price if fill["book_side"] == "bid" else DOLLAR - price) + parse_money(fill["fee_cost"])
        held, pairs = sizes["bid"] - sizes["ask"], min(sizes["bid"], sizes["ask"])
        account = self.account(index)
        assert account.held(MARKET) == held
        assert account.cash[0] == CASH + cash + pairs * DOLLAR
        positions = (await trader.get("/portfolio/positions"))["market_positions"]
        assert [parse_size(position["position_fp"]) for position in positions] == ([held] if fills else [])
        balance = (await trader.get("/portfolio/balance"))["balance_dollars"]
        assert parse_money(balance) == account.available(0)


async def every_fill(trader: Trader) -> list[dict[str, Any]]:
    """All pages."""
    fills: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await trader.get("/portfolio/fills", limit=1000, cursor=cursor)
        fills += page["fills"]
        cursor = page["cursor"]
        if not cursor:
            return fills


@asynccontextmanager
async def rig(*, truth: Path | None = None, clock: Clock | None = None) -> AsyncIterator[Rig]:
    clock = clock or SystemClock()
    source = MatchedSource([listing()], {MARKET: some_levels()})
    terms = Terms(tier="unlimited", fill_order="fill")
    options = ExchangeOptions(source=source, terms=terms, users=2, clock=clock, truth=truth)
    async with LocalVenue(source=source, options=options) as venue, httpx.AsyncClient(timeout=10) as http:
        keys = [ApiKey.load(holder.key_id, holder.private_key_path) for holder in venue.exchange.holders]
        yield Rig(venue, [Trader(venue.rest, key, http, clock) for key in keys], clock)


def now() -> ManualClock:
    return ManualClock(wall_ns=time.time_ns())


async def listen(raw: RawClient, *channels: str) -> None:
    await raw.subscribe(channels=channels)
    await raw.frames(len(channels))


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# Answers that come late, or never.


async def test_late_ack_comes_behind_its_fills() -> None:
    clock = now()
    async with rig(clock=clock) as field, client(field.venue) as raw:
        await listen(raw, "fill", "user_orders")
        field.inject(Kind.LATE_ACK, seconds=5)
        posting = asyncio.ensure_future(field.ann.create("bid", "0.4600", "10", client_order_id="one"))
        fill, order = await raw.frames(2)
        assert (fill["msg"]["client_order_id"], fill["msg"]["count_fp"]) == ("one", "10.00")
        assert order["msg"]["status"] == "executed"
        await field.settled(field.ann)  # REST knows it, too
        assert not posting.done()
        clock.advance(5)
        answer = await posting
        assert (answer.status_code, answer.json()["fill_count"]) == (201, "10.00")
        assert answer.json()["order_id"] == fill["msg"]["order_id"]
        assert field.injected == {"late_ack": 1}


async def test_who_gives_up_before_a_late_ack_finds_the_order_by_its_own_id() -> None:
    clock = now()
    async with rig(clock=clock) as field, client(field.venue) as raw:
        await listen(raw, "user_orders")
        field.inject(Kind.LATE_ACK, seconds=5)
        posting = asyncio.ensure_future(field.ann.create("bid", "0.4500", "10", client_order_id="one"))
        await raw.frame()
        posting.cancel()
        [found] = [o for o in (await field.ann.get("/portfolio/orders"))["orders"] if o["client_order_id"] == "one"]
        gone = await field.ann.send("DELETE", f"{ORDERS}/{found['order_id']}", market_ticker=MARKET)
        assert (gone.status_code, gone.json()["reduced_by"]) == (200, "10.00")
        clock.advance(5)  # whatever would have been answered now changes nothing
        assert code(await field.ann.create("bid", "0.4500", "10", client_order_id="one")) == (
            409,
            "order_already_exists",
        )
        assert [order.status for order in field.held("one")] == ["canceled"]


async def test_fills_before_the_ack() -> None:
    async with rig() as field, client(field.venue) as raw:
        await listen(raw, "fill")
        field.inject(Kind.FILL_FIRST)
        before = field.venue.exchange.truth.frames_written
        await field.ann.order("bid", "0.4600", "3")
        assert field.venue.exchange.truth.frames_written == before + 1  # already, with the answer
        assert (await raw.frame())["msg"]["count_fp"] == "3.00"
        assert field.injected == {"fill_first": 1}
        await field.settled(field.ann)


@pytest.mark.parametrize(("variant", "error"), [("reset", httpx.ReadError), ("closed", httpx.RemoteProtocolError)])
@pytest.mark.parametrize("accepted", [True, False])
async def test_lost_ack(variant: str, error: type[Exception], accepted: bool) -> None:
    async with rig() as field, client(field.venue) as raw:
        await listen(raw, "fill")
        field.inject(Kind.LOST_ACK, variant=variant, accepted=accepted)
        with pytest.raises(error):
            await field.ann.create("bid", "0.4600", "10", client_order_id="one")
        again = await field.ann.create("bid", "0.4600", "10", client_order_id="one")
        assert again.status_code == (409 if accepted else 201)
        [order] = field.held("one")
        assert order.filled == 1000
        assert (await raw.frame())["msg"]["order_id"] == order.order_id  # frames go out also where no answer does
        assert field.injected == {"lost_ack": 1}
        await field.settled(field.ann)


# Answers that say nothing, or the wrong thing.


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_http_errors(status: int, accepted: bool) -> None:
    async with rig() as field:
        field.inject(Kind.HTTP_ERROR, status=status, accepted=accepted)
        refused = await field.ann.create("bid", "0.4500", "10", client_order_id="one")
        assert refused.status_code == status
        assert "order_id" not in refused.json()
        if status == 429:
            assert refused.json() == {"error": "too many requests"}
        if status in (500, 503, 504):
            assert refused.json()["trading_active"] is False
        found = [o["client_order_id"] for o in (await field.ann.get("/portfolio/orders"))["orders"]]
        assert found == (["one"] if accepted else [])
        assert len(field.held("one")) == accepted
        assert field.injected == {"http_error": 1}
        await field.settled(field.ann)


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize(
    ("kind", "status", "seen"),
    [
        (Kind.NO_ORDER, 201, "{}"),
        (Kind.NO_ORDER, 200, "{}"),
        (Kind.HTML, 200, "<html>"),
        (Kind.HTML, 502, "<html>"),
        (Kind.DEPRECATED, None, "deprecated_v1_order_endpoint"),
    ],
)
async def test_answers_without_an_order(kind: Kind, status: int | None, seen: str, accepted: bool) -> None:
    async with rig() as field:
        field.inject(kind, status=status, accepted=accepted)
        answer = await field.ann.create("bid", "0.4600", "10", client_order_id="one")
        assert answer.status_code == (status or 410)
        assert seen in answer.text
        assert answer.headers["content-type"].startswith("text/html" if kind is Kind.HTML else "application/json")
        assert [order.filled for order in field.held("one")] == ([1000] if accepted else [])
        assert field.injected == {kind.value: 1}
        await field.settled(field.ann)


async def test_a_true_answer_of_the_wrong_type() -> None:
    async with rig() as field:
        field.inject(Kind.CONTENT_TYPE)
        answer = await field.ann.create("bid", "0.4600", "10", client_order_id="one")
        assert (answer.status_code, answer.headers["content-type"]) == (201, "text/html; charset=utf-8")
        [order] = field.held("one")
        assert answer.json()["order_id"] == order.order_id
        await field.settled(field.ann)


# Which requests.


async def test_faults_choose_their_requests() -> None:
    async with rig() as field:
        field.inject(Kind.HTTP_ERROR, command="cancel", after_frames=1, times=2)
        field.inject(Kind.HTTP_ERROR, status=500, command="amend")
        field.inject(Kind.HTTP_ERROR, status=504, command="GET /portfolio/f*")
        orders = [(await field.ann.order("bid", "0.4000", "1"))["order_id"] for _ in range(4)]
        changed = {"ticker": MARKET, "side": "bid", "price": "0.4100", "count": "1"}
        assert (await field.ann.send("POST", f"{ORDERS}/{orders[0]}/amend", changed)).status_code == 500
        assert (await field.ann.send("POST", f"{ORDERS}/{orders[0]}/amend", changed)).status_code == 200
        found = [
            (await field.ann.send("DELETE", f"{ORDERS}/{order}", market_ticker=MARKET)).status_code for order in orders
        ]
        assert found == [200, 503, 503, 200]
        assert (await field.ann.send("GET", "/portfolio/fills")).status_code == 504
        assert (await field.ann.send("GET", "/portfolio/fills")).status_code == 200
        assert field.injected == {"http_error": 4}
        assert field.account().open_count == 2


def test_requests_have_names() -> None:
    named = {
        "create": ("POST", ORDERS),
        "batch_create": ("POST", f"{ORDERS}/batched"),
        "batch_cancel": ("DELETE", f"{ORDERS}/batched"),
        "cancel_all": ("DELETE", ORDERS),
        "cancel": ("DELETE", f"{ORDERS}/0b6f"),
        "amend": ("POST", f"{ORDERS}/0b6f/amend"),
        "decrease": ("POST", f"{ORDERS}/0b6f/decrease"),
    }
    assert set(named) == set(COMMANDS)
    assert {name: command_of(*request) for name, request in named.items()} == {name: name for name in named}
    assert command_of("GET", ORDERS) == ""


# The private channel.


async def test_duplicate_fills_have_one_trade_id() -> None:
    async with rig() as field, client(field.venue) as raw:
        await listen(raw, "fill")
        field.inject(Kind.DUPLICATE, channel="fill")
        await field.ann.order("bid", "0.4600", "10")
        first, again = await raw.frames(2)
        assert first["msg"] == again["msg"]
        assert len((await field.ann.get("/portfolio/fills"))["fills"]) == 1
        assert field.injected == {"duplicate": 1}
        await field.settled(field.ann)


async def test_fills_out_of_order() -> None:
    async with rig() as field, client(field.venue) as raw:
        await listen(raw, "fill")
        field.inject(Kind.REORDER, channel="fill")
        await field.ann.order("bid", "0.4700", "150")
        told = [frame["msg"] for frame in await raw.frames(2)]
        assert [fill["yes_price_dollars"] for fill in told] == ["0.4700", "0.4600"]
        assert [fill["post_position_fp"] for fill in told] == ["150.00", "100.00"]
        await field.settled(field.ann)


async def test_partial_fills_during_a_disconnect() -> None:
    """The socket goes with the first fill, which it does not bring; the rest fills while nobody can listen."""
    clock = now()
    async with rig(clock=clock) as field:
        async with client(field.venue) as raw:
            await listen(raw, "fill", "user_orders")
            mine = await field.ann.order("bid", "0.4500", "10")
            assert (await raw.frame())["msg"]["status"] == "resting"
            field.inject(Kind.CUT, channel="fill", seconds=10)
            await field.bob.order("ask", "0.4500", "4", time_in_force=IOC)
            with pytest.raises(ConnectionClosed) as closed:
                await raw.frame()
            assert closed.value.rcvd is None
        await field.bob.order("ask", "0.4500", "5", time_in_force=IOC)
        with pytest.raises(InvalidStatus) as refused:
            async with client(field.venue):
                pass
        assert refused.value.response.status_code == 503
        clock.advance(10)
        async with client(field.venue) as raw:
            await listen(raw, "fill", "user_orders")
            fills = (await field.ann.get("/portfolio/fills"))["fills"]
            assert [fill["count_fp"] for fill in fills] == ["5.00", "4.00"]
            assert {fill["order_id"] for fill in fills} == {mine["order_id"]}
            await field.bob.order("ask", "0.4500", "1", time_in_force=IOC)
            assert (await raw.frame())["msg"]["post_position_fp"] == "10.00"
        assert field.injected == {"cut": 1}
        await field.settled(field.ann)
        await field.settled(field.bob, 1)


# What the venue does.


async def pass_time(field: Rig, seconds: float) -> None:
    """Let the exchange's own time go on, and take what it then does."""
    assert isinstance(field.clock, ManualClock)
    field.clock.advance(seconds)
    await field.ann.public("/exchange/status")


async def test_a_pause_of_trading() -> None:
    async with rig(clock=now()) as field, client(field.venue) as raw:
        await listen(raw, "user_orders")
        field.inject(Kind.PAUSE, at_s=5, seconds=30)
        stays = await field.ann.order("bid", "0.4000", "1")
        goes = await field.ann.order("bid", "0.4100", "1", cancel_order_on_pause=True)
        await raw.frames(2)
        await pass_time(field, 6)
        halted = (await raw.frame())["msg"]
        assert (halted["order_id"], halted["last_update_reason"]) == (goes["order_id"], "HaltCancel")
        status = (await field.ann.public("/exchange/status")).json()
        assert (status["exchange_active"], status["trading_active"]) == (True, False)
        assert code(await field.ann.create("bid", "0.4000", "1")) == (409, "trading_paused")
        canceled = await field.ann.send("DELETE", f"{ORDERS}/{stays['order_id']}", market_ticker=MARKET)
        assert canceled.status_code == 200
        await pass_time(field, 31)
        assert (await field.ann.create("bid", "0.4000", "1")).status_code == 201
        assert field.injected == {"pause": 1}


async def test_a_pause_of_the_exchange_stops_cancels_too() -> None:
    async with rig(clock=now()) as field:
        field.inject(Kind.PAUSE, variant="exchange", after_frames=1, seconds=30)
        order = await field.ann.order("bid", "0.4000", "1")
        path = f"{ORDERS}/{order['order_id']}"
        assert code(await field.ann.send("DELETE", path, market_ticker=MARKET)) == (409, "exchange_paused")
        await pass_time(field, 31)
        assert (await field.ann.send("DELETE", path, market_ticker=MARKET)).status_code == 200


async def test_an_early_close_takes_orders_with_it() -> None:
    async with rig() as field, client(field.venue) as raw:
        await listen(raw, "user_orders", "market_lifecycle_v2")
        field.inject(Kind.CLOSE_EARLY, after_frames=2)
        first = await field.ann.order("bid", "0.4600", "1")  # filled: it stays so
        second = await field.ann.order("bid", "0.4000", "1")
        frames = await raw.frames(4)
        news = [frame["msg"] for frame in frames if frame["type"] == "market_lifecycle_v2"]
        assert [(entry["event_type"], entry["market_ticker"]) for entry in news] == [("close_date_updated", MARKET)]
        last = [frame["msg"] for frame in frames if frame["type"] == "user_order"][-1]
        assert (last["order_id"], last["last_update_reason"]) == (second["order_id"], "CloseCancel")
        assert code(await field.ann.create("bid", "0.4000", "1")) == (400, "market_inactive")
        market = (await field.ann.public(f"/markets/{MARKET}")).json()["market"]
        assert market["status"] == "closed"
        filled = (await field.ann.get(f"/portfolio/orders/{first['order_id']}"))["order"]
        assert filled["status"] == "executed"
        assert field.injected == {"close_early": 1}
        await field.settled(field.ann)


async def test_other_ticks() -> None:
    async with rig() as field, client(field.venue) as raw:
        await listen(raw, "market_lifecycle_v2")
        assert code(await field.ann.create("bid", "0.4455", "1")) == (400, "invalid_price")
        field.inject(Kind.RETICK, after_frames=1, structure="center_half_edge_half_cent")
        resting = await field.ann.order("bid", "0.4400", "1")
        news = (await raw.frame())["msg"]
        assert (news["event_type"], news["price_level_structure"]) == (
            "price_level_structure_updated",
            "center_half_edge_half_cent",
        )
        assert {entry["step"] for entry in news["price_ranges"]} == {"0.0050"}
        assert (await field.ann.create("bid", "0.4450", "1")).status_code == 201
        assert code(await field.ann.create("bid", "0.4455", "1")) == (400, "invalid_price")
        still = (await field.ann.get(f"/portfolio/orders/{resting['order_id']}"))["order"]
        assert still["status"] == "resting"


async def test_somebody_else_trades_for_the_account() -> None:
    async with rig(clock=now()) as field, client(field.venue) as raw:
        await listen(raw, "fill", "market_positions")
        field.inject(Kind.OUTSIDE_ORDER, at_s=3, count=7, side="no")
        mine = await field.ann.order("bid", "0.4600", "10")
        assert [frame["type"] for frame in await raw.frames(2)] == ["fill", "market_position"]
        await pass_time(field, 4)
        fill, position = [frame["msg"] for frame in await raw.frames(2)]
        assert fill["order_id"] != mine["order_id"]
        assert (fill["book_side"], fill["count_fp"], fill["client_order_id"]) == ("ask", "7.00", "")
        assert position["position_fp"] == "3.00"
        listed = {order["order_id"] for order in (await field.ann.get("/portfolio/orders"))["orders"]}
        assert listed == {mine["order_id"], fill["order_id"]}
        assert field.injected == {"outside_order": 1}
        await field.settled(field.ann)


async def test_an_outside_order_that_is_refused_is_told(tmp_path: Path) -> None:
    async with rig(truth=tmp_path / "truth") as field:
        field.inject(Kind.OUTSIDE_ORDER, after_frames=1, count=1_000_000)
        await field.ann.order("bid", "0.4000", "1")
        assert len(field.account().orders) == 1
    refused = [fact["refused"] for fact in facts(tmp_path / "truth", RecordKind.FAULT) if "refused" in fact]
    assert len(refused) == 1
    assert refused[0].startswith("insufficient_balance")


async def test_the_venue_acts_again_by_the_orders_that_were_placed() -> None:
    """Those of batches too; what was refused was not placed."""
    async with rig() as field:
        field.inject(Kind.OUTSIDE_ORDER, after_frames=2, every=3, times=2)
        batch = [ticket("bid", price, "1") for price in ("0.4000", "0.4455", "0.4100")]
        answers = (await field.ann.send("POST", f"{ORDERS}/batched", {"orders": batch})).json()["orders"]
        assert ["error" in answer for answer in answers] == [False, True, False]
        seen = [field.injected.get("outside_order", 0)]
        for _ in range(7):
            await field.bob.order("bid", "0.4000", "1")
            seen.append(field.injected["outside_order"])
        assert seen == [1, 1, 1, 2, 2, 2, 2, 2]
        assert field.account().held(MARKET) == 200
        await field.settled(field.ann)


# The truth.


def facts(directory: Path, kind: RecordKind) -> list[dict[str, Any]]:
    return [json.loads(record.payload) for record in JournalReader(directory).records() if record.kind == kind]


async def test_the_truth_log_knows_commands_fills_and_orders(tmp_path: Path) -> None:
    async with rig(truth=tmp_path / "truth") as field:
        field.inject(Kind.LOST_ACK, accepted=True)
        field.inject(Kind.HTTP_ERROR, after_frames=1, status=504)
        with pytest.raises(httpx.ReadError):
            await field.ann.create("bid", "0.4500", "10", client_order_id="one")
        await field.ann.create("bid", "0.4500", "10", client_order_id="two")  # 504: never carried out
        await field.bob.order("ask", "0.4500", "4", client_order_id="three")
        assert (await field.bob.create("ask", "0.4500", "0.00")).status_code == 400
        fills = (await field.ann.get("/portfolio/fills"))["fills"]
        await field.settled(field.ann)
        await field.settled(field.bob, 1)
        users = [holder.user_id for holder in field.venue.exchange.holders]
    told = facts(tmp_path / "truth", RecordKind.TRADING)
    commands = [fact for fact in told if "command" in fact]
    assert [(c["command"], c["user"], json.loads(c["request"])["client_order_id"]) for c in commands] == [
        ("create", users[0], "one"),
        ("create", users[1], "three"),
    ]
    assert commands[0]["answer"]["remaining_count"] == "10.00"
    booked = [fact for fact in told if "fill" in fact]
    assert Counter((fact["user"], fact["fill"]["count_fp"]) for fact in booked) == {
        (users[0], "4.00"): 1,
        (users[1], "4.00"): 1,
    }
    assert {fact["fill"]["trade_id"] for fact in booked} == {fills[0]["trade_id"]}
    last = {fact["user_order"]["client_order_id"]: fact["user_order"] for fact in told if "user_order" in fact}
    assert (last["one"]["remaining_count_fp"], last["three"]["status"]) == ("6.00", "executed")
    faults = facts(tmp_path / "truth", RecordKind.FAULT)
    assert [(fault["fault"], fault["number"], fault["request"]) for fault in faults] == [
        ("lost_ack", 1, f"POST {ORDERS}"),
        ("http_error", 1, f"POST {ORDERS}"),
    ]


# All of them together.


async def intend(trader: Trader, intent: str, body: dict[str, Any]) -> int:
    """Place one order as a careful client does: where the answer is no order, look before asking again."""
    asked = 0
    while True:
        asked += 1
        try:
            answer = await trader.send("POST", ORDERS, body | {"client_order_id": intent})
            if answer.status_code == 201 and "order_id" in answer.json():
                return asked
        except (httpx.TransportError, ValueError):
            pass
        for order in (await trader.get("/portfolio/orders", limit=20))["orders"]:
            if order["client_order_id"] == intent:
                return asked


@pytest.mark.parametrize("intents", [200, pytest.param(10_000, marks=pytest.mark.faults)])
async def test_one_order_per_intent_whatever_the_answers(seed: int, report: Report, intents: int) -> None:
    rng = random.Random(seed)
    kinds = sorted(REQUEST_KINDS - {Kind.LATE_ACK})
    async with rig() as field:
        asked = Counter[str]()
        for _ in range(intents):
            accepted = rng.random() < 0.5
            if rng.random() < 0.7:
                field.inject(rng.choice(kinds), accepted=accepted, times=rng.choice([1, 1, 2]))
            intent = str(uuid4())
            side, price = rng.choice([("bid", "0.4600"), ("bid", "0.4300"), ("ask", "0.4700"), ("ask", "0.4400")])
            stays = "good_till_canceled" if rng.random() < 0.05 else IOC
            body = ticket(side, price, "0.10", self_trade_prevention_type="maker", time_in_force=stays)
            asked[intent] = await intend(field.ann, intent, body)
        held = Counter(order.client_order_id for order in field.account().orders.values())
        assert set(held) == set(asked), f"seed {seed}"
        assert set(held.values()) == {1}, f"seed {seed}"
        await field.settled(field.ann)
        report("trading answers", intents=intents, requests=sum(asked.values()), injected=sum(field.injected.values()))


@pytest.mark.parametrize("kind", sorted(REQUEST_KINDS | VENUE_KINDS))
def test_scripts(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(f'[[fault]]\nkind = "{kind}"\nat_s = 2\naccepted = true\ncommand = "amend"\n', "utf-8")
    assert load_script(path) == (Fault(kind=kind, at_s=2, accepted=True, command="amend"),)
