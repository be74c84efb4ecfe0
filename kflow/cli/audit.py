"""`kflow audit`: whether what a policy is trained on can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kflow.cli import charts, render
from kflow.cli.lazy import new_app
from kflow.cli.tapes import FromOption, MarketOption, SessionsOption, SourceOption, load_tapes

if TYPE_CHECKING:
    from kflow.rl.audit import Leaks
    from kflow.rl.dataset import Dataset
    from kflow.rl.observed import Masks
    from kflow.rl.warmup import Warm
    from kflow.sim.fills import Assumptions
    from kflow.sim.tape import Tape

app = new_app(help="Check training for leaks, dull features and open masks.")

WorldOption = Annotated[
    str | None,
    typer.Option("--world", metavar="fair|null|dollar|reverting|maker", help="Made-up markets instead."),
]
SeedOption = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of every draw.")]
_MARKETS: Final = 4  # of a world
_EVENTS: Final = 200_000
_BEGINNINGS: Final = 100
_PAIRS: Final = 10
_BELIEVED: Final = "nothing that is trained on this can be believed; the line above says where to look"


@app.command()
def leak(
    context: typer.Context,
    cuts: Annotated[int, typer.Option(min=1, max=10**6, help="Random decisions, behind which all is noise.")] = 1_000,
    sessions: SessionsOption = None,
    paths: FromOption = None,
    market: MarketOption = None,
    source: SourceOption = "tables",
    world: WorldOption = None,
    seed: SeedOption = 0,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Replace all later data by noise: what came before has to stay the same.

    That is all that an account saw, was allowed, earned and holds, bit by bit. Also: does it matter when the recording
    began, and does the actor's code see the same? Exit 6 where one of them fails.
    """
    from kflow.errors import DataError
    from kflow.rl import warmup
    from kflow.rl.audit import leaks, live

    chosen = render.chosen(form, as_json)
    tapes = _tapes(context, sessions, paths, market, source, world, seed)
    with render.progress("leaks", cuts, unit="cuts") as advance:
        found = leaks(tapes, _assume, cuts=cuts, seed=seed, progress=advance)
    with render.progress("warm-up", _BEGINNINGS, unit="beginnings") as advance:
        warm = warmup.warm_up(tapes, _assume, count=_BEGINNINGS, seed=seed, progress=advance)
    with render.progress("live", None, unit="events") as advance:
        seen = live(tapes, _assume, events=_EVENTS, seed=seed, progress=advance)
    cold = warmup.cold(warm)
    lines = [_leaks_line(f"noise behind {found.cuts:,} decisions", found)]
    lines += [_warm_line(line, line in cold) for line in warm]
    lines.append(_leaks_line(f"the actor's code on {seen.cuts:,} stretches", seen))
    if chosen is render.Format.JSON:
        render.record({"leaks": _told(found), "warm_up": [w._asdict() for w in warm], "live": _told(seen)}, form=chosen)
    else:
        shown = [{**line, "most": f"{line['most']:.3g}"} for line in lines]
        columns = ("check", "decisions", "numbers", "most", "where", "passed")
        render.rows("checks", shown if chosen is render.Format.TABLE else lines, columns=columns, form=chosen)
    _note_known(tapes, warm)
    for what, differs in (("later data is seen in", found), ("training and the actor differ in", seen)):
        if differs.differences:
            raise DataError(f"{what} {_differences(differs)}", hint=_BELIEVED)
    if cold:
        raise DataError(
            f"{cold[0].seconds} s after a beginning, {cold[0].feature} is {cold[0].most:.3g} off, "
            f"more than {warmup.TOLERANCE:g}",
            hint="a feature remembers for longer than it says",
        )


