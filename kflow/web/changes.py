"""What to say while a session runs, to people who are not asking: that a part fell ill, and that it is well again."""

from __future__ import annotations

from typing import Final

from kflow.web.health import DEGRADED, HEALTHY, UNHEALTHY, Health

_WELL_AGAIN: Final = {
    "database": "the database is back",
    "write_queue": "the tables have caught up with the journal",
    "orderbook_client": "connected to the venue again",
    "journal": "the journal can be written again",
    "actor_service": "the actor is well again",
}


class Changes:
    """Compares one judgement with the one before. A part that stays as ill as it was is told of once."""

    def __init__(self) -> None:
        # The parts that are ill, and how.
        self._ill: dict[str, str] = {}

    def since(self, health: Health) -> list[str]:
        """Sentences about what changed since the last call."""
        said = []
        for name, component in health.components.items():
            status = component["status"]
            if status in (DEGRADED, UNHEALTHY) and self._ill.get(name) != status:
                self._ill[name] = status
                said.append(health.problems.get(name, f"{name} is {status}"))
            elif status == HEALTHY and self._ill.pop(name, None) is not None:
                said.append(_WELL_AGAIN.get(name, f"{name} is well again"))
        return said
