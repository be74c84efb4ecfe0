"""Plays tapes in hftbacktest when told to; a child of bench/simulate.py, in the environment that it made.

Arguments: tick, lot, files of events. Each line of stdin is a run's schedule, each line of stdout what came of it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from hftbacktest import GTC, LIMIT, BacktestAsset, ROIVectorMarketDepthBacktest
from numba import njit
from numpy.typing import NDArray

# Late: answers that had not come when the order was to be cancelled; 0, or the two sides do not do the same.
DECISIONS, LATE = 0, 1


@njit  # type: ignore[untyped-decorator]
def requote(hbt, step_ns, size, counts):  # type: ignore[no-untyped-def]
    """Every step cancel the quotes of the last, and join the best bid and the best ask."""
    decision = 0
    while hbt.elapse(step_ns) == 0:
        hbt.clear_inactive_orders(0)
        depth, orders = hbt.depth(0), hbt.orders(0)
        if decision > 0:
            for number in range(2 * decision - 2, 2 * decision):
                order = orders.get(number)
                if order is not None:
                    if order.cancellable:
                        hbt.cancel(0, number, False)
                    else:
                        counts[LATE] += 1
        bid, ask = depth.best_bid, depth.best_ask
        if 0 < bid < 1:
            hbt.submit_buy_order(0, 2 * decision, bid, size, GTC, LIMIT, False)
        if 0 < ask < 1:
            hbt.submit_sell_order(0, 2 * decision + 1, ask, size, GTC, LIMIT, False)
        decision += 1
    counts[DECISIONS] += decision


def market(events: NDArray[np.void], tick: float, lot: float, schedule: dict[str, Any]) -> Any:
    latency = schedule["latency_ns"]
    asset = (
        BacktestAsset()
        .data(events)
        .linear_asset(1.0)
        .constant_order_latency(latency, latency)
        .power_prob_queue_model(1.0)
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(tick)
        .lot_size(lot)
        .roi_lb(0.0)
        .roi_ub(1.0)
    )
    return ROIVectorMarketDepthBacktest([asset])


def played(tapes: list[NDArray[np.void]], tick: float, lot: float, schedule: dict[str, Any]) -> dict[str, Any]:
    """One run over all tapes, and how long it took without making and ending the markets."""
    counts = np.zeros(2, np.int64)
    done: dict[str, Any] = {"wall_s": 0.0, "cpu_s": 0.0, "fills": 0, "contracts": 0.0, "touch": []}
    for events in tapes:
        hbt = market(events, tick, lot, schedule)
        wall, cpu = time.perf_counter(), time.process_time()
        requote(hbt, schedule["step_ns"], schedule["contracts"], counts)
        done["wall_s"] += time.perf_counter() - wall
        done["cpu_s"] += time.process_time() - cpu
        values, depth = hbt.state_values(0), hbt.depth(0)
        done["fills"] += int(values.num_trades)
        done["contracts"] += float(values.trading_volume)
        bid, ask = np.nan_to_num(depth.best_bid, nan=0.0), np.nan_to_num(depth.best_ask, nan=1.0)  # nobody quotes
        done["touch"].append([round(float(bid), 4), round(float(ask), 4)])
        hbt.close()
    done["decisions"], done["late"] = counts.tolist()
    return done


def main() -> None:
    tick, lot = float(sys.argv[1]), float(sys.argv[2])
    tapes = [np.load(path) for path in sys.argv[3:]]
    for line in sys.stdin:
        print(json.dumps(played(tapes, tick, lot, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
