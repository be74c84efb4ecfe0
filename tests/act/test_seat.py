"""What the actor sees, may do and sends is what training saw, allowed and sent: decision by decision, to the bit."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from kflow.act.live import LiveMarket
from kflow.act.orders import Intent, Order, State
from kflow.act.purse import Purse
from kflow.act.seat import Queue, Seat
from kflow.act.strategies import Chosen
from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid
from kflow.market.limits import OrderLimits
from kflow.policy.actions import CANCEL_ALL, HOLD, ActionSet, action_set
from kflow.policy.features import MARKET, OWN
from kflow.policy.view import MarketView
from kflow.replay.tapes import fees_of
from kflow.rl.batch import LIMITS, Batch, Setup
from kflow.rl.dataset import build
from kflow.rl.episodes import Drawn
from kflow.rl.worlds import make_tapes
from kflow.session.chunks import MarketFacts
from kflow.sim import kernel
from kflow.sim.fills import HOME, NO_LATENCY, Assumptions, Latency
from kflow.units import DOLLAR

RUN = uuid.UUID(int=1)
PROFIT = [feature.name for feature in OWN].index("profit")


class Twin:
    """An account of the batch, and a seat that is shown the same book, position and orders."""

    def __init__(self, actions: ActionSet, latency: Latency, seed: int) -> None:
        tapes = make_tapes("reverting", 1, seed=seed, seconds=120)
        dataset = build(tapes, lambda tape: Assumptions(latency=latency, fees=fees_of(tape)[0]))
        self.batch = Batch(dataset, Setup(actions=actions), Drawn(dataset, 400), 1, seed=seed, again=False, log=4096)
        self.batch.reset()
        grid, fees = Grid.named("linear_cent"), FeeSchedule.parse("quadratic", 1)
        prices = [int(price) for price in grid.prices()]
        view = MarketView(prices, close_us=-1, taker_rate=float(fees.taker_rate))
        facts = MarketFacts("M", [], fee_type="quadratic", fee_multiplier="1")
        self.live = LiveMarket(facts, grid, fees, -1, view, prices=prices)
        limits = OrderLimits(LIMITS.max_order, LIMITS.max_position, LIMITS.orders)
        chosen = Chosen("twin", actions, lambda _seen, _mask: 0, limits, int(LIMITS.cash), 250_000)
        self.seat = Seat(self.live, chosen, Purse("M", int(LIMITS.cash), fees))
        self.actions = actions

    def orders(self) -> list[Order]:
        """The account's open orders, as the desk would hold them; their sizes go into the book, as at a venue."""
        state, found = self.batch.state, []
        self.seat.queues.clear()
        for row in state.orders[0, : state.account[0, kernel.SLOTS]].tolist():
            if row[kernel.STATUS] not in (kernel.TRAVELS, kernel.RESTS):
                continue
            yes = self.live.prices[row[kernel.COL]]
            intent = Intent(
                run=RUN, number=row[kernel.ID], market="M", action="", side=row[kernel.SIDE],
                price=yes if row[kernel.SIDE] == 0 else int(DOLLAR) - yes, size=row[kernel.LEFT], immediate=False,
                decided_us=0, version=0, digest="", epoch=1, limits="",
            )  # fmt: skip
            rests = row[kernel.STATUS] == kernel.RESTS
            found.append(Order(intent, State.RESTING if rests else State.SENT))
            if rests:
                ahead, since = row[kernel.AHEAD], row[kernel.RESTED]
                self.seat.queues[intent.client_order_id] = Queue(ahead, since)
                self.seat.purse._opens[intent.client_order_id] = row[kernel.OPEN]
        return found

    def show(self) -> list[Order]:
        """Bring the seat to where the account stands."""
        account, orders = self.batch.state.account[0], self.orders()
        view, depth = self.live.view, self.batch.state.depth[0]
        view.book = [[int(size) for size in depth[side]] for side in (0, 1)]
        for order in orders:
            if order.state is State.RESTING:
                yes = order.intent.price if order.intent.side == 0 else int(DOLLAR) - order.intent.price
                view.book[order.intent.side][self.live.column(yes)] += order.left
        bids, asks = view.book
        view.bid = max((c for c, size in enumerate(bids) if size), default=-1)
        view.ask = min((c for c, size in enumerate(asks) if size), default=len(asks))
        purse = self.seat.purse
        purse._account.cash = int(account[kernel.CASH])
        purse._account.positions["M"] = int(account[kernel.POSITION])
        purse._last_bid, purse._last_ask = int(account[kernel.LAST_BID]), int(account[kernel.LAST_ASK])
        self.live.us, self.live.heard_ns = int(account[kernel.NOW]), 0
        return orders


@pytest.mark.parametrize("latency", [NO_LATENCY, HOME], ids=["at once", "delayed"])
@pytest.mark.parametrize("name", ["default", "wide"])
def test_every_decision_is_that_of_training(name: str, latency: Latency) -> None:
    actions = action_set(name, [500, 1_000, 2_000, 5_000, 10_000])
    rng = np.random.default_rng(7)
    met: set[int] = set()
    for seed in range(4):
        twin = Twin(actions, latency, seed)
        batch = twin.batch
        while batch.running[0]:
            orders = twin.show()
            seen = twin.seat.look(orders, 0)
            mine, theirs = (seen.observation[len(MARKET) :].copy(), batch.observations[0, len(MARKET) :].copy())
            if batch.state.account[0, kernel.TAKEN]:
                # What it took is gone from a live book; here the recorded one still shows it.
                mine[PROFIT] = theirs[PROFIT] = 0.0
            assert mine.tolist() == theirs.tolist()
            assert seen.mask.tolist() == batch.masks()[0].tolist()
            number = int(rng.integers(len(actions.actions))) if rng.random() < 0.3 else 0
            action = actions.actions[number]
            wish = twin.seat.wish(action, orders) if action.op not in (HOLD, CANCEL_ALL) else None
            logged = int(batch.state.account[0, kernel.LOGGED])
            batch.step([number])
            rows = batch.state.log[0, logged : int(batch.state.account[0, kernel.LOGGED])]
            sent = [row for row in rows.tolist() if row[kernel.KIND] == kernel.SENT]
            if wish is None or wish.refusal:
                assert sent == []
                continue
            met.add(number)
            (row,) = sent
            yes = twin.live.prices[row[kernel.L_COL]]
            price = yes if row[kernel.L_SIDE] == 0 else int(DOLLAR) - yes
            assert (wish.side, wish.price, wish.size) == (row[kernel.L_SIDE], price, row[kernel.L_SIZE])
    orders = {n for n, action in enumerate(actions.actions) if action.op not in (HOLD, CANCEL_ALL)}
    assert len(met) >= 0.8 * len(orders)
