"""How long video files are and which is which, as far as a quick look tells."""

import collections
import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tempme_jax.video import container
from tempme_jax.video.container import VideoError
from tempme_jax.video.workers import decode_all

# A file of at most WHOLE bytes is hashed whole; of a larger one, the edges and blocks between.
WHOLE = 2**20
EDGE = 128 * 2**10
BLOCK = 32 * 2**10
BLOCKS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A file to read, and the name by which the caller knows it."""

    key: str
    file: str


class Probed(NamedTuple):
    """What can be said of a video without reading all of it.

    Attributes:
        seconds: the length that the header states; None if it states none.
        size: of the file, in bytes.
        mtime_ns: when the file was changed, in nanoseconds.
        content: 32 hexadecimal digits that tell what the file holds from what others do.
    """

    seconds: float | None
    size: int
    mtime_ns: int
    content: str


def probe(source: Source) -> Probed:
    """Open a file as a video, and sample its bytes.

    Raises:
        VideoError: it is missing, not a regular file, or not a video.
    """
    path = source.file
    with container.video_errors(path):
        container.check_regular_file(path)
        seconds = _stated_seconds(path)
    with open(path, "rb") as file:
        state = os.fstat(file.fileno())
        digest = hashlib.blake2b(state.st_size.to_bytes(8, "little"), digest_size=16)
        for start, length in _sampled(state.st_size):
            file.seek(start)
            digest.update(file.read(length))
    return Probed(seconds, state.st_size, state.st_mtime_ns, digest.hexdigest())


def probe_all(
    sources: Iterable[Source],
    *,
    workers: int | None = None,
    seconds: float = 60.0,
    memory: int = 4 * 2**30,
) -> Iterator[tuple[Source, Probed | VideoError]]:
    """Probe files in child processes.

    Args:
        sources: the files; they are taken as they are needed.
        workers: how many processes; None for one per CPU.
        seconds: the longest time for one file.
        memory: the most bytes that a process may ask for.

    Yields:
        Each source, in the same order, and what was found, or why it is no video.

    Raises:
        RuntimeError: as `decoding.decode_all`.
    """
    limits = {"workers": workers, "seconds": seconds, "memory": memory}
    taken: collections.deque[Source] = collections.deque()
    results = decode_all(noting(sources, taken), **limits, decode=probe)
    with contextlib.closing(results):
        for result in results:
            yield taken.popleft(), result


def noting(sources: Iterable[Source], taken: collections.deque[Source]) -> Iterator[Source]:
    """The sources; each is also put into `taken`."""
    for source in sources:
        taken.append(source)
        yield source


def _stated_seconds(path: str) -> float | None:
    with container.open_video(path) as opened:
        stream = container.video_stream(opened, path)
        if stream.duration and stream.duration > 0:
            return float(stream.duration * stream.time_base)
        if opened.duration and opened.duration > 0:
            return opened.duration / 1e6  # AV_TIME_BASE
    return None


def _sampled(size: int) -> list[tuple[int, int]]:
    """Which bytes of a file are hashed: starts and lengths."""
    if size <= WHOLE:
        return [(0, size)]
    between = size - 2 * EDGE - BLOCK
    blocks = [(EDGE + between * (2 * i + 1) // (2 * BLOCKS), BLOCK) for i in range(BLOCKS)]
    return [(0, EDGE), *blocks, (size - EDGE, EDGE)]
