"""Turn decoded frames into the pixels that a player shows, and crop and encode them."""

import io

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from PIL import Image

THUMBNAIL_SIDE = 320
THUMBNAIL_QUALITY = 80


def convert_to_rgb(
    frame: VideoFrame, reformatter: VideoReformatter, size: tuple[int | None, int | None]
) -> np.ndarray:
    """Return the pixels of a frame, upright, uint8 [height, width, 3].

    Args:
        frame: the decoded frame.
        reformatter: converts the frames of one stream one after the other.
        size: width and height to resize to before the turn; None to keep those of the frame.
    """
    return _turn_upright(frame, reformatter.reformat(frame, *size, "rgb24", threads=1))


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


def _turn_upright(frame: VideoFrame, rgb: VideoFrame) -> np.ndarray:
    """Apply the turn and flips of the display matrix: x' = ax + cy, y' = bx + dy."""
    pixels, matrix = rgb.to_ndarray(), frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
