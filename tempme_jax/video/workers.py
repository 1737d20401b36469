"""Decode many untrusted video files in child processes.

A file may crash its process, hang, or use up its memory; the other files are decoded all the same.
The children import this module, so it must not import JAX.
"""

import collections
import contextlib
import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from typing import Any, NamedTuple

from pebble import ProcessFuture

from tempme_jax.video.container import VideoError
from tempme_jax.video.frames import read_at
from tempme_jax.video.pixels import encode_jpeg
from tempme_jax.video.pool import Pool
from tempme_jax.video.positions import find_middles

# Number of times in a row that the processes are restarted without a result.
TRIES = 4

# Requests whose results are awaited.
_Waiting = collections.deque[tuple[Any, ProcessFuture]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The frames to read from a file, and their size and quality.

    Attributes:
        file: path of the video file.
        start: start of the wanted part, in seconds, as a player counts them.
        end: end of the wanted part, likewise; None for the end of the file.
        size: side of the frames in pixels.
        resize: how a frame becomes a square: "crop" or "squash", see `pixels.make_square`.
        fps: frames per second, from `start`; None for `least` evenly spread frames.
        least: smallest number of frames; if `fps` gives fewer, this many evenly spread ones.
        most: largest number of frames; if `fps` gives more, this many evenly spread ones.
        quality: quality of the JPEG files, 1 to 100.
    """

    file: str
    start: float = 0.0
    end: float | None = None
    size: int = 224
    resize: str = "crop"
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
    """JPEG files of the frames, and the times they appear, in seconds from the video's start."""

    frames: list[bytes]
    times: list[float]


def decode_file(request: Request) -> Decoded:
    """Read the requested frames, and encode them as JPEG files.

    Raises:
        VideoError: see `frames.read_at`; or the file ends before the wanted part.
    """
    frames, times = read_at(
        request.file, request.choose_times, image_size=request.size, resize=request.resize
    )
    return Decoded([encode_jpeg(frame, request.quality) for frame in frames], times.tolist())


def decode_all(
    requests: Iterable[Any],
    *,
    workers: int | None = None,
    seconds: float | Callable[[Any], float] = 60.0,
    total: float | None = None,
    memory: int = 4 * 2**30,
    ahead: int | None = None,
    in_order: bool = True,
    decode: Callable[[Any], Any] = decode_file,
) -> Generator[tuple[Any, Any], None, None]:
    """Decode files in child processes, which run with all rights of the user.

    If a file crashes its process, hangs or fills the memory, only its own request fails.

    Args:
        requests: each a `Request`, or another object with a `file`; read lazily, in this thread.
            Requests with the same `lane`, unless it is None, are answered by one process, in order.
        workers: number of processes; None for one per CPU. There are never more than requests.
        seconds: longest time without progress, which is a packet read or a frame decoded, or a
            function from the request to that time. A process that is stuck for longer is killed.
        total: longest time for one request, with progress or not; None for any.
        memory: most bytes that a process may allocate beyond those it starts with (on Linux only).
        ahead: number of requests decoded or queued beyond the next result; None: 4 per process.
        in_order: whether to yield results in the order of the requests; if not, yield each as soon
            as it is there, and start all `workers`. Then `requests` may depend on results: it
            yields None while there is no request to add, and ends when no more will come.
        decode: function that a process calls for each request, which it must be able to import.

    Yields:
        Each request, and what `decode` returned for it, or the VideoError that says why not.

    Raises:
        RuntimeError: the processes cannot run at all.
    """
    requests, workers = iter(requests), workers or os.cpu_count() or 1
    first = list(itertools.islice(requests, workers if in_order else 1))
    if not first:
        return
    requests, workers = itertools.chain(first, requests), len(first) if in_order else workers
    with contextlib.closing(Pool(workers, seconds, total, memory, decode)) as pool:
        if in_order:
            yield from _decode_in_order(requests, pool, 4 * workers if ahead is None else ahead)
        else:
            yield from _decode_as_ready(requests, pool)


def _decode_in_order(
    requests: Iterator[Any], pool: Pool, ahead: int
) -> Generator[tuple[Any, Any], None, None]:
    waiting: _Waiting = collections.deque()
    for request in requests:
        waiting.append((request, pool.submit(request)))
        if len(waiting) > ahead:
            yield _take_first(waiting, pool)
    while waiting:
        yield _take_first(waiting, pool)


def _decode_as_ready(requests: Iterator[Any], pool: Pool) -> Generator[tuple[Any, Any], None, None]:
    waiting: _Waiting = collections.deque()
    while True:
        while (request := next(requests, None)) is not None:
            waiting.append((request, pool.submit(request)))
        if not waiting:
            return
        pool.wait(waiting)
        # If none is done, `_take_first` waits once more, and then restarts the processes.
        done = next((i for i, (_, future) in enumerate(waiting) if future.done()), 0)
        waiting.rotate(-done)
        yield _take_first(waiting, pool)


def _take_first(waiting: collections.deque, pool: Pool) -> tuple[Any, Any]:
    """Take the first request off the queue, once it is done, and return it with its result."""
    for _ in range(TRIES):
        request, future = waiting[0]
        pool.wait([waiting[0]])
        if future.done() and not isinstance(future.exception(), BrokenProcessPool):
            waiting.popleft()
            error = future.exception()
            return request, pool.explain(request, error) if error else future.result()
        pool.restart(waiting)
    raise RuntimeError(
        f"the {pool.workers} processes that decode videos end or stall as soon as they are "
        "started; start fewer (workers), or look for what kills them, such as too little memory"
    )
