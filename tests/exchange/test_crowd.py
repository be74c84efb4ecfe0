"""The crowd keeps its rules: books that can be, m between the quotes, the same again from a seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kflow.exchange.belief import FAIR, Edge
from kflow.exchange.crowd import Crowd
from kflow.exchange.crowd_market import CrowdMarket
from kflow.exchange.listing import Listing
from kflow.exchange.matching import OrderBook
from kflow.exchange.orders import Execution, Order, TimeInForce
from kflow.exchange.presets import PRESETS, Preset
from kflow.market.events import Side
from kflow.units import DOLLAR, Price, Size

STRUCTURES = ("tapered_deci_cent", "linear_cent", "deci_cent", "center_deci_edge_centi_cent")


def crowd_of(
    preset: str | Preset,
    seed: int,
    markets: int = 1,
    *,
    probability: float = 0.5,
    edge: Edge = FAIR,
    seconds_left: float = 900.0,
) -> Crowd:
    crowd = Crowd(PRESETS[preset] if isinstance(preset, str) else preset, np.random.default_rng(seed), edge)
    for number in range(markets):
        listing = Listing(
            ticker=f"M{number}",
            event="E",
            series="S",
            title="",
            open_us=0,
            close_us=1,
            structure=STRUCTURES[number % len(STRUCTURES)],
        )
        crowd.add(listing, probability, OrderBook(listing.grid), seconds_left=seconds_left)
    return crowd


def run(crowd: Crowd, seconds: float) -> list[tuple[int, Execution]]:
    return [(event.market, done) for event in crowd.plan(seconds) for done in crowd.act(event)]


def check_book(market: CrowdMarket) -> None:
    book = market.book
    bid, ask = book.best(Side.YES), book.best(Side.NO)
    assert (bid or 0) + (ask or 0) < DOLLAR
    for side in Side:
        assert all(size > 0 for _, size in book.levels(side))


def as_text(executions: list[tuple[int, Execution]]) -> list[object]:
    return [
        (market, [change[:3] for change in done.changes], [match[1:] for match in done.matches])
        for market, done in executions
    ]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), preset=st.sampled_from(sorted(PRESETS)), p=st.floats(0.015, 0.985))
def test_crowd_never_bids_above_its_belief_nor_offers_below(seed: int, preset: str, p: float) -> None:
    """With users' orders anywhere in between, who take, join, improve and quote beyond what it is worth."""
    crowd = crowd_of(preset, seed, 4, probability=p)
    rng = np.random.default_rng(seed)
    for event in crowd.plan(10.0 if preset == "busy" else 300.0):
        crowd.act(event)
        market = crowd.markets[event.market]
        check_book(market)
        if rng.random() < 0.1:
            near = market.belief.value + rng.normal(0, 500)
            price = market.at_or_below(Side.YES, near) or market.prices[0][0]
            side, kind = Side(int(rng.integers(2))), TimeInForce.IOC if rng.random() < 0.5 else TimeInForce.GTC
            size = Size(int(rng.integers(1, 500_000)))
            market.book.submit(Order(side, Price(price), size, owner="me", time_in_force=kind))
        value = market.belief.value
        assert 0 < value < DOLLAR
        assert market.find_touch(Side.YES) <= value <= DOLLAR - market.find_touch(Side.NO)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_seed_gives_the_same_again_however_it_is_sliced(preset: str) -> None:
    seconds = 15.0 if preset == "busy" else 300.0

    def made(seed: int, slices: int) -> list[object]:
        crowd = crowd_of(preset, seed, 3, seconds_left=1e9)
        return [line for _ in range(slices) for line in as_text(run(crowd, seconds / slices))]

    assert made(3, 1) == made(3, 1)
    assert made(3, 1) == made(3, 50)
    assert made(3, 1) != made(4, 1)


def test_a_sweep_stays_within_one_level_and_what_it_tells_has_its_price_as_mean() -> None:
    crowd = crowd_of("busy", 5, 4)
    surprises = []
    for event in crowd.plan(250.0):
        for done in crowd.act(event):
            prices = {price for _, price, _ in done.matches}
            assert len(prices) <= 1
            if prices:
                assert sum(size for _, _, size in done.matches) == -sum(change for _, _, change, _ in done.changes)
                surprises.append(crowd.markets[event.market].belief.value - prices.pop())
    assert len(surprises) > 2000
    assert abs(np.mean(surprises)) < 4 * np.std(surprises) / len(surprises) ** 0.5


