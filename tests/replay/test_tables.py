"""Rows come in the venue's order, whatever was written meanwhile, and also where the venue began to count anew."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from kflow.replay.tables import Run, open_tables
from kflow.replay.verify import verify
from kflow.store.postgres import Connection
from kflow.testing.postgres import Database

from .conftest import Flow, Script, Stored

Store = Callable[..., Stored]


def order(conn: Connection, session: int) -> list[tuple[int, int, int]]:
    found = []
    with open_tables(conn, session) as tables:
        for item in tables.books():
            if isinstance(item, Run):
                found += [(item.connection, item.sid, seq) for seq in item.rows["seq"].tolist()]
            else:
                found.append((item[0], item[1].sid, item[1].seq))
    return found


def test_deltas_and_snapshots_are_merged_by_seq(conn: Connection, store: Store) -> None:
    stored = store(Script([Flow(1).take(200), Flow(2).take(100)]))
    found = order(conn, stored.id)
    assert found == sorted(found)
    assert len(found) == len(set(found))
    assert {connection for connection, _, _ in found} == {1, 2}


@pytest.mark.parametrize("together", [1, 40])
def test_a_venue_that_counts_anew_is_followed(conn: Connection, store: Store, together: int) -> None:
    """The counter starts again in mid-stream; with 40 frames to a chunk, frames of both counts share one instant."""
    flow = Flow(4)
    frames = flow.take(100)
    flow.seq = 0
    frames += [flow.delta() for _ in range(70)]
    frames += [flow.snapshot(market) for market in flow._markets] + [flow.delta() for _ in range(50)]
    stored = store(Script([frames], chunk=lambda _: together))
    verdict = verify(conn, stored.id)
    assert verdict.gap_kinds["reset"] == 1
    assert verdict.differences == ()
    seqs = [seq for _, _, seq in order(conn, stored.id)]
    assert sum(later < earlier for earlier, later in itertools.pairwise(seqs)) == 1


def test_what_is_written_meanwhile_is_not_seen(conn: Connection, store: Store, database: Database) -> None:
    stored = store(Script([Flow(1).take(50)]))
    before = order(conn, stored.id)
    with open_tables(conn, stored.id) as tables, database.connect(autocommit=True) as other:
        assert other.execute("DELETE FROM rl_orderbook_deltas").rowcount > 30
        assert other.execute("DELETE FROM rl_orderbook_snapshots").rowcount >= 2
        seen = sum(len(item.rows) if isinstance(item, Run) else 1 for item in tables.books())
        assert seen == len(before)
    assert order(conn, stored.id) == []
