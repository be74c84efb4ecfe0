"""Rows a second into an archive, out of it, into a backup and out of that; and what each takes on the disk.

    python bench/archive.py [--quick]

One session of made-up deltas on an embedded PostgreSQL. Archiving reads the rows, writes them, reads them back and
compares the digests; bringing back begins with every file's hash. `ratio`: bytes of table, indexes and journal for each
byte of the archive.
"""

from __future__ import annotations

import itertools
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import measure
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kflow.market.times import format_rfc3339_us
from kflow.record.session import write_card
from kflow.record.writer import SessionWriter, load_journal
from kflow.replay import prune, restore
from kflow.replay.archive import archive
from kflow.replay.backup import backup
from kflow.replay.verify import verify
from kflow.store import sessions, storage
from kflow.store.embedded import EmbeddedServer
from kflow.store.journal import JournalWriter, RecordKind
from kflow.store.journal_reader import JournalReader
from kflow.store.migrate import upgrade
from kflow.store.postgres import Connection
from kflow.store.sessions import NewSession

START_NS = 1_735_862_400_000_000_000
MARKETS = tuple(f"INXD-25JAN03-B{5800 + 25 * n}" for n in range(20))


def main() -> None:
    parser = measure.arguments(__doc__ or "", full=5, quick=2)
    options = parser.parse_args()
    deltas = 50_000 if options.quick else 500_000
    with tempfile.TemporaryDirectory(prefix="kflow-bench-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        folder.chmod(0o711)  # where this runs as root, the server's own user must reach its files
        (folder / "data").mkdir(mode=0o711)
        with EmbeddedServer.acquire(folder / "data") as server, psycopg.connect(server.dsn, autocommit=True) as conn:
            upgrade(conn)
            rows = record(conn, folder / "data" / "journal", deltas)
            conn.execute("VACUUM ANALYZE")
            Bench(conn, server, folder, rows).run(measure.repeats(options))


class Bench:
    """What is measured, over and over on one session."""

    def __init__(self, conn: Connection, server: EmbeddedServer, folder: Path, rows: int) -> None:
        self.conn, self.server, self.folder, self.rows = conn, server, folder, rows
        self.data = folder / "data"
        self.numbers = itertools.count(1)
        self.archive_folder = self.backup_folder = folder

    def run(self, repeats: int) -> None:
        sizes = storage.session_sizes(storage.table_sizes(self.conn), sessions.list_sessions(self.conn), {})
        table, journal = sizes[0].table_bytes, sizes[0].journal_bytes or 0
        digest = verify(self.conn, 1).digest_tables
        self.archive()
        self.backup()
        cases = {
            "verify": self.verify, "archive": self.archive, "backup": self.backup,
            "prune and bring back": self.bring_back, "restore all": self.restore,
        }  # fmt: skip
        medians = measure.alternate(cases, repeats, warm_up=False)
        assert verify(self.conn, 1).digest_tables == digest
        kept = {
            name: taken(place) for name, place in (("archive", self.archive_folder), ("backup", self.backup_folder))
        }
        measure.report(
            "archive", medians, (table + journal) / kept["archive"], packages=("pyarrow", "psycopg"), rows=self.rows,
            table_bytes=table, journal_bytes=journal, archive_bytes=kept["archive"], backup_bytes=kept["backup"],
        )  # fmt: skip

    def verify(self) -> int:
        assert verify(self.conn, 1).equal
        return self.rows

    def archive(self) -> int:
        self.archive_folder = self.folder / f"archive-{next(self.numbers)}"
        [done] = archive(self.conn, [1], self.archive_folder)
        assert done.state == "written"
        return self.rows

    def backup(self) -> int:
        self.backup_folder = backup(self.conn, self.data, self.folder / f"backups-{next(self.numbers)}").folder
        return self.rows

    def bring_back(self) -> int:
        planned = prune.plan(self.conn, [1], now_ns=time.time_ns())
        prune.prune(self.conn, planned)
        restore.restore_session(self.conn, self.data, self.archive_folder, 1)
        return self.rows

    def restore(self) -> int:
        name = f"restored_{next(self.numbers)}"
        self.conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        with psycopg.connect(make_conninfo(self.server.dsn, dbname=name), autocommit=True) as other:
            restore.restore(other, self.folder / name, self.backup_folder)
        self.conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        return self.rows


def taken(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def record(conn: Connection, root: Path, deltas: int) -> int:
    """A session of frames as the venue writes them, its journal loaded as `kflow ingest` loads it; how many rows."""
    uuid = uuid4()
    card = NewSession(
        uuid=uuid, started_ns=START_NS, environment="local", use_yes_price=False, sample_rate=1, kflow_version="0.1.0",
        host="bench", journal_dir=str(root / str(uuid)), selection={},
    )  # fmt: skip
    journal = JournalWriter(root / str(uuid), uuid)
    write_card(root / str(uuid), card)
    journal.append_record(RecordKind.CONNECTED, 1, START_NS, START_NS, b'{"url":"ws://127.0.0.1:1/"}')
    now = START_NS
    frames = made_up(deltas)
    while chunk := list(itertools.islice(frames, 50)):
        now += 5_000_000
        journal.append_frames(1, now, now, chunk)
    journal.append_record(RecordKind.DISCONNECTED, 1, now, now, b'{"reason":"the end"}')
    journal.close()
    number = sessions.create_session(conn, card)
    load_journal(SessionWriter(conn, number), JournalReader(root / str(uuid)))
    sessions.close_session(conn, number, now)
    [summary] = sessions.list_sessions(conn)
    return summary.deltas + summary.snapshots + summary.frames


def made_up(deltas: int) -> Iterator[bytes]:
    """Books that only grow and empty levels, told as the venue tells them."""
    chance = random.Random(1)
    yield b'{"type":"subscribed","id":1,"msg":{"channel":"orderbook_delta","sid":1}}'
    seq = 0
    for market in MARKETS:
        seq += 1
        body = {
            "market_ticker": market,
            "yes_dollars_fp": [["0.4000", "100.00"]],
            "no_dollars_fp": [["0.5000", "9.00"]],
        }
        yield json.dumps({"type": "orderbook_snapshot", "sid": 1, "seq": seq, "msg": body}).encode()
    sizes: dict[tuple[str, str, int], int] = {}
    for _ in range(deltas):
        seq += 1
        key = (chance.choice(MARKETS), chance.choice(("yes", "no")), chance.randrange(1, 40))
        before = sizes.get(key, 0)
        change = -before if before and chance.random() < 0.4 else chance.randrange(1, 2000)
        sizes[key] = before + change
        stamp = format_rfc3339_us(START_NS // 1000 + seq * 1000)
        body = {
            "market_ticker": key[0], "price_dollars": f"0.{key[2]:02}00", "delta_fp": f"{change / 100:.2f}",
            "side": key[1], "ts": stamp,
        }  # fmt: skip
        yield json.dumps({"type": "orderbook_delta", "sid": 1, "seq": seq, "msg": body}).encode()


if __name__ == "__main__":
    main()
