"""Whatever a user gets wrong ends in a sentence, a hint and an exit code; nothing is lost and no secret is shown."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kflow.clock import NS_PER_S, SystemClock
from kflow.exchange.server import ExchangeOptions
from kflow.kalshi.auth import write_new_key
from kflow.testing.postgres import Database
from kflow.testing.process import Outcome, Shell
from kflow.testing.venue import LocalVenue
from tests.cli.conftest import CANARY, keyed, refused

EVENT = "INXD-25JAN03"


def sessions(database: Database) -> int:
    with database.connect() as conn:
        row = conn.execute("SELECT count(*) FROM rl_sessions").fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


# --- the key


def openssh_key() -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    return Ed25519PrivateKey.generate().private_bytes(*form)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "is not PEM"),
        (f"key: {CANARY}\n".encode(), "is not PEM"),
        (f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n".encode(), "is damaged"),
        (openssh_key(), "holds an OpenSSH key"),
    ],
)
def test_a_wrong_key_file(recorder: Shell, content: bytes | None, why: str) -> None:
    path = recorder.folder / "key.pem"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    done = recorder.run("ingest", "--duration", 1, KALSHI_PRIVATE_KEY_PATH=str(path))
    refused(done, 3, why, "key.pem")
    assert "***" not in done.err  # the hint is for reading


def test_a_folder_as_key_file_and_a_key_that_others_can_read(recorder: Shell, database: Database) -> None:
    refused(recorder.run("ingest", KALSHI_PRIVATE_KEY_PATH=str(recorder.folder)), 3, "is not a regular file")
    path = recorder.folder / "key.pem"
    write_new_key(path)
    path.chmod(0o644)
    refused(recorder.run("ingest", KALSHI_PRIVATE_KEY_PATH=str(path)), 3, "mode 0644", f"chmod 600 {path}")
    refused(recorder.run("ingest", KALSHI_API_KEY_ID=""), 3, "KALSHI_API_KEY_ID is not set")
    assert sessions(database) == 0


def test_a_key_id_that_the_venue_does_not_know(recorder: Shell) -> None:
    done = recorder.run("ingest", KALSHI_API_KEY_ID="4a1b")
    refused(done, 5, "HTTP 401", "does not know this key id", "Ruled out: the key file", "the clock (0.")


class Late(SystemClock):
    """A clock a minute ahead of the machine's: seen from there, the machine is late."""

    def wall_ns(self) -> int:
        return super().wall_ns() + 60 * NS_PER_S


async def test_a_clock_that_is_a_minute_off(tmp_path: Path, database: Database) -> None:
    async with LocalVenue(options=ExchangeOptions(clock=Late())) as venue:
        shell = Shell(tmp_path, {**keyed(venue), "DATABASE_URL": database.dsn, "KFLOW__WEB__PORT": "0"})
        done = await asyncio.to_thread(shell.run, "ingest", "--market", "INXD-25JAN03-B5912")
    # The venue tells whole seconds, so only 59 of the 60 are certain in most of them.
    refused(done, 3, "this machine's clock is", "s behind the venue's", "timedatectl")
    assert re.search(r"clock is (59|60) s behind", done.err)
    assert sessions(database) == 0


# --- what to record, and where from


@pytest.mark.parametrize(
    ("ticker", "words"),
    [
        ("INXD-25JAN04", "did you mean INXD-25JAN03"),
        ("x'; DROP TABLE rl_sessions; --", "is not a ticker"),
        ("../../../etc/passwd", "is not a ticker"),
        ("ÜÑÏ-😀", "is not a ticker"),
        ("A\x1b[31mB", r"A\x1b[31MB"),
        ("A" * 10_240, "is not a ticker"),
    ],
)
def test_a_ticker_that_is_none(recorder: Shell, database: Database, ticker: str, words: str) -> None:
    done = recorder.run("ingest", "--market", ticker)
    refused(done, 2, words)
    assert len(done.err) < 500
    assert "\x1b" not in done.err
    assert sessions(database) == 0


