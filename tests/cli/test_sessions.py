"""kflow sessions: what the rows say, in every format."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from kflow.store import sessions
from kflow.store.known import Known, known, remember
from kflow.testing.postgres import Database
from tests.cli.conftest import Kflow, Outcome

START_NS = 1_767_000_000_000_000_000
DAY_NS = 86_400_000_000_000


@pytest.fixture
def recorded(kflow: Kflow, database: Database) -> Kflow:
    """Two sessions a day apart, of one market each; the second one lost something."""
    with database.connect(autocommit=True) as conn:
        for number, ticker in enumerate(("INXD-25JAN03-B1", "KXBTC-1"), start=1):
            started = START_NS + (number - 1) * DAY_NS
            new = sessions.NewSession(
                uuid=uuid4(), started_ns=started, environment="local", use_yes_price=False, sample_rate=1,
                kflow_version="0.1.0", host="here", journal_dir="/nowhere", selection={"markets": [ticker]},
            )  # fmt: skip
            found = sessions.create_session(conn, new)
            market = sessions.upsert_market(conn, sessions.Market(ticker=ticker, updated_ns=started))
            sessions.link_markets(conn, found, [market])
            sessions.open_connection(conn, found, 1, started, "ws://127.0.0.1:1/trade-api/ws/v2")
        conn.execute(
            "INSERT INTO rl_gaps (recv_ns, session_id, connection, sid, market_id, kind, expected, received, detail)"
            " VALUES (%s, 2, 1, 1, NULL, 'sequence', 5, 9, '4 lost')",
            [START_NS + DAY_NS],
        )

    def call(*arguments: object) -> Outcome:
        return kflow(*arguments, DATABASE_URL=database.dsn)

    return call


def test_ls_counts_what_the_rows_say(recorded: Kflow) -> None:
    first, second = recorded("sessions", "ls", "--json").json["sessions"]
    assert (first["session"], first["state"], first["markets"], first["gaps"]) == (1, "open", 1, 0)
    assert (second["session"], second["gaps"], second["deltas"]) == (2, 1, 0)
    assert first["started"] == "2025-12-29T09:20:00Z"


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (("--market", "KXBTC-1"), [2]),
        (("--market", "NONE"), []),
        (("--since", "2025-12-30"), [2]),
        (("--min-coverage", "0.5"), []),
    ],
)
def test_ls_filters(recorded: Kflow, options: tuple[str, ...], numbers: list[int]) -> None:
    found = recorded("sessions", "ls", *options, "--json").json["sessions"]
    assert [item["session"] for item in found] == numbers


def test_ls_in_the_other_formats(recorded: Kflow) -> None:
    assert recorded("sessions", "ls", "--format", "csv").out.startswith("session,state,started,")
    assert len(recorded("sessions", "ls", "--format", "ndjson").out.splitlines()) == 2
    assert "2025-12-29 09:20Z" in recorded("sessions", "ls").out


def test_show_tells_selection_markets_and_gaps(recorded: Kflow) -> None:
    whole = recorded("sessions", "show", 2, "--json").json
    assert (whole["tickers"], whole["selection"]) == (["KXBTC-1"], {"markets": ["KXBTC-1"]})
    [gap] = whole["gap_list"]
    assert (gap["kind"], gap["expected"], gap["received"], gap["detail"]) == ("sequence", 5, 9, "4 lost")
    people = recorded("sessions", "show", 2).out
    assert "KXBTC-1" in people
    assert "4 lost" in people


def test_an_unknown_session_is_misuse(recorded: Kflow) -> None:
    done = recorded("sessions", "show", 7)
    assert (done.code, done.out) == (2, "")
    assert "no session has the number 7" in done.err


def test_ls_keeps_what_completion_offers_as_it_is(recorded: Kflow, tmp_path: Path) -> None:
    gone = Known(9, "of another database", START_NS, ("OLD",))
    data = tmp_path / "data"
    data.mkdir()
    remember(data, gone)
    recorded("sessions", "ls", "--market", "KXBTC-1")
    assert [(item.number, item.markets) for item in known(data)] == [(1, ("INXD-25JAN03-B1",)), (2, ("KXBTC-1",))]
