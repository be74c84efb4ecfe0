"""`kflow parity`: a live run again in the simulator, and what the difference is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kflow.cli import charts, render
from kflow.cli.invocation import load_settings
from kflow.cli.tapes import FromOption, MarketOption, SessionsOption, SourceOption, load_tapes

if TYPE_CHECKING:
    from kflow.evaluate.parity.bridge import Bridge, Parity
    from kflow.evaluate.parity.log import AccountLog
    from kflow.sim.assume import Chosen
    from kflow.sim.fills import Assumptions
    from kflow.sim.tape import Tape
    from kflow.units import Money

_STEPS: Final = ("simulated", "latency", "queue", "refusals", "fees", "gaps", "residual", "live")
_MEANING: Final = {
    "simulated": "what the simulator says",
    "latency": "what really reached the venue sooner or later than assumed",
    "queue": "what was filled otherwise than its queue model says",
    "refusals": "what one side took and the other did not",
    "fees": "what was charged otherwise than by schedule",
    "gaps": "what the recording does not cover",
    "residual": "what no fill accounts for",
    "live": "by the venue's own cash and positions",
}
_FILLS: Final = (
    "orders_are",
    "way",
    "orders",
    "filled",
    "filled_simulated",
    "filled_error",
    "vwap_ticks",
    "vwap_ticks_absolute",
    "to_fill_s",
    "to_fill_s_absolute",
)
_HALF: Final = 20


def parity(
    context: typer.Context,
    log: Annotated[
        Path | None, typer.Argument(metavar="[LOG]", help="What was sent and what came of it, a JSON object a line.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", metavar="RUN-ID", help="A run of kflow actor, of the tables: its id, the beginning, or last."
        ),
    ] = None,
    exchange: Annotated[
        str | None,
        typer.Option("--exchange", metavar="URL", help="Ask this local exchange what came of it, over REST."),
    ] = None,
    key_id: Annotated[str | None, typer.Option("--key-id", metavar="ID", help="The account's key, with --key.")] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="Its private part, PEM. Default: the settings' key.")
    ] = None,
    before: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A log that --save wrote before the run: what there was then.")
    ] = None,
    cash: Annotated[
        str | None, typer.Option(metavar="DOLLARS", help="What a new account began with, instead of --before.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the log that the exchange tells, and compare nothing.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="The fill model: queue, probabilistic, touch.")] = "queue",
    latency: Annotated[
        str, typer.Option(metavar="MS", help="As assumed: home, none, calibrated, 50, place/cancel/data: 50/50/20.")
    ] = "home",
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of kflow calibrate; without one the queue is pro rata.")
    ] = None,
    sessions: SessionsOption = None,
    paths: FromOption = None,
    market: MarketOption = None,
    source: SourceOption = "tables",
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the latencies that are drawn.")] = 0,
    worst: Annotated[int, typer.Option(min=0, help="Orders to explain, those that differ most.")] = 5,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the bridge as .png or .svg.")] = None,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Explain a live run by what the simulator says, order by order.

    The log is a file, a run of the actor, or what an exchange tells. Given one of the former and the latter, the
    exchange says what came of orders, and the log when they were sent and which were refused.
    """
    chosen = render.chosen(form, as_json)
    if plot is not None:
        charts.check_plot(plot)
    _check(log, run, exchange, before, cash, (key_id, key))
    own = _own(context, log, run)
    told = _told(own, None if exchange is None else _asked(context, exchange, key_id, key), before, cash)
    if save is not None:
        from kflow.evaluate.parity.log import write_log

        write_log(save, told)
        render.note(f"{len(told.orders):,} orders are in {save}")
        return
    pick = _pick(model, latency, calibration)
    tapes = load_tapes(context, sessions, paths, market, source=source)
    _compare(tapes, told, pick, seed, worst, plot, chosen)


def _compare(
    tapes: Sequence[Tape],
    told: AccountLog,
    pick: Chosen,
    seed: int,
    worst: int,
    plot: Path | None,
    form: render.Format,
) -> None:
    from kflow.errors import DataError
    from kflow.evaluate.parity import measures
    from kflow.evaluate.parity.bridge import bridge
    from kflow.evaluate.parity.merge import on_one_clock

    on_clock, shift_us = on_one_clock(told)
    found = bridge(tapes, on_clock, lambda tape: _assumed(pick, tape), seed=seed)
    whole = {
        **measures.document(found),
        "source": told.source,
        "clock_shift_us": shift_us,
        "assumptions": _assumptions(pick, tapes, seed),
        "worst": [measures.order_line(order) for order in measures.worst(found, worst)],
        "orders": [measures.order_line(order) for order in found.orders],
    }
    _show(whole, found, form)
    if plot is not None:
        _draw(plot, whole)
    if found.residual:
        raise DataError(measures.residual_words(found), hint="look for fills that the log misses, or money moved")


