"""kflow actor, as it is typed: off by default, armed by a person, bounded, and nothing leaves that should not."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from kflow.act.limits import Limits, load, write
from kflow.act.standing import FOLDER, StandingFile
from kflow.testing.postgres import Database
from kflow.testing.terminal import Terminal
from tests.cli.conftest import Kflow, refused

RUN = ("actor", "run", "--strategy", "hardcoded:join", "--enable")
MARKER = "canary"


def test_it_is_off_until_somebody_says_so(kflow: Kflow) -> None:
    refused(kflow("actor", "run", "--strategy", "hardcoded:join"), 2, "the actor is disabled", "RL_ACTOR_ENABLED")
    refused(kflow("actor", "run", RL_ACTOR_STRATEGY="hardcoded:join"), 2, "the actor is disabled")
    refused(kflow("actor", "run", RL_ACTOR_ENABLED="true"), 2, "strategy is disabled", "RL_ACTOR_STRATEGY")


def test_nobody_trades_who_was_not_armed(kflow: Kflow, tmp_path: Path) -> None:
    assert kflow("actor", "status", "--json").json["standing"] == "halted"
    refused(kflow(*RUN), 2, "nobody armed it yet", "kflow actor arm")
    refused(kflow("actor", "arm"), 2, "nobody can be asked", "--yes")
    assert kflow("actor", "arm", "--yes").out == "the actor is active\n"
    assert kflow("actor", "status", "--json").json["standing"] == "active"


def test_it_trades_on_paper_with_neither_key_nor_network(kflow: Kflow, database: Database) -> None:
    assert kflow("actor", "arm", "--yes").code == 0
    options = ("--duration", "4", "--latency", "none", "--json")
    done = kflow(*RUN, *options, DATABASE_URL=database.dsn, KFLOW__ACTOR__PORT="0")
    assert done.code == 0, done.err
    told = done.json
    assert (told["venue"], told["strategy"], told["mismatches"]) == ("paper", "hardcoded:join", 0)
    assert told["decisions"] > 0
    assert told["ended"] == "stopped"
    assert "recording" not in done.err


def test_limits_are_shown_and_written_for_their_owner_alone(kflow: Kflow, tmp_path: Path) -> None:
    assert kflow("actor", "limits").out == Limits().text()
    assert kflow("actor", "limits", "-o", "limits.toml").code == 0
    path = tmp_path / "limits.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load(path) == Limits()
    refused(kflow("actor", "limits", "-o", "limits.toml"), 2, "is there already")
    path.write_text("order_contracts = 1\nmarket_dolars = 3\n")
    kflow("actor", "arm", "--yes")
    refused(kflow(*RUN, "--limits", "limits.toml"), 3, "no limit market_dolars", "market_dollars")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--venue", "casino"), ("no venue casino", "--venue paper")),
        (("--strategy", "rl_model"), ("needs a model", "RL_ACTOR_MODEL_PATH")),
        (("--strategy", "clever"), ("no strategy clever", "module:Class")),
        (("--strategy", "no.module:Class"), ("no.module:Class", "No module named")),
    ],
)
def test_what_cannot_be_is_one_sentence(kflow: Kflow, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = kflow("actor", "run", "--enable", *options)
    assert done.code in (2, 3), done.err
    assert all(word in done.err for word in words), done.err
    assert "Traceback" not in done.err


def test_an_archive_is_refused_and_nothing_in_it_runs(kflow: Kflow, tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"PK\x03\x04 not even that")
    done = kflow("actor", "run", "--enable", "--strategy", "rl_model", "--model", "./model.zip")
    refused(done, 9, "not loaded", "kflow models export")
    assert not (tmp_path / MARKER).exists()


def test_real_money_needs_the_file_the_flag_the_limits_and_the_word(kflow: Kflow, tmp_path: Path) -> None:
    live = (*RUN, "--market", "KXBTC15M-26JAN01", "--venue", "exchange")
    refused(kflow(*live, "--live", KFLOW__KALSHI__ENVIRONMENT="production"), 3, "settings file", "kflow.toml")
    (tmp_path / "kflow.toml").write_text('[kalshi]\nenvironment = "production"\n')
    refused(kflow(*live), 2, "--live", "paper")
    refused(kflow(*live, "--live"), 3, "limits file", "kflow actor limits")
    kflow("actor", "limits", "-o", "limits.toml")
    refused(kflow(*live, "--live", "--limits", "limits.toml"), 2, "nobody can be asked", "--yes-live")
    # All of it, and still nobody's key: nothing is asked of the venue.
    kflow("actor", "arm", "--yes")
    refused(kflow(*live, "--live", "--limits", "limits.toml", "--yes-live"), 3, "key")


def test_a_local_exchange_address_never_gets_another_environments_orders(kflow: Kflow, tmp_path: Path) -> None:
    kflow("actor", "arm", "--yes")
    done = kflow(
        *RUN, "--market", "KXBTC15M-26JAN01", "--venue", "exchange",
        KFLOW__KALSHI__ENVIRONMENT="demo", KFLOW__KALSHI__EXCHANGE="https://external-api.kalshi.com",
    )  # fmt: skip
    assert done.code == 3
    assert "key" in done.err or "belongs to environment production" in done.err


@pytest.mark.parametrize(("answer", "words"), [("yes", "it was not confirmed"), ("trade for money", "key")])
async def test_the_word_for_real_money_is_typed(tmp_path: Path, answer: str, words: str) -> None:
    """Without it nothing goes on; with it the next thing that is missing is said: a key of the actor's own."""
    config = tmp_path / "kflow.toml"
    config.write_text('[kalshi]\nenvironment = "production"\n[actor]\nenabled = true\nvenue = "exchange"\n')
    write(tmp_path / "limits.toml")
    environment = {"KFLOW_DATA_DIR": str(tmp_path / "data")}
    StandingFile(tmp_path / "data" / FOLDER).arm("test", 1)
    options = (
        "--live",
        "--limits",
        str(tmp_path / "limits.toml"),
        "--strategy",
        "hardcoded:hold",
        "--market",
        "KXA-1-2",
    )
    async with Terminal() as terminal:
        terminal.run("--config", str(config), "actor", "run", *options, environment=environment)
        terminal.read()
        await terminal.until("for real money")
        terminal.type(answer.encode() + b"\r")
        await terminal.until(words)
        assert await terminal.ended() in (2, 3)
