"""Folders of files: whole or not there, private, hashed, and never through a link."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from kflow.errors import ConfigError, DataError, InstanceLocked
from kflow.store import filing
from kflow.store.filing import File


def write(folder: Path, name: str, content: bytes) -> None:
    with filing.new_file(folder / name) as file:
        file.write(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "deep" / "place"
    with filing.writing(place) as part:
        write(part, "a", b"first")
        write(part, "below/b", b"second")
    return place


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with filing.writing(place) as part:
        write(part, "a", b"first")
        assert not place.exists()
    assert (place / "a").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), filing.writing(tmp_path / "place") as part:
        write(part, "a", bytes(1 // 0))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_made_anew(tmp_path: Path) -> None:
    write(tmp_path, ".part-place/stale", b"half")
    with filing.writing(tmp_path / "place") as part:
        write(part, "a", b"first")
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["a"]


def test_a_folder_of_copies_has_one_writer_who_clears_up(tmp_path: Path) -> None:
    write(tmp_path, ".part-20260101T000000Z/stale", b"half")
    with filing.claimed(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".kflow.lock"]
        with pytest.raises(InstanceLocked), filing.claimed(tmp_path):
            pass
    with filing.claimed(tmp_path):
        pass


def test_what_is_there_is_not_written_over(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is there already"), filing.writing(folder) as part:
        write(part, "c", b"third")
    assert sorted(path.name for path in folder.iterdir()) == ["a", "below"]


def test_everything_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with filing.writing(tmp_path / "x" / "place") as part:
            write(part, "below/b", b"second")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "x").rglob("*")} == {0o600, 0o700}


def test_a_seal_names_size_and_hash_of_each_file(folder: Path) -> None:
    assert filing.seal(folder) == [
        File("a", 5, hashlib.sha256(b"first").hexdigest()),
        File("below/b", 6, hashlib.sha256(b"second").hexdigest()),
    ]
    assert [file.name for file in filing.seal(folder, "below")] == ["below/b"]


@pytest.mark.parametrize("content", [b"fir5t", b"firs", b"first!", None])
def test_a_file_that_changed_is_named(folder: Path, content: bytes | None) -> None:
    sealed = filing.seal(folder)
    filing.check(folder, sealed)
    (folder / "a").unlink()
    if content is not None:
        (folder / "a").write_bytes(content)
    with pytest.raises(DataError, match=f"{folder}/a"):
        filing.check(folder, sealed)


def test_no_link_is_followed(folder: Path, tmp_path: Path) -> None:
    sealed = filing.seal(folder)
    (folder / "below").rename(tmp_path / "moved")
    (folder / "below").symlink_to(tmp_path / "moved")
    with pytest.raises(DataError, match="below is a link"):
        filing.check(folder, sealed)
    (tmp_path / "same").write_bytes(b"first")
    (folder / "a").unlink()
    (folder / "a").symlink_to(tmp_path / "same")
    with pytest.raises(DataError, match="cannot be read"):
        filing.check(folder, sealed)
    with pytest.raises(OSError, match="exists"), filing.new_file(folder / "a"):
        pass


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "below/../../a", "", "a\0b"])
def test_a_manifest_names_nothing_outside(folder: Path, name: str) -> None:
    with pytest.raises(DataError, match="which is not in it"):
        filing.inside(folder, name)


def test_a_compressed_copy_comes_out_as_it_went_in(tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20) + bytes(2**20)
    (tmp_path / "a").write_bytes(content)
    whole = filing.compress(tmp_path / "a", tmp_path / "a.gz", len(content))
    assert whole == hashlib.sha256(content).hexdigest()
    filing.expand(tmp_path / "a.gz", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == content
    filing.compress(tmp_path / "a", tmp_path / "again.gz", len(content))
    assert (tmp_path / "again.gz").read_bytes() == (tmp_path / "a.gz").read_bytes()
    with pytest.raises(DataError, match="became shorter"):
        filing.compress(tmp_path / "a", tmp_path / "more.gz", len(content) + 1)
    (tmp_path / "cut.gz").write_bytes((tmp_path / "a.gz").read_bytes()[:-9])
    with pytest.raises(DataError, match="is damaged"):
        filing.expand(tmp_path / "cut.gz", tmp_path / "c")


@pytest.mark.parametrize("where", [3, 12, 200, -5])
def test_a_damaged_compressed_copy_is_named(tmp_path: Path, where: int) -> None:
    write(tmp_path, "a", bytes(range(256)) * 40)
    filing.compress(tmp_path / "a", tmp_path / "a.gz", 256 * 40)
    content = bytearray((tmp_path / "a.gz").read_bytes())
    content[where] ^= 0xFF
    (tmp_path / "a.gz").write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"a\.gz is damaged"):
        filing.expand(tmp_path / "a.gz", tmp_path / "b")


def test_an_adopted_file_is_the_same(folder: Path, tmp_path: Path) -> None:
    filing.adopt(folder / "a", tmp_path / "new" / "a")
    assert (tmp_path / "new" / "a").stat().st_ino == (folder / "a").stat().st_ino
