"""What policies are judged on: episodes of markets that were held out, and whatever is needed to read their fills."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from kflow.errors import UsageError
from kflow.evaluate.outcome import Market
from kflow.evaluate.timeline import Timeline
from kflow.rl.dataset import Dataset, build
from kflow.rl.episodes import Episode, cut
from kflow.sim.cache import digest
from kflow.sim.fills import Assumptions, FillModel
from kflow.sim.tape import Tape
from kflow.units import DOLLAR


@dataclass(frozen=True)
class Held:
    """Tapes, packed, and the episodes to be played on them, each once. `where`: of each span its tape and stretch."""

    dataset: Dataset
    episodes: tuple[Episode, ...]
    tapes: tuple[Tape, ...]
    where: tuple[tuple[int, int], ...]

    @cached_property
    def markets(self) -> tuple[Market, ...]:
        """One for each tape."""
        spans = {tape: span for span, (tape, _) in zip(self.dataset.spans, self.where, strict=True)}
        return tuple(
            Market(
                market=tape.market,
                event=spans[number].event if number in spans else tape.market,
                source=str(tape.facts.get("source", "")),
                session=tape.facts.get("session"),
                digest=_digest(tape),
                value=_value(tape),
            )
            for number, tape in enumerate(self.tapes)
        )

    @cached_property
    def timeline(self) -> Timeline:
        """Best prices of all spans."""
        return Timeline(self.dataset.spans, self.tapes, self.where)

    def under(self, model: FillModel) -> Dataset:
        """The same data, filled by another model."""
        groups = tuple(
            replace(group, rules=group.rules._replace(model=model.kind, ahead=model.ahead, power=model.power))
            for group in self.dataset.groups
        )
        return replace(self.dataset, groups=groups)

    def of_events(self, events: Collection[str], rows: int, most: int | None = None) -> Held:
        """The same with the episodes of some events: of `rows` decisions, `most` of them, spread evenly over time.

        Raises UsageError where there is none.
        """
        spans = [place for place, span in enumerate(self.dataset.spans) if span.event in events]
        found = sorted(cut(self.dataset, rows, spans), key=self.start_us)
        if not found:
            raise UsageError("there is nothing to be judged on", hint="give sessions that the policy has not seen")
        if most is not None and len(found) > most:
            found = [found[round(place)] for place in np.linspace(0, len(found) - 1, most)]
        chosen = replace(self, episodes=tuple(found))
        chosen.__dict__["timeline"] = self.timeline  # the same, and costly
        return chosen

    def start_us(self, episode: Episode) -> int:
        """When an episode begins."""
        return self.dataset.spans[episode.span].start_us + episode.first * self.dataset.every_us


def hold_out(tapes: Sequence[Tape], assume: Callable[[Tape], Assumptions], *, every_us: int) -> Held:
    """Pack tapes; no episodes yet. Raises UsageError where nothing of them lasts."""
    dataset = build(tapes, assume, every_us=every_us)
    places: dict[tuple[str, int], tuple[int, int]] = {}
    for number, tape in enumerate(tapes):
        for stretch in range(tape.stretches):
            places[_digest(tape), tape.span_us(stretch)[0]] = number, stretch
    where = tuple(places[span.digest, span.start_us] for span in dataset.spans)
    return Held(dataset, (), tuple(tapes), where)


def _digest(tape: Tape) -> str:
    return str(tape.facts.get("digest") or digest(tape))


def _value(tape: Tape) -> int:
    """What YES was paid, wherever the recording ends; -1: no result is recorded."""
    facts: Any = tape.facts
    if facts.get("settlement_value_e4") is not None:
        return int(facts["settlement_value_e4"])
    return {"yes": int(DOLLAR), "no": 0}.get(str(facts.get("result")), -1)
