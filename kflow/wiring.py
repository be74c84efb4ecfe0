"""From settings to concrete parts: the one place that knows which goes where."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kflow.errors import ConfigError, CredentialError
from kflow.private import closed, ours
from kflow.settings import Settings

if TYPE_CHECKING:
    from kflow.kalshi.auth import ApiKey
    from kflow.kalshi.environments import Endpoints
    from kflow.store.postgres import Connection


def data_dir(settings: Settings) -> Path:
    """The data folder, made where it is missing. Raises ConfigError where it cannot be used."""
    from kflow.store import folders

    return folders.data_dir(str(settings.data.dir) if settings.data.dir else None)


def database_url(settings: Settings) -> str | None:
    """The connection string of the user's own PostgreSQL, from its file or its setting; None: the embedded server."""
    file = settings.database.url_file
    return secret_line(file, "database.url_file") if file else settings.database.url


@contextmanager
def database(settings: Settings, *, any_schema: bool = False) -> Iterator[str]:
    """A running PostgreSQL, as its connection string, for as long as the block lasts.

    The embedded server is started where it does not run, and its schema brought up to date. A server of the user's own
    must have kflow's schema already (`kflow db upgrade`), unless `any_schema`. Raises DatabaseError, SchemaMismatch.
    """
    from kflow.store import migrate, postgres
    from kflow.store.embedded import EmbeddedServer

    url = database_url(settings)
    if url is None:
        with EmbeddedServer.acquire(data_dir(settings)) as server:
            if not any_schema:
                with postgres.connect(server.dsn, autocommit=True) as conn:
                    migrate.upgrade(conn)
            yield server.dsn
        return
    with postgres.connect(url, autocommit=True) as conn:
        if not any_schema:
            migrate.require_current(conn)
    yield url


@contextmanager
def connections(settings: Settings) -> Iterator[Callable[[], Connection]]:
    """Opens autocommit connections for as long as the block lasts; starts the embedded server again where it died."""
    from kflow.store import migrate, postgres
    from kflow.store.embedded import EmbeddedServer

    url = database_url(settings)
    if url is not None:
        with database(settings):
            yield lambda: postgres.connect(url, autocommit=True)
        return
    with EmbeddedServer.acquire(data_dir(settings)) as server:

        def connect() -> Connection:
            server.ensure()
            return postgres.connect(server.dsn, autocommit=True)

        with connect() as conn:
            migrate.upgrade(conn)
        yield connect


def venue(settings: Settings) -> Endpoints:
    """The addresses of the venue that the settings name."""
    from kflow.kalshi.environments import Environment, endpoints

    return endpoints(Environment(settings.kalshi.environment), exchange=settings.kalshi.exchange)


def api_key(settings: Settings) -> ApiKey | None:
    """The key that signs, None where neither its id nor its file is set. Raises CredentialError for half of one."""
    from kflow.kalshi.auth import ApiKey
    from kflow.kalshi.environments import Environment

    key_id, path = settings.kalshi.key_id, settings.kalshi.private_key_path
    if key_id and path:
        return ApiKey.load(key_id, path, environment=Environment(settings.kalshi.environment))
    if key_id or path:
        missing = "KALSHI_PRIVATE_KEY_PATH" if key_id else "KALSHI_API_KEY_ID"
        raise CredentialError(f"{missing} is not set", hint="a key needs both its id and its file")
    return None


@asynccontextmanager
async def venue_of(settings: Settings, say: Callable[[str], None]) -> AsyncIterator[tuple[Endpoints, ApiKey]]:
    """The venue to listen to and the key to sign with; an exchange of our own where environment `local` names none."""
    from kflow.kalshi.auth import ApiKey
    from kflow.kalshi.environments import Environment, endpoints

    if settings.kalshi.environment == "local" and settings.kalshi.exchange is None:
        from kflow.exchange.scene import SyntheticOptions
        from kflow.exchange.server import Exchange, ExchangeOptions
        from kflow.exchange.synthetic import SyntheticSource

        chosen = settings.exchange
        source = SyntheticSource(SyntheticOptions(preset=chosen.preset, rate=chosen.rate, seed=chosen.seed))
        async with await Exchange.start(ExchangeOptions(source=source)) as exchange:
            say(f"environment local: a private exchange with synthetic flow at {exchange.rest}")
            key = ApiKey.load(exchange.key_id, exchange.private_key_path)
            yield endpoints(Environment.LOCAL, exchange=exchange.rest), key
        return
    key_or_none = api_key(settings)
    if key_or_none is None:
        raise ConfigError(
            "recording needs an API key, since every stream of the venue is signed",
            hint="set KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH (a key with the scope read is enough)",
        )
    yield venue(settings), key_or_none


def web_token(settings: Settings) -> str:
    """The token that admin requests must carry: of the file that is set, else of one in the data folder.

    Raises ConfigError where the service would listen beyond loopback without a token that its owner chose.
    """
    from kflow.web.access import is_loopback, load_token

    web = settings.web
    if web.token_file:
        return secret_line(web.token_file, "web.token_file")
    if not is_loopback(web.host):
        raise ConfigError(
            f"the HTTP service may not listen on {web.host} without a token",
            hint="write a long random line into a file of mode 0600 and set web.token_file",
        )
    return load_token(data_dir(settings) / "web-token")


def secret_line(path: Path, setting: str) -> str:
    """The only line of a private file. Raises CredentialError where others could read it, or it holds no line."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise CredentialError(
            f"{setting}: {path} cannot be read: {error.strerror}", hint="check the path and its mode"
        ) from None
    with os.fdopen(descriptor, encoding="utf-8") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CredentialError(f"{setting}: {path} is not a regular file", hint="name a file that holds one line")
        if not (ours(status) and closed(status, path)):
            raise CredentialError(f"{setting}: others can read {path}", hint=f"chmod 600 {path}")
        lines = file.read(65_536).split("\n")
    if not lines[0].strip() or any(lines[1:]):
        raise CredentialError(
            f"{setting}: {path} does not hold exactly one line", hint="write the secret alone into it"
        )
    return lines[0].strip()


async def clock_offset_ms(settings: Settings) -> float:
    """How far the venue's clock is ahead of ours, in milliseconds, to about a second. Raises VenueUnreachable."""
    from kflow.clock import SystemClock
    from kflow.kalshi.rest import RestClient

    async with RestClient(venue(settings), key=None, clock=SystemClock()) as client:
        return await client.clock_offset_ms()
