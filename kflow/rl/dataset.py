"""Recorded markets to train on: tapes packed side by side, and an index of what is without a gap.

Tapes of one grid of prices and one fee schedule form a group, so that the compiled loop reads one set of arrays for
all of them. What the policy sees of the market is worked out here, once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.replay.stretches import CLOSED
from kflow.rl.columns import market_columns
from kflow.sim import kernel
from kflow.sim.accounts import market_of
from kflow.sim.cache import digest
from kflow.sim.fills import Assumptions
from kflow.sim.tape import Tape
from kflow.units import DOLLAR

EVERY_US: Final = 250_000
# A stretch with fewer decisions teaches nothing.
LEAST_ROWS: Final = 8


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch one can trade on. `rows`: its decisions; `at`: its first row in the group's columns."""

    group: int
    stretch: int  # in its group
    start_us: int
    rows: int
    at: int
    value: int  # what a YES contract is paid behind its last decision, 1e-4 dollar; -1: no result is recorded
    market: str
    event: str  # what is decided together
    source: str  # what it was recorded in
    session: int | None
    digest: str  # of its tape


@dataclass(frozen=True, slots=True)
class Group:
    """Tapes with one grid and one fee schedule."""

    market: kernel.Market
    rules: kernel.Rules
    columns: NDArray[np.float32]  # [R, MARKET]
    taker_rate: float

    @property
    def fees(self) -> NDArray[np.int64]:
        """[4] rate, unit, step and precision, as `limits.worst_fee` reads them."""
        rules = self.rules
        rate = max(rules.taker_rate, rules.maker_rate)
        return np.array([rate, rules.fee_unit, rules.fee_step, rules.precision], np.int64)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Groups and what can be traded on in them."""

    groups: tuple[Group, ...]
    spans: tuple[Span, ...]
    every_us: int

    @property
    def price_columns(self) -> int:
        """Most prices that any grid has."""
        return max(len(group.market.price) for group in self.groups)

    @property
    def seconds(self) -> float:
        """Of all spans together."""
        return sum(span.rows for span in self.spans) * self.every_us / 1e6

    @property
    def nbytes(self) -> int:
        """What the arrays take in memory."""
        return sum(
            group.columns.nbytes + sum(array.nbytes for array in group.market if isinstance(array, np.ndarray))
            for group in self.groups
        )

    def told(self, spans: Iterable[int] | None = None) -> list[dict[str, Any]]:
        """For manifests: each tape that the spans lie on, once, with its digest, when they are and how long in sum.

        Default: all spans.
        """
        tapes: dict[str, dict[str, Any]] = {}
        for span in self.spans if spans is None else (self.spans[place] for place in spans):
            until_us = span.start_us + span.rows * self.every_us
            tape = tapes.setdefault(
                span.digest,
                {
                    "market": span.market,
                    "source": span.source,
                    "session": span.session,
                    "digest": span.digest,
                    "seconds": 0.0,
                    "from_us": span.start_us,
                    "until_us": until_us,
                },
            )
            tape["from_us"], tape["until_us"] = min(tape["from_us"], span.start_us), max(tape["until_us"], until_us)
            tape["seconds"] += span.rows * self.every_us / 1e6
        return list(tapes.values())


def build(tapes: Sequence[Tape], assume: Callable[[Tape], Assumptions], *, every_us: int = EVERY_US) -> Dataset:
    """Pack tapes. Raises UsageError where nothing of them lasts for LEAST_ROWS decisions."""
    if not 1_000 <= every_us <= 3_600_000_000:
        raise UsageError(f"a decision every {every_us / 1000:g} ms cannot be", hint="--every 250ms")
    together: dict[tuple[Any, ...], list[tuple[Tape, Assumptions]]] = defaultdict(list)
    for tape in tapes:
        assumed = assume(tape)
        fees = assumed.fees
        together[(tape.arrays.price.tobytes(), fees.taker_rate, fees.maker_rate)].append((tape, assumed))
    groups: list[Group] = []
    spans: list[Span] = []
    for members in together.values():
        group, found = _pack(len(groups), members, every_us)
        groups.append(group)
        spans += found
    if not spans:
        raise UsageError(
            f"no stretch lasts for {LEAST_ROWS} decisions of {every_us / 1e6:g} s",
            hint="record longer, or decide more often: --every",
        )
    return Dataset(tuple(_widened(groups)), tuple(spans), every_us)


def _pack(number: int, members: Sequence[tuple[Tape, Assumptions]], every_us: int) -> tuple[Group, list[Span]]:
    """Put tapes one behind the other."""
    assumed = members[0][1]
    rate = float(assumed.fees.taker_rate)
    columns: list[NDArray[np.float32]] = []
    spans: list[Span] = []
    stretches = rows = 0
    for tape, _ in members:
        known = str(tape.facts.get("digest") or digest(tape))
        for stretch in range(tape.stretches):
            seen = market_columns(tape, stretch, every_us, rate)
            if len(seen) >= LEAST_ROWS:
                spans.append(_span(tape, known, number, stretch, stretches + stretch, len(seen), rows))
                columns.append(seen)
                rows += len(seen)
        stretches += tape.stretches
    packed = np.concatenate(columns) if columns else np.zeros((0, 0), np.float32)
    return Group(_joined([tape for tape, _ in members]), assumed.rules(), packed, rate), spans


def _widened(groups: Sequence[Group]) -> list[Group]:
    """Books as wide as the widest grid: one batch's accounts sit in any group."""
    width = max(len(group.market.price) for group in groups)
    return [
        replace(
            group,
            market=group.market._replace(
                books=np.pad(group.market.books, ((0, 0), (0, 0), (0, width - len(group.market.price))))
            ),
        )
        for group in groups
    ]