def test_a_nul_in_a_ticker_of_the_settings_file(recorder: Shell) -> None:
    (recorder.folder / "kflow.toml").write_text('[selection]\nmarkets = ["A\\u0000B"]\n')
    refused(recorder.run("ingest"), 2, r"A\x00B", "is not a ticker")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--duration", "-1"), "--duration -1 makes no sense"),
        (("--duration", "nan"), "--duration nan makes no sense"),
        (("--duration", "inf"), "--duration inf makes no sense"),
        (("--port", "70000"), "web.port cannot be 70000"),
        (("--env", "prod"), "kalshi.environment cannot be 'prod'"),
        (("--max-markets", "0"), "selection.max_markets cannot be 0"),
        (("--min-volume", "5"), "--min-volume chooses among all markets"),
        (("--all", "--min-volume", "-1"), "selection.min_volume cannot be -1"),
        (("--env", "demo"), "no market is named"),
    ],
)
def test_a_value_that_makes_no_sense(shell: Shell, words: tuple[str, ...], sentence: str) -> None:
    refused(shell.run("ingest", *words), 2, sentence)
    assert not (shell.folder / "data").exists()


def test_an_option_that_does_not_exist_names_the_near_one(shell: Shell) -> None:
    done = shell.run("ingest", "--markett", EVENT)
    assert (done.code, done.out) == (2, "")
    assert "--market" in done.err.rpartition("error:")[2]


def test_settings_that_do_not_exist_name_the_near_one(shell: Shell) -> None:
    refused(shell.run("ingest", KFLOW__RECORDER__BATCHROWS="5"), 3, "did you mean recorder.batch_rows?")
    (shell.folder / "kflow.toml").write_text("[web]\nprot = 1\n")
    refused(shell.run("ingest"), 3, "kflow.toml: there is no setting web.prot", "did you mean web.port?")
    (shell.folder / "kflow.toml").write_text(f'[database]\nurl = "postgresql://u:{CANARY}@h/d" x\n')
    refused(shell.run("ingest"), 3, "kflow.toml is not TOML")
    refused(shell.run("ingest", KFLOW_CONFIG="absent.toml"), 3, "absent.toml cannot be read: No such file")


def test_a_variable_that_nothing_reads_is_told_of(recorder: Shell) -> None:
    done = recorder.run("ingest", "--market", "NOPE", RL_ORDERBOOK_BATCHSIZE="5")
    refused(done, 2, "nothing reads the variable RL_ORDERBOOK_BATCHSIZE; did you mean RL_ORDERBOOK_BATCH_SIZE?")


