"""Settings: flags > environment > kflow.toml > defaults, each value with its origin.

The environment is read in kflow.settings.loading alone; nothing is read at import, and nothing is global.
"""

from kflow.settings.groups import (
    Actor,
    Data,
    Database,
    Declaration,
    Exchange,
    Kalshi,
    Recorder,
    Selection,
    Settings,
    Web,
    declared,
    groups,
)
from kflow.settings.loading import FILE_NAME, OTHER_VARIABLES, load, unknown_variables, wants_traceback

__all__ = [
    "FILE_NAME",
    "OTHER_VARIABLES",
    "Actor",
    "Data",
    "Database",
    "Declaration",
    "Exchange",
    "Kalshi",
    "Recorder",
    "Selection",
    "Settings",
    "Web",
    "declared",
    "groups",
    "load",
    "unknown_variables",
    "wants_traceback",
]
