"""One account as Gymnasium knows environments: its checks pass, draws follow seeds, ends are what they are called."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common import env_checker

from kflow.errors import UsageError
from kflow.rl import stepping
from kflow.rl.batch import Setup
from kflow.rl.env import KalshiMarketEnv
from kflow.rl.episodes import Drawn
from kflow.rl.given import microseconds
from kflow.rl.worlds import make_tapes
from kflow.sim import kernel
from kflow.units import CONTRACT, Money
from tests.cli.test_simulate import MARKET, Market, write_frames

from .playing import SECONDS, WIDE, action, batch, made, random_actions, without_result

NAME = "kflow/KalshiMarket-v0"


def env(**given: Any) -> KalshiMarketEnv:
    return KalshiMarketEnv(**{"dataset": made(), "actions": "wide", "episode": 5, **given})


def played(env: KalshiMarketEnv, seed: int | None, steps: int = 200) -> list[tuple[Any, ...]]:
    """Everything that an environment says, episodes one after the other."""
    told: list[tuple[Any, ...]] = [env.reset(seed=seed)]
    for chosen in random_actions(steps, 1)[:, 0]:
        told.append(env.step(chosen))
        if told[-1][2] or told[-1][3]:
            told.append(env.reset())
    return [(step[0].tobytes(), *step[1:]) for step in told]


@pytest.mark.parametrize("given", [{}, {"actions": "default"}, {"actions": "maker", "world": "maker"}], ids=str)
def test_gymnasium_finds_nothing_to_say(given: dict[str, Any]) -> None:
    check_env(gymnasium.make(NAME, **{"markets": 1, **given}).unwrapped)


def test_stable_baselines_finds_nothing_to_say() -> None:
    env_checker.check_env(env(), warn=True)


def test_it_plays_without_being_given_anything() -> None:
    made = gymnasium.make(NAME)
    observation, _ = made.reset(seed=1)
    assert observation.shape == (stepping.OBSERVATION,)
    assert made.action_space.n == 21
    steps = 1
    while not any(made.step(0)[2:4]):
        steps += 1
    assert 8 <= steps <= 3600


def test_making_one_loads_neither_torch_nor_matplotlib() -> None:
    code = (
        f"import sys, gymnasium, kflow.rl\nfor make in (gymnasium.make, gymnasium.make_vec):\n"
        f"    made = make('{NAME}', markets=1, render_mode='ansi')\n    made.reset(seed=0)\n    made.render()\n"
        "print(*sorted({'torch', 'stable_baselines3', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_a_seed_gives_the_same_bytes_and_another_one_others() -> None:
    again = env()
    told = played(again, 5)
    assert played(env(), 5) == told
    assert played(again, 5) == told  # whatever it did before
    assert played(env(), 6) != told


def test_without_a_seed_each_environment_draws_for_itself() -> None:
    assert played(env(), None, 20) != played(env(), None, 20)


def test_episodes_are_drawn_one_by_one() -> None:
    """The batch would begin the next by itself: `reset` must not skip it."""
    one, draw, drawn = env(), np.random.default_rng([11, 0]), Drawn(made(), 20)
    one.reset(seed=11)
    seen = []
    for _ in range(6):
        seen.append(one.batch.episode(0))
        while not any(one.step(0)[2:4]):
            pass
        one.reset()
    assert seen == [drawn.next(0, draw) for _ in range(6)]


def test_it_is_the_first_account_of_a_batch_of_64() -> None:
    many, one, ends = batch(64), env(), 0
    observations = many.reset(9)
    observation, _ = one.reset(seed=9)
    assert observation.tobytes() == observations[0].tobytes()
    for chosen in random_actions(300, 64):
        observations, rewards, finished = many.step(chosen)
        observation, reward, terminated, truncated, info = one.step(chosen[0])
        assert reward == rewards[0]
        if finished and finished[0].account == 0:
            ends += 1
            assert observation.tobytes() == finished[0].observation.tobytes()
            assert (terminated, info["finished"]["profit_e6"]) == (finished[0].terminated, finished[0].profit)
            observation, _ = one.reset()
        else:
            assert not terminated
            assert not truncated
        assert observation.tobytes() == observations[0].tobytes()
        assert (one.action_masks() == many.masks()[0]).all()
    assert ends > 5


def test_what_is_returned_stays_as_it_is() -> None:
    one = env()
    first, _ = one.reset(seed=1)
    kept = first.copy()
    for _ in range(4):
        one.step(0)
    assert first.tobytes() == kept.tobytes()


# How episodes end.


def to_the_end(one: KalshiMarketEnv, first: str) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    """Take an action, then hold: all steps, and what was known before the last."""
    steps = [one.step(np.int64(action(one.batch.setup, first)))]
    while not (steps[-1][2] or steps[-1][3]):
        steps.append(one.step(np.int64(0)))
    return steps, steps[-2][4]


@pytest.mark.parametrize("kind", ["BUY_YES", "BUY_NO"])
def test_settlement_pays_a_dollar_or_nothing_and_terminates(kind: str) -> None:
    tapes = make_tapes("fair", 6, seed=3, seconds=SECONDS)
    results = Counter(tape.facts["result"] for tape in tapes)
    assert results["yes"] >= 1 <= results["no"]
    for tape in tapes:
        one = KalshiMarketEnv(tapes=[tape], latency="none")
        one.reset(seed=0)
        steps, before = to_the_end(one, f"{kind} 5")
        *_, reward, terminated, truncated, info = steps[-1]
        held = 500 if kind == "BUY_YES" else -500
        pays = 5_000_000 if (tape.facts["result"] == "yes") == (held > 0) else 0
        assert (before["position_e2"], info["position_e2"]) == (held, 0)
        assert (terminated, truncated, info["finished"]["ending"]) == (True, False, "settled")
        assert info["cash_e6"] == info["equity_e6"] == before["cash_e6"] + pays
        assert reward == pytest.approx((info["equity_e6"] - before["equity_e6"]) / 1e6)


def test_without_a_result_the_last_episode_is_truncated_and_worth_what_it_could_be_sold_for() -> None:
    tape = without_result(make_tapes("fair", 1, seed=3, seconds=SECONDS)[0])
    one = KalshiMarketEnv(tapes=[tape], latency="none")
    one.reset(seed=0)
    steps, before = to_the_end(one, "BUY_YES 5")
    *_, terminated, truncated, info = steps[-1]
    assert (terminated, truncated, info["finished"]["ending"]) == (False, True, "cut")
    assert info["position_e2"] == before["position_e2"] == 500
    state, market = one.batch.state, one.batch.dataset.groups[0].market
    bid = int(market.price[state.account[0, kernel.BID]])
    gross = info["cash_e6"] + 500 * bid
    assert gross - 200_000 < info["equity_e6"] < gross  # the fee of selling five


def test_an_episode_that_ends_before_its_market_does_is_truncated() -> None:
    tape = make_tapes("reverting", 1, seed=3, seconds=60)[0]
    one, endings = KalshiMarketEnv(tapes=[tape], episode="5s"), Counter[tuple[str, bool, bool]]()
    one.reset(seed=1)
    for _ in range(40):
        steps, _ = to_the_end(one, "HOLD")
        *_, terminated, truncated, info = steps[-1]
        assert len(steps) == info["finished"]["steps"] <= 20
        endings[info["finished"]["ending"], terminated, truncated] += 1
        one.reset()
    assert set(endings) == {("settled", True, False), ("cut", False, True)}
    assert min(endings.values()) > 5


def test_ruin_terminates() -> None:
    one = env(actions="default", cash=20, max_position=20, max_order=20, sizes=[20], ruin=0.9, episode=30)
    one.reset(seed=2)
    steps = []
    while not (steps and (steps[-1][2] or steps[-1][3])):
        kind = "SELL_YES 20" if len(steps) % 2 else "BUY_YES 20"  # pays the spread and the fee each time
        steps.append(one.step(np.int64(action(one.batch.setup, kind))))
    *_, terminated, truncated, info = steps[-1]
    assert (terminated, truncated, info["finished"]["ending"]) == (True, False, "ruined")
    assert info["equity"] <= 18 < steps[-2][4]["equity"]


def test_nothing_is_done_before_an_episode_begins_and_after_it_ended() -> None:
    one = env()
    with pytest.raises(UsageError, match="no episode is running"):
        one.step(np.int64(0))
    one.reset(seed=0)
    to_the_end(one, "HOLD")
    assert one.render() is None
    with pytest.raises(UsageError, match="no episode is running"):
        one.step(np.int64(0))
    one.reset()
    one.step(np.int64(0))


# What infos tell.


def test_infos_are_the_account_and_sum_up_the_episode() -> None:
    one = env()
    one.reset(seed=4)
    ends, total, denied = [], 0.0, 0
    for chosen in random_actions(400, 1, seed=8)[:, 0]:
        allowed = one.action_masks()
        _, reward, terminated, truncated, info = one.step(chosen)
        assert ("refused" in info) == (not allowed[chosen])
        total, denied = total + reward, denied + ("refused" in info)
        assert (info["equity"], info["cash"]) == (info["equity_e6"] / 1e6, info["cash_e6"] / 1e6)
        assert (info["fees"], info["position"]) == (info["fees_e6"] / 1e6, info["position_e2"] / 100)
        assert ("finished" in info) == (terminated or truncated)
        if terminated or truncated:
            done = info["finished"]
            ends.append(done)
            assert total == pytest.approx(done["profit"], abs=1e-4)
            assert done["reward"] == pytest.approx(done["profit"], abs=1e-9)
            assert (done["profit_e6"], done["fees_e6"]) == (info["equity_e6"] - 1_000_000_000, info["fees_e6"])
            assert done["denied"] == denied
            assert done["market"] in {span.market for span in one.batch.dataset.spans}
            total, denied = 0.0, 0
            one.reset()
    assert len(ends) > 10
    assert sum(done["denied"] for done in ends) > 10 < sum(done["sent"] for done in ends)


def test_a_refusal_says_why() -> None:
    one = env()
    one.reset(seed=4)
    *_, info = one.step(np.int64(action(WIDE, "CANCEL_ALL")))
    assert info["refused"] == "no order is open"
    *_, info = one.step(np.int64(action(WIDE, "SELL_YES_CROSS 5")))
    assert info["refused"] == "reduce-only, and there is nothing to close"


def test_shaping_is_in_the_reward_and_told_apart() -> None:
    one = env(shaping={"turnover": 0.5}, scale=2.0, actions="default")
    one.reset(seed=0)
    steps, _ = to_the_end(one, "BUY_YES 5")
    done = steps[-1][4]["finished"]
    assert done["shaping"]["turnover"] < 0 == done["shaping"]["inventory"]
    assert done["reward"] == pytest.approx(2 * done["profit"])
    assert sum(step[1] for step in steps) == pytest.approx(done["reward"] + done["shaping"]["turnover"], abs=1e-4)


# What it may be given.


def test_it_plays_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFLOW_DATA_DIR", str(tmp_path / "data"))
    path = write_frames(tmp_path / "frames.jsonl", Market().play(20))
    one = KalshiMarketEnv(files=[str(path)], episode=60)
    one.reset(seed=0)
    steps, _ = to_the_end(one, "BUY_YES 5")
    *_, terminated, truncated, info = steps[-1]
    assert (info["finished"]["market"], info["finished"]["source"]) == (MARKET, "frames.jsonl")
    assert (terminated, truncated) == (False, True)


def test_a_setup_says_what_an_account_may() -> None:
    of_words = env(cash=50, max_position=20, max_order=10, orders=2, ruin=0.5, scale=3, sizes=[1, 10]).batch.setup
    assert (of_words.limits.cash, of_words.limits.max_position) == (Money(50_000_000), 20 * CONTRACT)
    assert (of_words.limits.max_order, of_words.limits.orders) == (10 * CONTRACT, 2)
    assert (of_words.ruin, of_words.scale, of_words.actions.sizes) == (0.5, 3, (CONTRACT, 10 * CONTRACT))
    assert env(setup=of_words).batch.setup is of_words
    assert env(actions=WIDE.actions).batch.setup == Setup(actions=WIDE.actions) == env().batch.setup


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"world": "fair"}, "dataset and world both say what is traded on"),
    ({"setup": Setup(), "cash": 5}, "a setup says what cash is already"),
    ({"dataset": None, "world": "flat"}, "no world flat"),
    ({"actions": "loud"}, "no action set loud"),
    ({"episode": "soon"}, "'soon' is no duration"),
    ({"episode": "1ms"}, "an episode of 0 decisions"),
    ({"dataset": None, "every": "1us"}, "a decision every 0.001 ms"),
    ({"dataset": None, "fills": "hope"}, "no fill model hope"),
    ({"dataset": None, "latency": "soon"}, "'soon' is no latency"),
    ({"dataset": None, "tapes": []}, "no stretch lasts"),
    ({"max_order": 50}, "larger than an order may be"),
    ({"shaping": {"luck": 1.0}}, "no shaping term luck"),
    ({"render_mode": "human"}, "no render mode human"),
]


@pytest.mark.parametrize(("given", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_cannot_be_is_refused_with_a_way_out(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        env(**given)
    assert refused.value.hint


def test_reset_knows_no_options() -> None:
    with pytest.raises(UsageError, match="no option span"):
        env().reset(options={"span": 3})


def test_durations() -> None:
    texts = ("250ms", "15m", "1.5h", "2 s", 3, 0.25, "7us")
    assert [microseconds(text) for text in texts] == [
        250_000, 900_000_000, 5_400_000_000, 2_000_000, 3_000_000, 250_000, 7,
    ]  # fmt: skip
