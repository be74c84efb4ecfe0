"""The engine as a queueing model: each cell of four published tables, printed beside what the engine came to.

    python bench/queues.py [--quick] [--runs 40000]

Tables 3, 4 (by Proposition 5; the printed one is wrong) and 5 of Cont, Stoikov and Talreja (2010), and balanced queues
of Cont and de Larrard. A cell is the mean outcome of `--runs` plays, a quarter of them for the last table, whose plays
are long; z is its distance from the exact solution in standard errors. Criterion: |z| <= 4 in each cell, and each
table's sum of z^2 below the chi-square quantile for 25 cells that is exceeded once in a thousand. `ratio` is the
largest |z| over 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from measure import alternate, arguments, report

from kflow.testing.queue_tables import (
    BALANCED,
    CHI_SQUARE,
    CONT_DE_LARRARD,
    CONT_STOIKOV_TALREJA,
    PUBLISHED,
    STARTS,
    Table,
    balanced,
    solved,
)
from kflow.testing.queues import Play, Rates, bid_fills, cell, mid_rises, spread_made

TABLES: dict[str, tuple[Play, Rates]] = {
    "table 3: mid rises": (mid_rises, CONT_STOIKOV_TALREJA),
    "table 4: bid fills": (bid_fills, CONT_STOIKOV_TALREJA),
    "table 5: spread made": (spread_made, CONT_STOIKOV_TALREJA),
    "cont-de larrard": (mid_rises, CONT_DE_LARRARD),
}


def rows(play: Play, rates: Rates, runs: int, seed: int) -> list[dict[str, Any]]:
    """Every cell of a table: published, exact, ours, its standard error, z."""
    published, exact = (BALANCED, balanced()) if rates.whole else (PUBLISHED[play], solved(play, rates))
    return [row(play, rates, start, runs, seed, (published, exact)) for start in STARTS]


def row(
    play: Play, rates: Rates, start: tuple[int, int], runs: int, seed: int, tables: tuple[Table, Table]
) -> dict[str, Any]:
    place = start[0] - 1, start[1] - 1
    published, exact = (float(table[place]) for table in tables)
    ours = cell(play, start, rates, runs=runs, seed=seed)
    return {
        "bids": start[0],
        "asks": start[1],
        "published": published,
        "exact": round(exact, 5),
        "ours": round(ours.mean, 5),
        "error": round(ours.error(exact), 5),
        "z": round(ours.z(exact), 2),
    }


def main() -> None:
    parser = arguments("The engine against published queueing models.", full=1, quick=1)
    parser.add_argument("--runs", type=int, help="plays of each cell (default: 40000, quick 1000)")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    runs = options.runs or (1_000 if options.quick else 40_000)
    cells: dict[str, list[dict[str, Any]]] = {}

    def case(name: str) -> Callable[[], int]:
        play, rates = TABLES[name]
        plays = max(1, runs // 4) if rates.whole else runs

        def run() -> int:
            cells[name] = rows(play, rates, plays, options.seed)
            return plays * len(STARTS)

        return run

    medians = alternate({name: case(name) for name in TABLES}, repeats=1, warm_up=False)
    for name, table in cells.items():
        print(f"\n{name}: bids, asks, published, exact, ours, standard error, z")
        for one in table:
            print("{bids:2} {asks:2}  {published:.4f}  {exact:.4f}  {ours:.4f}  {error:.4f}  {z:+.2f}".format(**one))
    worst = {name: max(abs(one["z"]) for one in table) for name, table in cells.items()}
    squares = {name: sum(one["z"] ** 2 for one in table) for name, table in cells.items()}
    for name in cells:
        print(
            f"{name:24} largest |z| {worst[name]:.2f} (at most 4), sum of z^2 {squares[name]:.1f} (below {CHI_SQUARE})"
        )
    fits = all(worst[name] <= 4 and squares[name] < CHI_SQUARE for name in cells)
    report(
        "queues", medians, max(worst.values()) / 4, fits=fits, runs=runs, worst_z=worst, chi_square=squares, cells=cells
    )


if __name__ == "__main__":
    main()
