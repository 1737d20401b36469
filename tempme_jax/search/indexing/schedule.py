"""The schedule of reading: which files are scanned and which chunks are read next."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from tempme_jax.search.indexing.probe import Source
from tempme_jax.video.clock import Clock
from tempme_jax.video.container import VideoError
from tempme_jax.video.keyframes import select_keyframes
from tempme_jax.video.timeline import FrameIndex
from tempme_jax.video.windows import (
    WINDOWS_PER_PIECE,
    Sampling,
    Window,
    choose_keyframes,
    cut_by_frames,
)


class Piece(NamedTuple):
    """Some successive windows of a video.

    Attributes:
        key: key of the source.
        seconds: length of the video in seconds, from its frames.
        spans: start and end of each of the w windows, in seconds from the video's start.
        frames: uint8 [w, frames, image_size, image_size, 3], RGB.
        thumbnails: w JPEG files, each the whole frame in the middle of its window.
        last: whether this is the last piece of the video.
        whole: 64 hexadecimal digits, the SHA-256 of the file that was read.
        first: number of windows before the first one of this piece.
    """

    key: str
    seconds: float
    spans: list[tuple[float, float]]
    frames: np.ndarray
    thumbnails: list[bytes]
    last: bool
    whole: str = ""
    first: int = 0


class ScannedFile(NamedTuple):
    """When the frames of a video come on screen, and the SHA-256 of its file."""

    index: FrameIndex
    whole: str


class FailedVideo(NamedTuple):
    """A video that failed: the stage ("open", "scan", "decode" or "embed") and the reason."""

    key: str
    stage: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """A request to a child process: the frames of some successive windows.

    Attributes:
        source: the video file.
        times: the timestamps of the frames, ascending, each once.
        keyframes: the timestamps of the keyframes needed to find them, from `select_keyframes`.
        pictured: those of `times` of which a thumbnail is made.
        image_size, resize: side of the frames, in pixels, and how they become squares.
        clock: that of the video's `FrameIndex`.
        lane: the same for all chunks of a video that one process is to decode from the start on;
            None for any process.
    """

    source: Source
    times: list[int]
    keyframes: list[int]
    pictured: list[int]
    image_size: int
    resize: str
    clock: Clock
    lane: int | None

    @property
    def file(self) -> str:
        """Path of the video file."""
        return self.source.file


class _ScannedVideo:
    """A video whose timestamps and windows are known, and what has been read of it."""

    def __init__(self, source: Source, scanned: ScannedFile, sampling: Sampling):
        self.source = source
        self.index, self.whole = scanned
        self.windows, self.shown = cut_by_frames(self.index, sampling)
        self.pictured = {_pick_middle(of_window) for of_window in self.shown}
        self.keyframes = choose_keyframes(self.index, self.shown, WINDOWS_PER_PIECE)
        # What the last piece that was yielded shares with the next one.
        self.shared: dict[int, tuple[np.ndarray, bytes]] = {}
        self.failed = False
        # Number of windows that are known and not read. The last one is always read, since only a
        # piece tells that a video has come to its end.
        count, of_file = source.known
        self.known = min(count, len(self.windows) - 1) if of_file == self.whole else 0
        self.planned = self.known  # number of windows that are known, read or being read
        self.pieces: collections.deque[_PlannedPiece] = collections.deque()

    @property
    def is_planned(self) -> bool:
        return self.failed or self.planned == len(self.windows)

    def fail(self) -> None:
        """Forget what has been read; nothing more is."""
        self.failed = True
        self.pieces.clear()

    def take_pieces(self) -> Iterator[Piece]:
        """Yield the next pieces, as far as they have been read."""
        while self.pieces and (read := self.pieces[0].read) is not None:
            planned = self.pieces.popleft()
            frames, thumbnails = read
            known = self.shared | {
                time: (frame, thumbnails.get(time, b""))
                for time, frame in zip(planned.chunk.times, frames, strict=True)
            }
            yield Piece(
                key=self.source.key,
                seconds=float(self.index.length),
                spans=[(float(window.start), float(window.end)) for window in planned.windows],
                frames=np.stack([[known[time][0] for time in times] for times in planned.shown]),
                thumbnails=[known[_pick_middle(times)][1] for times in planned.shown],
                last=planned.last,
                whole=self.whole,
                first=planned.start,
            )
            first = self._find_next_time(planned)
            self.shared = {
                time: (frame.copy(), thumbnail)
                for time, (frame, thumbnail) in known.items()
                if first is not None and time >= first
            }

    def _find_next_time(self, planned: "_PlannedPiece") -> int | None:
        """Return the timestamp of the first frame of the windows after a piece, if any."""
        following = planned.start + len(planned.windows)
        return self.shown[following][0] if following < len(self.windows) else None


@dataclasses.dataclass(kw_only=True, eq=False)
class _PlannedPiece:
    """A piece that a child process reads, and what it has read."""

    video: _ScannedVideo
    start: int  # number of windows before it
    windows: list[Window]
    shown: list[list[int]]  # the timestamps of the frames of each window
    chunk: Chunk
    last: bool
    read: tuple[np.ndarray, dict[int, bytes]] | None = None


class Schedule:
    """Which files are scanned and which chunks are read next, and what has come of them."""

    def __init__(
        self,
        sources: Iterable[Source],
        sampling: Sampling,
        image_size: int,
        *,
        resize: str = "crop",
        scanners: int,
        decoders: int,
    ):
        """Keep `scanners` processes busy with scans, and `decoders` with chunks."""
        self._sources, self._sampling = iter(sources), sampling
        self._image_size, self._resize = image_size, resize
        self._scanners, self._decoders = scanners, decoders
        self._scanning = 0
        self._videos: list[_ScannedVideo] = []  # those of which something is still to be yielded
        self._reading: dict[Chunk, _PlannedPiece] = {}

    def choose_requests(self) -> Iterator[Source | Chunk | None]:
        """Yield what to scan or read next; None if there is enough for now."""
        while True:
            if (video := self._choose_video()) is not None:
                planned = self._plan(video)
                self._reading[planned.chunk] = planned
                yield planned.chunk
            elif self._may_scan and (source := next(self._sources, None)) is not None:
                self._scanning += 1
                yield source
            elif self._scanning or self._reading:
                yield None
            else:
                return

    def _choose_video(self) -> _ScannedVideo | None:
        """Choose the video of which to read a piece; None if enough is being read."""
        kept = sum(len(video.pieces) for video in self._videos)
        # A piece that takes long holds those behind it back, of its video only.
        if len(self._reading) >= 2 * self._decoders or kept >= 4 * self._decoders:
            return None
        return next(
            (
                video
                for video in self._videos
                if not video.is_planned and len(video.pieces) <= self._decoders
            ),
            None,
        )

    @property
    def _may_scan(self) -> bool:
        waiting = sum(video.planned == video.known for video in self._videos)
        return self._scanning < self._scanners and waiting < 2 * self._decoders

    def take_result(self, request: Source | Chunk, result) -> Iterator[Piece | FailedVideo]:
        """Yield the pieces that can follow once a child has answered, or the video that failed."""
        if isinstance(request, Source):
            self._scanning -= 1
            if isinstance(result, VideoError):
                yield FailedVideo(request.key, "scan", result.reason)
            else:
                self._videos.append(_ScannedVideo(request, result, self._sampling))
            return
        planned = self._reading.pop(request)
        video = planned.video
        if video.failed:
            return
        if isinstance(result, VideoError):
            video.fail()
            yield FailedVideo(request.source.key, "decode", result.reason)
        else:
            planned.read = result
            yield from video.take_pieces()
        if video.is_planned and not video.pieces:
            self._videos.remove(video)

    def _plan(self, video: _ScannedVideo) -> _PlannedPiece:
        start = video.planned
        part = slice(start, start + WINDOWS_PER_PIECE)
        windows, shown = video.windows[part], video.shown[part]
        video.planned += len(windows)
        # Each frame is decoded once, so a process that decodes forward need not go back.
        is_first = start == video.known
        before = video.index.times[0] - 1 if is_first else video.shown[start - 1][-1]
        times = sorted({time for time in itertools.chain(*shown) if time > before})
        times = times or [before]
        chunk = Chunk(
            source=video.source,
            times=times,
            keyframes=select_keyframes(times, video.keyframes),
            pictured=[time for time in times if time in video.pictured],
            image_size=self._image_size,
            resize=self._resize,
            clock=video.index.clock,
            lane=None if video.keyframes or len(video.windows) <= WINDOWS_PER_PIECE else id(video),
        )
        last = video.planned == len(video.windows)
        planned = _PlannedPiece(
            video=video, start=start, windows=windows, shown=shown, chunk=chunk, last=last
        )
        video.pieces.append(planned)
        return planned


def _pick_middle(shown: list[int]) -> int:
    return shown[len(shown) // 2]
