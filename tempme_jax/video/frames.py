"""Reading frames of a video file, evenly spread or at chosen times, as CLIP wants them."""

import io
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
from PIL import Image

from tempme_jax.video.container import (
    VideoError,
    check_pixels,
    check_regular_file,
    open_video,
    packets_of,
    scan,
    video_errors,
    video_stream,
)

THUMBNAIL_SIDE = 320
THUMBNAIL_QUALITY = 80

# What is kept of a frame: it is given the timestamp, and uint8 [height, width, 3], right way up.
Keep = Callable[[int, np.ndarray], Any]


def read_frames(
    path: str | os.PathLike[str], num_frames: int, *, image_size: int | None = None
) -> np.ndarray:
    """Read `num_frames` frames spread evenly over the whole video.

    The video, from its first frame to the end of its last, is cut into `num_frames` equal spans
    of time; the frame on screen at the middle of each is taken. A video with fewer frames
    repeats them. Damaged packets are passed over, and the frame before is taken for one that is
    lost. Rotations and flips stored in the file are applied; non-square pixels are not stretched.

    Args:
        path: the file: mp4, mov, mkv, webm, avi, ts, mpg, flv, wmv or ogv.
        num_frames: how many frames, at least 1.
        image_size: side of the square, in pixels, that `resize_and_crop` makes of each frame;
            None keeps the frames whole, at the size that the file declares.

    Returns:
        uint8 array [num_frames, height, width, 3], RGB.

    Raises:
        VideoError: the file is missing, is not a regular file, is not a video, has no frame that
            can be decoded, or has frames of more than MAX_PIXELS pixels or than memory holds.
        ValueError: `num_frames` or `image_size` is below 1.
    """
    if num_frames < 1 or (image_size is not None and image_size < 1):
        raise ValueError(f"num_frames={num_frames} and image_size={image_size} must be at least 1")
    path = os.fsdecode(path)
    with video_errors(path):
        times, keyframes = _plan(path, num_frames)
        keep, whole = _cropped(path, image_size), image_size is None
        frames = _decode_all(path, sorted(set(times)), keyframes, keep, whole=whole)
        return np.stack([frames[time] for time in times])


