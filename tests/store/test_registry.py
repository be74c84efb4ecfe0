"""The registry: versions, the steps a model may take, what is live, and that files are those that were registered."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from kflow.errors import KflowError, ModelError, UsageError
from kflow.policy import bundle
from kflow.store import migrate, registry
from kflow.store.postgres import Connection
from kflow.store.registry import STATUSES, STEPS, Model
from kflow.store.sqlfiles import migrations, queries
from kflow.testing.models import SCHEMA, facts, untrained
from kflow.testing.postgres import Database


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as connection:
        yield connection


def trained(conn: Connection, data: Path, name: str = "ppo-1.5", *, seed: int = 0) -> Model:
    """A new candidate."""
    made = registry.create(conn, name, "ppo", now_ns=1, hyperparameters={"lr": 0.0003}, feature_schema=SCHEMA)
    registry.finish(conn, data, made.id, untrained(seed=seed), facts(name=name, version=made.version), now_ns=2)
    return registry.get(conn, str(made.id))


def step(conn: Connection, data: Path, model: Model, *statuses: str) -> Model:
    for status in statuses:
        model, _ = registry.promote(conn, data, model, status, reason="test", now_ns=3, unjudged=True)
    return model


def in_status(conn: Connection, data: Path, status: str) -> Model:
    """A model of that status, come there by the shortest way."""
    if status in ("training", "failed"):
        made = registry.create(conn, "ppo-1.5", "ppo", now_ns=1)
        if status == "failed":
            registry.fail(conn, made.id, "no luck", now_ns=2)
        return registry.get(conn, str(made.id))
    way = {"candidate": (), "paper": ("paper",), "live": ("paper", "live"), "retired": ("retired",)}[status]
    return step(conn, data, trained(conn, data), *way)


def test_versions_count_from_one_for_each_name(conn: Connection) -> None:
    made = [registry.create(conn, name, "ppo", now_ns=1).version for name in ("a", "a", "b", "a")]
    assert made == [1, 2, 1, 3]


def test_racing_runs_get_versions_of_their_own(database: Database) -> None:
    barrier, found = threading.Barrier(4), list[int]()

    def run() -> None:
        with database.connect(autocommit=True) as mine:
            barrier.wait()
            found.extend(registry.create(mine, "a", "ppo", now_ns=1).version for _ in range(5))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 21))


@pytest.mark.parametrize("name", ["", "7", "Ppo", "../x", "a/b", "a:1", ".a", "a" * 65, "a\n", "ä"])
def test_what_cannot_name_a_model_is_refused(conn: Connection, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a model"):
        registry.create(conn, name, "ppo", now_ns=1)


def test_training_ends_in_a_bundle_that_the_registry_knows(conn: Connection, tmp_path: Path) -> None:
    model = trained(conn, tmp_path)
    assert (str(model), model.status, model.path) == ("ppo-1.5:1", "candidate", "models/ppo-1.5/1")
    assert (model.hyperparameters, model.feature_schema) == ({"lr": 0.0003}, SCHEMA)
    assert model.training_metrics["steps"] == 10**6
    found = registry.load(tmp_path, model, schema=SCHEMA)
    assert found.card.weights_sha256 == model.sha256
    assert found.path == tmp_path / "models/ppo-1.5/1/ppo-1.5.json"
    assert registry.sessions_trained_on(model) == {4}
    assert registry.tapes_trained_on(model) == {"d1", "d2"}
    steps = [(change.before, change.after) for change in registry.changes(conn, model)]
    assert steps == [(None, "training"), ("training", "candidate")]


def test_an_interrupted_finish_is_done_again(conn: Connection, tmp_path: Path) -> None:
    made = registry.create(conn, "ppo-1.5", "ppo", now_ns=1)
    bundle.save(registry.folder_of(tmp_path, "ppo-1.5", 1), untrained(seed=9), facts())
    registry.finish(conn, tmp_path, made.id, untrained(), facts(), now_ns=2)
    registry.load(tmp_path, registry.get(conn, "ppo-1.5"))
    with pytest.raises(UsageError, match="is candidate, which candidate does not follow"):
        registry.finish(conn, tmp_path, made.id, untrained(), facts(), now_ns=2)


def test_facts_of_another_model_are_refused(conn: Connection, tmp_path: Path) -> None:
    made = registry.create(conn, "ppo-1.5", "ppo", now_ns=1)
    with pytest.raises(ModelError, match=r"of ppo-1\.5:2, not of ppo-1\.5:1"):
        registry.finish(conn, tmp_path, made.id, untrained(), facts(version=2), now_ns=2)


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("after", STATUSES)
def test_a_model_takes_only_the_steps_there_are(conn: Connection, tmp_path: Path, before: str, after: str) -> None:
    model = in_status(conn, tmp_path, before)
    logged = len(registry.changes(conn, model))
    allowed = after in STEPS[before] and (before, after) not in {("training", "candidate"), ("retired", "live")}
    if allowed:
        assert step(conn, tmp_path, model, after).status == after
    else:
        with pytest.raises(KflowError) as caught:
            step(conn, tmp_path, model, after)
        assert caught.value.hint
    assert registry.get(conn, str(model.id)).status == (after if allowed else before)
    assert len(registry.changes(conn, model)) == logged + allowed


def test_one_of_a_name_is_live_and_rollback_is_one_step(conn: Connection, tmp_path: Path) -> None:
    first, second, other = (trained(conn, tmp_path, name) for name in ("a", "a", "b"))
    step(conn, tmp_path, other, "paper", "live")
    step(conn, tmp_path, first, "paper", "live")
    step(conn, tmp_path, second, "paper")
    _, replaced = registry.promote(conn, tmp_path, second, "live", reason="better", now_ns=5)
    assert str(replaced) == "a:1"
    assert [str(model) for model in registry.read(conn, status="live")] == ["a:2", "b:1"]
    assert registry.changes(conn, first)[-1] == (5, "live", "retired", "a:2 is live")
    _, replaced = registry.promote(conn, tmp_path, first, "live", reason="it was not", now_ns=6)
    assert str(replaced) == "a:2"
    assert [str(model) for model in registry.read(conn, name="a", status="live")] == ["a:1"]
    assert registry.changes(conn, first)[-1] == (6, "retired", "live", "it was not")


def test_racing_promotions_leave_one_live(database: Database, conn: Connection, tmp_path: Path) -> None:
    models = [step(conn, tmp_path, trained(conn, tmp_path, "a"), "paper") for _ in range(4)]
    barrier, failures = threading.Barrier(4), list[Exception]()

    def run(model: Model) -> None:
        with database.connect(autocommit=True) as mine:
            barrier.wait()
            try:
                step(mine, tmp_path, model, "live")
            except (psycopg.Error, KflowError) as error:
                failures.append(error)

    threads = [threading.Thread(target=run, args=[model]) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(model.status for model in registry.read(conn)) == ["live", "retired", "retired", "retired"]


@pytest.mark.parametrize("status", ["paper", "live"])
def test_only_what_verifies_comes_to_trade(conn: Connection, tmp_path: Path, status: str) -> None:
    model = trained(conn, tmp_path)
    if status == "live":
        model = step(conn, tmp_path, model, "paper")
    weights = tmp_path / "models/ppo-1.5/1/ppo-1.5.npz"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(ModelError, match="damaged"):
        step(conn, tmp_path, model, status)
    weights.write_bytes(whole)
    with pytest.raises(ModelError, match="schema abc123, this kflow computes other"):
        registry.promote(conn, tmp_path, model, status, reason="", now_ns=1, schema="other")
    assert step(conn, tmp_path, model, status).status == status


def test_a_model_that_was_exchanged_with_its_card_is_seen(conn: Connection, tmp_path: Path) -> None:
    model = trained(conn, tmp_path)
    folder = registry.folder_of(tmp_path, "ppo-1.5", 1)
    for file in folder.iterdir():
        file.unlink()
    forged = bundle.save(folder, untrained(seed=1), facts())
    with pytest.raises(ModelError, match="the registry says") as caught:
        registry.load(tmp_path, model)
    assert str(model.sha256) in str(caught.value)
    assert forged.card.weights_sha256 in str(caught.value)


def test_a_card_that_was_changed_is_seen(conn: Connection, tmp_path: Path) -> None:
    model = trained(conn, tmp_path)
    card = registry.folder_of(tmp_path, "ppo-1.5", 1) / "ppo-1.5.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"limits": {"max_order": 10**9}}))
    bundle.load(card)  # by itself it is a model
    with pytest.raises(ModelError, match="not the card that the registry knows"):
        registry.load(tmp_path, model)


@pytest.mark.parametrize("reference", ["none", "a:2", "99", "99999999999999", "a:99999999999999", "A", "", "a:", "a:x"])
def test_a_model_that_there_is_not_is_misuse(conn: Connection, reference: str) -> None:
    registry.create(conn, "a", "ppo", now_ns=1)
    with pytest.raises(UsageError, match="there is no model"):
        registry.get(conn, reference)


def test_a_name_means_the_newest_that_has_files(conn: Connection, tmp_path: Path) -> None:
    registry.create(conn, "a", "ppo", now_ns=1)
    assert str(registry.get(conn, "a")) == "a:1"
    trained(conn, tmp_path, "a")
    registry.create(conn, "a", "ppo", now_ns=1)
    assert str(registry.get(conn, "a")) == "a:2"
    assert str(registry.get(conn, "a:3")) == "a:3"
    assert [str(model) for model in registry.read(conn, name="a")] == ["a:3", "a:2", "a:1"]


@pytest.mark.parametrize("status", STATUSES)
def test_what_is_in_use_is_not_removed(conn: Connection, tmp_path: Path, status: str) -> None:
    model = in_status(conn, tmp_path, status)
    folder = registry.folder_of(tmp_path, model.name, model.version)
    had = folder.exists()
    if status in ("paper", "live"):
        with pytest.raises(UsageError, match=f"is {status}"):
            registry.remove(conn, tmp_path, model, reason="test", now_ns=4)
        assert registry.load(tmp_path, registry.get(conn, str(model.id)))
    else:
        registry.remove(conn, tmp_path, model, reason="test", now_ns=4)
        assert registry.get(conn, str(model.id)).status == "retired"
        assert not folder.exists()
        with pytest.raises(ModelError, match="has no files"):
            registry.load(tmp_path, registry.get(conn, str(model.id)))
    assert had == (status not in ("training", "failed"))


def test_a_removed_version_is_never_given_again(conn: Connection, tmp_path: Path) -> None:
    model = trained(conn, tmp_path, "a")
    registry.remove(conn, tmp_path, model, reason="test", now_ns=4)
    assert registry.create(conn, "a", "ppo", now_ns=1).version == 2
    assert registry.sessions_trained_on(registry.get(conn, "a:1")) == {4}


def test_a_writer_may_train_and_promote_and_a_reader_may_look(database: Database, tmp_path: Path) -> None:
    with psycopg.connect(database.login("kflow_writer"), autocommit=True) as mine:
        model = step(mine, tmp_path, trained(mine, tmp_path), "paper", "live", "retired")
        registry.remove(mine, tmp_path, model, reason="test", now_ns=4)
        for statement in (
            "DELETE FROM rl_models",
            "UPDATE rl_model_changes SET reason = ''",
            "DELETE FROM rl_model_changes",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                mine.execute(statement.encode())
    with psycopg.connect(database.login("kflow_reader"), autocommit=True) as theirs:
        assert len(registry.changes(theirs, registry.get(theirs, "ppo-1.5"))) == 5
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            registry.create(theirs, "a", "ppo", now_ns=1)


def test_models_of_an_older_schema_keep_their_meaning(empty_database: Database) -> None:
    """`active` of the schema before becomes `live`; where several of a name were, the newest."""
    with empty_database.connect(autocommit=True) as conn:
        conn.execute(queries("migrations")["create"])
        for migration in migrations()[:4]:
            migrate._apply(conn, migration)
        rows = [("a", 1, "active"), ("a", 2, "active"), ("a", 3, "training"), ("b", 1, "retired"), ("c", 1, "active")]
        with conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO rl_models (model_name, version, algorithm, status, created_ns, updated_ns)"
                " VALUES (%s, %s, 'ppo', %s, 1, 1)",
                rows,
            )
        migrate.upgrade(conn)
        found = {str(model): model.status for model in registry.read(conn)}
    assert found == {"a:1": "retired", "a:2": "live", "a:3": "training", "b:1": "retired", "c:1": "live"}
