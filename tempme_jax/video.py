"""Reading frames of a video file, evenly spread or at chosen times, as CLIP wants them."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import dropwhile

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from tempme_jax.container import (
    VideoError,
    check_pixels,
    open_video,
    packets_of,
    scan,
    video_errors,
    video_stream,
)


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
        frames = _decode_all(path, sorted(set(times)), keyframes, image_size)
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
        frames = _decode_all(path, times, index.keyframes, image_size)
        seconds = [float((time - index.times[0]) * index.unit) for time in times]
        return np.stack([frames[time] for time in times]), np.array(seconds, np.float32)


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
    path: str, times: Sequence[int], keyframes: Sequence[int], image_size: int | None
) -> dict[int, np.ndarray]:
    """The frame on screen at each of the ascending `times`."""
    frames = _decode(path, times, keyframes, image_size)
    missing = [time for time in times if time not in frames]
    if missing:  # seeking does not work in every file; decoding from the start does
        frames |= _decode(path, missing, [], image_size)
    if not frames:
        raise VideoError(path, "no decodable frame")
    return frames


def _decode(
    path: str, times: Sequence[int], keyframes: Sequence[int], image_size: int | None
) -> dict[int, np.ndarray]:
    """The frame on screen at each of the ascending `times`, as far as seeking finds it.

    Decoding goes on from one wanted frame to the next, and seeks only where whole groups of
    pictures lie between. Without `keyframes` it never seeks, and finds a frame for every time
    unless none can be decoded.
    """
    pictures = {}
    with open_video(path) as container:
        stream = video_stream(container, path)
        reformatter = VideoReformatter()
        # The size may change within a stream; whole frames are brought to the declared one.
        declared = stream.codec_context.width or None, stream.codec_context.height or None
        size = (None, None) if image_size else declared
        frames, shown, ahead, group = _frames(container, stream), None, None, -1
        for time in times:
            wanted_group = bisect_right(keyframes, time) - 1
            if wanted_group > group + 1:
                try:
                    container.seek(keyframes[wanted_group], stream=stream)
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
                # Cropped at once, so that no more than one large frame is held.
                pictures[time] = _crop(path, rgb, image_size) if image_size else rgb
                group = bisect_right(keyframes, frame.pts) - 1
    return pictures


def _upright(frame: VideoFrame, rgb: VideoFrame) -> np.ndarray:
    """Apply the turn and flips of the display matrix, by which x' = ax + cy and y' = bx + dy."""
    pixels, matrix = rgb.to_ndarray(), frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _crop(path: str, pixels: np.ndarray, image_size: int) -> np.ndarray:
    # A frame of 65535 x 1 is small, and takes gigabytes once its short side is resized.
    check_pixels(path, *_resized_shape(*pixels.shape[:2], image_size))
    return resize_and_crop(pixels[None], image_size)[0]
