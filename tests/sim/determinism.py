"""Prints the digest of many accounts played in batches of a size: run by test_determinism, in processes of its own."""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from kflow.market.fees import FeeSchedule
from kflow.sim import kernel
from kflow.sim.accounts import Limits, market_of, new_accounts
from kflow.sim.fills import MODELS, Assumptions
from kflow.testing.cases import as_array, random_plan
from kflow.testing.tapes import random_tape

ACCOUNTS = 1024


def digest(model: str, batch: int) -> str:
    """Over every array of the state of every account, in order."""
    rng = np.random.default_rng(5)
    tape = random_tape(rng)
    plans = [as_array(random_plan(rng, tape, 0, 12)) for _ in range(64)]
    rules = Assumptions(model=MODELS[model], fees=FeeSchedule.parse("quadratic", 1)).rules()
    market, (start_us, stop_us) = market_of(tape), tape.span_us(0)
    parts: list[list[bytes]] = [[] for _ in kernel.State._fields]
    for first in range(0, ACCOUNTS, batch):
        count = min(batch, ACCOUNTS - first)
        own = [plans[(first + n) % len(plans)] for n in range(count)]
        ends = np.cumsum([len(plan) for plan in own])
        spans = np.stack([ends - [len(plan) for plan in own], ends], axis=1).astype(np.int64)
        state = new_accounts(count, tape.columns, Limits(), seed=3, first=first)
        kernel.seat_all(state, market, np.zeros(count, np.int64), np.full(count, start_us))
        kernel.play(state, market, rules, np.concatenate(own), spans, np.full(count, stop_us))
        for part, array in zip(parts, state, strict=True):
            part.append(array.tobytes())
    return hashlib.sha256(b"".join(b"".join(part) for part in parts)).hexdigest()


if __name__ == "__main__":
    for name in sys.argv[2:]:
        print(name, digest(name, int(sys.argv[1])))
