"""What each exit code of kflow means. docs/exit-codes.md and `kflow help exit-codes` are made from it."""

from __future__ import annotations

from typing import NamedTuple


class ExitCode(NamedTuple):
    """One code, its short name, and when a command ends with it."""

    code: int
    name: str
    meaning: str


EXIT_CODES = (
    ExitCode(0, "ok", "Done. A recorder that was asked to stop (Ctrl-C or SIGTERM) and drained in time ends so too."),
    ExitCode(1, "unexpected", "Something kflow did not expect. --debug shows where."),
    ExitCode(2, "usage", "The command line asks for something that cannot be, or for an unknown ticker."),
    ExitCode(3, "config", "A setting, key file, clock or schema version does not fit."),
    ExitCode(4, "database", "PostgreSQL is unreachable, refuses, or failed."),
    ExitCode(5, "venue", "The exchange is unreachable or refuses, or our own port is taken."),
    ExitCode(6, "data", "Data cannot be trusted: two copies differ, a journal is damaged, a recorder is unhealthy."),
    ExitCode(7, "risk", "A limit or the kill switch forbids it."),
    ExitCode(8, "locked", "Another process holds what this one needs."),
    ExitCode(9, "model", "A model is incompatible or cannot be verified."),
    ExitCode(130, "interrupted", "Ctrl-C stopped it with work left undone."),
    ExitCode(143, "terminated", "SIGTERM stopped it with work left undone."),
)