def _joined(tapes: Sequence[Tape]) -> kernel.Market:
    """Copies: arrays of tapes on disk cannot be written, and numba compiles anew for such."""
    before = np.cumsum([0, *(tape.events for tape in tapes)], dtype=np.int64)[:-1]
    every = [tape.arrays for tape in tapes]
    return market_of(tapes[0])._replace(
        us=np.concatenate([arrays.us for arrays in every]),
        code=np.concatenate([arrays.code for arrays in every]),
        col=np.concatenate([arrays.col for arrays in every]),
        size=np.concatenate([arrays.size for arrays in every]),
        price=every[0].price.copy(),
        bounds=np.concatenate([arrays.bounds + at for arrays, at in zip(every, before, strict=True)]),
        keys=np.concatenate([arrays.keys + at for arrays, at in zip(every, before, strict=True)]),
        books=np.concatenate([arrays.books for arrays in every]),
    )


def _span(tape: Tape, known: str, group: int, own: int, stretch: int, rows: int, at: int) -> Span:
    facts = tape.facts
    return Span(
        group=group,
        stretch=stretch,
        start_us=tape.span_us(own)[0],
        rows=rows,
        at=at,
        value=settlement(tape, own),
        market=tape.market,
        event=event_of(tape),
        source=str(facts.get("source", "")),
        session=facts.get("session"),
        digest=known,
    )


def event_of(tape: Tape) -> str:
    """What a market is decided with: SERIES-EVENT-MARKET; others stand alone.

    Local exchanges use the same names again, for markets that have nothing to do with each other.
    """
    event = tape.market.rsplit("-", 1)[0] if tape.market.count("-") > 1 else tape.market
    return f"{event} of session {tape.facts['session']}" if tape.facts.get("environment") == "local" else event


def settlement(tape: Tape, stretch: int) -> int:
    """What YES is paid where a stretch ends in its market's close and the result is recorded; else -1, no guess."""
    if tape.facts["ends"][stretch] != CLOSED:
        return -1
    value = tape.facts.get("settlement_value_e4")
    if value is not None:
        return int(value)
    return {"yes": DOLLAR, "no": 0}.get(str(tape.facts.get("result")), -1)
