"""Cutting a video into overlapping windows, in exact fractions of seconds."""

import dataclasses
import math
from fractions import Fraction
from typing import NamedTuple

from tempme_jax.video.frames import middles

# Rates are meant as fractions such as 1/3, not as the nearest float.
LARGEST_DENOMINATOR = 1000
LARGEST_RATE = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How videos are cut into windows.

    Attributes:
        frames: of each window, at least 1.
        fps: frames a second, from 0.001 to 1000.
        overlap: the share of a window that lies in the next one too, from 0 to less than 1.

    Raises:
        ValueError: a value is out of its range.
    """

    frames: int
    fps: float = 1.0
    overlap: float = 0.5

    def __post_init__(self):
        if isinstance(self.frames, bool) or not isinstance(self.frames, int) or self.frames < 1:
            raise ValueError(f"frames={self.frames!r} must be a whole number, at least 1")
        if not 1 / LARGEST_DENOMINATOR <= self.fps <= LARGEST_RATE:
            raise ValueError(
                f"fps={self.fps!r} must be from {1 / LARGEST_DENOMINATOR:g} to {LARGEST_RATE}"
            )
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap={self.overlap!r} must be at least 0 and less than 1")

    @property
    def rate(self) -> Fraction:
        """Frames a second, as a fraction."""
        return Fraction(self.fps).limit_denominator(LARGEST_DENOMINATOR)

    @property
    def stride(self) -> int:
        """How many frames after a window the next one starts, at least 1."""
        return max(1, round(self.frames * (1 - self.overlap)))


class Window(NamedTuple):
    """A part of a video, and when to look at the screen, in seconds from the first frame."""

    start: Fraction
    end: Fraction
    moments: tuple[Fraction, ...]


def cut(length: Fraction, sampling: Sampling) -> list[Window]:
    """The windows of a video.

    Moments come at the middles of spans of 1 / fps seconds, from the first frame on. Each window
    has `sampling.frames` of them, and starts `sampling.stride` after the one before; only the
    last is moved to the front, so that it ends with the video. A video that has no more moments
    than that is one window, with moments at the middles of equal spans of its length.

    Args:
        length: of the video, in seconds.
        sampling: how to cut.

    Returns:
        At least one window, ascending, none twice; together they cover the video.

    Raises:
        ValueError: `length` is not positive.
    """
    if length <= 0:
        raise ValueError(f"length={length} s must be positive")
    length, rate, frames = Fraction(length), sampling.rate, sampling.frames
    count = math.ceil(length * rate)
    if count <= frames:
        return [Window(Fraction(0), length, tuple(middles(Fraction(0), length, frames)))]
    # The last span may go on behind the end; at the end, its last frame is on screen.
    moments = [min((i + Fraction(1, 2)) / rate, length) for i in range(count)]
    last = count - frames
    return [
        Window(i / rate, min((i + frames) / rate, length), tuple(moments[i : i + frames]))
        for i in [*range(0, last, sampling.stride), last]
    ]
