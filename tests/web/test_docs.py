"""docs/http.md describes the service that is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from starlette.routing import Route, WebSocketRoute

from kflow.act.holdings import MOST
from kflow.record.trades import EACH
from kflow.testing.recording import FIRST, TOKEN
from kflow.web.app import build_app
from kflow.web.broadcast import Pace
from kflow.web.guard import BODY_BYTES
from kflow.web.health import LAG_S, PATIENCE_S
from kflow.web.server import CONCURRENT, CONNECTIONS, HEAD_BYTES, LOOK_S
from kflow.web.state import MARKETS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text(encoding="utf-8")


def examples() -> list[dict[str, Any]]:
    """Every JSON object that the page shows."""
    shown = []
    for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL):
        try:
            shown.append(json.loads(block))
        except json.JSONDecodeError:
            shown.extend(json.loads(line) for line in block.splitlines())
    return shown


def shape(value: Any) -> Any:
    """Keys, all the way down where they are ours to choose."""
    return {key: shape(part) for key, part in value.items()} if isinstance(value, dict) else None


async def test_answers_have_the_shape_that_is_shown(session: Any, serving: Any) -> None:
    session.start()
    health, status, book, *_ = examples()
    async with serving() as http:
        assert shape((await http.get("/rl/health")).json()) == shape(health)
        found = (await http.get("/rl/status")).json()
        shown_book = (await http.get("/rl/orderbook/snapshot")).json()
    for free in (("messages", "by_type"), ("gaps", "by_kind"), ("database", "rows"), ("database", "errors")):
        found[free[0]][free[1]] = status[free[0]][free[1]] = None
    found["configuration"] = status["configuration"] = None
    assert shape(found) == shape(status)
    assert shown_book.keys() == book.keys()
    for side in ("yes_bids", "yes_asks", "no_bids", "no_asks"):
        assert shown_book[side][0] == book[side][0]


async def test_stream_messages_are_those_that_are_shown(session: Any, serving: Any) -> None:
    import websockets

    session.start()
    _, _, _, snapshot, delta, *_ = examples()
    async with serving() as http:
        url = f"ws://{http.base_url.host}:{http.base_url.port}/rl/ws?market={FIRST}"
        async with websockets.connect(url, proxy=None) as client:
            await client.recv()
            assert json.loads(await client.recv()) == snapshot
            session.receive(session.delta("0.4400", "-12.50"), session.delta("0.4200", "3.00"))
            assert json.loads(await client.recv()) == delta


async def test_what_may_be_asked_beside_books_has_the_shape_that_is_shown(session: Any, serving: Any) -> None:
    import websockets

    session.start()
    session.receive(session.trade("0.4600", "3.00"))
    *_, trades, state, _ = examples()
    async with serving() as http:
        url = f"ws://{http.base_url.host}:{http.base_url.port}/rl/ws?market={FIRST}&with=trades&with=state"
        async with websockets.connect(url, proxy=None) as client:
            told = [json.loads(await client.recv()) for _ in range(4)]
    assert [message["type"] for message in told] == ["hello", "state", "snapshot", "trades"]
    assert told[3].keys() == trades.keys()
    assert shape(told[1]) == shape(state)
    assert told[1]["markets"][0][:5] == state["markets"][0][:5]


async def test_a_kill_answers_as_is_shown(session: Any, serving: Any) -> None:
    *_, shown = examples()
    async with serving() as http:
        answer = await http.post("/rl/kill", headers={"Authorization": f"Bearer {TOKEN}"}, content="why")
    assert answer.json().keys() == shown.keys()
    assert (answer.json()["status"], answer.json()["reason"]) == (shown["status"], shown["reason"])


def test_every_route_is_described(session: Any) -> None:
    for route in build_app(session.service()).routes:
        assert isinstance(route, Route | WebSocketRoute)
        assert f"{route.path}" in TEXT


def test_figures_are_those_of_the_code() -> None:
    pace = Pace()
    assert (PATIENCE_S, LAG_S, BODY_BYTES, HEAD_BYTES) == (30, 30, 64 * 1024, 16 * 1024)
    assert (CONNECTIONS, CONCURRENT, LOOK_S) == (256, 128, 10)
    assert (pace.clients, pace.interval_s, pace.patience_s, pace.heartbeat_s, pace.state_s) == (32, 0.05, 5, 5, 1)
    assert (EACH, MARKETS, MOST) == (200, 1000, 200)
    for words in (
        "30 s",
        "64 KiB",
        "16 KiB",
        "256 connections",
        "128 requests",
        "ten seconds",
        "33rd",
        "50 ms",
        "every 5 s",
        "every second",
        "last 200",
        "first 1,000",
    ):
        assert words in TEXT
