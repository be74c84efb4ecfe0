"""Every setting kflow knows, each declared once.

A setting is one field of one group: its name, type, default, unit, help and environment names stand here and nowhere
else; `config show`, docs/settings.md and the error messages are made from it.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

PREFIX = "KFLOW__"  # of the environment names that every setting has

# Least and greatest value, None where there is no such bound.
Bounds = tuple[float | None, float | None]


def _setting(
    default: Any,
    about: str,
    *,
    env: str = "",
    unit: str = "",
    secret: bool = False,
    bounds: Bounds = (None, None),
    example: Any = None,
) -> Any:
    """Declare one setting. `env` is its own environment name; KFLOW__GROUP__NAME works for all.

    `example`: what `kflow init` shows where the default is none.
    """
    metadata = {"about": about, "env": env, "unit": unit, "secret": secret, "bounds": bounds, "example": example}
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kalshi:
    """Which venue, and the key that signs."""

    environment: Literal["local", "demo", "production"] = _setting(
        "local", "which venue: a private local exchange, Kalshi's demo, or Kalshi itself"
    )
    exchange: str | None = _setting(
        None,
        "address of a running local exchange (http://127.0.0.1:PORT); none: ingest starts a private one",
        example="http://127.0.0.1:8080",
    )
    key_id: str | None = _setting(None, "id of the API key", env="KALSHI_API_KEY_ID", secret=True)
    private_key_path: Path | None = _setting(
        None,
        "file of the API key's private part, PEM, mode 0600",
        env="KALSHI_PRIVATE_KEY_PATH",
        example=Path("kalshi_private_key.pem"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which markets are recorded."""

    markets: tuple[str, ...] = _setting(
        (),
        "tickers of markets, events or series, separated by commas",
        env="RL_MARKET_TICKER",
        example=("INXD-25JAN03",),
    )
    events: tuple[str, ...] = _setting((), "event tickers: all their markets", example=("INXD-25JAN03",))
    series: tuple[str, ...] = _setting((), "series tickers: the markets of their next event", example=("KXBTC15M",))
    all: bool = _setting(False, "every open market of the venue")
    min_volume: int | None = _setting(
        None,
        "with `all`: only markets that traded at least this much",
        unit="contracts",
        bounds=(0, None),
        example=1_000,
    )
    max_markets: int = _setting(
        1_000, "refuse a selection with more markets than this", unit="markets", bounds=(1, None)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Where kflow keeps its files."""

    dir: Path | None = _setting(
        None, "folder of journals and the embedded database; none: the platform's folder for user data",
        env="KFLOW_DATA_DIR", example=Path("data"),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Which PostgreSQL."""

    url: str | None = _setting(
        None, "your own PostgreSQL, postgresql://…; none: an embedded server in the data folder",
        env="DATABASE_URL", secret=True,
    )  # fmt: skip
    url_file: Path | None = _setting(
        None,
        "file whose only line is the database URL, mode 0600 (keeps it out of the environment)",
        example=Path("database-url"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """How received messages become durable."""

    batch_rows: int = _setting(
        100, "rows after which the writer sends a batch", env="RL_ORDERBOOK_BATCH_SIZE", unit="rows", bounds=(1, None)
    )
    flush_interval_s: float = _setting(
        1.0, "longest wait of a row for its batch", env="RL_ORDERBOOK_FLUSH_INTERVAL", unit="s", bounds=(0.001, 3600)
    )
    sample_rate: int = _setting(
        1, "keep 1 of N deltas in the table; the journal stays whole", env="RL_ORDERBOOK_SAMPLE_RATE", bounds=(1, None)
    )
    fsync_interval_s: float = _setting(
        0.2, "longest time a received frame is only in the page cache", unit="s", bounds=(0.001, 3600)
    )
    queue_rows: int = _setting(
        200_000,
        "rows held in memory for the writer; beyond it the writer reads the journal",
        unit="rows",
        bounds=(100, None),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """How long sessions stay in the database."""

    keep_days: int | None = _setting(
        None,
        "days after its end at which a session may be archived and pruned; none: say so with --keep",
        unit="days",
        bounds=(0, 36_500),
        example=30,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """The HTTP service that ingest starts."""

    host: str = _setting("127.0.0.1", "address to listen on; another than loopback needs a token file")
    port: int = _setting(8001, "port to listen on; 0 takes any free one", bounds=(0, 65535))
    token_file: Path | None = _setting(
        None,
        "file with the token that admin requests must carry, mode 0600; none: `web-token` in the data folder, which is "
        "made on first use",
        example=Path("web-token"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The private local exchange that ingest starts in environment `local`."""

    preset: Literal["busy", "quiet", "weather"] = _setting("busy", "kind of synthetic order flow")
    rate: float = _setting(100.0, "messages per second of all markets together", unit="1/s", bounds=(0.001, 1_000_000))
    seed: int = _setting(7, "seed of the synthetic flow: same seed, same flow", bounds=(0, None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Trading."""

    enabled: bool = _setting(False, "may orders leave at all", env="RL_ACTOR_ENABLED")
    strategy: str = _setting(
        "disabled", "who decides: disabled, rl_model, hardcoded:NAME, or module:Class", env="RL_ACTOR_STRATEGY"
    )
    model_path: Path | None = _setting(
        None, "the model of strategy rl_model", env="RL_ACTOR_MODEL_PATH", example=Path("models/ppo_1.zip")
    )
    throttle_ms: int = _setting(
        250, "shortest time between two actions in one market", env="RL_ACTOR_THROTTLE_MS", unit="ms", bounds=(0, None)
    )
    contract_size: int = _setting(
        10,
        "largest order; a model that sends larger ones is refused",
        env="RL_ACTOR_CONTRACT_SIZE",
        unit="contracts",
        bounds=(1, None),
    )
    venue: Literal["paper", "exchange"] = _setting(
        "paper", "paper: live books, filled by the simulator; exchange: orders leave for kalshi.environment"
    )
    limits: Path | None = _setting(
        None, "limits file; without one the small defaults hold (kflow actor limits)", example=Path("limits.toml")
    )
    key_id: str | None = _setting(None, "id of the actor's own API key; recorders' keys should only read", secret=True)
    private_key_path: Path | None = _setting(
        None, "file of the actor's private key, PEM, mode 0600", example=Path("kalshi_actor_key.pem")
    )
    port: int = _setting(8002, "port of the actor's HTTP service; 0 takes any free one", bounds=(0, 65535))
    webhook: str | None = _setting(None, "URL that alerts are sent to, as JSON", secret=True)
    hook: tuple[str, ...] = _setting(
        (),
        "command that is run for each alert, given it as JSON: its words, separated by commas",
        example=("logger", "-t", "kflow"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, and by `group.name` where each value came from."""

    kalshi: Kalshi = Kalshi()
    selection: Selection = Selection()
    data: Data = Data()
    database: Database = Database()
    recorder: Recorder = Recorder()
    storage: Storage = Storage()
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
    example: Any

    @property
    def core(self) -> Any:
        """The type without `| None` and without its parameters."""
        if get_origin(self.kind) in (Union, types.UnionType):
            return next(arg for arg in get_args(self.kind) if arg is not type(None))
        return get_origin(self.kind) or self.kind

    @property
    def type_name(self) -> str:
        """The type as a reader of the documentation would say it."""
        if get_origin(self.kind) is Literal:
            return " | ".join(get_args(self.kind))
        names = {int: "whole number", float: "number", bool: "true | false", str: "text", Path: "path"}
        return names.get(self.core, "list of texts")

    def public(self, value: Any) -> Any:
        """`value` for programs; a secret never shows."""
        return "***" if self.secret and value is not None else value

    def shown(self, value: Any) -> str:
        """`value` for eyes; a secret never shows."""
        if value is None or value == ():
            return "—"
        value = self.public(value)
        if isinstance(value, bool):
            return str(value).lower()
        return ", ".join(value) if isinstance(value, tuple) else str(value)


def groups() -> tuple[tuple[str, str], ...]:
    """Every group: its name, and what its settings are about."""
    kinds = get_type_hints(Settings)
    return tuple((f.name, kinds[f.name].__doc__ or "") for f in fields(Settings) if f.name != "origins")


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
        example=item.metadata["example"],
    )