# What is asked for.


def _check(
    log: Path | None,
    run: str | None,
    exchange: str | None,
    before: Path | None,
    cash: str | None,
    key: tuple[str | None, Path | None],
) -> None:
    from kflow.errors import UsageError

    if log is None and run is None and exchange is None:
        raise UsageError(
            "there is neither a log nor an exchange", hint="kflow parity LOG, --run last, or --exchange URL"
        )
    if log is not None and run is not None:
        raise UsageError("a log and --run both say what was sent", hint="give one of them")
    if before is not None and cash is not None:
        raise UsageError("--before and --cash both say what there was", hint="give one of them")
    if (key[0] is None) != (key[1] is None):
        raise UsageError("a key needs both its id and its file", hint="--key-id ID --key FILE")


def _own(context: typer.Context, path: Path | None, run: str | None) -> AccountLog | None:
    """What the client wrote down."""
    from kflow.evaluate.parity.log import read_log

    if run is not None:
        from kflow import wiring
        from kflow.evaluate.parity.tables import account_log, find_run
        from kflow.store.postgres import connect

        with wiring.database(load_settings(context)) as dsn, connect(dsn, autocommit=True) as conn:
            return account_log(conn, find_run(conn, run))
    return None if path is None else read_log(path)


def _told(own: AccountLog | None, venue: AccountLog | None, before: Path | None, cash: str | None) -> AccountLog:
    from kflow.evaluate.parity.log import read_log
    from kflow.evaluate.parity.merge import combined, since

    told = own if venue is None else venue if own is None else combined(own, venue)
    assert told is not None
    if before is not None:
        return since(told, read_log(before))
    return told if cash is None else _began_with(told, cash)


def _began_with(told: AccountLog, cash: str) -> AccountLog:
    """A log of an account that was new: nothing but cash, and nothing before its first order."""
    from dataclasses import replace

    from kflow.errors import Unrepresentable, UsageError
    from kflow.evaluate.parity.log import Holding
    from kflow.units import parse_money

    try:
        money = parse_money(cash)
    except Unrepresentable:
        raise UsageError(f"{cash!r} is no amount of dollars", hint="--cash 10000") from None
    return replace(told, before=Holding(0, int(money)))


def _asked(context: typer.Context, exchange: str, key_id: str | None, key: Path | None) -> AccountLog:
    import asyncio

    from kflow.clock import SystemClock
    from kflow.errors import CredentialError
    from kflow.evaluate.parity.venue import AccountReader
    from kflow.kalshi.auth import ApiKey
    from kflow.kalshi.environments import Environment, endpoints
    from kflow.wiring import api_key

    signs = ApiKey.load(key_id, key) if key_id is not None and key is not None else api_key(load_settings(context))
    if signs is None:
        raise CredentialError("an account is read with its key", hint="--key-id ID --key FILE")
    there = endpoints(Environment.LOCAL, exchange=exchange)

    async def read() -> AccountLog:
        async with AccountReader(there, clock=SystemClock(), key=signs) as reader:
            return await reader.read()

    return asyncio.run(read())


def _pick(model: str, latency: str, calibration: Path | None) -> Chosen:
    from kflow.sim.assume import choose, read_calibration

    return choose(model, latency, None if calibration is None else read_calibration(calibration))


def _assumed(pick: Chosen, tape: Tape) -> Assumptions:
    from kflow.replay.tapes import fees_of
    from kflow.sim.fills import Assumptions

    return Assumptions(model=pick.model, latency=pick.latency, fees=fees_of(tape)[0])


def _assumptions(pick: Chosen, tapes: Sequence[Tape], seed: int) -> dict[str, Any]:
    from kflow.replay.tapes import fees_of, known_by

    return {
        "model": pick.model.name,
        "calibration": pick.calibration,
        "latency": pick.latency.name,
        "latency_origin": pick.latency.origin,
        "fees": sorted({fees_of(tape)[1] for tape in tapes}),
        "trades": known_by(tapes),
        "seed": seed,
    }


# How it looks.


