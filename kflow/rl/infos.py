"""What environments tell beside the observation: dollars and contracts, and the integers that they are."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kflow.rl import stepping
from kflow.rl.batch import Batch, Finished
from kflow.rl.dataset import Dataset
from kflow.sim import kernel

_DOLLAR, _CONTRACT = 1e6, 100.0
# By which key, where in the kernel's account.
_ACCOUNT: Final = {"cash": kernel.CASH, "fees": kernel.FEES}


def account_info(batch: Batch, account: int) -> dict[str, Any]:
    """Of an account now: equity, cash, fees (dollars, and _e6), position (contracts, and _e2; NO is negative).

    `refused`: why its last action was denied; only where it was.
    """
    row, seat = batch.state.account[account], batch.desk.seat[account]
    info = {name: int(row[column]) / _DOLLAR for name, column in _ACCOUNT.items()}
    info |= {f"{name}_e6": int(row[column]) for name, column in _ACCOUNT.items()}
    equity, position = int(seat[stepping.EQUITY]), int(row[kernel.POSITION])
    info |= {"equity": equity / _DOLLAR, "equity_e6": equity}
    info |= {"position": position / _CONTRACT, "position_e2": position}
    why = batch.refusal(account)
    return {**info, "refused": why} if why else info


def account_infos(batch: Batch) -> dict[str, Any]:
    """The same of all accounts, as Gymnasium's vector environments tell it: arrays [N], and who has each as `_key`."""
    rows, seats = batch.state.account, batch.desk.seat
    columns = {f"{name}_e6": rows[:, column].copy() for name, column in _ACCOUNT.items()}
    columns["equity_e6"], columns["position_e2"] = seats[:, stepping.EQUITY].copy(), rows[:, kernel.POSITION].copy()
    infos: dict[str, Any] = dict(columns)
    for name, values in columns.items():
        infos[name[:-3]] = values / (_CONTRACT if name.endswith("2") else _DOLLAR)
    infos |= {f"_{name}": np.ones(batch.count, np.bool_) for name in infos}
    denied = seats[:, stepping.REASON] != 0
    if denied.any():
        infos["refused"] = np.array([why or None for why in batch.refusals()], object)
        infos["_refused"] = denied
    return infos


def finished_info(done: Finished, dataset: Dataset) -> dict[str, Any]:
    """An episode that is over: how, on which market, and what it came to; `fall`: its largest loss from a peak."""
    span = dataset.spans[done.episode.span]
    money = {"profit": done.profit, "fees": done.fees, "fall": done.fall}
    return {
        "ending": done.ending,
        "market": span.market,
        "source": span.source,
        "steps": done.steps,
        "reward": done.reward,
        **{name: value / _DOLLAR for name, value in money.items()},
        **{f"{name}_e6": value for name, value in money.items()},
        "volume": done.volume / _CONTRACT,
        "sent": done.sent,
        "denied": done.denied,
        "shaping": dict(done.shaping),
    }
