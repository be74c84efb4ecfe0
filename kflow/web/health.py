"""Whether a session is well: a pure judgement of what it tells of itself (docs/http.md says the rules in words)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kflow.act.pulse import Sign
from kflow.clock import NS_PER_S
from kflow.record.writer import WriterStatus
from kflow.web.pulse import Pulse
from kflow.web.service import Service

# No connection for longer than this is an illness; until then it is a reconnect.
PATIENCE_S: Final = 30.0
# Rows that wait longer than this mean that the database cannot follow.
LAG_S: Final = 30.0

HEALTHY, DEGRADED, UNHEALTHY, NOT_INITIALIZED = "healthy", "degraded", "unhealthy", "not_initialized"

Component = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Health:
    """The judgement. `problems` are sentences for people, by the component that has them."""

    status: str
    components: dict[str, Component]
    problems: Mapping[str, str]

    @property
    def well(self) -> bool:
        return self.status == HEALTHY


def judge(service: Service, pulse: Pulse) -> Health:
    """Judge the session now. Unhealthy means: frames cannot be kept, none can come, or no more rows will."""
    problems: dict[str, str] = {}
    writer = service.writer()
    components = {
        "database": _database(writer, problems),
        "write_queue": _write_queue(service, writer, problems),
        "orderbook_client": _client(service, pulse, problems),
        "journal": _journal(service, problems),
        "actor_service": _actor(service.actor(), problems),
    }
    decisive = (components["journal"]["status"], components["orderbook_client"]["status"])
    status = next((bad for bad in (UNHEALTHY, NOT_INITIALIZED) if bad in decisive), HEALTHY)
    if components["database"]["status"] == UNHEALTHY:
        status = UNHEALTHY
    return Health(status, components, problems)


def _database(writer: WriterStatus | None, problems: dict[str, str]) -> Component:
    if writer is None:
        problems["database"] = "the database has not been reached yet; the journal keeps everything until then"
        return {"status": NOT_INITIALIZED, "connected": False}
    if writer.failed:
        problems["database"] = (
            f"no more rows are written ({writer.last_error}); the journal keeps everything, the next start loads it"
        )
        return {"status": UNHEALTHY, "connected": False}
    if not writer.connected:
        why = f" ({writer.last_error})" if writer.last_error else ""
        problems["database"] = f"the database is away{why}; the journal keeps everything until it is back"
        return {"status": DEGRADED, "connected": False}
    return {"status": HEALTHY, "connected": True}


def _write_queue(service: Service, writer: WriterStatus | None, problems: dict[str, str]) -> Component:
    seen: Component = {"messages_enqueued": service.recorder.total_messages}
    if writer is None:
        return {"status": NOT_INITIALIZED, **seen}
    lag_s = writer.lag_s
    if lag_s > LAG_S and writer.connected:
        problems["write_queue"] = f"the tables are {lag_s:.0f} s behind the journal"
    seen |= {"lag_s": round(lag_s, 3), "lag_messages": writer.lag_messages, "catching_up": writer.catching_up}
    return {"status": DEGRADED if lag_s > LAG_S else HEALTHY, **seen}


def _client(service: Service, pulse: Pulse, problems: dict[str, str]) -> Component:
    feed = service.feed
    seen: Component = {"connected": feed.connected, "last_message_age_s": message_age_s(service)}
    if feed.connected:
        if pulse.stale_s > PATIENCE_S:
            problems["orderbook_client"] = f"not every book has been live for {pulse.stale_s:.0f} s"
            return {"status": DEGRADED, **seen}
        return {"status": HEALTHY, **seen}
    seen["disconnected_s"] = round(pulse.disconnected_s, 1)
    why = f" ({feed.reason})" if feed.reason else ""
    if pulse.disconnected_s > PATIENCE_S:
        problems["orderbook_client"] = f"no connection to the venue for {pulse.disconnected_s:.0f} s{why}"
        return {"status": UNHEALTHY, **seen}
    problems["orderbook_client"] = f"{'reconnecting' if pulse.ever_connected else 'connecting'} to the venue{why}"
    return {"status": DEGRADED if pulse.ever_connected else NOT_INITIALIZED, **seen}


def _journal(service: Service, problems: dict[str, str]) -> Component:
    if service.recorder.journal_failed:
        problems["journal"] = "the journal cannot be written: nothing is received until it can (is the disk full?)"
        return {"status": UNHEALTHY}
    return {"status": HEALTHY, "bytes": service.recorder.journal_bytes}


def _actor(sign: Sign, problems: dict[str, str]) -> Component:
    """It runs in a process of its own, and whatever it does, frames are kept."""
    if sign.problems:
        problems["actor_service"] = f"actor: {sign.problems[0]}"
    seen: Component = {"status": sign.status}
    if sign.beat is not None and sign.age_s is not None:
        seen |= {"standing": sign.beat.standing, "venue": sign.beat.venue, "run": sign.beat.run}
        seen |= {"age_s": round(sign.age_s, 1)}
    return seen


def message_age_s(service: Service) -> float | None:
    """Seconds since the last frame; None before the first. A wall clock that steps back shows as 0."""
    last_ns = service.recorder.last_message_ns
    return None if last_ns is None else round(max(0, service.clock.wall_ns() - last_ns) / NS_PER_S, 3)


def health_json(service: Service, pulse: Pulse) -> dict[str, Any]:
    """The body of /rl/health: the components, then staleness and gaps."""
    health = judge(service, pulse)
    counts = service.books.counts()
    return {
        "status": health.status,
        "service": "kalshiflow_rl",
        "components": health.components,
        "staleness": {
            "last_message_age_s": message_age_s(service),
            "books": counts,
            "stale_s": round(pulse.stale_s, 1),
        },
        "gaps": {
            "open": counts["stale"] > 0,
            "total": service.recorder.gaps.total(),
            "missing_messages": service.recorder.missing,
        },
        "problems": list(health.problems.values()),
    }


def unready(service: Service, pulse: Pulse) -> list[str]:
    """Why nobody should rely on the books and tables now; empty when they may."""
    writer, counts, why = service.writer(), service.books.counts(), []
    if service.draining():
        why.append("the session is ending")
    if not service.feed.connected:
        why.append("no connection to the venue")
    if service.recorder.journal_failed:
        why.append("the journal cannot be written")
    if not counts["live"]:
        why.append("no book is live")
    elif pulse.stale_s > PATIENCE_S:
        why.append(f"{counts['stale'] + counts['invalid']} books have not been live for {pulse.stale_s:.0f} s")
    if writer is None or not writer.connected:
        why.append("no connection to the database")
    elif writer.lag_s > LAG_S:
        why.append(f"the tables are {writer.lag_s:.0f} s behind")
    return why
