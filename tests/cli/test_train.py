"""kflow train and kflow rerun, as they are typed: a run, its folder, the same again, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kflow.testing.postgres import Database
from kflow.testing.process import Shell
from tests.cli.conftest import Kflow, refused

SMALL = (
    *("--world", "reverting", "--markets", "6", "--sizes", "5", "--max-position", "20", "--latency", "none"),
    *("--episode", "10s", "--envs", "16", "--set", "n_steps=64", "--set", "batch_size=256", "--set", "n_epochs=1"),
    *("-n", "2048", "--eval-freq", "1024", "--save-freq", "1024", "--eval-episodes", "2"),
)


def test_a_run_from_the_command_line_to_the_registry_and_again(
    kflow: Kflow, database: Database, tmp_path: Path
) -> None:
    done = kflow("train", *SMALL, "--name", "swing", "--json", DATABASE_URL=database.dsn)
    assert done.code == 0, done.err
    told = done.json
    assert told["run"] == "runs/ppo_0001"
    assert told["model"] == "swing:1"
    assert told["steps"] == 2048
    assert told["curves"] == "runs/ppo_0001/curves.png"
    assert (tmp_path / told["curves"]).read_bytes().startswith(b"\x89PNG")
    assert "kflow rerun runs/ppo_0001" in done.err
    manifest = json.loads((tmp_path / "runs/ppo_0001/manifest.json").read_text())
    assert manifest["command"][0] == "kflow"
    assert manifest["origins"]["world"] == "commandline"
    assert "preset" not in manifest["origins"]
    assert manifest["plan"]["hyper"]["n_steps"] == 64

    shown = kflow("models", "show", "swing", "--json", DATABASE_URL=database.dsn)
    assert shown.json["status"] == "candidate"
    again = kflow("rerun", "runs/ppo_0001/manifest.json", "--json")
    assert again.code == 0, again.err
    assert again.json["equal"] is True
    assert again.json["again"] == "runs/ppo_0002"
    assert again.json["weights_sha256"] == told["weights_sha256"]


def test_other_weights_are_exit_6(kflow: Kflow, tmp_path: Path) -> None:
    assert kflow("train", *SMALL, "--no-register").code == 0
    file = tmp_path / "runs/ppo_0001/manifest.json"
    manifest = json.loads(file.read_text())
    manifest["result"]["weights_sha256"] = "0" * 64
    file.write_text(json.dumps(manifest))
    done = kflow("rerun", "runs/ppo_0001", "--json")
    assert done.code == 6
    assert done.json["equal"] is False
    assert "weights are others" in done.err


def test_a_run_that_was_stopped_goes_on(kflow: Kflow, tmp_path: Path) -> None:
    assert kflow("train", *SMALL, "--no-register").code == 0
    file = tmp_path / "runs/ppo_0001/manifest.json"
    manifest = json.loads(file.read_text())
    manifest["result"] = None
    manifest["plan"]["steps"] = 4096
    file.write_text(json.dumps(manifest))
    done = kflow("train", "--resume", "runs/ppo_0001", "--no-register", "--json")
    assert done.code == 0, done.err
    assert "going on from step 2,048" in done.err
    assert done.json["steps"] == 4096
    refused(kflow("train", "--resume", "runs/ppo_0001"), 2, "has ended", "kflow rerun")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--algo", "dqn"), ("no algorithm dqn", "ppo")),
        (("--preset", "magic"), ("no preset magic", "sb3")),
        (("--set", "learning_rate"), ("no NAME=VALUE", "learning_rate=")),
        (("--set", "speed=3"), ("no hyper-parameter speed", "n_steps")),
        (("--actions", "clever"), ("no action set clever", "wide")),
        (("--sizes", "ten"), ("no number", "--sizes")),
        (("--sizes", "20,10"), ("ascending", "--sizes")),
        (("--world", "flat"), ("flat", "reverting")),
        (("--world", "fair", "--sessions", "1"), ("two sources", "one of them")),
        (("--world", "fair", "--markets", "0"), ("0 markets", "--markets")),
        (("--every", "soon"), ("no duration", "250ms")),
        (("--holdout", "1.5"), ("held out", "--holdout")),
        (("--curriculum", "steep"), ("no curriculum steep", "uniform")),
        (("--shape", "luck=1", "--world", "fair"), ("no shaping term luck", "inventory")),
        (("--model", "oracle"), ("no fill model oracle", "queue")),
        (("-n", "0", "--world", "fair"), ("no number of decisions", "--steps")),
        (("--resume", "nowhere"), ("cannot read", "runs/")),
    ],
)
def test_what_cannot_be_is_one_sentence(kflow: Kflow, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(kflow("train", *arguments), 2, *words)


def test_without_recordings_it_says_how_to_get_some(kflow: Kflow, database: Database) -> None:
    refused(kflow("train", DATABASE_URL=database.dsn), 2, "nothing is recorded", "kflow ingest")


@pytest.mark.slow  # it waits for the first line of progress
def test_ctrl_c_says_how_to_go_on(shell: Shell, kflow: Kflow) -> None:
    words = [*SMALL[:-8], "-n", "100000000", "--save-freq", "1024", "--no-register"]
    with shell.start("train", *words) as command:
        command.wait_for("of 100,000,000 decisions")
        command.signal(signal.SIGINT)
        done = command.end()
    assert done.code == 130
    assert "stopped. To go on from its last checkpoint: kflow train --resume runs/ppo_0001" in done.err
    assert "Traceback" not in done.err


def test_a_first_run_says_that_it_compiles(tmp_path: Path) -> None:
    """Before it does: nobody has to wonder for a minute."""
    script = (
        "import sys; from kflow.cli.main import run; "
        "sys.exit(run(['train', '--world', 'fair', '--markets', '1', '--every', '1h', '--no-register']))"
    )
    environ = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "none"), "KFLOW_DATA_DIR": str(tmp_path / "data")}
    with subprocess.Popen([sys.executable, "-c", script], env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("compiles for about a minute" in line for line in process.stderr)
        process.kill()


def test_what_is_not_installed_is_named_with_its_extra() -> None:
    """Where only the core is installed, as for `make demo`."""
    script = (
        "import sys; sys.modules['stable_baselines3'] = None; from kflow.cli.main import run; "
        "sys.exit(run(['train', '--world', 'fair', '--no-register']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "needs stable_baselines3" in done.stderr
    assert "hint: pip install 'kflow[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_manifest_of_another_kind_is_refused(kflow: Kflow, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"run": 3}')
    refused(kflow("rerun", "manifest.json"), 6, "no manifest")
