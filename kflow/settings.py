"""Settings: flags > environment > kflow.toml > defaults, each value with its origin.

Every setting is one field of one group below: its name, type, default, unit, help and environment names stand there
and nowhere else; `config show`, docs/settings.md and the error messages are made from it. The environment is read in
`load` alone, and nothing is read at import.
"""

from __future__ import annotations

import difflib
import os
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from kflow.errors import ConfigError

FILE_NAME = "kflow.toml"
PREFIX = "KFLOW__"

# Least and greatest value, None where there is no such bound.
Bounds = tuple[float | None, float | None]


def _setting(
    default: Any, about: str, *, env: str = "", unit: str = "", secret: bool = False, bounds: Bounds = (None, None)
) -> Any:
    """Declare one setting. `env` is its own environment name; KFLOW__GROUP__NAME works for all."""
    metadata = {"about": about, "env": env, "unit": unit, "secret": secret, "bounds": bounds}
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kalshi:
    """Which venue, and the key that signs."""

    environment: Literal["local", "demo", "production"] = _setting(
        "local", "which venue: a private local exchange, Kalshi's demo, or Kalshi itself"
    )
    exchange: str | None = _setting(
        None, "address of a running local exchange (http://127.0.0.1:PORT); none: ingest starts a private one"
    )
    key_id: str | None = _setting(None, "id of the API key", env="KALSHI_API_KEY_ID", secret=True)
    private_key_path: Path | None = _setting(
        None, "file of the API key's private part, PEM, mode 0600", env="KALSHI_PRIVATE_KEY_PATH"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which markets are recorded."""

    markets: tuple[str, ...] = _setting(
        (), "tickers of markets, events or series, separated by commas", env="RL_MARKET_TICKER"
    )
    events: tuple[str, ...] = _setting((), "event tickers: all their markets")
    series: tuple[str, ...] = _setting((), "series tickers: the markets of their next event")
    all: bool = _setting(False, "every open market of the venue")
    min_volume: int | None = _setting(
        None, "with `all`: only markets that traded at least this much", unit="contracts", bounds=(0, None)
    )
    max_markets: int = _setting(
        1_000, "refuse a selection with more markets than this", unit="markets", bounds=(1, None)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Where kflow keeps its files."""

    dir: Path | None = _setting(
        None, "folder of journals and the embedded database; none: the platform's folder for user data",
        env="KFLOW_DATA_DIR",
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Which PostgreSQL."""

    url: str | None = _setting(
        None, "your own PostgreSQL, postgresql://…; none: an embedded server in the data folder",
        env="DATABASE_URL", secret=True,
    )  # fmt: skip
    url_file: Path | None = _setting(
        None, "file whose only line is the database URL, mode 0600 (keeps it out of the environment)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """How received messages become durable."""

    batch_rows: int = _setting(
        100, "rows after which the writer sends a batch", env="RL_ORDERBOOK_BATCH_SIZE", unit="rows", bounds=(1, None)
    )
    flush_interval_s: float = _setting(
        1.0, "longest wait of a row for its batch", env="RL_ORDERBOOK_FLUSH_INTERVAL", unit="s", bounds=(0.001, None)
    )
    sample_rate: int = _setting(
        1, "keep 1 of N deltas in the table; the journal stays whole", env="RL_ORDERBOOK_SAMPLE_RATE", bounds=(1, None)
    )
    fsync_interval_s: float = _setting(
        0.2, "longest time a received frame is only in the page cache", unit="s", bounds=(0.001, None)
    )
    queue_rows: int = _setting(
        50_000,
        "rows held in memory for the writer; beyond it the writer reads the journal",
        unit="rows",
        bounds=(100, None),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """The HTTP service that ingest starts."""

    host: str = _setting("127.0.0.1", "address to listen on; another than loopback needs a token file")
    port: int = _setting(8001, "port to listen on; 0 takes any free one", bounds=(0, 65535))
    token_file: Path | None = _setting(
        None, "file with the token that admin requests must carry, mode 0600; none: admin requests are refused"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The private local exchange that ingest starts in environment `local`."""

    preset: Literal["busy", "quiet", "weather"] = _setting("busy", "kind of synthetic order flow")
    rate: float = _setting(100.0, "messages per second of all markets together", unit="1/s", bounds=(0.001, None))
    seed: int = _setting(7, "seed of the synthetic flow: same seed, same flow", bounds=(0, None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Trading. Off unless every part is set on purpose."""

    enabled: bool = _setting(False, "may orders leave at all", env="RL_ACTOR_ENABLED")
    strategy: Literal["disabled", "hardcoded", "rl_model"] = _setting(
        "disabled", "who decides", env="RL_ACTOR_STRATEGY"
    )
    model_path: Path | None = _setting(None, "the model of strategy rl_model", env="RL_ACTOR_MODEL_PATH")
    throttle_ms: int = _setting(
        250, "shortest time between two actions in one market", env="RL_ACTOR_THROTTLE_MS", unit="ms", bounds=(0, None)
    )
    contract_size: int = _setting(
        10, "size of an order; must match training", env="RL_ACTOR_CONTRACT_SIZE", unit="contracts", bounds=(1, None)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, and by `group.name` where each value came from."""

    kalshi: Kalshi = Kalshi()
    selection: Selection = Selection()
    data: Data = Data()
    database: Database = Database()
    recorder: Recorder = Recorder()
    web: Web = Web()
    exchange: Exchange = Exchange()
    actor: Actor = Actor()
    origins: Mapping[str, str] = field(default_factory=dict, repr=False)

    def value(self, key: str) -> Any:
        """The value of `group.name`."""
        group, _, name = key.partition(".")
        return getattr(getattr(self, group), name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One setting as it was declared."""

    key: str
    kind: Any
    default: Any
    about: str
    unit: str
    secret: bool
    bounds: Bounds
    env: tuple[str, ...]

    @property
    def type_name(self) -> str:
        """The type as a reader of the documentation would say it."""
        if get_origin(self.kind) is Literal:
            return " | ".join(get_args(self.kind))
        names = {int: "whole number", float: "number", bool: "true | false", str: "text", Path: "path"}
        return names.get(_core(self.kind), "list of texts")

    def shown(self, value: Any) -> str:
        """`value` for eyes; a secret never shows."""
        if value is None or value == ():
            return "—"
        if self.secret:
            return "***"
        if isinstance(value, bool):
            return str(value).lower()
        return ", ".join(value) if isinstance(value, tuple) else str(value)


@cache
def declared() -> tuple[Declaration, ...]:
    """Every setting, in the order of declaration."""
    return tuple(_declarations())


def _declarations() -> Iterator[Declaration]:
    groups = get_type_hints(Settings)
    for group in (f for f in fields(Settings) if f.name != "origins"):
        hints = get_type_hints(groups[group.name])
        for item in fields(groups[group.name]):
            yield _declaration(group.name, item, hints[item.name])


def _declaration(group: str, item: Field[Any], kind: Any) -> Declaration:
    own, general = item.metadata["env"], f"{PREFIX}{group}__{item.name}".upper()
    assert item.default is not MISSING
    return Declaration(
        key=f"{group}.{item.name}",
        kind=kind,
        default=item.default,
        about=item.metadata["about"],
        unit=item.metadata["unit"],
        secret=item.metadata["secret"],
        bounds=item.metadata["bounds"],
        env=(own, general) if own else (general,),
    )


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Put the settings together. `flags` maps `group.name` to a typed value; None means the flag was not given.

    `environ` defaults to the process's, `file` to KFLOW_CONFIG or the kflow.toml of the current folder.
    Raises ConfigError for an unknown key or a value that does not fit.
    """
    environ = os.environ if environ is None else environ
    known = {d.key: d for d in declared()}
    found: dict[str, tuple[Any, str]] = {}
    found.update(_from_file(known, file or _config_file(environ)))
    found.update(_from_environment(known, environ))
    for key, value in (flags or {}).items():
        if value is not None:
            found[known[key].key] = (_checked(known[key], value, "the command line"), "flag")
    return _assembled(found)


def _assembled(found: Mapping[str, tuple[Any, str]]) -> Settings:
    groups: dict[str, dict[str, Any]] = {}
    for key, (value, _) in found.items():
        group, _, name = key.partition(".")
        groups.setdefault(group, {})[name] = value
    kinds = get_type_hints(Settings)
    origins = {d.key: found[d.key][1] if d.key in found else "default" for d in declared()}
    return Settings(**{group: kinds[group](**values) for group, values in groups.items()}, origins=origins)


def _config_file(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("KFLOW_CONFIG"):
        return Path(named)
    here = Path(FILE_NAME)
    return here if here.is_file() else None


def _from_file(known: Mapping[str, Declaration], path: Path | None) -> Iterator[tuple[str, tuple[Any, str]]]:
    if path is None:
        return
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="check the path and its mode") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="see docs/settings.md for an example") from None
    for group, values in table.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: {group} stands outside of a group", hint="write [group] above it")
        for name, value in values.items():
            declaration = _known(known, f"{group}.{name}", f"{path}")
            if declaration.kind in (Path, Path | None) and isinstance(value, str):
                value = path.parent / Path(value).expanduser()
            value = tuple(value) if isinstance(value, list) else value
            yield declaration.key, (_checked(declaration, value, str(path)), f"file {path.name}")


def _from_environment(
    known: Mapping[str, Declaration], environ: Mapping[str, str]
) -> Iterator[tuple[str, tuple[Any, str]]]:
    names = {name for d in known.values() for name in d.env}
    for name in environ:
        if name.startswith(PREFIX) and name not in names:
            _known(known, name.removeprefix(PREFIX).lower().replace("__", "."), f"environment variable {name}")
    for declaration in known.values():
        given = [name for name in declaration.env if environ.get(name, "") != ""]
        if len({environ[name] for name in given}) > 1:
            raise ConfigError(
                f"{' and '.join(given)} say different things about {declaration.key}", hint="unset one of them"
            )
        if given:
            yield declaration.key, (_parsed(declaration, environ[given[0]], given[0]), f"environment {given[0]}")


def _known(known: Mapping[str, Declaration], key: str, where: str) -> Declaration:
    if key in known:
        return known[key]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "kflow config show lists all settings"
    raise ConfigError(f"{where}: there is no setting {key}", hint=hint)


def _core(kind: Any) -> Any:
    """The type without `| None`."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(arg for arg in get_args(kind) if arg is not type(None))
    return get_origin(kind) or kind


def _parsed(declaration: Declaration, text: str, where: str) -> Any:
    """The value that an environment variable's `text` stands for."""
    core = _core(declaration.kind)
    if core is bool:
        words = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }
        return _checked(declaration, words.get(text.strip().lower(), text), where)
    if core is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if core is Path:
        return Path(text).expanduser()
    if core in (int, float):
        try:
            return _checked(declaration, core(text), where)
        except ValueError:
            raise _misfit(declaration, text, where) from None
    return _checked(declaration, text, where)


def _checked(declaration: Declaration, value: Any, where: str) -> Any:
    """`value` as the setting's type; ConfigError where it does not fit."""
    kind, core = declaration.kind, _core(declaration.kind)
    if core is float and type(value) is int:
        value = float(value)
    if core is Literal:
        fits = value in get_args(kind)
    elif core is tuple:
        fits = isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    elif core is Path:
        fits = isinstance(value, Path)
    else:
        fits = type(value) is core
    if not fits or not _within(value, declaration.bounds):
        raise _misfit(declaration, value, where)
    return value


def _within(value: Any, bounds: Bounds) -> bool:
    low, high = bounds
    return (low is None or value >= low) and (high is None or value <= high)


def _misfit(declaration: Declaration, value: Any, where: str) -> ConfigError:
    shown = "***" if declaration.secret else repr(value)
    low, high = declaration.bounds
    range_ = (f", at least {low:g}" if low is not None else "") + (f", at most {high:g}" if high is not None else "")
    return ConfigError(
        f"{where}: {declaration.key} cannot be {shown}", hint=f"it takes: {declaration.type_name}{range_}"
    )


def database_shown(url: str) -> str:
    """Host, port and database of a URL, never its user or password; `***` for anything else."""
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname or 'socket'}:{parts.port or 5432}{parts.path}"
    except ValueError:
        return "***"
    return f"postgresql://{place}" if parts.scheme in ("postgresql", "postgres") else "***"


def wants_traceback(environ: Mapping[str, str] | None = None) -> bool:
    """KFLOW_DEBUG: asked apart from `load`, since it must work where `load` fails."""
    value = (os.environ if environ is None else environ).get("KFLOW_DEBUG", "")
    return value.lower() not in ("", "0", "false", "no", "off")
