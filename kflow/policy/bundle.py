"""A model as two files: `NAME.npz` holds its weights, `NAME.json` is the card: what they are, and what made them.

Nothing in either can run: the archive is read member by member, as plain arrays of the sizes that the card names, and
whatever else it holds is a reason to refuse it. Loads without the library that trained it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, NoReturn

import msgspec
import numpy as np
from msgspec import Meta

from kflow.errors import ModelError, UsageError
from kflow.policy.actions import action_set
from kflow.policy.network import Floats, Layout, Network

SCHEMA_VERSION: Final = 2  # of the card; rises when a key changes its meaning, comes or goes
_READABLE: Final = (1, SCHEMA_VERSION)  # 1 does not say when its tapes were recorded
CARD_BYTES: Final = 8_000_000
WEIGHTS: Final = 16_000_000  # the most numbers a network may have: 64 MB
_MEMBER_BYTES: Final = 1024  # of an archive's member, beside its numbers
_SUFFIXES: Final = (".json", ".npz")

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Widths = Annotated[tuple[Count, ...], Meta(max_length=16)]
Plain = str | int | float | bool | None


# Unknown keys are refused: what a card says is either understood or not believed.


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`Layout` as the card writes it."""

    observation: Count
    actions: Count
    policy: Widths
    value: Widths
    activation: Literal["tanh", "relu"]


class Actions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The action set. Sizes 1e-2 contract."""

    name: str
    sizes_e2: Annotated[tuple[int, ...], Meta(max_length=1000)]


class Features(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the network sees, in order, and the hash of the code that computes it."""

    schema: str
    names: tuple[str, ...]


class Seen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tape that the model was trained on. `digest`: of the tape; `session`: its number, if it has one.

    from_us, until_us: when it was recorded, µs of the venue; None in cards of version 1.
    """

    market: str
    digest: str
    source: str
    session: int | None = None
    from_us: int | None = None
    until_us: int | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the card says of a model beside its weights. Time in microseconds where not written otherwise."""

    name: Name
    version: Count
    algorithm: str
    kflow_version: str
    created: Annotated[datetime, Meta(tz=True)]
    actions: Actions
    features: Features
    decision_interval_us: Count
    limits: Mapping[str, int]
    fill_model: str
    assumptions: Mapping[str, Plain] = {}
    trained_on: tuple[Seen, ...] = ()
    seeds: tuple[int, ...] = ()
    metrics: Mapping[str, Plain] = {}


