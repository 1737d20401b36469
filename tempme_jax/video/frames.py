"""Read frames of a video file, evenly spread or at given times, and crop them as CLIP does."""

import os
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import dropwhile
from typing import Any

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from tempme_jax.video.container import (
    NO_FRAME,
    VideoError,
    check_pixels,
    check_regular_file,
    convert_errors,
    find_video_stream,
    open_video,
)
from tempme_jax.video.pixels import (
    convert_to_rgb,
    encode_thumbnail,
    find_resized_shape,
    resize_and_crop,
)
from tempme_jax.video.positions import find_middles
from tempme_jax.video.timeline import read_packets, scan

# Reduces a decoded frame to what the caller needs, so at most one large frame is in memory. Takes
# the timestamp and the upright frame, uint8 [height, width, 3].
Keep = Callable[[int, np.ndarray], Any]


def read_frames(
    path: str | os.PathLike[str], num_frames: int, *, image_size: int | None = None
) -> np.ndarray:
    """Read `num_frames` frames spread evenly over the whole video.

    The video, from its first frame to the end of its last, is cut into `num_frames` equal spans
    of time, and the frame on screen at the middle of each span is read. If the video has fewer
    frames, some are repeated. A frame that cannot be decoded is replaced by the one before it.
    Rotations and flips stored in the file are applied; non-square pixels are not stretched. The
    file is decoded in this process; use `workers.decode_all` for files that are not trusted.

    Args:
        path: a file in one of the formats mp4, mov, mkv, webm, avi, ts, mpg, flv, wmv, ogv.
        num_frames: number of frames, at least 1.
        image_size: side of the square, in pixels, that `resize_and_crop` makes of each frame;
            None for whole frames, at the size that the file declares.

    Returns:
        uint8 array [num_frames, height, width, 3], RGB.

    Raises:
        VideoError: the file is missing, not a regular file, or not a video, has no decodable
            frame, or has frames of more than MAX_PIXELS pixels or too large for the memory.
        ValueError: `num_frames` or `image_size` is below 1.
    """
    if num_frames < 1 or (image_size is not None and image_size < 1):
        raise ValueError(f"num_frames={num_frames} and image_size={image_size} must be at least 1")
    path = os.fsdecode(path)
    with convert_errors(path):
        index = scan(path)
        times = index.find_shown(find_middles(Fraction(0), index.length, num_frames))
        keep, whole = _make_crop(path, image_size), image_size is None
        frames = _decode_all(path, sorted(set(times)), index.keyframes, keep, whole=whole)
        return np.stack([frames[time] for time in times])


