"""What a user wrote himself and names as `module:name`: a policy, a fill model."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any, Final

from kflow.errors import ConfigError

# A model's version is a number; a name that Python knows is none.
_REFERENCE: Final = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")


def is_own(reference: str) -> bool:
    """Whether this is such a name, and not a model's `name:version`."""
    return _REFERENCE.fullmatch(reference) is not None


def named(reference: str) -> Any:
    """What is behind it, in the present folder too. Raises ConfigError where there is none, or where its code fails."""
    module, _, name = reference.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, so that nothing that is installed is hidden
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{reference} cannot be had: {error}", hint="module:name; modules of the present folder are found"
        ) from error
    except Exception as error:  # code that is not ours may raise anything
        raise ConfigError(
            f"{reference} cannot be had: {type(error).__name__}: {error}",
            hint="kflow --debug … shows where it happened",
        ) from error


def source_of(thing: Any) -> str:
    """Which code it is, for results: its file's name, and the first digits of the file's SHA-256."""
    path = Path(inspect.getfile(thing))
    return f"{path.name}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}…"