@app.command()
def features(
    context: typer.Context,
    sessions: SessionsOption = None,
    paths: FromOption = None,
    market: MarketOption = None,
    source: SourceOption = "tables",
    world: WorldOption = None,
    seed: SeedOption = 0,
    decisions: Annotated[int, typer.Option(min=2, max=10**7, help="Of random play.")] = 200_000,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the correlations as .png or .svg.")] = None,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Show how each feature is spread, and which go together, where a random policy plays."""
    from kflow.rl.observed import observe

    chosen = render.chosen(form, as_json)
    if plot is not None:
        charts.check_plot(plot)
    dataset = _dataset(_tapes(context, sessions, paths, market, source, world, seed))
    with render.progress("features", decisions, unit="decisions") as advance:
        found = observe(dataset, decisions=decisions, seed=seed, progress=advance)
    items = [feature._asdict() for feature in found.features]
    pairs = [pair._asdict() for pair in found.pairs(_PAIRS)]
    if chosen is render.Format.JSON:
        whole = {"decisions": found.decisions, "features": items, "constant": found.constant, "rank": found.rank}
        matrix = {"names": found.varying, "correlations": found.correlations.tolist()}
        render.record({**whole, "varying": len(found.varying), "pairs": pairs, "matrix": matrix}, form=chosen)
    else:
        shown = [{**item, "constant": "here" if item["constant"] else ""} for item in items]
        table = chosen is render.Format.TABLE
        render.rows("features", shown if table else items, columns=tuple(items[0]), form=chosen)
        if table:
            render.text(f"\nrank {found.rank} of {len(found.varying)} features that vary; the most correlated:")
            render.rows("pairs", pairs, columns=("one", "other", "correlation"), form=chosen)
    render.note(f"{found.decisions:,} decisions; constant here: {', '.join(found.constant) or 'none'}")
    if plot is not None:
        caption = f"{found.decisions:,} decisions, rank {found.rank} of {len(found.varying)}"
        charts.draw_matrix(plot, found.varying, found.correlations.tolist(), "Correlation of features", caption)
        render.note(f"drawn to {plot}")


@app.command()
def masks(
    context: typer.Context,
    states: Annotated[
        int, typer.Option(min=1, max=10**6, help="Of random play, in which each action is tried.")
    ] = 2_000,
    sessions: SessionsOption = None,
    paths: FromOption = None,
    market: MarketOption = None,
    source: SourceOption = "tables",
    world: WorldOption = None,
    seed: SeedOption = 0,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Check that masks deny what the limits of an order deny, and nothing else. Exit 6 where they do not."""
    from kflow.errors import DataError
    from kflow.rl.observed import check_masks

    chosen = render.chosen(form, as_json)
    dataset = _dataset(_tapes(context, sessions, paths, market, source, world, seed))
    with render.progress("masks", states, unit="states") as advance:
        found = check_masks(dataset, states=states, seed=seed, progress=advance)
    items = [{"reason": why, "denied": count, "masked": found.masked[why]} for why, count in found.denied.items()]
    if chosen is render.Format.JSON:
        sums = {"states": found.states, "actions": found.actions, "missed": found.missed, "spurious": found.spurious}
        render.record({**sums, "reasons": items}, form=chosen)
    else:
        render.rows("reasons", items, columns=("reason", "denied", "masked"), form=chosen)
    _note_masks(found)
    if found.missed or found.spurious:
        raise DataError(
            f"masks and limits disagree {found.missed + found.spurious:,} times, first at {found.first}",
            hint="a policy is offered what its guard will refuse, or kept from what it may do",
        )


def _tapes(
    context: typer.Context,
    sessions: str | None,
    paths: list[Path] | None,
    markets: list[str] | None,
    source: str,
    world: str | None,
    seed: int,
) -> list[Tape]:
    if world is None:
        return load_tapes(context, sessions, paths, markets, source=source)
    from kflow.errors import UsageError
    from kflow.rl.worlds import make_tapes

    if sessions is not None or paths or markets:
        raise UsageError("--world makes markets up, and others are named too", hint="give one of them")
    return make_tapes(world, _MARKETS, seed=seed)


def _assume(tape: Tape) -> Assumptions:
    from kflow.replay.tapes import fees_of
    from kflow.sim.fills import Assumptions

    return Assumptions(fees=fees_of(tape)[0])


def _dataset(tapes: Sequence[Tape]) -> Dataset:
    from kflow.rl.dataset import build

    return build(tapes, _assume)


def _leaks_line(check: str, found: Leaks) -> dict[str, Any]:
    return {
        "check": check,
        "decisions": found.decisions or found.rows,
        "numbers": found.numbers,
        "most": found.most,
        "where": ", ".join(found.differences),
        "passed": not found.differences,
    }


def _warm_line(warm: Warm, is_cold: bool) -> dict[str, Any]:
    return {
        "check": f"{warm.seconds} s after a beginning",
        "decisions": warm.decisions,
        "numbers": warm.numbers,
        "most": warm.most,
        "where": warm.feature,
        "passed": not is_cold if warm.counts else None,
    }


def _differences(found: Leaks) -> str:
    return "; ".join(
        f"{what} ({each.times:,} times, by {each.most:.3g} at most, first {each.first})"
        for what, each in found.differences.items()
    )


def _told(found: Leaks) -> dict[str, Any]:
    return {
        "cuts": found.cuts,
        "decisions": found.decisions,
        "rows": found.rows,
        "numbers": found.numbers,
        "most": found.most,
        "differences": {
            what: {"times": each.times, "most": each.most, "first": each.first}
            for what, each in found.differences.items()
        },
    }


def _note_known(tapes: Sequence[Tape], warm: Sequence[Warm]) -> None:
    from kflow.replay.stretches import INFERRED
    from kflow.rl.warmup import TOLERANCE

    render.note(f"after a beginning {TOLERANCE:g} is allowed, of flows as a share of the largest since")
    if not warm:
        render.note("no stretch is long enough to ask when its recording began")
    inferred = sum(tape.facts.get("trades") == INFERRED for tape in tapes)
    if inferred:
        render.note(
            f"WARNING: on {inferred:,} of {len(tapes):,} tapes trades are inferred from the ticker that followed them: "
            "which removals were trades is known there earlier than it was to anybody"
        )


def _note_masks(found: Masks) -> None:
    denied, masked = sum(found.denied.values()), sum(found.masked.values())
    render.note(
        f"{found.states:,} states, {found.actions:,} actions: {denied:,} denied, {masked:,} of them masked; "
        f"{found.spurious:,} masked that are allowed"
    )
