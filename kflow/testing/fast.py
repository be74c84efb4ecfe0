"""Time that passes as soon as nobody has anything left to do: a day of real sockets and threads in minutes.

    clock = FastClock()
    clock.run(main(clock))

All timers of the loop and the clock share one time. While a socket is ready, or a thread of the loop's works, it stands
still; else it jumps to whatever is due next. What has a clock of its own (a database) sees only real time.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

from kflow.clock import NS_PER_S

T = TypeVar("T")
# A thread that ends wakes the loop; this is for one whose word got lost.
_PATIENCE_S: Final = 0.1


class FastClock:
    """A `Clock` whose time jumps. `passed_ns`: since it was made."""

    def __init__(self, wall_ns: int | None = None) -> None:
        self._began_ns: Final = time.time_ns() if wall_ns is None else wall_ns
        self.passed_ns = 0

    def wall_ns(self) -> int:
        return self._began_ns + self.passed_ns

    def mono_ns(self) -> int:
        return self.passed_ns

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """Run it to its end on a loop of this time."""
        with asyncio.Runner(loop_factory=lambda: FastLoop(self)) as runner:
            return runner.run(what)


class _Selector(selectors.BaseSelector):
    """Waits for sockets without waiting: where none is ready and no thread works, time jumps."""

    def __init__(self, clock: FastClock) -> None:
        self._real, self._clock = selectors.DefaultSelector(), clock
        self.working = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.working:
            return self._real.select(_PATIENCE_S)
        if timeout is None:
            return self._real.select(None)
        # Rounded up, or the timer that is due would not be.
        self._clock.passed_ns += int(timeout * NS_PER_S) + 1
        return ready

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop in the time of a `FastClock`."""

    def __init__(self, clock: FastClock) -> None:
        self._clock_of, self._selector_of = clock, _Selector(clock)
        super().__init__(self._selector_of)

    def time(self) -> float:
        return self._clock_of.passed_ns / NS_PER_S

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self._selector_of.working += 1
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _: asyncio.Future[Any]) -> None:
        self._selector_of.working -= 1
