"""Orders and fills read from the kernel's log: one account followed by hand."""

from __future__ import annotations

import numpy as np

from kflow.evaluate import ledger
from kflow.evaluate.held import Held
from kflow.evaluate.outcome import Episodes
from kflow.market.events import Side
from kflow.replay.tapes import fees_of
from kflow.sim import kernel
from kflow.sim.fills import NO_LATENCY, Assumptions
from kflow.sim.orders import SimulatedOrderManager
from kflow.sim.study import markouts, mids
from kflow.units import DOLLAR, Price, Size


def log_of(manager: SimulatedOrderManager) -> np.ndarray:
    """All that the kernel noted, as the batch hands it over."""
    state = manager._state  # the very rows that `advance` turns into words
    return state.log[0, : state.account[0, kernel.LOGGED]].copy()


def test_three_orders_by_hand(fair: Held) -> None:
    tape, stretch = fair.tapes[0], 0
    first, last = tape.span_us(stretch)
    manager = SimulatedOrderManager(tape, Assumptions(fees=fees_of(tape)[0], latency=NO_LATENCY))
    rows = []
    start = first + 1_000_000
    manager.advance(start)
    bid, ask = manager.levels(Side.YES)[0][0], DOLLAR - manager.levels(Side.NO)[0][0]
    for side, price in ((Side.YES, ask), (Side.NO, DOLLAR - ask), (Side.YES, bid)):
        manager.place(side, Price(price), Size(500), immediate=side == Side.YES and price == ask)
    rows.append(log_of(manager))
    manager._state.account[0, kernel.LOGGED] = 0
    kernel.run(manager._state, manager._market, manager._rules, 0, first + 30_000_000)
    rows.append(log_of(manager))
    manager._state.account[0, kernel.LOGGED] = 0
    manager.cancel_all()
    kernel.run(manager._state, manager._market, manager._rules, 0, last)
    rows.append(log_of(manager))

    log = np.concatenate(rows)
    one = np.zeros(1, np.int64)
    episodes = Episodes(*[one] * len(Episodes._fields))._replace(start_us=one + first, end_us=one + last)
    orders, fills = ledger.read(log, np.zeros(len(log), np.int64), fair, episodes)

    assert orders.sent_us.tolist() == [start] * 3
    assert orders.side.tolist() == [0, 1, 0]
    assert orders.price.tolist() == [ask, DOLLAR - ask, bid]
    assert orders.near.tolist() == [bid, DOLLAR - ask, bid]
    assert orders.far.tolist() == [ask, DOLLAR - bid, ask]
    middle = (bid + ask) / 2
    assert orders.mid.tolist() == [middle, DOLLAR - middle, middle]
    assert orders.rested.tolist() == [False, True, True]
    assert orders.filled[0] == 500
    assert orders.reason[0] == kernel.FILLED
    assert orders.first_us[0] == start
    assert orders.cost[0] == 500 * ask

    taken = fills.order == 0
    assert not fills.maker[taken].any()
    assert fills.maker[~taken].all()
    assert fills.mid[taken].tolist() == [middle]
    assert np.array_equal(fills.markout, markouts(tape, stretch, fills.us, fills.side, fills.price), equal_nan=True)
    paid = fair.markets[0].value
    assert fills.settled.tolist() == [
        ((paid if side == 0 else DOLLAR - paid) - price) / 100
        for side, price in zip(fills.side.tolist(), fills.price.tolist(), strict=True)
    ]
    ended = mids(tape, stretch, orders.ended_us) / 2
    assert np.array_equal(orders.ended_mid, np.where(orders.side == 0, ended, DOLLAR - ended), equal_nan=True)


def test_an_order_that_is_open_at_the_end_ended_with_the_recording(fair: Held) -> None:
    tape = fair.tapes[1]
    last = tape.span_us(0)[1]
    manager = SimulatedOrderManager(tape, Assumptions(fees=fees_of(tape)[0], latency=NO_LATENCY))
    manager.place(Side.YES, Price(100), Size(100))
    kernel.run(manager._state, manager._market, manager._rules, 0, last)
    log = log_of(manager)
    where = next(n for n, episode in enumerate(fair.episodes) if fair.where[episode.span][0] == 1)
    of = np.full(len(log), where, np.int64)
    blank = np.zeros(len(fair.episodes), np.int64)
    episodes = Episodes(*[blank] * len(Episodes._fields))._replace(end_us=blank + last)
    orders, fills = ledger.read(log, of, fair, episodes)
    assert (orders.episode.tolist(), orders.reason.tolist()) == ([where], [kernel.GONE])
    assert orders.ended_us.tolist() == [last]
    assert not len(fills.order)


def test_nothing_was_sent(fair: Held) -> None:
    blank = np.zeros(len(fair.episodes), np.int64)
    none = np.zeros((0, kernel.LOG), np.int64)
    orders, fills = ledger.read(none, np.zeros(0, np.int64), fair, Episodes(*[blank] * len(Episodes._fields)))
    assert len(orders.size) == len(fills.size) == 0
    assert fills.markout.shape == (0, 3)
