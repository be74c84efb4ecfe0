"""The settings file of `kflow init`: whole, true to the declarations, and free of secrets."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from kflow.settings import Declaration, declared, load
from kflow.settings.template import ESSENTIAL, PRESETS, template

OPEN = [item for item in declared() if not item.secret]
NONE = (None, ())


def offered(text: str) -> dict[str, str]:
    """Each setting that stands behind a #: its file if that # were taken away."""
    found, group = {}, ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            group = heading[1]
        elif setting := re.fullmatch(r"#((\w+) = .*)", line):
            found[f"{group}.{setting[2]}"] = text.replace(f"\n{line}\n", f"\n{setting[1]}\n", 1)
    return found


FILES = offered(template())


def loaded(text: str, tmp_path: Path) -> object:
    path = tmp_path / "kflow.toml"
    path.write_text(text, encoding="utf-8")
    return load(environ={}, file=path)


def test_it_holds_every_setting_that_is_no_secret_and_says_where_those_belong() -> None:
    assert list(FILES) == [item.key for item in OPEN]
    for item in declared():
        assert not item.secret or f"is secret and has no place in this file: set {item.env[0]}" in template()


def test_as_it_is_it_loads_and_sets_nothing(tmp_path: Path) -> None:
    assert loaded(template(), tmp_path) == loaded("", tmp_path)


@pytest.mark.parametrize("item", OPEN, ids=lambda item: item.key)
def test_each_line_loads_once_its_mark_is_taken_away(item: Declaration, tmp_path: Path) -> None:
    path = tmp_path / "kflow.toml"
    path.write_text(FILES[item.key], encoding="utf-8")
    settings = load(environ={}, file=path)
    assert [key for key, origin in settings.origins.items() if origin != "default"] == [item.key]
    if item.default in NONE:
        assert item.example not in NONE
    else:
        assert settings.value(item.key) == item.default


@pytest.mark.parametrize("item", OPEN, ids=lambda item: item.key)
def test_each_is_explained_with_its_unit_and_default(item: Declaration) -> None:
    before = template().partition(f"\n#{item.key.partition('.')[2]} = ")[0].rpartition("\n\n")[2]
    assert item.about[1:].split()[0] in before
    assert "Default: " in before
    assert f"[{item.unit}]" in before or not item.unit


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_set_and_nothing_else(name: str, tmp_path: Path) -> None:
    table = tomllib.loads(template(PRESETS[name], minimal=True))
    assert {f"{g}.{key}" for g, values in table.items() for key in values} == set(PRESETS[name])
    loaded(template(PRESETS[name]), tmp_path)


def test_the_short_one_holds_what_most_people_set() -> None:
    assert set(offered(template(minimal=True))) == set(ESSENTIAL)
