"""What tables and columns there are, and what each means: the comments that the migrations give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg.rows import class_row

from kflow.store.sqlfiles import queries

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table or a view. `about` is of the table; a comment that is missing is None."""

    relation: str
    is_view: bool
    about: str | None
    name: str
    type: str
    required: bool  # never null
    meaning: str | None


def columns(conn: Connection) -> tuple[Column, ...]:
    """Every column, tables before views, both by name."""
    statement: LiteralString = queries("catalogue")["columns"]
    with conn.cursor(row_factory=class_row(Column)) as cursor:
        return tuple(cursor.execute(statement))
