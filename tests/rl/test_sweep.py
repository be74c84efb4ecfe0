"""Sweeps: every unit once, the same wherever it is done, and nothing lost or tried twice by a stop."""

from __future__ import annotations

import json
import math
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kflow.errors import ConfigError, DataError, InstanceLocked, UsageError
from kflow.rl import runs, sweepfolder, tried, workers
from kflow.rl.jobs import Done, Job, Result
from kflow.rl.plan import Plan, Source
from kflow.rl.presets import hyper_of
from kflow.rl.searching import Choice, Range, combinations, default_space, read_space
from kflow.rl.sweep import Asked, Sweep, abreast, begin
from kflow.rl.tried import Tried
from kflow.rl.workers import Workers
from kflow.rl.worlds import make_tapes
from kflow.sim import cache
from kflow.sim.fills import NO_LATENCY

HYPER = hyper_of("ppo", "kflow", {"n_steps": "64", "batch_size": "256", "n_epochs": "2"})
PLAN = Plan(
    hyper=HYPER,
    envs=16,
    steps=2_048,
    source=Source(world="reverting", count=6, seed=3),
    sizes=(500,),
    max_order=500,
    max_position=2_000,
    latency=NO_LATENCY,
    episode_us=10_000_000,
    evaluate_episodes=4,
)
TAPES = make_tapes("reverting", 6, seed=3, seconds=60)
RATES = read_space(["learning_rate=1e-4:1e-2:log"], HYPER)


def asked(**changes: Any) -> Asked:
    values: dict[str, Any] = {"plan": PLAN, "space": RATES, "sampler": "random", "trials": 2, "folds": 2, "seeds": 1}
    return Asked(**{**values, **changes})


