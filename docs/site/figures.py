"""Writes the figures of bench/reliability.json into docs/promises.md: `python docs/site/figures.py docs/promises.md`.

`make faults` writes that file anew; `make docs` runs this. Standard library only.
"""

from __future__ import annotations

import json
import re
import sys
from itertools import groupby
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).resolve().parents[2] / "bench" / "reliability.json"
_BEGIN: Final = "<!-- Made of bench/reliability.json by `make docs`; a test compares. -->"
_END: Final = "<!-- End of what is made. -->"
# What a run counts its faults in; one that counts nothing met one.
_TIMES: Final = ("kills", "crashes", "cuts", "injected")
_FAMILIES: Final = {"venue": "what a venue may do wrong", "network": "what a line may do"}
_BAD: Final = ("lost", "duplicated", "unrecorded", "unknown")


def table(results: list[dict[str, Any]]) -> str:
    """One row for each family of faults, and one for all."""
    counted = [row for row in results if "journalled" in row]  # others say a time only
    lines = [f"| fault | times | frames journalled | {' | '.join(_BAD)} |", "|---" * (3 + len(_BAD)) + "|"]
    for family, rows in groupby(sorted(counted, key=_order(counted)), key=_family):
        lines.append(_row(family, list(rows)))
    lines.append(_row("**all**", counted))
    return "\n".join(lines)


def written(page: str) -> str:
    """The page with the table of now between its marks."""
    made = f"{_BEGIN}\n\n{table(json.loads(RESULTS.read_text(encoding='utf-8')))}\n\n{_END}"
    found, count = re.subn(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", lambda _: made, page, flags=re.DOTALL)
    assert count == 1, "the page has to have both marks once"
    return found


def _family(row: dict[str, Any]) -> str:
    """Faults of the venue and of the network are of many kinds, each small; the others stand by themselves."""
    name, colon, _ = str(row["fault"]).partition(": ")
    return _FAMILIES.get(name, str(row["fault"])) if colon else name


def _order(rows: list[dict[str, Any]]) -> Any:
    first = list(dict.fromkeys(map(_family, rows)))
    return lambda row: first.index(_family(row))


def _row(family: str, rows: list[dict[str, Any]]) -> str:
    times = sum(next((row[name] for name in _TIMES if name in row), 1) for row in rows)
    journalled = sum(row["journalled"] for row in rows)
    bad = " | ".join(f"{sum(row[name] for row in rows):,}" for name in _BAD)
    return f"| {family} | {times:,} | {journalled:,} | {bad} |"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
