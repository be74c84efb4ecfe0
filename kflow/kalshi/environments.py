"""Which venue, and where it answers. REST and stream always come together (kalshi-protocol section 1)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import SplitResult, urlsplit

from kflow.errors import ConfigError

REST_PATH: Final = "/trade-api/v2"
WS_PATH: Final = "/trade-api/ws/v2"


class Environment(Enum):
    """Where orders and books are: on this machine, with play money, or with real money."""

    LOCAL = "local"
    DEMO = "demo"
    PRODUCTION = "production"


# Hosts of each environment, REST and stream, the recommended first. Documented since 2026-05-07.
_HOSTS: Final = {
    Environment.DEMO: (
        ("external-api.demo.kalshi.co", "external-api-ws.demo.kalshi.co"),
        ("demo-api.kalshi.co", "demo-api.kalshi.co"),
    ),
    Environment.PRODUCTION: (
        ("external-api.kalshi.com", "external-api-ws.kalshi.com"),
        ("api.elections.kalshi.com", "api.elections.kalshi.com"),
    ),
}
_VENUE_DOMAINS: Final = ("kalshi.com", "kalshi.co")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The two addresses of one environment. Made only if they fit each other and it; raises ConfigError otherwise."""

    rest: str
    ws: str
    environment: Environment

    def __post_init__(self) -> None:
        for url, schemes, path in (
            (self.rest, ("https", "http"), REST_PATH),
            (self.ws, ("wss", "ws"), WS_PATH),
        ):
            parts = _split(url)
            if parts.scheme not in schemes or parts.path != path:
                raise ConfigError(
                    f"{url} is not an address of the exchange", hint=f"it has the form {schemes[0]}://HOST{path}"
                )
            _check_plaintext(parts, url)
            _check_environment(parts, self.environment)
        rest, ws = _split(self.rest), _split(self.ws)
        if self.environment is not Environment.LOCAL and (rest.hostname, ws.hostname) not in _HOSTS[self.environment]:
            raise ConfigError(
                f"{rest.hostname} and {ws.hostname} do not belong together",
                hint=f"leave both out: environment {self.environment.value} knows its addresses",
            )


def endpoints(environment: Environment, *, exchange: str | None = None) -> Endpoints:
    """The addresses of an environment. `exchange` names a host, as an http, https, ws or wss URL with or without path.

    Local has no address of its own: `exchange` says where the local exchange listens. The others need none.
    Raises ConfigError for a host of another environment, for plaintext beyond this machine, and for a bad URL.
    """
    if exchange is None:
        if environment is Environment.LOCAL:
            raise ConfigError(
                "environment local needs the address of a local exchange",
                hint="start one with: kflow exchange serve, then pass --exchange http://127.0.0.1:PORT",
            )
        rest_host, ws_host = _HOSTS[environment][0]
        return Endpoints(f"https://{rest_host}{REST_PATH}", f"wss://{ws_host}{WS_PATH}", environment)
    parts = _split(exchange)
    if parts.scheme not in ("http", "https", "ws", "wss") or parts.path.rstrip("/") not in ("", REST_PATH, WS_PATH):
        raise ConfigError(f"{exchange} is not the address of an exchange", hint="it has the form http://127.0.0.1:PORT")
    _check_plaintext(parts, exchange)
    _check_environment(parts, environment)
    secure = "s" if parts.scheme in ("https", "wss") else ""
    rest_host = ws_host = parts.netloc
    for pair in _HOSTS.get(environment, ()):
        if parts.hostname in pair:
            rest_host, ws_host = pair
    return Endpoints(f"http{secure}://{rest_host}{REST_PATH}", f"ws{secure}://{ws_host}{WS_PATH}", environment)


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine, by its name alone; nothing is looked up."""
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        port_fits = False
    # The URL is not quoted where it carries a password.
    if not port_fits or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            "the address of the exchange is no plain URL: it lacks a host, or has a user, a query or a bad port",
            hint="it has the form http://127.0.0.1:PORT",
        )
    return parts


def _check_plaintext(parts: SplitResult, url: str) -> None:
    if parts.scheme in ("http", "ws") and not is_loopback(parts.hostname):
        raise ConfigError(
            f"{url} would send signed requests in plain text over the network",
            hint="use https; plain http is for this machine only",
        )


def _check_environment(parts: SplitResult, environment: Environment) -> None:
    """A host serves one environment: a demo name never reaches production, a local one never the venue."""
    host = parts.hostname or ""
    owner = next((e for e, pairs in _HOSTS.items() if any(host in pair for pair in pairs)), None)
    if owner is environment:
        return
    if owner is not None:
        raise ConfigError(
            f"{host} belongs to environment {owner.value}, not to {environment.value}",
            hint=f"pass --env {owner.value}, or leave the address out",
        )
    if environment is not Environment.LOCAL:
        raise ConfigError(
            f"{host} is not a host of environment {environment.value}",
            hint="leave the address out, or pass --env local for an exchange of your own",
        )
    if host.endswith(tuple(f".{domain}" for domain in _VENUE_DOMAINS)) or host in _VENUE_DOMAINS:
        raise ConfigError(f"{host} is Kalshi's, not a local exchange", hint="pass --env demo or --env production")
