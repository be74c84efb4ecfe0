"""Standing: it only gets worse by itself, outlives the process, and what cannot be read is halted."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.act.standing import FILE, KILL_FILE, Mark, Standing, StandingFile, Standings
from kflow.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "actor"


@pytest.fixture
def armed(folder: Path) -> StandingFile:
    standing = StandingFile(folder)
    standing.arm("start", 1)
    return standing


def test_what_nobody_armed_is_halted(folder: Path) -> None:
    standing = StandingFile(folder)
    assert standing.of("M").standing is Standing.HALTED
    assert not standing.armed_before
    assert standing.arm("by hand", 5).of("M") == Mark(Standing.ACTIVE, "by hand", 5)
    assert standing.armed_before


def test_it_gets_worse_and_not_better(armed: StandingFile) -> None:
    armed.reduce("drawdown", 2)
    armed.halt("loss", 3)
    armed.reduce("drawdown again", 4)
    assert armed.of("M") == Mark(Standing.HALTED, "loss", 3)


def test_a_market_is_halted_alone(armed: StandingFile) -> None:
    armed.halt("a strange order", 2, "A")
    assert armed.of("A") == Mark(Standing.HALTED, "a strange order", 2)
    assert armed.of("B").standing is Standing.ACTIVE
    armed.reduce("drawdown", 3)
    assert armed.of("A").reason == "a strange order"
    assert armed.of("B").standing is Standing.REDUCING


def test_a_halt_outlives_the_process_and_arming_ends_it(armed: StandingFile, folder: Path) -> None:
    armed.halt("a strange order", 2, "A")
    armed.halt("another", 2, "B")
    again = StandingFile(folder)
    again.arm("looked at it", 3, "A")
    assert armed.of("A").standing is Standing.ACTIVE
    assert armed.of("B").reason == "another"


def test_another_process_halts_at_once(armed: StandingFile, folder: Path) -> None:
    assert armed.of("M").standing is Standing.ACTIVE
    program = (
        "from pathlib import Path; from kflow.act.standing import StandingFile;"
        f"StandingFile(Path({str(folder)!r})).kill('from outside', 7)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert armed.of("M").standing is Standing.HALTED
    assert armed.of("M").reason == "from outside"


def test_a_kill_file_of_anything_halts(armed: StandingFile, folder: Path) -> None:
    (folder / KILL_FILE).symlink_to("nowhere")
    assert armed.of("M").standing is Standing.HALTED
    armed.arm("done", 2)
    assert armed.of("M").standing is Standing.ACTIVE
    (folder / KILL_FILE).mkdir()
    assert armed.of("M").standing is Standing.HALTED


def test_removing_the_kill_file_does_not_arm_after_a_kill(armed: StandingFile, folder: Path) -> None:
    armed.kill("kflow kill", 2)
    (folder / KILL_FILE).unlink()
    assert armed.of("M") == Mark(Standing.HALTED, "kflow kill", 2)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"overall":{"standing":"fine"}}', b'{"overall":{"standing":"active","reason":1}}']
)
def test_what_cannot_be_understood_is_halted(armed: StandingFile, folder: Path, content: bytes) -> None:
    (folder / FILE).write_bytes(content)
    assert armed.of("M").standing is Standing.HALTED
    armed.reduce("worse", 2, "M")
    assert StandingFile(folder).of("other").standing is Standing.HALTED


def test_a_file_that_went_is_halted(armed: StandingFile, folder: Path) -> None:
    assert armed.of("M").standing is Standing.ACTIVE
    (folder / FILE).unlink()
    assert armed.of("M").standing is Standing.HALTED


def test_a_folder_that_cannot_be_made_is_halted(tmp_path: Path) -> None:
    (tmp_path / "actor").touch()
    standing = StandingFile(tmp_path / "actor")
    assert standing.of("M").standing is Standing.HALTED
    with pytest.raises(ConfigError, match="cannot be kept"):
        standing.arm("x", 1)
    with pytest.raises(ConfigError, match="cannot be kept"):
        standing.kill("x", 1)


def test_a_folder_in_its_place_is_halted(armed: StandingFile, folder: Path) -> None:
    (folder / FILE).unlink()
    (folder / FILE).mkdir()
    assert armed.of("M").standing is Standing.HALTED


def test_a_kill_does_not_wait_for_a_stopped_process(armed: StandingFile, folder: Path) -> None:
    fd = os.open(folder / "standing.lock", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        armed.kill("now", 2)
        assert StandingFile(folder).of("M").reason == "now"
    finally:
        os.close(fd)


def test_what_cannot_be_written_holds_in_this_process(armed: StandingFile, folder: Path) -> None:
    # Nothing can be opened for writing where folders lie: also where tests run as root.
    (folder / "standing.lock").unlink()
    (folder / "standing.lock").mkdir()
    with pytest.raises(ConfigError, match="cannot be kept"):
        armed.halt("a strange order", 2, "A")
    assert armed.of("A").standing is Standing.HALTED
    assert armed.of("B").standing is Standing.ACTIVE
    with pytest.raises(ConfigError, match="cannot be kept"):
        armed.halt("loss", 3)
    assert armed.of("B").standing is Standing.HALTED
    assert (folder / KILL_FILE).read_text() == "loss"  # so it outlives the process after all


def test_what_was_not_written_is_written_with_the_next(armed: StandingFile, folder: Path) -> None:
    lock = folder / "standing.lock"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(ConfigError):
        armed.halt("first", 2, "A")
    lock.rmdir()
    armed.halt("second", 3, "B")
    again = StandingFile(folder)
    assert (again.of("A").reason, again.of("B").reason) == ("first", "second")


def test_its_files_are_private(armed: StandingFile, folder: Path) -> None:
    armed.kill("x", 2)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


MARKS = st.builds(Mark, st.sampled_from(Standing), st.sampled_from(["a", "b"]), st.integers(0, 9))


@given(st.lists(st.tuples(MARKS, st.sampled_from([None, "A", "B"]))))
@settings(max_examples=200)
def test_each_market_has_the_strictest_of_its_marks(marks: list[tuple[Mark, str | None]]) -> None:
    standings = Standings(Mark(Standing.ACTIVE))
    for mark, market in marks:
        standings = standings.worsened(mark, market)
    order = [Standing.ACTIVE, Standing.REDUCING, Standing.HALTED]
    for asked in ("A", "B", "C"):
        touching = [order.index(mark.standing) for mark, market in marks if market in (None, asked)]
        assert standings.of(asked).standing is order[max(touching, default=0)]
