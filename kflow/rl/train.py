"""Train a policy, watched from beside: what it earns on markets it never sees, checkpoints, an early end.

A run can be stopped at any moment: it goes on from its last checkpoint, and comes to the same bytes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from stable_baselines3.common.callbacks import BaseCallback

from kflow.errors import UsageError
from kflow.policy.network import Network
from kflow.rl import checkpoint, folds, heldout, runs
from kflow.rl.batch import Batch, Finished
from kflow.rl.curriculum import Curriculum
from kflow.rl.dataset import Dataset, build
from kflow.rl.episodes import Episode
from kflow.rl.export import network_of
from kflow.rl.heldout import Score
from kflow.rl.learner import logger_of, new_model
from kflow.rl.plan import Plan
from kflow.rl.records import Recorder
from kflow.rl.vec import KalshiVecEnv
from kflow.sim.tape import Tape
from kflow.store.postgres import Connection

# Lines of progress a run writes at most: A2C updates thousands of times.
_LOG_EVERY: Final = 8_192


@dataclass(frozen=True, slots=True)
class Field:
    """What is trained on, and what is kept apart. Of one event all is on one side."""

    dataset: Dataset
    spans: tuple[int, ...]
    held: Dataset
    held_spans: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to. `best` was chosen by held-out profit, so its score there flatters it."""

    network: Network
    steps: int
    seconds: float
    stopped: str  # why before its end; else empty
    score: Score | None  # of the last weights
    best_step: int | None
    best: Score | None
    episodes: int
    stage: int
    stages: int


def divide(plan: Plan, tapes: Sequence[Tape], held: Sequence[Tape] | None = None) -> Field:
    """Pack tapes, and keep some apart: `held` where they are given, else the last events in time.

    Raises UsageError where tapes are on both sides, and where there is nothing to train on.
    """
    dataset = build(tapes, plan.assume, every_us=plan.every_us)
    everything = range(len(dataset.spans))
    if held is not None:
        apart = build(held, plan.assume, every_us=plan.every_us)
        seen = {span.event for span in dataset.spans}
        both = sorted({span.event for span in apart.spans} & seen)
        if both:
            raise UsageError(
                f"{both[0]} is in what is trained on and in what is held out", hint="keep events on one side"
            )
        return Field(dataset, tuple(everything), apart, tuple(range(len(apart.spans))))
    last = folds.last_events(folds.times_of(dataset), plan.held_share)
    train = tuple(span for span in everything if dataset.spans[span].event not in last)
    return Field(dataset, train, dataset, tuple(span for span in everything if span not in train))


