"""A part of an open video: its frames, and where decoding starts."""

from bisect import bisect_left, bisect_right
from fractions import Fraction
from typing import NamedTuple

from tempme_jax.video.container import VideoError
from tempme_jax.video.timeline import FrameIndex, scan


class Part(NamedTuple):
    """A part of a video, as a player shows it.

    Attributes:
        path: path of the file.
        index: times of its frames.
        start: start of the part, in seconds from the video's start.
        end: end of the part, likewise.
    """

    path: str
    index: FrameIndex
    start: Fraction
    end: Fraction

    @classmethod
    def open(cls, path: str, start: float, end: float) -> "Part":
        """Find the frames of a part, which ends with the video at the latest.

        Raises:
            VideoError: the file cannot be read, or ends before the part starts.
        """
        index = scan(path)
        stop = min(Fraction(end), index.length)
        if Fraction(start) >= stop:
            length = float(index.length)
            raise VideoError(path, f"{length:.1f} s long; nothing is left from {start:g} s on")
        return cls(path, index, Fraction(start), stop)

    @property
    def seconds(self) -> Fraction:
        """Length of the part."""
        return self.end - self.start

    @property
    def is_shifted(self) -> bool:
        """Whether the times of pictures are not those that the file states, so its sound's are."""
        return bool(self.index.clock.shifts or self.index.clock.moves)

    def list_times(self) -> list[int]:
        """Return the timestamps of the frames: the one on screen at the start, and all later."""
        (first,) = self.index.find_shown([self.start])
        last = bisect_left(self.index.times, self._find_stamp(self.end))
        place = bisect_left(self.index.times, first)
        return self.index.times[place : max(last, place + 1)]

    def _find_stamp(self, seconds: Fraction) -> Fraction:
        return (self.index.start + seconds) / self.index.unit

    def find_seconds(self, time: int) -> Fraction:
        """Return the second of the part at which a frame appears; negative before its start."""
        return time * self.index.unit - self.index.start - self.start

    def list_keyframes(self, time: int) -> list[int]:
        """Return the keyframes to start decoding at, the nearest first: the last two up to a time.

        There are none if seeking is of no use.
        """
        place = bisect_right(self.index.keyframes, time)
        return list(reversed(self.index.keyframes[max(0, place - 2) : place]))
