"""The engine, driven by two published queueing models, gives their published probabilities.

One event is one order of one contract, and queue lengths and places are read from the engine: a wrong priority, a lost
order or a trade at the wrong level shows as a wrong table. Criterion, with fixed seeds: in each of a table's 25 cells
the mean of the plays lies within 4 standard errors of the exact solution, and the sum of the squared distances below
the chi-square quantile that an honest engine exceeds once in a thousand. The exact solutions are held against the
printed tables. `python bench/queues.py` is the long form.
"""

from __future__ import annotations

import pytest

from kflow.exchange.orders import Order
from kflow.market.events import Side
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
from kflow.testing.queues import Play, Rates, Touch, bid_fills, cell, mid_rises, spread_made
from kflow.units import CONTRACT, Size

# The paper prints three digits of a numerical Laplace inversion.
PRINTED = {mid_rises: 8.5e-4, bid_fills: 5e-5, spread_made: 5.5e-4}
PLAYS = list(PUBLISHED)


def name(play: Play) -> str:
    return play.__name__


def distances(play: Play, rates: Rates, exact: Table, *, runs: int, touch: type[Touch] = Touch) -> list[float]:
    """z of all 25 cells."""
    cells = [cell(play, start, rates, runs=runs, seed=2010, touch=touch) for start in STARTS]
    return [one.z(exact[one.bids - 1, one.asks - 1]) for one in cells]


def fits(z: list[float]) -> bool:
    return max(map(abs, z)) < 4 and sum(one * one for one in z) < CHI_SQUARE


@pytest.mark.parametrize("play", PLAYS, ids=name)
def test_exact_solutions_are_the_published_tables(play: Play) -> None:
    assert abs(solved(play, CONT_STOIKOV_TALREJA) - PUBLISHED[play]).max() < PRINTED[play]


def test_the_closed_form_of_balanced_queues_is_the_published_table() -> None:
    assert abs(balanced() - BALANCED).max() < 5e-5


@pytest.mark.parametrize("play", PLAYS, ids=name)
def test_the_engine_reproduces_cont_stoikov_talreja(play: Play) -> None:
    z = distances(play, CONT_STOIKOV_TALREJA, solved(play, CONT_STOIKOV_TALREJA), runs=1_000)
    assert fits(z), z


def test_the_engine_reproduces_cont_de_larrard() -> None:
    z = distances(mid_rises, CONT_DE_LARRARD, balanced(), runs=300)
    assert fits(z), z


class LastComeFirstServed(Touch):
    """Those who wait go to the back whenever somebody joins their queue."""

    def _join(self, side: Side, owner: str | None = None) -> Order:
        waiting = list(self.book.orders(side)) if side in self._own else []
        order = super()._join(side, owner)
        for other in waiting:
            self.book.amend(other, other.price, Size(other.remaining + 1))
            self.book.decrease(other, CONTRACT)
        return order


def test_the_criterion_sees_a_queue_that_is_not_first_come_first_served() -> None:
    exact = solved(bid_fills, CONT_STOIKOV_TALREJA)
    z = distances(bid_fills, CONT_STOIKOV_TALREJA, exact, runs=100, touch=LastComeFirstServed)
    assert not fits(z), z


def test_the_criterion_sees_rates_that_are_a_tenth_off() -> None:
    rates = Rates(arrival=1.85, trade=0.94, cancel=0.64)
    z = distances(spread_made, rates, solved(spread_made, CONT_STOIKOV_TALREJA), runs=1_000)
    assert not fits(z), z
