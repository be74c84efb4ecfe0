"""From what was played to the entries of a document: the event is what counts, and JSON can hold it."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from kflow.errors import DataError
from kflow.evaluate import summary
from kflow.evaluate.contestants import baselines
from kflow.evaluate.held import hold_out
from kflow.evaluate.inference import estimate
from kflow.evaluate.outcome import Curve, Market, Played
from kflow.evaluate.run import play
from kflow.evaluate.series import Books, events_of
from kflow.replay.tapes import fees_of
from kflow.rl.batch import LIMITS
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import BAND, MODELS, NO_LATENCY, Assumptions

from .building import CENTS, CONTRACTS, DOLLARS, S, earned, episodes, fills, market, markets, orders, played

# Two strikes of one event, and one of another that began before it.
MARKETS = [market("A-1", "A", 10_000), market("A-2", "A", 0), market("B-1", "B")]


def strikes(profits: list[float], **given: Any) -> Played:
    """Two episodes of A-1, one of A-2, one of B-1."""
    gained = (np.array(profits) * DOLLARS).astype(np.int64)
    told = episodes(
        4, market=[0, 0, 1, 2], start_us=np.array([60, 120, 60, 0]) * S, end_us=np.array([120, 180, 90, 60]) * S,
        equity=1_000 * DOLLARS + gained, fees=10_000, volume=300, cash=1_000 * DOLLARS,
    )  # fmt: skip
    return played(told, **given)


# The unit.


def test_episodes_and_markets_of_an_event_are_added_up_and_seeds_averaged() -> None:
    events = events_of([strikes([1, 2, 3, 4]), strikes([1, 0, 3, 8], seed=1)], MARKETS)
    assert events.names == ("B", "A")
    assert events.profits.tolist() == [[4, 6], [8, 4]]
    assert events.profit.tolist() == [6, 5]
    assert (events.markets.tolist(), events.episodes.tolist()) == ([1, 2], [1, 3])
    assert events.settled.tolist() == [False, True]
    assert (events.start_us / S).tolist() == [0, 60]
    assert (events.end_us / S).tolist() == [60, 180]
    assert events.fees[0].tolist() == pytest.approx([0.01, 0.03])
    assert events.contracts[0].tolist() == [3, 9]


def test_seeds_that_played_something_else_are_refused() -> None:
    with pytest.raises(DataError, match="one: seeds 0 and 1 played other episodes"):
        events_of([earned([1, 2]), earned([1, 2, 3], seed=1)], markets(3))
    with pytest.raises(DataError, match="no episode was played"):
        events_of([], [])
    with pytest.raises(DataError, match="no episode was played"):
        events_of([earned([])], [])


def test_an_event_stakes_the_worst_episode_of_each_market() -> None:
    """Ten contracts at 40 cents in both episodes of A-1 and in A-2, all decided: $4 in each market."""
    made = fills(3, episode=[0, 1, 2], order=0)
    gained = np.array([6, -4, -4, 0])
    events = events_of([strikes(gained.tolist(), filled=made, sent=orders(1))], MARKETS)
    assert dict(zip(events.names, events.stakes.tolist(), strict=True)) == pytest.approx({"A": 8.0, "B": 0.0})
    assert events.prizes.tolist() == pytest.approx([0.0, 12.0])


def test_ten_seeds_are_no_surer_than_one() -> None:
    rng = np.random.default_rng(1)
    profits = rng.normal(0.5, 1, 12).round(2).tolist()
    one = summarised([earned(profits)])
    ten = summarised([earned(profits, seed=seed) for seed in range(10)])
    assert ten["verdict"] == pytest.approx(one["verdict"])
    assert one["profit"].pop("seed_spread") is None
    assert ten["profit"].pop("seed_spread") == pytest.approx(0)
    assert ten["profit"] == pytest.approx(one["profit"])


def summarised(made: list[Played], variants: int = 1, told: list[Market] | None = None) -> dict[str, Any]:
    count = int(made[0].episodes.market.max()) + 1
    return summary.summarise(made, told or markets(count), variants=variants, action_names=["HOLD", "BUY"])


# A result.


def test_profit_by_event_and_by_episode() -> None:
    found = summarised([strikes([1, 2, 3, 4]), strikes([1, 0, 3, 8], seed=1)], told=MARKETS)
    profit = found["profit"]
    assert {name: profit[name] for name in ("total", "per_event", "median_event", "best_event", "worst_event")} == {
        "total": 11, "per_event": 5.5, "median_event": 5.5, "best_event": 6, "worst_event": 5,
    }  # fmt: skip
    assert (profit["low"], profit["high"], profit["per_episode_error"]) == (None, None, None)
    assert profit["per_episode"] == 22 / 8
    assert profit["return"] == pytest.approx(22 / 8 / 1_000)
    assert profit["seed_spread"] == pytest.approx(np.std([5, 6], ddof=1))
    assert [event["event"] for event in found["events"]] == ["B", "A"]
    assert found["events"][1] == {
        "event": "A", "start_us": 60 * S, "end_us": 180 * S, "markets": 2, "episodes": 3, "settled": True,
        "profit": 5, "low": 4, "high": 6, "fees": pytest.approx(0.03), "contracts": 9,
    }  # fmt: skip


def test_trading_is_of_one_pass() -> None:
    """Two of three orders filled, twenty contracts at 40 cents: $8 of three episodes' $3,000, 1 cent a contract."""
    sent = orders(3, episode=[0, 1, 2], filled=np.array([10, 0, 10]) * CONTRACTS, ahead=[5 * CONTRACTS, -1, -1])
    made = fills(2, order=[0, 2], episode=[0, 2], maker=[True, False], fee=10 * CENTS * CONTRACTS)
    told = episodes(
        3, fees=np.array([10, 0, 10]) * CENTS * CONTRACTS, volume=np.array([10, 0, 10]) * CONTRACTS, denied=6
    )
    one = [played(told, sent=sent, filled=made, seed=seed) for seed in range(2)]
    found = summarised(one)["trading"]
    assert (found["orders"], found["fills"], found["contracts"]) == (3, 2, pytest.approx(20 / 3))
    assert (found["turnover"], found["fees"]) == (pytest.approx(8 / 3_000), pytest.approx(0.2))
    assert found["fees_per_contract_cents"] == pytest.approx(1)
    assert (found["fill_rate"], found["fill_rate_resting"], found["maker_share"]) == (pytest.approx(2 / 3), 1, 0.5)
    assert found["denied_share"] == 6 / 240


def test_who_never_traded_has_a_result_all_the_same() -> None:
    found = summarised([earned([0.0] * 12)], variants=9)
    json.dumps(found, allow_nan=False)
    assert found["verdict"] == {
        "p": 1.0, "p_deflated": 1.0, "variants": 9, "distinguishable": False, "events": 12,
        "words": "not distinguishable from hold: it gained and lost nothing",
        "why": found["verdict"]["why"],
    }  # fmt: skip
    assert found["risk"]["max_drawdown"] == 0
    assert found["belief"] is None
    assert found["trading"]["shortfall_cents"] is None
    assert found["trading"]["fill_rate"] is None
    assert (found["fills_by_distance"], found["fills_by_queue"]) == ([], [])


def test_a_fall_has_its_dates() -> None:
    risk = summarised([earned([1, -2, -1, 4])])["risk"]
    assert risk["max_drawdown"] == pytest.approx(3)
    assert (risk["drawdown_from"], risk["drawdown_until"], risk["drawdown_recovered"]) == (
        "1970-01-01T00:01:00Z", "1970-01-01T00:03:00Z", "1970-01-01T00:04:00Z",
    )  # fmt: skip
    lasting = summarised([earned([-1, 0.5])])["risk"]
    assert (lasting["drawdown_from"], lasting["drawdown_recovered"]) == ("1970-01-01T00:00:00Z", None)


def test_a_sharpe_ratio_is_refused_under_thirty_settlements() -> None:
    profits = np.random.default_rng(2).normal(0.2, 1, 30)
    few, enough = (summarised([earned(profits[:count].tolist())], variants=4)["risk"] for count in (29, 30))
    assert (few["sharpe"], few["deflated_sharpe"]) == (None, None)
    assert few["sharpe_why"] == "29 independent settlements; 30 are needed"
    assert enough["sharpe"] == pytest.approx(profits.mean() / profits.std(ddof=1), rel=1e-4)
    assert 0 < enough["deflated_sharpe"] < 1
    assert enough["sharpe_why"] is None


# Curves.


def test_equity_ends_at_the_total_and_passes_the_points_within_episodes() -> None:
    curve = Curve(
        20 * S, 1_000 * DOLLARS + np.array([[0, 1, -1, 2], [0, 0, 3, 1]]) * DOLLARS, np.zeros((2, 4), np.int64)
    )
    told = episodes(2, equity=1_000 * DOLLARS + np.array([2, 1]) * DOLLARS)
    found = summarised([played(told, curve=curve)])
    assert (np.array(found["equity"]["us"]) / S).tolist() == [0, 20, 40, 60, 80, 100, 120]
    assert found["equity"]["mean"] == [0, 1, -1, 2, 2, 5, 3]
    assert found["drawdown"]["dollars"] == [0, 0, -2, 0, 0, 0, -2]
    assert found["risk"]["max_drawdown"] == 2


def test_equity_ends_with_the_account_where_the_curve_was_not_looked_at_to_the_end() -> None:
    curve = Curve(25 * S, np.full((1, 3), 1_000 * DOLLARS), np.zeros((1, 3), np.int64))
    equity = summarised([played(episodes(1, equity=1_004 * DOLLARS), curve=curve)])["equity"]
    assert (equity["us"][-1], equity["mean"][-1]) == (60 * S, 4)


def test_markets_at_the_same_time_add_up() -> None:
    told = episodes(2, start_us=0, end_us=60 * S, equity=1_000 * DOLLARS + np.array([2, -1]) * DOLLARS)
    assert summarised([played(told)])["equity"]["mean"][-1] == 1


@pytest.mark.parametrize("count", [1, 3, 399, 401, 1_000])
def test_a_curve_has_400_points_at_most_and_its_band_holds_it(count: int) -> None:
    profits = np.random.default_rng(3).normal(0, 1, count).round(3)
    equity = summarised([earned(profits.tolist())])["equity"]
    assert len(equity["us"]) <= 400
    assert equity["us"] == sorted(equity["us"])
    assert equity["us"][-1] == count * 60 * S
    assert equity["mean"][-1] == pytest.approx(profits.sum())
    assert all(low <= high for low, high in zip(equity["low"], equity["high"], strict=True))
    if count == 1_000:
        reach = 1.96 * profits.std() * np.sqrt(count)
        assert equity["high"][-1] - equity["low"][-1] == pytest.approx(2 * reach, rel=0.1)


# Beside others.


def test_differences_are_of_the_same_events() -> None:
    rng = np.random.default_rng(4)
    luck = rng.normal(0, 5, 20)
    better = earned((luck + 1 + rng.normal(0, 0.3, 20)).tolist(), contestant="better")
    worse = earned(luck.tolist(), contestant="worse")
    found = summary.compare([better], [worse], markets(20))
    assert (found["contestant"], found["against"], found["fill_model"]) == ("better", "worse", "queue")
    assert found["low"] < found["difference"] < found["high"]
    assert found["difference"] == pytest.approx(1, abs=0.3)
    assert found["words"].startswith("better than worse (p < 0.0001, 20 independent events")
    assert summary.compare([worse], [better], markets(20))["words"].startswith("worse than better")
    same = summary.compare([better], [better], markets(20))
    assert (same["p"], same["words"]) == (1.0, "not distinguishable from better (p = 1.00, 20 independent events)")
    few = summary.compare([earned([1, 2])], [earned([0, 0])], markets(2))
    assert few["words"] == "not distinguishable from one: 2 independent events, 5 are needed"
    kept = events_of([better], markets(20)), events_of([worse], markets(20))
    assert summary.compare(*kept, []) == found
    with pytest.raises(DataError, match="did not play the same events"):
        summary.compare([better], [earned([1.0])], markets(20))


def test_a_comparison_knows_what_was_at_stake() -> None:
    """Twelve favourites at 95 cents that won: no better than hold, which staked nothing; nor is hold any worse."""
    gained = 50 * CENTS * CONTRACTS
    made = fills(12, price=95 * CENTS, episode=np.arange(12), settled=5.0)
    told = episodes(12, equity=1_000 * DOLLARS + gained)
    wins = played(told, filled=made, sent=orders(12, episode=np.arange(12)))
    hold = earned([0.0] * 12, contestant="hold")
    assert summary.compare([wins], [hold], markets(12, 10_000))["p"] == 1.0
    assert summary.compare([hold], [wins], markets(12, 10_000))["p"] == 1.0
    assert summary.compare([earned([0.5] * 12)], [hold], markets(12))["p"] == 2 * 0.5**12


@pytest.mark.parametrize(
    ("per_event", "luck", "words"),
    [
        ((1.0, 4.0, 5.0), 0.75, "75 % of the profit hangs on the queue: with the worst one that much is gone"),
        ((-1.0, 4.0, 5.0), 1.25, "all of the profit depends on the queue: with the worst one it is a loss"),
        ((5.0, 4.0, 4.0), -0.25, "none of the profit depends on the queue: it is larger with the worst one"),
        ((-2.0, -1.0, 0.0), None, "no profit to depend on the queue"),
        ((0.0, 0.0, 0.0), None, "nothing was gained or lost"),
    ],
)
def test_the_band_tells_what_is_queue_luck(per_event: tuple[float, ...], luck: float | None, words: str) -> None:
    by_model = {name: [earned([mean, mean], fill_model=name)] for name, mean in zip(BAND, per_event, strict=True)}
    found = summary.band(by_model, markets(2))
    assert (found["pessimistic"], found["calibrated"], found["optimistic"]) == per_event
    assert (found["queue_luck"], found["queue_luck_words"]) == (luck, words)


def test_a_band_without_its_ends_says_so() -> None:
    found = summary.band({"queue": [earned([1.0])]}, markets(1))
    assert (found["pessimistic"], found["queue_luck"]) == (None, None)
    assert found["queue_luck_words"] == "not known: a fill model is missing"


def test_capacity_by_scale() -> None:
    """Ten contracts an episode earn $1, thirty $1.50: 10 and 5 cents a contract."""

    def at(scale: int, profit: float, seed: int) -> Played:
        told = episodes(6, equity=1_000 * DOLLARS + int(profit * DOLLARS), volume=10 * scale * CONTRACTS)
        return played(told, scale=scale, seed=seed)

    found = summary.capacity([at(3, 1.5, 0), at(1, 1.0, 0), at(1, 1.0, 1)], markets(6))
    assert found == [
        {"contestant": "one", "scale": 1, "contracts_per_episode": 10, "profit_per_event": 1.0, "error": 0.0,
         "profit_per_contract_cents": 10},
        {"contestant": "one", "scale": 3, "contracts_per_episode": 30, "profit_per_event": 1.5, "error": 0.0,
         "profit_per_contract_cents": 5},
    ]  # fmt: skip


# In words.


def test_the_sentence_is_the_verdict_of_who_is_judged() -> None:
    rng = np.random.default_rng(5)
    gain = summarised([earned(rng.normal(2, 1, 40).tolist(), contestant="mine")])
    luck = summarised([earned(rng.normal(0, 1, 40).tolist(), contestant="random")])
    hold = summarised([earned([0.0] * 40, contestant="hold")])
    bands = [{"contestant": "mine", "pessimistic": -0.5}, {"contestant": "random", "pessimistic": None}]
    profit = gain["profit"]
    low, mean, high = (f"${profit[name]:.2f}" for name in ("low", "per_event", "high"))
    assert summary.sentence([hold, luck, gain], bands, ["mine"]) == (
        f"mine gains more than hold over 40 independent events (p < 0.0001): {mean} ({low} to {high}) an event, "
        "-$0.50 with the worst queue."
    )
    assert summary.sentence([hold, luck], bands, ["random"]).startswith(
        "random is not distinguishable from hold over 40 independent events (p = "
    )
    assert summary.sentence([hold], [], ["hold"]).startswith("hold is not distinguishable from hold: it gained")


def test_without_anybody_judged_the_best_that_trades_is_told() -> None:
    traded = played(episodes(2, equity=999 * DOLLARS), contestant="random", sent=orders(1))
    found = [summarised([traded]), summarised([earned([0.0, 0.0], contestant="hold")])]
    assert summary.sentence(found, [], []) == (
        "Nobody is judged; of 1 that trade the best is random. random is not distinguishable from hold: "
        "2 independent events: -$1.00 an event."
    )
    assert summary.sentence(found[1:], [], []) == "Nobody traded."


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "$0.00"), (-0.25, "-$0.25"), (1234.5, "$1,234.50"), (0.00123, "$0.0012")]
)
def test_dollars(amount: float, text: str) -> None:
    assert summary.dollars(amount) == text


def test_a_large_entry_is_made_soon() -> None:
    """A thousand events, five seeds, 100,000 orders: 0.15 s; by the processor's clock, in the best of three."""
    rng = np.random.default_rng(6)
    made = []
    for seed in range(5):
        told = episodes(1_000, equity=1_000 * DOLLARS + rng.integers(-9, 10, 1_000) * DOLLARS)
        episode = np.sort(rng.integers(0, 1_000, 20_000))
        sent = orders(20_000, episode=episode, ahead=rng.integers(-1, 9_000, 20_000), filled=500, cost=500 * 4_000)
        filled = fills(20_000, episode=episode, us=episode * 60 * S + 5, size=500)
        curve = Curve(S, np.full((1_000, 61), 1_000 * DOLLARS), np.ones((1_000, 61), np.int64))
        made.append(played(told, seed=seed, sent=sent, filled=filled, curve=curve))
    summarised(made)
    took = []
    for _ in range(3):
        begun = time.process_time()
        summarised(made)
        took.append(time.process_time() - begun)
    assert min(took) < 1.0


def test_what_was_really_played_fits_the_document() -> None:
    """The maker in twelve fair markets: its books agree with the accounts, and JSON holds its entry."""
    tapes = make_tapes("fair", 12, seed=3, seconds=60)
    held = hold_out(tapes, lambda tape: Assumptions(latency=NO_LATENCY, fees=fees_of(tape)[0]), every_us=500_000)
    held = held.of_events({one.event for one in held.markets}, 120)
    for contestant in baselines(("skewed", "favourite"), 10, LIMITS, 0.1):
        made = play(contestant, held, MODELS["queue"], seeds=[0, 1])
        one = made[0]
        gained, position = Books(one.fills, one.episodes).end()
        paid = np.array([told.value for told in held.markets])[one.episodes.market]
        worth = np.where(position > 0, position * paid, -position * (10_000 - paid))
        assert (gained + worth).tolist() == (one.episodes.equity - one.episodes.cash).tolist()
        names = [action.name for action in contestant.setup.actions.actions]
        found = summary.summarise(made, held.markets, variants=1, action_names=names)
        json.dumps(found, allow_nan=False)
        assert found["profit"]["per_event"] == estimate(events_of(made, held.markets).profit).mean
        assert found["belief"]["fills"] == sum(len(each.fills.order) for each in made)
        assert found["trading"]["markouts"][-1]["fills"] == found["belief"]["fills"]
