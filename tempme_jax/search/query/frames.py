"""Frames of a picture or of a part of a video, read in a child process."""

import contextlib
import dataclasses
import io
import math
import os
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from tempme_jax.video import workers
from tempme_jax.video.container import MAX_PIXELS, VideoError, check_regular_file
from tempme_jax.video.frames import middles, read_at, resize_and_crop

if TYPE_CHECKING:  # child processes do without JAX
    from tempme_jax.model import Model

# What Pillow may open: its other readers are many and little used.
PICTURES = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# Seconds that one may take.
PATIENCE = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """Frames of a part of a video.

    Attributes:
        file: the video.
        count: how many frames, in the middles of as many equal spans of time.
        size: side of the frames in pixels, resized and cropped as CLIP does.
        start: where the part begins, in seconds from the first frame.
        end: where it ends; None for the end of the video.

    Raises:
        ValueError: if it does not begin at 0 or later and end after that.
    """

    file: str
    count: int
    size: int
    start: float = 0.0
    end: float | None = None

    def __post_init__(self):
        """Checks the part."""
        end = math.inf if self.end is None else self.end
        if not 0 <= self.start < end or not (self.end is None or math.isfinite(end)):
            raise ValueError(
                f"from {self.start:g} s to {end:g} s there is no part of a video; it begins at 0 s "
                "or later, and ends after that"
            )

    def moments(self, length: Fraction) -> list[Fraction]:
        """When to look at the screen.

        Raises:
            VideoError: the video ends before the part begins.
        """
        start = Fraction(self.start)
        end = length if self.end is None else min(Fraction(self.end), length)
        if start >= end:
            raise VideoError(
                self.file, f"{float(length):.1f} s long; there is nothing from {self.start:g} s on"
            )
        return middles(start, end, self.count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture file, as one frame of a side of `size` pixels."""

    file: str
    size: int


def read(request: Clip | Picture) -> tuple[UInt8[np.ndarray, "t s s 3"], list[float]]:
    """The frames, each once, and when each comes on screen, in seconds.

    Raises:
        VideoError: if there are none; it says why.
    """
    decode = read_clip if isinstance(request, Clip) else read_picture
    results = workers.decode_all([request], workers=1, seconds=PATIENCE, decode=decode)
    with contextlib.closing(results):
        result = next(results)
    if isinstance(result, VideoError):
        raise result
    return result


def read_clip(request: Clip) -> tuple[UInt8[np.ndarray, "t s s 3"], list[float]]:
    """What a child process does for a clip."""
    shown: list[float] = []

    def moments(length: Fraction) -> list[Fraction]:
        shown.extend(request.moments(length))
        return shown

    frames, times = read_at(request.file, moments, image_size=request.size)
    # A frame that is on screen at several of the moments is in the clip as often.
    which = np.searchsorted(times, np.array(shown, np.float64) + 1e-4, side="right") - 1
    which = np.maximum(which, 0)
    return frames[which], times[which].tolist()


def read_picture(request: Picture) -> tuple[UInt8[np.ndarray, "1 s s 3"], list[float]]:
    """What a child process does for a picture."""
    check_regular_file(request.file)
    try:
        with Image.open(request.file, formats=PICTURES) as image:
            if image.width * image.height > MAX_PIXELS:
                raise VideoError(request.file, f"larger than {MAX_PIXELS} pixels")
            upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        kinds = ", ".join(PICTURES)
        raise VideoError(request.file, f"not a picture that can be read ({kinds})") from error
    return resize_and_crop(upright[None], request.size), [0.0]


def merged(model: "Model", clip: Clip) -> bytes:
    """A PNG file of what a model merges in a clip.

    Raises:
        VideoError: as `read`.
    """
    from tempme_jax.visualize.merged import trace
    from tempme_jax.visualize.picture import picture

    frames, seconds = read(clip)
    file = io.BytesIO()
    picture([trace(model, frames, seconds=seconds)]).save(file, "PNG")
    return file.getvalue()


def checked(file: str | os.PathLike) -> str:
    """The absolute path of a file that a user named.

    Raises:
        VideoError: if it is not there, or no regular file.
    """
    path = os.path.abspath(os.path.expanduser(os.fsdecode(file)))
    check_regular_file(path)
    return path
