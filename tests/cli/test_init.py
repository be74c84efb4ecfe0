"""kflow init: a settings file that explains itself, loads as it is, and destroys nothing."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from kflow.settings import load
from tests.cli.conftest import Kflow, refused


def test_it_writes_the_file_that_settings_are_read_from_and_says_what_comes_next(kflow: Kflow, tmp_path: Path) -> None:
    done = kflow("init")
    assert (done.code, done.out) == (0, "kflow.toml\n")
    assert "kflow ingest --market" in done.err
    assert load(environ={}, file=tmp_path / "kflow.toml") == load(environ={})
    assert kflow("config", "check").code == 0


def test_a_named_settings_file_is_the_one_that_is_written(kflow: Kflow, tmp_path: Path) -> None:
    assert kflow("--config", "a.toml", "init").out == "a.toml\n"
    assert kflow("init", KFLOW_CONFIG="b.toml").out == "b.toml\n"
    assert sorted(path.name for path in tmp_path.glob("*.toml")) == ["a.toml", "b.toml"]


@pytest.mark.parametrize("name", ["local", "demo", "production"])
def test_a_preset_sets_what_its_environment_needs_and_never_turns_trading_on(
    kflow: Kflow, tmp_path: Path, name: str
) -> None:
    assert kflow("init", "--env", name, "--minimal").code == 0
    settings = load(environ={}, file=tmp_path / "kflow.toml")
    assert settings.kalshi.environment == name
    assert (settings.kalshi.private_key_path is not None) == (name != "local")
    assert not settings.actor.enabled


def test_the_minimal_file_is_short(kflow: Kflow) -> None:
    whole, short = kflow("init", "-o", "-"), kflow("init", "--minimal", "-o", "-")
    assert len(short.out.splitlines()) < len(whole.out.splitlines()) / 3
    assert "#environment" in short.out
    assert "fsync" in whole.out
    assert "fsync" not in short.out


def test_a_file_that_is_there_stays_as_it_is(kflow: Kflow, tmp_path: Path) -> None:
    path = tmp_path / "kflow.toml"
    path.write_text("[web]\nport = 9\n")
    refused(kflow("init"), 2, "kflow.toml is there already", "--force")
    assert path.read_text() == "[web]\nport = 9\n"


def test_force_keeps_what_was_there_however_often(kflow: Kflow, tmp_path: Path) -> None:
    path = tmp_path / "kflow.toml"
    path.write_text("first")
    path.chmod(0o600)
    done = kflow("init", "--force")
    assert "what was there is now kflow.toml.bak" in done.err
    path.write_text("second")
    assert kflow("init", "--force").code == 0
    assert [(tmp_path / name).read_text() for name in ("kflow.toml.bak", "kflow.toml.bak2")] == ["first", "second"]
    assert stat.S_IMODE((tmp_path / "kflow.toml.bak").stat().st_mode) == 0o600
    assert load(environ={}, file=path) == load(environ={})


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_where_it_cannot_write_it_says_so(kflow: Kflow, tmp_path: Path, force: tuple[str, ...]) -> None:
    refused(kflow("init", "-o", tmp_path / "none" / "k.toml", *force), 3, "k.toml", "No such file")
    refused(kflow("init", "-o", tmp_path, "--force"), 3, "directory")
