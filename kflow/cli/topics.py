"""`kflow help TOPIC`: what does not belong to a single command."""

from __future__ import annotations

from typing import Annotated

import typer

from kflow.cli.exitcodes import EXIT_CODES
from kflow.errors import UsageError


def _exit_codes() -> str:
    lines = [f"{entry.code:>4}  {entry.name:<12} {entry.meaning}" for entry in EXIT_CODES]
    return "How a kflow command ends:\n\n" + "\n".join(lines)


def _settings() -> str:
    from kflow.settings import declared

    lines = ["Where settings come from: flags, then the environment, then kflow.toml, then defaults.", ""]
    for item in declared():
        unit = f" [{item.unit}]" if item.unit else ""
        lines += [f"{item.key}{unit}: {item.about}", f"    {', '.join(item.env)}"]
    return "\n".join(lines)


FAULT_KINDS = {
    "drop": "count frames take their seq and are not sent",
    "duplicate": "a frame is sent count times more",
    "reorder": "count frames are sent in the opposite order",
    "cut": "the connection is reset; for seconds handshakes get 503",
    "close": "the connection is closed with code",
    "black_hole": "nothing is read or written any more, for seconds, and the socket stays open",
    "silent": "for seconds only pings go on",
    "malformed": "a frame is damaged as variant says",
    "oversized": "a frame of size_mib goes before the real one",
    "unknown_type": "a frame of an unknown type goes before the real one",
    "negative": "a delta that would leave less than nothing",
    "crossed": "a delta that crosses the book",
    "off_grid": "a delta at a price the market does not have",
    "delta_before_snapshot": "a first snapshot is left out",
    "error": "the subscription ends with code 25 or 10",
    "unanswered": "a command is neither carried out nor answered",
    "refuse_upgrade": "the handshake gets status 401, 429 or 503",
    "slow_upgrade": "the handshake is answered after seconds",
    "late_ack": "a request is carried out; its frames go out at once, the answer after seconds",
    "fill_first": "a request is carried out; its frames go out before the answer",
    "lost_ack": "a request has no answer: the connection is reset or closed, as variant says",
    "http_error": "a request is answered with status 429, 500, 502, 503 or 504",
    "no_order": "a request is answered with success, and an empty object",
    "html": "a request is answered with a page, and status 200 or 502",
    "content_type": "the true answer to a request is called text/html",
    "deprecated": "a request is answered as if its endpoint were retired (410)",
    "pause": "trading pauses for seconds, or the exchange, as variant says",
    "close_early": "the market closes",
    "retick": "the market has the prices of another structure",
    "outside_order": "somebody else takes count contracts of side for the first user",
}

_FAULTS = """What a fault script of kflow exchange serve --fault SCRIPT may say, as TOML:

[[fault]]
kind = "drop"        # what goes wrong, see below
after_frames = 1000  # not before so many hits of its kind
every = 5000         # then again at every so many; times = N limits it
count = 3            # how much of it

Also: at_s (seconds from the first connection or request), connection, channel, market (only there), code, seconds,
status, size_mib, variant, command (of a request: create, cancel, amend, ..., or a pattern such as "GET /portfolio/*"),
accepted (the request is carried out all the same), structure, side.
"""


def _faults() -> str:
    width = max(map(len, FAULT_KINDS))
    return _FAULTS + "\n" + "\n".join(f"{kind:<{width}}  {about}" for kind, about in FAULT_KINDS.items())


TOPICS = {"exit-codes": _exit_codes, "settings": _settings, "faults": _faults}


def topic(
    name: Annotated[str, typer.Argument(metavar="[TOPIC]", help=f"One of: {', '.join(TOPICS)}.")] = "",
) -> None:
    """Explain a topic, for example: kflow help exit-codes."""
    if not name:
        typer.echo("topics: " + ", ".join(TOPICS) + "\nkflow COMMAND --help explains a command")
        return
    if name not in TOPICS:
        raise UsageError(f"there is no help topic {name}", hint=f"topics: {', '.join(TOPICS)}")
    typer.echo(TOPICS[name]())
