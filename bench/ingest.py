"""Messages per second made durable: kflow against a recorder written as most would, alternating in one run.

    python bench/ingest.py [--quick]

Server, recorder and PostgreSQL are three processes on this machine; the clock runs from the first delta received to the
last row committed. Then kflow alone at 1,000 and 10,000 messages per second: time to handle a message, and from the
sender's stamp to applied beside the time from the stamp to read, which is the loopback's floor.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import measure
import psycopg
from psycopg.conninfo import make_conninfo

from kflow.store.embedded import EmbeddedServer
from kflow.store.migrate import upgrade

HERE = Path(__file__).parent
BASELINE_SHARE = 5  # the baseline gets a fifth of the messages: its rate does not depend on how many


def run(which: str, messages: int, rate: float, server: EmbeddedServer, name: str) -> dict[str, Any]:
    """One recorder against one blast, in a database of its own. Returns what the recorder printed, and table bytes."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(f'CREATE DATABASE "{name}"')
    dsn = make_conninfo(server.dsn, dbname=name)
    if which == "ours":
        with psycopg.connect(dsn, autocommit=True) as conn:
            upgrade(conn)
    blast = [sys.executable, str(HERE / "blast.py"), "--messages", str(messages), "--rate", str(rate)]
    with subprocess.Popen(blast, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        url = f"ws://127.0.0.1:{int(sender.stdout.readline())}/trade-api/ws/v2"
        command = [sys.executable, str(HERE / "recorders.py"), which, "--url", url, "--dsn", dsn]
        command += ["--messages", str(messages), *(["--latencies"] if rate else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        sender.terminate()
    if done.returncode:
        raise SystemExit(done.stderr)
    figures = json.loads(done.stdout.splitlines()[-1])
    with psycopg.connect(dsn, autocommit=True) as conn:
        figures |= _stored(conn, which, messages)
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    return figures


def _stored(conn: psycopg.Connection[Any], which: str, messages: int) -> dict[str, Any]:
    table = "rl_orderbook_deltas" if which == "ours" else "baseline_deltas"
    rows = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert rows is not None
    assert rows[0] == messages, f"{which}: {rows[0]} rows of {messages} messages"
    size = conn.execute(
        "SELECT coalesce(sum(pg_total_relation_size(relid)), 0) + pg_total_relation_size(%(table)s)"
        " FROM pg_partition_tree(%(table)s::regclass) WHERE isleaf AND relid <> %(table)s::regclass",
        {"table": table},
    ).fetchone()
    assert size is not None
    return {"table_bytes_per_message": round(int(size[0]) / messages, 1)}


def timing(runs: list[dict[str, Any]], messages: int) -> measure.Timing:
    rates = [messages / one["durable_s"] for one in runs]
    return measure.Timing(
        units=messages,
        wall_s=statistics.median(one["durable_s"] for one in runs),
        cpu_s=statistics.median(one["cpu_s"] for one in runs),
        per_s=statistics.median(rates),
        per_cpu_s=statistics.median(messages / one["cpu_s"] for one in runs),
        per_s_least=min(rates),
        per_s_most=max(rates),
    )


def main() -> None:
    options = measure.arguments(__doc__ or "", full=7, quick=2).parse_args()
    repeats = measure.repeats(options)
    messages = 100_000 if options.quick else 400_000
    counts = {"ours": messages, "baseline": messages // BASELINE_SHARE}
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "baseline": []}
    folder = Path(tempfile.mkdtemp(prefix="kflow-bench-"))
    with EmbeddedServer.acquire(folder) as server:
        for turn in range(repeats):
            for which in ("ours", "baseline") if turn % 2 else ("baseline", "ours"):
                runs[which].append(run(which, counts[which], 0, server, f"{which}_{turn}"))
        seconds = 5 if options.quick else 30
        paced = {rate: run("ours", rate * seconds, rate, server, f"paced_{rate}") for rate in (1_000, 10_000)}
    medians = {which: timing(runs[which], counts[which]) for which in runs}
    received = {w: statistics.median(counts[w] / one["received_s"] for one in runs[w]) for w in runs}
    keys = ("handle_us", "sent_to_read_us", "sent_to_applied_us")
    measure.report(
        "ingest",
        medians,
        ratio=medians["ours"].per_s / medians["baseline"].per_s,
        packages=("websockets", "msgspec", "psycopg", "sortedcontainers"),
        received_per_s=received,
        paced={rate: {key: figures[key] for key in keys} for rate, figures in paced.items()},
        bytes_per_million_deltas={
            "table": 1e6 * runs["ours"][0]["table_bytes_per_message"],
            "journal": 1e6 * runs["ours"][0]["journal_bytes"] / counts["ours"],
            "baseline_table": 1e6 * runs["baseline"][0]["table_bytes_per_message"],
        },
    )


if __name__ == "__main__":
    main()
