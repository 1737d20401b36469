"""Open untrusted video files, and read when their frames are shown.

Other modules open videos only through this one. It guards against:

* Files that block or never end when they are opened: pipes, devices, folders.
* Play lists, and names with a protocol, which make libav open other files or network addresses.
* Small files that declare huge frames, which take gigabytes to decode.
* Damaged files: every failure is a `VideoError` with a short reason.

It does not guard against files that crash libav, or keep it busy for ever. `workers.decode_all`
does, by decoding in child processes.
"""

import contextlib
import os
import stat
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
import av.logging
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

# Containers that hold their own data. Without this list, a play list (ffconcat, HLS, DASH) that is
# named .mp4 makes libav open the files and addresses that it lists.
FORMAT_WHITELIST = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg"

# Only local files: a name such as "http:..." or "concat:..." must not become a request.
PROTOCOL_WHITELIST = "file"

# The largest frame of the 8k formats. A file of a few kilobytes can declare frames that take
# gigabytes to decode, so larger ones are refused before memory is allocated.
MAX_PIXELS = 8192 * 4320

NO_FRAME = "no decodable frame"
# libav declares a size of 0 x 0 where the true one exceeds `max_pixels`.
NO_SIZE = f"no frame size, or frames larger than {MAX_PIXELS} pixels"

# libav would write about every damaged packet to stderr; the VideoError says what matters.
av.logging.set_level(av.logging.PANIC)


class VideoError(Exception):
    """No frames can be read from a file.

    Attributes:
        path: path of the file.
        reason: why not, in a few words.
    """

    def __init__(self, path: str, reason: str):
        # Exception gets both, so the error can be pickled.
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@contextlib.contextmanager
def convert_errors(path: str) -> Iterator[None]:
    """Turn the errors of PyAV and of memory within the block into a VideoError for `path`."""
    try:
        yield
    except MemoryError as error:
        raise VideoError(path, "cannot allocate memory (frames too large, or damaged)") from error
    except VideoError as error:
        # Checked only now, since a stream cut from a broadcast may state its size late.
        if error.reason != NO_FRAME or _has_size(path):
            raise
        raise VideoError(path, NO_SIZE) from error
    except (FFmpegError, ValueError) as error:  # frames that cannot be turned into RGB
        raise VideoError(path, NO_FRAME) from error


def check_regular_file(path: str) -> None:
    """Raise a VideoError unless `path` is a readable regular file.

    Opening a pipe may block, and reading a device may never end.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise VideoError(path, "no such file") from error
    except OSError as error:
        raise VideoError(path, f"cannot be opened ({error.strerror})") from error
    if not stat.S_ISREG(mode):
        raise VideoError(path, "not a regular file")
    if not os.access(path, os.R_OK):
        raise VideoError(path, "no permission to read it")


def check_pixels(path: str, height: int, width: int) -> None:
    """Raise a VideoError for frames of more than MAX_PIXELS pixels."""
    if height * width > MAX_PIXELS:
        raise VideoError(path, f"frame larger than {MAX_PIXELS} pixels ({width} x {height})")


def open_video(path: str) -> InputContainer:
    """Open a local video file that holds its own data, not a play list.

    Raises:
        VideoError: libav cannot open the file as one of the formats of FORMAT_WHITELIST.
    """
    options = {
        "format_whitelist": FORMAT_WHITELIST,
        "protocol_whitelist": PROTOCOL_WHITELIST,
        "max_pixels": str(MAX_PIXELS),
    }
    # By default, PyAV 18 refuses tags that are not UTF-8. PyAV 19 accepts them.
    tolerant: dict[str, Any] = {}
    if int(av.__version__.split(".")[0]) < 19:
        tolerant["metadata_errors"] = "replace"
    try:
        # An absolute path, since libav reads the start of "a:b" as the name of a protocol.
        return av.open(os.path.abspath(path), options=options, **tolerant)
    except FFmpegError as error:
        raise VideoError(path, f"not a video ({error.strerror})") from error


def find_video_stream(container: InputContainer, path: str) -> VideoStream:
    """Return the first video stream that is not a cover picture.

    Raises:
        VideoError: there is none, it cannot be decoded, or its frames are too large.
    """
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            break
    else:
        raise VideoError(path, "no video stream")
    if stream.codec_context is None:
        raise VideoError(path, NO_FRAME)
    check_pixels(path, stream.codec_context.height, stream.codec_context.width)
    # Videos are decoded in parallel by processes, so threads within each would only compete.
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _has_size(path: str) -> bool:
    with open_video(path) as container:
        context = find_video_stream(container, path).codec_context
        return bool(context.width and context.height)


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
