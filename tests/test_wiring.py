"""From settings to parts: which database, which key, which token, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kflow import wiring
from kflow.errors import ConfigError, CredentialError, SchemaMismatch
from kflow.kalshi.auth import write_new_key
from kflow.settings import Data, Database, Kalshi, Settings, Web
from kflow.store import postgres
from kflow.testing import postgres as testing


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_database_url_may_come_from_a_private_file(tmp_path: Path) -> None:
    file = private(tmp_path / "dsn", "postgresql://h/d\n")
    assert wiring.database_url(Settings(database=Database(url_file=file))) == "postgresql://h/d"
    assert wiring.database_url(Settings(database=Database(url="postgresql://x/y"))) == "postgresql://x/y"
    assert wiring.database_url(Settings()) is None


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [("one\n", 0o644, "others can read"), ("", 0o600, "exactly one line"), ("a\nb\n", 0o600, "exactly one line")],
)
def test_a_secret_file_that_will_not_do(tmp_path: Path, text: str, mode: int, why: str) -> None:
    with pytest.raises(CredentialError, match=why) as caught:
        wiring.secret_line(private(tmp_path / "f", text, mode), "web.token_file")
    assert "one" not in str(caught.value).replace("one line", "")


def test_a_secret_file_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="cannot be read"):
        wiring.secret_line(tmp_path / "absent", "web.token_file")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(CredentialError, match="not a regular file"):
        wiring.secret_line(tmp_path / "pipe", "web.token_file")


def test_another_address_than_loopback_needs_a_token(tmp_path: Path) -> None:
    data = Data(dir=tmp_path / "data")
    own = wiring.web_token(Settings(data=data))
    assert len(own) >= 32
    assert wiring.web_token(Settings(data=data)) == own
    assert (tmp_path / "data" / "web-token").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match=r"may not listen on 0\.0\.0\.0 without a token"):
        wiring.web_token(Settings(web=Web(host="0.0.0.0")))
    file = private(tmp_path / "token", "t0k\n")
    assert wiring.web_token(Settings(web=Web(host="0.0.0.0", token_file=file))) == "t0k"


def test_a_key_needs_both_its_halves(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    write_new_key(path)
    assert wiring.api_key(Settings()) is None
    key = wiring.api_key(Settings(kalshi=Kalshi(key_id="an-id", private_key_path=path)))
    assert key is not None
    assert key.key_id == "an-id"
    with pytest.raises(CredentialError, match="KALSHI_API_KEY_ID is not set"):
        wiring.api_key(Settings(kalshi=Kalshi(private_key_path=path)))


def test_the_venue_follows_the_environment() -> None:
    assert "demo" in wiring.venue(Settings(kalshi=Kalshi(environment="demo"))).rest
    assert wiring.venue(Settings(kalshi=Kalshi(exchange="http://127.0.0.1:9"))).ws.startswith("ws://127.0.0.1:9/")
    with pytest.raises(ConfigError):
        wiring.venue(Settings(kalshi=Kalshi(environment="production", exchange="http://127.0.0.1:9")))


def test_a_database_of_ones_own_must_have_the_schema(
    database: testing.Database, empty_database: testing.Database
) -> None:
    with wiring.database(Settings(database=Database(url=database.dsn))) as dsn:
        assert dsn == database.dsn
    with (
        pytest.raises(SchemaMismatch),
        wiring.database(Settings(database=Database(url=empty_database.dsn))),
    ):
        pass
    with wiring.database(Settings(database=Database(url=empty_database.dsn)), any_schema=True) as dsn:
        assert dsn == empty_database.dsn


def test_the_embedded_database_is_ready_to_use(tmp_path: Path) -> None:
    with wiring.database(Settings(data=Data(dir=tmp_path / "data"))) as dsn, postgres.connect(dsn) as conn:
        assert conn.execute("SELECT count(*) FROM rl_sessions").fetchone() == (0,)
