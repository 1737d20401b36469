"""A quick look at video files: their stated length, and a hash that identifies their content."""

import dataclasses
import hashlib
import os
from collections.abc import Generator, Iterable
from typing import NamedTuple

from tempme_jax.video import container
from tempme_jax.video.container import VideoError
from tempme_jax.video.workers import decode_all

# A file of at most WHOLE bytes is hashed whole; of a larger one, both edges and some blocks.
WHOLE = 2**20
EDGE = 128 * 2**10
BLOCK = 32 * 2**10
BLOCKS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A file to read, and the key by which the caller refers to it."""

    key: str
    file: str


class ProbedFile(NamedTuple):
    """Properties of a video file that are found without reading all of it.

    Attributes:
        seconds: length in seconds as the header states it; None if it states none.
        size: size of the file in bytes.
        mtime_ns: time of its last change, in nanoseconds since 1970.
        content: 32 hexadecimal digits, a hash of samples of the file.
    """

    seconds: float | None
    size: int
    mtime_ns: int
    content: str


def probe_file(source: Source) -> ProbedFile:
    """Open a file as a video, and sample its bytes.

    Raises:
        VideoError: the file is missing, not a regular file, or not a video.
    """
    path = source.file
    with container.convert_errors(path):
        container.check_regular_file(path)
        seconds = _read_stated_seconds(path)
    with open(path, "rb") as file:
        state = os.fstat(file.fileno())
        digest = hashlib.blake2b(state.st_size.to_bytes(8, "little"), digest_size=16)
        for start, length in _choose_samples(state.st_size):
            file.seek(start)
            digest.update(file.read(length))
    return ProbedFile(seconds, state.st_size, state.st_mtime_ns, digest.hexdigest())


def probe_files(
    sources: Iterable[Source], *, workers: int | None = None
) -> Generator[tuple[Source, ProbedFile | VideoError], None, None]:
    """Probe files in child processes.

    Args:
        sources: the files; they are taken as they are needed.
        workers: number of processes; None for one per CPU.

    Yields:
        Each source, in the given order, with its properties or the reason why it is not a video.

    Raises:
        RuntimeError: the child processes do not run at all.
    """
    return decode_all(sources, workers=workers, decode=probe_file)


def _read_stated_seconds(path: str) -> float | None:
    with container.open_video(path) as opened:
        stream = container.find_video_stream(opened, path)
        if stream.duration and stream.duration > 0 and stream.time_base:
            return float(stream.duration * stream.time_base)
        if opened.duration and opened.duration > 0:
            return opened.duration / 1e6  # AV_TIME_BASE
    return None


def _choose_samples(size: int) -> list[tuple[int, int]]:
    """Choose the bytes of a file to hash: pairs of start and length."""
    if size <= WHOLE:
        return [(0, size)]
    between = size - 2 * EDGE - BLOCK
    blocks = [(EDGE + between * (2 * i + 1) // (2 * BLOCKS), BLOCK) for i in range(BLOCKS)]
    return [(0, EDGE), *blocks, (size - EDGE, EDGE)]
