"""The log of a policy that drew its actions by chances: two files, as a model is. `NAME.npz` holds columns, `NAME.json`
is the card: which policy, what its actions and features mean, on which tapes, and under what it was filled.

Nothing in either can run: arrays are plain, of the types and shapes that belong together, and what contradicts itself
is refused.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, NoReturn

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from kflow.errors import DataError, UsageError
from kflow.policy.actions import action_set
from kflow.policy.bundle import Actions, Features
from kflow.rl import stepping
from kflow.rl.batch import Setup
from kflow.rl.dataset import EVERY_US
from kflow.rl.plan import Source
from kflow.sim.accounts import Limits
from kflow.sim.fills import FillModel, Latency
from kflow.units import Money, Size

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

SCHEMA_VERSION: Final = 1  # of both files; rises when a column or a key changes its meaning, comes or goes
CARD_BYTES: Final = 8_000_000
LOG_BYTES: Final = 4_000_000_000
_HINT: Final = "write it again: kflow offpolicy log"
_ENDINGS: Final = (stepping.SETTLED, stepping.RUINED, stepping.CUT)
_SURE: Final = 1e-9  # how far chances may be from 1 together

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Drawn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By what actions were drawn: see `Soft`. `sha256`: of the model's weights."""

    model: str
    sha256: Sha256
    temperature: float
    epsilon: float
    seed: int


class Traded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A market. Those of one event are decided together. `digest`: of its tape."""

    market: str
    event: str
    source: str
    session: int | None
    digest: str


class Account(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each episode began with, and its limits. Money 1e-6 dollar, sizes 1e-2 contract."""

    cash: int
    max_position: int
    max_order: int
    orders: int
    ruin: float


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`fills`, `latency`: under which simulated orders were filled; None: orders were real."""

    schema_version: int = SCHEMA_VERSION
    kflow_version: str
    created: Annotated[datetime, Meta(tz=True)]
    command: tuple[str, ...]
    policy: Drawn
    actions: Actions
    features: Features
    every_us: int = EVERY_US
    account: Account
    fills: FillModel | None
    latency: Latency | None
    calibration: str = "none"
    source: Source | None = None  # where the tapes came from
    markets: tuple[Traded, ...]
    sha256: str = ""  # of the columns' file

    def setup(self) -> Setup:
        """The environment that was traded in, or what it is to be replayed in. Raises UsageError for what cannot be."""
        account = self.account
        limits = Limits(
            cash=Money(account.cash),
            max_position=Size(account.max_position),
            max_order=Size(account.max_order),
            orders=account.orders,
        )
        return Setup(actions=action_set(self.actions.name, self.actions.sizes_e2), limits=limits, ruin=account.ruin)


class Decisions(NamedTuple):
    """A row each, [N], episode by episode and in order of time."""

    observation: NDArray[np.float32]  # [N, F]
    mask: NDArray[np.bool_]  # [N, A] allowed
    action: I64
    chance: F64  # [N, A] of each action under the policy that was logged; 0 where it is masked
    reward: I64  # change of equity up to the next decision, 1e-6 dollar


class Episodes(NamedTuple):
    """A row each, [E]."""

    steps: I64  # decisions
    market: I64  # row of the card's markets
    start_us: I64  # of the stretch that it lies in
    first: I64  # decision of the stretch at which it begins
    last: I64  # and at which it ends at the latest
    ending: I64  # as of `stepping`: settled, ruined, cut
    random: NDArray[np.uint64]  # the kernel's counter at its beginning; 0 where orders were real


@dataclass(frozen=True)
class Log:
    """Columns and card."""

    card: Card
    decisions: Decisions
    episodes: Episodes

    @property
    def ends(self) -> I64:
        """[E] row behind each episode's last decision."""
        return self.episodes.steps.cumsum()

    @property
    def events(self) -> list[str]:
        """[E] what each episode is decided with."""
        return [self.card.markets[market].event for market in self.episodes.market.tolist()]

    @property
    def returns(self) -> F64:
        """[E] dollars."""
        return np.add.reduceat(self.decisions.reward, self.ends - self.episodes.steps) / 1e6

    def only(self, chosen: NDArray[np.bool_]) -> Log:
        """Some of the episodes [E], with the same card."""
        rows = chosen.repeat(self.episodes.steps)
        decisions: list[Any] = [column[rows] for column in self.decisions]
        episodes: list[Any] = [column[chosen] for column in self.episodes]
        return Log(self.card, Decisions(*decisions), Episodes(*episodes))

    def padded(self, column: NDArray[Any], fill: float) -> F64:
        """[E, T] a column [N] with a row for each episode; `fill` behind its end."""
        steps = self.episodes.steps
        found = np.full((len(steps), int(steps.max())), fill)
        found[np.arange(found.shape[1]) < steps[:, None]] = column
        return found


