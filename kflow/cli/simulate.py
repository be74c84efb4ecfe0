"""`kflow simulate`: what an order would have got, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from kflow.cli import render, results
from kflow.cli.charts import check_plot
from kflow.cli.tapes import FromOption, MarketOption, SessionsOption, SourceOption, load_tapes

if TYPE_CHECKING:
    from kflow.sim.assume import Chosen
    from kflow.sim.fills import Assumptions
    from kflow.sim.study import Outcome, Plan
    from kflow.sim.tape import Tape
    from kflow.units import Price

_WHERE: Final = ("join", "improve", "cross", "sweep")
_SIDES: Final = {"both": (0, 1), "yes": (0,), "no": (1,)}


def simulate(
    context: typer.Context,
    order_size: Annotated[
        list[str] | None, typer.Option("--order-size", metavar="N", help="Contracts; may be repeated. Default: 10.")
    ] = None,
    side: Annotated[str, typer.Option(metavar="both|yes|no", help="Which outcome is bought.")] = "both",
    price: Annotated[
        str,
        typer.Option(
            metavar="WHERE",
            help="join the best bid, improve it, cross to the ask, sweep the book, or a price: 0.45.",
        ),
    ] = "join",
    horizon: Annotated[
        list[float] | None, typer.Option(metavar="S", help="Seconds; may be repeated. Default: 1, 10 and 60.")
    ] = None,
    every: Annotated[float, typer.Option(metavar="S", help="Seconds between two orders.")] = 1.0,
    immediate: Annotated[bool, typer.Option("--ioc", help="What is not filled at once is cancelled.")] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="queue|probabilistic|touch", help="May be repeated. The band is always shown."),
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option(metavar="MS", help="none, calibrated, 50, place/cancel/data: 50/50/20, or home [--orders: none]."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of kflow calibrate; without one the queue is pro rata.")
    ] = None,
    walk_from: Annotated[
        float, typer.Option(metavar="N", help="Smaller orders that cross are filled at the touch only; 0: all walk.")
    ] = 20.0,
    grid: Annotated[
        float | None, typer.Option(metavar="MS", help="Also on a decision grid, and the difference to every event.")
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="day", help="Cut the results by UTC day.")] = None,
    orders: Annotated[
        Path | None,
        typer.Option("--orders", metavar="FILE", help="Orders that were really sent, a JSON object a line, instead."),
    ] = None,
    sessions: SessionsOption = None,
    paths: FromOption = None,
    market: MarketOption = None,
    source: SourceOption = "tables",
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of every draw.")] = 0,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the charts as .png or .svg.")] = None,
    trace: Annotated[int | None, typer.Option(metavar="N", help="Tell the life of order N, event by event.")] = None,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Say what an order would have got, and how sure that is."""
    chosen = render.chosen(form, as_json)
    run = _Run(side, price, horizon or [1.0, 10.0, 60.0], every, immediate, walk_from, seed)
    sizes = [_contracts(text) for text in order_size or ["10"]]
    picks = _picks(model or ["queue"], latency or ("home" if orders is None else "none"), calibration)
    _check(grid, by, plot, orders, trace)
    tapes = load_tapes(context, sessions, paths, market, source=source)
    if orders is not None:
        from kflow.cli.given import show_given

        show_given(orders, tapes, picks, run.assume, round(run.horizons[-1] * 1e6), seed, chosen)
        return
    if trace is not None:
        _tell(run, tapes, sizes[0], picks[0], trace, chosen)
        return
    found = _results(run, tapes, sizes, picks, grid, by)
    whole = {**run.told(tapes, picks), "results": found}
    results.show(whole, chosen)
    if plot is not None:
        results.draw(whole, plot)


def _check(grid: float | None, by: str | None, plot: Path | None, orders: Path | None, trace: int | None) -> None:
    if grid is not None and not 1 <= grid <= 3_600_000:
        _refuse(f"a grid of {grid:g} ms cannot be", "--grid 250")
    if by not in (None, "day"):
        _refuse(f"--by {by} is nothing to cut by", "--by day")
    if plot is not None:
        check_plot(plot)
    study_only: dict[str, object] = {"--grid": grid, "--by": by, "--plot": plot}
    _check_alone("--orders", orders, {"--trace": trace, **study_only})
    _check_alone("--trace", trace, study_only)


def _check_alone(name: str, value: object, others: Mapping[str, object]) -> None:
    with_it = [other for other, given in others.items() if given is not None]
    if value is not None and with_it:
        _refuse(f"{name} and {with_it[0]} are two questions", "ask one after the other")