def begun(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    begin(asked(**changes), TAPES, folder, ["kflow", "sweep"])
    return folder


def run(folder: Path, means: AbstractContextManager[Workers] | None = None, **changes: Any) -> list[Tried]:
    with means or workers.here() as working, Sweep(folder, **changes) as sweep:
        sweep.run(working)
        return sweep.tried()


def lines(folder: Path) -> list[dict[str, Any]]:
    return runs.read_lines(folder / sweepfolder.RESULTS)


def weights(folder: Path) -> dict[str, str]:
    return {line["key"]: line["weights_sha256"] for line in lines(folder)}


def arithmetic(profit: Callable[[Job], float], *, stop_after: int | None = None, count: int = 1) -> Any:
    """Workers whose units cost nothing: a formula instead of training. They stop as if Ctrl-C was pressed."""

    @contextmanager
    def opened() -> Iterator[Workers]:
        done: list[str] = []

        def submit(job: Job) -> Future[Done]:
            if len(done) == stop_after:
                raise KeyboardInterrupt
            assert job.key not in done
            done.append(job.key)
            result = Result(
                key=job.key,
                fold=job.fold.number,
                seed=job.plan.seed,
                hyper=job.plan.hyper,
                profit=profit(job),
                error=0.1,
                steps=1,
                seconds=0.0,
            )
            future: Future[Done] = Future()
            future.set_result(Done(result, {}))
            return future

        yield Workers(count, submit)

    return opened()


def rate_of(job: Job) -> float:
    return float(job.plan.hyper["learning_rate"])


def test_a_trial_is_its_folds_and_seeds(tmp_path: Path) -> None:
    folder = begun(tmp_path / "sweep", seeds=2)
    rows = run(folder)
    found = lines(folder)
    assert len(found) == len({line["key"] for line in found}) == 2 * 2 * 2
    for row in rows:
        units = [line for line in found if line["hyper"]["learning_rate"] == row.searched["learning_rate"]]
        assert sorted((line["fold"], line["seed"]) for line in units) == [(1, 0), (1, 1), (2, 0), (2, 1)]
        assert row.state == "whole"
        assert row.profit == pytest.approx(sum(line["profit"] for line in units) / 4)
        assert len({line["weights_sha256"] for line in units}) == 4
    for line in found:
        assert {path.name for path in (folder / "units" / line["key"]).iterdir()} == {"manifest.json", "progress.jsonl"}
        _, manifest = runs.read_manifest(folder / "units" / line["key"])
        assert manifest.result is not None
        assert {manifest.result[name] for name in ("key", "weights_sha256")} == {line["key"], line["weights_sha256"]}
        assert {tape["market"] for tape in manifest.held_out} == set(manifest.result["fold"]["held"])
    assert not (folder / "units" / ".work").exists()
    best = tried.best_of(rows)
    assert best is not None
    plan = runs.read_plan(folder / "best.json")
    assert plan == msgspec.structs.replace(PLAN, hyper=HYPER | best.searched)


def test_what_the_plan_holds_out_is_in_no_fold(tmp_path: Path) -> None:
    spec = sweepfolder.read_spec(begun(tmp_path / "sweep"))
    seen = {event for fold in spec.folds for event in (*fold.train, *fold.held, *fold.left_out)}
    assert len(TAPES) - len(seen) == 1
    assert max(tape.market for tape in TAPES) not in seen


def test_tapes_that_are_kept_stay_where_they_are(tmp_path: Path) -> None:
    root = tmp_path / "data" / "tapes"
    kept = [cache.save(tape, root, f"key{number}") for number, tape in enumerate(TAPES)]
    (folder := tmp_path / "sweep").mkdir()
    spec = begin(asked(), kept, folder, ())
    assert spec.tapes == tuple(str(root / f"key{number}") for number in range(len(TAPES)))
    assert not (folder / "tapes").exists()
    other = begun(tmp_path / "other")
    assert all((other / path).is_dir() for path in sweepfolder.read_spec(other).tapes)
    run(folder, arithmetic(rate_of))
    run(other, arithmetic(rate_of))
    assert weights(folder).keys() == weights(other).keys()  # a unit is what its tapes hold, wherever they lie


def test_a_second_time_nothing_is_done(tmp_path: Path) -> None:
    folder = begun(tmp_path / "sweep")
    rows = run(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "tapes" not in path.parts}
    assert run(folder, arithmetic(rate_of, stop_after=0)) == rows
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_a_pool_comes_to_the_same_weights(tmp_path: Path) -> None:
    here, pool = begun(tmp_path / "here"), begun(tmp_path / "pool")
    rows = run(here)
    assert run(pool, workers.pool(2)) == rows
    assert weights(here) == weights(pool)
    places = {line["place"] for line in lines(pool)}
    assert len(places) == 2
    assert not any(place.endswith(f" {os.getpid()}") for place in places)


@pytest.mark.slow  # pytest -m slow tests/rl/test_sweep.py
@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_ray_cluster_of_two_nodes_comes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    here, far = begun(tmp_path / "here"), begun(tmp_path / "far")
    rows = run(here)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        nodes.add_node(num_cpus=1)
        assert run(far, workers.cluster(nodes.address)) == rows
    finally:
        nodes.shutdown()
    assert weights(here) == weights(far)
    assert len({line["place"] for line in lines(far)}) == 2


def test_where_no_ray_cluster_listens_it_says_how_to_begin_one() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ConfigError, match="no Ray cluster at") as raised, workers.cluster(address):
            raise AssertionError("there was one")
    assert "ray start --head" in raised.value.hint


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_sweep_that_was_stopped_goes_on_as_it_would_have(tmp_path: Path, sampler: str) -> None:
    whole, broken = (begun(tmp_path / name, sampler=sampler, trials=14) for name in ("whole", "broken"))
    rows = run(whole, arithmetic(rate_of))
    stops = 0
    while True:
        try:
            found = run(broken, arithmetic(rate_of, stop_after=3))
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops > 5
    assert found == rows
    keys = [line["key"] for line in lines(broken)]
    assert len(keys) == len(set(keys)) == 14 * 2
    assert keys == [line["key"] for line in lines(whole)]


def test_tpe_learns_from_what_was_tried(tmp_path: Path) -> None:
    def near(job: Job) -> float:
        return -abs(math.log10(rate_of(job)) + 2.5)

    rows = run(begun(tmp_path / "sweep", sampler="tpe", trials=40, pruner="none"), arithmetic(near))
    early, late = rows[1:11], rows[-10:]
    assert sum(row.profit or 0.0 for row in late) > sum(row.profit or 0.0 for row in early) / 2
    assert tried.best_of(rows) == max(rows, key=lambda row: row.profit or 0.0)


