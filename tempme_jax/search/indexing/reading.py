"""Reading videos window by window, in child processes that may crash, hang or run out of memory.

Nothing here needs JAX: the children import this module.
"""

import collections
import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from tempme_jax.search.indexing.probe import Probed, Source, noting, probe_all
from tempme_jax.search.indexing.windows import Sampling, Window, cut
from tempme_jax.video import container
from tempme_jax.video.container import VideoError
from tempme_jax.video.frames import keyframes_for, read_shown
from tempme_jax.video.workers import decode_all

__all__ = ["Failed", "Piece", "Probed", "Source", "probe_all", "read_windows"]

# 32 windows of 12 frames of 224 pixels are 58 MB, and half of that on the way from a child.
WINDOWS_PER_PIECE = 32

# A damaged timestamp can make a video last for centuries, and as many windows fill the memory.
MAX_HOURS = 100

# A process that scans keeps about so many busy that decode.
DECODING_PER_SCANNING = 16


class Piece(NamedTuple):
    """Some successive windows of a video.

    Attributes:
        key: of the source.
        seconds: the length of the video, from its frames.
        spans: w pairs: where each window starts and ends, in seconds from the first frame.
        frames: uint8 [w, frames, image_size, image_size, 3], RGB.
        thumbnails: w JPEG files, each the whole frame in the middle of its window.
        last: no more pieces of this video follow.
    """

    key: str
    seconds: float
    spans: list[tuple[float, float]]
    frames: np.ndarray
    thumbnails: list[bytes]
    last: bool


class Failed(NamedTuple):
    """A video that cannot be read, at which stage ("open", "scan" or "decode"), and why."""

    key: str
    stage: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """Which frames of a file a child reads.

    Attributes:
        file: the video file.
        times: the timestamps of the frames, ascending, none twice.
        keyframes: what `keyframes_for` keeps of those of the file.
        pictured: of which of `times` a thumbnail is made.
        image_size: side of the frames, in pixels.
        seconds: how much of the video they are spread over.
    """

    file: str
    times: list[int]
    keyframes: list[int]
    pictured: list[int]
    image_size: int
    seconds: float


def scan_file(source: Source) -> container.Index:
    """When the frames of a video come on screen.

    Raises:
        VideoError: as `container.scan`, or it lasts for more than MAX_HOURS.
    """
    with container.video_errors(source.file):
        index = container.scan(source.file)
    if index.length > MAX_HOURS * 3600:
        hours = f"{float(index.length / 3600):.0f} hours long (at most {MAX_HOURS}; damaged?)"
        raise VideoError(source.file, hours)
    return index


def read_chunk(chunk: Chunk) -> tuple[np.ndarray, dict[int, bytes]]:
    """The frames, uint8 [t, image_size, image_size, 3], and thumbnails by timestamp.

    Raises:
        VideoError: as `video.read_shown`.
    """
    return read_shown(
        chunk.file,
        chunk.times,
        chunk.keyframes,
        image_size=chunk.image_size,
        pictured=chunk.pictured,
    )


