"""Put the settings together: flags > environment > kflow.toml > defaults, each value with its origin."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from kflow.errors import ConfigError, UsageError
from kflow.settings.groups import PREFIX, Bounds, Declaration, Settings, declared

FILE_NAME = "kflow.toml"

# Variables that are no settings, and what they do.
OTHER_VARIABLES = {
    "KFLOW_CONFIG": "the settings file, instead of ./kflow.toml",
    "KFLOW_DEBUG": "1: show the traceback of an error",
    "KFLOW_POSTGRES_BIN": "folder of the server programs (initdb, pg_ctl, postgres) that the embedded database uses",
    "KFLOW_REALDATA": "folder of recordings that the tests marked realdata read",
}


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Put the settings together. `flags` maps `group.name` to a typed value; None means the flag was not given.

    `environ` defaults to the process's, `file` to KFLOW_CONFIG or the kflow.toml of the current folder.
    Raises ConfigError for an unknown key or a value that does not fit, UsageError for a flag that does not.
    """
    environ = os.environ if environ is None else environ
    known = {d.key: d for d in declared()}
    found: dict[str, tuple[Any, str]] = {}
    found.update(_from_file(known, file or _config_file(environ)))
    found.update(_from_environment(known, environ))
    for key, value in (flags or {}).items():
        if value is not None:
            try:
                found[key] = (_checked(known[key], value, "the command line"), "flag")
            except ConfigError as error:
                raise UsageError(str(error), hint=error.hint) from None
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
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read: {why}", hint="check the path and its mode") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="kflow init -o - shows what one looks like") from None
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


def _parsed(declaration: Declaration, text: str, where: str) -> Any:
    """The value that an environment variable's `text` stands for."""
    core = declaration.core
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
    kind, core = declaration.kind, declaration.core
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


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """Variables that look like ours but nothing reads, each with the nearest name that is read, or ""."""
    names = {name for d in declared() for name in d.env} | OTHER_VARIABLES.keys()
    ours = [n for n in (os.environ if environ is None else environ) if n.startswith(("RL_", "KFLOW_", "KALSHI_"))]
    return [(n, next(iter(difflib.get_close_matches(n, names, n=1, cutoff=0.7)), "")) for n in ours if n not in names]


def wants_traceback(environ: Mapping[str, str] | None = None) -> bool:
    """KFLOW_DEBUG: asked apart from `load`, since it must work where `load` fails."""
    value = (os.environ if environ is None else environ).get("KFLOW_DEBUG", "")
    return value.lower() not in ("", "0", "false", "no", "off")
