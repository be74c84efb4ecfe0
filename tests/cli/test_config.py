"""kflow config: what holds, and why."""

from __future__ import annotations

from pathlib import Path

from kflow.settings import declared
from tests.cli.conftest import Kflow, refused


def test_show_lists_every_setting_with_its_origin(kflow: Kflow, tmp_path: Path) -> None:
    (tmp_path / "kflow.toml").write_text("[web]\nport = 9000\n")
    done = kflow(
        "config", "show", "--origins", "--json", RL_ORDERBOOK_BATCH_SIZE="7", DATABASE_URL="postgresql://u:canary@h/d"
    )
    found = {item["setting"]: item for item in done.json["settings"]}
    assert set(found) == {item.key for item in declared()}
    assert found["recorder.batch_rows"]["value"] == 7
    assert found["recorder.batch_rows"]["origin"] == "environment RL_ORDERBOOK_BATCH_SIZE"
    assert (found["web.port"]["value"], found["web.port"]["origin"]) == (9000, "file kflow.toml")
    assert (found["database.url"]["value"], found["kalshi.key_id"]["value"]) == ("***", None)
    assert "canary" not in done.out + done.err


def test_show_is_a_table_for_people(kflow: Kflow) -> None:
    done = kflow("config", "show")
    assert done.code == 0
    assert "recorder.batch_rows" in done.out
    assert "origin" not in done.out


def test_the_config_option_names_the_file(kflow: Kflow, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[web]\nport = 9001\n")
    done = kflow("--config", "other.toml", "config", "show", "--origins", "--format", "csv")
    assert "web.port,9001,,file other.toml" in done.out


def test_check_passes_and_counts(kflow: Kflow) -> None:
    done = kflow("config", "check")
    assert done.code == 0
    assert done.out.startswith("settings fit: 1 given")


def test_check_warns_of_a_variable_that_nothing_reads(kflow: Kflow) -> None:
    done = kflow("config", "check", RL_SAMPLE_RATE="1")
    assert done.code == 0
    assert "nothing reads the environment variable RL_SAMPLE_RATE; did you mean RL_ORDERBOOK_SAMPLE_RATE?" in done.err


def test_check_fails_with_3_and_a_sentence(kflow: Kflow) -> None:
    done = kflow("config", "check", KFLOW__RECORDER__BATCHROWS="1")
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        "error: environment variable KFLOW__RECORDER__BATCHROWS: there is no setting recorder.batchrows\n"
        "hint: did you mean recorder.batch_rows?\n"
    )


def test_show_of_some_settings_and_groups(kflow: Kflow) -> None:
    shown = kflow("config", "show", "web", "recorder.batch_rows", "--json").json["settings"]
    assert [item["setting"] for item in shown] == ["recorder.batch_rows", "web.host", "web.port", "web.token_file"]
    refused(kflow("config", "show", "recorder.batchrows"), 2, "did you mean recorder.batch_rows?")