def read_at(
    path: str | os.PathLike[str],
    moments: Callable[[Fraction], Iterable[Fraction]],
    *,
    image_size: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Read the frames that are on screen at chosen moments, each once.

    Args:
        path: the file, as for `read_frames`.
        moments: gives, for the length of the video, the times to look at the screen. All are in
            seconds, counted from the first frame.
        image_size: as for `read_frames`.

    Returns:
        uint8 array [t, height, width, 3], RGB, and float32 [t], ascending: when each frame comes
        on screen, in seconds. A frame that is on screen at several moments is there once.

    Raises:
        VideoError: as for `read_frames`.
    """
    path = os.fsdecode(path)
    with video_errors(path):
        index = scan(path)
        times = sorted(set(index.shown(moments(index.length))))
        keep, whole = _cropped(path, image_size), image_size is None
        frames = _decode_all(path, times, index.keyframes, keep, whole=whole)
        seconds = [float((time - index.times[0]) * index.unit) for time in times]
        return np.stack([frames[time] for time in times]), np.array(seconds, np.float32)


def read_shown(
    path: str | os.PathLike[str],
    times: Sequence[int],
    keyframes: Sequence[int],
    *,
    image_size: int,
    pictured: Collection[int] = (),
) -> tuple[np.ndarray, dict[int, bytes]]:
    """Read the frames of known timestamps, and small pictures of some of them.

    Args:
        path: the file, as for `read_frames`.
        times: the timestamps, ascending, as `container.Index.shown` gives them.
        keyframes: the timestamps of all keyframes, or what `keyframes_for` keeps of them.
        image_size: as for `read_frames`.
        pictured: of which of `times` a picture is made.

    Returns:
        uint8 array [t, image_size, image_size, 3], RGB, and for each of `pictured` the whole
        frame, as `encode_thumbnail` makes it.

    Raises:
        VideoError: as for `read_frames`.
    """
    path = os.fsdecode(path)
    crop = _cropped(path, image_size)

    def keep(time: int, pixels: np.ndarray) -> tuple[np.ndarray, bytes]:
        # First what refuses frames that are too large.
        return crop(time, pixels), encode_thumbnail(pixels) if time in pictured else b""

    with video_errors(path):
        check_regular_file(path)
        kept = _decode_all(path, times, keyframes, keep, whole=False)
        return np.stack([kept[time][0] for time in times]), {t: kept[t][1] for t in pictured}


def keyframes_for(times: Sequence[int], keyframes: Sequence[int]) -> list[int]:
    """Those of all keyframes by which the frames of ascending timestamps are found.

    There are two from before the group of pictures of the first: one to go back to when seeking
    misses, and one that tells that groups lie between the start of the file and the first frame.
    """
    first = bisect_right(keyframes, times[0]) - 1
    return list(keyframes[max(0, first - 2) : bisect_right(keyframes, times[-1])])


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """A JPEG file of uint8 [height, width, 3], RGB; `quality` from 1 to 100."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def encode_thumbnail(pixels: np.ndarray) -> bytes:
    """A small JPEG file of uint8 [height, width, 3], RGB; the long side at most 320 pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return encode_jpeg(np.asarray(image), THUMBNAIL_QUALITY)


def middles(start: Fraction, end: Fraction, count: int) -> list[Fraction]:
    """The middles of `count` equal spans of time."""
    return [start + (end - start) * (2 * i + 1) / (2 * count) for i in range(count)]


def resize_and_crop(frames: np.ndarray, image_size: int) -> np.ndarray:
    """Resize the short side to `image_size` (bicubic) and crop the centre, as CLIP does.

    Gives the same pixels as torchvision's Resize and CenterCrop on PIL images, which is
    the `preprocess` of https://github.com/openai/CLIP (clip/clip.py, `_transform`).

    Args:
        frames: uint8 array [t, height, width, 3].
        image_size: side of the square in pixels.

    Returns:
        uint8 array [t, image_size, image_size, 3].
    """
    height, width = _resized_shape(*frames.shape[1:3], image_size)
    top = int(round((height - image_size) / 2.0))
    left = int(round((width - image_size) / 2.0))
    box = (left, top, left + image_size, top + image_size)
    cropped = np.empty((len(frames), image_size, image_size, 3), np.uint8)
    for frame, target in zip(frames, cropped, strict=True):
        image = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        target[:] = image.crop(box)
    return cropped


def _resized_shape(height: int, width: int, image_size: int) -> tuple[int, int]:
    if width <= height:
        return int(image_size * height / width), image_size
    return image_size, int(image_size * width / height)


def _frames(
    container: InputContainer, stream: VideoStream, *, from_keyframe: bool = False
) -> Iterator[VideoFrame]:
    """The frames in the order of showing; what damaged packets would have held is left out."""
    packets = packets_of(container, stream)
    if from_keyframe:  # not every seek ends at one, and what hangs on a frame unseen is garbage
        packets = dropwhile(lambda packet: not packet.is_keyframe, packets)
    for packet in packets:
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except (FFmpegError, ValueError):  # ValueError: a codec that is not known
            continue
        yield from (frame for frame in frames if frame.pts is not None)


def _plan(path: str, num_frames: int) -> tuple[list[int], list[int]]:
    """The timestamps of frames spread over the whole video, and of all keyframes."""
    index = scan(path)
    return index.shown(middles(Fraction(0), index.length, num_frames)), index.keyframes


def _decode_all(
    path: str, times: Sequence[int], keyframes: Sequence[int], keep: Keep, *, whole: bool
) -> dict[int, Any]:
    """What is kept of the frame on screen at each of the ascending `times`."""
    kept: dict[int, Any] = {}
    # A seek may end behind the keyframe, as in an MPEG-TS; then the group before is looked for.
    # And there are files in which none works, while decoding from the start does.
    for seeks, back in ((keyframes, 0), (keyframes, 1), ((), 0)):
        missing = [time for time in times if time not in kept]
        if missing:
            kept |= _decode(path, missing, seeks, keep, whole=whole, back=back)
    if len(kept) < len(times):
        raise VideoError(path, "no decodable frame")
    return kept


def _decode(
    path: str,
    times: Sequence[int],
    keyframes: Sequence[int],
    keep: Keep,
    *,
    whole: bool,
    back: int = 0,
) -> dict[int, Any]:
    """What is kept of the frames on screen at the ascending `times`, as far as seeking finds them.

    Decoding goes on from one wanted frame to the next, and seeks only where whole groups of
    pictures lie between, to `back` groups before the wanted one. Without `keyframes` it never
    seeks, and finds a frame for every time unless none can be decoded.
    """
    kept = {}
    with open_video(path) as container:
        stream = video_stream(container, path)
        reformatter = VideoReformatter()
        # The size may change within a stream; whole frames are brought to the declared one.
        declared = stream.codec_context.width or None, stream.codec_context.height or None
        size = declared if whole else (None, None)
        frames, shown, ahead, group = _frames(container, stream), None, None, -1
        for time in times:
            wanted_group = bisect_right(keyframes, time) - 1
            if wanted_group > group + 1:
                try:
                    container.seek(keyframes[max(wanted_group - back, 0)], stream=stream)
                except FFmpegError:
                    break
                frames, shown, ahead = _frames(container, stream, from_keyframe=True), None, None
            while shown is None or shown.pts < time:
                ahead = ahead or next(frames, None)
                if ahead is None or ahead.pts > time:
                    break
                shown, ahead = ahead, None
            frame = shown if keyframes else shown or ahead
            if frame is not None:
                rgb = _upright(frame, reformatter.reformat(frame, *size, "rgb24", threads=1))
                kept[time] = keep(time, rgb)  # at once, to hold no more than one large frame
                group = bisect_right(keyframes, frame.pts) - 1
    return kept


def _upright(frame: VideoFrame, rgb: VideoFrame) -> np.ndarray:
    """Apply the turn and flips of the display matrix, by which x' = ax + cy and y' = bx + dy."""
    pixels, matrix = rgb.to_ndarray(), frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _cropped(path: str, image_size: int | None) -> Keep:
    """Keeps the square that CLIP sees of a frame; the whole frame if there is no size."""

    def crop(time: int, pixels: np.ndarray) -> np.ndarray:
        # A frame of 65535 x 1 is small, and takes gigabytes once its short side is resized.
        check_pixels(path, *_resized_shape(*pixels.shape[:2], image_size))
        return resize_and_crop(pixels[None], image_size)[0]

    return crop if image_size else lambda time, pixels: pixels
