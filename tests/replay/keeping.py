"""What the tests of archives, backups and removal share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from kflow.replay import prune
from kflow.replay.archive import archive
from kflow.store import sessions
from kflow.store.postgres import Connection
from kflow.store.storage import STREAM

from .conftest import T0_NS, Flow, Script, Stored

Store = Callable[..., Stored]
LATER_NS = T0_NS + 40 * sessions.DAY_NS


def script(*, start_ns: int = T0_NS) -> Script:
    """Two connections; on the first the venue counts anew in mid-stream; a frame that is of no kind."""
    flow = Flow(4, start_ns=start_ns)
    frames = flow.take(200)
    flow.seq = 0
    frames += [flow.delta() for _ in range(70)] + [flow.snapshot(market) for market in flow._markets]
    frames += [flow.delta() for _ in range(50)] + [b'{"type":"odd","sid":9}']
    return Script([frames, Flow(2, start_ns=start_ns).take(300)], start_ns=start_ns)


def small(*, start_ns: int = T0_NS) -> Script:
    return Script([Flow(1, start_ns=start_ns).take(40)], start_ns=start_ns)


def rows_of(conn: Connection, table: LiteralString, session: int | None = None) -> list[str]:
    """Every column of every row, in an order of its own."""
    which = sql.SQL("" if session is None else " WHERE session_id = {}").format(sql.Literal(session))
    return sorted(str(row) for row in conn.execute(sql.SQL("SELECT * FROM {}{}").format(sql.Identifier(table), which)))


def stream_of(conn: Connection, session: int) -> dict[str, list[str]]:
    return {table: rows_of(conn, table, session) for table in STREAM.values()}  # type: ignore[misc]


def archived(conn: Connection, number: int, out: Path) -> Path:
    [done] = archive(conn, [number], out)
    return done.folder


def pruned(conn: Connection, *numbers: int, without_copy: bool = False) -> prune.Pruned:
    """All of these, which nothing may keep."""
    planned = prune.plan(conn, numbers, now_ns=LATER_NS, without_copy=without_copy)
    assert planned.staying == ()
    return prune.prune(conn, planned)


def kept_for(conn: Connection, number: int) -> list[str]:
    """Why a session has to stay."""
    planned = prune.plan(conn, [number], now_ns=LATER_NS)
    [one] = [*planned.going, *planned.staying]
    assert (one in planned.staying) == bool(one.keep)
    return one.keep


def flip(path: Path) -> None:
    """One bit in the middle of a file is another."""
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def partitions(conn: psycopg.Connection[tuple[object, ...]]) -> set[str]:
    return {str(row[0]) for row in conn.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relispartition")}
