"""A fill model of one's own: where in the queue do cancellations fall? Ours says: behind you, unless you are last.

    kflow ingest --market INXD-25JAN03 --duration 20
    kflow simulate --order-size 10 --model queue --model examples.own_fill_model:patient
    kflow actor run --enable --strategy hardcoded:join --fills examples.own_fill_model:patient

`kflow simulate` prints what orders would have got under it, under pro rata, and under both ends of what is possible;
its JSON says whose model it was, and which code. A function of one number does: x is how much of the rest of the level
lies ahead of an order (0: it is first, 1: it is last), the answer is which share of a cancellation falls ahead of it.
It is asked 257 times, and never again: the compiled kernel reads a table, as fast as it works out its own formula.

    python examples/own_fill_model.py

does the same in Python on a made-up market, without a recording; the first run compiles for half a minute.
"""

from __future__ import annotations

from kflow.replay.tapes import fees_of
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import BAND, NO_LATENCY, Assumptions, model_named, own_queue
from kflow.sim.report import summary
from kflow.sim.study import Plan, study
from kflow.units import CONTRACT, Size


def patient(x: float) -> float:
    """Who is far in front has stayed long, and stays: of a cancellation less falls ahead than lies ahead."""
    return x**3


def main() -> None:
    tapes = make_tapes("reverting", 4, seed=7)
    plan = Plan(size=Size(10 * CONTRACT), horizon_us=10_000_000)
    for model in (own_queue("patient", patient), *map(model_named, BAND)):
        assumed = Assumptions(model=model, latency=NO_LATENCY, fees=fees_of(tapes[0])[0])
        (after,) = summary(study(tapes, plan, assumed), [10.0])["horizons"]
        print(f"{model.name:18} {after['full']:.2%} of {after['orders']} orders filled within {after['seconds']:g} s")


if __name__ == "__main__":
    main()
