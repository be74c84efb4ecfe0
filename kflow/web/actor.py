"""The HTTP face of a running actor: how it is, what it counts, and one write, which halts it. Nothing here arms it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kflow.act.orders import State
from kflow.act.pulse import HEALTHY, Beat, Pulse
from kflow.act.standing import Standing
from kflow.clock import NS_PER_S
from kflow.errors import KflowError
from kflow.record.status import Histogram
from kflow.web.access import Access
from kflow.web.guard import HEADERS, Guard
from kflow.web.metrics import CONTENT_TYPE, Metric, Sample, build_info, each, of_the_process, one, rendered

_HINTS: Final = {
    404: "there are /rl/health, /rl/kill, /metrics, /livez and /readyz",
    405: "only /rl/kill takes a POST, everything else a GET",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorService:
    """A running actor, as the web sees it."""

    pulse: Pulse
    access: Access
    # Halts everything; returns at once, when that is written down. Raises KflowError where it cannot be. Called on the
    # loop's thread: threads may all wait for a database.
    kill: Callable[[str], None] = field(repr=False)
    outcomes: Counter[State]  # of orders: Records.outcomes
    ack_s: Histogram  # Records.ack_s


def build_actor_app(service: ActorService) -> Starlette:
    """The service's ASGI application."""
    web = _Web(service)
    app = Starlette(
        routes=[
            Route("/rl/health", web.health),
            Route("/rl/kill", web.kill, methods=["POST"]),
            Route("/metrics", web.metrics),
            Route("/livez", web.alive),
            Route("/readyz", web.ready),
        ],
        middleware=[Middleware(Guard, access=service.access)],
        exception_handlers={HTTPException: _http_error, Exception: _failure},
    )
    app.state.access = service.access
    return app


class _Web:
    def __init__(self, service: ActorService) -> None:
        self._service = service

    async def health(self, _request: Request) -> Response:
        beat = self._service.pulse.look()
        return JSONResponse(actor_health(beat), 200 if beat.status == HEALTHY else 503)

    async def alive(self, _request: Request) -> Response:
        """503 only where nothing but a new start helps."""
        self._service.pulse.look()
        moves = self._service.pulse.alive
        return JSONResponse(
            {"status": "alive" if moves else "stuck: no market is looked at any more"}, 200 if moves else 503
        )

    async def ready(self, _request: Request) -> Response:
        beat = self._service.pulse.look()
        well = beat.status == HEALTHY
        body = {"status": "ready" if well else "not ready", "problems": list(beat.problems.values())}
        return JSONResponse(body, 200 if well else 503)

    async def metrics(self, _request: Request) -> Response:
        self._service.pulse.look()
        return Response(rendered(METRICS, self._service), headers={"content-type": CONTENT_TYPE})

    async def kill(self, request: Request) -> Response:
        """Halt; the answer comes when that is written down. The body, if there is one, is the reason."""
        said = (await request.body()).decode(errors="replace").strip()[:200]
        reason = f"killed over HTTP: {said}" if said else "killed over HTTP"
        try:
            self._service.kill(reason)
        except KflowError as error:
            return JSONResponse({"error": str(error), "hint": error.hint or "kflow kill"}, 500)
        return JSONResponse({"status": "halted", "reason": reason}, 202)


_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "trading": ("halted", "reducing", "markets"),
    "feed": ("feed",),
    "loop": ("loop",),
    "lease": ("lease",),
    "reconciliation": ("reconciliation",),
    "orders": ("orders",),
    "records": ("records", "decisions"),
}


def actor_health(beat: Beat) -> dict[str, Any]:
    """The body of /rl/health."""
    seen: dict[str, dict[str, Any]] = {
        "trading": {"standing": beat.standing, "halted_markets": beat.halted_markets, "markets": beat.markets},
        "feed": {"connected": beat.connected, "books": beat.books},
        "loop": {"decisions": beat.decisions},
        "lease": {"held": beat.lease_held, "epoch": beat.epoch},
        "reconciliation": {"mismatches": beat.mismatches},
        "orders": {"open": beat.open_orders, "unresolved": beat.unresolved},
        "records": {"waiting": beat.records["waiting"], "connected": bool(beat.records["connected"])},
    }
    components = {name: {"status": _status(beat, keys), **seen[name]} for name, keys in _PARTS.items()}
    return {
        "status": beat.status,
        "service": "kalshiflow_rl_actor",
        "run": beat.run,
        "venue": beat.venue,
        "strategy": beat.strategy,
        "components": components,
        "problems": list(beat.problems.values()),
    }


def _status(beat: Beat, keys: tuple[str, ...]) -> str:
    found = [key for key in keys if key in beat.problems]
    if not found:
        return HEALTHY
    return "degraded" if beat.status == HEALTHY else beat.status


