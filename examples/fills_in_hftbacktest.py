"""The same passive orders in hftbacktest and in kflow, on one recording: who says which of them are filled, and when.

    kflow ingest --market INXD-25JAN03 --duration 20
    kflow replay export --sessions 1 --format parquet --out exports
    kflow replay export --sessions 1 --format hftbacktest --out exports
    .venvs/hftbacktest/bin/python examples/fills_in_hftbacktest.py exports

It needs hftbacktest (the environment that `make clients` makes) and kflow beside it. Of the market with the most
trades it sends 10 contracts to the best bid every two seconds, one at a time, and cancels what is not filled after
five. It prints when each was filled, here and there, and how often they agree. Both put it at the back of the queue and
let cancellations fall pro rata; kflow also fills in part, and lets a seller who comes to our price fill us.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hftbacktest import GTC, LIMIT, TRADE_EVENT, BacktestAsset, ROIVectorMarketDepthBacktest

KFLOW = shutil.which("kflow") or str(Path(__file__).parents[1] / ".venv" / "bin" / "kflow")
EVERY_NS, PATIENCE_NS, STEP_NS, LATENCY_NS = 2_000_000_000, 5_000_000_000, 50_000_000, 1_000_000
CONTRACTS = 10
DONE = 3  # an order's status: filled


def busiest(exports: Path) -> Path:
    """The file of the market with the most trades."""

    def trades(path: Path) -> int:
        return int(((np.load(path)["data"]["ev"] & 0xFF) == TRADE_EVENT).sum())

    return max(sorted(exports.rglob("*.npz")), key=trades)


def in_hftbacktest(path: Path) -> list[dict[str, Any]]:
    """Orders as they were sent, and what became of them there; times µs of the venue."""
    events = np.load(path)["data"]
    tick = 0.01 if np.allclose(events["px"] * 100, np.round(events["px"] * 100)) else 0.001
    asset = (
        BacktestAsset().data(events).linear_asset(1.0).constant_order_latency(LATENCY_NS, LATENCY_NS)
        .power_prob_queue_model(1.0).no_partial_fill_exchange().trading_value_fee_model(0.0, 0.0)
        .tick_size(tick).lot_size(0.01).roi_lb(0.0).roi_ub(1.0)
    )  # fmt: skip
    hbt, orders = ROIVectorMarketDepthBacktest([asset]), []
    while hbt.elapse(EVERY_NS) == 0:
        bid, number = hbt.depth(0).best_bid, len(orders) + 1
        if not 0 < bid < 1:
            continue
        sent_ns = hbt.current_timestamp + LATENCY_NS
        hbt.submit_buy_order(0, number, bid, CONTRACTS, GTC, LIMIT, False)
        order, ended = hbt.orders(0).get(number), False
        while order.status != DONE and hbt.current_timestamp < sent_ns + PATIENCE_NS and not ended:
            ended = hbt.elapse(STEP_NS) != 0
        filled = order.status == DONE
        if ended and not filled:
            break  # nobody knows what would have become of it
        orders.append({
            "order_id": str(number), "market": path.stem, "us": sent_ns // 1000, "side": "yes", "price": f"{bid:.4f}",
            "size": str(CONTRACTS), "cancelled_us": (sent_ns + PATIENCE_NS) // 1000,
            "filled": f"{CONTRACTS if filled else 0}", "filled_us": order.exch_timestamp // 1000 if filled else None,
        })  # fmt: skip
        if not filled:
            hbt.cancel(0, number, True)
        hbt.clear_inactive_orders(0)
    hbt.close()
    return orders


def in_kflow(path: Path, orders: list[dict[str, Any]]) -> dict[str, Any]:
    """What `kflow simulate` says of the same orders, on the same recording."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({k: v for k, v in order.items() if v is not None}) + "\n" for order in orders)
        file.flush()
        recording = path.with_suffix(".parquet")
        words = ["simulate", "--from", recording, "--orders", file.name, "--horizon", PATIENCE_NS // 10**9, "--json"]
        done = subprocess.run([KFLOW, *map(str, words)], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main() -> None:
    path = busiest(Path(sys.argv[1]))
    orders = in_hftbacktest(path)
    said = in_kflow(path, orders)
    print(f"{path.stem}: {CONTRACTS} contracts at the best bid\n order  price   hftbacktest        kflow")
    for order, answer in zip(orders, said["orders"], strict=True):
        theirs = (order["filled_us"] - order["us"]) / 1e6 if order["filled_us"] else None
        told = [f"{s:8.3f} s" if s is not None else "  not whole" for s in (theirs, answer["queue_full_s"])]
        print(f"{order['order_id']:>6}  {order['price']}  {told[0]:>11}  {told[1]:>11} ({answer['queue_filled']:g})")
    print(json.dumps(said["models"][0]))


if __name__ == "__main__":
    main()
