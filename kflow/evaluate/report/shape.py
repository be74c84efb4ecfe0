"""An evaluation's document with types: what is null in it or absent is the default here, so that any of it may be.

Amounts are dollars, cents or shares as their names say, times µs; None: not known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import field

from kflow.errors import DataError, UsageError

SCHEMA_VERSION: Final = 1
FILE: Final = "evaluation.json"
Number = float | None
Column = tuple[float | None, ...]


class Contestant(msgspec.Struct, frozen=True):
    name: str = ""
    kind: str = ""
    about: str = ""
    model: str | None = None
    sha256: str | None = None
    actions: str | None = None
    sizes: Column = ()
    trained_on_events: int | None = None


class Tape(msgspec.Struct, frozen=True):
    market: str = ""
    event: str = ""
    source: str = ""
    session: int | None = None
    digest: str | None = None
    seconds: Number = None
    from_us: int | None = None
    until_us: int | None = None
    result: str | float | None = None
    stretches: int | None = None


class Gap(msgspec.Struct, frozen=True):
    from_us: int | None = None
    until_us: int | None = None
    market: str = ""


class LeftOut(msgspec.Struct, frozen=True):
    event: str = ""
    why: str = ""


class Data(msgspec.Struct, frozen=True):
    events: int | None = None
    markets: int | None = None
    settled_markets: int | None = None
    episodes: int | None = None
    seconds: Number = None
    start: str | None = field(default=None, name="from")
    until: str | None = None
    tapes: tuple[Tape, ...] = ()
    gaps: tuple[Gap, ...] = ()
    trades: tuple[str, ...] | str = ()
    left_out: tuple[LeftOut, ...] = ()


class Profit(msgspec.Struct, frozen=True):
    total: Number = None
    per_event: Number = None
    low: Number = None
    high: Number = None
    level: Number = None
    per_episode: Number = None
    per_episode_error: Number = None
    median_event: Number = None
    share_of_cash: Number = field(default=None, name="return")
    best_event: Number = None
    worst_event: Number = None
    seed_spread: Number = None
    why: str = ""


class Verdict(msgspec.Struct, frozen=True):
    p: Number = None
    p_deflated: Number = None
    variants: int | None = None
    distinguishable: bool | None = None
    words: str = ""
    events: int | None = None
    why: str = ""


class Risk(msgspec.Struct, frozen=True):
    sharpe: Number = None
    sharpe_why: str = ""
    sharpe_period: str = ""
    sharpe_low: Number = None
    sharpe_high: Number = None
    deflated_sharpe: Number = None
    sortino: Number = None
    max_drawdown: Number = None
    drawdown_from: str | None = None
    drawdown_until: str | None = None
    drawdown_recovered: str | None = None
    hit_rate: Number = None
    worst_episode_fall: Number = None


class Markout(msgspec.Struct, frozen=True):
    seconds: float | str = ""
    cents: Number = None
    error: Number = None
    fills: int | None = None
    maker_cents: Number = None
    taker_cents: Number = None


class Parts(msgspec.Struct, frozen=True):
    execution: Number = None
    opportunity: Number = None
    fees: Number = None


class Trading(msgspec.Struct, frozen=True):
    orders: Number = None
    fills: Number = None
    contracts: Number = None
    turnover: Number = None
    fees: Number = None
    fees_per_contract_cents: Number = None
    fill_rate: Number = None
    fill_rate_resting: Number = None
    maker_share: Number = None
    slippage_cents: Number = None
    shortfall_cents: Number = None
    shortfall_parts: Parts = Parts()
    markouts: tuple[Markout, ...] = ()
    denied_share: Number = None
    refused: dict[str, float] = {}


class Inventory(msgspec.Struct, frozen=True):
    mean_abs_contracts: Number = None
    max_abs_contracts: Number = None
    time_in_market: Number = None
    mean_contracts: Number = None
    exposure_dollars: Number = None


class BeliefBin(msgspec.Struct, frozen=True):
    low: Number = None
    high: Number = None
    implied: Number = None
    won: Number = None
    contracts: Number = None
    events: int | None = None


class Belief(msgspec.Struct, frozen=True):
    fills: int | None = None
    contracts: Number = None
    brier: Number = None
    brier_market: Number = None
    log_loss: Number = None
    bins: tuple[BeliefBin, ...] = ()


class Event(msgspec.Struct, frozen=True):
    event: str = ""
    start_us: int | None = None
    end_us: int | None = None
    markets: int | None = None
    episodes: int | None = None
    settled: bool | None = None
    profit: Number = None
    low: Number = None
    high: Number = None
    fees: Number = None
    contracts: Number = None


class Equity(msgspec.Struct, frozen=True):
    us: Column = ()
    mean: Column = ()
    low: Column = ()
    high: Column = ()


class Drawdown(msgspec.Struct, frozen=True):
    us: Column = ()
    dollars: Column = ()


class Distance(msgspec.Struct, frozen=True):
    low_cents: Number = None
    high_cents: Number = None
    orders: int | None = None
    asked: Number = None
    filled: Number = None
    rate: Number = None


class Queue(msgspec.Struct, frozen=True):
    low: Number = None
    high: Number = None
    orders: int | None = None
    rate: Number = None
    seconds_to_fill: Number = None


class Slippage(msgspec.Struct, frozen=True):
    edges: Column = ()
    contracts: Column = ()


class Actions(msgspec.Struct, frozen=True):
    names: tuple[str, ...] = ()
    counts: tuple[Column, ...] = ()


class Result(msgspec.Struct, frozen=True):
    contestant: str = ""
    fill_model: str = ""
    profit: Profit = Profit()
    verdict: Verdict = Verdict()
    risk: Risk = Risk()
    trading: Trading = Trading()
    inventory: Inventory = Inventory()
    belief: Belief | None = None
    belief_why: str = ""
    events: tuple[Event, ...] = ()
    equity: Equity = Equity()
    drawdown: Drawdown = Drawdown()
    fills_by_distance: tuple[Distance, ...] = ()
    fills_by_queue: tuple[Queue, ...] = ()
    slippage: Slippage = Slippage()
    actions: Actions = Actions()


class Band(msgspec.Struct, frozen=True):
    contestant: str = ""
    pessimistic: Number = None
    calibrated: Number = None
    optimistic: Number = None
    queue_luck: Number = None
    queue_luck_words: str = ""


class Capacity(msgspec.Struct, frozen=True):
    contestant: str = ""
    scale: Number = None
    contracts_per_episode: Number = None
    profit_per_event: Number = None
    error: Number = None
    profit_per_contract_cents: Number = None


class Comparison(msgspec.Struct, frozen=True):
    contestant: str = ""
    against: str = ""
    fill_model: str = ""
    difference: Number = None
    low: Number = None
    high: Number = None
    p: Number = None
    words: str = ""


class Evaluation(msgspec.Struct, frozen=True):
    name: str = ""
    kflow_version: str = ""
    commit: str = ""
    created: str = ""
    command: tuple[str, ...] = ()
    in_sample: bool | None = None
    judged: tuple[str, ...] = ()
    variants: int | None = None
    variants_why: str = ""
    contestants: tuple[Contestant, ...] = ()
    data: Data = Data()
    assumptions: dict[str, Any] = {}
    results: tuple[Result, ...] = ()
    band: tuple[Band, ...] = ()
    capacity: tuple[Capacity, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    sentence: str = ""

    def result(self, contestant: str, fill_model: str) -> Result | None:
        """What a contestant came to under a fill model; None where there is none."""
        found = (one for one in self.results if (one.contestant, one.fill_model) == (contestant, fill_model))
        return next(found, None)

    @property
    def middle(self) -> str:
        """The fill model that is neither end of the band."""
        names = dict.fromkeys(one.fill_model for one in self.results)
        return "queue" if "queue" in names or not names else next(iter(names))

    @property
    def names(self) -> tuple[str, ...]:
        """Contestants, those judged first."""
        every = [one.name for one in self.contestants] + [one.contestant for one in self.results]
        return tuple(dict.fromkeys([*self.judged, *every]))

    @property
    def shown(self) -> tuple[str, ...]:
        """Whose details are drawn: those judged; where nobody is, whoever trades."""
        have = {one.contestant for one in self.results}
        judged = tuple(name for name in self.judged if name in have)
        return judged or tuple(name for name in self.names if name in have and name != "hold")


def read(path: Path) -> dict[str, Any]:
    """The document of a file, or of the folder that holds it. Raises UsageError, DataError."""
    file = path / FILE if path.is_dir() else path
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="name what kflow evaluate wrote") from None
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no JSON: {error}", hint="kflow evaluate writes it again") from None
    parse(document, str(file))
    assert isinstance(document, dict)
    return document


def parse(document: object, name: str = "the document") -> Evaluation:
    """A document with types. Raises DataError for what is no evaluation, or one of another schema version."""
    if not isinstance(document, Mapping) or document.get("kind") != "evaluation":
        raise DataError(f"{name} is no evaluation", hint=f"kflow evaluate writes {FILE}")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{name} has schema version {version}, this kflow knows {SCHEMA_VERSION}",
            hint="evaluate again, or use the kflow that wrote it",
        )
    try:
        return msgspec.convert(_known(document), Evaluation)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DataError(f"{name} is no whole evaluation: {error}", hint="kflow evaluate writes it again") from None


def _known(value: Any) -> Any:
    """Without keys whose value is null, and with null for what is no finite number."""
    if isinstance(value, Mapping):
        kept = {str(key): _known(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_known(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
