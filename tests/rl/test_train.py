"""Training: what is held out stays apart, a stop loses nothing, one plan gives the same bytes, and rows tell of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from kflow.errors import DataError, UsageError
from kflow.policy import bundle, features
from kflow.rl import checkpoint, runs, undertake
from kflow.rl.plan import Plan, Source
from kflow.rl.presets import hyper_of
from kflow.rl.runs import Manifest
from kflow.rl.train import Run, Watch, divide
from kflow.rl.undertake import Shelf
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import NO_LATENCY
from kflow.store import registry
from kflow.testing.postgres import Database

ROLLOUT = 1_024
SMALL: dict[str, Any] = {"n_steps": "64", "batch_size": "256", "n_epochs": "2"}


def plan_of(algorithm: str = "ppo", **changes: Any) -> Plan:
    """Sixteen accounts on ten short markets, for three rollouts."""
    hyper = SMALL if algorithm != "a2c" else {"n_steps": "64"}
    values: dict[str, Any] = {
        "hyper": hyper_of(algorithm, "kflow", hyper),
        "envs": 16,
        "steps": 3 * ROLLOUT,
        "source": Source(world="reverting", count=10, seed=3),
        "sizes": (500,),
        "max_order": 500,
        "max_position": 2_000,
        "latency": NO_LATENCY,
        "episode_us": 10_000_000,
        "save_every": ROLLOUT,
        "evaluate_every": ROLLOUT,
        "evaluate_episodes": 4,
        **changes,
    }
    return Plan(algorithm=algorithm, **values)


TAPES = make_tapes("reverting", 10, seed=3, seconds=120)


def trained(folder: Path, plan: Plan, name: str = "run", **others: Any) -> Manifest:
    """A whole run in a folder of its own."""
    place = folder / name
    place.mkdir()
    return undertake.begin(
        plan,
        TAPES,
        None,
        place,
        name="small",
        shelf=others.get("shelf"),
        command=["kflow", "train"],
        origins={},
        watch=others.get("watch", Watch()),
    )


def weights(folder: Path, which: str = "last") -> str:
    return bundle.load(next((folder / which).glob("*.json")), schema=features.SCHEMA).card.weights_sha256


# What is kept apart.


def test_the_last_events_in_time_are_held_out() -> None:
    apart = divide(plan_of(held_share=0.3), TAPES)
    spans = apart.dataset.spans
    assert len(apart.held_spans) == 3
    assert not set(apart.spans) & set(apart.held_spans)
    assert max(spans[span].start_us for span in apart.spans) <= min(spans[span].start_us for span in apart.held_spans)


def test_named_sessions_are_held_out_whole_and_never_trained_on() -> None:
    apart = divide(plan_of(), TAPES[:6], TAPES[6:])
    assert len(apart.spans) == 6
    assert len(apart.held_spans) == 4
    with pytest.raises(UsageError, match="held out"):
        divide(plan_of(), TAPES[:6], TAPES[5:])


def test_nothing_is_held_out_where_nothing_is_asked_to_be() -> None:
    assert divide(plan_of(held_share=0.0), TAPES).held_spans == ()


# The same bytes.


@pytest.mark.parametrize("algorithm", ["ppo", "a2c", "maskable-ppo"])
def test_the_same_plan_gives_the_same_weights(tmp_path: Path, algorithm: str) -> None:
    first, again = (trained(tmp_path, plan_of(algorithm), name) for name in ("first", "again"))
    assert first.result is not None
    assert again.result is not None
    assert first.result["weights_sha256"] == again.result["weights_sha256"] == weights(tmp_path / "first")
    other = trained(tmp_path, plan_of(algorithm, seed=1), "other")
    assert other.result is not None
    assert other.result["weights_sha256"] != first.result["weights_sha256"]


def test_a_run_that_is_cut_off_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """At every checkpoint: what follows it is forgotten, as a SIGKILL would have it."""
    whole = trained(tmp_path, plan_of(), "whole")
    cut = tmp_path / "cut"
    cut.mkdir()
    plan = plan_of()
    Run(msgspec.structs.replace(plan, steps=2 * ROLLOUT), divide(plan, TAPES), cut).learn()
    with (cut / runs.PROGRESS).open("a") as file:
        file.write(json.dumps({"step": 10**9, "rollout/ep_rew_mean": 1.0}) + '\n{"step": torn')
    outcome = Run(plan, divide(plan, TAPES), cut).learn()
    assert whole.result is not None
    assert outcome.steps == 3 * ROLLOUT
    assert bundle_of(outcome.network) == whole.result["weights_sha256"]
    steps = [line["step"] for line in runs.read_lines(cut / runs.PROGRESS)]
    assert steps == sorted(steps)
    assert steps[-1] == 3 * ROLLOUT


def bundle_of(network: Any) -> str:
    """The hash its weights have in a bundle."""
    import tempfile

    from kflow.testing.models import facts

    with tempfile.TemporaryDirectory() as folder:
        known = facts(
            features=bundle.Features(schema=features.SCHEMA, names=tuple(item.name for item in features.FEATURES)),
            actions=bundle.Actions(name="default", sizes_e2=(500,)),
        )
        return bundle.save(Path(folder) / "model", network, known).card.weights_sha256


def test_a_killed_run_loses_at_most_one_interval(tmp_path: Path) -> None:
    """SIGKILL, as it comes: behind the second checkpoint of a process that would go on for long."""
    script = (
        "import sys; from pathlib import Path; from tests.rl.test_train import TAPES, plan_of\n"
        "from kflow.rl.train import Run, Watch, divide\n"
        "plan = plan_of(steps=10**9)\n"
        "Run(plan, divide(plan, TAPES), Path(sys.argv[1]), Watch(advance=lambda n: print(n, flush=True))).learn()\n"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)}
    ) as child:
        assert child.stdout is not None
        done = 0
        for line in child.stdout:
            done += int(line)
            if done >= 2.5 * ROLLOUT:
                break
        child.send_signal(signal.SIGKILL)
    place = checkpoint.newest(tmp_path)
    assert place is not None
    kept = int(place.name.removeprefix("step_"))
    assert done - kept <= 2 * ROLLOUT  # an interval, and the rollout in which it ended
    said: list[str] = []
    plan = plan_of(steps=kept + ROLLOUT)
    outcome = Run(plan, divide(plan, TAPES), tmp_path, Watch(say=said.append)).learn()
    assert said == [f"going on from step {kept:,}"]
    whole = tmp_path / "whole"
    whole.mkdir()
    assert bundle_of(outcome.network) == bundle_of(Run(plan, divide(plan, TAPES), whole).learn().network)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    plan = plan_of()
    Run(plan, divide(plan, TAPES), tmp_path).learn()
    other = plan_of(hyper=hyper_of("ppo", "kflow", {**SMALL, "net": "8"}), steps=10**6)
    with pytest.raises(DataError, match="no checkpoint of this run"):
        Run(other, divide(other, TAPES), tmp_path).learn()


# What is kept.


def test_a_run_folder_holds_all_that_made_it(tmp_path: Path) -> None:
    manifest = trained(tmp_path, plan_of())
    folder, read = runs.read_manifest(tmp_path / "run")
    assert folder == tmp_path / "run"
    assert msgspec.to_builtins(read) == msgspec.to_builtins(manifest)
    assert read.feature_schema == features.SCHEMA
    assert {tape["digest"] for tape in read.tapes}.isdisjoint(tape["digest"] for tape in read.held_out)
    assert len(read.tapes) == 8
    assert read.packages["torch"]
    header, *rows = (folder / "progress.csv").read_text().splitlines()
    assert "held_out/profit" in header
    assert "train/value_loss" in header
    assert len(rows) == len(runs.read_lines(folder / runs.PROGRESS))
    assert list((folder / "tensorboard").iterdir())


def test_the_best_weights_are_those_of_the_best_score(tmp_path: Path) -> None:
    manifest = trained(tmp_path, plan_of(steps=8 * ROLLOUT))
    scores = {
        line["step"]: line["profit"]
        for line in runs.read_lines(tmp_path / "run" / runs.EVENTS)
        if line["event"] == "held_out"
    }
    assert manifest.result is not None
    assert len(scores) == 8
    assert manifest.result["best_held_out"]["profit"] == max(scores.values())
    assert scores[manifest.result["best_step"]] == max(scores.values())
    assert weights(tmp_path / "run", "best") == manifest.result["best_sha256"]


def test_training_ends_early_where_nothing_gets_better(tmp_path: Path) -> None:
    said: list[str] = []
    # Nothing can be learnt where no order is ever allowed.
    plan = plan_of(steps=50 * ROLLOUT, patience=2, cash=1_000_000, ruin=0.0)
    manifest = trained(tmp_path, plan, watch=Watch(say=said.append))
    assert manifest.result is not None
    assert manifest.result["steps"] == 3 * ROLLOUT + plan.envs  # found out as the next rollout began
    assert manifest.result["stopped"] == "no better on what is held out in 2 evaluations"
    assert "no better" in said[-1]


def test_episodes_and_some_decisions_become_rows(tmp_path: Path, database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        manifest = trained(tmp_path, plan_of(), shelf=Shelf(tmp_path / "data", conn))
        assert manifest.model == "small:1"
        model = registry.get(conn, "small:1")
        assert model.status == "candidate"
        assert registry.load(tmp_path / "data", model).card.weights_sha256 == weights(tmp_path / "run", "best")
        assert manifest.result is not None
        episodes = conn.execute(
            "SELECT episode_number, market_ticker, steps, initial_cash_e6, final_equity_e6, total_return, started_ns,"
            " ended_ns FROM rl_trading_episodes WHERE model_id = %s ORDER BY 1",
            (model.id,),
        ).fetchall()
        assert [row[0] for row in episodes] == list(range(1, manifest.result["episodes"] + 1))
        for _, market, steps, cash, equity, share, started, ended in episodes:
            assert market.startswith("REVERTING")
            assert share == pytest.approx((equity - cash) / cash)
            assert ended - started == steps * 250_000_000
        actions = conn.execute(
            "SELECT a.step_number, a.action_type, a.price_e4, a.position_before_e2, a.position_after_e2, a.refusal"
            " FROM rl_trading_actions a JOIN rl_trading_episodes e ON e.id = a.episode_id"
            " WHERE e.model_id = %s ORDER BY 1",
            (model.id,),
        ).fetchall()
    assert actions
    for _, kind, price, before, after, refusal in actions:
        assert kind.split()[0] in ("BUY_YES", "SELL_YES", "BUY_NO", "SELL_NO")
        assert price is None or 0 < price < 10_000
        if refusal is None and price is not None:  # it crossed at once, without latency
            assert abs(after - before) <= 500
    assert any(refusal for *_, refusal in actions)
    assert any(after != before for _, _, _, before, after, _ in actions)


def test_rows_behind_a_checkpoint_are_stored_once(tmp_path: Path, database: Database) -> None:
    plan, folder = plan_of(), tmp_path / "cut"
    folder.mkdir()
    with database.connect(autocommit=True) as conn:
        made = registry.create(conn, "small", "ppo", now_ns=1)
        short = msgspec.structs.replace(plan, steps=2 * ROLLOUT)
        Run(short, divide(plan, TAPES), folder, conn=conn, model_id=made.id).learn()
        # As if the last checkpoint had been torn, and its rows stored.
        newest = checkpoint.newest(folder)
        assert newest is not None
        newest.rename(folder / "torn")
        Run(plan, divide(plan, TAPES), folder, conn=conn, model_id=made.id).learn()
        numbers = [
            row[0] for row in conn.execute("SELECT episode_number FROM rl_trading_episodes ORDER BY 1").fetchall()
        ]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_run_that_fails_is_told_to_the_registry(tmp_path: Path, database: Database) -> None:
    plan = plan_of(curriculum="all")
    place = tmp_path / "run"
    place.mkdir()
    (place / checkpoint.FOLDER).mkdir()
    (place / checkpoint.FOLDER / "step_000000001024").mkdir()  # no checkpoint
    with database.connect(autocommit=True) as conn:
        with pytest.raises(DataError):
            undertake.begin(
                plan,
                TAPES,
                None,
                place,
                name="small",
                shelf=Shelf(tmp_path, conn),
                command=[],
                origins={},
                watch=Watch(),
            )
        assert registry.get(conn, "small:1").status == "failed"


# What cannot be.


@pytest.mark.parametrize(
    "changes",
    [
        {"curriculum": "hardest"},
        {"steps": 0},
        {"held_share": 1.0},
        {"hyper": hyper_of("ppo", "kflow", {"batch_size": "1000"})},
        {"hyper": hyper_of("ppo", "kflow", {**SMALL, "activation": "sine"})},
        {"hyper": hyper_of("ppo", "kflow", {**SMALL, "net": "wide"})},
        {"sizes": (500, 20_000)},
        {"device": "abacus"},
    ],
)
def test_plans_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    plan = plan_of(**changes)
    with pytest.raises(UsageError) as raised:
        Run(plan, divide(plan, TAPES), tmp_path)
    assert raised.value.hint


def test_other_data_than_a_run_was_made_with_is_refused(tmp_path: Path) -> None:
    manifest = trained(tmp_path, plan_of())
    undertake.check_same(manifest, divide(manifest.plan, TAPES))
    with pytest.raises(DataError, match="tapes are not those"):
        undertake.check_same(manifest, divide(manifest.plan, make_tapes("reverting", 10, seed=4, seconds=120)))
    manifest.feature_schema = "another"
    with pytest.raises(DataError, match="features"):
        undertake.check_same(manifest, divide(manifest.plan, TAPES))


def test_presets_name_their_origin_and_refuse_what_they_do_not_know() -> None:
    from kflow.rl.presets import PRESETS

    assert all(preset.origin and preset.about for presets in PRESETS.values() for preset in presets.values())
    assert hyper_of("ppo", "sb3", {"learning_rate": "1e-4"})["learning_rate"] == 1e-4
    for algorithm, preset, changes in (
        ("dqn", "kflow", {}),
        ("ppo", "best", {}),
        ("ppo", "kflow", {"speed": "1"}),
        ("ppo", "kflow", {"n_steps": "many"}),
    ):
        with pytest.raises(UsageError):
            hyper_of(algorithm, preset, changes)


def test_best_weights_survive_their_file(tmp_path: Path) -> None:
    from kflow.policy.network import Layout
    from kflow.testing.models import untrained

    layout = Layout(observation=5, actions=3, policy=(4,), value=(4,))
    network = untrained(layout, 1)
    assert checkpoint.read_best(tmp_path, layout) is None
    checkpoint.save_best(tmp_path, network)
    kept = checkpoint.read_best(tmp_path, layout)
    assert kept is not None
    assert all(np.array_equal(kept.arrays[name], network.arrays[name]) for name in network.arrays)
