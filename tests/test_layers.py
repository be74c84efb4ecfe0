"""The house keeps its floors: who may import whom, and how long a module and a function may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "kflow"

# A room imports only from floors below it; rooms of one floor do not know each other.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "clock", "private", "supervisor"}),
    frozenset({"units", "own"}),
    frozenset({"market"}),
    frozenset({"sim", "policy"}),
    frozenset({"kalshi", "store"}),
    frozenset({"exchange", "session"}),
    frozenset({"record", "replay"}),
    frozenset({"rl"}),
    frozenset({"act", "evaluate"}),
    frozenset({"settings", "web"}),
    frozenset({"wiring"}),
    frozenset({"ingest", "trade"}),  # run what wiring puts together; the command line calls them
    frozenset({"cli"}),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ANNEX = "testing"  # may import any room, is imported by none
ENTRANCES = frozenset({"__init__", "__main__"})

MODULE_LINES, FUNCTION_LINES = 400, 70
# One file, since numba does not see that an imported one changed.
UNMEASURED = frozenset({"sim/kernel.py"})

Import = tuple[int, str]  # line, dotted module


def imports(tree: ast.AST, package: str) -> Iterator[Import]:
    """Every import of a module at any depth, lazy ones and importlib's included, as absolute names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            # `from kflow import store` names a room only in its alias.
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def room_of(path: Path, package: Path) -> str:
    first = path.relative_to(package).parts[0]
    return first.removesuffix(".py")


def trespasses(package: Path) -> list[str]:
    """Each import that breaks the floors, as `file:line: why`."""
    found = []
    for path in sorted(package.rglob("*.py")):
        here = room_of(path, package)
        dotted = ".".join(["kflow", *path.relative_to(package).parts[:-1]])
        for line, name in imports(ast.parse(path.read_text(encoding="utf-8")), dotted):
            parts = name.split(".")
            if parts[0] != "kflow" or len(parts) == 1 or parts[1] == here:
                continue
            why = verdict(here, parts[1])
            if why:
                found.append(f"{path.relative_to(package)}:{line}: {why}")
    return found


def verdict(here: str, there: str) -> str:
    if there == ANNEX:
        return f"{here} imports {ANNEX}, which serves tests only"
    if here == ANNEX or there.startswith("__"):
        return ""
    if there not in FLOOR_OF:
        return f"{here} imports {there}, which is on no floor"
    if here not in FLOOR_OF:
        return "" if here not in ENTRANCES or there == "cli" else f"the entrance imports {there}"
    if FLOOR_OF[there] >= FLOOR_OF[here]:
        return f"{here} (floor {FLOOR_OF[here]}) imports {there} (floor {FLOOR_OF[there]})"
    return ""


def overlong(package: Path) -> list[str]:
    found = []
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).as_posix() in UNMEASURED:
            continue
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > MODULE_LINES:
            found.append(f"{path.relative_to(package)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = body_lines(node)
                if lines > FUNCTION_LINES:
                    found.append(f"{path.relative_to(package)}:{node.lineno}: {node.name} has {lines} lines")
    return found


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, less the docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def test_every_room_is_on_a_floor() -> None:
    rooms = {room_of(path, PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert rooms - ENTRANCES - {ANNEX} <= FLOOR_OF.keys()


def test_rooms_import_only_from_floors_below() -> None:
    assert trespasses(PACKAGE) == []


def test_modules_and_functions_stay_readable() -> None:
    assert overlong(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "source", "why"),
    [
        ("market/book.py", "import kflow.store.journal", "market (floor 2) imports store (floor 4)"),
        ("market/book.py", "from kflow import cli", "market (floor 2) imports cli (floor 12)"),
        ("market/book.py", "from ..store import journal", "market (floor 2) imports store (floor 4)"),
        ("market/book.py", "from .. import store", "market (floor 2) imports store (floor 4)"),
        (
            "store/journal.py",
            "def f():\n    from kflow.kalshi.wire import x",
            "store (floor 4) imports kalshi (floor 4)",
        ),
        ("units.py", "import importlib\nimportlib.import_module('kflow.market')", "units (floor 1) imports market"),
        ("clock.py", "from kflow.errors import KflowError", "clock (floor 0) imports errors (floor 0)"),
        ("cli/main.py", "from kflow.testing import venue", "cli imports testing, which serves tests only"),
        ("cli/main.py", "import kflow.helpers", "cli imports helpers, which is on no floor"),
        ("__init__.py", "from kflow.units import Price", "the entrance imports units"),
    ],
)
def test_a_trespass_is_seen(tmp_path: Path, file: str, source: str, why: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(source)
    [found] = trespasses(tmp_path)
    assert why in found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "store/journal.py",
            "from kflow.market.book import Book\nfrom kflow.store import postgres\nfrom . import sqlfiles",
        ),
        ("testing/venue.py", "from kflow.cli.main import app\nimport kflow.units"),
        ("__main__.py", "from kflow.cli.main import main"),
        ("cli/main.py", "from kflow import __version__\nimport kflowers.store"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, source: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(source)
    assert trespasses(tmp_path) == []


def test_length_is_seen(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("x = 1\n" * 401)
    (tmp_path / "deep.py").write_text("def f():\n" + "    x = 1\n" * 70)
    documented = 'def f():\n    """Says\n    much.\n    """\n' + "    x = 1\n" * 69
    (tmp_path / "documented.py").write_text(documented)
    assert overlong(tmp_path) == ["deep.py:1: f has 71 lines", "long.py: 401 lines"]