@dataclass(slots=True)
class Watch:
    """What is told while a run goes on. `advance`: decisions since the last call; `say`: a sentence."""

    advance: Callable[[int], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None


class Run:
    """One training run in its folder."""

    def __init__(
        self,
        plan: Plan,
        data: Field,
        folder: Path,
        watch: Watch | None = None,
        conn: Connection | None = None,
        model_id: int | None = None,
    ) -> None:
        """`conn`, `model_id`: where episodes are stored, and of which model. Raises UsageError for what cannot be."""
        plan.check()
        self._plan, self._field, self._folder, self._watch = plan, data, folder, watch or Watch()
        self._curriculum = Curriculum(data.dataset, plan.rows, data.spans, plan.curriculum, stages=plan.stages)
        self._setup = plan.setup()
        self._batch = Batch(data.dataset, self._setup, self._curriculum, plan.envs, seed=plan.seed)
        self._ended: list[Finished] = []
        self._recorder = Recorder(self._batch, conn, model_id)
        self._episodes: list[Episode] = []
        if data.held_spans:
            self._episodes = heldout.pick(data.held, data.held_spans, plan.rows, plan.evaluate_episodes)
        self._model = new_model(plan, KalshiVecEnv(self._batch, on_finished=self._ended.append))
        self._score: Score | None = None
        self._best: tuple[int, Score] | None = None
        self._worse = 0  # evaluations since the best
        self._stopped = ""
        self._saved = self._judged = 0  # steps at which it last was

    def learn(self) -> Outcome:
        """From the newest checkpoint of the folder, or from the beginning, to the end."""
        began = time.monotonic()
        model, plan = self._model, self._plan
        model.set_logger(logger_of(self._folder))
        try:
            begun = self._go_on()
            left = plan.steps - model.num_timesteps
            if left > 0 and not self._stopped:
                every = max(_LOG_EVERY // (plan.envs * int(plan.hyper["n_steps"])), 1)
                model.learn(left, callback=_Overseer(self), log_interval=every, reset_num_timesteps=not begun)
            if not self._stopped:  # else these weights were scored already
                self._judge()
            self._save()
        finally:
            model.logger.close()
        runs.write_csv(self._folder)
        return Outcome(
            network=network_of(model),
            steps=model.num_timesteps,
            seconds=time.monotonic() - began,
            stopped=self._stopped,
            score=self._score,
            best_step=self._best[0] if self._best else None,
            best=self._best[1] if self._best else None,
            episodes=self._recorder.episodes,
            stage=self._curriculum.stage,
            stages=self._curriculum.stages,
        )

    def _go_on(self) -> bool:
        """Stand where the newest checkpoint stood. False where there is none."""
        place = checkpoint.newest(self._folder)
        if place is None:
            runs.forget_after(self._folder, -1)
            return False
        state = checkpoint.restore(place, self._model, self._batch)
        self._curriculum.restore(state["curriculum"])
        self._recorder.go_on_from(state["recorded"], state["actions"])
        self._saved, self._judged, self._worse = state["step"], state["judged"], state["worse"]
        self._best = (state["best"][0], Score(**state["best"][1])) if state["best"] else None
        self._stopped = state["stopped"]
        runs.forget_after(self._folder, state["step"])
        self._watch.say(f"going on from step {state['step']:,}")
        self._watch.advance(state["step"])
        return True

    def between(self) -> None:
        """Between two rollouts: judge and keep, where it is time for it."""
        step = self._model.num_timesteps
        if step - self._judged >= self._plan.evaluate_every:
            self._judge()
        if step - self._saved >= self._plan.save_every:
            self._save()
        self._recorder.look()

    def stepped(self, actions: Any, rewards: Any) -> bool:
        """After a decision; False ends training."""
        mine = next((done for done in self._ended if done.account == 0), None)
        self._recorder.decided(int(actions[0]), float(rewards[0]), mine)
        for done in self._ended:
            self._recorder.finished(done)
            promotion = self._curriculum.heard(done)
            if promotion is not None:
                self._tell("promotion", **promotion._asdict())
                self._watch.say(
                    f"stage {promotion.stage} of {promotion.stages} after {promotion.episode:,} episodes: "
                    f"${promotion.mean_profit / 1e6:,.2f} each, {promotion.reason}"
                )
        self._ended.clear()
        self._recorder.look()
        self._watch.advance(self._plan.envs)
        return not self._stopped

    def _judge(self) -> None:
        """Score the weights on what is held out; keep the best; stop where nothing gets better."""
        step = self._model.num_timesteps
        logger = self._model.logger
        logger.record("curriculum/stage", self._curriculum.stage)
        if not self._episodes or (self._judged == step and self._score is not None):
            self._judged = step
            return
        self._judged = step
        network = network_of(self._model)
        done = heldout.play(
            network,
            self._field.held,
            self._setup,
            self._episodes,
            masked=self._plan.algorithm == "maskable-ppo",
        )
        self._score = heldout.score(done, self._field.held)
        for name, value in self._score.told().items():
            logger.record(f"held_out/{name}", value)
        logger.dump(step)
        self._tell("held_out", **asdict(self._score))
        if self._best is None or self._score.profit > self._best[1].profit:
            self._best, self._worse = (step, self._score), 0
            checkpoint.save_best(self._folder, network)
        else:
            self._worse += 1
        if self._plan.patience and self._worse >= self._plan.patience:
            self._stopped = f"no better on what is held out in {self._worse} evaluations"
            self._watch.say(f"stopped at step {step:,}: {self._stopped}")

    def _save(self) -> None:
        self._saved = self._model.num_timesteps
        checkpoint.save(
            self._folder,
            self._model,
            self._batch,
            {
                "curriculum": self._curriculum.state(),
                "recorded": self._recorder.episodes,
                "actions": self._recorder.actions,
                "judged": self._judged,
                "worse": self._worse,
                "best": [self._best[0], asdict(self._best[1])] if self._best else None,
                "stopped": self._stopped,
            },
        )
        self._recorder.flush()
        runs.write_csv(self._folder)

    def _tell(self, what: str, **facts: Any) -> None:
        line = {"step": self._model.num_timesteps, "event": what, **facts}
        with (self._folder / runs.EVENTS).open("a") as file:
            file.write(json.dumps(line) + "\n")


class _Overseer(BaseCallback):
    """Where Stable-Baselines3 lets a run look in."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def _on_rollout_start(self) -> None:
        self._run.between()

    def _on_step(self) -> bool:
        return self._run.stepped(self.locals["actions"], self.locals["rewards"])
