"""Where the units of a sweep are done: in this process, in a pool of processes, or as tasks on a Ray cluster.

All three do the same to the bit: one thread each, and nothing but a job is sent.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

import msgspec

from kflow.errors import ConfigError, KflowError, UsageError
from kflow.rl.jobs import Done, Job
from kflow.rl.units import work

_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)

_REACH_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Workers:
    """`count`: units at once."""

    count: int
    submit: Callable[[Job], Future[Done]]


@contextmanager
def here() -> Iterator[Workers]:
    """In this process, one at a time: `submit` returns when the unit is done."""

    def submit(job: Job) -> Future[Done]:
        future: Future[Done] = Future()
        future.set_result(work(job))
        return future

    yield Workers(1, submit)


@contextmanager
def pool(count: int) -> Iterator[Workers]:
    """Processes that stay: to begin one takes seconds. They end with this one, however it ends.

    Raises KflowError where one of them died.
    """
    if not 1 <= count <= 1024:
        raise UsageError(f"{count} processes cannot work", hint="--workers 2")
    context = get_context("spawn")
    # Nobody writes: the reader's end sees when the last writer is gone, and we are the only one.
    reader, writer = context.Pipe(duplex=False)
    with _environment(_ONE_THREAD), _undisturbed():
        executor = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(reader,))
        for _ in range(count):  # one begins for each that finds nobody idle, and it takes longer than this
            executor.submit(os.getpid)
    try:
        yield Workers(count, lambda job: executor.submit(work, job))
    except BrokenProcessPool:
        raise KflowError(
            "a process of the pool died; was it out of memory?", hint="resume the sweep, with fewer --workers"
        ) from None
    except BaseException:
        writer.close()  # whatever they are at, they leave it
        raise
    finally:
        executor.shutdown(cancel_futures=True)
        writer.close()
        reader.close()


def _begin(reader: Connection) -> None:
    threading.Thread(target=_end_with_parent, args=(reader,), daemon=True).start()


def _end_with_parent(reader: Connection) -> None:
    try:
        reader.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """What children find in theirs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Children that begin now do not hear Ctrl-C: the terminal sends it to them too, and we end them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def cluster(address: str, most: int | None = None) -> Iterator[Workers]:
    """Tasks of one processor each on a Ray cluster that runs: `auto` or HOST:PORT; `most` at once, default all.

    Raises ConfigError where there is no Ray, or no cluster.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError:
        raise ConfigError("--ray needs Ray, which is not installed", hint="pip install 'kflow[sweep]'") from None
    try:
        _reach(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"there is no Ray cluster at {address}: {said}", hint="begin one: ray start --head; then --ray auto"
        ) from None
    try:
        resources: Any = ray.cluster_resources
        count = int(resources().get("CPU", 0))
        task: Any = ray.remote(num_cpus=1)(_on_ray)

        def submit(job: Job) -> Future[Done]:
            future: Future[Done] = task.remote(job).future()
            return future

        yield Workers(max(min(count, most or count), 1), submit)
    finally:
        ray.shutdown()  # what still runs for us is ended


def _reach(address: str) -> None:
    """Raises OSError or ValueError where nobody listens: Ray itself would try for minutes."""
    if address != "auto":
        host, _, port = address.removeprefix("ray://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()


def _on_ray(job: Job) -> Done:
    import ray

    done = work(job)
    node = ray.get_runtime_context().get_node_id()
    return done._replace(result=msgspec.structs.replace(done.result, place=f"node {node[:8]}"))
