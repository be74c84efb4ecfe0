"""The exchange as a program."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from kflow.errors import PortTaken
from kflow.exchange.server import Exchange, ExchangeOptions
from kflow.exchange.source import ManualSource
from kflow.testing.client import client
from kflow.testing.venue import LocalVenueProcess


def kflow(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kflow", "exchange", "serve", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


async def test_ready_line_names_a_private_key_that_works() -> None:
    with LocalVenueProcess("--synthetic", "quiet", "--markets", "3", "--rate", "2000") as venue:
        assert stat.S_IMODE(venue.private_key_path.stat().st_mode) == 0o600
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(venue.rest + "/exchange/status")).json()["exchange_active"] is True
        async with client(venue) as raw:
            await raw.subscribe("INXD-25JAN03-B5912")
            frames = await raw.frames(20)
        assert [f["seq"] for f in frames[1:]] == list(range(1, 20))
        folder = venue.private_key_path.parent
        assert venue.stop() == 0
    assert not folder.exists()


def test_interrupt_ends_it_with_0() -> None:
    with LocalVenueProcess("--markets", "1") as venue:
        assert venue.process is not None
        venue.process.send_signal(signal.SIGINT)
        assert venue.process.wait(timeout=10) == 0


def test_port_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = kflow("--port", str(port))
    assert (result.returncode, result.stdout) == (5, "")
    assert f"127.0.0.1:{port} is already in use" in result.stderr
    assert "Traceback" not in result.stderr


def test_it_listens_on_loopback_only() -> None:
    result = kflow("--host", "0.0.0.0")
    assert result.returncode == 3
    assert "loopback only" in result.stderr


async def test_an_address_of_version_6_is_written_as_urls_want_it() -> None:
    options = ExchangeOptions(source=ManualSource([], {}), host="::1")
    try:
        exchange = await Exchange.start(options)
    except PortTaken:
        pytest.skip("this machine has no IPv6")
    async with exchange, httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(exchange.rest + "/exchange/status")).status_code == 200
        assert exchange.ws.startswith("ws://[::1]:")


def test_options_that_make_no_sense() -> None:
    for arguments in (
        ("--speed", "fast"),
        ("--synthetic", "wild"),
        ("--markets", "0"),
        ("--rate", "-1"),
        ("--read-lag", "inf"),
    ):
        result = kflow(*arguments)
        assert result.returncode == 2, result.stderr
        assert "Traceback" not in result.stderr
    assert kflow("--from", "/nowhere.jsonl.gz").returncode == 3
    assert kflow("--fault", "/nowhere.toml").returncode == 3


async def test_until_end_ends_when_all_is_read(tmp_path: Path) -> None:
    market = "KXTEST-26-1"
    frames = [
        {"id": 1, "type": "subscribed", "msg": {"channel": "orderbook_delta", "sid": 1}},
        {"type": "orderbook_snapshot", "sid": 1, "seq": 1, "msg": {"market_ticker": market, "market_id": "x"}},
    ]
    path = tmp_path / "wire.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps({"recv_ns": 1, "conn": "c", "frame": frame}) + "\n" for frame in frames)
    with LocalVenueProcess("--from", os.fspath(path), "--speed", "max", "--until-end") as venue:
        async with client(venue) as raw:
            await raw.subscribe(market)
            assert await raw.frames(2) == frames
        assert venue.next_event() == {"event": "finished", "frames": 2, "faults": {}}
        assert venue.process is not None
        assert venue.process.wait(timeout=10) == 0
