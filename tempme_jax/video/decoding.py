"""Decode the frames that are on screen at given times: seek to them, or decode from the start."""

import contextlib
import itertools
import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import dropwhile
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame

from tempme_jax.video.clock import Clock
from tempme_jax.video.container import NO_FRAME, VideoError, find_video_stream, open_video
from tempme_jax.video.elementary import time_frames
from tempme_jax.video.keyframes import is_predicted
from tempme_jax.video.opening import find_held
from tempme_jax.video.player import Player
from tempme_jax.video.progress import report_progress
from tempme_jax.video.timeline import read_packets, scan

# Reduces a decoded frame to what the caller needs, so at most one large frame is in memory. Takes
# the timestamp and the upright frame, uint8 [height, width, 3].
Keep = Callable[[int, np.ndarray], Any]


class FrameReader:
    """Decodes a video forward, and finds the frames on screen at ascending timestamps.

    Attributes:
        player: shows the frames that were found.
        time: the last timestamp that was looked for; None if none was.
    """

    def __init__(self, path: str, clock: Clock, image_size: int | None):
        """Open a file, to be decoded from its start."""
        self._path, self._container = path, open_video(path)
        self._stream = find_video_stream(self._container, path)
        self.player = Player(self._container, self._stream, image_size)
        self._clock = clock
        frames = self._decode(read_packets(self._container, self._stream, clock))
        if clock.in_order:
            frames = self._time_in_order(frames)
        self._frames = _pair_with_times(time_frames(frames, self._container, self._stream))
        # The frame on screen and, if it has been decoded, the next one, with their timestamps.
        self._shown: tuple[int, VideoFrame] | None = None
        self._ahead: tuple[int, VideoFrame] | None = None
        self.time: int | None = None

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def seek(self, keyframe: int) -> bool:
        """Continue at a keyframe.

        Returns:
            Whether decoding can start there; if not, later frames are not to be trusted.
        """
        try:
            self.player.seek(keyframe)
        except FFmpegError:
            return False
        # After a seek that misses, frames up to the next keyframe are garbage.
        packets = read_packets(self._container, self._stream, self._clock)
        packets = dropwhile(lambda packet: not packet.is_keyframe, packets)
        self._frames = _pair_with_times(self._decode(packets))
        self._shown, self._ahead = None, next(self._frames, None)
        return self._ahead is None or not is_predicted(self._ahead[1])

    def find(self, time: int, *, or_next: bool = False) -> tuple[int, VideoFrame] | None:
        """Decode up to the frame that is on screen at a timestamp; return its own, and it.

        Args:
            time: not earlier than the one before, except after a seek.
            or_next: whether to return the next frame if there is none before.
        """
        self.time = time
        while self._shown is None or self._shown[0] < time:
            self._ahead = self._ahead or next(self._frames, None)
            if self._ahead is None or self._ahead[0] > time:
                break
            self._shown, self._ahead = self._ahead, None
        return self._shown or (self._ahead if or_next else None)

    def _decode(self, packets: Iterable[Packet]) -> Iterator[VideoFrame]:
        """Yield frames in the order of display, without those of damaged packets."""
        # An empty packet, of a frame that repeats the one before it, would end the decoding.
        filled = (packet for packet in packets if packet.size)
        for packet in itertools.chain(filled, [None]):
            try:
                frames = self.player.decode(packet)
            except MemoryError:
                raise
            except (FFmpegError, ValueError):  # ValueError: an unknown codec
                continue
            for frame in frames:
                report_progress()
                yield frame

    def _time_in_order(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """Give frames whose times are not right those that follow the frame before them."""
        index, following = scan(self._path), 0
        for frame in frames:
            place = bisect_left(index.times, frame.pts) if frame.pts in index.stated else following
            frame.pts = index.times[place] if place < len(index.times) else None
            following = place + 1
            yield frame


def _pair_with_times(frames: Iterable[VideoFrame]) -> Iterator[tuple[int, VideoFrame]]:
    return ((frame.pts, frame) for frame in frames if frame.pts is not None)


class Decoder:
    """Decodes wanted frames of a video, each once.

    Args:
        path: the file.
        clock: that of its `timeline.FrameIndex`.
        image_size: the short side that `keep` resizes the frames to; None for whole frames.
        keep: makes of each frame what is wanted of it.
    """

    def __init__(self, path: str, clock: Clock, image_size: int | None, keep: Keep):
        self._path, self._clock, self._image_size, self._keep = path, clock, image_size, keep

    def decode(
        self, times: Sequence[int], keyframes: Sequence[int], *, leaves_open: bool = False
    ) -> dict[int, Any]:
        """Return, by timestamp, what `keep` makes of the frame on screen at each of `times`.

        Args:
            times: timestamps, ascending.
            keyframes: timestamps of keyframes to seek to; none to decode from the start.
            leaves_open: whether to leave the file open where decoding from the start ended. The
                next call with `leaves_open`, for later frames of the same file, goes on there.

        Raises:
            VideoError: no frame can be decoded.
        """
        kept: dict[int, Any] = {}
        # A seek may miss, as in MPEG-TS; then seek to the group before. In some files no seek
        # works, or what is marked as a keyframe is none; then decode from the start.
        for back in (0, 1):
            missing = [time for time in times if time not in kept]
            if missing and keyframes:
                kept |= self._seek(missing, keyframes, back)
        missing = [time for time in times if time not in kept]
        if missing:
            kept |= self._read_on(missing, leaves_open)
        if len(kept) < len(times):
            raise VideoError(self._path, NO_FRAME)
        return kept

    def _seek(self, times: Sequence[int], keyframes: Sequence[int], back: int) -> dict[int, Any]:
        """Return what is kept of those frames that seeking finds.

        Decoding continues from one wanted frame to the next. If whole groups of pictures lie
        between, it seeks to `back` groups before the wanted one.
        """
        kept, group = {}, -1
        with contextlib.closing(FrameReader(self._path, self._clock, self._image_size)) as reader:
            for time in times:
                wanted_group = bisect_right(keyframes, time) - 1
                if wanted_group > group + 1:
                    if not reader.seek(keyframes[max(wanted_group - back, 0)]):
                        break
                found = reader.find(time)
                if found is not None:
                    kept[time] = self._keep(time, reader.player.show(found[1]))
                    group = bisect_right(keyframes, found[0]) - 1
        return kept

    def _read_on(self, times: Sequence[int], leaves_open: bool) -> dict[int, Any]:
        """Return what is kept of the frames, decoded from the start or from where it ended last."""
        kept: dict[int, Any] = {}
        key = (*_identify(self._path), self._image_size)
        reader = _left_open.pop(key, None) if leaves_open else None
        if reader is not None and reader.time is not None and reader.time > times[0]:
            reader.close()
            reader = None
        with contextlib.ExitStack() as stack:
            reader = reader or FrameReader(self._path, self._clock, self._image_size)
            stack.callback(reader.close)
            for time in times:
                found = reader.find(time, or_next=True)
                if found is not None:
                    kept[time] = self._keep(time, reader.player.show(found[1]))
            if leaves_open:
                stack.pop_all()
                close_left_open()
                _left_open[key] = reader
        return kept


# The reader that the next request is likely to go on with; at most one.
_left_open: dict[tuple, FrameReader] = {}


def close_left_open() -> None:
    """Close the reader that was left open, if one was."""
    while _left_open:
        _left_open.popitem()[1].close()


def _identify(path: str) -> tuple:
    """Return what tells one version of a file from others."""
    held = find_held(path)
    status = os.fstat(held.descriptor) if held else os.stat(path)
    return path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
