"""Reading videos window by window, in child processes that may crash, hang or run out of memory.

The child processes import this module, so it does not import JAX.
"""

import collections
import contextlib
import dataclasses
import itertools
import os
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from tempme_jax.search.indexing.probe import Source
from tempme_jax.search.indexing.windows import Sampling, Window, cut_into_windows
from tempme_jax.video import container
from tempme_jax.video.container import VideoError
from tempme_jax.video.frames import read_timestamps, select_keyframes
from tempme_jax.video.timeline import FrameIndex, scan
from tempme_jax.video.workers import decode_all

# 32 windows of 12 frames of 224 pixels take 58 MB, and half of that on the way from a child.
WINDOWS_PER_PIECE = 32

# A damaged timestamp can make a video last for centuries; so many windows would fill the memory.
MAX_HOURS = 100

# One process that scans keeps about so many busy that decode.
DECODING_PER_SCANNING = 16


class Piece(NamedTuple):
    """Some successive windows of a video.

    Attributes:
        key: key of the source.
        seconds: length of the video in seconds, from its frames.
        spans: start and end of each of the w windows, in seconds from the first frame.
        frames: uint8 [w, frames, image_size, image_size, 3], RGB.
        thumbnails: w JPEG files, each the whole frame in the middle of its window.
        last: whether this is the last piece of the video.
    """

    key: str
    seconds: float
    spans: list[tuple[float, float]]
    frames: np.ndarray
    thumbnails: list[bytes]
    last: bool


class FailedVideo(NamedTuple):
    """A video that failed: the stage ("open", "scan", "decode" or "embed") and the reason."""

    key: str
    stage: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """A request to a child process: the frames of some successive windows.

    Attributes:
        file: the video file.
        times: the timestamps of the frames, ascending, each once.
        keyframes: the timestamps of the keyframes needed to find them, from `select_keyframes`.
        pictured: those of `times` of which a thumbnail is made.
        image_size: side of the frames, in pixels.
        seconds: length of the span of video that they cover.
    """

    file: str
    times: list[int]
    keyframes: list[int]
    pictured: list[int]
    image_size: int
    seconds: float


def scan_file(source: Source) -> FrameIndex:
    """Find when the frames of a video come on screen.

    Raises:
        VideoError: the file is not a video, or is longer than MAX_HOURS.
    """
    with container.convert_errors(source.file):
        index = scan(source.file)
    if index.length > MAX_HOURS * 3600:
        hours = f"{float(index.length / 3600):.0f} hours long (at most {MAX_HOURS}; damaged?)"
        raise VideoError(source.file, hours)
    return index


def read_chunk(chunk: Chunk) -> tuple[np.ndarray, dict[int, bytes]]:
    """Read frames, uint8 [t, image_size, image_size, 3], and thumbnails by timestamp.

    Raises:
        VideoError: the frames cannot be decoded.
    """
    options = {"image_size": chunk.image_size, "pictured": chunk.pictured}
    return read_timestamps(chunk.file, chunk.times, chunk.keyframes, **options)


