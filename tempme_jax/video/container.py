"""Opening video files that nobody vouches for, and what their packets say.

Everything of libav that touches an untrusted file is here; `video` reads frames through it.
"""

import contextlib
import os
import stat
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

# Containers that hold their own data. Without the list a play list (ffconcat, HLS, DASH) that is
# named .mp4 makes libav open whatever files and addresses it names.
FORMAT_WHITELIST = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg"

# Only local files: a name such as "http:..." or "concat:..." must not become a request.
PROTOCOL_WHITELIST = "file"

# The largest frame of the 8k formats (8192 x 4320). A file of a few kilobytes can declare frames
# that take gigabytes to decode, so that larger ones are refused before they are allocated.
MAX_PIXELS = 8192 * 4320

NO_FRAME = "no decodable frame"
# libav declares a size of 0 x 0 where the true one is larger than it may be.
NO_SIZE = f"no frame size, or frames larger than {MAX_PIXELS} pixels"

# libav writes about every damaged packet to stderr; what matters is in the VideoError.
av.logging.set_level(av.logging.PANIC)


class VideoError(Exception):
    """A file from which no frames can be read.

    Attributes:
        path: the file.
        reason: why, in a few words.
    """

    def __init__(self, path: str, reason: str):
        # Both go to Exception, so that the error can be pickled from process to process.
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@contextlib.contextmanager
def video_errors(path: str) -> Iterator[None]:
    """What goes wrong within, as a VideoError."""
    try:
        yield
    except MemoryError as error:
        raise VideoError(path, "cannot allocate memory (frames too large, or damaged)") from error
    except VideoError as error:
        # Not asked before: a stream cut from a broadcast may tell its size only later on.
        if error.reason != NO_FRAME or _has_size(path):
            raise
        raise VideoError(path, NO_SIZE) from error
    except (FFmpegError, ValueError) as error:  # frames that cannot be turned into RGB
        raise VideoError(path, NO_FRAME) from error


def check_regular_file(path: str) -> None:
    """Refuse what blocks or never ends when it is opened: a fifo, a device, a folder."""
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
    """Raises a VideoError for frames that are too large to be decoded."""
    if height * width > MAX_PIXELS:
        raise VideoError(path, f"frame larger than {MAX_PIXELS} pixels ({width} x {height})")


def open_video(path: str) -> InputContainer:
    """Opens a local file, if it is a video that holds its own data.

    Raises:
        VideoError: if it is none.
    """
    options = {
        "format_whitelist": FORMAT_WHITELIST,
        "protocol_whitelist": PROTOCOL_WHITELIST,
        "max_pixels": str(MAX_PIXELS),
    }
    # Up to PyAV 18 a tag that is not UTF-8 is an error unless asked otherwise; 19 has no such
    # argument and needs none.
    tolerant = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    try:
        # An absolute path, since libav reads the start of "a:b" as the name of a protocol.
        return av.open(os.path.abspath(path), options=options, **tolerant)
    except FFmpegError as error:
        raise VideoError(path, f"not a video ({error.strerror})") from error


def video_stream(container: InputContainer, path: str) -> VideoStream:
    """The first stream of moving pictures; the cover of a song is a video stream to libav."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            break
    else:
        raise VideoError(path, "no video stream")
    if stream.codec_context is None:
        raise VideoError(path, NO_FRAME)
    check_pixels(path, stream.codec_context.height, stream.codec_context.width)
    # Whoever reads many videos gains more from one process per video than from threads in each.
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _has_size(path: str) -> bool:
    with open_video(path) as container:
        context = video_stream(container, path).codec_context
        return bool(context.width and context.height)


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """The packets up to where the file cannot be read any further, as when it was cut short."""
    try:
        yield from container.demux(stream)
    except MemoryError:
        raise
    except (FFmpegError, IndexError):  # PyAV 18: IndexError when a stream appeared on the way
        return


class Index(NamedTuple):
    """When the frames and keyframes come on screen, ascending, in units of `unit` seconds."""

    times: list[int]
    keyframes: list[int]
    length: Fraction
    unit: Fraction

    def shown(self, moments: Iterable[Fraction]) -> list[int]:
        """Which frames are on screen at moments given in seconds from the first frame."""
        ticks = (self.times[0] + moment // self.unit for moment in moments)
        return [self.times[bisect_right(self.times, max(t, self.times[0])) - 1] for t in ticks]


def scan(path: str) -> Index:
    """From the packets, undecoded: the timestamps of all frames.

    What a file says of its length and its number of frames is absent or wrong too often.
    """
    check_regular_file(path)
    with open_video(path) as container:
        stream = video_stream(container, path)
        packets = np.fromiter(
            (
                (packet.pts, packet.duration or 0, packet.is_keyframe)
                for packet in packets_of(container, stream)
                # Discarded packets are what an edit list cuts away.
                if packet.pts is not None and packet.size and not packet.is_discard
            ),
            dtype=[("time", np.int64), ("duration", np.int64), ("is_keyframe", np.bool)],
        )
        unit = Fraction(stream.time_base.numerator, stream.time_base.denominator)
    if not packets.size:
        raise VideoError(path, NO_FRAME)
    packets.sort(order="time")
    times = packets["time"].tolist()
    last = int(packets["duration"][-1])
    if last <= 0:
        last = int(np.median(np.diff(times))) if len(times) > 1 else 1
    keyframes = packets["time"][packets["is_keyframe"]].tolist()
    return Index(times, keyframes, (times[-1] + last - times[0]) * unit, unit)
