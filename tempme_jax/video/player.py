"""Decode the packets of a video stream, and show its frames as a player does."""

import contextlib
import functools
import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import cast

import numpy as np
from av.codec.codec import codecs_available
from av.codec.context import CodecContext
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from tempme_jax.video import container as containers
from tempme_jax.video.deinterlace import can_deinterlace, deinterlace
from tempme_jax.video.hdr import HLG, PQ, map_to_standard_range
from tempme_jax.video.pixels import blend_on_black
from tempme_jax.video.timeline import read_packets

# Codes of ITU-T H.273 for the matrix from Y'CbCr to RGB, as in `VideoFrame.colorspace`.
UNSPECIFIED, BT2020, BT2020_CONSTANT = 2, 9, 10
# Those that libswscale knows. It reads the unspecified as BT.601, as ffmpeg does.
KNOWN_MATRICES = (0, 1, UNSPECIFIED, 4, 5, 6, 7, BT2020)

# Codecs whose frames may tell how they are turned, in messages beside the pictures.
TURNED_BY_CODEC = ("h264", "hevc", "vvc")

# Pixels that are more than this many times as wide as high, or as high as wide, are a mistake.
WIDEST_PIXEL = 16

# Frames of high dynamic range that the caller resizes anyway are first reduced to this short side
# (or to the caller's, if that is larger), since mapping 4k takes nine times as long as 720p.
REDUCED_SIDE = 720


