"""Reading videos window by window, in child processes that may crash, hang or run out of memory.

The child processes import this module, so it does not import JAX.
"""

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator

import numpy as np

from tempme_jax.search.indexing.probe import Source
from tempme_jax.search.indexing.schedule import (
    Chunk,
    FailedVideo,
    Piece,
    ScannedFile,
    Schedule,
)
from tempme_jax.video import container
from tempme_jax.video.container import VideoError
from tempme_jax.video.fingerprint import hash_samples, hash_whole
from tempme_jax.video.frames import read_timestamps
from tempme_jax.video.opening import CHANGED, HeldFile, hold_file
from tempme_jax.video.timeline import scan
from tempme_jax.video.windows import Sampling
from tempme_jax.video.workers import decode_all

# A damaged timestamp can make a video last for centuries; so many windows would fill the memory.
MAX_HOURS = 100

# Seconds in which a process must read a packet, decode a frame or hash a part of a file.
PATIENCE = 60.0

# One process that scans keeps about so many busy that decode. There are at least FEWEST_SCANNING,
# so others go on if a hostile file takes long.
DECODING_PER_SCANNING, FEWEST_SCANNING = 16, 2


@contextlib.contextmanager
def hold_source(source: Source) -> Iterator[HeldFile]:
    """Hold the file of a source open; a VideoError if it is another file by now."""
    with hold_file(source.file, root=source.root, state=source.state) as held:
        if source.samples and hash_samples(held) != source.samples:
            raise VideoError(source.file, CHANGED)
        yield held


def scan_file(source: Source) -> ScannedFile:
    """Find when the frames of a video come on screen, and hash its file.

    Raises:
        VideoError: the file is not a video, is longer than MAX_HOURS, or is not that of the source.
    """
    with hold_source(source) as held:
        with container.convert_errors(source.file):
            index = scan(source.file)
        if index.length > MAX_HOURS * 3600:
            hours = f"{float(index.length / 3600):.0f} hours long (at most {MAX_HOURS}; damaged?)"
            raise VideoError(source.file, hours)
        return ScannedFile(index, hash_whole(held))


def read_chunk(chunk: Chunk) -> tuple[np.ndarray, dict[int, bytes]]:
    """Read frames, uint8 [t, image_size, image_size, 3], and thumbnails by timestamp.

    Raises:
        VideoError: the frames cannot be decoded, or the file is not that of the source.
    """
    source = chunk.source
    options = {
        "image_size": chunk.image_size,
        "resize": chunk.resize,
        "pictured": chunk.pictured,
        "clock": chunk.clock,
    }
    with hold_source(source):
        return read_timestamps(source.file, chunk.times, chunk.keyframes, **options)


def work_on(request: Source | Chunk) -> ScannedFile | tuple[np.ndarray, dict[int, bytes]]:
    """Scan a file, or read a chunk; this runs in a child process."""
    return scan_file(request) if isinstance(request, Source) else read_chunk(request)


def read_windows(
    sources: Iterable[Source],
    sampling: Sampling,
    *,
    image_size: int,
    resize: str = "crop",
    workers: int | None = None,
) -> Generator[Piece | FailedVideo, None, None]:
    """Read all windows of videos of any length, in child processes.

    How much is read ahead, and so the memory it takes, depends on `workers` only.

    Args:
        sources: the files; they are taken as they are needed.
        sampling: the way in which they are cut into windows.
        image_size: side of the frames in pixels.
        resize: how a frame becomes a square: "crop" or "squash", see `Architecture`.
        workers: number of processes that decode; None for one per CPU. A few more scan the files.

    Yields:
        The pieces of each video in their order, but those of other videos may come in between:
        whatever is done comes first. A video that fails ends with one FailedVideo; its pieces
        before that are to be discarded.

    Raises:
        RuntimeError: the child processes do not run at all.
    """
    workers = workers or os.cpu_count() or 1
    scanners = max(FEWEST_SCANNING, -(-workers // DECODING_PER_SCANNING))
    schedule = Schedule(
        sources, sampling, image_size, resize=resize, scanners=scanners, decoders=workers
    )
    results = decode_all(
        schedule.choose_requests(),
        workers=workers + scanners,
        seconds=PATIENCE,
        in_order=False,
        decode=work_on,
    )
    with contextlib.closing(results):
        for request, result in results:
            yield from schedule.take_result(request, result)
