"""Rows of what happened in training: every episode up to a bound, and every decision of some of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from psycopg.types.json import Jsonb

from kflow.policy.actions import HOLD, price_column
from kflow.rl import stepping
from kflow.rl.batch import Batch, Finished
from kflow.rl.dataset import Span
from kflow.sim import kernel
from kflow.store.postgres import Connection
from kflow.store.sqlfiles import queries

# Bounds of what one run stores.
EPISODES: Final = 20_000
ACTIONS: Final = 50_000
# Of account 0 every so many episodes are kept decision by decision.
SAMPLE_EVERY: Final = 20
_SQL: Final = queries("training")


class _Before(NamedTuple):
    """What account 0 stood at when it decided."""

    now_us: int
    bid: int
    ask: int
    position: int


@dataclass(slots=True)
class Recorder:
    """Collects rows, and stores them where training is kept. Without a connection they are counted only."""

    batch: Batch
    conn: Connection | None = None
    model_id: int | None = None
    episodes: int = 0
    actions: int = 0
    _waiting: list[tuple[dict[str, Any], list[dict[str, Any]]]] = field(default_factory=list)
    _steps: list[dict[str, Any]] = field(default_factory=list)
    _before: _Before | None = None
    _sampled: bool = False

    def look(self) -> None:
        """Before a decision: note where account 0 stands, if its episode is one that is kept in full."""
        row = self.batch.state.account[0]
        started = int(self.batch.desk.seat[0, stepping.STEPS]) == 0
        if started:
            self._steps = []
            self._sampled = (
                self.conn is not None and self.batch.played(0) % SAMPLE_EVERY == 0 and self.actions < ACTIONS
            )
        self._before = None
        if self._sampled:
            self._before = _Before(*(int(row[cell]) for cell in (kernel.NOW, kernel.BID, kernel.ASK, kernel.POSITION)))

    def decided(self, action: int, reward: float, finished: Finished | None) -> None:
        """After it: what account 0 did, unless it held."""
        before = self._before
        if before is None:
            return
        chosen = self.batch.setup.actions.actions[action]
        if chosen.op == HOLD:
            return
        span = self._span(finished)
        prices = self.batch.dataset.groups[span.group].market.price
        column = price_column(chosen.side, chosen.pricing, before.bid, before.ask, len(prices))
        known = chosen.size > 0 and 0 <= column < len(prices)
        own = int(prices[column]) if known else 0
        after = finished.position if finished else int(self.batch.state.account[0, kernel.POSITION])
        refusal = "" if finished else self.batch.refusal(0)
        self._steps.append(
            {
                "session_id": span.session,
                "action_timestamp_ms": before.now_us // 1000,
                "step_number": finished.steps if finished else int(self.batch.desk.seat[0, stepping.STEPS]),
                "action_type": chosen.name,
                "price_e4": (10_000 - own if chosen.side else own) if known else None,
                "quantity_e2": chosen.size or None,
                "position_before_e2": before.position,
                "position_after_e2": after,
                "reward": float(reward),
                "refusal": refusal or None,
            }
        )

    def _span(self, finished: Finished | None) -> Span:
        episode = finished.episode if finished else self.batch.episode(0)
        assert episode is not None
        return self.batch.dataset.spans[episode.span]

    def finished(self, done: Finished) -> None:
        """An episode ended."""
        self.episodes += 1
        if self.conn is None or self.episodes > EPISODES:
            return
        steps: list[dict[str, Any]] = []
        if done.account == 0 and self._sampled:
            steps, self._steps = self._steps[: ACTIONS - self.actions], []
            self.actions += len(steps)
        self._waiting.append((self._row(done), steps))

    def _row(self, done: Finished) -> dict[str, Any]:
        span = self.batch.dataset.spans[done.episode.span]
        every = self.batch.dataset.every_us
        mean = done.reward / done.steps
        spread = np.sqrt(max(done.squares / done.steps - mean**2, 0.0))
        return {
            "model_id": self.model_id,
            "episode_number": self.episodes,
            "session_id": span.session,
            "market_ticker": span.market,
            "started_ns": (span.start_us + done.episode.first * every) * 1000,
            "ended_ns": (span.start_us + (done.episode.first + done.steps) * every) * 1000,
            "steps": done.steps,
            "initial_cash_e6": done.cash,
            "final_equity_e6": done.equity,
            "fees_e6": done.fees,
            "total_return": done.profit / done.cash,
            # Of the episode's decisions, as a whole: mean over deviation, times the root of how many.
            "sharpe_ratio": float(mean / spread * np.sqrt(done.steps)) if spread > 0 else None,
            "max_drawdown": done.fall / done.cash,
            "metrics": Jsonb(
                {
                    "ending": done.ending,
                    "account": done.account,
                    "contracts": done.volume / 100,
                    "sent": done.sent,
                    "denied": done.denied,
                    "shaping": done.shaping,
                }
            ),
        }

    def flush(self) -> None:
        """Store what waits, in one transaction."""
        if self.conn is None:
            return
        with self.conn.transaction(), self.conn.cursor() as cursor:
            for episode, steps in self._waiting:
                cursor.execute(_SQL["episode"], episode)
                found = cursor.fetchone()
                assert found is not None
                if steps:
                    cursor.executemany(_SQL["action"], [{**step, "episode_id": found[0]} for step in steps])
        self._waiting.clear()

    def go_on_from(self, episodes: int, actions: int) -> None:
        """Forget what was stored behind these counts: training goes on from a checkpoint."""
        self.episodes, self.actions = episodes, actions
        if self.conn is not None:
            behind = {"model_id": self.model_id, "episode_number": episodes}
            with self.conn.transaction():
                self.conn.execute(_SQL["forget_actions"], behind)
                self.conn.execute(_SQL["forget_episodes"], behind)
