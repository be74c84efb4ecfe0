"""kflow health: asked of something that really answers on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.cli.conftest import Kflow

HEALTHY = {
    "status": "healthy",
    "service": "kalshiflow_rl",
    "components": {
        "database": {"status": "healthy"},
        "write_queue": {"status": "healthy", "messages_enqueued": 1234},
        "orderbook_client": {"status": "healthy", "connected": True},
        "actor_service": {"status": "disabled"},
    },
}


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], str]]:
    """Starts servers that give one fixed answer; each call returns the address of a new one."""
    servers: list[HTTPServer] = []

    def start(status: int, body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/rl/health" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_healthy_recorder(kflow: Kflow, answering: Callable[[int, bytes], str]) -> None:
    url = answering(200, json.dumps(HEALTHY).encode())
    done = kflow("health", "--url", url)
    assert done.code == 0
    assert "messages_enqueued 1,234" in done.out
    assert kflow("health", "--url", url, "--json").json["components"] == HEALTHY["components"]


def test_its_address_comes_from_the_settings(kflow: Kflow, answering: Callable[[int, bytes], str]) -> None:
    port = answering(200, json.dumps(HEALTHY).encode()).rpartition(":")[2]
    assert kflow("health", KFLOW__WEB__PORT=port).code == 0


def test_an_unhealthy_recorder_ends_with_6_and_still_shows_why(
    kflow: Kflow, answering: Callable[[int, bytes], str]
) -> None:
    parts = {"orderbook_client": {"status": "unhealthy", "connected": False}}
    done = kflow("health", "--url", answering(503, json.dumps({"status": "unhealthy", "components": parts}).encode()))
    assert done.code == 6
    assert "connected no" in done.out
    assert "error: the recorder says it is unhealthy" in done.err


def test_nobody_there_ends_with_5(kflow: Kflow) -> None:
    done = kflow("health", "--url", "http://127.0.0.1:1")
    assert (done.code, done.out) == (5, "")
    assert "no recorder answers at http://127.0.0.1:1: Connection refused" in done.err


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"{}", b"\xff"])
def test_another_program_there_ends_with_5(kflow: Kflow, answering: Callable[[int, bytes], str], body: bytes) -> None:
    done = kflow("health", "--url", answering(200, body))
    assert done.code == 5
    assert "not as a recorder of kflow" in done.err


def test_no_proxy_is_asked(kflow: Kflow, answering: Callable[[int, bytes], str]) -> None:
    url = answering(200, json.dumps(HEALTHY).encode())
    assert kflow("health", "--url", url, http_proxy="http://127.0.0.1:1", HTTP_PROXY="http://127.0.0.1:1").code == 0


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8001", "http://", "http://h:99999"])
def test_a_bad_address_is_misuse(kflow: Kflow, url: str) -> None:
    assert kflow("health", "--url", url).code == 2
