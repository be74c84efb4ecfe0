"""`kflow actor`: trade on paper, on a local exchange, on demo, and only then for money."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings
from kflow.cli.lazy import new_app
from kflow.cli.models import is_path

if TYPE_CHECKING:
    from kflow.act.service import Service
    from kflow.policy.bundle import Bundle
    from kflow.settings import Settings
    from kflow.supervisor import Supervisor

app = new_app(help="Trade: run a policy on live books, see how it is, arm it again.")
_TYPED = "trade for money"


@app.command()
def run(
    context: typer.Context,
    market: Annotated[
        list[str] | None, typer.Option("--market", metavar="TICKER", help="Market, event or series; may be repeated.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="rl_model, hardcoded:join, module:Class [actor.strategy].")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="name:version of the registry, or a model's files.")
    ] = None,
    venue: Annotated[
        str | None,
        typer.Option("--venue", help="paper: filled by the simulator; exchange: orders leave [actor.venue]."),
    ] = None,
    limits: Annotated[Path | None, typer.Option("--limits", metavar="FILE", help="Limits file [actor.limits].")] = None,
    enable: Annotated[bool, typer.Option("--enable", help="As RL_ACTOR_ENABLED=true.")] = False,
    duration: Annotated[float | None, typer.Option("--duration", metavar="S", help="Stop after so long.")] = None,
    fills: Annotated[str, typer.Option("--fills", help="Of paper: queue, queue-pessimistic, …")] = "queue",
    latency: Annotated[str, typer.Option("--latency", help="Of paper: home, none, or ms: 50/50/20.")] = "home",
    cash: Annotated[float, typer.Option("--cash", metavar="DOLLARS", help="Of paper.")] = 1000.0,
    live: Annotated[bool, typer.Option("--live", help="Needed for production: real money.")] = False,
    yes_live: Annotated[bool, typer.Option("--yes-live", help="Do not ask. Needed where nobody can be asked.")] = False,
    as_json: render.JsonOption = False,
) -> None:
    """Run a policy on live books until stopped.

    Off unless enabled; bounded by limits; reconciled with the venue. To stop at once, from anywhere: kflow kill

    Signals: TERM and INT end it in order, USR1 halts it as a kill does, HUP reads the limits anew, and lowers them.
    """
    import asyncio

    from kflow import trade as trading
    from kflow.errors import UsageError
    from kflow.supervisor import Supervisor

    supervisor = Supervisor.of_environment()
    form = render.chosen(None, as_json)
    settings = _settings(load_settings(context), market, strategy, venue, limits, enable)
    if not settings.actor.enabled:
        raise UsageError("the actor is disabled", hint="RL_ACTOR_ENABLED=true, or --enable")
    trading.require_live(settings, live=live)
    _confirm(settings, live, yes_live)
    bundle = _bundle(settings, model)
    options = trading.Options(bundle=bundle, fills=fills, latency=latency, cash=round(cash * 1e6))
    if settings.actor.venue == "paper":
        _compile(supervisor, fills, latency)
    report = asyncio.run(_until_stopped(settings, options, duration, supervisor))
    told: dict[str, Any] = {**asdict(report), "profit": report.profit / 1e6}
    render.record(told, form=form)


@app.command()
def status(context: typer.Context, form: render.FormatOption = None, as_json: render.JsonOption = False) -> None:
    """Show whether orders may leave, and how a running actor is."""
    from kflow.act.pulse import read
    from kflow.act.standing import FOLDER, StandingFile
    from kflow.clock import SystemClock
    from kflow.wiring import data_dir

    settings = load_settings(context)
    data = data_dir(settings)
    now, sign = StandingFile(data / FOLDER).now(), read(data, enabled=settings.actor.enabled, clock=SystemClock())
    markets = {name: f"{mark.standing.value}: {mark.reason}" for name, mark in now.markets.items()}
    beat = sign.beat
    render.record(
        {
            "actor": sign.status,
            "problems": "; ".join(sign.problems) or None,
            "run": None if beat is None else beat.run,
            "venue": None if beat is None else beat.venue,
            "strategy": None if beat is None else beat.strategy,
            "open_orders": None if beat is None else beat.open_orders,
            "sent": None if beat is None else beat.sent,
            "fills": None if beat is None else beat.fills,
            "standing": now.overall.standing.value,
            "reason": now.overall.reason or None,
            "since": render.when(now.overall.us * 1000) if now.overall.us else None,
            "markets": markets or None,
        },
        form=render.chosen(form, as_json),
    )


@app.command()
def arm(
    context: typer.Context,
    market: Annotated[str | None, typer.Option("--market", help="Only this one.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with it.")] = "by hand",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. Needed where nobody can be asked.")] = False,
) -> None:
    """Let orders leave again after a halt. For people: nothing arms itself."""
    from kflow.act.standing import FOLDER, StandingFile
    from kflow.clock import SystemClock
    from kflow.errors import UsageError
    from kflow.wiring import data_dir

    file = StandingFile(data_dir(load_settings(context)) / FOLDER)
    before = file.now()
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("arming has to be confirmed, and nobody can be asked here", hint="say it with --yes")
        typer.confirm(
            f"it is {before.overall.standing.value}: {before.overall.reason or 'no reason'}. Arm it?", abort=True
        )
    after = file.arm(reason, SystemClock().wall_ns() // 1000, market)
    typer.echo(f"{market or 'the actor'} is {(after.of(market) if market else after.overall).standing.value}")
    if market and after.overall.standing.value != "active":
        render.note(f"the actor as a whole is {after.overall.standing.value}: kflow actor arm")


@app.command()
def limits(
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write it, mode 0600.")] = None,
    as_json: render.JsonOption = False,
) -> None:
    """Show the limits file with every default; with -o, write it."""
    import tomllib

    from kflow.act.limits import Limits, write

    if output is None:
        text = Limits().text()
        if as_json:
            render.record(tomllib.loads(text), form=render.Format.JSON)
        else:
            typer.echo(text, nl=False)
        return
    write(output)
    render.note(f"{output} is written; name it with --limits or actor.limits")


def _settings(
    settings: Settings,
    market: list[str] | None,
    strategy: str | None,
    venue: str | None,
    limits: Path | None,
    enable: bool,
) -> Settings:
    from kflow.errors import UsageError

    if venue not in (None, "paper", "exchange"):
        raise UsageError(f"there is no venue {venue}", hint="--venue paper, or --venue exchange")
    changes: dict[str, Any] = {"enabled": settings.actor.enabled or enable}
    given = {"strategy": strategy, "venue": venue, "limits": limits}
    changes |= {name: value for name, value in given.items() if value is not None}
    settings = replace(settings, actor=replace(settings.actor, **changes))
    if market:
        settings = replace(settings, selection=replace(settings.selection, markets=tuple(market)))
    if not (settings.selection.markets or settings.selection.events or settings.selection.series):
        if settings.kalshi.environment != "local":
            raise UsageError("no market is named", hint="--market TICKER")
        from kflow.exchange.catalogue import EVENT

        settings = replace(settings, selection=replace(settings.selection, markets=(EVENT,)))
    return settings


def _confirm(settings: Settings, live: bool, yes_live: bool) -> None:
    """The typed word for real money."""
    from kflow.errors import UsageError

    if settings.actor.venue != "exchange" or settings.kalshi.environment != "production" or not live or yes_live:
        return
    if not sys.stdin.isatty():
        raise UsageError("real money has to be confirmed, and nobody can be asked here", hint="--yes-live")
    if typer.prompt(f"Orders will leave for Kalshi, for real money. Type “{_TYPED}”").strip() != _TYPED:
        raise UsageError("it was not confirmed", hint="nothing was sent")


def _bundle(settings: Settings, model: str | None) -> Bundle | None:
    """The model that decides, where one does. Raises ModelError, UsageError."""
    from kflow.policy import bundle
    from kflow.policy.features import SCHEMA
    from kflow.store import postgres, registry
    from kflow.wiring import data_dir, database

    if settings.actor.strategy != "rl_model":
        return None
    name = model or (str(settings.actor.model_path) if settings.actor.model_path else None)
    if name is None:
        return None
    if is_path(name) or Path(name).exists():
        return bundle.load(Path(name), schema=SCHEMA)
    with database(settings) as dsn, postgres.connect(dsn, autocommit=True) as conn:
        found = registry.get(conn, name)
        return registry.load(data_dir(settings), found, schema=SCHEMA)


def _compile(supervisor: Supervisor, fills: str, latency: str) -> None:
    """Have the simulator ready before orders, feed and lease wait for it."""
    from kflow.act.paper_market import warm

    supervisor.say("compiling the simulator, where it is not on disk yet")
    warm(fills, latency)


async def _until_stopped(settings: Settings, options: Any, duration: float | None, supervisor: Supervisor) -> Any:
    import asyncio
    import signal

    from kflow import trade as trading

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if duration is not None:
        loop.call_later(duration, stop.set)

    def begun(service: Service) -> None:
        loop.add_signal_handler(signal.SIGUSR1, service.kill, "SIGUSR1")
        loop.add_signal_handler(signal.SIGHUP, _lower, settings, service)

    return await trading.trade(settings, options, stop=stop, say=render.note, begun=begun, supervisor=supervisor)


def _lower(settings: Settings, service: Service) -> None:
    """SIGHUP: the limits file was changed. Only what became stricter holds before a restart."""
    from kflow.errors import KflowError
    from kflow.trade import limits_of

    try:
        looser = service.actor.lower(limits_of(settings))
    except KflowError as error:
        render.note(f"the limits stay as they are: {error}")
        return
    render.note("the limits are read anew" + "".join(f"; {each}" for each in looser))