def _show(whole: dict[str, Any], found: Bridge, form: render.Format) -> None:
    if form is render.Format.JSON:
        render.record(whole, form=form)
        return
    if form is not render.Format.TABLE:
        render.rows("orders", whole["orders"], columns=tuple(whole["orders"][0]) if whole["orders"] else (), form=form)
        return
    steps = [
        {"part": name, "dollars": _dollars(whole["bridge"][f"{name}_e6"]), "what": _MEANING[name]} for name in _STEPS
    ]
    render.rows("bridge", steps, columns=("part", "dollars", "what"), form=form)
    render.text("\n" + "\n".join(bars(whole["bridge"])) + "\n")
    fills = [{**row, **{name: _percent(row[name]) for name in _FILLS[3:6]}} for row in whole["fills"] if row["orders"]]
    render.rows("fills", fills, columns=_FILLS, form=form, empty="no order was taken on both sides")
    for order in whole["worst"]:
        render.text(_sentence(order))
    _notes(whole, found.orders)


def _notes(whole: dict[str, Any], orders: Sequence[Parity]) -> None:
    agreed, own, assumed = whole["agreement"], whole["own_orders"], whole["assumptions"]
    alike = "—" if agreed["share"] is None else f"{agreed['share']:.2%}"
    render.note(f"taken or refused alike: {alike} of {agreed['orders']:,} orders ({agreed['refused']:,} refused)")
    render.note(whole["words"])
    for why, count in whole["not_simulated"].items():
        render.note(f"{count:,} of {len(orders):,} orders were not simulated: {why}")
    if own["in_book"]:
        render.note(
            f"own orders were taken out of the recorded book: {own['found']:,} of {own['expected']:,} found in it"
        )
    elif own["expected"]:
        render.note(f"the recorded book does not hold own orders: {own['found']:,} of {own['expected']:,} found in it")
    if whole["sending_not_told"]:
        render.note(
            f"of {whole['sending_not_told']:,} orders nothing says when they were sent: no latency is told apart"
        )
    if whole["clock_shift_us"]:
        render.note(f"the client's clock was moved by {whole['clock_shift_us'] / 1000:+.1f} ms to the venue's")
    marks = sorted({f"{market['worth_by']}" for market in whole["markets"]})
    render.note(f"a contract is worth {', or '.join(marks)}, on both sides")
    render.note(f"assumed: {assumed['model']}, calibration {assumed['calibration']}, latency {assumed['latency']}")


def bars(parts: dict[str, int]) -> list[str]:
    """The bridge in text: each part from where the one before it ended, losses to the left; live from zero."""
    sums, at = [], 0
    for name in _STEPS[:-1]:
        sums.append((name, at, at + parts[f"{name}_e6"]))
        at += parts[f"{name}_e6"]
    sums.append(("live", 0, parts["live_e6"]))
    edges = [0, *[edge for _, begin, end in sums for edge in (begin, end)]]
    low, high = min(edges), max(edges)

    def place(money: int) -> int:
        return round((money - low) / (high - low) * 2 * _HALF) if high > low else 0

    lines = []
    for name, begin, end in sums:
        first, last = sorted((place(begin), place(end)))
        drawn = "█" * (last - first) if last > first else "│"
        lines.append(
            f"{name:<9}  {' ' * first}{drawn}{' ' * (2 * _HALF + 1 - first - len(drawn))} {_dollars(end - begin)}"
        )
    return lines


def _sentence(order: dict[str, Any]) -> str:
    what = f"{order['side']} {order['contracts']:g} at {order['price']:.4f}"
    return f"{order['order_id']}  {what}: {order['why']}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def _dollars(money: int) -> str:
    from kflow.units import format_money

    amount: Money = abs(money)  # type: ignore[assignment]
    return ("+" if money >= 0 else "-") + format_money(amount)


def _draw(path: Path, whole: dict[str, Any]) -> None:
    """The same as a picture."""
    from kflow.errors import ConfigError

    pyplot = charts.drawing()
    figure, axis = pyplot.subplots(figsize=(7.2, 3.6), layout="constrained")
    at = 0.0
    for place, name in enumerate(_STEPS):
        money = whole["bridge"][f"{name}_e6"] / 1e6
        ends = name in ("simulated", "live")
        axis.bar(
            place, money, bottom=0 if ends else at, color="#555555" if ends else "#0072B2" if money >= 0 else "#D55E00"
        )
        axis.annotate(
            f"{money:+.4f}",
            (place, max(0 if ends else at, (0 if ends else at) + money)),
            ha="center",
            va="bottom",
            fontsize=7,
        )
        at = money if ends else at + money
    axis.set_xticks(range(len(_STEPS)), _STEPS, fontsize=8)
    axis.axhline(0, color="#000000", linewidth=0.8)
    charts.frame(axis, "from simulated to live", "", "dollars")
    try:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint="choose another --plot") from None
    finally:
        pyplot.close(figure)
