"""A recorded market without us: own orders taken out of the book that they stood in, and own takes left to be moved.

On a venue whose book we were in, the recording shows us: what rested of us is part of levels, what traded against it
is on the tape, and what we took is gone. To ask what the simulator would have done the market must be what it would
have met. So, with each effect found at its very µs and level:

- what rested is taken out of its level, from its arrival until it was filled, withdrawn, or the stretch ended;
- a trade that filled us stays as a print: it eats queues there, and reaches the simulated order, but no level;
- what we took stays gone, one µs after the moment at which the simulated order arrives, so that it finds it there.

An order of which not every effect is found stays in the book, and is counted. Where most of them are not found the
book does not hold us (a recording that is served again, docs/replay.md): then nothing is touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kflow.evaluate.parity.log import Amend, Order
from kflow.market.events import Level
from kflow.market.grid import Grid
from kflow.sim.tape import ADD, CANCEL, PRINT, TRADE, Stretch, Tape, compile_tape
from kflow.units import DOLLAR, Price, Size

I64 = NDArray[np.int64]
# Kinds of effects beside the tape's: what an own order took.
TAKE: Final = 4
# Answers to changes are stamped to the millisecond.
_NEAR_US: Final = 1000
_KINDS: Final = {ADD: (ADD,), TRADE: (TRADE, CANCEL), CANCEL: (CANCEL, TRADE), TAKE: (TRADE, CANCEL)}


class Effect(NamedTuple):
    """What an own order did to a level. `side` is the level's, `yes` its price on the YES axis, `size` positive."""

    us: int
    kind: int
    side: int
    yes: int
    size: int


def effects_of(order: Order) -> list[Effect]:
    """What a book that held an order shows of it, in order of time. Empty for one that was refused."""
    if order.refused is not None:
        return []
    life = _Life(order)
    life.enters(order.us)
    changes = [(fill.us, 0, n) for n, fill in enumerate(order.fills) if not fill.taker]
    changes += [(amend.us, 1, n) for n, amend in enumerate(order.amends)]
    if order.cancelled_us is not None and order.cancelled_us > order.us and not order.immediate:
        changes.append((order.cancelled_us, 2, 0))
    for us, what, number in sorted(changes):
        if what == 0:
            life.leaves(us, TRADE, order.fills[number].size)
        elif what == 1:
            life.changes(us, order.amends[number])
        else:
            life.leaves(us, CANCEL, life.left)
    return life.effects


def over_us(order: Order) -> int | None:
    """When nothing of an order was left at the venue; None while something was."""
    if order.immediate or order.dead_on_arrival:
        return order.us
    effects = effects_of(order)
    return None if _rests(effects) else effects[-1].us if effects else order.us


class _Life:
    """An order in the book of its venue."""

    def __init__(self, order: Order) -> None:
        self._order, self.left, self._price = order, order.size, order.price
        self.effects: list[Effect] = []

    def enters(self, us: int) -> None:
        order = self._order
        for fill in order.fills:
            if fill.taker and fill.us == us:
                self.effects.append(Effect(us, TAKE, 1 - order.side, _yes(order.side, fill.price), fill.size))
                self.left -= fill.size
        if self.left > 0 and not order.immediate and order.cancelled_us != us:
            self.effects.append(Effect(us, ADD, order.side, _yes(order.side, self._price), self.left))

    def leaves(self, us: int, kind: int, size: int) -> None:
        if size > 0:
            self.effects.append(Effect(us, kind, self._order.side, _yes(self._order.side, self._price), size))
            self.left -= size

    def changes(self, us: int, amend: Amend) -> None:
        """A smaller size keeps its place; all else leaves, and enters anew."""
        if amend.price == self._price and amend.remaining <= self.left:
            self.leaves(us, CANCEL, self.left - amend.remaining)
            return
        self.leaves(us, CANCEL, self.left)
        self.left, self._price = amend.remaining, amend.price
        self.enters(us)


def _yes(side: int, price: int) -> int:
    return DOLLAR - price if side else price


class Take(NamedTuple):
    """What an own order took, and where on the tape that is."""

    order: str
    us: int
    event: int
    side: int
    col: int
    size: int


class Removal(NamedTuple):
    """What we took of a level, where it goes from the book that the simulator sees."""

    us: int
    side: int
    col: int
    size: int


