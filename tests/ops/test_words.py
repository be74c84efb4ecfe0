"""What the pages for operators tell them to type, as far as no other test reads it: crontabs, containers, files."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.ops.conftest import OPS, ROOT, calls, understood

PAGES = (ROOT / "docs" / "operations.md", ROOT / "docs" / "runbook.md", OPS / "README.md")
OPERATIONS = PAGES[0].read_text(encoding="utf-8")


def blocks(text: str, language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def test_crontabs_run_what_there_is() -> None:
    for path in PAGES:
        lines = blocks(path.read_text(encoding="utf-8"), "cron").splitlines()
        for line in lines:
            if not line:
                continue
            *schedule, command = line.split(None, 5)
            assert all(re.fullmatch(r"\*|\d+", one) for one in schedule)
            for words in calls(command):
                understood(words[: words.index(">>")] if ">>" in words else words)
    assert calls(blocks(OPERATIONS, "cron"))[0][:2] == ["-q", "ingest"]


def test_the_two_crontabs_are_one() -> None:
    page, readme = (blocks(path.read_text(encoding="utf-8"), "cron") for path in (PAGES[0], PAGES[2]))
    assert readme in page


def test_containers_that_are_named_are_services_and_understand_what_they_are_told() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with what sweeps need")
    services = yaml.safe_load((OPS / "docker" / "compose.yaml").read_text())["services"]
    said = re.findall(r"^docker compose (run|exec)((?: --\w+)*) (\w+) (.*)$", OPERATIONS, re.MULTILINE)
    assert {verb for verb, *_ in said} == {"run", "exec"}
    for verb, _, service, rest in said:
        assert service in services
        words = shlex.split(rest)
        understood(words if verb == "run" else words[1:])  # the image's entry point is kflow itself


def test_files_that_are_named_are_there() -> None:
    for path in PAGES:
        for name in re.findall(r"(?<![\w/.])ops/[\w./*-]+", path.read_text(encoding="utf-8")):
            assert list(ROOT.glob(name.rstrip("."))), name
    for name in re.findall(r"(?<!\w)\.\./\.\./([\w./]+)", blocks(OPERATIONS, "bash")):
        assert (OPS / name).exists(), name


def test_secrets_that_are_made_are_those_that_services_are_given() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with what sweeps need")
    handed = yaml.safe_load((OPS / "docker" / "compose.yaml").read_text())["secrets"]
    [closed] = re.findall(r"^sudo chmod 400 (.*)$", OPERATIONS, re.MULTILINE)
    assert set(closed.split()) == handed.keys()
