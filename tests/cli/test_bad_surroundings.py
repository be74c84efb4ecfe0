"""Disks that fill, folders that refuse, signals, and readers that leave: `kflow ingest` ends or goes on in order."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from kflow.testing.process import Shell
from tests.cli.conftest import refused

# --- folders and disks


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A small file system in memory."""
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a file system")
    folder.mkdir(parents=True)
    done = subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run([shutil.which("umount") or "umount", folder], check=True)


def fill(filler: Path) -> None:
    """Leave no byte on the file system of `filler`."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_data_folder_that_cannot_be_written(recorder: Shell) -> None:
    folder = recorder.folder / "read-only"
    with mounted(folder, "ro,size=1m"):
        for place, why in ((folder, "is not writable"), (folder / "deeper", "Read-only file system")):
            refused(recorder.run("ingest", KFLOW_DATA_DIR=str(place)), 3, why, "KFLOW_DATA_DIR")
    refused(recorder.run("ingest", KFLOW_DATA_DIR="/dev/null"), 3, "cannot be made", "KFLOW_DATA_DIR")


def test_an_export_that_cannot_be_written(recorder: Shell) -> None:
    assert recorder.run("ingest", "--duration", 1).code == 0
    export = ("replay", "export", "--sessions", 1, "--format", "csv", "--out")
    refused(recorder.run(*export, "/proc/x"), 3, "cannot write to /proc/x", "--out")
    refused(recorder.run(*export, "/dev/null"), 3, "cannot write to /dev/null", "--out")
    out, elsewhere = recorder.folder / "out", recorder.folder / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "0001").symlink_to(elsewhere)
    refused(recorder.run(*export, out), 3, "a link that leads out of the export")
    assert list(elsewhere.iterdir()) == []
    refused(recorder.run(*export, out, "--market", "../../x"), 2, "none of these sessions recorded ../../x")


def test_a_full_disk_is_told_at_once_and_survived(recorder: Shell) -> None:
    journals = recorder.folder / "data" / "journal"
    with mounted(journals, "size=2m"), recorder.start("ingest") as ingest:
        port = ingest.wait_for("/rl/health").rpartition(":")[2].partition("/")[0]
        filler = journals / "filler"
        fill(filler)
        ingest.wait_for("the journal cannot be written")
        health = recorder.run("health", "--url", f"http://127.0.0.1:{port}")
        assert health.code == 6
        assert "the journal cannot be written" in health.err.partition("error: the recorder says it is unhealthy: ")[2]
        filler.unlink()
        ingest.wait_for("the journal can be written again")
        ingest.signal(signal.SIGTERM)
        assert ingest.end().code == 0
        verdict = recorder.run("replay", "verify", "--session", 1, "--json")
        assert verdict.code == 0, verdict.err
        assert verdict.json["gap_kinds"] == {"downtime": 1}


def test_a_disk_that_is_full_from_the_start(recorder: Shell) -> None:
    journals = recorder.folder / "data" / "journal"
    with mounted(journals, "size=64k"):
        fill(journals / "filler")
        refused(recorder.run("ingest"), 6, "No space left on device", "free disk space")


# --- ends


def test_sigterm_ends_in_order_within_five_seconds(recorder: Shell) -> None:
    with recorder.start("ingest") as ingest:
        line = ingest.wait_for("/rl/health")
        port = line.rpartition(":")[2].partition("/")[0]
        refused(recorder.run("ingest", "--port", port), 5, "is already in use")
        asked = time.monotonic()
        ingest.signal(signal.SIGTERM)
        done = ingest.end()
        assert time.monotonic() - asked < 5
    assert done.code == 0
    assert "stored    yes" in done.out
    [session] = recorder.run("sessions", "ls", "--json").json["sessions"]
    assert session["state"] == "closed"


def test_a_second_ctrl_c_leaves_at_once_and_the_next_run_loads_the_rest(recorder: Shell) -> None:
    with recorder.start(
        "ingest", KFLOW__RECORDER__FLUSH_INTERVAL_S="60", KFLOW__RECORDER__BATCH_ROWS="100000"
    ) as ingest:
        ingest.wait_for("/rl/health")
        ingest.signal(signal.SIGINT)
        ingest.wait_for("once more to leave at once")
        ingest.signal(signal.SIGINT)
        assert ingest.end().code == 0
    assert recorder.run("ingest", "--duration", 1).code == 0
    verdict = recorder.run("replay", "verify", "--session", "1-2", "--json")
    assert verdict.code == 0, verdict.err
    assert all(item["equal"] and item["unloaded_bytes"] == 0 for item in verdict.json["verdicts"])


def test_a_reader_of_stderr_that_leaves_does_not_end_a_recording(recorder: Shell) -> None:
    with recorder.start("ingest", "--duration", 2, "--json") as ingest:
        ingest.wait_for("recording")
        assert ingest.process.stderr is not None
        assert ingest.process.stdout is not None
        ingest.process.stderr.close()
        result = ingest.process.stdout.read()
        ingest.process.wait(20)
    assert '"stored": true' in result
    assert recorder.run("sessions", "ls", "--json").json["sessions"][0]["seconds"] > 1


def test_output_that_cannot_be_written(shell: Shell) -> None:
    command = " ".join(shell.command("config", "show"))
    for redirection, code, said in (("> /dev/full", 1, "cannot write the output"), (">&-", 0, ""), ("2>&-", 0, "")):
        done = subprocess.run(
            ["bash", "-c", f"{command} {redirection}"],
            capture_output=True, text=True, env=shell.variables({}), check=False,
        )  # fmt: skip
        assert done.returncode == code, redirection
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert "AttributeError" not in done.stderr
