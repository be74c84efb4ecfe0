"""The parts of a `pair`, an exchange and its two users, which each module makes with the markets that it needs."""

from __future__ import annotations

import pytest

from kflow.testing.trader import Trader
from kflow.testing.venue import LocalVenue


@pytest.fixture
def venue(pair: tuple[LocalVenue, list[Trader]]) -> LocalVenue:
    return pair[0]


@pytest.fixture
def ann(pair: tuple[LocalVenue, list[Trader]]) -> Trader:
    return pair[1][0]


@pytest.fixture
def bob(pair: tuple[LocalVenue, list[Trader]]) -> Trader:
    return pair[1][1]
