"""Names, origins and the token, without a socket."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kflow.errors import ConfigError, CredentialError
from kflow.web.access import Access, is_loopback, load_token

TOKEN = "t0ken-" + "a" * 40
LOCAL = Access.for_host("127.0.0.1", TOKEN)
REMOTE = Access.for_host("0.0.0.0", TOKEN, names=("Recorder.example",))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8001", "127.0.0.1", "127.0.0.1:8001", "[::1]", "[::1]:8001"])
def test_loopback_names_are_known(host: str) -> None:
    assert LOCAL.knows(host)


@pytest.mark.parametrize(
    "host",
    [
        None, "", "evil.example", "evil.example:8001", "localhost.evil.example", "127.0.0.1.evil.example",
        "192.168.1.7:8001", "localhost:99999999", "localhost:8001@evil.example", "evil.example#localhost", "::1",
        "[::1",
        "localhost, evil.example", "2130706433", "0x7f.1", "localhost\n",
    ],
)  # fmt: skip
def test_other_names_are_not(host: str | None) -> None:
    assert not LOCAL.knows(host)


def test_a_guarded_service_knows_addresses_and_its_own_names() -> None:
    assert REMOTE.knows("192.168.1.7:8001")
    assert REMOTE.knows("recorder.example")
    assert not REMOTE.knows("evil.example")
    assert not REMOTE.knows("localhost")


@pytest.mark.parametrize(
    ("origin", "trusted"),
    [
        (None, True), ("http://127.0.0.1:8001", True), ("https://127.0.0.1:8001", True), ("null", False), ("", False),
        ("http://127.0.0.1:3000", False),
        ("http://localhost:8001", False), ("file://", False), ("http://evil.example", False),
        ("http://127.0.0.1:8001.evil.example", False),
    ],
)  # fmt: skip
def test_only_our_own_pages_are_trusted(origin: str | None, trusted: bool) -> None:
    assert LOCAL.trusts(origin, "127.0.0.1:8001") is trusted


@pytest.mark.parametrize(
    ("header", "admitted"),
    [
        (f"Bearer {TOKEN}", True), (f"bearer {TOKEN} ", True), (None, False), ("", False), ("Bearer", False),
        ("Bearer ", False), (TOKEN, False), (f"Basic {TOKEN}", False), (f"Bearer {TOKEN[:-1]}", False),
        (f"Bearer {TOKEN}x", False), ("Bearer ä", False),
    ],
)  # fmt: skip
def test_only_the_token_is_admitted(header: str | None, admitted: bool) -> None:
    assert LOCAL.admits(header) is admitted


def test_without_a_token_nothing_is_admitted() -> None:
    assert not Access.for_host("localhost", None).admits("Bearer None")
    assert not Access.for_host("localhost", None).admits("Bearer ")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "recorder.example"])
def test_beyond_loopback_a_token_is_needed(host: str) -> None:
    with pytest.raises(ConfigError, match=r"refusing to listen on .* without a token"):
        Access.for_host(host, None)
    assert Access.for_host(host, TOKEN).guarded


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_open_for_reading(host: str) -> None:
    assert is_loopback(host)
    assert not Access.for_host(host, None).guarded


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(LOCAL)


def test_a_token_is_made_once_and_only_for_us(tmp_path: Path) -> None:
    path = tmp_path / "new" / "web-token"
    token = load_token(path)
    assert len(token) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_token(path) == token
    assert load_token(tmp_path / "other") != token


def test_a_token_file_that_others_could_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "web-token"
    load_token(path)
    path.chmod(0o640)
    with pytest.raises(CredentialError, match="could be read or written by others"):
        load_token(path)


@pytest.mark.parametrize("content", ["", "short\n", "a" * 31, "two words " + "a" * 40, "ä" * 40, "a" * 600])
def test_a_file_that_holds_no_token_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "web-token"
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CredentialError, match="holds no token") as caught:
        load_token(path)
    assert "short" not in str(caught.value)


def test_links_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    load_token(tmp_path / "web-token")
    (tmp_path / "link").symlink_to(tmp_path / "web-token")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "folder", "pipe"):
        with pytest.raises(CredentialError):
            load_token(tmp_path / name)
