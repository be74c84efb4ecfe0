"""The document of an evaluation: its verdicts, and everything that they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

import kflow
from kflow.evaluate.contestants import Contestant
from kflow.evaluate.held import Held
from kflow.evaluate.judge import Stage, Verdicts
from kflow.evaluate.outcome import SETTLED
from kflow.evaluate.request import Request
from kflow.evaluate.splits import Split
from kflow.replay.tapes import fees_of, known_by
from kflow.rl import runs
from kflow.sim.tape import Tape
from kflow.units import CONTRACT

SCHEMA_VERSION: Final = 1
FILE: Final = "evaluation.json"


def document(
    name: str,
    request: Request,
    stages: Sequence[Stage],
    split: Split,
    judged: Sequence[str],
    variants: tuple[int, str],
    verdicts: Verdicts,
    command: Sequence[str],
) -> dict[str, Any]:
    """Plain data, as `kflow report` reads it. variants: the most that were tried, and how that is known."""
    contestants = stages[0].contestants
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "evaluation",
        "name": name,
        "kflow_version": kflow.__version__,
        "commit": runs.commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "command": list(command),
        "in_sample": split.in_sample,
        "judged": list(judged),
        "variants": variants[0],
        "variants_why": variants[1],
        "sentence": verdicts.sentence,
        "contestants": [_contestant(one, stages) for one in contestants],
        "data": _data(stages, split, verdicts),
        "assumptions": _assumptions(request, stages),
        "results": verdicts.results,
        "band": verdicts.band,
        "capacity": verdicts.capacity,
        "comparisons": verdicts.comparisons,
    }


def write(folder: Path, whole: Mapping[str, Any]) -> Path:
    """As evaluation.json. What is not a number is not known: null."""
    path = folder / FILE
    runs.write(path, msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")
    return path


def _contestant(one: Contestant, stages: Sequence[Stage]) -> dict[str, Any]:
    card = None if one.bundle is None else one.bundle.card
    seen = () if card is None else card.trained_on
    return {
        "name": one.name,
        "kind": one.kind,
        "about": one.about,
        "model": one.name if one.kind == "model" else None,
        "sha256": None if card is None else card.weights_sha256,
        "actions": one.setup.actions.name,
        "sizes": [size / CONTRACT for size in one.setup.actions.sizes],
        "trained_on_tapes": None if card is None else len({item.digest for item in seen}),
        "folds": len(stages),
        "cash": one.setup.limits.cash / 1e6,
        "max_position": one.setup.limits.max_position / CONTRACT,
        "max_order": one.setup.limits.max_order / CONTRACT,
        "max_orders": one.setup.limits.orders,
    }


def _data(stages: Sequence[Stage], split: Split, verdicts: Verdicts) -> dict[str, Any]:
    held = stages[0].held
    episodes = [(stage.held, episode) for stage in stages for episode in stage.held.episodes]
    used = sorted({held.where[episode.span][0] for held, episode in episodes})
    tapes = [held.tapes[number] for number in used]
    starts = [held.start_us(episode) for held, episode in episodes]
    ends = [
        held.start_us(episode) + (episode.last - episode.first) * held.dataset.every_us for held, episode in episodes
    ]
    sample = next(iter(verdicts.sample.values()))[0].episodes
    settled = set(sample.market[sample.ending == SETTLED].tolist())
    return {
        "events": len({held.dataset.spans[episode.span].event for held, episode in episodes}),
        "markets": len(used),
        "settled_markets": len(settled),
        "episodes": len(episodes),
        "seconds": round(sum(ends) / 1e6 - sum(starts) / 1e6, 3),
        "from": moment(min(starts)),
        "until": moment(max(ends)),
        "tapes": [_tape(held, number) for number in used],
        "gaps": [gap for tape in tapes for gap in _gaps(tape)],
        "trades": known_by(tapes),
        "left_out": [{"event": event, "why": why} for event, why in split.left_out],
    }


def _tape(held: Held, number: int) -> dict[str, Any]:
    tape, market = held.tapes[number], held.markets[number]
    return {
        "market": market.market,
        "event": market.event,
        "source": market.source,
        "session": market.session,
        "digest": market.digest,
        "seconds": round(tape.seconds, 3),
        "from_us": tape.span_us(0)[0],
        "until_us": tape.span_us(tape.stretches - 1)[1],
        "result": {10_000: "yes", 0: "no", -1: None}.get(market.value, f"{market.value / 10_000:g}"),
        "stretches": tape.stretches,
    }


def _gaps(tape: Tape) -> list[dict[str, Any]]:
    """Between its stretches nothing is known of the book."""
    return [
        {"market": tape.market, "from_us": tape.span_us(n)[1], "until_us": tape.span_us(n + 1)[0]}
        for n in range(tape.stretches - 1)
    ]


def _assumptions(request: Request, stages: Sequence[Stage]) -> dict[str, Any]:
    held = stages[0].held
    return {
        **request.assume(held.tapes[0]).told(),
        "models": {chosen.model.name: chosen.told() for chosen in request.band},
        "fees": sorted({fees_of(tape)[1] for tape in held.tapes}),
        "seeds": list(range(request.seeds)),
        "every_s": request.every_us / 1e6,
        "episode_s": request.episode_us / 1e6,
        "ruin": request.ruin,
        "embargo_s": request.embargo_us / 1e6,
        "baseline_contracts": request.size,
        "unsettled": "no result is guessed: what is held counts what it could be sold for when the recording ends",
        "impact": "own orders take what they take; nobody reacts to them",
    }


def moment(us: int) -> str:
    """RFC 3339, UTC."""
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
