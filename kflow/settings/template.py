"""The text of a kflow.toml: every setting with its meaning, made from the declarations."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from kflow.settings.groups import Declaration, declared, groups

WIDTH: Final = 100
# What most people set first; `kflow init --minimal` writes these alone.
ESSENTIAL: Final = (
    "kalshi.environment",
    "kalshi.private_key_path",
    "selection.markets",
    "data.dir",
    "web.port",
    "actor.limits",
)
_KEY: Final = {"kalshi.private_key_path": Path("kalshi_private_key.pem")}
# What each environment needs to be set. Trading stays off in all of them.
PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "local": {},
    "demo": {"kalshi.environment": "demo", **_KEY},
    "production": {"kalshi.environment": "production", **_KEY, "actor.limits": Path("limits.toml")},
}
_HEAD: Final = """\
# Settings of kflow. Each stands here with its meaning and, behind a #, its default, or an example where
# it has none: take the # away to set it. Flags and the environment win over this file.
# What holds, and where it comes from: kflow config show --origins. Mistakes: kflow config check.
"""


def template(given: Mapping[str, Any] | None = None, *, minimal: bool = False) -> str:
    """The text of a settings file in which `given` (`group.name` to value) is set and all else stands as a comment.

    `minimal`: without the settings that few change. Secrets are never in it: it says where they belong.
    """
    values = given or {}
    parts = [_HEAD]
    for group, about in groups():
        items = [item for item in declared() if item.key.startswith(f"{group}.")]
        wanted = [item for item in items if not minimal or item.key in ESSENTIAL or item.key in values]
        if wanted:
            parts.append(f"\n# {about}\n[{group}]\n")
            parts += ["\n" + "".join(f"{line}\n" for line in _lines(item, values)) for item in wanted]
    if minimal:
        parts.append("\n# All others: kflow help settings, or kflow init --force.\n")
    return "".join(parts)


def _lines(item: Declaration, values: Mapping[str, Any]) -> Iterator[str]:
    name = item.key.partition(".")[2]
    for line in textwrap.wrap(f"{item.about[0].upper()}{item.about[1:]}.", WIDTH - 2):
        yield f"# {line}"
    if item.secret:
        yield f"# {name} is secret and has no place in this file: set {item.env[0]} in the environment."
        return
    yield f"# {'. '.join(_facts(item))}."
    if item.key in values:
        yield f"{name} = {_toml(values[item.key])}"
    else:
        yield f"#{name} = {_toml(item.example if _is_none(item.default) else item.default)}"


def _facts(item: Declaration) -> Iterator[str]:
    """What may be written, in which unit, and what holds if nothing is."""
    if get_origin(item.kind) is Literal:
        yield f"One of: {', '.join(get_args(item.kind))}"
    else:
        low, high = item.bounds
        least, most = (
            ("" if low is None else f", at least {low:,.10g}"),
            ("" if high is None else f", at most {high:,.10g}"),
        )
        kind = item.type_name.replace(" | ", " or ")
        yield f"{kind[0].upper()}{kind[1:]}{f' [{item.unit}]' if item.unit else ''}{least}{most}"
    yield f"Default: {'none' if _is_none(item.default) else item.shown(item.default)}"
    if len(item.env) > 1:
        yield f"Also: {item.env[0]}"


def _is_none(value: Any) -> bool:
    return value is None or value == ()


def _toml(value: Any) -> str:
    """A value as TOML. Its strings are JSON's, where no control character but those of JSON's escapes is met."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, int) and value >= 10_000:
        return f"{value:_}"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
