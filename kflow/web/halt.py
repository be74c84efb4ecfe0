"""What the recorder does of a kill: it writes the halt that every actor of its data folder reads before each order.

It has no key that trades, and asks no venue. What rests is cancelled by the actor, or by `kflow kill`.
"""

from __future__ import annotations

from typing import Any, Final

from kflow.act.pulse import DISABLED, NOT_INITIALIZED, STALE_S, Sign
from kflow.act.standing import StandingFile
from kflow.web.service import Service

_REASON: Final = 200  # characters of it that are kept
_MORE: Final = (
    "`kflow kill` cancels at the venue by itself, whether an actor runs or not, and says when nothing rests any more"
)


def halt(service: Service, said: str) -> dict[str, Any]:
    """Halt everything, and say in words what that did. Raises ConfigError where it could not be written down.

    Not in a thread: threads may all wait for a database, and this must not. It writes two small files.
    """
    text = " ".join(said.split())[:_REASON]
    reason = f"killed from the recorder: {text}" if text else "killed from the recorder"
    # By a handle of its own: one that failed to write goes on to say "halted", which would be true of nobody but us.
    StandingFile(service.standing.folder).kill(reason, service.clock.wall_ns() // 1000)
    sign = service.actor()
    return {"status": "halted", "reason": reason, "actor": sign.status, "text": _done(sign), "hint": _MORE}


def _done(sign: Sign) -> str:
    first = "The halt is written down: no order of an actor on this data folder leaves until a person arms it again."
    if sign.age_s is not None and abs(sign.age_s) <= STALE_S:
        return f"{first} The actor that runs cancels what rests of its orders within about a second."
    if sign.status in (DISABLED, NOT_INITIALIZED):
        return (
            f"{first} None runs here that could cancel orders: if some may rest, run kflow kill. "
            "An actor with a data folder of its own was not halted: kill that one where it runs."
        )
    return f"{first} The actor gives no sign of life, so what rests of its orders stays: run kflow kill."
