"""Reads an export with polars: the top of the book over time, the trades, and what is missing. No kflow is needed.

    kflow ingest --market INXD-25JAN03 --duration 10
    kflow replay export --sessions 1 --format parquet --out exports
    .venvs/readers/bin/python examples/read_with_polars.py exports [--out FOLDER]

It needs polars alone: `pip install polars`, or the environment that `make clients` makes. What it prints and writes,
and in which units, is what read_with_pandas.py does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import polars as pl

DOLLAR = 10_000
HARMLESS = ("duplicate", "reordered")  # gaps that leave the book known
SNAPSHOT, DELTA = pl.col("kind") == "snapshot", (pl.col("kind") == "delta") & pl.col("size_e2").is_not_null()
BREAKS = (pl.col("kind") == "gap") & ~pl.col("gap_kind").is_in(HARMLESS)
# Whether the book is known after each event: from a snapshot to the next gap.
KNOWN = pl.when(SNAPSHOT).then(True).when(BREAKS).then(False).forward_fill().fill_null(False)


def levels_of(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each level that an event gave a size: event, side, price and size; 0: it is gone."""
    told = [
        rows.filter(SNAPSHOT)
        .select("event", pl.lit(side).alias("side"), price_e4=f"{name}_prices", size_e2=f"{name}_sizes")
        .explode("price_e4", "size_e2")
        .drop_nulls()
        for side, name in enumerate(("yes", "no"))
    ]
    deltas = rows.filter(DELTA).select("event", "side", "price_e4", "size_e2")
    return pl.concat([deltas, *told], how="vertical_relaxed")


def book_of(rows: pl.DataFrame, levels: pl.DataFrame) -> pl.DataFrame:
    """The size of each level (columns: 0:4400 is YES at 44 ¢) after each event; null where the book is not known."""
    named = levels.select("event", "size_e2", level=pl.format("{}:{}", "side", "price_e4"))
    table = rows.select("event", "kind", known=KNOWN).join(
        named.pivot("level", index="event", values="size_e2"), on="event", how="left", maintain_order="left"
    )
    sizes = pl.exclude("event", "kind", "known")
    # What a snapshot does not tell is not there.
    whole = table.with_columns(pl.when(SNAPSHOT).then(sizes.fill_null(0)).otherwise(sizes).name.keep())
    return whole.with_columns(pl.when("known").then(sizes.forward_fill()).name.keep()).drop("event", "kind", "known")


def best(book: pl.DataFrame, side: int) -> pl.Expr:
    """The highest bid of a side after each event; null where there is none, or none is known."""
    named = [name for name in book.columns if name.startswith(f"{side}:")]
    prices = [pl.when(pl.col(name) > 0).then(int(name[2:])) for name in named]
    return pl.max_horizontal(prices) if prices else pl.lit(None, pl.Int64)


def read(path: Path) -> tuple[dict[str, object], pl.DataFrame, pl.DataFrame]:
    """What a file tells in sum, the top of its book after each event, and its last book."""
    rows = pl.read_parquet(path).with_row_index("event").with_columns(pl.col("side").cast(pl.Int32))
    book = book_of(rows, levels_of(rows))
    top = book.select(rows["recv_ns"], bid_e4=best(book, 0), ask_e4=DOLLAR - best(book, 1))
    trades, gaps = rows.filter(pl.col("kind") == "trade"), rows.filter(pl.col("kind") == "gap")
    last = book.tail(1).unpivot(variable_name="level", value_name="size_e2").filter(pl.col("size_e2") > 0)
    side, price = (pl.col("level").str.split(":").list.get(place).cast(pl.Int64) for place in (0, 1))
    told = {
        "market": path.stem,
        "rows": len(rows),
        "trades": len(trades),
        "traded_e2": trades["size_e2"].sum(),
        "gaps": gaps["gap_kind"].to_list(),
        "unknown_ns": rows.select((pl.col("recv_ns").diff().shift(-1)).filter(~KNOWN).sum()).item(),
        "last": [*top.row(-1)[1:]],
    }
    return told, top, last.select(side.alias("side"), price.alias("price_e4"), "size_e2").sort("side", "price_e4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", type=Path, help="a folder of kflow replay export --format parquet")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write tops and last books here, as csv")
    chosen = parser.parse_args()
    for path in sorted(chosen.exports.rglob("*.parquet")):
        told, top, last = read(path)
        print(json.dumps(told))
        if chosen.out:
            folder = chosen.out / path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            top.write_csv(folder / f"{path.stem}.top.csv")
            last.write_csv(folder / f"{path.stem}.book.csv")


if __name__ == "__main__":
    main()
