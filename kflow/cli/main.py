"""The `kflow` command: its commands, its global options, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

import kflow
from kflow.cli import console
from kflow.cli.lazy import Mount, lazy_group, new_app
from kflow.errors import ConfigError, KflowError

MOUNTS = {
    "demo": Mount(
        "kflow.cli.demo:demo", "See everything once, in three minutes at most: no key, no network, no settings."
    ),
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
    "db": Mount("kflow.cli.db:app", "Upgrade, measure, back up, restore, archive and prune the database."),
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

# Options of every command, wherever they stand; and those of them that a value follows.
GLOBAL = frozenset(("-v", "-vv", "-q", "-qq", "--verbose", "--quiet", "--no-color", "--debug", "--config"))
VALUED = frozenset(("--config",))
# The variable by which a shell asks how a command line may go on.
COMPLETE = "_KFLOW_COMPLETE"

app = new_app(
    cls=lazy_group(MOUNTS),
    help="Record Kalshi order books without losing a message, and ask what orders would have got in them.\n\n"
    "The options below may also stand behind a command: kflow sessions ls -q",
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
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours. Also: NO_COLOR=1.")] = False,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. Also: KFLOW_DEBUG=1.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    from kflow.cli import logs

    console.configure(colour=not no_color)
    logs.configure(verbose - quiet)
    context.obj = {"config": config}


def main() -> None:
    """Run the command line of this process and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code (see kflow.cli.exitcodes).

    `--debug` and `--no-color` count also for errors that come before the options are parsed.
    """
    _open_closed_streams()
    if (answered := _completed()) is not None:
        return answered
    debug = "--debug" in arguments
    console.configure(colour="--no-color" not in arguments)
    try:
        result = get_command(app).main(_globals_first(arguments), prog_name="kflow", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        typer.echo("aborted", err=True)
        return 1
    except typer.TyperException as error:
        return _misused(error)
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


def _completed() -> int | None:
    """Answer a shell that asks how a command line may go on; None where none does."""
    if COMPLETE not in os.environ:
        return None
    from kflow.cli import completion

    shell = completion.asked(os.environ)
    return None if shell is None else completion.answer(get_command(app), shell, os.environ)


def _globals_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with the global options, which may stand anywhere, in front."""
    first: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return [*first, *rest, word, *words]
        if word in GLOBAL or word.startswith("--config="):
            first += [word, *islice(words, int(word in VALUED))]
        else:
            rest.append(word)
    return [*first, *rest]


def _misused(error: typer.TyperException) -> int:
    """Say what is wrong with a command line, or show the help of a group that was called alone."""
    message = error.format_message()
    if "\n" in message:
        typer.echo(message, err=True)
        return error.exit_code
    for theirs, ours in (("Value error, ", ""), ("Input should be", "it should be")):
        message = message.replace(theirs, ours)
    message = message.partition(", unable to parse")[0]
    context: Any = getattr(error, "ctx", None)
    _say("error", f"{message[:1].lower()}{message[1:].rstrip('.')}")
    _say("hint", f"{'kflow' if context is None else context.command_path} --help")
    return error.exit_code


def _say(kind: str, text: str) -> None:
    """A line on stderr, `kind` in its colour; nothing secret passes."""
    from kflow.cli.logs import redact

    colour = {"error": "red", "hint": "cyan"}[kind]
    shown = console.styled(f"{kind}:", sys.stderr, fg=colour, bold=True)
    typer.echo(f"{shown} {redact(text)}", err=True, color=console.coloured(sys.stderr))


def report(error: BaseException, *, debug: bool) -> int:
    """Say on stderr what happened and what to do; returns the exit code."""
    from kflow.cli.logs import redact
    from kflow.settings import wants_traceback

    if debug or wants_traceback():
        import traceback

        typer.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)
    known = expected(error)
    if known is not None:
        _say("error", str(known))
        if known.hint:
            _say("hint", known.hint)
        return known.exit_code
    _say("error", f"{type(error).__name__}: {error}".rstrip(": "))
    _say("hint", "this was not expected; kflow --debug … (or KFLOW_DEBUG=1) shows where it happened")
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