class Player:
    """Decode one stream, and convert its frames to upright RGB pixels of their display shape.

    As a player does, it applies the aspect ratio of the pixels, then turns and flips. It maps high
    dynamic range to standard range, deinterlaces, and shows what is transparent on black. All else
    is as ffmpeg does it by default: colours without tags are read as BT.601, and the primaries of
    standard-range videos are not converted.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, image_size: int | None):
        """Prepare to decode the stream from its start.

        Args:
            container: the open file.
            stream: its video stream, from `find_video_stream`, before any frame is decoded.
            image_size: the short side that the caller resizes the frames to; None for whole frames,
                which all get the size that the stream declares.
        """
        context = stream.codec_context
        self._container, self._stream, self._image_size = container, stream, image_size
        self._context, self._has_started = open_decoder(stream), False
        self._has_frames = False
        self._declared = context.width, context.height
        self._transfer = context.color_trc
        # libav lets the container's aspect ratio of pixels go before the codec's. It is known to be
        # the container's where the two differ.
        self._aspect = stream.sample_aspect_ratio
        self._follows_codec = self._aspect == context.sample_aspect_ratio
        self._matrix: tuple[int, ...] | None = None
        self._ignores_empty_alpha = "avi" in container.format.name
        self._reformatter = VideoReformatter()

    def decode(self, packet: Packet | None) -> list[VideoFrame]:
        """Return the frames that are complete with the next packet.

        Raises:
            FFmpegError: the packet is damaged.
            ValueError: the codec is unknown.
        """
        self._has_started = True
        frames = self._context.decode(packet)
        for frame in frames:
            # Often only the first frame or key frames tell how those that follow are turned. The
            # aspect ratio changes with key frames. Others are not asked: in PyAV, a frame and its
            # side data refer to each other, so both stay in memory up to a garbage collection.
            if frame.key_frame or not self._has_frames:
                matrix = frame.side_data.get("DISPLAYMATRIX")
                if matrix is not None:
                    self._matrix = tuple(np.frombuffer(matrix, np.int32)[:5].tolist())
            self._has_frames = True
            if self._follows_codec and frame.key_frame:
                self._aspect = self._context.sample_aspect_ratio
            frame.opaque = self._matrix, self._aspect
        return frames

    def seek(self, time: int) -> None:
        """Continue at the key frame at or before a timestamp.

        Raises:
            FFmpegError: the file does not allow it.
        """
        if not self._has_started and self._context.name in TURNED_BY_CODEC:
            self._look_at_start()
        self._container.seek(time, stream=self._stream)
        self._context.flush_buffers()

    def _look_at_start(self) -> None:
        """Decode the first packet, since the first frame may tell how all others are turned."""
        for packet in itertools.islice(read_packets(self._container, self._stream), 1):
            for part in (packet, None):  # None: ask for the frames that are held back
                with contextlib.suppress(FFmpegError):
                    self.decode(part)

    def show(self, frame: VideoFrame) -> np.ndarray:
        """Return the pixels of a frame of `decode` that a player shows, uint8 [h, w, 3]."""
        matrix, aspect = cast(tuple, frame.opaque)
        if frame.interlaced_frame and can_deinterlace(frame):
            frame = deinterlace(frame)
        size = frame.width, frame.height
        if self._image_size is None and all(self._declared):
            size = self._declared
        pixels = self._convert_colors(frame, *stretch(*size, aspect))
        return pixels if matrix is None else turn_upright(pixels, matrix)

    def describe(self, frames: Sequence[VideoFrame]) -> list[str]:
        """List what is done to show some frames, in a few words each; nothing to most videos."""
        turned = {frame.side_data.get("DISPLAYMATRIX") is not None for frame in frames}
        found = {
            "pixels are not square": stretch(1000, 1000, self._aspect) != (1000, 1000),
            "high dynamic range": any(self._find_transfer(frame) in (PQ, HLG) for frame in frames),
            "interlaced": any(frame.interlaced_frame for frame in frames),
            "may be transparent": any(has_alpha(frame.format.name) for frame in frames),
            "only some frames tell how they are turned": len(turned) > 1,
        }
        return [what for what, is_true in found.items() if is_true]

    def _find_transfer(self, frame: VideoFrame) -> int:
        return self._transfer if frame.color_trc == UNSPECIFIED else frame.color_trc

    def _convert_colors(self, frame: VideoFrame, width: int, height: int) -> np.ndarray:
        transfer = self._find_transfer(frame)
        if transfer in (PQ, HLG):
            if self._image_size is not None:
                side = max(self._image_size, REDUCED_SIDE)
                shrink = Fraction(side, max(side, min(width, height)))
                width, height = int(width * shrink), int(height * shrink)
            if frame.colorspace == UNSPECIFIED:
                frame.colorspace = BT2020
            signal = self._reformat(frame, width, height, "rgb48le")
            pixels = map_to_standard_range(signal, transfer, frame.color_primaries)
            alpha = None
            if has_alpha(frame.format.name):
                alpha = self._reformat(frame, width, height, "rgba")[..., 3]
        elif has_alpha(frame.format.name):
            pixels = self._reformat(frame, width, height, "rgba")
            pixels, alpha = pixels[..., :3], pixels[..., 3]
        else:
            return self._reformat(frame, width, height, "rgb24")
        # Programs that write raw videos often leave alpha at 0.
        if alpha is None or (self._ignores_empty_alpha and not alpha.any()):
            return pixels
        return blend_on_black(pixels, alpha)

    def _reformat(self, frame: VideoFrame, width: int, height: int, kind: str) -> np.ndarray:
        if frame.colorspace not in KNOWN_MATRICES:
            constant = frame.colorspace == BT2020_CONSTANT
            frame.colorspace = BT2020 if constant else UNSPECIFIED
        converted = self._reformatter.reformat(
            frame, width, height, kind, interpolation=Interpolation.BICUBIC, threads=1
        )
        return converted.to_ndarray()


def open_decoder(stream: VideoStream) -> VideoCodecContext:
    """Return the decoder of a stream: libvpx for the transparent parts of VP8 and VP9, or libav's.

    libav's own decoders of VP8 and VP9 are faster, and show the colours of what is transparent.
    """
    context = stream.codec_context
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(context.name)
    is_opaque = stream.metadata.get("alpha_mode", "0") == "0"
    if is_opaque or name not in codecs_available:  # libav may be built without libvpx
        return context
    decoder = cast(VideoCodecContext, CodecContext.create(name, "r"))
    decoder.extradata = context.extradata
    containers.limit_decoder(decoder)
    return decoder


def stretch(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Return the width and height of a picture once its pixels are square.

    Args:
        width: of the picture in pixels.
        height: likewise.
        aspect: width of its pixels by their height. None, and what cannot be true, is 1.

    >>> stretch(720, 576, Fraction(16, 15)), stretch(720, 576, None)
    ((768, 576), (720, 576))
    """
    if aspect is None or not 1 / WIDEST_PIXEL <= aspect <= WIDEST_PIXEL:
        return width, height
    stretched = max(1, int(width * aspect))
    if stretched * height > containers.MAX_PIXELS:
        return width, height
    return stretched, height


@functools.cache
def has_alpha(name: str) -> bool:
    """Return whether pixels of a libav format may be transparent."""
    pixel_format = VideoFormat(name)
    return pixel_format.has_palette or any(part.is_alpha for part in pixel_format.components)


def turn_upright(pixels: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """Apply the turn and flips of a display matrix: x' = ax + cy, y' = bx + dy.

    Args:
        pixels: uint8 [height, width, 3].
        matrix: the first five numbers of a libav display matrix: a, b, u, c, d.

    Returns:
        The upright pixels. Where the turn is not by a multiple of 90 degrees they lie on black
        within the same size, as ffmpeg shows them. Matrices that show nothing are left out.
    """
    a, b, _, c, d = matrix
    if a * d == b * c:
        return pixels
    degrees = math.degrees(math.atan2(b, a))
    if abs(degrees - round(degrees / 90) * 90) > 1:
        turned = Image.fromarray(pixels).rotate(-degrees, Image.Resampling.BILINEAR)
        return np.asarray(turned)
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
