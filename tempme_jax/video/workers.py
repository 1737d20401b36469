"""Decode many untrusted video files in child processes.

A file may crash its process, hang, or use up its memory; the other files are decoded all the same.
The children import this module, so it must not import JAX.
"""

import collections
import contextlib
import dataclasses
import itertools
import math
import multiprocessing.context
import os
import resource
import signal
import sys
import threading
import types
from collections.abc import Callable, Generator, Iterable
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from tempme_jax.video.container import VideoError
from tempme_jax.video.frames import read_at
from tempme_jax.video.pixels import encode_jpeg
from tempme_jax.video.positions import find_middles

# A process is replaced after this many videos, so memory that libraries leak does not add up.
VIDEOS_PER_PROCESS = 256
# Seconds that a process may take to start or to stop on a busy machine.
PATIENCE = 60.0
# Number of times in a row that the processes are restarted without a result.
TRIES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The frames to read from a file, and their size and quality.

    Attributes:
        file: path of the video file.
        start: start of the wanted part, in seconds from the first frame of the file.
        end: end of the wanted part, likewise; None for the end of the file.
        size: side of the frames in pixels, resized and cropped as CLIP does.
        fps: frames per second, from `start`; None for `least` evenly spread frames.
        least: smallest number of frames; if `fps` gives fewer, this many evenly spread ones.
        most: largest number of frames; if `fps` gives more, this many evenly spread ones.
        quality: quality of the JPEG files, 1 to 100.
    """

    file: str
    start: float = 0.0
    end: float | None = None
    size: int = 224
    fps: float | None = 1.0
    least: int = 12
    most: int = 64
    quality: int = 95

    def choose_times(self, length: Fraction) -> list[Fraction]:
        """Return the times of the wanted frames, in seconds, for a file of the given length.

        Raises:
            VideoError: the file ends before the wanted part starts.
        """
        start = Fraction(self.start)
        end = length if self.end is None else min(length, Fraction(self.end))
        if start >= end:
            reason = f"{float(length):.1f} s long; nothing from {self.start:g} s to {self.end} s"
            raise VideoError(self.file, reason)
        if self.fps is None:
            return find_middles(start, end, self.least)
        # A rate such as 0.333... stands for 1/3.
        rate = Fraction(self.fps).limit_denominator(1000)
        count = math.ceil((end - start) * rate)
        if not self.least <= count <= self.most:
            return find_middles(start, end, min(max(count, self.least), self.most))
        return [start + i / rate for i in range(count)]


class Decoded(NamedTuple):
    """JPEG files of the frames, and the times they appear, in seconds from the first frame."""

    frames: list[bytes]
    times: list[float]


def decode_file(request: Request) -> Decoded:
    """Read the requested frames, and encode them as JPEG files.

    Raises:
        VideoError: see `frames.read_at`; or the file ends before the wanted part.
    """
    frames, times = read_at(request.file, request.choose_times, image_size=request.size)
    return Decoded([encode_jpeg(frame, request.quality) for frame in frames], times.tolist())


def decode_all(
    requests: Iterable[Any],
    *,
    workers: int | None = None,
    seconds: float | Callable[[Any], float] = 60.0,
    memory: int = 4 * 2**30,
    ahead: int | None = None,
    decode: Callable[[Any], Any] = decode_file,
) -> Generator[tuple[Any, Any], None, None]:
    """Decode files in child processes, some of them ahead of time.

    This guards against files that crash, hang or fill the memory of the process that decodes them:
    only their own request fails. It is not a sandbox: the children run with all rights of the user.

    Args:
        requests: each a `Request`, or another object with a `file`; read lazily, in this thread.
        workers: number of processes; None for one per CPU. There are never more than requests.
        seconds: longest time for one request, or a function from the request to that time. A
            process that takes longer is killed.
        memory: most bytes that a process may allocate beyond those it starts with. Enforced on
            Linux only.
        ahead: number of requests that are decoded, or queued for it, beyond the next one to be
            yielded; None for four per process.
        decode: function that a process calls for each request, which it must be able to import.

    Yields:
        Each request, in the given order, and what `decode` returned for it, or the VideoError that
        says why it could not be decoded.

    Raises:
        RuntimeError: the child processes cannot run at all.
    """
    requests = iter(requests)
    first = list(itertools.islice(requests, workers or os.cpu_count() or 1))
    if not first:
        return
    ahead = 4 * len(first) if ahead is None else ahead
    waiting: collections.deque[tuple[Any, ProcessFuture]] = collections.deque()
    with contextlib.closing(_Pool(len(first), seconds, memory, decode)) as pool:
        for request in itertools.chain(first, requests):
            waiting.append((request, pool.submit(request)))
            if len(waiting) > ahead:
                yield _take_first(waiting, pool)
        while waiting:
            yield _take_first(waiting, pool)


class _Pool:
    """Processes that can be restarted with all requests that they have not answered."""

    def __init__(
        self,
        workers: int,
        seconds: float | Callable[[Any], float],
        memory: int,
        decode: Callable[[Any], Any],
    ):
        self.workers, self.memory, self.decode = workers, memory, decode
        self.seconds = seconds if callable(seconds) else lambda request: seconds
        self._start()

    def _start(self) -> None:
        self._processes = ProcessPool(
            self.workers,
            max_tasks=VIDEOS_PER_PROCESS,
            initializer=_limit_memory,
            initargs=(self.memory,),
            context=_Context(),
        )

    def submit(self, request: Any) -> ProcessFuture:
        seconds = self.seconds(request)
        task = (self.decode, request, seconds)
        try:
            return self._processes.schedule(_decode_in_child, task, timeout=seconds)
        except RuntimeError as error:  # the pool broke; `_take_first` restarts it
            future = ProcessFuture()
            future.set_exception(BrokenProcessPool(str(error)))
            return future

    def restart(self, waiting: collections.deque) -> None:
        self.close()
        self._start()
        for i, (request, _) in enumerate(waiting):
            waiting[i] = request, self.submit(request)

    def close(self) -> None:
        self._processes.stop()
        self._processes.join()


def _take_first(waiting: collections.deque, pool: _Pool) -> tuple[Any, Any]:
    """Take the first request off the queue, once it is done, and return it with its result."""
    for _ in range(TRIES):
        request, future = waiting[0]
        # All requests before it are done, so it has started. No answer in time means that its
        # process was killed while it answered.
        with contextlib.suppress(TimeoutError):
            future.exception(timeout=pool.seconds(request) + PATIENCE)
        if future.done() and not isinstance(future.exception(), BrokenProcessPool):
            waiting.popleft()
            error = future.exception()
            return request, _explain(request, error, pool) if error else future.result()
        pool.restart(waiting)
    raise RuntimeError(
        f"the {pool.workers} processes that decode videos end or stall as soon as they are "
        "started; start fewer (workers), or look for what kills them, such as too little memory"
    )


def _explain(request: Any, error: BaseException, pool: _Pool) -> VideoError:
    if isinstance(error, VideoError):
        return error
    if isinstance(error, TimeoutError) or _exit_code(error) == -signal.SIGALRM:
        return VideoError(request.file, f"took more than {pool.seconds(request):g} s to decode")
    if isinstance(error, MemoryError):
        return VideoError(request.file, f"needs more than {pool.memory / 2**30:.1f} GiB to decode")
    if isinstance(error, ProcessExpired):
        code = _exit_code(error)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return VideoError(request.file, f"crashed the process that decoded it ({how})")
    return VideoError(request.file, f"{type(error).__name__}: {error}")


def _exit_code(error: BaseException) -> int:
    return error.exitcode if isinstance(error, ProcessExpired) else 0


def _decode_in_child(decode: Callable[[Any], Any], request: Any, seconds: float) -> Any:
    # The parent kills a process that takes too long. If the parent is gone, the alarm does.
    signal.alarm(math.ceil(seconds + PATIENCE / 2))
    try:
        return decode(request)
    finally:
        signal.alarm(0)


def _limit_memory(memory: int) -> None:
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
