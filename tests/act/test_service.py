"""A whole actor at a local exchange: real sockets, signatures, database. What it knows is what the exchange knows."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from kflow.act.orders import State
from kflow.act.reconcile import Kind
from kflow.act.standing import FOLDER, Standing, StandingFile
from kflow.policy import actions
from kflow.policy.bundle import Actions, Features, save
from kflow.policy.features import FEATURES, SCHEMA
from kflow.policy.network import Layout
from kflow.testing.actor import LIMITS, EachOnce, Ground, Restless, field
from kflow.testing.models import facts, untrained
from kflow.testing.postgres import Database
from kflow.testing.process import OURS
from kflow.units import CONTRACT, DOLLAR, parse_money, parse_price, parse_size


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.connect() as conn:
        return conn.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]


async def test_orders_fills_positions_and_cash_are_the_exchanges(tmp_path: Path, database: Database) -> None:
    async with field(tmp_path, database.dsn) as ground:
        await ground.start()
        await ground.traded(60)
        Restless.resting = True
        assert await ground.quiet() == []
        report = await ground.stop()
        assert ground.differences() == []
        assert ground.twice() == []
        assert ground.account.open_count == 0
        assert (report.mismatches, report.ended) == (0, "stopped")
        assert report.sent == len(ground.watch.arrived) >= 60
        assert report.fills == sum(len(order.fills) for order in ground.actor.desk.orders.values()) > 0
        as_stored(ground, database)


def as_stored(ground: Ground, database: Database) -> None:
    """Orders, fills and decisions in the tables are what the exchange has."""
    theirs = {
        order.client_order_id: (order.order_id, int(order.filled), order.ticket.ticker, int(order.side))
        for order in ground.account.orders.values()
    }
    ours = rows(
        database,
        "SELECT o.client_order_id::text, venue_order_id, filled_e2, m.ticker, side FROM rl_orders o"
        " JOIN rl_markets m ON m.id = o.market_id WHERE o.status <> 'refused'",
    )
    assert {mine: tuple(rest) for mine, *rest in ours} == theirs
    states = {str(State.FILLED), str(State.CANCELLED), str(State.EXPIRED), str(State.REFUSED)}
    assert {status for (status,) in rows(database, "SELECT DISTINCT status FROM rl_orders")} <= states
    reads = ground.exchange.desk.reads(ground.account)
    told = {
        (
            fill["trade_id"],
            int(parse_size(fill["count_fp"])),
            int(parse_money(fill["fee_cost"])),
            int(parse_price(fill["yes_price_dollars"])),
        )
        for fill in reads.fills
    }
    booked = rows(
        database,
        "SELECT trade_id, f.size_e2, fee_e6, CASE o.side WHEN 0 THEN f.price_e4 ELSE 10000 - f.price_e4 END"
        " FROM rl_fills f JOIN rl_orders o ON o.id = f.order_id",
    )
    assert len(booked) == len(reads.fills)
    assert set(booked) == told
    arrived = {(order.mine, order.side, order.price, order.size) for order in ground.watch.arrived}
    decided = rows(
        database,
        "SELECT client_order_id::text, side, price_e4, quantity_e2 FROM rl_trading_actions"
        " WHERE client_order_id IS NOT NULL",
    )
    assert set(decided) == arrived


async def test_a_halt_from_outside_stops_it_within_a_second(tmp_path: Path, database: Database) -> None:
    async with field(tmp_path, database.dsn) as ground:
        await ground.start()
        await ground.traded(20)
        await ground.until(lambda: ground.account.open_count > 0, "a resting order")
        another = StandingFile(ground.standing.folder)
        began_ns = ground.clock.mono_ns()
        await asyncio.to_thread(another.kill, "enough", 0)
        halted_ns = ground.clock.mono_ns()
        await ground.until(lambda: ground.account.open_count == 0, "no order")
        assert ground.clock.mono_ns() - began_ns < 1_000_000_000
        await ground.clock.sleep(1.0)
        # What was under way when the halt was written may arrive; it is refused, or cancelled with the others.
        late = [order for order in ground.watch.arrived if order.mono_ns > halted_ns + 100_000_000]
        assert late == []
        assert ground.account.open_count == 0
        assert ground.standing.now().overall.standing is Standing.HALTED
        assert await ground.quiet() == []
        # A person arms it again: it goes on, with an order group that takes orders.
        ground.arm()
        resting = len(ground.account.orders)
        await ground.until(lambda: len(ground.account.orders) >= resting + 5, "orders again")
        Restless.resting = True
        assert await ground.quiet() == []


def environment(ground: Ground, data: Path, **more: str) -> dict[str, str]:
    """For an actor in a process of its own at the same exchange and database."""
    kalshi = ground.settings.kalshi
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | {
        "KFLOW_DATA_DIR": str(data),
        "DATABASE_URL": ground.dsn,
        "KALSHI_API_KEY_ID": str(kalshi.key_id),
        "KALSHI_PRIVATE_KEY_PATH": str(kalshi.private_key_path),
        "KFLOW__KALSHI__EXCHANGE": str(kalshi.exchange),
        "KFLOW__ACTOR__PORT": "0",
        **more,
    }


def started(ground: Ground, data: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kflow", "actor", "run", "--enable", "--venue", "exchange", *words]
    return subprocess.Popen(
        command, env=environment(ground, data, **more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


async def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = await asyncio.to_thread(process.communicate)
    return process.returncode, out, err


RANDOM = ("--strategy", "kflow.testing.actor:Restless")


async def test_after_a_sigkill_the_next_one_cancels_what_the_last_left(tmp_path: Path, database: Database) -> None:
    async with field(tmp_path, database.dsn, preset="quiet") as ground:
        ground.arm()
        data = Path(str(ground.settings.data.dir))
        market = next(iter(ground.exchange.clearing.markets))
        process = started(ground, data, *RANDOM, "--market", market)
        try:
            await ground.traded(5, within_s=60)
            await ground.until(lambda: ground.account.open_count > 2, "resting orders")
        finally:
            process.send_signal(signal.SIGKILL)
            await ended(process)
        await ground.clock.sleep(0.3)  # what it had sent arrives
        left = ground.account.open_orders()
        assert left
        before = len(ground.account.orders)
        Restless.resting = True
        with database.connect(autocommit=True) as conn:  # as when its time was over, which a test need not wait for
            conn.execute("UPDATE rl_actor_leases SET expires_at = now()")
        await ground.start()
        # Its epoch is higher; what the other left is cancelled, and what it holds is taken over.
        assert [run for (run,) in rows(database, "SELECT epoch FROM rl_actor_runs ORDER BY started_ns")] == [1, 2]
        await ground.until(lambda: ground.account.open_count == 0, "the old orders to go")
        assert len(ground.account.orders) == before
        assert await ground.quiet() == []
        told = {one.subject for one in ground.actor.state.differences if one.kind is Kind.OLD_EPOCH}
        assert told == {order.client_order_id for order in left if order.canceled} != set()
        Restless.resting = False
        await ground.traded(20)
        Restless.resting = True
        assert await ground.quiet() == []
        report = await ground.stop()
        assert report.mismatches == 0
        assert ground.differences() == []


async def test_a_second_actor_is_sent_away(tmp_path: Path, database: Database) -> None:
    async with field(tmp_path, database.dsn) as ground:
        await ground.start()
        here = Path(str(ground.settings.data.dir))
        code, _, err = await ended(started(ground, here, *RANDOM))
        assert (code, "another actor runs on" in err) == (8, True), err
        # Elsewhere, with a folder of its own, it is the database that says no.
        there = tmp_path / "there"
        there.mkdir()
        StandingFile(there / FOLDER).arm("a test", 0)
        code, _, err = await ended(started(ground, there, *RANDOM))
        assert (code, "another actor trades at local" in err) == (8, True), err
        await ground.traded(10)
        Restless.resting = True
        assert await ground.quiet() == []
        assert (await ground.stop()).mismatches == 0


AUDITED = """
import json, sys
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith("pickle.") else None)
from kflow.cli.main import main
try:
    main()
