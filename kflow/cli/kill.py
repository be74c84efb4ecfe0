"""`kflow kill`: halt the actor, and cancel what rests of it, without its help."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from kflow.cli import render
from kflow.cli.invocation import load_settings

if TYPE_CHECKING:
    from kflow.act.kill import Known, Report
    from kflow.act.standing import StandingFile
    from kflow.kalshi.auth import ApiKey
    from kflow.settings import Settings

DEADLINE_S: Final = 10.0
_READS: Final = 2  # how often a read is tried before the next step is
_COLUMNS: Final = ("order", "market", "why")


class _Wish(NamedTuple):
    everything: bool
    reason: str
    deadline_s: float


def kill(
    context: typer.Context,
    everything: Annotated[
        bool, typer.Option("--everything", help="Cancel every order of the account, whoever placed it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --everything.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept until a person arms again.")] = "kflow kill",
    deadline: Annotated[
        float, typer.Option("--deadline", metavar="SECONDS", min=0, help="How long to try until none rests.")
    ] = DEADLINE_S,
    env: Annotated[str | None, typer.Option(metavar="local|demo|production", help="At which venue.")] = None,
    exchange: Annotated[str | None, typer.Option(metavar="URL", help="A running local exchange.")] = None,
    form: render.FormatOption = None,
    as_json: render.JsonOption = False,
) -> None:
    """Halt the actor and cancel its orders, now. Exit 0 only where none of them rests any more.

    Writes the halt, triggers the order groups, cancels what is left of our orders, and asks the venue until it shows
    none. The halt lasts until a person arms the actor again. Works whether the actor runs or not.
    """
    from kflow.act.kill import Report, ever_ran
    from kflow.act.standing import FOLDER, StandingFile
    from kflow.clock import SystemClock
    from kflow.errors import KflowError
    from kflow.wiring import data_dir

    chosen = render.chosen(form, as_json)
    settings = load_settings(context, {"kalshi.environment": env, "kalshi.exchange": exchange})
    folder = data_dir(settings) / FOLDER
    ran = ever_ran(folder)
    if not ran:
        render.note(f"no actor ever ran on {folder.parent}")
    standing = StandingFile(folder)
    try:
        standing.kill(reason, SystemClock().wall_ns() // 1000)  # before anything else that may fail
        halted = True
    except KflowError as error:
        render.note(str(error))
        halted = False
    if everything and not yes:
        _ask(settings.kalshi.environment)
    if not ran and not everything and _nothing_known(settings):
        report = Report(settings.kalshi.environment, flat=True, halted=halted)
    else:
        report = _killed(settings, standing, _Wish(everything, reason, deadline), halted)
    if chosen is render.Format.TABLE:
        _show(report)
    else:
        render.record(report.document(), form=chosen)
    _judge(report)


def _ask(venue: str) -> None:
    if not sys.stdin.isatty():
        from kflow.errors import UsageError

        raise UsageError(
            "halted; cancelling everything has to be confirmed, and nobody can be asked here", hint="say it with --yes"
        )
    typer.confirm(f"Halted. Cancel every order of the account at {venue}, whoever placed it?", abort=True, err=True)


def _killed(settings: Settings, standing: StandingFile, wish: _Wish, halted: bool) -> Report:
    """Do it. Raises KflowError where the venue cannot be asked, though something may rest there."""
    import asyncio

    from kflow.act.kill import Groups, Report
    from kflow.errors import KflowError
    from kflow.wiring import venue

    name = settings.kalshi.environment
    known = _reader(settings, name)
    try:
        groups = Groups(standing.folder).of(name)
    except KflowError as error:
        render.note(f"{error}; orders are cancelled one by one")
        groups = []
    try:
        there, key = venue(settings), _key(settings)
    except KflowError:
        if wish.everything or groups or not _nothing_known(settings):
            raise
        return Report(name, flat=True, halted=halted)

    async def run() -> Report:
        from kflow.act.kalshi import KalshiVenue
        from kflow.act.kill import kill as stop
        from kflow.clock import SystemClock
        from kflow.kalshi.rest import Retries
        from kflow.kalshi.trading import TradingClient

        clock = SystemClock()
        async with TradingClient(there, clock=clock, key=key, retries=Retries(attempts=_READS)) as client:
            asked = KalshiVenue(client, {})
            return await stop(asked, standing, groups, known, clock=clock, **wish._asdict())

    return asyncio.run(run())


def _key(settings: Settings) -> ApiKey:
    """The actor's own key, else the recorder's. Raises CredentialError where there is none."""
    from kflow.errors import CredentialError
    from kflow.kalshi.auth import ApiKey
    from kflow.kalshi.environments import Environment
    from kflow.wiring import api_key

    key_id, path = settings.actor.key_id, settings.actor.private_key_path
    if key_id and path:
        return ApiKey.load(key_id, path, environment=Environment(settings.kalshi.environment))
    key = api_key(settings)
    if key is None:
        raise CredentialError(
            "the actor is halted; without a key its orders cannot be cancelled",
            hint="set actor.key_id and actor.private_key_path, or cancel the orders on the venue's site",
        )
    return key


def _nothing_known(settings: Settings) -> bool:
    """Whether every order that was ever written down is over. Raises DatabaseError."""
    from kflow.act.orders import ENDS

    return all(order.state in ENDS for order in _reader(settings, settings.kalshi.environment)().values())


def _reader(settings: Settings, venue: str) -> Callable[[], Mapping[str, Known]]:
    """Reads the orders that were written down; a database that was never made has none."""

    def known() -> Mapping[str, Known]:
        from kflow.act.kill import stored
        from kflow.clock import SystemClock
        from kflow.store import postgres
        from kflow.wiring import data_dir, database, database_url

        if database_url(settings) is None and not Path(data_dir(settings) / "database").exists():
            return {}
        with (
            database(settings, any_schema=True) as dsn,
            postgres.connect(dsn, application_name="kflow kill", connect_timeout_s=2, autocommit=True) as conn,
        ):
            return stored(conn, venue, SystemClock().wall_ns())

    return known


def _show(report: Report) -> None:
    render.text(report.sentence)
    if report.others:
        render.text(f"{report.others} orders of others rest there and were left alone")
    for problem in report.problems:
        render.note(problem)
    if report.left:
        render.rows("left", [one._asdict() for one in report.left], columns=_COLUMNS, form=render.Format.TABLE)


def _judge(report: Report) -> None:
    from kflow.errors import ConfigError, VenueError

    if not report.flat:
        raise VenueError(
            f"not verified flat at {report.venue}: {len(report.left)} left",
            hint="run kflow kill again, or cancel on the venue's site; ours end there by themselves within minutes",
        )
    if not report.halted:
        raise ConfigError(
            "nothing rests, but the halt could not be written: an actor that runs may place orders again",
            hint="stop the actor's process; free disk space or mend the data folder, then run kflow kill again",
        )
