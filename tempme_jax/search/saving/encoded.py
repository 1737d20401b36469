"""Decode a part of a video as a player shows it, and encode it as H.264, which plays everywhere."""

import collections
import contextlib
import itertools
from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from tempme_jax.search.saving.mp4 import UNIT, Mp4File
from tempme_jax.search.saving.part import Part
from tempme_jax.search.saving.sound import add_encoded_sound, find_sound
from tempme_jax.video.container import NO_FRAME, VideoError
from tempme_jax.video.decoding import FrameReader

# Of the encoder libx264. Without frames that refer to later ones, times of decoding and of display
# are the same, so parts can be laid end to end.
OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0", "g": "60"}
# It is told this rate; the frames keep their own times.
NOMINAL_RATE = 30
# Frames of high dynamic range are reduced to this short side, since mapping them takes long.
HDR_SIDE = 1080
# A side in pixels that encoders and players take.
LEAST_SIDE = 16
BT709, LIMITED = 1, 1


class Size(NamedTuple):
    """Width and height of a picture in pixels."""

    width: int
    height: int


def encode_part(
    part: Part,
    target: str,
    *,
    most_side: int | None = None,
    size: Size | None = None,
    always_sound: bool = False,
    threads: int = 1,
) -> Size:
    """Encode a part as an mp4 file, with its sound, and return the size of its picture.

    Args:
        part: the part.
        target: path of the file.
        most_side: most pixels of its longer side; None for any.
        size: its size, on black if its shape is another; None for its own.
        always_sound: whether it has sound, silence if need be, even if the video has none.
        threads: threads that encode.

    Raises:
        VideoError: no frame can be decoded.
        OSError: the disk is full or broken.
    """
    pictures = _list_pictures(part, min(HDR_SIDE, most_side or HDR_SIDE))
    first = next(pictures)
    file = Mp4File(target)
    stream = file.container.add_stream("libx264", rate=NOMINAL_RATE, options=OPTIONS)
    chosen = size or choose_size(first[1], most_side)
    _describe(stream, chosen, threads)
    fit = Fitter(chosen, keeps_shape=size is not None)
    packets = _encode(part, stream, first, pictures, fit)
    with contextlib.closing(pictures), find_sound(part) as sound:
        if sound is None and not always_sound:
            file.write(packets)
        else:
            file.write(packets, add_encoded_sound(part, sound, file))
    return chosen


def choose_size(pixels: np.ndarray, most_side: int | None) -> Size:
    """Return the size that a frame, uint8 [h, w, 3], is encoded in: even, and not too large."""
    height, width, _ = pixels.shape
    scale = min(1.0, most_side / max(width, height)) if most_side else 1.0
    return Size(*(max(LEAST_SIDE, int(side * scale) // 2 * 2) for side in (width, height)))


class Fitter:
    """Makes frames for the encoder, all of one size."""

    def __init__(self, size: Size, *, keeps_shape: bool):
        """Take the size; where the shape is kept, black is added."""
        self._size, self._keeps_shape = size, keeps_shape
        self._reformatter = VideoReformatter()

    def fit(self, pixels: np.ndarray) -> VideoFrame:
        """Convert uint8 pixels [h, w, 3], RGB."""
        height, width, _ = pixels.shape
        if self._keeps_shape and (width, height) != self._size:
            pixels = self._add_black(pixels)
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        return self._reformatter.reformat(
            frame, *self._size, format="yuv420p", interpolation=Interpolation.BICUBIC, threads=1,
            dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG,
        )  # fmt: skip

    def _add_black(self, pixels: np.ndarray) -> np.ndarray:
        height, width, _ = pixels.shape
        scale = min(self._size.width / width, self._size.height / height)
        wide, high = (max(1, round(side * scale)) for side in (width, height))
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        small = frame.reformat(wide, high, "rgb24", interpolation=Interpolation.BICUBIC)
        black = np.zeros((self._size.height, self._size.width, 3), np.uint8)
        top, left = (self._size.height - high) // 2, (self._size.width - wide) // 2
        black[top : top + high, left : left + wide] = small.to_ndarray()
        return black


def _describe(stream: VideoStream, size: Size, threads: int) -> None:
    stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
    context = stream.codec_context
    context.time_base, context.thread_count = UNIT, threads
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED


def _encode(
    part: Part,
    stream: VideoStream,
    first: tuple[Fraction, np.ndarray],
    others: Iterator[tuple[Fraction, np.ndarray]],
    fit: Fitter,
) -> Iterator[Packet]:
    """Yield the packets of frames, which are given with their seconds.

    A packet waits until the next frame says how long its own is shown.
    """
    lengths: dict[int, int] = {}
    waiting: collections.deque[Packet] = collections.deque()
    last: int | None = None
    for second, pixels in itertools.chain([first], others):
        pts = round(second / UNIT)
        if last is not None:
            if pts <= last:
                continue
            lengths[last] = pts - last
        waiting.extend(stream.encode(_stamp(fit.fit(pixels), pts)))
        last = pts
        while waiting and waiting[0].pts in lengths:
            yield _take(waiting, lengths)
    assert last is not None
    lengths[last] = max(1, round(part.seconds / UNIT) - last)
    waiting.extend(stream.encode(None))
    while waiting:
        yield _take(waiting, lengths)


def _take(waiting: collections.deque[Packet], lengths: dict[int, int]) -> Packet:
    packet = waiting.popleft()
    assert packet.pts is not None
    packet.duration = lengths.pop(packet.pts)
    return packet


def _stamp(frame: VideoFrame, pts: int) -> VideoFrame:
    frame.pts, frame.time_base = pts, UNIT
    return frame


def _list_pictures(part: Part, hdr_side: int) -> Generator[tuple[Fraction, np.ndarray], None, None]:
    """Yield the second of each frame of a part, from 0 on, and its upright pixels."""
    times = part.list_times()
    for keyframe in (*part.list_keyframes(times[0]), None):
        reader = FrameReader(part.path, part.index.clock, hdr_side)
        with contextlib.closing(reader):
            if keyframe is not None and not reader.seek(keyframe):
                continue
            found = reader.find(times[0], or_next=keyframe is None)
            if found is None:
                continue
            for time in times:
                found = reader.find(time, or_next=True)
                if found is not None:
                    second = max(Fraction(0), part.find_seconds(time))
                    yield second, reader.player.show(found[1])
            return
    raise VideoError(part.path, NO_FRAME)
