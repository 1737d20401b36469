"""Check videos and texts from users, and bring them into the shape that the towers take."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from tempme_jax.networks import architecture
from tempme_jax.video.positions import pick_evenly

if TYPE_CHECKING:  # a model in another runtime does without JAX
    import jax

# CLIP's mean and standard deviation, which a model may replace.
MEAN = np.array(architecture.MEAN, np.float32)
STD = np.array(architecture.STD, np.float32)
# Normalised pixels lie in about -1.8 .. 2.7; pixels far outside were not normalised.
LARGEST_PIXEL = 20.0


def normalize_frames(
    frames: "UInt8[jax.Array, '*b 3']",
    mean: Sequence[float] | np.ndarray = MEAN,
    std: Sequence[float] | np.ndarray = STD,
) -> "Float[jax.Array, '*b 3']":
    """Convert uint8 pixels, 0 .. 255, to float32 ones, normalised by a model's mean and std."""
    import jax.numpy as jnp

    mean, std = np.array(mean, np.float32), np.array(std, np.float32)
    scale, shift = (jnp.broadcast_to(a, frames.shape) for a in (1 / (255 * std), -mean / std))
    return frames.astype(jnp.float32) * scale + shift


def convert_to_pixels(
    frames: "UInt8[jax.Array, 'b f h h 3']",
    image_size: int,
    mean: Sequence[float] | np.ndarray = MEAN,
    std: Sequence[float] | np.ndarray = STD,
) -> "Float[jax.Array, 'b f s s 3']":
    """Resize square uint8 frames to `image_size` (bicubic), if need be, and normalise them."""
    import jax
    import jax.numpy as jnp

    if frames.shape[2] == image_size:
        return normalize_frames(frames, mean, std)
    shape = (*frames.shape[:2], image_size, image_size, 3)
    resized = jax.image.resize(frames.astype(jnp.float32), shape, "cubic")
    return normalize_frames(jnp.clip(jnp.round(resized), 0, 255).astype(jnp.uint8), mean, std)


def fit_frames(
    frames: UInt8[np.ndarray, "..."], num_frames: int, image_size: int, resize: str = "crop"
) -> tuple[UInt8[np.ndarray, "b f s s 3"], Bool[np.ndarray, "b f"]]:
    """Bring frames of any number and size to the number and size that the model takes.

    Args:
        frames: uint8 [t, h, w, 3] or [b, t, h, w, 3].
        num_frames: number of frames to return; of more, the middle of each equal span is taken;
            fewer are filled up with zeros.
        image_size: side of the returned frames, in pixels.
        resize: how a frame becomes a square: "crop" or "squash", see `Architecture`.

    Returns:
        The frames, uint8 [b, f, s, s, 3], and a mask, bool [b, f], True where a frame is real.

    Raises:
        ValueError: if the frames have another shape or dtype, or no pixels.
    """
    from tempme_jax.video.pixels import make_square  # texts do without it

    if frames.dtype != np.uint8 or frames.ndim not in (4, 5) or frames.shape[-1] != 3:
        raise ValueError(
            "frames must be uint8 [t, h, w, 3] or [b, t, h, w, 3] in RGB, not "
            f"{frames.dtype} {list(frames.shape)}; normalised pixels go to embed_pixels"
        )
    frames = frames if frames.ndim == 5 else frames[None]
    if 0 in frames.shape[1:]:
        raise ValueError(f"frames of shape {list(frames.shape)} hold no pixels")
    given = frames.shape[1]
    if given > num_frames:
        frames = frames[:, pick_evenly(given, num_frames)]
    sized = [make_square(video, image_size, resize) for video in frames]
    fitted = np.zeros((len(frames), num_frames, image_size, image_size, 3), np.uint8)
    for row, video in enumerate(sized):
        fitted[row, : len(video)] = video
    mask = np.arange(num_frames) < given
    return fitted, np.broadcast_to(mask, (len(frames), num_frames))