class _Run:
    """What was asked for, the same for every size and model."""

    def __init__(
        self,
        side: str,
        price: str,
        horizons: Sequence[float],
        every: float,
        immediate: bool,
        walk_from: float,
        seed: int,
    ) -> None:
        if side not in _SIDES:
            _refuse(f"there is no side {side}", "both, yes or no")
        if not all(0 < seconds <= 86_400 for seconds in horizons) or not 0.001 <= every <= 86_400:
            _refuse("times are above 0 and at most a day", "--horizon 60 --every 1")
        if not 0 <= walk_from <= 1e6:
            _refuse(f"{walk_from:g} contracts are no bound for small orders", "--walk-from 20")
        self.side, self.horizons = side, sorted(set(horizons))
        self.every, self.immediate, self.seed = every, immediate, seed
        self.walk_from = walk_from
        self.where = price if price in _WHERE else "join"
        self.price = None if price in _WHERE else _price(price)

    def plan(self, size: int, grid_ms: float | None = None) -> Plan:
        from kflow.sim.study import Plan
        from kflow.units import Size

        return Plan(
            size=Size(size),
            where=self.where,  # type: ignore[arg-type]  # one of _WHERE, see __init__
            price=self.price,
            sides=_SIDES[self.side],
            horizon_us=round(self.horizons[-1] * 1e6),
            every_us=round(self.every * 1e6),
            immediate=self.immediate,
            grid_us=None if grid_ms is None else round(grid_ms * 1000),
        )

    def assume(self, chosen: Chosen, tape: Tape) -> Assumptions:
        from kflow.replay.tapes import fees_of
        from kflow.sim.fills import Assumptions
        from kflow.units import CONTRACT, Size

        return Assumptions(
            model=chosen.model,
            latency=chosen.latency,
            fees=fees_of(tape)[0],
            walk_from=Size(round(self.walk_from * CONTRACT)),
        )

    def told(self, tapes: Sequence[Tape], picks: Sequence[Chosen]) -> dict[str, Any]:
        from kflow.units import format_price

        where = self.where if self.price is None else format_price(self.price)
        return {
            "side": self.side,
            "price": where,
            "immediate": self.immediate or self.where == "sweep",
            "every_s": self.every,
            "seed": self.seed,
            "assumptions": self._assumptions(tapes, picks),
            "tapes": _tapes(tapes),
        }

    def _assumptions(self, tapes: Sequence[Tape], picks: Sequence[Chosen]) -> dict[str, Any]:
        from kflow.replay.tapes import fees_of, known_by

        return {
            **self.assume(picks[0], tapes[0]).told(),
            "models": {pick.model.name: pick.told() for pick in picks},
            "fees": sorted({fees_of(tape)[1] for tape in tapes}),
            "trades": known_by(tapes),
            "orders": "sent where both sides quote; one counts at a horizon if its stretch lasts as long",
            "errors": "one standard error over hours of the calendar; none where there are fewer than five",
        }


def _refuse(text: str, hint: str) -> NoReturn:
    from kflow.errors import UsageError

    raise UsageError(text, hint=hint)


def _price(text: str) -> Price:
    from kflow.errors import Unrepresentable
    from kflow.units import parse_price

    try:
        return parse_price(text)
    except Unrepresentable:
        _refuse(f"{text!r} is no place for an order", "join, improve, cross, sweep, or a YES price: 0.45")


def _contracts(text: str) -> int:
    from kflow.errors import Unrepresentable
    from kflow.units import parse_size

    try:
        size = parse_size(text)
    except Unrepresentable as error:
        _refuse(str(error), "--order-size 250")
    if not 0 < size < 2**30:
        _refuse(f"an order of {text} contracts cannot be", "--order-size 250")
    return size


def _picks(models: Sequence[str], latency: str, calibration: Path | None) -> list[Chosen]:
    """The models asked for, then the ends of the band."""
    from kflow.sim.assume import choose, read_calibration
    from kflow.sim.fills import BAND

    fitted = None if calibration is None else read_calibration(calibration)
    names = dict.fromkeys([*models, BAND[0], BAND[-1]])
    return [choose(name, latency, fitted) for name in names]


def _results(
    run: _Run,
    tapes: Sequence[Tape],
    sizes: Sequence[int],
    picks: Sequence[Chosen],
    grid: float | None,
    by: str | None,
) -> list[dict[str, Any]]:
    from kflow.sim.study import study
    from kflow.units import CONTRACT

    found: list[dict[str, Any]] = []
    seconds = round(sum(tape.seconds for tape in tapes))
    ways = [None] if grid is None else [None, grid]
    with render.progress("simulate", seconds * len(sizes) * len(picks) * len(ways), unit="s of books") as advance:
        for size in sizes:
            for pick in picks:
                for way in ways:
                    outcome = study(
                        tapes,
                        run.plan(size, way),
                        lambda tape, pick=pick: run.assume(pick, tape),  # type: ignore[misc]
                        seed=run.seed,
                        progress=advance,
                    )
                    about = {"contracts": size / CONTRACT, "model": pick.model.name, "grid_ms": way}
                    found += _summaries(run, outcome, about, by)
    return found


def _summaries(run: _Run, outcome: Outcome, about: dict[str, Any], by: str | None) -> list[dict[str, Any]]:
    from kflow.sim.report import by_day, summary

    found = [{**about, "day": None, **summary(outcome, run.horizons)}]
    if by == "day":
        found += [{**about, "day": day, **summary(part, run.horizons)} for day, part in by_day(outcome)]
    return found


def _tapes(tapes: Sequence[Tape]) -> list[dict[str, Any]]:
    from kflow.replay.tapes import fees_of, known_by

    return [
        {
            "market": tape.market,
            "from": tape.facts.get("source"),
            "digest": tape.facts.get("digest"),
            "stretches": tape.stretches,
            "seconds": round(tape.seconds, 3),
            "trades": known_by([tape])[0],
            "fees": fees_of(tape)[1],
        }
        for tape in tapes
    ]


def _tell(run: _Run, tapes: Sequence[Tape], size: int, pick: Chosen, number: int, form: render.Format) -> None:
    from kflow.cli.story import tell
    from kflow.sim.trace import trace

    life = trace(tapes, run.plan(size), lambda tape: run.assume(pick, tape), number, seed=run.seed)
    if form is not render.Format.TABLE:
        moments = [moment._asdict() for moment in life.moments]
        render.record({**life._asdict(), "model": pick.model.name, "moments": moments}, form=form)
        return
    render.text("\n".join(tell(life, pick.model.name)))
