"""Decoding many video files in child processes, which may crash, hang or run out of memory."""

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
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from tempme_jax.video.frames import VideoError, encode_jpeg, middles, read_at

# A process is replaced after so many videos, so that what libraries leak does not add up.
VIDEOS_PER_PROCESS = 256
# Seconds for a process to start, and to be told to stop, on a busy machine.
PATIENCE = 60.0
# How often in a row processes are started anew without a result.
TRIES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """Which frames of a file are wanted, and how they are to be stored.

    Attributes:
        file: the video file.
        start: where the wanted part begins, in seconds from the first frame of the file.
        end: where it ends, likewise; None for the end of the file.
        size: side of the frames in pixels, resized and cropped as CLIP does.
        fps: frames a second, from `start` on; None for `least` evenly spread ones.
        least: if there would be fewer, this many evenly spread ones are taken.
        most: if there would be more, this many evenly spread ones are taken.
        quality: of the JPEG, 1 to 100.
    """

    file: str
    start: float = 0.0
    end: float | None = None
    size: int = 224
    fps: float | None = 1.0
    least: int = 12
    most: int = 64
    quality: int = 95

    def moments(self, length: Fraction) -> list[Fraction]:
        """When to look at the screen, for a file of a length in seconds.

        Raises:
            VideoError: the file ends before the wanted part begins.
        """
        start = Fraction(self.start)
        end = length if self.end is None else min(length, Fraction(self.end))
        if start >= end:
            reason = f"{float(length):.1f} s long; nothing from {self.start:g} s to {self.end} s"
            raise VideoError(self.file, reason)
        if self.fps is None:
            return middles(start, end, self.least)
        # Rates such as 1/3 are meant, not the nearest float.
        rate = Fraction(self.fps).limit_denominator(1000)
        count = math.ceil((end - start) * rate)
        if not self.least <= count <= self.most:
            return middles(start, end, min(max(count, self.least), self.most))
        return [start + i / rate for i in range(count)]


class Decoded(NamedTuple):
    """JPEG files of the frames, and when each comes on screen, in seconds of the video file."""

    frames: list[bytes]
    times: list[float]


def decode_file(request: Request) -> Decoded:
    """Read the frames that are wanted, and encode them as JPEG.

    Raises:
        VideoError: as `video.read_at`, or the file ends before the wanted part.
    """
    frames, times = read_at(request.file, request.moments, image_size=request.size)
    return Decoded([encode_jpeg(frame, request.quality) for frame in frames], times.tolist())


def decode_all(
    requests: Iterable[Any],
    *,
    workers: int | None = None,
    seconds: float | Callable[[Any], float] = 60.0,
    memory: int = 4 * 2**30,
    ahead: int | None = None,
    decode: Callable[[Any], Any] = decode_file,
) -> Iterator[Any]:
    """Decode files in child processes, some ahead of the one that is asked for.

    Whatever a file does to its process, the others are decoded all the same.

    Args:
        requests: what to decode: each a `Request`, or whatever else `decode` takes and has a
            `file`. They are taken as they are needed, from this thread.
        workers: how many processes; None for one per CPU. There are never more than requests.
        seconds: the longest time for one request, or a function that gives it. A process that
            takes longer is killed.
        memory: the most bytes that a process may ask for, beyond what it starts with. Not every
            system can set it; Linux does.
        ahead: how many requests beyond the one that is asked for are decoded, or wait for that;
            None for four per process.
        decode: what a process runs; it must be importable there.

    Yields:
        For each request, in the same order, what was decoded, or a VideoError, which says why
        nothing was.

    Raises:
        RuntimeError: the child processes do not run at all.
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
                yield _first(waiting, pool)
        while waiting:
            yield _first(waiting, pool)


class _Pool:
    """Processes that can be started anew with all that they have not yet answered."""

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
        except RuntimeError as error:  # broken by now; whoever waits for it starts it anew
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


def _first(waiting: collections.deque, pool: _Pool) -> Any:
    """The result of the first that waits, which is then taken off the queue."""
    for _ in range(TRIES):
        request, future = waiting[0]
        # All before it are done, so that its turn has come. No answer in time means that a
        # process was killed at a bad moment, as while it answered, and took the answer along.
        with contextlib.suppress(TimeoutError):
            future.exception(timeout=pool.seconds(request) + PATIENCE)
        if future.done() and not isinstance(future.exception(), BrokenProcessPool):
            waiting.popleft()
            error = future.exception()
            return future.result() if error is None else _reason(request, error, pool)
        pool.restart(waiting)
    raise RuntimeError(
        f"the {pool.workers} processes that decode videos end or stall as soon as they are "
        "started; start fewer (workers), or look for what kills them, such as too little memory"
    )


def _reason(request: Any, error: BaseException, pool: _Pool) -> VideoError:
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
    # The parent ends what takes too long. Should it be gone, the process ends itself.
    signal.alarm(math.ceil(seconds + PATIENCE / 2))
    try:
        return decode(request)
    finally:
        signal.alarm(0)


def _limit_memory(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What libraries and their threads reserve from the start depends on the machine.
    sizes = Path("/proc/self/statm")
    if sizes.exists():
        memory += int(sizes.read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        most = memory if most == resource.RLIM_INFINITY else min(memory, most)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


class _Process(multiprocessing.context.SpawnProcess):
    """A spawned process that does not import the program's main module once more.

    The main module may import JAX, which takes seconds and memory, or lack the usual guard, and
    then prepare data in every child.
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
