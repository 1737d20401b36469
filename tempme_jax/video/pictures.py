"""Read picture files as a viewer shows them."""

import io
import struct
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image, ImageCms, ImageOps

from tempme_jax.video import container
from tempme_jax.video.container import VideoError
from tempme_jax.video.opening import open_descriptor
from tempme_jax.video.pixels import blend_on_black

# Formats that Pillow may open. Its many other readers are little used, and so little tested.
PICTURES = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

# What Pillow raises for damaged files.
DAMAGED = (LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error)
# Modes of Pillow with one number a pixel, which Pillow itself would clip at 255.
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
# Entries of TIFF files, and their values for "0 is white" and "integers without a sign".
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
SAMPLE_FORMAT, UNSIGNED = 339, (1,)


def read_picture(path: str) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of a picture file, as `convert_picture` does.

    Of an animated picture, this is the first frame.

    Raises:
        VideoError: the file is not a picture of the formats in PICTURES, or too large.
    """
    with warnings.catch_warnings(action="ignore"):  # such as about damaged notes of a camera
        return convert_picture(*_open_upright(path))


def convert_picture(
    image: Image.Image, tags: Mapping[int, Any] = MappingProxyType({})
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of a picture: in sRGB, transparent parts on black.

    Args:
        image: the picture, upright.
        tags: what a TIFF file says of its numbers.
    """
    if image.mode in DEEP_MODES:
        values = np.asarray(image)
        if image.mode == "I" and tags.get(SAMPLE_FORMAT, UNSIGNED) == UNSIGNED:
            values = values.astype(np.uint32)  # Pillow reads them as if they had a sign
        grey = scale_to_bytes(values)
        is_inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
        image = Image.fromarray(255 - grey if is_inverted else grey)
    pixels = np.asarray(_apply_profile(image))
    if not image.has_transparency_data:
        return pixels
    return blend_on_black(pixels, np.asarray(image.convert("RGBA").getchannel("A")))


def _open_upright(path: str) -> tuple[Image.Image, Mapping[int, Any]]:
    """Return a picture, and what a TIFF file says of its numbers."""
    try:
        file = open(open_descriptor(path), "rb")
        with file, Image.open(file, formats=PICTURES) as image:
            if image.width * image.height > container.MAX_PIXELS:
                raise VideoError(path, f"larger than {container.MAX_PIXELS} pixels")
            image.load()
            tags = getattr(image, "tag_v2", {})
            chosen = {key: tags[key] for key in (PHOTOMETRIC, SAMPLE_FORMAT) if key in tags}
            return _turn_upright(image), chosen
    except (*DAMAGED, Image.DecompressionBombError) as error:
        reason = f"not a picture that can be read; save it as one of {', '.join(PICTURES)}"
        raise VideoError(path, reason) from error


def _turn_upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except DAMAGED:  # the notes of a camera
        return image


def scale_to_bytes(values: Num[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Scale grey values to 0 to 255; what is negative, or not a number, becomes 0.

    White is 65535 for 16-bit integers. For others it is the smallest that is possible of 1 (only
    real numbers), 255, 65535 (only integers) and the largest value. Some real numbers may be
    brighter than a white of 1.
    """
    is_deep, is_real = values.dtype.itemsize == 2, values.dtype.kind == "f"
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    largest = values.max()
    if is_deep:
        white = 65535.0
    elif is_real and values.mean() <= 1:
        white = 1.0
    elif largest <= 255:
        white = 255.0
    else:
        white = largest if is_real else max(largest, 65535.0)
    return np.round(np.clip(values / white, 0, 1) * 255).astype(np.uint8)


def _apply_profile(image: Image.Image) -> Image.Image:
    """Return an image as RGB, converted to sRGB from the color space of its profile."""
    profile = image.info.get("icc_profile")
    source = ImageCms.createProfile("LAB") if image.mode == "LAB" else None
    try:
        if profile:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source is not None:
            plain = image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(plain, source, target, outputMode="RGB")
            return converted or image.convert("RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        pass  # a damaged profile, or one of another colour space: viewers leave it out
    return image.convert("RGB")