def read_windows(
    sources: Iterable[Source],
    sampling: Sampling,
    *,
    image_size: int,
    workers: int | None = None,
) -> Generator[Piece | FailedVideo, None, None]:
    """Read all windows of videos of any length, in child processes.

    How much is read ahead, and so the memory it takes, depends on `workers` only.

    Args:
        sources: the files; they are taken as they are needed.
        sampling: the way in which they are cut into windows.
        image_size: side of the frames in pixels, resized and cropped as CLIP does.
        workers: number of processes that decode; None for one per CPU. A few more scan the files.

    Yields:
        The pieces of each video, in the order of `sources`. A video that fails ends with one
        FailedVideo; its pieces before that are to be discarded.

    Raises:
        RuntimeError: the child processes do not run at all.
    """
    workers = workers or os.cpu_count() or 1
    queue = _PieceQueue(sampling, image_size)
    scanners = -(-workers // DECODING_PER_SCANNING)
    scans = decode_all(sources, workers=scanners, seconds=_limit_scan_seconds, decode=scan_file)
    chunks = decode_all(
        queue.plan_chunks(scans),
        workers=workers,
        ahead=2 * workers,
        seconds=lambda chunk: 60 + 4 * chunk.seconds,
        decode=read_chunk,
    )
    with contextlib.closing(scans), contextlib.closing(chunks):
        for _, result in chunks:
            yield from queue.finish_piece(result)
        yield from queue.take_failures()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _ScannedVideo:
    """A video whose timestamps and windows are known."""

    source: Source
    index: FrameIndex
    windows: list[Window]


class _PlannedPiece(NamedTuple):
    """A piece that a child process reads."""

    video: _ScannedVideo
    windows: list[Window]
    shown: list[list[int]]  # the timestamps of the frames of each window
    chunk: Chunk
    last: bool


class _PieceQueue:
    """The pieces that are being read and the videos that failed, in the order of the sources."""

    def __init__(self, sampling: Sampling, image_size: int):
        self._sampling, self._image_size = sampling, image_size
        self._waiting: collections.deque[_PlannedPiece | FailedVideo] = collections.deque()
        self._failed_video: _ScannedVideo | None = None  # the last video whose decoding failed

    def plan_chunks(
        self, scans: Iterable[tuple[Source, FrameIndex | VideoError]]
    ) -> Iterator[Chunk]:
        """Yield the chunks to decode, from the scans of the sources."""
        for source, index in scans:
            if isinstance(index, VideoError):
                self._waiting.append(FailedVideo(source.key, "scan", index.reason))
                continue
            windows = cut_into_windows(index.length, self._sampling)
            video = _ScannedVideo(source=source, index=index, windows=windows)
            for start in range(0, len(windows), WINDOWS_PER_PIECE):
                if video is self._failed_video:
                    break
                planned = self._plan(video, start)
                self._waiting.append(planned)
                yield planned.chunk

    def _plan(self, video: _ScannedVideo, start: int) -> _PlannedPiece:
        windows = video.windows[start : start + WINDOWS_PER_PIECE]
        shown = [video.index.find_shown(window.moments) for window in windows]
        times = sorted({*itertools.chain(*shown)})
        chunk = Chunk(
            file=video.source.file,
            times=times,
            keyframes=select_keyframes(times, video.index.keyframes),
            pictured=sorted({_pick_middle(of_window) for of_window in shown}),
            image_size=self._image_size,
            seconds=float(windows[-1].end - windows[0].start),
        )
        last = start + len(windows) == len(video.windows)
        return _PlannedPiece(video, windows, shown, chunk, last)

    def take_failures(self) -> Iterator[FailedVideo]:
        """Yield the videos that failed before the next piece."""
        while self._waiting and isinstance(failure := self._waiting[0], FailedVideo):
            self._waiting.popleft()
            yield failure

    def finish_piece(
        self, result: tuple[np.ndarray, dict[int, bytes]] | VideoError
    ) -> Iterator[Piece | FailedVideo]:
        """Yield the next piece, made from what a child has read, and failures before it."""
        yield from self.take_failures()
        planned = self._waiting.popleft()
        assert isinstance(planned, _PlannedPiece)
        video = planned.video
        if video is self._failed_video:
            return
        if isinstance(result, VideoError):
            self._failed_video = video
            yield FailedVideo(video.source.key, "decode", result.reason)
            return
        frames, thumbnails = result
        yield Piece(
            key=video.source.key,
            seconds=float(video.index.length),
            spans=[(float(window.start), float(window.end)) for window in planned.windows],
            frames=frames[np.searchsorted(planned.chunk.times, planned.shown)],
            thumbnails=[thumbnails[_pick_middle(of_window)] for of_window in planned.shown],
            last=planned.last,
        )


def _pick_middle(shown: list[int]) -> int:
    return shown[len(shown) // 2]


def _limit_scan_seconds(source: Source) -> float:
    """Allow a minute, and the time that a slow disk takes to read the whole file."""
    try:
        return 60 + os.path.getsize(source.file) / 10e6
    except (OSError, ValueError):  # the scan will fail with the reason
        return 60