def save(path: Path, log: Log) -> Log:
    """Write both files; what is there is not overwritten. The log as its card now is. Raises UsageError, DataError."""
    card_path, columns_path = _paths(path)
    for taken in (card_path, columns_path):
        if taken.exists():
            raise UsageError(f"{taken} is there already", hint="choose another --out, or remove it")
    out = io.BytesIO()
    np.savez(out, **_columns(log.decisions, log.episodes))  # type: ignore[arg-type]
    whole = out.getvalue()
    card = msgspec.structs.replace(log.card, sha256=hashlib.sha256(whole).hexdigest())
    found = _checked(path, Log(card, log.decisions, log.episodes))
    columns_path.parent.mkdir(parents=True, exist_ok=True)
    for target, content in ((columns_path, whole), (card_path, msgspec.json.format(msgspec.json.encode(card)) + b"\n")):
        part = target.with_name(f"{target.name}.part")
        part.write_bytes(content)
        part.rename(target)
    return found


def load(path: Path) -> Log:
    """Both files of a log, named by either. Raises UsageError where there is none, DataError for what is no log."""
    card_path, columns_path = _paths(path)
    card, whole = _read(card_path, CARD_BYTES), _read(columns_path, LOG_BYTES)
    try:
        version = msgspec.json.decode(card, type=dict[str, Any]).get("schema_version")
        if version != SCHEMA_VERSION:
            _refuse(card_path, f"has schema version {version}, this kflow knows {SCHEMA_VERSION}")
        known = msgspec.json.decode(card, type=Card)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UsageError) as error:
        _refuse(card_path, f"is no card of a log: {error}")
    if hashlib.sha256(whole).hexdigest() != known.sha256:
        _refuse(columns_path, "is damaged, or another log's: it is not what its card says")
    decisions, episodes = _arrays(columns_path, whole)
    return _checked(columns_path, Log(known, decisions, episodes))


def _paths(path: Path) -> tuple[Path, Path]:
    stem = path.with_suffix("") if path.suffix in (".json", ".npz") else path
    return stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.npz")


def _read(path: Path, most: int) -> bytes:
    try:
        if path.stat().st_size > most:
            _refuse(path, f"is larger than the {most:,} bytes it may have")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="kflow offpolicy log writes one") from None


_NAMES: Final = (
    *(f"decisions.{name}" for name in Decisions._fields),
    *(f"episodes.{name}" for name in Episodes._fields),
)
_TYPES: Final = {
    "decisions.observation": ("<f4", 2),
    "decisions.mask": ("|b1", 2),
    "decisions.chance": ("<f8", 2),
    "episodes.random": ("<u8", 1),
}


def _columns(decisions: Decisions, episodes: Episodes) -> dict[str, NDArray[Any]]:
    """By name, in order."""
    return dict(zip(_NAMES, (*decisions, *episodes), strict=True))


def _arrays(path: Path, whole: bytes) -> tuple[Decisions, Episodes]:
    """Just the columns, of their types. Raises DataError for an archive that holds anything else."""
    found: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(whole)) as file:
            members = file.infolist()
            if [member.filename for member in members] != [f"{name}.npy" for name in _NAMES]:
                _refuse(path, "does not hold just the columns of a log")
            for member, name in zip(members, _NAMES, strict=True):
                if member.compress_type != zipfile.ZIP_STORED or member.file_size > len(whole):
                    _refuse(path, f"holds {name} compressed")
                with file.open(member) as stream:
                    found[name] = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        _refuse(path, f"does not hold the columns of a log: {error}")
    for name in _NAMES:
        kind, dimensions = _TYPES.get(name, ("<i8", 1))
        if found[name].dtype.str != kind or found[name].ndim != dimensions:
            _refuse(path, f"holds {name} as {found[name].dtype} of {found[name].ndim} dimensions")
    columns = [found[name] for name in _NAMES]
    count = len(Decisions._fields)
    return Decisions(*columns[:count]), Episodes(*columns[count:])


def _checked(path: Path, log: Log) -> Log:
    """The log, where its numbers fit each other. Raises DataError."""
    d, e, card = log.decisions, log.episodes, log.card
    count, episodes, actions = len(d.action), len(e.steps), len(card.setup().actions.actions)
    if any(len(column) != count for column in d) or any(len(column) != episodes for column in e):
        _refuse(path, "holds columns of different lengths")
    if d.observation.shape[1] != len(card.features.names) or {d.mask.shape[1], d.chance.shape[1]} != {actions}:
        _refuse(path, "holds observations or chances that are not as wide as its card says")
    if not episodes or (e.steps < 1).any() or int(e.steps.sum()) != count:
        _refuse(path, "holds decisions that do not make up its episodes")
    if (e.market < 0).any() or (e.market >= len(card.markets)).any() or not np.isin(e.ending, _ENDINGS).all():
        _refuse(path, "names a market or an ending that there is not")
    if (e.first < 0).any() or (e.first + e.steps > e.last).any():
        _refuse(path, "holds episodes that are longer than they may be")
    if (d.action < 0).any() or (d.action >= actions).any():
        _refuse(path, "names an action that there is not")
    if not np.isfinite(d.observation).all() or not np.isfinite(d.chance).all():
        _refuse(path, "holds numbers that are not finite")
    if (d.chance < 0).any() or (d.chance[~d.mask] != 0).any() or (np.abs(d.chance.sum(axis=1) - 1) > _SURE).any():
        _refuse(path, "holds chances that are none: they sum to 1, and what is not allowed has none")
    if not (d.chance[np.arange(count), d.action] > 0).all():
        _refuse(path, "says of an action that was taken that it could not be")
    return log


def _refuse(path: Path, why: str) -> NoReturn:
    raise DataError(f"{path} {why}", hint=_HINT)
