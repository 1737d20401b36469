"""Open untrusted video files.

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
from collections.abc import Iterator
from typing import Any

import av
import av.logging
from av.container import InputContainer
from av.error import FFmpegError
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
