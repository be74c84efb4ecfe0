"""What the commands share: the settings of one invocation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from kflow.settings import Settings, load


def load_settings(context: typer.Context, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings of this command line. `flags` maps `group.name` to a value, None where a flag was not given."""
    chosen = context.find_root().obj
    return load(flags, file=chosen["config"] if isinstance(chosen, dict) else None)
