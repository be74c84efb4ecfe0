"""The routes of the service, asked over a real socket."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.routing import Route

from kflow.testing.recording import FIRST, SECOND, TOKEN
from kflow.web.app import build_app


async def test_health_has_the_shape_of_the_requirements(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http:
        answer = await http.get("/rl/health")
    body = answer.json()
    assert answer.status_code == 200
    assert body["status"] == "healthy"
    assert body["service"] == "kalshiflow_rl"
    parts = body["components"]
    assert parts["database"]["status"] == "healthy"
    assert parts["write_queue"]["status"] == "healthy"
    assert parts["write_queue"]["messages_enqueued"] == 2
    assert parts["orderbook_client"]["status"] == "healthy"
    assert parts["orderbook_client"]["connected"] is True
    assert parts["actor_service"] == {"status": "disabled"}
    assert body["gaps"] == {"open": False, "total": 0, "missing_messages": 0}
    assert body["staleness"]["books"] == {"live": 2, "stale": 0, "invalid": 0}


async def test_a_quiet_market_stays_healthy(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http:
        session.clock.advance(6 * 3600)
        answer = await http.get("/rl/health")
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.get("/livez")).status_code == 200
    assert answer.status_code == 200
    assert answer.json()["staleness"]["last_message_age_s"] == 6 * 3600


async def test_health_follows_a_connection_that_is_lost_and_found(session: Any, serving: Any) -> None:
    async with serving() as http:
        answer = await http.get("/rl/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "not_initialized")
        session.start()
        assert (await http.get("/rl/health")).json()["status"] == "healthy"
        session.clock.advance(3600)
        await http.get("/rl/health")
        session.disconnect()
        session.clock.advance(29)
        answer = await http.get("/rl/health")
        assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
        assert answer.json()["components"]["orderbook_client"]["status"] == "degraded"
        assert (await http.get("/readyz")).status_code == 503
        session.clock.advance(2)
        answer = await http.get("/rl/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
        assert "no connection to the venue for 31 s" in answer.json()["problems"][0]
        session.start()
        assert (await http.get("/rl/health")).status_code == 200


async def test_never_connected_is_unhealthy_after_thirty_seconds(session: Any, serving: Any) -> None:
    async with serving() as http:
        session.clock.advance(31)
        assert (await http.get("/rl/health")).json()["status"] == "unhealthy"


async def test_a_database_that_is_away_is_degraded_not_unhealthy(session: Any, serving: Any) -> None:
    session.start()
    session.writer.connected = False
    session.writer.last_error = "the server closed the connection"
    async with serving() as http:
        answer = await http.get("/rl/health")
        assert answer.status_code == 200
        assert answer.json()["components"]["database"] == {"status": "degraded", "connected": False}
        assert "the journal keeps everything" in answer.json()["problems"][0]
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["problems"]) == (503, ["no connection to the database"])
        session.writer = None
        assert (await http.get("/rl/health")).json()["components"]["database"]["status"] == "not_initialized"


async def test_tables_that_cannot_follow_are_degraded(session: Any, serving: Any) -> None:
    session.start()
    session.storing = False
    session.receive(session.delta("0.4300", "1.00"))
    async with serving() as http:
        session.clock.advance(31)
        answer = await http.get("/rl/health")
        assert answer.status_code == 200
        assert answer.json()["components"]["write_queue"]["status"] == "degraded"
        assert (await http.get("/readyz")).json()["problems"] == ["the tables are 31 s behind"]


async def test_a_journal_that_cannot_be_written_is_unhealthy(session: Any, serving: Any) -> None:
    session.start()
    session.recorder.status.journal_failed = True
    async with serving() as http:
        answer = await http.get("/rl/health")
    assert answer.status_code == 503
    assert answer.json()["components"]["journal"]["status"] == "unhealthy"


async def test_a_gap_shows_until_its_snapshot(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http:
        session.receive(session.delta("0.4300", "1.00", skip=3))
        body = (await http.get("/rl/health")).json()
        assert body["status"] == "healthy"
        assert body["gaps"] == {"open": True, "total": 1, "missing_messages": 3}
        assert (await http.get("/rl/orderbook/snapshot")).json()["live"] is False
        assert (await http.get("/readyz")).status_code == 503  # no book of the subscription may be trusted
        session.clock.advance(31)
        await http.get("/rl/health")
        body = (await http.get("/rl/health")).json()
        assert body["components"]["orderbook_client"]["status"] == "degraded"
        for market in (FIRST, SECOND):
            session.receive(session.snapshot(market, yes=[("0.4000", "1.00")]))
        body = (await http.get("/rl/health")).json()
        assert body["gaps"]["open"] is False
        assert body["components"]["orderbook_client"]["status"] == "healthy"
        assert (await http.get("/readyz")).status_code == 200


async def test_a_feed_that_stopped_trying_is_not_alive(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http:
        session.disconnect()
        for _ in range(20):
            session.clock.advance(30)
            session.feed.attempts += 1
            assert (await http.get("/livez")).status_code == 200
        session.clock.advance(121)
        assert (await http.get("/livez")).status_code == 503


async def test_ready_ends_with_the_wish_to_end(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http:
        session.draining = True
        assert (await http.get("/readyz")).json()["problems"] == ["the session is ending"]


async def test_status_tells_counts_and_configuration(session: Any, serving: Any) -> None:
    session.start()
    session.storing = False
    session.receive(session.delta("0.4300", "1.00"))
    session.clock.advance(2)
    async with serving() as http:
        body = (await http.get("/rl/status")).json()
    assert body["schema_version"] == 1
    assert body["session"]["number"] == 7
    assert body["session"]["uptime_s"] == 2
    assert body["session"]["started_at"] == "2023-11-14T22:13:20.000Z"
    assert body["messages"] == {"total": 3, "rate_per_s": None, "by_type": {"book_snapshot": 2, "book_delta": 1}}
    assert body["books"] == {"live": 2, "stale": 0, "invalid": 0, "stale_s": 0.0}
    assert body["latency_s"]["message_age"]["p99"] == 0.005
    assert (body["database"]["lag_messages"], body["database"]["lag_s"]) == (1, 2.0)
    assert body["configuration"] == {"recorder.batch_rows": 100}
    assert body["stream"] == {"clients": 0, "dropped": 0}


async def test_the_rate_is_that_of_the_last_seconds(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http:
        for _ in range(12):
            session.receive(*[session.delta("0.4300", "1.00") for _ in range(50)])
            session.clock.advance(1)
            body = (await http.get("/rl/status")).json()
    assert body["messages"]["rate_per_s"] == 50.0


async def test_a_book_for_people(session: Any, serving: Any) -> None:
    session.start()
    async with serving() as http:
        body = (await http.get("/rl/orderbook/snapshot", params={"market": SECOND})).json()
    assert (body["market"], body["version"], body["live"]) == (SECOND, 1, True)
    assert body["yes_bids"][0] == {
        "price_e4": 4400,
        "size_e2": 1250,
        "price_dollars": "0.4400",
        "price_cents": "44.00",
        "size_contracts": "12.50",
    }
    assert [level["price_e4"] for level in body["yes_bids"]] == [4400, 4300]
    assert [(level["price_e4"], level["size_e2"]) for level in body["yes_asks"]] == [(4600, 10_000)]
    assert [level["price_e4"] for level in body["no_asks"]] == [5600, 5700]
    assert body["spread_e4"] == 200
    assert body["markets"] == [FIRST, SECOND]


async def test_the_first_market_is_shown_unasked(session: Any, serving: Any) -> None:
    session.start()
    async with serving(markets=(SECOND, FIRST)) as http:
        assert (await http.get("/rl/orderbook/snapshot")).json()["market"] == SECOND


async def test_books_that_are_not_there(session: Any, serving: Any) -> None:
    async with serving() as http:
        answer = await http.get("/rl/orderbook/snapshot")
        assert answer.status_code == 503
        assert answer.json()["error"] == f"the book of {FIRST} has not come yet"
        answer = await http.get("/rl/orderbook/snapshot", params={"market": "<img onerror=x>"})
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["markets"] == [FIRST, SECOND]
        assert "?market=" in answer.json()["hint"]
    async with serving(markets=()) as http:
        assert (await http.get("/rl/orderbook/snapshot")).status_code == 503


async def test_unknown_paths_and_methods_say_what_there_is(serving: Any) -> None:
    async with serving() as http:
        answer = await http.get("/rl/nothing")
        assert answer.status_code == 404
        assert "/rl/health" in answer.json()["hint"]
        answer = await http.post("/rl/health", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 405
        answer = await http.get("/rl/admin/stop")
        assert answer.status_code == 405


async def test_stop_drains(session: Any, serving: Any) -> None:
    async with serving() as http:
        answer = await http.post("/rl/admin/stop", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.json(), session.stops) == (202, {"status": "draining"}, 1)


async def test_get_never_changes_state(session: Any, serving: Any) -> None:
    """Whatever the route table holds now or later."""
    session.start()
    app = build_app(session.service())
    paths = [route.path.replace("{name:path}", "index.html") for route in app.routes if isinstance(route, Route)]
    writes = [r.path for r in app.routes if isinstance(r, Route) and r.methods and not r.methods <= {"GET", "HEAD"}]
    assert writes == ["/rl/kill", "/rl/admin/stop"]

    def state() -> tuple[Any, ...]:
        status = session.recorder.status
        seen = session.books.view(FIRST), session.draining, session.standing.armed_before
        return session.stops, session.journal.offset, status.total_messages, *seen

    before = state()
    async with serving() as http:
        for path in paths:
            for method in ("GET", "HEAD"):
                answer = await http.request(method, path, headers={"Authorization": f"Bearer {TOKEN}"})
                assert answer.status_code in (200, 405), path
    assert state() == before


async def test_an_unexpected_failure_tells_nothing_of_itself(session: Any, serving: Any) -> None:
    def broken() -> int:
        raise RuntimeError("canary-of-a-secret")

    async with serving(session_number=broken) as http:
        answer = await http.get("/rl/status")
    assert answer.status_code == 500
    assert "canary" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/rl/health", "/rl/status", "/rl/orderbook/snapshot", "/metrics", "/livez", "/readyz"]
)
async def test_answers_cannot_be_framed_cached_or_sniffed(session: Any, serving: Any, path: str) -> None:
    session.start()
    async with serving() as http:
        answer: httpx.Response = await http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers
