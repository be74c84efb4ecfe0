"""Off-policy estimates on made-up markets: against what the kernel itself pays the new policy, and what is refused."""

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np
import pytest

from kflow.errors import DataError, ModelError, UsageError
from kflow.evaluate.offpolicy import fits, model, verdict
from kflow.evaluate.offpolicy.log import Decisions, Log
from kflow.evaluate.offpolicy.soft import Soft, draw
from kflow.evaluate.offpolicy.verdict import TooFew, judge
from kflow.policy import bundle
from kflow.policy.features import FEATURES
from kflow.rl.worlds import make_tapes
from kflow.sim.fills import Latency
from kflow.testing.models import facts
from kflow.testing.offpolicy import Ground, ground, logged, moved, on_policy, random_policy

LATE = Latency.constant(700, 700, 0)
WORLDS = {"dollar": "default", "reverting": "default", "maker": "maker", "null": "default"}


@cache
def arena(world: str, right: bool = True, markets: int = 60, rows: int = 20) -> Ground:
    tapes = make_tapes(world, markets, seed=7, seconds=60)
    if right:
        return ground(tapes, actions=WORLDS[world], latency=LATE, rows=rows)
    return ground(tapes, actions=WORLDS[world], fills="touch", rows=rows)


@cache
def policies(world: str, by: float = 0.3) -> tuple[Soft, Soft]:
    base = random_policy(arena(world), 1, hold=2.0)
    other = random_policy(arena(world), 2)
    return Soft(network=base, epsilon=0.05), Soft(network=moved(base, other, by))


@cache
def the_log(world: str, rows: int = 20) -> Log:
    return logged(policies(world)[0], arena(world, rows=rows), 3)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("world", WORLDS)
def test_intervals_cover_what_the_kernel_pays(world: str, right: bool) -> None:
    """Also where the simulator knows nothing of delays, and fills at every touch."""
    new = policies(world)[1]
    found = judge(the_log(world), new, arena(world, right).dataset, rollouts=2)
    paid = on_policy(new, arena(world), range(100, 116))
    for name in ("is", "wis", "dr", "wdr"):
        interval = found.intervals[name]
        assert interval.low <= paid <= interval.high, (name, paid, interval)
    if right:
        assert found.agreed == 1
        assert found.intervals["dr"].error < found.intervals["is"].error
    else:
        assert found.agreed is not None
        assert found.agreed < 0.8


def test_with_the_right_simulator_nothing_is_left_to_correct() -> None:
    found = judge(the_log("reverting"), policies("reverting")[1], arena("reverting").dataset, rollouts=3)
    np.testing.assert_allclose(found.estimates["dr"].parts, found.estimates["model"].parts, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_a_wrong_simulator_is_corrected_by_the_log() -> None:
    """24 logs of the same markets: their mean is what the kernel pays, and the simulator alone is off."""
    old, new = policies("maker")
    paid = on_policy(new, arena("maker"), range(200, 240))
    wrong = arena("maker", False).dataset
    runs = [judge(logged(old, arena("maker"), seed), new, wrong, rollouts=1, seed=seed) for seed in range(24)]
    for name in ("dr", "is"):
        values = np.array([run.intervals[name].value for run in runs])
        assert abs(values.mean() - paid) < 4 * values.std(ddof=1) / np.sqrt(len(values))
    alone = np.array([run.intervals["model"].value for run in runs])
    assert abs(alone.mean() - paid) > 5 * alone.std(ddof=1) / np.sqrt(len(alone))


def test_a_policy_that_throws_no_dice_is_played_on_exactly() -> None:
    """From every decision of a log of its own: what is still to come is what came."""
    new = Soft(network=random_policy(arena("null"), 1, hold=0.2), temperature=0)
    log = logged(new, arena("null"), 1)
    chances = new.chances_one_by_one(log.decisions.observation, log.decisions.mask)
    found = model.values(log, new, chances, arena("null").dataset, arena("null").setup, rollouts=2)
    still = log.padded(log.decisions.reward / 1e6, 0.0)[:, ::-1].cumsum(axis=1)[:, ::-1]
    np.testing.assert_allclose(found.v, still, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.q, still, rtol=0, atol=1e-9)
    assert np.abs(still).max() > 1


def test_plays_on_from_another_policys_log_come_to_its_own_returns() -> None:
    """At the first decision both stand at the same place; what 32 plays come to is what 32 logs do."""
    new = policies("reverting")[1]
    log, here = the_log("reverting"), arena("reverting")
    chances = new.chances_one_by_one(log.decisions.observation, log.decisions.mask)
    found = model.values(log, new, chances, here.dataset, here.setup, rollouts=32)
    paid = np.array([logged(new, here, seed).returns for seed in range(500, 532)])
    error = np.sqrt((2 * paid.var(axis=0) / 32).sum()) / len(log.episodes.steps)
    assert abs(found.v[:, 0].mean() - paid.mean()) < 4 * error
    assert error < 0.1 * paid.std()


def test_the_same_policy_gets_its_own_mean_and_every_episode_counts() -> None:
    old, log = policies("dollar")[0], the_log("dollar")
    found = judge(log, old, arena("dollar").dataset, rollouts=1)
    assert found.intervals["is"] == found.old
    assert found.against_old["is"] == (0, 0, 0, 0)
    for name in ("is", "wis"):
        assert found.intervals[name].value == pytest.approx(log.returns.mean(), rel=0, abs=1e-12)
    np.testing.assert_allclose(found.estimates["is"].parts, log.returns, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.weights.episodes, len(log.returns))
    assert found.weights.events == pytest.approx(60)


def test_long_episodes_are_refused() -> None:
    """3,600 decisions, 250 ms each: no two policies are alike enough for that."""
    tapes = make_tapes("reverting", 40, seed=9, seconds=901)
    long = ground(tapes, every_us=250_000, rows=3_600)
    base = random_policy(long, 1, hold=2.0)
    log = logged(Soft(network=base, epsilon=0.05), long, 1)
    assert set(log.episodes.steps.tolist()) == {3_600}
    with pytest.raises(TooFew, match=r"but 30 are needed: the two policies differ too much, for too long") as caught:
        judge(log, Soft(network=moved(base, random_policy(long, 2), 0.3)), long.dataset)
    assert caught.value.exit_code == 6
    assert 1 <= caught.value.episodes < 5
    assert 1 < caught.value.decision < 60  # episodes long enough to be estimated


def test_actions_that_the_old_one_never_took_are_refused() -> None:
    here, (old, new) = arena("dollar"), policies("dollar")
    log = logged(Soft(network=old.network, temperature=0), here, 1)
    with pytest.raises(TooFew, match="takes actions that the old one never took") as caught:
        judge(log, new, here.dataset)
    assert "--epsilon" in caught.value.hint


def test_few_episodes_and_few_events_are_refused() -> None:
    log, (old, _) = the_log("dollar"), policies("dollar")
    with pytest.raises(TooFew, match=r"^of 21 episodes 21\.0 count at decision 1 of 20"):
        judge(part_of(log, 21), old)
    one_event = tuple(msgspec.structs.replace(market, event="E") for market in log.card.markets)
    with pytest.raises(TooFew, match=r"^only 1\.0 events count, where 5 are needed"):
        judge(Log(msgspec.structs.replace(log.card, markets=one_event), log.decisions, log.episodes), old)


def test_chances_that_are_not_those_of_the_draws_are_refused() -> None:
    """Weights then have another mean than 1."""
    log, (old, _) = the_log("reverting"), policies("reverting")
    d = log.decisions
    told = np.where(d.mask, 0.5 * d.chance, 0.0)
    told[:, 0] += 0.5  # it says that it held more often than it did
    told /= told.sum(axis=1, keepdims=True)
    with pytest.raises(TooFew, match="where it has to be 1"):
        judge(Log(log.card, d._replace(chance=told), log.episodes), old, least=0)


def part_of(log: Log, episodes: int) -> Log:
    rows = int(log.ends[episodes - 1])
    return Log(
        log.card,
        Decisions(*(column[:rows] for column in log.decisions)),
        type(log.episodes)(*(column[:episodes] for column in log.episodes)),
    )


def card_of(log: Log) -> bundle.Card:
    """A model that fits a log and saw nothing."""
    said = facts(
        actions=log.card.actions, features=log.card.features, decision_interval_us=log.card.every_us, trained_on=()
    )
    return bundle.Card(
        **{name: getattr(said, name) for name in bundle.Facts.__struct_fields__},
        schema_version=1,
        network=bundle.Shape(observation=len(FEATURES), actions=5, policy=(), value=(), activation="tanh"),
        weights_sha256="0" * 64,
    )


def test_a_model_of_other_actions_features_or_times_is_refused() -> None:
    log = the_log("dollar")
    card = card_of(log)
    fits.check_fits(log, card)
    fits.check_unseen(log, card)
    sizes = msgspec.structs.replace(card.actions, sizes_e2=(1000,))
    for changes, words in (
        ({"actions": sizes}, "acts by default of 10 contracts, the log by default of 5 contracts"),
        ({"features": msgspec.structs.replace(card.features, schema="beef")}, "sees features of schema beef"),
        ({"decision_interval_us": 250_000}, r"decides every 0.25 s, the log every 1 s"),
    ):
        with pytest.raises(ModelError, match=words):
            fits.check_fits(log, msgspec.structs.replace(card, **changes))
    for changes in ({"digest": log.card.markets[0].digest}, {"market": "DOLLAR-7000000"}):
        seen = bundle.Seen(**{"market": "M", "digest": "d", "source": "hour.jsonl", **changes})
        with pytest.raises(UsageError, match=r"was trained on DOLLAR-7000000, which the log is of"):
            fits.check_unseen(log, msgspec.structs.replace(card, trained_on=(seen,)))
    again = bundle.Seen(market="DOLLAR-7000000", digest="d", source="session 4", session=4)
    fits.check_unseen(log, msgspec.structs.replace(card, trained_on=(again,)))


def test_what_went_on_while_it_was_trained_is_left_out() -> None:
    log = the_log("dollar")
    card = card_of(log)
    first, start = log.episodes.first, int(log.episodes.start_us[0])
    kinds = {"market": "OTHER", "digest": "d", "until_us": start + 19_000_000}
    seen = bundle.Seen(from_us=start, source="hour.jsonl", **kinds)
    kept = fits.apart(log, msgspec.structs.replace(card, trained_on=(seen,)), embargo_us=0)
    assert sorted(set(kept.episodes.first.tolist())) == [20, 40]
    assert len(kept.episodes.steps) == (first > 0).sum()
    np.testing.assert_array_equal(kept.returns, log.returns[first > 0])
    with pytest.raises(UsageError, match=r"all of the log is within 15 min of what ppo-1\.5:1 was trained on"):
        fits.apart(log, msgspec.structs.replace(card, trained_on=(seen,)))
    world = bundle.Seen(from_us=start, source="world dollar", **kinds)
    assert len(fits.apart(log, msgspec.structs.replace(card, trained_on=(world,))).returns) == len(log.returns)


def test_other_tapes_and_other_limits_are_refused() -> None:
    log, (_, new) = the_log("dollar"), policies("dollar")
    others = ground(make_tapes("dollar", 60, seed=8, seconds=60), latency=LATE)
    with pytest.raises(DataError, match="the tape of DOLLAR-7000000 is not the one that was traded on"):
        judge(log, new, others.dataset)
    poor = msgspec.structs.replace(log.card, account=msgspec.structs.replace(log.card.account, cash=1_000_000))
    with pytest.raises(DataError, match="first decision is not what this kflow would show or allow"):
        judge(Log(poor, log.decisions, log.episodes), new, arena("dollar").dataset)
    real = msgspec.structs.replace(poor, fills=None, latency=None)
    found = judge(Log(real, log.decisions, log.episodes), new, arena("dollar").dataset, rollouts=1)
    assert found.agreed == 0
    np.testing.assert_allclose(found.intervals["is"], judge(log, new).intervals["is"])


def test_what_is_told_is_plain_json() -> None:
    found = judge(the_log("dollar"), policies("dollar")[1], arena("dollar").dataset, rollouts=1)
    told = verdict.told(the_log("dollar"), found)
    assert msgspec.json.decode(msgspec.json.encode(told)) == told
    assert told["sentence"].startswith("the new policy earns ")
    assert [line["name"] for line in told["estimates"]] == ["is", "wis", "dr", "wdr", "model"]
    assert told["effective"]["episodes"][-1]["decision"] == 20


def test_chances_of_a_policy() -> None:
    here = arena("dollar")
    network = random_policy(here, 4)
    observations = np.random.default_rng(0).normal(size=(50, len(FEATURES))).astype(np.float32)
    masks = np.random.default_rng(1).random((50, 5)) < 0.6
    masks[:, 0] = True
    logits = np.where(masks, network.logits(observations).astype(np.float64), -np.inf)
    plain = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    soft = Soft(network=network, temperature=1.0, epsilon=0.1)
    mixed = 0.9 * plain + 0.1 * masks / masks.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(soft.chances(observations, masks), mixed, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(
        soft.chances_one_by_one(observations, masks)[7:9], soft.chances_one_by_one(observations[7:9], masks[7:9])
    )
    likeliest = Soft(network=network, temperature=0).chances(observations, masks)
    np.testing.assert_array_equal(likeliest.argmax(axis=1), network.act_batch(observations, masks))
    assert set(np.unique(likeliest)) == {0.0, 1.0}


def test_draws_come_as_often_as_their_chances() -> None:
    chances = np.array([[0.0, 0.2, 0.0, 0.5, 0.3, 0.0]]).repeat(100_000, axis=0)
    drawn = draw(chances, np.random.default_rng(5).random(100_000))
    counts = np.bincount(drawn, minlength=6)
    assert counts[[0, 2, 5]].tolist() == [0, 0, 0]
    np.testing.assert_allclose(counts / 100_000, chances[0], atol=0.006)  # four standard errors
    ends = draw(chances[:2], np.array([0.0, np.nextafter(1.0, 0.0)]))
    assert ends.tolist() == [1, 4]


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"epsilon": 1.5}, {"temperature": float("nan")}])
def test_what_is_no_policy(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Soft(network=random_policy(arena("dollar"), 1), **wrong)
