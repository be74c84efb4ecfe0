"""Text and picture show the same moment: the ladder, the account's own orders in it, and what it has."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from kflow.errors import UsageError
from kflow.policy.actions import action_set
from kflow.rl import words
from kflow.rl.batch import Setup
from kflow.rl.env import KalshiMarketEnv
from kflow.rl.episodes import Episode, Listed
from kflow.rl.sight import Last, Own, look
from kflow.rl.vector import KalshiMarketVectorEnv
from kflow.sim import kernel
from kflow.sim.tape import Tape
from kflow.testing.tapes import tape_of

from .playing import WIDE, action, made, random_actions

SECOND = 1_000_000
SMALL = Setup(actions=action_set("wide", [500, 1_000]))


def told(at: int = 60) -> Tape:
    """Bids 45, 44 and 40 cents, offers 48 and 49; takers buy at 2 s, sell at 11 s, buy again at 15 s."""
    changes = [(second * SECOND, 0, 100, 0, 0) for second in range(1, at + 1)]
    trades = [(2 * SECOND, 1, 5200, -1_000, 1_000), (11 * SECOND, 0, 4500, -2_500, 2_500)]
    trades.append((15 * SECOND, 1, 5200, -4_000, 4_000))
    return tape_of(
        [(4500, 12_500), (4400, 50_000), (4000, 100_000)],
        [(5200, 25_000), (5100, 100_000)],
        sorted(changes + trades),
    )


def env(mode: str | None, **given: Any) -> KalshiMarketEnv:
    return KalshiMarketEnv(**{"tapes": [told()], "setup": SMALL, "latency": "none", "render_mode": mode, **given})


def at_17_s(mode: str) -> KalshiMarketEnv:
    """Having sent three orders that rest, and bought ten contracts at the touch."""
    one = env(mode)
    one.batch.episodes = Listed([Episode(0, 0, 236)] * 2)
    one.reset(seed=0)
    early = [action(SMALL, name) for name in ("BUY_YES_CROSS 10", "BUY_YES_PASSIVE 5", "BUY_NO_PASSIVE 5")]
    # The last is sent after takers sold: they would have met it first.
    for chosen in (*early, *[0] * 45, action(SMALL, "BUY_YES_INSIDE 10"), *[0] * 15):
        one.step(np.int64(chosen))
    return one


LADDER = """\
MADE  1970-01-01 00:00:17.000 UTC  decision 64 of 236
position 10 YES  equity $999.35 (-$0.65)  cash $995.03  fees $0.17
takers in 10 s: bought 40, sold 25  last trade: bought 40 at 48¢, 2.0 s ago

            own orders       bids                 YES                  offers     own orders





                                                  49¢    ████████████  1,000
                                                  48¢    ██            200        5, 190 ahead
                                        — mid 46.5¢, spread 3¢ —
           10, 0 ahead                            46¢
          5, 100 ahead        100             █   45¢
                              500        ██████   44¢
                            1,000  ████████████   40¢