class Unseen:
    """One stretch of a tape without own orders."""

    def __init__(self, tape: Tape, stretch: int, orders: Iterable[Order]) -> None:
        """`orders`: all of the market that may have stood in it."""
        self.tape: Final = tape
        first, behind = (int(event) for event in tape.arrays.bounds[stretch])
        arrays, span = tape.arrays, slice(first, behind)
        self._us = arrays.us[span]
        self._kind = (arrays.code[span] & 3).astype(np.int64)
        self._side = (arrays.code[span] >> 2 & 1).astype(np.int64)
        self._col = arrays.col[span].astype(np.int64)
        self._recorded = arrays.size[span].astype(np.int64)
        self._book = arrays.books[int(np.searchsorted(arrays.keys, first))].astype(np.int64)
        self._column = {int(price): place for place, price in enumerate(arrays.price)}
        self._ends = str(tape.facts["ends"][stretch])
        self.begins, self.last = int(self._us[0]), int(self._us[-1])
        self.size, self.start = self._recorded.copy(), self._book.copy()
        self.prints: list[tuple[int, int, int, int]] = []  # event behind which it stands, side, column, size
        self.takes: list[Take] = []
        self.expected = self.found = 0  # orders that should be seen, and that are
        self._mine: dict[str, list[Effect]] = {}
        for order in orders:
            effects = [effect for effect in effects_of(order) if effect.us <= self.last]
            if any(effect.us >= self.begins for effect in effects) or _rests(effects):
                self._mine[order.order] = effects
        self._take_out(frozenset())

    def _take_out(self, but: frozenset[str]) -> None:
        """Take every order out of which all is found, but for some."""
        self.size, self.start = self._recorded.copy(), self._book.copy()
        self.prints, self.takes, self.expected, self.found = [], [], len(self._mine), 0
        touched: dict[tuple[int, int], list[str]] = defaultdict(list)
        for name, effects in self._mine.items():
            if name not in but and self._claim(name, effects):
                self.found += 1
                for effect in effects:
                    touched[effect.side, self._column[effect.yes]].append(name)
        # A level that would hold less than nothing was not what the log says; whoever stood there stays.
        wrong = {name for level, names in touched.items() if self._least(level) < 0 for name in names}
        if wrong:
            self._take_out(but | wrong)

    def _claim(self, name: str, effects: Sequence[Effect]) -> bool:
        """Take one order out; False, and nothing done, where an effect of it is not there."""
        claims: list[tuple[Effect, int, int]] = []
        initial: dict[tuple[int, int], int] = defaultdict(int)
        whole = all(effect.yes in self._column for effect in effects)
        for effect in effects if whole else ():
            if effect.us >= self.begins:
                whole = whole and self._claim_one(effect, claims)
            elif effect.kind != TAKE:
                level = effect.side, self._column[effect.yes]
                initial[level] += effect.size if effect.kind == ADD else -effect.size
        if not whole or any(self.start[level] < size for level, size in initial.items()):
            for _, event, part in claims:
                self.size[event] += part
            return False
        for level, size in initial.items():
            self.start[level] -= size
        # Where trades are known, one that was laid on another removal is there; it must not count twice.
        unknown = self.tape.facts.get("trades") == "none"
        for effect, event, part in claims:
            col = self._column[effect.yes]
            if effect.kind == TAKE:
                self.takes.append(Take(name, effect.us, event, effect.side, col, part))
            elif effect.kind == TRADE and (unknown or self._kind[event] == TRADE):
                self.prints.append((event, effect.side, col, part))
        return True

    def _claim_one(self, effect: Effect, claims: list[tuple[Effect, int, int]]) -> bool:
        """Find an effect among the events of its µs and level; False where they are too small."""
        left = effect.size
        for event in self._candidates(effect, self._column[effect.yes]):
            part = min(left, int(self.size[event]))
            self.size[event] -= part
            claims.append((effect, event, part))
            left -= part
            if not left:
                return True
        return False

    def _candidates(self, effect: Effect, col: int) -> list[int]:
        """Events that may be an effect: those of its µs; where they are too small, one of its very size of its ms."""
        exact = self._between(effect, col, effect.us, effect.us)
        if int(self.size[exact].sum()) >= effect.size:
            return exact
        near = self._between(effect, col, effect.us - _NEAR_US, effect.us + _NEAR_US)
        return [event for event in near if self.size[event] == effect.size]

    def _between(self, effect: Effect, col: int, first_us: int, last_us: int) -> list[int]:
        low, high = np.searchsorted(self._us, [first_us, last_us + 1])
        at = [e for e in range(low, high) if self._side[e] == effect.side and self._col[e] == col and self.size[e] > 0]
        # Of its kind first, and of those one of its very size.
        kinds = _KINDS[effect.kind]
        known = [event for event in at if self._kind[event] in kinds]
        return sorted(known, key=lambda e: (kinds.index(int(self._kind[e])), self.size[e] != effect.size, e))

    def _least(self, level: tuple[int, int]) -> int:
        """The least that a level ever holds."""
        at = np.flatnonzero((self._side == level[0]) & (self._col == level[1]) & (self._kind != PRINT))
        signed = np.where(self._kind[at] == ADD, self.size[at], -self.size[at])
        # What we took is not there yet where it is removed: it is put in again later.
        moved: dict[int, int] = defaultdict(int)
        for take in self.takes:
            if (take.side, take.col) == level:
                moved[take.event] += take.size
        signed -= np.array([moved[event] for event in at.tolist()], np.int64)
        path = int(self.start[level]) + np.cumsum(signed)
        return min(int(self.start[level]), int(path.min()) if len(path) else 0)

    def at(self, arrivals: Mapping[str, int]) -> tuple[Tape, list[Removal]]:
        """The stretch as a tape of its own, with what each order took removed right behind its arrival."""
        places: list[int] = [event + 1 for event, *_ in self.prints]
        rows = [(int(self._us[event]), PRINT, side, col, size) for event, side, col, size in self.prints]
        levels: dict[tuple[int, int], list[Take]] = defaultdict(list)
        for take in self.takes:
            levels[take.side, take.col].append(take)
        removals = [
            Removal(us, *level, size)
            for level, takes in levels.items()
            for us, size in self._moved(level, takes, arrivals)
        ]
        for gone in removals:
            places.append(int(np.searchsorted(self._us, gone.us)))
            rows.append((gone.us, CANCEL, gone.side, gone.col, gone.size))
        # Of what is put in at one place, the earlier first.
        order = sorted(range(len(rows)), key=lambda n: (places[n], rows[n][0]))
        return self._compiled([places[n] for n in order], [rows[n] for n in order]), removals

    def _moved(
        self, level: tuple[int, int], takes: Sequence[Take], arrivals: Mapping[str, int]
    ) -> list[tuple[int, int]]:
        """When, and how much of a level, own takes remove: (µs, size). Never more than the level holds until then."""
        at = np.flatnonzero((self._side == level[0]) & (self._col == level[1]) & (self._kind != PRINT))
        times = self._us[at]
        signed = np.where(self._kind[at] == ADD, self.size[at], -self.size[at])
        out: list[tuple[int, int]] = []
        for take in sorted(takes, key=lambda take: take.us):
            arrives = arrivals.get(take.order, take.us)
            if not self.begins <= arrives < self.last:
                arrives = take.us
            early = take.size
            if arrives < take.us:
                between = np.searchsorted(times, [arrives, take.us], side="right")
                path = int(self.start[level]) + np.concatenate([[0], np.cumsum(signed)])
                least = int(path[between[0] : between[1] + 1].min())
                gone = sum(size for us, size in out if us <= take.us)
                early = min(max(least - gone, 0), take.size)
            if early:
                out.append((arrives + 1, early))
            if early < take.size:
                out.append((take.us + 1, take.size - early))
        return out

    def _compiled(self, places: Sequence[int], rows: Sequence[tuple[int, int, int, int, int]]) -> Tape:
        put = np.array(rows, np.int64).reshape(-1, 5)
        kept = (self._us, self._kind, self._side, self._col, self.size)
        us, kind, side, col, size = (np.insert(old, places, put[:, n]) for n, old in enumerate(kept))
        yes = self.tape.arrays.price.astype(np.int64)[col]
        price = np.where(side == 1, DOLLAR - yes, yes)
        delta = kind != PRINT
        before = np.cumsum(delta)
        prints = np.stack([before, us, side, price, size], axis=1)[~delta]
        stretch = Stretch(
            start=(self._levels(0), self._levels(1)),
            us=us[delta],
            side=side[delta].astype(np.int8),
            price=price[delta].astype(np.int32),
            change=np.where(kind == ADD, size, -size)[delta],
            traded=np.where(kind == TRADE, size, 0)[delta],
            prints=prints,
            ends=self._ends,
        )
        return compile_tape(self.tape.market, [stretch], Grid.parse(self.tape.facts["price_ranges"]), self.tape.facts)

    def _levels(self, side: int) -> list[Level]:
        columns = np.flatnonzero(self.start[side])
        yes = self.tape.arrays.price[columns].tolist()
        own = [DOLLAR - price if side else price for price in yes]
        return [(Price(p), Size(int(s))) for p, s in zip(own, self.start[side, columns].tolist(), strict=True)]

    def untouched(self) -> None:
        """Leave the book as it is recorded: it never held us."""
        self.size, self.start = self._recorded.copy(), self._book.copy()
        self.prints, self.takes = [], []


def _rests(effects: Iterable[Effect]) -> bool:
    """Whether something of an order is left in the book at the end of its effects."""
    return sum((e.kind == ADD) * e.size - (e.kind in (TRADE, CANCEL)) * e.size for e in effects) > 0