def test_a_bid_above_belief_is_sold_into_and_moves_nothing() -> None:
    crowd = crowd_of(replace(PRESETS["busy"], habits=replace(PRESETS["busy"].habits, news_cents=0.0)), 6)
    market = crowd.markets[0]
    for event in crowd.plan(60.0):
        best = market.book.best(Side.NO)
        assert best is not None
        dear = market.at_or_below(Side.YES, DOLLAR - best - 1)
        value = market.belief.value
        if dear <= value:
            crowd.act(event)
            continue
        mine = Order(Side.YES, Price(dear), Size(100), owner="me")
        market.book.submit(mine)
        taken = [match for done in crowd.act(event) for match in done.matches]
        if taken:
            assert taken[0][0] is mine
            assert market.belief.value == value
            return
        if mine.resting:
            market.book.cancel(mine)
    pytest.fail("no sweep ever came")


def test_a_closed_market_stands_still() -> None:
    crowd = crowd_of("busy", 7, 2)
    crowd.markets[1].open = False
    assert {market for market, _ in run(crowd, 30.0)} == {0}
    assert crowd.events_per_s() > 0


def test_books_hold_pennies_beyond_any_cap_and_fractions() -> None:
    crowd = crowd_of("busy", 8, 2)
    done = run(crowd, 20.0)
    for market in crowd.markets:
        assert max(size for side in Side for _, size in market.book.levels(side)) > 1_000_000 * 100
    sizes = [change for _, execution in done for _, _, change, _ in execution.changes]
    assert 0.05 < np.mean([size % 100 != 0 for size in sizes]) < 0.6


# Fairness: what is traded is worth its price, whoever trades; and what an edge does.


def test_trades_are_worth_their_price_in_every_bucket() -> None:
    """By market, for trades of one market share its result: the error of a bucket is that of its markets."""
    crowds = 3
    table = np.zeros((5, crowds * 240, 2))
    for number in range(crowds):
        rng = np.random.default_rng(100 + number)
        crowd = Crowd(PRESETS["busy"], rng)
        for place in range(240):
            listing = Listing(ticker=f"M{place}", event="E", series="S", title="", open_us=0, close_us=1)
            crowd.add(listing, 0.05 + 0.9 * place / 240, OrderBook(listing.grid), seconds_left=60.0)
        paid: list[list[float]] = [[] for _ in range(240)]
        for event in crowd.plan(10.0):
            for done in crowd.act(event):
                if done.matches:
                    paid[event.market].append(done.matches[0][1] / DOLLAR)
        for place, prices in enumerate(paid):
            result = float(crowd.settle(crowd.markets[place]) == Side.YES)
            for price in prices:
                table[min(int(price * 5), 4), number * 240 + place] += (result - price, 1)
    for bucket in table:
        gain, count = bucket[:, 0], bucket[:, 1]
        assert count.sum() > 250
        assert abs(gain.sum()) < 4 * np.sqrt((gain**2).sum())


def test_belief_is_a_martingale() -> None:
    crowd = crowd_of("busy", 4, 150, probability=0.3, seconds_left=120.0)
    run(crowd, 15.0)
    moved = np.array([market.belief.value - 0.3 * DOLLAR for market in crowd.markets])
    assert moved.std() > 200
    assert abs(moved.mean()) < 4 * moved.std() / len(moved) ** 0.5


@pytest.mark.parametrize(
    ("edge", "low", "high"),
    [
        (Edge(uninformed=0.8), -1.0, -0.001),  # makers earn
        (Edge(stale_cents=5.0), 0.001, 1.0),  # takers earn
    ],
)
def test_planted_edges_have_their_sign(edge: Edge, low: float, high: float) -> None:
    """What takers gain, judged by belief right after the trade, which is what the result is on average."""
    gains = []
    crowd = crowd_of("busy", 9, 10, edge=edge)
    for event in crowd.plan(60.0):
        for done in crowd.act(event):
            for maker, price, _ in done.matches:
                gain = crowd.markets[event.market].belief.value - price
                gains.append(gain / DOLLAR if maker.side == Side.NO else -gain / DOLLAR)
    assert low < np.mean(gains) < high
    assert abs(np.mean(gains)) > 4 * np.std(gains) / len(gains) ** 0.5


def test_a_biased_result_pays_buyers_of_yes() -> None:
    won = []
    for seed in range(5):
        crowd = crowd_of("weather", seed, 200, probability=0.4, edge=Edge(bias=0.2))
        won += [crowd.settle(market) == Side.YES for market in crowd.markets]
    assert np.mean(won) == pytest.approx(0.6, abs=0.06)