# Runs kflow and says on stderr whom it asks for: name look-ups and connections, but those of libpq.
WATCHED = """
import sys
def hook(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect"):
        print("ASKED", arguments[:2], file=sys.stderr)
sys.addaudithook(hook)
from kflow.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--env", "production"), 3, "recording needs an API key"),
        (("--env", "demo"), 3, "recording needs an API key"),
        (("--env", "demo", "--exchange", "http://127.0.0.1:9"), 3, "is not a host of environment demo"),
        (("--env", "demo", "--exchange", "https://api.elections.kalshi.com"), 3, "belongs to environment production"),
        (("--exchange", "https://api.elections.kalshi.com"), 3, "belongs to environment production"),
        (("--exchange", f"http://u:{CANARY}@127.0.0.1:9"), 3, "is no plain URL"),
    ],
)
def test_the_wrong_venue_is_never_asked(
    recorder: Shell, words: tuple[str, ...], code: int, sentence: str, database: Database
) -> None:
    environ = recorder.variables({})
    del environ["KFLOW__KALSHI__EXCHANGE"]
    if "key" in sentence:
        del environ["KALSHI_API_KEY_ID"], environ["KALSHI_PRIVATE_KEY_PATH"]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, "ingest", "--market", EVENT, *words],
        capture_output=True, text=True, env=environ, cwd=recorder.folder, timeout=30, check=False,
    )  # fmt: skip
    refused(Outcome(done.returncode, done.stdout, done.stderr), code, sentence)
    assert "ASKED" not in done.stderr
    assert sessions(database) == 0


def test_an_exchange_that_is_not_there(recorder: Shell) -> None:
    done = recorder.run("ingest", "--exchange", "http://127.0.0.1:1")
    refused(done, 5, "no answer from 127.0.0.1:1", "kflow exchange serve")


# --- ports


def test_a_port_that_is_taken(recorder: Shell, database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused(recorder.run("ingest", "--port", port), 5, f"127.0.0.1:{port} is already in use", "--port")
        refused(recorder.run("exchange", "serve", "--port", port), 5, f"127.0.0.1:{port} is already in use")
    assert sessions(database) == 0


def test_nobody_to_ask(shell: Shell) -> None:
    for command in ("health", "watch --once"):
        refused(shell.run(*command.split(), "--url", "http://127.0.0.1:1"), 5, "no recorder answers", "kflow ingest")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--seed", "-1"), 2), (("--limit", "-1"), 2), (("--lifetime", "-1"), 2), (("--rate", "nan"), 2),
        (("--markets", "0"), 2), (("--synthetic", "loud"), 2), (("--host", "0.0.0.0"), 3), (("--keys", "/proc/x"), 3),
        (("--from", "absent.jsonl"), 3), (("--fault", "absent.toml"), 3),
    ],
)  # fmt: skip
def test_an_exchange_that_cannot_be(shell: Shell, words: tuple[str, ...], code: int) -> None:
    refused(shell.run("exchange", "serve", *words), code)


# --- the database


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"postgresql://u:{CANARY}@no-host.invalid/d", "correct the host"),
        (f"postgresql://u:{CANARY}@127.0.0.1:1/d", "is PostgreSQL running"),
        (f"postgresql://u:{CANARY}@127.0.0.1:99999/d", "correct the port"),
        (f"postgresql://u:x@{CANARY}@127.0.0.1/d", "cannot be read"),
        (f"mysql://u:{CANARY}@127.0.0.1/d", "cannot be read"),
        (f"nonsense {CANARY}", "cannot be read"),
    ],
)
def test_a_wrong_database_url(shell: Shell, url: str, words: str) -> None:
    refused(shell.run("sessions", "ls", DATABASE_URL=url), 4, words)
    refused(shell.run("ingest", "--port", 0, DATABASE_URL=url), 4, words)


def test_a_wrong_password_and_a_database_that_is_not_there(shell: Shell, database: Database) -> None:
    user = f"asked_{secrets.token_hex(4)}"
    with database.connect(autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'right'")  # type: ignore[call-overload]
        [(name,)] = conn.execute("SHOW hba_file").fetchall()
        rules = Path(str(name))
        rules.write_text(f"local all {user} scram-sha-256\n" + rules.read_text())
        conn.execute("SELECT pg_reload_conf()")
        folder = conn.info.host
        deadline = time.monotonic() + 10
        while conn.execute("SELECT 1 FROM pg_hba_file_rules WHERE user_name = %s", [[user]]).fetchone() is None:
            assert time.monotonic() < deadline
        url = f"postgresql:///{conn.info.dbname}?host={folder}&user={user}&password={CANARY}"
        missing = f"host={folder} user={conn.info.user} dbname=absent password={CANARY}"
    refused(shell.run("sessions", "ls", DATABASE_URL=url), 4, "check user and password")
    refused(shell.run("sessions", "ls", DATABASE_URL=missing), 4, '"absent" does not exist', "create it")


def test_a_schema_that_is_older_or_newer(recorder: Shell, empty_database: Database, database: Database) -> None:
    refused(recorder.run("ingest", DATABASE_URL=empty_database.dsn), 3, "schema version 0", "kflow db upgrade")
    with database.connect(autocommit=True) as conn:
        conn.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (99, 'later', '\\x00')")
    refused(recorder.run("ingest"), 3, "schema version 99", "newer kflow")
    assert sessions(database) == 0


def test_sessions_that_do_not_exist(recorder: Shell) -> None:
    for number in ("7", "99999999999999999999"):
        refused(recorder.run("replay", "verify", "--session", number), 2, f"no session has the number {number}")
        refused(recorder.run("sessions", "show", number), 2, f"no session has the number {number}")
