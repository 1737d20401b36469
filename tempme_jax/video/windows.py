"""Cutting a video into overlapping windows, in exact fractions of seconds; reading them."""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from tempme_jax.video.container import convert_errors
from tempme_jax.video.decoding import close_left_open
from tempme_jax.video.frames import read_timestamps
from tempme_jax.video.keyframes import count_decoded, select_keyframes
from tempme_jax.video.positions import find_middles
from tempme_jax.video.timeline import FrameIndex, scan

# A rate of 0.3333 frames per second means 1/3, so it is rounded to a fraction.
LARGEST_DENOMINATOR = 1000
LARGEST_RATE = 1000
# 32 windows of 12 frames of 224 pixels take 58 MB, and half of that on the way from a child.
WINDOWS_PER_PIECE = 32
# If seeking decodes more than so many times all frames, as with one keyframe for hours, one process
# decodes all of them in order.
MOST_DECODED = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """The way in which videos are cut into windows.

    Attributes:
        frames: number of frames per window, at least 1.
        fps: frames per second of video, from 0.001 to 1000.
        overlap: share of a window that the next one repeats, at least 0 and less than 1.

    Raises:
        TypeError: a rate or a share is not a number.
        ValueError: a value is out of its range.

    >>> Sampling(frames=12, fps=1 / 3, overlap=0.75).stride
    3
    """

    frames: int
    fps: float = 1.0
    overlap: float = 0.5

    def __post_init__(self):
        if isinstance(self.frames, bool) or not isinstance(self.frames, int) or self.frames < 1:
            raise ValueError(f"frames={self.frames!r} must be a whole number, at least 1")
        for name in ("fps", "overlap"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise TypeError(f"{name}={value!r} must be a number")
        if not 1 / LARGEST_DENOMINATOR <= self.fps <= LARGEST_RATE:
            raise ValueError(
                f"fps={self.fps!r} must be from {1 / LARGEST_DENOMINATOR:g} to {LARGEST_RATE}"
            )
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap={self.overlap!r} must be at least 0 and less than 1")

    @property
    def rate(self) -> Fraction:
        """Frames per second of video, as a fraction."""
        return Fraction(self.fps).limit_denominator(LARGEST_DENOMINATOR)

    @property
    def stride(self) -> int:
        """Number of frames between the starts of successive windows, at least 1."""
        return max(1, round(self.frames * (1 - self.overlap)))


class Window(NamedTuple):
    """A span of a video and the times of its frames, in seconds from its start."""

    start: Fraction
    end: Fraction
    moments: tuple[Fraction, ...]


def cut_into_windows(length: Fraction, sampling: Sampling) -> list[Window]:
    """Cut a video of `length` seconds into windows that together cover it.

    Frames are taken at the middles of spans of 1 / fps seconds. Each window has `sampling.frames`
    of them and starts `sampling.stride` frames after the one before; only the last one is moved
    to an earlier start, to end with the video. A video with no more frames than that is one
    window, whose frames are taken at the middles of equal spans of its length.

    Returns:
        At least one window, in ascending order.

    Raises:
        ValueError: `length` is not positive.
    """
    if length <= 0:
        raise ValueError(f"length={length} s must be positive")
    length, rate, frames = Fraction(length), sampling.rate, sampling.frames
    last = math.ceil(length * rate) - frames
    if last <= 0:
        return [Window(Fraction(0), length, tuple(find_middles(Fraction(0), length, frames)))]
    starts = [*range(0, last, sampling.stride), last]
    return [_make_window(start, length, sampling) for start in starts]


def cut_by_frames(index: FrameIndex, sampling: Sampling) -> tuple[list[Window], list[list[int]]]:
    """Cut a video as `cut_into_windows` does, but make one window of each picture that stays.

    Successive windows in which one and the same frame is on screen are joined. So there are not
    many more windows than frames, however long a file claims to last.

    Returns:
        The windows, and for each the timestamps of its frames, as in `index`.
    """
    last = math.ceil(index.length * sampling.rate) - sampling.frames
    windows: list[Window] = []
    shown: list[list[int]] = []
    start = 0
    while True:
        if last <= 0:
            [window] = cut_into_windows(index.length, sampling)
        else:
            window = _make_window(start, index.length, sampling)
        times = index.find_shown(window.moments)
        is_still = times[0] == times[-1]
        if is_still and shown and shown[-1] == times:
            windows[-1] = windows[-1]._replace(end=window.end)
        else:
            windows.append(window)
            shown.append(times)
        if start >= last:
            return windows, shown
        if is_still:  # go on with the last window before the next frame
            stays = math.ceil(index.find_end(times[0]) * sampling.rate - Fraction(1, 2))
            stills = (min(stays - sampling.frames, last) - start) // sampling.stride
            start += max(0, stills - 1) * sampling.stride
        start = min(start + sampling.stride, last)


def _make_window(start: int, length: Fraction, sampling: Sampling) -> Window:
    """Make the window whose first frame is the one with the number `start`."""
    rate, end = sampling.rate, start + sampling.frames
    # The last span may reach beyond the end, where the last frame is still on screen.
    moments = (min((i + Fraction(1, 2)) / rate, length) for i in range(start, end))
    return Window(start / rate, min(end / rate, length), tuple(moments))


def choose_keyframes(index: FrameIndex, shown: list[list[int]], at_once: int) -> list[int]:
    """Return the keyframes, or none if seeking to them costs more than to decode all frames.

    Args:
        index: the frames of the video.
        shown: the timestamps of the frames of each window, as `cut_by_frames` returns them.
        at_once: how many windows are read at once.
    """
    decoded, keyframes, frames = 0, index.keyframes, index.times
    for start in range(0, len(shown), at_once):
        ends = shown[start][0], shown[start : start + at_once][-1][-1]
        decoded += count_decoded(ends, keyframes, frames)
    return keyframes if decoded <= MOST_DECODED * len(frames) else []


class WindowReader:
    """Reads the windows of one video in this process, a piece of them at a time.

    Attributes:
        windows: all windows of the video.
    """

    def __init__(self, path: str, sampling: Sampling):
        """Find the windows of a video.

        Raises:
            VideoError: the file is not a readable video.
        """
        self._path = path
        with convert_errors(path):
            self._index = scan(path)
        self.windows, self._shown = cut_by_frames(self._index, sampling)

    def read_pieces(
        self, *, image_size: int, resize: str
    ) -> Iterator[UInt8[np.ndarray, "w f s s 3"]]:
        """Yield the frames of the windows in their order, of some windows at once.

        Args:
            image_size: side of the frames in pixels.
            resize: how a frame becomes a square: "crop" or "squash", see `pixels.make_square`.

        Raises:
            VideoError: the frames cannot be decoded.
        """
        keyframes = choose_keyframes(self._index, self._shown, WINDOWS_PER_PIECE)
        known: dict[int, np.ndarray] = {}
        try:
            for start in range(0, len(self.windows), WINDOWS_PER_PIECE):
                shown = self._shown[start : start + WINDOWS_PER_PIECE]
                times = sorted(set(itertools.chain(*shown)))
                # Each frame is decoded once, so one that decodes forward need not go back.
                new = [time for time in times if time not in known]
                known = {time: known[time] for time in times if time in known}
                if new:
                    frames, _ = read_timestamps(
                        self._path, new, select_keyframes(new, keyframes),
                        image_size=image_size, resize=resize, clock=self._index.clock,
                    )  # fmt: skip
                    known |= zip(new, frames, strict=True)
                yield np.stack([[known[time] for time in times] for times in shown])
        finally:
            close_left_open()
