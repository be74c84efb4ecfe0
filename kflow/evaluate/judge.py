"""An evaluation from what is asked to its document: every contestant, fill model and seed played, and summed up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from kflow.evaluate import parts, summary
from kflow.evaluate.contestants import Contestant
from kflow.evaluate.held import Held
from kflow.evaluate.outcome import Played
from kflow.evaluate.parts import Unit
from kflow.evaluate.request import Request
from kflow.evaluate.run import play
from kflow.evaluate.series import Events, events_of
from kflow.sim.fills import BAND, FillModel

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """Events, and who plays on them. One, or of a walk forward one for each fold: same names, trained on more."""

    held: Held
    contestants: tuple[Contestant, ...]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a document says of contestants. `sample`: of each what it played under the calibrated queue, by seed."""

    results: list[dict[str, Any]]
    band: list[dict[str, Any]]
    capacity: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]
    sentence: str
    sample: dict[str, list[Played]]


def decisions(request: Request, stages: Sequence[Stage]) -> int:
    """How many there will be."""
    each = sum(
        (episode.last - episode.first) * len(stage.contestants) for stage in stages for episode in stage.held.episodes
    )
    judged = sum(
        (episode.last - episode.first) * len(request.judged) for stage in stages for episode in stage.held.episodes
    )
    return request.seeds * (each * len(BAND) + judged * (len(request.scales) - 1))


class Judge:
    """Plays what is not kept yet, and sums up."""

    def __init__(
        self,
        request: Request,
        stages: Sequence[Stage],
        judged: Sequence[str],
        variants: Mapping[str, int],
        folder: Path,
        progress: Progress,
        jobs: int = 1,
    ) -> None:
        """`variants`: of each judged how many were tried. `progress` is told of decisions; `jobs` threads play."""
        self._request, self._stages, self._judged = request, stages, judged
        self._variants, self._folder, self._jobs = variants, folder, jobs
        self._progress = _Counted(progress)
        self._markets = stages[0].held.markets

    def verdicts(self) -> Verdicts:
        """All of them. What was played before is read, not played again."""
        names = [contestant.name for contestant in self._stages[0].contestants]
        results: list[dict[str, Any]] = []
        bands: list[dict[str, Any]] = []
        curve: list[dict[str, Any]] = []
        slim: dict[str, dict[str, list[Played]]] = {name: {} for name in names}
        # What was at stake is known by the fills, so it is worked out before they are let go.
        events: dict[str, dict[str, Events]] = {name: {} for name in names}
        ahead = self._ahead()
        for place, name in enumerate(names):
            for model in self._request.band:
                played = next(ahead)
                results.append(self._result(place, name, played))
                events[name][model.model.name] = events_of(played, self._markets)
                slim[name][model.model.name] = [_without_orders(one) for one in played]
            bands.append(summary.band(slim[name], self._markets))
            if name in self._judged and len(self._request.scales) > 1:
                larger = [one for _ in self._request.scales[1:] for one in map(_without_orders, next(ahead))]
                curve += summary.capacity([*slim[name][BAND[1]], *larger], self._markets)
        return Verdicts(
            results=results,
            band=bands,
            capacity=curve,
            comparisons=list(self._comparisons(events)),
            sentence=summary.sentence(results, bands, self._judged),
            sample={name: models[BAND[1]] for name, models in slim.items()},
        )

    def _units(self) -> Iterator[tuple[int, FillModel, int]]:
        """What is played: each contestant under each fill model, and the judged at each scale as well."""
        (calibrated,) = (chosen.model for chosen in self._request.band if chosen.model.name == BAND[1])
        for place, contestant in enumerate(self._stages[0].contestants):
            yield from ((place, chosen.model, 1) for chosen in self._request.band)
            if contestant.name in self._judged:
                yield from ((place, calibrated, scale) for scale in self._request.scales[1:])

    def _ahead(self) -> Iterator[list[Played]]:
        """What was played of each unit, in turn: some are played while others are summed up."""
        units = self._units()
        with ThreadPoolExecutor(self._jobs, "kflow-play") as pool:
            begun = deque(pool.submit(self._played, *unit) for unit in islice(units, self._jobs))
            try:
                while begun:
                    played = begun.popleft().result()
                    begun.extend(pool.submit(self._played, *unit) for unit in islice(units, 1))
                    yield played
            finally:
                self._progress.stop()
                for each in begun:
                    each.cancel()

    def _result(self, place: int, name: str, played: Sequence[Played]) -> dict[str, Any]:
        actions = self._stages[0].contestants[place].setup.actions
        return summary.summarise(
            played,
            self._markets,
            variants=self._variants.get(name, 1),
            action_names=[action.name for action in actions.actions],
        )

    def _comparisons(self, events: Mapping[str, Mapping[str, Events]]) -> Iterator[dict[str, Any]]:
        """The judged against all others, under each fill model."""
        for name in self._judged:
            for other in events:
                if other != name:
                    for model in BAND:
                        yield summary.compare(events[name][model], events[other][model], self._markets)

    def _played(self, place: int, model: FillModel, scale: int = 1) -> list[Played]:
        """Of each seed what came of it, over all stages."""
        stages = [self._of_stage(number, place, model, scale) for number in range(len(self._stages))]
        return [parts.joined(each) for each in zip(*stages, strict=True)]

    def _of_stage(self, number: int, place: int, model: FillModel, scale: int) -> list[Played]:
        stage, seeds = self._stages[number], self._request.seeds
        contestant = stage.contestants[place]
        unit = Unit(contestant.name, model.name, seeds, scale, number)
        played = parts.load(self._folder, unit)
        if played is None:
            played = play(contestant, stage.held, model, seeds=range(seeds), scale=scale, progress=self._progress)
            parts.save(self._folder, unit, played)
        else:
            self._progress(seeds * sum(episode.last - episode.first for episode in stage.held.episodes))
        return played


class _Stopped(Exception):
    """Nobody wants what is being played any more."""


class _Counted:
    """Progress, told by several threads; and how they hear that nobody waits for them."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock = progress, Lock()
        self._stopped = False

    def __call__(self, decisions: int) -> None:
        if self._stopped:
            raise _Stopped
        with self._lock:
            self._progress(decisions)

    def stop(self) -> None:
        """Whoever plays ends at its next word."""
        self._stopped = True


def _without_orders(played: Played) -> Played:
    """Episodes alone: orders and fills are most of what it takes, and were looked at."""
    orders: Any = played.orders
    fills: Any = played.fills
    return played._replace(
        orders=type(orders)(*(column[:0] for column in orders)),
        fills=type(fills)(*(column[:0] for column in fills)),
        actions=np.zeros_like(played.actions),
    )
