"""Which addresses go together, and which never do."""

from __future__ import annotations

import pytest

from kflow.errors import ConfigError
from kflow.kalshi.environments import Endpoints, Environment, endpoints, is_loopback

LOCAL, DEMO, PRODUCTION = Environment.LOCAL, Environment.DEMO, Environment.PRODUCTION


@pytest.mark.parametrize(
    ("environment", "exchange", "rest", "ws"),
    [
        (DEMO, None, "https://external-api.demo.kalshi.co", "wss://external-api-ws.demo.kalshi.co"),
        (PRODUCTION, None, "https://external-api.kalshi.com", "wss://external-api-ws.kalshi.com"),
        (DEMO, "https://demo-api.kalshi.co", "https://demo-api.kalshi.co", "wss://demo-api.kalshi.co"),
        (
            DEMO,
            "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2",
            "https://external-api.demo.kalshi.co",
            "wss://external-api-ws.demo.kalshi.co",
        ),
        (
            PRODUCTION,
            "https://API.elections.kalshi.com/trade-api/v2/",
            "https://api.elections.kalshi.com",
            "wss://api.elections.kalshi.com",
        ),
        (LOCAL, "http://127.0.0.1:8123", "http://127.0.0.1:8123", "ws://127.0.0.1:8123"),
        (LOCAL, "ws://localhost:8123/trade-api/ws/v2", "http://localhost:8123", "ws://localhost:8123"),
        (LOCAL, "http://[::1]:8123/trade-api/v2", "http://[::1]:8123", "ws://[::1]:8123"),
        (LOCAL, "https://sim.example:8443", "https://sim.example:8443", "wss://sim.example:8443"),
    ],
)
def test_rest_and_stream_come_together(environment: Environment, exchange: str | None, rest: str, ws: str) -> None:
    found = endpoints(environment, exchange=exchange)
    assert found == Endpoints(f"{rest}/trade-api/v2", f"{ws}/trade-api/ws/v2", environment)


@pytest.mark.parametrize(
    ("environment", "exchange", "why"),
    [
        (LOCAL, None, "environment local needs the address"),
        (PRODUCTION, "https://demo-api.kalshi.co", "belongs to environment demo, not to production"),
        (DEMO, "https://api.elections.kalshi.com", "belongs to environment production, not to demo"),
        (LOCAL, "https://external-api.kalshi.com", "belongs to environment production, not to local"),
        (LOCAL, "https://trading-api.kalshi.com", "is Kalshi's, not a local exchange"),
        (LOCAL, "https://kalshi.co", "is Kalshi's, not a local exchange"),
        (DEMO, "http://127.0.0.1:8123", "is not a host of environment demo"),
        (PRODUCTION, "https://api.elections.kalshi.com.evil.example", "is not a host of environment production"),
        (PRODUCTION, "http://api.elections.kalshi.com", "in plain text"),
        (LOCAL, "http://192.168.1.9:8123", "in plain text"),
        (LOCAL, "ws://sim.example:8123", "in plain text"),
        (LOCAL, "http://127.0.0.1.example:80", "in plain text"),
        (LOCAL, "127.0.0.1:8123", "no plain URL"),
        (LOCAL, "ftp://127.0.0.1", "is not the address of an exchange"),
        (LOCAL, "http://127.0.0.1:8123/v1", "is not the address of an exchange"),
        (LOCAL, "http://127.0.0.1:99999", "no plain URL"),
        (LOCAL, "http://me:secret@127.0.0.1", "no plain URL"),
        (LOCAL, "http://127.0.0.1/?a=secret", "no plain URL"),
        (LOCAL, "http://[::1", "no plain URL"),
        (LOCAL, "", "no plain URL"),
    ],
)
def test_what_does_not_fit_is_refused(environment: Environment, exchange: str | None, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        endpoints(environment, exchange=exchange)
    assert refused.value.exit_code == 3
    assert refused.value.hint
    assert "secret" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(
    ("rest", "ws", "environment", "why"),
    [
        (
            "https://demo-api.kalshi.co/trade-api/v2",
            "wss://external-api-ws.kalshi.com/trade-api/ws/v2",
            DEMO,
            "belongs to",
        ),
        (
            "https://demo-api.kalshi.co/trade-api/v2",
            "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2",
            DEMO,
            "do not belong together",
        ),
        ("http://127.0.0.1/trade-api/v2", "ws://127.0.0.1/trade-api/v2", LOCAL, "is not an address"),
        ("ws://127.0.0.1/trade-api/v2", "ws://127.0.0.1/trade-api/ws/v2", LOCAL, "is not an address"),
        ("https://127.0.0.1/trade-api/v2", "ws://sim.example/trade-api/ws/v2", LOCAL, "in plain text"),
    ],
)
def test_no_mixed_pair_can_be_made(rest: str, ws: str, environment: Environment, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Endpoints(rest, ws, environment)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("localhost.example", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback_is_known_by_name(host: str | None, loopback: bool) -> None:
    assert is_loopback(host) is loopback
