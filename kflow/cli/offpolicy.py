"""`kflow offpolicy`: what a new policy would have earned where an old one traded, from the old one's log."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kflow.cli import render
from kflow.cli import training_options as options
from kflow.cli.lazy import new_app
from kflow.cli.tapes import FromOption, MarketOption, SessionsOption, SourceOption

if TYPE_CHECKING:
    from kflow.evaluate.offpolicy.log import Log
    from kflow.evaluate.offpolicy.verdict import Verdict
    from kflow.policy.bundle import Bundle
    from kflow.rl.dataset import Dataset
    from kflow.rl.plan import Source
    from kflow.sim.assume import Chosen

app = new_app(help="Estimate a new policy from an old one's log.")

_COLUMNS: Final = ("estimate", "profit", "error", "low", "high", "against_old", "against_low", "against_high")
_EACH_MOST: Final = 100_000

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="name:version, its number, or a model's files.")]
WorldSeed = Annotated[int, typer.Option("--world-seed", min=0, help="Of --world: other than that trained on.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Of every draw.")]
TemperatureOption = Annotated[
    float, typer.Option("--temperature", metavar="X", help="Above 1 is bolder; 0 takes the likeliest action.")
]


@app.command()
def log(
    context: typer.Context,
    model: ModelArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="FILE.npz and FILE.json are written.")],
    sessions: SessionsOption = None,
    paths: FromOption = None,
    market: MarketOption = None,
    source: SourceOption = "tables",
    world: options.World = None,
    markets: options.Markets = 40,
    world_seed: WorldSeed = 1,
    episode: options.Episode = "10s",
    episodes: Annotated[
        int, typer.Option("--episodes", metavar="N", min=1, max=_EACH_MOST, help="At most, spread evenly over time.")
    ] = 1_000,
    temperature: TemperatureOption = 1.0,
    epsilon: Annotated[
        float,
        typer.Option("--epsilon", metavar="SHARE", help="Of decisions: any allowed action is as likely."),
    ] = 0.05,
    seed: Seed = 0,
    fills: options.Model = "queue",
    calibration: options.Calibration = None,
    latency: options.Latency = "home",
    ruin: options.Ruin = 0.1,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Play a model by its chances on recorded sessions, and keep what it saw, could do, did and got.

    For example: kflow offpolicy log ppo:1 --sessions 41-44 --episode 10s --out old
    """
    from kflow.errors import UsageError
    from kflow.evaluate.offpolicy.record import record
    from kflow.evaluate.offpolicy.soft import Soft
    from kflow.rl.given import microseconds
    from kflow.rl.heldout import pick

    chosen = render.chosen(form, as_json)
    picked = _picked(fills, latency, calibration)
    bundle = _bundle(context, model)
    policy = Soft(network=bundle.network, temperature=temperature, epsilon=epsilon)
    taken = [path for path in (out.with_suffix(".npz"), out.with_suffix(".json")) if path.exists()]
    if taken:
        raise UsageError(f"{taken[0]} is there already", hint="choose another --out, or remove it")
    whence = _source(sessions, paths, market, source, world, markets, world_seed)
    every_us = bundle.card.decision_interval_us
    dataset = _dataset(context, whence, picked, every_us)
    rows = max(microseconds(episode) // every_us, 1)
    listed = pick(dataset, range(len(dataset.spans)), rows, episodes)
    card = _card(bundle, policy.told(), seed, picked, whence, dataset, ruin)
    with render.progress("log", sum(one.last - one.first for one in listed), unit="decisions") as advance:
        columns = record(policy, dataset, card.setup(), listed, _rows(dataset, card), seed=seed, progress=advance)
    _keep(out, card, columns, chosen)


@app.command()
def estimate(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="LOG", help="What kflow offpolicy log wrote.")],
    model: ModelArgument,
    temperature: TemperatureOption = 1.0,
    epsilon: Annotated[float, typer.Option("--epsilon", metavar="SHARE", help="As of kflow offpolicy log.")] = 0.0,
    rollouts: Annotated[
        int, typer.Option("--rollouts", metavar="N", min=0, max=1_000, help="Of each decision; 0: no simulator.")
    ] = 4,
    sessions: SessionsOption = None,
    paths: FromOption = None,
    market: MarketOption = None,
    source: SourceOption = "tables",
    fills: Annotated[str | None, typer.Option("--model", help="Fill model of the simulator [the log's].")] = None,
    calibration: options.Calibration = None,
    latency: Annotated[str | None, typer.Option("--latency", help="Of the simulator [the log's].")] = None,
    seed: Seed = 0,
    in_sample: Annotated[
        bool, typer.Option("--in-sample", help="Also on what it was trained on, and stamp the result.")
    ] = False,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Say what a model would have earned where the log was written, and how sure that is.

    Where the log says too little, or never did what the model does, it says so and ends with exit 6.

    For example: kflow offpolicy estimate old.npz ppo:2
    """
    from kflow.errors import UsageError
    from kflow.evaluate.offpolicy import fits, verdict
    from kflow.evaluate.offpolicy.log import load
    from kflow.evaluate.offpolicy.soft import Soft

    chosen = render.chosen(form, as_json)
    written = load(file)
    bundle = _bundle(context, model)
    fits.check_fits(written, bundle.card)
    written, seen = _unseen(written, bundle, in_sample)
    policy = Soft(network=bundle.network, temperature=temperature, epsilon=epsilon)
    weighed = verdict.weighed(written, policy)  # refuses before tapes are read
    dataset, assumed = None, None
    if rollouts:
        given = any((sessions, paths, market))
        whence = _source(sessions, paths, market, source, None, 0, 0) if given else written.card.source
        if whence is None:
            raise UsageError(
                "the log does not say where its tapes are", hint="name them: --sessions or --from; or --rollouts 0"
            )
        picked = _of_log(written, fills, latency, calibration)
        dataset = _dataset(context, whence, picked, written.card.every_us)
        assumed = {
            "fills": picked.model.name,
            "latency": picked.latency.name,
            "calibration": picked.calibration,
            "rollouts": rollouts,
        }
    with render.progress("estimate", len(written.decisions.action), unit="decisions") as advance:
        found = verdict.estimate(weighed, dataset, rollouts=max(rollouts, 1), seed=seed, progress=advance)
    old = written.card.policy
    whole = {
        "log": str(file),
        "old_policy": {"model": old.model, "temperature": old.temperature, "epsilon": old.epsilon},
        "new_policy": {"model": f"{bundle.card.name}:{bundle.card.version}", **policy.told()},
        "in_sample": seen,
        "simulator": assumed,
        **verdict.told(written, found),
    }
    _show(whole, found, chosen)


def _picked(fills: str, latency: str, calibration: Path | None) -> Chosen:
    from kflow.sim.assume import choose, read_calibration

    return choose(fills, latency, None if calibration is None else read_calibration(calibration))


def _of_log(log: Log, fills: str | None, latency: str | None, calibration: Path | None) -> Chosen:
    """What is asked for; else what the log was filled by; else, for real orders, what is usual."""
    from dataclasses import replace

    found = _picked(fills or "queue", latency or "home", calibration)
    card = log.card
    if fills is None and calibration is None and card.fills is not None:
        found = replace(found, model=card.fills, calibration=card.calibration)
    if latency is None and card.latency is not None:
        found = replace(found, latency=card.latency)
    return found


def _bundle(context: typer.Context, model: str) -> Bundle:
    """Verified, and of the features that this kflow computes. Raises ModelError, UsageError."""
    from kflow.cli.invocation import load_settings
    from kflow.cli.models import is_path
    from kflow.policy import bundle
    from kflow.policy.features import SCHEMA
    from kflow.store import postgres, registry
    from kflow.wiring import data_dir, database

    if is_path(model):
        return bundle.load(Path(model), schema=SCHEMA)
    settings = load_settings(context)
    with database(settings) as dsn, postgres.connect(dsn, autocommit=True) as conn:
        return registry.load(data_dir(settings), registry.get(conn, model), schema=SCHEMA)


def _source(
    sessions: str | None,
    paths: list[Path] | None,
    market: list[str] | None,
    read: str,
    world: str | None,
    markets: int,
    world_seed: int,
) -> Source:
    from kflow.errors import UsageError
    from kflow.rl.plan import Source
    from kflow.rl.worlds import world_named

    if world is not None:
        if sessions is not None or paths:
            raise UsageError("--world and recordings name two sources", hint="give one of them")
        if markets < 1:
            raise UsageError(f"{markets} markets are none to trade on", hint="--markets 40")
        world_named(world)
        return Source(world=world, count=markets, seed=world_seed)
    files = tuple(str(path) for path in paths or ())
    return Source(sessions=sessions, files=files, markets=tuple(market or ()), read=read)


def _dataset(context: typer.Context, source: Source, picked: Chosen, every_us: int) -> Dataset:
    from kflow.cli import plans
    from kflow.replay.tapes import fees_of
    from kflow.rl.compiled import cold
    from kflow.rl.dataset import build
    from kflow.sim.fills import Assumptions
    from kflow.sim.tape import Tape

    def assume(tape: Tape) -> Assumptions:
        return Assumptions(model=picked.model, latency=picked.latency, fees=fees_of(tape)[0])

    if cold():
        render.note("the first run on this machine compiles for about a minute")
    return build(plans.read(context, source), assume, every_us=every_us)


def _card(
    bundle: Bundle,
    policy: Mapping[str, float],
    seed: int,
    picked: Chosen,
    source: Source,
    dataset: Dataset,
    ruin: float,
) -> Any:
    """What a log of this model says of itself; its account is the one that the model was trained with."""
    from datetime import UTC, datetime

    import kflow
    from kflow.evaluate.offpolicy.log import Account, Card, Drawn, Traded
    from kflow.rl.batch import LIMITS

    card = bundle.card
    spans = {(span.digest, span.market): span for span in dataset.spans}
    cash = card.assumptions.get("cash_e6")
    return Card(
        kflow_version=kflow.__version__,
        created=datetime.now(UTC),
        command=("kflow", *sys.argv[1:]),
        policy=Drawn(model=f"{card.name}:{card.version}", sha256=card.weights_sha256, seed=seed, **policy),
        actions=card.actions,
        features=card.features,
        every_us=dataset.every_us,
        account=Account(
            cash=cash if isinstance(cash, int) else int(LIMITS.cash),
            max_position=card.limits.get("max_position", int(LIMITS.max_position)),
            max_order=card.limits.get("max_order", int(LIMITS.max_order)),
            orders=card.limits.get("max_open", LIMITS.orders),
            ruin=ruin,
        ),
        fills=picked.model,
        latency=picked.latency,
        calibration=picked.calibration,
        source=source,
        markets=tuple(
            Traded(**{name: getattr(span, name) for name in Traded.__struct_fields__}) for span in spans.values()
        ),
    )


def _rows(dataset: Dataset, card: Any) -> list[int]:
    """Of each span the row of its market in the card."""
    rows = {(market.digest, market.market): number for number, market in enumerate(card.markets)}
    return [rows[span.digest, span.market] for span in dataset.spans]


def _keep(out: Path, card: Any, columns: Any, form: render.Format) -> None:
    from kflow.evaluate.offpolicy.log import Log, save

    log = save(out, Log(card, *columns))
    told = {
        "log": str(out.with_suffix(".npz")),
        "policy": log.card.policy.model,
        "episodes": len(log.episodes.steps),
        "events": len(set(log.events)),
        "decisions": len(log.decisions.action),
        "profit_per_episode": round(float(log.returns.mean()), 4),
        "sha256": log.card.sha256,
    }
    render.record(told, form=form)
    render.note(f"another policy on it: kflow offpolicy estimate {out.with_suffix('.npz')} MODEL")


def _unseen(log: Log, bundle: Bundle, in_sample: bool) -> tuple[Log, bool]:
    """What of a log the model did not see; the whole log, and that it did, where that is asked for. Else UsageError."""
    from kflow.errors import UsageError
    from kflow.evaluate.offpolicy.fits import apart, check_unseen

    try:
        check_unseen(log, bundle.card)
        kept = apart(log, bundle.card)
    except UsageError:
        if not in_sample:
            raise
        return log, True
    left = len(log.episodes.steps) - len(kept.episodes.steps)
    if left:
        render.note(f"{left:,} episodes are left out: they went on at about the time of what it was trained on")
    return kept, False


def _show(whole: Mapping[str, Any], verdict: Verdict, form: render.Format) -> None:
    """Estimates, how much they rest on, and what they come to."""
    if form is render.Format.JSON:
        render.record(whole, form=form)
        return
    lines = [{"estimate": "old policy, as played", **_line(whole["old"], {})}]
    lines += [{"estimate": item["about"], **_line(item, item["against_old"])} for item in whole["estimates"]]
    render.rows("estimates", lines, columns=_COLUMNS, form=form)
    if form is not render.Format.TABLE:
        return
    weights = verdict.weights
    render.text(
        f"\n{whole['episodes']:,} episodes of {whole['events']:,} events; where it is worst "
        f"{weights.episodes.min():.0f} episodes count, and in the end {weights.events:.0f} events"
    )
    if verdict.agreed is not None:
        render.text(f"the simulator stood where the log did at {verdict.agreed:.1%} of decisions")
    render.text(("IN SAMPLE. " if whole["in_sample"] else "") + whole["sentence"])


def _line(found: Mapping[str, Any], against: Mapping[str, Any]) -> dict[str, Any]:
    names = {"against_old": "value", "against_low": "low", "against_high": "high"}
    first = {"profit": found["value"], **{name: found[name] for name in ("error", "low", "high")}}
    return first | {name: against.get(key) for name, key in names.items()}
