"""Read when the frames of a video are shown, from its packets and without decoding."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from tempme_jax.video.container import (
    NO_FRAME,
    VideoError,
    check_regular_file,
    find_video_stream,
    open_video,
)


def read_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Yield the packets up to the end, or to where a truncated file cannot be read further."""
    try:
        yield from container.demux(stream)
    except MemoryError:
        raise
    except (FFmpegError, IndexError):  # PyAV 18: IndexError if a stream appears late
        return


class FrameIndex(NamedTuple):
    """The times at which the frames of a video appear on screen.

    Attributes:
        times: timestamps of all frames, ascending, in units of `unit`.
        keyframes: timestamps of the keyframes, likewise.
        length: time from the first frame to the end of the last, in seconds.
        unit: length of a unit of the timestamps, in seconds.
    """

    times: list[int]
    keyframes: list[int]
    length: Fraction
    unit: Fraction

    def find_shown(self, moments: Iterable[Fraction]) -> list[int]:
        """Return the timestamp of the frame on screen at each moment.

        Args:
            moments: seconds from the first frame.
        """
        ticks = (self.times[0] + moment // self.unit for moment in moments)
        return [self.times[bisect_right(self.times, max(t, self.times[0])) - 1] for t in ticks]


def scan(path: str) -> FrameIndex:
    """Read the timestamps of all frames from the packets, without decoding.

    The length and the number of frames in a file's header are too often absent or wrong.

    Raises:
        VideoError: the file is not a readable video, or has no frames.
    """
    check_regular_file(path)
    with open_video(path) as container:
        stream = find_video_stream(container, path)
        packets = np.fromiter(
            (
                (packet.pts, packet.duration or 0, packet.is_keyframe)
                for packet in read_packets(container, stream)
                # An edit list marks the packets to cut away as discarded.
                if packet.pts is not None and packet.size and not packet.is_discard
            ),
            dtype=[("time", np.int64), ("duration", np.int64), ("is_keyframe", np.bool)],
        )
        base = stream.time_base
    if not packets.size or base is None:
        raise VideoError(path, NO_FRAME)
    unit = Fraction(base.numerator, base.denominator)
    packets.sort(order="time")
    times = packets["time"].tolist()
    last = int(packets["duration"][-1])
    if last <= 0:
        last = int(np.median(np.diff(times))) if len(times) > 1 else 1
    keyframes = packets["time"][packets["is_keyframe"]].tolist()
    return FrameIndex(times, keyframes, (times[-1] + last - times[0]) * unit, unit)