async def _http_error(_connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {"error": error.detail, "hint": _HINTS.get(error.status_code, "")}
    return JSONResponse(body, error.status_code, dict(error.headers or {}))


async def _failure(_connection: HTTPConnection, _error: Exception) -> Response:
    """What went wrong is for the log. Made outside of the guard."""
    return JSONResponse({"error": "this was not expected", "hint": "the log of kflow actor says more"}, 500, HEADERS)


# Metrics.


def _beat(read: Callable[[Beat], float | None]) -> Callable[[ActorService], Iterator[Sample]]:
    return lambda service: one(read(service.pulse.last))


def _latency(service: ActorService) -> Iterator[Sample]:
    for name, quantile in (("p50", "0.5"), ("p99", "0.99")):
        us = service.pulse.last.latency_us[name]
        if us is not None:
            yield {"quantile": quantile}, us / 1e6


METRICS: Final[tuple[Metric[ActorService], ...]] = (
    build_info(),
    Metric("kflow_trading_state", "gauge", "1 for the state that holds for all markets: active, reducing or halted.",
           lambda s: each("state", {x.value: x.value == s.pulse.last.standing for x in Standing}), ("state",)),
    Metric("kflow_markets", "gauge", "Markets that are traded.", _beat(lambda b: b.markets)),
    Metric("kflow_markets_halted", "gauge", "Markets in which nothing may leave.", _beat(lambda b: b.halted_markets)),
    Metric("kflow_ws_connected", "gauge", "1 while a connection to the venue stands.", _beat(lambda b: b.connected)),
    Metric("kflow_books", "gauge", "Whole books, which may be decided on.",
           lambda s: each("state", {"live": s.pulse.last.books}), ("state",)),
    Metric("kflow_lease_held", "gauge", "1 while this actor is the one of its venue.", _beat(lambda b: b.lease_held)),
    Metric("kflow_decisions_total", "counter", "Decisions, by who decides.",
           lambda s: each("source", {s.pulse.last.strategy: s.pulse.last.decisions}), ("source",)),
    Metric("kflow_decisions_held_total", "counter", "Decisions to do nothing.", _beat(lambda b: b.holds)),
    Metric("kflow_decisions_waited_total", "counter",
           "Looks at a market without a decision: its book was not whole, or an order was under way.",
           _beat(lambda b: b.waits)),
    Metric("kflow_obs_invalid_total", "counter", "Times that the policy could not be asked.",
           _beat(lambda b: b.failures)),
    Metric("kflow_decisions_unwritten_total", "counter",
           "Decisions that are not in the tables, since the database was away for too long.",
           _beat(lambda b: b.records["dropped"])),
    Metric("kflow_order_denied_total", "counter", "Orders that the guard denied, by reason (docs/limits.md).",
           lambda s: each("reason", s.pulse.last.denied), ("reason",)),
    Metric("kflow_order_passed_total", "counter", "Orders that the guard let pass.", _beat(lambda b: b.passed)),
    Metric("kflow_orders_total", "counter", "What orders came to; one counts in each state that it was in.",
           lambda s: each("outcome", {str(state): s.outcomes[state] for state in State if state is not State.STORED}),
           ("outcome",)),
    Metric("kflow_fills_total", "counter", "Fills.", _beat(lambda b: b.fills)),
    Metric("kflow_orders_open", "gauge", "Orders that may still be filled.", _beat(lambda b: b.open_orders)),
    Metric("kflow_orders_unresolved", "gauge", "Orders of which it is not known whether they are at the venue.",
           _beat(lambda b: b.unresolved)),
    Metric("kflow_order_unresolved_seconds", "gauge", "For how long, of the oldest; 0 without one. Alert above 5.",
           _beat(lambda b: b.unresolved_s)),
    Metric("kflow_order_ack_seconds", "histogram", "From the sending of an order to the venue's answer.",
           lambda s: s.ack_s),
    Metric("kflow_order_latency_seconds", "gauge",
           "From a book's last frame to the sending of an order, of the last 10,000; absent before the first.",
           _latency, ("quantile",)),
    Metric("kflow_position_mismatch", "gauge",
           "Positions and cash that differed from the venue's when last compared. Must stay 0: alert above it.",
           _beat(lambda b: b.mismatches)),
    Metric("kflow_profit_dollars", "gauge",
           "Of this run, after fees, with what is held counted at what it could be sold for; absent while unknown.",
           _beat(lambda b: None if b.holdings.profit is None else b.holdings.profit / 1e6)),
    Metric("kflow_cash_dollars", "gauge", "At the venue, with what open orders hold back; absent while unknown.",
           _beat(lambda b: None if b.holdings.cash is None else b.holdings.cash / 1e6)),
    Metric("kflow_reconciled_timestamp_seconds", "gauge",
           "Unix time of the last comparison with the venue; absent before the first.",
           _beat(lambda b: b.reconciled_us / 1e6 if b.reconciled_us else None)),
    Metric("kflow_db_connected", "gauge", "1 while there is a connection to the database.",
           _beat(lambda b: b.records["connected"])),
    Metric("kflow_db_waiting_rows", "gauge", "Rows that are not stored yet.", _beat(lambda b: b.records["waiting"])),
    Metric("kflow_db_refused_rows_total", "counter", "Rows that the database refused for good. Must stay 0.",
           _beat(lambda b: b.records["refused"])),
    Metric("kflow_alerts_total", "counter", "Alerts by what became of them: told, delivered, failed, dropped.",
           lambda s: each("outcome", s.pulse.last.alerts), ("outcome",)),
    *of_the_process(lambda s: s.pulse.last.began_us * 1000 / NS_PER_S),
)  # fmt: skip
