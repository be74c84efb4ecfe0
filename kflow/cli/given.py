"""`kflow simulate --orders`: orders that were really sent, and what the simulator says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kflow.cli import render

if TYPE_CHECKING:
    from kflow.sim.assume import Chosen
    from kflow.sim.fills import Assumptions
    from kflow.sim.given import Answer, Given
    from kflow.sim.tape import Tape

_COLUMNS = ("model", "orders", "known", "filled_share", "filled_whole", "told", "said_whole", "really_whole", "brier")


def show_given(
    path: Path,
    tapes: Sequence[Tape],
    picks: Sequence[Chosen],
    assume: Callable[[Chosen, Tape], Assumptions],
    horizon_us: int,
    seed: int,
    form: render.Format,
) -> None:
    """Simulate the orders of a file under every model, and print each with the band, or the sums for eyes."""
    from kflow.replay.own import read_orders
    from kflow.sim.given import compared, simulate_given

    orders = read_orders(path)
    answers = {
        pick.model.name: simulate_given(tapes, orders, partial(assume, pick), horizon_us=horizon_us, seed=seed)
        for pick in picks
    }
    sums = [{"model": name, **compared(orders, found)} for name, found in answers.items()]
    items = [_line(number, order, answers) for number, order in enumerate(orders)]
    if form is render.Format.JSON:
        told = {"calibration": picks[0].calibration, "latency": picks[0].latency.name, "horizon_s": horizon_us / 1e6}
        render.record({"assumptions": told, "models": sums, "orders": items}, form=form)
    elif form is render.Format.TABLE:
        render.rows("models", sums, columns=_COLUMNS, form=form)
        lost = sum(not answer.known for answer in answers[picks[0].model.name])
        if lost:
            render.note(f"{lost:,} orders are not on these recordings: another market or time, or a price off the grid")
        render.note(f"latency {picks[0].latency.name}; each followed for {horizon_us / 1e6:g} s, or until cancelled")
        render.note("each order, with the band of the models: --json, or --format csv")
    else:
        render.rows("orders", items, columns=tuple(items[0]) if items else (), form=form)


def _line(number: int, order: Given, answers: dict[str, list[Answer]]) -> dict[str, Any]:
    from kflow.units import CONTRACT

    line: dict[str, Any] = {
        "order_id": order.order,
        "market": order.market,
        "sent": render.when(order.us * 1000),
        "contracts": order.size / CONTRACT,
        "known": next(iter(answers.values()))[number].known,
        "really_filled": None if order.filled is None else order.filled / CONTRACT,
    }
    for name, found in answers.items():
        answer = found[number]
        line[f"{name}_filled"] = answer.filled / CONTRACT if answer.known else None
        line[f"{name}_full_s"] = None if answer.full_us is None else answer.full_us / 1e6
        line["followed_s"] = answer.followed_us / 1e6 if answer.known else None
    whole = [found[number].filled >= order.size for found in answers.values()]
    line["models_that_fill_it"] = sum(whole) if line["known"] else None
    return line
