"""What a data folder remembers of its sessions: bounded, never in the way, and stale without harm."""

from __future__ import annotations

import json
from pathlib import Path

from kflow.store.known import FILE_NAME, MOST_MARKETS, MOST_SESSIONS, Known, known, remember, replace


def session(number: int, *markets: str) -> Known:
    return Known(number, f"uuid-{number}", number * 1_000_000_000, markets or ("M-1",))


def test_what_is_remembered_comes_back_by_number(tmp_path: Path) -> None:
    for number in (2, 1):
        remember(tmp_path, session(number, "A", "B"))
    assert known(tmp_path) == [session(1, "A", "B"), session(2, "A", "B")]


def test_the_last_word_on_a_session_holds(tmp_path: Path) -> None:
    remember(tmp_path, session(1, "A"))
    remember(tmp_path, session(1, "A", "B"))
    assert known(tmp_path) == [session(1, "A", "B")]


def test_those_that_are_no_more_are_forgotten(tmp_path: Path) -> None:
    remember(tmp_path, session(1))
    replace(tmp_path, [session(3), session(2)])
    assert known(tmp_path) == [session(2), session(3)]
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    remember(tmp_path, session(1))
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b'{"number": 2}\n[]\n\xff\xfe\n{"number": "x", "uuid": 1, "started_ns": 1, "markets": []}\n{"num')
    assert known(tmp_path) == [session(1)]


def test_it_is_bounded(tmp_path: Path) -> None:
    remember(tmp_path, session(1, *map(str, range(2 * MOST_MARKETS))))
    assert len(known(tmp_path)[0].markets) == MOST_MARKETS
    replace(tmp_path, map(session, range(2 * MOST_SESSIONS)))
    found = known(tmp_path)
    assert (len(found), found[-1].number) == (MOST_SESSIONS, 2 * MOST_SESSIONS - 1)
    many = json.dumps(session(7)._asdict()) + "\n"
    (tmp_path / FILE_NAME).write_text(many * 50_000)
    assert known(tmp_path) == [session(7)]


def test_a_folder_that_is_not_there_or_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", Path("/proc")):
        remember(folder, session(1))
        replace(folder, [session(1)])
        assert known(folder) == []
