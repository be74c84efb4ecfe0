"""Compile what tests need before they begin, once for all of their processes: python -m kflow.testing.warm.

Two processes that begin at once would each compile the same for a minute.
"""

from __future__ import annotations

import numpy as np

from kflow.replay.tapes import fees_of
from kflow.rl.batch import Batch, Setup
from kflow.rl.dataset import build
from kflow.rl.episodes import Drawn
from kflow.rl.worlds import make_tapes
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, market_on, new_accounts, one_order_each
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape, on_grid
from kflow.testing.compiled import Compiled


def main() -> None:
    """Play a little of everything."""
    tapes = make_tapes("fair", 2, seed=1, seconds=60)
    batch = Batch(build(tapes, _assume), Setup(), Drawn(build(tapes, _assume), 40), 2)
    batch.reset()
    batch.step([1, 0])
    batch.masks()
    _play(tapes[0])


def _assume(tape: Tape) -> Assumptions:
    return Assumptions(fees=fees_of(tape)[0])


def _play(tape: Tape) -> None:
    rules = _assume(tape).rules()
    start = tape.span_us(0)[0]
    what, spans = one_order_each(np.array([start]), [0], [1_000], rule=kernel.JOIN)
    state = new_accounts(1, tape.columns, Limits())
    market = market_of(tape)
    kernel.seat_all(state, market, np.zeros(1, np.int64), np.array([start]))
    kernel.play(state, market, rules, what, spans, np.array([start + 10_000_000]))
    on_rows = market_on(on_grid(tape, 0, 250_000))
    kernel.seat_on_row(state, on_rows, 0, 0)
    kernel.play_on_grid(state, on_rows, rules, what, spans, np.array([start + 10_000_000]))
    kernel.settle(state, 0, 10_000)
    kernel.liquidation(state, on_rows, rules, 0)
    one = Compiled(tape, _assume(tape))
    kernel.place(one.state, one.market, one.rules, 0, 0, 10, 1_000, 0, 0)
    kernel.amend(one.state, one.rules, 0, 0, 11, 500)
    kernel.cancel(one.state, one.rules, 0, 0)
    one.run(start + 1_000_000)


if __name__ == "__main__":
    main()