class Stranger:
    """Somebody who trades one contract at a time in a market of the crowd."""

    def __init__(self, market: CrowdMarket, habit: str, seed: int) -> None:
        self.market, self.habit, self.rng = market, habit, np.random.default_rng(seed)
        self.order: Order | None = None
        self.gains: list[float] = []  # by m right after each fill: what the result is on average

    def note(self, side: Side, price: int) -> None:
        gain = self.market.belief.value - price
        self.gains.append(gain if side == Side.YES else -gain)

    def turn(self) -> None:
        if self.rng.random() > 0.3:
            return
        book, side = self.market.book, Side(int(self.rng.integers(2)))
        best, other = book.best(side), book.best(Side(1 - side))
        if best is None or other is None:
            return
        if self.habit == "take":
            price = DOLLAR - other if side == Side.YES else other
            book.submit(Order(side, Price(price), Size(100), owner=self, time_in_force=TimeInForce.IOC))
            self.note(side, price)
            return
        resting = self.order is not None and self.order.resting
        if resting and self.habit != "cling":
            book.cancel(self.order)  # type: ignore[arg-type]
        own = self.market.moved(side, best, 1) if self.habit == "improve" else best
        if own + other < DOLLAR and not (resting and self.habit == "cling"):
            price = own if side == Side.YES else DOLLAR - own
            self.order = Order(side, Price(price), Size(100), owner=self)
            book.submit(self.order)


@pytest.mark.parametrize("habit", ["improve", "join", "take", "cling"])
def test_nobody_earns_from_the_crowd(habit: str) -> None:
    crowd = crowd_of("busy", 12, 12)
    strangers = [Stranger(market, habit, number) for number, market in enumerate(crowd.markets)]
    for event in crowd.plan(45.0):
        stranger = strangers[event.market]
        for done in crowd.act(event):
            for maker, price, _ in done.matches:
                if maker.owner is stranger:
                    stranger.note(maker.side, price)
        stranger.turn()
    gains = [gain for stranger in strangers for gain in stranger.gains]
    assert len(gains) > 50
    assert np.mean(gains) < 4 * np.std(gains) / len(gains) ** 0.5


def test_busy_markets_look_as_measured() -> None:
    """Bands around what market facts 4.1 say, wide enough for minutes to differ; bench/realism.py has all of it."""
    crowd = crowd_of("busy", 3, 12, seconds_left=700.0)
    kinds = {"one": 0, "two": 0, "amend": 0, "sweep": 0}
    groups, makers, sizes, spreads, behind = 0, [], [], [], []
    for event in crowd.plan(60.0):
        market = crowd.markets[event.market]
        before = [market.book.best(side) or 0 for side in Side]
        for done in crowd.act(event):
            groups += 1
            changes = done.changes
            kinds["one"] += len(changes) == 1
            kinds["two"] += len(changes) == 2
            kinds["sweep"] += bool(done.matches)
            kinds["amend"] += len(changes) == 2 and changes[0][2] == -changes[1][2] and not done.matches
            makers += [len(done.matches)] if done.matches else []
            sizes += [change / 100 for _, _, change, _ in changes if change > 0]
            behind += [before[side] - price for side, price, _, _ in changes]
        spreads.append(DOLLAR - sum([market.book.best(side) or 0 for side in Side]))
    shares = {kind: count / groups for kind, count in kinds.items()}
    assert groups / 60 / 12 == pytest.approx(61, rel=0.4)
    assert shares["one"] == pytest.approx(0.549, abs=0.05)
    assert shares["two"] == pytest.approx(0.437, abs=0.05)
    assert shares["amend"] == pytest.approx(0.339, abs=0.05)
    assert shares["sweep"] == pytest.approx(0.063, abs=0.015)
    assert np.mean(makers) == pytest.approx(1.66, abs=0.35)
    assert np.median(sizes) == pytest.approx(75, rel=0.3)
    assert np.mean(np.array(behind) == 0) == pytest.approx(0.23, abs=0.06)
    assert np.mean(np.array(behind) < 0) == pytest.approx(0.026, abs=0.015)
    assert np.mean(np.array(spreads) <= 100) > 0.7


def test_quiet_markets_are_wide_and_slow() -> None:
    crowd = crowd_of("quiet", 4, 8, seconds_left=20_000.0)
    deltas = sum([len(done.changes) for _, done in run(crowd, 2000.0)])
    assert deltas / 2000 / 8 == pytest.approx(1.05, rel=0.4)
    spreads = [DOLLAR - sum([market.book.best(side) or 0 for side in Side]) for market in crowd.markets]
    assert 150 < np.mean(spreads) < 450
