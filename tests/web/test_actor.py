"""The HTTP face of an actor on a real socket, and what a recorder tells of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from kflow.act.denials import Reason
from kflow.act.orders import State
from kflow.act.pulse import FILE, Pulse, read
from kflow.act.records import ACK_BUCKETS
from kflow.act.standing import FOLDER, KILL_FILE
from kflow.errors import ConfigError
from kflow.record.status import Histogram
from kflow.testing.living import Living
from kflow.testing.recording import TOKEN
from kflow.web.access import Access
from kflow.web.actor import METRICS, ActorService, build_actor_app
from kflow.web.server import serve
from tests.web.test_metrics import parsed


@pytest.fixture
def living(tmp_path: Path) -> Living:
    made = Living(tmp_path)
    made.work()
    return made


def service(living: Living, **changed: Any) -> ActorService:
    values: dict[str, Any] = {
        "pulse": Pulse(living.vitals(), living.data),
        "access": Access.for_host("127.0.0.1", TOKEN),
        "kill": lambda reason: living.standing.kill(reason, living.us),
        "outcomes": Counter({State.FILLED: 2, State.REFUSED: 1}),
        "ack_s": Histogram(ACK_BUCKETS),
    }
    return ActorService(**(values | changed))


@asynccontextmanager
async def asking(served: ActorService) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serve(build_actor_app(served), "127.0.0.1", 0) as at,
        httpx.AsyncClient(base_url=at.url, trust_env=False) as http,
    ):
        yield http


async def test_a_well_one(living: Living) -> None:
    async with asking(service(living)) as http:
        answers = [await http.get(path) for path in ("/rl/health", "/readyz", "/livez", "/metrics")]
    assert [answer.status_code for answer in answers] == [200] * 4
    body = answers[0].json()
    assert (body["status"], body["service"], body["problems"]) == ("healthy", "kalshiflow_rl_actor", [])
    assert {part["status"] for part in body["components"].values()} == {"healthy"}
    assert body["components"]["trading"] == {
        "status": "healthy",
        "standing": "active",
        "halted_markets": 0,
        "markets": 2,
    }


async def test_an_ill_one(living: Living) -> None:
    async with asking(service(living)) as http:
        living.lost = "another actor has it"
        answer = await http.get("/rl/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
        assert answer.json()["components"]["lease"] == {"status": "unhealthy", "held": False, "epoch": 3}
        assert answer.json()["components"]["feed"]["status"] == "healthy"
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["problems"]) == (503, ["the lease is lost: another actor has it"])
        assert (await http.get("/livez")).status_code == 200
        living.clock.advance(120)
        assert (await http.get("/livez")).status_code == 503


async def test_what_is_no_illness_is_degraded(living: Living) -> None:
    living.standing.reduce("too much was lost today", living.us)
    async with asking(service(living)) as http:
        answer = await http.get("/rl/health")
    assert (answer.status_code, answer.json()["components"]["trading"]["status"]) == (200, "degraded")
    assert answer.json()["problems"] == ["reducing: too much was lost today"]


async def test_a_kill_halts_before_it_is_answered(living: Living) -> None:
    async with asking(service(living)) as http:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
            assert (await http.post("/rl/kill", headers=headers)).status_code == 401
        assert (await http.post(f"/rl/kill?token={TOKEN}")).status_code == 401
        assert not (living.data / FOLDER / KILL_FILE).exists()
        answer = await http.post("/rl/kill", content="a drill", headers={"authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer.json()) == (202, {"status": "halted", "reason": "killed over HTTP: a drill"})
        assert living.standing.of("A").reason == "killed over HTTP: a drill"
        assert (await http.get("/rl/health")).json()["problems"] == ["halted: killed over HTTP: a drill"]


async def test_a_kill_that_could_not_be_written_down_says_so(living: Living) -> None:
    def fail(_reason: str) -> None:
        raise ConfigError("the disk is full", hint="free some")

    async with asking(service(living, kill=fail)) as http:
        answer = await http.post("/rl/kill", headers={"authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.json()) == (500, {"error": "the disk is full", "hint": "free some"})


async def test_an_error_tells_nothing(living: Living, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_reason: str) -> None:
        raise RuntimeError("s3cret")

    caplog.set_level(logging.CRITICAL)
    async with asking(service(living, kill=fail)) as http:
        answer = await http.post("/rl/kill", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 500
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("path", ["/rl/health", "/rl/kill", "/metrics", "/livez", "/readyz"])
async def test_pages_of_others_get_nothing(living: Living, path: str) -> None:
    token = {"authorization": f"Bearer {TOKEN}"}
    method = "POST" if path == "/rl/kill" else "GET"
    async with asking(service(living)) as http:
        assert (await http.request(method, path, headers={**token, "host": "evil.example"})).status_code == 421
        if method == "POST":
            origin = {**token, "origin": "http://evil.example"}
            assert (await http.post(path, headers=origin)).status_code == 403
    assert living.standing.now().overall.standing.value == "active"


async def test_only_one_route_writes_and_none_arms(living: Living) -> None:
    routes = [route for route in build_actor_app(service(living)).routes if isinstance(route, Route)]
    writing = [route.path for route in routes if (route.methods or set()) - {"GET", "HEAD"}]
    assert writing == ["/rl/kill"]
    assert not [route.path for route in routes if "arm" in route.path]
    async with asking(service(living)) as http:
        for path in ("/rl/arm", "/rl/health", "/metrics"):
            answer = await http.post(path, headers={"authorization": f"Bearer {TOKEN}"})
            assert answer.status_code in (404, 405)
            assert answer.json()["hint"]
        assert (await http.get("/rl/kill")).status_code == 405


# Metrics.


async def test_metrics_are_those_of_the_actor(living: Living) -> None:
    tally = living.actor.tally
    tally.guard.denied[Reason.POSITION] += 4
    tally.latency_us += [1000, 2000, 3000]
    living.reconciliation.mismatches = 1
    living.standing.halt("x", living.us, "B")
    histogram = Histogram(ACK_BUCKETS)
    histogram.add(0.02)
    shown = service(living, ack_s=histogram)
    await living.send()
    living.clock.advance(2)
    async with asking(shown) as http:
        types, samples = parsed((await http.get("/metrics")).text)
    assert types == {metric.name: metric.kind for metric in METRICS}
    assert samples["kflow_trading_state"] == {'state="active"': 1, 'state="reducing"': 0, 'state="halted"': 0}
    assert samples["kflow_markets_halted"] == {"": 1}
    assert samples["kflow_decisions_total"] == {'source="hardcoded:hold"': 0}
    assert samples["kflow_decisions_waited_total"] == {"": 2}
    assert samples["kflow_order_denied_total"].keys() == {f'reason="{reason}"' for reason in Reason}
    assert samples["kflow_order_denied_total"]['reason="position"'] == 4
    assert samples["kflow_orders_total"]['outcome="filled"'] == 2
    assert samples["kflow_orders_unresolved"] == {"": 1}
    assert samples["kflow_order_unresolved_seconds"] == {"": 2}
    assert samples["kflow_order_ack_seconds_count"] == {"": 1}
    assert samples["kflow_order_latency_seconds"] == {'quantile="0.5"': 0.002, 'quantile="0.99"': 0.003}
    assert samples["kflow_position_mismatch"] == {"": 1}
    assert samples["kflow_lease_held"] == {"": 1}
    assert samples["process_start_time_seconds"] == {"": 1_700_000_000}


@pytest.mark.parametrize("us", [None, 0])  # a paper venue knows no time before its first event
async def test_the_unknown_is_absent(living: Living, us: int | None) -> None:
    living.reconciliation.us = us
    async with asking(service(living)) as http:
        _, samples = parsed((await http.get("/metrics")).text)
    assert "kflow_order_latency_seconds" not in samples
    assert "kflow_reconciled_timestamp_seconds" not in samples


def test_names_that_dashboards_rely_on() -> None:
    promised = """kflow_build_info kflow_orders_total kflow_order_denied_total kflow_order_ack_seconds
        kflow_orders_unresolved kflow_position_mismatch kflow_trading_state kflow_decisions_total
        kflow_obs_invalid_total"""
    assert set(promised.split()) <= {metric.name for metric in METRICS}
    for metric in METRICS:
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert not {"market", "ticker"} & set(metric.labels)


# Told by a recorder.


async def test_a_recorder_tells_of_an_actor(session: Any, serving: Callable[..., Any], tmp_path: Path) -> None:
    living = Living(tmp_path)
    living.work()
    session.start()

    def sign(enabled: bool = True) -> Any:
        return lambda: read(tmp_path, enabled=enabled, clock=living.clock)

    async with serving(actor=sign(enabled=False)) as http:
        assert (await http.get("/rl/health")).json()["components"]["actor_service"] == {"status": "disabled"}
    async with serving(actor=sign()) as http:
        answer = await http.get("/rl/health")
        assert answer.json()["components"]["actor_service"] == {"status": "not_initialized"}
        assert answer.json()["problems"] == ["actor: the actor is enabled, and does not run"]
        pulse = Pulse(living.vitals(), tmp_path)
        pulse.write(pulse.look())
        shown = (await http.get("/rl/health")).json()["components"]["actor_service"]
        assert shown == {
            "status": "healthy",
            "standing": "active",
            "venue": "local",
            "run": str(living.actor.run),
            "age_s": 0.0,
        }
        living.clock.advance(6)
        answer = await http.get("/rl/health")
        assert answer.json()["components"]["actor_service"]["status"] == "unhealthy"
        assert "gave no sign of life for 6 s" in answer.json()["problems"][0]
        # Frames are kept all the same.
        assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
    (tmp_path / FOLDER / FILE).unlink()
