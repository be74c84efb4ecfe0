"""The training environment once more, slowly: one account, decision by decision, in plain Python.

What `kflow.rl.batch` has to do, and to the bit: tests hold it to this. A decision is taken on what was seen; the
action is sent at that moment, carried out by the plain simulator, and all that happens up to the next decision is
seen then. The reward is what the account's worth changed by. The kernel lends its numbers, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from kflow.market import limits
from kflow.market.fees import UNITS_PER_MONEY
from kflow.policy import actions, features
from kflow.policy.actions import Action
from kflow.policy.view import MarketView
from kflow.replay.stretches import CLOSED
from kflow.rl.batch import Setup
from kflow.rl.dataset import LEAST_ROWS
from kflow.rl.episodes import Episode
from kflow.sim import kernel as k
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape
from kflow.testing.plain_account import Draws
from kflow.testing.plain_sim import PlainSimulator
from kflow.testing.tapes import first_book, moments
from kflow.units import DOLLAR


class PlainSpan(NamedTuple):
    """A stretch of a tape that episodes lie in."""

    tape: Tape
    assumptions: Assumptions
    stretch: int
    rows: int  # decisions: at its first event, and every so often until its last
    value: int  # what YES is paid behind the last decision; -1: nobody knows


class Step(NamedTuple):
    """What comes of a decision."""

    observation: list[float]
    reward: float
    ending: str  # settled, ruined, cut; empty: it goes on


def spans_of(tapes: Sequence[Tape], assume: Callable[[Tape], Assumptions], every_us: int) -> list[PlainSpan]:
    """Stretches with enough decisions, in the order of a data set: tapes of one grid and one fee schedule together."""
    groups: dict[tuple[object, ...], list[tuple[Tape, Assumptions]]] = {}
    for tape in tapes:
        fees = assume(tape).fees
        key = (tuple(tape.arrays.price.tolist()), fees.taker_rate, fees.maker_rate)
        groups.setdefault(key, []).append((tape, assume(tape)))
    spans = []
    for members in groups.values():
        for tape, _ in members:
            for stretch in range(tape.stretches):
                first_us, last_us = tape.span_us(stretch)
                rows = (last_us - first_us) // every_us + 1
                if rows >= LEAST_ROWS:
                    spans.append(PlainSpan(tape, members[0][1], stretch, rows, _result(tape, stretch)))
    return spans


def _result(tape: Tape, stretch: int) -> int:
    """A result is recorded, and the stretch leads up to it; else -1."""
    facts = tape.facts
    if facts["ends"][stretch] != CLOSED:
        return -1
    if facts.get("settlement_value_e4") is not None:
        return int(facts["settlement_value_e4"])
    return int(DOLLAR) if facts.get("result") == "yes" else 0 if facts.get("result") == "no" else -1


class PlainEnv:
    """An account in one episode after the other. Its random numbers go on from each to the next."""

    def __init__(
        self, spans: Sequence[PlainSpan], setup: Setup, *, every_us: int, seed: int = 0, number: int = 0
    ) -> None:
        self.spans, self.setup, self.every_us = spans, setup, every_us
        self._draws: Final = Draws(seed, number)
        self.simulator: PlainSimulator
        self.view: MarketView
        self.equity = self.peak = 0
        self.steps = self.sent = self.denied = self.reason = self.fall = 0
        self.rewards = 0.0

    def reset(self, episode: Episode) -> list[float]:
        """Begin an episode with nothing but cash; what is seen first."""
        self.span, self.episode = self.spans[episode.span], episode
        tape, stretch = self.span.tape, self.span.stretch
        self._start_us = tape.span_us(stretch)[0]
        self.row = episode.first
        self.simulator = PlainSimulator(tape, self.span.assumptions, self.setup.limits)
        self.simulator.draws = self._draws
        self.simulator.seat(stretch, self.now_us)
        close_us = tape.facts.get("close_us")
        self.view = MarketView(
            tape.arrays.price.tolist(),
            close_us=-1 if close_us is None else int(close_us),
            taker_rate=float(self.span.assumptions.fees.taker_rate),
        )
        self.view.begin(self._start_us, *first_book(tape, stretch))
        self._moments = moments(tape, stretch)
        self._next = next(self._moments, None)
        self._watch()
        self.equity = self.peak = int(self.setup.limits.cash)
        self.steps = self.sent = self.denied = self.reason = self.fall = 0
        self.rewards = 0.0
        return self._observe()

    @property
    def now_us(self) -> int:
        """The moment of the decision."""
        return self._start_us + self.row * self.every_us

    def step(self, number: int) -> Step:
        """Take an action, and go on to the next decision."""
        before, volume = self.equity, self.simulator.volume
        self._send(self.setup.actions.actions[number])
        self.row += 1
        self.steps += 1
        self.simulator.run(self.now_us)
        self._watch()
        ending = ""
        if self.row >= self.episode.last:
            ending = "cut"
            if self.row == self.span.rows - 1 and self.span.value >= 0:
                self.simulator.settle(self.span.value)
                ending = "settled"
            else:
                self.simulator.last_best = [-1, -1]  # what nobody bids for now is worth nothing
        self._value()
        if ending != "settled" and self.equity <= int(self.setup.limits.cash * self.setup.ruin):
            ending = "ruined"
        return Step(self._observe(), self._reward(before, volume), ending)

    def _send(self, action: Action) -> None:
        """Do it, or note why it is denied."""
        self.reason = self._refused(action, self._own())
        if action.op == actions.HOLD:
            return
        if self.reason:
            self.denied += 1
            return
        self.sent += 1
        simulator = self.simulator
        if action.op == actions.CANCEL_ALL:
            for order in simulator.slots:
                if order is not None:
                    simulator.cancel(order.number)
            return
        own, bid, ask = self._own(), simulator.bid, simulator.ask
        column = actions.price_column(action.side, action.pricing, bid, ask, len(simulator.prices))
        size = actions.size_now(action.side, action.size, action.reduce_only, own)
        flags = 0
        if action.rest_us == 0:
            flags = k.IOC | k.REDUCE_ONLY if action.reduce_only else k.IOC
        simulator.place(action.side, column, size, flags, action.rest_us)

    def _watch(self) -> None:
        """Let the view see what happened up to now."""
        while self._next is not None and self._next[0] <= self.now_us:
            us, changes = self._next
            for kind, side, column, size in changes:
                if kind in (k.TRADE, k.PRINT):
                    self.view.trade(side, column, size, removes=kind == k.TRADE)
                else:
                    self.view.change(side, column, size if kind == k.ADD else -size)
            self.view.end_group(us)
            self._next = next(self._moments, None)

    def _value(self) -> None:
        """Cash, and what the position would bring at once."""
        self.equity = self.simulator.cash + self.simulator.liquidation()
        self.peak = max(self.peak, self.equity)
        self.fall = max(self.fall, self.peak - self.equity)

    def _reward(self, before: int, volume: int) -> float:
        """Dollars gained, by `scale`, less what each shaping term takes."""
        shaping, bounds = self.setup.shaping, self.setup.limits
        gained = (self.equity - before) / 1e6 * self.setup.scale
        self.rewards += gained
        held = shaping.get("inventory", 0.0) * abs(self.simulator.position) / bounds.max_position
        traded = shaping.get("turnover", 0.0) * (self.simulator.volume - volume) / bounds.max_order
        return gained - held - traded

    # What is seen, and what is allowed.

    def _observe(self) -> list[float]:
        out = [0.0] * len(features.FEATURES)
        self.view.encode(self.now_us, out)
        simulator, bounds = self.simulator, self.setup.limits
        orders: list[int] = []
        for order in simulator.slots:
            if order is None or order.status == k.DONE:
                continue
            ahead, age = order.ahead, self.now_us - order.rested_us
            if order.status == k.TRAVELS:  # it would stand behind all that is there now
                ahead, age = simulator.book[order.side].get(order.col, 0), 0
            orders += [order.side, order.col, order.left, ahead, age]
        self.view.encode_own(
            simulator.position,
            self.equity,
            self._free(),
            bounds.cash,
            bounds.max_position,
            bounds.max_order,
            orders,
            len(orders) // 5,
            out,
        )
        return out

    def _fees(self) -> tuple[int, int, int, int]:
        """The dearer rate as a fraction of units, and what is rounded to: as `limits.worst_fee` reads them."""
        fees = self.span.assumptions.fees
        rate = max(fees.taker_rate, fees.maker_rate)
        step = int(fees.trade_fee_step)
        return rate.numerator, rate.denominator * UNITS_PER_MONEY * step, step, int(fees.balance_precision)

    def _free(self) -> int:
        """Cash that nothing holds back; an order under way holds its worst case back."""
        simulator = self.simulator
        free = simulator.cash - simulator.reserved
        for order in simulator.slots:
            if order is not None and order.status == k.TRAVELS:
                price = simulator.prices[order.col] if order.side == 0 else DOLLAR - simulator.prices[order.col]
                free -= price * order.left + limits.worst_fee(price, order.left, *self._fees())
        return free

    def _own(self) -> tuple[int, ...]:
        """What `actions.refused` asks of the account."""
        simulator = self.simulator
        orders = [order for order in simulator.slots if order is not None and order.status != k.DONE]
        yes, no = ([order for order in orders if order.side == side] for side in (0, 1))
        return (
            simulator.position,
            self._free(),
            sum(order.left for order in yes),
            sum(order.left for order in no),
            len(orders),
            max((order.col for order in yes), default=-1),
            min((order.col for order in no), default=len(simulator.prices)),
        )

    def _refused(self, action: Action, own: Sequence[int]) -> int:
        """0, or why it is denied now."""
        simulator, bounds = self.simulator, self.setup.limits
        return actions.refused(
            action.op,
            action.side,
            action.pricing,
            action.size,
            action.reduce_only,
            (simulator.bid, simulator.ask, len(simulator.prices)),
            own,
            simulator.prices,
            self._fees(),
            (bounds.max_order, bounds.max_position, bounds.orders),
        )

    def mask(self) -> list[bool]:
        """Which actions are allowed now."""
        own = self._own()
        return [self._refused(action, own) == 0 for action in self.setup.actions.actions]