def check_pixels(
    pixels: Float[np.ndarray, "b f s s 3"],
    frame_mask: Bool[np.ndarray, "b f"] | None,
    num_frames: int,
    image_size: int,
) -> tuple[Float[np.ndarray, "b f s s 3"], Bool[np.ndarray, "b f"]]:
    """Return normalised pixels and their mask as arrays, if a model takes them.

    Raises:
        ValueError: if shape, dtype or range differ; it says what is expected.
    """
    pixels = np.asarray(pixels)
    shape = (num_frames, image_size, image_size, 3)
    if pixels.dtype != np.float32 or pixels.ndim != 5 or pixels.shape[1:] != shape:
        raise ValueError(
            f"pixels must be float32 [b, {', '.join(map(str, shape))}] (videos, frames, height, "
            f"width, RGB), normalised, not {pixels.dtype} {list(pixels.shape)}; "
            "uint8 frames of any size go to embed_video"
        )
    if frame_mask is None:
        frame_mask = np.ones(pixels.shape[:2], bool)
    frame_mask = np.asarray(frame_mask)
    if frame_mask.dtype != bool or frame_mask.shape != pixels.shape[:2]:
        raise ValueError(
            f"frame_mask must be bool {list(pixels.shape[:2])}, True where a frame is real, not "
            f"{frame_mask.dtype} {list(frame_mask.shape)}"
        )
    real = pixels[frame_mask]
    if real.size and not np.abs([real.min(), real.max()]).max() <= LARGEST_PIXEL:  # or NaN
        raise ValueError(
            f"pixels must be normalised by the model's mean and deviation, to about -2 .. 3, not "
            f"{real.min()} .. {real.max()}; uint8 frames go to embed_video as they are"
        )
    return pixels, frame_mask


def check_ids(
    ids: Int[np.ndarray, "b n"],
    mask: Bool[np.ndarray, "b n"] | None,
    vocab_size: int,
    context_length: int,
    mark_words: Callable[[np.ndarray], np.ndarray],
) -> tuple[Int[np.ndarray, "b n"], Bool[np.ndarray, "b n"]]:
    """Return token ids, int32, and their mask as arrays, if a model takes them.

    If there is no mask, `mark_words` makes it of the ids.

    Raises:
        ValueError: if shape, dtype or range differ; it says what is expected.
    """
    ids = np.asarray(ids)
    whole = np.issubdtype(ids.dtype, np.integer)
    if not whole or ids.ndim != 2 or not 1 <= ids.shape[1] <= context_length:
        raise ValueError(
            f"ids must be whole numbers [b, 1..{context_length}], not {ids.dtype} {list(ids.shape)}"
        )
    if ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
        raise ValueError(
            f"ids must lie in 0..{vocab_size - 1}, the model's vocabulary, not "
            f"{ids.min()}..{ids.max()}"
        )
    if mask is None:
        mask = mark_words(ids)
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != ids.shape:
        raise ValueError(
            f"mask must be bool {list(ids.shape)}, True up to the end of the text, not "
            f"{mask.dtype} {list(mask.shape)}"
        )
    return ids.astype(np.int32), mask


def split_rows(size: int, *arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the rows of the arrays, at most `size` at once."""
    for start in range(0, len(arrays[0]), size):
        yield tuple(a[start : start + size] for a in arrays)


def encode_batches(
    encode: Callable[..., "jax.Array | np.ndarray"],
    batches: Iterable[tuple[np.ndarray, ...]],
    *width: int,
) -> np.ndarray:
    """Return what `encode` makes of batches of rows, float32 [rows, *width]."""
    encoded = [np.zeros((0, *width), np.float32)]
    encoded += (np.asarray(encode(*filled))[:count] for count, filled in fill_batches(batches))
    return np.concatenate(encoded)


def fill_batches(
    batches: Iterable[tuple[np.ndarray, ...]],
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Yield the size of each batch, and it, filled up to a power of two with zeros.

    So few sizes are compiled.
    """
    for batch in batches:
        count = len(batch[0])
        extra = (1 << (count - 1).bit_length()) - count
        yield count, [np.pad(a, [(0, extra)] + [(0, 0)] * (a.ndim - 1)) for a in batch]
