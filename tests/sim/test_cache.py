"""Kept tapes: what is loaded is what was saved, and nothing half written, damaged or old passes for it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from kflow.errors import ConfigError, DataError
from kflow.sim import cache
from kflow.sim.tape import Tape, TapeArrays
from kflow.testing.tapes import random_tape

KEY = "0123456789abcdef"


@pytest.fixture
def tape() -> Tape:
    made = random_tape(np.random.default_rng(7), stretches=2)
    return Tape(made.market, made.arrays, {**made.facts, "source": "session 3", "trades": "channel"})


def same(one: Tape, other: Tape) -> bool:
    return one.market == other.market and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one.arrays, other.arrays, strict=True)
    )


def test_a_kept_tape_is_the_one_that_was_saved(tape: Tape, tmp_path: Path) -> None:
    saved, loaded = cache.save(tape, tmp_path / "tapes", KEY), cache.load(tmp_path / "tapes", KEY)
    assert loaded is not None
    for kept in (saved, loaded):
        assert same(kept, tape)
        assert cache.digest(kept) == cache.digest(tape) == kept.facts["digest"]
        assert kept.facts["source"] == "session 3"
        assert kept.facts["price_ranges"] == tape.facts["price_ranges"]
        cache.check(kept)


def test_arrays_of_a_kept_tape_are_mapped_and_cannot_be_written(tape: Tape, tmp_path: Path) -> None:
    kept = cache.save(tape, tmp_path, KEY)
    for array in kept.arrays:
        assert isinstance(array.base, np.memmap)
        assert not array.flags.writeable


def test_a_tape_is_kept_for_its_user_alone(tape: Tape, tmp_path: Path) -> None:
    cache.save(tape, tmp_path / "tapes", KEY)
    assert (tmp_path / "tapes").stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "tapes").iterdir()] == [KEY]


def test_the_digest_tells_any_two_tapes_apart(tape: Tape) -> None:
    digests = {cache.digest(tape), cache.digest(Tape("OTHER", tape.arrays, tape.facts))}
    for name, array in zip(TapeArrays._fields, tape.arrays, strict=True):
        changed = array.copy()
        changed.flat[-1] += 1
        digests.add(cache.digest(Tape(tape.market, tape.arrays._replace(**{name: changed}), tape.facts)))
    assert len(digests) == 2 + len(TapeArrays._fields)
    assert cache.digest(Tape(tape.market, tape.arrays, {})) in digests  # facts are no part of it


@pytest.mark.parametrize("name", TapeArrays._fields)
def test_a_damaged_file_is_found(tape: Tape, tmp_path: Path, name: str) -> None:
    cache.save(tape, tmp_path, KEY)
    file = tmp_path / KEY / f"{name}.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    damaged = cache.load(tmp_path, KEY)
    assert damaged is not None
    with pytest.raises(DataError, match="the tape of RANDOM is damaged") as found:
        cache.check(damaged)
    assert "kflow tape build --rebuild" in (found.value.hint or "")


def test_a_damaged_tape_is_replaced_by_the_next_that_is_saved(tape: Tape, tmp_path: Path) -> None:
    cache.save(tape, tmp_path, KEY)
    (tmp_path / KEY / "us.npy").write_bytes(b"nothing of numpy's")
    assert cache.load(tmp_path, KEY) is None
    cache.check(cache.save(tape, tmp_path, KEY))
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


@pytest.mark.parametrize("name", ["tape.json", "books.npy"])
def test_a_tape_without_one_of_its_files_is_none(tape: Tape, tmp_path: Path, name: str) -> None:
    cache.save(tape, tmp_path, KEY)
    (tmp_path / KEY / name).unlink()
    assert cache.load(tmp_path, KEY) is None


def test_a_tape_that_was_cut_short_is_none(tape: Tape, tmp_path: Path) -> None:
    cache.save(tape, tmp_path, KEY)
    file = tmp_path / KEY / "size.npy"
    file.write_bytes(file.read_bytes()[:-2])
    assert cache.load(tmp_path, KEY) is None


def test_a_tape_with_an_empty_file_is_none(tape: Tape, tmp_path: Path) -> None:
    cache.save(tape, tmp_path, KEY)
    (tmp_path / KEY / "size.npy").write_bytes(b"")
    assert cache.load(tmp_path, KEY) is None


def test_nothing_kept_is_none(tmp_path: Path) -> None:
    assert cache.load(tmp_path, KEY) is None
    assert cache.load(tmp_path / "absent", KEY) is None


def test_a_tape_of_another_version_is_not_read(tape: Tape, tmp_path: Path) -> None:
    cache.save(tape, tmp_path, KEY)
    facts = tmp_path / KEY / "tape.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "version": cache.VERSION + 1}))
    assert cache.load(tmp_path, KEY) is None


# Saves a tape, and is killed by its own hand at the first array it is to write after two.
KILLED = """
    import os, signal, sys
    import numpy as np
    from pathlib import Path
    from kflow.sim import cache
    from kflow.testing.tapes import random_tape

    def at(event, arguments):
        if event == "open" and str(arguments[0]).endswith("col.npy"):
            os.kill(os.getpid(), signal.SIGKILL)

    tape = random_tape(np.random.default_rng(7), stretches=2)
    sys.addaudithook(at)
    cache.save(tape, Path(sys.argv[1]), sys.argv[2])
"""


def test_the_draft_of_a_killed_process_does_no_harm(tape: Tape, tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), KEY]
    assert subprocess.run(command, check=False).returncode == -9
    [draft] = tmp_path.iterdir()
    assert draft.name.startswith(f".{KEY}-")
    assert {path.name for path in draft.iterdir()} == {"us.npy", "code.npy"}
    assert cache.load(tmp_path, KEY) is None
    cache.check(cache.save(tape, tmp_path, KEY))


def test_where_nothing_can_be_kept_a_sentence_says_so(tape: Tape, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot keep a tape in") as refused:
        cache.save(tape, tmp_path / "file", KEY)
    assert "KFLOW_DATA_DIR" in (refused.value.hint or "")


def test_a_key_is_of_its_source_alone() -> None:
    whole = {"session": "u", "offset": 7, "markets": ["A", "B"]}
    key = cache.key_of(**whole)
    assert key == cache.key_of(**dict(reversed(whole.items())))
    others = [{**whole, "session": "v"}, {**whole, "offset": 8}, {**whole, "markets": ["A"]}, {"session": "u"}]
    assert len({key, *(cache.key_of(**other) for other in others)}) == 5
    assert len(key) == 32
    assert key.isalnum()


def test_a_key_is_of_the_version_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.key_of(session="u")
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    assert cache.key_of(session="u") != before
