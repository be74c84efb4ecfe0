"""kflow models: what is listed and shown, what is asked before it is done, what leaves with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from kflow.policy import bundle
from kflow.policy.bundle import Features
from kflow.policy.features import FEATURES, SCHEMA
from kflow.policy.network import Layout
from kflow.store import registry
from kflow.testing import models
from kflow.testing.postgres import Database
from kflow.testing.terminal import Terminal
from tests.cli.conftest import Kflow, Outcome, refused
from tests.cli.test_main import HEAVY

LAYOUT = Layout(observation=len(FEATURES), actions=21)
NOW_NS = 1_767_000_000_000_000_000


def facts(name: str = "ppo", version: int = 1) -> bundle.Facts:
    features = Features(schema=SCHEMA, names=tuple(feature.name for feature in FEATURES))
    return models.facts(name=name, version=version, features=features)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def registered(kflow: Kflow, database: Database, data: Path) -> Kflow:
    """Two candidates `ppo`, of which the first is on paper, and `a2c` in training."""
    with database.connect(autocommit=True) as conn:
        for seed in range(2):
            made = registry.create(conn, "ppo", "ppo", now_ns=NOW_NS, feature_schema=SCHEMA, run_folder="runs/ppo_0001")
            network = models.untrained(LAYOUT, seed)
            registry.finish(conn, data, made.id, network, facts(version=made.version), now_ns=NOW_NS)
        registry.promote(conn, data, registry.get(conn, "ppo:1"), "paper", reason="well", now_ns=NOW_NS, unjudged=True)
        registry.create(conn, "a2c", "a2c", now_ns=NOW_NS)

    def call(*arguments: object) -> Outcome:
        return kflow(*arguments, DATABASE_URL=database.dsn)

    return call


def statuses(kflow: Kflow) -> dict[str, str]:
    found = kflow("models", "ls", "--all", "--json").json["models"]
    return {item["model"]: item["status"] for item in found}


def test_ls_lists_the_newest_first(registered: Kflow) -> None:
    items = registered("models", "ls", "--json").json["models"]
    assert [item["model"] for item in items] == ["a2c:1", "ppo:2", "ppo:1"]
    last = items[-1]
    assert (last["id"], last["status"], last["feature_schema"]) == (1, "paper", SCHEMA)
    assert (last["path"], last["run_folder"], last["mean_return"]) == ("models/ppo/1", "runs/ppo_0001", 1e-05)
    assert "2025-12-29 09:20Z" in registered("models", "ls").out
    assert registered("models", "ls", "--format", "csv").out.startswith("model,id,status,")
    assert len(registered("models", "ls", "--format", "ndjson").out.splitlines()) == 3


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--name", "ppo"), ["ppo:2", "ppo:1"]),
        (("--status", "paper"), ["ppo:1"]),
        (("--name", "a2c", "--status", "paper"), []),
    ],
)
def test_ls_filters(registered: Kflow, options: tuple[str, ...], found: list[str]) -> None:
    assert [item["model"] for item in registered("models", "ls", *options, "--json").json["models"]] == found


def test_ls_of_none_says_how_there_will_be_one(kflow: Kflow, database: Database) -> None:
    assert "kflow train" in kflow("models", "ls", DATABASE_URL=database.dsn).err


def test_a_status_that_there_is_not_is_misuse(registered: Kflow) -> None:
    refused(registered("models", "ls", "--status", "active"), 2, "active", "candidate")
    refused(registered("models", "promote", "ppo:1", "active"), 2, "which active does not follow")


def test_show_tells_what_made_it_and_what_it_went_through(registered: Kflow) -> None:
    whole = registered("models", "show", "ppo:1", "--json").json
    assert whole["card"]["fill_model"] == "queue"
    assert whole["training_metrics"]["steps"] == 10**6
    assert [step["after"] for step in whole["changes"]] == ["training", "candidate", "paper"]
    assert whole["changes"][-1]["reason"] == "well"
    people = registered("models", "show", "1").out
    for words in (f"{len(FEATURES)} features, 64x64 tanh, 21 actions", "runs/ppo_0001", "well", "250 ms", "sessions"):
        assert words in people
    assert registered("models", "show", "a2c", "--json").json["card"] is None
    assert "a2c:1" in registered("models", "show", "a2c").out


def test_a_model_that_there_is_not_is_misuse(registered: Kflow) -> None:
    for command in (("show",), ("verify",), ("rm", "--yes"), ("export", "--output", "out")):
        refused(registered("models", command[0], "none", *command[1:]), 2, "there is no model none")


def test_promotion_to_live_is_confirmed(registered: Kflow) -> None:
    refused(registered("models", "promote", "ppo:1", "live"), 2, "--yes")
    assert statuses(registered)["ppo:1"] == "paper"
    done = registered("models", "promote", "ppo:1", "live", "--yes", "--reason", "thirty hours on paper")
    assert (done.code, done.out) == (0, "ppo:1 is live\n")
    registered("models", "promote", "ppo:2", "paper", "--unevaluated")
    done = registered("models", "promote", "ppo:2", "live", "--yes")
    assert "kflow models promote ppo:1 live" in done.err
    assert statuses(registered) == {"a2c:1": "training", "ppo:1": "retired", "ppo:2": "live"}
    assert registered("models", "promote", "ppo:1", "live").code == 2
    assert registered("models", "promote", "ppo:1", "live", "--yes").code == 0
    assert statuses(registered)["ppo:2"] == "retired"
    steps = registered("models", "show", "ppo:1", "--json").json["changes"]
    assert steps[3]["reason"] == "thirty hours on paper"


@pytest.mark.parametrize(("answer", "status"), [("y", "live"), ("n", "paper"), ("", "paper")])
async def test_a_person_is_asked(registered: Kflow, database: Database, data: Path, answer: str, status: str) -> None:
    environment = {"DATABASE_URL": database.dsn, "KFLOW_DATA_DIR": str(data)}
    async with Terminal() as terminal:
        terminal.run("models", "promote", "ppo:1", "live", environment=environment)
        terminal.read()
        await terminal.until("ppo:1 (paper) becomes live, and may trade for money. Do it?")
        terminal.type(answer.encode() + b"\r")
        assert await terminal.ended() == (0 if status == "live" else 1)
    assert statuses(registered)["ppo:1"] == status


def test_a_step_that_may_not_follow_is_misuse(registered: Kflow) -> None:
    refused(registered("models", "promote", "ppo:2", "live", "--yes"), 2, "candidate", "paper or retired")
    refused(registered("models", "promote", "a2c", "candidate"), 9, "it is in training")
    assert registered("models", "promote", "a2c", "failed", "--reason", "killed").code == 0


def test_rm_asks_and_keeps_what_is_known(registered: Kflow, data: Path) -> None:
    refused(registered("models", "rm", "ppo:2"), 2, "--yes")
    assert (data / "models/ppo/2").exists()
    refused(registered("models", "rm", "ppo:1", "--yes"), 2, "ppo:1 is paper", "promote ppo:1 retired")
    assert registered("models", "rm", "ppo:2", "--yes").out == "ppo:2 is removed\n"
    assert not (data / "models/ppo/2").exists()
    listed = registered("models", "ls", "--json").json["models"]
    assert [item["model"] for item in listed] == ["a2c:1", "ppo:1"]
    assert statuses(registered)["ppo:2"] == "retired"
    refused(registered("models", "verify", "ppo:2"), 9, "they were removed")


def test_verify_says_what_was_verified(registered: Kflow, data: Path) -> None:
    for model in ("ppo:2", "2", data / "models/ppo/2", data / "models/ppo/2/ppo.npz"):
        found = registered("models", "verify", model, "--json").json
        assert (found["model"], found["verified"], found["feature_schema"]) == ("ppo:2", True, SCHEMA)
    assert "ppo:2" in registered("models", "verify", "ppo").out


def test_verify_ends_with_9_where_a_model_cannot_be_trusted(registered: Kflow, data: Path) -> None:
    weights = data / "models/ppo/2/ppo.npz"
    whole = bytearray(weights.read_bytes())
    whole[2000] ^= 1
    weights.write_bytes(whole)
    refused(registered("models", "verify", "ppo:2"), 9, "sha256")
    refused(registered("models", "verify", weights), 9, "sha256")
    refused(registered("models", "promote", "ppo:2", "paper", "--unevaluated"), 9, "sha256")
    refused(registered("models", "export", "ppo:2", "--output", "out"), 9, "sha256")
    assert not Path("out").exists()
    card = data / "models/ppo/1/ppo.json"
    card.write_text(card.read_text().replace("250000", "250001"))
    refused(registered("models", "verify", "ppo:1"), 9, "not the card that the registry knows")
    card.write_text(card.read_text().replace(SCHEMA, "0123456789abcdef"))
    refused(registered("models", "verify", card), 9, SCHEMA, "0123456789abcdef")
    refused(registered("models", "verify", "model.zip"), 9, "kflow models export model.zip")


def test_export_writes_what_another_machine_can_verify(registered: Kflow, data: Path, tmp_path: Path) -> None:
    done = registered("models", "export", "ppo:1", "--output", tmp_path / "out")
    assert done.out == f"{tmp_path / 'out' / 'ppo.json'}\n"
    for name in ("ppo.json", "ppo.npz"):
        assert (tmp_path / "out" / name).read_bytes() == (data / "models/ppo/1" / name).read_bytes()
    assert registered("models", "verify", tmp_path / "out").code == 0
    refused(registered("models", "export", "ppo:2", "--output", tmp_path / "out"), 2, "is there already")
    refused(registered("models", "export", "ppo:2", "--output", "x", "--card", "y"), 2, "--card is for a .zip")


def test_an_archive_of_stable_baselines_becomes_a_model(kflow: Kflow, tmp_path: Path) -> None:
    saved(tmp_path / "mine.zip")
    refused(kflow("models", "export", "mine.zip", "--output", "out"), 9, "--card FILE")
    (tmp_path / "mine.json").write_bytes(msgspec.json.encode(facts("mine")))
    assert kflow("models", "export", "mine.zip", "--output", "out").out == "out/mine.json\n"
    assert kflow("models", "verify", "out/mine.json").code == 0
    done = kflow("models", "export", "mine.zip", "--output", "other", "--card", "out/mine.json")
    assert (done.code, done.out) == (0, "other/mine.json\n")
    refused(kflow("models", "export", "none.zip", "--output", "x", "--card", "mine.json"), 9, "No such file")


def saved(path: Path) -> None:
    """What Stable-Baselines3 would save, in a process of its own: its import is slow, and stays."""
    code = (
        "import sys, gymnasium as gym, numpy as np\n"
        "from stable_baselines3 import PPO\n"
        "class Env(gym.Env):\n"
        f"    observation_space = gym.spaces.Box(-1, 1, ({len(FEATURES)},), np.float32)\n"
        "    action_space = gym.spaces.Discrete(21)\n"
        "PPO('MlpPolicy', Env(), device='cpu').save(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("kflow models show p", ["ppo", "ppo-wide"]),
        ("kflow models promote ppo:", ["ppo:1", "ppo:2"]),
        ("kflow models verify x", []),
    ],
)
def test_names_are_completed_without_anything_heavy(tmp_path: Path, typed: str, offered: list[str]) -> None:
    for folder in ("ppo/1", "ppo/2", "ppo-wide/1", "a2c/1"):
        (tmp_path / "data/models" / folder).mkdir(parents=True)
    code = (
        "import json, sys, kflow.cli.main as m\n"
        "try:\n    m.main()\n"
        "except SystemExit:\n    pass\n"
        f"print(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))"
    )
    environ = {
        **os.environ,
        "KFLOW_DATA_DIR": str(tmp_path / "data"),
        "_KFLOW_COMPLETE": "complete_zsh",
        "_TYPER_COMPLETE_ARGS": typed,
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    *said, last = done.stdout.splitlines()
    assert set(json.loads(last)) <= {"rich", "pydantic"}  # typer's own
    assert [item for item in offered if f'"{item}"' in "\n".join(said).replace("\\", "")] == offered
    assert "a2c" not in "\n".join(said)


def test_verifying_loads_no_trainer(registered: Kflow, data: Path) -> None:
    code = (
        "import json, sys, kflow.cli.main as m\n"
        f"code = m.run(['models', 'verify', {str(data / 'models/ppo/1')!r}])\n"
        "heavy = ('torch', 'stable_baselines3', 'gymnasium', 'numba')\n"
        "print(json.dumps([code, [n for n in heavy if n in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]
