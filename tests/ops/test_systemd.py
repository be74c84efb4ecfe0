"""The units: systemd understands them, kflow understands what they run, and what they promise is what the code does."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from kflow.act.supervised import END_S
from kflow.cli.exitcodes import EXIT_CODES
from kflow.ingest import EXTENSION_S
from kflow.kalshi.feed import PAUSE_STEP_S
from kflow.settings import declared
from kflow.settings.loading import OTHER_VARIABLES
from tests.ops.conftest import OPS, understood

SYSTEMD = OPS / "systemd"
UNITS = sorted(path for path in SYSTEMD.iterdir() if path.suffix in (".service", ".timer"))
SERVICES = [path for path in UNITS if path.suffix == ".service"]
PROGRAM = "/opt/kflow/bin/kflow"
# Variables of the interpreter and of libraries.
OTHERS = {"PYTHONFAULTHANDLER", "NUMBA_CACHE_DIR"}
# What may be seen of a service from outside, on systemd's scale of 0 to 10; a default one has 9.6.
EXPOSURE = 2.0
Unit = dict[str, list[str]]

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")


def read(path: Path) -> Unit:
    """Values by `Section.Key`; systemd takes a key several times."""
    found, section = defaultdict(list), ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, f"{path.name}: {line}"
            found[f"{section}.{key}"].append(value)
    return found


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)(min|h|s)?", text)
    assert match, text
    return int(match[1]) * {"min": 60, "h": 3600}.get(match[2], 1)


def variables(unit: Unit) -> set[str]:
    return {value.partition("=")[0] for value in unit["Service.Environment"]}


@analyze
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_understands_it(path: Path, tmp_path: Path) -> None:
    for one in UNITS:  # with a program that is there: no /opt/kflow is needed to read a unit
        (tmp_path / one.name).write_text(one.read_text().replace(PROGRAM, sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / path.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@analyze
@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_little_of_the_machine_is_exposed_to_it(path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", "--no-pager", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_kflow_understands_what_it_runs(path: Path) -> None:
    [line] = read(path)["Service.ExecStart"]
    program, *words = shlex.split(line.replace("%S", "/var/lib"))
    assert program == PROGRAM
    understood(words)


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_every_variable_is_read_by_somebody(path: Path) -> None:
    ours = {name for item in declared() for name in item.env} | OTHER_VARIABLES.keys()
    text = path.read_text(encoding="utf-8")
    commented = set(re.findall(r"^#\s+Environment=(\w+)", text, re.MULTILINE))
    assert (variables(read(path)) | commented) - OTHERS <= ours
    assert variables(read(path)) >= {"KFLOW_CONFIG", "KFLOW_DATA_DIR"}


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_no_secret_is_in_the_environment(path: Path) -> None:
    """They come as files that systemd hands over; the key is named in the settings file that comes with it."""
    secret = {name for item in declared() if item.secret for name in item.env}
    assert not variables(read(path)) & secret
    handed = dict(value.split(":") for value in read(path)["Service.LoadCredential"])
    assert all(source.startswith("/etc/kflow/") for source in handed.values())
    example = tomllib.loads((SYSTEMD / Path(handed["kflow.toml"]).name).read_text(encoding="utf-8"))
    named = {value for group in example.values() for value in group.values() if str(value).endswith((".pem", ".toml"))}
    if path.name in ("kflow-ingest.service", "kflow-actor.service"):
        assert named == handed.keys() - {"kflow.toml"}


@pytest.mark.parametrize("name", ["ingest", "actor"])
def test_settings_examples_are_settings(name: str) -> None:
    known = {item.key for item in declared()}
    text = (SYSTEMD / f"{name}.toml").read_text(encoding="utf-8")
    for group, values in tomllib.loads(text).items():
        assert {f"{group}.{key}" for key in values} <= known
    for key in re.findall(r"^# (\w+) = ", text, re.MULTILINE):
        assert f"actor.{key}" in known


def test_services_that_go_on_tell_how_they_are_and_are_watched() -> None:
    for name in ("kflow-ingest", "kflow-actor"):
        unit = read(SYSTEMD / f"{name}.service")
        assert unit["Service.Type"] == ["notify"]
        assert unit["Service.NotifyAccess"] == ["main"]
        # The feed comes round this often even while it waits; a busy machine is not to be taken for a stuck loop.
        assert seconds(unit["Service.WatchdogSec"][0]) >= 20 * PAUSE_STEP_S
        assert seconds(unit["Service.TimeoutStopSec"][0]) >= 2 * EXTENSION_S
    assert END_S > 60


def test_what_a_person_has_to_mend_is_not_started_again() -> None:
    known = {entry.code for entry in EXIT_CODES}
    for name, codes in (("kflow-ingest", {2, 3, 8, 9}), ("kflow-actor", {2, 3, 6, 7, 8, 9})):
        unit = read(SYSTEMD / f"{name}.service")
        assert set(map(int, unit["Service.RestartPreventExitStatus"][0].split())) == codes <= known
        assert unit["Service.Restart"] == ["on-failure"]


def test_the_actor_is_somebody_else_and_needs_no_recorder() -> None:
    actor, ingest = read(SYSTEMD / "kflow-actor.service"), read(SYSTEMD / "kflow-ingest.service")
    users = re.findall(r"^u (\S+)", (SYSTEMD / "kflow.sysusers").read_text(encoding="utf-8"), re.MULTILINE)
    for key in ("Service.User", "Service.StateDirectory"):
        assert actor[key] != ingest[key]
        assert {*actor[key], *ingest[key]} == set(users)
    for key in ("Unit.Requires", "Unit.BindsTo", "Unit.PartOf", "Unit.Wants", "Unit.After"):
        assert not any("kflow" in value for value in actor[key])


def test_timers_start_what_is_there() -> None:
    for timer in (path for path in UNITS if path.suffix == ".timer"):
        assert timer.with_suffix(".service") in SERVICES
        assert read(timer)["Install.WantedBy"] == ["timers.target"]
