"""Draws an export as a picture: how much rests at each price over time, the best bid and ask, and the trades.

    kflow ingest --market INXD-25JAN03 --duration 20
    kflow replay export --sessions 1 --format parquet --out exports
    python examples/draw_depth.py exports/0001/INXD-25JAN03-B5887.parquet depth.png

It needs matplotlib and pyarrow, which `make setup` installs. It prints how many events it drew. Where the book is not
known, as after a gap, nothing is drawn. Prices on the YES axis: a NO bid at p is an ask at $1 - p.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from kflow.market.events import Trade
from kflow.replay.formats import parquet
from kflow.replay.formats.levels import LevelFollower
from kflow.units import CONTRACT, DOLLAR

mpl.use("Agg")
from matplotlib import pyplot as plt

COLUMNS, SHOWN = 800, 1_500  # of the picture; 1e-4 dollar above and below the touch


def main(path: Path, out: Path) -> None:
    moments = list(parquet.read([path]))
    at_s = (np.array([moment.recv_ns for moment in moments]) - moments[0].recv_ns) / 1e9
    column = np.minimum((at_s / max(at_s[-1], 1e-9) * COLUMNS).astype(int), COLUMNS - 1)
    depth = np.full((DOLLAR // 10, COLUMNS), np.nan)  # contracts at each tenth of a cent; bids positive, asks negative
    best = np.full((2, len(moments)), np.nan)
    follower = LevelFollower()
    for number, moment in enumerate(moments):
        follower.changes(moment)
        yes, no = follower.digest.levels
        drawn = depth[:, column[number] :]  # until something else happens
        drawn[:] = 0 if follower.known else np.nan
        if follower.known and yes and no:
            best[:, number] = max(yes), DOLLAR - max(no)
            for price, size in yes.items():
                drawn[price // 10] = size / CONTRACT
            for price, size in no.items():
                drawn[(DOLLAR - price) // 10] = -size / CONTRACT
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    rows = np.flatnonzero(np.any(np.nan_to_num(depth) != 0, axis=1))
    step = int(np.gcd.reduce(rows)) or 1  # the market's tick, in tenths of a cent
    shown = np.sign(depth[::step]) * np.log10(1 + np.abs(depth[::step]))
    image = axes.imshow(shown, cmap="RdBu", vmin=-5, vmax=5, aspect="auto", origin="lower", interpolation="nearest",
                        extent=(0, at_s[-1], -step / 20, 100 - step / 20))  # fmt: skip
    for line, name in zip(best / 100, ("best bid", "best ask"), strict=True):
        axes.step(at_s, line, where="post", lw=1, color="black", ls="-" if name == "best bid" else ":", label=name)
    trades = [(at, moment.event) for at, moment in zip(at_s, moments, strict=True) if isinstance(moment.event, Trade)]
    axes.scatter([at for at, _ in trades], [trade.price / 100 for _, trade in trades], marker="x", c="k", label="trade")
    axes.set(title=path.stem, xlabel="seconds", ylabel="YES price, ¢")
    axes.set_ylim(max(np.nanmin(best) - SHOWN, 0) / 100, min(np.nanmax(best) + SHOWN, DOLLAR) / 100)
    axes.legend(loc="upper right")
    bar = figure.colorbar(image, ticks=range(-4, 5, 2), label="contracts: asks below, bids above")
    bar.ax.set_yticklabels([f"{10 ** abs(power):,}" if power else "0" for power in range(-4, 5, 2)])
    figure.savefig(out, dpi=100)
    print(f"{len(moments)} events, {len(trades)} trades, drawn to {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
