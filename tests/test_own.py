"""What a user wrote himself is found in the folder he is in, and never mistaken for a model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kflow.errors import ConfigError
from kflow.own import is_own, named, source_of


def test_a_class_is_told_from_a_model() -> None:
    assert all(map(is_own, ("mine:Class", "examples.own_strategy:Reverter", "_a:b")))
    assert not any(map(is_own, ("ppo:1", "mine", "mine:", ":Class", "a b:C", "1:C", "a-b:C")))


def test_a_module_of_the_present_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "def share(x):\n    return x / 2\n"
    (tmp_path / "written_by_me.py").write_text(text)
    monkeypatch.syspath_prepend("")  # puts sys.path back afterwards
    monkeypatch.chdir(tmp_path)
    share = named("written_by_me:share")
    assert share(1.0) == 0.5
    assert source_of(share) == f"written_by_me.py, SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:12]}…"
    with pytest.raises(ConfigError, match="written_by_me:other cannot be had"):
        named("written_by_me:other")


@pytest.mark.parametrize(("text", "said"), [("def share(x:\n", "SyntaxError"), ("1 / 0\n", "ZeroDivisionError")])
def test_a_module_that_cannot_run_is_told_in_a_sentence(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"broken_{said}.py").write_text(text)
    monkeypatch.syspath_prepend("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"cannot be had: {said}") as caught:
        named(f"broken_{said}:share")
    assert "--debug" in caught.value.hint
