"""Settings: who wins, where each value says it came from, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kflow.errors import ConfigError
from kflow.settings import Settings, declared, groups, load, unknown_variables, wants_traceback

# The environment of the requirements document, each with what it must become.
SEED = {
    "KALSHI_API_KEY_ID": ("your-api-key", "kalshi.key_id", "your-api-key"),
    "KALSHI_PRIVATE_KEY_PATH": ("./kalshi_private_key.pem", "kalshi.private_key_path", Path("kalshi_private_key.pem")),
    "DATABASE_URL": ("postgresql://user:pass@localhost/db", "database.url", "postgresql://user:pass@localhost/db"),
    "RL_MARKET_TICKER": ("INXD-25JAN03", "selection.markets", ("INXD-25JAN03",)),
    "RL_ORDERBOOK_BATCH_SIZE": ("250", "recorder.batch_rows", 250),
    "RL_ORDERBOOK_FLUSH_INTERVAL": ("2.5", "recorder.flush_interval_s", 2.5),
    "RL_ORDERBOOK_SAMPLE_RATE": ("3", "recorder.sample_rate", 3),
    "RL_ACTOR_ENABLED": ("true", "actor.enabled", True),
    "RL_ACTOR_STRATEGY": ("rl_model", "actor.strategy", "rl_model"),
    "RL_ACTOR_MODEL_PATH": ("/path/to/model", "actor.model_path", Path("/path/to/model")),
    "RL_ACTOR_THROTTLE_MS": ("300", "actor.throttle_ms", 300),
    "RL_ACTOR_CONTRACT_SIZE": ("20", "actor.contract_size", 20),
    "KFLOW_DATA_DIR": ("/data", "data.dir", Path("/data")),
}


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "kflow.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_nothing_given_means_the_defaults_of_the_requirements() -> None:
    settings = load(environ={})
    assert (settings.recorder.batch_rows, settings.recorder.flush_interval_s, settings.recorder.sample_rate) == (
        100,
        1.0,
        1,
    )
    assert (settings.recorder.fsync_interval_s, settings.web.host, settings.web.port) == (0.2, "127.0.0.1", 8001)
    assert (settings.kalshi.environment, settings.actor.enabled, settings.actor.strategy) == (
        "local",
        False,
        "disabled",
    )
    assert (settings.actor.throttle_ms, settings.actor.contract_size) == (250, 10)
    assert set(settings.origins.values()) == {"default"}


@pytest.mark.parametrize("name", SEED)
def test_each_variable_of_the_requirements_works_under_its_own_name(name: str) -> None:
    text, key, expected = SEED[name]
    settings = load(environ={name: text})
    assert settings.value(key) == expected
    assert settings.origins[key] == f"environment {name}"


def test_every_setting_has_a_general_environment_name() -> None:
    for item in declared():
        assert item.env[-1] == f"KFLOW__{item.key.replace('.', '__')}".upper()


def test_flags_beat_the_environment_which_beats_the_file_which_beats_the_default(toml: Any) -> None:
    file = toml("[recorder]\nbatch_rows = 2\nqueue_rows = 200\nsample_rate = 2\n")
    environ = {"RL_ORDERBOOK_BATCH_SIZE": "3", "KFLOW__RECORDER__SAMPLE_RATE": "3"}
    settings = load({"recorder.batch_rows": 4, "recorder.sample_rate": None}, environ=environ, file=file)
    recorder, origins = settings.recorder, settings.origins
    assert (recorder.batch_rows, origins["recorder.batch_rows"]) == (4, "flag")
    assert (recorder.sample_rate, origins["recorder.sample_rate"]) == (3, "environment KFLOW__RECORDER__SAMPLE_RATE")
    assert (recorder.queue_rows, origins["recorder.queue_rows"]) == (200, "file kflow.toml")
    assert (recorder.flush_interval_s, origins["recorder.flush_interval_s"]) == (1.0, "default")


def test_the_file_is_the_one_of_this_folder_or_the_one_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kflow.toml").write_text("[web]\nport = 1\n")
    (tmp_path / "other.toml").write_text("[web]\nport = 2\n")
    assert load(environ={}).web.port == 1
    assert load(environ={"KFLOW_CONFIG": "other.toml"}).web.port == 2


def test_paths_of_the_file_start_at_its_folder(toml: Any) -> None:
    file = toml('[kalshi]\nprivate_key_path = "keys/k.pem"\n')
    assert load(environ={}, file=file).kalshi.private_key_path == file.parent / "keys/k.pem"


def test_an_empty_variable_is_not_given() -> None:
    assert load(environ={"DATABASE_URL": "", "RL_ORDERBOOK_BATCH_SIZE": ""}) == load(environ={})


def test_lists_are_separated_by_commas_in_the_environment() -> None:
    assert load(environ={"RL_MARKET_TICKER": "A-1, B-2,,"}).selection.markets == ("A-1", "B-2")


@pytest.mark.parametrize(
    ("environ", "message", "hint"),
    [
        ({"KFLOW__WEB__PROT": "1"}, "environment variable KFLOW__WEB__PROT: there is no setting web.prot", "web.port"),
        ({"KFLOW__ZZZ": "1"}, "environment variable KFLOW__ZZZ: there is no setting zzz", "kflow config show"),
        ({"KFLOW__WEB__PORT": "70000"}, "KFLOW__WEB__PORT: web.port cannot be 70000", "at most 65535"),
        ({"KFLOW__WEB__PORT": "x"}, "KFLOW__WEB__PORT: web.port cannot be 'x'", "whole number"),
        ({"RL_ORDERBOOK_BATCH_SIZE": "0"}, "recorder.batch_rows cannot be 0", "at least 1"),
        ({"RL_ORDERBOOK_FLUSH_INTERVAL": "nan"}, "recorder.flush_interval_s cannot be nan", "number"),
        ({"RL_ORDERBOOK_FLUSH_INTERVAL": "inf"}, "recorder.flush_interval_s cannot be inf", "number"),
        ({"RL_ACTOR_ENABLED": "maybe"}, "actor.enabled cannot be 'maybe'", "true | false"),
        ({"KFLOW__ACTOR__VENUE": "casino"}, "actor.venue cannot be 'casino'", "paper | exchange"),
        ({"KFLOW__KALSHI__ENVIRONMENT": "prod"}, "cannot be 'prod'", "local | demo | production"),
        (
            {"RL_ORDERBOOK_BATCH_SIZE": "1", "KFLOW__RECORDER__BATCH_ROWS": "2"},
            "RL_ORDERBOOK_BATCH_SIZE and KFLOW__RECORDER__BATCH_ROWS say different things",
            "unset one",
        ),
    ],
)
def test_a_misfit_of_the_environment_is_refused(environ: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load(environ=environ)
    assert hint in caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[recorder]\nbatch_row = 1\n", "there is no setting recorder.batch_row", "recorder.batch_rows"),
        ("[recoder]\nbatch_rows = 1\n", "there is no setting recoder.batch_rows", "recorder.batch_rows"),
        ("batch_rows = 1\n", "batch_rows stands outside of a group", "[group]"),
        ("[recorder]\nbatch_rows = true\n", "recorder.batch_rows cannot be True", "whole number"),
        ("[recorder]\nbatch_rows = 1.0\n", "recorder.batch_rows cannot be 1.0", "whole number"),
        ("[selection]\nmarkets = [1]\n", "selection.markets cannot be (1,)", "list of texts"),
        ("[web\n", "is not TOML", "kflow init -o -"),
        ("[database]\nurl = 17\n", "database.url cannot be ***", "text"),
    ],
)
def test_a_misfit_of_the_file_is_refused(toml: Any, text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load(environ={}, file=toml(text))
    assert hint in caught.value.hint


def test_a_whole_number_may_stand_for_a_number(toml: Any) -> None:
    assert load(environ={}, file=toml("[recorder]\nflush_interval_s = 2\n")).recorder.flush_interval_s == 2.0


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(environ={}, file=tmp_path / "absent.toml")


def test_no_secret_is_in_any_repr_or_message() -> None:
    environ = {"DATABASE_URL": "postgresql://u:canary@h/d", "KALSHI_API_KEY_ID": "canary-id"}
    settings = load(environ=environ)
    shown = [item.shown(settings.value(item.key)) for item in declared()]
    public = [item.public(settings.value(item.key)) for item in declared()]
    assert "canary" not in f"{settings} {settings!r} {shown} {public} {settings.origins}"
    assert shown.count("***") == public.count("***") == 2


def test_variables_that_nothing_reads_are_found() -> None:
    environ = {"RL_SAMPLE_RATE": "1", "KFLOW_DEBUG": "1", "KFLOW_DATA_DIR": "/x", "HOME": "/", "KALSHI_ZZZ": "1"}
    assert unknown_variables(environ) == [("RL_SAMPLE_RATE", "RL_ORDERBOOK_SAMPLE_RATE"), ("KALSHI_ZZZ", "")]


@pytest.mark.parametrize(("value", "wanted"), [("1", True), ("true", True), ("0", False), ("no", False), ("", False)])
def test_a_traceback_is_wanted_where_the_environment_says_so(value: str, wanted: bool) -> None:
    assert wants_traceback({"KFLOW_DEBUG": value}) is wanted
    assert wants_traceback({}) is False


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(AttributeError):
        settings.web.port = 1  # type: ignore[misc]


def test_every_declaration_says_what_it_is() -> None:
    for item in declared():
        assert item.about
        assert (
            item.type_name in {"whole number", "number", "true | false", "text", "path", "list of texts"}
            or "|" in item.type_name
        )
    assert all(about for _, about in groups())
    assert len({item.key for item in declared()}) == len(declared())
