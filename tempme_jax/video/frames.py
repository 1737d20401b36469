"""Read frames of a video file, evenly spread or at given times, and make them square."""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from fractions import Fraction

import numpy as np

from tempme_jax.video.clock import PLAIN, Clock
from tempme_jax.video.container import (
    VideoError,
    check_pixels,
    check_regular_file,
    convert_errors,
)
from tempme_jax.video.decoding import Decoder, Keep
from tempme_jax.video.keyframes import select_keyframes
from tempme_jax.video.pixels import (
    encode_thumbnail,
    find_resized_shape,
    make_square,
    stack_frames,
)
from tempme_jax.video.positions import check_part, find_middles
from tempme_jax.video.timeline import scan

__all__ = ["VideoError", "read_at", "read_frames", "read_timestamps", "select_keyframes"]


def read_frames(
    path: str | os.PathLike[str],
    num_frames: int,
    *,
    image_size: int | None = None,
    resize: str = "crop",
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray:
    """Read `num_frames` frames spread evenly over a video, or over a part of it.

    The video, from its start to the end of its last frame, is cut into `num_frames` equal spans of
    time, and the frame on screen at the middle of each span is read. If the video has fewer
    frames, some are repeated. A frame that cannot be decoded is replaced by the one before it.
    The pixels are those that a player shows: upright, in their display shape, in standard range
    (see `player.Player`). The file is decoded in this process; use `workers.decode_all` for files
    that are not trusted.

    Args:
        path: a file in one of the formats mp4, mov, mkv, webm, avi, ts, mpg, flv, wmv, ogv.
        num_frames: number of frames, at least 1.
        image_size: side of the square that each frame becomes, in pixels; None for whole frames, in
            the display size that the file declares.
        resize: how a frame becomes a square: "crop" or "squash", see `pixels.make_square`.
        start, end: where the part begins and ends, in seconds; None for the end of the video.

    Returns:
        uint8 array [num_frames, height, width, 3], RGB.

    Raises:
        VideoError: the file is missing, not a regular file, or not a video, has no decodable
            frame, ends before `start`, or has frames of more than MAX_PIXELS pixels or too large
            for the memory.
        ValueError: `num_frames` or `image_size` is below 1, or `end` is not after `start`.
    """
    if num_frames < 1 or (image_size is not None and image_size < 1):
        raise ValueError(f"num_frames={num_frames} and image_size={image_size} must be at least 1")
    check_part(start, end)
    path = os.fsdecode(path)
    with convert_errors(path):
        index = scan(path)
        times = index.find_shown(spread_over_part(path, index.length, num_frames, start, end))
        decoder = Decoder(path, index.clock, image_size, _make_fit(path, image_size, resize))
        frames = decoder.decode(sorted(set(times)), index.keyframes)
        return stack_frames([frames[time] for time in times])


def spread_over_part(
    path: str, length: Fraction, count: int, start: float, end: float | None
) -> list[Fraction]:
    """Return the times of `count` frames, spread evenly over a part of a video of `length` seconds.

    Raises:
        VideoError: the video ends before `start`.
    """
    first = Fraction(start)
    last = length if end is None else min(Fraction(end), length)
    if first >= last:
        reason = f"{float(length):.1f} s long; nothing is left from {start:g} s on"
        raise VideoError(path, reason)
    return find_middles(first, last, count)


def read_at(
    path: str | os.PathLike[str],
    moments: Callable[[Fraction], Iterable[Fraction]],
    *,
    image_size: int | None = None,
    resize: str = "crop",
) -> tuple[np.ndarray, np.ndarray]:
    """Read the frames that are on screen at given times, each once.

    Args:
        path: the file, as for `read_frames`.
        moments: a function from the length of the video to the times of the wanted frames, all in
            seconds from the start of the video, as a player counts them.
        image_size, resize: as for `read_frames`.

    Returns:
        The frames, uint8 [t, height, width, 3], RGB, and the times at which they appear, float32
        [t], ascending, in seconds. A frame on screen at several of the given times is there once.

    Raises:
        VideoError: as for `read_frames`.
    """
    path = os.fsdecode(path)
    with convert_errors(path):
        index = scan(path)
        times = sorted(set(index.find_shown(moments(index.length))))
        decoder = Decoder(path, index.clock, image_size, _make_fit(path, image_size, resize))
        frames = decoder.decode(times, index.keyframes)
        seconds = [index.find_seconds(time) for time in times]
        return stack_frames([frames[time] for time in times]), np.array(seconds, np.float32)


def read_timestamps(
    path: str | os.PathLike[str],
    times: Sequence[int],
    keyframes: Sequence[int],
    *,
    image_size: int,
    resize: str = "crop",
    pictured: Collection[int] = (),
    clock: Clock = PLAIN,
) -> tuple[np.ndarray, dict[int, bytes]]:
    """Read the frames with given timestamps, and thumbnails of some of them.

    Args:
        path: the file, as for `read_frames`.
        times: the timestamps, ascending, as `FrameIndex.find_shown` returns them.
        keyframes: the timestamps of all keyframes, or those that `select_keyframes` returns. If
            there are none, decoding goes on where the last call ended, or starts at the beginning.
        image_size: side of the frames in pixels.
        resize: as for `read_frames`.
        pictured: those of `times` for which a thumbnail is made.
        clock: that of the file's `FrameIndex`.

    Returns:
        The frames, uint8 [t, image_size, image_size, 3], RGB, and for each timestamp in `pictured`
        the JPEG file of the uncropped frame, from `encode_thumbnail`.

    Raises:
        VideoError: as for `read_frames`.
    """
    path = os.fsdecode(path)
    fit = _make_fit(path, image_size, resize)

    def keep(time: int, pixels: np.ndarray) -> tuple[np.ndarray, bytes]:
        # This comes first, since it refuses frames that are too large.
        return fit(time, pixels), encode_thumbnail(pixels) if time in pictured else b""

    with convert_errors(path):
        check_regular_file(path)
        decoder = Decoder(path, clock, image_size, keep)
        kept = decoder.decode(times, keyframes, leaves_open=True)
        return np.stack([kept[time][0] for time in times]), {t: kept[t][1] for t in pictured}


def _make_fit(path: str, image_size: int | None, resize: str) -> Keep:
    """Return a function that makes a frame square, or keeps it whole without a size."""

    def fit(time: int, pixels: np.ndarray) -> np.ndarray:
        if image_size is None:
            return pixels
        height, width, _ = pixels.shape
        # A frame of 65535 x 1 is small, and takes gigabytes once its short side is resized.
        if resize == "crop":
            check_pixels(path, *find_resized_shape(height, width, image_size))
        return make_square(pixels[None], image_size, resize)[0]

    return fit