def test_the_plan_as_it_stands_is_tried_first(tmp_path: Path) -> None:
    rows = run(begun(tmp_path / "sweep", sampler="tpe"), arithmetic(rate_of))
    assert rows[0].searched == {"learning_rate": HYPER["learning_rate"]}
    assert rows[1].searched != rows[0].searched


def test_a_grid_is_tried_as_a_whole_and_no_further(tmp_path: Path) -> None:
    space = read_space(["learning_rate=1e-3,1e-2", "n_epochs=1,2,3"], HYPER)
    folder = begun(tmp_path / "sweep", sampler="grid", space=space, trials=None)
    assert [row.searched for row in run(folder, arithmetic(rate_of))] == combinations(space)
    assert len(run(folder, arithmetic(rate_of), trials=100)) == 6


def test_more_trials_are_added_to_a_sweep(tmp_path: Path) -> None:
    folder = begun(tmp_path / "sweep")
    rows = run(folder, arithmetic(rate_of))
    assert run(folder, arithmetic(rate_of), trials=5)[:2] == rows
    assert sweepfolder.read_spec(folder).trials == 5
    assert run(begun(tmp_path / "other", trials=5), arithmetic(rate_of)) == run(folder)


def test_what_is_clearly_worse_is_not_tried_to_the_end(tmp_path: Path) -> None:
    space = read_space(["n_epochs=6,5,4,3,2,1,7,8"], HYPER)
    folder = begun(tmp_path / "sweep", sampler="grid", space=space, trials=None, folds=2, seeds=3)
    rows = run(folder, arithmetic(lambda job: float(job.plan.hyper["n_epochs"])))
    # Five whole trials come first; each is judged once every fold was seen once.
    assert [(row.searched["n_epochs"], row.state, row.units) for row in rows] == [
        (6, "whole", 6),
        (5, "whole", 6),
        (4, "whole", 6),
        (3, "whole", 6),
        (2, "whole", 6),
        (1, "pruned", 2),
        (7, "whole", 6),
        (8, "whole", 6),
    ]
    assert (best := tried.best_of(rows)) is not None
    assert best.searched == {"n_epochs": 8}


def test_values_that_make_no_run_fail_alone(tmp_path: Path) -> None:
    space = read_space(["batch_size=256,300", "learning_rate=1e-3,1e30"], HYPER)
    rows = run(begun(tmp_path / "sweep", sampler="grid", space=space, trials=None))
    assert [row.state for row in rows] == ["whole", "failed", "failed", "failed"]
    assert "broke down" in rows[1].failed
    assert all("no multiple of batches of 300" in row.failed for row in rows[2:])


def test_two_do_not_work_on_one_sweep(tmp_path: Path) -> None:
    folder = begun(tmp_path / "sweep")
    with Sweep(folder), pytest.raises(InstanceLocked, match="another process works on"):
        Sweep(folder)
    assert len(run(folder, arithmetic(rate_of))) == 2


def test_torn_lines_cost_what_they_held(tmp_path: Path) -> None:
    whole, torn = begun(tmp_path / "whole"), begun(tmp_path / "torn")
    rows = run(whole, arithmetic(rate_of))
    with pytest.raises(KeyboardInterrupt):
        run(torn, arithmetic(rate_of, stop_after=3))
    for name in ("results.jsonl", "trials.journal"):
        content = (torn / name).read_bytes()
        (torn / name).write_bytes(content[:-7])
    assert run(torn, arithmetic(rate_of)) == rows
    assert [line["key"] for line in lines(torn)] == [line["key"] for line in lines(whole)]
    assert run(torn, arithmetic(rate_of, stop_after=0)) == rows


def test_other_tapes_are_another_sweep(tmp_path: Path) -> None:
    folder = begun(tmp_path / "sweep")
    spec = sweepfolder.read_spec(folder)
    sweepfolder.write_spec(folder, msgspec.structs.replace(spec, digests=("0" * 64, *spec.digests[1:])))
    with pytest.raises(DataError, match="begun on other tapes"):
        Sweep(folder)
    (folder / spec.tapes[0] / "tape.json").unlink()
    slower = msgspec.structs.replace(PLAN, every_us=500_000)  # no process has packed the tapes like this
    sweepfolder.write_spec(folder, msgspec.structs.replace(spec, plan=slower))
    with pytest.raises(DataError, match="there is no tape in"):
        Sweep(folder)


