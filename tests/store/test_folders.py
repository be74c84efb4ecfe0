"""The data folder: where it is, and that it is private."""

import os
import stat
from pathlib import Path

import pytest

from kflow.errors import ConfigError
from kflow.store.folders import data_dir


def test_the_nearer_choice_wins_and_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KFLOW_DATA_DIR", raising=False)
    assert data_dir().is_relative_to(tmp_path)
    monkeypatch.setenv("KFLOW_DATA_DIR", str(tmp_path / "a" / "b"))
    assert data_dir() == tmp_path / "a" / "b"
    assert data_dir(str(tmp_path / "c")) == tmp_path / "c"
    assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o700


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    data_dir(str(tmp_path))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_a_relative_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert data_dir("here") == tmp_path / "here"


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made") as caught:
        data_dir(str(tmp_path / "file" / "x"))
    assert "KFLOW_DATA_DIR" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="not writable"):
        data_dir(str(tmp_path))
    tmp_path.chmod(0o700)
