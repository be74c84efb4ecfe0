"""`python killable.py WHAT DSN DATA FOLDER AT`: archives, prunes, backs up or restores, and is killed at step AT.

A step is what the work tells of itself, or a file or folder that is made, renamed, linked or removed below DATA or
FOLDER. Prints how many there were, where it was not killed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psycopg

from kflow.replay import backup, prune, restore
from kflow.replay.archive import archive

LATER_NS = 1_767_225_600_000_000_000 + 40 * 86_400_000_000_000
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "open")


class Steps:
    def __init__(self, last: int, places: tuple[str, str]) -> None:
        self.count, self._last, self._places = 0, last, places

    def take(self, *_: object) -> None:
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def heard(self, event: str, arguments: tuple[object, ...]) -> None:
        """What Python tells of itself before it does it."""
        if event not in _CHANGES or not isinstance(arguments[0], str | os.PathLike):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
            return
        if os.fspath(arguments[0]).startswith(self._places):
            self.take()


def main(what: str, dsn: str, data: str, folder: str, at: str) -> None:
    steps = Steps(int(at), (data, folder))
    sys.addaudithook(steps.heard)
    with psycopg.connect(dsn, autocommit=True) as conn:
        if what == "archive":
            list(archive(conn, [1, 2], Path(folder), progress=steps.take))
        elif what == "prune":
            prune.prune(conn, prune.plan(conn, [1, 2], now_ns=LATER_NS), told=steps.take)
        elif what == "backup":
            backup.backup(conn, Path(data), Path(folder), progress=steps.take)
        elif what == "restore":
            restore.restore(conn, Path(data), Path(folder), progress=steps.take)
        elif what == "restore_session":
            restore.restore_session(conn, Path(data), Path(folder), 1, progress=steps.take)
    print(steps.count)


if __name__ == "__main__":
    main(*sys.argv[1:])