def read_at(
    path: str | os.PathLike[str],
    moments: Callable[[Fraction], Iterable[Fraction]],
    *,
    image_size: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Read the frames that are on screen at given times, each once.

    Args:
        path: the file, as for `read_frames`.
        moments: a function from the length of the video to the times of the wanted frames, all in
            seconds from the first frame.
        image_size: as for `read_frames`.

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
        keep, whole = _make_crop(path, image_size), image_size is None
        frames = _decode_all(path, times, index.keyframes, keep, whole=whole)
        seconds = [float((time - index.times[0]) * index.unit) for time in times]
        return np.stack([frames[time] for time in times]), np.array(seconds, np.float32)


def read_timestamps(
    path: str | os.PathLike[str],
    times: Sequence[int],
    keyframes: Sequence[int],
    *,
    image_size: int,
    pictured: Collection[int] = (),
) -> tuple[np.ndarray, dict[int, bytes]]:
    """Read the frames with given timestamps, and thumbnails of some of them.

    Args:
        path: the file, as for `read_frames`.
        times: the timestamps, ascending, as `FrameIndex.find_shown` returns them.
        keyframes: the timestamps of all keyframes, or those that `select_keyframes` returns.
        image_size: side of the frames in pixels.
        pictured: those of `times` for which a thumbnail is made.

    Returns:
        The frames, uint8 [t, image_size, image_size, 3], RGB, and for each timestamp in `pictured`
        the JPEG file of the uncropped frame, from `encode_thumbnail`.

    Raises:
        VideoError: as for `read_frames`.
    """
    path = os.fsdecode(path)
    crop = _make_crop(path, image_size)

    def keep(time: int, pixels: np.ndarray) -> tuple[np.ndarray, bytes]:
        # The crop comes first, since it refuses frames that are too large.
        return crop(time, pixels), encode_thumbnail(pixels) if time in pictured else b""

    with convert_errors(path):
        check_regular_file(path)
        kept = _decode_all(path, times, keyframes, keep, whole=False)
        return np.stack([kept[time][0] for time in times]), {t: kept[t][1] for t in pictured}


def select_keyframes(times: Sequence[int], keyframes: Sequence[int]) -> list[int]:
    """Return the keyframes that are needed to seek to frames with ascending timestamps.

    Two of them precede the first frame's group: one to go back to if a seek misses, and one that
    shows that there are groups to skip.
    """
    first = bisect_right(keyframes, times[0]) - 1
    return list(keyframes[max(0, first - 2) : bisect_right(keyframes, times[-1])])


def _decode_frames(
    container: InputContainer, stream: VideoStream, *, from_keyframe: bool = False
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield timestamps and frames in the order of display, without those of damaged packets."""
    packets = read_packets(container, stream)
    if from_keyframe:  # after a seek that misses, frames up to the next keyframe are garbage
        packets = dropwhile(lambda packet: not packet.is_keyframe, packets)
    for packet in packets:
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except (FFmpegError, ValueError):  # ValueError: an unknown codec
            continue
        yield from ((frame.pts, frame) for frame in frames if frame.pts is not None)


def _decode_all(
    path: str, times: Sequence[int], keyframes: Sequence[int], keep: Keep, *, whole: bool
) -> dict[int, Any]:
    """Return, by timestamp, what `keep` makes of the frame on screen at each of `times`."""
    kept: dict[int, Any] = {}
    # A seek may miss, as in MPEG-TS; then seek to the group before. In some files no seek works;
    # then decode from the start.
    for seeks, back in ((keyframes, 0), (keyframes, 1), ((), 0)):
        missing = [time for time in times if time not in kept]
        if missing:
            kept |= _decode(path, missing, seeks, keep, whole=whole, back=back)
    if len(kept) < len(times):
        raise VideoError(path, NO_FRAME)
    return kept


def _decode(
    path: str, times: Sequence[int], keyframes: Sequence[int], keep: Keep, *, whole: bool, back: int
) -> dict[int, Any]:
    """Return, by timestamp, what `keep` makes of those frames that seeking finds.

    Decoding continues from one wanted frame to the next. If whole groups of pictures lie between,
    it seeks to `back` groups before the wanted one. Without `keyframes` it never seeks, and finds a
    frame for every time unless none can be decoded.
    """
    kept = {}
    with open_video(path) as container:
        stream = find_video_stream(container, path)
        reformatter = VideoReformatter()
        # The size may change within a stream; whole frames are resized to the declared one.
        declared = stream.codec_context.width or None, stream.codec_context.height or None
        size = declared if whole else (None, None)
        frames, shown, ahead, group = _decode_frames(container, stream), None, None, -1
        for time in times:
            wanted_group = bisect_right(keyframes, time) - 1
            if wanted_group > group + 1:
                try:
                    container.seek(keyframes[max(wanted_group - back, 0)], stream=stream)
                except FFmpegError:
                    break
                frames = _decode_frames(container, stream, from_keyframe=True)
                shown = ahead = None
            while shown is None or shown[0] < time:
                ahead = ahead or next(frames, None)
                if ahead is None or ahead[0] > time:
                    break
                shown, ahead = ahead, None
            nearest = shown if keyframes else shown or ahead
            if nearest is not None:
                pts, frame = nearest
                kept[time] = keep(time, convert_to_rgb(frame, reformatter, size))
                group = bisect_right(keyframes, pts) - 1
    return kept


def _make_crop(path: str, image_size: int | None) -> Keep:
    """Return a function that crops a frame as CLIP does, or keeps it whole without a size."""

    def crop(time: int, pixels: np.ndarray) -> np.ndarray:
        if image_size is None:
            return pixels
        height, width, _ = pixels.shape
        # A frame of 65535 x 1 is small, and takes gigabytes once its short side is resized.
        check_pixels(path, *find_resized_shape(height, width, image_size))
        return resize_and_crop(pixels[None], image_size)[0]

    return crop
