"""kflow doctor: each trouble is found, and the line says how to mend it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kflow.kalshi.auth import write_new_key
from kflow.testing.postgres import Database
from tests.cli.conftest import Kflow, Outcome


@pytest.fixture
def doctor(kflow: Kflow, database: Database) -> Kflow:
    def call(**environ: str) -> Outcome:
        return kflow("doctor", "--json", **({"DATABASE_URL": database.dsn, "KFLOW__WEB__PORT": "0"} | environ))

    return call


def line(done: Outcome, check: str) -> dict[str, Any]:
    [found] = [item for item in done.json["checks"] if item["check"] == check]
    return found


def test_a_sound_machine_passes(doctor: Kflow) -> None:
    done = doctor()
    assert done.code == 0, done.out
    assert {item["check"] for item in done.json["checks"]} >= {"python", "packages", "data folder", "postgresql",
        "schema", "api key", "exchange", "http port", "time zone", "open files"}  # fmt: skip
    assert all(item["fix"] for item in done.json["checks"] if item["state"] != "pass")


def test_the_embedded_server_is_started_to_see_that_it_runs(kflow: Kflow) -> None:
    done = kflow("doctor", "--json", KFLOW__WEB__PORT="0")
    assert line(done, "postgresql")["found"].endswith(", embedded")
    assert done.code == 0


def test_a_key_that_others_can_read(doctor: Kflow, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    write_new_key(path)
    path.chmod(0o644)
    done = doctor(KALSHI_API_KEY_ID="an-id", KALSHI_PRIVATE_KEY_PATH=str(path))
    found = line(done, "api key")
    assert (done.code, found["state"]) == (3, "fail")
    assert "chmod 600" in found["fix"]
    path.chmod(0o600)
    assert line(doctor(KALSHI_API_KEY_ID="an-id", KALSHI_PRIVATE_KEY_PATH=str(path)), "api key")["state"] == "pass"


def test_half_a_key(doctor: Kflow) -> None:
    assert line(doctor(KALSHI_API_KEY_ID="an-id"), "api key")["found"] == "KALSHI_PRIVATE_KEY_PATH is not set"


def test_a_port_in_use(doctor: Kflow) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = line(doctor(KFLOW__WEB__PORT=str(taken.getsockname()[1])), "http port")
    assert found["state"] == "warn"
    assert "kflow health" in found["fix"]


def test_a_service_open_to_others_without_a_token(doctor: Kflow) -> None:
    done = doctor(KFLOW__WEB__HOST="0.0.0.0")
    assert (done.code, line(done, "http port")["state"]) == (3, "fail")


def test_no_database_there(doctor: Kflow) -> None:
    done = doctor(DATABASE_URL="postgresql://u:canary@127.0.0.1:1/d")
    assert (done.code, line(done, "postgresql")["state"]) == (3, "fail")
    assert "canary" not in done.out + done.err


def test_a_schema_that_is_behind(doctor: Kflow, empty_database: Database) -> None:
    found = line(doctor(DATABASE_URL=empty_database.dsn), "schema")
    assert (found["state"], found["fix"]) == ("fail", "kflow db upgrade")


def test_a_password_in_the_environment(doctor: Kflow, database: Database) -> None:
    done = doctor(DATABASE_URL=f"{database.dsn} password=canary")
    assert line(done, "secrets")["state"] == "warn"
    assert "canary" not in done.out + done.err


def test_a_variable_that_nothing_reads(doctor: Kflow) -> None:
    assert line(doctor(RL_SAMPLE_RATE="2"), "environment")["fix"] == "did you mean RL_ORDERBOOK_SAMPLE_RATE?"


def test_an_exchange_that_does_not_answer(doctor: Kflow) -> None:
    done = doctor(KFLOW__KALSHI__EXCHANGE="http://127.0.0.1:1")
    assert (done.code, line(done, "exchange")["state"]) == (3, "fail")


def test_a_folder_that_others_can_look_into(doctor: Kflow, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    found = line(doctor(KFLOW_DATA_DIR=str(folder)), "data folder mode")
    assert found["fix"] == f"chmod 700 {folder}"


def test_an_exchange_that_answers_and_agrees_on_the_time(doctor: Kflow) -> None:
    command = [sys.executable, "-m", "kflow", "exchange", "serve", "--synthetic", "quiet", "--markets", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as exchange:
        try:
            assert exchange.stdout is not None
            ready = json.loads(exchange.stdout.readline())
            done = doctor(
                KFLOW__KALSHI__EXCHANGE=ready["rest"],
                KALSHI_API_KEY_ID=ready["key_id"],
                KALSHI_PRIVATE_KEY_PATH=ready["private_key_path"],
            )
        finally:
            exchange.terminate()
    assert (done.code, line(done, "exchange")["state"], line(done, "clock")["state"]) == (0, "pass", "pass")
    assert line(done, "api key")["found"].endswith("(RSA)")