def read_windows(
    sources: Iterable[Source],
    sampling: Sampling,
    *,
    image_size: int,
    workers: int | None = None,
    memory: int = 4 * 2**30,
) -> Iterator[Piece | Failed]:
    """Read all windows of all videos, however long these are, in child processes.

    What is read ahead, and so the memory that it takes, depends on `workers` alone.

    Args:
        sources: the files; they are taken as they are needed.
        sampling: how they are cut into windows.
        image_size: side of the frames in pixels, resized and cropped as CLIP does.
        workers: how many processes decode; None for one per CPU. A few more scan the files.
        memory: the most bytes that a process may ask for, beyond what it starts with.

    Yields:
        The pieces of each video, in the order of `sources`. When a video fails, this is said
        once, and nothing more follows of it; pieces that came before do not count.

    Raises:
        RuntimeError: as `decoding.decode_all`.
    """
    workers = workers or os.cpu_count() or 1
    plans = _Plans(sampling, image_size)
    with contextlib.ExitStack() as stack:

        def started(requests, **options):
            results = decode_all(requests, memory=memory, **options)
            return stack.enter_context(contextlib.closing(results))

        scanned: collections.deque[Source] = collections.deque()
        scans = started(
            noting(sources, scanned),
            workers=-(-workers // DECODING_PER_SCANNING),
            seconds=_seconds_to_scan,
            decode=scan_file,
        )
        chunks = started(
            plans.chunks(scans, scanned),
            workers=workers,
            ahead=2 * workers,
            seconds=lambda chunk: 60 + 4 * chunk.seconds,
            decode=read_chunk,
        )
        for result in chunks:
            yield from plans.finished(result)
        yield from plans.failures()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Video:
    """A video that was scanned."""

    source: Source
    index: container.Index
    windows: list[Window]


class _Planned(NamedTuple):
    """A piece that a child reads."""

    video: _Video
    windows: list[Window]
    shown: list[list[int]]  # the timestamps of the frames of each window
    chunk: Chunk
    last: bool


class _Plans:
    """What is yet to come, in order: pieces that are being read, and videos that failed."""

    def __init__(self, sampling: Sampling, image_size: int):
        self._sampling, self._image_size = sampling, image_size
        self._waiting: collections.deque[_Planned | Failed] = collections.deque()
        self._failed: _Video | None = None  # the last that did while it was decoded

    def chunks(
        self, scans: Iterable[container.Index | VideoError], scanned: collections.deque[Source]
    ) -> Iterator[Chunk]:
        """What to decode, from the scans of the sources."""
        for index in scans:
            source = scanned.popleft()
            if isinstance(index, VideoError):
                self._waiting.append(Failed(source.key, "scan", index.reason))
                continue
            windows = cut(index.length, self._sampling)
            video = _Video(source=source, index=index, windows=windows)
            for start in range(0, len(windows), WINDOWS_PER_PIECE):
                if video is self._failed:
                    break
                planned = self._plan(video, start)
                self._waiting.append(planned)
                yield planned.chunk

    def _plan(self, video: _Video, start: int) -> _Planned:
        windows = video.windows[start : start + WINDOWS_PER_PIECE]
        shown = [video.index.shown(window.moments) for window in windows]
        times = sorted({*itertools.chain(*shown)})
        chunk = Chunk(
            file=video.source.file,
            times=times,
            keyframes=keyframes_for(times, video.index.keyframes),
            pictured=sorted({_middle(of_window) for of_window in shown}),
            image_size=self._image_size,
            seconds=float(windows[-1].end - windows[0].start),
        )
        last = start + len(windows) == len(video.windows)
        return _Planned(video, windows, shown, chunk, last)

    def failures(self) -> Iterator[Failed]:
        """The videos that failed before the next piece."""
        while self._waiting and isinstance(self._waiting[0], Failed):
            yield self._waiting.popleft()

    def finished(
        self, result: tuple[np.ndarray, dict[int, bytes]] | VideoError
    ) -> Iterator[Piece | Failed]:
        """What there is to say when the piece that comes next was read."""
        yield from self.failures()
        planned = self._waiting.popleft()
        video = planned.video
        if video is self._failed:
            return
        if isinstance(result, VideoError):
            self._failed = video
            yield Failed(video.source.key, "decode", result.reason)
            return
        frames, thumbnails = result
        yield Piece(
            key=video.source.key,
            seconds=float(video.index.length),
            spans=[(float(window.start), float(window.end)) for window in planned.windows],
            frames=frames[np.searchsorted(planned.chunk.times, planned.shown)],
            thumbnails=[thumbnails[_middle(of_window)] for of_window in planned.shown],
            last=planned.last,
        )


def _middle(shown: list[int]) -> int:
    return shown[len(shown) // 2]


def _seconds_to_scan(source: Source) -> float:
    """A minute, and as long as a slow disk takes to read the whole file."""
    try:
        return 60 + os.path.getsize(source.file) / 10e6
    except (OSError, ValueError):  # which the scan will say
        return 60
