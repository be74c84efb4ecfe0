"""/metrics: every metric declared once, with how it is read; docs/metrics.md is made from the same declarations.

Written by hand: the text format (0.0.4) has four rules, fewer than it takes to tell a client library of counters that
others keep.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

import kflow
from kflow.clock import NS_PER_S
from kflow.kalshi.feed import Ending
from kflow.market.events import GapKind
from kflow.record.status import Histogram
from kflow.record.writer import WriterStatus
from kflow.web.broadcast import Broadcast
from kflow.web.service import Service
from kflow.web.status import by_type

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], float]
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Sources:
    """What metrics are read from."""

    service: Service
    broadcast: Broadcast
    writer: WriterStatus | None


@dataclass(frozen=True, slots=True)
class Metric(Generic[S]):
    """One metric, read from an S. `read` gives its samples: none where the value is unknown."""

    name: str
    kind: str  # counter, gauge or histogram
    about: str
    read: Callable[[S], Iterable[Sample] | Histogram]
    labels: tuple[str, ...] = ()


def one(value: float | None) -> Iterator[Sample]:
    """Of a metric without labels; None is unknown."""
    if value is not None:
        yield {}, float(value)


def each(label: str, values: Mapping[str, float]) -> Iterator[Sample]:
    """Of a metric with one label."""
    for key, value in sorted(dict(values).items()):
        yield {label: key}, float(value)


def _written(of: Callable[[WriterStatus], Iterable[Sample]]) -> Callable[[Sources], Iterable[Sample]]:
    """Samples of the writer: none before the database was reached once."""
    return lambda s: () if s.writer is None else of(s.writer)


def _last_message_s(sources: Sources) -> float | None:
    last_ns = sources.service.recorder.last_message_ns
    return None if last_ns is None else last_ns / NS_PER_S


def _disk_bytes(sources: Sources) -> tuple[int | None, int | None]:
    """Free and all of it; unknown where the folder does not answer."""
    try:
        found = os.statvfs(sources.service.standing.folder.parent)
    except OSError:
        return None, None
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def of_the_process(began_s: Callable[[S], float]) -> tuple[Metric[S], ...]:
    """What every service of kflow tells. `began_s`: Unix time."""
    return (
        Metric("process_cpu_seconds_total", "counter", "CPU time of the process.", lambda _: one(time.process_time())),
        Metric("process_resident_memory_bytes", "gauge", "Memory of the process; its peak where /proc is absent.",
               lambda _: one(_resident_bytes())),
        Metric("process_open_fds", "gauge", "Open file descriptors; absent where /proc is.",
               lambda _: one(_open_files())),
        Metric("process_max_fds", "gauge", "Limit of open file descriptors.",
               lambda _: one(resource.getrlimit(resource.RLIMIT_NOFILE)[0])),
        Metric("process_start_time_seconds", "gauge", "Unix time when the session, or the run, began.",
               lambda s: one(began_s(s))),
    )  # fmt: skip


def build_info() -> Metric[S]:
    """The version."""
    return Metric(
        "kflow_build_info",
        "gauge",
        "Always 1; the version is in the label.",
        lambda _: [({"version": kflow.__version__}, 1.0)],
        ("version",),
    )


METRICS: Final[tuple[Metric[Sources], ...]] = (
    build_info(),
    Metric("kflow_ws_connected", "gauge", "1 while a connection to the venue stands.",
           lambda s: one(s.service.feed.connected)),
    Metric("kflow_ws_messages_total", "counter", "Frames received, by kind of event.",
           lambda s: each("type", by_type(s.service.recorder.messages)), ("type",)),
    Metric("kflow_ws_message_age_seconds", "histogram", "Venue's stamp to our receipt, of one delta per socket read.",
           lambda s: s.service.recorder.age_s),
    Metric("kflow_ws_message_age_least_seconds", "gauge",
           "The least of the last one to two minutes, with its sign: where clocks agree, a few milliseconds. Absent "
           "without a delta in that time.",
           lambda s: one(s.service.recorder.least_age_s.at(s.service.clock.wall_ns()))),
    Metric("kflow_ws_handle_seconds", "histogram",
           "Handling one frame (journal, decode, apply, publish), averaged over a socket read.",
           lambda s: s.service.recorder.handle_s),
    Metric("kflow_ws_reconnects_total", "counter",
           "Connections after the first, by what the one before ended for: " + ", ".join(Ending) + ".",
           lambda s: each("reason", {str(e): s.service.feed.reconnects_by[e] for e in Ending}), ("reason",)),
    Metric("kflow_ws_last_message_timestamp_seconds", "gauge", "Unix time of the last frame; absent before the first.",
           lambda s: one(_last_message_s(s))),
    Metric("kflow_book_gaps_total", "counter", "Holes and faults found in the feed, by kind.",
           lambda s: each("kind", {kind.value: s.service.recorder.gaps[kind.value] for kind in GapKind}), ("kind",)),
    Metric("kflow_book_missing_messages_total", "counter", "Frames that sequence gaps tell of.",
           lambda s: one(s.service.recorder.missing)),
    Metric("kflow_book_resyncs_total", "counter", "Snapshots that made a stale book live again.",
           lambda s: one(s.service.recorder.resyncs)),
    Metric("kflow_books", "gauge", "Books by state: live, stale (a gap is open), invalid (no snapshot yet).",
           lambda s: each("state", s.service.books.counts()), ("state",)),
    Metric("kflow_journal_bytes_total", "counter", "Bytes appended to the journal.",
           lambda s: one(s.service.recorder.journal_bytes)),
    Metric("kflow_journal_failed", "gauge", "1 while the journal cannot be written: nothing is received then.",
           lambda s: one(s.service.recorder.journal_failed)),
    Metric("kflow_journal_lag_messages", "gauge", "Messages in the journal and not yet in the tables.",
           _written(lambda w: one(w.lag_messages))),
    Metric("kflow_db_connected", "gauge", "1 while the writer has a connection to the database.",
           _written(lambda w: one(w.connected))),
    Metric("kflow_db_failed", "gauge", "1 once no more rows are written before the next start. Must stay 0.",
           _written(lambda w: one(w.failed))),
    Metric("kflow_db_rows_total", "counter", "Rows committed, by table.",
           _written(lambda w: each("table", w.rows)), ("table",)),
    Metric("kflow_db_sampled_out_total", "counter", "Deltas that sampling left out of the table; the journal has them.",
           _written(lambda w: one(w.sampled))),
    Metric("kflow_db_lag_seconds", "gauge", "For how long the oldest message without a row has waited; 0 without one.",
           _written(lambda w: one(w.lag_s))),
    Metric("kflow_db_errors_total", "counter", "Failures of the database, by class; each is retried.",
           _written(lambda w: each("class", w.errors)), ("class",)),
    Metric("kflow_dropped_total", "counter",
           "Socket reads that could not be kept; each ends in a gap row. Must stay 0: alert above it.",
           lambda s: each("where", {"journal": s.service.recorder.journal_errors}), ("where",)),
    Metric("kflow_disk_free_bytes", "gauge", "Left for kflow on the disk of the data folder.",
           lambda s: one(_disk_bytes(s)[0])),
    Metric("kflow_disk_size_bytes", "gauge", "Size of that disk.", lambda s: one(_disk_bytes(s)[1])),
    Metric("kflow_web_clients", "gauge", "Clients of /rl/ws.", lambda s: one(s.broadcast.clients)),
    Metric("kflow_web_clients_dropped_total", "counter", "Clients of /rl/ws that did not read and were dropped.",
           lambda s: one(s.broadcast.dropped)),
    *of_the_process(lambda s: s.service.recorder.started_ns / NS_PER_S),
)  # fmt: skip


def render(sources: Sources) -> str:
    """All metrics of a recorder as Prometheus text."""
    return rendered(METRICS, sources)


def rendered(metrics: Sequence[Metric[S]], sources: S) -> str:
    """Metrics as Prometheus text."""
    return "".join(line + "\n" for metric in metrics for line in _lines(metric, metric.read(sources)))


def _lines(metric: Metric[S], read: Iterable[Sample] | Histogram) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.about}"
    yield f"# TYPE {metric.name} {metric.kind}"
    if isinstance(read, Histogram):
        yield from _histogram(metric.name, read)
        return
    for labels, value in read:
        shown = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        yield f"{metric.name}{{{shown}}} {_number(value)}" if shown else f"{metric.name} {_number(value)}"


def _histogram(name: str, histogram: Histogram) -> Iterator[str]:
    counts, seen = list(histogram.counts), 0
    for bound, count in zip((*histogram.bounds_s, float("inf")), counts, strict=True):
        seen += count
        yield f'{name}_bucket{{le="{_number(bound)}"}} {seen}'
    yield f"{name}_sum {_number(histogram.total_s)}"
    yield f"{name}_count {seen}"


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()


def _open_files() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, not paths
    except OSError:
        return None


def document(made: str) -> str:
    """docs/metrics.md; `made` says that it is not written by hand."""
    from kflow.web.actor import METRICS as ACTORS

    return (
        f"# Metrics\n\n{made}\n\n"
        "`GET /metrics` answers in Prometheus' text format. No metric has a label per market: with thousands of\n"
        "markets that would be the largest part of anyone's time series. A value that is not known yet is absent,\n"
        "never 0.\n\n"
        f"## Of `kflow ingest`\n{_table(METRICS)}\n"
        f"## Of `kflow actor`\n{_table(ACTORS)}"
    )


def _table(metrics: Sequence[Metric[S]]) -> str:
    rows = (
        f"| `{m.name}` | {m.kind} | {', '.join(f'`{label}`' for label in m.labels) or '—'} | {m.about} |\n"
        for m in metrics
    )
    return "| name | kind | labels | meaning |\n|---|---|---|---|\n" + "".join(rows)
