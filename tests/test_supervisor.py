"""systemd's notify protocol over real sockets."""

from __future__ import annotations

import os
import subprocess
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from kflow.supervisor import NOBODY, Supervisor
from kflow.testing.manager import Manager


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@kflow-{uuid.uuid4()}"


def test_every_word_arrives_as_the_protocol_has_it(address: str) -> None:
    with Manager(address) as manager, closing(Supervisor(address)) as supervisor:
        supervisor.say("starting\nthe database")
        supervisor.ready()
        supervisor.alive()
        supervisor.say("all is well")
        supervisor.say("all is well")
        supervisor.extend(1.5)
        supervisor.stopping("writing")
        assert manager.waiting() == [
            "STATUS=starting the database",
            "READY=1",
            "WATCHDOG=1",
            "STATUS=all is well",
            "EXTEND_TIMEOUT_USEC=1500000",
            "STOPPING=1",
            "STATUS=writing",
        ]


def test_the_variables_are_taken_from_us_and_from_our_children(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Manager(address) as manager:
        for name, value in {**manager.environ, "WATCHDOG_PID": "1"}.items():
            monkeypatch.setenv(name, value)
        with closing(Supervisor.of_environment()) as supervisor:
            assert supervisor.listens
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
        seen = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
        assert "NOTIFY" not in seen
        assert "WATCHDOG" not in seen


def test_without_the_variable_nothing_is_said() -> None:
    assert not Supervisor.of_environment({}).listens
    assert not Supervisor.of_environment({"NOTIFY_SOCKET": ""}).listens
    for say in (NOBODY.ready, NOBODY.alive, lambda: NOBODY.say("x"), lambda: NOBODY.stopping("x")):
        say()


def test_a_manager_that_is_not_there_hinders_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not Supervisor(str(tmp_path / "nothing")).listens
    assert not Supervisor("vsock:2:1").listens
    manager = Manager(tmp_path / "leaves")
    supervisor = Supervisor(manager.address)
    with manager:
        supervisor.ready()
    supervisor.alive()
    supervisor.alive()
    assert len(caplog.records) == 3  # each told once
    (tmp_path / "leaves").unlink(missing_ok=True)
    with Manager(tmp_path / "leaves") as returned, closing(supervisor):
        supervisor.alive()
        assert returned.waiting() == ["WATCHDOG=1"]  # or it would be ended for nothing


def test_a_manager_that_does_not_read_is_not_waited_for_long(tmp_path: Path) -> None:
    with Manager(tmp_path / "deaf") as manager, closing(Supervisor(str(tmp_path / "deaf"))) as supervisor:
        for _ in range(20):  # more than the kernel keeps (net.unix.max_dgram_qlen) would block for good
            supervisor.alive()
        assert supervisor.listens
        assert manager.waiting()
        supervisor.say("and is told again once it does")
        assert manager.waiting() == ["STATUS=and is told again once it does"]
