"""The kill switch at a local exchange, over real sockets: flat within a second, whatever fails; nothing comes after."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kflow.act import kill as module
from kflow.act.kalshi import KalshiVenue
from kflow.act.kill import Groups, Known, Report, kill, known_of
from kflow.act.orders import Intent, Order, State
from kflow.act.standing import KILL_FILE, Standing, StandingFile
from kflow.act.venue import Refused, Unclear
from kflow.clock import SystemClock
from kflow.errors import DatabaseError, KflowError
from kflow.exchange.faults import Fault, Kind
from kflow.exchange.terms import Terms
from kflow.kalshi.environments import Environment, endpoints
from kflow.kalshi.rest import Retries
from kflow.kalshi.trading import TradingClient
from kflow.testing.trader import Trader, trading
from kflow.testing.venue import MARKET, LocalVenue

RUN = uuid.UUID(int=9)
MOST = 1_000_000


def intent(number: int, price: int = 1000) -> Intent:
    return Intent(
        run=RUN,
        number=number,
        market=MARKET,
        action="join",
        side=0,
        price=price,
        size=100,
        immediate=False,
        decided_us=1,
        version=1,
        digest="",
        epoch=1,
        limits="",
    )


class Scene:
    """An exchange, an account of ours at it, and what we know of our orders."""

    def __init__(self, exchange: LocalVenue, trader: Trader, client: TradingClient, standing: StandingFile) -> None:
        self.exchange, self.trader, self.standing = exchange, trader, standing
        self.venue = KalshiVenue(client, {MARKET: 0})
        self.orders: dict[str, Order] = {}
        self.numbers = 0

    async def place(self, group: str | None) -> Order:
        """As an actor does: stored, sent, and then believed what the answer says."""
        self.numbers += 1
        wish = intent(self.numbers)
        mine = wish.client_order_id
        self.orders[mine] = Order(wish).step(State.SENT, 1)
        try:
            ack = await self.venue.place(wish, group)
        except Refused as error:
            self.orders[mine] = self.orders[mine].step(State.REFUSED, 2, reason=error.code)
        except Unclear:
            self.orders[mine] = self.orders[mine].step(State.UNKNOWN, 2)
        else:
            self.orders[mine] = self.orders[mine].step(State.RESTING, 2, venue_id=ack.venue_id)
        return self.orders[mine]

    async def kill(self, groups: Sequence[str] = (), **more: object) -> Report:
        chosen = {"known": lambda: known_of(self.orders.values()), "clock": SystemClock(), **more}
        return await kill(self.venue, self.standing, groups, **chosen)  # type: ignore[arg-type]

    async def resting(self) -> int:
        return len((await self.trader.get("/portfolio/orders", status="resting"))["orders"])


@asynccontextmanager
async def scene(folder: Path, terms: Terms | None = None) -> AsyncIterator[Scene]:
    standing = StandingFile(folder / "actor")
    standing.arm("test", 1)
    async with trading(terms=terms) as (exchange, (trader, _)):
        there = endpoints(Environment.LOCAL, exchange=exchange.rest.removesuffix("/trade-api/v2"))
        client = TradingClient(there, clock=SystemClock(), key=trader.key, retries=Retries(attempts=1))
        async with client:
            yield Scene(exchange, trader, client, standing)


async def test_drill_20_orders_in_a_group_are_gone_within_a_second(tmp_path: Path) -> None:
    took = []
    async with scene(tmp_path) as it:
        for _ in range(20):
            group = await it.venue.open_group(MOST)
            for _ in range(20):
                assert (await it.place(group)).state is State.RESTING
            report = await it.kill([group])
            assert (report.done, report.left, report.problems) == (True, [], [])
            assert await it.resting() == 0
            took.append(report.took_s)
            assert (await it.place(group)).state is State.REFUSED
    print(f"kill to flat, s: p50 {sorted(took)[9]:.3f}, p95 {sorted(took)[18]:.3f}, most {max(took):.3f}")
    assert sorted(took)[18] < 1


async def test_no_order_of_a_trading_actor_comes_after_it(tmp_path: Path) -> None:
    """One that looks at its standing before each order, and one that does not: the group stops that one."""
    async with scene(tmp_path) as it:
        group = await it.venue.open_group(MOST)
        killed, busy = asyncio.Event(), asyncio.Event()
        after: list[State] = []

        async def trade(looks: bool) -> None:
            while not (looks and it.standing.of(MARKET).standing is Standing.HALTED):
                late = killed.is_set()
                order = await it.place(group)
                if it.numbers >= 60:
                    busy.set()
                if late:
                    after.append(order.state)
                if len(after) >= 10:
                    return

        actors = [asyncio.create_task(trade(looks)) for looks in (True, True, False)]
        await busy.wait()
        report = await it.kill([group])
        killed.set()
        await asyncio.gather(*actors)
        assert report.done, report
        assert after == [State.REFUSED] * 10
        assert await it.resting() == 0


async def test_orders_without_a_group_are_cancelled_one_by_one_and_others_are_left_alone(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        for _ in range(3):
            await it.place(None)
        stranger = await it.trader.order("bid", "0.1100", "1.00", client_order_id="by-hand")
        report = await it.kill()
        assert report.done
        assert (len(report.cancelled), report.others) == (3, 1)
        assert stranger["order_id"] not in report.cancelled
        assert await it.resting() == 1
        assert it.standing.of(MARKET).standing is Standing.HALTED


async def test_everything_means_the_whole_account(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.place(None)
        await it.trader.order("bid", "0.1100", "1.00", client_order_id="by-hand")
        report = await it.kill(everything=True)
        assert report.done
        assert await it.resting() == 0
        await it.trader.order("bid", "0.1100", "1.00", client_order_id="again")
        assert await it.resting() == 0  # for a minute


FAULTS = [
    Fault(kind=Kind.LOST_ACK, command="PUT /portfolio/order_groups/*"),
    Fault(kind=Kind.LOST_ACK, command="PUT /portfolio/order_groups/*", accepted=True),
    Fault(kind=Kind.HTTP_ERROR, command="PUT /portfolio/order_groups/*", status=429, times=2, every=1),
    Fault(kind=Kind.HTML, command="PUT /portfolio/order_groups/*", status=502),
    Fault(kind=Kind.HTTP_ERROR, command="read", status=503, times=3, every=1),
    Fault(kind=Kind.LOST_ACK, command="read", times=3, every=1),
    Fault(kind=Kind.HTTP_ERROR, command="cancel", status=503, times=2, every=1),
    Fault(kind=Kind.LOST_ACK, command="cancel", accepted=True, times=2, every=1),
    Fault(kind=Kind.HTML, command="cancel", status=200, times=2, every=1),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.kind}-{f.command}-{f.status or f.accepted}")
async def test_what_fails_is_tried_again(tmp_path: Path, fault: Fault) -> None:
    async with scene(tmp_path) as it:
        group = await it.venue.open_group(MOST)
        for _ in range(4):
            await it.place(group)
            await it.place(None)
        it.exchange.inject(fault)
        report = await it.kill([group])
        assert it.exchange.injected
        assert report.problems
        assert report.done, report
        assert await it.resting() == 0


async def test_everything_is_not_done_before_the_venue_takes_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        it.exchange.inject(Fault(kind=Kind.HTTP_ERROR, command="cancel_all", status=503))
        report = await it.kill(everything=True, deadline_s=0)
        assert [one.order for one in report.left] == ["everything"]
        assert (await it.kill(everything=True)).done


async def test_one_that_was_found_is_cancelled_though_the_account_cannot_be_read(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        group = await it.venue.open_group(MOST)
        it.exchange.inject(Fault(kind=Kind.LOST_ACK, accepted=True))
        await it.place(None)
        it.exchange.inject(Fault(kind=Kind.HTTP_ERROR, command="GET /portfolio/balance", every=1))
        report = await it.kill([group], deadline_s=0)
        assert (report.flat, len(report.cancelled)) == (False, 1)
        assert await it.resting() == 0


async def test_one_that_is_cancelled_is_not_cancelled_again_while_reads_lag(tmp_path: Path) -> None:
    async with scene(tmp_path, Terms(tier="unlimited", read_lag_s=0.3)) as it:
        await it.place(None)
        while not await it.resting():
            pass
        again = Fault(kind=Kind.HTTP_ERROR, command="cancel", after_frames=1, every=1)
        it.exchange.inject(again)
        report = await it.kill()
        assert (report.done, report.rounds > 2) == (True, True)
        assert it.exchange.injected == {}


async def test_what_hangs_holds_up_nothing_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CALL_S", 0.2)
    async with scene(tmp_path) as it:
        group = await it.venue.open_group(MOST)
        await it.place(group)
        it.exchange.inject(Fault(kind=Kind.LATE_ACK, command="PUT /portfolio/order_groups/*", seconds=3600))
        report = await it.kill([group])
        assert report.done, report
        assert report.took_s < 1
        assert "no answer within 0.2 s" in report.problems[0]


@pytest.mark.parametrize("accepted", [True, False])
async def test_an_order_whose_fate_is_unknown_is_looked_up(tmp_path: Path, accepted: bool) -> None:
    async with scene(tmp_path) as it:
        group = await it.venue.open_group(MOST)
        it.exchange.inject(Fault(kind=Kind.LOST_ACK, accepted=accepted))
        assert (await it.place(group)).state is State.UNKNOWN
        report = await it.kill([group])
        assert report.done
        assert await it.resting() == 0


async def test_without_a_group_one_that_is_not_shown_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LAG_S", 0.6)
    async with scene(tmp_path, Terms(tier="unlimited", read_lag_s=0.3)) as it:
        it.exchange.inject(Fault(kind=Kind.LOST_ACK, accepted=True))
        assert (await it.place(None)).state is State.UNKNOWN
        report = await it.kill()
        assert report.done, report
        assert (len(report.cancelled), report.looked_up > 0) == (1, True)


async def test_where_nobody_answers_it_says_what_may_be_left(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        group = await it.venue.open_group(MOST)
        resting = await it.place(group)
        unclear = intent(99)
        it.orders[unclear.client_order_id] = Order(unclear)
        await it.exchange.exchange.stop()
        report = await it.kill([group], deadline_s=0)
        assert (report.halted, report.flat, report.done) == (True, False, False)
        assert {one.order for one in report.left} == {resting.venue_id, unclear.client_order_id, group}
        assert "NOT verified flat, 3 left" in report.sentence
        assert (tmp_path / "actor" / KILL_FILE).exists()


async def test_a_paused_exchange_cancels_nothing_and_that_is_said(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        wish = intent(1)
        it.orders[wish.client_order_id] = Order(wish)
        # One that no pause takes: ours would go by themselves.
        stays = await it.trader.order("bid", "0.1000", "1.00", client_order_id=wish.client_order_id)
        it.exchange.exchange.control.pause(exchange=True)
        report = await it.kill(deadline_s=0)
        assert [one.order for one in report.left] == [stays["order_id"]]
        assert any("exchange_paused" in problem for problem in report.problems), report.problems
        it.exchange.exchange.control.resume()
        assert (await it.kill()).done


async def test_without_the_database_groups_are_triggered_and_the_rest_is_not_guessed(tmp_path: Path) -> None:
    def unreadable() -> Mapping[str, Known]:
        raise DatabaseError("no connection")

    async with scene(tmp_path) as it:
        group = await it.venue.open_group(MOST)
        await it.place(group)
        assert (await it.kill([group], known=unreadable)).done
        alone = await it.place(None)
        report = await it.kill([group], known=unreadable, deadline_s=0)
        assert not report.flat
        assert [tuple(one) for one in report.left] == [(alone.venue_id, MARKET, "nobody knows whose it is")]
        assert await it.resting() == 1
        assert (await it.kill([group], known=unreadable, everything=True)).done


async def test_it_goes_on_where_the_halt_cannot_be_written(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.place(None)
        folder = tmp_path / "actor"
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        folder.touch()  # no file can be made in it
        report = await it.kill()
        assert (report.flat, report.halted, report.done) == (True, False, False)
        assert await it.resting() == 0
        assert it.standing.of(MARKET).standing is Standing.HALTED


async def test_a_group_that_is_not_there_has_no_orders(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        assert (await it.kill([f"0:{uuid.uuid4()}"])).done


async def test_its_report_is_one_document(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        await it.place(None)
        document = (await it.kill()).document()
        assert document["venue"] == "local"
        assert (document["flat"], document["halted"], document["left"]) == (True, True, [])
        assert document["text"].startswith("local: halted, flat after 0.")


# Where groups are kept.


def test_groups_are_of_a_venue_and_the_newest_comes_first(tmp_path: Path) -> None:
    groups = Groups(tmp_path)
    assert groups.of("demo") == []
    groups.add("demo", "a", 1)
    groups.add("production", "b", 2)
    groups.add("demo", "c", 3)
    assert Groups(tmp_path).of("demo") == ["c", "a"]
    assert groups.path.stat().st_mode & 0o777 == 0o600
    for number in range(40):
        groups.add("demo", str(number), number)
    assert groups.of("demo")[0] == "39"
    assert len(groups.of("demo")) < 40


def test_groups_that_cannot_be_read_are_said_and_replaced(tmp_path: Path) -> None:
    groups = Groups(tmp_path)
    groups.path.write_text("[{]")
    with pytest.raises(KflowError, match="cannot be read"):
        groups.of("demo")
    groups.add("demo", "a", 1)
    assert groups.of("demo") == ["a"]
