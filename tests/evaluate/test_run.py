"""What is played: money is conserved to the micro-dollar, every order and fill is kept, and company changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from kflow.evaluate import run
from kflow.evaluate.contestants import BASELINES, Contestant, baselines
from kflow.evaluate.held import Held
from kflow.evaluate.outcome import CUT, MID_BINS, SETTLED, Played
from kflow.evaluate.run import play
from kflow.rl.batch import LIMITS
from kflow.sim import kernel
from kflow.sim.fills import MODELS

QUEUE = MODELS["queue"]


def contestant(name: str) -> Contestant:
    (found,) = baselines((name,), 10, LIMITS, 0.1)
    return found


@pytest.fixture(scope="module", params=BASELINES)
def played(request: pytest.FixtureRequest, fair: Held) -> Played:
    return play(contestant(request.param), fair, QUEUE, seeds=[1, 2])[1]


def test_every_episode_is_played_once(played: Played, fair: Held) -> None:
    episodes = played.episodes
    assert episodes.start_us.tolist() == [fair.start_us(episode) for episode in fair.episodes]
    assert set(episodes.ending.tolist()) == {SETTLED, CUT}
    assert (episodes.ending == SETTLED).sum() == 6
    assert episodes.steps.tolist() == [episode.last - episode.first for episode in fair.episodes]


def test_fills_make_up_fees_volume_and_what_was_earned(played: Played) -> None:
    episodes, fills = played.episodes, played.fills
    count = len(episodes.market)

    def summed(values: np.ndarray) -> list[int]:
        total = np.zeros(count, np.int64)
        np.add.at(total, fills.episode, values)
        return total.tolist()

    assert summed(fills.fee) == episodes.fees.tolist()
    assert summed(fills.size) == episodes.volume.tolist()
    # Every fill buys a side, and a pair of them pays a dollar: so all that was bought is paid at settlement.
    value = np.round(fills.settled * 100).astype(np.int64) + fills.price
    earned = np.array(summed(fills.size * (value - fills.price) - fills.fee))
    settled = episodes.ending == SETTLED
    assert earned[settled].tolist() == (episodes.equity - episodes.cash)[settled].tolist()


def test_orders_tell_what_their_fills_do(played: Played) -> None:
    orders, fills = played.orders, played.fills
    for column, values in (
        (orders.filled, fills.size),
        (orders.fees, fills.fee),
        (orders.cost, fills.size * fills.price),
    ):
        total = np.zeros(len(orders.size), np.int64)
        np.add.at(total, fills.order, values)
        assert total.tolist() == column.tolist()
    assert (orders.filled <= orders.size).all()
    assert (orders.filled[orders.reason == kernel.FILLED] == orders.size[orders.reason == kernel.FILLED]).all()
    assert ((orders.first_us >= 0) == (orders.filled > 0)).all()
    assert (orders.ended_us >= orders.sent_us).all()
    assert (fills.price <= orders.price[fills.order]).all()
    assert (fills.us >= orders.sent_us[fills.order]).all()
    assert orders.rested[fills.order][fills.maker].all()
    assert (orders.far[orders.side >= 0] > orders.near[orders.side >= 0]).all()
    assert (orders.mid == (orders.near + orders.far) / 2).all()


def test_the_curve_begins_with_the_cash_and_ends_with_the_equity(played: Played) -> None:
    curve, episodes = played.curve, played.episodes
    assert curve.every_us == 10_000_000
    assert curve.equity[:, 0].tolist() == episodes.cash.tolist()
    assert curve.equity[:, -1].tolist() == episodes.equity.tolist()
    assert curve.position[:, -1].tolist() == episodes.position.tolist()
    assert (curve.equity >= 0).all()
    assert (curve.equity.max(axis=1) - curve.equity.min(axis=1) >= 0).all()


def test_every_decision_is_counted_by_its_mid(played: Played) -> None:
    assert played.actions.shape[1] == MID_BINS + 1
    assert played.actions.sum() == played.episodes.steps.sum()
    assert len(played.orders.size) + played.episodes.denied.sum() <= played.actions[1:].sum()


def test_hold_earns_nothing(fair: Held) -> None:
    (held,) = play(contestant("hold"), fair, QUEUE, seeds=[0])
    assert (held.episodes.equity == held.episodes.cash).all()
    assert not len(held.orders.size)


def equal(one: Played, other: Played) -> bool:
    pairs = zip(
        [*one.episodes, *one.orders, *one.fills, one.curve.equity, one.curve.position, one.actions],
        [*other.episodes, *other.orders, *other.fills, other.curve.equity, other.curve.position, other.actions],
        strict=True,
    )
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


@pytest.mark.parametrize("name", ["random", "join"])
def test_neither_company_nor_seats_nor_room_change_anything(
    name: str, fair: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = play(contestant(name), fair, QUEUE, seeds=[5, 6, 7])
    (alone,) = play(contestant(name), fair, QUEUE, seeds=[6])
    assert equal(together[1], alone)
    assert not equal(together[0], together[2]._replace(seed=5))
    monkeypatch.setattr(run, "ACCOUNTS", 5)
    monkeypatch.setattr(run, "_LOG", 1)  # too little for an order and its fill: played again with more
    monkeypatch.setattr(run, "_TOGETHER", 7)
    assert all(
        equal(one, again)
        for one, again in zip(together, play(contestant(name), fair, QUEUE, seeds=[5, 6, 7]), strict=True)
    )


def test_fill_models_are_the_band(fair: Held) -> None:
    filled = {
        name: play(contestant("join"), fair, MODELS[name], seeds=[0])[0].fills.size.sum()
        for name in ("queue-pessimistic", "queue", "queue-optimistic")
    }
    assert filled["queue-pessimistic"] < filled["queue"] < filled["queue-optimistic"]


def test_more_of_everything_is_seen_alike_and_trades_more(fair: Held) -> None:
    small = play(contestant("cross"), fair, QUEUE, seeds=[0])[0]
    large = play(contestant("cross"), fair, QUEUE, seeds=[0], scale=3)[0]
    assert large.scale == 3
    assert large.episodes.cash.tolist() == (3 * small.episodes.cash).tolist()
    assert set((large.orders.size / small.orders.size[0]).tolist()) == {3.0}
    assert large.fills.size.sum() > 2 * small.fills.size.sum()


def test_progress_tells_of_every_decision(fair: Held) -> None:
    told: list[int] = []
    played = play(contestant("hold"), fair, QUEUE, seeds=[0, 1], progress=told.append)
    assert sum(told) == sum(one.episodes.steps.sum() for one in played)
