"""Reads an export with pandas: the top of the book over time, the trades, and what is missing. No kflow is needed.

    kflow ingest --market INXD-25JAN03 --duration 10
    kflow replay export --sessions 1 --format parquet --out exports
    .venvs/readers/bin/python examples/read_with_pandas.py exports [--out FOLDER]

It needs pandas and pyarrow: `pip install pandas pyarrow`, or the environment that `make clients` makes. Of each market
it prints one line of JSON; with --out it writes FOLDER/<session>/<market>.top.csv, the best bid and ask after every
event, and <market>.book.csv, the last book.

Integers stay integers, as floats would round them: prices 1e-4 dollar, sizes 1e-2 contract, times ns of the recorder's
clock. The sides of a book are bids: a NO bid at p is a YES ask at $1 - p.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

DOLLAR = 10_000
HARMLESS = ("duplicate", "reordered")  # gaps that leave the book known


def book_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The size of each level (columns: side, price) after each event; missing where the book is not known."""
    deltas = rows.loc[(rows["kind"] == "delta") & rows["size_e2"].notna(), ["side", "price_e4", "size_e2"]]
    parts = [deltas.set_axis(["side", "price", "size"], axis=1)]
    for side, name in enumerate(("yes", "no")):
        told = rows.loc[rows["kind"] == "snapshot", [f"{name}_prices", f"{name}_sizes"]]
        parts.append(told.explode([*told]).dropna().set_axis(["price", "size"], axis=1).assign(side=side))
    levels = pd.concat(parts).astype("int64").rename_axis("event").reset_index()
    book = levels.pivot(index="event", columns=["side", "price"], values="size").reindex(rows.index).astype("Int64")
    whole = rows["kind"] == "snapshot"
    book[whole] = book[whole].fillna(0)  # what a snapshot does not tell is not there
    return book.ffill().where(known(rows))


def known(rows: pd.DataFrame) -> pd.Series:
    """Whether the book is known after each event: from a snapshot to the next gap."""
    breaks = (rows["kind"] == "gap") & ~rows["gap_kind"].isin(HARMLESS)
    told = pd.Series(pd.NA, rows.index, "boolean").mask(rows["kind"] == "snapshot", True).mask(breaks, False)
    return told.ffill().fillna(False).astype(bool)


def best(book: pd.DataFrame, side: int) -> pd.Series:
    """The highest bid of a side after each event; missing where there is none, or none is known."""
    there = (book.loc[:, book.columns.get_level_values("side") == side] > 0).fillna(False)
    prices = there.columns.get_level_values("price").to_numpy()
    return there.mul(prices, axis=1).max(axis=1).astype("Int64").where(there.any(axis=1))


def read(path: Path) -> tuple[dict[str, object], pd.DataFrame, pd.DataFrame]:
    """What a file tells in sum, the top of its book after each event, and its last book."""
    rows = pd.read_parquet(path, dtype_backend="numpy_nullable")
    book, trades, gaps = book_of(rows), rows[rows["kind"] == "trade"], rows[rows["kind"] == "gap"]
    top = pd.DataFrame({"recv_ns": rows["recv_ns"], "bid_e4": best(book, 0), "ask_e4": DOLLAR - best(book, 1)})
    last = book.iloc[-1].dropna().rename("size_e2").reset_index().sort_values(["side", "price"])
    told = {
        "market": path.stem,
        "rows": len(rows),
        "trades": len(trades),
        "traded_e2": int(trades["size_e2"].sum()),
        "gaps": gaps["gap_kind"].tolist(),
        "unknown_ns": int(rows["recv_ns"].diff().shift(-1)[~known(rows)].sum()),
        "last": [None if pd.isna(price) else int(price) for price in top.iloc[-1][["bid_e4", "ask_e4"]]],
    }
    return told, top, last[last["size_e2"] > 0].rename(columns={"price": "price_e4"})


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
            top.to_csv(folder / f"{path.stem}.top.csv", index=False)
            last.to_csv(folder / f"{path.stem}.book.csv", index=False)


if __name__ == "__main__":
    main()