"""


def test_the_ladder_as_text() -> None:
    assert at_17_s("ansi").render() == LADDER


def test_what_is_seen_is_what_the_kernel_holds() -> None:
    one = at_17_s("ansi")
    sight = look(one.batch, 0)
    assert (sight.at_us, sight.seconds, sight.decision, sight.decisions) == (17 * SECOND, 59.0, 64, 236)
    assert (sight.bought, sight.sold, sight.last) == (40.0, 25.0, Last(bought=True, size=40.0, price=0.48, ago=2.0))
    assert [(level.price, level.size) for level in sight.bids] == [(0.46, 0), (0.45, 100), (0.44, 500), (0.4, 1000)]
    # 250 stood there when it came, less 10 that it had taken itself before; then 50 were traded.
    assert sight.asks[0].own == (Own(left=5.0, ahead=190.0),)
    assert sight.touch == (0.45, 0.48)
    info = one.step(np.int64(0))[4]
    assert (sight.cash, sight.equity, sight.position) == (info["cash"], info["equity"], info["position"])


def test_own_orders_are_shown_however_far_away_they_are() -> None:
    one = env("ansi", dataset=made("maker", 1), tapes=None, latency="home")
    one.reset(seed=0)
    batch = one.batch
    market, rules = batch.dataset.groups[0].market, batch.dataset.groups[0].rules
    kernel.place(batch.state, market, rules, 0, 0, 1, 1_200, 0, 0)  # at 2 cents
    sight = look(batch, 0)
    assert len(sight.bids) == len(sight.asks) == 7
    assert (sight.bids[-1].price, sight.bids[-1].own) == (0.02, (Own(left=12.0, ahead=-1.0),))
    assert "12, on its way" in one.render()
    assert [level.price for level in sight.bids] == sorted((level.price for level in sight.bids), reverse=True)
    for _ in range(8):
        one.step(np.int64(0))
    assert [order.ahead for order in look(batch, 0).bids[-1].own] == [0.0]


def test_a_moment_can_be_drawn_after_the_end_and_not_before_the_beginning() -> None:
    one = env("ansi")
    with pytest.raises(UsageError, match="no episode to draw"):
        one.render()
    one.reset(seed=0)
    while not any(one.step(np.int64(0))[2:4]):
        pass
    last = one.batch.episode(0)
    assert last is not None
    assert f"decision {last.last - last.first} of {last.last - last.first}" in one.render()


def test_lines_are_as_many_whatever_happens() -> None:
    one = KalshiMarketEnv(dataset=made(), setup=WIDE, render_mode="ansi", episode=5)
    one.reset(seed=1)
    counts = set()
    for chosen in random_actions(100, 1)[:, 0]:
        counts.add(one.render().count("\n"))
        if any(one.step(chosen)[2:4]):
            one.reset()
    assert counts == {LADDER.count("\n")}


def test_words() -> None:
    assert [words.cents(price) for price in (0.47, 0.475, 0.01, 0.999, 1.0)] == ["47¢", "47.5¢", "1¢", "99.9¢", "100¢"]
    assert [words.money(dollars) for dollars in (1.2, -0.05, 0.004, -0.004, -1234.5)] == [
        "+$1.20", "-$0.05", "$0.00", "$0.00", "-$1,234.50",
    ]  # fmt: skip
    assert [words.held(position) for position in (20.0, -0.5, 0.0)] == ["20 YES", "0.5 NO", "none"]
    assert words.own([Own(10, 1_250), Own(5, -1)]) == "15 in 2, 1,250 ahead"
    empty = look(at_17_s("ansi").batch, 0)._replace(bids=(), asks=(), last=None)
    assert (words.spread(empty), words.last(empty)) == ("nobody quotes", "none in a minute")


# Pictures.


def test_a_picture_is_the_same_for_the_same_moment_and_another_for_another() -> None:
    one, other = at_17_s("rgb_array"), at_17_s("rgb_array")
    picture = one.render()
    assert (picture.shape, picture.dtype) == ((540, 960, 3), np.uint8)
    assert (picture == one.render()).all()
    assert (picture == other.render()).all()
    one.step(np.int64(action(SMALL, "SELL_YES_CROSS 10")))
    assert (picture != one.render()).any()
    one.reset(seed=0)
    fresh = one.render()
    other.reset(seed=0)
    assert (fresh == other.render()).all()  # nothing of the episode before is left


def test_bars_are_as_long_as_levels_are_large() -> None:
    """Bids are blue, offers orange; of each the largest level is as long as the other's: both hold 1,000."""
    picture = at_17_s("rgb_array").render()[:, :560].astype(int)
    pale = {"blue": (166, 206, 231), "orange": (244, 205, 178)}

    def longest(colour: str) -> int:
        near = (np.abs(picture - pale[colour]).sum(axis=2) < 30).sum(axis=1)
        return int(near.max())

    assert longest("blue") > 60
    assert abs(longest("blue") - longest("orange")) <= 12  # a number stands on each


def test_each_account_of_a_vector_is_drawn() -> None:
    envs = KalshiMarketVectorEnv(3, dataset=made(), render_mode="ansi")
    envs.reset(seed=0)
    texts = envs.render()
    assert len(texts) == 3
    assert len(set(texts)) > 1
    assert KalshiMarketVectorEnv(2, dataset=made()).render() is None


def test_without_matplotlib_it_says_what_to_install() -> None:
    code = (
        "import sys\nsys.modules['matplotlib'] = None\n"
        "from kflow.errors import ConfigError\nfrom kflow.rl.env import KalshiMarketEnv\n"
        "try:\n    KalshiMarketEnv(markets=1, render_mode='rgb_array')\n"
        "except ConfigError as error:\n    print(error, '|', error.hint)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        "pictures need matplotlib, which is not installed | pip install 'kflow[plot]', or render_mode='ansi'"
    )


def test_pictures_leave_the_users_own_plots_alone() -> None:
    code = (
        "import sys\nfrom kflow.rl.env import KalshiMarketEnv\n"
        "one = KalshiMarketEnv(markets=1, render_mode='rgb_array')\none.reset(seed=0)\none.render()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
