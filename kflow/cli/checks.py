"""What `kflow doctor` looks at: one function per thing, each of which says what it found and how to mend it."""

from __future__ import annotations

import errno
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module, metadata

from kflow.errors import KflowError
from kflow.settings import Settings, unknown_variables

NEEDED_BYTES, ADVISED_BYTES = 500_000_000, 5_000_000_000
SKEW_WARN_MS, SKEW_FAIL_MS = 2_000, 5_000  # kalshi-protocol §2.3: beyond 5 s signed requests are refused
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class State(StrEnum):
    """How a check went."""

    PASS = "pass"  # noqa: S105 - not a password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor. `fix` is the command or step that mends it."""

    check: str
    state: State
    found: str
    fix: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check in turn. A check that meets an error of kflow's own becomes a failed one with its message."""
    for name, check in CHECKS.items():
        try:
            yield from check(settings)
        except KflowError as error:
            yield Finding(name, State.FAIL, str(error), error.hint)


def python(_settings: Settings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    new_enough = sys.version_info >= (3, 11)
    state = State.PASS if new_enough else State.FAIL
    yield Finding("python", state, f"Python {version} on {sys.platform}", "" if new_enough else "install Python 3.11+")


def packages(_settings: Settings) -> Iterator[Finding]:
    """The parts with compiled code are the ones that a wrong wheel breaks; so they are loaded, not just looked for."""
    broken, versions = [], []
    for name, module in _COMPILED.items():
        try:
            import_module(module)
            versions.append(f"{name} {metadata.version(name)}")
        except (ImportError, OSError) as error:
            broken.append(f"{name}: {error}")
    if broken:
        yield Finding(
            "packages", State.FAIL, "; ".join(broken), "make clean demo, or pip install --force-reinstall kflow"
        )
    else:
        yield Finding("packages", State.PASS, ", ".join(versions))


def data_folder(settings: Settings) -> Iterator[Finding]:
    from kflow.wiring import data_dir

    folder = data_dir(settings)
    free = shutil.disk_usage(folder).free
    state = State.FAIL if free < NEEDED_BYTES else State.WARN if free < ADVISED_BYTES else State.PASS
    fix = "" if state is State.PASS else "free some space, or choose another folder with KFLOW_DATA_DIR"
    yield Finding("data folder", state, f"{folder}, {free / 1e9:.1f} GB free", fix)
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        yield Finding("data folder mode", State.WARN, f"{mode:o}: others can look into it", f"chmod 700 {folder}")


def postgres(settings: Settings) -> Iterator[Finding]:
    """Starts the embedded server where it is the one in use: nothing less shows that it can run."""
    from kflow.store import migrate
    from kflow.store import postgres as store
    from kflow.wiring import database

    with database(settings, any_schema=True) as dsn, store.connect(dsn, autocommit=True) as conn:
        version = conn.info.parameter_status("server_version")
        schema = migrate.status(conn)
    own = settings.database.url or settings.database.url_file
    where = store.redacted(dsn) if own else "embedded"
    yield Finding("postgresql", State.PASS, f"{version}, {where}")
    if schema.current or (not own and schema.version == 0):
        yield Finding("schema", State.PASS, f"version {schema.version} of {schema.known}")
    else:
        newer = schema.version > schema.known
        fix = "upgrade kflow" if newer else "kflow db upgrade"
        yield Finding("schema", State.FAIL, f"version {schema.version}, this kflow knows {schema.known}", fix)


def key(settings: Settings) -> Iterator[Finding]:
    from kflow.wiring import api_key

    found = api_key(settings)
    if found is not None:
        yield Finding("api key", State.PASS, f"{settings.kalshi.private_key_path} ({found.algorithm})")
    elif settings.kalshi.environment == "local":
        yield Finding("api key", State.PASS, "none, and none is needed in environment local")
    else:
        fix = "set KALSHI_API_KEY_ID and KALSHI_PRIVATE_KEY_PATH (a read-only key is enough to record)"
        yield Finding("api key", State.FAIL, f"none, and environment {settings.kalshi.environment} needs one", fix)


def exchange(settings: Settings) -> Iterator[Finding]:
    """Whether the venue answers, and how far our clock is from its own."""
    if settings.kalshi.environment == "local" and settings.kalshi.exchange is None:
        yield Finding("exchange", State.PASS, "ingest starts a private one")
        return
    import asyncio

    from kflow.wiring import clock_offset_ms, venue

    offset = asyncio.run(clock_offset_ms(settings))
    yield Finding("exchange", State.PASS, f"{venue(settings).rest} answers")
    far = abs(offset)
    state = State.FAIL if far > SKEW_FAIL_MS else State.WARN if far > SKEW_WARN_MS else State.PASS
    fix = "" if state is State.PASS else "sudo timedatectl set-ntp true"
    yield Finding("clock", state, f"{far / 1000:.1f} s from the exchange's (known to 1 s)", fix)


def port(settings: Settings) -> Iterator[Finding]:
    web = settings.web
    place = f"{web.host}:{web.port}"
    if web.host not in LOOPBACK and web.token_file is None:
        yield Finding("http port", State.FAIL, f"{place} is open to others without a token", "set web.token_file")
        return
    family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((web.host, web.port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fix = "kflow health (is it a recorder of yours?), or choose another with --port"
            yield Finding("http port", State.WARN, f"{place} is in use", fix)
        else:
            yield Finding("http port", State.FAIL, f"{place}: {error.strerror}", "correct web.host and web.port")
        return
    yield Finding("http port", State.PASS, f"{place} is free")


def time_zone(_settings: Settings) -> Iterator[Finding]:
    from datetime import datetime

    zone = datetime.now().astimezone().tzname()
    yield Finding("time zone", State.PASS, f"{zone} here; kflow stores and prints UTC")


def secrets(settings: Settings) -> Iterator[Finding]:
    """Where secrets stand that others may read: environments are inherited, files are copied."""
    clean = True
    origin = settings.origins.get("database.url", "")
    if settings.database.url and "password" in _parameters(settings.database.url):
        clean = False
        fix = "keep the URL in a file of mode 0600 and set database.url_file, or the password in ~/.pgpass"
        yield Finding("secrets", State.WARN, f"a database password comes from the {origin}", fix)
    for name, near in unknown_variables():
        clean = False
        fix = f"did you mean {near}?" if near else f"unset {name}"
        yield Finding("environment", State.WARN, f"nothing reads {name}", fix)
    if clean:
        yield Finding("secrets", State.PASS, "none in the environment, no unknown variable")


def limits(_settings: Settings) -> Iterator[Finding]:
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    enough = soft == resource.RLIM_INFINITY or soft >= 256
    fix = "" if enough else "ulimit -n 1024"
    yield Finding("open files", State.PASS if enough else State.WARN, f"{soft} allowed", fix)


def _parameters(url: str) -> dict[str, str]:
    from kflow.store import postgres as store

    return store.parse(url)


_COMPILED = {
    "cryptography": "cryptography.hazmat.bindings._rust",
    "google-crc32c": "google_crc32c",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "psycopg-binary": "psycopg.pq",
    "websockets": "websockets",
}

CHECKS: dict[str, Callable[[Settings], Iterator[Finding]]] = {
    "python": python,
    "packages": packages,
    "data folder": data_folder,
    "postgresql": postgres,
    "api key": key,
    "exchange": exchange,
    "http port": port,
    "time zone": time_zone,
    "open files": limits,
    "secrets": secrets,
}
