"""Does a policy see what it cannot know? Asked of the very code that training runs.

leaks: with all later data replaced by noise, is everything that an account has seen, got and done until then the same?
live: does the actor's code see what training does?
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.errors import UsageError
from kflow.policy import features
from kflow.policy.actions import action_set
from kflow.policy.view import MarketView
from kflow.rl import dataset as packing
from kflow.rl import stepping
from kflow.rl.batch import Batch, Finished, Setup
from kflow.rl.columns import market_columns
from kflow.rl.dataset import EVERY_US, Dataset
from kflow.rl.episodes import Episode, Listed
from kflow.rl.noise import book_at, noised
from kflow.sim import kernel
from kflow.sim.fills import Assumptions
from kflow.sim.tape import PRINT, TRADE, Tape

Build = Callable[..., Dataset]
Assume = Callable[[Tape], Assumptions]
Progress = Callable[[int], None]
Any_ = NDArray[Any]

CUTS: Final = 1_000
# Decisions that are played before a cut, at most; accounts that are played at once.
BACK: Final = 240
_TOGETHER: Final = 16


@dataclass(slots=True)
class Difference:
    """Of one kind of array: how often it was not the same, by how much at most, and where first."""

    times: int = 0
    most: float = 0.0
    first: str = ""


@dataclass(slots=True)
class Leaks:
    """What was compared, and what differed."""

    cuts: int = 0
    decisions: int = 0  # that were played
    rows: int = 0  # of market features
    numbers: int = 0
    differences: dict[str, Difference] = field(default_factory=dict)

    @property
    def most(self) -> float:
        """The largest difference; also where bits differ and values do not."""
        return max((found.most for found in self.differences.values()), default=0.0)

    def compare(self, what: str, true: Any_, other: Any_, where: Callable[[int], str]) -> None:
        """Bit by bit, along the first axis of both."""
        self.numbers += true.size
        mine, theirs = np.ascontiguousarray(true), np.ascontiguousarray(other)
        if not mine.size or mine.view(np.uint8).tobytes() == theirs.view(np.uint8).tobytes():
            return
        apart = np.abs(mine.astype(np.float64) - theirs.astype(np.float64)).reshape(len(mine), -1)
        unlike = [n for n in range(len(mine)) if mine[n].tobytes() != theirs[n].tobytes()]
        found = self.differences.setdefault(what, Difference(first=where(unlike[0])))
        found.times += len(unlike)
        found.most = max(found.most, float(np.nanmax(apart)) if np.isfinite(apart).any() else math.inf)


class _Cut(NamedTuple):
    """Up to and including decision `row` of a span all is true; accounts are seated at decision `first`."""

    span: int
    first: int
    row: int


def leaks(
    tapes: Sequence[Tape],
    assume: Assume,
    *,
    cuts: int = CUTS,
    seed: int = 0,
    every_us: int = EVERY_US,
    setup: Setup | None = None,
    build: Build = packing.build,
    progress: Progress = lambda _: None,
) -> Leaks:
    """Play random actions up to random decisions, on the tapes and on ones that are noise from there on.

    `build` makes data sets of both. Raises UsageError where nothing lasts long enough.
    """
    rng = np.random.default_rng([seed, 1])
    setup = setup or Setup(actions=action_set("wide"))
    tapes = numbered(tapes)
    truth = build(tapes, assume, every_us=every_us)
    chosen = _chosen(truth, cuts, rng)
    found = Leaks()
    for at in range(0, len(chosen), _TOGETHER):
        part = chosen[at : at + _TOGETHER]
        others = _noised(tapes, truth, part, rng)
        _play(found, truth, build(others, assume, every_us=every_us), part, setup, rng)
        found.cuts += len(part)
        progress(len(part))
    return found


def numbered(tapes: Sequence[Tape]) -> list[Tape]:
    """Tapes with their number for a digest, by which spans are found again."""
    return [replace(tape, facts={**tape.facts, "digest": str(number)}) for number, tape in enumerate(tapes)]


def source_of(tapes: Sequence[Tape], dataset: Dataset, span: int) -> tuple[Tape, int]:
    """Tape and own stretch of a span of numbered tapes."""
    found = dataset.spans[span]
    tape = tapes[int(found.digest)]
    return tape, next(own for own in range(tape.stretches) if tape.span_us(own)[0] == found.start_us)


def _chosen(truth: Dataset, cuts: int, rng: np.random.Generator) -> list[_Cut]:
    """Different decisions, each as likely as any; not the last of a span, after which nothing comes."""
    ends = np.cumsum([span.rows - 2 for span in truth.spans])
    if cuts < 1 or not len(ends):
        raise UsageError("an audit looks at a decision at least", hint="--cuts 1000")
    found = []
    for at in rng.choice(ends[-1], min(cuts, ends[-1]), replace=False).tolist():
        span = int(np.searchsorted(ends, at, side="right"))
        row = at - (int(ends[span - 1]) if span else 0) + 1
        found.append(_Cut(span, max(0, row - int(rng.integers(1, BACK + 1))), row))
    return found


def _noised(tapes: Sequence[Tape], truth: Dataset, cuts: Sequence[_Cut], rng: np.random.Generator) -> list[Tape]:
    """For each cut its stretch with noise behind it."""
    every_us, made = truth.every_us, []
    for cut in cuts:
        start_us = truth.spans[cut.span].start_us
        rows = max(cut.row + 1, packing.LEAST_ROWS - 1)
        made.append(
            noised(*source_of(tapes, truth, cut.span), start_us + cut.row * every_us, start_us + rows * every_us, rng)
        )
    return numbered(made)


def _play(
    found: Leaks, truth: Dataset, other: Dataset, cuts: Sequence[_Cut], setup: Setup, rng: np.random.Generator
) -> None:
    """One account for each cut, the same actions on both sides, compared decision by decision."""
    theirs = {int(span.digest): number for number, span in enumerate(other.spans)}
    for number, cut in enumerate(cuts):
        mine, noisy = _columns(truth, cut.span, cut.row), _columns(other, theirs[number], cut.row)
        found.compare("market features", mine, noisy, lambda n, cut=cut: _named(truth, cut, n))  # type: ignore[misc]
        found.rows += len(mine)
    episodes = (
        [Episode(cut.span, cut.first, truth.spans[cut.span].rows - 1) for cut in cuts],
        [Episode(theirs[n], cut.first, other.spans[theirs[n]].rows - 1) for n, cut in enumerate(cuts)],
    )
    seed = int(rng.integers(2**31))
    sides = [
        Batch(data, setup, Listed(each), len(cuts), seed=seed, again=False)
        for data, each in zip((truth, other), episodes, strict=True)
    ]
    seen = [batch.reset() for batch in sides]
    rewards = [np.zeros(len(cuts), np.float32)] * 2
    ended: list[list[Finished]] = [[], []]
    left = np.array([cut.row - cut.first for cut in cuts])
    alive = np.ones(len(cuts), np.bool_)
    for step in range(int(left.max()) + 1):
        who = np.flatnonzero(alive & (step <= left))
        masks = [batch.masks() for batch in sides]
        now = [(cuts[n], cuts[n].first + step) for n in who.tolist()]
        for what, (mine, noisy) in _faces(sides, seen, rewards, masks, ended).items():
            found.compare(what, mine[who], noisy[who], lambda n, now=now: _named(truth, *now[n]))  # type: ignore[misc]
        found.decisions += len(who)
        alive &= sides[0].running
        actions = np.where(masks[0], rng.random(masks[0].shape), -1.0).argmax(axis=1)
        for n, batch in enumerate(sides):
            seen[n], rewards[n], ended[n] = batch.step(actions)


def _columns(dataset: Dataset, span: int, last: int) -> Any_:
    """Market features of a span up to and including a decision."""
    found = dataset.spans[span]
    return dataset.groups[found.group].columns[found.at : found.at + last + 1]


def _named(truth: Dataset, cut: _Cut, row: int) -> str:
    span = truth.spans[cut.span]
    return f"{span.market}, decision {row:,} of {span.rows:,}, noise behind {cut.row:,}"


def _faces(
    sides: Sequence[Batch],
    seen: Sequence[Any_],
    rewards: Sequence[Any_],
    masks: Sequence[Any_],
    ended: Sequence[Sequence[Finished]],
) -> dict[str, tuple[Any_, Any_]]:
    """All that an account sees, gets and has, of both sides, [N, ...] each."""
    split = stepping.MARKET
    states = [batch.state for batch in sides]
    width = min(state.depth.shape[2] for state in states)
    # Where on the tape it stands, and where that ends, differs; nobody's ask is as far away as the widest grid reaches.
    skipped = [kernel.CURSOR, kernel.END]
    accounts = [state.account.copy() for state in states]
    for account in accounts:
        account[:, kernel.ASK] = np.minimum(account[:, kernel.ASK], width)
    endings = [np.zeros(batch.count, np.int8) for batch in sides]
    for codes, episodes in zip(endings, ended, strict=True):
        for finished in episodes:
            codes[finished.account] = stepping.ENDINGS.index(finished.ending)
    pairs: dict[str, list[Any_]] = {
        "market features": [array[:, :split] for array in seen],
        "own features": [array[:, split:] for array in seen],
        "masks": list(masks),
        "rewards": list(rewards),
        "endings": list(endings),
        "cash and positions": [np.delete(account, skipped, axis=1) for account in accounts],
        "orders": [np.concatenate([state.orders, state.queue[:, :, None]], axis=2) for state in states],
        "books": [np.stack([state.depth, state.taken], axis=1)[..., :width] for state in states],
        "draws": [state.random for state in states],
        "sums": [np.concatenate([b.desk.seat[:, stepping.CASH :], b.desk.sums], axis=1) for b in sides],
    }
    return {what: (pair[0], pair[1]) for what, pair in pairs.items()}


def live(
    tapes: Sequence[Tape],
    assume: Assume,
    *,
    events: int = 200_000,
    seed: int = 0,
    every_us: int = EVERY_US,
    progress: Progress = lambda _: None,
) -> Leaks:
    """Market features as the actor's code sees them, event by event, against those of training.

    Random stretches, until so many events were told.
    """
    rng = np.random.default_rng([seed, 3])
    stretches = [(tape, stretch) for tape in tapes for stretch in range(tape.stretches)]
    found, told = Leaks(), 0
    for number in rng.permutation(len(stretches)).tolist():
        tape, own = stretches[number]
        rate = float(assume(tape).fees.taker_rate)
        rows = market_columns(tape, own, every_us, rate)
        seen = _followed(tape, own, len(rows), every_us, rate)
        where = f"{tape.market}, decision {{:,}} of {len(rows):,}"
        found.compare("market features", rows, seen, where.format)
        found.rows += len(rows)
        found.cuts += 1
        size = int(np.diff(tape.arrays.bounds[own])[0])
        told += size
        progress(size)
        if told >= events:
            break
    return found


def _followed(tape: Tape, stretch: int, rows: int, every_us: int, taker_rate: float) -> NDArray[np.float32]:
    """[rows, MARKET] of a stretch, told to the actor's view in the order in which it happened."""
    arrays = tape.arrays
    first, behind = (int(event) for event in arrays.bounds[stretch])
    us, code, col, size = (column[first:behind].tolist() for column in arrays[:4])
    close_us = tape.facts.get("close_us")
    view = MarketView(arrays.price.tolist(), close_us=-1 if close_us is None else int(close_us), taker_rate=taker_rate)
    bids, asks = book_at(tape, first).tolist()
    view.begin(us[0], bids, asks)
    out, row, event = np.empty((rows, len(features.MARKET)), np.float32), [0.0] * len(features.MARKET), 0
    for t in range(rows):
        until = us[0] + t * every_us
        while event < len(us) and us[event] <= until:
            kind, side = code[event] & 3, code[event] >> 2 & 1
            if kind >= TRADE:
                view.trade(side, col[event], size[event], removes=kind != PRINT)
            else:
                view.change(side, col[event], -size[event] if kind else size[event])
            if code[event] & 8:
                view.end_group(us[event])
            event += 1
        view.encode(until, row)
        out[t] = row
    return out
