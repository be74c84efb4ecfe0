"""Binary COPY: what goes in comes out, and what does not fit is refused before it is sent."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from kflow.errors import Unrepresentable
from kflow.store import copy
from kflow.store.copy import DELTAS, GAPS, SNAPSHOTS, TABLES, TRADES, BinaryTable, pack_delta
from kflow.store.postgres import Connection
from kflow.store.sessions import ensure_day

T0 = 1_735_689_600_000_000_000
DAY = 86_400_000_000_000


def integers(bits: int) -> st.SearchStrategy[int]:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return st.sampled_from([low, high, 0, -1]) | st.integers(low, high)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
VALUES: dict[str, st.SearchStrategy[object]] = {
    "smallint": integers(16),
    "integer": integers(32),
    "bigint": integers(64),
    "boolean": st.booleans(),
    "text": TEXTS,
    "bytea": st.binary(max_size=60),
    "smallint[]": st.lists(integers(16), max_size=6),
    "bigint[]": st.lists(integers(64), max_size=6),
}
# Columns that the schema narrows beyond their type.
NARROW: dict[str, st.SearchStrategy[object]] = {
    "recv_ns": st.integers(T0, T0 + DAY - 1),
    "size_e2": st.sampled_from([0, 2**63 - 1]) | st.integers(0, 2**63 - 1),
    "price_e4": st.integers(0, 10_000),
    "last_e4": st.integers(0, 10_000),
    "yes_bid_e4": st.integers(0, 10_000),
    "yes_ask_e4": st.integers(0, 10_000),
    "side": st.integers(0, 1),
    "taker": st.integers(0, 1),
}


def rows_of(table: BinaryTable) -> st.SearchStrategy[list[tuple[object, ...]]]:
    columns = []
    for name, kind in zip(table.columns, table.types, strict=True):
        values = NARROW.get(name, VALUES[kind.removesuffix("?")])
        columns.append(st.none() | values if kind.endswith("?") else values)
    rows = st.tuples(*columns)
    if table is SNAPSHOTS:  # levels come in pairs
        levels = st.lists(st.tuples(integers(16), integers(64)), max_size=5)
        pairs = st.tuples(levels, levels)
        rows = st.builds(lambda row, both: (*row[:9], *split(both[0]), *split(both[1])), rows, pairs)
    return st.lists(rows, max_size=8)


def split(levels: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [price for price, _ in levels], [size for _, size in levels]


def stored(conn: Connection, table: BinaryTable) -> list[tuple[object, ...]]:
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    return conn.execute(sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier(table.table))).fetchall()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.table)
def test_what_goes_in_comes_out(conn: Connection, table: BinaryTable) -> None:
    ensure_day(conn, T0)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(rows_of(table))
    def check(rows: list[tuple[object, ...]]) -> None:
        with conn.transaction(force_rollback=True), conn.cursor() as cursor:
            table.write(cursor, table.pack_rows(rows))
            assert sorted(map(repr, stored(conn, table))) == sorted(map(repr, rows))

    check()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.table)
def test_columns_and_types_are_the_schema_s(conn: Connection, table: BinaryTable) -> None:
    found = conn.execute(
        "SELECT attname, format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '' ELSE '?' END"
        "  FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attname",
        [table.table],
    ).fetchall()
    assert found == sorted(zip(table.columns, table.types, strict=True))


@given(rows_of(DELTAS))
def test_the_fast_paths_of_deltas_make_the_same_bytes(rows: list[tuple[object, ...]]) -> None:
    plain = b"".join(BinaryTable.pack(DELTAS, *row) for row in rows)
    assert b"".join(pack_delta(*row) for row in rows) == plain
    assert DELTAS.pack_rows(rows) == plain
    assert DELTAS.pack_rows(iter(rows)) == plain


GOOD_DELTA = (T0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 0)


@pytest.mark.parametrize("pack", [pack_delta, DELTAS.pack, lambda *row: DELTAS.pack_rows([GOOD_DELTA, row])])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("recv_ns", 2**63),
        ("venue_us", -(2**63) - 1),
        ("delta_e2", 1.5),
        ("seq", None),
        ("size_e2", "3"),
        ("session_id", 2**31),
        ("market_id", 2**40),  # psycopg's own COPY would store 0
        ("price_e4", 40_000),  # … and -25536
        ("side", -32_769),
    ],
)
def test_a_delta_that_does_not_fit_is_refused(pack: Callable[..., bytes], column: str, value: object) -> None:
    row = list(GOOD_DELTA)
    row[DELTAS.columns.index(column)] = value
    with pytest.raises(Unrepresentable, match=rf"for rl_orderbook_deltas\.{column}$"):
        pack(*row)


def replaced(row: tuple[object, ...], index: int, value: object) -> tuple[object, ...]:
    return (*row[:index], value, *row[index + 1 :])


TRADE = (T0, None, None, 100, 1, 1, 1, 1, 5000, None, None, None)
GAP = (T0, None, None, None, 1, 1, None, None, "sequence", "")
SNAPSHOT = (T0, None, 1, 1, 1, 1, 1, 0, "resync", [1], [1], [], [])


@pytest.mark.parametrize(
    ("table", "row", "column"),
    [
        (TRADES, replaced(TRADE, 10, 1), "is_block"),
        (TRADES, replaced(TRADE, 11, "a\0b"), "trade_id"),
        (TRADES, replaced(TRADE, 11, "\ud800"), "trade_id"),
        (TRADES, replaced(TRADE, 11, 7), "trade_id"),
        (GAPS, replaced(GAP, 9, None), "detail"),
        (SNAPSHOTS, replaced(SNAPSHOT, 9, [1, 2**15]), "yes_prices"),
        (SNAPSHOTS, replaced(SNAPSHOT, 10, [0.5]), "yes_sizes"),
        (SNAPSHOTS, replaced(SNAPSHOT, 11, [None]), "no_prices"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(table: BinaryTable, row: tuple[object, ...], column: str) -> None:
    with pytest.raises(Unrepresentable, match=rf"for {table.table}\.{column}$"):
        table.pack(*row)


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(Unrepresentable, match="row of rl_gaps, which has 10 columns"):
        GAPS.pack(1, 2, 3)


def test_a_long_value_is_not_quoted_in_full() -> None:
    with pytest.raises(Unrepresentable) as caught:
        GAPS.pack(*replaced(GAP, 9, "x" * 10_000 + "\0"))
    assert len(str(caught.value)) < 250


def test_nothing_is_sent_for_no_rows(conn: Connection) -> None:
    with conn.cursor() as cursor:
        DELTAS.write(cursor, DELTAS.pack_rows([]))
    assert conn.info.error_message == ""


def test_deltas_are_written_in_the_caller_s_transaction(conn: Connection) -> None:
    ensure_day(conn, T0)
    with conn.transaction(force_rollback=True), conn.cursor() as cursor:
        copy.DELTAS.write(cursor, pack_delta(*GOOD_DELTA))
        assert stored(conn, DELTAS) == [GOOD_DELTA]
    assert stored(conn, DELTAS) == []