class Card(Facts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole card."""

    schema_version: int
    network: Shape
    weights_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class _Version(msgspec.Struct):
    schema_version: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model that was verified. `path` is the card's, `written` what stands there."""

    path: Path
    card: Card
    written: bytes
    network: Network


class _Pair(NamedTuple):
    """Both files as they were read. `path` is the card's."""

    path: Path
    card: bytes
    weights: bytes


def save(folder: Path, network: Network, facts: Facts) -> Bundle:
    """Write a model into `folder` (made where missing) under its name; the same weights make the same bytes.

    Raises UsageError where one of that name is there already, ModelError where network and facts do not fit.
    """
    weights = archive(network)
    layout = network.layout
    card = Card(
        **{name: getattr(facts, name) for name in Facts.__struct_fields__},
        schema_version=SCHEMA_VERSION,
        network=Shape(**{name: getattr(layout, name) for name in Shape.__struct_fields__}),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    written = msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"
    pair = _Pair(folder / f"{card.name}.json", written, weights)
    bundle = _verified(pair, None, None)  # what is written can be read again
    _write(pair, folder)
    return bundle


def load(path: Path, *, schema: str | None = None, sha256: str | None = None) -> Bundle:
    """The model in a folder, or of either of its files, wholly verified.

    `schema`: hash that the features of this kflow have; `sha256`: hash that the weights have to have, beside the
    card's. Raises ModelError for whatever is not a model, is damaged, or is of another schema.
    """
    return _verified(_read(path), schema, sha256)


def copy(path: Path, folder: Path, *, schema: str | None = None, sha256: str | None = None) -> Bundle:
    """`load`, then write just what was verified into `folder`; the copy. Raises UsageError where one is there."""
    pair = _read(path)
    bundle = _verified(pair, schema, sha256)
    return Bundle(_write(pair, folder), bundle.card, bundle.written, bundle.network)


def facts_of(path: Path) -> Facts:
    """The facts of a file that is a card, or one without schema_version, network and weights_sha256."""
    try:
        given = msgspec.json.decode(_bytes(path, CARD_BYTES), type=dict[str, object])
        return msgspec.convert({name: given[name] for name in given if name not in _OF_CARD}, Facts)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _refuse(path, f"is no card: {error}")


_OF_CARD: Final = frozenset(Card.__struct_fields__) - frozenset(Facts.__struct_fields__)


def _read(path: Path) -> _Pair:
    """Both files, as few bytes as they may have. Raises ModelError."""
    card = _card_path(path)
    whole = _bytes(card, CARD_BYTES)
    return _Pair(card, whole, _bytes(card.with_suffix(".npz"), WEIGHTS * 4 + _MEMBER_BYTES * 100))


def _card_path(path: Path) -> Path:
    if path.suffix == ".zip":
        raise ModelError(
            f"{path} is an archive of Stable-Baselines3, which is not loaded: unpickling it can run anything",
            hint=f"make a bundle of it: kflow models export {path} --output DIR",
        )
    if path.suffix in _SUFFIXES:
        return path.with_suffix(".json")
    if not path.is_dir():
        _refuse(path, "is neither a folder nor one of the two files of a model (.json, .npz)")
    cards = sorted(found for found in path.glob("*.json") if found.with_suffix(".npz").exists())
    if len(cards) != 1:
        _refuse(path, f"holds {len(cards) or 'no'} models; name one by its .json")
    return cards[0]


def _bytes(path: Path, most: int) -> bytes:
    """A regular file that has at most that many bytes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not keep us waiting
        with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                _refuse(path, "is not a regular file")
            found = file.read(most + 1)
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror}")
    if len(found) > most:
        _refuse(path, f"is larger than the {most:,} bytes it may have")
    return found


def _verified(pair: _Pair, schema: str | None, sha256: str | None) -> Bundle:
    try:
        version = msgspec.json.decode(pair.card, type=_Version).schema_version
        if version not in _READABLE:
            _refuse(pair.path, f"has schema version {version}, this kflow knows {SCHEMA_VERSION}")
        card = msgspec.json.decode(pair.card, type=Card)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _refuse(pair.path, f"is no card: {error}")
    found = hashlib.sha256(pair.weights).hexdigest()
    for whose, wanted in (("its card says", card.weights_sha256), ("the registry says", sha256)):
        if wanted is not None and wanted != found:
            _refuse(pair.path.with_suffix(".npz"), f"is damaged or another model's: sha256 {found}, {whose} {wanted}")
    if schema is not None and schema != card.features.schema:
        raise ModelError(
            f"{card.name} sees features of schema {card.features.schema}, this kflow computes {schema}",
            hint="train it again with this kflow, or run it with the kflow that trained it",
        )
    layout = _layout(pair.path, card)
    try:
        network = Network(layout, _arrays(pair.weights, layout))
    except (ValueError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        _refuse(pair.path.with_suffix(".npz"), f"does not hold the weights of its card: {error}")
    return Bundle(pair.path, card, pair.card, network)


def _layout(path: Path, card: Card) -> Layout:
    """The layout that the card names, where it agrees with the rest of the card. Raises ModelError."""
    layout = Layout(**{name: getattr(card.network, name) for name in Shape.__struct_fields__})
    if sum(map(math.prod, layout.shapes().values())) > WEIGHTS:
        _refuse(path, f"names a network of more than {WEIGHTS:,} numbers")
    if len(card.features.names) != layout.observation:
        _refuse(path, f"names {len(card.features.names)} features for a network that sees {layout.observation}")
    try:
        actions = len(action_set(card.actions.name, card.actions.sizes_e2).actions)
    except UsageError as error:
        _refuse(path, f"names no known actions: {error}")
    if actions != layout.actions:
        _refuse(path, f"names {actions} actions for a network that chooses of {layout.actions}")
    return layout


def archive(network: Network) -> bytes:
    """The arrays as an uncompressed .npz, which has no time of its own."""
    out = io.BytesIO()
    np.savez(out, **network.arrays)  # type: ignore[arg-type]  # its stub takes a name for its only option
    return out.getvalue()


def _arrays(archive: bytes, layout: Layout) -> dict[str, Floats]:
    """Just the arrays of the layout. Raises ValueError, BadZipFile and the like for an archive that holds others."""
    shapes = layout.shapes()
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        members = file.infolist()
        if [member.filename for member in members] != [f"{name}.npy" for name in shapes]:
            raise ValueError("its members are not the arrays of the network, in order")
        found = {}
        for member, (name, shape) in zip(members, shapes.items(), strict=True):
            expected = math.prod(shape) * 4
            if member.compress_type != zipfile.ZIP_STORED or not 0 < member.file_size - expected < _MEMBER_BYTES:
                raise ValueError(f"{name} is compressed or not of the size of {shape}")
            with file.open(member) as stream:
                found[name] = _array(stream.read(expected + _MEMBER_BYTES), name, shape)
        return found


def _array(raw: bytes, name: str, shape: tuple[int, ...]) -> Floats:
    """One .npy of float32. Its header has one right form, so it is compared and never parsed."""
    begins = 10 + int.from_bytes(raw[8:10], "little")
    expected = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    if raw[:8] != b"\x93NUMPY\x01\x00" or raw[10:begins].rstrip() != expected:
        raise ValueError(f"{name} is not float32 of shape {shape}")
    return np.frombuffer(raw[begins:], "<f4").reshape(shape).astype(np.float32)


def _write(pair: _Pair, folder: Path) -> Path:
    """Both files under their names, the card last: where it is, the weights are. Raises UsageError where one is."""
    folder.mkdir(parents=True, exist_ok=True)
    card = folder / pair.path.name
    for path, content in ((card.with_suffix(".npz"), pair.weights), (card, pair.card)):
        if path.exists():
            raise UsageError(f"{path} is there already", hint="choose another folder, or remove it")
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                part.unlink()
    return card


def _refuse(path: Path, why: str) -> NoReturn:
    raise ModelError(f"{path} {why}", hint="make the model again: kflow train, or kflow models export")