except SystemExit as end:
    code = end.code
else:
    code = 0
heavy = [name for name in ("torch", "gymnasium", "stable_baselines3", "pickle._dis") if name in sys.modules]
print(json.dumps({"code": code or 0, "pickles": seen, "heavy": heavy}), file=sys.stderr)
"""


async def test_a_model_trades_without_torch_and_nothing_is_unpickled(tmp_path: Path, database: Database) -> None:
    layout = Layout(observation=len(FEATURES), actions=21, policy=(8, 8), value=(8,), activation="relu")
    sizes = tuple(size * CONTRACT for size in (1, 2, 3, 4, 5))
    card = facts(
        actions=Actions(name="default", sizes_e2=sizes),
        features=Features(schema=SCHEMA, names=tuple(feature.name for feature in FEATURES)),
        limits={"max_order": 500, "max_position": 100_000, "max_open": 4},
    )
    path = save(tmp_path / "models", untrained(layout), card).path
    async with field(tmp_path, database.dsn) as ground:
        ground.arm()
        limits = str(ground.settings.actor.limits)
        words = ["kflow", "actor", "run", "--enable", "--venue", "exchange", "--strategy", "rl_model"]
        words += ["--model", str(path), "--limits", limits, "--duration", "5", "--json"]
        process = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-c", AUDITED, *words[1:]],
            env=environment(ground, Path(str(ground.settings.data.dir))),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        _, out, err = await ended(process)
        told = json.loads(err.strip().splitlines()[-1])
        assert told == {"code": 0, "pickles": [], "heavy": []}, err
        report = json.loads(out)
        assert report["decisions"] > 0
        assert report["sent"] == len(ground.watch.arrived) > 0
        assert report["mismatches"] == 0


# The same source as the batch of training compiles.
refused, price_column, size_now = njit(actions.refused), njit(actions.price_column), njit(actions.size_now)


async def test_each_of_the_21_actions_arrives_as_training_decodes_it(tmp_path: Path, database: Database) -> None:
    expected: dict[tuple[str, int, int, int], list[int]] = {}
    strategy = "kflow.testing.actor:EachOnce"
    async with field(tmp_path, database.dsn, strategy=strategy, markets=1) as ground:
        await ground.start()
        seat = next(iter(ground.actor.actor.seats.values()))

        def look(number: int) -> None:
            """What the batch would send now."""
            action, view, prices = EachOnce.actions.actions[number], seat.market.view, seat.market.prices
            assert not ground.actor.desk.open(seat.market.facts.ticker), "these actions never rest"
            own = np.array([seat.purse.position, seat.purse.cash, 0, 0, 0, -1, len(prices)])
            column = price_column(action.side, action.pricing, view.bid, view.ask, len(prices))
            size = size_now(action.side, action.size, action.reduce_only, own)
            price = prices[column] if action.side == 0 else DOLLAR - prices[column]
            expected.setdefault((seat.market.facts.ticker, action.side, int(price), int(size)), []).append(number)

        EachOnce.look = look
        orders = [number for number, action in enumerate(EachOnce.actions.actions) if action.op == actions.ORDER]

        def all_played() -> bool:
            names = {order.intent.action for order in ground.actor.desk.orders.values()}
            return names == {EachOnce.actions.actions[number].name for number in orders}

        assert len(orders) == 20
        await ground.until(all_played, "each action to leave")
        await ground.stop()
        by_id = {mine: order.intent for mine, order in ground.actor.desk.orders.items()}
        for arrived in ground.watch.arrived:
            name = by_id[arrived.mine].action
            key = (arrived.market, arrived.side, arrived.price, arrived.size)
            assert name in {EachOnce.actions.actions[number].name for number in expected[key]}, name
            assert (arrived.immediate, arrived.reduce_only) == (True, name.startswith("SELL"))
        assert {by_id[arrived.mine].action for arrived in ground.watch.arrived} == {
            EachOnce.actions.actions[number].name for number in orders
        }


def test_limits_of_these_tests_are_limits() -> None:
    from kflow.act.limits import parse

    assert parse(LIMITS.encode()).order_size == 100 * CONTRACT
