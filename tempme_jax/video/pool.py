"""Child processes for `workers`, which can be restarted, and end when they make no progress."""

import multiprocessing.context
import multiprocessing.sharedctypes
import resource
import signal
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from tempme_jax.video.errors import VideoError
from tempme_jax.video.progress import require_progress, share_progress

# A process is replaced after this many videos, so memory that libraries leak does not add up.
VIDEOS_PER_PROCESS = 256
# Seconds that a process may take to start or to stop on a busy machine.
PATIENCE = 60.0


class Pool:
    """Processes that can be restarted with all requests that they have not answered."""

    def __init__(
        self,
        workers: int,
        seconds: float | Callable[[Any], float],
        total: float | None,
        memory: int,
        decode: Callable[[Any], Any],
    ):
        """Start the processes; the arguments are those of `workers.decode_all`."""
        self.workers, self.total, self.memory, self.decode = workers, total, memory, decode
        self.seconds = seconds if callable(seconds) else lambda request: seconds
        self._start()

    def _start(self) -> None:
        self._progress = multiprocessing.sharedctypes.RawValue("d", time.monotonic())
        self._processes = self._make_processes(self.workers)
        self._lanes: dict[Any, tuple[ProcessPool, list[ProcessFuture]]] = {}

    def _make_processes(self, workers: int) -> ProcessPool:
        return ProcessPool(
            workers,
            max_tasks=VIDEOS_PER_PROCESS,
            initializer=_prepare_child,
            initargs=(self.memory, self._progress),
            context=_Context(),
        )

    def submit(self, request: Any) -> ProcessFuture:
        """Queue a request; those with the same `lane` are answered by one process of their own."""
        task = (self.decode, request, self.seconds(request))
        lane = getattr(request, "lane", None)
        try:
            if lane is None:
                return self._processes.schedule(_decode_in_child, task, timeout=self.total)
            processes, futures = self._open_lane(lane)
            futures.append(processes.schedule(_decode_in_child, task, timeout=self.total))
            return futures[-1]
        except RuntimeError as error:  # the pool broke; the caller restarts it
            future = ProcessFuture()
            future.set_exception(BrokenProcessPool(str(error)))
            return future

    def _open_lane(self, lane: Any) -> tuple[ProcessPool, list[ProcessFuture]]:
        if lane not in self._lanes:
            for other, (processes, futures) in list(self._lanes.items()):
                if all(future.done() for future in futures):
                    del self._lanes[other]
                    _stop(processes)
            self._lanes[lane] = self._make_processes(1), []
        return self._lanes[lane]

    def wait(self, waiting: Sequence[tuple[Any, ProcessFuture]]) -> None:
        """Wait until one of the requests is answered, or the processes stall or broke.

        A process that is killed while it answers, for example, never does.
        """
        futures = [future for _, future in waiting]
        most = max(self.seconds(request) for request, _ in waiting) + PATIENCE
        started = time.monotonic()
        while most > time.monotonic() - max(started, self._progress.value):
            if wait(futures, timeout=1.0, return_when=FIRST_COMPLETED).done:
                return
            # A pool that breaks while a request is on its way to it does not answer that one.
            if not all(processes.active for processes in self._list_pools()):
                return

    def restart(self, waiting: deque[tuple[Any, ProcessFuture]]) -> None:
        """Replace the processes, and submit all requests again."""
        self.close()
        self._start()
        for i, (request, _) in enumerate(waiting):
            waiting[i] = request, self.submit(request)

    def close(self) -> None:
        """End the processes."""
        for processes in self._list_pools():
            _stop(processes)

    def _list_pools(self) -> list[ProcessPool]:
        return [self._processes, *(processes for processes, _ in self._lanes.values())]

    def explain(self, request: Any, error: BaseException) -> VideoError:
        """Say why a request failed."""
        if isinstance(error, VideoError):
            return error
        if isinstance(error, TimeoutError):
            return VideoError(request.file, f"took more than {self.total:g} s to decode")
        if _find_exit_code(error) == -signal.SIGALRM:
            seconds = self.seconds(request)
            return VideoError(request.file, f"nothing was decoded for {seconds:g} s")
        if isinstance(error, MemoryError):
            gib = self.memory / 2**30
            return VideoError(request.file, f"needs more than {gib:.1f} GiB to decode")
        if isinstance(error, ProcessExpired):
            code = _find_exit_code(error)
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return VideoError(request.file, f"crashed the process that decoded it ({how})")
        return VideoError(request.file, f"{type(error).__name__}: {error}")


def _stop(processes: ProcessPool) -> None:
    processes.stop()
    processes.join()


def _find_exit_code(error: BaseException) -> int:
    return error.exitcode if isinstance(error, ProcessExpired) else 0


def _decode_in_child(decode: Callable[[Any], Any], request: Any, seconds: float) -> Any:
    with require_progress(seconds):
        return decode(request)


def _prepare_child(memory: int, progress: Any) -> None:
    share_progress(progress)
    limit_memory(memory)


def limit_memory(memory: int) -> None:
    """Limit the memory of this process, beyond what it has now."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The memory that libraries and their threads reserve at the start depends on the machine.
    sizes = Path("/proc/self/statm")
    if sizes.exists():
        memory += int(sizes.read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        most = memory if most == resource.RLIM_INFINITY else min(memory, most)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


class _Process(multiprocessing.context.SpawnProcess):
    """A spawned process that does not import the program's main module.

    The main module may import JAX, which takes seconds and memory. If it lacks the usual
    `if __name__ == "__main__"`, every child would run the whole program.
    """

    _starting = threading.Lock()

    def start(self) -> None:
        with self._starting:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = types.ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


class _Context(multiprocessing.context.SpawnContext):
    Process = _Process
