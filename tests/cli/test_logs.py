"""Nothing secret leaves through a log line or an error."""

from __future__ import annotations

import logging

import pytest

from kflow.cli import logs


@pytest.mark.parametrize(
    "text",
    [
        "connect postgresql://user:canary@host/db",
        "connect postgresql://:canary@host/db?sslmode=require",
        "host=h password=canary dbname=d",
        "host=h password='ca nary canary' dbname=d",
        "KALSHI-ACCESS-SIGNATURE: canary==",
        "{'KALSHI-ACCESS-KEY': 'canary', 'x': 1}",
        "Authorization: Bearer canary",
        "-----BEGIN RSA PRIVATE KEY-----\ncanary\ncanary\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\ncanary and then it breaks off",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    shown = logs.redact(text)
    assert "canary" not in shown
    assert "***" in shown


def test_what_is_not_secret_stays() -> None:
    text = "recorded INXD-25JAN03 from wss://host:443/trade-api/ws/v2 in 3.2 s: 5 gaps"
    assert logs.redact(text) == text


@pytest.mark.parametrize(("loudness", "level"), [(-2, 40), (-1, 30), (0, 20), (1, 10), (2, 10)])
def test_loudness(loudness: int, level: int, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, before = root.handlers[:], root.level
    try:
        logs.configure(loudness)
        assert root.level == level
        assert logging.getLogger("websockets").level >= logging.WARNING
        logging.getLogger("kflow").error("password=%s", "canary")
        said = capsys.readouterr()
        assert said.out == ""
        assert "password=***" in said.err
    finally:
        root.handlers[:] = handlers
        root.setLevel(before)
