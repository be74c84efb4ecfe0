"""The SQL that ships with kflow: numbered migrations and named queries, found in a wheel and in a checkout alike."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, LiteralString

_MIGRATION: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_BLOCK: Final = re.compile(r"^-- name: (\w+)[ \t]*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema. `checksum` is the SHA-256 of its text."""

    version: int
    name: str
    sql: LiteralString
    checksum: bytes


def sql_root() -> Traversable:
    """The folder of migrations/ and queries/: inside the installed package, else the top level of the checkout."""
    packaged = resources.files("kflow") / "sql"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "sql"


@cache
def migrations() -> tuple[Migration, ...]:
    """Every migration in order. Raises ValueError where the numbers do not run 1, 2, 3 …"""
    found = []
    for file in (sql_root() / "migrations").iterdir():
        match = _MIGRATION.fullmatch(file.name)
        if match is None:
            continue
        text = file.read_text(encoding="utf-8")
        found.append(Migration(int(match[1]), match[2], text, hashlib.sha256(text.encode()).digest()))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations are not numbered 1, 2, 3 …: {[migration.name for migration in found]}")
    return tuple(found)


@cache
def queries(name: str) -> dict[str, LiteralString]:
    """The named blocks of queries/<name>.sql. A block runs from its `-- name: word` line to the next one."""
    text = (sql_root() / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    pieces = _BLOCK.split(text)
    blocks: dict[str, LiteralString] = dict(zip(pieces[1::2], map(str.strip, pieces[2::2]), strict=True))
    if len(blocks) * 2 != len(pieces) - 1:
        raise ValueError(f"queries/{name}.sql uses a name twice")
    return blocks
