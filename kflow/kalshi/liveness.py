"""Is the connection alive? Judged by the time in which we listened, so that our own stalls accuse nobody."""

from __future__ import annotations

from typing import Final

from kflow.clock import NS_PER_S

# After this much silence we ping; after the deadline on top of it, the connection is dead: found within 5 s.
PING_AFTER_NS: Final = 3 * NS_PER_S // 2
PONG_DEADLINE_NS: Final = 3 * NS_PER_S
# One look counts at most this much: what is over it, our loop did not run, and the socket may be full of news.
LONGEST_LOOK_NS: Final = NS_PER_S // 4


class Liveness:
    """Counts silence. `look` is called every 100 ms or so."""

    def __init__(self, now_ns: int) -> None:
        self._looked_ns = now_ns
        # Silence during which we listened.
        self.silence_ns = 0
        self._pinged = False

    def look(self, now_ns: int, *, heard: bool) -> bool:
        """Account for the time since the last look. True: send a ping now."""
        self.silence_ns += min(now_ns - self._looked_ns, LONGEST_LOOK_NS)
        self._looked_ns = now_ns
        if heard:
            self.silence_ns = 0
            self._pinged = False
        if self._pinged or self.silence_ns < PING_AFTER_NS:
            return False
        self._pinged = True
        return True

    @property
    def dead(self) -> bool:
        return self.silence_ns >= PING_AFTER_NS + PONG_DEADLINE_NS
