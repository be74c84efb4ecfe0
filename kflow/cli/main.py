"""The `kflow` command: its commands, its global options, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

import kflow
from kflow.cli.lazy import Mount, lazy_group, new_app
from kflow.errors import ConfigError, KflowError

MOUNTS = {
    "init": Mount("kflow.cli.init:init", "Write kflow.toml: every setting with its meaning."),
    "ingest": Mount("kflow.cli.ingest:ingest", "Record order books, trades and tickers of any number of markets."),
    "watch": Mount("kflow.cli.watch:watch", "Show a running recorder live: ladder, rates, lag, gaps."),
    "replay": Mount("kflow.cli.replay:app", "Give recorded sessions back: verify, export, serve."),
    "simulate": Mount("kflow.cli.simulate:simulate", "Say what an order would have got, and how sure that is."),
    "calibrate": Mount("kflow.cli.calibrate:calibrate", "Fit the fill model to orders whose fate is known."),
    "train": Mount("kflow.cli.train:train", "Train a policy on recorded sessions."),
    "sweep": Mount("kflow.cli.sweep:app", "Try hyper-parameters on folds in time, with several seeds."),
    "rerun": Mount("kflow.cli.train:rerun", "Do a training run again, and compare its weights bit for bit."),
    "evaluate": Mount("kflow.cli.evaluate:evaluate", "Say what a policy is worth on data it never saw."),
    "report": Mount("kflow.cli.report:app", "Show an evaluation as a page, or compare two."),
    "parity": Mount(
        "kflow.cli.parity:parity",
        "Explain a live run by what the simulator says, order by order.",
    ),
    "tape": Mount("kflow.cli.tape:app", "Recordings as the simulator reads them: build, info."),
    "audit": Mount("kflow.cli.audit:app", "Check training for leaks, dull features and open masks."),
    "models": Mount("kflow.cli.models:app", "List, promote, export and verify trained models."),
    "offpolicy": Mount("kflow.cli.offpolicy:app", "Estimate a new policy from an old one's log."),
    "actor": Mount("kflow.cli.actor:app", "Trade: run a policy on live books, see how it is, arm it again."),
    "sessions": Mount("kflow.cli.sessions:app", "List and show recorded sessions."),
    "kill": Mount("kflow.cli.kill:kill", "Halt the actor and cancel its orders, now."),
    "health": Mount("kflow.cli.health:health", "Ask a running recorder how it is."),
    "exchange": Mount("kflow.cli.exchange:app", "Serve a local exchange that speaks Kalshi's wire."),
    "db": Mount("kflow.cli.db:app", "Upgrade and inspect the database."),
    "config": Mount("kflow.cli.config:app", "Show and check the settings."),
    "doctor": Mount("kflow.cli.doctor:doctor", "Check this machine, and say how to mend what is wrong."),
    "help": Mount("kflow.cli.topics:topic", "Explain a topic, for example: kflow help exit-codes."),
}

# Packages of each extra that commands import.
EXTRAS = {
    "train": ("gymnasium", "sb3_contrib", "stable_baselines3", "tensorboard", "torch"),
    "sweep": ("optuna", "ray"),
    "export": ("pyarrow",),
    "plot": ("matplotlib",),
}

app = new_app(
    cls=lazy_group(MOUNTS),
    help="Record Kalshi order books without losing a message, and ask what orders would have got in them.",
    no_args_is_help=True,
    add_completion=True,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"kflow {kflow.__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="PATH", help="Settings file. Else KFLOW_CONFIG or ./kflow.toml.")
    ] = None,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, show_default=False, help="Say more on stderr.")
    ] = 0,
    quiet: Annotated[
        int, typer.Option("-q", "--quiet", count=True, show_default=False, help="Say less on stderr.")
    ] = 0,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. Also: KFLOW_DEBUG=1.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    from kflow.cli import logs

    logs.configure(verbose - quiet)
    context.obj = {"config": config}


def main() -> None:
    """Run the command line of this process and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code (see kflow.cli.exitcodes).

    `--debug` counts wherever it stands, and also for errors that come before the options are parsed.
    """
    _open_closed_streams()
    debug = "--debug" in arguments
    words = [word for word in arguments if word != "--debug"]
    try:
        result = get_command(app).main(words, prog_name="kflow", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        typer.echo("aborted", err=True)
        return 1
    except typer.TyperException as error:
        show: Any = getattr(error, "show", None)
        if show is None:
            typer.echo(f"error: {error.format_message()}", err=True)
        else:
            show()
        return error.exit_code
    except BrokenPipeError:
        return _reader_left()
    except OSError as error:
        if error.filename is not None or error.errno != errno.ENOSPC:
            return report(error, debug=debug)
        _reader_left()  # of a file that we opened ourselves the name is known, so it is our output
        return report(KflowError(f"cannot write the output: {error.strerror}", hint="free disk space"), debug=debug)
    except Exception as error:  # noqa: BLE001 - the one place where any failure becomes a sentence and a code
        return report(error, debug=debug)
    return result if isinstance(result, int) else 0


def report(error: BaseException, *, debug: bool) -> int:
    """Say on stderr what happened and what to do; returns the exit code."""
    from kflow.cli.logs import redact
    from kflow.settings import wants_traceback

    if debug or wants_traceback():
        import traceback

        typer.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)
    known = expected(error)
    if known is not None:
        typer.echo(redact(f"error: {known}"), err=True)
        if known.hint:
            typer.echo(redact(f"hint: {known.hint}"), err=True)
        return known.exit_code
    typer.echo(redact(f"error: {type(error).__name__}: {error}".rstrip(": ")), err=True)
    typer.echo("hint: this was not expected; kflow --debug … (or KFLOW_DEBUG=1) shows where it happened", err=True)
    return 1


def expected(error: BaseException) -> KflowError | None:
    """The error that kflow raised on purpose, if there is one; task groups wrap theirs."""
    if isinstance(error, KflowError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return _missing(error)
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(expected, error.exceptions)), None)
    return None


def _missing(error: ModuleNotFoundError) -> KflowError | None:
    """What to install where a package of an extra is not there."""
    package = (error.name or "").partition(".")[0]
    extra = next((name for name, packages in EXTRAS.items() if package in packages), None)
    if extra is None:
        return None
    return ConfigError(f"this needs {package}, which is not installed", hint=f"pip install 'kflow[{extra}]'")


def _open_closed_streams() -> None:
    """A stream that our caller closed (`kflow … >&-`) swallows what is written to it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - to the end


def _reader_left() -> int:
    """The program that read our output ended first (`kflow sessions ls | head`): say nothing more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
