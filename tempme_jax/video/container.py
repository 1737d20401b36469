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
from collections.abc import Iterator
from typing import Any

import av
import av.logging
from av.audio.stream import AudioStream
from av.codec.context import CodecContext
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from tempme_jax.video.animations import convert_animation
from tempme_jax.video.errors import VideoError as VideoError
from tempme_jax.video.kinds import (
    AUDIO,
    check_encryption,
    describe_content,
    explain_no_decoder,
    explain_no_frame,
)
from tempme_jax.video.opening import Reader, find_held, open_regular_file

# Containers that hold their own data. Without this list, a play list (ffconcat, HLS, DASH) that is
# named .mp4 makes libav open the files and addresses that it lists.
FORMAT_WHITELIST = (
    "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,rm,wtv,mxf,dv,gif,ivf,yuv4mpegpipe,"
    "mpegvideo,m4v,h264,hevc,obu"  # elementary streams
)

# Only local files: a name such as "http:..." or "concat:..." must not become a request.
PROTOCOL_WHITELIST = "file"
# While a file is held open, not even those.
NO_PROTOCOL = "none"

# The largest frame of the 8k formats. A file of a few kilobytes can declare frames that take
# gigabytes to decode, so larger ones are refused before memory is allocated.
MAX_PIXELS = 8192 * 4320

NO_FRAME = "no decodable frame"
# libav declares a size of 0 x 0 where the true one exceeds `max_pixels`.
NO_SIZE = f"no frame size, or frames larger than {MAX_PIXELS} pixels"

# libav would write about every damaged packet to stderr; the VideoError says what matters.
av.logging.set_level(av.logging.PANIC)


@contextlib.contextmanager
def convert_errors(path: str) -> Iterator[None]:
    """Turn the errors of PyAV and of memory within the block into a VideoError for `path`."""
    try:
        yield
    except MemoryError as error:
        raise VideoError(path, "cannot allocate memory (frames too large, or damaged)") from error
    except VideoError as error:
        if error.reason != NO_FRAME:
            raise
        raise VideoError(path, _explain_no_frame(path)) from error
    except FFmpegError as error:  # such as frames that cannot be turned into RGB
        raise VideoError(path, _explain_no_frame(path)) from error


def check_regular_file(path: str) -> None:
    """Raise a VideoError unless `path` is a readable regular file.

    Opening a pipe may block, and reading a device may never end.
    """
    if find_held(path) is None:
        os.close(open_regular_file(path))


def check_pixels(path: str, height: int, width: int) -> None:
    """Raise a VideoError for frames of more than MAX_PIXELS pixels."""
    if height * width > MAX_PIXELS:
        raise VideoError(path, f"frame larger than {MAX_PIXELS} pixels ({width} x {height})")


def open_video(path: str) -> InputContainer:
    """Open a local video file that holds its own data, not a play list.

    A file that is held open by `opening.hold_file` is read through its descriptor.

    Raises:
        VideoError: libav cannot open the file as one of the formats of FORMAT_WHITELIST, or it is
            encrypted or a still picture.
    """
    held = find_held(path)
    options = {
        "format_whitelist": FORMAT_WHITELIST,
        "protocol_whitelist": NO_PROTOCOL if held else PROTOCOL_WHITELIST,
        "max_pixels": str(MAX_PIXELS),
    }
    # By default, PyAV 18 refuses tags that are not UTF-8. PyAV 19 accepts them.
    tolerant: dict[str, Any] = {}
    if int(av.__version__.split(".")[0]) < 19:
        tolerant["metadata_errors"] = "replace"
    try:
        # An absolute path, since libav reads the start of "a:b" as the name of a protocol.
        source = Reader(held) if held else os.path.abspath(path)
        container = av.open(convert_animation(path) or source, options=options, **tolerant)
    except FFmpegError as error:
        raise VideoError(path, *describe_content(path)) from error
    check_encryption(path)
    return container


def find_video_stream(container: InputContainer, path: str) -> VideoStream:
    """Return the stream that is the film: the one that ffmpeg chooses.

    That is the one with the largest frames, where being flagged as default counts as much as five
    million pixels. Other than in ffmpeg, streams that cannot be decoded are passed over, and those
    that are known to hold one frame or none, if there are others.

    Raises:
        VideoError: there is none, it cannot be decoded, or its frames are too large.
    """
    films = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic  # not the cover of a song
    ]
    if not films and container.streams.audio:
        raise VideoError(path, "no video stream (audio only)", AUDIO)
    if not films:
        raise VideoError(path, explain_no_frame(path) or "no video stream")
    films = [stream for stream in films if stream.codec_context is not None]
    if not films:
        raise VideoError(path, explain_no_decoder(path))
    stream = max(films, key=_rate_stream)
    check_pixels(path, stream.codec_context.height, stream.codec_context.width)
    limit_decoder(stream.codec_context)
    return stream


def find_sound_stream(container: InputContainer) -> AudioStream | None:
    """Return the sound that ffmpeg chooses: the default one, or that with the most channels."""

    def rate(stream: AudioStream) -> tuple[bool, int]:
        return bool(stream.disposition & Disposition.default), stream.channels or 0

    return max(container.streams.audio, key=rate, default=None)


def limit_decoder(context: CodecContext) -> None:
    """Let a decoder use one thread, and refuse frames of more than MAX_PIXELS pixels."""
    # Videos are decoded in parallel by processes, so threads within each would only compete.
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS)}


def _rate_stream(stream: VideoStream) -> tuple[bool, bool, int]:
    """Return a key that is larger for streams that are more likely to be the film."""
    context, is_default = stream.codec_context, bool(stream.disposition & Disposition.default)
    # Not all containers state the number of frames; then it is 0, for all of their streams.
    empty = stream.container.format.name.startswith("mov") and stream.frames == 0
    pixels = context.width * context.height + 5_000_000 * is_default
    return not empty, stream.frames != 1, pixels


def _explain_no_frame(path: str) -> str:
    """Say why no frame of a file can be decoded."""
    with open_video(path) as container:
        context = find_video_stream(container, path).codec_context
        # Checked only now, since a stream cut from a broadcast may state its size late.
        has_size = context.width and context.height
    return explain_no_frame(path) or (NO_FRAME if has_size else NO_SIZE)
