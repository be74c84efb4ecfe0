"""Entries of an evaluation's document, from what was played: results, comparisons, band, capacity, and the sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kflow.evaluate.outcome import Market, Played


def summarise(
    played: Sequence[Played], markets: Sequence[Market], *, variants: int, action_names: Sequence[str]
) -> dict[str, Any]:
    """One entry of `results`: the seeds of one contestant under one fill model, at scale 1.

    variants: how many were tried before this one was chosen; 1 for a baseline. Raises DataError where nothing was
    played, or not the same by all seeds.
    """
    raise NotImplementedError


def compare(one: Sequence[Played], other: Sequence[Played], markets: Sequence[Market]) -> dict[str, Any]:
    """One entry of `comparisons`: what a contestant earns more than another, in the same events."""
    raise NotImplementedError


def band(by_model: Mapping[str, Sequence[Played]], markets: Sequence[Market]) -> dict[str, Any]:
    """One entry of `band`: a contestant under each model of `fills.BAND`, by its name."""
    raise NotImplementedError


def capacity(played: Sequence[Played], markets: Sequence[Market]) -> list[dict[str, Any]]:
    """Entries of `capacity` of one contestant and fill model, by scale, from all its seeds and scales together."""
    raise NotImplementedError


def sentence(results: Sequence[Mapping[str, Any]], bands: Sequence[Mapping[str, Any]], judged: Sequence[str]) -> str:
    """The honest verdict in a line: of the judged under the calibrated queue, with the events that it rests on."""
    raise NotImplementedError
