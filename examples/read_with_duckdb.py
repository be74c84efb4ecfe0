"""Reads an export with DuckDB, in SQL: the top of the book over time, the trades, and what is missing. No kflow needed.

    kflow ingest --market INXD-25JAN03 --duration 10
    kflow replay export --sessions 1 --format parquet --out exports
    .venvs/readers/bin/python examples/read_with_duckdb.py exports [--out FOLDER]

It needs duckdb alone: `pip install duckdb`, or the environment that `make clients` makes. What it prints and writes,
and in which units, is what read_with_pandas.py does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import duckdb

EVENTS = """
-- Every event; whole: the book is known from here, or (false) not, as at a gap; until: the next such event of its file.
CREATE TEMP TABLE events AS
SELECT *, coalesce(last_value(whole IGNORE NULLS) OVER so_far, false) AS known,
       min(event) FILTER (whole IS NOT NULL) OVER later AS until,
       lead(recv_ns) OVER (PARTITION BY filename ORDER BY event) - recv_ns AS lasts_ns
FROM (SELECT *, file_row_number AS event,
             CASE WHEN kind = 'snapshot' THEN true
                  WHEN kind = 'gap' AND gap_kind NOT IN ('duplicate', 'reordered') THEN false END AS whole
      FROM read_parquet($files, filename = true, file_row_number = true))
WINDOW so_far AS (PARTITION BY filename ORDER BY event),
       later AS (PARTITION BY filename ORDER BY event ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
"""
LEVELS = """
-- Every size that a level had, up to the event that gives it another one, or ends the book.
CREATE TEMP TABLE levels AS
WITH told AS (
  SELECT filename, event, until, side, price_e4, size_e2 FROM events WHERE kind = 'delta' AND size_e2 IS NOT NULL
  UNION ALL
  SELECT filename, event, until, 0, unnest(yes_prices), unnest(yes_sizes) FROM events WHERE kind = 'snapshot'
  UNION ALL
  SELECT filename, event, until, 1, unnest(no_prices), unnest(no_sizes) FROM events WHERE kind = 'snapshot')
SELECT *, coalesce(least(until, lead(event) OVER level), 1::BIGINT << 62) AS behind
FROM told WINDOW level AS (PARTITION BY filename, side, price_e4 ORDER BY event)
"""
TOPS = """
CREATE TEMP TABLE tops AS
SELECT e.filename, e.event, e.recv_ns, max(l.price_e4) FILTER (l.side = 0) AS bid_e4,
       10000 - max(l.price_e4) FILTER (l.side = 1) AS ask_e4
FROM events e
LEFT JOIN levels l ON l.filename = e.filename AND l.event <= e.event AND e.event < l.behind AND l.size_e2 > 0
GROUP BY e.filename, e.event, e.recv_ns
"""
SUMS = """
SELECT filename, count(*), count(*) FILTER (kind = 'trade'),
       coalesce(sum(size_e2) FILTER (kind = 'trade'), 0)::BIGINT,
       coalesce(list(gap_kind ORDER BY event) FILTER (kind = 'gap'), []),
       coalesce(sum(lasts_ns) FILTER (NOT known), 0)::BIGINT,
       (SELECT last([bid_e4, ask_e4] ORDER BY event) FROM tops WHERE tops.filename = events.filename)
FROM events GROUP BY filename ORDER BY filename
"""
TOP = "SELECT recv_ns, bid_e4, ask_e4 FROM tops WHERE filename = $file ORDER BY event"
BOOK = """
SELECT side, price_e4, size_e2 FROM levels
WHERE filename = $file AND size_e2 > 0 AND behind = 1::BIGINT << 62 ORDER BY side, price_e4
"""
COLUMNS = ("rows", "trades", "traded_e2", "gaps", "unknown_ns", "last")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", type=Path, help="a folder of kflow replay export --format parquet")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write tops and last books here, as csv")
    chosen = parser.parse_args()
    db = duckdb.connect()
    db.execute(EVENTS, {"files": str(chosen.exports / "**" / "*.parquet")})
    db.execute(LEVELS)
    db.execute(TOPS)
    for file, *sums in db.execute(SUMS).fetchall():
        path = Path(file)
        print(json.dumps({"market": path.stem, **dict(zip(COLUMNS, sums, strict=True))}))
        if chosen.out:
            folder = chosen.out / path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            db.sql(TOP, params={"file": file}).write_csv(str(folder / f"{path.stem}.top.csv"), header=True)
            db.sql(BOOK, params={"file": file}).write_csv(str(folder / f"{path.stem}.book.csv"), header=True)


if __name__ == "__main__":
    main()
