"""The body of /rl/status: what the session is, what it counted, and how it is configured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import kflow
from kflow.clock import NS_PER_S
from kflow.record.status import Histogram
from kflow.web.health import judge, message_age_s, unready
from kflow.web.pulse import Pulse
from kflow.web.service import Service

SCHEMA_VERSION: Final = 1  # rises when a field changes its meaning or leaves
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def status_json(service: Service, pulse: Pulse) -> dict[str, Any]:
    """Everything /rl/status says. Unknown is null, never 0."""
    recorder, health = service.recorder, judge(service, pulse)
    return {
        "schema_version": SCHEMA_VERSION,
        "service": "kalshiflow_rl",
        "version": kflow.__version__,
        "status": health.status,
        "ready": not unready(service, pulse),
        "problems": list(health.problems.values()),
        "session": {
            "number": service.session_number(),
            "uuid": recorder.session,
            "started_at": timestamp(recorder.started_ns),
            "uptime_s": max(0, service.clock.wall_ns() - recorder.started_ns) // NS_PER_S,
            "draining": service.draining(),
        },
        "feed": _feed(service, pulse),
        "messages": {
            "total": recorder.total_messages,
            "rate_per_s": None if pulse.rate_per_s is None else round(pulse.rate_per_s, 1),
            "by_type": by_type(recorder.messages),
        },
        "latency_s": {"handle": _quantiles(recorder.handle_s), "message_age": _quantiles(recorder.age_s)},
        "books": {**service.books.counts(), "stale_s": round(pulse.stale_s, 1)},
        "gaps": {
            "total": recorder.gaps.total(),
            "missing_messages": recorder.missing,
            "resyncs": recorder.resyncs,
            "by_kind": dict(recorder.gaps),
        },
        "journal": {
            "bytes": recorder.journal_bytes,
            "errors": recorder.journal_errors,
            "failed": recorder.journal_failed,
        },
        "database": _database(service),
        "markets": list(service.markets),
        "configuration": dict(service.configuration),
    }


def _feed(service: Service, pulse: Pulse) -> dict[str, Any]:
    feed = service.feed
    return {
        "connected": feed.connected,
        "connections": service.recorder.connections,
        "attempts": feed.attempts,
        "reconnects": feed.reconnects,
        "reconnects_by": dict(feed.reconnects_by),
        "last_end": feed.reason or None,
        "disconnected_s": round(pulse.disconnected_s, 1),
        "last_message_age_s": message_age_s(service),
    }


def _database(service: Service) -> dict[str, Any] | None:
    writer = service.writer()
    if writer is None:
        return None
    return {
        "connected": writer.connected,
        "failed": writer.failed,
        "catching_up": writer.catching_up,
        "lag_s": round(writer.lag_s, 3),
        "lag_messages": writer.lag_messages,
        "rows": dict(writer.rows),
        "sampled_out": writer.sampled,
        "watermark": writer.watermark,
        "errors": dict(writer.errors),
        "last_error": writer.last_error or None,
    }


def by_type(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts by kind of event, under names as JSON and metrics write them: BookDelta is book_delta."""
    return {_CAMEL.sub("_", name).lower(): count for name, count in dict(counts).items()}


def _quantiles(histogram: Histogram) -> dict[str, float | None]:
    """Upper bounds in seconds, None before anything was counted."""
    return {"p50": finite(histogram.quantile_s(0.5)), "p99": finite(histogram.quantile_s(0.99))}


def finite(bound_s: float | None) -> float | None:
    """JSON has no infinity: beyond the last bound is -1."""
    return -1.0 if bound_s == float("inf") else bound_s


def timestamp(ns: int) -> str:
    """Unix nanoseconds as RFC 3339 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(ns // NS_PER_S, UTC).replace(microsecond=ns % NS_PER_S // 1_000_000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
