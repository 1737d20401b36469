"""Make frames square as a model takes them, and encode them as pictures."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tempme_jax.checks import require_one_of

THUMBNAIL_SIDE = 320
THUMBNAIL_QUALITY = 80


def stack_frames(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Stack uint8 frames [height, width, 3]; those of another size are resized to the first's."""
    height, width, _ = frames[0].shape
    alike = [
        frame
        if frame.shape == frames[0].shape
        else np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
        for frame in frames
    ]
    return np.stack(alike)


def blend_on_black(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return uint8 pixels [h, w, 3] as they look on black, given their opacity, uint8 [h, w]."""
    if alpha.min() == 255:
        return np.ascontiguousarray(pixels)
    return ((pixels.astype(np.uint16) * alpha[..., None] + 127) // 255).astype(np.uint8)


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Encode uint8 pixels [height, width, 3], RGB, as a JPEG file of a quality of 1 to 100."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def encode_thumbnail(pixels: np.ndarray) -> bytes:
    """Encode uint8 pixels [height, width, 3], RGB, as a JPEG of at most 320 pixels a side."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return encode_jpeg(np.asarray(image), THUMBNAIL_QUALITY)


def make_square(frames: np.ndarray, image_size: int, resize: str = "crop") -> np.ndarray:
    """Return uint8 frames [t, height, width, 3] as squares, [t, image_size, image_size, 3].

    Args:
        frames: the frames.
        image_size: side of the squares in pixels.
        resize: how: "crop", "squash" or "squash_bilinear", see `Architecture`.

    Raises:
        ValueError: if `resize` is unknown.
    """
    return SQUARES[require_one_of(resize, SQUARES, "resize")](frames, image_size)


def squash(
    frames: np.ndarray,
    image_size: int,
    resampling: Image.Resampling = Image.Resampling.BICUBIC,
) -> np.ndarray:
    """Resize both sides of uint8 frames [t, height, width, 3] to `image_size`."""
    size = (image_size, image_size)
    return np.stack([np.asarray(Image.fromarray(f).resize(size, resampling)) for f in frames])


def squash_bilinear(frames: np.ndarray, image_size: int) -> np.ndarray:
    """Resize both sides of uint8 frames by the bilinear filter, as SigLIP 2 does."""
    return squash(frames, image_size, Image.Resampling.BILINEAR)


def resize_and_crop(frames: np.ndarray, image_size: int) -> np.ndarray:
    """Resize the short side to `image_size` (bicubic) and crop the centre, as CLIP does.

    The pixels equal those of torchvision's Resize and CenterCrop on PIL images, the `preprocess`
    of https://github.com/openai/CLIP (clip/clip.py, `_transform`).

    Args:
        frames: uint8 array [t, height, width, 3].
        image_size: side of the square in pixels.

    Returns:
        uint8 array [t, image_size, image_size, 3].
    """
    _, height, width, _ = frames.shape
    height, width = find_resized_shape(height, width, image_size)
    top = int(round((height - image_size) / 2.0))
    left = int(round((width - image_size) / 2.0))
    box = (left, top, left + image_size, top + image_size)
    cropped = np.empty((len(frames), image_size, image_size, 3), np.uint8)
    for frame, target in zip(frames, cropped, strict=True):
        image = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        target[:] = np.asarray(image.crop(box))
    return cropped


def find_resized_shape(height: int, width: int, image_size: int) -> tuple[int, int]:
    """Return height and width of a frame whose short side is resized to `image_size`."""
    if width <= height:
        return int(image_size * height / width), image_size
    return image_size, int(image_size * width / height)


# The values of `Architecture.resize`.
SQUARES = {"crop": resize_and_crop, "squash": squash, "squash_bilinear": squash_bilinear}