def test_a_sweep_that_cannot_be_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be cut into 9 folds"):
        begun(tmp_path / "sweep", folds=9)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("each", "count", "trials"), [(9, 1, 1), (9, 2, 1), (4, 2, 1), (3, 2, 2), (1, 2, 2), (9, 8, 4), (1, 16, 16)]
)
def test_workers_are_kept_busy(each: int, count: int, trials: int) -> None:
    assert abreast(each, count) == trials
    assert trials * each / (count * -(-trials * each // count)) >= 0.9


def result(fold: int, profit: float, error: float | None) -> Result:
    return Result(key="", fold=fold, seed=0, hyper={}, profit=profit, error=error, steps=1, seconds=0.0)


def test_the_error_of_a_mean_by_hand() -> None:
    # Two folds of means 1 and 3: sqrt(2 / 2) = 1; within: each 0.3² of events and 0.5 / 2 of seeds.
    units = [result(1, 0.5, 0.3), result(1, 1.5, 0.3), result(2, 2.5, 0.3), result(2, 3.5, 0.3)]
    assert tried.overall(units) == (2.0, pytest.approx(1.0))
    alike = [result(1, 0.5, 0.3), result(1, 1.5, 0.3), result(2, 0.5, 0.3), result(2, 1.5, 0.3)]
    assert tried.overall(alike) == (1.0, pytest.approx(math.sqrt(2 * (0.09 + 0.25)) / 2))
    assert tried.overall([result(1, 2.0, None)]) == (2.0, None)


@pytest.mark.parametrize(("variants", "errors"), [(1, 0.0), (2, 0.564), (20, 1.867), (100, 2.508)])
def test_luck_of_the_best(variants: int, errors: float) -> None:
    """Against the exact means of the largest of normal draws."""
    assert tried.luck(variants) == pytest.approx(errors, abs=0.03)


def test_spaces_as_they_are_typed() -> None:
    texts = ["learning_rate=1e-4:1e-2:log", "n_epochs=4,6,10", "gamma=0.98:0.999", "n_steps=32:256", "net=32,32|64"]
    assert read_space(texts, HYPER) == {
        "learning_rate": Range(low=1e-4, high=1e-2, log=True),
        "n_epochs": Choice(values=(4, 6, 10)),
        "gamma": Range(low=0.98, high=0.999),
        "n_steps": Range(low=32, high=256, whole=True),
        "net": Choice(values=("32,32", "64")),
    }


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("gamma", "nothing to search"),
        ("gama=0.9,0.99", "no hyper-parameter gama"),
        ("gamma=0.99", "one value only"),
        ("gamma=0.99,0.99", "one value only"),
        ("gamma=0.99:0.9", "cannot be searched"),
        ("gamma=0:1:log", "cannot be searched"),
        ("gamma=0.9:0.99:linear", "cannot be searched"),
        ("n_epochs=1.5,2", "cannot be '1.5'"),
        ("gamma=a:b", "cannot be 'a'"),
        ("activation=tanh,selu", "cannot be 'selu'"),
        ("net=64,64", "one value only"),
        ("net=64,|32", "cannot be '64,'"),
    ],
)
def test_what_is_no_space_is_refused(text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word) as raised:
        read_space([text], HYPER)
    assert raised.value.hint


@pytest.mark.parametrize("algorithm", ["ppo", "a2c", "maskable-ppo"])
def test_default_spaces_hold_plans_that_run(algorithm: str) -> None:
    plan = msgspec.structs.replace(PLAN, algorithm=algorithm, hyper=hyper_of(algorithm, "kflow"), envs=64)
    space = default_space(plan)
    choices = {name: item for name, item in space.items() if isinstance(item, Choice)}
    for values in combinations(choices):
        msgspec.structs.replace(plan, hyper=plan.hyper | values).check()
    assert set(space) <= set(plan.hyper)


def test_results_are_plain_json(tmp_path: Path) -> None:
    folder = begun(tmp_path / "sweep")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(folder, arithmetic(rate_of))
    for line in (folder / "results.jsonl").read_text().splitlines():
        assert json.loads(line)["fold"] in (1, 2)
